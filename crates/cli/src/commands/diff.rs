use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use invivo::profile::{DiffFormat, Source, Timed, write_diff};
use invivo::{Error, ErrorKind, Result};

use super::profiles::{Bounds, Place, open};
use crate::exit::Status;
use crate::show::Output;

/// Compare two recordings: which functions take a larger share of the samples, which a smaller.
///
/// Shares are compared, so the recordings may be of different length and rate.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  invivo record 4711 -d 10 -o before.invivo
  invivo record 4812 -d 10 -o after.invivo
  invivo diff before.invivo after.invivo               a table on the terminal
  invivo diff before.invivo after.invivo -o diff.html  a flame graph: red for more, blue for less")]
pub(crate) struct Arguments {
    /// The recording of how it was before.
    #[arg(value_name = "BEFORE")]
    before: PathBuf,

    /// The recording of how it is now.
    #[arg(value_name = "AFTER")]
    after: PathBuf,

    /// Where to write; `-` is stdout. The ending says the format: .html or .txt.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// What to write.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    format: Option<Kind>,

    #[command(flatten)]
    bounds: Bounds,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// An interactive flame graph as one HTML page (.html): red for more than before.
    #[value(name = "flamegraph")]
    FlameGraph,
    /// Functions by how much their share changed, as text (.txt).
    Table,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    let (kind, place) = decide(arguments)?;
    place.check()?;
    let (budget, until) = arguments.bounds.begin();
    let (before, _) = open(&arguments.before, (&budget, until), output)?;
    let (after, _) = open(&arguments.after, (&budget, until), output)?;
    let before = Timed::new(&before as &dyn Source, Some(until));
    let after = Timed::new(&after as &dyn Source, Some(until));
    let format = match kind {
        Kind::FlameGraph => DiffFormat::FlameGraph,
        Kind::Table => DiffFormat::Table,
    };
    let written = place.write(output, |out| {
        let mut out = Timed::new(out, Some(until));
        write_diff(format, &before, &after, &mut out)
    })?;
    let next = match kind {
        Kind::FlameGraph => Some("open it in a browser"),
        Kind::Table => None,
    };
    written.tell_with(next, output);
    Ok(Status::Done)
}

fn decide(arguments: &Arguments) -> Result<(Kind, Place)> {
    let file = arguments
        .output
        .as_deref()
        .filter(|path| *path != Path::new("-"));
    let place = match file {
        Some(path) => Place::File(path.to_owned()),
        None if arguments.output.is_none() && arguments.format == Some(Kind::FlameGraph) => {
            Place::Free("invivo-diff.html".into())
        }
        None => Place::Stdout,
    };
    let kind = match (arguments.format, file) {
        (Some(kind), _) => kind,
        (None, Some(path)) => of_ending(path)?,
        (None, None) => Kind::Table,
    };
    Ok((kind, place))
}

fn of_ending(path: &Path) -> Result<Kind> {
    let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
    match ending.to_str() {
        Some("html" | "htm") => Ok(Kind::FlameGraph),
        Some("txt") => Ok(Kind::Table),
        _ => Err(Error::new(
            ErrorKind::Usage,
            format!("{} does not say which format it shall have", path.display()),
            "a comparison is a flame graph (.html) or a table (.txt)",
            "say it with --format, or by one of these endings",
        )),
    }
}
