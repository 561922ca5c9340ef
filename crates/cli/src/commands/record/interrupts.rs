use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use invivo::Result;
use invivo::profile::Launched;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Status;
use crate::signals::{catch, stays_ignored};

/// A signal that asks us to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    Terminate,
    /// The terminal has gone.
    HangUp,
}

impl Signal {
    /// Passes it on to a command that has not got it by itself.
    pub(crate) fn pass_on(self, command: &Launched) {
        let number = match self {
            // The terminal sends it to all that run in it.
            Self::Interrupt => return,
            Self::Terminate => SIGTERM,
            Self::HangUp => SIGHUP,
        };
        // One that has ended needs it no more.
        let _ = command.signal(number);
    }
}

/// The signals that have come.
#[derive(Debug)]
pub(crate) struct Interrupts {
    flags: Vec<(Signal, Arc<AtomicBool>)>,
    at_once: Arc<AtomicBool>,
}

impl Interrupts {
    /// From now on they don't end us, but for those that stay ignored.
    pub(crate) fn catch() -> Result<Self> {
        let wanted = [
            (Signal::Interrupt, SIGINT),
            (Signal::Terminate, SIGTERM),
            (Signal::HangUp, SIGHUP),
        ];
        catch(|| {
            let at_once = Arc::new(AtomicBool::new(false));
            let mut flags = Vec::new();
            for (signal, number) in wanted {
                if stays_ignored(number) {
                    continue;
                }
                let flag = Arc::new(AtomicBool::new(false));
                let code = Status::Interrupted as i32;
                flag::register_conditional_shutdown(number, code, Arc::clone(&at_once))?;
                flag::register(number, Arc::clone(&flag))?;
                flags.push((signal, flag));
            }
            Ok(Self { flags, at_once })
        })
    }

    /// One that has come since this was last asked.
    pub(crate) fn take(&self) -> Option<Signal> {
        let come = |(_, flag): &&(Signal, Arc<AtomicBool>)| {
            flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Relaxed)
        };
        self.flags.iter().find(come).map(|(signal, _)| *signal)
    }

    /// Whether the next one ends us at once.
    pub(crate) fn may_end_us(&self, at_once: bool) {
        self.at_once.store(at_once, Ordering::Relaxed);
    }
}
