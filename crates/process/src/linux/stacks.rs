//! Finding the stacks of a live process's threads.

use invivo_model::Result;

use super::stop::Suspension;
use super::sys;
use super::target::{Target, raw};
use super::threads::TID_OFFSETS;
use crate::stacks::{Seen, Stacks};
use crate::{Address, Memory, ReadRequest};

/// Where glibc keeps a thread's list of robust futexes in what a `pthread_t` points to: behind the
/// thread's number, a number that is used no more, and a pointer (`robust_head` of
/// `struct pthread`, `nptl/descr.h`).
const ROBUST_HEAD: u64 = TID_OFFSETS[0] + 16;

impl Target {
    /// Where the stacks of its threads lie, without stopping them: of one that runs, where it
    /// stands is not known. A C library other than glibc does not show which `pthread_t` is whose:
    /// of these `known` ones it is found out.
    ///
    /// # Errors
    /// As [`Target::threads`] and [`Target::mappings`].
    pub fn stacks(&self, known: &[u64]) -> Result<Stacks> {
        let threads = self.threads()?;
        let mut seen: Vec<Seen> = threads
            .iter()
            .map(|thread| Seen {
                tid: thread.tid,
                native_id: thread.native_id,
                pointer: self.waiting(thread.tid).map(|place| place.stack),
                ..Seen::default()
            })
            .collect();
        self.identify(&mut seen, known);
        Ok(Stacks::find(&self.mappings()?, &seen, self.pid(), false))
    }

    /// Says what the C library knows threads by, where that is not known yet.
    fn identify(&self, threads: &mut [Seen], known: &[u64]) {
        let heads = threads.iter().map(|thread| match thread.pthread {
            Some(_) => None,
            None => raw(thread.tid).and_then(|tid| sys::robust_list(tid).ok()),
        });
        let pthreads: Vec<Option<u64>> = heads
            .map(|head| head.filter(|head| *head != 0)?.checked_sub(ROBUST_HEAD))
            .collect();
        let numbers = self.numbers(pthreads.iter().map(|one| one.unwrap_or(0)), TID_OFFSETS[0]);
        for ((thread, pthread), number) in threads.iter_mut().zip(pthreads).zip(numbers) {
            if let Some(pthread) = pthread.filter(|_| number == Some(thread.native_id)) {
                thread.pthread = Some(pthread);
            }
        }
        for offset in TID_OFFSETS {
            let numbers = self.numbers(known.iter().copied(), offset);
            for (pthread, number) in known.iter().zip(numbers) {
                let taken = threads.iter().any(|one| one.pthread == Some(*pthread));
                let mut open = threads.iter_mut().filter(|one| one.pthread.is_none());
                if let Some(thread) = open.find(|one| number == Some(one.native_id) && !taken) {
                    thread.pthread = Some(*pthread);
                }
            }
        }
    }

    /// What stands as a thread's number at `offset` behind each of these.
    fn numbers(&self, pthreads: impl Iterator<Item = u64>, offset: u64) -> Vec<Option<u64>> {
        let places: Vec<_> = pthreads
            .map(|pthread| Address(pthread.wrapping_add(offset)))
            .collect();
        let mut bytes = vec![[0; 4]; places.len()];
        let mut requests: Vec<_> = places
            .iter()
            .zip(&mut bytes)
            .map(|(place, bytes)| ReadRequest::new(*place, bytes))
            .collect();
        if self.memory().read_many(&mut requests).is_err() {
            return vec![None; places.len()];
        }
        let came: Vec<bool> = requests.iter().map(ReadRequest::is_complete).collect();
        let number =
            |(bytes, came): (&[u8; 4], bool)| came.then(|| u32::from_ne_bytes(*bytes).into());
        bytes.iter().zip(came).map(number).collect()
    }
}

impl Suspension<'_> {
    /// Where the stacks of the threads lie, as each stands still.
    ///
    /// # Errors
    /// As [`Target::threads`] and [`Target::mappings`].
    pub fn stacks(&self, known: &[u64]) -> Result<Stacks> {
        let target = self.target();
        let threads = target.threads()?;
        let mut seen: Vec<Seen> = threads
            .iter()
            .map(|thread| {
                let standing = self.standing(thread.tid).ok();
                let pointer = standing.as_ref().and_then(|one| one.thread_pointer());
                Seen {
                    tid: thread.tid,
                    native_id: thread.native_id,
                    pthread: pointer
                        .filter(|at| points_to_itself(target, *at))
                        .map(|at| at.0),
                    pointer: standing.map(|standing| standing.stack()),
                }
            })
            .collect();
        target.identify(&mut seen, known);
        Ok(Stacks::find(&target.mappings()?, &seen, target.pid(), true))
    }
}

/// Whether what is the thread's own begins with its own address, as it does for all C libraries
/// where a register leads to it (System V ABI for x86-64, thread-local storage).
fn points_to_itself(target: &Target, at: Address) -> bool {
    let mut word = [0; 8];
    target.memory().read(at, &mut word).is_ok() && u64::from_ne_bytes(word) == at.0
}

#[cfg(test)]
mod tests {
    use std::os::unix::thread::JoinHandleExt;
    use std::sync::mpsc;
    use std::thread;

    use rustix::thread::gettid;

    use super::*;

    #[test]
    fn an_address_on_its_stack_leads_to_a_thread() {
        let (say, said) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let other = thread::spawn(move || {
            let here = 7_u8;
            let place = Address(std::ptr::from_ref(&here).addr() as u64);
            say.send((gettid().as_raw_nonzero().get().cast_unsigned(), place))
                .expect("a listener");
            // It lives until the other end is dropped.
            let _ = ended.recv();
            here
        });
        let (tid, place) = said.recv().expect("its number");
        let own = 8_u8;
        let own_place = Address(std::ptr::from_ref(&own).addr() as u64);
        let own_tid = gettid().as_raw_nonzero().get().cast_unsigned();
        let stacks = Target::open(std::process::id())
            .and_then(|target| target.stacks(&[]))
            .expect("our own");
        let pthread = other.as_pthread_t() as u64;
        assert_eq!(stacks.owner(place).map(|thread| thread.tid), Some(tid));
        assert_eq!(
            stacks.by_pthread(pthread).map(|thread| thread.tid),
            Some(tid)
        );
        assert_eq!(
            stacks.owner(own_place).map(|thread| thread.tid),
            Some(own_tid)
        );
        let boxed = Box::new(9_u8);
        let on_heap = Address(std::ptr::from_ref(&*boxed).addr() as u64);
        assert_eq!(stacks.owner(on_heap).map(|thread| thread.tid), None);
        drop(end);
        assert_eq!(other.join().expect("its end"), 7);
    }
}
