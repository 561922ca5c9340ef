//! Trace events, for Perfetto and Chrome's `about:tracing`.
//!
//! Each thread is a track on which functions begin and end, in microseconds since the first tick. A
//! function goes on as long as it stands at its depth from tick to tick; where a thread was not
//! seen for a tick or more, everything ends. At its end an event says how many ticks (`samples`) it
//! was seen for. Its category is where its function comes from: `own`, `library`, `standard` and so
//! on. Numbers of processes and threads are those of the system; a thread whose number another one
//! of the process had before it gets the next one that is free, since a track is found by its
//! number. What is missing from the profile stands in `otherData`. A recording with more stretches
//! of time than viewers can hold is thinned, and says so.

use std::collections::HashMap;
use std::io::Write;

use invivo_model::Result;

use crate::json::{self, List};
use crate::places::Tree;
use crate::source::Checked;
use crate::timeline::Thinned;
use crate::{By, Options, Writer, names, summary, unwritten};

pub(crate) struct Chrome;

/// Stretches of time that viewers open: with each of them a few functions begin and end.
const MOST_RUNS: u64 = 500_000;

impl Writer for Chrome {
    fn write(
        &self,
        profile: &Checked<'_>,
        options: &Options<'_>,
        out: &mut dyn Write,
    ) -> Result<()> {
        let tree = Tree::new(profile, options.by)?;
        let thinned = Thinned::new(profile, MOST_RUNS)?;
        let mut trace = Trace {
            profile,
            tracks: tracks(profile)?,
            labels: labels(profile, &tree, options.by)?,
            tree: &tree,
            list: List::new(),
            out,
        };
        trace.raw("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[")?;
        trace.names()?;
        thinned.for_each(&mut |run| {
            let node = trace.tree.of_stack[run.key.stack as usize];
            trace.sample(run.key.thread, node, run.from, run.ticks)
        })?;
        for thread in 0..trace.tracks.len() {
            let end = trace.tracks[thread].end;
            trace.close(thread, 0, end)?;
        }
        trace.raw("],\"otherData\":{")?;
        json::named(trace.out, "profile", &summary::title(profile))?;
        trace.raw(",")?;
        json::named(trace.out, "made", &summary::made(profile.about))?;
        trace.raw(",")?;
        let facts = thinned.facts().join("; ");
        json::named(trace.out, "facts", &facts)?;
        trace.raw("}}\n")
    }
}

/// A thread, and what is open on it.
struct Track {
    pid: u32,
    tid: u32,
    /// Nodes that have begun, outermost first, with the ticks they were innermost for and those of
    /// what ended in them.
    open: Vec<(u32, u64)>,
    /// Up to when it was seen.
    end: u64,
}

fn tracks(profile: &Checked<'_>) -> Result<Vec<Track>> {
    let threads = profile.tables.threads.len();
    profile.budget.take_list::<Track>(threads)?;
    profile.budget.take_map::<(u32, u32, u32)>(threads)?;
    let mut taken = Taken::default();
    let threads = profile.tables.threads.iter().map(|thread| {
        let pid = profile.tables.processes[thread.process as usize].pid;
        let tid = taken.take(pid, thread.tid);
        Track {
            pid,
            tid,
            open: Vec::new(),
            end: 0,
        }
    });
    Ok(threads.collect())
}

/// The numbers that threads of each process have.
#[derive(Default)]
struct Taken {
    /// For each number that is taken, one behind it that may be free: all between are taken.
    behind: HashMap<(u32, u32), u32>,
}

impl Taken {
    /// This number, or the next one that is free. However many of them are taken, that is soon found.
    fn take(&mut self, pid: u32, tid: u32) -> u32 {
        let mut free = tid;
        while let Some(behind) = self.behind.get(&(pid, free)) {
            free = *behind;
        }
        // The next one that looks from here gets there at once.
        let mut at = tid;
        while let Some(behind) = self.behind.get_mut(&(pid, at)) {
            at = std::mem::replace(behind, free.wrapping_add(1));
        }
        self.behind.insert((pid, free), free.wrapping_add(1));
        free
    }
}

/// A place, as members of an event in JSON.
struct Label {
    /// What it is called and where it comes from: an end is known by those of its beginning.
    name: String,
    /// Where it is, as arguments; empty where that is not known.
    at: String,
}

fn labels(profile: &Checked<'_>, tree: &Tree, by: By) -> Result<Vec<Label>> {
    let label = |place: &crate::places::Place| {
        let function = profile.function(place.function);
        let (name, file) = (names::function(function), names::file(function));
        let line = match place.line {
            0 => String::new(),
            line => format!(":{line}"),
        };
        let called = match by {
            By::Line => member("name", &format!("{name}{line}"))?,
            By::Function => member("name", &name)?,
        };
        let name = format!("{called},\"cat\":\"{}\"", names::origin(function));
        let at = if file.is_empty() {
            String::new()
        } else {
            format!(",\"args\":{{{}}}", member("at", &format!("{file}{line}"))?)
        };
        profile.budget.take_text(&name)?;
        profile.budget.take_text(&at)?;
        Ok(Label { name, at })
    };
    tree.places.iter().map(label).collect()
}

fn member(name: &str, text: &str) -> Result<String> {
    let mut json = Vec::new();
    json::named(&mut json, name, text)?;
    Ok(String::from_utf8_lossy(&json).into_owned())
}

struct Trace<'a> {
    profile: &'a Checked<'a>,
    tracks: Vec<Track>,
    labels: Vec<Label>,
    tree: &'a Tree,
    list: List,
    out: &'a mut dyn Write,
}

impl Trace<'_> {
    fn raw(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).map_err(unwritten)
    }

    fn event(&mut self, thread: usize, phase: char, rest: &str) -> Result<()> {
        self.list.next(self.out)?;
        let Track { pid, tid, .. } = &self.tracks[thread];
        let text = format!("\n{{\"ph\":\"{phase}\",\"pid\":{pid},\"tid\":{tid}{rest}}}");
        self.raw(&text)
    }

    fn names(&mut self) -> Result<()> {
        for (number, thread) in self.profile.tables.threads.iter().enumerate() {
            let process = &self.profile.tables.processes[thread.process as usize];
            let name = names::thread(self.profile, thread);
            for (what, name) in [
                ("process_name", names::process(process)),
                ("thread_name", name),
            ] {
                let rest = format!(
                    ",\"ts\":0,\"cat\":\"__metadata\",\"name\":\"{what}\",\"args\":{{{}}}",
                    member("name", &name)?
                );
                self.event(number, 'M', &rest)?;
            }
        }
        Ok(())
    }

    fn sample(&mut self, thread: u32, node: u32, time: u64, ticks: u64) -> Result<()> {
        let thread = thread as usize;
        let end = self.tracks[thread].end;
        // A tick that came a little late leaves no gap; one that came early begins where the last
        // ended, so that the events of a track are in order.
        let apart = time.saturating_sub(end) >= self.profile.nanoseconds(1);
        let from = if apart { time } else { end };
        let next = from.saturating_add(self.profile.nanoseconds(ticks));
        let track = &mut self.tracks[thread];
        track.end = next;
        if let Some((_, own)) = track
            .open
            .last_mut()
            .filter(|(open, _)| !apart && *open == node)
        {
            *own += ticks;
            return Ok(());
        }
        let mut path: Vec<u32> = self.tree.callers(node).collect();
        path.reverse();
        let open = &self.tracks[thread].open;
        let pairs = open.iter().map(|(open, _)| open).zip(&path);
        let shared = if apart {
            0
        } else {
            pairs.take_while(|(open, node)| open == node).count()
        };
        self.close(thread, shared, end)?;
        for node in &path[shared..] {
            let place = self.tree.nodes[*node as usize].place as usize;
            let Label { name, at } = &self.labels[place];
            let rest = format!(",\"ts\":{},{name}{at}", microseconds(from));
            self.event(thread, 'B', &rest)?;
            let open = &mut self.tracks[thread].open;
            self.profile.budget.push(open, (*node, 0))?;
        }
        if let Some((_, own)) = self.tracks[thread].open.last_mut() {
            *own += ticks;
        }
        Ok(())
    }

    /// Ends what is open deeper than `depth`.
    fn close(&mut self, thread: usize, depth: usize, time: u64) -> Result<()> {
        while self.tracks[thread].open.len() > depth {
            let Some((node, ticks)) = self.tracks[thread].open.pop() else {
                break;
            };
            if let Some((_, outer)) = self.tracks[thread].open.last_mut() {
                *outer += ticks;
            }
            let place = self.tree.nodes[node as usize].place as usize;
            let (time, name) = (microseconds(time), &self.labels[place].name);
            let rest = format!(",\"ts\":{time},{name},\"args\":{{\"samples\":{ticks}}}");
            self.event(thread, 'E', &rest)?;
        }
        Ok(())
    }
}

/// Nanoseconds as microseconds, exactly.
fn microseconds(nanoseconds: u64) -> String {
    format!("{}.{:03}", nanoseconds / 1_000, nanoseconds % 1_000)
}
