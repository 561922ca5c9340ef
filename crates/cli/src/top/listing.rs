//! The rows of a view.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashSet};

use invivo::profile::live::{Board, Branch, PlaceShare, ThreadShare};
use invivo::profile::{Mode, ProfileFunction};

use super::state::{Column, State, View};
use crate::show::shown;

/// What a row is about.
#[derive(Debug)]
pub(super) enum Row {
    Place(PlaceShare),
    Thread(ThreadShare),
    Branch(Branch),
}

/// The rows of a view, filtered and sorted.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) columns: &'static [Column],
    pub(super) rows: Vec<Row>,
    mode: Mode,
    /// How much time shares are of, in nanoseconds.
    whole: u64,
    accounted: bool,
    tells_waiting: bool,
    folded: HashSet<u64>,
    /// The numbers of the processes, by their indices, where there are several.
    pids: BTreeMap<u32, u32>,
}

impl Listing {
    pub(super) fn new(board: &Board, state: &State) -> Self {
        let (about, overview) = (board.about(), board.overview());
        let mut listing = Self {
            columns: state.view.columns(),
            rows: Vec::new(),
            mode: state.mode,
            whole: if state.whole {
                about.duration
            } else {
                overview.time
            },
            accounted: overview.accounted,
            tells_waiting: overview.tells_waiting,
            folded: HashSet::new(),
            pids: board.pids(),
        };
        let first = listing.pids.values().next().copied();
        if listing.pids.values().all(|pid| Some(*pid) == first) {
            listing.pids.clear();
        }
        let filter = Filter::new(&state.filter);
        listing.rows = match state.view {
            View::Functions => listing.places(board.functions(state.thread), state, &filter),
            View::Lines => listing.places(board.lines(state.thread), state, &filter),
            View::Threads => threads(board.threads(), state, &filter),
            View::Tree => {
                listing.folded.clone_from(&state.folded);
                let branches = board.tree(state.thread, state.mode);
                unfolded(branches, &state.folded, &filter)
            }
        };
        // The order of a tree is its own.
        if state.view != View::Tree {
            let by = state.sorted_by();
            let mut rows = std::mem::take(&mut listing.rows);
            rows.sort_by(|one, other| listing.order(one, other, by));
            listing.rows = rows;
        }
        listing
    }

    fn places(&self, mut shares: Vec<PlaceShare>, state: &State, filter: &Filter) -> Vec<Row> {
        if state.whole {
            shares
                .iter_mut()
                .for_each(|share| share.recent = share.ever);
        }
        shares.retain(|share| {
            let seen = share.ever.total.of(self.mode) > 0;
            seen && filter.takes_function(&share.function)
        });
        shares.into_iter().map(Row::Place).collect()
    }

    fn order(&self, one: &Row, other: &Row, by: Column) -> Ordering {
        match (one, other) {
            (Row::Place(one), Row::Place(other)) => self.order_places(one, other, by),
            (Row::Thread(one), Row::Thread(other)) => order_threads(one, other, by),
            _ => Ordering::Equal,
        }
    }

    fn order_places(&self, one: &PlaceShare, other: &PlaceShare, by: Column) -> Ordering {
        let number = |share: &PlaceShare, column| match column {
            Column::Total => share.recent.total.of(self.mode),
            Column::OwnEver => share.ever.own.of(self.mode),
            Column::TotalEver => share.ever.total.of(self.mode),
            _ => share.recent.own.of(self.mode),
        };
        let heavier = |column| number(other, column).cmp(&number(one, column));
        let name = |share: &PlaceShare| (share.function.name.text.clone(), share.line);
        let file = |share: &PlaceShare| {
            let line = share.line.unwrap_or(share.function.first_line);
            (share.function.file.text.clone(), line)
        };
        let first = match by {
            Column::Function => name(one).cmp(&name(other)),
            Column::File => file(one).cmp(&file(other)),
            number => heavier(number),
        };
        // Of those that are alike, what was seen more comes first, and the order stays.
        first
            .then_with(|| heavier(Column::Own))
            .then_with(|| heavier(Column::Total))
            .then_with(|| heavier(Column::OwnEver))
            .then_with(|| heavier(Column::TotalEver))
            .then_with(|| file(one).cmp(&file(other)))
            .then_with(|| name(one).cmp(&name(other)))
    }

    /// The share of the recent time, of one thread that did nothing else.
    fn percent(&self, time: u64) -> String {
        percent(time as f64 / self.whole.max(1) as f64)
    }

    fn seconds(time: u64) -> String {
        let seconds = time as f64 / 1e9;
        match seconds {
            0.0..999.95 => format!("{seconds:.1}"),
            _ => format!("{seconds:.0}"),
        }
    }

    /// What stands in a column of a row, escaped.
    pub(super) fn cell(&self, row: &Row, column: Column) -> String {
        match row {
            Row::Place(share) => self.place_cell(share, column),
            Row::Thread(share) => self.thread_cell(share, column),
            Row::Branch(branch) => self.branch_cell(branch, column),
        }
    }

    fn place_cell(&self, share: &PlaceShare, column: Column) -> String {
        match column {
            Column::Own => self.percent(share.recent.own.of(self.mode)),
            Column::Total => self.percent(share.recent.total.of(self.mode)),
            Column::OwnEver => Self::seconds(share.ever.own.of(self.mode)),
            Column::TotalEver => Self::seconds(share.ever.total.of(self.mode)),
            Column::Function => shown(&share.function.name.to_string()).into_owned(),
            _ => place(&share.function, share.line),
        }
    }

    fn thread_cell(&self, share: &ThreadShare, column: Column) -> String {
        let recent = &share.recent;
        let thread = share.thread.as_ref();
        // Threads that are not told apart may have run at once.
        let shares = match thread {
            Some(_) => recent.shares(self.whole),
            None => recent.shares_of_several(self.whole),
        };
        match column {
            Column::Cpu if recent.seen > 0 && recent.unknown == recent.seen => "?".to_owned(),
            Column::Cpu => percent(shares.on_cpu),
            Column::Queue if !self.accounted => "?".to_owned(),
            Column::Queue => percent(shares.waits_for_cpu),
            Column::Gil => percent(shares.holds_gil),
            Column::Waits if !self.tells_waiting => "?".to_owned(),
            Column::Waits => percent(shares.waits_for_gil),
            Column::Idle => percent(shares.idle),
            Column::CpuEver => Self::seconds(share.ever.on_cpu),
            Column::Tid => match thread {
                Some(thread) if thread.tid != 0 => thread.tid.to_string(),
                Some(_) => "?".to_owned(),
                None => String::new(),
            },
            Column::Name => {
                let pid = thread.and_then(|thread| self.pids.get(&thread.process));
                let pid = pid.map_or_else(String::new, |pid| format!("{pid} "));
                pid + &thread_name(share)
            }
            _ if recent.seen == 0 => "(has ended)".to_owned(),
            _ => match &share.at {
                Some((function, line)) => {
                    let name = function.name.to_string();
                    let place = place(function, Some(*line));
                    // The whole path is in the other views.
                    let file = place.rsplit_once('/').map_or(&*place, |(_, file)| file);
                    let text = format!("{}  {file}", shown(&name));
                    text.trim_end().to_owned()
                }
                None if thread.is_some_and(|thread| !thread.has_python()) => {
                    "(thread without Python)".to_owned()
                }
                None => "(no Python code)".to_owned(),
            },
        }
    }

    fn branch_cell(&self, branch: &Branch, column: Column) -> String {
        match column {
            Column::Own => self.percent(branch.own),
            Column::Total => self.percent(branch.total),
            Column::Function => {
                let sign = match (branch.below, self.folded.contains(&branch.id)) {
                    (0, _) => ' ',
                    (_, true) => '▸',
                    (_, false) => '▾',
                };
                let name = branch.function.name.to_string();
                format!("{}{sign} {}", indent(branch.depth), shown(&name))
            }
            _ => place(&branch.function, None),
        }
    }
}

fn threads(mut shares: Vec<ThreadShare>, state: &State, filter: &Filter) -> Vec<Row> {
    if state.whole {
        shares
            .iter_mut()
            .for_each(|share| share.recent = share.ever);
    }
    shares.retain(|share| {
        let named = share.thread.as_ref().is_some_and(|thread| {
            filter.takes(&thread.tid.to_string())
                || thread
                    .name
                    .as_ref()
                    .is_some_and(|name| filter.takes(&name.text))
        });
        let at = share.at.as_ref();
        filter.is_empty() || named || at.is_some_and(|(at, _)| filter.takes_function(at))
    });
    shares.into_iter().map(Row::Thread).collect()
}

/// What stands before a branch. Where it is deep, a number says how deep.
fn indent(depth: usize) -> String {
    /// As deep as it is drawn.
    const DRAWN: usize = 16;
    if depth <= DRAWN {
        " ".repeat(depth)
    } else {
        let number = format!("⋯{depth}");
        format!("{number:<DRAWN$}")
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// What to call a thread.
pub(super) fn thread_name(share: &ThreadShare) -> String {
    match &share.thread {
        None => "ended threads".to_owned(),
        Some(thread) => match &thread.name {
            Some(name) if !name.text.is_empty() => shown(&name.to_string()).into_owned(),
            _ if thread.is_main => "main thread".to_owned(),
            _ => "?".to_owned(),
        },
    }
}

/// A file and line, escaped: that given, or the function's first.
fn place(function: &ProfileFunction, line: Option<u32>) -> String {
    let file = function.file.to_string();
    match line.unwrap_or(function.first_line) {
        0 => shown(&file).into_owned(),
        line => format!("{}:{line}", shown(&file)),
    }
}

fn order_threads(one: &ThreadShare, other: &ThreadShare, by: Column) -> Ordering {
    let number = |share: &ThreadShare, column| match column {
        Column::Queue => share.recent.waits_for_cpu,
        Column::Gil => share.recent.holds_gil,
        Column::Waits => share.recent.waits_for_gil,
        Column::Idle => share.recent.idle(),
        Column::CpuEver => share.ever.on_cpu,
        _ => share.recent.on_cpu + share.recent.unknown,
    };
    let heavier = |column| number(other, column).cmp(&number(one, column));
    let tid = |share: &ThreadShare| share.thread.as_ref().map_or(u32::MAX, |thread| thread.tid);
    let at = |share: &ThreadShare| {
        let at = share.at.as_ref();
        at.map(|(function, line)| (function.name.text.clone(), *line))
    };
    let first = match by {
        Column::Tid => tid(one).cmp(&tid(other)),
        Column::Name => thread_name(one).cmp(&thread_name(other)),
        Column::At => at(one)
            .is_none()
            .cmp(&at(other).is_none())
            .then(at(one).cmp(&at(other))),
        number => heavier(number),
    };
    first
        .then_with(|| heavier(Column::Cpu))
        .then_with(|| Reverse(one.recent.seen > 0).cmp(&Reverse(other.recent.seen > 0)))
        .then_with(|| tid(one).cmp(&tid(other)))
        .then_with(|| one.index.cmp(&other.index))
}

/// The branches that are to be seen: none below one that is folded; with a filter, those that it
/// takes and those above them.
fn unfolded(branches: Vec<Branch>, folded: &HashSet<u64>, filter: &Filter) -> Vec<Row> {
    let mut wanted = vec![filter.is_empty(); branches.len()];
    if !filter.is_empty() {
        let takes = branches
            .iter()
            .map(|branch| filter.takes_function(&branch.function));
        let takes: Vec<bool> = takes.collect();
        // Whether one among those below is taken: by how many are up to each.
        let mut taken = 0_usize;
        let sums = std::iter::once(0).chain(takes.iter().map(|takes| {
            taken += usize::from(*takes);
            taken
        }));
        let sums: Vec<usize> = sums.collect();
        for (index, branch) in branches.iter().enumerate() {
            let end = (index + branch.below + 1).min(branches.len());
            wanted[index] = sums[end] > sums[index];
        }
    }
    let mut rows = Vec::new();
    let mut hidden_up_to = 0;
    for (index, branch) in branches.into_iter().enumerate() {
        if index < hidden_up_to {
            continue;
        }
        if folded.contains(&branch.id) {
            hidden_up_to = index + branch.below + 1;
        }
        if wanted[index] {
            rows.push(Row::Branch(branch));
        }
    }
    rows
}

/// A text to look for, whatever its case.
#[derive(Debug)]
struct Filter(String);

impl Filter {
    fn new(text: &str) -> Self {
        Self(text.to_lowercase())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn takes(&self, text: &str) -> bool {
        self.is_empty() || text.to_lowercase().contains(&self.0)
    }

    fn takes_function(&self, function: &ProfileFunction) -> bool {
        self.takes(&function.name.text) || self.takes(&function.file.text)
    }
}
