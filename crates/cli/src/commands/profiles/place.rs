use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use invivo::files::{NewFile, Readers, Stream, is_stream};
use invivo::{Error, ErrorKind, Result};

use super::kind::{Kind, RECORDING};
use crate::show::{Output, grouped, lacks_room, unwritten};

/// Names that are tried where a file is to have one that is free.
const NAMES: u32 = 10_000;

/// Where a file goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Stdout,
    /// To this file, in the place of the one that is there.
    File(PathBuf),
    /// To this file, or one with a number in its name where there is one already.
    Free(PathBuf),
}

/// What was written where.
#[derive(Debug)]
pub(crate) struct Written {
    /// The file, unless it went to stdout.
    pub(crate) file: Option<PathBuf>,
    pub(crate) bytes: u64,
}

impl Written {
    /// Says where it is, and what to do with it.
    pub(crate) fn tell(&self, kind: Kind, output: &mut Output) {
        if let Some(file) = &self.file {
            self.tell_with(kind.next(&file.display().to_string()).as_deref(), output);
        }
    }

    pub(crate) fn tell_with(&self, next: Option<&str>, output: &mut Output) {
        if let Some(file) = &self.file {
            let (file, size) = (file.display(), size(self.bytes));
            let next = next.map_or_else(String::new, |next| format!(": {next}"));
            output.note(&format!("wrote {file} ({size}){next}"));
        }
    }
}

/// So many bytes as people say it.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{} bytes", grouped(bytes)),
        10_000..10_000_000 => format!("{} KiB", bytes / 1024),
        _ => format!("{} MiB", bytes >> 20),
    }
}

impl Place {
    /// Says early on what would come in the way at the end.
    pub(crate) fn check(&self) -> Result<()> {
        let Some(path) = self.path() else {
            return Ok(());
        };
        // One with a number in its name comes in nobody's place.
        let checked = match self {
            Self::Free(_) => path.with_file_name(Self::UNUSED),
            _ => path.to_owned(),
        };
        if is_stream(path) {
            return Ok(());
        }
        NewFile::check(&checked).map_err(|error| failed(path, &error))
    }

    /// A name that no file has.
    const UNUSED: &str = ".invivo-unused";

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Stdout => None,
            Self::File(path) | Self::Free(path) => Some(path),
        }
    }

    /// The same with something in front of the file's ending.
    pub(crate) fn with_part(&self, part: &str, ending: &str) -> Self {
        let with = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let stem = name.strip_suffix(ending).unwrap_or(&name);
            let ending = name.get(stem.len()..).unwrap_or_default();
            path.with_file_name(format!("{stem}-{part}{ending}"))
        };
        match self {
            Self::Stdout => Self::Stdout,
            Self::File(path) => Self::File(with(path)),
            Self::Free(path) => Self::Free(with(path)),
        }
    }

    /// Has `fill` write the file. It is there under its name when it is whole, unless that is the
    /// name of a pipe or a device.
    pub(crate) fn write(
        &self,
        output: &mut Output,
        fill: impl FnOnce(&mut dyn Write) -> Result<()>,
    ) -> Result<Written> {
        let Some(path) = self.path() else {
            let bytes = filled(output.writer(), Path::new("stdout"), fill)?;
            output.ensure_written()?;
            return Ok(Written { file: None, bytes });
        };
        let failed = |error: io::Error| failed(path, &error);
        if is_stream(path) {
            let stream = Stream::open(path).map_err(failed)?;
            let bytes = filled(BufWriter::new(stream), path, fill)?;
            return Ok(Written {
                file: Some(path.to_owned()),
                bytes,
            });
        }
        let new = self.beside(path, ".part").map_err(failed)?;
        let bytes = filled(BufWriter::new(new.file()), path, fill)?;
        let file = self.keep(new).map_err(|(error, _)| error)?;
        Ok(Written {
            file: Some(file),
            bytes,
        })
    }

    /// A new file beside the one that is to be written.
    fn beside(&self, path: &Path, ending: &str) -> io::Result<Box<NewFile>> {
        let new = match self {
            // What has its name is left alone, whatever it is.
            Self::Free(_) => NewFile::among(path, ending, Readers::Usual),
            _ => NewFile::beside(path, ending, Readers::Usual),
        };
        new.map(Box::new)
    }

    /// Gives a whole file its name. Where that fails, the file is given back.
    fn keep(&self, new: Box<NewFile>) -> Result<PathBuf, (Error, Box<NewFile>)> {
        match self {
            Self::Stdout => Err((Error::internal("stdout has no name"), new)),
            Self::File(path) => match new.replace() {
                Ok(()) => Ok(path.clone()),
                Err((error, new)) => Err((failed(path, &error), Box::new(new))),
            },
            Self::Free(path) => {
                let mut new = new;
                let mut name = path.clone();
                for number in 2..NAMES {
                    match new.name_if_free(name.file_name().unwrap_or_default()) {
                        Ok(()) => return Ok(name),
                        Err((error, kept)) if error.kind() == io::ErrorKind::AlreadyExists => {
                            new = Box::new(kept);
                        }
                        Err((error, kept)) => {
                            return Err((failed(&name, &error), Box::new(kept)));
                        }
                    }
                    name = numbered(path, number);
                }
                Err((unwritable(path, "so are all others with a number"), new))
            }
        }
    }
}

/// `a-2.pb.gz` for `a.pb.gz`.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (stem, ending) = name.split_once('.').unwrap_or((&name, ""));
    path.with_file_name(format!("{stem}-{number}.{ending}"))
}

/// A recording that is being made: a file beside the one that will be made of it, under a name of
/// its own, so that it is there if we are killed. It is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Draft {
    file: Box<NewFile>,
}

impl Draft {
    /// A new one for what goes to `place`.
    pub(crate) fn new(place: &Place) -> Result<Self> {
        let (path, file) = match place.path().filter(|path| !is_stream(path)) {
            Some(path) => (path.to_owned(), place.beside(path, RECORDING)),
            None => {
                let path = std::env::temp_dir().join("invivo");
                let file = NewFile::beside(&path, RECORDING, Readers::OwnerOnly);
                (path, file.map(Box::new))
            }
        };
        let file = file.map_err(|error| failed(&path, &error))?;
        Ok(Self { file })
    }

    /// A handle to write by, or to read by, that has nothing to do with another one's place in it.
    pub(crate) fn open(&self) -> Result<File> {
        let opened = self.file.reopen();
        opened.map_err(|error| failed(&self.path(), &error))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.file.path()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.file.file().metadata().map_or(0, |meta| meta.len())
    }

    /// Gives it the name of `place`, or copies it to where no name is to be given: it is what was
    /// asked for.
    pub(crate) fn persist(
        self,
        place: &Place,
        output: &mut Output,
    ) -> Result<Written, (Error, Self)> {
        if place.path().is_none_or(is_stream) {
            let name = place.path().unwrap_or(Path::new("stdout"));
            let copy = |out: &mut dyn Write| {
                let copied = io::copy(&mut self.open()?, out);
                copied
                    .map(drop)
                    .map_err(|error| unwritten(&name.display().to_string(), &error))
            };
            return place.write(output, copy).map_err(|error| (error, self));
        }
        let bytes = self.bytes();
        match place.keep(self.file) {
            Ok(path) => Ok(Written {
                file: Some(path),
                bytes,
            }),
            Err((error, file)) => Err((error, Self { file })),
        }
    }

    /// Leaves it where it is; says where that is.
    pub(crate) fn leave(self) -> PathBuf {
        self.file.leave()
    }
}

/// Why nothing can be written there: for want of room, or since it was badly named.
fn failed(path: &Path, error: &io::Error) -> Error {
    if lacks_room(error) {
        unwritten(&path.display().to_string(), error)
    } else {
        unwritable(path, &error.to_string())
    }
}

/// What can't be written, and why.
fn unwritable(path: &Path, why: &str) -> Error {
    Error::new(
        ErrorKind::Usage,
        format!("{} can't be written", path.display()),
        why,
        "name a file in a directory that you can write to: --output FILE",
    )
}

/// Has `fill` write to `out`, to the last byte; says how many there were.
fn filled(
    out: impl Write,
    place: &Path,
    fill: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<u64> {
    let mut out = Counted { out, bytes: 0 };
    fill(&mut out)?;
    out.flush()
        .map_err(|error| unwritten(&place.display().to_string(), &error))?;
    Ok(out.bytes)
}

/// Counts what is written.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::arguments::Color;

    fn write(place: &Place, fill: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<Written> {
        place.write(&mut Output::new(Color::Never, false), fill)
    }

    fn text(text: &str) -> impl FnOnce(&mut dyn Write) -> Result<()> {
        move |out| {
            out.write_all(text.as_bytes()).expect("it takes it");
            Ok(())
        }
    }

    #[test]
    fn a_named_file_is_replaced_and_nothing_else_is_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::File(directory.path().join("a.txt"));
        write(&place, text("one")).expect("written");
        let written = write(&place, text("second")).expect("written");
        assert_eq!(written.bytes, 6);
        let file = written.file.expect("it has a name");
        assert_eq!(fs::read_to_string(file).expect("it is there"), "second");
        assert_eq!(
            fs::read_dir(directory.path()).expect("it is there").count(),
            1
        );
    }

    #[test]
    fn what_nobody_named_gets_a_name_that_is_free() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::Free(directory.path().join("a.pb.gz"));
        for name in ["a.pb.gz", "a-2.pb.gz", "a-3.pb.gz"] {
            let written = write(&place, text(name)).expect("written");
            assert_eq!(written.file, Some(directory.path().join(name)));
        }
    }

    #[test]
    fn what_fails_leaves_what_was_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::File(directory.path().join("a.txt"));
        write(&place, text("one")).expect("written");
        let failing = write(&place, |out| {
            text("half")(out)?;
            Err(Error::internal("it breaks off"))
        });
        assert!(failing.is_err());
        let kept = fs::read_to_string(directory.path().join("a.txt"));
        assert_eq!(kept.expect("it is there"), "one");
        assert_eq!(
            fs::read_dir(directory.path()).expect("it is there").count(),
            1
        );
    }

    #[test]
    fn names_with_a_part() {
        let place = Place::File("b/a.pb.gz".into());
        let expected = Place::File("b/a-12.pb.gz".into());
        assert_eq!(place.with_part("12", ".pb.gz"), expected);
        assert_eq!(Place::Stdout.with_part("12", ".pb.gz"), Place::Stdout);
    }
}
