use std::time::Duration;

use invivo_model::{
    About, FunctionKind, Mode, ProfileFrame, ProfileFunction, ProfileThread, SampleStatus,
    StackNode, Text, Trust,
};

use super::*;
use crate::sink::{Charge, Seen, Sink};

const TICK: u64 = 5_000_000;

/// A feed with its board, and what has been announced.
struct Scene {
    feed: Feed,
    slices: Slices,
    board: Board,
    about: About,
    frames: u32,
    stacks: u32,
    threads: u32,
}

impl Scene {
    fn new() -> Self {
        let (feed, slices) = feed();
        Self {
            feed,
            slices,
            board: Board::new(Duration::from_secs(5)),
            about: About::default(),
            frames: 0,
            stacks: 0,
            threads: 0,
        }
    }

    fn thread(&mut self, tid: u32) -> u32 {
        self.thread_of(tid, 0)
    }

    fn native(&mut self, tid: u32) -> u32 {
        self.thread_of(tid, ProfileThread::WITHOUT_PYTHON)
    }

    fn thread_of(&mut self, tid: u32, interpreter: i64) -> u32 {
        self.feed.thread(&ProfileThread {
            process: 0,
            tid,
            name: None,
            interpreter,
            is_main: self.threads == 0,
        });
        self.threads += 1;
        self.threads - 1
    }

    /// A stack of these functions and lines, outermost first.
    fn stack(&mut self, frames: &[(&str, u32)]) -> u32 {
        let mut caller = None;
        for (name, line) in frames {
            self.feed.function(&ProfileFunction {
                name: text(name),
                file: text("a.py"),
                first_line: 1,
                kind: FunctionKind::Python,
            });
            let frame = self.frames;
            self.feed.frame(ProfileFrame {
                function: frame,
                line: *line,
                columns: None,
                opcode: None,
            });
            self.feed.stack(StackNode { caller, frame });
            caller = Some(self.stacks);
            self.frames += 1;
            self.stacks += 1;
        }
        caller.unwrap()
    }

    /// So many ticks at which these threads were seen.
    fn ticks(&mut self, count: u64, seen: &[Seen]) {
        for _ in 0..count {
            self.about.ticks += 1;
            self.about.duration += TICK;
            self.feed.tick(&self.about, seen).unwrap();
            while let Received::Slice(slice) = self.slices.next(Duration::ZERO) {
                self.board.take(*slice);
            }
        }
    }

    /// What of a function was seen recently and ever, in ticks: own and total each.
    fn function(&self, name: &str, mode: Mode) -> (u64, u64, u64, u64) {
        let functions = self.board.functions(None);
        let share = functions
            .iter()
            .find(|share| share.function.name.text == name);
        let share = share.unwrap();
        (
            share.recent.own.of(mode) / TICK,
            share.recent.total.of(mode) / TICK,
            share.ever.own.of(mode) / TICK,
            share.ever.total.of(mode) / TICK,
        )
    }
}

fn text(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        truncated: false,
    }
}

fn seen(thread: u32, stack: u32, on_cpu: bool) -> Seen {
    Seen {
        thread,
        stack: Some(stack),
        status: SampleStatus {
            on_cpu: Some(on_cpu),
            waits_for_cpu: None,
            holds_gil: Some(on_cpu),
            waits_for_gil: None,
            handles_exception: None,
        },
        trust: Trust::Whole,
    }
}

#[test]
fn functions_count_once_for_each_stack_and_by_what_the_thread_did() {
    let mut scene = Scene::new();
    let (busy, idle) = (scene.thread(1), scene.thread(2));
    let recursive = scene.stack(&[("main", 1), ("f", 2), ("f", 3), ("g", 4)]);
    let waiting = scene.stack(&[("main", 1), ("f", 2)]);
    // The first slice is one tick long, all others are a quarter of a second.
    scene.ticks(
        1 + 200,
        &[seen(busy, recursive, true), seen(idle, waiting, false)],
    );
    assert_eq!(scene.function("f", Mode::Wall), (201, 402, 201, 402));
    assert_eq!(scene.function("f", Mode::Cpu), (0, 201, 0, 201));
    assert_eq!(scene.function("g", Mode::Gil), (201, 201, 201, 201));
    assert_eq!(scene.function("g", Mode::Exception), (0, 0, 0, 0));

    let lines = scene.board.lines(Some(busy));
    let mut lines: Vec<_> = lines
        .iter()
        .map(|line| (line.line.unwrap(), line.recent))
        .collect();
    lines.sort_by_key(|(line, _)| *line);
    let counts = lines
        .iter()
        .map(|(line, count)| (*line, count.own.of(Mode::Cpu) / TICK));
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [(1, 0), (2, 0), (3, 0), (4, 201)]
    );
    assert!(
        lines
            .iter()
            .all(|(_, count)| count.total.of(Mode::Cpu) == 201 * TICK)
    );
}

#[test]
fn what_is_recent_passes_and_what_was_ever_stays() {
    let mut scene = Scene::new();
    let thread = scene.thread(1);
    let (before, after) = (scene.stack(&[("before", 1)]), scene.stack(&[("after", 1)]));
    scene.ticks(2001, &[seen(thread, before, true)]);
    let (recent, ..) = scene.function("before", Mode::Wall);
    assert!((1000..=1050).contains(&recent), "{recent}");
    scene.ticks(2000, &[seen(thread, after, true)]);
    assert_eq!(scene.function("before", Mode::Wall), (0, 0, 2001, 2001));
    let (recent, _, ever, _) = scene.function("after", Mode::Wall);
    assert!((1000..=1050).contains(&recent), "{recent}");
    assert_eq!(ever, 2000);

    let overview = scene.board.overview();
    assert_eq!((overview.ticks, overview.time), (recent, recent * TICK));
    assert_eq!(overview.threads.on_cpu, recent * TICK);
    let loads: Vec<Load> = scene.board.loads().collect();
    assert_eq!(loads.len(), 20);
    assert!(
        loads
            .iter()
            .all(|load| (load.running, load.holds_gil) == (1.0, 1.0))
    );
}

#[test]
fn threads_tell_what_they_did_and_where_they_were() {
    let mut scene = Scene::new();
    let (one, two) = (scene.thread(11), scene.thread(12));
    let busy = scene.stack(&[("main", 1), ("work", 7)]);
    let idle = scene.stack(&[("main", 1), ("wait", 9)]);
    let waits = Seen {
        status: SampleStatus {
            on_cpu: Some(false),
            waits_for_cpu: None,
            holds_gil: Some(false),
            waits_for_gil: Some(true),
            handles_exception: None,
        },
        ..seen(two, idle, false)
    };
    scene.ticks(51, &[seen(one, busy, true), waits]);
    scene.ticks(50, &[seen(one, busy, true), seen(two, idle, false)]);
    scene.feed.rename(two, &text("worker"));
    scene.ticks(50, &[seen(one, busy, true)]);
    let mut threads = scene.board.threads();
    threads.sort_by_key(|share| share.index);
    let [first, second] = &threads[..] else {
        panic!("two threads: {threads:?}")
    };
    let at = |share: &ThreadShare| {
        let (function, line) = share.at.clone().unwrap();
        (function.name.text.clone(), line)
    };
    assert_eq!((first.recent.on_cpu, first.recent.idle()), (151 * TICK, 0));
    assert_eq!(
        (second.recent.waits_for_gil, second.recent.idle()),
        (51 * TICK, 50 * TICK)
    );
    assert_eq!(at(first), ("work".to_owned(), 7));
    assert_eq!(at(second), ("wait".to_owned(), 9));
    let name = second
        .thread
        .as_ref()
        .and_then(|thread| thread.name.clone());
    assert_eq!(name, Some(text("worker")));
}

#[test]
fn the_tree_has_callers_above_and_the_heaviest_first() {
    let mut scene = Scene::new();
    let thread = scene.thread(1);
    let light = scene.stack(&[("main", 1), ("light", 2)]);
    let heavy = scene.stack(&[("main", 1), ("heavy", 5), ("leaf", 6)]);
    let other = scene.stack(&[("boot", 1)]);
    scene.ticks(51, &[seen(thread, light, true)]);
    scene.ticks(100, &[seen(thread, heavy, true)]);
    scene.ticks(50, &[seen(thread, other, false)]);
    let shown = |branches: &[Branch]| -> Vec<(String, usize, u64, u64, usize)> {
        let shown = |branch: &Branch| {
            let name = branch.function.name.text.clone();
            let (own, total) = (branch.own / TICK, branch.total / TICK);
            (name, branch.depth, own, total, branch.below)
        };
        branches.iter().map(shown).collect()
    };
    let tree = scene.board.tree(None, Mode::Wall);
    assert_eq!(
        shown(&tree),
        [
            ("main".to_owned(), 0, 0, 151, 3),
            ("heavy".to_owned(), 1, 0, 100, 1),
            ("leaf".to_owned(), 2, 100, 100, 0),
            ("light".to_owned(), 1, 51, 51, 0),
            ("boot".to_owned(), 0, 50, 50, 0),
        ]
    );
    let busy = scene.board.tree(Some(thread), Mode::Cpu);
    assert_eq!(busy.len(), 4);
    assert_eq!(busy[0].id, tree[0].id);
    assert!(scene.board.tree(Some(99), Mode::Wall).is_empty());
}

#[test]
fn a_reader_that_is_slow_loses_nothing() {
    let mut scene = Scene::new();
    let thread = scene.thread(1);
    let stack = scene.stack(&[("main", 1)]);
    for _ in 0..2000 {
        scene.about.ticks += 1;
        scene.about.duration += TICK;
        scene
            .feed
            .tick(&scene.about, &[seen(thread, stack, true)])
            .unwrap();
    }
    // Nobody has taken any: a few wait, the rest is in the one that is not handed on yet.
    scene.ticks(51, &[seen(thread, stack, true)]);
    scene.ticks(51, &[seen(thread, stack, true)]);
    let (_, _, ever, _) = scene.function("main", Mode::Wall);
    assert!((2051..=2102).contains(&ever), "{ever}");
}

#[test]
fn threads_that_end_without_end_are_put_together() {
    let mut scene = Scene::new();
    let stack = scene.stack(&[("main", 1)]);
    for tid in 0..10_000 {
        let thread = scene.thread(tid);
        scene.ticks(1, &[seen(thread, stack, true)]);
    }
    scene.ticks(50, &[]);
    let threads = scene.board.threads();
    assert!(threads.len() < 6000, "{}", threads.len());
    let ended: Vec<_> = threads
        .iter()
        .filter(|share| share.thread.is_none())
        .collect();
    assert_eq!(ended.len(), 1);
    let all: u64 = threads.iter().map(|share| share.ever.seen).sum();
    assert_eq!(all, 10_000 * TICK);
    assert_eq!(scene.function("main", Mode::Wall).3, 10_000);
}

/// What the kernel says counts, whatever the looks make believe: of a machine loaded three times
/// over a thread looks runnable all the time and has a third of it.
#[test]
fn processor_time_is_what_was_accounted() {
    let mut scene = Scene::new();
    let (busy, native) = (scene.thread(1), scene.native(2));
    let stack = scene.stack(&[("main", 1), ("work", 7)]);
    let blas = scene.stack(&[("<thread without Python>", 0)]);
    let without = Seen {
        stack: None,
        status: SampleStatus::default(),
        ..seen(native, blas, false)
    };
    // Ticks are missed, and the looks that there were stand for all the time.
    for _ in 0..1000 {
        let charge = |seen: &Seen, on| Charge::of(seen, on);
        scene.feed.charge(&charge(&seen(busy, stack, true), TICK));
        scene.feed.charge(&Charge::waiting(busy, 2 * TICK));
        scene
            .feed
            .charge(&charge(&seen(native, blas, true), 3 * TICK));
        scene.about.duration += 2 * TICK;
        scene.about.missed += 2;
        scene.ticks(1, &[seen(busy, stack, true), without]);
    }
    let overview = scene.board.overview();
    assert!(overview.accounted);
    assert_eq!(overview.samples, scene.board.about().ticks);
    let share = |of: u64| of as f64 / overview.time as f64;
    assert!((share(overview.threads.on_cpu) - 4.0 / 3.0).abs() < 0.01);
    let work = |name: &str| {
        let functions = scene.board.functions(None);
        let function = functions.iter().find(|of| of.function.name.text == name);
        share(function.unwrap().recent.own.of(Mode::Cpu))
    };
    assert!((work("work") - 1.0 / 3.0).abs() < 0.01);
    assert!((work("<thread without Python>") - 1.0).abs() < 0.01);
    for thread in scene.board.threads() {
        let shares = thread.recent.shares(overview.time);
        let third = if thread.index == busy { 1.0 } else { 3.0 };
        assert!((shares.on_cpu - third / 3.0).abs() < 0.01, "{shares:?}");
        assert!((shares.on_cpu + shares.waits_for_cpu - 1.0).abs() < 0.01);
        assert!(shares.idle < 0.01 && shares.holds_gil <= 1.0);
    }
}

#[test]
fn no_share_is_above_what_it_is_a_share_of() {
    let times = ThreadTimes {
        seen: 95,
        on_cpu: 60,
        waits_for_cpu: 30,
        unknown: 0,
        holds_gil: 104,
        waits_for_gil: 20,
    };
    let shares = times.shares(100);
    let all = [
        shares.on_cpu,
        shares.waits_for_cpu,
        shares.waits_for_gil,
        shares.idle,
        shares.holds_gil,
    ];
    assert_eq!(all, [0.6, 0.3, 0.1, 0.0, 1.0]);
    assert_eq!(ThreadTimes::default().shares(0), ThreadShares::default());
}

/// A thread that is kept from a processor from the first look on has had nothing of one.
#[test]
fn what_is_not_accounted_yet_is_not_taken_for_time_on_a_processor() {
    let mut scene = Scene::new();
    let thread = scene.thread(1);
    let stack = scene.stack(&[("main", 1)]);
    let mut runnable = seen(thread, stack, true);
    runnable.status.waits_for_cpu = Some(false);
    scene.ticks(101, &[runnable]);
    let overview = scene.board.overview();
    assert!(overview.accounted);
    assert_eq!(overview.threads.on_cpu, 0);
    assert_eq!(scene.function("main", Mode::Cpu).3, 0);
}
