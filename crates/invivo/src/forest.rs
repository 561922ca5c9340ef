//! Who waits for whom, as trees.

use std::collections::{HashMap, HashSet};

use invivo_model::{Address, Tasks};

/// A line of the trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// How far from the root it is.
    pub depth: usize,
    /// Whether it is the last of those beside it.
    pub is_last: bool,
    /// What stands there.
    pub node: Node,
}

/// What stands in a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A task, by its place in the list; below it is what it waits for.
    Task(usize),
    /// A future that is no task, by its address; below it is what it waits for.
    Future(Address),
    /// A task or future that is further up on the way here: a cycle.
    Cycle(Address),
    /// One that was shown before, with all that is below it.
    Again(Address),
}

/// The tasks as trees, line by line. A root is a task that nobody waits for; below each stands
/// what it waits for. Of a cycle that nobody outside waits for, one task is the root. Every task is
/// there; what two wait for is shown in full once.
pub fn forest(tasks: &Tasks) -> Vec<Branch> {
    let web = Web::of(tasks);
    let mut walk = Walk {
        web: &web,
        shown: HashSet::new(),
        lines: Vec::new(),
    };
    let roots = web.nodes.iter().filter(|at| !web.awaited.contains(at));
    roots.for_each(|root| walk.tree(*root));
    // What is left waits in circles.
    for address in &web.nodes {
        if !walk.shown.contains(address) {
            walk.tree(*address);
        }
    }
    walk.lines
}

/// Who waits for whom.
struct Web {
    /// Tasks by their places in the list.
    places: HashMap<Address, usize>,
    /// Tasks in the list's order, then futures.
    nodes: Vec<Address>,
    /// What each waits for.
    below: HashMap<Address, Vec<Address>>,
    awaited: HashSet<Address>,
}

impl Web {
    fn of(tasks: &Tasks) -> Self {
        let mut places = HashMap::new();
        let mut nodes = Vec::new();
        for (place, task) in tasks.list.iter().enumerate() {
            if places.insert(task.address, place).is_none() {
                nodes.push(task.address);
            }
        }
        let mut known: HashSet<Address> = nodes.iter().copied().collect();
        let futures = tasks.futures.iter().map(|(address, _)| *address);
        nodes.extend(futures.filter(|address| known.insert(*address)));

        let by_tasks = tasks
            .list
            .iter()
            .map(|task| (task.address, &task.awaited_by));
        let by_futures = tasks.futures.iter().map(|(at, waiters)| (*at, waiters));
        let told = by_tasks
            .chain(by_futures)
            .flat_map(|(waited, waiters)| waiters.iter().map(move |waiter| (*waiter, waited)));
        let own = tasks
            .list
            .iter()
            .filter_map(|task| Some((task.address, task.waits_for.as_ref()?.address)));
        let mut links = HashSet::new();
        let mut web = Self {
            places,
            nodes,
            below: HashMap::new(),
            awaited: HashSet::new(),
        };
        for (waiter, waited) in told.chain(own) {
            if known.contains(&waiter) && known.contains(&waited) && links.insert((waiter, waited))
            {
                web.below.entry(waiter).or_default().push(waited);
                web.awaited.insert(waited);
            }
        }
        web
    }
}

/// A way through the trees, without recursion: they may be as deep as there are tasks.
struct Walk<'a> {
    web: &'a Web,
    shown: HashSet<Address>,
    lines: Vec<Branch>,
}

/// What is next on the way.
enum Step {
    Enter {
        address: Address,
        depth: usize,
        is_last: bool,
    },
    Leave(Address),
}

impl Walk<'_> {
    fn tree(&mut self, root: Address) {
        let mut on_the_way = HashSet::new();
        let mut steps = vec![Step::Enter {
            address: root,
            depth: 0,
            is_last: true,
        }];
        while let Some(step) = steps.pop() {
            match step {
                Step::Leave(address) => {
                    on_the_way.remove(&address);
                }
                Step::Enter {
                    address,
                    depth,
                    is_last,
                } => {
                    let node = if on_the_way.contains(&address) {
                        Node::Cycle(address)
                    } else if !self.shown.insert(address) {
                        Node::Again(address)
                    } else {
                        on_the_way.insert(address);
                        steps.push(Step::Leave(address));
                        let below = self.web.below.get(&address);
                        let below = below.map_or(&[][..], Vec::as_slice);
                        let entered =
                            below
                                .iter()
                                .enumerate()
                                .map(|(place, address)| Step::Enter {
                                    address: *address,
                                    depth: depth + 1,
                                    is_last: place + 1 == below.len(),
                                });
                        steps.extend(entered.rev());
                        match self.web.places.get(&address) {
                            Some(place) => Node::Task(*place),
                            None => Node::Future(address),
                        }
                    };
                    self.lines.push(Branch {
                        depth,
                        is_last,
                        node,
                    });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use invivo_model::{Stack, Task, TaskState, Waited};

    use super::*;

    fn task(address: u64, awaited_by: &[u64]) -> Task {
        Task {
            address: Address(address),
            name: None,
            state: TaskState::Waiting,
            thread: Address::NULL,
            native_id: None,
            interpreter: 0,
            event_loop: Address::NULL,
            coroutines: Stack::default(),
            waits_for: None,
            awaited_by: awaited_by.iter().map(|at| Address(*at)).collect(),
        }
    }

    fn shown(tasks: &Tasks) -> Vec<String> {
        let node = |node| match node {
            Node::Task(place) => format!("{}", tasks.list[place].address.0),
            Node::Future(address) => format!("future {}", address.0),
            Node::Cycle(address) => format!("back to {}", address.0),
            Node::Again(address) => format!("again {}", address.0),
        };
        let line = |branch: &Branch| {
            let mark = if branch.is_last { '`' } else { '|' };
            format!("{}{mark}{}", " ".repeat(branch.depth), node(branch.node))
        };
        forest(tasks).iter().map(line).collect()
    }

    #[test]
    fn what_is_waited_for_stands_below_who_waits() {
        let mut tasks = Tasks {
            list: vec![task(1, &[]), task(2, &[90]), task(3, &[90]), task(4, &[3])],
            futures: vec![(Address(90), vec![Address(1)])],
            ..Tasks::default()
        };
        tasks.list[0].waits_for = Some(Waited {
            address: Address(90),
            class: None,
            is_task: false,
        });
        assert_eq!(
            shown(&tasks),
            ["`1", " `future 90", "  |2", "  `3", "   `4"]
        );
    }

    #[test]
    fn what_two_wait_for_is_shown_once_in_full() {
        let tasks = Tasks {
            list: vec![task(1, &[]), task(2, &[]), task(3, &[1, 2]), task(4, &[3])],
            ..Tasks::default()
        };
        assert_eq!(shown(&tasks), ["`1", " `3", "  `4", "`2", " `again 3"]);
    }

    #[test]
    fn cycles_are_cut_where_they_close() {
        let tasks = Tasks {
            list: vec![task(1, &[3]), task(2, &[1]), task(3, &[2]), task(4, &[4])],
            ..Tasks::default()
        };
        assert_eq!(
            shown(&tasks),
            ["`1", " `2", "  `3", "   `back to 1", "`4", " `back to 4"]
        );
    }

    #[test]
    fn links_to_what_is_not_known_are_none() {
        let mut list = vec![task(1, &[77]), task(1, &[])];
        list[0].waits_for = Some(Waited {
            address: Address(88),
            class: None,
            is_task: false,
        });
        let tasks = Tasks {
            list,
            ..Tasks::default()
        };
        assert_eq!(shown(&tasks), ["`1"]);
    }

    #[test]
    fn a_chain_may_be_as_long_as_it_likes() {
        const LENGTH: u64 = 100_000;
        let list = (0..LENGTH).map(|at| task(at + 1, &[at])).collect();
        let tasks = Tasks {
            list,
            ..Tasks::default()
        };
        let lines = forest(&tasks);
        assert_eq!(lines.len() as u64, LENGTH);
        assert_eq!(lines.last().map(|line| line.depth as u64), Some(LENGTH - 1));
    }
}
