//! Readers of each format that know only the format.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;
use invivo_formats::Format;
use invivo_model::Profile;
use serde_json::Value;

use crate::common::{INTERVAL, Shares, number, written, written_text};

pub(crate) fn collapsed(profile: &Profile) -> Shares {
    let mut shares = Shares::default();
    let text = written_text(Format::Collapsed, profile);
    let (stacks, said) = text.split_at(text.rfind("# samples=").unwrap());
    assert!(
        said.split(' ')
            .all(|word| !word.starts_with(|c: char| c.is_ascii_digit()))
    );
    for line in stacks.lines() {
        let (stack, ticks) = line.rsplit_once(' ').unwrap();
        let mut stack: Vec<u32> = stack.split(';').map(number).collect();
        stack.reverse();
        shares.add(&stack, ticks.parse().unwrap());
    }
    shares
}

pub(crate) fn speedscope(profile: &Profile) -> Shares {
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
            let ticks = weight.as_u64().unwrap() / INTERVAL;
            if !stack.is_empty() {
                shares.add(&stack, ticks);
            }
        }
    }
    shares
}

/// What a flame graph's page holds for its script.
pub(crate) fn embedded(page: &str) -> Value {
    let (_, data) = page.split_once("id=\"profile\">").unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

pub(crate) fn numbers(column: &Value) -> Vec<i64> {
    let column = column.as_array().unwrap();
    column.iter().map(|n| n.as_i64().unwrap()).collect()
}

/// Its counts; the order of time holds the same samples.
pub(crate) fn flame_graph(profile: &Profile) -> Shares {
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

/// A message's fields: their numbers, and a number or bytes.
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(byte & 0x7F) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    number
}

fn message(mut bytes: &[u8]) -> Vec<(u64, Field)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes)),
            2 => {
                let length = varint(&mut bytes) as usize;
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(inner.to_vec())
            }
            other => panic!("wire type {other}"),
        };
        fields.push((tag >> 3, field));
    }
    fields
}

fn one(fields: &[(u64, Field)], wanted: u64) -> u64 {
    let found = fields.iter().find_map(|(field, value)| match value {
        Field::Number(number) if *field == wanted => Some(*number),
        _ => None,
    });
    found.unwrap_or(0)
}

fn all(fields: &[(u64, Field)], wanted: u64) -> Vec<&[u8]> {
    let found = fields.iter().filter_map(|(field, value)| match value {
        Field::Bytes(bytes) if *field == wanted => Some(&bytes[..]),
        _ => None,
    });
    found.collect()
}

fn packed(mut bytes: &[u8]) -> Vec<u64> {
    let mut numbers = Vec::new();
    while !bytes.is_empty() {
        numbers.push(varint(&mut bytes));
    }
    numbers
}

pub(crate) fn pprof(profile: &Profile) -> Shares {
    let mut bytes = Vec::new();
    let file = written(Format::Pprof, profile);
    GzDecoder::new(&file[..]).read_to_end(&mut bytes).unwrap();
    let fields = message(&bytes);
    let strings: Vec<&str> = all(&fields, 6)
        .into_iter()
        .map(|bytes| std::str::from_utf8(bytes).unwrap())
        .collect();
    assert_eq!(strings[0], "");
    let types: Vec<(&str, &str)> = all(&fields, 1)
        .into_iter()
        .map(message)
        .map(|kind| {
            (
                strings[one(&kind, 1) as usize],
                strings[one(&kind, 2) as usize],
            )
        })
        .collect();
    assert_eq!(types, [("samples", "count"), ("wall", "nanoseconds")]);
    let functions: BTreeMap<u64, u32> = all(&fields, 5)
        .into_iter()
        .map(message)
        .map(|function| {
            (
                one(&function, 1),
                number(strings[one(&function, 2) as usize]),
            )
        })
        .collect();
    let locations: BTreeMap<u64, u32> = all(&fields, 4)
        .into_iter()
        .map(message)
        .map(|location| {
            let line = message(all(&location, 4)[0]);
            (one(&location, 1), functions[&one(&line, 1)])
        })
        .collect();
    let mut shares = Shares::default();
    for sample in all(&fields, 2).into_iter().map(message) {
        let stack = packed(all(&sample, 1)[0]);
        let stack: Vec<u32> = stack.iter().map(|location| locations[location]).collect();
        let values = packed(all(&sample, 2)[0]);
        assert_eq!(values[1], values[0] * INTERVAL);
        let labels = all(&sample, 3).into_iter().map(message);
        let keys: Vec<&str> = labels
            .map(|label| strings[one(&label, 1) as usize])
            .collect();
        assert_eq!(keys[..3], ["thread", "tid", "pid"]);
        shares.add(&stack, values[0]);
    }
    shares
}

fn column(table: &Value, name: &str) -> Vec<i64> {
    let column = numbers_or(&table[name], -1);
    assert_eq!(
        column.len() as i64,
        table["length"].as_i64().unwrap(),
        "{name}"
    );
    column
}

fn numbers_or(column: &Value, none: i64) -> Vec<i64> {
    let column = column.as_array().unwrap();
    column.iter().map(|n| n.as_i64().unwrap_or(none)).collect()
}

pub(crate) fn firefox(profile: &Profile) -> Shares {
    let file: Value = serde_json::from_slice(&written(Format::Firefox, profile)).unwrap();
    let mut shares = Shares::default();
    for thread in file["threads"].as_array().unwrap() {
        let strings = thread["stringArray"].as_array().unwrap();
        let names: Vec<u32> = column(&thread["funcTable"], "name")
            .iter()
            .map(|name| number(strings[*name as usize].as_str().unwrap()))
            .collect();
        let functions = column(&thread["frameTable"], "func");
        let (prefix, frame) = (
            column(&thread["stackTable"], "prefix"),
            column(&thread["stackTable"], "frame"),
        );
        let samples = &thread["samples"];
        let weights = column(samples, "weight");
        for (stack, ticks) in column(samples, "stack").into_iter().zip(weights) {
            let up = |stack: &i64| Some(prefix[*stack as usize]).filter(|prefix| *prefix >= 0);
            let stack: Vec<u32> = std::iter::successors(Some(stack), up)
                .map(|stack| names[functions[frame[stack as usize] as usize] as usize])
                .collect();
            shares.add(&stack, ticks as u64);
        }
        let times = samples["time"].as_array().unwrap();
        assert!(times.is_sorted_by_key(|time| time.as_f64()));
    }
    shares
}

/// Of a track: the time of its last event, and what is open with what ended in it.
type Track = (f64, Vec<(u32, u64)>);

pub(crate) fn chrome(profile: &Profile) -> Shares {
    let file: Value = serde_json::from_slice(&written(Format::Chrome, profile)).unwrap();
    let mut shares = Shares::default();
    let mut tracks: BTreeMap<(u64, u64), Track> = BTreeMap::new();
    for event in file["traceEvents"].as_array().unwrap() {
        let key = |name: &str| event[name].as_u64().unwrap();
        let (last, open) = tracks.entry((key("pid"), key("tid"))).or_default();
        let phase = event["ph"].as_str().unwrap();
        assert!(
            event["cat"].is_string(),
            "Chrome reads no event without: {event}"
        );
        if phase == "M" {
            continue;
        }
        let time = event["ts"].as_f64().unwrap();
        assert!(time >= *last, "{time} after {last}");
        *last = time;
        if phase == "B" {
            open.push((number(event["name"].as_str().unwrap()), 0));
            continue;
        }
        assert_eq!(phase, "E");
        let ticks = event["args"]["samples"].as_u64().unwrap();
        let (function, inner) = open.pop().unwrap();
        assert_eq!(function, number(event["name"].as_str().unwrap()));
        *shares.own.entry(function).or_default() += ticks - inner;
        match open.last_mut() {
            Some((_, outer)) => *outer += ticks,
            None => shares.all += ticks,
        }
        if open.iter().all(|(other, _)| *other != function) {
            *shares.total.entry(function).or_default() += ticks;
        }
    }
    assert!(tracks.values().all(|(_, open)| open.is_empty()));
    shares.own.retain(|_, ticks| *ticks > 0);
    shares
}

/// Boxes stand in the order of a walk, and a row tells how deep one is.
pub(crate) fn svg(profile: &Profile) -> Shares {
    let text = written_text(Format::Svg, profile);
    let mut shares = Shares::default();
    // What is open: its function, and what was not yet in a box within it.
    let mut open: Vec<(u32, u64)> = Vec::new();
    let mut boxes = text.split("<g><title>").skip(1);
    let of = |part: &str| -> (u64, usize) {
        let (said, rest) = part.split_once("</title>").unwrap();
        let ticks = said
            .rsplit_once('\n')
            .unwrap()
            .1
            .split_once(" sample")
            .unwrap()
            .0;
        let y: usize = rest
            .split("y=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        (ticks.replace(',', "").parse().unwrap(), (y - 58) / 18)
    };
    shares.all = of(boxes.next().unwrap()).0;
    let mut close = |open: &mut Vec<(u32, u64)>, depth: usize| {
        while open.len() > depth {
            let (function, own) = open.pop().unwrap();
            *shares.own.entry(function).or_default() += own;
        }
    };
    for part in boxes {
        let (ticks, row) = of(part);
        close(&mut open, row - 1);
        let function = number(part.lines().next().unwrap());
        if let Some((_, left)) = open.last_mut() {
            *left -= ticks;
        }
        if open.iter().all(|(other, _)| *other != function) {
            *shares.total.entry(function).or_default() += ticks;
        }
        open.push((function, ticks));
    }
    close(&mut open, 0);
    shares.own.retain(|_, ticks| *ticks > 0);
    shares
}

pub(crate) fn json_lines(profile: &Profile) -> Shares {
    let text = written_text(Format::JsonLines, profile);
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |kind: &str| -> Vec<&Value> { lines.iter().filter(|l| l["type"] == kind).collect() };
    let (functions, frames, stacks) = (of("function"), of("frame"), of("stack"));
    let mut shares = Shares::default();
    for sample in of("sample") {
        let up = |stack: &u64| stacks[*stack as usize]["caller"].as_u64();
        let mut stack: Vec<u32> = std::iter::successors(sample["stack"].as_u64(), up)
            .map(|stack| stacks[stack as usize]["frame"].as_u64().unwrap())
            .map(|frame| frames[frame as usize]["function"].as_u64().unwrap())
            .map(|function| number(functions[function as usize]["name"].as_str().unwrap()))
            .collect();
        if stack.is_empty() {
            stack.push(crate::common::NOTHING);
        }
        shares.add(&stack, sample["ticks"].as_u64().unwrap());
    }
    let end = lines.last().unwrap();
    assert_eq!(end["type"], "end");
    assert_eq!(end["samples"], of("sample").len());
    assert_eq!(end["ticks"], shares.all);
    shares
}
