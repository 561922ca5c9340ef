//! Unwinding by rules typed by hand, by those of real interpreters, and by nonsense.

mod support;

use std::fs::File;

use invivo_image::{Elf, MappedElf, Registers, Step, UnwindTable};
use proptest::prelude::*;
use support::{CODE, UNWINDING, unwinding, unwinding_by};

const STACK: u64 = 0x7ff0_0000;

/// Reads from pieces of memory.
fn reader(pieces: &[(u64, Vec<u8>)]) -> impl FnMut(u64, &mut [u8]) -> bool {
    move |at, buffer| {
        let bytes = pieces.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(at.checked_sub(*start)?).ok()?;
            bytes.get(from..from.checked_add(buffer.len())?)
        });
        bytes.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
    }
}

/// The image, and a stack whose words are their own addresses.
fn memory(image: Vec<u8>) -> [(u64, Vec<u8>); 2] {
    let words = (STACK..STACK + 0x100).step_by(8);
    let stack = words.flat_map(u64::to_le_bytes).collect();
    [(UNWINDING, image), (STACK, stack)]
}

fn table(pieces: &[(u64, Vec<u8>)]) -> Option<UnwindTable> {
    MappedElf::parse(UNWINDING, reader(pieces))
        .ok()?
        .unwind_table()
}

fn step(ip: u64, bp: Option<u64>, returning: bool) -> Option<Step> {
    let pieces = memory(unwinding());
    let registers = Registers { ip, sp: STACK, bp };
    table(&pieces)
        .expect("an index")
        .step(&registers, returning, reader(&pieces))
}

fn caller(ip: u64, sp: u64, bp: Option<u64>) -> Option<Registers> {
    Some(Registers { ip, sp, bp })
}

#[test]
fn rules_lead_to_the_caller() {
    let framed = CODE[0].clone();
    let bp = Some(STACK + 0x40);
    let at = |offset| step(framed.start + offset, bp, false).expect("a rule");
    assert_eq!(at(0).function, framed);
    assert!(!at(0).signal);
    // Before, between and behind `push %rbp` and `mov %rsp, %rbp`.
    assert_eq!(at(0).caller, caller(STACK, STACK + 8, bp));
    assert_eq!(at(1).caller, caller(STACK + 8, STACK + 16, Some(STACK)));
    let pushed = caller(STACK + 0x48, STACK + 0x50, Some(STACK + 0x40));
    assert_eq!(at(4).caller, pushed);
    assert_eq!(step(framed.start + 4, None, false), None);
    // The frame pointer is kept, or not known.
    let unknown = step(framed.start, None, false).expect("a rule");
    assert_eq!(unknown.caller, caller(STACK, STACK + 8, None));
}

#[test]
fn a_call_that_comes_last_belongs_to_its_function() {
    let end = CODE[0].end;
    let bp = Some(STACK + 0x40);
    let step = |returning| step(end, bp, returning).map(|step| step.function);
    assert_eq!(step(true), Some(CODE[0].clone()));
    assert_eq!(step(false), Some(CODE[1].clone()));
}

#[test]
fn expressions_are_followed_and_ends_are_told() {
    // The frame address lies where the frame pointer says.
    let found = step(CODE[1].start, Some(STACK + 0x40), false).expect("a rule");
    assert_eq!(
        found.caller,
        caller(STACK + 0x30, STACK + 0x38, Some(STACK + 0x40))
    );
    let outermost = step(CODE[2].start, None, false).expect("a rule");
    assert_eq!(outermost.caller, None);
    // An expression without end, a stack pointer that does not move, no rule at all.
    for function in &CODE[3..5] {
        assert_eq!(
            step(function.start, Some(STACK), false),
            None,
            "{function:x?}"
        );
    }
    assert_eq!(step(CODE[4].end, None, false), None);
    assert_eq!(step(0, None, true), None);
}

#[test]
fn real_interpreters_have_rules_for_their_functions() {
    for interpreter in synth::interpreters() {
        let path = interpreter.library.as_ref().unwrap_or(&interpreter.program);
        let open = || Elf::parse(File::open(path).unwrap()).unwrap();
        let (mut elf, mut content) = (open(), open());
        let base = elf.first_load().unwrap().vaddr;
        let name: &[u8] = b"PyEval_EvalCode";
        let [function] = elf.dynamic_symbols([name]).unwrap();
        let function = function.unwrap();
        let mut read = |at: u64, buffer: &mut [u8]| match at {
            STACK => {
                buffer.copy_from_slice(&7_u64.to_le_bytes());
                true
            }
            at => content.content(at, buffer).is_some(),
        };
        let table = MappedElf::parse(base, &mut read).unwrap().unwind_table();
        let registers = Registers {
            ip: function.address,
            sp: STACK,
            bp: None,
        };
        let found = table.unwrap().step(&registers, false, &mut read).unwrap();
        assert_eq!(found.caller, caller(7, STACK + 8, None), "{path:?}");
        assert_eq!(found.function.start, function.address, "{path:?}");
    }
}

/// Unwinds by an image that may be anything; checks that it ends and goes up.
fn unwind_by(image: Vec<u8>, ip: u64, bp: Option<u64>) {
    let pieces = memory(image);
    let Some(table) = table(&pieces) else { return };
    let mut reads = 0;
    let mut read = reader(&pieces);
    let counted = |at, buffer: &mut [u8]| {
        reads += 1;
        assert!(buffer.len() <= 128 << 10);
        read(at, buffer)
    };
    let registers = Registers { ip, sp: STACK, bp };
    if let Some(Step {
        caller: Some(caller),
        ..
    }) = table.step(&registers, true, counted)
    {
        assert!(caller.sp > STACK);
    }
    assert!(reads < 300, "{reads}");
}

proptest! {
    #[test]
    fn nonsense_is_survived(
        changes in prop::collection::vec((0x40..0x200_usize, any::<u8>()), 1..12),
        offset in 0..0x60_u64,
        bp in prop::option::of(STACK - 8..STACK + 0x100),
    ) {
        let mut image = unwinding();
        for (at, byte) in changes {
            if let Some(place) = image.get_mut(at) {
                *place = byte;
            }
        }
        unwind_by(image, CODE[0].start + offset, bp);
    }

    #[test]
    fn any_rules_are_survived(
        rules in prop::collection::vec(any::<u8>(), 0..64),
        offset in 0..0x10_u64,
        bp in prop::option::of(any::<u64>()),
    ) {
        unwind_by(unwinding_by(&[&rules]), CODE[0].start + offset, bp);
    }
}
