//! Samples counted: what formats without a time axis are made of.

use std::collections::HashMap;
use std::hash::Hash;

use invivo_model::{Budget, Result, SampleStatus, Trust};

use crate::places::{Step, Tree};
use crate::source::{Checked, Seen};

/// What samples have in common that are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) thread: u32,
    pub(crate) stack: u32,
    pub(crate) status: SampleStatus,
    /// Whether all that was read of the stack agreed.
    pub(crate) whole: bool,
}

/// The ticks of a profile's samples.
pub(crate) struct Counts {
    /// By what they have in common, in a settled order.
    pub(crate) by_key: Vec<(Key, u64)>,
    /// All of them.
    pub(crate) total: u64,
}

impl Key {
    pub(crate) fn of(seen: &Seen) -> Self {
        Self {
            thread: seen.thread,
            stack: seen.stack,
            status: seen.sample.status,
            whole: seen.sample.trust == Trust::Whole,
        }
    }
}

impl Counts {
    pub(crate) fn new(profile: &Checked<'_>) -> Result<Self> {
        let mut counted: HashMap<Key, u64> = HashMap::new();
        profile.for_each_sample(&mut |seen| {
            add(&mut counted, Key::of(seen), seen.sample.ticks, profile)
        })?;
        profile.budget.take_list::<(Key, u64)>(counted.len())?;
        let mut by_key: Vec<(Key, u64)> = counted.into_iter().collect();
        by_key.sort_unstable_by_key(|(key, _)| {
            (key.thread, key.stack, status_code(key.status), key.whole)
        });
        let total = by_key.iter().map(|(_, ticks)| ticks).sum();
        Ok(Self { by_key, total })
    }

    /// The ticks that each node of a tree has by itself.
    pub(crate) fn own(&self, tree: &Tree) -> Vec<u64> {
        let mut own = vec![0; tree.nodes.len()];
        for (key, ticks) in &self.by_key {
            own[tree.of_stack[key.stack as usize] as usize] += ticks;
        }
        own
    }
}

/// Counts ticks of what is alike.
pub(crate) fn add(
    counted: &mut HashMap<Key, u64>,
    key: Key,
    ticks: u32,
    profile: &Checked<'_>,
) -> Result<()> {
    profile.budget.make_room(counted)?;
    *counted.entry(key).or_default() += u64::from(ticks);
    Ok(())
}

/// A status as a number below 243: a digit of base 3 for each thing known of it, in the order of
/// its answers, 0 for not known, 1 for no, 2 for yes.
pub(crate) fn status_code(status: SampleStatus) -> u8 {
    let digits = [
        status.on_cpu,
        status.holds_gil,
        status.waits_for_gil,
        status.handles_exception,
        status.waits_for_cpu,
    ];
    let digit = |known: Option<bool>| known.map_or(0, |yes| 1 + u8::from(yes));
    digits
        .into_iter()
        .rev()
        .fold(0, |code, known| code * 3 + digit(known))
}

/// What was innermost in something, and what had it on the stack, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) own: u64,
    /// However often it stood on a stack, a tick counts once.
    pub(crate) total: u64,
}

/// The shares of whatever `key` makes of the tree's nodes; nodes of which it makes nothing are
/// passed over.
pub(crate) fn shares<K: Copy + Eq + Hash>(
    tree: &Tree,
    own: &[u64],
    key: impl Fn(u32) -> Option<K>,
    budget: &Budget,
) -> Result<HashMap<K, Share>> {
    let totals = tree.totals(own);
    let mut shares: HashMap<K, Share> = HashMap::new();
    // How often each stands on the way from the outermost node to here.
    let mut on_the_way: HashMap<K, u32> = HashMap::new();
    let (mut taken, mut kept) = (0, Ok(()));
    tree.walk(|node, step| {
        let Some(key) = key(node).filter(|_| kept.is_ok()) else {
            return;
        };
        if on_the_way.len() == taken {
            // Both are taken for ahead, as if each of them had all.
            taken = (2 * taken).max(64);
            kept = budget.take_map::<(K, Share)>(taken / 2);
            let rest = || budget.take_map::<(K, u32)>(taken / 2);
            kept = std::mem::replace(&mut kept, Ok(())).and_then(|()| rest());
        }
        let depth = on_the_way.entry(key).or_default();
        if step == Step::Out {
            *depth -= 1;
            return;
        }
        *depth += 1;
        if totals[node as usize] > 0 {
            let share = shares.entry(key).or_default();
            share.own += own[node as usize];
            if *depth == 1 {
                share.total += totals[node as usize];
            }
        }
    });
    kept.map(|()| shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_numbers_of_their_own() {
        let known = [None, Some(false), Some(true)];
        let mut seen = std::collections::BTreeSet::new();
        for on_cpu in known {
            for holds_gil in known {
                for waits_for_gil in known {
                    for handles_exception in known {
                        seen.extend(known.map(|waits_for_cpu| {
                            status_code(SampleStatus {
                                on_cpu,
                                waits_for_cpu,
                                holds_gil,
                                waits_for_gil,
                                handles_exception,
                            })
                        }));
                    }
                }
            }
        }
        assert_eq!((seen.len(), seen.last()), (243, Some(&242)));
    }
}
