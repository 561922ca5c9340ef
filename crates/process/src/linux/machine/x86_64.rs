//! x86-64.

use super::{Argument, Detour, Prepared, Registers};
use crate::Address;

/// How many registers there are (`struct user_regs_struct`, `arch/x86/include/asm/user_64.h`).
const COUNT: usize = 27;

// Their places in it.
const R15: usize = 0;
const R14: usize = 1;
const R13: usize = 2;
const R12: usize = 3;
const RBP: usize = 4;
const RBX: usize = 5;
const R11: usize = 6;
const R10: usize = 7;
const R9: usize = 8;
const R8: usize = 9;
const RAX: usize = 10;
const RCX: usize = 11;
const RDX: usize = 12;
const RSI: usize = 13;
const RDI: usize = 14;
const ORIG_RAX: usize = 15;
const RIP: usize = 16;
const CS: usize = 17;
const EFLAGS: usize = 18;
const RSP: usize = 19;
const SS: usize = 20;
const FS_BASE: usize = 21;

/// The order in which a signal's frame holds the first of them (`struct sigcontext_64`,
/// `arch/x86/include/uapi/asm/sigcontext.h`).
const IN_FRAME: [usize; 18] = [
    R8, R9, R10, R11, R12, R13, R14, R15, RDI, RSI, RBP, RBX, RDX, RAX, RCX, RSP, RIP, EFLAGS,
];

/// `orig_rax` of a thread that is in no system call.
const NONE: u64 = u64::MAX;

/// Flags that a function must not begin with: trap, direction, alignment check.
const UNWANTED_FLAGS: u64 = 1 << 8 | 1 << 10 | 1 << 18;

/// What rt_sigreturn reads: the return address before it, and the `ucontext`
/// (`struct rt_sigframe`, `arch/x86/include/asm/sigframe.h`).
const FRAME: u64 = 8 + 304;
/// From one frame to the next: every one lies 8 behind a multiple of 16, as the stack does when a
/// function begins.
const STRIDE: u64 = 320;

/// `UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS`.
const CONTEXT_FLAGS: u64 = 1 | 2 | 4;
/// Flags of an alternative signal stack that the kernel does not take, so that the thread keeps
/// the one it has.
const KEEP_SIGNAL_STACK: u64 = 8;

/// Where the legacy area of the vector registers says what follows (`struct _fpx_sw_bytes`); the
/// kernel gives the enabled features in the same place.
const SOFTWARE: usize = 464;
const FP_XSTATE_MAGIC1: u32 = 0x4650_5853;
const FP_XSTATE_MAGIC2: u32 = 0x4650_5845;
/// The first feature that a frame does not hold: AMX's tile data, which only threads that asked
/// for them have room for, and what follows. No function call keeps these.
const FIRST_DYNAMIC: u32 = 18;
/// Where that feature begins in the kernel's form, for all processors that have it.
const DYNAMIC_AT: usize = 2816;
/// Legacy area and header.
const VECTORS_MIN: usize = 576;

/// The general registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::linux) struct Native([u64; COUNT]);

impl Native {
    fn with(&self, changes: &[(usize, u64)]) -> Self {
        let mut registers = self.0;
        for (place, value) in changes {
            if let Some(register) = registers.get_mut(*place) {
                *register = *value;
            }
        }
        Self(registers)
    }

    fn get(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or_default()
    }

    /// About to call `function` with `argument`, with its return address at `stack`.
    fn calling(&self, function: Address, argument: u64, stack: u64) -> Self {
        self.with(&[
            (RIP, function.0),
            (RDI, argument),
            // The number of vector arguments of a function with a variable number of them.
            (RAX, 0),
            (RSP, stack),
            (EFLAGS, self.get(EFLAGS) & !UNWANTED_FLAGS),
            (ORIG_RAX, NONE),
        ])
    }

    /// The frame that makes rt_sigreturn load these registers: `return_to` comes first, since the
    /// function before it returns through it.
    fn frame_bytes(&self, return_to: Address, vectors: Address, mask: u64) -> Vec<u8> {
        let segments = self.get(CS) & 0xffff | (self.get(SS) & 0xffff) << 48;
        let mut words = vec![return_to.0, CONTEXT_FLAGS, 0, 0, KEEP_SIGNAL_STACK, 0];
        words.extend(IN_FRAME.map(|place| self.get(place)));
        // Segments; error code, trap number, old mask and fault address are not read.
        words.extend([segments, 0, 0, 0, 0, vectors.0]);
        words.extend([0; 8]);
        words.push(mask);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}

impl Registers for Native {
    const SYSTEM_CALL: &'static [u8] = &[0x0f, 0x05];
    /// `mov $15, %rax; syscall`: 15 is rt_sigreturn.
    const SIGNAL_RETURN: &'static [u8] = &[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05];
    /// `NT_X86_SHSTK`.
    const SHADOW_STACK: Option<i32> = Some(0x204);
    /// `NT_X86_XSTATE`.
    const VECTORS: i32 = 0x202;
    const RED_ZONE: u64 = 128;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let words: &[[u8; 8]; COUNT] = words.try_into().ok()?;
        rest.is_empty().then(|| Self(words.map(u64::from_le_bytes)))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn instruction(&self) -> Address {
        Address(self.get(RIP))
    }

    fn stack(&self) -> Address {
        Address(self.get(RSP))
    }

    fn frame(&self) -> Address {
        Address(self.get(RBP))
    }

    fn thread_pointer(&self) -> Option<Address> {
        Some(Address(self.get(FS_BASE)))
    }

    fn system_call(&self) -> Option<(u32, [u64; 6])> {
        let number = u32::try_from(self.get(ORIG_RAX)).ok()?;
        Some((
            number,
            [RDI, RSI, RDX, R10, R8, R9].map(|place| self.get(place)),
        ))
    }

    fn outcome(&self) -> i64 {
        self.get(RAX).cast_signed()
    }

    fn returning(&self, outcome: i64) -> Self {
        self.with(&[(RAX, outcome.cast_unsigned()), (ORIG_RAX, NONE)])
    }

    fn again(&self) -> Self {
        let before = self.get(RIP).wrapping_sub(Self::SYSTEM_CALL.len() as u64);
        self.with(&[(RIP, before), (RAX, self.get(ORIG_RAX)), (ORIG_RAX, NONE)])
    }

    fn detour(&self, detour: &Detour<'_, Self>) -> Option<Prepared<Self>> {
        let vectors = framed_vectors(detour.vectors)?;
        let top = self.stack().0.checked_sub(Self::RED_ZONE)?;
        let text = aligned_below(top, detour.text.len(), 16)?;
        let vectors_at = aligned_below(text, vectors.len(), 64)?;
        // One frame for each call but the first, and one to go on with; the last lies highest.
        let last = vectors_at.checked_sub(FRAME)?.checked_sub(8)? & !15 | 8;
        let count = u64::try_from(detour.calls.len()).ok()?;
        let first = last.checked_sub(count.checked_sub(1)?.checked_mul(STRIDE)?)?;

        let mut states = Vec::with_capacity(detour.calls.len() + 1);
        for (call, stack) in detour.calls.iter().zip((first..).step_by(STRIDE as usize)) {
            let argument = match call.argument {
                Argument::Value(value) => value,
                Argument::Text => text,
            };
            states.push(self.calling(call.function, argument, stack));
        }
        let begin = states.first()?.clone();
        states.push(detour.afterwards.clone());

        let size = usize::try_from(top.checked_sub(first)?).ok()?;
        let mut bytes = vec![0; size];
        let mut place = |at: u64, piece: &[u8]| {
            let from = usize::try_from(at - first).ok()?;
            let into = bytes.get_mut(from..from.checked_add(piece.len())?)?;
            into.copy_from_slice(piece);
            Some(())
        };
        for (state, at) in states
            .iter()
            .skip(1)
            .zip((first..).step_by(STRIDE as usize))
        {
            let frame = state.frame_bytes(detour.signal_return, Address(vectors_at), detour.mask);
            place(at, &frame)?;
        }
        place(vectors_at, &vectors)?;
        place(text, detour.text)?;
        Some(Prepared {
            at: Address(first),
            bytes,
            registers: begin,
        })
    }
}

/// The highest place for `size` bytes below `end`.
fn aligned_below(end: u64, size: usize, alignment: u64) -> Option<u64> {
    let start = end.checked_sub(u64::try_from(size).ok()?)?;
    Some(start & !(alignment - 1))
}

/// The vector registers as a signal's frame holds them, from how the kernel gives them to a
/// tracer. `None` where they are too short to be that.
fn framed_vectors(given: &[u8]) -> Option<Vec<u8>> {
    if given.len() < VECTORS_MIN {
        return None;
    }
    let mut vectors = given.get(..given.len().min(DYNAMIC_AT))?.to_vec();
    let enabled = u64::from_le_bytes(*given.get(SOFTWARE..)?.first_chunk()?);
    let held = enabled & ((1 << FIRST_DYNAMIC) - 1);
    // The header says which features hold anything but their initial values.
    let used = u64::from_le_bytes(*given.get(512..)?.first_chunk()?) & held;
    vectors
        .get_mut(512..520)?
        .copy_from_slice(&used.to_le_bytes());
    let size = u32::try_from(vectors.len()).ok()?;
    let software = vectors.get_mut(SOFTWARE..512)?;
    software.fill(0);
    software
        .get_mut(..4)?
        .copy_from_slice(&FP_XSTATE_MAGIC1.to_le_bytes());
    software
        .get_mut(4..8)?
        .copy_from_slice(&(size + 4).to_le_bytes());
    software
        .get_mut(8..16)?
        .copy_from_slice(&held.to_le_bytes());
    software
        .get_mut(16..20)?
        .copy_from_slice(&size.to_le_bytes());
    vectors.extend(FP_XSTATE_MAGIC2.to_le_bytes());
    Some(vectors)
}

#[cfg(test)]
mod tests {
    use super::super::Call;
    use super::*;

    fn registers() -> Native {
        let mut registers = [0; COUNT];
        for (register, value) in registers.iter_mut().zip(100..) {
            *register = value;
        }
        Native(registers).with(&[(RSP, 0x7fff_0000_1239), (RIP, 0x40_0002), (ORIG_RAX, 230)])
    }

    #[test]
    fn registers_survive_their_bytes() {
        let bytes = registers().bytes();
        assert_eq!(Native::parse(&bytes), Some(registers()));
        assert_eq!(Native::parse(bytes.get(8..).expect("the rest")), None);
        assert_eq!(Native::parse(&[0; 68]), None, "of a 32-bit thread");
    }

    #[test]
    fn a_system_call_is_begun_again_or_ended() {
        let before = registers();
        assert_eq!(before.system_call().map(|(number, _)| number), Some(230));
        let again = before.again();
        assert_eq!((again.get(RIP), again.get(RAX)), (0x40_0000, 230));
        assert_eq!(again.system_call(), None);
        let ended = before.returning(-4);
        assert_eq!((ended.get(RIP), ended.outcome()), (0x40_0002, -4));
        assert_eq!(ended.system_call(), None);
    }

    #[test]
    fn a_detour_is_a_chain_of_frames_that_ends_where_it_began() {
        let before = registers();
        let calls = [
            Call {
                function: Address(0x1000),
                argument: Argument::Value(7),
            },
            Call {
                function: Address(0x2000),
                argument: Argument::Text,
            },
            Call {
                function: Address(0x3000),
                argument: Argument::Value(0),
            },
        ];
        let mut vectors = vec![0xaa; 11008];
        vectors[SOFTWARE..SOFTWARE + 8].copy_from_slice(&0x602e7_u64.to_le_bytes());
        vectors[512..520].copy_from_slice(&0x40003_u64.to_le_bytes());
        let detour = Detour {
            calls: &calls,
            text: b"pass\0",
            afterwards: &before.again(),
            vectors: &vectors,
            mask: 0x10,
            signal_return: Address(0x5000),
        };
        let prepared = before.detour(&detour).expect("there is room");
        let word = |at: u64| {
            let from = usize::try_from(at - prepared.at.0).expect("within");
            u64::from_le_bytes(*prepared.bytes[from..].first_chunk().expect("a word"))
        };
        let end = prepared.at.0 + prepared.bytes.len() as u64;
        assert!(end <= before.stack().0 - 128, "the red zone is left alone");

        let mut state = prepared.registers.clone();
        for call in &calls {
            let stack = state.get(RSP);
            assert_eq!(state.instruction(), call.function);
            assert_eq!(stack % 16, 8, "as a call leaves it");
            assert_eq!(word(stack), 0x5000, "it returns to rt_sigreturn");
            match call.argument {
                Argument::Value(value) => assert_eq!(state.get(RDI), value),
                Argument::Text => assert_eq!(word(state.get(RDI)) << 24 >> 24, 0x7373_6170),
            }
            // What rt_sigreturn loads, as the kernel does.
            let context = stack + 8 + 40;
            let mut next = [0; COUNT];
            for (place, at) in IN_FRAME.into_iter().zip((context..).step_by(8)) {
                next[place] = word(at);
            }
            state = Native(next);
            assert_eq!(word(context + 144), before.get(CS) | before.get(SS) << 48);
            assert_eq!(word(context + 256), 0x10);
            let saved = word(context + 184);
            assert_eq!(saved % 64, 0);
            assert_eq!(word(saved), 0xaaaa_aaaa_aaaa_aaaa);
            assert_eq!(word(saved + 464) & 0xffff_ffff, u64::from(FP_XSTATE_MAGIC1));
            assert_eq!(word(saved + 472), 0x202e7, "without what is dynamic");
            assert_eq!(word(saved + 512), 3);
            assert_eq!(
                word(saved + 2816) & 0xffff_ffff,
                u64::from(FP_XSTATE_MAGIC2)
            );
        }
        for place in IN_FRAME {
            assert_eq!(state.get(place), before.again().get(place));
        }
    }

    #[test]
    fn a_stack_without_room_takes_no_detour() {
        let low = registers().with(&[(RSP, 1000)]);
        let call = Call {
            function: Address(1),
            argument: Argument::Value(0),
        };
        let detour = Detour {
            calls: &[call],
            text: b"\0",
            afterwards: &low,
            vectors: &[0; 2696],
            mask: 0,
            signal_return: Address(1),
        };
        assert!(low.detour(&detour).is_none());
        let short = Detour {
            vectors: &[0; 512],
            ..detour
        };
        assert!(registers().detour(&short).is_none());
    }
}
