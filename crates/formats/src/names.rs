//! What functions, threads and processes are called in front of people.

use invivo_model::{FunctionKind, ProfileFunction, ProfileProcess, ProfileThread, SampleStatus};

use crate::By;
use crate::escape::plain;
use crate::places::Place;
use crate::source::Checked;

/// What a function is called, in one line.
pub(crate) fn function(function: &ProfileFunction) -> String {
    let name = plain(&function.name.to_string()).into_owned();
    if name.is_empty() {
        "<no name>".to_owned()
    } else {
        name
    }
}

/// Where a function comes from, in one line; empty where that is not known or nowhere.
pub(crate) fn file(function: &ProfileFunction) -> String {
    plain(&function.file.to_string()).into_owned()
}

/// A function and where it stands: `name (file:line)`, as far as that is known.
pub(crate) fn place(profile: &Checked<'_>, place: Place, by: By) -> String {
    let of = profile.function(place.function);
    let (name, file) = (function(of), file(of));
    match (file.is_empty(), by, place.line) {
        (true, By::Line, 1..) => format!("{name} (line {})", place.line),
        (true, _, _) => name,
        (false, By::Line, 1..) => format!("{name} ({file}:{})", place.line),
        (false, _, _) => format!("{name} ({file})"),
    }
}

/// A process: its number and command.
pub(crate) fn process(process: &ProfileProcess) -> String {
    let command = process.command.join(" ");
    let command = command.trim();
    if command.is_empty() {
        format!("process {}", process.pid)
    } else {
        format!("{} (process {})", plain(command), process.pid)
    }
}

/// A thread: its name and number, with its process where there are several.
pub(crate) fn thread(profile: &Checked<'_>, thread: &ProfileThread) -> String {
    let name = match &thread.name {
        Some(name) if !name.text.is_empty() => {
            format!("{} ({})", plain(&name.to_string()), thread.tid)
        }
        _ if thread.is_main => format!("main thread ({})", thread.tid),
        _ => format!("thread {}", thread.tid),
    };
    let interpreter = match thread.interpreter {
        0 => String::new(),
        id => format!(", interpreter {id}"),
    };
    match &profile.tables.processes[..] {
        [_] => format!("{name}{interpreter}"),
        processes => {
            let pid = processes[thread.process as usize].pid;
            format!("{name}{interpreter} of process {pid}")
        }
    }
}

/// What kind of function it is, in a word.
pub(crate) fn kind(kind: FunctionKind) -> &'static str {
    match kind {
        FunctionKind::Python => "python",
        FunctionKind::Native => "native",
        FunctionKind::Collector => "collector",
        FunctionKind::Task => "task",
        FunctionKind::Place => "place",
    }
}

/// What is known of what a thread did, in words; empty where nothing is.
pub(crate) fn status(status: SampleStatus) -> String {
    let known = [
        (status.on_cpu, "on CPU", "off CPU"),
        (status.holds_gil, "holds the GIL", "without the GIL"),
        (status.waits_for_gil, "waits for the GIL", ""),
        (status.handles_exception, "handles an exception", ""),
    ];
    let words = known.into_iter().filter_map(|(known, yes, no)| {
        let word = if known? { yes } else { no };
        Some(word).filter(|word| !word.is_empty())
    });
    words.collect::<Vec<_>>().join(", ")
}
