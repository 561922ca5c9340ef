use std::path::Path;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use invivo::profile::Format;
use invivo::{Error, ErrorKind, Result};

/// What a profile is kept as: a format of others, or a recording of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// All that was seen, in the order in which it came.
    Recording,
    /// What others read.
    Profile(Format),
}

impl Default for Kind {
    fn default() -> Self {
        Self::Profile(Format::FlameGraph)
    }
}

/// The ending of recordings.
pub(crate) const RECORDING: &str = ".invivo";

const ALL: [Kind; Format::ALL.len() + 1] = {
    let mut all = [Kind::Recording; Format::ALL.len() + 1];
    let mut n = 0;
    while n < Format::ALL.len() {
        all[n] = Kind::Profile(Format::ALL[n]);
        n += 1;
    }
    all
};

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Self] {
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = format!("{} ({})", self.what(), self.endings().join(" "));
        Some(PossibleValue::new(self.name()).help(help))
    }
}

impl Kind {
    /// The kind that the name of a file says.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.to_ascii_lowercase().ends_with(RECORDING) {
            return Ok(Self::Recording);
        }
        if let Some(format) = Format::from_path(path) {
            return Ok(Self::Profile(format));
        }
        let endings: Vec<&str> = ALL.iter().map(|kind| kind.ending()).collect();
        let why = match Path::new(&*name).extension() {
            Some(ending) if ending.eq_ignore_ascii_case("json") => {
                "several formats are JSON, each with an ending of its own".to_owned()
            }
            Some(ending) => format!("no format has the ending .{}", ending.to_string_lossy()),
            None => "it has no ending".to_owned(),
        };
        Err(Error::new(
            ErrorKind::Usage,
            format!("{} does not say which format it shall have", path.display()),
            why,
            format!(
                "say it with --format, or by one of these endings: {}",
                endings.join(" ")
            ),
        ))
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Recording => "recording",
            Self::Profile(format) => format.name(),
        }
    }

    pub(crate) fn ending(self) -> &'static str {
        self.endings().first().copied().unwrap_or_default()
    }

    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Recording => &[RECORDING],
            Self::Profile(format) => format.endings(),
        }
    }

    /// Whether all of its stacks stand in one tree, with no other place for process and thread.
    pub(crate) fn is_one_tree(self) -> bool {
        matches!(
            self,
            Self::Profile(Format::FlameGraph | Format::Svg | Format::Collapsed)
        )
    }

    /// Whether it is read where it is asked for.
    pub(crate) fn is_read_at_once(self) -> bool {
        self == Self::Profile(Format::Table)
    }

    /// What it is, in a few words.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Recording => "all that was seen, for invivo convert",
            Self::Profile(format) => match format {
                Format::FlameGraph => "an interactive flame graph",
                Format::Svg => "a flame graph as an image",
                Format::HeatMap => "source files with the heat of each line",
                Format::Collapsed => "collapsed stacks, a line each",
                Format::Speedscope => "a file for speedscope",
                Format::Pprof => "a file for pprof",
                Format::Firefox => "a file for the Firefox Profiler",
                Format::Chrome => "a trace for Perfetto and Chrome",
                Format::Pstats => "a file for Python's pstats",
                Format::JsonLines => "a line of JSON for each thing and sample",
                Format::Table => "functions by self and total, as text",
            },
        }
    }

    /// What to do with a file of it; `None` where that goes without saying.
    pub(crate) fn next(self, file: &str) -> Option<String> {
        let Self::Profile(format) = self else {
            let next = "make a profile of it with: invivo convert";
            return Some(format!("{next} {file} -o FILE"));
        };
        Some(match format {
            Format::FlameGraph | Format::Svg | Format::HeatMap => "open it in a browser".into(),
            Format::Collapsed => "flame graph tools and speedscope read it".into(),
            Format::Speedscope => "open it on https://www.speedscope.app".into(),
            Format::Pprof => format!("look at it with: go tool pprof -http=: {file}"),
            Format::Firefox => "open it on https://profiler.firefox.com".into(),
            Format::Chrome => "open it on https://ui.perfetto.dev".into(),
            Format::Pstats => format!("look at it with: python3 -m pstats {file}"),
            Format::JsonLines => "jq and scripts read it".into(),
            Format::Table => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_say_the_kind() {
        for (path, kind) in [
            ("a.html", Kind::default()),
            ("a.heatmap.html", Kind::Profile(Format::HeatMap)),
            ("b/a.INVIVO", Kind::Recording),
            ("a.pb.gz", Kind::Profile(Format::Pprof)),
        ] {
            assert_eq!(Kind::of(Path::new(path)), Ok(kind), "{path}");
        }
    }

    #[test]
    fn other_endings_say_which_there_are() {
        for (path, why) in [
            ("a.json", "several formats are JSON"),
            ("a.xml", "the ending .xml"),
            ("html", "no ending"),
        ] {
            let error = Kind::of(Path::new(path)).expect_err("no format");
            assert_eq!(error.kind, ErrorKind::Usage);
            assert!(error.why.contains(why), "{error:?}");
            for kind in ALL {
                assert!(error.remedy.contains(kind.ending()), "{error:?}");
            }
        }
    }

    #[test]
    fn each_kind_has_a_name_of_its_own() {
        for kind in ALL {
            assert_eq!(Kind::from_str(kind.name(), false), Ok(kind));
        }
    }
}
