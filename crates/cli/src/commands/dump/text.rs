//! A dump as a person reads it.

use std::collections::BTreeMap;
use std::time::Instant;

use invivo::{
    Build, Defect, DoingKind, Dump, Frame, Gap, Greenlet, Greenlets, InterpreterDump, OsThread,
    ReadFrom, Result, Role, Run, Runner, Subject, Text, ThreadDump, Trust, Value, ValueKind,
    Variable, repeats, repeats_around,
};
use unicode_width::UnicodeWidthStr;

use super::json::LineOf;
use crate::show::{Excerpt, Output, Style, cut, cut_path, grouped, halted, shown, value_within};

/// How many defects of an interpreter are told one by one.
const DEFECTS_MAX: usize = 5;
/// How many threads of one kind are told by number.
const NUMBERS_MAX: usize = 6;
/// Bytes that are written at once, or more.
const AT_ONCE: usize = 64 << 10;
/// How much room a value has at least before it is cut.
const VALUE_MIN: usize = 16;
/// How much room a path has at least before it is cut.
const PATH_MIN: usize = 24;

/// Frames, and their variables as far as these were read.
type Told<'a> = (&'a [Frame], &'a [Option<Result<Vec<Variable>>>]);

/// A page that is being written.
pub(super) struct Page<'a> {
    pub(super) outermost_first: bool,
    /// Whether the frames are shown too that are the same in every thread.
    pub(super) everything: bool,
    pub(super) columns: Option<usize>,
    /// Whether values are shown as far as they were read, however wide the terminal is.
    pub(super) whole_values: bool,
    /// When no more is shown.
    pub(super) until: Option<Instant>,
    /// Whether something was left out for want of time.
    pub(super) is_late: bool,
    pub(super) output: &'a mut Output,
    /// What has not been written yet.
    pub(super) text: String,
    pub(super) line: &'a mut LineOf<'a>,
}

impl Page<'_> {
    /// Shows the whole dump, or what there is time for; says whether it was all.
    pub(super) fn dump(mut self, dump: &Dump) -> bool {
        self.heading(dump);
        let several = dump.interpreters.len() > 1;
        for interpreter in &dump.interpreters {
            if several || interpreter.id != 0 {
                self.push("");
                let name = format!("Interpreter {}", interpreter.id);
                let name = self.output.styled(Style::Strong, &name);
                self.push(&name);
            }
            for thread in &interpreter.threads {
                if self.go_on() {
                    self.push("");
                    self.thread(thread);
                }
            }
            self.greenlets(interpreter);
            self.defects(&interpreter.defects);
        }
        if let Some(threads) = &dump.without_python {
            self.without_python(&dump.subject, threads);
        }
        self.output.text(&self.text);
        !self.is_late
    }

    /// Writes what there is once it is much, and says whether there is time for more.
    fn go_on(&mut self) -> bool {
        if self.text.len() > AT_ONCE {
            self.output.text(&self.text);
            self.text.clear();
            self.is_late |= self.until.is_some_and(|until| Instant::now() >= until);
        }
        !self.is_late
    }

    fn push(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn fit(&self, text: &str) -> String {
        match self.columns {
            Some(columns) => cut(text, columns),
            None => text.to_owned(),
        }
    }

    fn heading(&mut self, dump: &Dump) {
        for line in subject_lines(&dump.subject) {
            let line = self.fit(&line);
            self.push(&line);
        }
        let mut facts = Vec::new();
        let threads: usize = dump.interpreters.iter().map(|one| one.threads.len()).sum();
        facts.push(counted(threads, "thread"));
        if let Some(others) = dump.without_python.as_ref().filter(|all| !all.is_empty()) {
            facts.push(format!("{} {}", others.len(), without(&dump.subject)));
        }
        if dump.blocked {
            facts.push("stopped while it was read".to_owned());
        }
        if let Some(last) = self.text.pop() {
            debug_assert_eq!(last, '\n');
        }
        self.push(&format!(", {}", facts.join(", ")));
        if let Some(halt) = dump.subject.halt {
            let line = halted(halt, dump.subject.pid);
            let line = self.output.styled(Style::Doubtful, &line);
            self.push(&line);
        }
        if dump.interpreters_left_out > 0 {
            let line = format!(
                "{} not shown: --all-interpreters",
                counted(dump.interpreters_left_out, "other interpreter")
            );
            self.push(&line);
        }
        for interpreter in dump.interpreters.iter().filter(|one| collects(one)) {
            let line = format!("interpreter {} collects garbage", interpreter.id);
            let line = self.output.styled(Style::Doubtful, &line);
            self.push(&line);
        }
        let values = |thread: &ThreadDump| !thread.variables.is_empty();
        let mut threads = dump.interpreters.iter().flat_map(|one| &one.threads);
        if !dump.blocked && threads.any(values) {
            let line = match dump.read_from {
                ReadFrom::OwnProcessor => {
                    "all was read at one moment: the thread that holds the GIL stood still, since \
                     Invivo ran on its processor"
                }
                ReadFrom::Elsewhere | ReadFrom::Stopped => {
                    "values were read while it ran on, marked where they changed: --block reads \
                     all at one moment"
                }
            };
            let line = self.output.styled(Style::Dim, line);
            self.push(&line);
        }
    }

    fn thread(&mut self, dump: &ThreadDump) {
        let line = self.thread_line(dump);
        self.push(&line);
        let stack = &dump.thread.stack;
        let cut = stack.cut.as_ref().map(|cut| {
            let text = format!("  … its callers could not be read: {}", shown(&cut.what));
            self.output.styled(Style::Doubtful, &text)
        });
        let start = (!self.everything).then(|| thread_start(&stack.frames));
        let start = start.unwrap_or(stack.frames.len());
        let shown = stack.frames.get(..start).unwrap_or_default();
        let gap = stack.gap.filter(|gap| gap.after <= start);
        let runs = repeats_around(shown, gap);
        let left_out = gap.map(|gap| {
            let text = format!("  … {}", left_out(gap));
            self.output.styled(Style::Doubtful, &text)
        });
        let started = (start < stack.frames.len()).then(|| {
            let count = stack.frames.len() - start;
            let text = format!("  … started by threading ({})", counted(count, "frame"));
            self.output.styled(Style::Dim, &text)
        });
        let ends = [started, cut].into_iter().flatten();
        let [mut inner, mut outer] = runs;
        let told = (stack.frames.as_slice(), dump.variables.as_slice());
        if self.outermost_first {
            inner.reverse();
            outer.reverse();
            ends.rev().for_each(|line| self.push(&line));
            outer.iter().for_each(|run| self.run(told, run));
            left_out.iter().for_each(|line| self.push(line));
            inner.iter().for_each(|run| self.run(told, run));
        } else {
            inner.iter().for_each(|run| self.run(told, run));
            left_out.iter().for_each(|line| self.push(line));
            outer.iter().for_each(|run| self.run(told, run));
            ends.for_each(|line| self.push(&line));
        }
    }

    /// The greenlets of an interpreter that wait to be switched to.
    fn greenlets(&mut self, interpreter: &InterpreterDump) {
        let Some(found) = &interpreter.greenlets else {
            return;
        };
        for line in greenlet_lines(found, self.output) {
            self.push("");
            self.push(&line);
        }
        let list = found.as_ref().map_or(&[][..], |found| &found.list);
        let variables = interpreter.greenlet_variables.iter().map(Vec::as_slice);
        let variables = variables.chain(std::iter::repeat(&[][..]));
        for (greenlet, variables) in list.iter().zip(variables) {
            self.push("");
            let name = self.output.styled(Style::Strong, &greenlet_name(greenlet));
            self.push(&format!("{name}: suspended"));
            let frames = greenlet.stack.frames.as_slice();
            let mut runs = repeats(frames);
            let cut = greenlet_cut(greenlet, self.output);
            if self.outermost_first {
                runs.reverse();
                cut.iter().for_each(|line| self.push(line));
            }
            runs.iter()
                .for_each(|run| self.run((frames, variables), run));
            if !self.outermost_first {
                cut.iter().for_each(|line| self.push(line));
            }
        }
    }

    fn thread_line(&self, dump: &ThreadDump) -> String {
        let thread = &dump.thread;
        let mut name = match &dump.os {
            Some(os) => format!("Thread {}", os.tid),
            // What it says of a thread is of the one that made it.
            None if matches!(dump.runner, Some(Runner::Unknown(_))) => {
                format!("Thread state {}", thread.state.address)
            }
            None if thread.state.native_id != 0 => {
                format!("Thread with number {} of its own", thread.state.native_id)
            }
            None => format!("Thread {:#x}", thread.state.thread_id),
        };
        if let Some(own) = &thread.name {
            name.push_str(&format!(" \"{}\"", shown(&own.to_string())));
        } else if let Some(os) = &dump.os {
            name.push_str(&format!(" [{}]", shown(&os.name)));
        }
        let name = self.output.styled(Style::Strong, &self.fit(&name));
        let said = thread
            .name
            .as_ref()
            .is_some_and(|own| own.text == MAIN_NAME);
        let main = if thread.is_main && !said {
            ", main thread"
        } else {
            ""
        };
        let sentence = shown(&dump.doing.sentence);
        let sentence = match dump.doing.kind {
            DoingKind::RunsPython | DoingKind::CollectsGarbage => {
                self.output.styled(Style::Good, &sentence)
            }
            DoingKind::SleepsWithGil | DoingKind::WaitsForGil | DoingKind::Stopped => {
                self.output.styled(Style::Doubtful, &sentence)
            }
            _ => sentence.into_owned(),
        };
        format!("{name}{main}: {sentence}")
    }

    /// Frames that are there once, or several times in a row.
    fn run(&mut self, (frames, variables): Told<'_>, run: &Run) {
        let frames = frames.iter().enumerate();
        let mut frames: Vec<_> = frames.skip(run.start).take(run.length).collect();
        if self.outermost_first {
            frames.reverse();
        }
        for (place, frame) in frames {
            let variables = variables.get(place).and_then(Option::as_ref);
            self.frame(frame, variables);
        }
        if run.times > 1 {
            let again = grouped(run.times as u64 - 1);
            let text = match run.length {
                1 => format!("  … the same {again} times more"),
                length => format!("  … these {length} again, {again} times"),
            };
            let text = self.output.styled(Style::Dim, &text);
            self.push(&text);
        }
    }

    fn frame(&mut self, frame: &Frame, variables: Option<&Result<Vec<Variable>>>) {
        if !self.go_on() {
            return;
        }
        let columns = self.columns.map(|columns| columns.saturating_sub(2));
        let text = format!("  {}", place(frame, columns, self.output));
        self.push(&text);
        self.source(frame);
        match variables {
            None => {}
            Some(Ok(variables)) => self.variables(variables),
            Some(Err(error)) => {
                let text = format!("      variables could not be read: {}", shown(&error.why));
                let text = self.output.styled(Style::Doubtful, &text);
                self.push(&text);
            }
        }
    }

    fn source(&mut self, frame: &Frame) {
        const INDENT: usize = 4;
        let Some(number) = frame.position.line else {
            return;
        };
        let Some(line) = (self.line)(&frame.code.filename.text, number) else {
            return;
        };
        let columns = self.columns.map(|columns| columns.saturating_sub(INDENT));
        let Some(excerpt) = Excerpt::new(&line, frame.position, columns) else {
            return;
        };
        let Excerpt {
            before,
            marked,
            behind,
        } = &excerpt;
        let text = format!(
            "{:INDENT$}{}{}{}",
            "",
            self.output.styled(Style::Dim, before),
            self.output.styled(Style::Marked, marked),
            self.output.styled(Style::Dim, behind)
        );
        self.push(&text);
        if let Some(marks) = excerpt.marks().filter(|_| !self.output.has_color()) {
            self.push(&format!("{:INDENT$}{marks}", ""));
        }
    }

    fn variables(&mut self, variables: &[Variable]) {
        const INDENT: usize = 6;
        let mut definitions = 0;
        for variable in variables {
            let Some(value) = &variable.value else {
                continue;
            };
            if variable.role == Role::Name && is_definition(value) {
                definitions += 1;
                continue;
            }
            let name = shown(&variable.name.to_string()).into_owned();
            let taken = INDENT + name.width() + " = ".len();
            let room = self
                .columns
                .filter(|_| !self.whole_values)
                .map(|all| all.saturating_sub(taken).max(VALUE_MIN));
            let value = value_within(value, room);
            let name = self.output.styled(Style::Command, &name);
            self.push(&format!("{:INDENT$}{name} = {value}", ""));
        }
        if definitions > 0 {
            let count = grouped(definitions);
            let text = format!("{:INDENT$}… and what it defines or imports: {count}", "");
            let text = self.output.styled(Style::Dim, &text);
            self.push(&text);
        }
    }

    fn defects(&mut self, defects: &[Defect]) {
        if defects.is_empty() {
            return;
        }
        self.push("");
        for defect in defects.iter().take(DEFECTS_MAX) {
            let text = format!(
                "could not be read: {} (at {})",
                shown(&defect.what),
                defect.address
            );
            let text = self.output.styled(Style::Doubtful, &text);
            self.push(&text);
        }
        if defects.len() > DEFECTS_MAX {
            self.push(&format!(
                "… and {} more",
                grouped((defects.len() - DEFECTS_MAX) as u64)
            ));
        }
    }

    /// OS threads that the interpreter does not know, those that say the same in one line.
    fn without_python(&mut self, subject: &Subject, threads: &[OsThread]) {
        if threads.is_empty() {
            return;
        }
        let mut alike: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
        for thread in threads {
            let name = shown(&thread.name).into_owned();
            let activity = thread.activity.as_ref();
            let doing = activity.map_or_else(|| "has ended".to_owned(), ToString::to_string);
            alike.entry((name, doing)).or_default().push(thread.tid);
        }
        self.push("");
        let count = counted(threads.len(), "thread");
        let title = format!("{count} {}", without(subject));
        let title = self.output.styled(Style::Strong, &title);
        self.push(&format!("{title}:"));
        for ((name, doing), tids) in &alike {
            let mut numbers: Vec<String> =
                tids.iter().take(NUMBERS_MAX).map(u32::to_string).collect();
            if tids.len() > NUMBERS_MAX {
                numbers.push("…".to_owned());
            }
            let times = match tids.len() {
                1 => String::new(),
                count => format!(" ×{count}"),
            };
            let line = format!("  {name}{times}: {doing} ({})", numbers.join(", "));
            let line = self.fit(&line);
            self.push(&line);
        }
    }
}

/// Where a frame stands: function, file, line, and what is to be said besides.
pub(crate) fn place(frame: &Frame, columns: Option<usize>, output: &Output) -> String {
    let code = &frame.code;
    let mut remarks = String::new();
    if let Some(opcode) = frame.opcode {
        remarks.push_str(&format!("  [opcode {opcode}]"));
    }
    remarks.push_str(match frame.trust {
        Trust::Whole => "",
        Trust::Torn => "  (torn: it changed while it was read)",
        Trust::Guessed => "  (guessed)",
    });
    let line = frame.position.line;
    let line = line.map_or_else(|| "?".to_owned(), |line| line.to_string());
    let mut label = shown(&code.label().to_string()).into_owned();
    let mut path = shown(&code.filename.to_string()).into_owned();
    if let Some(columns) = columns {
        let taken = "  :".len() + line.len() + remarks.width();
        let room = columns.saturating_sub(taken);
        let for_path = room.saturating_sub(label.width()).max(PATH_MIN);
        path = cut_path(&path, for_path.min(room));
        label = cut(&label, room.saturating_sub(path.width()).max(1));
    }
    let label = output.styled(Style::Strong, &label);
    let remarks = output.styled(Style::Doubtful, &remarks);
    format!("{label}  {path}:{line}{remarks}")
}

/// Whether a value is what a module's text defines or imports: of these it has many, and they say
/// little.
fn is_definition(value: &Value) -> bool {
    matches!(value.kind, ValueKind::Named(_))
}

/// Where the frames begin by which `threading` starts a thread: the same three in every thread.
/// There are none in a stack that was cut.
fn thread_start(frames: &[Frame]) -> usize {
    const NAMES: [&str; 3] = ["run", "_bootstrap_inner", "_bootstrap"];
    let start = frames.len().saturating_sub(NAMES.len());
    let last = frames.get(start..).unwrap_or_default();
    let is_start = |(frame, name): (&Frame, &str)| {
        let code = &frame.code;
        code.name.text == name && code.filename.text.ends_with("/threading.py")
    };
    // A class of the program's own may have another `run`.
    let own = last
        .iter()
        .zip(NAMES)
        .take_while(|(frame, name)| !is_start((frame, name)));
    start + own.count()
}

/// What `threading` calls the thread it was imported in first.
const MAIN_NAME: &str = "MainThread";

/// Whether it collects garbage, and none of its threads is known to be the one that does.
fn collects(interpreter: &InterpreterDump) -> bool {
    let mut threads = interpreter.threads.iter();
    interpreter.collecting == Some(true)
        && !threads.any(|dump| dump.thread.collects_garbage == Some(true))
}

/// Whose dump it is, in two lines.
pub(crate) fn subject_lines(subject: &Subject) -> [String; 2] {
    let command: Vec<_> = subject.command.iter().map(|word| shown(word)).collect();
    let version = subject.version.map_or_else(
        || "of an unknown version".to_owned(),
        |version| version.to_string(),
    );
    let mut which = String::new();
    if let Some(all) = &subject.runtimes
        && all.len() > 1
        && let Some(own) = all.iter().find(|one| one.address == subject.runtime)
    {
        which = format!(" (number {} of {})", own.number, all.len());
    }
    [
        format!("process {}: {}", subject.pid, command.join(" ")),
        format!("CPython {version}{}{which}", unusual(subject.build)),
    ]
}

/// What threads are that the interpreter does not know: those of other CPythons may be among them.
fn without(subject: &Subject) -> &'static str {
    match &subject.runtimes {
        Some(all) if all.len() > 1 => "not of this CPython",
        _ => "without Python",
    }
}

fn unusual(build: Build) -> &'static str {
    match (build.debug, build.free_threaded) {
        (Some(true), Some(true)) => ", debug and free-threaded build",
        (Some(true), _) => ", debug build",
        (_, Some(true)) => ", free-threaded build",
        _ => "",
    }
}

/// `1 thread`, `2 threads`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count as u64))
}

/// What is told of an interpreter's greenlets as a whole.
pub(crate) fn greenlet_lines(found: &Result<Greenlets>, output: &Output) -> Vec<String> {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let text = format!("greenlets could not be read: {}", shown(&error.why));
            return vec![output.styled(Style::Doubtful, &text)];
        }
    };
    let mut line = counted(found.list.len(), "suspended greenlet");
    if found.not_suspended > 0 {
        let others = format!(
            ", {} more that run, have not begun or have ended",
            found.not_suspended
        );
        line.push_str(&others);
    }
    if found.left_out > 0 {
        line.push_str(&format!(", {} not looked at", found.left_out));
    }
    let mut lines = vec![line];
    for defect in found.defects.iter().take(DEFECTS_MAX) {
        let text = format!("there may be more greenlets: {}", shown(&defect.what));
        lines.push(output.styled(Style::Doubtful, &text));
    }
    lines
}

/// What a greenlet is called.
pub(crate) fn greenlet_name(greenlet: &Greenlet) -> String {
    let class = greenlet.class.as_ref().map(Text::to_string);
    let class = class.unwrap_or_else(|| "of an unknown class".to_owned());
    format!("Greenlet {} [{}]", greenlet.address, shown(&class))
}

/// Why callers of a greenlet's frames are missing.
pub(crate) fn greenlet_cut(greenlet: &Greenlet, output: &Output) -> Option<String> {
    let cut = greenlet.stack.cut.as_ref()?;
    let text = format!("  … not all of it could be read: {}", shown(&cut.what));
    Some(output.styled(Style::Doubtful, &text))
}

/// What is left out of a stack, in words.
fn left_out(gap: Gap) -> String {
    let frames = counted_large(gap.frames, "frame");
    match (gap.is_exact, gap.frames) {
        (true, _) => format!("{frames} between, not shown"),
        (false, 0) => "more frames, of which the number can't be told".to_owned(),
        (false, _) => format!("at least {frames} more, not shown"),
    }
}

/// So many of them, with the digits in groups.
fn counted_large(count: u64, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count))
}
