//! Code objects: read in batches, understood once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use invivo_model::{Address, Code, Position, Text};
use invivo_process::{Fault, Memory};

use crate::frames::CallMemory;
use crate::layout::common::{
    CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_ITERABLE_COROUTINE, CODE_CLASS, SHIM_FILE,
};
use crate::layout::{Bytecode, CodeLayout, CodeVariables, FrameWords, LineTable};
use crate::objects::decode;
use crate::pieces::{Piece, View, length, read_pieces, within_page};
use crate::positions::position;
use crate::runtime::Runtime;

/// How much of a string or a line table is read before its length is known: most are shorter.
const FIRST_GUESS: usize = 384;
/// Bytes of one line table. The longest of the standard library takes less than a tenth of it.
const MAX_LINE_TABLE: usize = 1 << 20;
/// Bytes of all line tables and strings that are kept.
const MAX_KEPT: usize = 32 << 20;
/// Code objects that are read by one call.
const AT_ONCE: usize = 64;

/// A code object, with what it takes to understand frames of it.
#[derive(Clone, Debug)]
pub(crate) struct CodeFacts {
    pub(crate) code: Arc<Code>,
    /// What it was understood from: while this is the same, so is all of it.
    identity: Identity,
    line_table: Vec<u8>,
    form: LineTable,
    /// Where its instructions begin.
    pub(crate) bytecode: Address,
    /// How many bytes they take.
    pub(crate) bytecode_size: u64,
    /// The pointer to the threads' own copies of them; null where there are none.
    pub(crate) own_copies: Address,
    /// Variables that a frame of it has room for.
    pub(crate) slots: usize,
    /// Bytes that a frame of it takes on the data stack; 0 where frames are objects.
    pub(crate) frame_size: u64,
    /// What call sites remember a function of it by; 0 where they don't.
    pub(crate) version: u32,
    /// Whether CPython itself pushes its frames, and nobody wrote it.
    pub(crate) is_shim: bool,
}

impl CodeFacts {
    /// Whether somebody has to resume a frame of it: one that no other has called is suspended, and
    /// no thread runs it.
    pub(crate) fn is_resumed(&self) -> bool {
        const KINDS: u32 = CO_GENERATOR | CO_COROUTINE | CO_ITERABLE_COROUTINE | CO_ASYNC_GENERATOR;
        self.code.flags & KINDS != 0
    }

    /// The position of the instruction that begins so many bytes behind the first one; of the
    /// whole function where none has begun.
    pub(crate) fn position(&self, offset: Option<u32>) -> Position {
        position(&self.line_table, self.form, self.code.first_line, offset)
    }

    /// Which bytes of a code object tell it from another that may get its memory.
    pub(crate) fn words(layout: &CodeLayout) -> (u64, u64) {
        let words = [layout.name, layout.filename, layout.line_table.0];
        let words = words.into_iter().chain(layout.qualname);
        words.fold((u64::MAX, 0), |(from, to), at| {
            (from.min(at), to.max(at + 8))
        })
    }

    /// Whether these bytes of the code object are still what they were.
    pub(crate) fn is_still(&self, layout: &CodeLayout, bytes: View<'_>) -> bool {
        let is = |at: u64, was: Address| bytes.word(self.code.address, at) == Some(was.0);
        let identity = &self.identity;
        let qualname = layout.qualname.zip(identity.qualname);
        is(layout.name, identity.name)
            && is(layout.filename, identity.filename)
            && is(layout.line_table.0, identity.line_table)
            && qualname.is_none_or(|(at, was)| is(at, was))
    }

    fn weight(&self) -> usize {
        let text = |text: &Text| text.text.len();
        let code = &self.code;
        self.line_table.len()
            + text(&code.name)
            + text(&code.filename)
            + code.qualname.as_ref().map_or(0, text)
            + size_of::<Self>()
    }
}

/// The words of a code object that never change while it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    name: Address,
    qualname: Option<Address>,
    filename: Address,
    line_table: Address,
    first_line: i32,
    flags: u32,
    frame_words: u32,
    bytecode: Address,
}

impl Identity {
    fn strings(&self) -> impl Iterator<Item = Address> {
        [Some(self.name), self.qualname, Some(self.filename)]
            .into_iter()
            .flatten()
    }
}

/// The code objects that have been understood so far.
#[derive(Debug, Default)]
pub(crate) struct CodeCache {
    known: HashMap<Address, Arc<CodeFacts>>,
    /// Which of them is where, by where its instructions begin.
    by_bytecode: BTreeMap<Address, Address>,
    /// What `known` takes.
    weight: usize,
    /// The class of code objects, once it has been seen.
    class: Option<Address>,
    pub(crate) calls: CallMemory,
    /// Bytes of each newest chunk that have been seen in use.
    pub(crate) reached: HashMap<Address, u64>,
}

/// What came of each code object that was asked for: why not, where it could not be had.
pub(crate) type Codes = HashMap<Address, Result<Arc<CodeFacts>, String>>;

/// What the object itself says.
struct Raw {
    address: Address,
    class: Address,
    identity: Identity,
    version: u32,
    units: u64,
    own_copies: Address,
    variables: Vec<Address>,
}

impl<M: Memory> Runtime<M> {
    /// The code objects at all these addresses, and what is in the places of `beside`: those are
    /// read by the first call that has to be made anyway.
    pub(crate) fn codes(
        &self,
        addresses: impl IntoIterator<Item = Address>,
        beside: &[(Address, usize)],
    ) -> Result<(Codes, Vec<Piece>), Fault> {
        let mut codes = Codes::new();
        let mut read = Vec::new();
        let mut beside = beside;
        let mut wanted: Vec<_> = addresses.into_iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut weight = 0;
        for group in wanted.chunks(AT_ONCE) {
            // Without its code, a frame can't be told from what a frame has left behind.
            if weight > MAX_KEPT {
                return Err(Fault::Exhausted);
            }
            read.append(&mut self.read_codes(group, beside, &mut codes)?);
            beside = &[];
            let known = group.iter().filter_map(|at| codes.get(at)?.as_ref().ok());
            weight += known.map(|facts| facts.weight()).sum::<usize>();
        }
        Ok((codes, read))
    }

    /// The code object at `address`.
    pub(crate) fn code(&self, address: Address) -> Result<Arc<CodeFacts>, String> {
        let (mut codes, _) = self.codes([address], &[]).map_err(|met| met.to_string())?;
        let found = codes.remove(&address);
        found.unwrap_or_else(|| Err(no_code(address)))
    }

    pub(crate) fn code_cache(&self) -> MutexGuard<'_, CodeCache> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_codes(
        &self,
        wanted: &[Address],
        beside: &[(Address, usize)],
        codes: &mut Codes,
    ) -> Result<Vec<Piece>, Fault> {
        let size = length(self.layout.code.size);
        let places = wanted.iter().map(|at| (*at, size));
        let mut pieces = read_pieces(&self.memory, places.chain(beside.iter().copied()))?;
        let read = pieces.split_off(wanted.len().min(pieces.len()));
        let mut fresh = Vec::new();
        let class = self.code_cache().class;
        for piece in &pieces {
            let address = piece.start;
            let Some(raw) = self.raw_code(piece) else {
                let why = format!("the code object at {address} can't be read");
                codes.insert(address, Err(why));
                continue;
            };
            if class.is_some_and(|class| class != raw.class) {
                codes.insert(address, Err(no_code(address)));
                continue;
            }
            let known = self.code_cache().known.get(&address).cloned();
            match known.filter(|known| known.identity == raw.identity) {
                Some(known) => {
                    codes.insert(address, Ok(known));
                }
                None => fresh.push(raw),
            }
        }
        if !fresh.is_empty() {
            self.understand_codes(fresh, class, codes)?;
        }
        Ok(read)
    }

    fn raw_code(&self, piece: &Piece) -> Option<Raw> {
        let layout = &self.layout.code;
        let at = piece.start;
        let pointer = |offset| piece.word(at, offset).map(Address);
        let (line_table, _) = layout.line_table;
        let (bytecode, units) = match layout.bytecode {
            Bytecode::Object(offset) => (pointer(offset)?, 0),
            Bytecode::Inline(offset) => {
                let units = piece.word(at, self.layout.object.var_size)?;
                (at.offset(offset)?, units)
            }
        };
        let variables = match layout.variables {
            CodeVariables::Separate {
                variables,
                cells,
                free,
                ..
            } => vec![pointer(variables)?, pointer(cells)?, pointer(free)?],
            CodeVariables::Together { names, .. } => vec![pointer(names)?],
        };
        let number = |offset: Option<u64>| match offset {
            Some(offset) => piece.int(at, offset).map(i32::cast_unsigned),
            None => Some(0),
        };
        Some(Raw {
            address: at,
            class: pointer(self.layout.object.type_of)?,
            identity: Identity {
                name: pointer(layout.name)?,
                qualname: match layout.qualname {
                    Some(offset) => Some(pointer(offset)?),
                    None => None,
                },
                filename: pointer(layout.filename)?,
                line_table: pointer(line_table)?,
                first_line: piece.int(at, layout.first_line)?,
                flags: piece.int(at, layout.flags)?.cast_unsigned(),
                frame_words: number(match layout.frame_words {
                    Some(FrameWords::All(at) | FrameWords::Stack(at)) => Some(at),
                    None => None,
                })?,
                bytecode,
            },
            version: number(layout.version)?,
            units,
            own_copies: match layout.tlbc {
                Some(offset) => pointer(offset)?,
                None => Address::NULL,
            },
            variables,
        })
    }

    /// Reads what the code objects point to, and keeps what can be understood.
    fn understand_codes(
        &self,
        mut fresh: Vec<Raw>,
        class: Option<Address>,
        codes: &mut Codes,
    ) -> Result<(), Fault> {
        let mut parts = Parts::default();
        let name_of_class = length(self.layout.object.type_name) + 8;
        for raw in &fresh {
            if class.is_none() {
                parts.want(raw.class, name_of_class, name_of_class);
            }
            let identity = &raw.identity;
            let header = self.string_header_size();
            for string in identity.strings() {
                parts.want(string, header, header + FIRST_GUESS / 2);
            }
            let header = self.bytes_header();
            parts.want(identity.line_table, header, header + FIRST_GUESS);
            let size = self.size_header();
            for tuple in &raw.variables {
                parts.want(*tuple, size, size);
            }
            if let Bytecode::Object(_) = self.layout.code.bytecode {
                parts.want(identity.bytecode, size, size);
            }
        }
        parts.read(&self.memory)?;
        for raw in &fresh {
            let identity = &raw.identity;
            if class.is_none()
                && let Some(name) = self.class_name(raw.class, &parts)
            {
                parts.want(name, CODE_CLASS.len(), CODE_CLASS.len());
            }
            for string in identity.strings() {
                if let Some((start, length)) = self.string_rest(string, &parts) {
                    parts.want(start, length, length);
                }
            }
            let whole = self.line_table_size(identity.line_table, &parts);
            let whole = whole.unwrap_or(0);
            parts.want(identity.line_table, whole, whole);
        }
        parts.read(&self.memory)?;
        if class.is_none() {
            let is_code = |raw: &Raw| {
                let name = parts.piece(self.class_name(raw.class, &parts)?);
                Some(name?.bytes.starts_with(CODE_CLASS))
            };
            fresh.retain(|raw| {
                let is_code = is_code(raw) == Some(true);
                if is_code {
                    self.code_cache().class = Some(raw.class);
                } else {
                    codes.insert(raw.address, Err(no_code(raw.address)));
                }
                is_code
            });
        }
        for raw in &fresh {
            let understood = self.facts(raw, &parts);
            let understood = understood
                .map(Arc::new)
                .ok_or_else(|| format!("the code object at {} can't be right", raw.address));
            if let Ok(facts) = &understood {
                self.code_cache().keep(raw.address, facts);
            }
            codes.insert(raw.address, understood);
        }
        Ok(())
    }

    fn facts(&self, raw: &Raw, parts: &Parts) -> Option<CodeFacts> {
        let identity = &raw.identity;
        let (_, form) = self.layout.code.line_table;
        let filename = self.text(identity.filename, parts)?;
        let slots = raw.variables.iter().map(|tuple| {
            let length = parts.word(*tuple, self.layout.object.var_size)?;
            usize::try_from(length).ok()
        });
        let slots = slots.sum::<Option<usize>>()?;
        let (bytecode, bytecode_size) = match self.layout.code.bytecode {
            Bytecode::Object(_) => (
                identity.bytecode.offset(self.layout.builtin.bytes_data)?,
                parts.word(identity.bytecode, self.layout.object.var_size)?,
            ),
            Bytecode::Inline(_) => (identity.bytecode, raw.units.checked_mul(2)?),
        };
        let is_shim = filename.text == SHIM_FILE;
        Some(CodeFacts {
            code: Arc::new(Code {
                address: raw.address,
                name: self.text(identity.name, parts)?,
                qualname: match identity.qualname {
                    Some(qualname) => Some(self.text(qualname, parts)?),
                    None => None,
                },
                filename,
                first_line: identity.first_line,
                flags: identity.flags,
            }),
            identity: identity.clone(),
            line_table: self.line_table(identity.line_table, parts)?,
            form,
            bytecode,
            bytecode_size,
            own_copies: raw.own_copies,
            slots,
            frame_size: self.frame_size(identity, slots)?,
            version: raw.version,
            is_shim,
        })
    }

    /// Bytes that a frame takes on the data stack.
    fn frame_size(&self, identity: &Identity, slots: usize) -> Option<u64> {
        let words = u64::from(identity.frame_words);
        match self.layout.code.frame_words {
            None => Some(0),
            Some(FrameWords::All(_)) => Some(words * 8),
            Some(FrameWords::Stack(_)) => {
                let words = words.checked_add(slots as u64)?;
                words
                    .checked_mul(8)?
                    .checked_add(self.layout.frame.localsplus)
            }
        }
    }

    /// Where the name of a class is.
    fn class_name(&self, class: Address, parts: &Parts) -> Option<Address> {
        parts.word(class, self.layout.object.type_name).map(Address)
    }

    fn size_header(&self) -> usize {
        length(self.layout.object.var_size) + 8
    }

    fn bytes_header(&self) -> usize {
        length(self.layout.builtin.bytes_data)
    }

    /// Bytes of a string up to its characters, or to the pointer to them.
    fn string_header_size(&self) -> usize {
        length(self.layout.unicode.compact_data) + 8
    }

    /// How many bytes the bytes object of a line table is to be read for.
    fn line_table_size(&self, table: Address, parts: &Parts) -> Option<usize> {
        let size = parts.word(table, self.layout.object.var_size)?;
        Some(self.bytes_header() + length(size).min(MAX_LINE_TABLE))
    }

    fn line_table(&self, table: Address, parts: &Parts) -> Option<Vec<u8>> {
        let piece = parts.piece(table)?;
        let whole = self.line_table_size(table, parts)?;
        piece
            .bytes
            .get(self.bytes_header()..whole)
            .map(<[u8]>::to_vec)
    }

    /// The characters of a string that have not been read with its header.
    fn string_rest(&self, string: Address, parts: &Parts) -> Option<(Address, usize)> {
        let header = self
            .string_header(string, &parts.piece(string)?.bytes)
            .ok()?;
        let characters = length(header.length).min(self.limits.string_characters);
        let size = characters.checked_mul(header.width)?;
        let inside = header.data.since(string).map(length);
        // Characters that follow the header are read with it, the others by themselves.
        match inside.filter(|inside| *inside <= self.string_header_size()) {
            Some(inside) => Some((string, inside + size)),
            None => Some((header.data, size)),
        }
    }

    fn text(&self, string: Address, parts: &Parts) -> Option<Text> {
        let header = self
            .string_header(string, &parts.piece(string)?.bytes)
            .ok()?;
        let whole = length(header.length);
        let characters = whole.min(self.limits.string_characters);
        let size = characters.checked_mul(header.width)?;
        let with_header = parts.piece(string)?.get(header.data, size);
        let apart = || parts.piece(header.data)?.get(header.data, size);
        let data = with_header.or_else(apart)?;
        Some(Text {
            text: decode(data, header.width),
            truncated: characters < whole,
        })
    }
}

fn no_code(address: Address) -> String {
    format!("no code object at {address}")
}

impl CodeCache {
    /// The code object that the instruction at `address` belongs to, where it is known.
    pub(crate) fn at_instruction(&self, address: Address) -> Option<&Arc<CodeFacts>> {
        let (start, code) = self.by_bytecode.range(..=address).next_back()?;
        let facts = self.known.get(code)?;
        let is_inside = address.since(*start)? < facts.bytecode_size;
        (facts.bytecode == *start && is_inside).then_some(facts)
    }

    fn keep(&mut self, address: Address, facts: &Arc<CodeFacts>) {
        let weight = facts.weight();
        if self.weight + weight > MAX_KEPT {
            self.known.clear();
            self.by_bytecode.clear();
            self.weight = 0;
        }
        self.weight += weight;
        self.by_bytecode.insert(facts.bytecode, address);
        if let Some(before) = self.known.insert(address, Arc::clone(facts)) {
            self.weight -= before.weight();
        }
    }
}

/// Pieces of objects, by where they begin.
#[derive(Default)]
struct Parts {
    pieces: HashMap<Address, Piece>,
    /// What is to be read next: how much is needed, and how much would be good to have.
    wanted: BTreeMap<Address, (usize, usize)>,
}

impl Parts {
    /// Has `least` bytes at `address` read the next time, where they have not been yet, and up to
    /// `size` where those come for nothing.
    fn want(&mut self, address: Address, least: usize, size: usize) {
        let known = self.pieces.get(&address);
        if known.map_or(0, |piece| piece.bytes.len()) < least && !address.is_null() {
            let (needed, good) = self.wanted.entry(address).or_default();
            *needed = least.max(*needed);
            *good = size.max(*good);
        }
    }

    fn read(&mut self, memory: &impl Memory) -> Result<(), Fault> {
        let wanted = std::mem::take(&mut self.wanted);
        let wanted = wanted
            .into_iter()
            .map(|(address, (least, size))| (address, within_page(address, least, size)));
        for piece in read_pieces(memory, wanted)? {
            self.pieces.insert(piece.start, piece);
        }
        Ok(())
    }

    fn piece(&self, object: Address) -> Option<&Piece> {
        self.pieces.get(&object)
    }

    fn word(&self, object: Address, offset: u64) -> Option<u64> {
        self.piece(object)?.word(object, offset)
    }
}

/// What a [`Runtime`] keeps of the code objects it has understood. Its copies share it.
pub(crate) type SharedCodes = Arc<Mutex<CodeCache>>;
