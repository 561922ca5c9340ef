//! Profiles for tests, and what is true of them, counted the slow and plain way.

#![allow(dead_code, reason = "each test uses a part")]
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use invivo_formats::{Format, Options, write};
use invivo_model::{
    FunctionKind, Profile, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread, Sample,
    SampleStatus, StackNode, Text, Trust,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Nanoseconds from tick to tick.
pub(crate) const INTERVAL: u64 = 1_000_000;

/// What stands for samples without a stack.
pub(crate) const NOTHING: u32 = u32::MAX;

/// Names that want to be something else; each function's ends in `#` and its number.
pub(crate) const NASTY: [&str; 13] = [
    "run",
    "a;b",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "line\nfeed\r\n 5",
    "\"quoted\\' & 'so'",
    "\u{202e}reversed\u{200b}",
    "数の子 é 🐍",
    "\0\x1b[31m\u{7f}\u{ffff}",
    "]]>--><!--",
    "Klass.<locals>.<lambda>",
    "${x} {{y}} %s 12",
    // What stands for a lone surrogate.
    "\u{fffd}\u{2028}\u{feff}",
];

/// A name of 5,000 characters, half of them wide.
pub(crate) fn long() -> String {
    "数x".repeat(2_500)
}

pub(crate) fn text(text: impl Into<String>) -> Text {
    Text {
        text: text.into(),
        truncated: false,
    }
}

pub(crate) fn written(format: Format, profile: &Profile) -> Vec<u8> {
    written_with(format, profile, &Options::default())
}

pub(crate) fn written_with(format: Format, profile: &Profile, options: &Options<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(format, profile, options, &mut bytes).unwrap();
    bytes
}

pub(crate) fn written_text(format: Format, profile: &Profile) -> String {
    String::from_utf8(written(format, profile)).unwrap()
}

/// Ticks in all, and those of each function by its number.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shares {
    pub(crate) all: u64,
    pub(crate) own: BTreeMap<u32, u64>,
    pub(crate) total: BTreeMap<u32, u64>,
}

impl Shares {
    /// Counts a stack, innermost first.
    pub(crate) fn add(&mut self, stack: &[u32], ticks: u64) {
        self.all += ticks;
        if ticks > 0 {
            *self.own.entry(stack[0]).or_default() += ticks;
            for function in BTreeSet::from_iter(stack) {
                *self.total.entry(*function).or_default() += ticks;
            }
        }
    }

    /// What is true of a profile.
    pub(crate) fn of(profile: &Profile) -> Shares {
        let mut shares = Shares::default();
        for sample in &profile.samples {
            let stack = match sample.stack {
                Some(stack) => functions(profile, stack),
                None => vec![NOTHING],
            };
            shares.add(&stack, sample.ticks.into());
        }
        shares
    }
}

fn functions(profile: &Profile, stack: u32) -> Vec<u32> {
    let tables = &profile.tables;
    let mut functions = Vec::new();
    let mut at = Some(stack);
    while let Some(stack) = at {
        let node = tables.stacks[stack as usize];
        functions.push(tables.frames[node.frame as usize].function);
        at = node.caller;
    }
    functions
}

/// The number of the function of this name, whatever stands around the number.
pub(crate) fn number(name: &str) -> u32 {
    if name.contains("no Python code") {
        return NOTHING;
    }
    let digits = name.rsplit_once('#').expect(name).1;
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().expect(name)
}

/// Any profile, with few functions in many stacks.
pub(crate) fn profiles() -> impl Strategy<Value = Profile> {
    let functions = vec((0..NASTY.len(), 0..3_u8), 1..12);
    (functions, 1..4_usize, 1..3_usize).prop_flat_map(|(functions, threads, processes)| {
        let count = functions.len();
        let frames = vec((0..count as u32, 0..4_u32), 1..20);
        let frames = frames.prop_flat_map(|frames| {
            let count = frames.len() as u32;
            let stacks = vec(
                (any::<prop::sample::Index>(), any::<bool>(), 0..count),
                1..40,
            );
            (Just(frames), stacks)
        });
        let samples = vec(
            (
                0..threads as u32,
                prop::option::weighted(0.9, any::<prop::sample::Index>()),
                0..81_u8,
                (0..3_u8, 1..5_u32, 0..3_u64),
            ),
            0..60,
        );
        (frames, samples).prop_map(move |((frames, stacks), samples)| {
            build(&functions, &frames, &stacks, threads, processes, &samples)
        })
    })
}

type SampleSeed = (u32, Option<prop::sample::Index>, u8, (u8, u32, u64));

fn build(
    functions: &[(usize, u8)],
    frames: &[(u32, u32)],
    stacks: &[(prop::sample::Index, bool, u32)],
    threads: usize,
    processes: usize,
    samples: &[SampleSeed],
) -> Profile {
    let mut profile = Profile::default();
    let tables = &mut profile.tables;
    for (n, (nasty, kind)) in functions.iter().enumerate() {
        tables.functions.push(ProfileFunction {
            name: text(format!("{}#{n}", NASTY[*nasty])),
            file: text(["/app/main.py", "", "/lib/<b>\".py"][n % 3]),
            first_line: 10 * n as u32,
            kind: [
                FunctionKind::Python,
                FunctionKind::Native,
                FunctionKind::Collector,
            ][*kind as usize],
        });
    }
    for (function, line) in frames {
        tables.frames.push(ProfileFrame {
            function: *function,
            line: *line,
            columns: None,
            opcode: None,
        });
    }
    for (n, (caller, outermost, frame)) in stacks.iter().enumerate() {
        tables.stacks.push(StackNode {
            caller: (n > 0 && !outermost).then(|| caller.index(n) as u32),
            frame: *frame,
        });
    }
    for n in 0..processes as u32 {
        tables.processes.push(ProfileProcess {
            pid: 100 + n,
            parent: (n > 0).then_some(100),
            command: vec!["python".into(), NASTY[n as usize + 2].into()],
            version: "1.2.3".into(),
        });
    }
    for n in 0..threads as u32 {
        tables.threads.push(ProfileThread {
            process: n % processes as u32,
            tid: 1000 + n,
            name: (n > 0).then(|| text(NASTY[n as usize + 1])),
            interpreter: 0,
            is_main: n == 0,
        });
    }
    let mut free = vec![0; threads];
    for (thread, stack, status, (trust, ticks, gap)) in samples {
        let time = free[*thread as usize] + gap * INTERVAL;
        free[*thread as usize] = time + u64::from(*ticks) * INTERVAL;
        profile.samples.push(Sample {
            time,
            thread: *thread,
            stack: stack.map(|stack| stack.index(stacks.len()) as u32),
            status: self::status(*status),
            trust: [Trust::Whole, Trust::Torn, Trust::Guessed][*trust as usize],
            ticks: *ticks,
        });
    }
    profile.samples.sort_by_key(|sample| sample.time);
    profile.about.interval = INTERVAL;
    profile.about.duration = free.into_iter().max().unwrap_or(0);
    profile.about.ticks = profile.about.duration / INTERVAL;
    profile.about.creator = "invivo <test>".into();
    profile
}

fn status(code: u8) -> SampleStatus {
    let digit = |n: u32| [None, Some(false), Some(true)][usize::from(code / 3_u8.pow(n) % 3)];
    SampleStatus {
        on_cpu: digit(0),
        waits_for_cpu: digit(4),
        holds_gil: digit(1),
        waits_for_gil: digit(2),
        handles_exception: digit(3),
    }
}

/// A profile of one thread in a recursion this deep.
pub(crate) fn deep(depth: u32) -> Profile {
    let stacks: Vec<_> = (0..depth).map(|n| (n % 2, n % 5)).collect();
    let mut profile = build(
        &[(0, 0), (4, 0)],
        &[(0, 0), (0, 3), (1, 0), (1, 7), (1, 9)],
        &[],
        1,
        1,
        &[],
    );
    profile.tables.stacks = stacks
        .iter()
        .enumerate()
        .map(|(n, (_, frame))| StackNode {
            caller: n.checked_sub(1).map(|caller| caller as u32),
            frame: *frame,
        })
        .collect();
    for n in 0..20 {
        profile.samples.push(Sample {
            time: n * INTERVAL,
            thread: 0,
            stack: Some(depth - 1 - n as u32 % depth.min(7)),
            status: SampleStatus::default(),
            trust: Trust::Whole,
            ticks: 1,
        });
    }
    profile
}

/// A profile of stacks, outermost function first, each with its thread and ticks, one after the
/// other on its thread. Functions are lines 10 of `/app/NAME.py`.
pub(crate) fn of_stacks(stacks: &[(&[&str], u32, u32)]) -> Profile {
    let mut profile = build(&[], &[], &[], 3, 1, &[]);
    let mut free = [0; 3];
    let tables = &mut profile.tables;
    for (functions, thread, ticks) in stacks {
        let mut caller = None;
        for name in *functions {
            let known = tables.functions.iter().position(|f| f.name.text == *name);
            let function = known.unwrap_or_else(|| {
                tables.functions.push(ProfileFunction {
                    name: text(*name),
                    file: text(format!("/app/{name}.py")),
                    first_line: 10,
                    kind: FunctionKind::Python,
                });
                tables.frames.push(ProfileFrame {
                    function: tables.functions.len() as u32 - 1,
                    line: 10 + tables.functions.len() as u32,
                    columns: None,
                    opcode: None,
                });
                tables.functions.len() - 1
            });
            let frame = function as u32;
            let node = StackNode { caller, frame };
            let stack = tables.stacks.iter().position(|known| *known == node);
            caller = Some(stack.unwrap_or_else(|| {
                tables.stacks.push(node);
                tables.stacks.len() - 1
            }) as u32);
        }
        let time = free[*thread as usize];
        free[*thread as usize] += u64::from(*ticks) * INTERVAL;
        profile.samples.push(Sample {
            time,
            thread: *thread,
            stack: caller,
            status: status(if *thread == 0 { 2 } else { 1 }),
            trust: Trust::Whole,
            ticks: *ticks,
        });
    }
    profile.samples.sort_by_key(|sample| sample.time);
    profile.about.duration = free.into_iter().max().unwrap_or(0);
    profile
}
