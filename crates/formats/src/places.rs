//! Stacks of functions or of lines: what a profile's stacks are once details are left out.

use std::collections::HashMap;

use crate::By;
use crate::source::Checked;

/// A function, or one line of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The index of the function.
    pub(crate) function: u32,
    /// The line; the function's first where lines are left out. 0 where it is not known.
    pub(crate) line: u32,
}

/// The places of a profile, each once, and its stacks as stacks of places.
pub(crate) struct Tree {
    pub(crate) places: Vec<Place>,
    /// A node is a place called from another node, which stands before it.
    pub(crate) nodes: Vec<Node>,
    /// The node of each stack.
    pub(crate) of_stack: Vec<u32>,
}

/// A place and its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) caller: Option<u32>,
    pub(crate) place: u32,
}

impl Tree {
    pub(crate) fn new(profile: &Checked<'_>, by: By) -> Self {
        let (places, of_frame) = places(profile, by);
        let (mut nodes, mut of_stack) = (Vec::new(), Vec::with_capacity(profile.stacks()));
        let mut known: HashMap<Node, u32> = HashMap::new();
        for index in 0..profile.stacks() as u32 {
            let stack = profile.stack(index);
            let node = Node {
                caller: stack.caller.map(|caller| of_stack[caller as usize]),
                place: of_frame[stack.frame as usize],
            };
            let number = *known.entry(node).or_insert_with(|| {
                nodes.push(node);
                nodes.len() as u32 - 1
            });
            of_stack.push(number);
        }
        Self {
            places,
            nodes,
            of_stack,
        }
    }

    /// The place of a node.
    pub(crate) fn place(&self, node: u32) -> Place {
        self.places[self.nodes[node as usize].place as usize]
    }

    /// The node and its callers, innermost first.
    pub(crate) fn callers(&self, node: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(node), |node| self.nodes[*node as usize].caller)
    }

    /// What each node has with all it called, from what each has by itself.
    pub(crate) fn totals(&self, own: &[u64]) -> Vec<u64> {
        let mut totals = own.to_vec();
        for (n, node) in self.nodes.iter().enumerate().rev() {
            if let Some(caller) = node.caller {
                totals[caller as usize] += totals[n];
            }
        }
        totals
    }

    /// Walks the tree without recursion: `visit` gets each node when it is entered and when it is
    /// left, callers around what they call.
    pub(crate) fn walk(&self, visit: impl FnMut(u32, Step)) {
        self.walk_sorted(|node| node, visit);
    }

    /// The same, with what a node called in the order of `key`.
    pub(crate) fn walk_sorted<K: Ord>(
        &self,
        key: impl Fn(u32) -> K,
        mut visit: impl FnMut(u32, Step),
    ) {
        let (mut children, mut roots) = self.children();
        roots.sort_by_key(|node| key(*node));
        let mut waiting: Vec<(u32, Step)> =
            roots.iter().rev().map(|root| (*root, Step::In)).collect();
        while let Some((node, step)) = waiting.pop() {
            visit(node, step);
            if step == Step::In {
                waiting.push((node, Step::Out));
                let mut called = std::mem::take(&mut children[node as usize]);
                called.sort_by_key(|node| key(*node));
                waiting.extend(called.iter().rev().map(|child| (*child, Step::In)));
            }
        }
    }

    /// What each node called, and the outermost nodes.
    fn children(&self) -> (Vec<Vec<u32>>, Vec<u32>) {
        let mut children = vec![Vec::new(); self.nodes.len()];
        let mut roots = Vec::new();
        for (n, node) in self.nodes.iter().enumerate() {
            match node.caller {
                Some(caller) => children[caller as usize].push(n as u32),
                None => roots.push(n as u32),
            }
        }
        (children, roots)
    }
}

/// Whether a walk goes into a node or comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    In,
    Out,
}

/// The places there are, and that of each frame.
fn places(profile: &Checked<'_>, by: By) -> (Vec<Place>, Vec<u32>) {
    let function = |index: u32| Place {
        function: index,
        line: profile.function(index).first_line,
    };
    let frames = (0..profile.frames() as u32).map(|frame| profile.frame(frame));
    match by {
        By::Function => {
            let places = (0..profile.functions() as u32).map(function).collect();
            (places, frames.map(|frame| frame.function).collect())
        }
        By::Line => {
            let (mut places, mut known) = (Vec::new(), HashMap::new());
            let of_frame = frames.map(|frame| {
                let place = Place {
                    function: frame.function,
                    line: frame.line,
                };
                *known.entry(place).or_insert_with(|| {
                    places.push(place);
                    places.len() as u32 - 1
                })
            });
            let of_frame = of_frame.collect();
            (places, of_frame)
        }
    }
}
