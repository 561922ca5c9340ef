//! What became of one profile in another.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Shares, deep, number, of_stacks, profiles};
use invivo_formats::{DiffFormat, write_diff};
use invivo_model::Profile;
use proptest::prelude::*;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

fn written(format: DiffFormat, before: &Profile, after: &Profile) -> String {
    let mut bytes = Vec::new();
    write_diff(format, before, after, &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// What a page says of the samples of one side.
fn side(data: &Value, ticks: &str) -> Shares {
    let column = |value: &Value| -> Vec<i64> {
        let column = value.as_array().unwrap();
        column.iter().map(|n| n.as_i64().unwrap()).collect()
    };
    let names = column(&data["functions"]["name"]);
    let name = |function: i64| {
        number(
            data["strings"][names[function as usize] as usize]
                .as_str()
                .unwrap(),
        )
    };
    let (callers, frames) = (
        column(&data["stacks"]["caller"]),
        column(&data["stacks"]["frame"]),
    );
    let mut shares = Shares::default();
    let counts = &data["counts"];
    for (stack, ticks) in column(&counts["stack"])
        .into_iter()
        .zip(column(&counts[ticks]))
    {
        let up = |stack: &i64| Some(callers[*stack as usize]).filter(|caller| *caller >= 0);
        let stack: Vec<u32> = std::iter::successors(Some(stack), up)
            .map(|stack| name(frames[stack as usize]))
            .collect();
        shares.add(&stack, ticks as u64);
    }
    shares
}

fn check(before: &Profile, after: &Profile) {
    let page = written(DiffFormat::FlameGraph, before, after);
    let (_, data) = page.split_once("id=\"profile\">").unwrap();
    let data = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(side(&data, "before"), Shares::of(before));
    assert_eq!(side(&data, "ticks"), Shares::of(after));
    let table = written(DiffFormat::Table, before, after);
    assert!(table.lines().all(|line| line.width() <= 80), "{table}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn both_sides_are_what_they_were(before in profiles(), after in profiles()) {
        check(&before, &after);
    }
}

#[test]
fn deep_recursion() {
    check(&deep(8_000), &deep(5_000));
}

#[test]
fn shares_are_compared_and_the_greatest_change_is_first() {
    let before = of_stacks(&[(&["main", "slow"], 0, 60), (&["main", "same"], 0, 40)]);
    let after = of_stacks(&[
        (&["main", "slow"], 0, 1),
        (&["main", "same"], 0, 5),
        (&["main", "new"], 0, 4),
    ]);
    let table = written(DiffFormat::Table, &before, &after);
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.contains("(/app"))
        .collect();
    assert_eq!(
        rows,
        [
            " 60.0%  10.0%  -50.0 | 60.0%  10.0%  -50.0  slow (/app/slow.py)",
            "  0.0%  40.0%  +40.0 |  0.0%  40.0%  +40.0  new (/app/new.py)",
            " 40.0%  50.0%  +10.0 | 40.0%  50.0%  +10.0  same (/app/same.py)",
            "  0.0%   0.0%      = |100.0% 100.0%      =  main (/app/main.py)",
        ]
    );
}
