//! Variables that lie elsewhere than in their frame: in cells, and in the namespaces of modules
//! and class bodies.

use std::collections::HashMap;

use invivo_model::{Address, Role};
use invivo_process::{Fault, Memory};

use super::checks::Link;
use super::classes::Classes;
use super::described::Described;
use super::kinds::Kind;
use crate::objects::{Pairs, Step, finish_with_pieces};
use crate::pieces::Piece;
use crate::runtime::Runtime;

impl<M: Memory> Runtime<M> {
    /// Puts what cells hold in the place of the cells. A variable has none before its function
    /// has made it.
    pub(super) fn empty_cells<'a>(
        &self,
        variables: impl Iterator<Item = &'a mut Described>,
        classes: &mut Classes,
    ) -> Result<(), Fault> {
        let mut cells: Vec<_> = variables
            .filter(|variable| variable.in_cell && !variable.slot.is_null())
            .collect();
        let addresses: Vec<_> = cells.iter().map(|variable| variable.slot).collect();
        let heads = self.object_heads(&addresses)?;
        classes.load(self, heads.iter().filter_map(|head| self.class_of(head)))?;
        let (value_at, type_of) = (self.layout.builtin.cell_value, self.layout.object.type_of);
        for (variable, head) in cells.iter_mut().zip(&heads) {
            let Some(address) = self.class_of(head) else {
                continue;
            };
            let class = classes.get(address);
            variable.links.extend(link(head.address, type_of, address));
            if class.is_some_and(|class| class.kind == Kind::Cell) {
                let value = Address(head.word(value_at).unwrap_or_default());
                variable.slot = value;
                variable.links.extend(link(head.address, value_at, value));
            }
        }
        Ok(())
    }

    /// The names in each namespace of a module or a class body, given with its frame: none where
    /// it is null or no dictionary.
    pub(super) fn namespaces(
        &self,
        namespaces: &[(Address, Address)],
        classes: &mut Classes,
        limit: usize,
    ) -> Result<Vec<Vec<Described>>, Fault> {
        let dicts: Vec<_> = namespaces.iter().map(|(_, dict)| *dict).collect();
        let heads = self.object_heads(&dicts)?;
        classes.load(self, heads.iter().filter_map(|head| self.class_of(head)))?;
        let pairs = heads.iter().map(|head| {
            let class = self.class_of(head).and_then(|class| classes.get(class));
            match class {
                Some(class) if class.kind == Kind::Dict => self.dict(head.address, limit),
                _ => Step::Done(Ok(Pairs::default())),
            }
        });
        let found = finish_with_pieces(&self.memory, pairs)?;
        let all = namespaces.iter().zip(found);
        let all = all.map(|((frame, dict), (pairs, pieces))| {
            let items = pairs.unwrap_or_default().items;
            self.named(*frame, *dict, items, &pieces)
        });
        Ok(all.collect())
    }

    /// The variables that a namespace has, of which `pieces` were read.
    fn named(
        &self,
        frame: Address,
        dict: Address,
        items: Vec<(Address, Address)>,
        pieces: &[Piece],
    ) -> Vec<Described> {
        let keys_at = self.layout.dict.keys;
        let keys = pieces.iter().find_map(|piece| piece.word(dict, keys_at));
        let keys = keys.map(Address).unwrap_or_default();
        let mut links = Vec::new();
        links.extend(link(frame, self.layout.frame.namespace, dict));
        links.extend(link(dict, keys_at, keys));
        let places = places_of(pieces);
        let named = items.into_iter().map(|(name, slot)| {
            let mut links = links.clone();
            // What can't be found again can't hold.
            let at = places.get(&(name, slot)).copied().unwrap_or_default();
            links.push(Link { at, to: slot });
            Described {
                name,
                role: Role::Name,
                slot,
                links,
                in_cell: false,
                hidden: false,
            }
        });
        named.collect()
    }
}

fn link(base: Address, offset: u64, to: Address) -> Option<Link> {
    base.offset(offset).map(|at| Link { at, to })
}

/// Where in the entries of a dictionary each value stands, by its key and itself.
fn places_of(pieces: &[Piece]) -> HashMap<(Address, Address), Address> {
    let mut places = HashMap::new();
    for piece in pieces {
        let (words, _) = piece.bytes.as_chunks::<8>();
        let words = words.iter().map(|word| Address(u64::from_le_bytes(*word)));
        let words: Vec<_> = words.collect();
        for (index, pair) in words.windows(2).enumerate() {
            if let [key, value] = pair {
                let at = piece.start.offset((index as u64 + 1) * 8);
                places.insert((*key, *value), at.unwrap_or_default());
            }
        }
    }
    places
}
