//! Lists in the description of an image, none longer than it can rightly be: what says that it has
//! more is refused before so much is made of it.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::{LINES_MAX, Lines};

/// A list of at most `MOST` things.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(super) struct Few<T, const MOST: usize>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Deserialize<'de> for Few<T, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List(PhantomData))
    }
}

struct List<T, const MOST: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MOST: usize> Visitor<'de> for List<T, MOST> {
    type Value = Few<T, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(next) = list.next_element()? {
            if kept.len() == MOST {
                return Err(A::Error::custom(format!("a list has more than {MOST}")));
            }
            kept.push(next);
        }
        Ok(Few(kept))
    }
}

/// Lines of source text: as many as are kept, of all files together, and as many files.
pub(super) fn lines<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Lines, D::Error> {
    deserializer.deserialize_map(Files {
        left: 2 * LINES_MAX,
    })
}

struct Files {
    left: usize,
}

impl<'de> Visitor<'de> for Files {
    type Value = Lines;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lines by file")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Lines, A::Error> {
        let mut files = Lines::new();
        while let Some(file) = map.next_key::<String>()? {
            // A file with no line counts too.
            self.left = less::<A::Error>(self.left)?;
            let of_file = map.next_value_seed(OfFile(&mut self.left))?;
            files.insert(file, of_file);
        }
        Ok(files)
    }
}

fn less<E: Error>(left: usize) -> Result<usize, E> {
    let message = || E::custom(format!("it has more than {LINES_MAX} lines of source text"));
    left.checked_sub(1).ok_or_else(message)
}

/// The lines of one file. How many more may come.
struct OfFile<'a>(&'a mut usize);

impl<'de> DeserializeSeed<'de> for OfFile<'_> {
    type Value = BTreeMap<u32, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OfFile<'_> {
    type Value = BTreeMap<u32, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("lines by number")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut lines = BTreeMap::new();
        while let Some((number, line)) = map.next_entry()? {
            *self.0 = less::<A::Error>(*self.0)?;
            lines.insert(number, line);
        }
        Ok(lines)
    }
}
