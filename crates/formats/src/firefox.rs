//! A file for the [Firefox Profiler](https://profiler.firefox.com), in its processed format.
//!
//! Version 55 of the format: later ones are read by upgrading, so an old one is read for good. Each
//! thread has tables of its own, of what it was seen in. A sample's weight is the ticks it stands
//! for; a stretch in which nothing changed is cut into several, so that ranges of time can be
//! chosen in it. What is missing from the profile stands in the extra facts of its meta data. A
//! recording with more stretches of time than a browser can hold is thinned, and says so.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write;

use invivo_model::escape::shown;
use invivo_model::{Budget, FunctionKind, ProfileThread, Result};
use serde_json::{Value, json};

use crate::json::{Known, List, Object};
use crate::source::Checked;
use crate::timeline::{Run, Thinned};
use crate::{Options, Writer, names, summary, unwritten};

pub(crate) struct Firefox;

/// The version of the format.
const VERSION: u32 = 55;

/// Stretches of time that the Firefox Profiler opens.
const MOST_RUNS: u64 = 1_000_000;

/// Into how many samples stretches are cut, about.
const SAMPLES: u64 = 1_000_000;

/// What functions are, in colours that the Firefox Profiler knows. It needs one that is grey.
const CATEGORIES: [(&str, &str); 5] = [
    ("Python", "yellow"),
    ("Native", "grey"),
    ("Garbage collector", "orange"),
    ("Task", "blue"),
    ("Place", "transparent"),
];

impl Writer for Firefox {
    fn write(&self, profile: &Checked<'_>, _: &Options<'_>, out: &mut dyn Write) -> Result<()> {
        let thinned = Thinned::new(profile, MOST_RUNS)?;
        let budget = &profile.budget;
        budget.take_list::<Vec<Run>>(profile.tables.threads.len())?;
        let mut threads = vec![Vec::new(); profile.tables.threads.len()];
        thinned.for_each(&mut |run| budget.push(&mut threads[run.key.thread as usize], run))?;
        let meta = meta(profile, thinned.facts());
        write!(
            out,
            "{{\"meta\":{meta},\"libs\":[],\"pages\":[],\"counters\":[],\
             \"profilerOverhead\":[],\"threads\":["
        )
        .map_err(unwritten)?;
        let longest = (thinned.ticks / SAMPLES).max(1);
        let mut list = List::new();
        for (thread, runs) in profile.tables.threads.iter().zip(&threads) {
            list.next(out)?;
            Thread::new(profile, runs)?.write(thread, longest, out)?;
        }
        out.write_all(b"]}\n").map_err(unwritten)
    }
}

fn meta(profile: &Checked<'_>, facts: Vec<String>) -> Value {
    let categories: Vec<Value> = CATEGORIES
        .iter()
        .map(|(name, color)| json!({"name": name, "color": color, "subcategories": ["Other"]}))
        .collect();
    let facts: Vec<Value> = facts
        .iter()
        .enumerate()
        .map(|(n, fact)| {
            let label = ["Samples", "Threads", "Mode", "Missing", "Cost", "Thinned"].get(n);
            json!({"label": label.unwrap_or(&"More"), "format": "string", "value": fact})
        })
        .collect();
    json!({
        "version": 24, "preprocessedProfileVersion": VERSION, "processType": 0,
        "interval": milliseconds(profile.nanoseconds(1)),
        "startTime": milliseconds(profile.about.started),
        "product": summary::title(profile),
        "importedFrom": shown(&profile.about.creator),
        "stackwalk": 0, "debug": false, "symbolicated": true,
        "usesOnlyOneStackType": true, "doesNotUseFrameImplementation": true,
        "sourceCodeIsNotOnSearchfox": true,
        "categories": categories, "markerSchema": [],
        "extensions": {"length": 0, "baseURL": [], "id": [], "name": []},
        "sampleUnits": {"time": "ms", "eventDelay": "ms", "threadCPUDelta": "µs"},
        "extra": [{"label": "Sampling", "entries": facts}],
    })
}

fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// Things that have got a number, in its order.
struct Numbered<T> {
    known: HashMap<T, usize>,
    list: Vec<T>,
    budget: Budget,
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn new(budget: &Budget) -> Self {
        Self {
            known: HashMap::new(),
            list: Vec::new(),
            budget: budget.clone(),
        }
    }

    fn add(&mut self, thing: T) -> Result<usize> {
        self.budget.make_room(&mut self.known)?;
        self.budget.take_list::<T>(1)?;
        Ok(*self.known.entry(thing).or_insert_with_key(|thing| {
            self.list.push(thing.clone());
            self.list.len() - 1
        }))
    }
}

/// What a thread was seen in, and what that refers to, numbered anew.
struct Thread<'a> {
    profile: &'a Checked<'a>,
    runs: &'a [Run],
    functions: Numbered<u32>,
    frames: Numbered<u32>,
    /// Callers before what they call.
    stacks: Numbered<u32>,
}

impl<'a> Thread<'a> {
    fn new(profile: &'a Checked<'a>, runs: &'a [Run]) -> Result<Self> {
        // Comes back when the thread is written.
        let budget = profile.budget.part();
        budget.take_list::<u32>(2 * profile.stacks())?;
        let mut thread = Self {
            profile,
            runs,
            functions: Numbered::new(&budget),
            frames: Numbered::new(&budget),
            stacks: Numbered::new(&budget),
        };
        for run in runs {
            let new = profile
                .callers(run.key.stack)
                .take_while(|stack| !thread.stacks.known.contains_key(stack));
            let mut new: Vec<u32> = new.collect();
            new.reverse();
            for stack in new {
                thread.stacks.add(stack)?;
                let frame = profile.stack(stack).frame;
                thread.frames.add(frame)?;
                thread.functions.add(profile.frame(frame).function)?;
            }
        }
        Ok(thread)
    }

    fn write(&self, thread: &ProfileThread, longest: u64, out: &mut dyn Write) -> Result<()> {
        let process = &self.profile.tables.processes[thread.process as usize];
        let began = self.runs.first().map_or(0, |run| run.from);
        let head = json!({
            "name": names::thread(self.profile, thread), "isMainThread": thread.is_main,
            "processType": "default", "processName": names::process(process),
            "processStartupTime": 0, "processShutdownTime": null,
            "registerTime": milliseconds(began), "unregisterTime": null, "pausedRanges": [],
            "showMarkersInTimeline": false,
            "pid": process.pid.to_string(), "tid": thread.tid.to_string(),
            "resourceTable": {"length": 0, "lib": [], "name": [], "host": [], "type": []},
            "nativeSymbols": {
                "length": 0, "libIndex": [], "address": [], "name": [], "functionSize": [],
            },
            "markers": {
                "length": 0, "category": [], "data": [], "endTime": [], "name": [], "phase": [],
                "startTime": [],
            },
        });
        let mut strings = Numbered::new(&self.functions.budget);
        let mut object = Object::beginning_with(&head, out)?;
        object.table("samples", |table| self.samples(table, longest))?;
        object.table("stackTable", |table| self.stacks(table))?;
        object.table("frameTable", |table| self.frames(table))?;
        object.table("funcTable", |table| self.functions(table, &mut strings))?;
        let strings = strings.list.iter().map(|text| json!(text));
        object.column("stringArray", strings)?;
        object.end()
    }

    fn samples(&self, table: &mut Object<'_>, longest: u64) -> Result<()> {
        // Each stretch in parts: when one begins, and its ticks.
        let parts = |run: &'a Run| {
            (0..run.ticks.div_ceil(longest)).map(move |n| {
                let begun = n * longest;
                (run, begun, longest.min(run.ticks - begun))
            })
        };
        let parts = || self.runs.iter().flat_map(parts);
        let profile = self.profile;
        table.length(parts().count())?;
        let time = |(run, begun, _): (&Run, u64, u64)| {
            milliseconds(run.from.saturating_add(profile.nanoseconds(begun)))
        };
        table.column("time", parts().map(time))?;
        let stacks = parts().map(|(run, ..)| self.stacks.known[&run.key.stack]);
        table.column("stack", stacks)?;
        table.column("weight", parts().map(|(_, _, ticks)| ticks))?;
        // Microseconds on a processor, as far as the status tells.
        let on_cpu = parts().map(|(run, _, ticks)| match run.key.status.on_cpu {
            Some(true) => Known(Some(profile.nanoseconds(ticks) / 1_000)),
            Some(false) => Known(Some(0)),
            None => Known(None),
        });
        table.column("threadCPUDelta", on_cpu)?;
        table.member("weightType", &json!("samples"))
    }

    fn stacks(&self, table: &mut Object<'_>) -> Result<()> {
        let stacks = self.stacks.list.iter();
        let stacks = || stacks.clone().map(|stack| self.profile.stack(*stack));
        let caller = |caller: u32| self.stacks.known[&caller];
        table.length(self.stacks.list.len())?;
        table.column("prefix", stacks().map(|s| Known(s.caller.map(caller))))?;
        table.column("frame", stacks().map(|s| self.frames.known[&s.frame]))
    }

    fn frames(&self, table: &mut Object<'_>) -> Result<()> {
        let frames = self.frames.list.iter();
        let frames = || frames.clone().map(|frame| self.profile.frame(*frame));
        let category = |function: u32| category(self.profile.function(function).kind);
        let of = |value: i32| frames().map(move |_| value);
        let nothing = || frames().map(|_| Known::<u32>(None));
        table.length(self.frames.list.len())?;
        table.column("address", of(-1))?;
        table.column("inlineDepth", of(0))?;
        table.column("category", frames().map(|f| category(f.function)))?;
        table.column("subcategory", of(0))?;
        table.column("func", frames().map(|f| self.functions.known[&f.function]))?;
        table.column("nativeSymbol", nothing())?;
        table.column("innerWindowID", of(0))?;
        table.column("implementation", nothing())?;
        table.column("line", frames().map(|f| known_line(f.line)))?;
        table.column("column", frames().map(|f| Known(f.columns.map(|c| c.0))))
    }

    fn functions(&self, table: &mut Object<'_>, strings: &mut Numbered<String>) -> Result<()> {
        let functions = self.functions.list.iter();
        let functions = || functions.clone().map(|index| self.profile.function(*index));
        let none = |_| false;
        table.length(self.functions.list.len())?;
        let mut add = |text: String| {
            // Once in the list, and once in the table.
            strings.budget.take_text(&text)?;
            strings.budget.take_text(&text)?;
            strings.add(text)
        };
        let called: Result<Vec<usize>> = functions().map(|f| add(names::function(f))).collect();
        table.column("name", called?)?;
        table.column("isJS", functions().map(none))?;
        table.column("relevantForJS", functions().map(none))?;
        table.column("resource", functions().map(|_| -1))?;
        let files = functions().map(|function| {
            let file = Some(names::file(function)).filter(|file| !file.is_empty());
            file.map(&mut add).transpose().map(Known)
        });
        let files: Result<Vec<_>> = files.collect();
        table.column("fileName", files?)?;
        table.column("lineNumber", functions().map(|f| known_line(f.first_line)))?;
        table.column("columnNumber", functions().map(|_| Known::<u32>(None)))
    }
}

fn known_line(line: u32) -> Known<u32> {
    Known(Some(line).filter(|line| *line > 0))
}

/// The index in [`CATEGORIES`].
fn category(kind: FunctionKind) -> usize {
    match kind {
        FunctionKind::Python => 0,
        FunctionKind::Native => 1,
        FunctionKind::Collector => 2,
        FunctionKind::Task => 3,
        FunctionKind::Place => 4,
    }
}
