//! Targets whose main thread waits or works in one particular way, and which find out by
//! themselves whether that went as it should.

use std::time::Instant;

use crate::helpers;
use crate::interpreters::Interpreter;
use crate::launch::Launch;
use crate::target::{PATIENCE, Target};

const PROGRAM: &str = include_str!("../targets/waiting.py");

/// A way to wait or work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Its name in messages.
    pub name: &'static str,
    /// Its name in documents.
    pub title: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// What a wait is to whoever wants the thread to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// CPython's own code waits, for a given time.
    Timed,
    /// CPython's own code waits for something that comes when [`Wait::end`] asks for it.
    Event,
    /// It runs Python.
    Python,
    /// It runs C that looks for signals now and then.
    Heedful,
    /// It runs C that heeds nothing, several seconds long.
    Deaf,
    /// Code waits, for a given time, that CPython knows nothing of.
    ForeignTimed,
    /// Code waits for a signal, and for nothing else.
    ForeignEvent,
}

/// All of them.
pub const ALL: [Wait; 37] = [
    wait("busy", "busy loop", Kind::Python),
    wait("sorted", "`sorted` with a Python key", Kind::Python),
    wait("sleep", "`time.sleep`", Kind::Timed),
    wait("select", "`select`", Kind::Timed),
    wait("poll", "`poll`", Kind::Timed),
    wait("epoll", "`epoll`", Kind::Timed),
    wait("asyncio", "idle asyncio", Kind::Timed),
    wait("recv", "`recv`", Kind::Event),
    wait("recv-timed", "`recv` with a time-out", Kind::Timed),
    wait("accept", "`accept`", Kind::Event),
    wait("read", "`read` on a pipe", Kind::Event),
    wait("stdin", "`sys.stdin.readline`", Kind::Event),
    wait("lock", "`Lock.acquire`", Kind::Event),
    wait("lock-timed", "`Lock.acquire` with a time-out", Kind::Timed),
    wait(
        "rlock-timed",
        "`RLock.acquire` with a time-out",
        Kind::Timed,
    ),
    wait("condition", "`Condition.wait`", Kind::Event),
    wait(
        "condition-timed",
        "`Condition.wait` with a time-out",
        Kind::Timed,
    ),
    wait("event", "`Event.wait`", Kind::Event),
    wait("event-timed", "`Event.wait` with a time-out", Kind::Timed),
    wait("queue", "`queue.get`", Kind::Event),
    wait("queue-timed", "`queue.get` with a time-out", Kind::Timed),
    wait("join", "`Thread.join`", Kind::Event),
    wait("join-timed", "`Thread.join` with a time-out", Kind::Timed),
    wait("waitpid", "`os.waitpid`", Kind::Event),
    wait("subprocess", "`subprocess.run`", Kind::Event),
    wait(
        "subprocess-timed",
        "`Popen.wait` with a time-out",
        Kind::Timed,
    ),
    wait("regex", "regex backtracking", Kind::Heedful),
    wait("power", "big-int power", Kind::Heedful),
    wait("zlib", "zlib on a big buffer (without the GIL)", Kind::Deaf),
    wait("holding", "`math.fsum` of much (with the GIL)", Kind::Deaf),
    // CPython's own, but what it returns is rubbish if its time passes while a script runs.
    wait("sigtimedwait", "`signal.sigtimedwait`", Kind::ForeignTimed),
    wait("c-sleep", "`ctypes`: `sleep`", Kind::ForeignTimed),
    wait("c-usleep", "`ctypes`: `usleep`", Kind::ForeignTimed),
    wait("c-poll", "`ctypes`: `poll`", Kind::ForeignTimed),
    wait("c-pause", "`ctypes`: `pause`", Kind::ForeignEvent),
    wait("extension", "an extension's own `poll`", Kind::ForeignTimed),
    wait("signal-pause", "`signal.pause`", Kind::ForeignEvent),
];

const fn wait(name: &'static str, title: &'static str, kind: Kind) -> Wait {
    Wait { name, title, kind }
}

/// The one of this name.
///
/// # Panics
/// If there is none.
pub fn named(name: &str) -> Wait {
    let found = ALL.into_iter().find(|wait| wait.name == name);
    found.unwrap_or_else(|| panic!("no wait is called {name}"))
}

impl Wait {
    /// Starts a target that waits so, where the time matters for this many seconds, and returns
    /// when its main thread is asleep, if it is to be.
    pub fn start(self, interpreter: &Interpreter, seconds: f64) -> Target {
        let mut arguments = vec![self.name.into(), seconds.to_string().into()];
        if self.name == "extension" {
            arguments.push(helpers::foreign().into_os_string());
        }
        let launch = Launch::new(interpreter, PROGRAM);
        let target = launch.arguments(arguments).start();
        if !matches!(self.kind, Kind::Python | Kind::Heedful | Kind::Deaf) {
            self.asleep(&target);
        }
        target
    }

    fn asleep(self, target: &Target) {
        let until = Instant::now() + PATIENCE;
        let main = (target.pid(), 'S');
        while !target.thread_states().contains(&main) && self.verdict(target).is_none() {
            assert!(Instant::now() < until, "{} does not sleep", self.name);
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Whether it ends when [`Wait::end`] asks for it, and not by itself.
    pub fn ends_when_asked(self) -> bool {
        !matches!(self.kind, Kind::Timed | Kind::ForeignTimed)
    }

    /// Asks for the end of a wait or work that has none by itself.
    pub fn end(self, target: &Target) {
        target.send_line("go");
    }

    /// What the target has found out, if its wait is over: `Ok` with the seconds it took, or what
    /// was wrong.
    pub fn verdict(self, target: &Target) -> Option<Result<f64, String>> {
        let printed = target.stdout_so_far();
        printed.lines().find_map(|line| {
            let (word, rest) = line.split_once(' ')?;
            let text = rest.strip_prefix(self.name)?.trim();
            match word {
                "fine" => Some(text.parse().map_err(|_| line.to_owned())),
                "harm" => Some(Err(text.to_owned())),
                _ => None,
            }
        })
    }

    /// Waits for the target's verdict.
    ///
    /// # Panics
    /// If it does not come in time, or says that something was wrong.
    #[track_caller]
    pub fn went_well(self, target: &Target) -> f64 {
        target.wait_line(&format!(" {}", self.name), PATIENCE);
        match self.verdict(target) {
            Some(Ok(seconds)) => seconds,
            other => panic!("{}: {other:?}", self.name),
        }
    }
}
