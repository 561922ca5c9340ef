//! What the code of a frame says of its variables.

use invivo_model::{Address, Error, ErrorKind, Frame, Result, Role, Slots};
use invivo_process::{Fault, Memory};

use super::checks::Link;
use crate::fields::{corrupt, fault};
use crate::layout::CodeVariables;
use crate::layout::common::{CO_VARARGS, CO_VARKEYWORDS, KIND_CELL, KIND_FREE, KIND_HIDDEN};
use crate::objects::{Step, Want, half, pointers};
use crate::runtime::Runtime;

pub(super) const READING: &str = "cannot read the frame's variables";
/// Variables of one frame.
const MAX_VARIABLES: usize = 4096;

/// A variable as its code describes it.
#[derive(Clone, Debug)]
pub(super) struct Described {
    pub(super) name: Address,
    pub(super) role: Role,
    /// What its slot holds, or null.
    pub(super) slot: Address,
    /// The words that lead to that.
    pub(super) links: Vec<Link>,
    /// Whether what it holds may be in a cell.
    pub(super) in_cell: bool,
    /// Whether it is there only while a comprehension runs that has no frame of its own.
    pub(super) hidden: bool,
}

/// What the code of a frame says of its variables, in order.
#[derive(Debug, Default)]
pub(super) struct Names {
    variables: Vec<Address>,
    cells: Vec<Address>,
    free: Vec<Address>,
    /// Of each of `cells` which of `variables` it stands for, if for any.
    cell_to_argument: Vec<i64>,
    /// What each of `variables` is, where they are all of them.
    kinds: Option<Vec<u8>>,
    /// How many of them are arguments.
    arguments: usize,
}

impl<M: Memory> Runtime<M> {
    /// What the code of a frame says of its variables.
    pub(super) fn variable_names<'a>(&'a self, frame: &'a Frame) -> Step<'a, Result<Names>> {
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
                    Ok(Names {
                        arguments: counts.sum::<usize>() + stars,
                        ..names
                    })
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
                            ..Names::default()
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
}

impl Names {
    /// The variables with what is in their slots, the first of which lies at `start`.
    pub(super) fn describe(&self, slots: &Slots, start: Address) -> Vec<Described> {
        let slot = |index: usize| slots.fast.get(index).copied().unwrap_or_default();
        let links = |index: usize| {
            let at = start.offset(index as u64 * 8).unwrap_or_default();
            vec![Link {
                at,
                to: slot(index),
            }]
        };
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
                    _ if index < self.arguments => Role::Argument,
                    kind if kind & KIND_FREE != 0 => Role::Free,
                    kind if kind & KIND_CELL != 0 => Role::Cell,
                    _ => Role::Local,
                };
                Described {
                    name: *name,
                    role,
                    slot: slot(index),
                    links: links(index),
                    in_cell: kind & (KIND_CELL | KIND_FREE) != 0,
                    hidden: kind & KIND_HIDDEN != 0,
                }
            })
            .collect();
        let apart = |(index, name): (usize, &Address), role| Described {
            name: *name,
            role,
            slot: slot(self.variables.len() + index),
            links: links(self.variables.len() + index),
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
                    argument.links = cell.links;
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
