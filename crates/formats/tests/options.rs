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
    let text = String::from_utf8(written_with(Format::Collapsed, &profile, options)).unwrap();
    text[..text.find("# samples").unwrap()].to_owned()
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
fn each_says_the_rate_what_is_missing_and_what_it_took() {
    let mut profile = shop();
    profile.about.ticks = 1_000;
    profile.about.duration = 1_001_300_000;
    profile.about.missed = 34;
    profile.about.torn = 5;
    profile.about.own_time = 20_000_000;
    for format in Format::ALL {
        let said = unpacked(format, &profile);
        let expected: &[&str] = match format {
            Format::JsonLines => &[
                "\"missed\":34",
                "\"torn\":5",
                "\"rate\":998.7",
                "\"own_time\":20000000",
            ],
            Format::Collapsed => &[
                "missed=34 torn=5",
                "rate_reached=998.7",
                "own_cpu_seconds=0.02",
            ],
            _ => &[
                "34 of 1,034 ticks missed, 5 stacks torn",
                "1,000 Hz (998.7 reached)",
                "20.0 ms of CPU for sampling (2.0% of one)",
            ],
        };
        for words in expected {
            assert!(said.contains(words), "{format:?}: {words}\n{said}");
        }
    }
}

#[test]
fn ticks_that_were_missed_are_part_of_the_time_of_the_others() {
    let mut profile = shop();
    (profile.about.ticks, profile.about.missed) = (10, 15);
    let table = unpacked(Format::Table, &profile);
    assert!(
        table.contains(" 20.0 ms  80.0%   20.0 ms   80.0%  serve"),
        "{table}"
    );
    let page = unpacked(Format::FlameGraph, &profile);
    assert!(page.contains("{\"interval\":1000000,\"sample\":2500000,"));
}

#[test]
fn a_profile_without_samples_is_written_too() {
    for format in Format::ALL {
        let said = unpacked(format, &Profile::default());
        let count = ["0 samples", "\"samples\":0", "samples=0"];
        assert!(
            count.iter().any(|words| said.contains(words)),
            "{format:?}\n{said}"
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
        assert_eq!(error.kind, ErrorKind::Unwritten, "{format:?}");
    }
}
