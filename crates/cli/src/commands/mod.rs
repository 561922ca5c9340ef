//! A file for each command.

pub(crate) mod completions;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod dump;
pub(crate) mod exec;
pub(crate) mod man;
pub(crate) mod ps;
pub(crate) mod tasks;

use invivo::Result;

use crate::arguments::Command;
use crate::exit::Status;
use crate::show::Output;

/// Runs `command`. An error is printed by the caller, in one form for all.
pub(crate) fn run(command: Command, output: &mut Output) -> Result<Status> {
    match command {
        Command::Ps(arguments) => ps::run(&arguments, output),
        Command::Doctor(arguments) => doctor::run(&arguments, output),
        Command::Dump(arguments) => dump::run(&arguments, output),
        Command::Tasks(arguments) => tasks::run(&arguments, output),
        Command::Exec(arguments) => exec::run(arguments, output),
        Command::Demo(arguments) => demo::run(&arguments, output),
        Command::Completions(arguments) => completions::run(&arguments, output),
        Command::Man(arguments) => man::run(&arguments, output),
    }
}
