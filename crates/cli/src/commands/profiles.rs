//! What `record`, `convert` and `diff` have in common: which file a profile becomes, and where.

mod kind;
mod place;

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use invivo::profile::{Budget, By, Recorded, Rooted, Source, Timed, WriteOptions, write};
use invivo::{Error, ErrorKind, Identity, Result, Sources};

use crate::arguments::seconds;
use crate::show::{Output, grouped};
pub(crate) use kind::Kind;
pub(crate) use place::{Draft, Place, Written, size};

/// How much may be made of a recording, which may come from anywhere.
#[derive(Debug, Args)]
pub(crate) struct Bounds {
    /// How long it may take.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    timeout: Duration,

    /// How many MiB of memory what a recording holds may take: a few bytes can say that it is much.
    #[arg(long, value_name = "MIB", default_value_t = (Budget::USUAL >> 20) as u32)]
    memory: u32,
}

impl Bounds {
    /// The memory, and until when, from now on.
    pub(crate) fn begin(&self) -> (Budget, Instant) {
        let bytes = (self.memory as usize).saturating_mul(1 << 20);
        (Budget::new(bytes), Instant::now() + self.timeout)
    }
}

/// Which file a profile becomes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Form {
    /// Where to write; `-` is stdout. The ending says the format.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// What to write.
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        value_enum,
        hide_possible_values = true
    )]
    pub(crate) format: Option<Kind>,

    /// Tell the lines of a function apart. (The HTML flame graph offers both.)
    #[arg(long)]
    lines: bool,

    /// Begin stacks with their thread, in formats that don't tell threads apart by themselves.
    #[arg(long)]
    threads: bool,
}

impl Form {
    /// The format, and where it goes. `name` is what a file is called that nobody named, without
    /// its ending.
    pub(crate) fn decide(&self, name: &str) -> Result<(Kind, Place)> {
        let is_stdout = self.output.as_deref() == Some(Path::new("-"));
        let kind = match (self.format, &self.output) {
            (Some(kind), _) => kind,
            (None, Some(_)) if is_stdout => return Err(no_format()),
            (None, Some(path)) => Kind::of(path)?,
            (None, None) => Kind::default(),
        };
        let place = match &self.output {
            Some(_) if is_stdout => Place::Stdout,
            Some(path) => Place::File(path.clone()),
            None if kind.is_read_at_once() => Place::Stdout,
            None => Place::Free(format!("{name}{}", kind.ending()).into()),
        };
        place.check()?;
        Ok((kind, place))
    }

    /// Writes `source` to `place`, until a deadline if there is one. `sources` are the files that a
    /// heat map shows.
    pub(crate) fn write(
        &self,
        kind: Kind,
        source: &dyn Source,
        sources: Option<Sources<'_>>,
        place: &Place,
        until: Option<Instant>,
        output: &mut Output,
    ) -> Result<Written> {
        let Kind::Profile(format) = kind else {
            return Err(Error::internal("a recording is not written from another"));
        };
        let timed = Timed::new(source, until);
        let source: &dyn Source = &timed;
        let processes = source.tables().processes.len() > 1;
        let rooted = kind.is_one_tree() && (processes || self.threads);
        let rooted = rooted.then(|| Rooted::new(source, processes, self.threads));
        let rooted = rooted.transpose()?;
        let sources = sources.map(RefCell::new);
        let text = |file: &str| {
            let path = Path::new(file);
            // What is named may be any file, and goes into one that is shown to others.
            let is_source = path.extension().is_some_and(|ending| ending == "py");
            let mut sources = sources
                .as_ref()
                .filter(|_| is_source)?
                .try_borrow_mut()
                .ok()?;
            sources.text(path).map(str::to_owned)
        };
        let options = WriteOptions {
            by: if self.lines { By::Line } else { By::Function },
            source: &text,
            ..WriteOptions::default()
        };
        let source = rooted.as_ref().map_or(source, |rooted| rooted);
        place.write(output, |out| {
            write(format, source, &options, &mut Timed::new(out, until))
        })
    }
}

/// Opens a recording, and says where not all of it can be read, and with whose rights what it
/// names.
pub(crate) fn open(
    file: &Path,
    (budget, until): (&Budget, Instant),
    output: &mut Output,
) -> Result<(Recorded<Timed<File>>, Identity)> {
    let named = |error: Error| Error {
        what: format!("{}: {}", file.display(), error.what),
        ..error
    };
    let opened = File::open(file).map_err(|error| {
        Error::new(
            ErrorKind::Usage,
            format!("{} can't be read", file.display()),
            error.to_string(),
            "name a file that invivo record wrote: FILE.invivo",
        )
    })?;
    let maker = Identity::of_maker(&opened);
    let maker = maker.map_err(|error| Error::internal(format!("our own user: {error}")))?;
    let timed = Timed::new(opened, Some(until));
    let recorded = Recorded::open_within(timed, budget).map_err(named)?;
    if !recorded.is_complete() {
        let duration = Duration::from_nanos(recorded.about().duration).as_secs_f64();
        let why = match recorded.damage() {
            Some(damage) => format!("is damaged ({damage}): what follows is lost"),
            None => "ended early: who recorded was killed, or goes on".to_owned(),
        };
        output.note(&format!(
            "{} {why}; {} ticks in {duration:.2} s were read",
            file.display(),
            grouped(recorded.about().ticks),
        ));
    }
    Ok((recorded, maker))
}

/// The name of a recording without its ending.
pub(crate) fn stem(file: &Path) -> String {
    let name = file.to_string_lossy();
    name.strip_suffix(kind::RECORDING)
        .unwrap_or(&name)
        .to_owned()
}

fn no_format() -> Error {
    Error::new(
        ErrorKind::Usage,
        "stdout needs a format",
        "only the name of a file has an ending that says it",
        "say it with --format: --format collapsed",
    )
}
