//! The variables of a frame: what they are called, what they are, and what they hold.

use std::collections::{BTreeSet, HashMap};

use invivo_model::{Address, Error, ErrorKind, Frame, Result, Role, Slots, Text, Variable};
use invivo_process::{Fault, Memory};

use super::ValueLimits;
use super::classes::Classes;
use super::kinds::Kind;
use super::picture::Picture;
use crate::fields::{corrupt, fault};
use crate::layout::CodeVariables;
use crate::layout::common::{
    CO_OPTIMIZED, CO_VARARGS, CO_VARKEYWORDS, KIND_CELL, KIND_FREE, KIND_HIDDEN,
};
use crate::objects::{Pairs, Step, Want, finish, half, pointers};
use crate::runtime::Runtime;

const READING: &str = "cannot read the frame's variables";
/// Frames that are looked at together.
const AT_ONCE: usize = 64;
/// Variables of one frame.
const MAX_VARIABLES: usize = 4096;

/// A variable as its code describes it.
#[derive(Clone, Copy, Debug)]
struct Described {
    name: Address,
    role: Role,
    /// What its slot holds, or null.
    slot: Address,
    /// Whether what it holds may be in a cell.
    in_cell: bool,
    /// Whether it is there only while a comprehension runs that has no frame of its own.
    hidden: bool,
}

/// What the code of a frame says of its variables, in order.
#[derive(Debug, Default)]
struct Names {
    variables: Vec<Address>,
    cells: Vec<Address>,
    free: Vec<Address>,
    /// Of each of `cells` which of `variables` it stands for, if for any.
    cell_to_argument: Vec<i64>,
    /// What each of `variables` is, where they are all of them.
    kinds: Option<Vec<u8>>,
}

impl<M: Memory> Runtime<M> {
    /// The variables of a frame that was read with its slots, arguments first, and what they
    /// hold: those of a module or a class body as well, without names like `__this__`. The limit
    /// of objects is for all of them.
    ///
    /// # Errors
    ///
    /// `Usage` where the frame was read without its slots, `Corrupt` where its code can't be read,
    /// `Gone` or `Refused` where memory can't be read at all.
    pub fn variables(&self, frame: &Frame, limits: &ValueLimits) -> Result<Vec<Variable>> {
        let mut one = self.variables_of(&[frame], limits).into_iter();
        one.next()
            .unwrap_or_else(|| Err(Error::internal("a frame was lost")))
    }

    /// The variables of each of `frames`, each as [`Runtime::variables`], read together: that
    /// takes much less than to read them one by one.
    pub fn variables_of(
        &self,
        frames: &[&Frame],
        limits: &ValueLimits,
    ) -> Vec<Result<Vec<Variable>>> {
        let limits = limits.bounded();
        let mut classes = Classes::default();
        let groups = frames.chunks(AT_ONCE).flat_map(|group| {
            let read = self.read_variables(group, &mut classes, limits);
            read.unwrap_or_else(|met| vec![Err(fault(READING, met)); group.len()])
        });
        groups.collect()
    }

    fn read_variables(
        &self,
        frames: &[&Frame],
        classes: &mut Classes,
        limits: ValueLimits,
    ) -> Result<Vec<Result<Vec<Variable>>>, Fault> {
        let names = frames.iter().map(|frame| self.variable_names(frame));
        let mut described: Vec<Result<Vec<Described>>> = finish(&self.memory, names)?;
        self.empty_cells(described.iter_mut().flatten().flatten(), classes)?;
        let namespaces = frames.iter().map(|frame| match &frame.slots {
            Some(slots) if !is_optimized(frame) => slots.namespace,
            _ => Address::NULL,
        });
        let namespaces: Vec<_> = namespaces.collect();
        let namespaces = self.namespaces(&namespaces, classes, limits.nodes)?;
        for (described, namespace) in described.iter_mut().zip(namespaces) {
            if let Ok(described) = described {
                described.extend(namespace);
            }
        }
        let texts = self.texts_of(described.iter().flatten().flatten())?;
        for (described, frame) in described.iter_mut().zip(frames) {
            if let Ok(described) = described {
                described.retain(|variable| {
                    let name = texts.get(&variable.name);
                    // A module has many that nobody has written.
                    let is_wanted = |name: &Text| is_optimized(frame) || !is_special(name);
                    let is_there = !variable.hidden || !variable.slot.is_null();
                    is_there && name.is_some_and(is_wanted)
                });
            }
        }
        let bound = described.iter().map(|described| {
            let slots = described.iter().flatten().map(|variable| variable.slot);
            slots.filter(|slot| !slot.is_null()).collect()
        });
        let bound: Vec<_> = bound.collect();
        let values = Picture::take(self, classes, &bound, limits);
        let variables = described
            .into_iter()
            .zip(values)
            .map(|(described, values)| {
                let mut values = values.into_iter();
                let variables = described?.into_iter().map(|variable| Variable {
                    name: texts.get(&variable.name).cloned().unwrap_or_default(),
                    role: variable.role,
                    value: match variable.slot {
                        Address::NULL => None,
                        _ => values.next(),
                    },
                });
                Ok(variables.collect())
            });
        Ok(variables.collect())
    }

    /// The names of variables, by where they are. Those that can't be read are not among them.
    fn texts_of<'a>(
        &self,
        variables: impl Iterator<Item = &'a Described>,
    ) -> Result<HashMap<Address, Text>, Fault> {
        let addresses: BTreeSet<_> = variables.map(|variable| variable.name).collect();
        let addresses: Vec<_> = addresses.into_iter().collect();
        let texts = self.strings_up_to(&addresses, self.limits.string_characters)?;
        let texts = addresses.into_iter().zip(texts);
        Ok(texts
            .filter_map(|(address, text)| Some((address, text.ok()?)))
            .collect())
    }

    /// What the code of a frame says of its variables, with what is in their slots.
    fn variable_names<'a>(&'a self, frame: &'a Frame) -> Step<'a, Result<Vec<Described>>> {
        let Some(slots) = &frame.slots else {
            return Step::Done(Err(Error::new(
                ErrorKind::Usage,
                READING,
                "the stack was read without them",
                "ask for the slots when reading the stack",
            )));
        };
        let layout = &self.layout.code;
        let code = frame.code.address;
        let count = slots.fast.len().min(MAX_VARIABLES);
        let names = match layout.variables {
            CodeVariables::Separate {
                variables,
                cells,
                free,
                cell_to_argument,
            } => self.separate_names(code, [variables, cells, free], cell_to_argument, count),
            CodeVariables::Together { names, kinds } => {
                let names = self.tuple_at(code, names, count);
                names.and_then(move |variables| {
                    let kinds = self.kinds_at(code, kinds, variables.len());
                    kinds.and_then(|kinds| {
                        Step::Done(Ok(Names {
                            variables,
                            kinds: Some(kinds),
                            ..Names::default()
                        }))
                    })
                })
            }
        };
        let counts = [layout.argument_count, layout.keyword_only_count];
        let wanted = counts.map(|at| Want::at(code, at, 4));
        names.and_then(move |names| {
            let then = move |came: &[&[u8]]| {
                let counts = came
                    .iter()
                    .map(|bytes| half(bytes, 0).unwrap_or(0) as usize);
                let has = |flag| usize::from(frame.code.flags & flag != 0);
                let stars = has(CO_VARARGS) + has(CO_VARKEYWORDS);
                let named = names.variables.len() + names.cells.len() + names.free.len();
                Step::Done(if named < count {
                    let why = format!("it has {count} variables, and {named} names of them");
                    Err(corrupt(READING, why))
                } else {
                    Ok(names.describe(slots, counts.sum::<usize>() + stars))
                })
            };
            Step::Read(wanted.to_vec(), Box::new(then))
        })
    }

    /// The names of variables, cells and free variables, each kind in a tuple of its own.
    fn separate_names(
        &self,
        code: Address,
        [variables, cells, free]: [u64; 3],
        cell_to_argument: u64,
        count: usize,
    ) -> Step<'_, Result<Names>> {
        self.tuple_at(code, variables, count)
            .and_then(move |variables| {
                self.tuple_at(code, cells, count)
                    .and_then(move |cells| Step::Done(Ok((variables, cells))))
            })
            .and_then(move |(variables, cells)| {
                self.tuple_at(code, free, count)
                    .and_then(move |free| Step::Done(Ok((variables, cells, free))))
            })
            .and_then(move |(variables, cells, free)| {
                let table = self.pointer(code, cell_to_argument);
                let size = cells.len() * 8;
                table.and_then(move |table| {
                    // It is null where no cell stands for an argument.
                    let size = if table.is_null() { 0 } else { size };
                    Step::read(Want::new(table, size), move |table| {
                        let table = pointers(table).map(|index| index.0.cast_signed());
                        Step::Done(Ok(Names {
                            variables,
                            cells,
                            free,
                            cell_to_argument: table.collect(),
                            kinds: None,
                        }))
                    })
                })
            })
    }

    /// The items of the tuple that the pointer at `offset` behind `base` leads to.
    fn tuple_at(&self, base: Address, offset: u64, limit: usize) -> Step<'_, Result<Vec<Address>>> {
        self.pointer(base, offset)
            .and_then(move |tuple| self.tuple(tuple, limit))
            .and_then(|tuple| Step::Done(Ok(tuple.items)))
    }

    /// The first bytes of the bytes object that the pointer at `offset` behind `base` leads to.
    fn kinds_at(&self, base: Address, offset: u64, count: usize) -> Step<'_, Result<Vec<u8>>> {
        let data = self.layout.builtin.bytes_data;
        self.pointer(base, offset).and_then(move |kinds| {
            Step::read(Want::at(kinds, data, count), move |bytes| {
                Step::Done(if bytes.len() == count {
                    Ok(bytes.to_vec())
                } else {
                    Err(fault(READING, Fault::Unmapped(kinds)))
                })
            })
        })
    }

    /// Puts what cells hold in the place of the cells. A variable has none before its function
    /// has made it.
    fn empty_cells<'a>(
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
        for (variable, head) in cells.iter_mut().zip(&heads) {
            let class = self.class_of(head).and_then(|class| classes.get(class));
            if class.is_some_and(|class| class.kind == Kind::Cell) {
                let value = head.word(self.layout.builtin.cell_value);
                variable.slot = Address(value.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// The names in each namespace of a module or a class body: none where it is null or no
    /// dictionary.
    fn namespaces(
        &self,
        namespaces: &[Address],
        classes: &mut Classes,
        limit: usize,
    ) -> Result<Vec<Vec<Described>>, Fault> {
        let heads = self.object_heads(namespaces)?;
        classes.load(self, heads.iter().filter_map(|head| self.class_of(head)))?;
        let pairs = heads.iter().map(|head| {
            let class = self.class_of(head).and_then(|class| classes.get(class));
            match class {
                Some(class) if class.kind == Kind::Dict => self.dict(head.address, limit),
                _ => Step::Done(Ok(Pairs::default())),
            }
        });
        let named = |(name, slot)| Described {
            name,
            role: Role::Name,
            slot,
            in_cell: false,
            hidden: false,
        };
        let pairs = finish(&self.memory, pairs)?.into_iter();
        let items = pairs.map(|pairs| pairs.unwrap_or_default().items);
        Ok(items
            .map(|items| items.into_iter().map(named).collect())
            .collect())
    }
}

impl Names {
    /// The variables with what is in their slots; so many of them are arguments.
    fn describe(&self, slots: &Slots, arguments: usize) -> Vec<Described> {
        let slot = |index: usize| slots.fast.get(index).copied().unwrap_or_default();
        let mut described: Vec<_> = self
            .variables
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let kinds = self.kinds.as_ref();
                let kind = kinds
                    .and_then(|kinds| kinds.get(index))
                    .copied()
                    .unwrap_or(0);
                let role = match kind {
                    _ if index < arguments => Role::Argument,
                    kind if kind & KIND_FREE != 0 => Role::Free,
                    kind if kind & KIND_CELL != 0 => Role::Cell,
                    _ => Role::Local,
                };
                Described {
                    name: *name,
                    role,
                    slot: slot(index),
                    in_cell: kind & (KIND_CELL | KIND_FREE) != 0,
                    hidden: kind & KIND_HIDDEN != 0,
                }
            })
            .collect();
        let apart = |(index, name): (usize, &Address), role| Described {
            name: *name,
            role,
            slot: slot(self.variables.len() + index),
            in_cell: true,
            hidden: false,
        };
        for cell in self.cells.iter().enumerate() {
            let argument = self.cell_to_argument.get(cell.0).copied().unwrap_or(-1);
            let argument = usize::try_from(argument).ok();
            let cell = apart(cell, Role::Cell);
            // Its own slot is empty: the function has moved it to the cell.
            match argument.and_then(|argument| described.get_mut(argument)) {
                Some(argument) => {
                    argument.slot = cell.slot;
                    argument.in_cell = true;
                }
                None => described.push(cell),
            }
        }
        let behind = self.cells.len();
        let free = self.free.iter().enumerate();
        described.extend(free.map(|(index, name)| apart((behind + index, name), Role::Free)));
        described
    }
}

/// Whether a frame's variables all have slots.
fn is_optimized(frame: &Frame) -> bool {
    frame.code.flags & CO_OPTIMIZED != 0
}

/// Whether a name is one that Python gives by itself.
fn is_special(name: &Text) -> bool {
    name.text.starts_with("__") && name.text.ends_with("__")
}
