//! Who called whom.

use std::sync::Arc;

use invivo_model::ProfileFunction;
use rustc_hash::FxHashMap;

use super::tables::Tables;

/// A function in a tree of calls, by the way it was called.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The function.
    pub function: Arc<ProfileFunction>,
    /// How many callers it has.
    pub depth: usize,
    /// How long it was innermost, in nanoseconds.
    pub own: u64,
    /// How long it was on the stack.
    pub total: u64,
    /// How many of the branches that follow stand below this one.
    pub below: usize,
    /// The same for the same way of calls, from one tree to the next.
    pub id: u64,
}

#[derive(Debug, Default)]
struct Node {
    function: u32,
    own: u64,
    total: u64,
    below: Vec<usize>,
    id: u64,
}

/// Puts stacks together to a tree.
#[derive(Debug)]
pub(super) struct Tree<'a> {
    tables: &'a Tables,
    /// The first is above all.
    nodes: Vec<Node>,
    known: FxHashMap<(usize, u32), usize>,
    path: Vec<u32>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(tables: &'a Tables) -> Self {
        Self {
            tables,
            nodes: vec![Node::default()],
            known: FxHashMap::default(),
            path: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, stack: u32, time: u64) {
        if time == 0 {
            return;
        }
        self.path.clear();
        let places = self.tables.places_of(stack);
        let functions = places.map(|place| self.tables.place(place).function);
        self.path.extend(functions);
        let mut at = 0;
        for function in self.path.iter().rev() {
            let next = self.nodes.len();
            let below = *self.known.entry((at, *function)).or_insert(next);
            if below == next {
                let id = mixed(self.nodes[at].id, *function);
                self.nodes.push(Node {
                    function: *function,
                    id,
                    ..Node::default()
                });
                self.nodes[at].below.push(below);
            }
            self.nodes[below].total += time;
            at = below;
        }
        self.nodes[at].own += time;
    }

    /// All branches, each before those below it, of several the heaviest first.
    pub(super) fn branches(mut self) -> Vec<Branch> {
        let mut branches: Vec<Branch> = Vec::with_capacity(self.nodes.len());
        let mut waiting = self.sorted(0, 0);
        // The way down to the last one.
        let mut open: Vec<usize> = Vec::new();
        while let Some((index, depth)) = waiting.pop() {
            close(&mut open, depth, &mut branches);
            open.push(branches.len());
            let node = &self.nodes[index];
            branches.push(Branch {
                function: Arc::clone(self.tables.function(node.function)),
                depth,
                own: node.own,
                total: node.total,
                below: 0,
                id: node.id,
            });
            waiting.append(&mut self.sorted(index, depth + 1));
        }
        close(&mut open, 0, &mut branches);
        branches
    }

    /// What stands below a node, the heaviest last.
    fn sorted(&mut self, index: usize, depth: usize) -> Vec<(usize, usize)> {
        let mut below = std::mem::take(&mut self.nodes[index].below);
        below.sort_by_key(|below| {
            let node = &self.nodes[*below];
            (node.total, std::cmp::Reverse(node.function))
        });
        below.into_iter().map(|below| (below, depth)).collect()
    }
}

/// Goes up the way to `depth`: nothing more comes below what is left.
fn close(open: &mut Vec<usize>, depth: usize, branches: &mut [Branch]) {
    let end = branches.len();
    for index in open.drain(depth.min(open.len())..) {
        branches[index].below = end - index - 1;
    }
}

/// A number for a function below what has the number `above`. That two ways have the same is so
/// unlikely that it may well make one of them fold with the other.
fn mixed(above: u64, function: u32) -> u64 {
    let word = (above.rotate_left(5) ^ u64::from(function) ^ 0x9e37_79b9).wrapping_add(1);
    word.wrapping_mul(0xbf58_476d_1ce4_e5b9)
}
