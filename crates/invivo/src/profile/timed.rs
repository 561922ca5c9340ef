use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::time::Instant;

use invivo_formats::Source;
use invivo_model::{About, Budget, Error, ErrorKind, Result, Sample, Tables};

/// A file or a profile that is read, or something that is written to, until a deadline: then it
/// fails with `TimedOut`. A few bytes can ask for any amount of work.
pub struct Timed<T> {
    inner: T,
    /// `None` for no deadline.
    until: Option<Instant>,
    /// How often it was written to.
    writes: u32,
}

impl<T> Timed<T> {
    /// `inner` until then.
    pub fn new(inner: T, until: Option<Instant>) -> Self {
        Self {
            inner,
            until,
            writes: 0,
        }
    }

    fn is_over(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn ensure_time(&self) -> io::Result<()> {
        if self.is_over() {
            let why = "the time that it may take has passed";
            return Err(io::Error::new(io::ErrorKind::TimedOut, why));
        }
        Ok(())
    }
}

impl<T: Read> Read for Timed<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ensure_time()?;
        self.inner.read(buffer)
    }
}

impl<T: Seek> Seek for Timed<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl<T: Write> Write for Timed<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Most writes are of a few bytes, and looking at the clock would take longer.
        if bytes.len() > 256 || self.writes.is_multiple_of(64) {
            self.ensure_time()?;
        }
        self.writes = self.writes.wrapping_add(1);
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl Source for Timed<&dyn Source> {
    fn about(&self) -> &About {
        self.inner.about()
    }

    fn tables(&self) -> &Tables {
        self.inner.tables()
    }

    fn for_each_sample(&self, each: &mut dyn FnMut(&Sample) -> Result<()>) -> Result<()> {
        self.inner.for_each_sample(&mut |sample| {
            // What is made of one may go through all of its stack.
            if self.is_over() {
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    "the profile was not made in time",
                    "the time that it may take has passed",
                    "give it more time: --timeout SECONDS",
                ));
            }
            each(sample)
        })
    }

    fn budget(&self) -> Budget {
        self.inner.budget()
    }
}

impl<T> fmt::Debug for Timed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed")
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use invivo_model::Profile;

    use super::*;

    #[test]
    fn nothing_goes_on_when_the_time_is_up() {
        let over = Some(Instant::now());
        let mut buffer = [0; 4];
        let read = Timed::new(&b"abcd"[..], over).read(&mut buffer);
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let written = Timed::new(Vec::new(), over).write(b"abcd");
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(Timed::new(&b"abcd"[..], None).read(&mut buffer).unwrap(), 4);
        let profile = Profile {
            samples: vec![Sample {
                time: 0,
                thread: 0,
                stack: None,
                status: Default::default(),
                trust: invivo_model::Trust::Whole,
                ticks: 1,
            }],
            ..Profile::default()
        };
        let timed = Timed::new(&profile as &dyn Source, over);
        let error = timed.for_each_sample(&mut |_| Ok(())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::TimedOut);
    }
}
