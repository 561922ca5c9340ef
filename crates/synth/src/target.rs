//! A running target, and what can be asked of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use crate::root::Root;

/// How long anything may take that should come at once, on a slow and loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A live Python process. Killed and reaped on drop, also when the test panics.
#[derive(Debug)]
pub struct Target {
    child: Mutex<Child>,
    pid: u32,
    /// Of the Python process where that is not `child` itself but a child of it.
    inner: Option<OwnedFd>,
    input: Mutex<Option<ChildStdin>>,
    output: Arc<Lines>,
    errors: Arc<Lines>,
    executable: PathBuf,
    ready: String,
    root: Option<Root>,
    _scratch: TempDir,
}

impl Target {
    /// Starts `command`; with `forks`, the target is its only child.
    pub(crate) fn begin(
        mut command: Command,
        executable: PathBuf,
        forks: bool,
        scratch: TempDir,
        root: Option<Root>,
    ) -> Target {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("starting {command:?}: {e}"));
        let mut target = Target {
            pid: child.id(),
            inner: None,
            input: Mutex::new(child.stdin.take()),
            output: Lines::of(child.stdout.take()),
            errors: Lines::of(child.stderr.take()),
            child: Mutex::new(child),
            executable,
            ready: String::new(),
            root,
            _scratch: scratch,
        };
        // From here on a panic drops the target, which ends the process.
        target.ready = target.wait_line("ready", PATIENCE);
        if forks {
            target.pid = only_child(target.pid);
            let pid = Pid::from_raw(target.pid.cast_signed()).expect("a pid is positive");
            target.inner =
                Some(pidfd_open(pid, PidfdFlags::empty()).expect("holding on to the target"));
        }
        target
    }

    /// The pid of the Python process, as the host sees it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The numbers that the target printed after `ready`: ids of threads or interpreters.
    pub fn ready_ids(&self) -> Vec<u64> {
        self.ready
            .split_whitespace()
            .skip(1)
            .map(|word| word.parse().expect("ids after ready"))
            .collect()
    }

    /// The running program's file, in the host's view.
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// The directory that is the target's root, in the host's view; `None` if it is the host's.
    ///
    /// For a target that runs as another user on the host: where its interpreter lies.
    pub fn root(&self) -> Option<&Path> {
        self.root.as_ref().map(Root::path)
    }

    /// Removes the running program's file. Only for a copy ([`crate::Launch::named`]).
    pub fn delete_executable(&self) {
        self.own_executable();
        fs::remove_file(&self.executable).expect("removing the program");
    }

    /// Puts another file in the place of the running program's. Only for a copy.
    pub fn replace_executable(&self, with: &[u8]) {
        self.own_executable();
        let unfinished = self.executable.with_extension("new");
        fs::write(&unfinished, with).expect("writing the replacement");
        fs::rename(&unfinished, &self.executable).expect("replacing the program");
    }

    fn own_executable(&self) {
        let own = [Some(self._scratch.path()), self.root()]
            .into_iter()
            .flatten();
        let path = &self.executable;
        assert!(
            own.into_iter().any(|place| path.starts_with(place)),
            "{} belongs to others",
            path.display()
        );
    }

    /// Waits for the next line of its standard output that contains `text`, and returns it.
    /// Lines up to it are then passed: a second call finds a later one.
    ///
    /// # Panics
    /// If the line does not come in time or the output ends; shows what came instead.
    pub fn wait_line(&self, text: &str, within: Duration) -> String {
        self.output.next_with(text, within).unwrap_or_else(|why| {
            // What it says on stderr explains why; it has mostly been written already.
            panic!(
                "no {text:?} from {}: {why}\nstdout:\n{}stderr:\n{}",
                self.pid,
                self.stdout_so_far(),
                self.stderr_so_far()
            )
        })
    }

    /// Writes a line to its standard input.
    pub fn send_line(&self, line: &str) {
        let mut input = lock(&self.input);
        let input = input.as_mut().expect("the input is open");
        writeln!(input, "{line}")
            .and_then(|()| input.flush())
            .expect("writing to the target");
    }

    /// Ends its standard input.
    pub fn close_input(&self) {
        lock(&self.input).take();
    }

    /// How many results a [`crate::samples::BUSY`] target has checked; none was wrong.
    ///
    /// # Panics
    /// If it does not answer, because it found a wrong result or otherwise.
    pub fn checked(&self) -> u64 {
        self.send_line("report");
        let answer = self.wait_line("checked", PATIENCE);
        answer
            .split_whitespace()
            .nth(1)
            .and_then(|n| n.parse().ok())
            .expect("checked N")
    }

    /// All that it has printed so far.
    pub fn stdout_so_far(&self) -> String {
        self.output.text()
    }

    /// All that it has written to its standard error so far.
    pub fn stderr_so_far(&self) -> String {
        self.errors.text()
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        lock(&self.child)
            .try_wait()
            .expect("asking for the child")
            .is_none()
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// If it still runs after `within`.
    pub fn wait_exit(&self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = lock(&self.child).try_wait().expect("asking for the child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} still runs\nstderr:\n{}",
                self.pid,
                self.stderr_so_far()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid.cast_signed()).expect("a pid is positive");
        match &self.inner {
            Some(inner) => pidfd_send_signal(inner, signal),
            // Its pid cannot have been reused: this is our child and has not been reaped.
            None => rustix::process::kill_process(pid, signal),
        }
        .expect("sending a signal");
    }

    /// How much memory it has in use, in KiB.
    ///
    /// # Panics
    /// If it has ended.
    pub fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
            .expect("memory of a process that has not ended")
    }

    /// How many file descriptors it has open at the least, in a fraction of a second: those that
    /// come and go with its work are not of interest.
    ///
    /// # Panics
    /// If it has ended.
    pub fn descriptors(&self) -> usize {
        let count = || {
            thread::sleep(Duration::from_millis(5));
            let listed = fs::read_dir(format!("/proc/{}/fd", self.pid));
            listed.expect("its descriptors").count()
        };
        (0..100).map(|_| count()).min().unwrap_or(0)
    }

    /// By each thread's id, how long it has been on a processor and how long it has waited for one,
    /// as in `/proc/PID/task/TID/schedstat`.
    pub fn processor_times(&self) -> BTreeMap<u32, [Duration; 2]> {
        let time = |tid: u32| {
            let path = format!("/proc/{}/task/{tid}/schedstat", self.pid);
            let text = fs::read_to_string(path).ok()?;
            let mut numbers = text.split_whitespace().map(str::parse);
            let mut next = || Some(Duration::from_nanos(numbers.next()?.ok()?));
            Some((tid, [next()?, next()?]))
        };
        let states = self.thread_states().into_iter();
        states.filter_map(|(tid, _)| time(tid)).collect()
    }

    /// How long all its threads have been on a processor, those that have ended included, as in
    /// `/proc/PID/stat`: to a hundredth of a second.
    pub fn processor_time(&self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("a process");
        let (_, fields) = text.rsplit_once(')').expect("a name");
        let fields = fields.split_whitespace().skip(14 - 3).take(2);
        let ticks = fields.map(|field| field.parse::<u64>().expect("a number"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Each thread's id and the letter of its state, as in `/proc/PID/stat`: `t` and `T` stand
    /// still.
    pub fn thread_states(&self) -> Vec<(u32, char)> {
        let entries =
            fs::read_dir(format!("/proc/{}/task", self.pid)).expect("the target's threads");
        let tids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        // A thread that has gone meanwhile has no state.
        tids.filter_map(|tid| {
            Some((
                tid,
                state_and_parent(&format!("{}/task/{tid}", self.pid))?.0,
            ))
        })
        .collect()
    }

    /// How it is, for the message of a test that has failed: how it ended, or that it did not, and
    /// what it said last.
    pub fn account(&self) -> String {
        // It may be about to end, which is what the test has met.
        let until = Instant::now() + Duration::from_millis(200);
        let mut status = None;
        while status.is_none() && Instant::now() < until {
            status = lock(&self.child).try_wait().ok().flatten();
            thread::sleep(Duration::from_millis(5));
        }
        let how = match status {
            Some(status) => format!("ended ({status})"),
            None => "runs on".to_owned(),
        };
        let end = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(5)..].join("\n  ")
        };
        format!(
            "target {} ({}) {how}\nthe last it said:\n  {}\nand on stderr:\n  {}",
            self.pid,
            self.executable.display(),
            end(self.stdout_so_far()),
            end(self.stderr_so_far()),
        )
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.account());
        }
        let child = self
            .child
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Who has already gone needs no killing.
        let _ = match &self.inner {
            // Its parent reaps it and then ends too.
            Some(inner) => pidfd_send_signal(inner, Signal::KILL).map_err(Into::into),
            None => child.kill(),
        };
        let _ = child.wait();
    }
}

/// Lines that a thread collects from a pipe.
#[derive(Debug, Default)]
struct Lines {
    state: Mutex<Collected>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Collected {
    lines: Vec<String>,
    /// The first line that no call of `next_with` has passed.
    next: usize,
    ended: bool,
}

impl Lines {
    fn of(pipe: Option<impl Read + Send + 'static>) -> Arc<Lines> {
        let lines = Arc::new(Lines::default());
        let filled = Arc::clone(&lines);
        let mut pipe = BufReader::new(pipe.expect("a pipe was asked for"));
        thread::spawn(move || {
            let mut line = Vec::new();
            while pipe.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                let text = String::from_utf8_lossy(&line)
                    .trim_end_matches('\n')
                    .to_owned();
                lock(&filled.state).lines.push(text);
                filled.changed.notify_all();
                line.clear();
            }
            lock(&filled.state).ended = true;
            filled.changed.notify_all();
        });
        lines
    }

    fn next_with(&self, text: &str, within: Duration) -> Result<String, &'static str> {
        let deadline = Instant::now() + within;
        let mut state = lock(&self.state);
        loop {
            if let Some(at) = state.lines[state.next..]
                .iter()
                .position(|line| line.contains(text))
            {
                state.next += at + 1;
                return Ok(state.lines[state.next - 1].clone());
            }
            if state.ended {
                return Err("its output has ended");
            }
            let left = deadline
                .checked_duration_since(Instant::now())
                .ok_or("not in time")?;
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .0;
        }
    }

    fn text(&self) -> String {
        lock(&self.state)
            .lines
            .iter()
            .flat_map(|line| [line.as_str(), "\n"])
            .collect()
    }
}

/// A test that panicked elsewhere must not keep others from cleaning up.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The process whose parent is `parent`.
fn only_child(parent: u32) -> u32 {
    let pids = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut children = pids
        .filter(|pid: &u32| state_and_parent(&pid.to_string()).is_some_and(|(_, p)| p == parent));
    children
        .next()
        .unwrap_or_else(|| panic!("{parent} has no child"))
}

/// The third and fourth field of a `stat` file; the second may contain anything.
fn state_and_parent(process: &str) -> Option<(char, u32)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
