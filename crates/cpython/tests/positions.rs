//! Line tables, beside what each interpreter makes of its own.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use invivo_cpython::{LineTable, position, ranges};
use invivo_model::Position;
use proptest::prelude::*;
use synth::{Interpreter, interpreters};

/// Says what tables there are and what they mean.
const TELLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/positions/tables.py");
/// Bytes in a unit of bytecode.
const UNIT: u32 = 2;

fn form(interpreter: &Interpreter) -> LineTable {
    match interpreter.name.as_str() {
        "3.8" | "3.9" => LineTable::Lnotab,
        "3.10" => LineTable::Ranges,
        _ => LineTable::Locations,
    }
}

/// Takes numbers and bytes from what the teller wrote.
struct Told<'a>(&'a [u8]);

impl<'a> Told<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn number(&mut self) -> i32 {
        i32::from_le_bytes(self.bytes(4).try_into().expect("four bytes"))
    }

    fn count(&mut self) -> usize {
        self.number().try_into().expect("a count")
    }

    fn position(&mut self) -> Position {
        let mut part = || u32::try_from(self.number()).ok();
        Position {
            line: part(),
            end_line: part(),
            column: part(),
            end_column: part(),
        }
    }
}

/// Compares every code object; gives how many there were, and how many units of bytecode.
fn compare(interpreter: &Interpreter, told: &[u8]) -> (usize, u32) {
    let form = form(interpreter);
    let mut told = Told(told);
    let (mut codes, mut units) = (0, 0);
    while !told.0.is_empty() {
        let (table_size, runs, first_line) = (told.count(), told.count(), told.number());
        let table = told.bytes(table_size);
        let mut ours = ranges(table, form, first_line).filter(|(bytes, _)| !bytes.is_empty());
        let (mut bytes, mut here) = (0..0, Position::default());
        let mut at = 0;
        for _ in 0..runs {
            let (length, expected) = (told.number().cast_unsigned(), told.position());
            let end = at + length * UNIT;
            while at < end {
                if bytes.end <= at {
                    (bytes, here) = ours.next().expect("a range of each instruction");
                }
                assert_eq!(
                    here, expected,
                    "{}: byte {at} of a code object that begins in line {first_line}, by the \
                     table {table:?}",
                    interpreter.name
                );
                at = bytes.end.min(end);
            }
        }
        // One at a time is the same.
        let last = position(table, form, first_line, Some(at.saturating_sub(UNIT)));
        assert_eq!(last, here, "{}", interpreter.name);
        (codes, units) = (codes + 1, units + at / UNIT);
    }
    (codes, units)
}

#[test]
fn every_table_of_the_standard_library_says_what_its_interpreter_says() {
    let left = Mutex::new(interpreters().iter());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(interpreter) = left.lock().unwrap().next() else {
                        break;
                    };
                    let mut teller = Command::new(&interpreter.program)
                        .args(["-I", "-B", TELLER])
                        .stdout(Stdio::piped())
                        .spawn()
                        .unwrap();
                    let mut told = Vec::new();
                    let mut output = teller.stdout.take().unwrap();
                    output.read_to_end(&mut told).unwrap();
                    assert!(teller.wait().unwrap().success(), "{}", interpreter.name);
                    let (codes, units) = compare(interpreter, &told);
                    println!("{}: {codes} tables, {units} units", interpreter.name);
                    assert!(codes > 5_000, "{}: {codes} tables", interpreter.name);
                }
            });
        }
    });
}

#[test]
fn before_its_first_instruction_a_frame_is_in_the_first_line() {
    for kind in [LineTable::Lnotab, LineTable::Ranges, LineTable::Locations] {
        let start = Position {
            line: Some(7),
            ..Position::default()
        };
        assert_eq!(position(&[], kind, 7, None), start);
    }
}

#[test]
fn the_forms_say_lines_and_columns_as_documented() {
    let line = |line| Position {
        line: Some(line),
        ..Position::default()
    };
    // Two units at line 10, then 300 bytes and a step back to 8.
    let steps = [4, 1, 255, 0, 45, (-3_i8).cast_unsigned()];
    let told: Vec<_> = ranges(&steps, LineTable::Lnotab, 10).collect();
    assert_eq!(
        told,
        [
            (0..4, line(10)),
            (4..259, line(11)),
            (259..304, line(11)),
            (304..u32::MAX, line(8))
        ]
    );
    let steps = [2, 1, 6, 0x80, 4, 2];
    let told: Vec<_> = ranges(&steps, LineTable::Ranges, 10).collect();
    assert_eq!(
        told,
        [
            (0..2, line(11)),
            (2..8, Position::default()),
            (8..12, line(13))
        ]
    );
    let entry = |kind: u8, units: u8| 0x80 | kind << 3 | (units - 1);
    let table = [
        // Columns 8 + 3 and 5 further.
        &[entry(1, 1), 0x35][..],
        // Two lines down, columns 100 to 120.
        &[entry(12, 2), 100, 120],
        // Three lines up.
        &[entry(13, 8), 7],
        &[entry(15, 1)],
        // One line down, to the 70th below; no column, up to column 63.
        &[entry(14, 1), 2, 0x46, 1, 0, 0x40, 1],
    ];
    let told: Vec<_> = ranges(&table.concat(), LineTable::Locations, 10).collect();
    let place = |line, end_line, column, end_column| Position {
        line: Some(line),
        end_line: Some(end_line),
        column,
        end_column,
    };
    assert_eq!(
        told,
        [
            (0..2, place(10, 10, Some(11), Some(16))),
            (2..6, place(12, 12, Some(100), Some(120))),
            (6..22, place(9, 9, None, None)),
            (22..24, Position::default()),
            (24..26, place(10, 80, None, Some(63))),
        ]
    );
}

#[test]
fn a_table_ends_where_it_makes_no_sense() {
    let cut = [0x80 | 14 << 3, 2];
    let endless = [0x80 | 13 << 3, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1];
    let headless = [1, 0x80];
    let crossed = [0x80, 0x80];
    for table in [&cut[..], &endless, &headless, &crossed] {
        assert_eq!(ranges(table, LineTable::Locations, 1).count(), 0);
        let nothing = position(table, LineTable::Locations, 1, Some(0));
        assert_eq!(nothing, Position::default());
    }
}

proptest! {
    #[test]
    fn any_bytes_give_no_more_ranges_than_there_are_bytes(
        table in prop::collection::vec(any::<u8>(), 0..600),
        first_line in any::<i32>(),
        offset in any::<Option<u32>>(),
    ) {
        for kind in [LineTable::Lnotab, LineTable::Ranges, LineTable::Locations] {
            let all: Vec<_> = ranges(&table, kind, first_line).collect();
            prop_assert!(all.len() <= table.len() + 1);
            prop_assert!(all.is_sorted_by_key(|(bytes, _)| bytes.start));
            let one = position(&table, kind, first_line, offset);
            if let Some(offset) = offset {
                let here = all.iter().find(|(bytes, _)| bytes.contains(&offset));
                prop_assert_eq!(one, here.map_or_else(Position::default, |(_, there)| *there));
            }
        }
    }
}
