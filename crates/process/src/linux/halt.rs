//! Whether a process stands still, and who stopped it.

use std::fmt;

use super::stop::process_of_thread;
use super::{Target, proc};

/// By what all threads of a process were stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// A signal, by its number; `None` where the kernel does not tell us which.
    Signal(Option<i32>),
    /// The process that traces it, by its number.
    Tracer(u32),
}

impl Halt {
    /// What lets process `pid` go on.
    pub fn remedy(self, pid: u32) -> String {
        match self {
            Self::Signal(_) => format!("kill -CONT {pid} lets it go on"),
            Self::Tracer(tracer) => format!(
                "it goes on when process {tracer} lets it, or ends (a debugger, or strace?)"
            ),
        }
    }

    /// The signal's name, where a signal that is known stopped it.
    pub fn signal_name(self) -> Option<String> {
        let Self::Signal(Some(number)) = self else {
            return None;
        };
        Some(match number {
            libc::SIGSTOP => "SIGSTOP".to_owned(),
            libc::SIGTSTP => "SIGTSTP".to_owned(),
            libc::SIGTTIN => "SIGTTIN".to_owned(),
            libc::SIGTTOU => "SIGTTOU".to_owned(),
            number => format!("signal {number}"),
        })
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.signal_name()) {
            (Self::Tracer(tracer), _) => write!(f, "stopped by its tracer, process {tracer}"),
            (_, Some(name)) => write!(f, "stopped by {name}"),
            (_, None) => f.write_str("stopped by a signal"),
        }
    }
}

impl Target {
    /// By what it was stopped; `None` where it was not, or where that can't be read. While we stop
    /// it ourselves, that is our doing.
    pub fn halt(&self) -> Option<Halt> {
        let tid = self.process.living_thread()?;
        match self.process.thread_stat(tid).ok()?.state {
            'T' => {
                // Of the process alone the kernel says it, and not of its threads.
                let stat = self.process.stat().ok();
                let signal = stat.and_then(|stat| proc::parse_exit_code(&stat));
                Some(Halt::Signal(signal.filter(|number| *number != 0)))
            }
            't' => {
                let status = self.process.read_of_thread(tid, "status").ok()?;
                let tracer = proc::parse_status(&status).tracer;
                Some(Halt::Tracer(process_of_thread(
                    tracer.filter(|tracer| *tracer != 0)?,
                )))
            }
            _ => None,
        }
    }
}
