//! Making profiles of recordings, whole ones and others, and comparing two.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::{Run, busy, invivo};
use synth::{Launch, interpreter, samples};

/// A recording of a target with several threads.
struct Recorded {
    directory: tempfile::TempDir,
    pid: u32,
}

impl Recorded {
    fn new() -> Self {
        let target = Launch::new(interpreter("3.14"), samples::THREADS).start();
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("a.invivo");
        let pid = target.pid().to_string();
        let words = ["record", &pid, "-d", "1.5", "-r", "500", "-o"];
        let words = words.iter().map(AsRef::as_ref);
        invivo(words.chain([file.as_os_str()])).expect(0);
        Self {
            directory,
            pid: target.pid(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn convert(&self, words: &[&str]) -> Run {
        convert(&self.path("a.invivo"), words)
    }

    /// What the part that these words ask for holds, as JSON.
    fn part(&self, words: &[&str]) -> Vec<Value> {
        let words = [&["-f", "jsonl", "-o", "-"], words].concat();
        let run = self.convert(&words).expect(0);
        let line = |line: &str| serde_json::from_str(line).expect("JSON");
        run.stdout.lines().map(line).collect()
    }
}

fn convert(file: &Path, words: &[&str]) -> Run {
    let words = words.iter().map(AsRef::as_ref);
    invivo(
        ["convert".as_ref(), file.as_os_str()]
            .into_iter()
            .chain(words),
    )
}

/// The values of a field, of all lines of this type.
fn values<'a>(lines: &'a [Value], kind: &str, field: &str) -> Vec<&'a Value> {
    let of_kind = lines.iter().filter(|line| line["type"] == kind);
    of_kind.map(|line| &line[field]).collect()
}

#[test]
fn a_part_of_a_recording() {
    let recorded = Recorded::new();
    let all = recorded.part(&[]);
    let tids: BTreeSet<u64> = values(&all, "thread", "tid")
        .into_iter()
        .filter_map(Value::as_u64)
        .collect();
    assert!(tids.len() >= 5, "{tids:?}");
    for tid in &tids {
        let part = recorded.part(&["--thread", &tid.to_string()]);
        assert_eq!(values(&part, "thread", "tid"), [tid]);
        assert!(!values(&part, "sample", "time").is_empty());
    }
    let pid = recorded.pid.to_string();
    let same = recorded.part(&["--process", &pid]);
    let count = |lines: &[Value]| values(lines, "sample", "time").len();
    assert_eq!(count(&same), count(&all));
    let ticks = |lines: &[Value]| -> u64 {
        let ticks = values(lines, "sample", "ticks").into_iter();
        ticks.filter_map(Value::as_u64).sum()
    };
    let early = recorded.part(&["--to", "0.7"]);
    let late = recorded.part(&["--from", "0.7"]);
    assert!(ticks(&early) > 0 && ticks(&late) > 0);
    assert_eq!(ticks(&early) + ticks(&late), ticks(&all));

    let run = recorded.convert(&["-f", "svg", "-o", "-", "--process", "1"]);
    run.refused(2, "there is no process 1 in the recording", &pid);
    let run = recorded.convert(&["-f", "svg", "-o", "-", "--thread", "1"]);
    run.refused(2, "there is no thread 1", &pid);
    let run = recorded.convert(&["-f", "svg", "-o", "-", "--from", "60"]);
    run.refused(2, "that part of the time is empty", "goes from 0 to 1.");
}

#[test]
fn names_and_formats() {
    let recorded = Recorded::new();
    let run = recorded.convert(&[]).expect(0);
    let page = fs::read_to_string(recorded.path("a.html")).expect("beside the recording");
    assert!(page.starts_with("<!doctype html>"));
    assert!(run.stderr.contains("a.html ("), "{run:#?}");
    recorded.convert(&[]).expect(0);
    assert!(recorded.path("a-2.html").exists());
    let run = recorded.convert(&["-f", "table"]).expect(0);
    assert!(run.stdout.contains("functions by self"), "{run:#?}");
    assert_eq!(run.stderr, "");
    let by_line = recorded.convert(&["-f", "table", "--lines"]).expect(0);
    assert!(by_line.stdout.contains("lines by self"), "{by_line:#?}");
    let run = recorded.convert(&["-o", "b.invivo"]);
    run.refused(2, "a recording is not made from another", "");
    recorded
        .convert(&["-o", "b.xml"])
        .refused(2, "b.xml does not say", "");
    let other = recorded.path("other");
    fs::write(&other, "some text that is long enough to be anything").expect("a file");
    convert(&other, &["-f", "table"]).refused(2, "other: ", "does not begin as one");
    convert(&recorded.path("none"), &["-f", "table"]).refused(2, "none can't be read", "No such");
}

#[test]
fn a_recording_that_is_damaged_is_read_as_far_as_it_goes() {
    let recorded = Recorded::new();
    let whole = fs::read(recorded.path("a.invivo")).expect("it is there");
    let file = recorded.path("b.invivo");
    let mut read = BTreeSet::new();
    let mut check = |bytes: &[u8]| {
        fs::write(&file, bytes).expect("a file");
        let run = convert(&file, &["-f", "table"]);
        match run.code {
            Some(0) if run.stderr.is_empty() => read.insert("all"),
            Some(0) => {
                let partly = ["ended early", "is damaged"];
                assert!(
                    partly.iter().any(|what| run.stderr.contains(what)),
                    "{run:#?}"
                );
                assert!(run.stderr.contains(" were read"), "{run:#?}");
                read.insert("a part")
            }
            // Not even the beginning is there.
            Some(2 | 5) => {
                assert!(run.stderr.starts_with("error: "), "{run:#?}");
                read.insert("nothing")
            }
            _ => panic!("{run:#?}"),
        }
    };
    check(&whole);
    for n in 0..40 {
        check(&whole[..whole.len() * n / 40]);
        let mut flipped = whole.clone();
        flipped[whole.len() * n / 40] ^= 0x41;
        check(&flipped);
    }
    assert_eq!(read, BTreeSet::from(["a part", "all", "nothing"]));
}

#[test]
fn a_heat_map_shows_the_source() {
    let target = busy(interpreter("3.13"));
    let directory = tempfile::tempdir().expect("a directory");
    let pid = target.pid().to_string();
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (page, recording) = (file("a.heatmap.html"), file("a.invivo"));
    invivo(["record", &pid, "-d", "1", "-o", &page]).expect(0);
    let line = "if not check(n):";
    let text = fs::read_to_string(&page).expect("it is there");
    assert!(text.contains(line), "{text}");
    invivo(["record", &pid, "-d", "1", "-o", &recording]).expect(0);
    invivo(["convert", &recording, "-o", &page, "--sources"]).expect(0);
    let text = fs::read_to_string(&page).expect("it is there");
    assert!(text.contains(line), "{text}");
    // A recording may name any file: none is read unless that is asked for.
    let run = invivo(["convert", &recording, "-o", &page]).expect(0);
    assert!(run.stderr.contains("--sources"), "{run:#?}");
    let text = fs::read_to_string(&page).expect("it is there");
    assert!(!text.contains(line), "{text}");
    // With the target its file has gone.
    drop(target);
    invivo(["convert", &recording, "-o", &page, "--sources"]).expect(0);
    let text = fs::read_to_string(&page).expect("it is there");
    assert!(
        text.contains("could not be read") && !text.contains(line),
        "{text}"
    );
}

#[test]
fn two_recordings_are_compared() {
    let recorded = Recorded::new();
    let target = busy(interpreter("3.8"));
    let pid = target.pid().to_string();
    let file = |name: &str| recorded.path(name).to_string_lossy().into_owned();
    let (before, after, page) = (file("a.invivo"), file("b.invivo"), file("d.html"));
    invivo(["record", &pid, "-d", "0.5", "-o", &after]).expect(0);
    let run = invivo(["diff", &before, &after]).expect(0);
    assert!(run.stdout.contains("points"), "{run:#?}");
    assert!(run.stdout.contains("main ("), "{run:#?}");
    let run = invivo(["diff", &before, &after, "-o", &page]).expect(0);
    assert!(run.stderr.contains("wrote "), "{run:#?}");
    let text = fs::read_to_string(&page).expect("it is there");
    assert!(text.starts_with("<!doctype html>"));
    let run = invivo(["diff", &before, &after, "-f", "flamegraph", "-o", "-"]).expect(0);
    assert!(run.stdout.starts_with("<!doctype html>"));
    invivo(["diff", &before, &after, "-o", "d.svg"]).refused(2, "d.svg does not say", ".html");
    invivo(["diff", &before, &page]).refused(2, "d.html", "does not begin as one");
    invivo(["diff", &before]).expect(2);
}
