//! Numbers, and bytes, which are numbers too.

use invivo_model::{Address, Text, ValueKind};
use invivo_process::Memory;

use super::head::Head;
use super::kinds::Scalar;
use super::shapes::{Shape, Shaping, leaf};
use crate::fields::corrupt;
use crate::layout::IntSize;
use crate::layout::extensions::{
    ARRAY_DIMENSIONS, ARRAY_ELEMENT, ARRAY_SHAPE, DECIMAL_EXPONENT, DECIMAL_FLAGS,
    DECIMAL_INFINITE, DECIMAL_LENGTH, DECIMAL_NAN, DECIMAL_NEGATIVE, DECIMAL_WORDS, ELEMENT_CLASS,
    MAX_DIMENSIONS,
};
use crate::objects::{Step, pointers};
use crate::pieces::length;
use crate::runtime::Runtime;

const READING: &str = "cannot read a number";
/// Digits of integers that are always read.
const LEAST_DIGITS: usize = 64;
/// More digits of 30 bits than any integer has.
const MAX_DIGITS: u64 = 1 << 40;
/// Bits of a digit.
const DIGIT_BITS: u32 = 30;
/// Decimal digits in a word of a Decimal.
const WORD_DIGITS: usize = 19;
/// Names of scalars of numpy are not longer.
const NAME: usize = 128;

impl<M: Memory> Runtime<M> {
    pub(super) fn bool(&self, head: &Head) -> Shaping<'_> {
        self.digits(head, 1).and_then(|int| {
            leaf(ValueKind::Bool(int.digits.is_some_and(|digits| {
                digits.iter().any(|digit| *digit != 0)
            })))
        })
    }

    pub(super) fn int(&self, head: &Head, characters: usize) -> Shaping<'_> {
        let characters = characters.max(LEAST_DIGITS);
        // Four bits a digit is the most that is shown, in hexadecimal.
        let most = characters * 4 / DIGIT_BITS as usize + 1;
        self.digits(head, most).and_then(move |int| {
            leaf(match int.digits {
                Some(digits) => ValueKind::Int(written(int.negative, &digits, characters)),
                None => ValueKind::LongInt {
                    bits: int.count * u64::from(DIGIT_BITS),
                },
            })
        })
    }

    /// An integer of at most `most` digits.
    fn digits(&self, head: &Head, most: usize) -> Step<'_, invivo_model::Result<Int>> {
        let layout = &self.layout.builtin;
        let (at, shift) = match layout.int_size {
            IntSize::Signed(at) => (at, None),
            IntSize::Tagged { at, shift } => (at, Some(shift)),
        };
        let head = head.clone();
        self.words(&head.clone(), [at]).and_then(move |[size]| {
            let (count, negative) = match shift {
                None => {
                    let size = size.cast_signed();
                    (size.unsigned_abs(), size < 0)
                }
                Some(shift) if size & 0b11 == 1 => (0, size >> shift != 0),
                Some(shift) => (size >> shift, size & 0b11 == 2),
            };
            if count > MAX_DIGITS {
                return Step::Done(Err(corrupt(READING, format!("it has {count} digits"))));
            }
            if count > most as u64 {
                return Step::Done(Ok(Int {
                    negative,
                    count,
                    digits: None,
                }));
            }
            let start = head.address.offset(self.layout.builtin.int_digits);
            self.bytes_at(&head, start.unwrap_or_default(), length(count) * 4)
                .and_then(move |bytes| {
                    let (digits, _) = bytes.as_chunks();
                    let digits = digits.iter().map(|digit| u32::from_le_bytes(*digit));
                    Step::Done(Ok(Int {
                        negative,
                        count,
                        digits: Some(digits.collect()),
                    }))
                })
        })
    }

    pub(super) fn float(&self, head: &Head) -> Shaping<'_> {
        self.words(head, [self.layout.builtin.float_value])
            .and_then(|[bits]| leaf(ValueKind::Float(f64::from_bits(bits))))
    }

    pub(super) fn complex(&self, head: &Head) -> Shaping<'_> {
        let at = self.layout.builtin.complex_value;
        self.words(head, [at, at + 8])
            .and_then(|[real, imaginary]| {
                leaf(ValueKind::Complex(
                    f64::from_bits(real),
                    f64::from_bits(imaginary),
                ))
            })
    }

    pub(super) fn bytes(&self, head: &Head, most: usize) -> Shaping<'_> {
        let start = head.address.offset(self.layout.builtin.bytes_data);
        let head = head.clone();
        self.words(&head.clone(), [self.layout.object.var_size])
            .and_then(move |[size]| self.some_bytes(&head, start.unwrap_or_default(), size, most))
    }

    pub(super) fn byte_array(&self, head: &Head, most: usize) -> Shaping<'_> {
        let fields = [
            self.layout.object.var_size,
            self.layout.builtin.bytearray_start,
        ];
        let head = head.clone();
        self.words(&head.clone(), fields)
            .and_then(move |[size, start]| self.some_bytes(&head, Address(start), size, most))
    }

    fn some_bytes(&self, head: &Head, start: Address, size: u64, most: usize) -> Shaping<'_> {
        if i64::try_from(size).is_err() {
            return Step::Done(Err(corrupt(READING, format!("it has {size} bytes"))));
        }
        self.bytes_at(head, start, length(size).min(most))
            .and_then(move |bytes| {
                leaf(ValueKind::Bytes {
                    bytes,
                    length: size,
                })
            })
    }

    /// A `decimal.Decimal`, as `str()` writes it.
    pub(super) fn decimal(&self, head: &Head, characters: usize) -> Shaping<'_> {
        let base = self.layout.object.size;
        let fields = [
            DECIMAL_FLAGS,
            DECIMAL_EXPONENT,
            DECIMAL_LENGTH,
            DECIMAL_WORDS,
        ];
        let most = characters / WORD_DIGITS + 1;
        let head = head.clone();
        self.words(&head.clone(), fields.map(|at| base + at))
            .and_then(move |[flags, exponent, count, words]| {
                let [flags, ..] = flags.to_le_bytes();
                let sign = if flags & DECIMAL_NEGATIVE != 0 {
                    "-"
                } else {
                    ""
                };
                if flags & DECIMAL_INFINITE != 0 {
                    return leaf(named(format!("{sign}Infinity")));
                }
                if flags & DECIMAL_NAN != 0 {
                    return leaf(named(format!("{sign}NaN")));
                }
                if count > most as u64 {
                    return leaf(ValueKind::Opaque);
                }
                self.bytes_at(&head, Address(words), length(count) * 8)
                    .and_then(move |bytes| {
                        let words: Vec<_> = pointers(&bytes).map(|word| word.0).collect();
                        let number = decimal(&words, exponent.cast_signed());
                        leaf(named(format!("{sign}{number}")))
                    })
            })
    }

    /// A number of numpy.
    pub(super) fn scalar(&self, head: &Head, scalar: Scalar) -> Shaping<'_> {
        self.words(head, [self.layout.object.size])
            .and_then(move |[word]| {
                let bytes = word.to_le_bytes();
                leaf(match scalar {
                    Scalar::Bool => ValueKind::Bool(word & 0xff != 0),
                    Scalar::Signed(size) => {
                        let above = 64 - 8 * size as u32;
                        ValueKind::Int(
                            (word << above)
                                .cast_signed()
                                .wrapping_shr(above)
                                .to_string(),
                        )
                    }
                    Scalar::Unsigned(size) => {
                        let above = 64 - 8 * size as u32;
                        ValueKind::Int((word << above).wrapping_shr(above).to_string())
                    }
                    Scalar::Single => {
                        let [a, b, c, d, ..] = bytes;
                        ValueKind::Float(f32::from_le_bytes([a, b, c, d]).into())
                    }
                    Scalar::Double => ValueKind::Float(f64::from_bits(word)),
                })
            })
    }

    /// An array of numpy.
    pub(super) fn array(&self, head: &Head) -> Shaping<'_> {
        let base = self.layout.object.size;
        let fields = [ARRAY_DIMENSIONS, ARRAY_SHAPE, ARRAY_ELEMENT].map(|at| base + at);
        let head = head.clone();
        self.words(&head.clone(), fields)
            .and_then(move |[dimensions, shape, element]| {
                // An `int`.
                let dimensions = dimensions as u32;
                if dimensions > MAX_DIMENSIONS {
                    let why = format!("it has {dimensions} dimensions");
                    return Step::Done(Err(corrupt(READING, why)));
                }
                let size = dimensions as usize * 8;
                self.bytes_at(&head, Address(shape), size)
                    .and_then(move |shape| {
                        let shape = pointers(&shape).map(|extent| extent.0).collect();
                        self.pointer(Address(element), base + ELEMENT_CLASS)
                            .and_then(|class| self.name_of_class(class, NAME))
                            .then(|element| {
                                let element = element.ok().map(short);
                                Step::Done(Ok(Shape::Leaf(ValueKind::Array {
                                    element,
                                    shape: Some(shape),
                                })))
                            })
                    })
            })
    }
}

/// An integer as it is in memory.
struct Int {
    negative: bool,
    count: u64,
    /// The least first; `None` where there are more than are wanted.
    digits: Option<Vec<u32>>,
}

fn named(text: String) -> ValueKind {
    ValueKind::Named(Text {
        text,
        truncated: false,
    })
}

/// The name of a scalar type without its module.
fn short(name: Text) -> Text {
    let text = name.text.strip_prefix("numpy.").unwrap_or(&name.text);
    Text {
        text: text.to_owned(),
        truncated: name.truncated,
    }
}

/// An integer of 30 bits in each digit, the least first: in decimal unless that takes more than
/// `characters`.
fn written(negative: bool, digits: &[u32], characters: usize) -> String {
    let sign = if negative { "-" } else { "" };
    let decimal = to_decimal(digits);
    if decimal.len() <= characters {
        format!("{sign}{decimal}")
    } else {
        format!("{sign}0x{}", to_hexadecimal(digits))
    }
}

fn to_decimal(digits: &[u32]) -> String {
    const BILLION: u64 = 1_000_000_000;
    // Nine decimal digits in each, the least first.
    let mut groups: Vec<u32> = vec![0];
    for digit in digits.iter().rev() {
        let mut carry = u64::from(*digit);
        for group in &mut groups {
            let value = (u64::from(*group) << DIGIT_BITS) + carry;
            *group = (value % BILLION) as u32;
            carry = value / BILLION;
        }
        while carry > 0 {
            groups.push((carry % BILLION) as u32);
            carry /= BILLION;
        }
    }
    let mut text: String = groups
        .iter()
        .rev()
        .map(|group| format!("{group:09}"))
        .collect();
    let zeros = text.len() - text.trim_start_matches('0').len();
    text.drain(..zeros.min(text.len() - 1));
    text
}

fn to_hexadecimal(digits: &[u32]) -> String {
    let bits = digits.len() * DIGIT_BITS as usize;
    let bit = |at: usize| {
        let digit = digits.get(at / DIGIT_BITS as usize).copied().unwrap_or(0);
        digit >> (at % DIGIT_BITS as usize) & 1
    };
    let nibbles = (0..bits.div_ceil(4)).rev().map(|nibble| {
        let value = (0..4).map(|at| bit(nibble * 4 + at) << at).sum();
        char::from_digit(value, 16).unwrap_or('0')
    });
    let text: String = nibbles.skip_while(|digit| *digit == '0').collect();
    if text.is_empty() {
        "0".to_owned()
    } else {
        text
    }
}

/// A decimal number of 19 digits in each word, the least first, as `str()` writes it.
fn decimal(words: &[u64], exponent: i64) -> String {
    let digits: String = words
        .iter()
        .rev()
        .map(|word| format!("{word:019}"))
        .collect();
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let count = digits.len() as i64;
    let point = exponent.saturating_add(count);
    if exponent > 0 || point <= -6 {
        let (first, rest) = digits.split_at(1);
        let dot = if rest.is_empty() { "" } else { "." };
        return format!("{first}{dot}{rest}E{:+}", point.saturating_sub(1));
    }
    match usize::try_from(point) {
        _ if exponent == 0 => digits.to_owned(),
        Ok(point) if point > 0 => {
            let (whole, fraction) = digits.split_at(point);
            format!("{whole}.{fraction}")
        }
        _ => format!("0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
    }
}
