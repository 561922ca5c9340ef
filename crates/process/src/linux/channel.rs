//! What a target and we say to each other: by a Unix socket, or by a file that it writes.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use invivo_model::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::Target;

/// A socket that waits for the target.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    uid: u32,
}

impl Listener {
    /// `socket` listens and does not block; who connects must be of user `uid`.
    pub(super) fn new(socket: UnixListener, uid: u32) -> Self {
        Self { socket, uid }
    }

    /// Waits for `target` to connect. Whoever else does is turned away: the kernel says which
    /// process and user stands at the other end. `None` when `until` has passed.
    ///
    /// # Errors
    /// `Gone` when the target ends.
    pub fn accept(&self, target: &Target, until: Instant) -> Result<Option<Connection>> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => {
                    if let Some(connection) = self.verified(stream, target) {
                        return Ok(Some(connection));
                    }
                    // Others may come without end.
                    if Instant::now() >= until {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !wait_readable(&self.socket, target, until)? {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    fn verified(&self, stream: UnixStream, target: &Target) -> Option<Connection> {
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?;
        if pid != target.pid() || peer.uid.as_raw() != self.uid {
            return None;
        }
        stream.set_nonblocking(true).ok()?;
        Some(Connection(End::Socket(stream)))
    }
}

/// A connection from the target.
#[derive(Debug)]
pub struct Connection(End);

#[derive(Debug)]
enum End {
    Socket(UnixStream),
    File(Followed),
}

/// A file that the target appends to, read up to a place.
#[derive(Debug)]
struct Followed {
    file: File,
    at: u64,
    /// Up to here it takes no room any more.
    freed: u64,
}

/// How often a file that a target writes is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What has been read of a file is given back to the file system so many bytes at a time.
const FREE_AT: u64 = 1 << 20;

impl Followed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        if self.at - self.freed >= FREE_AT {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // Where the file system can't, the target stops writing at some size.
            let _ = rustix::fs::fallocate(&self.file, flags, self.freed, self.at - self.freed);
            self.freed = self.at;
        }
        Ok(count)
    }

    /// Waits for more. What it wrote before it ended is read first.
    fn receive(
        &mut self,
        target: &Target,
        buffer: &mut [u8],
        until: Instant,
    ) -> io::Result<Transfer> {
        loop {
            let ended = target.ensure_alive().is_err();
            match self.read(buffer)? {
                0 if ended => return Ok(Transfer::Closed),
                0 if Instant::now() >= until => return Ok(Transfer::TimedOut),
                0 => std::thread::sleep(LOOK),
                count => return Ok(Transfer::Bytes(count)),
            }
        }
    }
}

/// What came of waiting for the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// So many bytes were moved.
    Bytes(usize),
    /// The target closed its end, or ended.
    Closed,
    /// The time was up first.
    TimedOut,
}

impl Connection {
    pub(super) fn of_file(file: File) -> Self {
        Self(End::File(Followed {
            file,
            at: 0,
            freed: 0,
        }))
    }

    /// Whether the target gets what is sent to it. Into a file only it writes.
    pub fn takes_bytes(&self) -> bool {
        matches!(self.0, End::Socket(_))
    }

    /// Waits for bytes until `until`.
    ///
    /// # Errors
    /// When the system itself fails; a target that ends gives [`Transfer::Closed`].
    pub fn receive(
        &mut self,
        target: &Target,
        buffer: &mut [u8],
        until: Instant,
    ) -> Result<Transfer> {
        let stream = match &mut self.0 {
            End::Socket(stream) => stream,
            End::File(file) => {
                let received = file.receive(target, buffer, until);
                return received.map_err(|error| failed(&error));
            }
        };
        loop {
            match stream.read(buffer) {
                Ok(0) => return Ok(Transfer::Closed),
                Ok(count) => return Ok(Transfer::Bytes(count)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {}
                    io::ErrorKind::Interrupted => continue,
                    io::ErrorKind::ConnectionReset => return Ok(Transfer::Closed),
                    _ => return Err(failed(&error)),
                },
            }
            match wait_readable(&*stream, target, until) {
                Ok(true) => {}
                Ok(false) => return Ok(Transfer::TimedOut),
                // What it sent before it ended has been read: the socket was empty.
                Err(error) if error.kind == ErrorKind::Gone => return Ok(Transfer::Closed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends all of `bytes`, or says that the target did not take them by `until`.
    ///
    /// # Errors
    /// When the system itself fails, and where it [takes none](Self::takes_bytes).
    pub fn send(&mut self, bytes: &[u8], until: Instant) -> Result<Transfer> {
        let End::Socket(stream) = &self.0 else {
            return Err(Error::internal("a file takes no bytes for the target"));
        };
        let mut left = bytes;
        while !left.is_empty() {
            match rustix::net::send(stream, left, rustix::net::SendFlags::NOSIGNAL) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(Errno::AGAIN) => {
                    if !poll_until(&mut [PollFd::new(stream, PollFlags::OUT)], until)? {
                        return Ok(Transfer::TimedOut);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Ok(Transfer::Closed),
                Err(error) => return Err(failed(&error.into())),
            }
        }
        Ok(Transfer::Bytes(bytes.len()))
    }
}

/// Waits until `socket` can be read: `false` when `until` passes first, `Gone` when the target
/// ends and the socket has nothing.
fn wait_readable(socket: &impl AsFd, target: &Target, until: Instant) -> Result<bool> {
    let pidfd = &target.process.pidfd;
    let mut fds = [
        PollFd::new(socket, PollFlags::IN),
        PollFd::new(pidfd, PollFlags::IN),
    ];
    if !poll_until(&mut fds, until)? {
        return Ok(false);
    }
    if fds[0].revents().is_empty() {
        return Err(Error::gone(target.pid()));
    }
    Ok(true)
}

fn poll_until(fds: &mut [PollFd<'_>], until: Instant) -> Result<bool> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(fds, Some(&timeout)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(failed(&error.into())),
        }
    }
}

fn failed(error: &io::Error) -> Error {
    Error::new(
        ErrorKind::Refused,
        "the result channel failed",
        error.to_string(),
        "try again; the script may or may not have run",
    )
}
