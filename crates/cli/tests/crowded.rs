//! Directories for scripts that are crowded.

mod support;

use std::os::unix::fs::{DirBuilderExt, MetadataExt};

use support::{exec, unharmed};
use synth::{Launch, interpreter, samples};

#[test]
fn directories_named_like_ours_cost_little_time() {
    // In memory: on a disk they take long to make.
    let place = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let namespace = std::fs::metadata("/proc/self/ns/pid").expect("our namespace");
    for number in 0..20_000 {
        // Of runs against a process that there is not: there are no such numbers.
        let name = format!("invivo-{}-4194305-{number}-1-w-00000000", namespace.ino());
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.mode(0o700).create(place.path().join(name));
        made.expect("making a directory");
    }
    let target = Launch::new(interpreter("3.14"), samples::BUSY)
        .variable("TMPDIR", place.path())
        .start();
    exec(&target, &["-e", "1", "--timeout", "20"]).expect(0);
    unharmed(&target);
    let left = std::fs::read_dir(place.path()).expect("the directory");
    let left = left.count();
    // A few are removed by each run, and no more looked at.
    assert!((19_000..20_000).contains(&left), "{left}");
}
