use std::process::ExitCode;
use std::time::Duration;

use invivo::profile::{self, About, ProcessorTime, Recorder, Session, Turn};
use invivo::{Error, ErrorKind, Halt};
use serde_json::{Value, json};

use super::Arguments;
use crate::commands::doctor::error_json;
use crate::commands::profiles::{Kind, Written, size};
use crate::exit::Status;
use crate::show::{Output, grouped, halt_json};

/// Why a recording came to its end.
#[derive(Debug)]
pub(super) enum Ending {
    /// What was sampled has ended.
    Target,
    Duration,
    Signal,
    Failed(Error),
}

/// What is told of a recording.
pub(super) struct Report<'a> {
    arguments: &'a Arguments,
    pid: u32,
    pub(super) about: About,
    samples: u64,
    threads: u64,
    processes: u64,
    accounted: Option<ProcessorTime>,
    ending: &'static str,
    failure: Option<Error>,
    pub(super) written: Vec<Written>,
    /// The exit code of the command.
    pub(super) code: Option<i32>,
    /// What stopped the process, where it stood still at the end.
    pub(super) halt: Option<Halt>,
    turns: Vec<Turn>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        arguments: &'a Arguments,
        pid: u32,
        recorder: &Recorder,
        about: About,
        ending: Ending,
    ) -> Self {
        let (ending, failure) = match ending {
            Ending::Target => ("target", None),
            Ending::Duration => ("duration", None),
            Ending::Signal => ("signal", None),
            Ending::Failed(error) => ("error", Some(error)),
        };
        Self {
            arguments,
            pid,
            about,
            samples: recorder.samples(),
            threads: recorder.threads(),
            processes: recorder.processes(),
            accounted: recorder.accounted(),
            ending,
            failure,
            written: Vec::new(),
            code: None,
            halt: None,
            turns: recorder.turns().to_vec(),
        }
    }

    /// Why there is nothing to write, where there isn't.
    pub(super) fn nothing(&self) -> Option<Error> {
        let children = self.arguments.subprocesses.is_some();
        if self.processes > 0 {
            let gone = self.samples == 0 && self.about.ticks <= 1 && self.ending == "target";
            return gone.then(|| Error::gone(self.pid));
        }
        if let Some(failure) = &self.failure {
            return Some(failure.clone());
        }
        let why = if children {
            format!(
                "neither process {} nor any that it started was a Python that could be read while it lived",
                self.pid
            )
        } else {
            format!(
                "process {} was no Python that could be read while it lived",
                self.pid
            )
        };
        let remedy = if children {
            "look at what there is with: invivo ps"
        } else {
            "where it starts a Python, follow that with --subprocesses"
        };
        Some(Error::new(
            ErrorKind::NotPython,
            "nothing was recorded",
            why,
            remedy,
        ))
    }

    pub(super) fn fails(&mut self, error: Error) {
        self.failure = Some(error);
    }

    /// Ticks a second that took place.
    fn rate(&self) -> f64 {
        rate(&self.about)
    }

    pub(super) fn show(&self, kind: Kind, output: &mut Output) {
        if !self.written.is_empty() {
            let lines = summary(&self.about, self.samples, self.threads, self.processes);
            lines.iter().for_each(|line| output.note(line));
            if let Some(time) = self.accounted {
                output.note(&accounted(time));
            }
            let options = self.arguments.sampling.plan().options;
            if options.asks_for_activity() && !profile::is_processor_time_accounted() {
                output.note(UNACCOUNTED);
            }
            if self.samples == 0 {
                output.note("no thread counted at any tick: --mode and --no-idle say which do");
            }
        }
        match &self.written[..] {
            [] => {}
            [only] => only.tell(kind, output),
            [first, ..] => {
                let bytes = self.written.iter().map(|written| written.bytes).sum();
                let file = first.file.as_ref().map(|file| file.display().to_string());
                let file = file.unwrap_or_default();
                output.note(&format!(
                    "wrote {} files ({}), the first of them {file}",
                    self.written.len(),
                    size(bytes),
                ));
            }
        }
        if let Some(error) = &self.failure {
            output.error(error);
        }
    }

    pub(super) fn json(&self, kind: Kind) -> Value {
        let files = self.written.iter().map(|written| {
            json!({
                "path": written.file.as_ref().map(|file| file.to_string_lossy()),
                "bytes": written.bytes,
            })
        });
        let about = &self.about;
        let in_seconds = |nanoseconds: u64| Duration::from_nanos(nanoseconds).as_secs_f64();
        json!({
            "schema": 1,
            "pid": self.pid,
            "format": kind.name(),
            "files": files.collect::<Vec<_>>(),
            "ended_by": self.ending,
            "duration": in_seconds(about.duration),
            "rate_asked": 1e9 / about.interval.max(1) as f64,
            "rate": self.rate(),
            "ticks": about.ticks,
            "missed": about.missed,
            "samples": self.samples,
            "torn": about.torn,
            "threads": self.threads,
            "processes": self.processes,
            "own_cpu_time": in_seconds(about.own_time),
            "looks": {
                "own_processor": about.looks.own_processor,
                "elsewhere": about.looks.elsewhere,
                "stopped": about.looks.stopped,
            },
            "cpu_time": self.accounted.map(|time| in_seconds(time.on)),
            "cpu_wait_time": self.accounted.map(|time| in_seconds(time.waiting)),
            "stopped": halt_json(self.halt),
            "turns": self.turns.iter().map(turn_json).collect::<Vec<_>>(),
            "exit_code": self.code,
            "error": self.failure.as_ref().map(error_json),
        })
    }

    /// The command's own, unless something failed that it did not.
    pub(super) fn exit_code(&self) -> ExitCode {
        let code = self.code.unwrap_or(0);
        match &self.failure {
            Some(error) if code == 0 || error.kind != ErrorKind::NotPython => {
                Status::from(error.kind).into()
            }
            _ => u8::try_from(code).unwrap_or(u8::MAX).into(),
        }
    }
}

/// What is said where the kernel keeps no accounts.
pub(crate) const UNACCOUNTED: &str = "this kernel does not account processor time to threads (no \
    schedstat): one that is runnable counts as on CPU, also while others keep it from a processor";

/// What the kernel accounted, in a line.
fn accounted(time: ProcessorTime) -> String {
    format!(
        "its threads were on CPU for {}, and waited {} for a processor",
        seconds(time.on),
        seconds(time.waiting)
    )
}

fn turn_json(turn: &Turn) -> Value {
    match turn {
        Turn::Exec { pid, command } => json!({"pid": pid, "event": "exec", "command": command}),
        Turn::End { pid } => json!({"pid": pid, "event": "end"}),
    }
}

/// What was seen, and what it took: a line each.
pub(crate) fn summary(about: &About, samples: u64, threads: u64, processes: u64) -> Vec<String> {
    let mut seen = counted(samples, "sample");
    if processes > 1 {
        seen += &format!(" of {}", counted(processes, "process"));
    } else if threads > 1 {
        seen += &format!(" of {}", counted(threads, "thread"));
    }
    seen += &format!(" in {}, {}", seconds(about.duration), hertz(about));
    let took = format!(
        "{} missed, {} torn, {} of CPU for sampling",
        counted(about.missed, "tick"),
        counted(about.torn, "stack"),
        seconds(about.own_time)
    );
    [seen, took]
        .into_iter()
        .chain(profile::looks(about))
        .collect()
}

/// How it goes, in a line.
pub(super) fn progress(session: &Session<Recorder>, by_hand: bool) -> String {
    let about = session.about();
    let samples = session.sink().samples();
    let mut text = format!(
        "{}: {}, {}, {} missed, {} torn",
        seconds(about.duration),
        counted(samples, "sample"),
        hertz(about),
        grouped(about.missed),
        grouped(about.torn),
    );
    if session.sink().processes() == 0 {
        text += ", no Python yet";
    }
    if by_hand {
        text += "; Ctrl-C ends it";
    }
    text
}

fn rate(about: &About) -> f64 {
    about.ticks as f64 * 1e9 / about.duration.max(1) as f64
}

/// The rate that was reached, with the one that was asked for where it was missed.
fn hertz(about: &About) -> String {
    let number = |rate: f64| match rate {
        100.0.. => grouped(rate.round() as u64),
        _ => format!("{rate:.1}"),
    };
    let (asked, reached) = (1e9 / about.interval.max(1) as f64, rate(about));
    if about.missed * 100 <= about.ticks {
        format!("{} Hz", number(reached))
    } else {
        format!("{} of {} Hz", number(reached), number(asked))
    }
}

/// `1 sample`, `1,200 samples`, `no sample`.
fn counted(number: u64, what: &str) -> String {
    let plural = match (number, what.ends_with('s')) {
        (0 | 1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    match number {
        0 => format!("no {what}"),
        _ => format!("{} {what}{plural}", grouped(number)),
    }
}

fn seconds(nanoseconds: u64) -> String {
    let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
    match seconds {
        10.0.. => format!("{seconds:.1} s"),
        _ => format!("{seconds:.2} s"),
    }
}
