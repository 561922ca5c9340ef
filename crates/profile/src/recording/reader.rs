//! Reading a recording.

use std::cell::RefCell;
use std::io::{self, Read, Seek, SeekFrom};

use invivo_model::{
    About, Error, ErrorKind, Looks, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread,
    Result, Sample, StackNode, Tables,
};
use rustc_hash::FxHashMap;

use super::block::{MAGIC, Next, Unpacker, fill};
use super::bytes::Input;
use super::samples::{Samples, Seats};
use super::{FORMAT, OLDEST_FORMAT, code, entry};

/// Entries of one table, and bytes of texts, that are read: a file that holds more is not one
/// that sampling has made.
const MAX_ENTRIES: usize = 1 << 24;
const MAX_TEXT: usize = 512 << 20;

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
    texts: usize,
    known_functions: FxHashMap<ProfileFunction, u32>,
    known_frames: FxHashMap<ProfileFrame, u32>,
    known_stacks: FxHashMap<StackNode, u32>,
}

impl<R: Read + Seek> Recording<R> {
    /// Whether what begins with these bytes is a recording. Eight of them are enough.
    pub fn is_one(start: &[u8]) -> bool {
        start.starts_with(&MAGIC)
    }

    /// Reads all but the samples. One that breaks off, or is damaged further on, is read up to
    /// there.
    ///
    /// # Errors
    ///
    /// `Usage` where it is no recording, `Unsupported` where it is one of a later Invivo,
    /// `Corrupt` where not even its beginning can be read, `Refused` where the file can't be.
    pub fn open(mut input: R) -> Result<Self> {
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
        let mut index = Index::default();
        let (mut blocks, mut is_complete, mut damage) = (0, false, None);
        while !is_complete {
            match unpacker.read(&mut input).map_err(unreadable)? {
                Next::End => break,
                Next::Damaged(why) => {
                    damage = Some(why);
                    break;
                }
                Next::Block { last } => {
                    if let Err(met) = index.add(&unpacker.block, blocks == 0) {
                        damage = Some(met?);
                        break;
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
        index.known_functions = FxHashMap::default();
        index.known_frames = FxHashMap::default();
        index.known_stacks = FxHashMap::default();
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

impl Index {
    /// Takes what a block holds, and makes sure that its samples can be read. The inner error says
    /// what is damaged, and the outer one that nothing can be read at all.
    fn add(&mut self, block: &[u8], first: bool) -> Result<(), Result<&'static str>> {
        let mut parts = Parts::new(block).ok_or(Ok(FORM))?;
        if first {
            self.start(&mut parts.tables)?;
        }
        while !parts.tables.is_empty() {
            self.entry(&mut parts.tables).ok_or(Ok(FORM))?;
            let tables = &self.tables;
            let most = [
                tables.threads.len(),
                tables.processes.len(),
                self.functions.len(),
                self.frames.len(),
                self.stacks.len(),
            ];
            if most.into_iter().any(|count| count > MAX_ENTRIES) || self.texts > MAX_TEXT {
                return Err(Ok("it holds more than sampling can have made"));
            }
        }
        let mut found = Vec::new();
        self.read_samples(parts.samples, &mut Seats::default(), &mut found)
            .ok_or(Ok(FORM))?;
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
    fn start(&mut self, input: &mut Input<'_>) -> Result<(), Result<&'static str>> {
        let form = || Ok(FORM);
        if input.byte() != Some(entry::START) {
            return Err(form());
        }
        let format = input.number().ok_or_else(form)?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
            return Err(Err(Error::new(
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
                creator: input.string()?,
                ..About::default()
            })
        })();
        self.about = about.ok_or_else(form)?;
        Ok(())
    }

    /// Another entry of the tables; `None` where it has no known form or refers to what is not
    /// there.
    fn entry(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? {
            entry::FUNCTION => self.function(input),
            entry::FRAME => self.frame(input),
            entry::STACK => self.stack(input),
            entry::PROCESS => self.process(input),
            entry::THREAD => self.thread(input),
            entry::RENAME => {
                let thread = input.small()?;
                let name = input.text()?;
                self.texts += name.text.len();
                self.tables.threads.get_mut(thread as usize)?.name = Some(name);
                Some(())
            }
            entry::LOOKS => {
                self.about.looks = Looks {
                    own_processor: input.number()?,
                    elsewhere: input.number()?,
                    stopped: input.number()?,
                };
                Some(())
            }
            _ => None,
        }
    }

    fn function(&mut self, input: &mut Input<'_>) -> Option<()> {
        let function = ProfileFunction {
            kind: code::to_kind(input.byte()?)?,
            name: input.text()?,
            file: input.text()?,
            first_line: input.small()?,
        };
        let number = match self.known_functions.get(&function) {
            Some(number) => *number,
            None => {
                // Once in the table, and once here while the file is opened.
                self.texts += 2 * (function.name.text.len() + function.file.text.len());
                let number = u32::try_from(self.tables.functions.len()).ok()?;
                self.tables.functions.push(function.clone());
                self.known_functions.insert(function, number);
                number
            }
        };
        self.functions.push(number);
        Some(())
    }

    fn frame(&mut self, input: &mut Input<'_>) -> Option<()> {
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
        let frame = ProfileFrame {
            function,
            line,
            columns,
            opcode,
        };
        let table = &mut self.tables.frames;
        let next = u32::try_from(table.len()).ok()?;
        let number = *self.known_frames.entry(frame).or_insert_with(|| {
            table.push(frame);
            next
        });
        self.frames.push(number);
        (has < 4).then_some(())
    }

    fn stack(&mut self, input: &mut Input<'_>) -> Option<()> {
        let caller = match input.option()? {
            Some(caller) => Some(*self.stacks.get(caller as usize)?),
            None => None,
        };
        let frame = input.small()?;
        let frame = *self.frames.get(frame as usize)?;
        let stack = StackNode { caller, frame };
        let table = &mut self.tables.stacks;
        let next = u32::try_from(table.len()).ok()?;
        let number = *self.known_stacks.entry(stack).or_insert_with(|| {
            table.push(stack);
            next
        });
        self.stacks.push(number);
        Some(())
    }

    fn process(&mut self, input: &mut Input<'_>) -> Option<()> {
        let pid = input.small()?;
        let parent = input.option()?;
        let version = input.string()?;
        self.texts += version.len();
        let count = input.number()?;
        let mut command = Vec::new();
        for _ in 0..count {
            let argument = input.string()?;
            self.texts += argument.len() + size_of::<String>();
            command.push(argument);
        }
        self.tables.processes.push(ProfileProcess {
            pid,
            parent,
            command,
            version,
        });
        Some(())
    }

    fn thread(&mut self, input: &mut Input<'_>) -> Option<()> {
        let process = input.small()?;
        self.tables.processes.get(process as usize)?;
        let tid = input.small()?;
        let interpreter = input.signed()?;
        let flags = input.byte()?;
        let name = match flags & 2 {
            0 => None,
            _ => Some(input.text()?),
        };
        self.texts += name.as_ref().map_or(0, |name| name.text.len());
        self.tables.threads.push(ProfileThread {
            process,
            tid,
            name,
            interpreter,
            is_main: flags & 1 != 0,
        });
        (flags < 4).then_some(())
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

fn unreadable(error: io::Error) -> Error {
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
