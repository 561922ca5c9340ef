//! A file for the [Firefox Profiler](https://profiler.firefox.com), in its processed format.
//!
//! Version 55 of the format: later ones are read by upgrading, so an old one is read for good. Each
//! thread has tables of its own, of what it was seen in. A sample's weight is the ticks it stands
//! for; a stretch in which nothing changed is cut into several, so that ranges of time can be
//! chosen in it. What is missing from the profile stands in the extra facts of its meta data.

use std::collections::HashMap;
use std::hash::Hash;
use std::io::Write;

use invivo_model::escape::shown;
use invivo_model::{FunctionKind, ProfileThread, Result};
use serde_json::{Value, json};

use crate::json::List;
use crate::source::Checked;
use crate::{Options, Writer, names, summary, unwritten};

pub(crate) struct Firefox;

/// The version of the format.
const VERSION: u32 = 55;

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

/// When, in which stack, for how many ticks, and whether on a processor.
type Moment = (u64, u32, u64, Option<bool>);

impl Writer for Firefox {
    fn write(&self, profile: &Checked<'_>, _: &Options<'_>, out: &mut dyn Write) -> Result<()> {
        let (threads, ticks) = moments(profile)?;
        write!(
            out,
            "{{\"meta\":{},\"libs\":[],\"pages\":[],\"counters\":[],",
            meta(profile, ticks)
        )
        .map_err(unwritten)?;
        out.write_all(b"\"profilerOverhead\":[],\"threads\":[")
            .map_err(unwritten)?;
        let mut list = List::new();
        for (thread, moments) in profile.tables.threads.iter().zip(&threads) {
            list.next(out)?;
            let value = Thread::new(profile, moments).json(profile, thread, moments, ticks);
            serde_json::to_writer(&mut *out, &value).map_err(|error| unwritten(error.into()))?;
        }
        out.write_all(b"]}\n").map_err(unwritten)
    }
}

/// What each thread was seen in, and how many ticks there are in all.
fn moments(profile: &Checked<'_>) -> Result<(Vec<Vec<Moment>>, u64)> {
    let mut threads = vec![Vec::new(); profile.tables.threads.len()];
    let mut all = 0;
    profile.for_each_sample(&mut |seen| {
        let ticks = u64::from(seen.sample.ticks);
        all += ticks;
        threads[seen.thread as usize].push((
            seen.sample.time,
            seen.stack,
            ticks,
            seen.sample.status.on_cpu,
        ));
        Ok(())
    })?;
    Ok((threads, all))
}

fn meta(profile: &Checked<'_>, ticks: u64) -> Value {
    let categories: Vec<Value> = CATEGORIES
        .iter()
        .map(|(name, color)| json!({"name": name, "color": color, "subcategories": ["Other"]}))
        .collect();
    let facts: Vec<Value> = summary::facts(profile, ticks)
        .iter()
        .enumerate()
        .map(|(n, fact)| {
            let label = ["Samples", "Threads", "Mode", "Missing", "Cost"].get(n);
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
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn new() -> Self {
        Self {
            known: HashMap::new(),
            list: Vec::new(),
        }
    }

    fn add(&mut self, thing: T) -> usize {
        *self.known.entry(thing).or_insert_with_key(|thing| {
            self.list.push(thing.clone());
            self.list.len() - 1
        })
    }
}

/// What a thread's samples refer to, numbered anew.
struct Thread {
    strings: Numbered<String>,
    functions: Numbered<u32>,
    frames: Numbered<u32>,
    /// Callers before what they call.
    stacks: Numbered<u32>,
}

impl Thread {
    fn new(profile: &Checked<'_>, moments: &[Moment]) -> Self {
        let mut thread = Self {
            strings: Numbered::new(),
            functions: Numbered::new(),
            frames: Numbered::new(),
            stacks: Numbered::new(),
        };
        for (_, stack, ..) in moments {
            let new = profile
                .callers(*stack)
                .take_while(|stack| !thread.stacks.known.contains_key(stack));
            let mut new: Vec<u32> = new.collect();
            new.reverse();
            for stack in new {
                thread.stacks.add(stack);
                let frame = profile.stack(stack).frame;
                thread.frames.add(frame);
                thread.functions.add(profile.frame(frame).function);
            }
        }
        thread
    }

    fn json(
        mut self,
        profile: &Checked<'_>,
        thread: &ProfileThread,
        moments: &[Moment],
        all: u64,
    ) -> Value {
        let process = &profile.tables.processes[thread.process as usize];
        let name = names::thread(profile, thread);
        let (frames, functions) = (self.frames(profile), self.functions(profile));
        let stacks = self.stacks.list.iter().map(|stack| profile.stack(*stack));
        let prefix: Vec<Option<usize>> = stacks
            .clone()
            .map(|stack| stack.caller.map(|caller| self.stacks.known[&caller]))
            .collect();
        let frame: Vec<usize> = stacks
            .map(|stack| self.frames.known[&stack.frame])
            .collect();
        let empty_list: [u8; 0] = [];
        json!({
            "name": name, "isMainThread": thread.is_main,
            "processType": "default", "processName": names::process(process),
            "processStartupTime": 0, "processShutdownTime": null,
            "registerTime": moments.first().map_or(0.0, |(time, ..)| milliseconds(*time)),
            "unregisterTime": null, "pausedRanges": empty_list, "showMarkersInTimeline": false,
            "pid": process.pid.to_string(), "tid": thread.tid.to_string(),
            "samples": self.samples(profile, moments, all),
            "stackTable": {"length": frame.len(), "prefix": prefix, "frame": frame},
            "frameTable": frames, "funcTable": functions,
            "resourceTable": {
                "length": 0, "lib": empty_list, "name": empty_list, "host": empty_list,
                "type": empty_list,
            },
            "nativeSymbols": {
                "length": 0, "libIndex": empty_list, "address": empty_list, "name": empty_list,
                "functionSize": empty_list,
            },
            "markers": {
                "length": 0, "category": empty_list, "data": empty_list, "endTime": empty_list,
                "name": empty_list, "phase": empty_list, "startTime": empty_list,
            },
            "stringArray": self.strings.list,
        })
    }

    fn samples(&self, profile: &Checked<'_>, moments: &[Moment], all: u64) -> Value {
        let most = (all / SAMPLES).max(1);
        let (mut times, mut stacks, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        // Microseconds on a processor, as far as the status tells.
        let mut on_cpu = Vec::new();
        for (time, stack, ticks, was_on) in moments {
            let mut done = 0;
            while done < *ticks {
                let weight = most.min(ticks - done);
                times.push(milliseconds(time.saturating_add(profile.nanoseconds(done))));
                stacks.push(self.stacks.known[stack]);
                weights.push(weight);
                let long = profile.nanoseconds(weight) as f64 / 1e3;
                on_cpu.push(was_on.map(|on| if on { long } else { 0.0 }));
                done += weight;
            }
        }
        json!({
            "length": times.len(), "time": times, "stack": stacks,
            "weight": weights, "weightType": "samples", "threadCPUDelta": on_cpu,
        })
    }

    fn frames(&self, profile: &Checked<'_>) -> Value {
        let frames: Vec<_> = self
            .frames
            .list
            .iter()
            .map(|frame| profile.frame(*frame))
            .collect();
        let length = frames.len();
        let known = |line: u32| Some(line).filter(|line| *line > 0);
        let category = |function: u32| category(profile.function(function).kind);
        let of = |value: Value| vec![value; length];
        json!({
            "length": length,
            "address": of(json!(-1)), "inlineDepth": of(json!(0)),
            "category": frames.iter().map(|f| category(f.function)).collect::<Vec<_>>(),
            "subcategory": of(json!(0)),
            "func": frames.iter().map(|f| self.functions.known[&f.function]).collect::<Vec<_>>(),
            "nativeSymbol": of(Value::Null), "innerWindowID": of(json!(0)),
            "implementation": of(Value::Null),
            "line": frames.iter().map(|f| known(f.line)).collect::<Vec<_>>(),
            "column": frames.iter().map(|f| f.columns.map(|c| c.0)).collect::<Vec<_>>(),
        })
    }

    fn functions(&mut self, profile: &Checked<'_>) -> Value {
        let list = &self.functions.list;
        let functions: Vec<_> = list.iter().map(|index| profile.function(*index)).collect();
        let length = functions.len();
        let mut text = |text: String| self.strings.add(text);
        let name: Vec<usize> = functions.iter().map(|f| text(names::function(f))).collect();
        let file: Vec<Option<usize>> = functions
            .iter()
            .map(|function| {
                Some(names::file(function))
                    .filter(|file| !file.is_empty())
                    .map(&mut text)
            })
            .collect();
        let line: Vec<Option<u32>> = functions
            .iter()
            .map(|function| Some(function.first_line).filter(|line| *line > 0))
            .collect();
        json!({
            "length": length, "name": name, "isJS": vec![false; length],
            "relevantForJS": vec![false; length], "resource": vec![-1; length],
            "fileName": file, "lineNumber": line, "columnNumber": vec![Value::Null; length],
        })
    }
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
