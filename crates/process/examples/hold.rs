//! Stops a process, and lets it go when the standard input ends.
//!
//!     cargo run -p invivo-process --example hold -- PID
//!
//! With `--again` it stops it and lets it go over and over instead.

use std::io::{Read, Write};
use std::process::ExitCode;
use std::time::Duration;

use invivo_process::Target;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.as_slice() {
        [pid] => hold(pid),
        [again, pid] if again == "--again" => hold_again_and_again(pid),
        _ => Err("usage: hold [--again] PID".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn hold(pid: &str) -> Result<(), Box<dyn std::error::Error>> {
    let target = Target::open(pid.parse()?)?;
    target.while_stopped(Duration::from_secs(5), |suspension| {
        println!("holding {} threads", suspension.tids().len());
        std::io::stdin().read_to_end(&mut Vec::new())
    })??;
    Ok(())
}

fn hold_again_and_again(pid: &str) -> Result<(), Box<dyn std::error::Error>> {
    let target = Target::open(pid.parse()?)?;
    println!("holding again and again");
    std::io::stdout().flush()?;
    loop {
        target.while_stopped(Duration::from_secs(5), |_| ())?;
    }
}
