//! A process that stands still while others look at it.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use invivo_model::{Error, ErrorKind, Result};

use super::stop::{STUCK, Suspension, collect_ended_threads};
use super::target::Target;

/// A process whose threads all stand still until this is dropped, or we are killed. It can be
/// looked at from any thread of ours, and not written to.
#[derive(Debug)]
pub struct Standstill {
    release: Option<Sender<()>>,
    tracer: Option<JoinHandle<()>>,
}

impl Target {
    /// Stops all of its threads, as [`Target::while_stopped`] does, until the value is dropped.
    /// That should be soon.
    ///
    /// # Errors
    /// As [`Target::while_stopped`].
    pub fn stand_still(&self, deadline: Duration) -> Result<Standstill> {
        self.ensure_not_ourselves()?;
        let target = self.another();
        let (tell, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let tracer = thread::Builder::new().name("invivo-stop".to_owned());
        let tracer = tracer.spawn(move || {
            let suspension = match Suspension::begin(&target, deadline) {
                Ok(suspension) => suspension,
                Err(error) => {
                    // Who asked waits for it.
                    let _ = tell.send(Err(error));
                    return;
                }
            };
            if tell.send(Ok(())).is_ok() {
                // It ends with an error, when the other end is dropped.
                let _ = released.recv();
            }
            drop(suspension);
        });
        let still = Standstill {
            release: Some(release),
            tracer: Some(tracer.map_err(|error| no_thread(self, &error))?),
        };
        loop {
            match begun.recv_timeout(STUCK) {
                Ok(outcome) => return outcome.map(|()| still),
                Err(RecvTimeoutError::Timeout) => collect_ended_threads(&self.process),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::internal("the thread that stops others has ended"));
                }
            }
        }
    }

    fn another(&self) -> Self {
        Self::of(Arc::clone(&self.process))
    }
}

impl Drop for Standstill {
    fn drop(&mut self) {
        self.release = None;
        if let Some(tracer) = self.tracer.take() {
            // Where it has panicked, the kernel has let the threads go.
            let _ = tracer.join();
        }
    }
}

/// There is no thread to stop the others from.
pub(super) fn no_thread(target: &Target, error: &std::io::Error) -> Error {
    Error::new(
        ErrorKind::Refused,
        format!("process {} can't be stopped", target.pid()),
        format!("no thread could be started for it: {error}"),
        "free some memory or raise the limit of processes",
    )
}
