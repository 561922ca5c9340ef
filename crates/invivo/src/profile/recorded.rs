use std::io::{Read, Seek};

use invivo_formats::Source;
use invivo_model::{About, Budget, Result, Sample, Tables};
use invivo_profile::Recording;

/// A recording, read as far as it goes: what a [`Recorder`](super::Recorder) wrote, whole or not.
#[derive(Debug)]
pub struct Recorded<R>(Recording<R>);

impl<R: Read + Seek> Recorded<R> {
    /// Reads all but the samples. One that breaks off, or is damaged further on, is read up to
    /// there.
    ///
    /// # Errors
    /// `Usage` where it is no recording, `Unsupported` where it is one of a later Invivo,
    /// `Corrupt` where not even its beginning can be read or it holds too much, `Refused` where the
    /// file can't be, `TimedOut` where that is what reading it fails with.
    pub fn open(input: R) -> Result<Self> {
        Self::open_within(input, &Budget::default())
    }

    /// The same, with other memory for what is made of it than [`Budget::USUAL`].
    ///
    /// # Errors
    /// As [`Recorded::open`].
    pub fn open_within(input: R, budget: &Budget) -> Result<Self> {
        Recording::open(input, budget).map(Self)
    }

    /// Whether it was ended in an orderly way. Else who recorded was killed, or it still goes on.
    pub fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    /// Why what follows the part that is there could not be read, if anything does.
    pub fn damage(&self) -> Option<&'static str> {
        self.0.damage()
    }
}

impl<R: Read + Seek> Source for Recorded<R> {
    fn about(&self) -> &About {
        self.0.about()
    }

    fn tables(&self) -> &Tables {
        self.0.tables()
    }

    fn for_each_sample(&self, each: &mut dyn FnMut(&Sample) -> Result<()>) -> Result<()> {
        self.0.for_each_sample(each)
    }

    fn budget(&self) -> Budget {
        self.0.budget().clone()
    }
}
