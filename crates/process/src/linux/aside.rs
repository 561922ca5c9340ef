//! Memory that may never be given: read by a process of our own that can be left behind.
//!
//! A page that a process maps from a file system which a user serves (FUSE) is read by asking that
//! user. Who asks and gets no answer sleeps in the kernel, beyond any signal, and its process does
//! not end before. So such memory is read by a child, which has nothing of ours open: where it does
//! not answer in time, it is left to itself.

use std::ops::Range;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::sys::{self, READ_ASIDE};
use crate::{Address, ReadRequest};

/// How long a read may take.
const ANSWER: Duration = Duration::from_secs(1);

/// A mapping that is read aside.
#[derive(Clone, Debug)]
pub(super) struct Suspect {
    pub(super) range: Range<Address>,
    /// What it is called, and why it is here.
    pub(super) name: String,
    /// Whether it is known that a user serves it.
    pub(super) is_served: bool,
}

/// The mappings of a process that are read aside, and who reads them.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Whether there are any: most processes have none, and each read asks.
    any: AtomicBool,
    suspects: RwLock<Vec<Suspect>>,
    reader: Mutex<Option<Reader>>,
    /// The mapping that did not answer. After the first, none is asked again.
    silent: Mutex<Option<String>>,
}

impl Aside {
    pub(super) fn set(&self, suspects: Vec<Suspect>) {
        self.any.store(!suspects.is_empty(), Ordering::Relaxed);
        *self
            .suspects
            .write()
            .unwrap_or_else(PoisonError::into_inner) = suspects;
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// The first of them that these bytes are, in part, of.
    pub(super) fn suspect(&self, address: Address, size: usize) -> Option<Suspect> {
        let end = address.0.saturating_add(size as u64);
        let suspects = self.suspects.read().unwrap_or_else(PoisonError::into_inner);
        let meets = |one: &&Suspect| one.range.start.0 < end && address.0 < one.range.end.0;
        suspects.iter().find(meets).cloned()
    }

    /// The mapping that did not answer in time, if one did not.
    pub(super) fn silent(&self) -> Option<String> {
        let silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        silent.clone()
    }

    /// Reads as much as comes in time.
    pub(super) fn read(&self, thread: Pid, request: &mut ReadRequest<'_>) {
        request.filled = 0;
        if self.silent().is_some() {
            return;
        }
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(rest) = request
            .buffer
            .get_mut(request.filled..)
            .filter(|rest| !rest.is_empty())
        {
            let size = rest.len().min(READ_ASIDE);
            let Some(address) = request.address.offset(request.filled as u64) else {
                return;
            };
            if reader.is_none() {
                *reader = Reader::start().ok();
            }
            let Some(living) = reader.as_ref() else {
                return;
            };
            match living.read(thread, address, &mut rest[..size]) {
                Ok(came) => {
                    request.filled += came;
                    if came < size {
                        return;
                    }
                }
                Err(errno) => {
                    if let Some(stuck) = reader.take() {
                        stuck.leave();
                    }
                    if errno == Errno::TIMEDOUT {
                        let name = self.suspect(address, size).map(|suspect| suspect.name);
                        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
                        *silent = name.or(Some("a mapping".to_owned()));
                    }
                    return;
                }
            }
        }
    }
}

/// The child. It ends when it is dropped.
#[derive(Debug)]
struct Reader {
    socket: OwnedFd,
    pid: Pid,
    is_left: bool,
}

impl Reader {
    fn start() -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, its) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let pid = sys::fork_reader(its.as_fd())?;
        Ok(Self {
            socket: ours,
            pid,
            is_left: false,
        })
    }

    fn read(&self, thread: Pid, address: Address, buffer: &mut [u8]) -> Result<usize, Errno> {
        let mut question = [0; 16];
        question[..8].copy_from_slice(&address.0.to_ne_bytes());
        question[8..12].copy_from_slice(&thread.as_raw_nonzero().get().to_ne_bytes());
        let size = u32::try_from(buffer.len()).map_err(|_| Errno::INVAL)?;
        question[12..].copy_from_slice(&size.to_ne_bytes());
        send(&self.socket, &question, SendFlags::NOSIGNAL)?;
        self.wait()?;
        // One packet: how much came, and that.
        let mut answer = vec![0; 8 + buffer.len()];
        let (length, _) = recv(&self.socket, &mut answer[..], RecvFlags::empty())?;
        let (head, data) = answer.split_at(8);
        let came = i64::from_ne_bytes(head.try_into().map_err(|_| Errno::IO)?);
        let came = usize::try_from(came).unwrap_or(0);
        if length != 8 + came || came > buffer.len() {
            return Err(Errno::IO);
        }
        buffer[..came].copy_from_slice(&data[..came]);
        Ok(came)
    }

    fn wait(&self) -> Result<(), Errno> {
        let by = Instant::now() + ANSWER;
        loop {
            let left = by.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
            match poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&left)) {
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Leaves it to itself, to end when it may.
    fn leave(mut self) {
        self.is_left = true;
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if !self.is_left {
            // It waits for a question, and ends at once.
            let _ = kill_process(self.pid, Signal::KILL);
            let _ = waitpid(Some(self.pid), WaitOptions::empty());
        }
    }
}
