//! Strings and dictionaries.

mod dicts;
mod steps;
mod strings;

pub use dicts::DictItems;
pub(crate) use dicts::Pairs;
pub(crate) use steps::{
    Step, Want, at, byte, finish, finish_with_pieces, half, pointers, read_all, word,
};
pub(crate) use strings::{NAME, decode};
