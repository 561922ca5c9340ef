//! A process that stands still while others look at it, again and again.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use invivo_model::{Error, ErrorKind, Result};

use super::processors::Affinity;
use super::stop::{STUCK, Suspension, collect_ended_threads};
use super::target::{Process, Target};

/// Stops all threads of a process as often as it is asked to, each time for a moment. A thread of
/// ours does it, which is their tracer only while they stand still.
#[derive(Debug)]
pub struct Stopper {
    target: Target,
    tracer: Option<Tracer>,
}

/// A process whose threads all stand still until this is dropped, or we are killed. It can be
/// looked at from any thread of ours, and not written to.
#[derive(Debug)]
pub struct Standstill<'s> {
    release: &'s Sender<()>,
}

/// The thread that stops others, and how it is spoken to.
#[derive(Debug)]
struct Tracer {
    thread: JoinHandle<()>,
    orders: Sender<Order>,
    outcomes: Receiver<Result<()>>,
    release: Sender<()>,
}

/// To stop the others once.
#[derive(Clone, Copy, Debug)]
struct Order {
    /// How long it may take.
    deadline: Duration,
    /// Where to do it; `None` for wherever the thread is.
    processor: Option<u32>,
}

impl Stopper {
    /// What stops this process. Nothing is done yet.
    ///
    /// # Errors
    /// `Refused` where it is our own process.
    pub fn new(target: &Target) -> Result<Self> {
        target.ensure_not_ourselves()?;
        Ok(Self {
            target: Target::of(Arc::clone(&target.process)),
            tracer: None,
        })
    }

    /// Stops all of its threads, as [`Target::while_stopped`] does, until the value is dropped.
    /// That should be soon. Where `processor` is the one that a thread was interrupted on, and ours
    /// may be there, it stops at the very instruction.
    ///
    /// # Errors
    /// As [`Target::while_stopped`].
    pub fn stand_still(
        &mut self,
        deadline: Duration,
        processor: Option<u32>,
    ) -> Result<Standstill<'_>> {
        let order = Order {
            deadline,
            processor,
        };
        let kept = self.tracer.as_ref();
        let outcome = match kept.and_then(|tracer| tracer.stop(order, &self.target.process)) {
            Some(outcome) => outcome,
            None => {
                self.end();
                let tracer = self.tracer.insert(Tracer::start(&self.target)?);
                let outcome = tracer.stop(order, &self.target.process);
                outcome.unwrap_or_else(|| Err(Error::internal(NO_TRACER)))
            }
        };
        if let Err(error) = outcome {
            self.end();
            return Err(error);
        }
        let tracer = self.tracer.as_ref();
        let tracer = tracer.ok_or_else(|| Error::internal(NO_TRACER))?;
        Ok(Standstill {
            release: &tracer.release,
        })
    }

    /// Ends the thread. Whatever it still holds then, the kernel lets go.
    fn end(&mut self) {
        if let Some(tracer) = self.tracer.take() {
            drop((tracer.orders, tracer.release));
            // Where it has panicked, the kernel has let the threads go.
            let _ = tracer.thread.join();
        }
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Standstill<'_> {
    fn drop(&mut self) {
        // Where there is nobody to hear it, the kernel has let the threads go.
        let _ = self.release.send(());
    }
}

const NO_TRACER: &str = "the thread that stops others has ended";

impl Tracer {
    fn start(target: &Target) -> Result<Self> {
        let ours = Target::of(Arc::clone(&target.process));
        let (orders, ordered) = mpsc::channel();
        let (tell, outcomes) = mpsc::channel();
        let (release, released) = mpsc::channel();
        let thread = thread::Builder::new().name("invivo-stop".to_owned());
        let thread = thread.spawn(move || serve(&ours, &ordered, &tell, &released));
        Ok(Self {
            thread: thread.map_err(|error| no_thread(target, &error))?,
            orders,
            outcomes,
            release,
        })
    }

    /// Has it stop the process. `None` where the thread has ended.
    fn stop(&self, order: Order, process: &Process) -> Option<Result<()>> {
        self.orders.send(order).ok()?;
        loop {
            match self.outcomes.recv_timeout(STUCK) {
                Ok(outcome) => return Some(outcome),
                Err(RecvTimeoutError::Timeout) => collect_ended_threads(process),
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

/// What the thread does until nobody wants it any more, or it holds a thread that it can't let go:
/// its end does that.
fn serve(
    target: &Target,
    orders: &Receiver<Order>,
    tell: &Sender<Result<()>>,
    released: &Receiver<()>,
) {
    let mut affinity = Affinity::of_this_thread();
    while let Ok(order) = orders.recv() {
        if let (Some(affinity), Some(processor)) = (&mut affinity, order.processor) {
            // Where it may not be there, it stops them from where it is.
            affinity.pin(processor);
        }
        let suspension = match Suspension::begin(target, order.deadline) {
            Ok(suspension) => suspension,
            Err(error) => {
                // Who asked waits for it.
                let _ = tell.send(Err(error));
                return;
            }
        };
        if tell.send(Ok(())).is_err() || released.recv().is_err() || !suspension.end() {
            return;
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
