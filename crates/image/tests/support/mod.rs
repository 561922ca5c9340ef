//! Small ELF files, typed byte by byte from the specification.

// Each test file is a program of its own and uses its part of this.
#![allow(dead_code)]

use std::ops::Range;

/// Which hash table the file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hash {
    Gnu,
    SysV,
}

/// Where the file wants its first byte to be mapped.
pub(crate) const WANTED: u64 = 0x40_0000;
/// The address of its section `.PyRuntime`.
pub(crate) const SECTION: u64 = WANTED + 0x100;
/// What it defines.
pub(crate) const SYMBOLS: [(&str, u64); 3] = [
    ("_PyRuntime", WANTED + 0x100),
    ("Py_Version", WANTED + 0x200),
    ("other", WANTED + 0x300),
];
const NAMES: &[u8] = b"\0_PyRuntime\0Py_Version\0other\0absent\0";

const PROGRAM_HEADERS: usize = 64;
const DYNAMIC: usize = PROGRAM_HEADERS + 2 * 56;
const SYMBOL_TABLE: usize = DYNAMIC + 6 * 16;
const STRINGS: usize = SYMBOL_TABLE + 5 * 24;
const HASHES: usize = 0x1c0;
const SECTION_NAMES: usize = 0x200;
const SECTIONS: usize = 0x240;

fn put(file: &mut [u8], at: usize, bytes: &[u8]) {
    file[at..at + bytes.len()].copy_from_slice(bytes);
}

fn put_words(file: &mut [u8], at: usize, words: &[u64]) {
    for (index, word) in words.iter().enumerate() {
        put(file, at + index * 8, &word.to_le_bytes());
    }
}

fn put_halves(file: &mut [u8], at: usize, halves: &[u32]) {
    for (index, half) in halves.iter().enumerate() {
        put(file, at + index * 4, &half.to_le_bytes());
    }
}

fn name_at(name: &str) -> u32 {
    let wanted = [b"\0", name.as_bytes(), b"\0"].concat();
    let at = NAMES
        .windows(wanted.len())
        .position(|window| window == wanted)
        .expect("a name");
    at as u32 + 1
}

/// The file. `address` gives the pointers of its dynamic section, which a loader may move.
pub(crate) fn file(hash: Hash, address: impl Fn(usize) -> u64) -> Vec<u8> {
    let mut file = vec![0; 0x400];
    put(&mut file, 0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(&mut file, 16, &[3, 0, 62, 0, 1]); // ET_DYN, EM_X86_64
    put_words(&mut file, 32, &[PROGRAM_HEADERS as u64, SECTIONS as u64]);
    put(&mut file, 52, &[64, 0, 56, 0, 2, 0, 64, 0, 3, 0, 1, 0]);

    put_halves(&mut file, PROGRAM_HEADERS, &[1, 6]); // PT_LOAD
    put_words(
        &mut file,
        PROGRAM_HEADERS + 8,
        &[0, WANTED, WANTED, 0x400, 0x400, 0x1000],
    );
    put_halves(&mut file, PROGRAM_HEADERS + 56, &[2, 6]); // PT_DYNAMIC
    let dynamic = WANTED + DYNAMIC as u64;
    put_words(
        &mut file,
        PROGRAM_HEADERS + 64,
        &[DYNAMIC as u64, dynamic, dynamic, 96, 96, 8],
    );

    let hash_tag = if hash == Hash::Gnu { 0x6fff_fef5 } else { 4 };
    let entries = [
        (5, address(STRINGS)),
        (6, address(SYMBOL_TABLE)),
        (10, NAMES.len() as u64),
        (hash_tag, address(HASHES)),
        (0, 0),
    ];
    for (index, (tag, value)) in entries.iter().enumerate() {
        put_words(&mut file, DYNAMIC + index * 16, &[*tag, *value]);
    }

    // Symbol 4 is used, but not defined.
    let symbols = SYMBOLS.into_iter().map(|(name, value)| (name, 1, value));
    for (index, (name, section, value)) in symbols.chain([("absent", 0, 0)]).enumerate() {
        let at = SYMBOL_TABLE + (index + 1) * 24;
        put_halves(&mut file, at, &[name_at(name), 0x11 | section << 16]);
        put_words(&mut file, at + 8, &[value, 8]);
    }
    put(&mut file, STRINGS, NAMES);

    match hash {
        // One bucket, symbols from 1 on, one word of the filter that lets everything through.
        Hash::Gnu => {
            put_halves(&mut file, HASHES, &[1, 1, 1, 6]);
            put_words(&mut file, HASHES + 16, &[u64::MAX]);
            let gnu_hash = |name: &str| {
                name.bytes()
                    .fold(5381_u32, |h, b| h.wrapping_mul(33).wrapping_add(b.into()))
            };
            let [a, b, c] = SYMBOLS.map(|(name, _)| gnu_hash(name) & !1);
            put_halves(
                &mut file,
                HASHES + 24,
                &[1, a, b, c, gnu_hash("absent") | 1],
            );
        }
        // One bucket whose chain goes 4, 3, 2, 1.
        Hash::SysV => put_halves(&mut file, HASHES, &[1, 5, 4, 0, 0, 1, 2, 3]),
    }

    put(&mut file, SECTION_NAMES, b"\0.shstrtab\0.PyRuntime\0");
    put_halves(&mut file, SECTIONS + 64, &[1, 3]);
    put_words(&mut file, SECTIONS + 64 + 24, &[SECTION_NAMES as u64, 22]);
    put_halves(&mut file, SECTIONS + 128, &[11, 1]);
    put_words(&mut file, SECTIONS + 128 + 16, &[SECTION, 0x100, 0x10]);
    file
}

/// The file as it lies on disk.
pub(crate) fn on_disk(hash: Hash) -> Vec<u8> {
    file(hash, |offset| WANTED + offset as u64)
}

/// Where the file with unwinding rules is mapped.
pub(crate) const UNWINDING: u64 = 0x5500_0000;
const INDEX: usize = 0xc0;
const RULES: usize = 0x100;
/// The functions that it has rules for: one with a frame pointer, one whose frame an expression
/// finds, the outermost, one whose expression never ends, and one that does not return upwards.
pub(crate) const CODE: [Range<u64>; 5] = [
    UNWINDING + 0x800..UNWINDING + 0x810,
    UNWINDING + 0x810..UNWINDING + 0x820,
    UNWINDING + 0x820..UNWINDING + 0x830,
    UNWINDING + 0x830..UNWINDING + 0x840,
    UNWINDING + 0x840..UNWINDING + 0x850,
];

/// The file with unwinding rules.
pub(crate) fn unwinding() -> Vec<u8> {
    unwinding_by(&[
        // push: the frame address is rsp + 16, rbp lies 16 below it. mov: it is rbp + 16.
        &[0x41, 0x0e, 16, 0x86, 2, 0x43, 0x0d, 6],
        // The frame address lies at rbp - 8.
        &[0x0f, 3, 0x76, 0x78, 0x06],
        // There is no return address.
        &[0x07, 16],
        // Jump to here.
        &[0x0f, 5, 0x76, 0, 0x2f, 0xfd, 0xff],
        // The frame address is rsp.
        &[0x0e, 0],
    ])
}

/// The same with other rules, for the first of its functions.
pub(crate) fn unwinding_by(rules: &[&[u8]]) -> Vec<u8> {
    let mut file = vec![0; RULES];
    put(&mut file, 0, &[0x7f, b'E', b'L', b'F', 2, 1, 1]);
    put(&mut file, 16, &[3, 0, 62, 0, 1]); // ET_DYN, EM_X86_64
    put_words(&mut file, 32, &[PROGRAM_HEADERS as u64, 0]);
    put(&mut file, 52, &[64, 0, 56, 0, 2, 0]);
    put_halves(&mut file, PROGRAM_HEADERS, &[1, 5]); // PT_LOAD
    let load = [0, 0, 0, 0x1000, 0x1000, 0x1000];
    put_words(&mut file, PROGRAM_HEADERS + 8, &load);
    put_halves(&mut file, PROGRAM_HEADERS + 56, &[0x6474_e550, 4]); // PT_GNU_EH_FRAME
    let size = 12 + 8 * rules.len() as u64;
    let index = [INDEX as u64, INDEX as u64, INDEX as u64, size, size, 4];
    put_words(&mut file, PROGRAM_HEADERS + 64, &index);

    // What all share: the return address is register 16, at the frame address (rsp + 8) less 8.
    let common = [
        b"\0\0\0\0\x01zR\0\x01\x78\x10\x01\x1b".as_slice(),
        &[0x0c, 7, 8, 0x90, 1, 0, 0],
    ]
    .concat();
    file.extend((common.len() as u32).to_le_bytes());
    file.extend(common);
    put(&mut file, INDEX, &[1, 0x1b, 3, 0x3b]);
    put_halves(
        &mut file,
        INDEX + 4,
        &[(RULES - INDEX - 4) as u32, rules.len() as u32],
    );
    for (number, (function, rules)) in CODE.into_iter().zip(rules).enumerate() {
        let at = file.len();
        let begin = (function.start - UNWINDING) as u32;
        let place = [begin - INDEX as u32, (at - INDEX) as u32];
        put_halves(&mut file, INDEX + 12 + number * 8, &place);
        let size = (13 + rules.len()) as u32;
        let own = [
            size,
            (at + 4 - RULES) as u32,
            begin.wrapping_sub(at as u32 + 8),
            (function.end - function.start) as u32,
        ];
        file.extend(own.into_iter().flat_map(u32::to_le_bytes));
        file.push(0);
        file.extend(*rules);
    }
    file
}
