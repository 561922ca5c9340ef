//! What a command makes of a target's data is bounded in memory and time, whatever the target
//! makes of itself.

mod support;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{INVIVO, Run};
use synth::{Launch, Target, samples};

/// How much memory a command may have: all of its address space, with the binary's own mappings.
const MEMORY_KIB: u64 = 384 << 10;

/// How long it may take: a multiple of what it takes, for this machine may be loaded.
const SECONDS: &str = "60";

/// Runs `invivo` with so much memory and time, and says how long it took. What it prints can be
/// long, and is not shown.
fn within_bounds(words: &[&str]) -> (Run, Duration) {
    let (run, time) = within_bounds_or_not(words);
    let said: String = run.stderr.chars().take(2000).collect();
    assert!(matches!(run.code, Some(0 | 1)), "{:?}: {said}", run.code);
    (run, time)
}

/// The same where it may be told that not all of it could be.
fn within_bounds_or_not(words: &[&str]) -> (Run, Duration) {
    let shell = format!("ulimit -v {MEMORY_KIB}; exec timeout {SECONDS} \"$0\" \"$@\"");
    let begun = Instant::now();
    // Each arena of the C library takes 64 MiB of addresses, if no memory.
    let output = Command::new("sh")
        .args(["-c", &shell, INVIVO])
        .args(words)
        .env("MALLOC_ARENA_MAX", "1")
        .stdin(Stdio::null())
        .output()
        .expect("running invivo");
    let run = Run::of(output);
    assert_ne!(run.code, Some(124), "not in time: {words:?}");
    (run, begun.elapsed())
}

/// Two functions that call each other, in a file of one line of 4 MiB, as deep as is asked for.
const LONG_LINE: &str = r#"
import sys, threading, time
path, depth = sys.argv[1], int(sys.argv[2])
sys.setrecursionlimit(10**6)
code = 'f = lambda n: g(n - 1) if n else end(); g = lambda n: f(n - 1) if n else end()#'
code += 'x' * ((4 << 20) - len(code))
with open(path, 'w') as file:
    file.write(code)
end = lambda: time.sleep(10000)
exec(compile(code, path, 'exec'))
threading.Thread(target=f, args=(depth,), daemon=True).start()
time.sleep(0.1)
print('ready', flush=True)
while True:
    time.sleep(0.01)
"#;

fn with_a_long_line(depth: &str) -> (tempfile::TempDir, Target) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("long.py");
    let path = path.to_str().expect("a plain path");
    let target = Launch::new(synth::interpreter("3.14"), LONG_LINE)
        .arguments([path, depth])
        .start();
    (directory, target)
}

#[test]
fn a_line_of_four_megabytes_is_cut_in_every_frame() {
    let (_directory, target) = with_a_long_line("5000");
    let pid = target.pid().to_string();
    let (dump, _) = within_bounds(&["dump", &pid]);
    assert!(dump.stdout.contains(" f = lambda n: g(n - 1)"));
    let (json, _) = within_bounds(&["dump", &pid, "--json"]);
    let report = json.json();
    let threads = report["interpreters"][0]["threads"].as_array();
    let frames = threads.expect("threads").iter().flat_map(|thread| {
        let frames = thread["frames"].as_array();
        frames.expect("frames").iter()
    });
    let cut = frames.filter(|frame| {
        let source = frame["source"].as_str().unwrap_or_default();
        source.starts_with("f = lambda") && source.len() == 2000 + '…'.len_utf8()
    });
    assert!(cut.count() > 4000);

    let raise = "end = lambda: 1 / 0\nf(40)";
    let words = ["exec", &pid, "--namespace", "main", "-c", raise];
    let (run, _) = within_bounds(&words);
    let lines: Vec<_> = run.stderr.lines().collect();
    let cut = lines.iter().filter(|line| line.ends_with("xxx…")).count();
    assert!(cut >= 40, "{cut} of {}", lines.len());
    assert_eq!(lines.last(), Some(&"ZeroDivisionError: division by zero"));
}

/// Overwrites all of its arguments with NULs.
const EMPTY_WORDS: &str = r"
import ctypes
with open('/proc/self/stat') as file:
    fields = file.read().rpartition(')')[2].split()
start, end = int(fields[45]), int(fields[46])
ctypes.memset(start, 0, end - start)
";

#[test]
fn a_million_empty_arguments_are_cut_and_said_to_be() {
    let words = std::iter::repeat_n("x".repeat(100_000), 15);
    let program = format!("{EMPTY_WORDS}{}", samples::SLEEPER);
    let launch = Launch::new(synth::interpreter("3.14"), program).arguments(words);
    let target = launch.start();
    let pid = target.pid().to_string();
    let (run, _) = within_bounds(&["ps", "--json"]);
    let report = run.json();
    let mut processes = report["processes"].as_array().expect("a list").iter();
    let listed = processes.find(|process| process["pid"] == target.pid());
    let command = listed.expect("it is in the list")["command"].clone();
    let command = command.as_array().expect("words");
    assert_eq!(command.len(), 2049);
    assert_eq!(command[2048], "…");
    let (dump, _) = within_bounds(&["dump", &pid]);
    assert!(dump.stdout.len() < 100_000, "{}", dump.stdout.len());
}

#[test]
fn controls_take_no_more_room_than_text() {
    let target = support::busy(synth::interpreter("3.14"));
    let pid = target.pid().to_string();
    let script = "import sys\nfor _ in range(640): sys.stdout.write('\\x7f' * 100_000)";
    let (run, _) = within_bounds(&["exec", &pid, "--json", "--timeout", "50", "-c", script]);
    let report = run.json();
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["output_truncated"], true);
    assert_eq!(report["stdout"].as_str().map(str::len), Some(32 << 20));
    support::unharmed(&target);
}

/// A string that is in many places at once: in lists, in dictionaries and in variables of frames.
const SAME_TEXT: &str = r"
import threading, time
TEXT = '\x1b' * 65536
LIST = [TEXT] * 20000
def work(depth):
    a = b = c = d = TEXT
    many, table = LIST, dict.fromkeys(range(2000), TEXT)
    if depth:
        return work(depth - 1)
    print('ready', flush=True)
    time.sleep(10000)
threading.Thread(target=work, args=(50,), daemon=True).start()
while True:
    time.sleep(0.01)
";

#[test]
fn a_text_that_is_in_many_places_is_kept_as_often_as_there_is_room() {
    let target = Launch::new(synth::interpreter("3.14"), SAME_TEXT).start();
    let pid = target.pid().to_string();
    let much = ["--max-string", "65536", "--max-items", "65536"];
    for json in [&[][..], &["--json"][..]] {
        let words = ["dump", &pid, "--locals=3", "--timeout", "50"];
        let (run, _) = within_bounds_or_not(&[&words[..], &much, json].concat());
        assert_eq!(run.code, Some(5));
        assert!(
            run.stderr.contains("would be more than 128 MiB"),
            "{}",
            run.stderr
        );
    }
    let (run, _) = within_bounds(&["dump", &pid, "--locals=3", "--timeout", "50"]);
    assert!(
        run.stdout.contains("many = ['\\x1b\\x1b"),
        "{}",
        run.stdout.len()
    );
    assert!(target.is_running());
}

/// Tasks with names of a hundred thousand characters, of which each awaits the first.
const LONG_NAMES: &str = r"
import asyncio, threading
async def main():
    first = asyncio.ensure_future(asyncio.sleep(10000))
    async def wait():
        await first
    tasks = [first] + [asyncio.ensure_future(wait()) for _ in range(1000)]
    for number, task in enumerate(tasks):
        task.set_name('\u202e' * 100_000 + str(number))
    threading.current_thread().name = '\x1b' * 100_000
    await asyncio.sleep(0)
    print('ready', flush=True)
    while True:
        await asyncio.sleep(0.01)
asyncio.run(main())
";

#[test]
fn names_of_threads_and_tasks_are_cut() {
    let target = Launch::new(synth::interpreter("3.14"), LONG_NAMES).start();
    let pid = target.pid().to_string();
    for words in [&["tasks", &pid][..], &["tasks", &pid, "--tree"]] {
        let (run, _) = within_bounds(&[words, &["--timeout", "50"]].concat());
        assert!(run.stdout.len() < 3 << 20, "{}", run.stdout.len());
        assert!(run.stdout.contains("…"));
    }
    let (run, _) = within_bounds(&["tasks", &pid, "--json", "--timeout", "50"]);
    let report = run.json();
    let tasks = report["tasks"].as_array().expect("tasks");
    assert_eq!(tasks.len(), 1002);
    let name = |task: &serde_json::Value| task["name"].as_str().map(|name| name.chars().count());
    let long = tasks.iter().filter(|task| name(task) == Some(1024));
    assert_eq!(long.count(), 1001);
    let (run, _) = within_bounds(&["dump", &pid, "--json", "--timeout", "50"]);
    let name = &run.json()["interpreters"][0]["threads"][0]["name"];
    assert_eq!(name.as_str().map(|name| name.chars().count()), Some(1024));
    assert!(target.is_running());
}

/// Two thousand functions with names of sixteen thousand characters, each called by the one before.
const LONG_FUNCTIONS: &str = r"
import sys, threading, time, types
sys.setrecursionlimit(10000)
base = compile('def f(at): return called[at + 1](at + 1)', 'f.py', 'exec').co_consts[0]
called = []
for number in range(2000):
    name = '\x1b' * 16000 + str(number)
    code = base.replace(co_name=name, co_qualname=name, co_filename=name)
    called.append(types.FunctionType(code, {'called': called}))
called.append(lambda at: (print('ready', flush=True), time.sleep(10000)))
threading.Thread(target=called[0], args=(0,), daemon=True).start()
while True:
    time.sleep(0.01)
";

#[test]
fn frames_are_not_left_out_in_silence_for_the_sake_of_their_names() {
    let target = Launch::new(synth::interpreter("3.14"), LONG_FUNCTIONS).start();
    let pid = target.pid().to_string();
    let (run, _) = within_bounds_or_not(&["dump", &pid, "--timeout", "50"]);
    let said = "could not be read: more would have to be read than is allowed";
    assert!(run.stdout.contains(said), "{} bytes", run.stdout.len());
    assert!(target.is_running());
}
