//! What is made of a file that somebody sends takes no more memory than is said, and no more time,
//! whatever a few bytes of it say that they are.

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::INVIVO;
use synth::files::HostileFile;

/// MiB that a command may take, all in all.
const MEMORY: u64 = 256;

/// Seconds that the commands are given, and within how many they end: this machine may be loaded.
const SECONDS: (&str, f64) = ("1", 60.0);

/// Starts a command, and says how it ended and what it took: by the kernel's word.
const MEASURE: &str = r"
import json, os, resource, sys, time
begun = time.monotonic()
pid = os.fork()
if pid == 0:
    os.dup2(os.open('/dev/null', os.O_WRONLY), 1)
    os.dup2(os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
    os.execv(sys.argv[2], sys.argv[2:])
_, status, use = os.wait4(pid, 0)
print(json.dumps({
    'code': os.waitstatus_to_exitcode(status),
    'memory': use.ru_maxrss // 1024,
    'seconds': time.monotonic() - begun,
}))
";

/// Runs `invivo` with these words, which name the file; asserts that it stays within bounds and ends
/// as is documented. Gives its exit code.
fn bounded(directory: &Path, file: &HostileFile, words: &[&str]) -> i64 {
    let errors = directory.join("errors");
    let output = Command::new(&synth::interpreter("3.14").program)
        .args(["-c", MEASURE])
        .arg(&errors)
        .arg(INVIVO)
        .args(words)
        .output()
        .expect("running the measurement");
    let measured: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let said = std::fs::read(&errors).expect("its errors");
    let said: String = String::from_utf8_lossy(&said).chars().take(600).collect();
    let shown = format!("{} {words:?}: {measured} {said}", file.name);
    let code = measured["code"].as_i64().expect("a number");
    assert!([0, 2, 5, 6].contains(&code), "{shown}");
    assert!(measured["memory"].as_u64() < Some(MEMORY), "{shown}");
    assert!(measured["seconds"].as_f64() < Some(SECONDS.1), "{shown}");
    if code == 6 {
        assert!(said.contains("--timeout"), "{shown}");
    }
    code
}

#[test]
fn recordings_take_no_more_than_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("sent.invivo");
    let name = path.to_str().expect("a plain path");
    let mut ended = std::collections::BTreeSet::new();
    for file in synth::files::recordings::hostile() {
        assert!(file.bytes.len() < 16 << 20, "{}", file.name);
        std::fs::write(&path, &file.bytes).expect("writing it");
        // The format that has most to do with it.
        let words = match file.name {
            "same" => ["diff", name, name],
            "deep" => ["convert", name, "-fpprof"],
            "lines" => ["convert", name, "-fheatmap"],
            "names" => ["convert", name, "-fspeedscope"],
            "controls" => ["convert", name, "-ffirefox"],
            "samples" => ["convert", name, "-fcollapsed"],
            "roots" => ["convert", name, "-fsvg"],
            "pairs" => ["convert", name, "-fpstats"],
            "arguments" => ["convert", name, "-fjsonl"],
            "threads" => ["convert", name, "-fchrome"],
            "titles" => ["convert", name, "-ftable"],
            _ => ["convert", name, "-fflamegraph"],
        };
        let words = [&words[..], &["-o", "-", "--timeout", SECONDS.0]].concat();
        let words: Vec<&str> = match file.name {
            "same" => words.into_iter().chain(["-ftable"]).collect(),
            _ => words,
        };
        ended.insert(bounded(directory.path(), &file, &words));
        // A page takes more than that for its order of time alone, if it comes that far in time.
        let few = ["convert", name, "-fflamegraph", "-o", "-", "--memory", "1"];
        let few = [&few[..], &["--timeout", SECONDS.0]].concat();
        let code = bounded(directory.path(), &file, &few);
        assert!([5, 6].contains(&code), "{}: {code}", file.name);
    }
    assert!(ended.contains(&0) && ended.contains(&6), "{ended:?}");
}

#[test]
fn images_take_no_more_than_is_said() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("sent.image");
    let name = path.to_str().expect("a plain path");
    for file in synth::files::images::hostile() {
        std::fs::write(&path, &file.bytes).expect("writing it");
        let code = bounded(directory.path(), &file, &["dump", "--image", name]);
        assert_eq!(code, 5, "{}", file.name);
    }
}
