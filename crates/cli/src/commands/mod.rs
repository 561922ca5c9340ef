//! A file for each command.

pub(crate) mod completions;
pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod exec;
pub(crate) mod man;
mod profiles;
pub(crate) mod ps;
pub(crate) mod record;
mod sampling;
pub(crate) mod tasks;
pub(crate) mod top;

use std::process::ExitCode;

use invivo::Result;

pub(crate) use sampling::HaltWatch;

use crate::arguments::Command;
use crate::show::Output;

/// Runs `command`. An error is printed by the caller, in one form for all.
pub(crate) fn run(command: Command, output: &mut Output) -> Result<ExitCode> {
    let status = match command {
        Command::Ps(arguments) => ps::run(&arguments, output),
        Command::Doctor(arguments) => doctor::run(&arguments, output),
        Command::Dump(arguments) => dump::run(&arguments, output),
        Command::Tasks(arguments) => tasks::run(&arguments, output),
        Command::Exec(arguments) => exec::run(arguments, output),
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Completions(arguments) => completions::run(&arguments, output),
        Command::Convert(arguments) => convert::run(&arguments, output),
        Command::Diff(arguments) => diff::run(&arguments, output),
        Command::Man(arguments) => man::run(&arguments, output),
        // It passes on the code of a command.
        Command::Record(arguments) => return record::run(&arguments, output),
        Command::Top(arguments) => return top::run(&arguments, output),
    };
    status.map(ExitCode::from)
}
