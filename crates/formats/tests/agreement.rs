//! Every format says the same of a profile, read back by readers that know only the format.

#![allow(clippy::unwrap_used)]

mod common;

use common::{NOTHING, Shares, deep, number, profiles, written, written_text};
use invivo_formats::Format;
use invivo_model::Profile;
use proptest::prelude::*;
use serde_json::Value;

fn collapsed(profile: &Profile) -> Shares {
    let mut shares = Shares::default();
    for line in written_text(Format::Collapsed, profile).lines() {
        let (stack, ticks) = line.rsplit_once(' ').unwrap();
        let mut stack: Vec<u32> = stack.split(';').map(number).collect();
        stack.reverse();
        shares.add(&stack, ticks.parse().unwrap());
    }
    shares
}

fn speedscope(profile: &Profile) -> Shares {
    let file: Value = serde_json::from_slice(&written(Format::Speedscope, profile)).unwrap();
    let frames = file["shared"]["frames"].as_array().unwrap();
    let numbers: Vec<u32> = frames
        .iter()
        .map(|frame| number(frame["name"].as_str().unwrap()))
        .collect();
    let mut shares = Shares::default();
    for thread in file["profiles"].as_array().unwrap() {
        let samples = thread["samples"].as_array().unwrap();
        let weights = thread["weights"].as_array().unwrap();
        assert_eq!(samples.len(), weights.len());
        for (sample, weight) in samples.iter().zip(weights) {
            let frames = sample.as_array().unwrap().iter().rev();
            let stack: Vec<u32> = frames
                .map(|frame| numbers[frame.as_u64().unwrap() as usize])
                .collect();
            let ticks = weight.as_u64().unwrap() / common::INTERVAL;
            if !stack.is_empty() {
                shares.add(&stack, ticks);
            }
        }
    }
    shares
}

/// What a flame graph's page holds for its script.
fn embedded(page: &str) -> Value {
    let (_, data) = page.split_once("id=\"profile\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

fn numbers(column: &Value) -> Vec<i64> {
    let column = column.as_array().unwrap();
    column.iter().map(|n| n.as_i64().unwrap()).collect()
}

/// Its counts; the order of time holds the same samples.
fn flame_graph(profile: &Profile) -> Shares {
    let data = embedded(&written_text(Format::FlameGraph, profile));
    let text = |index: &i64| data["strings"][*index as usize].as_str().unwrap();
    let functions: Vec<u32> = numbers(&data["functions"]["name"])
        .iter()
        .map(|name| number(text(name)))
        .collect();
    let of_frame = numbers(&data["frames"]["function"]);
    let (callers, frames) = (
        numbers(&data["stacks"]["caller"]),
        numbers(&data["stacks"]["frame"]),
    );
    let shares = |part: &Value| {
        let mut shares = Shares::default();
        for (stack, ticks) in numbers(&part["stack"])
            .into_iter()
            .zip(numbers(&part["ticks"]))
        {
            let up = |stack: &i64| Some(callers[*stack as usize]).filter(|caller| *caller >= 0);
            let stack: Vec<u32> = std::iter::successors(Some(stack), up)
                .map(|stack| functions[of_frame[frames[stack as usize] as usize] as usize])
                .collect();
            shares.add(&stack, ticks as u64);
        }
        shares
    };
    let counted = shares(&data["counts"]);
    assert_eq!(shares(&data["times"]), counted);
    counted
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
    assert_eq!(rows(by_total, 1), expected(&truth.total), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn all_formats_say_the_same(profile in profiles()) {
        let truth = Shares::of(&profile);
        prop_assert_eq!(collapsed(&profile), truth.clone(), "collapsed");
        prop_assert_eq!(speedscope(&profile), truth.clone(), "speedscope");
        prop_assert_eq!(flame_graph(&profile), truth.clone(), "flame graph");
        check_table(&profile, &truth);
    }
}

#[test]
fn deep_recursion() {
    let profile = deep(20_000);
    let truth = Shares::of(&profile);
    assert_eq!(collapsed(&profile), truth);
    assert_eq!(speedscope(&profile), truth);
    assert_eq!(flame_graph(&profile), truth);
    check_table(&profile, &truth);
}

#[test]
fn samples_without_a_stack_are_a_function_of_their_own() {
    let mut profile = deep(3);
    profile.samples[0].stack = None;
    let truth = Shares::of(&profile);
    assert_eq!(truth.own[&NOTHING], 1);
    assert_eq!(collapsed(&profile), truth);
}
