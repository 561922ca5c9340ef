//! Values as long as they are asked for: `dump --locals` with `--max-string` and `--max-items`.

mod support;

use serde_json::Value;
use support::{each, invivo};
use synth::{Launch, interpreters};

/// A text and a list that are longer than what is shown of itself.
const LONG: &str = "def waits():\n    text = 'x' * 5000 + 'END'\n    numbers = list(range(1000))\n    \
                    print('ready', flush=True)\n    import sys; sys.stdin.read()\nwaits()";

#[test]
fn values_are_as_long_as_is_asked_for_and_no_longer() {
    each(
        interpreters(),
        |one| one.name.clone(),
        |one| {
            let target = Launch::new(one, LONG).start();
            let pid = target.pid().to_string();
            let usual = invivo(["dump", &pid, "--locals"]).expect(0).stdout;
            assert!(
                !usual.contains("END") && !usual.contains(", 999]"),
                "{usual}"
            );
            let limits = ["--max-string", "6000", "--max-items", "1200"];
            let dump = |more: &[&str]| {
                let words = ["dump", &pid, "--locals"].into_iter();
                invivo(words.chain(more.iter().copied())).expect(0)
            };
            let long = dump(&limits).stdout;
            assert!(
                long.contains("END'") && long.contains(", 998, 999]"),
                "{long}"
            );
            let report = dump(&[&limits[..], &["--json"]].concat()).json();
            let local = |name: &str| -> Value {
                let frames = report["interpreters"][0]["threads"][0]["frames"].as_array();
                let mut locals = frames
                    .expect("frames")
                    .iter()
                    .flat_map(|frame| frame["locals"].as_array().cloned().unwrap_or_default());
                let found = locals.find(|local| local["name"] == name);
                found.unwrap_or_else(|| panic!("no {name}: {report}"))
            };
            assert!(local("text").to_string().contains("END"));
            assert!(local("numbers").to_string().contains("999"));
            let short = dump(&["--max-string", "3", "--max-items", "2"]).stdout;
            assert!(
                short.contains("'xxx'") && short.contains("[0, 1, …"),
                "{short}"
            );
            assert!(!short.contains("xxxx"), "{short}");
        },
    );
}

#[test]
fn lengths_are_bounded_and_are_about_values() {
    for words in [
        &["dump", "1", "--locals", "--max-string", "65537"][..],
        &["dump", "1", "--locals", "--max-items", "-1"],
        &["dump", "1", "--max-items", "5"],
    ] {
        invivo(words).expect(2);
    }
}
