use crate::{Address, Text};

/// An object of a target as far as it was read, without running anything there.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Where the object lies.
    pub address: Address,
    /// The name of its class (`tp_name`, or `__qualname__` of a class made by Python code);
    /// `None` where that could not be read.
    pub class: Option<Text>,
    /// What it is.
    pub kind: ValueKind,
    /// Whether it, or what led to it, changed while it was read, or can't be told not to have: then
    /// it and all it holds may be of several moments, or none.
    pub changed: bool,
}

/// What an object is.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueKind {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer, in decimal digits; in hexadecimal ones with `0x` where it is very long.
    Int(String),
    /// An integer of more digits than are read: how many bits it takes at most.
    LongInt {
        /// Bits of its magnitude, rounded up to whole digits of CPython's.
        bits: u64,
    },
    /// A floating-point number.
    Float(f64),
    /// A complex number.
    Complex(f64, f64),
    /// A string, quoted by whoever shows it.
    Str(Text),
    /// `bytes` or `bytearray`: the first of them, and how many there are.
    Bytes {
        /// The first bytes.
        bytes: Vec<u8>,
        /// How many there are in all.
        length: u64,
    },
    /// A tuple, list, set, frozenset or deque: its first items.
    Sequence {
        /// Which of them it is built as.
        form: SequenceForm,
        /// The first items.
        items: Vec<Value>,
        /// How many there are in all.
        length: u64,
    },
    /// A dictionary: its first items in order.
    Dict {
        /// Keys and values.
        items: Vec<(Value, Value)>,
        /// How many there are in all.
        length: u64,
    },
    /// An instance of any other class, an exception or a named tuple among them, by its
    /// attributes.
    Instance {
        /// What `BaseException.args` holds where it is an exception. Where not all of it was read,
        /// the last is [`ValueKind::Deeper`] and has no address.
        arguments: Option<Vec<Value>>,
        /// Its attributes, those of slots included: the first of them.
        attributes: Vec<(Text, Value)>,
        /// How many there are in all; `None` where that could not be told.
        length: Option<u64>,
    },
    /// An array of numpy or pandas: its element type and shape as far as they are cheap to tell.
    Array {
        /// Such as `float64`.
        element: Option<Text>,
        /// Its extent in each dimension.
        shape: Option<Vec<u64>>,
    },
    /// A function, method, class, module or the like: what it is called. A date, a time or a
    /// decimal number: how Python writes it.
    Named(Text),
    /// Nothing more is known of it than its class.
    Opaque,
    /// It holds itself: it is this many levels further out (1 is the object that holds it).
    Cycle(u32),
    /// It lies deeper than was asked for, or behind as many objects as were.
    Deeper,
    /// It could not be read: why not.
    Unreadable(String),
}

/// The built-in collections whose items are in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceForm {
    /// `(…)`
    Tuple,
    /// `[…]`
    List,
    /// `{…}`
    Set,
    /// `frozenset({…})`
    FrozenSet,
    /// `deque([…])`
    Deque,
}

/// A variable of a frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Variable {
    /// Its name.
    pub name: Text,
    /// What it is to the function.
    pub role: Role,
    /// What it holds; `None` where it is not bound yet, or no more.
    pub value: Option<Value>,
}

/// What a variable is to its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A parameter.
    Argument,
    /// A variable of its own.
    Local,
    /// One of its own that inner functions share.
    Cell,
    /// One that it shares with an outer function.
    Free,
    /// A name in the namespace of a class body or a module.
    Name,
}
