//! The system calls that no safe wrapper offers: all of this crate's `unsafe`.
//!
//! Each function is one call with its arguments made right. What they mean is for the callers.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::{ReadRequest, WriteRequest};

/// The kernel's limit of pieces in one call (`UIO_MAXIOV`).
pub(super) const MAX_PIECES: usize = 1024;

/// Why a tracee stands still, as `PTRACE_GETSIGINFO` tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct StopInfo {
    /// The signal that stopped it.
    pub(super) signal: i32,
    /// Where the signal came from; in an event stop the signal and the event's number.
    pub(super) code: i32,
}

/// Reads as many of the first [`MAX_PIECES`] requests as the kernel can, in order, and says how
/// many bytes came in all. Leaves `filled` alone.
pub(super) fn read_pieces(pid: Pid, requests: &mut [ReadRequest<'_>]) -> Result<usize, Errno> {
    let count = requests.len().min(MAX_PIECES);
    let mut local = Vec::with_capacity(count);
    let mut remote = Vec::with_capacity(count);
    for request in requests.iter_mut().take(count) {
        let iov_len = request.buffer.len();
        local.push(libc::iovec {
            iov_base: request.buffer.as_mut_ptr().cast(),
            iov_len,
        });
        remote.push(libc::iovec {
            iov_base: request.address.0 as *mut _,
            iov_len,
        });
    }
    let count = count as libc::c_ulong;
    // SAFETY: both arrays hold `count` elements and outlive the call. The local ones describe
    // buffers that are borrowed mutably for as long; the remote addresses belong to the other
    // process, where the kernel checks them.
    let got = unsafe {
        libc::process_vm_readv(
            pid.as_raw_nonzero().get(),
            local.as_ptr(),
            count,
            remote.as_ptr(),
            count,
            0,
        )
    };
    usize::try_from(got).map_err(|_| last_error())
}

/// Writes at most [`MAX_PIECES`] pieces in order and says how many bytes went in all.
pub(super) fn write_pieces(pid: Pid, requests: &[WriteRequest<'_>]) -> Result<usize, Errno> {
    let count = requests.len().min(MAX_PIECES);
    let mut local = Vec::with_capacity(count);
    let mut remote = Vec::with_capacity(count);
    for request in requests.iter().take(count) {
        let iov_len = request.bytes.len();
        local.push(libc::iovec {
            iov_base: request.bytes.as_ptr().cast_mut().cast(),
            iov_len,
        });
        remote.push(libc::iovec {
            iov_base: request.address.0 as *mut _,
            iov_len,
        });
    }
    let count = count as libc::c_ulong;
    // SAFETY: both arrays hold `count` elements and outlive the call. The kernel only reads from
    // the local buffers; the remote addresses belong to the other process, where it checks them.
    let written = unsafe {
        libc::process_vm_writev(
            pid.as_raw_nonzero().get(),
            local.as_ptr(),
            count,
            remote.as_ptr(),
            count,
            0,
        )
    };
    usize::try_from(written).map_err(|_| last_error())
}

/// Makes the calling thread the tracer of the thread `tid`, without stopping it. The kernel
/// undoes it when the calling thread ends.
pub(super) fn seize(tid: Pid) -> Result<(), Errno> {
    trace_request(libc::PTRACE_SEIZE, tid, 0)
}

/// Asks a seized thread to stop.
pub(super) fn interrupt(tid: Pid) -> Result<(), Errno> {
    trace_request(libc::PTRACE_INTERRUPT, tid, 0)
}

/// Lets a stopped tracee go, delivering `signal` to it unless that is 0.
pub(super) fn detach(tid: Pid, signal: i32) -> Result<(), Errno> {
    trace_request(libc::PTRACE_DETACH, tid, signal)
}

/// A request that passes nothing by pointer.
fn trace_request(request: libc::c_uint, tid: Pid, data: i32) -> Result<(), Errno> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    let data = libc::c_long::from(data);
    // SAFETY: with the three requests of the callers neither argument is used as a pointer.
    let outcome = unsafe { libc::ptrace(request, tid.as_raw_nonzero().get(), nothing, data) };
    if outcome == -1 {
        Err(last_error())
    } else {
        Ok(())
    }
}

/// Why the tracee `tid` stands still; `ESRCH` where it does not (or is not there).
pub(super) fn stop_info(tid: Pid) -> Result<StopInfo, Errno> {
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: all zeros is a value of this plain C struct.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let into: *mut libc::siginfo_t = &mut info;
    // SAFETY: `into` points to a `siginfo_t` of ours, which is what this request fills.
    let outcome = unsafe {
        libc::ptrace(
            libc::PTRACE_GETSIGINFO,
            tid.as_raw_nonzero().get(),
            nothing,
            into,
        )
    };
    if outcome == -1 {
        return Err(last_error());
    }
    Ok(StopInfo {
        signal: info.si_signo,
        code: info.si_code,
    })
}

/// Fills `buffer` with the beginning of a stopped tracee's register set `set` (`NT_…` of
/// `include/uapi/linux/elf.h`), and says how many bytes it has; at most the buffer's.
pub(super) fn register_set(tid: Pid, set: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut piece = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: it describes the buffer, which is borrowed mutably for as long as the call takes.
    unsafe { register_request(libc::PTRACE_GETREGSET, tid, set, &mut piece) }?;
    Ok(piece.iov_len.min(buffer.len()))
}

/// Loads a stopped tracee's register set `set` from `bytes`: all at once or not at all.
pub(super) fn set_register_set(tid: Pid, set: i32, bytes: &[u8]) -> Result<(), Errno> {
    let mut piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: it describes `bytes`, from which the kernel only reads for this request.
    unsafe { register_request(libc::PTRACE_SETREGSET, tid, set, &mut piece) }
}

/// A request about a register set.
///
/// # Safety
/// `piece` describes memory of ours that the kernel may access as `request` does.
unsafe fn register_request(
    request: libc::c_uint,
    tid: Pid,
    set: i32,
    piece: &mut libc::iovec,
) -> Result<(), Errno> {
    let described: *mut libc::iovec = piece;
    // SAFETY: `described` points to an `iovec` of ours; what that describes is for the caller.
    let outcome = unsafe {
        libc::ptrace(
            request,
            tid.as_raw_nonzero().get(),
            set as *mut libc::c_void,
            described,
        )
    };
    if outcome == -1 {
        Err(last_error())
    } else {
        Ok(())
    }
}

/// The signals that a stopped tracee blocks, a bit each.
pub(super) fn signal_mask(tid: Pid) -> Result<u64, Errno> {
    let mut mask = 0_u64;
    let into: *mut u64 = &mut mask;
    // SAFETY: the address argument is the size of what `into` points to, a `u64` of ours.
    let outcome = unsafe {
        libc::ptrace(
            libc::PTRACE_GETSIGMASK,
            tid.as_raw_nonzero().get(),
            size_of::<u64>() as *mut libc::c_void,
            into,
        )
    };
    if outcome == -1 {
        Err(last_error())
    } else {
        Ok(mask)
    }
}

/// Collects the end of a tracee of any thread of ours, if it has ended. Only for a thread that is
/// not its process's first: that one's end is its parent's to collect.
pub(super) fn reap(tid: Pid) {
    let flags = libc::__WALL | libc::WNOHANG;
    // SAFETY: a null status pointer is allowed and means that it is not wanted.
    unsafe { libc::waitpid(tid.as_raw_nonzero().get(), std::ptr::null_mut(), flags) };
}

/// The signals that a thread of ours blocks.
#[derive(Clone, Copy)]
pub(super) struct SignalMask(libc::sigset_t);

/// Has the calling thread block every signal that can be blocked; gives what it blocked before.
pub(super) fn block_all_signals() -> SignalMask {
    let mut all = MaybeUninit::uninit();
    // SAFETY: the call fills the set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: it has been filled.
    set_signal_mask(&SignalMask(unsafe { all.assume_init() }))
}

/// Has the calling thread block these signals and no others; gives what it blocked before.
pub(super) fn set_signal_mask(mask: &SignalMask) -> SignalMask {
    // A copy, so that it is right whatever the call does: it fails for no valid request.
    let mut before = mask.0;
    // SAFETY: both point to sets of ours, and the call only reads the first.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &mask.0, &mut before) };
    SignalMask(before)
}

/// Where a thread's list of robust futexes begins (`get_robust_list(2)`), which is where the C
/// library keeps it; null where it keeps none. Asks no more of the thread than reading its memory
/// does, and does not stop it.
pub(super) fn robust_list(tid: Pid) -> Result<u64, Errno> {
    let (mut head, mut size) = (0_u64, 0_usize);
    let (into_head, into_size): (*mut u64, *mut usize) = (&mut head, &mut size);
    // SAFETY: both point to numbers of ours of the sizes that this call fills.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_get_robust_list,
            tid.as_raw_nonzero().get(),
            into_head,
            into_size,
        )
    };
    if outcome == -1 {
        Err(last_error())
    } else {
        Ok(head)
    }
}

/// Makes the calling thread's file accesses count as this user and group, and returns the pair
/// before. Other threads are not touched. The kernel reports no failure: what a second call with
/// the same pair returns tells whether the first took effect.
pub(super) fn set_fs_ids(uid: u32, gid: u32) -> (u32, u32) {
    // SAFETY: a plain call without pointers.
    let previous_gid = unsafe { libc::setfsgid(gid) };
    // SAFETY: a plain call without pointers.
    let previous_uid = unsafe { libc::setfsuid(uid) };
    (previous_uid.cast_unsigned(), previous_gid.cast_unsigned())
}

/// Asks whether the process's memory may be read, by its very first byte. Nothing is mapped there
/// usually: `EFAULT` says that the kernel did look.
pub(super) fn read_probe(pid: i32) -> Result<(), Errno> {
    let mut byte = 0_u8;
    let into: *mut u8 = &mut byte;
    let local = libc::iovec {
        iov_base: into.cast(),
        iov_len: 1,
    };
    let remote = libc::iovec {
        iov_base: std::ptr::null_mut(),
        iov_len: 1,
    };
    // SAFETY: one element on each side; the local one describes the byte above, the remote
    // address belongs to the other process, where the kernel checks it.
    let got = unsafe { libc::process_vm_readv(pid, &local, 1, &remote, 1, 0) };
    if got == -1 { Err(last_error()) } else { Ok(()) }
}

/// Asks whether tracing is allowed as such, of no process: `ESRCH` if it is.
pub(super) fn seize_probe() -> Result<(), Errno> {
    // Above any that a process can have (`PID_MAX_LIMIT` of `include/linux/threads.h`: 2^22).
    const NO_PID: libc::pid_t = libc::pid_t::MAX;
    let nothing = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: neither argument of this request is used as a pointer.
    let outcome = unsafe { libc::ptrace(libc::PTRACE_SEIZE, NO_PID, nothing, nothing) };
    if outcome == -1 {
        Err(last_error())
    } else {
        Ok(())
    }
}

/// The user who made a user namespace (`NS_GET_OWNER_UID` of `include/uapi/linux/nsfs.h`).
pub(super) fn namespace_owner(namespace: BorrowedFd<'_>) -> Result<u32, Errno> {
    const NS_GET_OWNER_UID: libc::Ioctl = 0xb704;
    let mut owner: libc::uid_t = 0;
    let into: *mut libc::uid_t = &mut owner;
    // SAFETY: `into` points to a `uid_t` of ours, which is what this request fills.
    let outcome = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_OWNER_UID, into) };
    if outcome == -1 {
        Err(last_error())
    } else {
        Ok(owner)
    }
}

/// The namespace around a user or pid namespace (`NS_GET_PARENT` of
/// `include/uapi/linux/nsfs.h`); `EPERM` where it is not within ours.
pub(super) fn namespace_parent(namespace: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const NS_GET_PARENT: libc::Ioctl = 0xb702;
    // SAFETY: a request without an argument.
    let parent = unsafe { libc::ioctl(namespace.as_raw_fd(), NS_GET_PARENT) };
    if parent == -1 {
        return Err(last_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(parent) })
}

/// How much a reader of [`fork_reader`] reads at once.
pub(super) const READ_ASIDE: usize = 32 << 10;

/// Starts a child that reads other processes' memory, for as long as the other end of `socket` is
/// open. It has nothing else of ours open.
///
/// A question is an address (8 bytes), a thread and a size (4 each); the answer says how much came
/// (8 bytes; negative where nothing did) and has that.
pub(super) fn fork_reader(socket: BorrowedFd<'_>) -> Result<Pid, Errno> {
    // SAFETY: the child does nothing but what a signal handler may as well.
    match unsafe { libc::fork() } {
        -1 => Err(last_error()),
        // SAFETY: this is that child.
        0 => unsafe { serve_reads(socket.as_raw_fd()) },
        child => Pid::from_raw(child).ok_or(Errno::SRCH),
    }
}

/// What the child does.
///
/// # Safety
/// Only for a process that has just been forked, since it closes whatever is open; and nothing but
/// system calls may stand here, since other threads held locks when it was.
unsafe fn serve_reads(socket: i32) -> ! {
    const HEAD: usize = size_of::<i64>();
    let mut answer = [0_u8; HEAD + READ_ASIDE];
    // SAFETY: plain calls, and buffers of this frame with their own lengths. The remote address
    // belongs to the other process, where the kernel checks it; what is read is at most what the
    // buffer behind its head holds.
    unsafe {
        if libc::dup2(socket, 0) != 0 {
            libc::_exit(1);
        }
        if libc::syscall(libc::SYS_close_range, 1, libc::c_uint::MAX, 0) != 0 {
            (1..1 << 16).for_each(|fd| {
                libc::close(fd);
            });
        }
        loop {
            let mut question = [0_u8; 16];
            let into = question.as_mut_ptr().cast();
            if libc::recv(0, into, question.len(), 0) != 16 {
                libc::_exit(0);
            }
            let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = question;
            let address = u64::from_ne_bytes([a, b, c, d, e, f, g, h]);
            let size = u32::from_ne_bytes([m, n, o, p]) as usize;
            let local = libc::iovec {
                iov_base: answer.as_mut_ptr().add(HEAD).cast(),
                iov_len: if size < READ_ASIDE { size } else { READ_ASIDE },
            };
            let remote = libc::iovec {
                iov_base: address as *mut _,
                iov_len: local.iov_len,
            };
            let thread = i32::from_ne_bytes([i, j, k, l]);
            let came = libc::process_vm_readv(thread, &local, 1, &remote, 1, 0);
            let head = (came as i64).to_ne_bytes();
            libc::memcpy(answer.as_mut_ptr().cast(), head.as_ptr().cast(), HEAD);
            let length = HEAD + if came > 0 { came as usize } else { 0 };
            if libc::send(0, answer.as_ptr().cast(), length, libc::MSG_NOSIGNAL) < 0 {
                libc::_exit(0);
            }
        }
    }
}

/// The calling thread's `errno`.
fn last_error() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}
