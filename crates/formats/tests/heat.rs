//! The heat of each line, and what the page says where the source is not what was sampled.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{of_stacks, profiles, written_with};
use invivo_formats::{Format, Options};
use invivo_model::Profile;
use proptest::prelude::*;

/// Ticks by themselves and in all, of a file or of a line of it.
type Shares = BTreeMap<(String, Option<u32>), (u64, u64)>;

fn truth(profile: &Profile) -> (u64, Shares) {
    let (mut all, mut shares) = (0, Shares::new());
    let tables = &profile.tables;
    for sample in &profile.samples {
        let ticks = u64::from(sample.ticks);
        all += ticks;
        let (mut at, mut innermost, mut seen) = (sample.stack, true, BTreeSet::new());
        while let Some(stack) = at {
            let node = tables.stacks[stack as usize];
            let frame = tables.frames[node.frame as usize];
            let file = &tables.functions[frame.function as usize].file.text;
            for key in [(file.clone(), None), (file.clone(), Some(frame.line))] {
                if file.is_empty() {
                    continue;
                }
                let (own, total) = shares.entry(key.clone()).or_default();
                *own += if innermost { ticks } else { 0 };
                *total += if seen.insert(key) { ticks } else { 0 };
            }
            (at, innermost) = (node.caller, false);
        }
    }
    (all, shares)
}

fn percent(ticks: u64, all: u64) -> String {
    format!("{:.1}%", ticks as f64 * 100.0 / all as f64)
}

/// The cells of a row: what stands before the next element.
fn cells(row: &str) -> Vec<&str> {
    row.split("<td>")
        .map(|cell| cell.split('<').next().unwrap().trim())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn shares_of_files_and_lines(profile in profiles()) {
        let (all, shares) = truth(&profile);
        let page = written_with(Format::HeatMap, &profile, &Options::default());
        let page = String::from_utf8(page).unwrap();
        let cell = |ticks| if ticks == 0 { String::new() } else { percent(ticks, all) };
        let mut found = BTreeMap::new();
        for file in page.split("<details id=").skip(1) {
            let (head, rows) = file.split_once("</summary>").unwrap();
            let name = head.split("<b>").nth(1).unwrap().split("</b>").next().unwrap();
            let name = name.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
            for row in rows.split("<tr class=").skip(1) {
                let row = cells(row.split_once("<th>").unwrap().1);
                let line = row[0].parse().unwrap_or(0);
                found.insert((name.clone(), Some(line)), (row[1].to_owned(), row[2].to_owned()));
            }
            let said = head.split("<span>").nth(1).unwrap();
            let (own, total) = said.split_once(" self, ").unwrap();
            let total = total.split(' ').next().unwrap();
            found.insert((name, None), (own.to_owned(), total.to_owned()));
        }
        let expected = shares.into_iter().map(|(key, (own, total))| {
            let said = match key.1 {
                None => (percent(own, all), percent(total, all)),
                Some(_) => (cell(own), cell(total)),
            };
            (key, said)
        });
        prop_assert_eq!(found, expected.collect::<BTreeMap<_, _>>());
    }
}

#[test]
fn source_is_shown_around_what_was_seen() {
    let profile = of_stacks(&[(&["short", "long"], 0, 3), (&["missing"], 1, 1)]);
    let source = |file: &str| match file {
        "/app/short.py" => Some("only\n<one>\n".to_owned()),
        "/app/long.py" => Some((1..=40).map(|n| format!("\tline <{n}>\n")).collect()),
        _ => None,
    };
    let options = Options {
        source: &source,
        ..Options::default()
    };
    let page = String::from_utf8(written_with(Format::HeatMap, &profile, &options)).unwrap();
    // Line 12 of long.py was seen: 6 to 18 are there.
    assert!(
        page.contains("<th>12<td>75.0%<td>75.0%<td>    line &lt;12&gt;"),
        "{page}"
    );
    assert!(page.contains("5 lines"));
    assert!(page.contains("line &lt;6&gt;") && page.contains("line &lt;18&gt;"));
    assert!(!page.contains("line &lt;5&gt;") && !page.contains("line &lt;19&gt;"));
    assert!(page.contains("the file has only 2 lines: it is another one now"));
    assert!(page.contains("The file could not be read"));
    assert!(!page.contains("<script"));
}
