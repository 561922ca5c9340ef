//! What can be typed: the one definition from which help, man pages and completions are made.

use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{
    completions, convert, demo, diff, doctor, dump, exec, man, ps, record, tasks, top,
};
use crate::exit;

/// Look into a live Python process, and act on it, from outside.
///
/// Works on any running CPython on this machine that you could debug with GDB: no agent in the
/// program, no restart, no Python of your own. The target runs on unharmed.
#[derive(Debug, Parser)]
#[command(name = "invivo", version, after_help = exit::HELP, max_term_width = 100)]
pub(crate) struct Arguments {
    /// When to use colour. `NO_COLOR` in the environment turns it off too.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        help_heading = "Common options"
    )]
    pub(crate) color: Color,

    /// Say on stderr what is done along the way.
    #[arg(short, long, global = true, help_heading = "Common options")]
    pub(crate) verbose: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Ps(ps::Arguments),
    Doctor(doctor::Arguments),
    Dump(dump::Arguments),
    Tasks(tasks::Arguments),
    Record(record::Arguments),
    Convert(convert::Arguments),
    Diff(diff::Arguments),
    Top(top::Arguments),
    Exec(exec::Arguments),
    Demo(demo::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// A day: longer waits are a mistake, and the arithmetic on deadlines stays far from its limits.
const TIMEOUT_MAX: f64 = 86_400.0;

/// The value of `--timeout`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.001..=TIMEOUT_MAX).contains(&number) {
        return Err(format!("not between 0.001 and {TIMEOUT_MAX} seconds"));
    }
    Ok(Duration::from_secs_f64(number))
}
