//! A picture of objects and what they hold: level by level, so that a budget goes to what is
//! near, and without recursion, since a target decides how deep it goes.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use invivo_model::{Address, SequenceForm, Text, Value, ValueKind};
use invivo_process::{Fault, Memory};

use super::ValueLimits;
use super::attributes::{Attributes, Name};
use super::classes::Classes;
use super::containers::Items;
use super::kinds::Kind;
use super::shapes::Shape;
use crate::objects::{Step, finish};
use crate::runtime::Runtime;

/// Characters of a name that are always read.
const NAME: usize = 128;

/// Tables of one level that are measured; more are shown by their attributes.
const MAX_TABLES: usize = 64;

/// An object in the picture.
struct Node {
    address: Address,
    /// The node that holds it.
    parent: Option<usize>,
    /// Which group of those that were asked for it belongs to.
    group: usize,
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
    classes: &'a mut Classes,
    nodes: Vec<Node>,
    /// How many nodes each group may still have.
    room: Vec<usize>,
}

impl<'a, M: Memory> Picture<'a, M> {
    /// What the objects of each group hold, each group within limits of its own. `classes` are
    /// those that are known already.
    pub(super) fn take(
        runtime: &'a Runtime<M>,
        classes: &'a mut Classes,
        groups: &[Vec<Address>],
        limits: ValueLimits,
    ) -> Vec<Vec<Value>> {
        let mut picture = Self {
            runtime,
            limits,
            classes,
            nodes: Vec::new(),
            room: Vec::new(),
        };
        for (group, addresses) in groups.iter().enumerate() {
            picture.room.push(addresses.len());
            picture.add(None, group, addresses);
        }
        picture.room.fill(limits.nodes);
        let mut level = 0..picture.nodes.len();
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
        let mut values = picture.assemble().into_iter();
        let values = groups
            .iter()
            .map(|group| values.by_ref().take(group.len()).collect());
        values.collect()
    }

    /// Adds nodes for what `parent` holds, as far as there is room.
    fn add(&mut self, parent: Option<usize>, group: usize, addresses: &[Address]) -> Range<usize> {
        let start = self.nodes.len();
        let room = self.room.get(group).copied().unwrap_or(0);
        for address in addresses.iter().take(room) {
            let (class, content) = self.before_reading(parent, *address);
            self.nodes.push(Node {
                address: *address,
                parent,
                group,
                class,
                content,
            });
        }
        let range = start..self.nodes.len();
        if let Some(room) = self.room.get_mut(group) {
            *room -= range.len();
        }
        range
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
        let nodes = self.nodes.get(level.clone()).unwrap_or_default();
        let unknown: Vec<_> = level
            .zip(nodes)
            .filter(|(_, node)| node.is_unknown())
            .map(|(index, node)| (index, node.address))
            .collect();
        let addresses: BTreeSet<_> = unknown.iter().map(|(_, address)| *address).collect();
        let addresses: Vec<_> = addresses.into_iter().collect();
        // Many may hold the same.
        let shapes: HashMap<_, _> = addresses
            .iter()
            .copied()
            .zip(self.shapes(&addresses, containers)?)
            .collect();
        for (index, address) in unknown {
            let Some((class, shape)) = shapes.get(&address) else {
                continue;
            };
            // What holds itself is known by it.
            if let Some(node) = self.nodes.get_mut(index) {
                node.class.clone_from(class);
            }
            let content = self.content(index, shape);
            if let Some(node) = self.nodes.get_mut(index) {
                node.content = content;
            }
        }
        Ok(())
    }

    /// The class and shape of each object.
    fn shapes(
        &mut self,
        addresses: &[Address],
        containers: bool,
    ) -> Result<Vec<(Option<Text>, Shape)>, Fault> {
        let (classes, mut shapes) = self.unfolded(addresses, containers)?;
        let kinds = classes
            .iter()
            .map(|class| Some(self.classes.get((*class)?)?.kind));
        let kinds: Vec<_> = kinds.collect();
        let is_table = |kind: &Option<Kind>| *kind == Some(Kind::Table);
        let tables = shapes.iter().zip(&kinds).filter(|(_, kind)| is_table(kind));
        let tables: Vec<_> = tables.map(|(shape, _)| shape).take(MAX_TABLES).collect();
        // What keeps them from being measured keeps nothing back that is known.
        let mut extents = self.extents(&tables).unwrap_or_default().into_iter();
        let tables = shapes.iter_mut().zip(&kinds);
        for (table, _) in tables.filter(|(_, kind)| is_table(kind)) {
            if let Some(Some(shape)) = extents.next() {
                *table = Shape::Leaf(ValueKind::Array {
                    element: None,
                    shape: Some(shape),
                });
            }
        }
        let names = classes
            .iter()
            .map(|class| Some(self.classes.get((*class)?)?.name.clone()));
        Ok(names.zip(shapes).collect())
    }

    /// The shapes of objects, tables among them by their attributes.
    pub(super) fn bare_shapes(&mut self, addresses: &[Address]) -> Result<Vec<Shape>, Fault> {
        Ok(self.unfolded(addresses, true)?.1)
    }

    /// The class and shape of each object, those of tables by their attributes.
    fn unfolded(
        &mut self,
        addresses: &[Address],
        containers: bool,
    ) -> Result<(Vec<Option<Address>>, Vec<Shape>), Fault> {
        let (runtime, limits) = (self.runtime, self.limits);
        let heads = runtime.object_heads(addresses)?;
        let classes = heads.iter().map(|head| runtime.class_of(head));
        let classes: Vec<_> = classes.collect();
        self.classes
            .load(runtime, classes.iter().copied().flatten())?;
        let unreadable = |why| Step::Done(Ok(Shape::Leaf(ValueKind::Unreadable(why))));
        let shapes = heads.iter().zip(&classes).map(|(head, class)| {
            let found = class.and_then(|class| self.classes.get(class));
            match (found, class) {
                (Some(class), _) if class.kind.is_container() && !containers => {
                    Step::Done(Ok(Shape::Leaf(ValueKind::Deeper)))
                }
                (Some(class), _) => runtime.shape(head, class, &limits),
                (None, Some(class)) => unreadable(format!("its class at {class} is none")),
                (None, None) => unreadable(Fault::Unmapped(head.address).to_string()),
            }
        });
        let shapes = finish(&runtime.memory, shapes)?.into_iter();
        let mut shapes: Vec<_> = shapes
            .map(|shape| {
                shape.unwrap_or_else(|error| Shape::Leaf(ValueKind::Unreadable(error.why)))
            })
            .collect();
        self.name_attributes(&mut shapes)?;
        Ok((classes, shapes))
    }

    /// Reads the names of attributes where they are strings of the target.
    fn name_attributes(&self, shapes: &mut [Shape]) -> Result<(), Fault> {
        let names = shapes.iter_mut().flat_map(Shape::attributes_mut);
        let mut unknown: Vec<_> = names
            .filter_map(|(name, _)| match name {
                Name::At(address) => Some((*address, name)),
                Name::Known(_) => None,
            })
            .collect();
        let addresses: BTreeSet<_> = unknown.iter().map(|(address, _)| *address).collect();
        let addresses: Vec<_> = addresses.into_iter().collect();
        let characters = self.limits.characters.max(NAME);
        let texts = self.runtime.strings_up_to(&addresses, characters)?;
        let texts: HashMap<_, _> = addresses.into_iter().zip(texts).collect();
        for (address, name) in &mut unknown {
            let text = match texts.get(address) {
                Some(Ok(text)) => text.clone(),
                _ => Text {
                    text: format!("<{address}>"),
                    truncated: false,
                },
            };
            **name = Name::Known(text);
        }
        Ok(())
    }

    fn content(&mut self, index: usize, shape: &Shape) -> Content {
        let group = self.nodes.get(index).map_or(0, |node| node.group);
        let parent = Some(index);
        match shape {
            Shape::Leaf(kind) => Content::Leaf(kind.clone()),
            Shape::Row(form, Items { items, length }) => Content::Row {
                form: *form,
                items: self.add(parent, group, items),
                length: *length,
            },
            Shape::Dict(pairs) => {
                let room = self.room.get(group).copied().unwrap_or(0) / 2;
                let fitting = pairs.items.iter().take(room);
                let flat: Vec<_> = fitting.flat_map(|(key, value)| [*key, *value]).collect();
                Content::Dict {
                    items: self.add(parent, group, &flat),
                    length: pairs.length,
                }
            }
            Shape::Instance(arguments, Attributes { items, length }) => {
                let arguments = arguments
                    .as_ref()
                    .map(|arguments| self.add_arguments(index, group, arguments));
                let names = items.iter().filter_map(|(name, _)| match name {
                    Name::Known(name) => Some(name.clone()),
                    Name::At(_) => None,
                });
                let values: Vec<_> = items.iter().map(|(_, value)| *value).collect();
                Content::Instance {
                    arguments,
                    names: names.collect(),
                    values: self.add(parent, group, &values),
                    length: *length,
                }
            }
        }
    }

    /// Adds what an exception was made with. Where not all of it is there, the last one says so.
    fn add_arguments(&mut self, index: usize, group: usize, arguments: &Items) -> Range<usize> {
        let mut range = self.add(Some(index), group, &arguments.items);
        if (range.len() as u64) < arguments.length {
            self.nodes.push(Node {
                address: Address::NULL,
                parent: Some(index),
                group,
                class: None,
                content: Content::Leaf(ValueKind::Deeper),
            });
            range.end = self.nodes.len();
        }
        range
    }

    /// The values of all nodes that no other holds. What a node holds stands behind it.
    fn assemble(self) -> Vec<Value> {
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
        values.into_iter().flatten().collect()
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
