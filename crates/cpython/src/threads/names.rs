//! What `threading` knows of threads.

use std::collections::HashMap;

use invivo_model::{Address, Result, Text};
use invivo_process::Memory;

use crate::fields::{fault, read_fields};
use crate::layout::IntSize;
use crate::objects::NAME;
use crate::pieces::{Piece, length, read_pieces};
use crate::runtime::Runtime;

const WHAT: &str = "cannot read the names of threads";
/// Digits of the numbers read here, which have 64 bits at most.
const DIGITS: u64 = 3;
/// Bits of a digit.
const DIGIT_BITS: u32 = 30;

impl<M: Memory> Runtime<M> {
    /// What the module `threading` of an interpreter calls its threads, by their `thread_id`.
    /// Nothing where it has not been imported. (It also has numbers of the operating system's
    /// for them, but in the child of a `fork` some versions leave the parent's there.)
    ///
    /// # Errors
    ///
    /// As [`Runtime::dict_items`].
    pub(super) fn thread_names(&self, modules: Address) -> Result<HashMap<u64, Text>> {
        if modules.is_null() {
            return Ok(HashMap::new());
        }
        let Some(module) = self.dict_value(modules, "threading")? else {
            return Ok(HashMap::new());
        };
        let field = [(self.layout.builtin.module_dict, 8)];
        let [namespace] =
            read_fields(&self.memory, module, field).map_err(|met| fault(WHAT, met))?;
        let Some(active) = self.dict_value(Address(namespace), "_active")? else {
            return Ok(HashMap::new());
        };
        let (idents, threads): (Vec<_>, Vec<_>) =
            self.dict_items(active)?.items.into_iter().unzip();
        let idents = self.numbers(&idents.into_iter().map(Some).collect::<Vec<_>>())?;
        let names = self.own_names(&threads)?;
        let known = idents.into_iter().zip(names);
        Ok(known
            .filter_map(|(ident, name)| Some((ident?, name?)))
            .collect())
    }

    fn own_names(&self, threads: &[Address]) -> Result<Vec<Option<Text>>> {
        let names = self.instance_attributes(threads, "_name")?;
        let set: Vec<_> = names.iter().flatten().copied().collect();
        let mut texts = self
            .strings_up_to(&set, NAME)
            .map_err(|met| fault(WHAT, met))?
            .into_iter();
        let text = |name: Option<Address>| name.and_then(|_| texts.next()?.ok());
        Ok(names.into_iter().map(text).collect())
    }

    /// The integers at these addresses, where they are none that are negative or very large.
    fn numbers(&self, addresses: &[Option<Address>]) -> Result<Vec<Option<u64>>> {
        let size = length(self.layout.builtin.int_digits + 4 * DIGITS);
        let places = addresses.iter().flatten().map(|at| (*at, size));
        let pieces = read_pieces(&self.memory, places).map_err(|met| fault(WHAT, met))?;
        let mut pieces = pieces.iter();
        let number = |at: &Option<Address>| at.and_then(|_| self.number(pieces.next()?));
        Ok(addresses.iter().map(number).collect())
    }

    fn number(&self, piece: &Piece) -> Option<u64> {
        let layout = &self.layout.builtin;
        let count = match layout.int_size {
            IntSize::Signed(at) => piece.word(piece.start, at)?,
            IntSize::Tagged { at, shift } => {
                let tag = piece.word(piece.start, at)?;
                if tag & 0b11 == 2 {
                    return None;
                }
                tag >> shift
            }
        };
        if count > DIGITS {
            return None;
        }
        (0..count).rev().try_fold(0_u64, |number, index| {
            let digit = piece.int(piece.start, layout.int_digits + 4 * index)?;
            let digit = u64::from(digit.cast_unsigned());
            number.checked_mul(1 << DIGIT_BITS)?.checked_add(digit)
        })
    }
}
