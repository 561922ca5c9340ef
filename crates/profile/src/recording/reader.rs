//! Reading a recording.

use std::cell::RefCell;
use std::hash::Hash;
use std::io::{self, Read, Seek, SeekFrom};

use invivo_model::{
    About, Budget, Error, ErrorKind, Looks, ProfileFrame, ProfileFunction, ProfileProcess,
    ProfileThread, Result, Sample, StackNode, Tables, Text,
};
use rustc_hash::FxHashMap;

use super::block::{MAGIC, Next, Unpacker, fill};
use super::bytes::Input;
use super::samples::{Samples, Seats};
use super::{FORMAT, MAX_ARGUMENTS, MAX_TEXT, OLDEST_FORMAT, code, entry};

/// A recording, read as far as it goes.
///
/// What it is about and the tables are held, samples are read from the file when they are asked
/// for, one block of them at a time.
#[derive(Debug)]
pub struct Recording<R> {
    input: RefCell<R>,
    index: Index,
    /// How many blocks there are to be read.
    blocks: usize,
    is_complete: bool,
    damage: Option<&'static str>,
}

/// What samples refer to, and how the numbers in the file lead there.
#[derive(Debug, Default)]
struct Index {
    about: About,
    tables: Tables,
    /// The same things may be in the file more than once. These say for each number in it which
    /// entry of the tables it stands for.
    functions: Vec<u32>,
    frames: Vec<u32>,
    stacks: Vec<u32>,
    budget: Budget,
}

/// What is in the tables, while they are made.
#[derive(Debug)]
struct Known {
    functions: FxHashMap<ProfileFunction, u32>,
    frames: FxHashMap<ProfileFrame, u32>,
    stacks: FxHashMap<StackNode, u32>,
    budget: Budget,
}

/// Why a block is not read.
enum Flaw {
    /// It is damaged: what comes before it can be read.
    Damage(&'static str),
    /// Nothing can be.
    Whole(Error),
}

impl From<&'static str> for Flaw {
    fn from(damage: &'static str) -> Self {
        Self::Damage(damage)
    }
}

impl From<Error> for Flaw {
    fn from(error: Error) -> Self {
        Self::Whole(error)
    }
}

impl<R: Read + Seek> Recording<R> {
    /// Whether what begins with these bytes is a recording. Eight of them are enough.
    pub fn is_one(start: &[u8]) -> bool {
        start.starts_with(&MAGIC)
    }

    /// Reads all but the samples. One that breaks off, or is damaged further on, is read up to
    /// there. What it holds is kept in memory of `budget`.
    ///
    /// # Errors
    ///
    /// `Usage` where it is no recording, `Unsupported` where it is one of a later Invivo,
    /// `Corrupt` where not even its beginning can be read or it holds more than there is memory for,
    /// `Refused` where the file can't be, `TimedOut` where that is what reading it fails with.
    pub fn open(mut input: R, budget: &Budget) -> Result<Self> {
        input.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut magic = [0; MAGIC.len()];
        fill(&mut input, &mut magic).map_err(unreadable)?;
        if !Self::is_one(&magic) {
            return Err(Error::new(
                ErrorKind::Usage,
                "the file can't be read as a recording",
                "it does not begin as one",
                "record one with: invivo record",
            ));
        }
        let mut unpacker = Unpacker::new();
        let mut index = Index {
            budget: budget.clone(),
            ..Index::default()
        };
        let mut known = Known::new(budget);
        let (mut blocks, mut is_complete, mut damage) = (0, false, None);
        while !is_complete {
            match unpacker.read(&mut input).map_err(unreadable)? {
                Next::End => break,
                Next::Damaged(why) => {
                    damage = Some(why);
                    break;
                }
                Next::Block { last } => {
                    match index.add(&unpacker.block, &mut known, blocks == 0) {
                        Ok(()) => {}
                        Err(Flaw::Damage(why)) => {
                            damage = Some(why);
                            break;
                        }
                        Err(Flaw::Whole(error)) => return Err(error),
                    }
                    blocks += 1;
                    is_complete = last;
                }
            }
        }
        if blocks == 0 {
            let why = damage.unwrap_or("it ends before anything was written");
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the recording can't be read",
                why,
                "record again with: invivo record",
            ));
        }
        Ok(Self {
            input: RefCell::new(input),
            index,
            blocks,
            is_complete,
            damage,
        })
    }

    /// Of what, when and how it was made. Where it is not complete, as it stood at the end of what
    /// is there.
    pub fn about(&self) -> &About {
        &self.index.about
    }

    /// What samples refer to.
    pub fn tables(&self) -> &Tables {
        &self.index.tables
    }

    /// The memory for what is made of it.
    pub fn budget(&self) -> &Budget {
        &self.index.budget
    }

    /// Whether it was ended in an orderly way. Else who recorded was killed, or it still goes on.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Why what follows the part that is there could not be read, if anything does.
    pub fn damage(&self) -> Option<&'static str> {
        self.damage
    }

    /// Calls `each` with each sample, in the order of time; the same ones each time it is called.
    ///
    /// # Errors
    ///
    /// What `each` fails with, which ends the walk; `Refused` where the file can't be read, and
    /// `Corrupt` where it has changed since it was opened.
    pub fn for_each_sample(&self, each: &mut dyn FnMut(&Sample) -> Result<()>) -> Result<()> {
        let mut input = self.input.try_borrow_mut().map_err(|_| {
            Error::internal("the samples of a recording were asked for while they were read")
        })?;
        let start = SeekFrom::Start(MAGIC.len() as u64);
        input.seek(start).map_err(unreadable)?;
        let mut unpacker = Unpacker::new();
        let mut seats = Seats::default();
        let mut found = Vec::new();
        for _ in 0..self.blocks {
            let next = unpacker.read(&mut *input).map_err(unreadable)?;
            let read = match next {
                Next::Block { .. } => self.index.samples(&unpacker.block, &mut seats, &mut found),
                Next::End | Next::Damaged(_) => None,
            };
            read.ok_or_else(changed)?;
            found.iter().try_for_each(&mut *each)?;
        }
        Ok(())
    }
}

/// The parts of a block.
struct Parts<'a> {
    progress: [u64; 5],
    tables: Input<'a>,
    samples: Samples<'a>,
}

impl<'a> Parts<'a> {
    fn new(block: &'a [u8]) -> Option<Self> {
        let mut input = Input(block);
        let mut progress = [0; 5];
        for number in &mut progress {
            *number = input.number()?;
        }
        let tables = Input(input.bytes()?);
        let ticks = input.number()?;
        let begun = input.number()?;
        Some(Self {
            progress,
            tables,
            samples: Samples::new(input, ticks, begun),
        })
    }
}

const FORM: &str = "a block holds what is not of the form it should be";

impl Known {
    /// What they take comes back when the tables are made.
    fn new(budget: &Budget) -> Self {
        Self {
            functions: FxHashMap::default(),
            frames: FxHashMap::default(),
            stacks: FxHashMap::default(),
            budget: budget.part(),
        }
    }
}

/// The number that a thing has in a table, to which it is added where it is not there.
fn number_of<T: Clone + Eq + Hash>(
    thing: T,
    table: &mut Vec<T>,
    known: &mut FxHashMap<T, u32>,
    budget: (&Budget, &Budget),
) -> Result<u32, Flaw> {
    if let Some(number) = known.get(&thing) {
        return Ok(*number);
    }
    let number = u32::try_from(table.len()).map_err(|_| FORM)?;
    budget.1.make_room(known)?;
    budget.0.push(table, thing.clone())?;
    known.insert(thing, number);
    Ok(number)
}

impl Index {
    /// Takes what a block holds, and makes sure that its samples can be read.
    fn add(&mut self, block: &[u8], known: &mut Known, first: bool) -> Result<(), Flaw> {
        let mut parts = Parts::new(block).ok_or(FORM)?;
        if first {
            self.start(&mut parts.tables)?;
        }
        while !parts.tables.is_empty() {
            self.entry(&mut parts.tables, known)?;
        }
        let mut found = Vec::new();
        self.read_samples(parts.samples, &mut Seats::default(), &mut found)
            .ok_or(FORM)?;
        let [duration, ticks, missed, torn, own_time] = parts.progress;
        self.about = About {
            duration,
            ticks,
            missed,
            torn,
            own_time,
            ..std::mem::take(&mut self.about)
        };
        Ok(())
    }

    /// The entry that the first block begins with.
    fn start(&mut self, input: &mut Input<'_>) -> Result<(), Flaw> {
        if input.byte() != Some(entry::START) {
            return Err(FORM.into());
        }
        let format = input.number().ok_or(FORM)?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
            return Err(Flaw::Whole(Error::new(
                ErrorKind::Unsupported,
                "the recording can't be read",
                format!("it has format {format}, and {OLDEST_FORMAT} to {FORMAT} are known"),
                "read it with the Invivo that made it, or a later one",
            )));
        }
        let about = (|| {
            Some(About {
                started: input.number()?,
                interval: input.number()?,
                mode: code::to_mode(input.byte()?)?,
                creator: short(input.string()?)?,
                ..About::default()
            })
        })();
        self.about = about.ok_or(FORM)?;
        Ok(())
    }

    /// Another entry of the tables: damage where it has no known form or refers to what is not
    /// there.
    fn entry(&mut self, input: &mut Input<'_>, known: &mut Known) -> Result<(), Flaw> {
        match input.byte().ok_or(FORM)? {
            entry::FUNCTION => self.function(input, known),
            entry::FRAME => self.frame(input, known),
            entry::STACK => self.stack(input, known),
            entry::PROCESS => self.process(input),
            entry::THREAD => self.thread(input),
            entry::RENAME => self.rename(input),
            entry::LOOKS => {
                let mut next = || input.number().ok_or(FORM);
                self.about.looks = Looks {
                    own_processor: next()?,
                    elsewhere: next()?,
                    stopped: next()?,
                };
                Ok(())
            }
            _ => Err(FORM.into()),
        }
    }

    fn function(&mut self, input: &mut Input<'_>, known: &mut Known) -> Result<(), Flaw> {
        let function = (|| {
            Some(ProfileFunction {
                kind: code::to_kind(input.byte()?)?,
                name: short_text(input.text()?)?,
                file: short_text(input.text()?)?,
                first_line: input.small()?,
            })
        })();
        let function = function.ok_or(FORM)?;
        if !known.functions.contains_key(&function) {
            self.budget.take(function.size())?;
            known.budget.take(function.size())?;
        }
        let budget = (&self.budget, &known.budget);
        let table = &mut self.tables.functions;
        let number = number_of(function, table, &mut known.functions, budget)?;
        self.budget.push(&mut self.functions, number)?;
        Ok(())
    }

    fn frame(&mut self, input: &mut Input<'_>, known: &mut Known) -> Result<(), Flaw> {
        let frame = (|| {
            let function = input.small()?;
            let function = *self.functions.get(function as usize)?;
            let line = input.small()?;
            let has = input.byte()?;
            let columns = match has & 1 {
                0 => None,
                _ => Some((input.small()?, input.small()?)),
            };
            let opcode = match has & 2 {
                0 => None,
                _ => Some(input.byte()?),
            };
            (has < 4).then_some(ProfileFrame {
                function,
                line,
                columns,
                opcode,
            })
        })();
        let budget = (&self.budget, &known.budget);
        let table = &mut self.tables.frames;
        let number = number_of(frame.ok_or(FORM)?, table, &mut known.frames, budget)?;
        self.budget.push(&mut self.frames, number)?;
        Ok(())
    }

    fn stack(&mut self, input: &mut Input<'_>, known: &mut Known) -> Result<(), Flaw> {
        let stack = (|| {
            let caller = match input.option()? {
                Some(caller) => Some(*self.stacks.get(caller as usize)?),
                None => None,
            };
            let frame = input.small()?;
            let frame = *self.frames.get(frame as usize)?;
            Some(StackNode { caller, frame })
        })();
        let budget = (&self.budget, &known.budget);
        let table = &mut self.tables.stacks;
        let number = number_of(stack.ok_or(FORM)?, table, &mut known.stacks, budget)?;
        self.budget.push(&mut self.stacks, number)?;
        Ok(())
    }

    fn process(&mut self, input: &mut Input<'_>) -> Result<(), Flaw> {
        let process = (|| {
            let pid = input.small()?;
            let parent = input.option()?;
            let version = short(input.string()?)?;
            let count = input.number()?;
            if count > MAX_ARGUMENTS as u64 {
                return None;
            }
            let command = (0..count).map(|_| short(input.string()?));
            Some(ProfileProcess {
                pid,
                parent,
                command: command.collect::<Option<_>>()?,
                version,
            })
        })();
        let process = process.ok_or(FORM)?;
        self.budget.take(process.size())?;
        self.budget.push(&mut self.tables.processes, process)?;
        Ok(())
    }

    fn thread(&mut self, input: &mut Input<'_>) -> Result<(), Flaw> {
        let thread = (|| {
            let process = input.small()?;
            self.tables.processes.get(process as usize)?;
            let tid = input.small()?;
            let interpreter = input.signed()?;
            let flags = input.byte()?;
            let name = match flags & 2 {
                0 => None,
                _ => Some(short_text(input.text()?)?),
            };
            (flags < 4).then_some(ProfileThread {
                process,
                tid,
                name,
                interpreter,
                is_main: flags & 1 != 0,
            })
        })();
        let thread = thread.ok_or(FORM)?;
        let name = thread.name.as_ref().map_or(0, |name| name.text.len());
        // What it does is noted whenever samples are read.
        self.budget.take(name + 2 * Seats::SIZE)?;
        self.budget.push(&mut self.tables.threads, thread)?;
        Ok(())
    }

    fn rename(&mut self, input: &mut Input<'_>) -> Result<(), Flaw> {
        let thread = input.small().ok_or(FORM)?;
        let name = input.text().and_then(short_text).ok_or(FORM)?;
        let thread = self.tables.threads.get_mut(thread as usize);
        let thread = thread.ok_or(FORM)?;
        let before = thread.name.as_ref().map_or(0, |name| name.text.len());
        self.budget.take(name.text.len().saturating_sub(before))?;
        thread.name = Some(name);
        Ok(())
    }

    /// The samples of a block, in the order of time.
    fn samples(&self, block: &[u8], seats: &mut Seats, found: &mut Vec<Sample>) -> Option<()> {
        self.read_samples(Parts::new(block)?.samples, seats, found)
    }

    fn read_samples(
        &self,
        samples: Samples<'_>,
        seats: &mut Seats,
        found: &mut Vec<Sample>,
    ) -> Option<()> {
        found.clear();
        let interval = self.about.interval;
        samples.read(interval, self.tables.threads.len(), seats, found)?;
        for sample in found.iter_mut() {
            if let Some(stack) = &mut sample.stack {
                *stack = *self.stacks.get(*stack as usize)?;
            }
        }
        found.sort_by_key(|sample| (sample.time, sample.thread));
        Some(())
    }
}

/// A text of no more bytes than a writer keeps.
fn short(text: String) -> Option<String> {
    (text.len() <= MAX_TEXT).then_some(text)
}

fn short_text(text: Text) -> Option<Text> {
    (text.text.len() <= MAX_TEXT).then_some(text)
}

fn unreadable(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::TimedOut {
        return Error::new(
            ErrorKind::TimedOut,
            "the recording was not read in time",
            error.to_string(),
            "give it more time: --timeout SECONDS",
        );
    }
    Error::new(
        ErrorKind::Refused,
        "the recording can't be read",
        error.to_string(),
        "look whether the file may be read",
    )
}

fn changed() -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "the recording can't be read",
        "its file has changed since it was opened",
        "open it again",
    )
}
