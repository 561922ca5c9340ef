//! What functions, threads and processes are called in front of people.

use invivo_model::escape::shown;
use invivo_model::{
    FunctionKind, Mode, ProfileFunction, ProfileProcess, ProfileThread, SampleStatus,
};

use crate::By;
use crate::places::Place;
use crate::source::Checked;

/// What a function is called, in one line.
pub(crate) fn function(function: &ProfileFunction) -> String {
    let name = shown(&function.name.to_string()).into_owned();
    if name.is_empty() {
        "<no name>".to_owned()
    } else {
        name
    }
}

/// Where a function comes from, in one line; empty where that is not known or nowhere.
pub(crate) fn file(function: &ProfileFunction) -> String {
    shown(&function.file.to_string()).into_owned()
}

/// A function and where it stands: `name (file:line)`, as far as that is known.
pub(crate) fn place(profile: &Checked<'_>, place: Place, by: By) -> String {
    place_in(profile, place, by, |file| file)
}

/// The same with no more of the file's name than [`short_file`] has.
pub(crate) fn short_place(profile: &Checked<'_>, place: Place, by: By) -> String {
    place_in(profile, place, by, short_file)
}

fn place_in(profile: &Checked<'_>, place: Place, by: By, shown: fn(&str) -> &str) -> String {
    let of = profile.function(place.function);
    let (name, file) = (function(of), file(of));
    let file = shown(&file);
    match (file.is_empty(), by, place.line) {
        (true, By::Line, 1..) => format!("{name} (line {})", place.line),
        (true, _, _) => name,
        (false, By::Line, 1..) => format!("{name} ({file}:{})", place.line),
        (false, _, _) => format!("{name} ({file})"),
    }
}

/// The last part of a file's name, with the one before it where many files have the same.
pub(crate) fn short_file(file: &str) -> &str {
    let common = ["__init__.py", "__main__.py"];
    let mut parts = file.rmatch_indices(['/', '\\']).map(|(at, _)| at + 1);
    let last = parts.next().unwrap_or(0);
    if common.contains(&&file[last..]) {
        &file[parts.next().unwrap_or(0)..]
    } else {
        &file[last..]
    }
}

/// Bytes of a command that are shown: some files say it again for each thread.
const LONGEST: usize = 2000;

/// A process: its number and command.
pub(crate) fn process(process: &ProfileProcess) -> String {
    let command = process.command.join(" ");
    let command = command.trim();
    let kept = command.floor_char_boundary(LONGEST);
    let end = if kept < command.len() { "…" } else { "" };
    let command = format!("{}{end}", shown(command.get(..kept).unwrap_or_default()));
    if command.is_empty() {
        format!("process {}", process.pid)
    } else {
        format!("{command} (process {})", process.pid)
    }
}

/// A thread: its name and number, with its process where there are several.
pub(crate) fn thread(profile: &Checked<'_>, thread: &ProfileThread) -> String {
    let name = match &thread.name {
        Some(name) if thread.tid == 0 => shown(&name.to_string()).into_owned(),
        Some(name) if !name.text.is_empty() => {
            format!("{} ({})", shown(&name.to_string()), thread.tid)
        }
        _ if thread.is_main => format!("main thread ({})", thread.tid),
        _ if thread.tid == 0 => "thread not known".to_owned(),
        _ => format!("thread {}", thread.tid),
    };
    let interpreter = match thread.interpreter {
        0 | ProfileThread::WITHOUT_PYTHON => String::new(),
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

/// Where a function comes from, as far as its file tells: what its colour says.
pub(crate) fn origin(function: &ProfileFunction) -> &'static str {
    match function.kind {
        FunctionKind::Native => "native",
        FunctionKind::Collector => "collector",
        FunctionKind::Task | FunctionKind::Place => "task",
        FunctionKind::Python => {
            let parts: Vec<&str> = function.file.text.split(['/', '\\']).collect();
            let installed = ["site-packages", "dist-packages"];
            let of_version = |part: &str| {
                let version = part.strip_prefix("python").unwrap_or_default();
                version.starts_with(|first: char| first.is_ascii_digit())
            };
            let in_library = |pair: &[&str]| {
                matches!(pair[0], "lib" | "lib64") && of_version(pair[1])
                    || pair[0].starts_with("Python") && pair[1] == "Lib"
            };
            if parts.iter().any(|part| installed.contains(part)) {
                "library"
            } else if parts.windows(2).any(in_library) || function.file.text.starts_with("<frozen ")
            {
                "standard"
            } else {
                "own"
            }
        }
    }
}

/// Which threads count, in a word.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Wall => "wall",
        Mode::Cpu => "cpu",
        Mode::Gil => "gil",
        Mode::Exception => "exception",
    }
}

/// What is known of what a thread did, in words; empty where nothing is.
pub(crate) fn status(status: SampleStatus) -> String {
    let known = [
        (status.on_cpu, "on CPU", "off CPU"),
        (status.waits_for_cpu, "waits for a processor", ""),
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

#[cfg(test)]
mod tests {
    use invivo_model::Text;

    use super::*;

    #[test]
    fn short_names_of_files() {
        assert_eq!(short_file("/a/b.py"), "b.py");
        assert_eq!(short_file("b.py"), "b.py");
        assert_eq!(short_file("/lib/json/__init__.py"), "json/__init__.py");
        assert_eq!(short_file("/__init__.py"), "/__init__.py");
    }

    #[test]
    fn origins() {
        for (file, expected) in [
            ("/app/main.py", "own"),
            ("/home/lib/pythonic/main.py", "own"),
            ("<stdin>", "own"),
            ("", "own"),
            ("/usr/lib/python9.9/json/decoder.py", "standard"),
            ("C:\\Python99\\Lib\\ast.py", "standard"),
            ("<frozen importlib._bootstrap>", "standard"),
            ("/usr/lib/python9.9/site-packages/flask/app.py", "library"),
            ("/usr/lib/python9/dist-packages/yaml.py", "library"),
        ] {
            let text = |text: &str| Text {
                text: text.to_owned(),
                truncated: false,
            };
            let function = ProfileFunction {
                name: text("f"),
                file: text(file),
                first_line: 1,
                kind: FunctionKind::Python,
            };
            assert_eq!(origin(&function), expected, "{file}");
        }
    }
}
