//! A look at a process in a file: the memory it read and what else is needed to look again,
//! elsewhere, without the process.
//!
//! The file is a line with its name and form, a line of JSON, and a memory image
//! ([`invivo_process::Image`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use invivo_cpython::{Location, ValueLimits};
use invivo_model::{Address, Build, Error, ErrorKind, ReleaseLevel, Result, Version};
use invivo_process::{Halt, Image, Stacks, ThreadStack};
use serde::{Deserialize, Serialize};

mod few;

use crate::beside::ReadFrom;
use crate::dump::{Dump, DumpOptions, Subject, look};
use crate::os::{OsThread, OsView};
use crate::runtimes::RuntimeName;
use crate::sources::Sources;
use few::Few;

/// The first line.
const FIRST_LINE: &[u8] = b"invivo dump 1\n";
/// How long the second line may be: as many lines of source text as are kept, each as long as one
/// may be, and the rest.
const HEADER_MAX: usize = 24 << 20;
/// How many lines of source text are kept.
const LINES_MAX: usize = 10_000;

/// Lines of source text by file and number.
type Lines = BTreeMap<String, BTreeMap<u32, String>>;

/// Words of a command, further CPythons, threads and words of memory that changed: many times what
/// any process has. Each of them takes more bytes here than in a file.
const WORDS_MAX: usize = 8 << 10;
const RUNTIMES_MAX: usize = 1 << 10;
const THREADS_MAX: usize = 1 << 16;
const RANGES_MAX: usize = 64;
const CHANGED_MAX: usize = 1 << 18;

/// What a look at a process read, to be kept in a file.
#[derive(Clone, Debug)]
pub struct Recording {
    header: Header,
    image: Image,
}

impl Recording {
    pub(crate) fn new(
        dump: &Dump,
        location: &Location,
        options: &DumpOptions,
        image: Image,
        sources: &mut Sources<'_>,
    ) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let header = Header {
            time: since.map_or(0, |since| since.as_secs()),
            pid: dump.subject.pid,
            command: Few(dump.subject.command.clone()),
            executable: dump.subject.executable.clone(),
            halt: dump.subject.halt.map(SavedHalt::from),
            runtime: location.address.0,
            runtimes: dump
                .subject
                .runtimes
                .as_ref()
                .map(|all| Few(all.iter().map(SavedRuntime::from).collect())),
            version: location.version.map(SavedVersion::from),
            debug: location.build.debug,
            free_threaded: location.build.free_threaded,
            module: String::from_utf8_lossy(&location.module).into_owned(),
            found_by: location.method.to_string(),
            os_threads: dump.os_threads.clone().map(Few),
            stacks: dump.stacks.as_ref().map(SavedStacks::new),
            options: SavedOptions {
                locals: options.locals.map(|limits| SavedLimits {
                    depth: limits.depth,
                    items: limits.items,
                    characters: limits.characters,
                    nodes: limits.nodes,
                }),
                opcodes: options.opcodes,
                thread: options.thread,
                all_interpreters: options.all_interpreters,
                block: options.block,
                stood_still: dump.read_from == ReadFrom::OwnProcessor,
            },
            lines: lines(dump, sources),
            changed: Few(image.changed_words().map(|word| word.0).collect()),
        };
        Self { header, image }
    }

    /// Writes it to a file, and says how many bytes that were: see [`Saved::load`]. They hold
    /// memory of the target, which may hold its secrets.
    ///
    /// # Errors
    /// What keeps it from being written.
    pub fn write(&self, out: impl Write) -> io::Result<usize> {
        let mut out = BufWriter::new(out);
        let header = serde_json::to_vec(&self.header)?;
        let mut written = 0;
        let before = [FIRST_LINE, &header, b"\n"].map(Cow::Borrowed);
        for part in before.into_iter().chain(self.image.parts()) {
            out.write_all(&part)?;
            written += part.len();
        }
        out.flush()?;
        Ok(written)
    }
}

/// The lines of source text that the frames stand at.
fn lines(dump: &Dump, sources: &mut Sources<'_>) -> Lines {
    let mut lines = Lines::new();
    let mut kept = 0;
    let threads = dump.interpreters.iter().flat_map(|one| &one.threads);
    for frame in threads.flat_map(|dump| &dump.thread.stack.frames) {
        let file = &frame.code.filename.text;
        let Some(number) = frame.position.line else {
            continue;
        };
        if kept == LINES_MAX || lines.get(file).is_some_and(|of| of.contains_key(&number)) {
            continue;
        }
        if let Some(line) = sources.line(Path::new(file), number) {
            let of_file = lines.entry(file.clone()).or_default();
            of_file.insert(number, line.into_owned());
            kept += 1;
        }
    }
    lines
}

/// A look at a process that was kept in a file.
#[derive(Clone, Debug)]
pub struct Saved {
    header: Header,
    image: Image,
}

impl Saved {
    /// From the bytes that [`Recording::write`] made. Nothing in them is believed: they may
    /// come from anywhere.
    ///
    /// # Errors
    /// `Corrupt` where they are no recording, or are cut off or damaged.
    pub fn load(bytes: &[u8]) -> Result<Self> {
        let rest = bytes
            .strip_prefix(FIRST_LINE)
            .ok_or_else(|| corrupt("it does not begin as one of this version of Invivo"))?;
        let within = rest.get(..HEADER_MAX).unwrap_or(rest);
        let end = within.iter().position(|byte| *byte == b'\n');
        let (header, rest) = end
            .and_then(|end| rest.split_at_checked(end))
            .ok_or_else(|| corrupt("it is cut off"))?;
        let header = serde_json::from_slice(header)
            .map_err(|error| corrupt(format!("its description can't be read: {error}")))?;
        let mut image = Image::load(rest.get(1..).unwrap_or_default())?;
        let header: Header = header;
        image.note_changed_words(header.changed.0.iter().copied().map(Address));
        Ok(Self { header, image })
    }

    /// What every thread was doing. Of `options` those count that the recording does not exceed:
    /// what was read then is read again.
    ///
    /// # Errors
    /// As [`crate::Attached::dump`]; `Unsupported` for a version whose layout is not known.
    pub fn dump(&self, options: &DumpOptions) -> Result<Dump> {
        let header = &self.header;
        let location = self.location()?;
        let subject = Subject {
            pid: header.pid,
            command: header.command.0.clone(),
            executable: header.executable.clone(),
            version: location.version,
            build: location.build,
            runtime: location.address,
            runtimes: saved_runtimes(header)?,
            halt: header.halt.map(Halt::from),
        };
        let then = &header.options;
        let as_then = then.locals.as_ref().map(|limits| ValueLimits {
            depth: limits.depth,
            items: limits.items,
            characters: limits.characters,
            nodes: limits.nodes,
        });
        let options = DumpOptions {
            locals: options.locals.or(as_then),
            opcodes: options.opcodes || then.opcodes,
            thread: options.thread.or(then.thread),
            all_interpreters: options.all_interpreters || then.all_interpreters,
            block: then.block,
            timeout: options.timeout,
        };
        let stacks = header.stacks.as_ref().map(SavedStacks::stacks);
        let os = OsView::recorded(header.os_threads.clone().map(|all| all.0), stacks);
        let mut dump = look(&self.image, &location, subject, os, &options)?;
        if then.stood_still {
            dump.read_from = ReadFrom::OwnProcessor;
        }
        Ok(dump)
    }

    /// A line of source text as it was then.
    pub fn line(&self, file: &str, number: u32) -> Option<&str> {
        let line = self.header.lines.get(file)?.get(&number)?;
        Some(line.as_str())
    }

    /// When it was taken, in seconds since 1970.
    pub fn time(&self) -> u64 {
        self.header.time
    }

    fn location(&self) -> Result<Location> {
        let header = &self.header;
        let version = header.version.as_ref().map(Version::try_from);
        Ok(Location::again(
            &self.image,
            Address(header.runtime),
            header.module.clone().into_bytes(),
            version.transpose()?,
            Build {
                debug: header.debug,
                free_threaded: header.free_threaded,
            },
        ))
    }
}

fn corrupt(why: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the recording can't be read",
        why,
        "make one with: invivo dump PID --save-image FILE",
    )
}

/// The second line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Header {
    /// Seconds since 1970.
    time: u64,
    pid: u32,
    command: Few<String, WORDS_MAX>,
    executable: Option<String>,
    #[serde(default)]
    halt: Option<SavedHalt>,
    runtime: u64,
    #[serde(default)]
    runtimes: Option<Few<SavedRuntime, RUNTIMES_MAX>>,
    version: Option<SavedVersion>,
    debug: Option<bool>,
    free_threaded: Option<bool>,
    module: String,
    found_by: String,
    os_threads: Option<Few<OsThread, THREADS_MAX>>,
    stacks: Option<SavedStacks>,
    options: SavedOptions,
    #[serde(deserialize_with = "few::lines")]
    lines: Lines,
    /// The words of memory in which something changed meanwhile.
    #[serde(default)]
    changed: Few<u64, CHANGED_MAX>,
}

/// [`RuntimeName`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedRuntime {
    number: usize,
    version: Option<SavedVersion>,
    debug: Option<bool>,
    free_threaded: Option<bool>,
    module: String,
    address: u64,
}

impl From<&RuntimeName> for SavedRuntime {
    fn from(name: &RuntimeName) -> Self {
        Self {
            number: name.number,
            version: name.version.map(SavedVersion::from),
            debug: name.build.debug,
            free_threaded: name.build.free_threaded,
            module: String::from_utf8_lossy(&name.module).into_owned(),
            address: name.address.0,
        }
    }
}

/// All CPythons that the process had; `None` where the image does not say.
fn saved_runtimes(header: &Header) -> Result<Option<Vec<RuntimeName>>> {
    let name = |saved: &SavedRuntime| {
        Ok(RuntimeName {
            number: saved.number,
            version: saved.version.as_ref().map(Version::try_from).transpose()?,
            build: Build {
                debug: saved.debug,
                free_threaded: saved.free_threaded,
            },
            module: saved.module.clone().into_bytes(),
            address: Address(saved.address),
        })
    };
    let all = header.runtimes.as_ref();
    all.map(|all| all.0.iter().map(name).collect()).transpose()
}

/// [`Halt`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum SavedHalt {
    Signal(Option<i32>),
    Tracer(u32),
}

impl From<Halt> for SavedHalt {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Signal(number) => Self::Signal(number),
            Halt::Tracer(tracer) => Self::Tracer(tracer),
        }
    }
}

impl From<SavedHalt> for Halt {
    fn from(saved: SavedHalt) -> Self {
        match saved {
            SavedHalt::Signal(number) => Self::Signal(number),
            SavedHalt::Tracer(tracer) => Self::Tracer(tracer),
        }
    }
}

/// [`Stacks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedStacks {
    still: bool,
    threads: Few<SavedStack, THREADS_MAX>,
}

/// [`ThreadStack`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedStack {
    tid: u32,
    native_id: u64,
    pthread: Option<u64>,
    /// Where each begins and ends.
    ranges: Few<(u64, u64), RANGES_MAX>,
    pointer: Option<u64>,
}

impl SavedStacks {
    fn new(stacks: &Stacks) -> Self {
        let saved = |thread: &ThreadStack| SavedStack {
            tid: thread.tid,
            native_id: thread.native_id,
            pthread: thread.pthread,
            ranges: Few(thread
                .ranges
                .iter()
                .map(|range| (range.start.0, range.end.0))
                .collect()),
            pointer: thread.pointer.map(|at| at.0),
        };
        Self {
            still: stacks.still,
            threads: Few(stacks.threads.iter().map(saved).collect()),
        }
    }

    fn stacks(&self) -> Stacks {
        let range = |(start, end): &(u64, u64)| Address(*start)..Address(*end);
        let thread = |saved: &SavedStack| ThreadStack {
            tid: saved.tid,
            native_id: saved.native_id,
            pthread: saved.pthread,
            ranges: saved.ranges.0.iter().map(range).collect(),
            pointer: saved.pointer.map(Address),
        };
        Stacks {
            still: self.still,
            threads: self.threads.0.iter().map(thread).collect(),
        }
    }
}

/// The options that decide what is read.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedOptions {
    locals: Option<SavedLimits>,
    opcodes: bool,
    thread: Option<u32>,
    all_interpreters: bool,
    block: bool,
    /// The thread that ran stood still while it was read.
    #[serde(default)]
    stood_still: bool,
}

/// [`ValueLimits`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedLimits {
    depth: usize,
    items: usize,
    characters: usize,
    nodes: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedVersion {
    major: u8,
    minor: u8,
    micro: Option<u8>,
    /// `a`, `b`, `rc` or nothing, as in the version's text.
    level: String,
    serial: u8,
}

impl From<Version> for SavedVersion {
    fn from(version: Version) -> Self {
        let level = match version.level {
            ReleaseLevel::Alpha => "a",
            ReleaseLevel::Beta => "b",
            ReleaseLevel::Candidate => "rc",
            ReleaseLevel::Final => "",
        };
        Self {
            major: version.major,
            minor: version.minor,
            micro: version.micro,
            level: level.to_owned(),
            serial: version.serial,
        }
    }
}

impl TryFrom<&SavedVersion> for Version {
    type Error = Error;

    fn try_from(saved: &SavedVersion) -> Result<Self> {
        let level = match saved.level.as_str() {
            "a" => ReleaseLevel::Alpha,
            "b" => ReleaseLevel::Beta,
            "rc" => ReleaseLevel::Candidate,
            "" => ReleaseLevel::Final,
            other => return Err(corrupt(format!("its version is of level {other}"))),
        };
        Ok(Self {
            major: saved.major,
            minor: saved.minor,
            micro: saved.micro,
            level,
            serial: saved.serial,
        })
    }
}
