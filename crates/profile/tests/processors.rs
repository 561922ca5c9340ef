//! From which processor threads are read, and what that is good for.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::collections::BTreeSet;

use invivo_model::{Looks, Profile};
use invivo_process::{Affinity, Launched};
use invivo_profile::{Collect, Follower, Options, Plan, SampleFrom, Session};
use support::{alone, ended, names, plan, subject, until};
use synth::{Launch, interpreter, interpreters};

/// Two sides that never call each other, with generators and coroutines. All of it is below
/// `<module>`.
const SIDES: &str = r#"
def left_leaf(n): return n + 1
def right_leaf(n): return n + 2
def left_each(count):
    for n in range(count): yield left_leaf(n)
def right_each(count):
    for n in range(count): yield right_leaf(n)
def left_chain(count): yield from left_each(count)
async def left_wait(count): return sum(left_chain(count))
async def right_wait(count): return [right_leaf(n) for n in right_each(count)]
def drive(coroutine):
    try: coroutine.send(None)
    except StopIteration: pass
def left(): drive(left_wait(20))
def right(): drive(right_wait(20))
print("ready", flush=True)
while True:
    left(); right()
"#;

/// Processors that the calling thread may run on.
fn allowed() -> Vec<u32> {
    let affinity = Affinity::of_this_thread().unwrap();
    (0..1024).filter(|one| affinity.allows(*one)).collect()
}

/// Samples what runs in this interpreter for so many ticks.
fn sampled(pid: u32, from: SampleFrom, block: bool, ticks: u64) -> Profile {
    let plan = Plan {
        from,
        ..plan(2000, Options::default())
    };
    let mut session = Session::new(plan, |_| Ok(Collect::new())).unwrap();
    session.add(subject(pid)).unwrap();
    if block {
        session.block();
    }
    until(&mut session, |session| session.about().ticks >= ticks);
    ended(session)
}

/// How many samples show a stack that can't be, and how many there are.
fn impossible(profile: &Profile) -> (u64, u64) {
    let (mut wrong, mut all) = (0, 0);
    for sample in &profile.samples {
        let names = names(&profile.tables, sample.stack);
        let sides = |side: &str| names.iter().any(|name| name.starts_with(side));
        let root = names.first().copied();
        let possible = matches!(root, Some("<module>" | "<callers not known>"))
            && !(sides("left") && sides("right"));
        all += u64::from(sample.ticks);
        wrong += if possible { 0 } else { u64::from(sample.ticks) };
    }
    (wrong, all)
}

#[test]
fn what_runs_is_read_on_its_own_processor_and_can_not_move_meanwhile() {
    let _alone = alone();
    let before = allowed();
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let target = Launch::new(interpreter, SIDES).start();
        let profile = sampled(target.pid(), SampleFrom::OwnProcessor, false, 500);
        let looks = profile.about.looks;
        assert!(looks.own_processor > looks.elsewhere, "{name}: {looks:?}");
        assert_eq!(looks.stopped, 0, "{name}");
        // It may be moved to another processor in the middle of a look, and that is rare.
        let (wrong, all) = impossible(&profile);
        assert!(all >= 450, "{name}: {all} samples");
        assert!(wrong * 50 <= all, "{name}: {wrong} of {all}, {looks:?}");
        // What is over leaves nothing behind.
        assert_eq!(allowed(), before, "{name}");
    }
}

#[test]
fn it_is_read_from_elsewhere_where_that_is_asked_for() {
    let _alone = alone();
    let before = allowed();
    if before.len() < 2 {
        // There is no other processor: then it is read on its own, and said so.
        eprintln!("only one processor: nothing can be read from another");
    }
    let target = Launch::new(interpreter("3.13"), SIDES).start();
    let Looks {
        own_processor,
        elsewhere,
        stopped,
    } = sampled(target.pid(), SampleFrom::Elsewhere, false, 500)
        .about
        .looks;
    assert_eq!(stopped, 0);
    if before.len() < 2 {
        assert!(own_processor > 0 && elsewhere == 0);
    } else {
        assert!(elsewhere > own_processor, "{elsewhere}, {own_processor}");
    }
    assert_eq!(allowed(), before);
}

#[test]
fn threads_that_take_turns_or_run_at_once_are_each_read_on_their_own_processor() {
    let _alone = alone();
    let program = "import threading
def work():
    count = 0
    while True: count += 1
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
print('ready', flush=True)
for thread in threads: thread.join()";
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let target = Launch::new(interpreter, program).start();
        let profile = sampled(target.pid(), SampleFrom::OwnProcessor, false, 200);
        let looks = profile.about.looks;
        assert!(looks.own_processor > looks.elsewhere, "{name}: {looks:?}");
        // All four are there at each tick.
        let all: u64 = profile.samples.iter().map(|one| u64::from(one.ticks)).sum();
        assert!(all >= 4 * 180, "{name}: {all} samples");
    }
}

#[test]
fn no_stack_begins_with_a_generator_that_nobody_resumed_wherever_it_is_read_from() {
    let _alone = alone();
    for interpreter in interpreters() {
        let name = &interpreter.name;
        let target = Launch::new(interpreter, SIDES).start();
        let profile = sampled(target.pid(), SampleFrom::Elsewhere, false, 500);
        for sample in &profile.samples {
            let names = names(&profile.tables, sample.stack);
            let resumed = ["each", "chain", "wait", "<genexpr>"];
            let first = names.first().copied().unwrap_or_default();
            assert!(
                !resumed.iter().any(|kind| first.ends_with(kind)),
                "{name}: {names:?}"
            );
        }
    }
}

#[test]
fn what_is_stopped_is_counted_as_stopped() {
    let _alone = alone();
    for name in ["3.8", "3.15"] {
        let target = Launch::new(interpreter(name), SIDES).start();
        let profile = sampled(target.pid(), SampleFrom::Auto, true, 200);
        let looks = profile.about.looks;
        assert!(looks.stopped > 0, "{name}: {looks:?}");
        assert_eq!(looks.own_processor + looks.elsewhere, 0, "{name}");
        // A tick at which a busy machine did not let it stand still in time has no sample.
        let (wrong, all) = impossible(&profile);
        assert!(wrong == 0 && all > 0, "{name}: {wrong} of {all}");
    }
}

#[test]
fn a_command_may_run_wherever_we_might() {
    let _alone = alone();
    let before = allowed();
    let program = "import os, time
begun = time.monotonic()
seen = set()
while time.monotonic() < begun + 1: seen |= {tuple(sorted(os.sched_getaffinity(0)))}
print(len(seen), *seen.pop(), file=open(os.environ['SEEN'], 'w'))";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("seen");
    let mut session = Session::new(plan(1000, Options::default()), |_| Ok(Collect::new())).unwrap();
    let arguments = [
        format!("SEEN={}", file.display()).into(),
        interpreter("3.14").program.clone().into(),
        "-c".into(),
        program.into(),
    ];
    let launched = Launched::start(&"env".into(), &arguments).unwrap();
    session.follow(Follower::new(launched.pid(), false, None).unwrap());
    let profile = support::to_the_end(session);
    assert_eq!(launched.wait(), Ok(0));
    assert!(profile.about.looks.own_processor > 0);
    let seen = std::fs::read_to_string(file).unwrap();
    let seen: Vec<u32> = seen
        .split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect();
    let (count, processors) = seen.split_first().unwrap();
    // It was so all the time.
    assert_eq!(*count, 1);
    let distinct: BTreeSet<_> = processors.iter().copied().collect();
    assert_eq!(distinct.into_iter().collect::<Vec<_>>(), before);
    assert_eq!(allowed(), before);
}
