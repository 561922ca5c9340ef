//! What objects hold, understood from memory alone: nothing runs in the target.

mod attributes;
mod checks;
mod classes;
mod containers;
mod described;
mod head;
mod indirect;
mod kinds;
mod named;
mod numbers;
mod picture;
mod shapes;
mod tables;
mod times;
mod variables;

use invivo_model::{Address, Error, Value, ValueKind};
use invivo_process::Memory;

use crate::runtime::Runtime;
use checks::Root;
pub(crate) use classes::Classes;
use picture::Picture;

/// How much of an object is read. What lies near it goes before what lies deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValueLimits {
    /// Containers within containers that are opened: 4. With 0 only what holds nothing is told.
    /// 64 at most.
    pub depth: usize,
    /// Items of one container, or attributes of one instance: 32. 65 536 at most.
    pub items: usize,
    /// Characters, bytes or digits of one object: 256. 65 536 at most.
    pub characters: usize,
    /// Objects in all, beside those that were asked for: 1024. 262 144 at most.
    pub nodes: usize,
}

impl Default for ValueLimits {
    fn default() -> Self {
        Self {
            depth: 4,
            items: 32,
            characters: 256,
            nodes: 1024,
        }
    }
}

impl ValueLimits {
    /// These limits, none above what is allowed.
    fn bounded(self) -> Self {
        Self {
            depth: self.depth.min(64),
            items: self.items.min(65_536),
            characters: self.characters.min(65_536),
            nodes: self.nodes.min(262_144),
        }
    }
}

impl<M: Memory> Runtime<M> {
    /// What the object at `address` holds. What can't be read of it says so where it would stand.
    ///
    /// The target runs on meanwhile: what changed while it was read is marked so. What led to the
    /// object is not looked at.
    pub fn value(&self, address: Address, limits: &ValueLimits) -> Value {
        let mut values = self.values(&[address], limits).into_iter();
        values.next().unwrap_or_else(|| Value {
            address,
            class: None,
            kind: ValueKind::Unreadable(Error::internal("a value was lost").why),
            changed: true,
        })
    }

    /// What each of the objects at `addresses` holds, read together. The limit of objects is for
    /// all of them.
    pub fn values(&self, addresses: &[Address], limits: &ValueLimits) -> Vec<Value> {
        let roots = addresses.iter().map(|object| Root {
            object: *object,
            ..Root::default()
        });
        let (groups, limits) = ([roots.collect()], limits.bounded());
        let groups = Picture::take(self, &mut Classes::default(), &groups, limits, &mut None);
        groups
            .into_iter()
            .flatten()
            .map(|taken| taken.value)
            .collect()
    }
}
