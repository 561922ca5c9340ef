use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use invivo::profile::{Format, Part, Source, Wanted};
use invivo::{Error, ErrorKind, Result, Sources, Target};

use super::profiles::{Bounds, Form, Kind, open, stem};
use crate::exit::Status;
use crate::show::Output;

/// Make a profile of a recording.
///
/// A recording is what `invivo record -o FILE.invivo` writes, and what a recording leaves behind
/// that was killed. One that is cut off or damaged is read as far as it goes.
#[derive(Debug, Args)]
#[command(after_help = "\
The formats are those of invivo record. A heat map shows lines of source only with --sources: a
recording may name any file, and what is read goes into the profile.

Examples:
  invivo convert job.invivo                     writes job.html, a flame graph
  invivo convert job.invivo -f table            what took longest, on the terminal
  invivo convert job.invivo -o slow.speedscope.json --from 30 --to 40
  invivo convert job.invivo -f collapsed -o - --process 4712 | flamegraph.pl")]
pub(crate) struct Arguments {
    /// The recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    form: Form,

    /// Show the lines of source files as they are here and now (heatmap). Only files ending in .py,
    /// and as root only those that the recording's owner may read.
    #[arg(long, help_heading = "Output")]
    sources: bool,

    /// Only this process.
    #[arg(long, value_name = "PID", help_heading = "Part")]
    process: Option<u32>,

    /// Only this thread: a TID as `ps -T` shows it.
    #[arg(long, value_name = "TID", help_heading = "Part")]
    thread: Option<u32>,

    /// Only what was seen this long after the beginning, or later.
    #[arg(long, value_name = "SECONDS", value_parser = moment, help_heading = "Part")]
    from: Option<Duration>,

    /// Only what was seen before this long after the beginning.
    #[arg(long, value_name = "SECONDS", value_parser = moment, help_heading = "Part")]
    to: Option<Duration>,

    #[command(flatten)]
    bounds: Bounds,
}

fn moment(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .parse()
        .map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let (kind, place) = arguments.form.decide(&stem(&arguments.file))?;
    if kind == Kind::Recording {
        return Err(Error::new(
            ErrorKind::Usage,
            "a recording is not made from another",
            "what it is to become is something else",
            "say what with --format, or by the ending of --output",
        ));
    }
    let (budget, until) = arguments.bounds.begin();
    let (recorded, maker) = open(&arguments.file, (&budget, until), output)?;
    let wanted = wanted(arguments);
    let part = (wanted != Wanted::default()).then(|| Part::new(&recorded, &wanted));
    let part = part.transpose()?;
    let source: &dyn Source = match &part {
        Some(part) => {
            ensure_some(arguments, part, &recorded)?;
            part
        }
        None => &recorded,
    };
    let here = arguments
        .sources
        .then(|| Target::open(std::process::id()))
        .transpose()?;
    let sources = here.as_ref().map(|here| Sources::new(here).named_by(maker));
    if kind == Kind::Profile(Format::HeatMap) && sources.is_none() {
        output.note("it shows no source lines: --sources reads those of the files that are here");
    }
    let written = arguments
        .form
        .write(kind, source, sources, &place, Some(until), output)?;
    written.tell(kind, output);
    Ok(Status::Done)
}

fn wanted(arguments: &Arguments) -> Wanted {
    let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let time = match (arguments.from, arguments.to) {
        (None, None) => None,
        (from, to) => Some(from.map_or(0, nanoseconds)..to.map_or(u64::MAX, nanoseconds)),
    };
    Wanted {
        process: arguments.process,
        thread: arguments.thread,
        time,
    }
}

/// Nothing is no answer to a question for what is not there.
fn ensure_some(arguments: &Arguments, part: &Part<'_>, all: &dyn Source) -> Result<()> {
    let missing = |what: String, why: String| {
        Err(Error::new(
            ErrorKind::Usage,
            what,
            why,
            "look at what there is with: invivo convert FILE --format jsonl --output -",
        ))
    };
    let some = |numbers: Vec<u32>| {
        let words: Vec<String> = numbers.iter().take(20).map(u32::to_string).collect();
        let more = if numbers.len() > words.len() {
            " …"
        } else {
            ""
        };
        format!("it holds {}{more}", words.join(", "))
    };
    if part.tables().processes.is_empty() {
        let pids = all.tables().processes.iter().map(|process| process.pid);
        let pid = arguments.process.unwrap_or_default();
        return missing(
            format!("there is no process {pid} in the recording"),
            some(pids.collect()),
        );
    }
    if part.tables().threads.is_empty() {
        let tids = all.tables().threads.iter().map(|thread| thread.tid);
        let tid = arguments.thread.unwrap_or_default();
        return missing(
            format!("there is no thread {tid} in that part"),
            some(tids.collect()),
        );
    }
    if part.about().duration == 0 {
        let whole = Duration::from_nanos(all.about().duration).as_secs_f64();
        return missing(
            "that part of the time is empty".to_owned(),
            format!("the recording goes from 0 to {whole:.3} s"),
        );
    }
    Ok(())
}
