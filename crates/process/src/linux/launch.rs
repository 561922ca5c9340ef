//! Starting a command to look at.

use std::ffi::OsString;
use std::io::{PipeReader, pipe};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use invivo_model::{Error, ErrorKind, Result};

use super::Target;

/// What a shell adds to the number of the signal that ended a command, and so do we.
const SIGNALLED: i32 = 128;

/// A command that we have started. It is of our process group: what a terminal sends to us (Ctrl-C),
/// it gets as well.
///
/// Dropping it leaves the command alone.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    /// `None` where it had ended before it could be looked at.
    target: Option<Target>,
}

impl Launched {
    /// Starts `command` with `arguments`, with our standard input, output and error. When this
    /// returns, it runs its program.
    ///
    /// # Errors
    /// `Usage` where there is no such program or it can't be run.
    pub fn start(command: &OsString, arguments: &[OsString]) -> Result<Self> {
        let child = Command::new(command).args(arguments).spawn();
        Self::of(child.map_err(|error| not_started(command, &error))?)
    }

    /// The same with nothing to read, and what it prints, to its error too, for us to read: where
    /// the terminal is taken.
    ///
    /// # Errors
    /// As [`Launched::start`].
    pub fn start_apart(command: &OsString, arguments: &[OsString]) -> Result<(Self, PipeReader)> {
        let apart = || {
            let (reader, writer) = pipe()?;
            let child = Command::new(command)
                .args(arguments)
                .stdin(Stdio::null())
                .stdout(writer.try_clone()?)
                .stderr(writer)
                .spawn()?;
            Ok((child, reader))
        };
        let (child, reader) = apart().map_err(|error| not_started(command, &error))?;
        Ok((Self::of(child)?, reader))
    }

    fn of(mut child: Child) -> Result<Self> {
        // Its number is its own until we collect its end.
        match Target::open(child.id()) {
            Ok(target) => Ok(Self {
                child,
                target: Some(target),
            }),
            Err(error) if error.kind == ErrorKind::NoSuchProcess => Ok(Self {
                child,
                target: None,
            }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    /// The number of the process that runs it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal, if it still runs.
    ///
    /// # Errors
    /// As [`Target::signal`].
    pub fn signal(&self, number: i32) -> Result<()> {
        match &self.target {
            Some(target) => target.signal(number),
            None => Err(Error::gone(self.pid())),
        }
    }

    /// Its exit code once it has ended, that of a shell: 128 and the signal's number where one has
    /// ended it. `None` while it runs.
    ///
    /// # Errors
    /// `Internal` where the kernel does not say.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        let status = self.child.try_wait();
        Ok(status.map_err(uncollected)?.map(code))
    }

    /// Waits for its end; gives its exit code as [`Launched::exit_code`] does.
    ///
    /// # Errors
    /// `Internal` where the kernel does not say.
    pub fn wait(mut self) -> Result<i32> {
        self.child.wait().map(code).map_err(uncollected)
    }
}

fn not_started(command: &OsString, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("{} can't be started", command.to_string_lossy()),
        error.to_string(),
        "give a program that the shell finds too, and its arguments behind it",
    )
}

fn code(status: ExitStatus) -> i32 {
    let signal = status
        .signal()
        .map_or(SIGNALLED, |signal| SIGNALLED + signal);
    status.code().unwrap_or(signal)
}

fn uncollected(error: std::io::Error) -> Error {
    Error::internal(format!(
        "the end of the command can't be collected: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn shell(text: &str) -> Launched {
        let arguments = ["-c".into(), text.into()];
        Launched::start(&"sh".into(), &arguments).expect("a shell")
    }

    #[test]
    fn exit_codes_are_passed_on() {
        assert_eq!(shell("exit 0").wait(), Ok(0));
        assert_eq!(shell("exit 37").wait(), Ok(37));
        assert_eq!(shell("kill -TERM $$").wait(), Ok(128 + 15));
    }

    #[test]
    fn a_signal_reaches_the_command() {
        let mut launched = shell("while :; do sleep 1; done");
        assert_eq!(launched.exit_code(), Ok(None));
        let error = launched.signal(0).expect_err("there is no signal 0");
        assert_eq!(error.kind, ErrorKind::Refused);
        launched.signal(15).expect("it is ours");
        let code = loop {
            if let Some(code) = launched.exit_code().expect("our child") {
                break code;
            }
            std::thread::yield_now();
        };
        assert_eq!(code, 128 + 15);
        let error = launched.signal(15).expect_err("it has ended");
        assert_eq!(error.kind, ErrorKind::Gone);
    }

    #[test]
    fn what_a_command_prints_can_be_kept_from_our_terminal() {
        let arguments = ["-c".into(), "cat; echo out; echo error >&2".into()];
        let (launched, mut output) = Launched::start_apart(&"sh".into(), &arguments).unwrap();
        assert_eq!(launched.wait(), Ok(0));
        let mut text = String::new();
        output.read_to_string(&mut text).expect("what it printed");
        assert_eq!(text, "out\nerror\n");
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let error = Launched::start(&"/no/such/program".into(), &[]).expect_err("there is none");
        assert_eq!(error.kind, ErrorKind::Usage);
    }
}
