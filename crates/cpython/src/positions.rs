//! Line tables: which instruction of a code object stands for which place in its source.

use std::ops::Range;

use invivo_model::Position;

use crate::layout::LineTable;

/// Bytes of code in a unit of [`LineTable::Locations`].
const UNIT: u32 = 2;
/// No line, in [`LineTable::Ranges`].
const NO_LINE: i8 = -128;
/// Set in the first byte of an entry of [`LineTable::Locations`], and in no other.
const ENTRY: u8 = 0x80;
/// Where the last six bits go that a number of 32 bits has room for.
const LAST_SHIFT: u32 = 30;

/// The position of the instruction at `byte_offset` of a code object whose first line is
/// `first_line`, by its line table. `None` is the offset in a frame that has begun no instruction
/// yet: it stands in the first line.
///
/// Takes time linear in the table. A table that can't be right ends where it stops making sense:
/// what it would have told is unknown.
pub fn position(
    table: &[u8],
    kind: LineTable,
    first_line: i32,
    byte_offset: Option<u32>,
) -> Position {
    let Some(offset) = byte_offset else {
        return in_line(first_line);
    };
    ranges(table, kind, first_line)
        .find(|(bytes, _)| bytes.contains(&offset))
        .map_or_else(Position::default, |(_, position)| position)
}

/// All ranges of bytes that a line table tells of, in order, each with its position. The last
/// range of [`LineTable::Lnotab`] has no end.
pub fn ranges(
    table: &[u8],
    kind: LineTable,
    first_line: i32,
) -> impl Iterator<Item = (Range<u32>, Position)> {
    let mut reader = Reader {
        rest: table,
        line: first_line,
        end: 0,
    };
    std::iter::from_fn(move || match kind {
        LineTable::Lnotab => reader.between_steps(),
        LineTable::Ranges => reader.range(),
        LineTable::Locations => reader.location(),
    })
}

/// A position of which only the line is known.
fn in_line(line: i32) -> Position {
    Position {
        line: u32::try_from(line).ok(),
        ..Position::default()
    }
}

/// A table, as far as it has not been read.
struct Reader<'a> {
    rest: &'a [u8],
    /// The line that the next step begins at.
    line: i32,
    /// Where the last range ended.
    end: u32,
}

impl Reader<'_> {
    /// The next range of [`LineTable::Lnotab`], up to the next step of bytes.
    fn between_steps(&mut self) -> Option<(Range<u32>, Position)> {
        if self.end == u32::MAX {
            return None;
        }
        while let Some((bytes, lines)) = self.pair() {
            let position = in_line(self.line);
            self.line = self.line.wrapping_add(lines.into());
            if bytes > 0 {
                return Some((self.next_bytes(bytes.into()), position));
            }
        }
        Some((self.next_bytes(u32::MAX), in_line(self.line)))
    }

    /// The next range of [`LineTable::Ranges`].
    fn range(&mut self) -> Option<(Range<u32>, Position)> {
        let (bytes, lines) = self.pair()?;
        let bytes = self.next_bytes(bytes.into());
        if lines == NO_LINE {
            return Some((bytes, Position::default()));
        }
        self.line = self.line.wrapping_add(lines.into());
        Some((bytes, in_line(self.line)))
    }

    /// The next range of [`LineTable::Locations`].
    fn location(&mut self) -> Option<(Range<u32>, Position)> {
        let head = self.byte().filter(|head| head & ENTRY != 0)?;
        let units = u32::from(head & 0b111) + 1;
        let position = match head >> 3 & 0b1111 {
            kind @ 0..=9 => {
                let columns = u32::from(self.payload()?);
                let column = u32::from(kind) << 3 | columns >> 4;
                self.on_one_line(Some(column), Some(column + (columns & 0b1111)))
            }
            kind @ 10..=12 => {
                self.line = self.line.wrapping_add(i32::from(kind) - 10);
                let [column, end_column] = [self.payload()?, self.payload()?].map(u32::from);
                self.on_one_line(Some(column), Some(end_column))
            }
            13 => {
                self.line = self.line.wrapping_add(self.signed()?);
                self.on_one_line(None, None)
            }
            14 => {
                self.line = self.line.wrapping_add(self.signed()?);
                let end_line = self.line.wrapping_add_unsigned(self.number()?);
                // Each column is one more than it says, 0 where there is none.
                let [column, end_column] = [self.number()?, self.number()?];
                Position {
                    end_line: u32::try_from(end_line).ok(),
                    ..self.on_one_line(column.checked_sub(1), end_column.checked_sub(1))
                }
            }
            _ => Position::default(),
        };
        Some((self.next_bytes(units * UNIT), position))
    }

    fn on_one_line(&self, column: Option<u32>, end_column: Option<u32>) -> Position {
        let line = u32::try_from(self.line).ok();
        Position {
            line,
            end_line: line,
            column,
            end_column,
        }
    }

    /// The range of so many bytes behind the last one.
    fn next_bytes(&mut self, count: u32) -> Range<u32> {
        let start = self.end;
        self.end = start.saturating_add(count);
        start..self.end
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    /// A step of bytes and one of lines.
    fn pair(&mut self) -> Option<(u8, i8)> {
        Some((self.byte()?, self.byte()?.cast_signed()))
    }

    /// A byte of an entry that is not its first.
    fn payload(&mut self) -> Option<u8> {
        self.byte().filter(|byte| byte & ENTRY == 0)
    }

    /// An unsigned number: six bits a byte, the lowest first; the seventh says that more follow.
    fn number(&mut self) -> Option<u32> {
        let mut number = 0;
        for shift in (0..=LAST_SHIFT).step_by(6) {
            let byte = self.payload()?;
            number |= u32::from(byte & 0b11_1111) << shift;
            if byte & 0b100_0000 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// A signed number: the sign in the lowest bit.
    fn signed(&mut self) -> Option<i32> {
        let number = self.number()?;
        let magnitude = (number >> 1).cast_signed();
        Some(if number & 1 == 0 {
            magnitude
        } else {
            -magnitude
        })
    }
}
