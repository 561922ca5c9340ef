//! Functions by self and by total, as text of 80 columns for a terminal.
//!
//! *Self* is the time a function was innermost, *total* the time it was on the stack, in which it
//! counts once however often it stood there. Ticks that were missed are spread evenly over the others.

use std::io::Write;

use invivo_model::Result;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::counts::{Counts, Share, shares};
use crate::places::{Place, Tree};
use crate::source::Checked;
use crate::summary::percent;
use crate::{By, Options, Writer, names, summary, unwritten};

/// Columns of a terminal that every terminal has.
pub(crate) const WIDTH: usize = 80;

/// Functions in each of the two lists.
const ROWS: usize = 25;

pub(crate) struct Table;

impl Writer for Table {
    fn write(
        &self,
        profile: &Checked<'_>,
        options: &Options<'_>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let counts = Counts::new(profile)?;
        let tree = Tree::new(profile, options.by)?;
        let place = |node: u32| Some(tree.nodes[node as usize].place);
        let shares = shares(&tree, &counts.own(&tree), place, &profile.budget)?;
        let rows = shares.into_iter().map(|(place, share)| {
            let place = tree.places[place as usize];
            let label = names::place(profile, place, options.by);
            profile.budget.take_text(&label)?;
            profile.budget.take_list::<Row>(1)?;
            Ok(Row {
                place,
                label,
                share,
            })
        });
        let mut rows: Vec<Row> = rows.collect::<Result<_>>()?;

        let text = heading(profile, counts.total);
        out.write_all(text.as_bytes()).map_err(unwritten)?;
        let things = match options.by {
            By::Function => "functions",
            By::Line => "lines",
        };
        let mut list = |title: &str, key: fn(&Share) -> u64| {
            rows.sort_by(|a, b| {
                let order = key(&b.share).cmp(&key(&a.share));
                order
                    .then_with(|| b.share.total.cmp(&a.share.total))
                    .then_with(|| a.label.cmp(&b.label))
                    .then_with(|| a.place.line.cmp(&b.place.line))
            });
            let with_any = rows.iter().filter(|row| key(&row.share) > 0);
            let lines = with_any.clone().take(ROWS);
            let mut text = format!("\n{:>15}  {:>16}  {title}\n", "self", "total");
            lines.for_each(|row| text.push_str(&row.line(profile, counts.total)));
            if let Some(left @ 1..) = with_any.count().checked_sub(ROWS) {
                text.push_str(&format!("{:35}… and {left} more\n", ""));
            }
            out.write_all(text.as_bytes()).map_err(unwritten)
        };
        list(&format!("{things} by self"), |share| share.own)?;
        list(&format!("{things} by total"), |share| share.total)
    }
}

struct Row {
    place: Place,
    label: String,
    share: Share,
}

impl Row {
    fn line(&self, profile: &Checked<'_>, all: u64) -> String {
        let time = |ticks| summary::duration(profile.time(ticks));
        format!(
            "{:>8} {:>6}  {:>8} {:>7}  {}\n",
            time(self.share.own),
            percent(self.share.own, all),
            time(self.share.total),
            percent(self.share.total, all),
            fitted(&self.label, WIDTH - 35),
        )
    }
}

/// What was sampled and how, in lines that fit.
pub(crate) fn heading(profile: &Checked<'_>, ticks: u64) -> String {
    let mut text = format!("{}\n", fitted(&summary::title(profile), WIDTH));
    let mut line = String::new();
    for fact in summary::facts(profile, ticks) {
        if !line.is_empty() && line.width() + 3 + fact.width() > WIDTH {
            text.push_str(&line);
            text.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push_str(" · ");
        }
        line.push_str(&fact);
    }
    text.push_str(&line);
    text.push_str(&format!(
        "\n{}\n",
        fitted(&summary::made(profile.about), WIDTH)
    ));
    text
}

/// `label` in so many columns: the function's name and the end of its file's are what is kept.
pub(crate) fn fitted(label: &str, columns: usize) -> String {
    let wide = label.width();
    if wide <= columns {
        return label.to_owned();
    }
    let name = label
        .find(" (")
        .map_or(columns / 2, |end| label[..end].width() + 2);
    let head = kept(label.chars(), name.min(columns.saturating_sub(8)));
    let tail = kept(
        label.chars().rev(),
        columns.saturating_sub(head.width() + 1),
    );
    let tail: String = tail.chars().rev().collect();
    format!("{head}…{tail}")
}

/// As many characters as fit.
pub(crate) fn kept(characters: impl Iterator<Item = char>, columns: usize) -> String {
    let mut left = columns;
    characters
        .take_while(|character| {
            let wide = character.width().unwrap_or(0);
            let fits = wide <= left;
            left = left.saturating_sub(wide);
            fits
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_keeps_name_and_end() {
        assert_eq!(fitted("run (a.py)", 20), "run (a.py)");
        let long = fitted("handle (/usr/lib/python/site-packages/app/views.py)", 30);
        assert_eq!(long, "handle (…ackages/app/views.py)");
        assert_eq!(fitted(&"数".repeat(40), 21).width(), 21);
        assert_eq!(fitted("abcdef", 1), "…");
    }
}
