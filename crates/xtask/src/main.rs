//! The project's chores: `cargo xtask CHORE`.
#![forbid(unsafe_code)]

mod pythons;
mod run;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask CHORE

  pythons   find or unpack the interpreters that tests and the demo use
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["pythons"] => pythons::report(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
