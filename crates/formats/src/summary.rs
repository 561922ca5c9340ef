//! What a profile is, in words: of what, when, how, and what is missing from it.

use invivo_model::escape::shown;
use invivo_model::{About, Mode};

use crate::names;
use crate::source::Checked;

/// What was sampled: its processes' commands.
pub(crate) fn title(profile: &Checked<'_>) -> String {
    match &profile.tables.processes[..] {
        [] => "no process".to_owned(),
        [only] => names::process(only),
        [first, rest @ ..] => format!("{} and {} more", names::process(first), rest.len()),
    }
}

/// How it was sampled and what is missing, a phrase each.
pub(crate) fn facts(profile: &Checked<'_>, ticks: u64) -> Vec<String> {
    let about = profile.about;
    let mut facts = vec![
        counted(ticks, "sample"),
        format!(
            "{} in {}",
            counted(profile.tables.threads.len() as u64, "thread"),
            duration(about.duration)
        ),
        format!("{} at {}", mode_name(about.mode), rates(about)),
    ];
    facts.push(match (about.missed, about.torn) {
        (0, 0) => "no tick missed, no stack torn".to_owned(),
        (missed, torn) => format!(
            "{} of {} missed, {} torn",
            grouped(missed),
            counted(about.ticks.saturating_add(missed), "tick"),
            counted(torn, "stack")
        ),
    });
    facts.extend(looks(about));
    facts.push(cost(about));
    facts
}

/// How threads that ran were read, in a line; `None` where it was not noted.
pub fn looks(about: &About) -> Option<String> {
    let looks = about.looks;
    let ways = [
        (looks.own_processor, "on own processor"),
        (looks.elsewhere, "from elsewhere"),
        (looks.stopped, "stopped"),
    ];
    let ways = ways.into_iter().filter(|(count, _)| *count > 0);
    let ways: Vec<_> = ways
        .map(|(count, way)| format!("{} {way}", grouped(count)))
        .collect();
    (!ways.is_empty()).then(|| format!("running threads read: {}", ways.join(", ")))
}

/// What sampling took of a processor.
fn cost(about: &About) -> String {
    if about.own_time == 0 {
        return "CPU time of sampling not known".to_owned();
    }
    let (taken, share) = (
        duration(about.own_time),
        percent(about.own_time, about.duration),
    );
    format!("{taken} of CPU for sampling ({share} of one)")
}

/// A share of all in percent, with one digit behind the point.
pub(crate) fn percent(part: u64, all: u64) -> String {
    if all == 0 {
        return "–".to_owned();
    }
    format!("{:.1}%", part as f64 * 100.0 / all as f64)
}

/// When it was made and by what: `2026-11-23 13:41:32 UTC by invivo 1.0`.
pub(crate) fn made(about: &About) -> String {
    let when = utc(about.started / 1_000_000_000);
    match shown(&about.creator) {
        by if by.is_empty() => when,
        by => format!("{when} by {by}"),
    }
}

/// Which threads counted, in words.
fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Wall => "wall clock",
        Mode::Cpu => "on a processor",
        Mode::Gil => "holding the GIL",
        Mode::Exception => "handling an exception",
    }
}

/// `1 sample`, `1,200 samples`.
pub(crate) fn counted(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number))
}

/// A number with commas.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nanoseconds in the unit that fits: three digits.
pub(crate) fn duration(nanoseconds: u64) -> String {
    let seconds = nanoseconds as f64 / 1e9;
    let (number, unit) = match nanoseconds {
        0..1_000 => return format!("{nanoseconds} ns"),
        1_000..1_000_000 => (seconds * 1e6, "µs"),
        1_000_000..1_000_000_000 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    let digits = match number {
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{number:.digits$} {unit}")
}

/// The rate that was asked for, and that which was reached.
fn rates(about: &About) -> String {
    let asked = asked(about).map_or("an unknown rate".to_owned(), |asked| {
        format!("{} Hz", rate(asked))
    });
    let reached = reached(about).map_or("not known what was".to_owned(), rate);
    format!("{asked} ({reached} reached)")
}

/// Ticks a second that were asked for, where that is known.
pub(crate) fn asked(about: &About) -> Option<f64> {
    (about.interval > 0).then(|| 1e9 / about.interval as f64)
}

/// Ticks that took place in a second, where that is known.
pub(crate) fn reached(about: &About) -> Option<f64> {
    (about.duration > 0).then(|| about.ticks as f64 * 1e9 / about.duration as f64)
}

/// A rate with as many digits as tell a thousandth.
fn rate(hertz: f64) -> String {
    let digits = match hertz {
        ..9.995 => 2,
        9.995..999.95 => 1,
        _ => return grouped(hertz.round() as u64),
    };
    let text = format!("{hertz:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds since 1970 as date and time of day.
fn utc(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from March, so that a leap day is a year's last; 400 years are 146,097
    // days, and 1970 began 719,468 days after the first March of year 0.
    days += 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, leap) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        era * 400 + year + leap,
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        // What Python's datetime says of them.
        for (seconds, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_441_292, "2026-11-23 13:41:32 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(utc(seconds), date);
        }
        // Whatever a recording says, there is a date for it.
        assert!(utc(u64::MAX / 1_000_000_000).starts_with("2554-"));
    }

    #[test]
    fn numbers() {
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(duration(999), "999 ns");
        assert_eq!(duration(1_500_000), "1.50 ms");
        assert_eq!(duration(61_200_000_000), "61.2 s");
        assert_eq!(rate(0.5), "0.5");
        assert_eq!(rate(100.0), "100");
        assert_eq!(rate(998.72), "998.7");
        assert_eq!(rate(999.96), "1,000");
        assert_eq!(rate(9_998.4), "9,998");
    }
}
