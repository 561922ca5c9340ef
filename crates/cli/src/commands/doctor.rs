use clap::Args;
use invivo::access::{Check, CheckVerdict, Verdict, examine_machine, judge_machine};
use invivo::exec::{Footprint, OPT_OUT_OPTION, OPT_OUT_VARIABLE, Way};
use invivo::{
    Diagnosis, Error, InterpreterDiagnosis, MISSPELT_OPTION, RemoteDebugging, Result, RuntimeName,
    Runtimes, Switch, diagnose, python_processes, surrogate,
};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::ps;
use crate::exit::Status;
use crate::show::{Output, Style, halt_json, halted, shown, shown_bytes};

/// Say why attaching to a process is allowed or refused, rule by rule, and what to do about it.
///
/// The rules are the operating system's, each with the fact that was read; what decides in the end
/// is that the kernel itself was asked. Nothing is changed and nothing is stopped. Without a PID:
/// what holds for you on this machine, whatever the process.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is 0 where `invivo exec PID …` would work, and otherwise the one it would end with.

Examples:
  invivo doctor
  invivo doctor 4711
  invivo doctor 4711 --json | jq -r '.checks[] | select(.verdict == \"refuses\") | .remedy'")]
pub(crate) struct Arguments {
    /// The process.
    #[arg(value_name = "PID")]
    pid: Option<u32>,

    /// Which CPython, where the process has several: a number from `invivo doctor PID`.
    #[arg(long, value_name = "NUMBER", requires = "pid", value_parser = clap::value_parser!(u32).range(1..))]
    runtime: Option<u32>,

    /// Print one JSON object instead (docs/json-doctor.md).
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Status> {
    match arguments.pid {
        Some(pid) => process(pid, arguments.runtime, arguments.json, output),
        None => machine(arguments.json, output),
    }
}

fn process(pid: u32, runtime: Option<u32>, json: bool, output: &mut Output) -> Result<Status> {
    let diagnosis = match diagnose(pid, runtime) {
        Ok(diagnosis) => diagnosis,
        Err(error) if json => {
            let report = json!({ "schema": 1, "pid": pid, "error": error_json(&error) });
            output.document(&report);
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    if json {
        output.document(&diagnosis_json(&diagnosis));
    } else {
        show(&diagnosis, output);
    }
    Ok(diagnosis
        .obstacle()
        .map_or(Status::Done, |error| error.kind.into()))
}

fn show(diagnosis: &Diagnosis, output: &mut Output) {
    let command: Vec<String> = diagnosis
        .command
        .iter()
        .map(|word| shown_bytes(word.as_encoded_bytes()))
        .collect();
    let user = match (&diagnosis.user, diagnosis.uid) {
        (Some(name), Some(uid)) => format!("{} (uid {uid})", shown(name)),
        (None, Some(uid)) => format!("uid {uid}"),
        (_, None) => "an unknown user".to_owned(),
    };
    heading(output, &format!("process {}, of {user}", diagnosis.pid));
    paragraph(output, 2, &command.join(" "));
    if let Some(halt) = diagnosis.halt {
        let text = halted(halt, diagnosis.pid);
        let text = output.styled(Style::Doubtful, &text);
        paragraph(output, 2, &text);
    }
    heading(output, "\nWhat the operating system says");
    for check in &diagnosis.checks {
        show_check(check, output);
    }
    if let Some(runtimes) = diagnosis.runtimes.as_ref().filter(|it| it.count() > 1) {
        show_runtimes(runtimes, output);
    }
    heading(output, "\nThis interpreter");
    match &diagnosis.interpreter {
        Ok(interpreter) => show_interpreter(interpreter, output),
        Err(error) => paragraph(output, 2, &shown(&format!("{}: {}", error.what, error.why))),
    }
    if !diagnosis.ways.is_empty() {
        heading(output, "\nThe ways into its main thread");
    }
    for way in &diagnosis.ways {
        let asks = way.verdict == CheckVerdict::Refuses;
        let remedy = way.remedy.as_ref().filter(|_| asks);
        show_row(way.verdict, way.name, &way.fact, remedy, output);
    }
    output.line("");
    match &diagnosis.execution {
        Ok(prospect) => {
            let text = format!(
                "invivo exec {} would work: in thread {} ({}), with the script in {}",
                diagnosis.pid,
                prospect.tid,
                prospect.reason,
                shown(&prospect.directory.display().to_string())
            );
            verdict(output, Style::Good, &text);
            if let Some(doing) = prospect.doing.as_ref().filter(|doing| !doing.running) {
                let text = format!("That thread is {doing} now: {}.", when(&diagnosis.ways));
                paragraph(output, 2, &text);
            }
            for doubt in &prospect.doubts {
                paragraph(
                    output,
                    2,
                    &shown(&format!("It may fail all the same: {doubt}.")),
                );
            }
            paragraph(
                output,
                2,
                "Beside what it does itself, a script may make the target",
            );
            for line in footprint_lines(&prospect.footprint) {
                paragraph(output, 4, &shown(&line));
            }
        }
        Err(error) => {
            let text = format!(
                "invivo exec {} would not work: {}",
                diagnosis.pid, error.what
            );
            verdict(output, Style::Bad, &shown(&text));
            paragraph(output, 2, &format!("why: {}", shown(&error.why)));
            paragraph(output, 2, &format!("try: {}", shown(&error.remedy)));
        }
    }
}

/// When a script begins in a thread that does not run.
fn when(ways: &[Way]) -> &'static str {
    match ways {
        [_, waiting] if waiting.verdict == CheckVerdict::Allows => {
            "a script begins at once, and the thread waits on afterwards"
        }
        [_, waiting] if waiting.verdict == CheckVerdict::Unknown => {
            "if CPython lets it wait, a script begins at once, and the thread waits on afterwards"
        }
        _ => "a script begins when it next runs Python",
    }
}

fn heading(output: &mut Output, text: &str) {
    let text = output.styled(Style::Strong, text);
    output.line(&text);
}

fn verdict(output: &mut Output, style: Style, text: &str) {
    for line in wrapped(text, width(output)) {
        let line = output.styled(style, &line);
        output.line(&line);
    }
}

/// `text`, escaped already, in lines that begin with `indent` blanks.
fn paragraph(output: &mut Output, indent: usize, text: &str) {
    for line in wrapped(text, width(output).saturating_sub(indent)) {
        output.line(&format!("{:indent$}{line}", ""));
    }
}

/// What is comfortable to read, and no more than there is.
fn width(output: &Output) -> usize {
    output.columns().unwrap_or(80).clamp(40, 100)
}

/// `text` in lines of at most `columns`, broken at blanks; a word that is longer stays whole.
fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.width() + 1 + word.width() <= columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Where facts begin: behind the mark and the rule's name.
const FACT_COLUMN: usize = 28;

fn show_check(check: &Check, output: &mut Output) {
    let asks = matches!(
        check.verdict,
        CheckVerdict::Refuses | CheckVerdict::NotDeciding
    );
    let rule = check.rule.name().replace('_', " ");
    let remedy = check.remedy.as_ref().filter(|_| asks);
    show_row(check.verdict, &rule, &check.fact, remedy, output);
}

fn show_row(
    verdict: CheckVerdict,
    name: &str,
    fact: &str,
    remedy: Option<&String>,
    output: &mut Output,
) {
    let (mark, style) = match verdict {
        CheckVerdict::Allows => ("ok", Style::Good),
        CheckVerdict::Refuses => ("refused", Style::Bad),
        CheckVerdict::Unknown => ("unknown", Style::Doubtful),
        CheckVerdict::NotDeciding => ("info", Style::Dim),
    };
    let mark = output.styled(style, &format!("{mark:<8}"));
    let room = width(output).saturating_sub(FACT_COLUMN);
    let mut start = format!("  {mark}{name:<18}");
    for line in wrapped(&shown(fact), room) {
        output.line(&format!("{start}{line}"));
        start = " ".repeat(FACT_COLUMN);
    }
    if let Some(remedy) = remedy {
        for line in wrapped(&format!("try: {}", shown(remedy)), room) {
            output.line(&format!("{}{line}", " ".repeat(FACT_COLUMN)));
        }
    }
}

/// The CPythons of a process that has several.
fn show_runtimes(runtimes: &Runtimes, output: &mut Output) {
    let title = format!("\n{} CPythons in this process", runtimes.count());
    heading(output, &title);
    for name in runtimes.names() {
        paragraph(output, 2, &shown(&name.sentence()));
    }
    let text = format!(
        "What follows is of number {}. To choose, in this and in other commands: --runtime NUMBER",
        runtimes.number()
    );
    paragraph(output, 2, &text);
}

fn show_interpreter(interpreter: &InterpreterDiagnosis, output: &mut Output) {
    let location = &interpreter.location;
    let version = match location.version {
        Some(version) => format!("CPython {version}"),
        None => "CPython of an unknown version".to_owned(),
    };
    paragraph(
        output,
        2,
        &format!("{version}, {} build", ps::build(location.build)),
    );
    let place = format!(
        "PyRuntime at {} in {}, found by {}",
        location.address,
        shown_bytes(&location.module),
        location.method
    );
    paragraph(output, 2, &place);
    paragraph(
        output,
        2,
        &shown(&remote_debugging(&interpreter.remote_debugging)),
    );
    if interpreter.misspelt == Some(true) {
        let text = format!(
            "It was started with -X {MISSPELT_OPTION}, which CPython's documentation shows and \
             CPython ignores: that does not switch remote debugging off. What does is -X \
             {OPT_OUT_OPTION}, with hyphens."
        );
        for line in wrapped(&text, width(output).saturating_sub(2)) {
            let line = output.styled(Style::Doubtful, &line);
            output.line(&format!("  {line}"));
        }
    }
    if !interpreter.pending.is_empty() {
        let threads: Vec<String> = interpreter.pending.iter().map(u64::to_string).collect();
        let text = format!(
            "a request that has not begun waits for: {}",
            threads.join(", ")
        );
        paragraph(output, 2, &text);
    }
}

fn remote_debugging(state: &RemoteDebugging) -> String {
    match state {
        RemoteDebugging::On => "remote debugging is on: it can be made to run a script".to_owned(),
        RemoteDebugging::Absent => {
            format!(
                "this version has no remote debugging of its own, and no switch for it: Invivo gets \
                 in by the ways below, and obeys {OPT_OUT_VARIABLE} and -X {OPT_OUT_OPTION}"
            )
        }
        RemoteDebugging::Unknown(why) => format!("remote debugging: not known, since {why}"),
        RemoteDebugging::Off(switches) => {
            let reasons: Vec<String> = switches.iter().map(|one| switch(*one)).collect();
            format!("remote debugging is off: {}", reasons.join("; "))
        }
    }
}

fn switch(switch: Switch) -> String {
    match switch {
        Switch::Environment => {
            format!("{OPT_OUT_VARIABLE} is in its environment (any value counts)")
        }
        Switch::EnvironmentIgnored => format!(
            "{OPT_OUT_VARIABLE} is in its environment; the interpreter ignores that (-E or -I), \
             Invivo obeys it"
        ),
        Switch::Option => format!("it was started with -X {OPT_OUT_OPTION}"),
        Switch::Build => {
            "no switch shows; it was built without, or what embeds it switched it off".to_owned()
        }
    }
}

fn diagnosis_json(diagnosis: &Diagnosis) -> Value {
    let command: Vec<String> = diagnosis
        .command
        .iter()
        .map(|word| surrogate::decode(word.as_encoded_bytes()))
        .collect();
    let interpreter = diagnosis.interpreter.as_ref();
    json!({
        "schema": 1,
        "pid": diagnosis.pid,
        "uid": diagnosis.uid,
        "user": diagnosis.user,
        "command": command,
        "stopped": halt_json(diagnosis.halt),
        "access": diagnosis.access.name(),
        "checks": diagnosis.checks.iter().map(check_json).collect::<Vec<_>>(),
        "interpreter": interpreter.ok().map(interpreter_json),
        "runtimes": diagnosis.runtimes.as_ref().map(|it| runtimes_json(&it.names())),
        "ways": diagnosis.ways.iter().map(way_json).collect::<Vec<_>>(),
        "execution": match &diagnosis.execution {
            Ok(prospect) => json!({
                "works": true,
                "thread": prospect.tid,
                "reason": prospect.reason,
                "method": prospect.method.name(),
                "running": prospect.doing.as_ref().map(|doing| doing.running),
                "doing": prospect.doing.as_ref().map(ToString::to_string),
                "directory": prospect.directory.to_string_lossy(),
                "doubts": prospect.doubts,
                "footprint": footprint_json(&prospect.footprint),
            }),
            Err(error) => json!({ "works": false, "error": error_json(error) }),
        },
    })
}

/// What a script makes its target do, as `make the target …` goes on.
pub(crate) fn footprint_lines(footprint: &Footprint) -> [String; 3] {
    [
        format!(
            "make system calls of these: {}",
            footprint.system_calls.join(" ")
        ),
        format!("use these files: {}", footprint.files.join(" ")),
        format!(
            "raise these audit events: {}",
            footprint.audit_events.join(" ")
        ),
    ]
}

pub(crate) fn footprint_json(footprint: &Footprint) -> Value {
    json!({
        "system_calls": footprint.system_calls,
        "files": footprint.files,
        "audit_events": footprint.audit_events,
    })
}

/// A way into a thread.
pub(crate) fn way_json(way: &Way) -> Value {
    json!({
        "way": way.name,
        "verdict": way.verdict.name(),
        "fact": way.fact,
        "remedy": way.remedy,
    })
}

fn interpreter_json(interpreter: &InterpreterDiagnosis) -> Value {
    let location = &interpreter.location;
    let (state, why) = match &interpreter.remote_debugging {
        RemoteDebugging::On => ("on", None),
        RemoteDebugging::Off(_) => ("off", None),
        RemoteDebugging::Absent => ("absent", None),
        RemoteDebugging::Unknown(why) => ("unknown", Some(why)),
    };
    let switches: Vec<&str> = match &interpreter.remote_debugging {
        RemoteDebugging::Off(switches) => switches.iter().map(|one| switch_name(*one)).collect(),
        _ => Vec::new(),
    };
    json!({
        "version": location.version.map(|version| version.to_string()),
        "debug": location.build.debug,
        "free_threaded": location.build.free_threaded,
        "where": surrogate::decode(&location.module),
        "runtime": location.address.to_string(),
        "found_by": location.method.to_string(),
        "remote_debugging": state,
        "why": why,
        "switches": switches,
        "misspelt_option": interpreter.misspelt,
        "pending": interpreter.pending,
    })
}

fn switch_name(switch: Switch) -> &'static str {
    match switch {
        Switch::Environment => "environment",
        Switch::EnvironmentIgnored => "environment_ignored",
        Switch::Option => "option",
        Switch::Build => "build",
    }
}

/// The CPythons of a process.
pub(crate) fn runtimes_json(names: &[RuntimeName]) -> Vec<Value> {
    let one = |name: &RuntimeName| {
        json!({
            "number": name.number,
            "version": name.version.map(|version| version.to_string()),
            "debug": name.build.debug,
            "free_threaded": name.build.free_threaded,
            "where": surrogate::decode(&name.module),
            "runtime": name.address.to_string(),
        })
    };
    names.iter().map(one).collect()
}

/// One rule's answer.
pub(crate) fn check_json(check: &Check) -> Value {
    json!({
        "rule": check.rule.name(),
        "verdict": check.verdict.name(),
        "fact": check.fact,
        "remedy": check.remedy,
    })
}

/// An error in JSON, as every command has it.
pub(crate) fn error_json(error: &Error) -> Value {
    json!({
        "kind": format!("{:?}", error.kind),
        "what": error.what,
        "why": error.why,
        "try": error.remedy,
    })
}

fn machine(json: bool, output: &mut Output) -> Result<Status> {
    let machine = examine_machine()?;
    let checks = judge_machine(&machine);
    let processes = python_processes()?;
    let reached = processes
        .iter()
        .filter(|one| one.access == Verdict::Allowed)
        .count();
    let capabilities = machine.caller.effective.names();
    if json {
        let report = json!({
            "schema": 1,
            "uid": machine.caller.user.real,
            "user": machine.caller.user_name,
            "capabilities": capabilities,
            "checks": checks.iter().map(check_json).collect::<Vec<_>>(),
            "processes": { "python": processes.len(), "allowed": reached },
        });
        output.document(&report);
        return Ok(Status::Done);
    }
    heading(output, "What holds here, whatever the process");
    for check in &checks {
        show_check(check, output);
    }
    heading(output, "\nPython processes");
    let text = format!(
        "{} can be seen, {reached} of them attached to. For one of them: invivo doctor PID",
        processes.len()
    );
    paragraph(output, 2, &text);
    Ok(Status::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_long_words_stay_whole() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(
            wrapped("a /very/long/path b", 6),
            ["a", "/very/long/path", "b"]
        );
        assert_eq!(wrapped("", 10), [""]);
    }
}
