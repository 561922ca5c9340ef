//! Dates and times of the module datetime.

use invivo_model::{Address, Error, Result, Text, ValueKind};
use invivo_process::{Fault, Memory};

use super::head::Head;
use super::kinds::Kind;
use super::shapes::{Shaping, leaf};
use crate::fields::fault;
use crate::layout::extensions::{
    DATE_DATA, DATE_HAS_TZINFO, DATETIME_TZINFO, DELTA_DAYS, TIME_TZINFO, TIMEZONE_OFFSET,
};
use crate::objects::{Step, Want, byte, half};
use crate::runtime::Runtime;

const READING: &str = "cannot read a time";
/// Names of classes of time zones are not longer.
const NAME: usize = 128;
const DAY: i64 = 86_400;

impl<M: Memory> Runtime<M> {
    /// A date or time as `isoformat()` writes it, a duration as `str()` does.
    pub(super) fn time(&self, head: &Head, kind: Kind) -> Shaping<'_> {
        let base = self.layout.object.size;
        // Behind the hash; a date has no more than its day.
        let end = if kind == Kind::Date { 16 } else { 24 };
        let telling = base + DATE_HAS_TZINFO..base + end;
        let Some(text) = written(head.bytes(telling), base, kind) else {
            return Step::Done(Err(unreadable(head.address)));
        };
        let zone = match kind {
            Kind::DateTime => Some(DATETIME_TZINFO),
            Kind::Time => Some(TIME_TZINFO),
            _ => None,
        };
        let has_zone = head
            .byte(base + DATE_HAS_TZINFO)
            .is_some_and(|flag| flag != 0);
        let named = |text| {
            leaf(ValueKind::Named(Text {
                text,
                truncated: false,
            }))
        };
        match zone.filter(|_| has_zone) {
            None => named(text),
            Some(at) => self
                .words(head, [base + at])
                .and_then(move |[zone]| self.zone(Address(zone)))
                .and_then(move |zone| named(format!("{text}{zone}"))),
        }
    }

    /// How far a time zone is off, where that is always the same; else what it is.
    fn zone(&self, zone: Address) -> Step<'_, Result<String>> {
        let base = self.layout.object.size;
        self.pointer(zone, self.layout.object.type_of)
            .and_then(|class| self.name_of_class(class, NAME))
            .and_then(move |class| {
                if class.text != "datetime.timezone" {
                    return Step::Done(Ok(format!(" {class}")));
                }
                self.pointer(zone, base + TIMEZONE_OFFSET)
                    .and_then(move |offset| {
                        Step::read(Want::at(offset, base + DELTA_DAYS, 12), move |bytes| {
                            let seconds = delta(bytes, 0).map(|(seconds, _)| seconds);
                            Step::Done(
                                seconds
                                    .map(offset_from_utc)
                                    .ok_or_else(|| unreadable(offset)),
                            )
                        })
                    })
            })
    }
}

fn unreadable(address: Address) -> Error {
    fault(READING, Fault::Unmapped(address))
}

/// The text of an object of the module datetime without its time zone.
fn written(bytes: &[u8], base: u64, kind: Kind) -> Option<String> {
    let data = |index: u64| byte(bytes, base + DATE_DATA + index).map(u32::from);
    let date = || {
        let year = data(0)? << 8 | data(1)?;
        Some(format!("{year:04}-{:02}-{:02}", data(2)?, data(3)?))
    };
    let time = |from: u64| {
        let micro = data(from + 3)? << 16 | data(from + 4)? << 8 | data(from + 5)?;
        let (hour, minute, second) = (data(from)?, data(from + 1)?, data(from + 2)?);
        let time = format!("{hour:02}:{minute:02}:{second:02}");
        Some(time + &fraction(micro))
    };
    match kind {
        Kind::Date => date(),
        Kind::DateTime => Some(format!("{}T{}", date()?, time(4)?)),
        Kind::Time => time(0),
        _ => delta(bytes, base + DELTA_DAYS).map(|(seconds, micro)| duration(seconds, micro)),
    }
}

/// Seconds and microseconds of a timedelta.
fn delta(bytes: &[u8], at: u64) -> Option<(i64, u32)> {
    let days = i64::from(half(bytes, at)?.cast_signed());
    let seconds = i64::from(half(bytes, at + 4)?.cast_signed());
    Some((days * DAY + seconds, half(bytes, at + 8)?))
}

fn fraction(micro: u32) -> String {
    match micro {
        0 => String::new(),
        _ => format!(".{micro:06}"),
    }
}

fn duration(seconds: i64, micro: u32) -> String {
    let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let days = match days {
        0 => String::new(),
        1 | -1 => format!("{days} day, "),
        _ => format!("{days} days, "),
    };
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{days}{hours}:{minutes:02}:{seconds:02}{}", fraction(micro))
}

/// As `isoformat()` writes it.
fn offset_from_utc(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let rest = seconds.unsigned_abs();
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    let seconds = match seconds {
        0 => String::new(),
        _ => format!(":{seconds:02}"),
    };
    format!("{sign}{hours:02}:{minutes:02}{seconds}")
}
