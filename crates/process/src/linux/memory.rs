//! Reading a live process's memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::aside::{Aside, Suspect};
use super::sys;
use super::target::{Process, raw};
use crate::{Address, Fault, Memory, ReadRequest};

/// The memory of a live process. Clones share what was learned about how to read it.
///
/// Reads by `process_vm_readv`, and by `/proc/PID/mem` once the kernel has said that it won't
/// have that call (a container's filter, or a kernel without it). A piece of more than 2 GiB
/// comes short. Where the process has begun to run a new program, open it anew: the file goes with
/// the old one.
#[derive(Clone, Debug)]
pub struct ProcessMemory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    process: Arc<Process>,
    /// A thread that lives, to name the process by: its first one, unless that has ended.
    thread: AtomicU32,
    /// `/proc/PID/mem`, once it is what we read by.
    file: OnceLock<Result<File, Fault>>,
    /// What may never come, and is read by a child.
    aside: Aside,
}

impl ProcessMemory {
    pub(super) fn new(process: Arc<Process>) -> Self {
        let thread = AtomicU32::new(process.pid);
        Self(Arc::new(Shared {
            process,
            thread,
            file: OnceLock::new(),
            aside: Aside::default(),
        }))
    }

    /// Reads these mappings aside from now on.
    pub(super) fn suspect(&self, suspects: Vec<Suspect>) {
        self.0.aside.set(suspects);
    }

    /// Whether what is mapped here is of a file system that a user serves.
    pub(super) fn is_served(&self, address: Address) -> bool {
        let aside = &self.0.aside;
        !aside.is_empty()
            && aside
                .suspect(address, 1)
                .is_some_and(|suspect| suspect.is_served)
    }

    /// The mapping that did not give what it holds in time, if one did not: none of those that a
    /// user's file system serves is read any more.
    pub fn silent_mapping(&self) -> Option<String> {
        self.0.aside.silent()
    }

    /// Reads by `/proc/PID/mem` from now on.
    fn read_by_file(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        let process = &self.0.process;
        let file = self.0.file.get_or_init(|| {
            process
                .open_file("mem", OFlags::RDONLY)
                .map(File::from)
                .map_err(|_| {
                    if process.is_alive() {
                        Fault::Refused
                    } else {
                        Fault::Gone
                    }
                })
        });
        let file = file.as_ref().map_err(|fault| *fault)?;
        for request in requests.iter_mut() {
            request.filled = read_through(file, request.address.0, request.buffer);
        }
        // Of a process that has ended every piece is short.
        let nothing = requests.iter().all(|request| request.filled == 0);
        if nothing && !process.is_alive() {
            Err(Fault::Gone)
        } else {
            Ok(())
        }
    }

    /// Reads the first requests by one call, and says how many are dealt with: those up to and
    /// including the first that came short.
    fn read_by_call(&self, requests: &mut [ReadRequest<'_>]) -> Result<usize, Errno> {
        let thread = raw(self.0.thread.load(Ordering::Relaxed)).ok_or(Errno::SRCH)?;
        let mut came = match sys::read_pieces(thread, requests) {
            Ok(came) => came,
            // Not even the first byte.
            Err(Errno::FAULT) => 0,
            Err(errno) => return Err(errno),
        };
        for (index, request) in requests.iter_mut().enumerate().take(sys::MAX_PIECES) {
            request.filled = came.min(request.buffer.len());
            came -= request.filled;
            if !request.is_complete() {
                return Ok(index + 1);
            }
        }
        Ok(requests.len().min(sys::MAX_PIECES))
    }

    /// After an `ESRCH`: names the process by a thread that lives, if there is another.
    fn change_thread(&self) -> bool {
        let Some(thread) = self.0.process.living_thread() else {
            return false;
        };
        self.0.thread.swap(thread, Ordering::Relaxed) != thread
    }
}

impl ProcessMemory {
    fn read_directly(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        if self.0.file.get().is_some() {
            return self.read_by_file(requests);
        }
        let mut rest = requests;
        while !rest.is_empty() {
            match self.read_by_call(rest) {
                Ok(done) => rest = rest.get_mut(done..).unwrap_or_default(),
                Err(Errno::SRCH) if self.change_thread() => {}
                Err(Errno::SRCH) => return Err(Fault::Gone),
                Err(Errno::PERM | Errno::NOSYS) => return self.read_by_file(rest),
                Err(_) => return Err(Fault::Refused),
            }
        }
        Ok(())
    }
}

impl Memory for ProcessMemory {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        let aside = &self.0.aside;
        if aside.is_empty() {
            return self.read_directly(requests);
        }
        let is_suspect = |request: &ReadRequest<'_>| {
            aside
                .suspect(request.address, request.buffer.len())
                .is_some()
        };
        for run in requests.chunk_by_mut(|one, next| is_suspect(one) == is_suspect(next)) {
            if !run.first().is_some_and(is_suspect) {
                self.read_directly(run)?;
                continue;
            }
            let thread = raw(self.0.thread.load(Ordering::Relaxed)).ok_or(Fault::Gone)?;
            for request in run {
                aside.read(thread, request);
            }
        }
        Ok(())
    }
}

/// Reads up to `buffer.len()` bytes at `address` and says how many came.
fn read_through(file: &File, address: u64, buffer: &mut [u8]) -> usize {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let Some(at) = address.checked_add(filled as u64) else {
            break;
        };
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(came) => filled += came,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use crate::{Address, Fault, Memory, ReadRequest, Target};

    /// Both ways of reading find the same.
    #[test]
    fn the_file_serves_as_well_as_the_call() {
        let memory = Target::open(std::process::id())
            .expect("we are there")
            .memory();
        let here = *b"something to be read";
        let address = Address(&raw const here as u64);
        let mut from_call = [0; 20];
        let mut from_file = [0; 20];
        let mut nothing = [0; 8];
        memory.read(address, &mut from_call).expect("it is ours");
        let mut requests = [
            ReadRequest::new(Address(8), &mut nothing),
            ReadRequest::new(address, &mut from_file),
        ];
        memory.read_by_file(&mut requests).expect("it is ours");
        assert_eq!([requests[0].filled, requests[1].filled], [0, 20]);
        assert_eq!([from_call, from_file], [here; 2]);

        // From now on all goes by the file, and says the same of what is not there.
        assert_eq!(memory.read_u32(address), Ok(u32::from_ne_bytes(*b"some")));
        assert_eq!(
            memory.read_u64(Address(16)),
            Err(Fault::Unmapped(Address(16)))
        );
        assert_eq!(
            memory.read_u64(Address(u64::MAX)),
            Err(Fault::Unmapped(Address(u64::MAX)))
        );
    }
}
