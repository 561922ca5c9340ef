//! A file for [pprof](https://github.com/google/pprof) and what reads its format: a gzipped message
//! of its `profile.proto`, encoded by hand since it takes no more than numbers and strings.
//!
//! Each sample has two values: ticks as `samples/count`, and the time they stand for as
//! `wall/nanoseconds` (or what the mode of the profile counts). Its labels are `thread`, `tid`,
//! `pid`, `status` where anything is known of it, and `trust` where a stack is not certain. Samples
//! that are alike are one; the format has no order of time. A location is a line of a function.
//! What is missing from the profile stands in its comments.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use invivo_model::escape::shown;
use invivo_model::{Budget, Result};

use crate::counts::{Counts, Key};
use crate::source::Checked;
use crate::{Options, Writer, names, summary, unwritten};

pub(crate) struct Pprof;

/// Numbers of fields of a `Profile` in `profile.proto`; those of what it holds stand where they are
/// written, in the order of its declarations.
mod field {
    pub(super) const SAMPLE_TYPE: u32 = 1;
    pub(super) const SAMPLE: u32 = 2;
    pub(super) const MAPPING: u32 = 3;
    pub(super) const LOCATION: u32 = 4;
    pub(super) const FUNCTION: u32 = 5;
    pub(super) const STRING: u32 = 6;
    pub(super) const TIME: u32 = 9;
    pub(super) const DURATION: u32 = 10;
    pub(super) const PERIOD_TYPE: u32 = 11;
    pub(super) const PERIOD: u32 = 12;
    pub(super) const COMMENT: u32 = 13;
    pub(super) const DEFAULT_SAMPLE_TYPE: u32 = 14;
}

impl Writer for Pprof {
    fn write(&self, profile: &Checked<'_>, _: &Options<'_>, out: &mut dyn Write) -> Result<()> {
        let counts = Counts::new(profile)?;
        let mut file = File {
            out: GzEncoder::new(out, Compression::fast()),
            strings: Strings::new(&profile.budget),
        };
        file.head(profile, counts.total)?;
        file.places(profile)?;
        // Of a sample, its stack as a message, in another and in what is written.
        profile.budget.take_list::<[u8; 20]>(profile.stacks())?;
        let threads = profile.tables.threads.len() as u32;
        profile.budget.take_list::<[u64; 8]>(threads as usize)?;
        let threads = (0..threads).map(|thread| file.thread_labels(profile, thread));
        let threads: Vec<Message> = threads.collect::<Result<_>>()?;
        for (key, ticks) in &counts.by_key {
            file.sample(profile, key, *ticks, &threads[key.thread as usize])?;
        }
        file.end()
    }
}

/// A message's bytes.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    /// A number; one that is zero is left out, as it is what is read where none is.
    fn number(&mut self, field: u32, number: u64) {
        if number > 0 {
            self.varint(u64::from(field) << 3);
            self.varint(number);
        }
    }

    /// Several numbers as one field.
    fn numbers(&mut self, field: u32, numbers: impl IntoIterator<Item = u64>) {
        let mut packed = Message::default();
        numbers.into_iter().for_each(|number| packed.varint(number));
        self.bytes(field, &packed.0);
    }

    /// A string, or a message within this one.
    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

/// The table of strings; the first is the empty one.
struct Strings {
    known: HashMap<String, u64>,
    list: Vec<String>,
    budget: Budget,
}

impl Strings {
    fn new(budget: &Budget) -> Self {
        Self {
            budget: budget.clone(),
            known: HashMap::from([(String::new(), 0)]),
            list: vec![String::new()],
        }
    }

    fn add(&mut self, text: &str) -> Result<u64> {
        if let Some(index) = self.known.get(text) {
            return Ok(*index);
        }
        // Once in the list, and once in the table.
        self.budget.take_text(text)?;
        self.budget.take_text(text)?;
        self.budget.take_map::<(String, u64)>(1)?;
        let index = self.list.len() as u64;
        self.known.insert(text.to_owned(), index);
        self.list.push(text.to_owned());
        Ok(index)
    }
}

struct File<W: Write> {
    out: GzEncoder<W>,
    strings: Strings,
}

impl<W: Write> File<W> {
    fn put(&mut self, message: &Message) -> Result<()> {
        self.out.write_all(&message.0).map_err(unwritten)
    }

    fn within(&mut self, field: u32, message: &Message) -> Result<()> {
        let mut outer = Message::default();
        outer.bytes(field, &message.0);
        self.put(&outer)
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Result<Message> {
        let mut value = Message::default();
        value.number(1, self.strings.add(kind)?);
        value.number(2, self.strings.add(unit)?);
        Ok(value)
    }

    /// What is counted, when, and what is missing.
    fn head(&mut self, profile: &Checked<'_>, ticks: u64) -> Result<()> {
        let about = profile.about;
        let counted = names::mode(about.mode);
        let samples = self.value_type("samples", "count")?;
        let time = self.value_type(counted, "nanoseconds")?;
        self.within(field::SAMPLE_TYPE, &samples)?;
        self.within(field::SAMPLE_TYPE, &time)?;
        self.within(field::PERIOD_TYPE, &time)?;
        let mut rest = Message::default();
        rest.number(field::TIME, about.started);
        rest.number(field::DURATION, about.duration);
        rest.number(field::PERIOD, profile.nanoseconds(1));
        rest.number(field::DEFAULT_SAMPLE_TYPE, self.strings.add(counted)?);
        let title = summary::title(profile);
        let comments: Result<Vec<u64>> = [title, summary::made(about)]
            .iter()
            .chain(&summary::facts(profile, ticks))
            .map(|comment| self.strings.add(comment))
            .collect();
        rest.numbers(field::COMMENT, comments?);
        self.put(&rest)?;

        // One mapping that has everything, so that nobody looks for symbols elsewhere.
        let mut mapping = Message::default();
        mapping.number(1, 1);
        let program = profile.tables.processes.first();
        let program = program.and_then(|process| process.command.first());
        let program = program.map_or("python", String::as_str);
        mapping.number(5, self.strings.add(&shown(program))?);
        for has in [7, 8, 9] {
            mapping.number(has, 1);
        }
        self.within(field::MAPPING, &mapping)
    }

    /// Functions and locations: their numbers are those of the tables, from 1.
    fn places(&mut self, profile: &Checked<'_>) -> Result<()> {
        for index in 0..profile.functions() as u32 {
            let function = profile.function(index);
            let name = self.strings.add(&names::function(function))?;
            let mut message = Message::default();
            message.number(1, u64::from(index) + 1);
            message.number(2, name);
            message.number(3, name);
            message.number(4, self.strings.add(&names::file(function))?);
            message.number(5, function.first_line.into());
            self.within(field::FUNCTION, &message)?;
        }
        for index in 0..profile.frames() as u32 {
            let frame = profile.frame(index);
            let mut line = Message::default();
            line.number(1, u64::from(frame.function) + 1);
            line.number(2, frame.line.into());
            let mut location = Message::default();
            location.number(1, u64::from(index) + 1);
            location.number(2, 1);
            location.bytes(4, &line.0);
            self.within(field::LOCATION, &location)?;
        }
        Ok(())
    }

    /// The labels that a thread's samples have, as they stand in each of them.
    fn thread_labels(&mut self, profile: &Checked<'_>, thread: u32) -> Result<Message> {
        let thread = profile.thread(thread);
        let process = &profile.tables.processes[thread.process as usize];
        let mut labels = Message::default();
        self.text_label(&mut labels, "thread", &names::thread(profile, thread))?;
        self.number_label(&mut labels, "tid", thread.tid)?;
        self.number_label(&mut labels, "pid", process.pid)?;
        Ok(labels)
    }

    fn sample(
        &mut self,
        profile: &Checked<'_>,
        key: &Key,
        ticks: u64,
        thread: &Message,
    ) -> Result<()> {
        let mut sample = Message::default();
        let frames = profile
            .callers(key.stack)
            .map(|stack| profile.stack(stack).frame);
        sample.numbers(1, frames.map(|frame| u64::from(frame) + 1));
        sample.numbers(2, [ticks, profile.time(ticks)]);
        sample.0.extend_from_slice(&thread.0);
        let status = names::status(key.status);
        if !status.is_empty() {
            self.text_label(&mut sample, "status", &status)?;
        }
        if !key.whole {
            self.text_label(&mut sample, "trust", "not certain")?;
        }
        self.within(field::SAMPLE, &sample)
    }

    fn text_label(&mut self, sample: &mut Message, key: &str, text: &str) -> Result<()> {
        let mut label = Message::default();
        label.number(1, self.strings.add(key)?);
        label.number(2, self.strings.add(text)?);
        sample.bytes(3, &label.0);
        Ok(())
    }

    fn number_label(&mut self, sample: &mut Message, key: &str, number: u32) -> Result<()> {
        let mut label = Message::default();
        label.number(1, self.strings.add(key)?);
        label.number(3, number.into());
        sample.bytes(3, &label.0);
        Ok(())
    }

    fn end(mut self) -> Result<()> {
        for text in std::mem::take(&mut self.strings.list) {
            let mut string = Message::default();
            string.bytes(field::STRING, text.as_bytes());
            self.put(&string)?;
        }
        self.out.finish().map_err(unwritten)?;
        Ok(())
    }
}
