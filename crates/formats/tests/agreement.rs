//! Every format says the same of a profile, read back by readers that know only the format.

#![allow(clippy::unwrap_used)]

mod common;
mod readers;

use common::{NOTHING, Shares, deep, long, number, profiles, text, written_text};
use invivo_formats::Format;
use invivo_model::Profile;
use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

/// A format's reader.
type Reader = fn(&Profile) -> Shares;

/// Those whose formats say ticks.
const READERS: [(&str, Reader); 8] = [
    ("flamegraph", readers::flame_graph),
    ("svg", readers::svg),
    ("collapsed", readers::collapsed),
    ("speedscope", readers::speedscope),
    ("pprof", readers::pprof),
    ("firefox", readers::firefox),
    ("chrome", readers::chrome),
    ("jsonl", readers::json_lines),
];

fn check(profile: &Profile) {
    let truth = Shares::of(profile);
    for (name, reader) in READERS {
        assert_eq!(reader(profile), truth, "{name}");
    }
    check_table(profile, &truth);
}

/// The table says shares, not ticks: these are checked against `truth`.
fn check_table(profile: &Profile, truth: &Shares) {
    let text = written_text(Format::Table, profile);
    let (by_self, by_total) = text.split_once("functions by total").unwrap();
    let rows = |part: &str, column: usize| -> std::collections::BTreeMap<u32, String> {
        part.lines()
            .filter(|line| line.contains('#') || line.contains("no Python code"))
            .filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()))
            .filter(|line| line.matches('%').count() >= 2)
            .map(|line| {
                let percent = line.split('%').nth(column).unwrap();
                let percent = percent.rsplit(' ').next().unwrap();
                (number(line), percent.to_owned())
            })
            .collect()
    };
    let expected = |ticks: &std::collections::BTreeMap<u32, u64>| {
        let percent = |ticks: u64| format!("{:.1}", ticks as f64 * 100.0 / truth.all as f64);
        ticks
            .iter()
            .map(|(n, ticks)| (*n, percent(*ticks)))
            .collect()
    };
    assert_eq!(rows(by_self, 0), expected(&truth.own), "{text}");
    assert!(text.lines().all(|line| line.width() <= 80), "{text}");
    assert_eq!(rows(by_total, 1), expected(&truth.total), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn all_formats_say_the_same(profile in profiles()) {
        check(&profile);
    }
}

#[test]
fn deep_recursion() {
    check(&deep(8_000));
}

#[test]
fn samples_without_a_stack_are_a_function_of_their_own() {
    let mut profile = deep(3);
    profile.samples[0].stack = None;
    assert_eq!(Shares::of(&profile).own[&NOTHING], 1);
    check(&profile);
}

#[test]
fn long_names() {
    let mut profile = deep(3);
    profile.tables.functions[0].name = text(format!("{}#0", long()));
    profile.tables.functions[1].file = text(format!("/{}.py", long()));
    let truth = Shares::of(&profile);
    for (name, reader) in READERS {
        assert_eq!(reader(&profile), truth, "{name}");
    }
    let table = written_text(Format::Table, &profile);
    assert!(table.lines().all(|line| line.width() <= 80), "{table}");
}
