//! What steering a stopped thread takes of each kind of machine: how its registers lie, what the
//! two instructions look like that it rests on, and how a signal's frame lies on a stack.

#[cfg(not(target_arch = "x86_64"))]
mod none;
#[cfg(target_arch = "x86_64")]
mod x86_64;

use crate::Address;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use none::Native;
#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::Native;

/// The general registers of a stopped thread.
pub(super) trait Registers: Clone + Sized {
    /// The instruction that enters the kernel.
    const SYSTEM_CALL: &'static [u8];
    /// The instructions by which a signal handler's return gets there: the end of what the C
    /// library names as `sa_restorer`.
    const SIGNAL_RETURN: &'static [u8];
    /// The register set that tells of a shadow stack, where the machine has them.
    const SHADOW_STACK: Option<i32>;
    /// The register set with the vector registers.
    const VECTORS: i32;
    /// Bytes that lie below the stack pointer and are in use all the same.
    const RED_ZONE: u64;

    /// From what the kernel gives as `NT_PRSTATUS`. `None` where that is not of this machine: a
    /// thread that runs 32-bit code.
    fn parse(bytes: &[u8]) -> Option<Self>;
    /// The form that [`Self::parse`] takes.
    fn bytes(&self) -> Vec<u8>;
    /// The next instruction.
    fn instruction(&self) -> Address;
    /// The stack pointer.
    fn stack(&self) -> Address;
    /// The frame pointer.
    fn frame(&self) -> Address;
    /// What the C library knows the thread by, by the register that leads to what is the thread's
    /// own. `None` where that is not among these.
    fn thread_pointer(&self) -> Option<Address>;
    /// The system call it is in: its number and its arguments, as they were given. `None` in none.
    fn system_call(&self) -> Option<(u32, [u64; 6])>;
    /// What the system call it is in returns; negative for an error, and below -511 where the
    /// kernel is going to begin it again.
    fn outcome(&self) -> i64;
    /// The same, but the system call returns `outcome` and is not begun again.
    fn returning(&self, outcome: i64) -> Self;
    /// The same, but about to make its system call once more.
    fn again(&self) -> Self;
    /// What makes the thread do what `detour` says; `None` where its stack has no room.
    fn detour(&self, detour: &Detour<'_, Self>) -> Option<Prepared<Self>>;
}

/// A function to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Where it begins.
    pub function: Address,
    /// Its only argument, if it takes one.
    pub argument: Argument,
}

/// What a function is called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A number or an address; 0 where it takes none.
    Value(u64),
    /// The address of the text that comes along.
    Text,
}

/// Calls that a thread makes before it goes on.
pub(super) struct Detour<'a, R> {
    /// What it calls, in this order; not empty.
    pub(super) calls: &'a [Call],
    /// What they may take, which ends with a NUL.
    pub(super) text: &'a [u8],
    /// Its registers once it goes on.
    pub(super) afterwards: &'a R,
    /// Its vector registers, as the kernel gives them.
    pub(super) vectors: &'a [u8],
    /// The signals that it blocks.
    pub(super) mask: u64,
    /// Where [`Registers::SIGNAL_RETURN`] lies in the target.
    pub(super) signal_return: Address,
}

/// What a detour comes to.
#[derive(Debug)]
pub(super) struct Prepared<R> {
    /// Where `bytes` go: below all of the stack that is in use.
    pub(super) at: Address,
    /// The frames, the vector registers and the text.
    pub(super) bytes: Vec<u8>,
    /// The registers for the first call.
    pub(super) registers: R,
}
