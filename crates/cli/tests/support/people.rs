//! A process with a thread of each kind, and what `invivo dump` says of it.

use serde_json::Value;
use synth::{Interpreter, Launch, Target};

use super::{Run, eventually, invivo};

/// A thread of each kind, by name. The main thread reads its standard input.
pub(crate) const PEOPLE: &str = r#"
import ctypes, hashlib, os, _thread, threading, time
held = threading.Lock()
held.acquire()
def computes():
    total = 0
    while True:
        total += 1
def sleeps():
    time.sleep(1000)
def locked(first, second="two"):
    with held:
        pass
def native():
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2**31 - 1)
def handles():
    try:
        {}["key"]
    except KeyError as error:
        time.sleep(1000)
def falls(depth):
    if depth == 0:
        time.sleep(1000)
    falls(depth - 1)
import sys
sys.setrecursionlimit(10000)
threading.stack_size(256 << 20)
busy = [] if "quiet" in sys.argv else [(computes, ()), (native, ())]
for function, arguments in busy + [(sleeps, ()), (locked, (1,)), (handles, ()), (falls, (4999,))]:
    threading.Thread(target=function, args=arguments, name=function.__name__, daemon=True).start()
threading.stack_size(0)
_thread.start_new_thread(time.sleep, (1000,))
library = ctypes.CDLL(None)
outsider = ctypes.c_ulong()
library.pthread_create(ctypes.byref(outsider), None, library.pause, None)
def main():
    print("ready", flush=True)
    os.read(0, 1)
main()
"#;

pub(crate) fn dump(target: &Target, words: &[&str]) -> Run {
    let pid = target.pid().to_string();
    invivo(["dump", &pid].into_iter().chain(words.iter().copied()))
}

/// All threads that a dump shows.
pub(crate) fn threads(report: &Value) -> Vec<&Value> {
    let interpreters = report["interpreters"].as_array().expect("interpreters");
    let all = interpreters
        .iter()
        .flat_map(|one| one["threads"].as_array());
    all.flatten().collect()
}

#[track_caller]
pub(crate) fn named<'a>(report: &'a Value, name: &str) -> &'a Value {
    let found = threads(report).into_iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no thread {name} in {report:#}"))
}

pub(crate) fn functions(thread: &Value) -> Vec<&str> {
    let frames = thread["frames"].as_array().expect("frames");
    frames
        .iter()
        .map(|frame| frame["name"].as_str().expect("a name"))
        .collect()
}

/// The line of `PEOPLE` that reads so.
pub(crate) fn line_of(text: &str) -> usize {
    let place = PEOPLE.lines().position(|line| line.trim() == text);
    place.unwrap_or_else(|| panic!("no line {text}")) + 1
}

/// Waits until all its threads that are to sleep do.
pub(crate) fn people(interpreter: &Interpreter, words: &[&str]) -> Target {
    let target = Launch::new(interpreter, PEOPLE).arguments(words).start();
    let process = ::invivo::Target::open(target.pid()).expect("opening the target");
    eventually("its threads are at rest", || {
        let threads = process.threads().expect("its threads");
        let activities = threads.iter().map(|one| process.activity(one.tid));
        let calls: Vec<_> = activities
            .filter_map(|activity| activity.ok()?.system_call?.name)
            .collect();
        let count = |names: &[&str]| calls.iter().filter(|call| names.contains(call)).count();
        let sleeps = count(&["clock_nanosleep", "pselect6", "select"]);
        sleeps == 4 && [count(&["read"]), count(&["pause"])] == [1, 1] && count(&["futex"]) >= 1
    });
    target
}
