//! What a thread that stands still does next.
//!
//! Each of the two ways is one change of all its registers at once, after which the thread needs
//! us no more: whenever we end, it goes on as if nothing had been. No signal is sent, no code is
//! written, and nothing is left to be undone.

use invivo_model::{Error, ErrorKind, Result};
use rustix::io::Errno;

use super::machine::{Call, Detour, Native, Registers as _};
use super::stop::Suspension;
use super::target::{Target, raw};
use super::{SystemCall, sys, system_calls};
use crate::{Address, Mapping, Memory, Module, WriteRequest};

/// `NT_PRSTATUS` of `include/uapi/linux/elf.h`.
const GENERAL: i32 = 1;

/// Bytes for the vector registers: as many as any processor has (AMX included) and some more.
const VECTORS_MAX: usize = 16 << 10;

// What a system call returns within the kernel where that begins it again (`include/linux/errno.h`).
const ERESTARTSYS: i64 = -512;
const ERESTARTNOINTR: i64 = -513;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
const EINTR: i64 = -4;

/// What a stack must have below its pointer for calls into the target's own code. (A program's
/// first stack grows by itself.)
const STACK_ROOM: u64 = 256 << 10;

/// No C library has more code.
const CODE_MAX: u64 = 16 << 20;

/// Where a thread stands still.
#[derive(Clone, Debug)]
pub struct Standing {
    tid: u32,
    registers: Native,
    /// The system call that it sleeps in, or slept in until it was stopped.
    call: Option<SystemCall>,
}

impl Standing {
    /// The thread; see [`super::Thread::tid`].
    pub fn tid(&self) -> u32 {
        self.tid
    }

    /// The system call that the stop interrupted. `None` where the thread is in none, or the call
    /// was at its end.
    pub fn call(&self) -> Option<SystemCall> {
        self.call
    }

    /// Its next instruction.
    pub fn instruction(&self) -> Address {
        self.registers.instruction()
    }

    /// Its stack pointer.
    pub fn stack(&self) -> Address {
        self.registers.stack()
    }

    /// Its frame pointer, in code that keeps one.
    pub fn frame(&self) -> Address {
        self.registers.frame()
    }

    /// What the C library knows it by, where its registers tell.
    pub(super) fn thread_pointer(&self) -> Option<Address> {
        self.registers.thread_pointer()
    }

    /// The registers with which it goes on after other calls in between: the system call is begun
    /// again, where that keeps its time, or returns `EINTR`.
    fn afterwards(&self) -> Native {
        let again = match self.registers.outcome() {
            ERESTARTSYS | ERESTARTNOINTR => true,
            // These count their time anew, or go on with what was left when they were interrupted.
            ERESTARTNOHAND => !matches!(
                self.call.and_then(|call| call.name),
                Some("select" | "pselect6" | "ppoll")
            ),
            ERESTART_RESTARTBLOCK => self.waits_until_a_time(),
            _ => false,
        };
        if again {
            self.registers.again()
        } else {
            self.registers.returning(EINTR)
        }
    }

    /// Whether it waits in a futex until a moment of a clock, which does not move.
    fn waits_until_a_time(&self) -> bool {
        let operation = self
            .registers
            .system_call()
            .map(|(_, [_, operation, ..])| operation);
        let operation = operation.and_then(|operation| i32::try_from(operation).ok());
        let flags = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
        self.call.and_then(|call| call.name) == Some("futex")
            && operation.map(|operation| operation & !flags) == Some(libc::FUTEX_WAIT_BITSET)
    }
}

/// Where the code lies by which a signal handler returns.
#[derive(Clone, Copy, Debug)]
pub struct SignalReturn(Address);

impl Target {
    /// Looks for the code by which signal handlers return, which every C library has.
    ///
    /// # Errors
    /// `Unsupported` where it has not been found, or on a machine that Invivo does not know how to
    /// steer threads on.
    pub fn signal_return(&self, modules: &[Module]) -> Result<SignalReturn> {
        let memory = self.memory();
        let (libraries, others): (Vec<_>, Vec<_>) =
            modules.iter().partition(|module| module.is_c_library());
        // A program that has no such library has it within itself, and comes first.
        let found = libraries
            .into_iter()
            .chain(others.into_iter().take(1))
            .flat_map(|module| &module.mappings)
            .filter(|mapping| mapping.executable && mapping.inode != 0)
            .find_map(|mapping| find(&memory, mapping, Native::SIGNAL_RETURN));
        found.map(SignalReturn).ok_or_else(|| {
            self.cannot_be_steered(
                "the code that ends signal handlers was not found in its C library",
            )
        })
    }

    fn cannot_be_steered(&self, why: impl Into<String>) -> Error {
        Error::new(
            ErrorKind::Unsupported,
            format!(
                "no thread of process {} can be made to call a function",
                self.pid()
            ),
            why,
            "choose a thread that runs Python, or wait until this one does",
        )
    }
}

impl Suspension<'_> {
    /// Where its thread `tid` stands.
    ///
    /// # Errors
    /// `Gone` where that is not a thread of it any more, `Unsupported` where it runs code of another
    /// machine.
    pub fn standing(&self, tid: u32) -> Result<Standing> {
        let thread = self.held_thread(tid)?;
        let mut bytes = [0; 1024];
        let size = sys::register_set(thread, GENERAL, &mut bytes)
            .map_err(|errno| self.not_steered(tid, errno))?;
        let registers = bytes.get(..size).and_then(Native::parse);
        let registers = registers.ok_or_else(|| {
            self.target()
                .cannot_be_steered("it runs code of another machine")
        })?;
        let interrupted = matches!(
            registers.outcome(),
            ERESTARTSYS | ERESTARTNOINTR | ERESTARTNOHAND | ERESTART_RESTARTBLOCK | EINTR
        );
        let call = registers.system_call().filter(|_| interrupted);
        // A thread that is about to get a signal handles that first.
        let call = call.filter(|_| !self.gets_signal(tid));
        Ok(Standing {
            tid,
            call: call.map(|(number, [argument, ..])| SystemCall {
                number,
                name: system_calls::name(number),
                argument,
            }),
            registers,
        })
    }

    /// Makes the system call that a thread was interrupted in return `EINTR`, as if a signal had
    /// come and been handled. Does nothing to a thread that is in none.
    ///
    /// # Errors
    /// `Gone`.
    pub fn interrupt(&self, standing: &Standing) -> Result<()> {
        if standing.call.is_none() {
            return Ok(());
        }
        self.load(standing.tid, &standing.registers.returning(EINTR))
    }

    /// Makes a thread that was interrupted in a system call make `calls`, one after the other, and
    /// then go on where it was: the call is begun again, or returns `EINTR` where that would not
    /// keep its time. `text` is at hand for them, with a NUL behind it.
    ///
    /// The calls are chained as signal handlers are: each returns into `rt_sigreturn`, which loads
    /// all registers for what comes next, the vector registers and the blocked signals included.
    /// All that is written lies below the stack in use.
    ///
    /// # Errors
    /// `Unsupported` where the thread is in no system call, has a shadow stack, or no room on its
    /// stack; `Gone`; `Corrupt` where its stack can't be written.
    pub fn detour(
        &self,
        standing: &Standing,
        calls: &[Call],
        text: &[u8],
        signal_return: SignalReturn,
    ) -> Result<()> {
        let Standing { tid, registers, .. } = standing;
        let unsupported = |why: String| {
            self.target()
                .cannot_be_steered(format!("thread {tid} {why}"))
        };
        if standing.call.is_none() {
            return Err(unsupported("waits in no system call".to_owned()));
        }
        let thread = self.held_thread(*tid)?;
        let failed = |errno| self.not_steered(*tid, errno);
        if let Some(set) = Native::SHADOW_STACK
            && sys::register_set(thread, set, &mut [0; 8]).is_ok()
        {
            return Err(unsupported(
                "checks its returns by a shadow stack".to_owned(),
            ));
        }
        self.ensure_code(registers.again().instruction(), Native::SYSTEM_CALL)?;
        self.ensure_code(signal_return.0, Native::SIGNAL_RETURN)?;
        let mut vectors = vec![0; VECTORS_MAX];
        let size = sys::register_set(thread, Native::VECTORS, &mut vectors).map_err(failed)?;
        let mut text = text.to_vec();
        text.push(0);
        let afterwards = standing.afterwards();
        let prepared = registers.detour(&Detour {
            calls,
            text: &text,
            afterwards: &afterwards,
            vectors: vectors.get(..size).unwrap_or_default(),
            mask: sys::signal_mask(thread).map_err(failed)?,
            signal_return: signal_return.0,
        });
        let prepared = prepared.filter(|prepared| {
            let mappings = self.target().mappings().unwrap_or_default();
            has_room(&mappings, registers.stack(), prepared.at)
        });
        let prepared =
            prepared.ok_or_else(|| unsupported("has not enough room on its stack".to_owned()))?;
        self.write_many(&[WriteRequest {
            address: prepared.at,
            bytes: &prepared.bytes,
        }])?;
        // From here on all is decided, by this one call.
        self.load(*tid, &prepared.registers)
    }

    fn load(&self, tid: u32, registers: &Native) -> Result<()> {
        let thread = self.held_thread(tid)?;
        sys::set_register_set(thread, GENERAL, &registers.bytes())
            .map_err(|errno| self.not_steered(tid, errno))
    }

    /// That certain machine code lies at an address.
    fn ensure_code(&self, at: Address, code: &[u8]) -> Result<()> {
        let mut found = vec![0; code.len()];
        let read = self.target().memory().read(at, &mut found);
        if read.is_ok() && found == code {
            return Ok(());
        }
        Err(self.target().cannot_be_steered(format!(
            "the code at {at} is not what enters the kernel on this machine"
        )))
    }

    fn not_steered(&self, tid: u32, errno: Errno) -> Error {
        let what = format!("the registers of thread {tid} can't be had");
        self.target().process.failed(what, errno)
    }

    fn held_thread(&self, tid: u32) -> Result<rustix::process::Pid> {
        let held = self.tids().contains(&tid);
        let thread = raw(tid).filter(|_| held);
        thread.ok_or_else(|| {
            Error::new(
                ErrorKind::Gone,
                format!(
                    "thread {tid} of process {} is not there any more",
                    self.target().pid()
                ),
                "it has ended",
                "look again with: invivo dump",
            )
        })
    }
}

/// The first place of `wanted` in a mapping.
fn find(memory: &impl Memory, mapping: &Mapping, wanted: &[u8]) -> Option<Address> {
    let start = mapping.range.start;
    let size = mapping.range.end.0.checked_sub(start.0)?.min(CODE_MAX);
    let mut code = vec![0; usize::try_from(size).ok()?];
    memory.read(start, &mut code).ok()?;
    start.offset(memchr::memmem::find(&code, wanted)? as u64)
}

/// Whether the stack that holds `pointer` reaches down to `lowest` and far enough below.
fn has_room(mappings: &[Mapping], pointer: Address, lowest: Address) -> bool {
    let stack = mappings
        .iter()
        .find(|mapping| mapping.range.contains(&pointer));
    stack.is_some_and(|stack| {
        let grows = stack.name == b"[stack]";
        let room = lowest.0.checked_sub(stack.range.start.0);
        room.is_some_and(|room| grows || room >= STACK_ROOM)
    })
}
