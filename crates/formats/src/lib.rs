//! A profile as the files that people and their tools read, each format in a file of its own.
//!
//! Nothing here opens a file, a process or a clock: a profile comes as a [`Source`], and goes to
//! whatever can be written to. Names in a profile come from a target and are escaped by what each
//! format needs. No walk recurses: stacks may be as deep as the target's memory allows.
//!
//! Formats agree with each other: a sample weighs as many ticks as it stood for in each of them,
//! a function's *self* is what it was innermost in, and its *total* is what it was on the stack of,
//! counted once however often it stood there.

#![forbid(unsafe_code)]

mod chrome;
mod collapsed;
mod counts;
mod diff;
mod escape;
mod firefox;
mod html;
mod json;
mod json_lines;
mod names;
mod places;
mod pprof;
mod pstats;
mod source;
mod speedscope;
mod summary;
mod svg;
mod table;
mod timeline;

use std::fmt;
use std::io;
use std::path::Path;

use invivo_model::{Error, ErrorKind, Result};

pub use diff::write_diff;
pub use source::Source;
pub use summary::looks;

use source::Checked;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// An interactive flame graph, as one HTML file that needs nothing else.
    FlameGraph,
    /// A flame graph as an SVG image.
    Svg,
    /// Source files with the heat of each line, as one HTML file.
    HeatMap,
    /// [Collapsed stacks](https://github.com/brendangregg/FlameGraph): a line a stack.
    Collapsed,
    /// A file for [speedscope](https://www.speedscope.app).
    Speedscope,
    /// A file for [pprof](https://github.com/google/pprof), gzipped.
    Pprof,
    /// A file for the [Firefox Profiler](https://profiler.firefox.com).
    Firefox,
    /// Trace events, for Perfetto and Chrome.
    Chrome,
    /// A file that Python's `pstats` loads.
    Pstats,
    /// A line of JSON for each thing and sample.
    JsonLines,
    /// Functions by self and total, as text of 80 columns.
    Table,
}

/// What writes a format.
trait Writer {
    fn write(
        &self,
        profile: &Checked<'_>,
        options: &Options<'_>,
        out: &mut dyn io::Write,
    ) -> Result<()>;
}

impl Format {
    /// All there are.
    pub const ALL: [Format; 11] = [
        Format::FlameGraph,
        Format::Svg,
        Format::HeatMap,
        Format::Collapsed,
        Format::Speedscope,
        Format::Pprof,
        Format::Firefox,
        Format::Chrome,
        Format::Pstats,
        Format::JsonLines,
        Format::Table,
    ];

    /// Its name, as a command line knows it.
    pub fn name(self) -> &'static str {
        match self {
            Format::FlameGraph => "flamegraph",
            Format::Svg => "svg",
            Format::HeatMap => "heatmap",
            Format::Collapsed => "collapsed",
            Format::Speedscope => "speedscope",
            Format::Pprof => "pprof",
            Format::Firefox => "firefox",
            Format::Chrome => "chrome",
            Format::Pstats => "pstats",
            Format::JsonLines => "jsonl",
            Format::Table => "table",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Format> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// What names of its files end in, the usual one first.
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Format::FlameGraph => &[".html", ".htm"],
            Format::Svg => &[".svg"],
            Format::HeatMap => &[".heatmap.html"],
            Format::Collapsed => &[".collapsed", ".folded"],
            Format::Speedscope => &[".speedscope.json", ".speedscope"],
            Format::Pprof => &[".pb.gz", ".pprof"],
            Format::Firefox => &[".firefox.json", ".gecko.json"],
            Format::Chrome => &[".trace.json", ".chrome.json"],
            Format::Pstats => &[".pstats", ".prof"],
            Format::JsonLines => &[".jsonl", ".ndjson"],
            Format::Table => &[".txt"],
        }
    }

    /// The format that a file's name says. `None` where its ending is no format's, or, as `.json`,
    /// that of several.
    pub fn from_path(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let endings = |format: Format| format.endings().iter().map(move |end| (format, *end));
        let longest = Self::ALL
            .into_iter()
            .flat_map(endings)
            .filter(|(_, ending)| name.ends_with(ending))
            .max_by_key(|(_, ending)| ending.len());
        longest.map(|(format, _)| format)
    }

    fn writer(self) -> &'static dyn Writer {
        match self {
            Format::FlameGraph => &html::flame::Flame,
            Format::Svg => &svg::Svg,
            Format::HeatMap => &html::heat::Heat,
            Format::Collapsed => &collapsed::Collapsed,
            Format::Speedscope => &speedscope::Speedscope,
            Format::Pprof => &pprof::Pprof,
            Format::Firefox => &firefox::Firefox,
            Format::Chrome => &chrome::Chrome,
            Format::Pstats => &pstats::Pstats,
            Format::JsonLines => &json_lines::JsonLines,
            Format::Table => &table::Table,
        }
    }
}

/// A kind of file that compares two profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiffFormat {
    /// An interactive flame graph, as one HTML file: red for more than before, blue for less.
    FlameGraph,
    /// Functions by how much their share changed, as text of 80 columns.
    Table,
}

/// What stacks are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum By {
    /// Functions, wherever they stood.
    #[default]
    Function,
    /// Lines of functions.
    Line,
}

/// How to write a profile.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// What stacks are made of in collapsed stacks, speedscope, SVG, traces and the table. The HTML
    /// flame graph offers both; the other formats have functions and lines side by side.
    pub by: By,
    /// Whether collapsed stacks begin with their thread. The other formats tell threads apart by
    /// themselves or have no place for them.
    pub threads: bool,
    /// The text of a source file, by its name as code objects have it; `None` where it can't be
    /// had. The heat map asks for it.
    pub source: &'a dyn Fn(&str) -> Option<String>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            by: By::default(),
            threads: false,
            source: &|_| None,
        }
    }
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("by", &self.by)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// Writes a profile.
///
/// # Errors
///
/// `Corrupt` where its tables do not fit together or its budget is exceeded, `Unwritten` where `out`
/// takes no more, `TimedOut` where that is what `out` fails with, and what `source` fails with.
pub fn write(
    format: Format,
    source: &dyn Source,
    options: &Options<'_>,
    out: &mut dyn io::Write,
) -> Result<()> {
    let profile = Checked::new(source)?;
    format.writer().write(&profile, options, out)?;
    out.flush().map_err(unwritten)
}

/// `out` took no more.
fn unwritten(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::TimedOut {
        return Error::new(
            ErrorKind::TimedOut,
            "the profile was not written in time",
            error.to_string(),
            "give it more time: --timeout SECONDS",
        );
    }
    Error::new(
        ErrorKind::Unwritten,
        "the profile could not be written",
        error.to_string(),
        "look whether there is room where it should go",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_by_path() {
        let format = |path: &str| Format::from_path(Path::new(path));
        assert_eq!(format("a/b.speedscope.json"), Some(Format::Speedscope));
        assert_eq!(format("B.TXT"), Some(Format::Table));
        assert_eq!(format("b.json"), None);
        assert_eq!(format("txt"), None);
        assert_eq!(format("/"), None);
    }

    #[test]
    fn each_format_is_found_by_its_name_and_its_endings() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
            for ending in format.endings() {
                let path = format!("a{ending}");
                assert_eq!(Format::from_path(Path::new(&path)), Some(format), "{path}");
            }
        }
    }
}
