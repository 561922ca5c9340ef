//! The variables of a frame: what they are called, what they are, and what they hold.

use std::collections::{BTreeSet, HashMap};

use invivo_model::{Address, Error, Frame, Result, Slots, Text, Thread, Variable};
use invivo_process::{Fault, Memory};

use super::ValueLimits;
use super::checks::Root;
use super::classes::Classes;
use super::described::{Described, Names, READING};
use super::picture::{Picture, Taken};
use crate::fields::fault;
use crate::frames::Watch;
use crate::layout::common::CO_OPTIMIZED;
use crate::objects::finish;
use crate::runtime::Runtime;

/// Frames that are looked at together.
const AT_ONCE: usize = 64;
/// A variable that changes while it is read is read again so many times.
const AGAIN: usize = 6;

/// A frame whose variables are read.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Which of the stack's frames it is, where that is known.
    index: Option<usize>,
    frame: &'a Frame,
}

/// A variable, and what it holds as far as that has been found out.
struct Found {
    described: Described,
    name: Text,
    taken: Option<Taken>,
}

impl Found {
    fn is_certain(&self) -> bool {
        self.taken.as_ref().is_none_or(|taken| taken.is_certain)
    }
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
        let place = Place { index: None, frame };
        let mut one = self.read_all(&[place], limits, &mut None).into_iter();
        one.next()
            .unwrap_or_else(|| Err(Error::internal("a frame was lost")))
    }

    /// The variables of those frames of a thread that are at `places` in its stack, each as
    /// [`Runtime::variables`], read together: that takes much less than to read them one by one.
    ///
    /// The thread runs on meanwhile. What a variable holds is read again before it is believed,
    /// with all that leads to it from the frame that the thread is in; where it goes on changing
    /// it is marked so ([`Value::changed`](invivo_model::Value::changed)).
    pub fn variables_of(
        &self,
        thread: &Thread,
        places: &[usize],
        limits: &ValueLimits,
    ) -> Vec<Result<Vec<Variable>>> {
        let frames = &thread.stack.frames;
        let found = places.iter().map(|index| {
            frames.get(*index).map(|frame| Place {
                index: Some(*index),
                frame,
            })
        });
        let Some(found) = found.collect::<Option<Vec<_>>>() else {
            let why = Error::internal("a place is behind the end of the stack");
            return vec![Err(why); places.len()];
        };
        match self.watch(thread.state.address, frames) {
            Ok(watch) => self.read_all(&found, limits, &mut Some(watch)),
            Err(met) => vec![Err(fault(READING, met)); places.len()],
        }
    }

    fn read_all(
        &self,
        frames: &[Place<'_>],
        limits: &ValueLimits,
        watch: &mut Option<Watch>,
    ) -> Vec<Result<Vec<Variable>>> {
        let limits = limits.bounded();
        let mut classes = Classes::default();
        let groups = frames.chunks(AT_ONCE).flat_map(|group| {
            let read = self.read_variables(group, &mut classes, limits, watch);
            read.unwrap_or_else(|met| vec![Err(fault(READING, met)); group.len()])
        });
        groups.collect()
    }

    fn read_variables(
        &self,
        frames: &[Place<'_>],
        classes: &mut Classes,
        limits: ValueLimits,
        watch: &mut Option<Watch>,
    ) -> Result<Vec<Result<Vec<Variable>>>, Fault> {
        let names = frames.iter().map(|place| self.variable_names(place.frame));
        let names: Vec<Result<Names>> = finish(&self.memory, names)?;
        let parts: Vec<_> = frames
            .iter()
            .zip(&names)
            .filter_map(|(place, names)| {
                let slots = place.frame.slots.clone()?;
                Some((*place, names.as_ref().ok()?, slots))
            })
            .collect();
        let described = self.describe(&parts, classes, limits)?;
        let mut found = self.name_variables(&parts, described)?;
        self.take_values(&parts, &mut found, classes, limits, watch);
        for _ in 0..AGAIN {
            let is_certain = |found: &Vec<Found>| found.iter().all(Found::is_certain);
            if found.iter().all(is_certain) {
                break;
            }
            let again = self.look_again(&parts, &mut found, classes, limits, watch);
            if again.is_err() {
                break;
            }
        }
        let variable = |found: Found| Variable {
            name: found.name,
            role: found.described.role,
            value: found.taken.map(|taken| taken.value),
        };
        let mut found = found.into_iter();
        let all = names.into_iter().map(|names| {
            names.map(|_| {
                let found = found.next().unwrap_or_default();
                found.into_iter().map(variable).collect()
            })
        });
        Ok(all.collect())
    }

    /// The variables of each frame with what their slots lead to.
    fn describe(
        &self,
        parts: &[(Place<'_>, &Names, Slots)],
        classes: &mut Classes,
        limits: ValueLimits,
    ) -> Result<Vec<Vec<Described>>, Fault> {
        let localsplus = self.layout.frame.localsplus;
        let described = parts.iter().map(|(place, names, slots)| {
            let start = place.frame.address.offset(localsplus);
            names.describe(slots, start.unwrap_or_default())
        });
        let mut described: Vec<Vec<Described>> = described.collect();
        self.empty_cells(described.iter_mut().flatten(), classes)?;
        let namespaces = parts.iter().map(|(place, _, slots)| {
            let namespace = match is_optimized(place.frame) {
                true => Address::NULL,
                false => slots.namespace,
            };
            (place.frame.address, namespace)
        });
        let namespaces: Vec<_> = namespaces.collect();
        let namespaces = self.namespaces(&namespaces, classes, limits.nodes)?;
        for (described, namespace) in described.iter_mut().zip(namespaces) {
            described.extend(namespace);
        }
        Ok(described)
    }

    /// The variables that are there and have a name.
    fn name_variables(
        &self,
        parts: &[(Place<'_>, &Names, Slots)],
        described: Vec<Vec<Described>>,
    ) -> Result<Vec<Vec<Found>>, Fault> {
        let texts = self.texts_of(described.iter().flatten())?;
        let found = described.into_iter().zip(parts).map(|(all, (place, ..))| {
            let named = all.into_iter().filter_map(|described| {
                let name = texts.get(&described.name)?.clone();
                // A module has many that nobody has written.
                let is_wanted = is_optimized(place.frame) || !is_special(&name);
                let is_there = !described.hidden || !described.slot.is_null();
                (is_wanted && is_there).then_some(Found {
                    described,
                    name,
                    taken: None,
                })
            });
            named.collect()
        });
        Ok(found.collect())
    }

    /// Reads what those variables hold of which it is not certain yet.
    fn take_values(
        &self,
        parts: &[(Place<'_>, &Names, Slots)],
        found: &mut [Vec<Found>],
        classes: &mut Classes,
        limits: ValueLimits,
        watch: &mut Option<Watch>,
    ) {
        let is_wanted = |found: &Found| match &found.taken {
            Some(taken) => !taken.is_certain,
            None => true,
        };
        let roots = parts.iter().zip(&*found).map(|((place, ..), found)| {
            let wanted = found.iter().filter(|found| is_wanted(found));
            let bound = wanted.filter(|found| !found.described.slot.is_null());
            let roots = bound.map(|found| Root {
                object: found.described.slot,
                links: found.described.links.clone(),
                frame: place.index,
            });
            roots.collect()
        });
        let roots: Vec<Vec<Root>> = roots.collect();
        let groups = Picture::take(self, classes, &roots, limits, watch);
        for (found, taken) in found.iter_mut().zip(groups) {
            let mut taken = taken.into_iter();
            for found in found.iter_mut().filter(|found| is_wanted(found)) {
                found.taken = match found.described.slot {
                    Address::NULL => None,
                    _ => taken.next(),
                };
            }
        }
    }

    /// Looks again at what changed while it was read, from the frames' slots on.
    fn look_again(
        &self,
        parts: &[(Place<'_>, &Names, Slots)],
        found: &mut [Vec<Found>],
        classes: &mut Classes,
        limits: ValueLimits,
        watch: &mut Option<Watch>,
    ) -> Result<(), Fault> {
        let innermost = watch.as_mut().and_then(|watch| self.innermost_now(watch));
        let now = parts
            .iter()
            .zip(&*found)
            .map(|((place, names, slots), found)| {
                let has_returned = innermost
                    .zip(place.index)
                    .is_some_and(|(now, own)| own < now);
                let slots = if has_returned || found.iter().all(Found::is_certain) {
                    slots.clone()
                } else {
                    self.slots(None, place.frame.address, slots.fast.len())
                };
                (*place, *names, slots)
            });
        let now: Vec<_> = now.collect();
        let described = self.describe(&now, classes, limits)?;
        for (found, described) in found.iter_mut().zip(described) {
            let described = described.into_iter();
            let by_name = described.map(|one| ((one.name, one.role), one));
            let mut by_name: HashMap<_, _> = by_name.collect();
            for found in found.iter_mut().filter(|found| !found.is_certain()) {
                let key = (found.described.name, found.described.role);
                if let Some(described) = by_name.remove(&key) {
                    found.described = described;
                }
            }
        }
        self.take_values(parts, found, classes, limits, watch);
        Ok(())
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
}

/// Whether a frame's variables all have slots.
fn is_optimized(frame: &Frame) -> bool {
    frame.code.flags & CO_OPTIMIZED != 0
}

/// Whether a name is one that Python gives by itself.
fn is_special(name: &Text) -> bool {
    name.text.starts_with("__") && name.text.ends_with("__")
}
