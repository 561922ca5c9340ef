use std::sync::LazyLock;

use invivo_model::{
    About, Budget, Error, ErrorKind, FunctionKind, Profile, ProfileFrame, ProfileFunction,
    ProfileThread, Result, Sample, StackNode, Tables, Text,
};

/// Where a profile comes from: memory, or a recording that is read as it is needed.
///
/// Formats walk through the samples once or twice, and hold only what their file has to.
pub trait Source {
    /// Of what, when and how it was made.
    fn about(&self) -> &About;

    /// What samples refer to.
    fn tables(&self) -> &Tables;

    /// Calls `each` with each sample, in the order of time; the same ones each time it is called.
    ///
    /// # Errors
    ///
    /// What `each` fails with, which ends the walk, and what reading the samples fails with.
    fn for_each_sample(&self, each: &mut dyn FnMut(&Sample) -> Result<()>) -> Result<()>;

    /// The memory for what is made of it.
    fn budget(&self) -> Budget {
        Budget::default()
    }
}

impl Source for Profile {
    fn about(&self) -> &About {
        &self.about
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    fn for_each_sample(&self, each: &mut dyn FnMut(&Sample) -> Result<()>) -> Result<()> {
        self.samples.iter().try_for_each(each)
    }
}

/// What stands for the stack of a thread that ran no Python code.
static NOTHING: LazyLock<ProfileFunction> = LazyLock::new(|| ProfileFunction {
    name: Text {
        text: "<no Python code>".to_owned(),
        truncated: false,
    },
    file: Text::default(),
    first_line: 0,
    kind: FunctionKind::Native,
});

/// A source whose tables fit together, so that indices from it need no further check.
///
/// A stack that is none has become one more stack of one frame of one function of its own, each
/// the last of its kind: everywhere else a sample has a stack.
pub(crate) struct Checked<'a> {
    source: &'a dyn Source,
    pub(crate) about: &'a About,
    pub(crate) tables: &'a Tables,
    /// What is kept that grows with the profile is taken from it, and comes back in the end.
    pub(crate) budget: Budget,
}

/// A sample whose indices are known to be good.
pub(crate) struct Seen {
    pub(crate) thread: u32,
    pub(crate) stack: u32,
    pub(crate) sample: Sample,
}

impl<'a> Checked<'a> {
    pub(crate) fn new(source: &'a dyn Source) -> Result<Self> {
        let tables = source.tables();
        let fits = |index: u32, length: usize| (index as usize) < length;
        let frames = tables
            .frames
            .iter()
            .all(|frame| fits(frame.function, tables.functions.len()));
        let stacks = tables.stacks.iter().enumerate().all(|(n, stack)| {
            fits(stack.frame, tables.frames.len())
                && stack.caller.is_none_or(|caller| fits(caller, n))
        });
        let threads = tables
            .threads
            .iter()
            .all(|thread| fits(thread.process, tables.processes.len()));
        // One more of each must still have an index.
        let lengths = [
            tables.functions.len(),
            tables.frames.len(),
            tables.stacks.len(),
        ];
        let sizes = lengths
            .iter()
            .all(|length| u32::try_from(*length).is_ok_and(|length| length < u32::MAX));
        if !(frames && stacks && threads && sizes) {
            return Err(torn_apart("a table refers to what is not there"));
        }
        Ok(Self {
            source,
            about: source.about(),
            tables,
            budget: source.budget().part(),
        })
    }

    pub(crate) fn for_each_sample(&self, each: &mut dyn FnMut(&Seen) -> Result<()>) -> Result<()> {
        let (stacks, threads) = (self.tables.stacks.len(), self.tables.threads.len());
        self.source.for_each_sample(&mut |sample| {
            let stack = sample.stack.map_or(stacks, |stack| stack as usize);
            if sample.stack.is_some() && stack >= stacks || sample.thread as usize >= threads {
                return Err(torn_apart("a sample refers to what is not there"));
            }
            each(&Seen {
                thread: sample.thread,
                stack: stack as u32,
                sample: *sample,
            })
        })
    }

    /// How many stacks there are, that which is none among them.
    pub(crate) fn stacks(&self) -> usize {
        self.tables.stacks.len() + 1
    }

    /// How many frames there are, that of no stack among them.
    pub(crate) fn frames(&self) -> usize {
        self.tables.frames.len() + 1
    }

    /// How many functions there are, that of no stack among them.
    pub(crate) fn functions(&self) -> usize {
        self.tables.functions.len() + 1
    }

    pub(crate) fn stack(&self, index: u32) -> StackNode {
        let stack = self.tables.stacks.get(index as usize).copied();
        stack.unwrap_or(StackNode {
            caller: None,
            frame: self.tables.frames.len() as u32,
        })
    }

    pub(crate) fn frame(&self, index: u32) -> ProfileFrame {
        let frame = self.tables.frames.get(index as usize).copied();
        frame.unwrap_or(ProfileFrame {
            function: self.tables.functions.len() as u32,
            line: 0,
            columns: None,
            opcode: None,
        })
    }

    pub(crate) fn function(&self, index: u32) -> &ProfileFunction {
        let function = self.tables.functions.get(index as usize);
        function.unwrap_or_else(|| LazyLock::force(&NOTHING))
    }

    pub(crate) fn thread(&self, index: u32) -> &ProfileThread {
        &self.tables.threads[index as usize]
    }

    /// The stack and its callers, innermost first.
    pub(crate) fn callers(&self, stack: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(stack), |stack| self.stack(*stack).caller)
    }

    /// The time that so many ticks stand for in sums, in nanoseconds: each for its interval, and for
    /// its part of the ticks that were missed.
    pub(crate) fn time(&self, ticks: u64) -> u64 {
        let (taken, missed) = (self.about.ticks, self.about.missed);
        if missed == 0 || taken == 0 {
            return self.nanoseconds(ticks);
        }
        let due = u128::from(taken) + u128::from(missed);
        let time = u128::from(self.nanoseconds(ticks)) * due / u128::from(taken);
        u64::try_from(time).unwrap_or(u64::MAX)
    }

    /// How long so many ticks took when they were due, in nanoseconds.
    pub(crate) fn nanoseconds(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(self.about.interval.max(1))
    }
}

fn torn_apart(why: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the profile does not fit together",
        why,
        "record it again; if that does not help, please report it",
    )
}

#[cfg(test)]
mod tests {
    use invivo_model::{SampleStatus, Trust};

    use super::*;

    fn stack(caller: Option<u32>, frame: u32) -> StackNode {
        StackNode { caller, frame }
    }

    #[test]
    fn tables_that_do_not_fit_together() {
        let mut profile = Profile::default();
        assert!(Checked::new(&profile).is_ok());
        profile.tables.stacks = vec![stack(None, 0)];
        assert!(Checked::new(&profile).is_err());
        profile.tables.frames = vec![ProfileFrame {
            function: 0,
            line: 1,
            columns: None,
            opcode: None,
        }];
        assert!(Checked::new(&profile).is_err());
        profile.tables.functions = vec![NOTHING.clone()];
        assert!(Checked::new(&profile).is_ok());
        profile.tables.stacks = vec![stack(Some(0), 0)];
        let error = Checked::new(&profile).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Corrupt);
    }

    #[test]
    fn samples_that_do_not_fit() {
        let sample = Sample {
            time: 0,
            thread: 0,
            stack: None,
            status: SampleStatus::default(),
            trust: Trust::Whole,
            ticks: 1,
        };
        let profile = Profile {
            samples: vec![sample],
            ..Profile::default()
        };
        let checked = Checked::new(&profile).unwrap();
        let error = checked.for_each_sample(&mut |_| Ok(())).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Corrupt);
    }
}
