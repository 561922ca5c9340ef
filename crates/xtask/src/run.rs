//! Starting other programs.

use std::process::{Command, Stdio};

/// A chore's outcome; the error is a text for a person.
pub(crate) type Outcome<T = ()> = Result<T, String>;

/// Puts what was being done in front of an error.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Outcome<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Outcome<T> {
        self.map_err(|e| format!("{}: {e}", what()))
    }
}

/// The cargo that runs this chore, at the top of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(synth::interpreters::workspace());
    command
}

/// Runs a command whose output belongs to the person at the terminal.
pub(crate) fn show(command: &mut Command) -> Outcome {
    let status = command.status().doing(|| shown(command))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{}: {status}", shown(command)))
    }
}

/// Runs a command and returns what it printed; its stderr becomes part of an error only.
pub(crate) fn capture(command: &mut Command) -> Outcome<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .doing(|| shown(command))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{}: {}\n{}",
            shown(command),
            output.status,
            complaint.trim_end()
        ));
    }
    String::from_utf8(output.stdout).doing(|| shown(command))
}

fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(|w| w.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
