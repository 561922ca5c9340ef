//! The `invivo` command: what was typed → the library → what a person or program reads.
//!
//! The only crate that prints and that decides the exit code.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod exit;
mod show;
mod signals;
mod top;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let (mut output, result) = match arguments::Arguments::try_parse() {
        Ok(arguments) => {
            let mut output = show::Output::new(arguments.color, arguments.verbose);
            let result = commands::run(arguments.command, &mut output);
            (output, result)
        }
        // Help and the version are results too.
        Err(answer) => {
            let mut output = show::Output::new(arguments::Color::Auto, false);
            output.answer(&answer);
            let code = u8::try_from(answer.exit_code()).unwrap_or(exit::Status::Usage as u8);
            (output, Ok(code.into()))
        }
    };
    // Whatever a command did with what it printed, here it is looked whether that was written.
    let written = output.ensure_written();
    let mut told = |error: &invivo::Error| {
        output.error(error);
        ExitCode::from(exit::Status::from(error.kind))
    };
    match (result, written) {
        (Ok(code), Ok(())) => code,
        (Ok(_), Err(unwritten)) => told(&unwritten),
        (Err(error), Ok(())) => told(&error),
        (Err(error), Err(unwritten)) => {
            told(&unwritten);
            told(&error)
        }
    }
}
