//! Tasks as a person reads them: a table, or trees of who waits for whom.

use std::collections::{HashMap, HashSet};

use invivo::{Address, Branch, Frame, Links, Node, Task, TaskDump, TaskState, Trust, forest};

use super::json::state;
use crate::commands::dump::text::{
    counted, greenlet_cut, greenlet_lines, greenlet_name, place, subject_lines,
};
use crate::show::{Output, Style, Table, cut, grouped, halted, shown};

/// How many levels of a tree are drawn; what is deeper says how deep it is.
const LEVELS_MAX: usize = 10;
/// How many coroutines of a task a table names.
const COROUTINES_MAX: usize = 8;
/// How wide a name is at most.
const NAME_MAX: usize = 200;
/// How many defects are told one by one.
const DEFECTS_MAX: usize = 5;

/// What text is made of.
pub(super) struct Page<'a> {
    pub(super) dump: &'a TaskDump,
    pub(super) columns: Option<usize>,
    pub(super) output: &'a Output,
}

impl Page<'_> {
    /// A row for each task.
    pub(super) fn table(&self) -> String {
        let known = Known::of(self.dump);
        let mut headings = vec![
            "TASK",
            "STATE",
            "THREAD",
            "COROUTINE",
            "WAITS FOR",
            "AWAITED BY",
        ];
        let of_one_thread = self.thread_of_all().is_some();
        if of_one_thread {
            headings.retain(|heading| *heading != "THREAD");
        }
        let coroutine = headings.iter().position(|heading| *heading == "COROUTINE");
        let mut table = Table::new(&headings);
        let mut tasks: Vec<&Task> = self.dump.tasks.list.iter().collect();
        if self.dump.tasks.links == Links::Computed {
            // Such a target keeps them in no order.
            tasks.sort_by_cached_key(|task| in_order(&name(task)));
        }
        for task in tasks {
            let thread = || self.thread(task).unwrap_or_else(|| "-".to_owned());
            let mut cells = vec![name(task), state(task.state).to_owned()];
            cells.extend((!of_one_thread).then(thread));
            cells.push(coroutines(task));
            cells.push(known.waits_for(task).unwrap_or_else(|| "-".to_owned()));
            cells.push(known.awaited_by(task));
            table.row(cells);
        }
        let mut text = self.heading();
        if !self.dump.tasks.list.is_empty() {
            text.push('\n');
            text.push_str(
                &table
                    .fitted(self.columns, coroutine.unwrap_or(0))
                    .join("\n"),
            );
            text.push('\n');
        }
        text.push_str(&self.greenlets());
        text.push_str(&self.defects());
        text
    }

    /// The greenlets that wait to be switched to, and where.
    fn greenlets(&self) -> String {
        let mut lines = Vec::new();
        for (_, found) in &self.dump.greenlets {
            lines.push(String::new());
            lines.extend(greenlet_lines(found, self.output));
            for greenlet in found.iter().flat_map(|found| &found.list) {
                let name = greenlet_name(greenlet);
                lines.push(self.output.styled(Style::Strong, &name));
                let columns = self.columns.map(|columns| columns.saturating_sub(2));
                let frames = greenlet.stack.frames.iter();
                lines.extend(
                    frames.map(|frame| format!("  {}", place(frame, columns, self.output))),
                );
                lines.extend(greenlet_cut(greenlet, self.output));
            }
        }
        lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    /// What each task waits for, below it.
    pub(super) fn tree(&self) -> String {
        let known = Known::of(self.dump);
        let mut text = self.heading();
        let mut lines = Lines {
            page: self,
            known: &known,
            ends: Vec::new(),
            thread: None,
            several_threads: self.thread_of_all().is_none(),
            text: String::new(),
        };
        for branch in forest(&self.dump.tasks) {
            lines.branch(&branch);
        }
        text.push_str(&lines.text);
        text.push_str(&self.greenlets());
        text.push_str(&self.defects());
        text
    }

    fn heading(&self) -> String {
        let [process, version] = subject_lines(&self.dump.subject);
        let tasks = &self.dump.tasks.list;
        let loops: HashSet<Address> = tasks
            .iter()
            .map(|task| task.event_loop)
            .filter(|event_loop| !event_loop.is_null())
            .collect();
        let mut count = match tasks.len() {
            0 => "no asyncio tasks".to_owned(),
            count => counted(count, "asyncio task"),
        };
        if loops.len() > 1 {
            count.push_str(&format!(" in {} event loops", loops.len()));
        } else if let Some(thread) = self.thread_of_all() {
            count.push_str(&format!(" in thread {thread}"));
        }
        let subject = &self.dump.subject;
        let halt = subject.halt.map_or_else(String::new, |halt| {
            let line = halted(halt, subject.pid);
            self.output.styled(Style::Doubtful, &line) + "\n"
        });
        format!("{}\n{version}, {count}\n{halt}", self.fit(&process))
    }

    fn defects(&self) -> String {
        let defects = &self.dump.tasks.defects;
        let mut text = String::new();
        for defect in defects.iter().take(DEFECTS_MAX) {
            let what = shown(&defect.what);
            let line = format!("could not be read: {what} (at {})", defect.address);
            text.push_str(&self.output.styled(Style::Doubtful, &line));
            text.push('\n');
        }
        if let Some(more) = defects
            .len()
            .checked_sub(DEFECTS_MAX)
            .filter(|more| *more > 0)
        {
            text.push_str(&format!("… and {} more\n", grouped(more as u64)));
        }
        if text.is_empty() {
            text
        } else {
            format!("\n{text}")
        }
    }

    fn fit(&self, text: &str) -> String {
        match self.columns {
            Some(columns) => cut(text, columns),
            None => text.to_owned(),
        }
    }

    /// The thread that all tasks belong to, if it is one.
    fn thread_of_all(&self) -> Option<String> {
        let mut threads = self.dump.tasks.list.iter().map(|task| self.thread(task));
        let first = threads.next()??;
        threads
            .all(|thread| thread.as_ref() == Some(&first))
            .then_some(first)
    }

    fn thread(&self, task: &Task) -> Option<String> {
        let tid = self.dump.tid(task).map(|tid| tid.to_string());
        tid.or_else(|| Some(format!("({})", task.native_id?)))
    }
}

/// A task's name, or where it lies.
fn name(task: &Task) -> String {
    match &task.name {
        Some(name) => cut(&shown(&name.to_string()), NAME_MAX),
        None => format!("(task at {})", task.address),
    }
}

/// A key by which `Task-9` comes before `Task-10`.
fn in_order(name: &str) -> (String, u64, String) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name
        .get(stem.len()..)
        .and_then(|digits| digits.parse().ok());
    (stem.to_owned(), number.unwrap_or(0), name.to_owned())
}

/// The functions it is in, innermost first.
fn coroutines(task: &Task) -> String {
    let frames = &task.coroutines.frames;
    let labels = frames.iter().take(COROUTINES_MAX).map(|frame| {
        let doubt = match frame.trust {
            Trust::Whole => "",
            Trust::Torn | Trust::Guessed => "?",
        };
        let label = frame.code.label().to_string();
        format!("{}{doubt}", cut(&shown(&label), NAME_MAX))
    });
    let mut labels: Vec<String> = labels.collect();
    if frames.len() > COROUTINES_MAX || task.coroutines.cut.is_some() {
        labels.push("…".to_owned());
    }
    if labels.is_empty() {
        "-".to_owned()
    } else {
        labels.join(" ← ")
    }
}

/// What is known by address.
struct Known<'a> {
    tasks: HashMap<Address, &'a Task>,
    /// Who waits for a future, and what it is called by.
    futures: HashMap<Address, &'a [Address]>,
    classes: HashMap<Address, String>,
    /// For how many tasks each waits.
    waited: HashMap<Address, usize>,
}

impl<'a> Known<'a> {
    fn of(dump: &'a TaskDump) -> Self {
        let tasks = &dump.tasks;
        let mut waited: HashMap<Address, usize> = HashMap::new();
        for waiter in tasks.list.iter().flat_map(|task| &task.awaited_by) {
            *waited.entry(*waiter).or_default() += 1;
        }
        let classes = tasks.list.iter().filter_map(|task| {
            let future = task.waits_for.as_ref()?;
            let class = shown(&future.class.as_ref()?.to_string()).into_owned();
            Some((future.address, class))
        });
        Self {
            tasks: tasks.list.iter().map(|task| (task.address, task)).collect(),
            futures: tasks
                .futures
                .iter()
                .map(|(address, waiters)| (*address, waiters.as_slice()))
                .collect(),
            classes: classes.collect(),
            waited,
        }
    }

    fn waits_for(&self, task: &Task) -> Option<String> {
        let waited = task.waits_for.as_ref()?;
        Some(match self.tasks.get(&waited.address) {
            Some(task) => name(task),
            None => self.future(waited.address),
        })
    }

    /// What a future is called by.
    fn future(&self, address: Address) -> String {
        let class = self.classes.get(&address).map_or("future", String::as_str);
        match self.waited.get(&address) {
            Some(count) => format!("{class} of {}", grouped(*count as u64)),
            None => class.to_owned(),
        }
    }

    /// The tasks that wait for it, those that do so by a future too: the first, and how many more.
    fn awaited_by(&self, task: &Task) -> String {
        let mut found = Vec::new();
        for waiter in &task.awaited_by {
            match (self.tasks.get(waiter), self.futures.get(waiter)) {
                (None, Some(waiters)) if !waiters.is_empty() => {
                    let is_task = |waiter: &&Address| self.tasks.contains_key(*waiter);
                    found.extend(waiters.iter().filter(is_task));
                }
                _ => found.push(waiter),
            }
        }
        let Some((first, more)) = found.split_first() else {
            return "-".to_owned();
        };
        let first = match self.tasks.get(first) {
            Some(task) => name(task),
            None => self.future(**first),
        };
        match more.len() {
            0 => first,
            more => format!("{first} +{more}"),
        }
    }
}

/// The lines of a tree.
struct Lines<'a> {
    page: &'a Page<'a>,
    known: &'a Known<'a>,
    /// For each level on the way here, whether the line there was the last beside it.
    ends: Vec<bool>,
    /// The thread of the tree's root.
    thread: Option<String>,
    several_threads: bool,
    text: String,
}

impl Lines<'_> {
    fn branch(&mut self, branch: &Branch) {
        self.ends.truncate(branch.depth);
        self.ends.push(branch.is_last);
        if branch.depth == 0 {
            self.text.push('\n');
            self.thread = None;
        }
        match branch.node {
            Node::Task(place) => {
                if let Some(task) = self.page.dump.tasks.list.get(place) {
                    self.task(task, branch.depth);
                }
            }
            Node::Future(address) => {
                let text = self.known.future(address);
                self.line(true, &text);
            }
            Node::Cycle(address) => {
                let text = format!("cycle: back to {}", self.title(address));
                let text = self.page.output.styled(Style::Bad, &text);
                self.line(true, &text);
            }
            Node::Again(address) => {
                let text = format!("{} (see above)", self.title(address));
                self.line(true, &text);
            }
        }
    }

    fn title(&self, address: Address) -> String {
        match self.known.tasks.get(&address) {
            Some(task) => format!("task {}", name(task)),
            None => self.known.future(address),
        }
    }

    fn task(&mut self, task: &Task, depth: usize) {
        let styled = |style, text: &str| self.page.output.styled(style, text);
        let thread = self.page.thread(task);
        let mut facts = state(task.state).to_owned();
        if thread != self.thread || depth == 0 {
            if let Some(thread) = thread.as_ref().filter(|_| self.several_threads) {
                facts.push_str(&format!(", thread {thread}"));
            }
            self.thread = thread;
        }
        // What stands below needs no saying.
        let waits_for_more = task
            .waits_for
            .as_ref()
            .filter(|waited| !self.known.is_in_tree(waited.address));
        if waits_for_more.is_some()
            && let Some(waited) = self.known.waits_for(task)
        {
            facts.push_str(&format!(", waits for {waited}"));
        }
        let facts = match task.state {
            TaskState::Running => styled(Style::Good, &facts),
            TaskState::Waiting | TaskState::Created | TaskState::Done => facts,
            TaskState::Unknown => styled(Style::Doubtful, &facts),
        };
        let text = format!("{}  {facts}", styled(Style::Strong, &name(task)));
        self.line(true, &text);
        for frame in task.coroutines.frames.iter().rev() {
            self.frame(frame);
        }
        if let Some(cut) = &task.coroutines.cut {
            let text = format!("  … more could not be read: {}", shown(&cut.what));
            let text = self.page.output.styled(Style::Doubtful, &text);
            self.line(false, &text);
        }
    }

    fn frame(&mut self, frame: &Frame) {
        let indent = self.prefix(false).chars().count() + 2;
        let columns = self
            .page
            .columns
            .map(|columns| columns.saturating_sub(indent));
        let text = format!("  {}", place(frame, columns, self.page.output));
        self.line(false, &text);
    }

    /// A line of the tree: the first of its node, or one that belongs to it.
    fn line(&mut self, first: bool, text: &str) {
        let prefix = self.prefix(first);
        self.text.push_str(&prefix);
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// What stands before a line, for the levels above it.
    fn prefix(&self, first: bool) -> String {
        // Roots have no line that leads to them.
        let levels = self.ends.get(1..).unwrap_or_default();
        let mut prefix = String::new();
        let hidden = levels.len().saturating_sub(LEVELS_MAX);
        if hidden > 0 {
            let note = format!("[{}] ", levels.len());
            if first {
                prefix.push_str(&note);
            } else {
                prefix.extend(std::iter::repeat_n(' ', note.len()));
            }
        }
        let drawn = levels.get(hidden..).unwrap_or_default();
        for (place, last) in drawn.iter().enumerate() {
            let own = first && place + 1 == drawn.len();
            prefix.push_str(match (own, last) {
                (true, true) => "└─ ",
                (true, false) => "├─ ",
                (false, true) => "   ",
                (false, false) => "│  ",
            });
        }
        prefix
    }
}

impl Known<'_> {
    /// Whether a tree has a line for what lies here.
    fn is_in_tree(&self, address: Address) -> bool {
        self.tasks.contains_key(&address) || self.futures.contains_key(&address)
    }
}
