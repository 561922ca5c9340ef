//! An interactive flame graph, as one HTML file that needs nothing else.
//!
//! The page holds the profile's stacks with the ticks of each thread and status (exact, however
//! long the recording), and the order of time, where a long recording is thinned: of each thread
//! and slice of time, the stack that was seen most. The page says so where it is. Its script draws
//! on a canvas: search with the share of what matches, zoom, inverted, by thread and by status, by
//! function or line, heaviest first or in the order of time; with a mouse, keys or fingers; dark or
//! light as the reader likes it.

use std::collections::HashMap;
use std::io::Write;

use invivo_model::{Budget, ProfileFunction, Result};

use super::{Asset, Page, lines};
use crate::counts::{Counts, Key, status_code};
use crate::diff::{self, Both, Side};
use crate::json::{self, List};
use crate::source::Checked;
use crate::timeline::Timeline;
use crate::{Options, Writer, names, summary, unwritten};

pub(crate) struct Flame;

pub(super) static STYLE: Asset = Asset {
    text: include_str!("page.css"),
    hash: "PYAuAU8tcdB4UqAQgK8hRo8ReoXMZNXpbS0hMete0oc=",
};

pub(super) static SCRIPT: Asset = Asset {
    text: concat!(
        include_str!("model.js"),
        include_str!("draw.js"),
        include_str!("page.js")
    ),
    hash: "DxdEuIg0ZJmN2YMGkU9oK9U4VeFXitMgfdtRgkQPw00=",
};

static BODY: &str = include_str!("flame.html");

/// Stretches of time that a page may hold.
const MOST_RUNS: usize = 60_000;

impl Writer for Flame {
    fn write(&self, profile: &Checked<'_>, _: &Options<'_>, out: &mut dyn Write) -> Result<()> {
        let counts = Counts::new(profile)?;
        let timeline = Timeline::new(profile, MOST_RUNS)?;
        let mut lines = lines(profile, counts.total).to_vec();
        if let Some(slice) = timeline.slice {
            lines.push(format!(
                "Order of time: of each {} of a thread, what was seen most",
                summary::duration(slice)
            ));
        }
        let page = Page {
            title: &summary::title(profile),
            lines: &lines,
            style: &STYLE,
            body: BODY,
            script: Some(&SCRIPT),
        };
        page.write(out, |out| {
            tables(profile, out)?;
            counted(&counts, out)?;
            timed(profile, &timeline, out)
        })
    }
}

/// A column of numbers.
fn column<N: std::fmt::Display>(
    out: &mut dyn Write,
    name: &str,
    numbers: impl IntoIterator<Item = N>,
) -> Result<()> {
    write!(out, "\"{name}\":").map_err(unwritten)?;
    List::of(out, numbers)
}

fn raw(out: &mut dyn Write, text: &str) -> Result<()> {
    out.write_all(text.as_bytes()).map_err(unwritten)
}

/// Strings, each once.
#[derive(Default)]
struct Strings {
    list: Vec<String>,
    known: HashMap<String, usize>,
    budget: Budget,
}

impl Strings {
    fn add(&mut self, text: String) -> Result<usize> {
        let next = self.list.len();
        if !self.known.contains_key(&text) {
            // Once in the list, and once in the table.
            self.budget.take_text(&text)?;
            self.budget.take_text(&text)?;
            self.budget.take_map::<(String, usize)>(1)?;
        }
        Ok(*self.known.entry(text).or_insert_with_key(|text| {
            self.list.push(text.clone());
            next
        }))
    }
}

/// What the page's script reads first: names.
fn head(
    out: &mut dyn Write,
    profile: &Checked<'_>,
    threads: &[String],
    functions: &[&ProfileFunction],
) -> Result<()> {
    profile.budget.take_list::<[usize; 3]>(functions.len())?;
    let mut strings = Strings {
        budget: profile.budget.clone(),
        ..Strings::default()
    };
    let mut add = |text: String| strings.add(text);
    let name: Result<Vec<usize>> = functions.iter().map(|f| add(names::function(f))).collect();
    let file: Result<Vec<usize>> = functions.iter().map(|f| add(names::file(f))).collect();
    let (name, file) = (name?, file?);
    raw(
        out,
        &format!(
            "{{\"interval\":{},\"sample\":{},\"strings\":[",
            profile.nanoseconds(1),
            profile.time(1)
        ),
    )?;
    texts(out, strings.list.iter().map(String::as_str))?;
    raw(out, "],\"threads\":[")?;
    texts(out, threads.iter().map(String::as_str))?;
    raw(out, "],\"functions\":{")?;
    column(out, "name", name)?;
    raw(out, ",")?;
    column(out, "file", file)?;
    raw(out, ",")?;
    column(
        out,
        "line",
        functions.iter().map(|function| function.first_line),
    )?;
    raw(out, ",\"kind\":[")?;
    texts(
        out,
        functions.iter().map(|function| names::origin(function)),
    )?;
    raw(out, "]},")
}

/// The profile's tables, as columns.
fn tables(profile: &Checked<'_>, out: &mut dyn Write) -> Result<()> {
    let functions = (0..profile.functions() as u32).map(|index| profile.function(index));
    let frames = || (0..profile.frames() as u32).map(|index| profile.frame(index));
    let stacks = || (0..profile.stacks() as u32).map(|index| profile.stack(index));
    let threads = profile.tables.threads.iter();
    let threads = threads.map(|thread| {
        let name = names::thread(profile, thread);
        profile.budget.take_text(&name)?;
        Ok(name)
    });
    let threads: Vec<String> = threads.collect::<Result<_>>()?;
    let functions: Vec<&ProfileFunction> = functions.collect();
    head(out, profile, &threads, &functions)?;
    raw(out, "\"frames\":{")?;
    column(out, "function", frames().map(|frame| frame.function))?;
    raw(out, ",")?;
    column(out, "line", frames().map(|frame| frame.line))?;
    raw(out, "},\"stacks\":{")?;
    column(
        out,
        "caller",
        stacks().map(|stack| stack.caller.map_or(-1, i64::from)),
    )?;
    raw(out, ",")?;
    column(out, "frame", stacks().map(|stack| stack.frame))?;
    raw(out, "},")
}

fn texts<'a>(out: &mut dyn Write, texts: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let mut list = List::new();
    for text in texts {
        list.next(out)?;
        json::string(out, text)?;
    }
    Ok(())
}

/// A status and whether a stack is certain, as one number.
fn code(key: &Key) -> u16 {
    u16::from(status_code(key.status)) * 2 + u16::from(!key.whole)
}

fn counted(counts: &Counts, out: &mut dyn Write) -> Result<()> {
    let keys = || counts.by_key.iter().map(|(key, _)| key);
    raw(out, "\"counts\":{")?;
    column(out, "thread", keys().map(|key| key.thread))?;
    raw(out, ",")?;
    column(out, "stack", keys().map(|key| key.stack))?;
    raw(out, ",")?;
    column(out, "status", keys().map(code))?;
    raw(out, ",")?;
    column(out, "ticks", counts.by_key.iter().map(|(_, ticks)| ticks))?;
    raw(out, "},")
}

/// Stretches of time, from when they begin, in ticks since the first one was due.
fn timed(profile: &Checked<'_>, timeline: &Timeline, out: &mut dyn Write) -> Result<()> {
    let runs = &timeline.runs;
    let interval = profile.nanoseconds(1) as f64;
    raw(out, "\"times\":{")?;
    column(out, "thread", runs.iter().map(|run| run.key.thread))?;
    raw(out, ",")?;
    column(out, "stack", runs.iter().map(|run| run.key.stack))?;
    raw(out, ",")?;
    column(out, "status", runs.iter().map(|run| code(&run.key)))?;
    raw(out, ",")?;
    let from = runs
        .iter()
        .map(|run| (run.from as f64 / interval * 10.0).round() / 10.0);
    column(out, "from", from)?;
    raw(out, ",")?;
    column(out, "ticks", runs.iter().map(|run| run.ticks))?;
    raw(out, "}}")
}

/// The same page for two profiles: of each stack it has the ticks before and after, and neither
/// threads nor the order of time.
pub(crate) fn write_diff(both: &Both<'_>, out: &mut dyn Write) -> Result<()> {
    let facts = |name: &str, side: &Side<'_>| {
        let facts = summary::facts(side.profile, side.ticks).join(" · ");
        format!("{name}: {facts} · {}", summary::made(side.profile.about))
    };
    let page = Page {
        title: &diff::title(both),
        lines: &[facts("Before", &both.before), facts("After", &both.after)],
        style: &STYLE,
        body: BODY,
        script: Some(&SCRIPT),
    };
    page.write(out, |out| {
        let nodes = &both.tree.nodes;
        let (before, after) = (&both.before.own, &both.after.own);
        head(
            out,
            both.after.profile,
            &["both".to_owned()],
            &both.functions,
        )?;
        raw(out, "\"frames\":{")?;
        column(out, "function", 0..both.functions.len())?;
        raw(out, ",")?;
        column(out, "line", both.functions.iter().map(|_| 0))?;
        raw(out, "},\"stacks\":{")?;
        column(
            out,
            "caller",
            nodes.iter().map(|node| node.caller.map_or(-1, i64::from)),
        )?;
        raw(out, ",")?;
        column(out, "frame", nodes.iter().map(|node| node.place))?;
        raw(out, "},\"counts\":{")?;
        // A stack of neither by itself would only take room.
        both.before.profile.budget.take_list::<usize>(nodes.len())?;
        let seen: Vec<usize> = (0..nodes.len())
            .filter(|n| before[*n] + after[*n] > 0)
            .collect();
        column(out, "thread", seen.iter().map(|_| 0))?;
        raw(out, ",")?;
        column(out, "stack", &seen)?;
        raw(out, ",")?;
        column(out, "status", seen.iter().map(|_| 0))?;
        raw(out, ",")?;
        column(out, "ticks", seen.iter().map(|n| after[*n]))?;
        raw(out, ",")?;
        column(out, "before", seen.iter().map(|n| before[*n]))?;
        raw(
            out,
            "},\"times\":{\"thread\":[],\"stack\":[],\"status\":[],\"from\":[],\"ticks\":[]}}",
        )
    })
}
