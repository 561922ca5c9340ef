//! Every view, of every recording in the directory `$INVIVO_FUZZ_RECORDED`, changed as the input
//! says: its first byte chooses the recording, the others what is changed in it.

#![no_main]

#[path = "../../crates/cpython/tests/support/fuzzing.rs"]
mod fuzzing;

use std::sync::OnceLock;

use fuzzing::{Recorded, run};
use libfuzzer_sys::fuzz_target;

static RECORDED: OnceLock<Vec<Recorded>> = OnceLock::new();

fn recorded() -> Vec<Recorded> {
    let directory = std::env::var_os("INVIVO_FUZZ_RECORDED").expect("INVIVO_FUZZ_RECORDED");
    let entries = std::fs::read_dir(directory).expect("the directory of recordings");
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no recordings");
    let load = |file| Recorded::load(&std::fs::read(file).expect("a recording"));
    files.iter().map(load).collect()
}

fuzz_target!(|input: &[u8]| {
    let all = RECORDED.get_or_init(recorded);
    let Some((first, choices)) = input.split_first() else {
        return;
    };
    run(&all[usize::from(*first) % all.len()], choices);
});
