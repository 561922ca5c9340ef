//! What can be chosen, what each format says of what is missing, and what it does without samples.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Read;

use common::{of_stacks, text, written, written_with};
use flate2::read::GzDecoder;
use invivo_formats::{By, Format, Options, write};
use invivo_model::{ErrorKind, Profile};

fn shop() -> Profile {
    of_stacks(&[
        (&["main", "serve"], 0, 7),
        (&["main"], 1, 2),
        (&["main", "serve"], 1, 1),
    ])
}

fn collapsed(options: &Options<'_>) -> String {
    let mut profile = shop();
    profile.tables.threads[1].name = Some(text("a;b"));
    String::from_utf8(written_with(Format::Collapsed, &profile, options)).unwrap()
}

#[test]
fn collapsed_stacks_by_function_line_and_thread() {
    assert_eq!(
        collapsed(&Options::default()),
        "main (/app/main.py) 2\nmain (/app/main.py);serve (/app/serve.py) 8\n"
    );
    let options = Options {
        by: By::Line,
        threads: true,
        ..Options::default()
    };
    assert_eq!(
        collapsed(&options),
        "main thread (1000);main (/app/main.py:11);serve (/app/serve.py:12) 7\n\
         a\\x3bb (1001);main (/app/main.py:11) 2\n\
         a\\x3bb (1001);main (/app/main.py:11);serve (/app/serve.py:12) 1\n"
    );
}

/// A file as text, unpacked if it is packed.
fn unpacked(format: Format, profile: &Profile) -> String {
    let mut bytes = written(format, profile);
    if bytes.starts_with(&[0x1F, 0x8B]) {
        let packed = std::mem::take(&mut bytes);
        GzDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn what_is_missing_is_said_wherever_there_is_a_place_for_it() {
    let mut profile = shop();
    profile.about.ticks = 1_000;
    profile.about.missed = 34;
    profile.about.torn = 5;
    for format in Format::ALL {
        let said = unpacked(format, &profile);
        let words = said.contains("34 of 1,034 ticks missed, 5 stacks torn");
        let numbers = said.contains("\"missed\":34") && said.contains("\"torn\":5");
        let silent = matches!(format, Format::Collapsed | Format::Pstats);
        assert_eq!(words || numbers, !silent, "{format:?}");
    }
}

#[test]
fn a_profile_without_samples_is_written_too() {
    for format in Format::ALL {
        let file = written(format, &Profile::default());
        assert!(
            format == Format::Collapsed || !file.is_empty(),
            "{format:?}"
        );
    }
}

/// A disk that is full.
struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error() {
    for format in Format::ALL {
        let error = write(format, &shop(), &Options::default(), &mut Full).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{format:?}");
    }
}
