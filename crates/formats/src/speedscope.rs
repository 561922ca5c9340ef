//! A file for [speedscope](https://www.speedscope.app): a sampled profile for each thread, in
//! nanoseconds since the first tick.
//!
//! A sample weighs as long as it lasted: its ticks times the interval. Where a thread was not seen
//! for a tick or more (it had not begun, did not count in the mode, or ticks were missed), there is
//! an empty stack, so that its time axis is that of the clock. What is missing from the profile
//! stands in its name. A recording with more stretches of time than a browser can hold is thinned,
//! and says so.

use std::io::Write;

use invivo_model::{Budget, Result};

use crate::json::{self, List};
use crate::places::Tree;
use crate::source::Checked;
use crate::timeline::Thinned;
use crate::{By, Options, Writer, names, summary, unwritten};

pub(crate) struct Speedscope;

/// Stretches of time that speedscope opens, with stacks of a usual depth.
const MOST_RUNS: u64 = 1_000_000;

/// For how many nanoseconds a thread had a stack; `None` where it was not seen.
type Run = (Option<u32>, u64);

impl Writer for Speedscope {
    fn write(
        &self,
        profile: &Checked<'_>,
        options: &Options<'_>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let tree = Tree::new(profile, options.by)?;
        let thinned = Thinned::new(profile, MOST_RUNS)?;
        let threads = runs(profile, &thinned, &tree)?;
        out.write_all(b"{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",")
            .map_err(unwritten)?;
        let name = format!(
            "{} · {}",
            summary::title(profile),
            thinned.facts().join(" · ")
        );
        json::named(out, "name", &name)?;
        out.write_all(b",").map_err(unwritten)?;
        json::named(out, "exporter", &profile.about.creator)?;
        out.write_all(b",\"shared\":{\"frames\":[")
            .map_err(unwritten)?;
        frames(profile, &tree, options.by, out)?;
        out.write_all(b"]},\"profiles\":[").map_err(unwritten)?;
        let mut list = List::new();
        for (number, runs) in threads.iter().enumerate() {
            if !runs.is_empty() {
                list.next(out)?;
                let name = names::thread(profile, profile.thread(number as u32));
                thread(&tree, &name, runs, out)?;
            }
        }
        out.write_all(b"]}\n").map_err(unwritten)
    }
}

/// What each thread did, one after the other.
fn runs(profile: &Checked<'_>, thinned: &Thinned<'_>, tree: &Tree) -> Result<Vec<Vec<Run>>> {
    let budget = &profile.budget;
    budget.take_list::<(Vec<Run>, Vec<Run>, u64)>(profile.tables.threads.len())?;
    let mut threads: Vec<(Vec<Run>, u64)> = vec![Default::default(); profile.tables.threads.len()];
    thinned.for_each(&mut |run| {
        let (runs, end) = &mut threads[run.key.thread as usize];
        // A tick that came a little late leaves no gap.
        let gap = run.from.saturating_sub(*end);
        if gap >= profile.nanoseconds(1) {
            add(runs, (None, gap), budget)?;
            *end = run.from;
        }
        let length = profile.nanoseconds(run.ticks);
        let node = tree.of_stack[run.key.stack as usize];
        add(runs, (Some(node), length), budget)?;
        *end = end.saturating_add(length);
        Ok(())
    })?;
    Ok(threads.into_iter().map(|(runs, _)| runs).collect())
}

fn add(runs: &mut Vec<Run>, (node, length): Run, budget: &Budget) -> Result<()> {
    match runs.last_mut() {
        Some((last, so_far)) if *last == node => {
            *so_far = so_far.saturating_add(length);
            Ok(())
        }
        _ => budget.push(runs, (node, length)),
    }
}

fn frames(profile: &Checked<'_>, tree: &Tree, by: By, out: &mut dyn Write) -> Result<()> {
    let mut list = List::new();
    for place in &tree.places {
        let function = profile.function(place.function);
        list.next(out)?;
        out.write_all(b"{").map_err(unwritten)?;
        let name = names::function(function);
        match (by, place.line) {
            // Frames are told apart by what they are called.
            (By::Line, 1..) => json::named(out, "name", &format!("{name}:{}", place.line))?,
            _ => json::named(out, "name", &name)?,
        }
        if !function.file.text.is_empty() {
            out.write_all(b",").map_err(unwritten)?;
            json::named(out, "file", &names::file(function))?;
        }
        if place.line > 0 {
            write!(out, ",\"line\":{}", place.line).map_err(unwritten)?;
        }
        out.write_all(b"}").map_err(unwritten)?;
    }
    Ok(())
}

fn thread(tree: &Tree, name: &str, runs: &[Run], out: &mut dyn Write) -> Result<()> {
    out.write_all(b"{\"type\":\"sampled\",")
        .map_err(unwritten)?;
    json::named(out, "name", name)?;
    let end = runs
        .iter()
        .fold(0_u64, |end, (_, length)| end.saturating_add(*length));
    let head =
        format!(",\"unit\":\"nanoseconds\",\"startValue\":0,\"endValue\":{end},\"samples\":[");
    out.write_all(head.as_bytes()).map_err(unwritten)?;
    let mut list = List::new();
    for (node, _) in runs {
        let mut path: Vec<u32> = node.iter().flat_map(|node| tree.callers(*node)).collect();
        path.reverse();
        list.next(out)?;
        let places = path.iter().map(|node| tree.nodes[*node as usize].place);
        List::of(out, places)?;
    }
    out.write_all(b"],\"weights\":").map_err(unwritten)?;
    List::of(out, runs.iter().map(|(_, length)| length))?;
    out.write_all(b"}").map_err(unwritten)
}
