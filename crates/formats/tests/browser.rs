//! The pages in a headless Chromium: that they run as they are shipped, and what clicks, keys and
//! searches do. `cargo xtask test` runs them; by hand `--features browser` does. `INVIVO_CHROMIUM` names
//! another program than `chromium-headless-shell`.

#![allow(clippy::unwrap_used)]

mod chromium;
mod common;

use chromium::{Chromium, DESK, Device, PHONE};
use common::{NASTY, long, of_stacks, text};
use invivo_formats::{DiffFormat, Format, Options, write, write_diff};
use invivo_model::Profile;
use serde_json::Value;

/// What a part of `browser.js` finds in a page.
fn driven(page: &str, part: &str, device: Device) -> Value {
    let mut browser = Chromium::start();
    let mut page = browser.open(page, device);
    page.value(include_str!("browser.js"));
    page.value(&format!("{part}()"))
}

fn page(format: Format, profile: &Profile) -> String {
    let mut bytes = Vec::new();
    write(format, profile, &Options::default(), &mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn shop() -> Profile {
    of_stacks(&[
        (&["main", "serve", "parse"], 0, 50),
        (&["main", "serve", "render"], 0, 20),
        (&["main", "fib", "fib", "fib"], 0, 10),
        (&["main", "wait"], 1, 20),
    ])
}

#[test]
fn pages_run_as_they_are_and_names_stay_text() {
    let attack = "</script><script>document.title='injected'</script><img src=x onerror=\"document.title='injected'\">";
    let mut names = NASTY.to_vec();
    names.push(attack);
    let long = long();
    names.push(&long);
    let mut profile = of_stacks(&[(&names, 0, 5)]);
    profile.tables.threads[0].name = Some(text(attack));
    profile.tables.processes[0].command = vec![attack.to_owned()];
    profile.about.creator = attack.to_owned();
    for function in &mut profile.tables.functions {
        function.file = text(format!("/app/{attack}"));
    }
    let mut diff = Vec::new();
    write_diff(DiffFormat::FlameGraph, &profile, &profile, &mut diff).unwrap();
    let diff = String::from_utf8(diff).unwrap();
    let mut browser = Chromium::start();
    for (page, entry) in [
        (
            page(Format::FlameGraph, &profile),
            "<li class=\"own\">your code</li>",
        ),
        (diff, "<li class=\"more\">more than before</li>"),
        (
            page(Format::HeatMap, &profile),
            "<details id=\"f0\" open=\"\">",
        ),
    ] {
        let mut page = browser.open(&page, DESK);
        let dom = page.value("document.documentElement.outerHTML");
        let dom = dom.as_str().unwrap();
        assert!(dom.contains(entry), "{dom}");
        assert!(!dom.contains("<title>injected"), "{dom}");
        assert!(!dom.contains("<img"), "{dom}");
    }
}

#[test]
fn what_clicks_keys_and_searches_do() {
    let found = driven(&page(Format::FlameGraph, &shop()), "flame", DESK);
    let expected = serde_json::json!({
        "roots": ["main"],
        "below main": ["serve", "wait", "fib"],
        "clicked": ["serve", "here 70.0% · 70 samples · 70 ms · everywhere 70.0% total, 0.0% self"],
        "window": [0, 70],
        "back": [0, 100],
        "searched": "10.0% in 1 function",
        "search ended": "",
        "inverted": ["parse", "render", "wait", "fib"],
        "lines": 6,
        "moved": ["all", "main", "serve", "wait", "fib", "fib"],
        "zoomed by key": [90, 100],
        "thread": [20, ["wait"]],
        "status": ["All samples", "On a processor · 80.0%", "Off the processor · 20.0%"],
        "off the processor": 20,
        "lanes": [[0, [["main", 0, 80]], [["serve", 0, 70], ["fib", 70, 10]]], [1, [["main", 0, 20]], [["wait", 0, 20]]]],
        "everywhere": {"fib": [10, 10], "main": [0, 100]},
    });
    for (key, expected) in expected.as_object().unwrap() {
        assert_eq!(&found[key], expected, "{key}");
    }
}

#[test]
fn a_difference_is_as_wide_as_either_side() {
    let after = of_stacks(&[
        (&["main", "serve", "parse"], 0, 30),
        (&["main", "new"], 0, 10),
    ]);
    let mut bytes = Vec::new();
    write_diff(DiffFormat::FlameGraph, &shop(), &after, &mut bytes).unwrap();
    let found = driven(&String::from_utf8(bytes).unwrap(), "difference", DESK);
    let expected = serde_json::json!({
        "after": [["serve", 30], ["new", 10]],
        "before": [["serve", 70], ["wait", 20], ["fib", 10]],
        "said": "before 70.0%, after 75.0%: +5.0 points",
    });
    for (key, expected) in expected.as_object().unwrap() {
        assert_eq!(&found[key], expected, "{key}");
    }
}

#[test]
fn thousands_of_frames() {
    let found = driven(
        &page(Format::FlameGraph, &common::deep(20_000)),
        "deep",
        DESK,
    );
    assert_eq!(found["rows"], 20_001);
    assert_eq!(found["inverted"], 20_001);
    assert_eq!(found["lanes"], 1);
}

#[test]
fn everything_can_be_reached_on_a_phone() {
    let mut profile = shop();
    profile.tables.processes[0].command = vec![long()];
    profile.tables.threads[0].name = Some(text(long()));
    profile.tables.functions[0].name = text(long());
    profile.tables.functions[0].file = text(long());
    let found = driven(&page(Format::FlameGraph, &profile), "hand", PHONE);
    let expected = serde_json::json!({"window": 390, "wide": 390, "outside": [], "small": []});
    assert_eq!(found, expected);
}
