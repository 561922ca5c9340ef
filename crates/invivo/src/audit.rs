//! A record of what was run in which process, by whom, and what came of it: a file of JSON lines
//! that is only ever added to.
//!
//! An act is recorded twice: what shall be done before anything is, and, with all of that again,
//! what came of it. An Invivo that is killed in between leaves the first line.
//!
//! ```no_run
//! use invivo::audit::{Course, Log};
//! use invivo::exec::{Code, Request, execute};
//!
//! let log = Log::open("/var/log/invivo.jsonl".as_ref())?;
//! let attached = invivo::attach(4711)?;
//! let request = Request::new(Code::Evaluate { source: "6 * 7".into(), name: "<answer>".into() });
//!
//! let mut act = log.begin(4711, None, Some(&attached.target), &request)?;
//! let (began, mut course) = (std::time::Instant::now(), Course::default());
//! let outcome = execute(&attached.target, &attached.runtime, &request, |event| {
//!     course.note(&event);
//! });
//! act.ran(request.selection, &course, &outcome, began.elapsed());
//! act.end(0, None)?;
//! # Ok::<(), invivo::Error>(())
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use invivo_inject::{
    Asked, Code, Ending, Event, InterpreterChoice, Outcome, Request, Selection, ThreadChoice, Woken,
};
use invivo_model::{Error, ErrorKind, Result};
use invivo_process::access::Users;
use invivo_process::{AppendFile, Target, login_uid, own_uid, random};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// The lines' `schema`; see `docs/audit.md`.
const SCHEMA: u32 = 1;

/// How many bytes of a target's command line are kept.
const COMMAND_MAX: usize = 16 << 10;

/// An audit log.
#[derive(Debug)]
pub struct Log {
    file: AppendFile,
    path: PathBuf,
}

impl Log {
    /// Opens the log at `path`; makes one that only its user may read, where there is none.
    ///
    /// # Errors
    /// `Usage` where it can't be opened for adding to it, or is no regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let path = path.to_owned();
        match AppendFile::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(error) => Err(not_written(
                &path,
                error.to_string(),
                "nothing was run: name a regular file that you may add to, in a directory that is \
                 there",
            )),
        }
    }

    /// Records that `request` is about to be carried out in process `pid`, in the CPython with this
    /// number where one was named.
    ///
    /// # Errors
    /// `Usage` where that can't be written: then nothing is to be run.
    pub fn begin(
        &self,
        pid: u32,
        runtime: Option<u32>,
        target: Option<&Target>,
        request: &Request,
    ) -> Result<Act<'_>> {
        let users = Users::load();
        let id = random::<16>()?;
        let about = About {
            id: hexadecimal(&id),
            by: By::caller(&users),
            target: target.map_or_else(|| Whom::unknown(pid), |target| Whom::of(target, &users)),
            script: Script::of(&request.code),
            selection: InWords::of(runtime, request.selection),
        };
        let line = Line::new("begin", &about, None);
        self.write(&line, "nothing was run: make room, or name another file")?;
        Ok(Act {
            log: self,
            about,
            began: Instant::now(),
            runs: Vec::new(),
        })
    }

    fn write(&self, line: &Line<'_>, remedy: &str) -> Result<()> {
        let text = serde_json::to_string(line)
            .map_err(|error| Error::internal(format!("a record could not be written: {error}")))?;
        let record = format!("{}\n", plain(&text));
        let written = self.file.append(record.as_bytes());
        written.map_err(|error| not_written(&self.path, error.to_string(), remedy))
    }
}

/// An act of which the log has the beginning.
#[derive(Debug)]
#[must_use = "without its end the log says that it was cut short"]
pub struct Act<'a> {
    log: &'a Log,
    about: About,
    began: Instant,
    runs: Vec<Run>,
}

impl Act<'_> {
    /// Notes what came of it in a thread: the one that `selection` was to mean, by what was seen on
    /// the way.
    pub fn ran(
        &mut self,
        selection: Selection,
        course: &Course,
        outcome: &Result<Outcome>,
        took: Duration,
    ) {
        let word = match outcome {
            Ok(Outcome::Queued { .. }) => "queued",
            Ok(Outcome::Finished { ending, .. }) => match ending {
                Ending::Returned(_) => "done",
                Ending::Exited(_) => "exited",
                Ending::Raised(_) => "raised",
            },
            Err(_) => "failed",
        };
        let interpreter = match selection.interpreter {
            InterpreterChoice::Id(id) => Some(id),
            InterpreterChoice::All => None,
        };
        let thread = match selection.thread {
            ThreadChoice::Tid(tid) => Some(tid),
            ThreadChoice::Main | ThreadChoice::Any | ThreadChoice::All => None,
        };
        let (chosen, asked) = (course.chosen.unzip(), course.asked);
        self.runs.push(Run {
            interpreter: chosen.0.or(interpreter),
            thread: chosen.1.or(thread),
            method: asked.map(|asked| asked.method.name()),
            woken: asked.and_then(|asked| asked.woken).map(Woken::name),
            outcome: word,
            error: outcome.as_ref().err().map(Failure::of),
            milliseconds: milliseconds(took),
        });
    }

    /// Records its end: the exit code of the command, and what kept it from being tried at all.
    ///
    /// # Errors
    /// `Usage` where that can't be written. What was run was run all the same.
    pub fn end(self, exit_code: u8, error: Option<&Error>) -> Result<()> {
        let end = End {
            runs: &self.runs,
            error: error.map(Failure::of),
            exit_code,
            milliseconds: milliseconds(self.began.elapsed()),
        };
        let line = Line::new("end", &self.about, Some(end));
        self.log.write(
            &line,
            "the script was run, or tried, all the same; the log has only its beginning: make room \
             for more",
        )
    }
}

/// What was seen of a run on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Course {
    /// The interpreter and the thread.
    chosen: Option<(i64, u32)>,
    asked: Option<Asked>,
}

impl Course {
    /// Takes note of what happens.
    pub fn note(&mut self, event: &Event<'_>) {
        match event {
            Event::Plan(plan) => self.chosen = Some((plan.interpreter, plan.tid)),
            Event::Asked(asked) | Event::Woken(asked) => self.asked = Some(*asked),
            _ => {}
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    event: &'static str,
    when: String,
    invivo: &'static str,
    #[serde(flatten)]
    about: &'a About,
    #[serde(flatten)]
    end: Option<End<'a>>,
}

impl<'a> Line<'a> {
    fn new(event: &'static str, about: &'a About, end: Option<End<'a>>) -> Self {
        Self {
            schema: SCHEMA,
            event,
            when: timestamp(SystemTime::now()),
            invivo: env!("CARGO_PKG_VERSION"),
            about,
            end,
        }
    }
}

/// What both lines of an act say.
#[derive(Debug, Serialize)]
struct About {
    id: String,
    by: By,
    target: Whom,
    script: Script,
    selection: InWords,
}

#[derive(Debug, Serialize)]
struct By {
    pid: u32,
    uid: u32,
    user: Option<String>,
    login_uid: Option<u32>,
    login_user: Option<String>,
}

impl By {
    fn caller(users: &Users) -> Self {
        let name = |uid| users.name(uid).map(str::to_owned);
        let (uid, login_uid) = (own_uid(), login_uid());
        Self {
            pid: std::process::id(),
            uid,
            user: name(uid),
            login_uid,
            login_user: login_uid.and_then(name),
        }
    }
}

#[derive(Debug, Serialize)]
struct Whom {
    pid: u32,
    start_ticks: Option<u64>,
    started: Option<String>,
    uid: Option<u32>,
    user: Option<String>,
    exe: Option<String>,
    command: Option<Vec<String>>,
    command_truncated: bool,
}

impl Whom {
    fn unknown(pid: u32) -> Self {
        Self {
            pid,
            start_ticks: None,
            started: None,
            uid: None,
            user: None,
            exe: None,
            command: None,
            command_truncated: false,
        }
    }

    fn of(target: &Target, users: &Users) -> Self {
        let uid = target.status().ok().and_then(|status| status.uid);
        let uid = uid.map(|[real, ..]| real);
        let mut words = target.command_line().ok();
        let mut command_truncated = false;
        if let Some(words) = &mut words {
            command_truncated = words
                .pop_if(|last| last == Target::COMMAND_GOES_ON)
                .is_some();
            let mut room = COMMAND_MAX;
            let fitting = words.iter().take_while(|word| {
                let rest = room.checked_sub(word.len() + 1);
                room = rest.unwrap_or(0);
                rest.is_some()
            });
            let fitting = fitting.count();
            command_truncated |= fitting < words.len();
            words.truncate(fitting);
        }
        let text = |word: &std::ffi::OsString| word.to_string_lossy().into_owned();
        Self {
            pid: target.pid(),
            start_ticks: Some(target.start_time()),
            started: target.started().map(timestamp),
            uid,
            user: uid.and_then(|uid| users.name(uid).map(str::to_owned)),
            exe: target
                .executable()
                .ok()
                .map(|path| path.to_string_lossy().into_owned()),
            command: words.map(|words| words.iter().map(text).collect()),
            command_truncated,
        }
    }
}

#[derive(Debug, Serialize)]
struct Script {
    sha256: String,
    bytes: usize,
    name: String,
    expression: bool,
}

impl Script {
    fn of(code: &Code) -> Self {
        let (source, name, expression) = match code {
            Code::Execute { source, name } => (source, name, false),
            Code::Evaluate { source, name } => (source, name, true),
        };
        Self {
            sha256: hexadecimal(&Sha256::digest(source)),
            bytes: source.len(),
            name: name.clone(),
            expression,
        }
    }
}

/// What was asked for, in the words of the command line.
#[derive(Debug, Serialize)]
struct InWords {
    runtime: Option<u32>,
    interpreter: String,
    thread: String,
}

impl InWords {
    fn of(runtime: Option<u32>, selection: Selection) -> Self {
        Self {
            runtime,
            interpreter: match selection.interpreter {
                InterpreterChoice::Id(id) => id.to_string(),
                InterpreterChoice::All => "all".to_owned(),
            },
            thread: match selection.thread {
                ThreadChoice::Main => "main".to_owned(),
                ThreadChoice::Tid(tid) => tid.to_string(),
                ThreadChoice::Any => "any".to_owned(),
                ThreadChoice::All => "all".to_owned(),
            },
        }
    }
}

#[derive(Debug, Serialize)]
struct Run {
    interpreter: Option<i64>,
    thread: Option<u32>,
    method: Option<&'static str>,
    woken: Option<&'static str>,
    outcome: &'static str,
    error: Option<Failure>,
    milliseconds: f64,
}

#[derive(Debug, Serialize)]
struct Failure {
    kind: String,
    what: String,
    why: String,
}

impl Failure {
    fn of(error: &Error) -> Self {
        Self {
            kind: format!("{:?}", error.kind),
            what: error.what.clone(),
            why: error.why.clone(),
        }
    }
}

#[derive(Serialize)]
struct End<'a> {
    runs: &'a [Run],
    error: Option<Failure>,
    exit_code: u8,
    milliseconds: f64,
}

fn not_written(path: &Path, why: String, remedy: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("the audit log {} can't be written", path.display()),
        why,
        remedy,
    )
}

fn milliseconds(took: Duration) -> f64 {
    (took.as_secs_f64() * 1e6).round() / 1e3
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a text can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The same JSON in nothing but printable ASCII: whoever looks at the log with a pager or `tail`
/// gets no more than its letters.
fn plain(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for character in json.chars() {
        if matches!(character, ' '..='~') {
            text.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(text, "\\u{unit:04x}");
            }
        }
    }
    text
}

/// A moment as RFC 3339 has it, in UTC, with milliseconds.
fn timestamp(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_millis()
    )
}

/// The date of a day, counted from 1 January 1970. Years are counted from March on, so that a leap
/// day is a year's last one.
fn date(days: u64) -> (u64, u64, u64) {
    /// Days in 400 years, which is when the calendar repeats itself.
    const ERA: u64 = 146_097;
    // From 1 March 0000 on.
    let days = days + 719_468;
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
