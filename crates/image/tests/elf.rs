//! Sections and symbols of a file typed by hand, on disk and in memory, and of real ones.

mod support;

use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};

use invivo_image::{Elf, FirstLoad, MappedElf, Symbol};
use invivo_model::ErrorKind;
use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSection, ObjectSymbol};
use proptest::prelude::*;
use support::{Hash, SECTION, SYMBOLS, WANTED, file, on_disk};

const ASKED: [&[u8]; 5] = [b"_PyRuntime", b"Py_Version", b"other", b"absent", b"never"];

fn expected(moved_by: u64) -> [Option<Symbol>; 5] {
    let [a, b, c] = SYMBOLS.map(|(_, value)| {
        let address = value + moved_by;
        Some(Symbol { address, size: 8 })
    });
    [a, b, c, None, None]
}

/// Reads from an image whose first byte lies at `base`, counting.
fn reader(image: &[u8], base: u64) -> impl FnMut(u64, &mut [u8]) -> bool {
    move |at, buffer| {
        let start = usize::try_from(at.wrapping_sub(base)).unwrap_or(usize::MAX);
        let Some(bytes) = start
            .checked_add(buffer.len())
            .and_then(|end| image.get(start..end))
        else {
            return false;
        };
        buffer.copy_from_slice(bytes);
        true
    }
}

#[test]
fn a_file_tells_its_sections_and_symbols() {
    for hash in [Hash::Gnu, Hash::SysV] {
        let mut elf = Elf::parse(Cursor::new(on_disk(hash))).unwrap();
        assert_eq!(elf.section_address(b".PyRuntime").unwrap(), Some(SECTION));
        assert_eq!(elf.section_address(b".PyRunt").unwrap(), None);
        assert_eq!(elf.dynamic_symbols(ASKED), Some(expected(0)), "{hash:?}");
        assert_eq!(
            elf.first_load(),
            Some(FirstLoad {
                vaddr: WANTED,
                offset: 0
            })
        );
        let mut magic = [0; 4];
        assert_eq!(elf.content(WANTED, &mut magic), Some(()));
        assert_eq!(magic, *b"\x7fELF");
        assert_eq!(elf.content(WANTED + 0x3fd, &mut magic), None);
    }
}

#[test]
fn an_image_tells_its_symbols_whether_or_not_its_pointers_were_moved() {
    let base = 0x7f12_3456_0000_u64;
    let as_glibc = |offset: usize| base + offset as u64;
    let as_others = |offset: usize| WANTED + offset as u64;
    for hash in [Hash::Gnu, Hash::SysV] {
        for image in [file(hash, as_glibc), file(hash, as_others)] {
            let mut elf = MappedElf::parse(base, reader(&image, base)).unwrap();
            assert_eq!(
                elf.dynamic_symbols(ASKED),
                Some(expected(base - WANTED)),
                "{hash:?}"
            );
        }
    }
}

#[test]
fn what_is_not_a_program_for_us_is_refused_by_its_reason() {
    let changed = |at: usize, byte: u8| {
        let mut file = on_disk(Hash::Gnu);
        file[at] = byte;
        Elf::parse(Cursor::new(file)).unwrap_err()
    };
    let reasons = [
        (0, 0x7e, ErrorKind::Unsupported, "not an ELF"),
        (4, 1, ErrorKind::Unsupported, "64-bit little-endian"),
        (5, 2, ErrorKind::Unsupported, "64-bit little-endian"),
        (18, 40, ErrorKind::Unsupported, "machine"),
        (16, 4, ErrorKind::Unsupported, "neither a program nor"),
        (56, 200, ErrorKind::Corrupt, "absurd"),
        (54, 57, ErrorKind::Corrupt, "absurd"),
        (33, 4, ErrorKind::Corrupt, "can't be read"),
    ];
    for (at, byte, kind, why) in reasons {
        let error = changed(at, byte);
        assert_eq!(error.kind, kind, "byte {at}: {error}");
        assert!(error.why.contains(why), "byte {at}: {error}");
    }
    let mut arm = on_disk(Hash::Gnu);
    arm[18] = 183; // EM_AARCH64
    assert!(Elf::parse(Cursor::new(arm)).is_ok());
}

#[test]
fn a_file_without_section_headers_still_tells_its_symbols() {
    let mut file = on_disk(Hash::Gnu);
    file[40..48].fill(0); // e_shoff
    let mut elf = Elf::parse(Cursor::new(file)).unwrap();
    assert!(!elf.has_sections());
    assert_eq!(elf.section_address(b".PyRuntime").unwrap(), None);
    assert_eq!(elf.dynamic_symbols(ASKED), Some(expected(0)));
}

#[test]
fn the_bias_is_right_for_every_page_size() {
    let load = FirstLoad {
        vaddr: 0x40_0458,
        offset: 0x458,
    };
    assert_eq!(load.bias(0x7000_0000, 0), Some(0x7000_0000 - 0x40_0000));
    assert_eq!(load.bias(0x40_0000, 0), Some(0));
    // A later mapping of the file, and one that begins where no page of the segment can.
    assert_eq!(load.bias(0x7000_1000, 0x1000), None);
    let far = FirstLoad {
        vaddr: 0x60_0000,
        offset: 0x20_0000,
    };
    assert_eq!(far.bias(0x7000_0000, 0), None);
    assert_eq!(
        far.bias(0x7000_0000, 0x20_0000),
        Some(0x7000_0000 - 0x60_0000)
    );
}

/// A file that counts what is read of it.
struct Counted<'a>(File, &'a std::cell::Cell<usize>);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.set(self.1.get() + count);
        Ok(count)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn real_interpreters_agree_with_another_reader() {
    let mut compared = 0;
    for interpreter in synth::interpreters() {
        for path in [Some(&interpreter.program), interpreter.library.as_ref()]
            .into_iter()
            .flatten()
        {
            let bytes = std::fs::read(path).unwrap();
            let other = ElfFile64::<LittleEndian>::parse(&*bytes).unwrap();
            let section = other
                .section_by_name(".PyRuntime")
                .map(|section| section.address());
            let names = [
                &b"_PyRuntime"[..],
                b"Py_Version",
                b"_Py_NegativeRefcount",
                b"no_such",
            ];
            let symbols = names.map(|name| {
                let mut defined = other
                    .dynamic_symbols()
                    .filter(|symbol| symbol.is_definition());
                let found = defined.find(|symbol| symbol.name_bytes() == Ok(name));
                found.map(|symbol| Symbol {
                    address: symbol.address(),
                    size: symbol.size(),
                })
            });

            let read = std::cell::Cell::new(0);
            let mut elf = Elf::parse(Counted(File::open(path).unwrap(), &read)).unwrap();
            assert_eq!(
                elf.section_address(b".PyRuntime").unwrap(),
                section,
                "{path:?}"
            );
            assert_eq!(elf.dynamic_symbols(names), Some(symbols), "{path:?}");
            assert!(
                read.get() < 8 << 10,
                "{} bytes read of {path:?}",
                read.get()
            );
            compared += usize::from(symbols[0].is_some());
        }
    }
    assert!(
        compared >= synth::interpreters().len(),
        "every interpreter has a runtime state"
    );
}

/// Asks a file for everything, counting the reads.
fn ask_everything(bytes: &[u8]) -> usize {
    let count = std::cell::Cell::new(0);
    let mut read = reader(bytes, 0);
    let counted = |at: u64, buffer: &mut [u8]| {
        count.set(count.get() + 1);
        read(at, buffer)
    };
    if let Ok(mut elf) = MappedElf::parse(0, counted) {
        let _ = elf.dynamic_symbols(ASKED);
    }
    if let Ok(mut elf) = Elf::parse(Cursor::new(bytes)) {
        let _ = elf.section_address(b".PyRuntime");
        let _ = elf.dynamic_symbols(ASKED);
    }
    count.get()
}

/// Reads that one question may cost: five names, each a chain of bounded length.
const MAX_READS: usize = 5 * 3 * 64 + 20;

proptest! {
    #[test]
    fn any_bytes_are_read_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(ask_everything(&bytes) < MAX_READS);
    }

    #[test]
    fn a_bent_file_is_read_within_bounds(
        gnu in any::<bool>(),
        changes in prop::collection::vec((16_usize..0x3f8, any::<u64>(), 1_usize..9), 1..12),
    ) {
        let mut file = on_disk(if gnu { Hash::Gnu } else { Hash::SysV });
        for (at, value, width) in changes {
            file[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        prop_assert!(ask_everything(&file) < MAX_READS);
    }
}
