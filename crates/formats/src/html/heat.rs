//! Source files with the heat of each line, as one HTML file that needs nothing else and holds no
//! script.
//!
//! Of each file there are the lines that were seen, with those around them, the share of samples
//! that were innermost in a line (*self*), and that had it on the stack (*total*, counted once
//! however often it stood there). The text comes from [`Options::source`](crate::Options::source),
//! and is what it is when the page is made: where a file can't be had, or is shorter than a line
//! that was seen, the page says so.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use invivo_model::{Budget, Result};

use super::{Asset, Page, lines};
use crate::counts::{Counts, Share, shares};
use crate::escape::markup;
use crate::places::Tree;
use crate::source::Checked;
use crate::summary::percent;
use crate::{By, Options, Writer, names, summary, unwritten};

pub(crate) struct Heat;

pub(super) static STYLE: Asset = Asset {
    text: include_str!("heat.css"),
    hash: "sLSZFor6fQv980xs+OD1u30cJnjzYHsTiqjrkfHzoaQ=",
};

/// Lines shown around one that was seen.
const AROUND: u32 = 6;

/// Files that are unfolded when the page is opened.
const OPEN: usize = 3;

/// A file: its lines that were seen.
struct File<'a> {
    name: &'a str,
    share: Share,
    lines: BTreeMap<u32, Share>,
}

impl Writer for Heat {
    fn write(
        &self,
        profile: &Checked<'_>,
        options: &Options<'_>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let counts = Counts::new(profile)?;
        let (files, without) = files(profile, &counts)?;
        let mut lines = lines(profile, counts.total).to_vec();
        if without > 0 {
            lines.push(format!(
                "{} of samples were innermost in what has no source file",
                percent(without, counts.total)
            ));
        }
        let page = Page {
            title: &summary::title(profile),
            lines: &lines,
            style: &STYLE,
            body: "",
            script: None,
        };
        page.write(out, |out| {
            body(&files, counts.total, options, &profile.budget, out)
        })
    }
}

/// The files, the hottest first, and the ticks innermost in what has none.
fn files<'a>(profile: &'a Checked<'_>, counts: &Counts) -> Result<(Vec<File<'a>>, u64)> {
    let budget = &profile.budget;
    let tree = Tree::new(profile, By::Line)?;
    let own = counts.own(&tree);
    let file = |node: u32| {
        let file = &profile.function(tree.place(node).function).file;
        Some(file.text.as_str()).filter(|name| !name.is_empty())
    };
    let by_file = shares(&tree, &own, file, budget)?;
    let line = |node: u32| Some((file(node)?, tree.place(node).line));
    let by_line = shares(&tree, &own, line, budget)?;
    budget.take_list::<(u32, Share, [u64; 2])>(by_line.len())?;
    budget.take_list::<(File<'_>, File<'_>)>(by_file.len())?;
    let mut lines: HashMap<&str, BTreeMap<u32, Share>> = HashMap::new();
    for ((name, line), share) in by_line {
        lines.entry(name).or_default().insert(line, share);
    }
    let mut files: Vec<File<'_>> = by_file
        .into_iter()
        .map(|(name, share)| File {
            name,
            share,
            lines: lines.remove(name).unwrap_or_default(),
        })
        .collect();
    files.sort_by_key(|file| {
        (
            std::cmp::Reverse((file.share.own, file.share.total)),
            file.name,
        )
    });
    let within: u64 = files.iter().map(|file| file.share.own).sum();
    Ok((files, counts.total - within))
}

fn body(
    files: &[File<'_>],
    all: u64,
    options: &Options<'_>,
    budget: &Budget,
    body: &mut dyn Write,
) -> Result<()> {
    raw(
        body,
        "<nav aria-label=\"Files\"><table><thead><tr><th>self<th>total<th>file</thead>",
    )?;
    for (number, file) in files.iter().enumerate() {
        write!(
            body,
            "<tr>{}{}<td><a href=\"#f{number}\" title=\"{}\">{}</a>",
            cell(file.share.own, all),
            cell(file.share.total, all),
            markup(file.name),
            markup(names::short_file(file.name))
        )
        .map_err(unwritten)?;
    }
    raw(body, "</table></nav>\n<main>")?;
    for (number, file) in files.iter().enumerate() {
        let open = if number < OPEN { " open" } else { "" };
        writeln!(
            body,
            "<details id=\"f{number}\"{open}><summary><b>{}</b> <span>{} self, {} total</span>\
             </summary>",
            markup(file.name),
            percent(file.share.own, all),
            percent(file.share.total, all)
        )
        .map_err(unwritten)?;
        let text = (options.source)(file.name);
        if text.is_none() {
            raw(
                body,
                "<p>The file could not be read: here are the lines that were seen.</p>",
            )?;
        }
        let rows = budget.part();
        if let Some(text) = &text {
            // Whoever has read it keeps it too.
            budget.take_text(text)?;
            rows.take_text(text)?;
            rows.take_list::<&str>(2 * text.lines().count())?;
        }
        table(body, file, text.as_deref(), all)?;
        raw(body, "</details>\n")?;
    }
    if files.is_empty() {
        raw(body, "<p>No sample was in a source file.</p>")?;
    }
    raw(body, "</main>\n")
}

/// A file's lines: those that were seen, and where its text is known those around them.
fn table(body: &mut dyn Write, file: &File<'_>, text: Option<&str>, all: u64) -> Result<()> {
    raw(
        body,
        "<table><thead><tr><th>line<th>self<th>total<th>source</thead>\n",
    )?;
    let texts: Vec<&str> = text.map(|text| text.lines().collect()).unwrap_or_default();
    let last = texts.len() as u32;
    let hottest = file
        .lines
        .values()
        .map(|share| share.own)
        .max()
        .unwrap_or(0);
    let mut done = 0;
    for (line, share) in &file.lines {
        let beyond = *line == 0 || *line > last;
        if !beyond {
            around(
                body,
                &texts,
                &file.lines,
                &mut done,
                line.saturating_sub(AROUND).max(1),
                *line,
            )?;
        }
        let source = match (*line, text) {
            (0, _) => "<td class=\"note\">in lines that are not known".to_owned(),
            (_, None) => "<td>".to_owned(),
            _ if beyond => {
                format!("<td class=\"note\">the file has only {last} lines: it is another one now")
            }
            _ => format!("<td>{}", source(texts[*line as usize - 1])),
        };
        let number = if *line == 0 {
            "?".to_owned()
        } else {
            line.to_string()
        };
        writeln!(
            body,
            "<tr class=\"{}\"><th>{number}{}{}{source}",
            heat(share.own, hottest),
            cell(share.own, all),
            cell(share.total, all),
        )
        .map_err(unwritten)?;
        if !beyond {
            done = *line;
            let next = file
                .lines
                .range(line + 1..)
                .next()
                .map_or(last, |(next, _)| next - 1);
            let end = next.min(line.saturating_add(AROUND)).min(last);
            around(body, &texts, &file.lines, &mut done, line + 1, end + 1)?;
        }
    }
    raw(body, "</table>")
}

/// Lines `from..to` that were not seen, and a gap before them where some are left out.
fn around(
    body: &mut dyn Write,
    texts: &[&str],
    seen: &BTreeMap<u32, Share>,
    done: &mut u32,
    from: u32,
    to: u32,
) -> Result<()> {
    let from = from.max(*done + 1);
    if from > *done + 1 {
        let left = from - *done - 1;
        writeln!(
            body,
            "<tr class=\"gap\"><td colspan=\"4\">{}",
            summary::counted(left.into(), "line")
        )
        .map_err(unwritten)?;
    }
    for line in from..to {
        if !seen.contains_key(&line) {
            let text = texts.get(line as usize - 1).copied().unwrap_or_default();
            writeln!(body, "<tr><th>{line}<td><td><td>{}", source(text)).map_err(unwritten)?;
        }
        *done = line;
    }
    Ok(())
}

fn raw(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(unwritten)
}

/// A line of source as markup. Tabs are no escapes here.
fn source(line: &str) -> String {
    markup(&line.replace('\t', "    "))
}

fn cell(ticks: u64, all: u64) -> String {
    if ticks == 0 {
        "<td>".to_owned()
    } else {
        format!("<td>{}", percent(ticks, all))
    }
}

/// A class for how hot a line is beside the hottest of its file: `h0` to `h9`.
fn heat(own: u64, hottest: u64) -> String {
    if own == 0 {
        return "seen".to_owned();
    }
    // The square root, so that the less hot can be told apart too.
    let share = (own as f64 / hottest.max(1) as f64).sqrt();
    format!("h{}", (share * 9.99) as u32)
}
