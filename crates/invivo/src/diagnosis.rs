use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use invivo_cpython::{Limits, Location, Runtime};
use invivo_inject::{
    Footprint, Manner, Method, OPT_OUT_OPTION, OPT_OUT_VARIABLE, Permit, Plan, Selection, Way, ways,
};
use invivo_model::{Error, Interpreter, Result};
use invivo_process::access::{self, Check, Users, Verdict};
use invivo_process::{Activity, Halt, ProcessMemory, Target};

use crate::attach::{explained, find};
use crate::runtimes::Runtimes;

/// The spelling of it that CPython's documentation shows and CPython does not know.
pub const MISSPELT_OPTION: &str = "disable_remote_debug";

/// All that decides whether a process can be looked into and made to run something.
#[derive(Debug)]
pub struct Diagnosis {
    /// The process.
    pub pid: u32,
    /// Its real user's number; `None` where it could not be read.
    pub uid: Option<u32>,
    /// That user's name, where the system's user list has one.
    pub user: Option<String>,
    /// Its command and arguments, as it shows them; its name alone where it shows none.
    pub command: Vec<OsString>,
    /// What stopped it, where it stands still.
    pub halt: Option<Halt>,
    /// Every rule of the operating system, in the order in which they are applied.
    pub checks: Vec<Check>,
    /// What they come to.
    pub access: Verdict,
    /// The interpreter in it, or why none could be found.
    pub interpreter: Result<InterpreterDiagnosis>,
    /// All CPythons of the process, and which of them that is; `None` where none was found.
    pub runtimes: Option<Runtimes>,
    /// The ways into its main thread, and which are open now: one for when it runs, one for when
    /// it waits. Empty where that can't be told.
    pub ways: Vec<Way>,
    /// What would come of running something in its main thread, or the error that would be met.
    pub execution: Result<Prospect>,
}

/// What would happen if something were run.
#[derive(Clone, Debug)]
pub struct Prospect {
    /// The thread that would run it, as the caller's `ps -T` shows it.
    pub tid: u32,
    /// Why this thread.
    pub reason: &'static str,
    /// How it would be asked, as it stands now.
    pub method: Method,
    /// What it is doing now; `None` where that could not be read. A script begins when the thread
    /// next runs Python, so not while it sleeps.
    pub doing: Option<Activity>,
    /// Where the script would be placed, as the target sees it.
    pub directory: PathBuf,
    /// What the script would make the target do.
    pub footprint: Footprint,
    /// What may keep it from beginning all the same.
    pub doubts: Vec<String>,
}

/// What an interpreter offers.
#[derive(Debug)]
pub struct InterpreterDiagnosis {
    /// Where it is, how it was found, its version and build.
    pub location: Location,
    /// Whether remote debugging is on, and what switched it off.
    pub remote_debugging: RemoteDebugging,
    /// The process was started with [`MISSPELT_OPTION`], which does nothing. `None` where its
    /// options could not be read.
    pub misspelt: Option<bool>,
    /// The threads with a request that has not begun, by the numbers they have for themselves.
    pub pending: Vec<u64>,
}

/// Whether an interpreter takes requests to run something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemoteDebugging {
    /// It does.
    On,
    /// It does not, by these switches.
    Off(Vec<Switch>),
    /// Its version has no such protocol, and no switch for it.
    Absent,
    /// It could not be told, and why.
    Unknown(String),
}

/// What switches remote debugging off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// [`OPT_OUT_VARIABLE`] is in the environment that the process was started with; its value
    /// does not matter.
    Environment,
    /// The variable is there, but the interpreter was told to ignore its environment and has
    /// remote debugging on. Invivo obeys all the same.
    EnvironmentIgnored,
    /// [`OPT_OUT_OPTION`] was given with `-X`.
    Option,
    /// None of these: it was built without, or the program that embeds it, or a variable that has
    /// been removed from view, switched it off.
    Build,
}

/// Finds out all that decides about process `pid`, and, where it has several CPythons, about the one
/// with the number `runtime`; without, the first is looked into, and nothing can be run. Reads only.
///
/// # Errors
/// `NoSuchProcess`, or `Refused` where the process can't even be opened; `Usage` where it has no
/// CPython with this number.
pub fn diagnose(pid: u32, runtime: Option<u32>) -> Result<Diagnosis> {
    let target = Target::open(pid)?;
    let facts = access::examine(&target)?;
    let verdict = access::verdict(&facts);
    let mut runtimes = None;
    let (interpreter, ways, execution) = match find(&target) {
        Err(error) => {
            let error = explained(&target, error);
            (Err(error.clone()), Vec::new(), Err(error))
        }
        Ok(found) => {
            let found = runtimes.insert(Runtimes::choose(pid, found, runtime)?);
            let location = found.taken()?.clone();
            let runtime = Runtime::open(target.memory(), &location, Limits::default());
            let runtime = runtime.map_err(|error| explained(&target, error));
            let execution = found
                .ensure_named(pid)
                .and_then(|()| execution(&target, &runtime, &facts, verdict));
            let runtime = runtime.ok();
            let ways = runtime
                .as_ref()
                .and_then(|runtime| ways(&target, runtime, Selection::default()).ok());
            (
                Ok(examine(&target, location, runtime.as_ref())),
                ways.map(Vec::from).unwrap_or_default(),
                execution,
            )
        }
    };
    let status = target.status()?;
    let uid = status.uid.map(|[real, ..]| real);
    let mut command = target.command_line()?;
    if command.is_empty() {
        command.push(OsString::from(
            String::from_utf8_lossy(&status.name).into_owned(),
        ));
    }
    let halt = target.halt();
    target.ensure_alive()?;
    Ok(Diagnosis {
        halt,
        pid,
        uid,
        user: uid.and_then(|uid| Users::load().name(uid).map(str::to_owned)),
        command,
        checks: access::judge(&facts),
        access: verdict,
        interpreter,
        runtimes,
        ways,
        execution,
    })
}

/// The same questions in the same order as when something is really run.
fn execution(
    target: &Target,
    runtime: &Result<Runtime<ProcessMemory>>,
    facts: &access::Facts,
    verdict: Verdict,
) -> Result<Prospect> {
    let runtime = runtime.as_ref().map_err(Clone::clone)?;
    let plan = Plan::new(target, runtime, Selection::default(), Permit::default())?;
    plan.writes(target, runtime)?;
    let directory = plan.first_directory(target)?;
    if verdict != Verdict::Allowed {
        return Err(access::refusal(facts));
    }
    target.ensure_not_stopped()?;
    Ok(Prospect {
        doubts: plan.doubts(target, runtime)?,
        footprint: plan.footprint(runtime, Manner::default()),
        tid: plan.tid,
        reason: plan.reason,
        method: plan.method,
        doing: plan.doing,
        directory,
    })
}

fn examine(
    target: &Target,
    location: Location,
    runtime: Option<&Runtime<ProcessMemory>>,
) -> InterpreterDiagnosis {
    let interpreters = runtime.map(Runtime::interpreters);
    let list = match &interpreters {
        Some(Ok(found)) => found.list.as_slice(),
        _ => &[],
    };
    let main = list.iter().find(|interpreter| interpreter.id == 0);
    let options = options(target, runtime, main);
    let given = |name: &str| {
        options
            .as_ref()
            .map(|options| options.iter().any(|it| it == name))
    };
    let pending = list
        .iter()
        .flat_map(|interpreter| &interpreter.threads)
        .filter(|thread| {
            thread
                .debugger
                .as_ref()
                .is_some_and(|debugger| debugger.pending != 0)
        });
    InterpreterDiagnosis {
        remote_debugging: match (runtime, &interpreters) {
            (None, _) => without_layout(&location),
            (_, Some(Err(error))) => RemoteDebugging::Unknown(error.why.clone()),
            _ => remote_debugging(target, main, given(OPT_OUT_OPTION) == Some(true)),
        },
        misspelt: given(MISSPELT_OPTION),
        pending: pending.map(|thread| thread.native_id).collect(),
        location,
    }
}

fn without_layout(location: &Location) -> RemoteDebugging {
    match &location.layout {
        Err(error) => RemoteDebugging::Unknown(error.why.clone()),
        Ok(_) => RemoteDebugging::Unknown("its version could not be told".to_owned()),
    }
}

fn remote_debugging(target: &Target, main: Option<&Interpreter>, option: bool) -> RemoteDebugging {
    let Some(main) = main else {
        return RemoteDebugging::Unknown("its main interpreter could not be read".to_owned());
    };
    let variable = match target.environment_variable(OPT_OUT_VARIABLE) {
        Ok(value) => value.is_some(),
        Err(error) => return RemoteDebugging::Unknown(error.why),
    };
    let enabled = main.remote_debugging;
    let mut switches = Vec::new();
    if variable {
        switches.push(match enabled {
            Some(true) => Switch::EnvironmentIgnored,
            _ => Switch::Environment,
        });
    }
    if option && enabled != Some(true) {
        switches.push(Switch::Option);
    }
    match enabled {
        Some(false) if switches.is_empty() => RemoteDebugging::Off(vec![Switch::Build]),
        _ if !switches.is_empty() => RemoteDebugging::Off(switches),
        Some(_) => RemoteDebugging::On,
        None => RemoteDebugging::Absent,
    }
}

/// The names of the `-X` options: as the interpreter took them, or, where it can't be asked, as
/// they stand in the command line.
fn options(
    target: &Target,
    runtime: Option<&Runtime<ProcessMemory>>,
    main: Option<&Interpreter>,
) -> Option<Vec<String>> {
    if let (Some(runtime), Some(main)) = (runtime, main)
        && let Ok(options) = runtime.xoptions(main)
    {
        return Some(options.into_iter().map(|option| option.name).collect());
    }
    target
        .command_line()
        .ok()
        .map(|command| x_options(&command))
}

/// The names of the `-X` options in a command line, read as CPython reads it (`Python/getopt.c`):
/// letters may share a dash, an option's value may follow at once or as the next word, and `-c`,
/// `-m`, the first word that is no option, `-` and `--` end them.
fn x_options(command: &[OsString]) -> Vec<String> {
    /// The letters that take a value (`SHORT_OPTS`), but for those that end the options.
    const WITH_VALUE: &[char] = &['W', 'X'];
    let mut found = Vec::new();
    let mut words = command
        .iter()
        .skip(1)
        .map(OsString::as_os_str)
        .map(OsStr::to_string_lossy);
    while let Some(word) = words.next() {
        if word == "--check-hash-based-pycs" {
            words.next();
            continue;
        }
        let Some(letters) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else {
            break;
        };
        if letters == "-" {
            break;
        }
        if letters.starts_with('-') {
            continue;
        }
        for (place, letter) in letters.char_indices() {
            if matches!(letter, 'c' | 'm') {
                return found;
            }
            if !WITH_VALUE.contains(&letter) {
                continue;
            }
            let rest = letters.get(place + letter.len_utf8()..).unwrap_or_default();
            let value = if rest.is_empty() {
                words.next().map(|word| word.into_owned())
            } else {
                Some(rest.to_owned())
            };
            if let (Some(value), 'X') = (value, letter) {
                let name = value.split('=').next().unwrap_or_default();
                found.push(name.to_owned());
            }
            break;
        }
    }
    found
}

impl Diagnosis {
    /// What stands in the way of running something; `None` where nothing does.
    pub fn obstacle(&self) -> Option<&Error> {
        self.execution.as_ref().err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options_of(words: &[&str]) -> Vec<String> {
        x_options(&words.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_form_of_an_option_is_found() {
        assert_eq!(options_of(&["python", "-X", "dev"]), ["dev"]);
        assert_eq!(
            options_of(&["python", "-Xdev", "-X", "utf8=0", "x.py"]),
            ["dev", "utf8"]
        );
        assert_eq!(options_of(&["python", "-SuX", "a", "-IXb"]), ["a", "b"]);
        assert_eq!(
            options_of(&["python", "-W", "-Xno", "-Wignore", "-X", "yes"]),
            ["yes"]
        );
        assert_eq!(
            options_of(&[
                "python",
                "--check-hash-based-pycs",
                "always",
                "-Xa",
                "--help"
            ]),
            ["a"]
        );
    }

    #[test]
    fn what_belongs_to_the_program_is_not_taken_for_the_interpreters() {
        for words in [
            &["python", "x.py", "-X", "dev"][..],
            &["python", "-c", "pass", "-Xdev"],
            &["python", "-Sc", "pass", "-Xdev"],
            &["python", "-m", "mod", "-Xdev"],
            &["python", "-mmod", "-Xdev"],
            &["python", "-", "-Xdev"],
            &["python", "--", "-Xdev"],
            &["python", "-X"],
            &["python"],
            &[],
        ] {
            assert_eq!(options_of(words), Vec::<String>::new(), "{words:?}");
        }
    }
}
