//! Two profiles beside each other: what has more of the samples than before, and what less.
//!
//! Shares are compared, not times, since two recordings are seldom equally long. Functions of the
//! two are the same if kind, name and file are: their lines may have moved from one version of a
//! program to the next.

use std::collections::HashMap;
use std::io::Write;

use invivo_model::escape::shown;
use invivo_model::{FunctionKind, ProfileFunction, Result};

use crate::counts::{Counts, Share, shares};
use crate::html::flame;
use crate::places::{Node, Place, Tree};
use crate::source::{Checked, Source};
use crate::summary::percent;
use crate::table::{WIDTH, fitted, heading};
use crate::{DiffFormat, names, unwritten};

/// The stacks of both profiles as one tree of functions.
pub(crate) struct Both<'a> {
    pub(crate) functions: Vec<&'a ProfileFunction>,
    pub(crate) tree: Tree,
    pub(crate) before: Side<'a>,
    pub(crate) after: Side<'a>,
}

/// One of the profiles, in terms of both.
pub(crate) struct Side<'a> {
    pub(crate) profile: &'a Checked<'a>,
    /// The ticks of each node by itself.
    pub(crate) own: Vec<u64>,
    pub(crate) ticks: u64,
}

/// Writes what became of one profile in another.
///
/// # Errors
///
/// As those of [`write`](crate::write).
pub fn write_diff(
    format: DiffFormat,
    before: &dyn Source,
    after: &dyn Source,
    out: &mut dyn Write,
) -> Result<()> {
    let (before, after) = (Checked::new(before)?, Checked::new(after)?);
    let both = Both::new(&before, &after)?;
    match format {
        DiffFormat::FlameGraph => flame::write_diff(&both, out)?,
        DiffFormat::Table => table(&both, out)?,
    }
    out.flush().map_err(unwritten)
}

impl<'a> Both<'a> {
    fn new(before: &'a Checked<'a>, after: &'a Checked<'a>) -> Result<Self> {
        let mut merged = Merged::default();
        let of_before = merged.add(before)?;
        let of_after = merged.add(after)?;
        let places = (0..merged.functions.len() as u32).map(|function| Place { function, line: 0 });
        let tree = Tree {
            places: places.collect(),
            nodes: merged.nodes,
            of_stack: Vec::new(),
        };
        let side = |profile, of_stack: &[u32]| -> Result<Side<'a>> {
            let counts = Counts::new(profile)?;
            let mut own = vec![0; tree.nodes.len()];
            for (key, ticks) in &counts.by_key {
                own[of_stack[key.stack as usize] as usize] += ticks;
            }
            Ok(Side {
                profile,
                own,
                ticks: counts.total,
            })
        };
        let (before, after) = (side(before, &of_before)?, side(after, &of_after)?);
        Ok(Self {
            functions: merged.functions,
            tree,
            before,
            after,
        })
    }
}

/// Functions and nodes, each once.
#[derive(Default)]
struct Merged<'a> {
    functions: Vec<&'a ProfileFunction>,
    known: HashMap<(FunctionKind, &'a str, &'a str), u32>,
    nodes: Vec<Node>,
    known_nodes: HashMap<Node, u32>,
}

impl<'a> Merged<'a> {
    /// The node of each of a profile's stacks.
    fn add(&mut self, profile: &'a Checked<'a>) -> Result<Vec<u32>> {
        let (functions, stacks) = (profile.functions(), profile.stacks());
        let budget = &profile.budget;
        budget.take_list::<(&ProfileFunction, u32, Place)>(functions)?;
        budget.take_map::<((FunctionKind, &str, &str), u32)>(functions)?;
        // With what sums and walks need later, for both sides.
        budget.take_list::<(Node, u32, [u64; 4], [u32; 2])>(stacks)?;
        budget.take_map::<(Node, u32)>(stacks + stacks / 2)?;
        let functions: Vec<u32> = (0..profile.functions() as u32)
            .map(|index| {
                let function = profile.function(index);
                let (name, file) = (&function.name.text[..], &function.file.text[..]);
                let key = (function.kind, name, file);
                *self.known.entry(key).or_insert_with(|| {
                    self.functions.push(function);
                    self.functions.len() as u32 - 1
                })
            })
            .collect();
        let mut of_stack: Vec<u32> = Vec::with_capacity(profile.stacks());
        for index in 0..profile.stacks() as u32 {
            let stack = profile.stack(index);
            let node = Node {
                caller: stack.caller.map(|caller| of_stack[caller as usize]),
                place: functions[profile.frame(stack.frame).function as usize],
            };
            let number = *self.known_nodes.entry(node).or_insert_with(|| {
                self.nodes.push(node);
                self.nodes.len() as u32 - 1
            });
            of_stack.push(number);
        }
        Ok(of_stack)
    }
}

/// Functions that a table holds.
const ROWS: usize = 40;

/// A function in both profiles, as shares of the samples.
struct Row {
    label: String,
    before: Share,
    after: Share,
}

/// Functions whose self or total changed, the most first, as text of 80 columns.
fn table(both: &Both<'_>, out: &mut dyn Write) -> Result<()> {
    let of = |side: &Side<'_>| {
        let place = |node: u32| Some(both.tree.nodes[node as usize].place);
        shares(&both.tree, &side.own, place, &side.profile.budget)
    };
    let (before, after) = (of(&both.before)?, of(&both.after)?);
    let budget = &both.after.profile.budget;
    budget.take_list::<Row>(both.functions.len())?;
    let rows = both.functions.iter().enumerate().map(|(number, function)| {
        let number = number as u32;
        let label = label(function);
        budget.take_text(&label)?;
        Ok(Row {
            label,
            before: before.get(&number).copied().unwrap_or_default(),
            after: after.get(&number).copied().unwrap_or_default(),
        })
    });
    let mut rows: Vec<Row> = rows.collect::<Result<_>>()?;
    rows.retain(|row| row.before.total > 0 || row.after.total > 0);
    let (all_before, all_after) = (both.before.ticks, both.after.ticks);
    let own = |row: &Row| change(row.before.own, all_before, row.after.own, all_after);
    let total = |row: &Row| change(row.before.total, all_before, row.after.total, all_after);
    rows.sort_by(|a, b| {
        let order = own(b).abs().total_cmp(&own(a).abs());
        order
            .then_with(|| total(b).abs().total_cmp(&total(a).abs()))
            .then_with(|| a.label.cmp(&b.label))
    });

    let mut text = format!(
        "Before\n{}\nAfter\n{}\n  self               | total\n\
         before  after points |before  after points  function\n",
        heading(both.before.profile, all_before),
        heading(both.after.profile, all_after),
    );
    let left = rows.len().saturating_sub(ROWS);
    for row in rows.iter().take(ROWS) {
        text.push_str(&format!(
            "{:>6} {:>6} {:>6} |{:>6} {:>6} {:>6}  {}\n",
            percent(row.before.own, all_before),
            percent(row.after.own, all_after),
            points(own(row)),
            percent(row.before.total, all_before),
            percent(row.after.total, all_after),
            points(total(row)),
            fitted(&row.label, WIDTH - 44),
        ));
    }
    if left > 0 {
        text.push_str(&format!("{:44}… and {left} that changed less\n", ""));
    }
    out.write_all(text.as_bytes()).map_err(unwritten)
}

fn label(function: &ProfileFunction) -> String {
    match names::file(function) {
        file if file.is_empty() => names::function(function),
        file => format!("{} ({file})", names::function(function)),
    }
}

/// By how many points of percent a share changed.
fn change(before: u64, all_before: u64, after: u64, all_after: u64) -> f64 {
    let share = |part: u64, all: u64| part as f64 * 100.0 / all.max(1) as f64;
    share(after, all_after) - share(before, all_before)
}

fn points(change: f64) -> String {
    if change.abs() < 0.05 {
        "=".to_owned()
    } else {
        format!("{change:+.1}")
    }
}

/// What both are, in one line.
pub(crate) fn title(both: &Both<'_>) -> String {
    let of = |side: &Side<'_>| crate::summary::title(side.profile);
    let (before, after) = (of(&both.before), of(&both.after));
    if before == after {
        before
    } else {
        shown(&format!("{before} → {after}")).into_owned()
    }
}
