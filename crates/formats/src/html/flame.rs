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

use invivo_model::Result;

use super::{Asset, Page, lines};
use crate::counts::{Counts, Key, status_code};
use crate::json::{self, List};
use crate::source::Checked;
use crate::timeline::Timeline;
use crate::{Options, Writer, names, summary, unwritten};

pub(crate) struct Flame;

pub(super) static STYLE: Asset = Asset {
    text: include_str!("page.css"),
    hash: "2LjGXYfMx1lkm7P2CSU87aqZIkbNkOaAOnSQ4zUSbcY=",
};

pub(super) static SCRIPT: Asset = Asset {
    text: concat!(
        include_str!("model.js"),
        include_str!("draw.js"),
        include_str!("page.js")
    ),
    hash: "5Bqx2qzxtpRTgdxGtI5RkDyWMHfDSITuKWpIiDVTGzI=",
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
}

impl Strings {
    fn add(&mut self, text: String) -> usize {
        let next = self.list.len();
        *self.known.entry(text).or_insert_with_key(|text| {
            self.list.push(text.clone());
            next
        })
    }
}

/// The profile's tables, as columns.
fn tables(profile: &Checked<'_>, out: &mut dyn Write) -> Result<()> {
    let functions = || (0..profile.functions() as u32).map(|index| profile.function(index));
    let frames = || (0..profile.frames() as u32).map(|index| profile.frame(index));
    let stacks = || (0..profile.stacks() as u32).map(|index| profile.stack(index));
    let mut strings = Strings::default();
    let name: Vec<usize> = functions()
        .map(|f| strings.add(names::function(f)))
        .collect();
    let file: Vec<usize> = functions().map(|f| strings.add(names::file(f))).collect();
    let threads = &profile.tables.threads;

    raw(out, &format!("{{\"interval\":{},", profile.nanoseconds(1)))?;
    raw(out, "\"strings\":[")?;
    texts(out, strings.list.iter().map(String::as_str))?;
    raw(out, "],\"threads\":[")?;
    let threads: Vec<String> = threads.iter().map(|t| names::thread(profile, t)).collect();
    texts(out, threads.iter().map(String::as_str))?;
    raw(out, "],\"functions\":{")?;
    column(out, "name", name)?;
    raw(out, ",")?;
    column(out, "file", file)?;
    raw(out, ",")?;
    column(out, "line", functions().map(|function| function.first_line))?;
    raw(out, ",\"kind\":[")?;
    texts(out, functions().map(|function| names::kind(function.kind)))?;
    raw(out, "]},\"frames\":{")?;
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
fn code(key: &Key) -> u8 {
    status_code(key.status) * 2 + u8::from(!key.whole)
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
