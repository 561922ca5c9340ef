//! `record DIRECTORY FIRST LAST`: looks at a process of each interpreter from 3.FIRST to 3.LAST, and
//! keeps what that reads in a file each.

#[path = "../../crates/cpython/tests/support/fuzzing.rs"]
mod fuzzing;

use std::path::Path;

use fuzzing::Recorded;
use invivo_process::Target;
use synth::interpreters;
use synth::scenarios::SAMPLER;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, first, last] = arguments.as_slice() else {
        panic!("record DIRECTORY FIRST LAST");
    };
    let minor = |text: &String| text.parse::<u32>().expect("a minor version");
    let wanted = minor(first)..=minor(last);
    std::fs::create_dir_all(directory).expect("making the directory");
    for interpreter in interpreters()
        .iter()
        .filter(|i| wanted.contains(&i.minor()))
    {
        let (_process, told) = SAMPLER.start(interpreter);
        let recorded = Recorded::of(&Target::open(told.pid).expect("the target"));
        let file = Path::new(directory).join(format!("{}.recorded", interpreter.name));
        std::fs::write(&file, recorded.save()).expect("writing the recording");
    }
}
