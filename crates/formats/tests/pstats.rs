//! Python itself loads what is written for it.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use common::{INTERVAL, Shares, deep, number, profiles, written};
use invivo_formats::Format;
use invivo_model::Profile;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::Value;
use synth::Interpreter;

/// Loads files, and prints what `Stats` holds of each as JSON; and prints it the usual way, with
/// callers and callees, which looks at all of it.
const LOADER: &str = "
import io, json, pstats, sys
for path in sys.argv[1:]:
    text = io.StringIO()
    stats = pstats.Stats(path, stream=text)
    rows = []
    for (file, line, name), (cc, nc, tt, ct, callers) in stats.stats.items():
        assert isinstance(file, str) and isinstance(line, int) and isinstance(name, str)
        rows.append([name, cc, nc, tt, ct, sum(tt for _, _, tt, _ in callers.values())])
    stats.sort_stats('cumulative').print_stats().print_callers().print_callees()
    stats.strip_dirs().add(path)
    print(json.dumps([stats.total_tt, rows]))
";

fn load(interpreter: &Interpreter, paths: &[std::path::PathBuf]) -> Vec<Value> {
    let output = Command::new(&interpreter.program)
        .args(["-c", LOADER])
        .args(paths)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", interpreter.name);
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Seconds as ticks.
fn ticks(seconds: &Value) -> u64 {
    (seconds.as_f64().unwrap() * 1e9 / INTERVAL as f64).round() as u64
}

fn check(profile: &Profile, loaded: &Value) {
    let truth = Shares::of(profile);
    let (mut own, mut total) = (BTreeMap::new(), BTreeMap::new());
    let (said, rows) = loaded[1].as_array().unwrap().split_last().unwrap();
    assert!(said[0].as_str().unwrap().contains("1,000 Hz"), "{said}");
    assert_eq!(said[2], 0);
    for row in rows {
        let function = number(row[0].as_str().unwrap());
        assert_eq!(row[1], row[2]);
        assert_eq!(row[2].as_u64().unwrap(), ticks(&row[4]));
        assert!(
            ticks(&row[5]) <= ticks(&row[3]),
            "callers have parts of it: {row}"
        );
        own.insert(function, ticks(&row[3]));
        total.insert(function, ticks(&row[4]));
    }
    own.retain(|_, ticks| *ticks > 0);
    assert_eq!((own, total), (truth.own, truth.total));
}

fn store(directory: &Path, profiles: &[Profile]) -> Vec<std::path::PathBuf> {
    let paths = profiles.iter().enumerate().map(|(n, profile)| {
        let path = directory.join(format!("{n}.pstats"));
        fs::write(&path, written(Format::Pstats, profile)).unwrap();
        path
    });
    paths.collect()
}

#[test]
fn every_python_loads_it() {
    let mut runner = TestRunner::deterministic();
    let mut all: Vec<Profile> = (0..40)
        .map(|_| profiles().new_tree(&mut runner).unwrap().current())
        .collect();
    all.push(deep(5_000));
    // More than 31 bits of ticks.
    for sample in &mut all[0].samples {
        sample.ticks = 1 << 31;
    }
    let directory = tempfile::tempdir().unwrap();
    let paths = store(directory.path(), &all);
    for interpreter in synth::interpreters() {
        let loaded = load(interpreter, &paths);
        assert_eq!(loaded.len(), all.len());
        for (profile, loaded) in all.iter().zip(&loaded) {
            check(profile, loaded);
        }
    }
}
