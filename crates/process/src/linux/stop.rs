//! Stopping all threads of a process for a moment.
//!
//! By `PTRACE_SEIZE` and `PTRACE_INTERRUPT`: no signal is sent, and the kernel lets every thread
//! go when the thread that seized it ends, however that comes about. So the stopping is done in a
//! thread of its own.

use std::collections::BTreeMap;
use std::mem;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use invivo_model::{Error, ErrorKind, Result};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::thread::gettid;

use super::still::no_thread;
use super::target::{Process, Target, raw};
use super::{proc, sys};
use crate::{Mapping, WriteRequest};

/// How often we ask whether a thread stands still before we begin to wait in between: it takes
/// some microseconds, and a sleep of ours is much longer.
const SPINS: u32 = 256;
/// After how many questions we also ask whether the thread has ended.
const SPINS_PER_LOOK: u32 = 32;
/// How long we wait in between then.
const NAP: Duration = Duration::from_micros(50);
/// How often we try to seize a thread that the kernel refuses for no reason that we can see: its
/// number may have been an ended first thread's when we tried, and when we looked that of another,
/// which runs a new program.
const ATTEMPTS: u32 = 8;
/// How long the stopping goes on before the thread that waits for it looks whether it is stuck.
pub(super) const STUCK: Duration = Duration::from_millis(2);

impl Target {
    /// Stops all of its threads, runs `action`, and lets them go again. Those that start while we
    /// stop the others are stopped too. A target that was stopped by a signal stays so afterwards;
    /// a signal that arrives meanwhile is delivered afterwards.
    ///
    /// `deadline` bounds the time it takes to stop them, not that of `action`, which should be
    /// short. Whatever happens in `action`, the threads are let go; so they are when we are
    /// killed. Where the deadline passes, those that already stood still have been stopped for as
    /// long.
    ///
    /// A system call in which a thread sleeps is begun again by the kernel where it can be;
    /// a few (`epoll_wait`, `sigtimedwait`) return `EINTR` instead. Our own process gets
    /// `SIGCHLD` for every thread that stops, as a debugger does.
    ///
    /// # Errors
    /// `Refused` where the kernel does not let us (another tracer, or no privilege) or the target
    /// is ourselves; `TimedOut` where a thread did not stop, as one in an uninterruptible sleep;
    /// `Gone`.
    pub fn while_stopped<R: Send>(
        &self,
        deadline: Duration,
        action: impl FnOnce(&Suspension<'_>) -> R + Send,
    ) -> Result<R> {
        self.ensure_not_ourselves()?;
        thread::scope(|scope| {
            let (begun, waits) = mpsc::channel::<()>();
            let tracer = thread::Builder::new().name("invivo-stop".to_owned());
            let tracer = tracer.spawn_scoped(scope, move || {
                let suspension = Suspension::begin(self, deadline);
                drop(begun);
                Ok(action(&suspension?))
            });
            let tracer = tracer.map_err(|error| no_thread(self, &error))?;
            while waits.recv_timeout(STUCK) == Err(RecvTimeoutError::Timeout) {
                collect_ended_threads(&self.process);
            }
            tracer.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    pub(super) fn ensure_not_ourselves(&self) -> Result<()> {
        if self.pid() != std::process::id() {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Refused,
            format!("process {} can't be stopped", self.pid()),
            "it is Invivo itself",
            "choose another process: invivo ps",
        ))
    }
}

/// Frees the stopping from a knot: where the target runs a new program meanwhile, the kernel makes
/// us wait in `PTRACE_SEIZE` until that has begun, and makes that wait until the tracer, which is
/// us, has taken notice of every thread that ended for it.
pub(super) fn collect_ended_threads(process: &Process) {
    for tid in process.thread_ids().unwrap_or_default() {
        if tid != process.pid
            && process.has_ended(tid) == Ok(true)
            && let Some(thread) = raw(tid)
        {
            sys::reap(thread);
        }
    }
}

/// Proof that all threads of a target stand still, for as long as it is there. Dropping it lets
/// them go.
#[derive(Debug)]
pub struct Suspension<'t> {
    target: &'t Target,
    /// The threads that are ours to let go, each with the signal that it was about to get; 0 for
    /// none.
    held: BTreeMap<u32, i32>,
}

impl<'t> Suspension<'t> {
    pub(super) fn begin(target: &'t Target, deadline: Duration) -> Result<Self> {
        let until = Instant::now().checked_add(deadline);
        let mut suspension = Self {
            target,
            held: BTreeMap::new(),
        };
        loop {
            let mut first_has_ended = false;
            let tids = suspension.of_process(Process::thread_ids)?;
            for tid in in_order_of_stopping(tids, target.pid()) {
                let held = suspension.held.contains_key(&tid) || suspension.seize(tid)?;
                first_has_ended |= !held && tid == target.pid();
            }
            for tid in suspension.tids() {
                suspension.await_stop(tid, until)?;
            }
            // A thread that runs can start others, and a list made meanwhile can miss some. But
            // where the kernel counts no more threads than stand still, none runs. (A first thread
            // that has ended is counted until all have.)
            let count = suspension.of_process(Process::thread_count)?;
            let still = suspension.held.len() + usize::from(first_has_ended);
            if !suspension.held.is_empty() && count == still as u64 {
                break;
            }
            target.ensure_alive()?;
            if is_past(until) {
                return Err(suspension.timed_out("its threads come and go too fast"));
            }
        }
        target.ensure_alive()?;
        Ok(suspension)
    }

    /// The numbers of the threads that stand still, in our pid namespace, in ascending order.
    pub fn tids(&self) -> Vec<u32> {
        self.held.keys().copied().collect()
    }

    /// Writes the pieces in their order, each whole: by one call for all, or one by one through
    /// `/proc/PID/mem` where that call is not to be had. Only memory that the target itself may
    /// write is written to.
    ///
    /// # Errors
    /// `Gone`; `Refused`; `Corrupt` where a piece lies where the target can't write. The pieces
    /// before the one that failed have been written then.
    pub fn write_many(&self, requests: &[WriteRequest<'_>]) -> Result<()> {
        if requests.len() > sys::MAX_PIECES {
            return Err(Error::internal(format!(
                "{} pieces in one write",
                requests.len()
            )));
        }
        let wanted: usize = requests.iter().map(|request| request.bytes.len()).sum();
        let thread = self.held.keys().next().copied().and_then(raw);
        let thread = thread.ok_or_else(|| Error::gone(self.target.pid()))?;
        match sys::write_pieces(thread, requests) {
            Ok(written) if written == wanted => Ok(()),
            Ok(_) | Err(Errno::FAULT) => Err(self.not_writable()),
            Err(Errno::PERM | Errno::NOSYS) => self.write_by_file(requests),
            Err(errno) => Err(self.write_failed(errno)),
        }
    }

    fn write_by_file(&self, requests: &[WriteRequest<'_>]) -> Result<()> {
        use std::os::unix::fs::FileExt;

        // Through this file the kernel would let us write to read-only memory too.
        let mappings = self.target.mappings()?;
        if !requests
            .iter()
            .all(|request| is_writable(&mappings, request))
        {
            return Err(self.not_writable());
        }
        let file = self.process().open_file("mem", OFlags::WRONLY);
        let file = std::fs::File::from(file.map_err(|errno| self.write_failed(errno))?);
        for request in requests {
            file.write_all_at(request.bytes, request.address.0)
                .map_err(|error| {
                    self.write_failed(Errno::from_io_error(&error).unwrap_or(Errno::IO))
                })?;
        }
        Ok(())
    }

    pub(super) fn target(&self) -> &'t Target {
        self.target
    }

    /// Whether its thread `tid` is about to get a signal.
    pub(super) fn gets_signal(&self, tid: u32) -> bool {
        self.held.get(&tid).is_some_and(|signal| *signal != 0)
    }

    fn process(&self) -> &Process {
        &self.target.process
    }

    /// Makes `tid` ours and asks it to stop. `false` where it has ended.
    fn seize(&mut self, tid: u32) -> Result<bool> {
        let Some(thread) = raw(tid) else {
            return Ok(false);
        };
        let mut attempts = 0;
        while let Err(errno) = sys::seize(thread) {
            attempts += 1;
            match self.whose(tid)? {
                Whose::Nobodys => return Ok(false),
                Whose::Ours => break,
                Whose::Tracers(tracer) => return Err(self.traced_by(process_of_thread(tracer))),
                Whose::Untraced if attempts < ATTEMPTS => {}
                // The rule that decided is worth more than the number.
                Whose::Untraced if errno == Errno::PERM => {
                    return Err(crate::access::explain(self.target.pid()));
                }
                Whose::Untraced => return Err(self.failed(errno)),
            }
        }
        self.held.insert(tid, 0);
        // It fails only where the thread has ended, which is noticed when we wait for it.
        let _ = sys::interrupt(thread);
        Ok(true)
    }

    fn whose(&self, tid: u32) -> Result<Whose> {
        let status = match self.process().read_of_thread(tid, "status") {
            Ok(text) => proc::parse_status(&text),
            Err(Errno::NOENT | Errno::SRCH) => return Ok(Whose::Nobodys),
            Err(errno) => return Err(self.failed(errno)),
        };
        // While a thread takes another number to run a new program, the kernel may file it under
        // its old one for good.
        if status.number != Some(tid) {
            return Ok(Whose::Nobodys);
        }
        let ourselves = gettid().as_raw_nonzero().get().cast_unsigned();
        Ok(match (status.state, status.tracer) {
            (Some('Z' | 'X'), _) => Whose::Nobodys,
            (_, Some(tracer)) if tracer == ourselves => Whose::Ours,
            (_, Some(0) | None) => Whose::Untraced,
            (_, Some(tracer)) => Whose::Tracers(tracer),
        })
    }

    fn traced_by(&self, tracer: u32) -> Error {
        Error::new(
            ErrorKind::Refused,
            format!("process {} can't be stopped", self.target.pid()),
            format!("process {tracer} traces it already, and there can be only one tracer"),
            format!("end the tracer (a debugger, or strace?) first; see: ps -p {tracer}"),
        )
    }

    /// Waits until `tid` stands still, or is ours no more: it has ended, and its number may be that
    /// of another by now, which runs a new program.
    fn await_stop(&mut self, tid: u32, until: Option<Instant>) -> Result<()> {
        let Some(thread) = raw(tid) else {
            return Ok(());
        };
        for asked in 1_u32.. {
            match sys::stop_info(thread) {
                Ok(info) => {
                    self.held.insert(tid, signal_to_deliver(info));
                    return Ok(());
                }
                Err(Errno::SRCH) => {}
                Err(errno) => return Err(self.failed(errno)),
            }
            if asked % SPINS_PER_LOOK == 0 {
                if !matches!(self.whose(tid)?, Whose::Ours) {
                    self.held.remove(&tid);
                    // It stays until its tracer has taken notice, and `execve` in the target waits
                    // for that. The end of a whole process is for its parent to notice.
                    if tid != self.target.pid() {
                        sys::reap(thread);
                    }
                    return Ok(());
                }
                // It may have been seized under another number, which it had no more when we
                // asked it to stop. Asking twice does no harm.
                let _ = sys::interrupt(thread);
            }
            if is_past(until) {
                let doing = self.target.activity(tid).map(|doing| doing.to_string());
                let doing = doing.unwrap_or_else(|_| "in an unknown state".to_owned());
                return Err(self.timed_out(&format!("thread {tid} does not stop: it is {doing}")));
            }
            if asked < SPINS {
                thread::yield_now();
            } else {
                thread::sleep(NAP);
            }
        }
        Ok(())
    }

    fn of_process<T>(&self, ask: impl Fn(&Process) -> Result<T, Errno>) -> Result<T> {
        ask(self.process()).map_err(|errno| self.failed(errno))
    }

    fn failed(&self, errno: Errno) -> Error {
        let what = format!("process {} can't be stopped", self.target.pid());
        self.process().failed(what, errno)
    }

    fn timed_out(&self, why: &str) -> Error {
        if self.process().living_thread().is_none() {
            return Error::gone(self.target.pid());
        }
        Error::new(
            ErrorKind::TimedOut,
            format!("process {} could not be stopped in time", self.target.pid()),
            why,
            "nothing was changed and all its threads run on; try again",
        )
    }

    fn write_failed(&self, errno: Errno) -> Error {
        let what = format!(
            "the memory of process {} can't be written",
            self.target.pid()
        );
        self.process().failed(what, errno)
    }

    fn not_writable(&self) -> Error {
        if self.process().living_thread().is_none() {
            return Error::gone(self.target.pid());
        }
        Error::new(
            ErrorKind::Corrupt,
            format!(
                "the memory of process {} can't be written",
                self.target.pid()
            ),
            "a piece lies where the process itself could not write",
            "what was read from it is not to be trusted: try again, or restart it",
        )
    }
}

impl Suspension<'_> {
    /// Lets the threads go; whether it could let go all of them. It fails only for one that has
    /// ended or has not stopped yet: of those the kernel lets go when our own thread ends, which
    /// then has to be next.
    pub(super) fn end(mut self) -> bool {
        self.let_go()
    }

    fn let_go(&mut self) -> bool {
        let first = self.target.pid();
        let first = self.held.remove(&first).map(|signal| (first, signal));
        let others = mem::take(&mut self.held);
        let mut all = true;
        for (tid, signal) in first.into_iter().chain(others) {
            let detached = raw(tid).map(|thread| sys::detach(thread, signal));
            all &= detached.is_some_and(|outcome| outcome.is_ok());
        }
        all
    }
}

impl Drop for Suspension<'_> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// The first thread is stopped last and let go first, whatever their numbers are; where we are
/// killed, the kernel lets them go in the reverse of this order too. For a signal to the process goes
/// to its first thread as long as that can take one, and otherwise to any other, which may get a
/// processor much later. Many programs are not made for that: Python's own handlers run in the first
/// thread, but only once the signal has come to whichever thread it was given to.
fn in_order_of_stopping(mut tids: Vec<u32>, first: u32) -> Vec<u32> {
    tids.sort_by_key(|tid| *tid == first);
    tids
}

/// Whose a thread is.
enum Whose {
    /// It has ended.
    Nobodys,
    /// We trace it. (One that runs a new program takes the first thread's number for it.)
    Ours,
    /// Nobody traces it that we could see.
    Untraced,
    /// This thread of some process traces it.
    Tracers(u32),
}

/// The signal that a stopped thread was about to get, so that it can have it afterwards. In a stop
/// of our making, or one in which a stop signal is already in force, there is none.
fn signal_to_deliver(info: sys::StopInfo) -> i32 {
    let by_event = info.code == info.signal | (libc::PTRACE_EVENT_STOP << 8);
    if by_event { 0 } else { info.signal }
}

/// The process that a thread of any process belongs to, where it can be told.
pub(super) fn process_of_thread(tid: u32) -> u32 {
    let status = std::fs::read(format!("/proc/{tid}/status")).unwrap_or_default();
    proc::parse_status(&status).process.unwrap_or(tid)
}

fn is_past(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() >= until)
}

/// Whether all of a piece lies in memory that the target may write.
fn is_writable(mappings: &[Mapping], request: &WriteRequest<'_>) -> bool {
    let Some(end) = request.address.offset(request.bytes.len() as u64) else {
        return false;
    };
    let mut reached = request.address;
    for mapping in mappings {
        if reached < end && mapping.writable && mapping.range.contains(&reached) {
            reached = mapping.range.end;
        }
    }
    reached >= end
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;
    use crate::Memory;

    struct Killed(Child);

    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_first_thread_is_stopped_last_whatever_its_number() {
        assert_eq!(in_order_of_stopping(vec![5, 7, 9], 5), [7, 9, 5]);
        // Numbers begin anew when they have come to the greatest.
        assert_eq!(
            in_order_of_stopping(vec![300, 301, 32000], 32000),
            [300, 301, 32000]
        );
        assert_eq!(in_order_of_stopping(vec![300, 301], 299), [300, 301]);
    }

    /// The way for where the call for writing is filtered.
    #[test]
    fn the_file_is_written_to_only_where_the_target_could_write() {
        let sleeper = Killed(
            Command::new("sleep")
                .arg("1000")
                .spawn()
                .expect("it starts"),
        );
        let target = Target::open(sleeper.0.id()).expect("it is there");
        let is_ready = || {
            let doing = target.activity(target.pid()).expect("it can be seen");
            doing.to_string() == "asleep in system call clock_nanosleep"
        };
        while !is_ready() {
            thread::yield_now();
        }
        let mappings = target.mappings().expect("they can be read");
        let find = |wanted: &dyn Fn(&Mapping) -> bool| {
            mappings
                .iter()
                .find(|mapping| wanted(mapping))
                .expect("there is one")
                .range
                .start
        };
        let writable = find(&|mapping| mapping.name == b"[stack]");
        let read_only = find(&|mapping| mapping.readable && !mapping.writable);
        let before = target.memory().read_u64(read_only);
        let written = target.while_stopped(Duration::from_secs(20), |suspension| {
            let good = WriteRequest {
                address: writable,
                bytes: b"8 bytes!",
            };
            suspension.write_by_file(&[good])?;
            for address in [read_only, crate::Address(8), crate::Address(u64::MAX)] {
                let bad = WriteRequest {
                    address,
                    bytes: b"elsewhere",
                };
                let error = suspension
                    .write_by_file(&[good, bad])
                    .expect_err("not writable");
                assert_eq!(error.kind, ErrorKind::Corrupt);
            }
            Ok::<_, Error>(())
        });
        assert_eq!(written, Ok(Ok(())));
        assert_eq!(
            target.memory().read_u64(writable),
            Ok(u64::from_ne_bytes(*b"8 bytes!"))
        );
        assert_eq!(target.memory().read_u64(read_only), before);
    }
}
