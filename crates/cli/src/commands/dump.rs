pub(crate) mod json;
pub(crate) mod text;

use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use invivo::files::{NewFile, Readers};
use invivo::{Dump, DumpOptions, Error, ErrorKind, Recording, Result, Saved, ValueLimits};

use super::doctor::error_json;
use crate::arguments::seconds;
use crate::exit::Status;
use crate::show::{Output, lacks_room, unwritten};

/// Show what every thread of a live process is doing: its stack, and its variables if you like.
///
/// The process is neither stopped nor changed. What was torn by its running on is marked; --block
/// stops it for the moment of the reading instead.
#[derive(Debug, Args)]
#[command(
    override_usage = "invivo dump [OPTIONS] PID\n       invivo dump [OPTIONS] --image FILE",
    after_help = "\
For each thread a line of what it does (runs Python, waits for the GIL, in which system call it
sleeps), and its frames: function, file and line, the line's text as the file has it now, and in it
the expression that runs. Frames that repeat are shown once, those by which threading starts a
thread not at all: --verbose shows these, --json has all.

Examples:
  invivo dump 4711
  invivo dump 4711 --locals              with every frame's variables
  invivo dump 4711 --locals=4 --block    deeper, of one moment
  invivo dump 4711 --locals --max-string 5000 --max-items 1000
  invivo dump 4711 --thread 4715 --order outermost-first
  invivo dump 4711 --save-image hang.invivo && invivo dump --image hang.invivo
  invivo dump 4711 --json | jq -r '.interpreters[].threads[] | .tid, .doing.sentence'

The exit code is 6 where not all could be read in time: what there is has been shown."
)]
pub(crate) struct Arguments {
    /// The process.
    #[arg(value_name = "PID", required_unless_present = "image")]
    pid: Option<u32>,

    /// Show what a file holds that --save-image made, here or elsewhere.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pid", "block", "save_image"])]
    image: Option<PathBuf>,

    /// Show the frames' variables, and what they hold to this depth (0 to 16).
    #[arg(
        long,
        value_name = "DEPTH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEPTH,
        value_parser = clap::value_parser!(u8).range(0..=16)
    )]
    locals: Option<u8>,

    /// Show so many characters of each string, bytes or number at most: 0 to 65536 [default: 200].
    #[arg(
        long,
        value_name = "CHARACTERS",
        requires = "locals",
        value_parser = clap::value_parser!(u32).range(0..=65536)
    )]
    max_string: Option<u32>,

    /// Show so many items of each container, or attributes, at most: 0 to 65536 [default: 16].
    #[arg(
        long,
        value_name = "ITEMS",
        requires = "locals",
        value_parser = clap::value_parser!(u32).range(0..=65536)
    )]
    max_items: Option<u32>,

    /// Only this thread: a TID as `ps -T` shows it.
    #[arg(long, value_name = "TID")]
    thread: Option<u32>,

    /// Which CPython, where the process has several: a number from `invivo doctor PID`.
    #[arg(long, value_name = "NUMBER", requires = "pid", value_parser = clap::value_parser!(u32).range(1..))]
    runtime: Option<u32>,

    /// Every interpreter of this CPython, not only the main one.
    #[arg(long)]
    all_interpreters: bool,

    /// Stop the process while it is read (for some milliseconds), so that all is of one moment.
    #[arg(long)]
    block: bool,

    /// Show the number of the opcode that each frame stands at.
    #[arg(long)]
    opcodes: bool,

    /// Which frame comes first.
    #[arg(long, value_enum, default_value_t)]
    order: Order,

    /// How long to read at most; as long once more for showing what was read.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    timeout: Duration,

    /// Print one JSON object instead (docs/json-dump.md).
    #[arg(long)]
    json: bool,

    /// Keep what was read in a new file: the memory it was read from, which may hold secrets of
    /// the process, and the lines of source text.
    #[arg(long, value_name = "FILE")]
    save_image: Option<PathBuf>,

    /// Let --save-image replace a file.
    #[arg(long, requires = "save_image")]
    force: bool,
}

/// How deep values are shown where nothing is said.
const DEPTH: &str = "2";

/// How much of a value is read: what a person reads of it.
const LIMITS: ValueLimits = ValueLimits {
    depth: 0,
    items: 16,
    characters: 200,
    nodes: 256,
};

/// What is to be read of values, if anything.
fn limits(arguments: &Arguments) -> Option<ValueLimits> {
    let depth = arguments.locals?.into();
    let number = |given: Option<u32>, usual| given.map_or(usual, |given| given as usize);
    let items = number(arguments.max_items, LIMITS.items);
    Some(ValueLimits {
        depth,
        items,
        characters: number(arguments.max_string, LIMITS.characters),
        // In all as many times more as of each; the library bounds them.
        nodes: LIMITS.nodes * items.div_ceil(LIMITS.items).max(1),
    })
}

/// `--order`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Order {
    /// Where it is now, then who called that.
    #[default]
    InnermostFirst,
    /// As a traceback has it.
    OutermostFirst,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let result = perform(arguments, output);
    if let (Err(error), true) = (&result, arguments.json) {
        let report = serde_json::json!({
            "schema": 1,
            "pid": arguments.pid,
            "error": error_json(error),
        });
        output.document(&report);
    }
    result
}

fn perform(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let options = DumpOptions {
        locals: limits(arguments),
        opcodes: arguments.opcodes,
        thread: arguments.thread,
        all_interpreters: arguments.all_interpreters,
        block: arguments.block,
        timeout: arguments.timeout,
    };
    match (&arguments.image, arguments.pid) {
        (Some(image), _) => {
            let saved = Saved::load(&read_image(image)?)?;
            let dump = saved.dump(&options)?;
            let mut line = |file: &str, number| saved.line(file, number).map(str::to_owned);
            Ok(show(arguments, &dump, &mut line, output))
        }
        (None, Some(pid)) => live(arguments, pid, &options, output),
        (None, None) => Err(Error::internal("neither a process nor an image was given")),
    }
}

fn live(
    arguments: &Arguments,
    pid: u32,
    options: &DumpOptions,
    output: &mut Output,
) -> Result<Status> {
    if let Some(file) = &arguments.save_image {
        ensure_free(file, arguments.force)?;
    }
    let attached = invivo::attach_to_runtime(pid, arguments.runtime)?;
    if let Some(note) = attached.runtimes.unnamed(pid) {
        output.note(&note);
    }
    output.detail(&format!(
        "CPython {} with PyRuntime at {}, found by {}",
        attached.runtime.version(),
        attached.location.address,
        attached.location.method
    ));
    let dump = if let Some(file) = &arguments.save_image {
        let (dump, recording) = attached.record(options)?;
        let bytes = save(&recording, file, arguments.force)?;
        output.note(&format!(
            "{} KiB are kept in {}: they hold memory of the process",
            bytes.div_ceil(1024),
            file.display()
        ));
        dump
    } else {
        attached.dump(options)?
    };
    output.detail(&format!(
        "read in {:.2} ms",
        dump.elapsed.as_secs_f64() * 1000.0
    ));
    let mut sources = attached.sources();
    let mut line = |file: &str, number| sources.line(Path::new(file), number).map(Cow::into_owned);
    let status = show(arguments, &dump, &mut line, output);
    output.silence(pid, attached.target.memory().silent_mapping());
    Ok(status)
}

fn show(
    arguments: &Arguments,
    dump: &Dump,
    line: &mut json::LineOf<'_>,
    output: &mut Output,
) -> Status {
    if arguments.json {
        output.document(&json::DumpJson::new(dump, line));
    } else {
        let whole = text::Page {
            outermost_first: arguments.order == Order::OutermostFirst,
            everything: output.is_verbose(),
            columns: output.columns(),
            // Who says how long values may be has them as long on a terminal.
            whole_values: arguments.max_string.or(arguments.max_items).is_some(),
            until: Instant::now().checked_add(arguments.timeout),
            is_late: false,
            output,
            text: String::new(),
            line,
        }
        .dump(dump);
        if !whole && dump.incomplete.is_none() {
            let error = unshown(arguments.timeout);
            output.error(&error);
            return error.kind.into();
        }
    }
    match &dump.incomplete {
        None => Status::Done,
        Some(error) => {
            output.error(error);
            error.kind.into()
        }
    }
}

/// What it means that there was no time to show all that had been read.
fn unshown(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        "not all could be shown",
        format!("the time was up after {} s", timeout.as_secs_f64()),
        "allow more with --timeout, or ask for less: one thread with --thread, or no --locals",
    )
}

/// A larger file is no image.
const IMAGE_MAX: u64 = 256 << 20;

fn read_image(file: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read =
        fs::File::open(file).and_then(|opened| opened.take(IMAGE_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(Error::new(
            ErrorKind::Usage,
            format!("{} can't be read", file.display()),
            error.to_string(),
            "name a file that `invivo dump PID --save-image FILE` made",
        )),
        Ok(_) if bytes.len() as u64 > IMAGE_MAX => Err(Error::new(
            ErrorKind::Corrupt,
            format!("{} can't be read", file.display()),
            format!("it has more than {} MiB", IMAGE_MAX >> 20),
            "name a file that `invivo dump PID --save-image FILE` made",
        )),
        Ok(_) => Ok(bytes),
    }
}

fn ensure_free(file: &Path, force: bool) -> Result<()> {
    let free = if force {
        NewFile::check(file).map_err(|error| error.to_string())
    } else {
        match fs::symlink_metadata(file) {
            Ok(_) => Err("there is one already".to_owned()),
            Err(_) => Ok(()),
        }
    };
    free.map_err(|why| not_saved(file, &why))
}

/// Writes the whole file under another name first: what is there under its own is whole. It is
/// open to its owner alone, since it holds memory.
fn save(recording: &Recording, file: &Path, force: bool) -> Result<usize> {
    let name = file.file_name().unwrap_or_default();
    let new = if force {
        NewFile::beside(file, ".part", Readers::OwnerOnly)
    } else {
        NewFile::among(file, ".part", Readers::OwnerOnly)
    };
    let written = new.and_then(|new| {
        let bytes = recording.write(new.file())?;
        let kept = if force {
            new.replace()
        } else {
            new.name_if_free(name)
        };
        kept.map_err(|(error, _)| error)?;
        Ok(bytes)
    });
    match written {
        Ok(bytes) => Ok(bytes),
        Err(error) if lacks_room(&error) => Err(unwritten(&file.display().to_string(), &error)),
        Err(error) => Err(not_saved(file, &error.to_string())),
    }
}

fn not_saved(file: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("the image could not be written to {}", file.display()),
        why,
        "name a new file in a directory you can write to, or replace the old one with --force",
    )
}
