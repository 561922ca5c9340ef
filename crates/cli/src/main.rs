//! The `invivo` command: what was typed → the library → what a person or program reads.
//!
//! The only crate that prints and that decides the exit code.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod exit;
mod show;
mod top;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    let mut output = show::Output::new(arguments.color, arguments.verbose);
    match commands::run(arguments.command, &mut output) {
        Ok(code) => code,
        Err(error) => {
            output.error(&error);
            exit::Status::from(error.kind).into()
        }
    }
}
