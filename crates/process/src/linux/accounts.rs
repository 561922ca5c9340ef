//! The processor time that the kernel accounts to threads.
//!
//! A thread's state says that it is runnable, not whether it is on a processor or waits for one:
//! only these accounts tell, over a stretch of time.

use std::fs::File;
use std::os::unix::fs::FileExt;

use invivo_model::{ProcessorTime, Result};
use rustix::fs::OFlags;

use super::{Target, proc};

/// The account of a thread, held to be read again and again: each time costs one system call.
#[derive(Debug)]
pub struct Account(File);

impl Account {
    /// What has been accounted to the thread so far; `None` where it has ended.
    pub fn read(&self) -> Option<ProcessorTime> {
        // Three numbers of 20 digits at most.
        let mut text = [0; 80];
        let came = self.0.read_at(&mut text, 0).ok()?;
        parse(text.get(..came)?).map(|account| account.time)
    }
}

impl Target {
    /// Opens the account of its thread `tid` (see [`Thread::tid`](super::Thread::tid)).
    ///
    /// # Errors
    /// `Refused` where there is no such thread, it can't be looked at, or the kernel keeps no
    /// accounts (see [`is_processor_time_accounted`]); or `Gone`.
    pub fn account(&self, tid: u32) -> Result<Account> {
        let opened = self
            .process
            .open_file(&format!("task/{tid}/schedstat"), OFlags::RDONLY);
        let file = opened.map_err(|errno| self.not_seen(tid, errno))?;
        Ok(Account(File::from(file)))
    }

    /// What has been accounted to its thread `tid` so far, read once. `None` where it has ended or
    /// can't be looked at.
    pub fn processor_time(&self, tid: u32) -> Option<ProcessorTime> {
        let text = self.process.read_of_thread(tid, "schedstat").ok()?;
        parse(&text).map(|account| account.time)
    }

    /// What all its threads have been on a processor for so far, those that have ended included, in
    /// nanoseconds; as exact as a tick of the clock, mostly 10 ms. `None` where that can't be told.
    pub fn processor_time_of_all(&self) -> Option<u64> {
        let ticks = proc::parse_processor_ticks(&self.process.stat().ok()?)?;
        let second = rustix::param::clock_ticks_per_second().max(1);
        Some(ticks.saturating_mul(1_000_000_000 / second))
    }

    /// The numbers of its threads (see [`Thread::tid`](super::Thread::tid)), and no more of them.
    ///
    /// # Errors
    /// As [`Target::threads`].
    pub fn thread_numbers(&self) -> Result<Vec<u32>> {
        let what = || format!("the threads of process {} can't be listed", self.pid());
        let tids = self.process.thread_ids();
        tids.map_err(|errno| self.process.failed(what(), errno))
    }
}

/// Whether this kernel accounts processor time to threads in a way that can be read. Some are built
/// without (`CONFIG_SCHED_INFO`), and some sandboxes have no such file.
pub fn is_processor_time_accounted() -> bool {
    // We are on a processor, so that we have been given one at least once.
    let own = std::fs::read("/proc/thread-self/schedstat");
    own.is_ok_and(|text| parse(&text).is_some_and(|account| account.times > 0))
}

/// What `schedstat` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    time: ProcessorTime,
    /// How often the thread was given a processor.
    times: u64,
}

fn parse(text: &[u8]) -> Option<Line> {
    let text = str::from_utf8(text).ok()?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some(Line {
        time: ProcessorTime {
            on: next()?,
            waiting: next()?,
        },
        times: next()?,
    })
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::thread::gettid;
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn a_line_is_read_whole_or_not_at_all() {
        let time = ProcessorTime { on: 5, waiting: 7 };
        assert_eq!(parse(b"5 7 9\n"), Some(Line { time, times: 9 }));
        let most = format!("{0} {0} {0}\n", u64::MAX);
        assert!(most.len() <= 80 && parse(most.as_bytes()).is_some());
        for wrong in [
            "",
            "\n",
            "5 7",
            "5 7 x",
            "-5 7 9",
            "99999999999999999999 7 9",
        ] {
            assert_eq!(parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_thread_that_works_is_accounted_what_it_works_and_one_that_waits_is_not() {
        assert!(is_processor_time_accounted());
        let (say, said) = mpsc::channel();
        let (go, gone) = mpsc::channel::<Duration>();
        let worker = thread::spawn(move || {
            let tid = gettid().as_raw_nonzero().get().cast_unsigned();
            while let Ok(work) = gone.recv() {
                let own = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime));
                let until = own().expect("a time") + work;
                while own().expect("a time") < until {
                    black_box(());
                }
                say.send((tid, own().expect("a time"))).expect("a listener");
            }
        });
        let worked = |time| {
            go.send(time).expect("a worker");
            said.recv().expect("an answer")
        };
        let (tid, before) = worked(Duration::ZERO);
        let target = Target::open(std::process::id()).expect("we are there");
        let account = target.account(tid).expect("its account");
        let (_, after) = worked(Duration::from_millis(50));
        // It has gone to sleep since, or will soon: then nothing more comes.
        let deadline = Instant::now() + PATIENCE;
        let slack = Duration::from_millis(20);
        let on = || Duration::from_nanos(account.read().expect("a living thread").on);
        while on() < after {
            assert!(Instant::now() < deadline, "{:?} of {after:?}", on());
            thread::yield_now();
        }
        assert!(on() < after + slack, "{:?}, {before:?} to {after:?}", on());
        let once = target.processor_time(tid).expect("a living thread").on;
        assert!(Duration::from_nanos(once) >= after);
        let all = target.processor_time_of_all().expect("a time");
        assert!(Duration::from_nanos(all) + slack >= after - before);
        assert!(target.thread_numbers().expect("a list").contains(&tid));

        drop(go);
        worker.join().expect("its end");
        while account.read().is_some() {
            assert!(Instant::now() < deadline, "it has ended and is accounted");
            thread::yield_now();
        }
    }
}
