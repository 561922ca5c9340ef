//! Made-up process memory with an interpreter in it, to be bent in every way.
//!
//! Where each field lies is typed here from CPython's headers (x86-64 release builds), not taken
//! from the code that reads: a wrong idea there does not agree with itself here.

mod tables;

use std::collections::BTreeMap;

/// Where the runtime state lies.
pub const RUNTIME: u64 = 0x5555_0000_0000;
/// Where interpreter states, thread states and objects are put, one behind the other.
const HEAP: u64 = 0x7f00_0000_0000;
const PAGE: u64 = 0x10000;

/// The class of all strings, of all dictionaries, of `True` and of nothing in particular.
const STR_TYPE: u64 = RUNTIME + 0x80000;
const DICT_TYPE: u64 = RUNTIME + 0x80400;
const OTHER_TYPE: u64 = RUNTIME + 0x80800;
const CODE_TYPE: u64 = RUNTIME + 0x80c00;

/// A CPython release whose memory can be made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 3.13.0
    V3_13,
    /// 3.14.8
    V3_14,
    /// 3.15.0
    V3_15,
}

impl Release {
    /// All of them.
    pub const ALL: [Release; 3] = [Release::V3_13, Release::V3_14, Release::V3_15];

    /// Its table of offsets, from the version on.
    pub fn table(self) -> &'static [u64] {
        match self {
            Release::V3_13 => &tables::V3_13,
            Release::V3_14 => &tables::V3_14,
            Release::V3_15 => &tables::V3_15,
        }
    }

    /// Where its fields lie.
    pub fn positions(self) -> Positions {
        match self {
            Release::V3_13 => Positions::V3_13,
            Release::V3_14 => Positions::V3_14,
            Release::V3_15 => Positions::V3_15,
        }
    }
}

/// Where the fields of a release lie, in bytes from the start of their structure.
#[derive(Clone, Copy, Debug)]
pub struct Positions {
    /// `_PyRuntimeState.interpreters.head`
    pub interpreters_head: u64,
    /// `_PyRuntimeState.main_thread`
    pub main_thread: u64,
    /// `_PyRuntimeState._finalizing`
    pub finalizing: u64,
    /// `PyInterpreterState.next`
    pub interpreter_next: u64,
    /// `PyInterpreterState.id`
    pub interpreter_id: u64,
    /// `PyInterpreterState.threads.head`
    pub threads_head: u64,
    /// `PyInterpreterState.threads.main`, which 3.13's table does not tell.
    pub threads_main: u64,
    /// `PyInterpreterState.sysdict`
    pub sysdict: u64,
    /// `PyInterpreterState.config.remote_debug`; 0 where there is none.
    pub remote_debug: u64,
    /// `PyThreadState.native_thread_id`
    pub native_thread_id: u64,
    /// `PyThreadState.thread_id`
    pub thread_id: u64,
    /// `PyThreadState.remote_debugger_support`; 0 where there is none.
    pub support: u64,
    /// `_PyInterpreterFrame.owner`
    pub owner: u64,
}

/// `PyThreadState.next`, `.interp`, `.eval_breaker` and `.current_frame`, all releases.
pub const THREAD_NEXT: u64 = 8;
/// See [`THREAD_NEXT`].
pub const THREAD_INTERPRETER: u64 = 16;
/// See [`THREAD_NEXT`].
pub const THREAD_EVAL_BREAKER: u64 = 24;
/// See [`THREAD_NEXT`].
pub const THREAD_CURRENT_FRAME: u64 = 72;

impl Positions {
    const V3_13: Positions = Positions {
        interpreters_head: 632,
        main_thread: 656,
        finalizing: 608,
        interpreter_next: 7264,
        interpreter_id: 7272,
        threads_head: 7344,
        threads_main: 7360,
        sysdict: 7640,
        remote_debug: 0,
        native_thread_id: 160,
        thread_id: 152,
        support: 0,
        owner: 70,
    };
    const V3_14: Positions = Positions {
        interpreters_head: 808,
        main_thread: 832,
        finalizing: 784,
        interpreter_next: 7272,
        interpreter_id: 7280,
        threads_head: 7344,
        threads_main: 7360,
        sysdict: 7672,
        remote_debug: 8076,
        native_thread_id: 160,
        thread_id: 152,
        support: 304,
        owner: 74,
    };
    const V3_15: Positions = Positions {
        interpreters_head: 936,
        main_thread: 960,
        finalizing: 912,
        interpreter_next: 7264,
        interpreter_id: 7272,
        threads_head: 7336,
        threads_main: 7352,
        sysdict: 7576,
        remote_debug: 8028,
        native_thread_id: 184,
        thread_id: 176,
        support: 344,
        owner: 74,
    };
}

/// The memory of a made-up process. What has never been written is not mapped.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where its fields lie.
    pub positions: Positions,
    release: Release,
    pages: BTreeMap<u64, Vec<u8>>,
    next_free: u64,
}

impl Image {
    /// A runtime state with its table and without any interpreter.
    pub fn new(release: Release) -> Image {
        let positions = release.positions();
        let mut image = Image {
            positions,
            release,
            pages: BTreeMap::new(),
            next_free: HEAP,
        };
        image.write(RUNTIME, b"xdebugpy");
        for (word, index) in release.table().iter().zip(1..) {
            image.set_word(RUNTIME + 8 * index, *word);
        }
        // PyTypeObject.tp_flags: the bits that tell strings and dictionaries.
        image.set_word(STR_TYPE + 168, 1 << 28);
        image.set_word(DICT_TYPE + 168, 1 << 29);
        image.set_word(OTHER_TYPE + 168, 0);
        image.set_word(CODE_TYPE + 168, 0);
        let name = image.allocate(5);
        image.write(name, b"code\0");
        image.set_word(CODE_TYPE + 24, name);
        image
    }

    /// A runtime state with a main interpreter and its main thread, native id 100.
    pub fn with_main(release: Release) -> (Image, u64, u64) {
        let mut image = Image::new(release);
        let interpreter = image.push_interpreter(0);
        let thread = image.push_thread(interpreter, 100);
        image.set_word(interpreter + image.positions.threads_main, thread);
        image.set_word(RUNTIME + image.positions.main_thread, 100 << 12);
        // `initialized` stands before `_finalizing`.
        image.set_word(RUNTIME + image.positions.finalizing - 8, 1);
        (image, interpreter, thread)
    }

    /// Puts a new interpreter before all others, as CPython does; gives its address.
    pub fn push_interpreter(&mut self, id: u64) -> u64 {
        let address = self.allocate(0x4000);
        let head = RUNTIME + self.positions.interpreters_head;
        let next = self.word(head);
        self.set_word(address + self.positions.interpreter_next, next);
        self.set_word(address + self.positions.interpreter_id, id);
        if self.positions.remote_debug != 0 {
            self.write(address + self.positions.remote_debug, &1_u32.to_le_bytes());
        }
        self.set_word(head, address);
        address
    }

    /// Puts a new thread before all others of an interpreter; gives its address. Its `thread_id`
    /// is `native_id` shifted by 12 bits.
    pub fn push_thread(&mut self, interpreter: u64, native_id: u64) -> u64 {
        let address = self.allocate(0x400);
        let head = interpreter + self.positions.threads_head;
        let next = self.word(head);
        self.set_word(address + THREAD_NEXT, next);
        self.set_word(address + THREAD_INTERPRETER, interpreter);
        self.set_word(address + self.positions.native_thread_id, native_id);
        self.set_word(address + self.positions.thread_id, native_id << 12);
        self.set_word(head, address);
        address
    }

    /// A string in the form that CPython gives it; its address.
    pub fn string(&mut self, text: &str) -> u64 {
        let highest = text.chars().map(u32::from).max().unwrap_or(0);
        let (kind, ascii) = match highest {
            0..0x80 => (1, true),
            0x80..0x100 => (1, false),
            0x100..0x10000 => (2, false),
            _ => (4, false),
        };
        let data: Vec<u8> = text
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes().into_iter().take(kind))
            .collect();
        self.string_of(&data, kind, true, ascii)
    }

    /// A string of any form: characters of `kind` bytes each, behind its header (`compact`) or
    /// elsewhere.
    pub fn string_of(&mut self, data: &[u8], kind: usize, compact: bool, ascii: bool) -> u64 {
        let address = self.allocate(64 + data.len() as u64);
        let state = (kind as u32) << 2 | u32::from(compact) << 5 | u32::from(ascii) << 6;
        self.set_word(address + 8, STR_TYPE);
        self.set_word(address + 16, (data.len() / kind) as u64);
        self.write(address + 32, &state.to_le_bytes());
        match (compact, ascii) {
            (true, true) => self.write(address + 40, data),
            (true, false) => self.write(address + 56, data),
            (false, _) => {
                let elsewhere = self.allocate(data.len() as u64);
                self.write(elsewhere, data);
                self.set_word(address + 56, elsewhere);
            }
        }
        address
    }

    /// A dictionary with entries of hash, key and value.
    pub fn general_dict(&mut self, items: &[(u64, u64)]) -> u64 {
        let entries: Vec<_> = items
            .iter()
            .map(|(key, value)| vec![0x1234, *key, *value])
            .collect();
        self.dict(0, &entries, 0)
    }

    /// A dictionary whose keys are all strings: entries of key and value.
    pub fn string_dict(&mut self, items: &[(u64, u64)]) -> u64 {
        let entries: Vec<_> = items
            .iter()
            .map(|(key, value)| vec![*key, *value])
            .collect();
        self.dict(1, &entries, 0)
    }

    /// An instance's dictionary: keys shared by its class, values of its own.
    pub fn split_dict(&mut self, items: &[(u64, u64)]) -> u64 {
        let values = self.allocate(8 + 8 * items.len() as u64);
        for ((_, value), index) in items.iter().zip(1..) {
            self.set_word(values + 8 * index, *value);
        }
        let entries: Vec<_> = items.iter().map(|(key, _)| vec![*key, 0]).collect();
        self.dict(2, &entries, values)
    }

    fn dict(&mut self, kind: u8, entries: &[Vec<u64>], values: u64) -> u64 {
        let log2_index_bytes = entries.len().next_power_of_two().ilog2().max(3);
        let indices = 1_u64 << log2_index_bytes;
        let keys = self.allocate(32 + indices + 24 * entries.len() as u64);
        self.write(keys + 9, &[log2_index_bytes as u8, kind]);
        self.set_word(keys + 24, entries.len() as u64);
        for (index, word) in entries.concat().iter().enumerate() {
            self.set_word(keys + 32 + indices + 8 * index as u64, *word);
        }
        let dict = self.allocate(48);
        self.set_word(dict + 8, DICT_TYPE);
        self.set_word(dict + 32, keys);
        self.set_word(dict + 40, values);
        dict
    }

    /// An object of a class that is none of the above.
    pub fn object(&mut self) -> u64 {
        let address = self.allocate(16);
        self.set_word(address + 8, OTHER_TYPE);
        address
    }

    /// A frame that runs a function, called by the frame `previous`; its address. `owner` 0 is an
    /// ordinary one, 3 the sentinel at the entry of the interpreter's loop.
    pub fn frame(&mut self, function: &str, file: &str, owner: u8, previous: u64) -> u64 {
        let (name, file) = (self.string(function), self.string(file));
        let (code, empty) = (self.allocate(216), self.allocate(40));
        self.set_word(code + 8, CODE_TYPE);
        // The names of its variables, and its line table.
        self.set_word(code + 96, empty);
        self.set_word(code + 136, empty);
        self.set_word(code + 112, file);
        self.set_word(code + 120, name);
        self.set_word(code + 128, name);
        let frame = self.allocate(88);
        // The lowest bits are tags.
        self.set_word(frame, code | u64::from(self.release != Release::V3_13));
        self.set_word(frame + 8, previous);
        self.write(frame + self.positions.owner, &[owner]);
        frame
    }

    /// Zeroed memory of `size` bytes at an address of its own.
    pub fn allocate(&mut self, size: u64) -> u64 {
        let address = self.next_free;
        self.next_free = (address + size).next_multiple_of(16);
        self.write(address, &vec![0; size as usize]);
        address
    }

    /// Writes bytes, mapping what they need.
    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        for (byte, at) in bytes.iter().zip(address..) {
            let page = self
                .pages
                .entry(at / PAGE)
                .or_insert_with(|| vec![0; PAGE as usize]);
            page[(at % PAGE) as usize] = *byte;
        }
    }

    /// Writes a word.
    pub fn set_word(&mut self, address: u64, value: u64) {
        self.write(address, &value.to_le_bytes());
    }

    /// Reads a word.
    ///
    /// # Panics
    /// If nothing is mapped there.
    pub fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        assert_eq!(self.read(address, &mut bytes), 8, "nothing at {address:#x}");
        u64::from_le_bytes(bytes)
    }

    /// Reads as much as is mapped; gives how much that was.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> usize {
        let mut filled = 0;
        while filled < buffer.len() {
            let Some(at) = address.checked_add(filled as u64) else {
                break;
            };
            let Some(page) = self.pages.get(&(at / PAGE)) else {
                break;
            };
            let rest = &page[(at % PAGE) as usize..];
            let count = rest.len().min(buffer.len() - filled);
            buffer[filled..filled + count].copy_from_slice(&rest[..count]);
            filled += count;
        }
        filled
    }
}
