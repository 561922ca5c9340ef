//! A picture of objects and what they hold: level by level, so that a budget goes to what is
//! near, and without recursion, since a target decides how deep it goes.

use std::ops::Range;

use invivo_model::{Address, SequenceForm, Text, Value, ValueKind};
use invivo_process::{Fault, Memory};

use super::ValueLimits;
use super::attributes::{Attributes, Name};
use super::classes::Classes;
use super::containers::Items;
use super::shapes::Shape;
use crate::objects::{Step, finish};
use crate::runtime::Runtime;

/// Characters of a name that are always read.
const NAME: usize = 128;

/// An object in the picture.
struct Node {
    address: Address,
    /// The node that holds it.
    parent: Option<usize>,
    class: Option<Text>,
    content: Content,
}

/// What an object holds; what it holds in turn are nodes of their own, behind it.
enum Content {
    /// Nothing, or nothing that is known yet.
    Leaf(ValueKind),
    Row {
        form: SequenceForm,
        items: Range<usize>,
        length: u64,
    },
    /// Keys and values by turns.
    Dict { items: Range<usize>, length: u64 },
    Instance {
        arguments: Option<Range<usize>>,
        names: Vec<Text>,
        values: Range<usize>,
        length: u64,
    },
}

/// The objects that were found so far.
pub(super) struct Picture<'a, M> {
    runtime: &'a Runtime<M>,
    limits: ValueLimits,
    classes: Classes,
    nodes: Vec<Node>,
    /// How many nodes there may be.
    room: usize,
}

impl<'a, M: Memory> Picture<'a, M> {
    /// What the objects at `roots` hold. `classes` are those that are known already.
    pub(super) fn take(
        runtime: &'a Runtime<M>,
        classes: Classes,
        roots: &[Address],
        limits: ValueLimits,
    ) -> Vec<Value> {
        let mut picture = Self {
            runtime,
            limits,
            classes,
            nodes: Vec::new(),
            room: limits.nodes.saturating_add(roots.len()),
        };
        let mut level = picture.add(None, roots);
        for depth in 0..=limits.depth {
            let start = picture.nodes.len();
            if let Err(fault) = picture.open(level.clone(), depth < limits.depth) {
                for node in picture.nodes.get_mut(level).unwrap_or_default() {
                    if node.is_unknown() {
                        node.content = Content::Leaf(ValueKind::Unreadable(fault.to_string()));
                    }
                }
                break;
            }
            level = start..picture.nodes.len();
        }
        picture.assemble(roots.len())
    }

    /// Adds nodes for what `parent` holds, as far as there is room.
    fn add(&mut self, parent: Option<usize>, addresses: &[Address]) -> Range<usize> {
        let start = self.nodes.len();
        let room = self.room.saturating_sub(start);
        for address in addresses.iter().take(room) {
            let (class, content) = self.before_reading(parent, *address);
            self.nodes.push(Node {
                address: *address,
                parent,
                class,
                content,
            });
        }
        start..self.nodes.len()
    }

    /// What is known of an object for where it is met: most often nothing.
    fn before_reading(&self, parent: Option<usize>, address: Address) -> (Option<Text>, Content) {
        if address.is_null() {
            let why = "nothing is there".to_owned();
            return (None, Content::Leaf(ValueKind::Unreadable(why)));
        }
        let mut above = parent;
        for levels in 1.. {
            let Some(node) = above.and_then(|above| self.nodes.get(above)) else {
                break;
            };
            if node.address == address {
                return (node.class.clone(), Content::Leaf(ValueKind::Cycle(levels)));
            }
            above = node.parent;
        }
        (None, Content::Leaf(ValueKind::Deeper))
    }

    /// Finds out what the nodes of a level hold, and adds nodes for that if `containers` are to be
    /// opened.
    fn open(&mut self, level: Range<usize>, containers: bool) -> Result<(), Fault> {
        let (runtime, limits) = (self.runtime, self.limits);
        let nodes = self.nodes.get(level.clone()).unwrap_or_default();
        let (indices, addresses): (Vec<_>, Vec<_>) = level
            .zip(nodes)
            .filter(|(_, node)| node.is_unknown())
            .map(|(index, node)| (index, node.address))
            .unzip();
        let heads = runtime.object_heads(&addresses)?;
        let classes = heads.iter().map(|head| runtime.class_of(head));
        let classes: Vec<_> = classes.collect();
        self.classes
            .load(runtime, classes.iter().copied().flatten())?;
        let shapes = heads.iter().zip(&classes).map(|(head, class)| {
            let found = class.and_then(|class| self.classes.get(class));
            match (found, class) {
                (Some(class), _) if class.kind.is_container() && !containers => {
                    Step::Done(Ok(Shape::Leaf(ValueKind::Deeper)))
                }
                (Some(class), _) => runtime.shape(head, class, &limits),
                (None, Some(class)) => {
                    let why = format!("its class at {class} is none");
                    Step::Done(Ok(Shape::Leaf(ValueKind::Unreadable(why))))
                }
                (None, None) => {
                    let why = Fault::Unmapped(head.address).to_string();
                    Step::Done(Ok(Shape::Leaf(ValueKind::Unreadable(why))))
                }
            }
        });
        let shapes = finish(&runtime.memory, shapes)?;
        let shapes = shapes.into_iter().map(|shape| {
            let unreadable = |error: invivo_model::Error| ValueKind::Unreadable(error.why);
            shape.unwrap_or_else(|error| Shape::Leaf(unreadable(error)))
        });
        let names: Vec<_> = classes
            .iter()
            .map(|class| Some(self.classes.get((*class)?)?.name.clone()))
            .collect();
        let shapes: Vec<_> = shapes.collect();
        let mut attribute_names = self.attribute_names(&shapes)?.into_iter();
        for ((index, shape), name) in indices.into_iter().zip(shapes).zip(names) {
            // What holds itself is known by it.
            if let Some(node) = self.nodes.get_mut(index) {
                node.class = name;
            }
            let content = self.content(index, shape, &mut attribute_names);
            if let Some(node) = self.nodes.get_mut(index) {
                node.content = content;
            }
        }
        Ok(())
    }

    /// The names of all attributes whose names are strings in the target, in order.
    fn attribute_names(&self, shapes: &[Shape]) -> Result<Vec<Text>, Fault> {
        let addresses: Vec<_> = shapes
            .iter()
            .flat_map(Shape::attributes)
            .filter_map(|(name, _)| match name {
                Name::At(address) => Some(*address),
                Name::Known(_) => None,
            })
            .collect();
        let characters = self.limits.characters.max(NAME);
        let names = self.runtime.strings_up_to(&addresses, characters)?;
        let unknown = |address: &Address| Text {
            text: format!("<{address}>"),
            truncated: false,
        };
        let names = names.into_iter().zip(&addresses);
        Ok(names
            .map(|(name, address)| name.unwrap_or_else(|_| unknown(address)))
            .collect())
    }

    fn content(
        &mut self,
        index: usize,
        shape: Shape,
        names: &mut impl Iterator<Item = Text>,
    ) -> Content {
        match shape {
            Shape::Leaf(kind) => Content::Leaf(kind),
            Shape::Row(form, Items { items, length }) => Content::Row {
                form,
                items: self.add(Some(index), &items),
                length,
            },
            Shape::Dict(pairs) => {
                let room = self.room.saturating_sub(self.nodes.len()) / 2;
                let pairs_in = pairs.items.iter().take(room);
                let flat: Vec<_> = pairs_in.flat_map(|(key, value)| [*key, *value]).collect();
                Content::Dict {
                    items: self.add(Some(index), &flat),
                    length: pairs.length,
                }
            }
            Shape::Instance(arguments, Attributes { items, length }) => {
                let arguments = arguments.map(|arguments| self.add_arguments(index, &arguments));
                let names = items.iter().map(|(name, _)| match name {
                    Name::Known(name) => name.clone(),
                    Name::At(_) => names.next().unwrap_or_default(),
                });
                let names: Vec<_> = names.collect();
                let values: Vec<_> = items.iter().map(|(_, value)| *value).collect();
                Content::Instance {
                    arguments,
                    names,
                    values: self.add(Some(index), &values),
                    length,
                }
            }
        }
    }

    /// Adds what an exception was made with. Where not all of it is there, the last one says so.
    fn add_arguments(&mut self, index: usize, arguments: &Items) -> Range<usize> {
        let mut range = self.add(Some(index), &arguments.items);
        if (range.len() as u64) < arguments.length {
            self.nodes.push(Node {
                address: Address::NULL,
                parent: Some(index),
                class: None,
                content: Content::Leaf(ValueKind::Deeper),
            });
            range.end = self.nodes.len();
        }
        range
    }

    /// The values of the first `roots` nodes. What a node holds stands behind it.
    fn assemble(self, roots: usize) -> Vec<Value> {
        let mut values: Vec<Option<Value>> = Vec::new();
        values.resize_with(self.nodes.len(), || None);
        for (index, node) in self.nodes.into_iter().enumerate().rev() {
            let kind = node.content.assemble(&mut values);
            if let Some(place) = values.get_mut(index) {
                *place = Some(Value {
                    address: node.address,
                    class: node.class,
                    kind,
                });
            }
        }
        values.into_iter().take(roots).flatten().collect()
    }
}

impl Node {
    /// Whether it has to be read.
    fn is_unknown(&self) -> bool {
        matches!(self.content, Content::Leaf(ValueKind::Deeper)) && !self.address.is_null()
    }
}

impl Content {
    /// What this is, with its parts taken out of `values`.
    fn assemble(self, values: &mut [Option<Value>]) -> ValueKind {
        let mut take = |range: Range<usize>| -> Vec<Value> {
            let parts = values.get_mut(range).unwrap_or_default();
            parts.iter_mut().filter_map(Option::take).collect()
        };
        match self {
            Self::Leaf(kind) => kind,
            Self::Row {
                form,
                items,
                length,
            } => ValueKind::Sequence {
                form,
                items: take(items),
                length,
            },
            Self::Dict { items, length } => {
                let mut parts = take(items).into_iter();
                let mut items = Vec::new();
                while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                    items.push((key, value));
                }
                ValueKind::Dict { items, length }
            }
            Self::Instance {
                arguments,
                names,
                values,
                length,
            } => ValueKind::Instance {
                arguments: arguments.map(&mut take),
                attributes: names.into_iter().zip(take(values)).collect(),
                length: Some(length),
            },
        }
    }
}
