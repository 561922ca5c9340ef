//! A picture of objects and what they hold: level by level, so that a budget goes to what is
//! near, and without recursion, since a target decides how deep it goes.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use invivo_model::{Address, SequenceForm, Text, Value, ValueKind};
use invivo_process::{Fault, Memory};

use super::ValueLimits;
use super::attributes::{Attributes, Name};
use super::checks::{Evidence, Root, Verdict};
use super::classes::Classes;
use super::containers::Items;
use super::kinds::Kind;
use super::shapes::Shape;
use super::tables::Extents;
use crate::frames::Watch;
use crate::objects::{Step, finish_with_pieces};
use crate::pieces::Piece;
use crate::runtime::Runtime;

/// Characters of a name that are always read.
const NAME: usize = 128;

/// Tables of one level that are measured; more are shown by their attributes.
const MAX_TABLES: usize = 64;

/// What an object takes in a picture, beside its texts: as a node, and as a value.
const NODE: usize = size_of::<Node>() + size_of::<Option<Value>>();

/// An object in the picture.
struct Node {
    address: Address,
    /// The node that holds it.
    parent: Option<usize>,
    /// Which group of those that were asked for it belongs to.
    group: usize,
    class: Option<Text>,
    content: Content,
    /// Which of the evidence is that of its object, where it was read.
    evidence: Option<usize>,
    /// Whether it has changed since it was read, or what led to it has.
    changed: bool,
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

/// What an object holds, what its class is called, and what was read for both.
pub(super) struct Read {
    class: Option<Text>,
    shape: Shape,
    evidence: Vec<Piece>,
}

/// A value, and whether all of it is as it was read.
pub(super) struct Taken {
    pub(super) value: Value,
    pub(super) is_certain: bool,
}

/// The classes and shapes of objects, and what was read of each.
type Unfolded = (Vec<Option<Address>>, Vec<Shape>, Vec<Vec<Piece>>);

/// The objects that were found so far.
pub(super) struct Picture<'a, M> {
    runtime: &'a Runtime<M>,
    limits: ValueLimits,
    classes: &'a mut Classes,
    nodes: Vec<Node>,
    /// What was read of objects.
    evidence: Vec<Vec<Piece>>,
    /// How many nodes each group may still have.
    room: Vec<usize>,
}

impl<'a, M: Memory> Picture<'a, M> {
    /// What the objects of each group hold, each group within limits of its own. `classes` are
    /// those that are known already, `watch` looks after the frames that lead to the objects.
    pub(super) fn take(
        runtime: &'a Runtime<M>,
        classes: &'a mut Classes,
        groups: &[Vec<Root>],
        limits: ValueLimits,
        watch: &mut Option<Watch>,
    ) -> Vec<Vec<Taken>> {
        let mut picture = Self {
            runtime,
            limits,
            classes,
            nodes: Vec::new(),
            evidence: Vec::new(),
            room: Vec::new(),
        };
        for (group, roots) in groups.iter().enumerate() {
            let addresses: Vec<_> = roots.iter().map(|root| root.object).collect();
            picture.room.push(addresses.len());
            picture.add(None, group, &addresses);
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
        let roots: Vec<&Root> = groups.iter().flatten().collect();
        let certain = picture.mark_changes(&roots, watch);
        let taken = picture.assemble().into_iter().zip(certain);
        let mut taken = taken.map(|(value, is_certain)| Taken { value, is_certain });
        let taken = groups
            .iter()
            .map(|group| taken.by_ref().take(group.len()).collect());
        taken.collect()
    }

    /// Marks what has changed since it was read, and says of each root whether nothing in it has.
    fn mark_changes(&mut self, roots: &[&Root], watch: &mut Option<Watch>) -> Vec<bool> {
        // Of each root the nodes in it that were read, itself first.
        let mut within: Vec<Vec<usize>> = vec![Vec::new(); roots.len()];
        let mut root_of: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let parent = node.parent.and_then(|parent| root_of.get(parent)).copied();
            let root = parent.unwrap_or(index);
            root_of.push(root);
            if node.evidence.is_some()
                && let Some(within) = within.get_mut(root)
            {
                within.push(index);
            }
        }
        let of_node = |index: &usize| {
            let evidence = self.nodes.get(*index)?.evidence?;
            self.evidence.get(evidence).map(Vec::as_slice)
        };
        let evidence = roots.iter().zip(&within).map(|(root, within)| Evidence {
            links: &root.links,
            frame: root.frame,
            objects: within.iter().filter_map(of_node).collect(),
        });
        let evidence: Vec<_> = evidence.collect();
        let verdicts = self.runtime.check(&evidence, watch).unwrap_or_else(|_| {
            let objects = evidence.iter().map(|evidence| evidence.objects.len());
            objects.map(Verdict::unknown).collect()
        });
        let mut certain = Vec::with_capacity(roots.len());
        for (root, (verdict, within)) in verdicts.into_iter().zip(&within).enumerate() {
            let changed = within
                .iter()
                .zip(&verdict.objects)
                .filter(|(_, same)| !**same);
            let mut changed: Vec<_> = changed.map(|(node, _)| *node).collect();
            if !verdict.is_held {
                changed.push(root);
            }
            certain.push(changed.is_empty());
            for node in changed {
                if let Some(node) = self.nodes.get_mut(node) {
                    node.changed = true;
                }
            }
        }
        certain
    }

    /// Adds nodes for what `parent` holds, as far as there is room.
    fn add(&mut self, parent: Option<usize>, group: usize, addresses: &[Address]) -> Range<usize> {
        let start = self.nodes.len();
        let room = self.room.get(group).copied().unwrap_or(0);
        for address in addresses.iter().take(room) {
            let has_room = self.runtime.memory.count_kept(NODE).is_ok();
            // Of what was asked for itself, each has its place.
            if !has_room && parent.is_some() {
                break;
            }
            let (class, content) = self.before_reading(parent, *address);
            self.nodes.push(Node {
                address: *address,
                parent,
                group,
                class,
                content,
                evidence: None,
                changed: false,
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
        let mut shapes = HashMap::new();
        for (address, read) in addresses.iter().zip(self.shapes(&addresses, containers)?) {
            shapes.insert(*address, (read.class, read.shape, self.evidence.len()));
            self.evidence.push(read.evidence);
        }
        for (index, address) in unknown {
            let Some((class, shape, evidence)) = shapes.get(&address) else {
                continue;
            };
            // What holds itself is known by it.
            let length = class.as_ref().map_or(0, |class| class.text.len());
            let has_room = self.runtime.memory.count_kept(length).is_ok();
            if let Some(node) = self.nodes.get_mut(index) {
                if has_room {
                    node.class.clone_from(class);
                }
                node.evidence = Some(*evidence);
            }
            let content = match self.runtime.memory.count_kept(shape.bytes()) {
                Ok(()) => self.content(index, shape),
                Err(met) => Content::Leaf(ValueKind::Unreadable(met.to_string())),
            };
            if let Some(node) = self.nodes.get_mut(index) {
                node.content = content;
            }
        }
        Ok(())
    }

    /// The class and shape of each object.
    fn shapes(&mut self, addresses: &[Address], containers: bool) -> Result<Vec<Read>, Fault> {
        let (classes, mut shapes, mut evidence) = self.unfolded(addresses, containers)?;
        let kinds = classes
            .iter()
            .map(|class| Some(self.classes.get((*class)?)?.kind));
        let kinds: Vec<_> = kinds.collect();
        let is_table = |kind: &Option<Kind>| *kind == Some(Kind::Table);
        let tables = shapes.iter().zip(&kinds).filter(|(_, kind)| is_table(kind));
        let tables: Vec<_> = tables.map(|(shape, _)| shape).take(MAX_TABLES).collect();
        // What keeps them from being measured keeps nothing back that is known.
        let mut extents = Extents::default();
        if !tables.is_empty() {
            extents = self.extents(&tables).unwrap_or_default();
        }
        let mut sizes = extents.sizes.into_iter();
        let tables = shapes.iter_mut().zip(&mut evidence).zip(&kinds);
        for ((table, evidence), _) in tables.filter(|(_, kind)| is_table(kind)) {
            if let Some(Some(shape)) = sizes.next() {
                evidence.extend_from_slice(&extents.evidence);
                *table = Shape::Leaf(ValueKind::Array {
                    element: None,
                    shape: Some(shape),
                });
            }
        }
        let names = classes
            .iter()
            .map(|class| Some(self.classes.get((*class)?)?.name.clone()));
        let read = names.zip(shapes).zip(evidence);
        Ok(read
            .map(|((class, shape), evidence)| Read {
                class,
                shape,
                evidence,
            })
            .collect())
    }

    /// The shapes of objects, tables among them by their attributes, and what was read for them.
    pub(super) fn bare_shapes(
        &mut self,
        addresses: &[Address],
    ) -> Result<(Vec<Shape>, Vec<Piece>), Fault> {
        let (_, shapes, evidence) = self.unfolded(addresses, true)?;
        Ok((shapes, evidence.into_iter().flatten().collect()))
    }

    /// The class and shape of each object, those of tables by their attributes, and what was read
    /// of each.
    fn unfolded(&mut self, addresses: &[Address], containers: bool) -> Result<Unfolded, Fault> {
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
        let read = finish_with_pieces(&runtime.memory, shapes)?.into_iter();
        let read = read.zip(&heads).map(|((shape, pieces), head)| {
            let unreadable = |why| Shape::Leaf(ValueKind::Unreadable(why));
            let shape = shape.unwrap_or_else(|error| unreadable(error.why));
            let mut evidence = head.evidence();
            evidence.extend(pieces);
            (shape, evidence)
        });
        let (mut shapes, evidence): (Vec<_>, _) = read.unzip();
        self.name_attributes(&mut shapes)?;
        Ok((classes, shapes, evidence))
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
                evidence: None,
                changed: false,
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
                    changed: node.changed,
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
