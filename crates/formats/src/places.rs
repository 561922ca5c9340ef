//! Stacks of functions or of lines: what a profile's stacks are once details are left out.

use std::collections::HashMap;

use invivo_model::Result;

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
    pub(crate) fn new(profile: &Checked<'_>, by: By) -> Result<Self> {
        let (places, of_frame) = places(profile, by)?;
        let stacks = profile.stacks();
        // The nodes, those of the stacks, and what walks and sums need later.
        profile
            .budget
            .take_list::<(Node, u32, [u64; 2], [u32; 2], u64)>(stacks)?;
        let known_nodes = profile.budget.part();
        known_nodes.take_map::<(Node, u32)>(stacks + stacks / 2)?;
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
        Ok(Self {
            places,
            nodes,
            of_stack,
        })
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
        let (mut children, begins) = self.children();
        let mut of = |of: usize| {
            let (from, to) = (begins[of] as usize, begins[of + 1] as usize);
            let called = &mut children[from..to];
            called.sort_by_key(|node| key(*node));
            called.to_vec()
        };
        let enter = |nodes: Vec<u32>| nodes.into_iter().rev().map(|node| (node, Step::In));
        let mut waiting: Vec<(u32, Step)> = enter(of(self.nodes.len())).collect();
        while let Some((node, step)) = waiting.pop() {
            visit(node, step);
            if step == Step::In {
                waiting.push((node, Step::Out));
                waiting.extend(enter(of(node as usize)));
            }
        }
    }

    /// What each node called, one node after the other and the outermost ones behind them all, and
    /// where those of each begin.
    fn children(&self) -> (Vec<u32>, Vec<u32>) {
        let outermost = self.nodes.len();
        let of = |node: &Node| node.caller.map_or(outermost, |caller| caller as usize);
        let mut begins = vec![0; outermost + 2];
        for node in &self.nodes {
            begins[of(node) + 1] += 1;
        }
        for n in 1..begins.len() {
            begins[n] += begins[n - 1];
        }
        let mut children = vec![0; outermost];
        let mut next = begins.clone();
        for (n, node) in self.nodes.iter().enumerate() {
            let next = &mut next[of(node)];
            children[*next as usize] = n as u32;
            *next += 1;
        }
        (children, begins)
    }
}

/// Whether a walk goes into a node or comes out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    In,
    Out,
}

/// The places there are, and that of each frame.
fn places(profile: &Checked<'_>, by: By) -> Result<(Vec<Place>, Vec<u32>)> {
    let budget = &profile.budget;
    budget.take_list::<u32>(profile.frames())?;
    let function = |index: u32| Place {
        function: index,
        line: profile.function(index).first_line,
    };
    let frames = (0..profile.frames() as u32).map(|frame| profile.frame(frame));
    match by {
        By::Function => {
            budget.take_list::<Place>(profile.functions())?;
            let places = (0..profile.functions() as u32).map(function).collect();
            Ok((places, frames.map(|frame| frame.function).collect()))
        }
        By::Line => {
            budget.take_list::<Place>(2 * profile.frames())?;
            let known_places = budget.part();
            known_places.take_map::<(Place, u32)>(profile.frames())?;
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
            Ok((places, of_frame))
        }
    }
}
