//! Targets with filters of system calls (seccomp), and whether what a script is said to make its
//! target do is all that it does.

mod support;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use support::{each, exec, invivo, not_held, staged};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target};
use tempfile::TempDir;

/// Gets a filter once the file that `RULES` names is there: what becomes of the system calls with
/// the numbers in its second line says the first number of its first line, of all others the other.
/// Then it waits, until its input ends, by looks that last `PAUSE` seconds.
const PROGRAM: &str = "
import ctypes, os, select, struct, sys
if os.environ.get('SOCKETS'): import _socket
seen = set()
# A program with a hook gets no pending call.
hooked = float(os.environ['PAUSE']) > 0 or sys.version_info >= (3, 14)
if hooked: sys.addaudithook(lambda event, _: seen.add(event))
libc = ctypes.CDLL(None)
def filter_calls(listed, other, numbers):
    code = [(0x20, 0, 0, 0)]
    for number in numbers: code += [(0x15, 0, 1, number), (6, 0, 0, listed)]
    code.append((6, 0, 0, other))
    code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *one) for one in code))
    program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(code) // 8, ctypes.addressof(code)))
    assert libc.prctl(38, 1, 0, 0, 0) == 0
    assert libc.prctl(22, 2, program, 0, 0) == 0
os.write(1, b'ready\\n')
while not os.path.exists(os.environ['RULES']): select.select([], [], [], 0.001)
with open(os.environ['RULES']) as rules: actions, numbers = [[int(word) for word in line.split()] for line in rules]
filter_calls(*actions, numbers)
pause = float(os.environ['PAUSE'])
wait, text, write, end = select.select, 'seen:%s\\n', os.write, os._exit
seen.clear()
write(1, b'filtered\\n')
while not wait([0], [], [], pause)[0]: pass
write(1, (text % ' '.join(seen)).encode())
end(0)
";

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

/// The target's own calls, beside those that a script makes.
const OWN: [&str; 5] = ["exit_group", "pselect6", "read", "select", "write"];

/// A target that is yet to get its filter.
struct Filtered {
    place: TempDir,
    target: Target,
}

impl Filtered {
    fn start(python: &Interpreter, sockets: bool, pause: &str) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let rules = place.path().join("rules");
        let target = Launch::new(python, PROGRAM)
            .variable("RULES", rules.to_str().expect("a path in UTF-8"))
            .variable("SOCKETS", if sockets { "1" } else { "" })
            .variable("PAUSE", pause)
            .start();
        Self { place, target }
    }

    fn get(&self, listed: u32, other: u32, calls: &[&str]) {
        let numbers = numbers();
        // Calls of other kinds of machines have none here.
        let calls = calls.iter().filter_map(|call| numbers.get(*call));
        let calls: Vec<String> = calls.map(u32::to_string).collect();
        let rules = format!("{listed} {other}\n{}\n", calls.join(" "));
        let half = self.place.path().join("half");
        std::fs::write(&half, rules).expect("writing the rules");
        std::fs::rename(half, self.place.path().join("rules")).expect("naming them");
        self.target.wait_line("filtered", PATIENCE);
    }

    /// Ends it; the audit events that it saw since it had its filter.
    fn end(&self) -> HashSet<String> {
        not_held(&self.target);
        assert_eq!(staged(&self.target), Vec::<PathBuf>::new());
        self.target.close_input();
        let status = self.target.wait_exit(PATIENCE);
        assert!(status.success(), "it ended by {status}");
        let seen = || {
            let said = self.target.stdout_so_far();
            let line = said.lines().find_map(|line| line.strip_prefix("seen:"));
            line.map(str::to_owned)
        };
        support::eventually("it has said what it saw", || seen().is_some());
        let seen = seen().expect("what it saw");
        let seen = seen.split_whitespace();
        let seen = seen.filter(|event| *event != "select.select");
        seen.map(str::to_owned).collect()
    }
}

/// The numbers of system calls on this machine, by their names.
fn numbers() -> HashMap<String, u32> {
    let mut compiler = Command::new("cc");
    compiler.args([
        "-E",
        "-dM",
        "-include",
        "sys/syscall.h",
        "-x",
        "c",
        "/dev/null",
    ]);
    let macros = compiler.output().expect("running the compiler").stdout;
    let macros = String::from_utf8(macros).expect("UTF-8");
    let of = |line: &str| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((name.to_owned(), number.parse().ok()?))
    };
    macros.lines().filter_map(of).collect()
}

fn names(footprint: &Value, field: &str) -> Vec<String> {
    let list = footprint[field].as_array().expect("a list");
    let text = |one: &Value| one.as_str().expect("text").to_owned();
    list.iter().map(text).collect()
}

#[test]
fn a_target_with_a_filter_is_left_alone_until_it_is_accepted() {
    each(
        &synth::acted_on(),
        |python| python.name.clone(),
        |python| {
            let filtered = Filtered::start(python, true, "1000");
            filtered.get(KILL_PROCESS, ALLOW, &["socket", "connect"]);
            let target = &filtered.target;
            for words in [
                &["-e", "1"][..],
                &["--dry-run", "-e", "1"],
                &["--thread", "any", "-e", "1"],
            ] {
                let run = exec(target, words);
                run.refused(5, "a script might end process", "has a seccomp filter");
            }
            let pid = target.pid().to_string();
            let report = invivo(["doctor", &pid, "--json"]).expect(5).json();
            let why = report["execution"]["error"]["why"].as_str().expect("text");
            assert!(why.contains("has a seccomp filter"), "{why}");
            // It was not touched, and does what it forbids nobody.
            assert_eq!(filtered.end(), HashSet::new());
        },
    );
}

#[test]
fn a_thread_that_may_only_read_and_write_is_left_alone_whatever_is_accepted() {
    let program = "
import ctypes
libc = ctypes.CDLL(None)
print('ready', flush=True)
libc.prctl(22, 1, 0, 0, 0)
while True: sum(range(1000))
";
    let target = Launch::new(synth::interpreter("3.12"), program).start();
    support::eventually("it is strict", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", target.pid()));
        status.expect("status").contains("Seccomp:\t1")
    });
    for words in [&["-e", "1"][..], &["--accept-seccomp", "-e", "1"]] {
        exec(&target, words).refused(5, "a script would end process", "strict mode");
    }
    not_held(&target);
}

/// How a script is run: whether the program has sockets, how long it pauses, and by which words.
const MANNERS: [(bool, &str, &[&str]); 4] = [
    (true, "1000", &[]),
    (true, "0", &["--stop-after", "60"]),
    (false, "1000", &[]),
    (false, "0", &["--no-wait"]),
];

#[test]
fn a_script_makes_its_target_do_what_was_said_and_nothing_else() {
    let pythons = synth::acted_on().into_iter();
    let cells: Vec<_> = pythons
        .flat_map(|python| MANNERS.map(|manner| (python, manner)))
        .collect();
    let name = |(python, manner): &(&Interpreter, (bool, &str, &[&str]))| {
        format!("{} {manner:?}", python.name)
    };
    each(&cells, name, |(python, (sockets, pause, manner))| {
        let filtered = Filtered::start(python, *sockets, pause);
        let target = &filtered.target;
        let run = |words: &[&str]| exec(target, &[manner, words].concat());
        let report = run(&["--json", "--dry-run", "-e", "1"]).expect(0).json();
        let footprint = &report["footprint"];
        let calls = names(footprint, "system_calls");
        let calls: Vec<&str> = calls.iter().map(String::as_str).chain(OWN).collect();
        filtered.get(ALLOW, KILL_PROCESS, &calls);
        let accepting = |words: &[&str]| run(&[&["--accept-seccomp"], words].concat());
        accepting(&["-c", "print('out')"]).expect(0);
        support::eventually("it has run", || staged(target).is_empty());
        if !manner.contains(&"--no-wait") {
            let raised = accepting(&["-c", "def f():\n    1 / 0\nf()"]).expect(1);
            assert!(raised.stderr.contains("ZeroDivisionError"), "{raised:#?}");
        }
        let told: HashSet<String> = names(footprint, "audit_events").into_iter().collect();
        let seen = filtered.end();
        let untold: Vec<_> = seen.difference(&told).collect();
        assert!(untold.is_empty(), "{untold:?} of {seen:?}");
        // What is told of a program with sockets is what it sees, but for a note of a failure.
        let hooked = *pause != "0" || python.minor() >= 14;
        if *sockets && hooked {
            let unseen: Vec<&String> = told.difference(&seen).collect();
            assert_eq!(unseen, ["os.symlink"], "{seen:?}");
        }
    });
}
