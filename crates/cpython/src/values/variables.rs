//! The variables of a frame: what they are called, what they are, and what they hold.

use invivo_model::{Address, Error, Frame, Result, Role, Slots, Text, Variable};
use invivo_process::{Fault, Memory};

use super::ValueLimits;
use super::classes::Classes;
use super::kinds::Kind;
use super::picture::Picture;
use crate::fields::{corrupt, fault, read_fields};
use crate::layout::CodeVariables;
use crate::layout::common::{
    CO_OPTIMIZED, CO_VARARGS, CO_VARKEYWORDS, KIND_CELL, KIND_FREE, KIND_HIDDEN,
};
use crate::objects::{Step, Want, finish, pointers, word};
use crate::runtime::Runtime;

const READING: &str = "cannot read the frame's variables";
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
#[derive(Debug)]
struct Names {
    variables: Vec<Address>,
    cells: Vec<Address>,
    free: Vec<Address>,
    /// Of each of `cells` which of `variables` it stands for, if for any.
    cell_to_argument: Vec<i64>,
    /// What each of `variables` is, where they are all of them.
    kinds: Option<Vec<u8>>,
    arguments: usize,
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
        let slots = frame.slots.as_ref().ok_or_else(|| {
            Error::new(
                invivo_model::ErrorKind::Usage,
                READING,
                "the stack was read without them",
                "ask for the slots when reading the stack",
            )
        })?;
        let names = self.variable_names(frame, slots)?;
        self.read_variables(frame, slots, names, limits.bounded())
            .map_err(|met| fault(READING, met))
    }

    fn read_variables(
        &self,
        frame: &Frame,
        slots: &Slots,
        names: Names,
        limits: ValueLimits,
    ) -> Result<Vec<Variable>, Fault> {
        let mut classes = Classes::default();
        let mut described = names.describe(slots);
        self.empty_cells(&mut described, &mut classes)?;
        let optimized = frame.code.flags & CO_OPTIMIZED != 0;
        if !optimized {
            described.extend(self.namespace(slots.namespace, &mut classes, limits.nodes)?);
        }
        described.retain(|variable| !variable.hidden || !variable.slot.is_null());
        let addresses: Vec<_> = described.iter().map(|variable| variable.name).collect();
        let texts = self.strings_up_to(&addresses, self.limits.string_characters)?;
        let named: Vec<(Text, Described)> = texts
            .into_iter()
            .zip(described)
            .filter_map(|(text, variable)| Some((text.ok()?, variable)))
            .filter(|(text, _)| optimized || !is_special(text))
            .collect();
        let bound = named.iter().map(|(_, variable)| variable.slot);
        let bound: Vec<_> = bound.filter(|slot| !slot.is_null()).collect();
        let mut values = Picture::take(self, classes, &bound, limits).into_iter();
        let variables = named.into_iter().map(|(name, variable)| Variable {
            name,
            role: variable.role,
            value: if variable.slot.is_null() {
                None
            } else {
                values.next()
            },
        });
        Ok(variables.collect())
    }

    /// What the code of a frame says of its variables.
    fn variable_names(&self, frame: &Frame, slots: &Slots) -> Result<Names> {
        let layout = &self.layout.code;
        let code = frame.code.address;
        let fields = [(layout.argument_count, 4), (layout.keyword_only_count, 4)];
        let [positional, keyword_only] =
            read_fields(&self.memory, code, fields).map_err(|met| fault(READING, met))?;
        let has = |flag| usize::from(frame.code.flags & flag != 0);
        let arguments = usize::try_from(positional.saturating_add(keyword_only))
            .unwrap_or(usize::MAX)
            .saturating_add(has(CO_VARARGS) + has(CO_VARKEYWORDS));
        let count = slots.fast.len().min(MAX_VARIABLES);
        let found = match layout.variables {
            CodeVariables::Separate {
                variables,
                cells,
                free,
                cell_to_argument,
            } => {
                let tuples = [variables, cells, free].map(|at| self.tuple_at(code, at, count));
                let [variables, cells, free] = self.three(tuples)?;
                let table = self.cell_table(code, cell_to_argument, cells.len())?;
                Names {
                    variables,
                    cells,
                    free,
                    cell_to_argument: table,
                    kinds: None,
                    arguments,
                }
            }
            CodeVariables::Together { names, kinds } => {
                let names = self.one(self.tuple_at(code, names, count))?;
                let kinds = self.one(self.kinds_at(code, kinds, names.len()))?;
                Names {
                    variables: names,
                    cells: Vec::new(),
                    free: Vec::new(),
                    cell_to_argument: Vec::new(),
                    kinds: Some(kinds),
                    arguments,
                }
            }
        };
        let named = found.variables.len() + found.cells.len() + found.free.len();
        if named < count {
            let why = format!("it has {count} variables, and {named} names of them");
            return Err(corrupt(READING, why));
        }
        Ok(found)
    }

    fn one<'a, T>(&self, step: Step<'a, Result<T>>) -> Result<T> {
        let done = finish(&self.memory, [step]).map_err(|met| fault(READING, met))?;
        let done = done.into_iter().next();
        done.unwrap_or_else(|| Err(Error::internal("a step has come to no end")))
    }

    fn three<'a, T>(&self, steps: [Step<'a, Result<T>>; 3]) -> Result<[T; 3]> {
        let done = finish(&self.memory, steps).map_err(|met| fault(READING, met))?;
        let done = done.into_iter().collect::<Result<Vec<_>>>()?;
        done.try_into()
            .map_err(|_| Error::internal("a step has come to no end"))
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

    /// The table that says which cell stands for which argument: empty where none does.
    fn cell_table(&self, code: Address, at: u64, cells: usize) -> Result<Vec<i64>> {
        let table = self.one(self.pointer(code, at))?;
        if table.is_null() {
            return Ok(Vec::new());
        }
        let words = Step::read(Want::new(table, cells * 8), |bytes| {
            Step::Done(Ok(pointers(bytes)
                .map(|word| word.0.cast_signed())
                .collect()))
        });
        self.one(words)
    }

    /// Puts what cells hold in the place of the cells. A variable has none before its function
    /// has made it.
    fn empty_cells(&self, variables: &mut [Described], classes: &mut Classes) -> Result<(), Fault> {
        let mut cells: Vec<_> = variables
            .iter_mut()
            .filter(|variable| variable.in_cell && !variable.slot.is_null())
            .collect();
        let addresses: Vec<_> = cells.iter().map(|variable| variable.slot).collect();
        let heads = self.object_heads(&addresses)?;
        classes.load(self, heads.iter().filter_map(|head| self.class_of(head)))?;
        for (variable, head) in cells.iter_mut().zip(&heads) {
            let class = self.class_of(head).and_then(|class| classes.get(class));
            if class.is_some_and(|class| class.kind == Kind::Cell) {
                let value = word(&head.bytes, self.layout.builtin.cell_value);
                variable.slot = Address(value.unwrap_or_default());
            }
        }
        Ok(())
    }

    /// The names in the namespace of a module or a class body, which may be no dictionary.
    fn namespace(
        &self,
        namespace: Address,
        classes: &mut Classes,
        limit: usize,
    ) -> Result<Vec<Described>, Fault> {
        let heads = self.object_heads(&[namespace])?;
        classes.load(self, heads.iter().filter_map(|head| self.class_of(head)))?;
        let dicts = heads.iter().filter(|head| {
            let class = self.class_of(head).and_then(|class| classes.get(class));
            class.is_some_and(|class| class.kind == Kind::Dict)
        });
        let pairs = dicts.map(|head| self.dict(head.address, limit));
        let pairs = finish(&self.memory, pairs)?.into_iter().flatten();
        let items = pairs.flat_map(|pairs| pairs.items);
        Ok(items
            .map(|(name, slot)| Described {
                name,
                role: Role::Name,
                slot,
                in_cell: false,
                hidden: false,
            })
            .collect())
    }
}

impl Names {
    /// The variables with what is in their slots.
    fn describe(&self, slots: &Slots) -> Vec<Described> {
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
                    _ if index < self.arguments => Role::Argument,
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

/// Whether a name is one that Python gives by itself.
fn is_special(name: &Text) -> bool {
    name.text.starts_with("__") && name.text.ends_with("__")
}
