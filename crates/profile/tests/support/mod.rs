//! What tests of sampling have in common.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use invivo_model::{Profile, Tables, Trust};
use invivo_process::Target;
use invivo_profile::{Collect, Jitter, Options, Plan, Session, Step, Subject};
use synth::target::PATIENCE;

/// Goes through a few functions without pause, all of them within `main`.
pub(crate) const PARTS: &str = r#"
import time
def spin(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass
def three(): spin(0.003)
def one(): spin(0.001)
def recurse(depth):
    if depth:
        recurse(depth - 1)
    else:
        spin(0.002)
def generate():
    while True:
        spin(0.002)
        yield
def main():
    generator = generate()
    print("ready", flush=True)
    while True:
        three()
        one()
        recurse(9)
        next(generator)
main()
"#;

/// Tests that measure don't do so at the same time.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A plan of so many ticks a second.
pub(crate) fn plan(hertz: u64, options: Options) -> Plan {
    Plan {
        interval: 1_000_000_000 / hertz,
        jitter: Jitter::Uniform,
        from: invivo_profile::SampleFrom::Auto,
        options,
        creator: "a test".to_owned(),
    }
}

/// A session that keeps what it sees in memory.
pub(crate) fn session(hertz: u64, options: Options) -> Session<Collect> {
    Session::new(plan(hertz, options), |_| Ok(Collect::new())).unwrap()
}

/// The Python in this process.
pub(crate) fn subject(pid: u32) -> Subject {
    Subject::new(Target::open(pid).unwrap(), None, None).unwrap()
}

/// Samples a process for so many ticks.
pub(crate) fn sampled(pid: u32, hertz: u64, ticks: u64, options: Options) -> Profile {
    let mut session = session(hertz, options);
    session.add(subject(pid)).unwrap();
    until(&mut session, |session| session.about().ticks >= ticks);
    ended(session)
}

/// Steps until it is enough.
pub(crate) fn until(session: &mut Session<Collect>, enough: impl Fn(&Session<Collect>) -> bool) {
    let begun = Instant::now();
    while !enough(session) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", session.about());
        assert_ne!(session.step().unwrap(), Step::Ended);
    }
}

/// Steps until all processes have ended.
pub(crate) fn to_the_end(mut session: Session<Collect>) -> Profile {
    let begun = Instant::now();
    while session.step().unwrap() != Step::Ended {
        assert!(begun.elapsed() < PATIENCE, "{:?}", session.about());
    }
    ended(session)
}

/// What a session has seen.
pub(crate) fn ended(session: Session<Collect>) -> Profile {
    let (collect, about) = session.end();
    let mut profile = collect.into_profile();
    profile.about = about;
    profile
}

/// The names of the functions on a stack, outermost first.
pub(crate) fn names(tables: &Tables, mut stack: Option<u32>) -> Vec<&str> {
    let mut names = Vec::new();
    while let Some(index) = stack {
        let node = tables.stacks[index as usize];
        let frame = tables.frames[node.frame as usize];
        names.push(tables.functions[frame.function as usize].name.text.as_str());
        stack = node.caller;
    }
    names.reverse();
    names
}

/// The stacks that are certain, and in how many ticks they were seen.
pub(crate) fn whole_stacks(profile: &Profile) -> BTreeMap<Vec<&str>, u32> {
    let mut stacks = BTreeMap::new();
    let whole = profile.samples.iter();
    for sample in whole.filter(|sample| sample.trust == Trust::Whole) {
        let names = names(&profile.tables, sample.stack);
        *stacks.entry(names).or_insert(0) += sample.ticks;
    }
    stacks
}

/// In how many ticks the stack of a thread had a function of this name.
pub(crate) fn ticks_in(profile: &Profile, name: &str) -> u64 {
    let all = profile.samples.iter();
    let inside = all.filter(|sample| names(&profile.tables, sample.stack).contains(&name));
    inside.map(|sample| u64::from(sample.ticks)).sum()
}
