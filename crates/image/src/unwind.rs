//! From a function to its caller, by the rules that compilers leave in `.eh_frame`.
//!
//! A rule is followed to the letter or not at all: nothing is guessed from frame pointers or from
//! what lies on the stack. The index (`.eh_frame_hdr`) is read once, and of the rules only those
//! of the function in question.

use std::ops::Range;

use gimli::{
    BaseAddresses, CfaRule, EhFrame, EndianSlice, EvaluationResult, FrameDescriptionEntry,
    LittleEndian, Location, Register, RegisterRule, UnwindContext, UnwindExpression, UnwindSection,
    Value, X86_64,
};

use crate::source::{MemorySource, Source};

/// Real indices have some 20,000 entries; the largest programs' have ten times that.
const MAX_INDEX: u64 = 16 << 20;
/// Bytes of one function's rules; CPython's largest has about 6,000.
const MAX_RULES: usize = 64 << 10;
/// Steps of an expression; compilers write about ten.
const MAX_STEPS: u32 = 64;
/// What the index begins with: version 1, then how its pointers are encoded. All linkers make it
/// like this: 32-bit offsets, sorted.
const INDEX_FORM: [u8; 4] = [1, 0x1b, 0x03, 0x3b];
const INDEX_HEADER: u64 = 12;
const INDEX_ENTRY: usize = 8;
/// The size of a length, and of what says where the common part is.
const WORD: usize = 4;
const ADDRESS_SIZE: u8 = 8;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// The registers that rules of unwinding build on, on x86-64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The next instruction.
    pub ip: u64,
    /// The stack pointer.
    pub sp: u64,
    /// The frame pointer, `rbp`; `None` where it is not known. Only some functions' rules need it.
    pub bp: Option<u64>,
}

impl Registers {
    fn get(&self, register: Register) -> Option<u64> {
        match register {
            X86_64::RSP => Some(self.sp),
            X86_64::RBP => self.bp,
            X86_64::RA => Some(self.ip),
            _ => None,
        }
    }
}

/// What the rules say of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where the function's code lies. Compilers split functions: it is the part of it that the
    /// instruction is in.
    pub function: Range<u64>,
    /// It is what the kernel has a signal handler return to, so that its caller was interrupted
    /// and has not called.
    pub signal: bool,
    /// The caller's registers; `None` where the rules say that nobody called it.
    pub caller: Option<Registers>,
}

/// The index of a module's unwinding rules, as it is mapped.
#[derive(Debug)]
pub struct UnwindTable {
    /// Where it lies: its offsets count from here.
    address: u64,
    /// Pairs of 32-bit offsets, to a function and to its rules, sorted by function.
    entries: Vec<[u8; INDEX_ENTRY]>,
}

impl UnwindTable {
    /// Reads the index of `size` bytes at `address`.
    pub(crate) fn parse(source: &mut impl Source, address: u64, size: u64) -> Option<Self> {
        let mut header = [0; INDEX_HEADER as usize];
        source.fill(address, &mut header)?;
        let (form, rest) = header.split_first_chunk::<4>()?;
        let count = u64::from(u32::from_le_bytes(*rest.last_chunk()?));
        let room = size.min(MAX_INDEX).checked_sub(INDEX_HEADER)?;
        if *form != INDEX_FORM || count > room / INDEX_ENTRY as u64 {
            return None;
        }
        let mut entries = vec![[0; INDEX_ENTRY]; usize::try_from(count).ok()?];
        source.fill(
            address.checked_add(INDEX_HEADER)?,
            entries.as_flattened_mut(),
        )?;
        Some(Self { address, entries })
    }

    /// From the function that `registers` are in to its caller. `returning` says that they are a
    /// caller's themselves: its instruction pointer is then behind the call, which may have been
    /// the function's last instruction. `read` fills the whole buffer from an address of the
    /// process or says `false`.
    ///
    /// `None` where no rule covers the function, where following it needs a register that is not
    /// known or memory that can't be read, or where it would not lead up the stack.
    pub fn step(
        &self,
        registers: &Registers,
        returning: bool,
        read: impl FnMut(u64, &mut [u8]) -> bool,
    ) -> Option<Step> {
        let mut source = MemorySource(read);
        let at = registers.ip.checked_sub(u64::from(returning))?;
        let rules = Rules::read(&mut source, self.rules_of(at)?)?;
        let frame = rules.frame();
        let entry = rules.entry(&frame)?;
        if !entry.contains(at) || entry.cie().return_address_register() != X86_64::RA {
            return None;
        }
        let mut context = UnwindContext::new();
        let row = entry
            .unwind_info_for_address(&frame, &rules.bases, &mut context, at)
            .ok()?;
        let mut evaluation = Evaluation {
            frame: &frame,
            encoding: entry.cie().encoding(),
            registers,
            source: &mut source,
        };
        let step = |caller| Step {
            function: entry.initial_address()..entry.end_address(),
            signal: entry.is_signal_trampoline(),
            caller,
        };
        let return_rule = row.register(X86_64::RA)?;
        if return_rule == RegisterRule::Undefined {
            return Some(step(None));
        }
        let cfa = evaluation.cfa(row.cfa())?;
        let ip = evaluation.register(X86_64::RA, &return_rule, cfa)?;
        let sp = match row.register(X86_64::RSP) {
            Some(rule) => evaluation.register(X86_64::RSP, &rule, cfa)?,
            None => cfa,
        };
        // A function that says nothing of it keeps it.
        let bp_rule = row.register(X86_64::RBP).unwrap_or(RegisterRule::SameValue);
        let bp = evaluation.register(X86_64::RBP, &bp_rule, cfa);
        (sp > registers.sp).then(|| step(Some(Registers { ip, sp, bp })))
    }

    /// Where the rules lie of the function that `at` is in, if it is in any.
    fn rules_of(&self, at: u64) -> Option<u64> {
        let offset = i32::try_from(at.wrapping_sub(self.address).cast_signed()).ok()?;
        let split = |entry: &[u8; INDEX_ENTRY]| -> Option<(i32, i32)> {
            let (function, rules) = entry.split_first_chunk()?;
            Some((
                i32::from_le_bytes(*function),
                i32::from_le_bytes(*rules.first_chunk()?),
            ))
        };
        let behind = self
            .entries
            .partition_point(|entry| split(entry).is_some_and(|(function, _)| function <= offset));
        let (_, rules) = split(self.entries.get(behind.checked_sub(1)?)?)?;
        self.address.checked_add_signed(i64::from(rules))
    }
}

/// One function's rules, together with the part that it shares with others.
struct Rules {
    /// The common part, then the function's own, as if they were a whole section.
    bytes: Vec<u8>,
    /// Where the function's own part begins.
    own: usize,
    bases: BaseAddresses,
}

impl Rules {
    /// Reads the rules at `address`.
    fn read(source: &mut impl Source, address: u64) -> Option<Self> {
        let mut entry = read_entry(source, address)?;
        let link = entry.get_mut(WORD..2 * WORD)?;
        let back = u64::from(u32::from_le_bytes(*link.first_chunk()?));
        let common = address.checked_add(WORD as u64)?.checked_sub(back)?;
        let mut bytes = read_entry(source, common)?;
        let own = bytes.len();
        // The two lie next to each other here, which the link has to say.
        link.copy_from_slice(&u32::try_from(own + WORD).ok()?.to_le_bytes());
        bytes.append(&mut entry);
        let bases = BaseAddresses::default().set_eh_frame(address.checked_sub(own as u64)?);
        Some(Self { bytes, own, bases })
    }

    fn frame(&self) -> EhFrame<Bytes<'_>> {
        let mut frame = EhFrame::new(&self.bytes, LittleEndian);
        frame.set_address_size(ADDRESS_SIZE);
        frame
    }

    fn entry<'a>(&self, frame: &EhFrame<Bytes<'a>>) -> Option<FrameDescriptionEntry<Bytes<'a>>> {
        let common = |frame: &EhFrame<_>, bases: &_, at| frame.cie_from_offset(bases, at);
        frame
            .fde_from_offset(&self.bases, self.own.into(), common)
            .ok()
    }
}

/// An entry of `.eh_frame`, its length before it.
fn read_entry(source: &mut impl Source, at: u64) -> Option<Vec<u8>> {
    let mut length = [0; WORD];
    source.fill(at, &mut length)?;
    let size = usize::try_from(u32::from_le_bytes(length)).ok()?;
    if size > MAX_RULES {
        return None;
    }
    let mut bytes = vec![0; WORD + size];
    source.fill(at, &mut bytes)?;
    Some(bytes)
}

/// Follows rules.
struct Evaluation<'a, 'b, S> {
    frame: &'a EhFrame<Bytes<'b>>,
    encoding: gimli::Encoding,
    /// Of the frame to leave.
    registers: &'a Registers,
    source: &'a mut S,
}

impl<S: Source> Evaluation<'_, '_, S> {
    /// The canonical frame address: where the stack pointer was before the call.
    fn cfa(&mut self, rule: &CfaRule<usize>) -> Option<u64> {
        match rule {
            CfaRule::RegisterAndOffset { register, offset } => self
                .registers
                .get(*register)
                .and_then(|base| base.checked_add_signed(*offset)),
            CfaRule::Expression(expression) => self.expression(expression, None),
        }
    }

    /// The value that `register` has in the caller.
    fn register(
        &mut self,
        register: Register,
        rule: &RegisterRule<usize>,
        cfa: u64,
    ) -> Option<u64> {
        match rule {
            RegisterRule::SameValue => self.registers.get(register),
            RegisterRule::Offset(offset) => self.pointer(cfa.checked_add_signed(*offset)?),
            RegisterRule::ValOffset(offset) => cfa.checked_add_signed(*offset),
            RegisterRule::Register(other) => self.registers.get(*other),
            RegisterRule::Expression(expression) => {
                let at = self.expression(expression, Some(cfa))?;
                self.pointer(at)
            }
            RegisterRule::ValExpression(expression) => self.expression(expression, Some(cfa)),
            _ => None,
        }
    }

    fn expression(
        &mut self,
        expression: &UnwindExpression<usize>,
        initial: Option<u64>,
    ) -> Option<u64> {
        let bytes = expression.get(self.frame).ok()?;
        let mut evaluation = bytes.evaluation(self.encoding);
        evaluation.set_max_iterations(MAX_STEPS);
        if let Some(value) = initial {
            evaluation.set_initial_value(value);
        }
        let mut state = evaluation.evaluate().ok()?;
        loop {
            state = match state {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    let value = Value::Generic(self.registers.get(register)?);
                    evaluation.resume_with_register(value).ok()?
                }
                EvaluationResult::RequiresMemory { address, size, .. } if size == ADDRESS_SIZE => {
                    let value = Value::Generic(self.pointer(address)?);
                    evaluation.resume_with_memory(value).ok()?
                }
                _ => return None,
            };
        }
        match evaluation.as_result() {
            [piece] => match piece.location {
                Location::Address { address } => Some(address),
                _ => None,
            },
            _ => None,
        }
    }

    fn pointer(&mut self, at: u64) -> Option<u64> {
        let mut bytes = [0; size_of::<u64>()];
        self.source.fill(at, &mut bytes)?;
        Some(u64::from_le_bytes(bytes))
    }
}
