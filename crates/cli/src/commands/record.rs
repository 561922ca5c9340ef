mod interrupts;
mod report;

use std::collections::BTreeSet;
use std::fs::File;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use invivo::profile::{
    self, About, Budget, Launched, Part, Recorded, Recorder, Session, Source, Step, Turn, Wanted,
};
use invivo::{Error, ErrorKind, Identity, Result, Sources, Target};

use super::doctor::error_json;
use super::profiles::{Draft, Form, Kind, Place, Written};
use super::sampling::{HaltWatch, Sampling, Subject, Words, becoming_text, turn_text};
use crate::arguments::seconds;
use crate::exit::Status;
use crate::show::Output;
use interrupts::{Interrupts, Signal};
use report::{Ending, Report};

pub(crate) use report::{UNACCOUNTED, summary};

/// Sample a live process, or a command from its first line on, and write a profile to a file.
///
/// The process is neither changed nor, without --block, stopped. The file is an interactive flame graph, unless the
/// ending of its name or --format says something else.
#[derive(Debug, Args)]
#[command(
    override_usage = "invivo record [OPTIONS] PID\n       invivo record [OPTIONS] -- CMD...",
    after_help = "\
Formats, by name and ending:
  flamegraph  .html             interactive flame graph: one page that needs no network
  svg         .svg              flame graph as an image
  heatmap     .heatmap.html     source files with the heat of each line
  collapsed   .collapsed        a line a stack, for flame graph tools
  speedscope  .speedscope.json  for https://www.speedscope.app
  pprof       .pb.gz            for go tool pprof
  firefox     .firefox.json     for https://profiler.firefox.com
  chrome      .trace.json       for https://ui.perfetto.dev and chrome://tracing
  pstats      .pstats           for Python's pstats
  jsonl       .jsonl            a line of JSON for each thing and sample
  table       .txt              functions by self and total; shown unless --output is given
  recording   .invivo           all that was seen, from which invivo convert makes the others

It ends with the process, after --duration, or by Ctrl-C, and then writes the file. Until then
what was seen lies in a recording beside it (FILE.XXXXXX.invivo), which is still there if Invivo
was killed: invivo convert makes a profile of it.

A file that --output names is replaced when the new one is whole, and keeps its owner and mode; what
could not be written to is not replaced, nor is a link, nor what another user has put into a
directory like /tmp. A FIFO is written to, if somebody reads it within 5 seconds.

A command has Invivo's input and output, and gets what the terminal sends (Ctrl-C) as well as
Invivo does; SIGTERM and SIGHUP are passed on. When the recording ends before the command, Invivo
waits for it, and in the end exits with the command's own code, 128 + N where signal N ended it.

Examples:
  invivo record 4711                       until Ctrl-C; writes invivo-4711.html
  invivo record 4711 -d 10 -o web.svg
  invivo record 4711 --mode gil -r 5k -d 10 -f table
  invivo record --subprocesses -o tests.speedscope.json -- pytest -x
  invivo record -o job.invivo -- python3 job.py && invivo convert job.invivo -o job.pb.gz"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,

    #[command(flatten)]
    form: Form,

    /// For how long at most.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds, help_heading = "Sampling")]
    duration: Option<Duration>,

    /// Sample the processes it starts too, each from its birth on: all in one file, with the
    /// process as the root of its stacks, or each in a file of its own. For root, a heat map then
    /// shows lines only of files that everybody may read: a child may run as another user.
    #[arg(
        long,
        value_enum,
        value_name = "HOW",
        help_heading = "Sampling",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "merged"
    )]
    subprocesses: Option<Subprocesses>,

    #[command(flatten)]
    sampling: Sampling,

    /// Stop the process for each look: no stack is torn, and it runs slower. No thread is on a
    /// processor then.
    #[arg(long, help_heading = "Sampling")]
    block: bool,

    /// Tell columns, so that several calls in a line are told apart (recording, jsonl, firefox).
    #[arg(long, help_heading = "Sampling")]
    columns: bool,

    /// Tell the opcode that each frame stands at (recording, jsonl).
    #[arg(long, help_heading = "Sampling")]
    opcodes: bool,

    /// Print a JSON object about it at the end (docs/json-record.md).
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// `--subprocesses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Subprocesses {
    /// All in one file.
    Merged,
    /// A file for each process, with its number in the name.
    Separate,
}

/// How often it is shown how it goes, and the command's end looked for.
const SHOWN: Duration = Duration::from_millis(200);
const LOOK: Duration = Duration::from_millis(20);

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<ExitCode> {
    let result = perform(arguments, output);
    if let (Err(error), true) = (&result, arguments.json) {
        let report = serde_json::json!({
            "schema": 1,
            "pid": arguments.subject.pid,
            "error": error_json(error),
        });
        output.document(&report);
    }
    result
}

fn perform(arguments: &Arguments, output: &mut Output) -> Result<ExitCode> {
    let name = match arguments.subject.pid {
        Some(pid) => format!("invivo-{pid}"),
        None => "invivo".to_owned(),
    };
    let (kind, place) = arguments.form.decide(&name)?;
    ensure_sense(arguments, kind, &place)?;
    let interrupts = Interrupts::catch()?;
    let mut started = start(arguments, &place)?;
    if let Some(text) = arguments.subject.runtimes_text() {
        output.note(&text);
    }
    output.detail(&format!(
        "what is seen goes to {}",
        started.draft.path().display()
    ));
    let target = Target::open(started.pid).ok();
    let mut sources = sources(target.as_ref(), arguments.subprocesses.is_some());
    let mut news = News::new(target.as_ref());
    let ending = started.sample(arguments, &interrupts, sources.as_mut(), &mut news, output);
    output.progress("");
    news.tell(&started, output);
    news.tell_end(&started, &ending, arguments, output);

    let halt = news.halt.halt();
    let (recorder, about) = started.session.end();
    let mut report = Report::new(arguments, started.pid, &recorder, about, ending);
    report.halt = halt;
    let draft = started.draft;
    let finished = recorder.finish(&report.about);
    interrupts.may_end_us(true);
    let written = match (finished, report.nothing()) {
        (Err(error), _) => Err(left(draft, error)),
        (Ok(()), Some(error)) => Err(error),
        (Ok(()), None) => write(arguments, kind, &place, draft, sources, output),
    };
    interrupts.may_end_us(false);
    match written {
        Ok(written) => report.written = written,
        Err(error) => report.fails(error),
    }
    report.show(kind, output);
    if let Some(command) = started.command {
        report.code = Some(wait(command, &interrupts, output)?);
    }
    if arguments.json {
        output.document(&report.json(kind));
    }
    Ok(report.exit_code())
}

/// What makes no sense together, before anything is begun.
fn ensure_sense(arguments: &Arguments, kind: Kind, place: &Place) -> Result<()> {
    let separate = arguments.subprocesses == Some(Subprocesses::Separate);
    let usage = |what, why, remedy| Err(Error::new(ErrorKind::Usage, what, why, remedy));
    if arguments.block && arguments.sampling.plan().options.asks_for_activity() {
        return usage(
            "--block does not go with what asks which threads run",
            "a thread that stands still is on no processor",
            "leave out --block, or --mode cpu, --no-idle and --activity",
        );
    }
    match place {
        Place::Stdout if arguments.json => usage(
            "the profile and --json can't both go to stdout",
            "each is to be read by a program of its own",
            "name a file: --output FILE",
        ),
        Place::Stdout if separate => usage(
            "several files can't go to stdout",
            "--subprocesses=separate writes one for each process",
            "name a file, which each process's number is added to: --output FILE",
        ),
        _ if separate && kind == Kind::Recording => usage(
            "a recording holds all processes",
            "--subprocesses=separate writes one file for each",
            "record all in one, and take them out of it: invivo convert FILE --process PID",
        ),
        _ => Ok(()),
    }
}

/// A recording that has begun.
struct Started {
    session: Session<Recorder>,
    draft: Draft,
    command: Option<Launched>,
    pid: u32,
}

fn start(arguments: &Arguments, place: &Place) -> Result<Started> {
    let children = arguments.subprocesses.is_some();
    let mut plan = arguments.sampling.plan();
    plan.options.columns = arguments.columns;
    plan.options.opcodes = arguments.opcodes;
    let mut draft = None;
    let sink = |about: &About| {
        let new = Draft::new(place)?;
        let recorder = Recorder::new(new.open()?, about)?;
        draft = Some(new);
        Ok(recorder)
    };
    let (mut session, command, pid) = match arguments.subject.words()? {
        Words::Process(pid) => {
            let number = arguments.subject.runtime;
            let session = profile::attach(pid, number, children, plan, sink)?;
            (session, None, pid)
        }
        Words::Command(command, words) => {
            let (session, launched) = profile::launch(command, words, children, plan, sink)?;
            let pid = launched.pid();
            (session, Some(launched), pid)
        }
    };
    if arguments.block {
        session.block();
    }
    Ok(Started {
        session,
        draft: draft.ok_or_else(|| Error::internal("a session began without its sink"))?,
        command,
        pid,
    })
}

impl Started {
    /// Samples until there is a reason to end.
    fn sample(
        &mut self,
        arguments: &Arguments,
        interrupts: &Interrupts,
        mut sources: Option<&mut Sources<'_>>,
        news: &mut News<'_>,
        output: &mut Output,
    ) -> Ending {
        let begun = Instant::now();
        let end = arguments.duration.map(|duration| begun + duration);
        let (mut shown, mut looked) = (begun, begun);
        loop {
            match self.session.step() {
                Ok(Step::Ended) => return Ending::Target,
                Ok(Step::Waited | Step::Ticked) => {}
                Err(error) if is_end(&error) => return Ending::Target,
                Err(error) => return Ending::Failed(error),
            }
            if let Some(signal) = interrupts.take() {
                if let Some(command) = &self.command {
                    signal.pass_on(command);
                }
                return Ending::Signal;
            }
            let now = Instant::now();
            if end.is_some_and(|end| now >= end) {
                return Ending::Duration;
            }
            if let Some(command) = &mut self.command
                && now.duration_since(looked) >= LOOK
            {
                looked = now;
                // What descends from it may live on.
                if !matches!(command.exit_code(), Ok(None)) {
                    return Ending::Target;
                }
            }
            if now.duration_since(shown) < SHOWN {
                continue;
            }
            shown = now;
            if let Some(sources) = &mut sources {
                sources.refresh();
            }
            news.tell(self, output);
            // A command has the terminal for itself.
            if self.command.is_none() {
                output.progress(&report::progress(&self.session, end.is_none()));
            }
        }
    }
}

/// What happens to the process that was named or started, told when it happens.
struct News<'t> {
    target: Option<&'t Target>,
    halt: HaltWatch,
    /// How many turns of processes have been looked at.
    turns: usize,
}

impl<'t> News<'t> {
    fn new(target: Option<&'t Target>) -> Self {
        Self {
            target,
            halt: HaltWatch::default(),
            turns: 0,
        }
    }

    fn tell(&mut self, started: &Started, output: &mut Output) {
        let turns = started.session.sink().turns();
        let new = turns.get(self.turns..).unwrap_or_default();
        self.turns = turns.len();
        // That it has ended is told at the end.
        let exec = |turn: &&Turn| matches!(turn, Turn::Exec { pid, .. } if *pid == started.pid);
        let mut lines: Vec<String> = new.iter().filter(exec).map(turn_text).collect();
        lines.extend(self.target.and_then(|target| self.halt.news(target)));
        if !lines.is_empty() {
            output.progress("");
        }
        lines.iter().for_each(|line| output.note(line));
    }

    /// What there is to say of the process when the recording has come to its end.
    fn tell_end(
        &self,
        started: &Started,
        ending: &Ending,
        arguments: &Arguments,
        output: &mut Output,
    ) {
        let pid = started.pid;
        if let Some(command) = started.session.sink().becoming(pid) {
            output.note(&becoming_text(pid, command));
        }
        // The end of a command is told by its exit code.
        if matches!(ending, Ending::Target) && started.command.is_none() {
            let others = if arguments.subprocesses.is_some() {
                ", and all that it started"
            } else {
                ""
            };
            let early = arguments.duration.map_or_else(String::new, |duration| {
                format!(" before the {} s were over", duration.as_secs_f64())
            });
            output.note(&format!("process {pid} has ended{others}{early}"));
        }
    }
}

/// Whether it only says that the process is there no more.
fn is_end(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::NoSuchProcess | ErrorKind::Gone)
}

/// The source files that a heat map shows. Those that a child names, which may run as another user,
/// are read with the rights that everybody has.
fn sources(target: Option<&Target>, children: bool) -> Option<Sources<'_>> {
    let sources = Sources::new(target?);
    if children {
        let everybody = Identity::of_everybody().ok()?;
        return Some(sources.named_by(everybody).held());
    }
    Some(sources.held())
}

/// Makes of the recording what was asked for.
fn write(
    arguments: &Arguments,
    kind: Kind,
    place: &Place,
    draft: Draft,
    sources: Option<Sources<'_>>,
    output: &mut Output,
) -> Result<Vec<Written>> {
    if kind == Kind::Recording {
        let written = draft.persist(place, output);
        return written
            .map(|written| vec![written])
            .map_err(|(error, draft)| left(draft, error));
    }
    let written = draft.open().and_then(|file| {
        let recorded = Recorded::open_within(file, &Budget::new(OWN_MEMORY))?;
        if arguments.subprocesses == Some(Subprocesses::Separate) {
            return write_separate(arguments, kind, place, &recorded, sources, output);
        }
        let written = arguments
            .form
            .write(kind, &recorded, sources, place, None, output);
        written.map(|written| vec![written])
    });
    written.map_err(|error| left(draft, error))
}

/// Memory for what is made of a recording of our own. Where that is not enough, the recording stays.
const OWN_MEMORY: usize = 1 << 30;

/// A file for each process.
fn write_separate(
    arguments: &Arguments,
    kind: Kind,
    place: &Place,
    recorded: &Recorded<File>,
    mut sources: Option<Sources<'_>>,
    output: &mut Output,
) -> Result<Vec<Written>> {
    let processes = recorded.tables().processes.iter();
    // One that has become another program is there more than once.
    let pids: BTreeSet<u32> = processes.map(|process| process.pid).collect();
    let one = |pid: u32| {
        let wanted = Wanted {
            process: Some(pid),
            ..Wanted::default()
        };
        let place = place.with_part(&pid.to_string(), kind.ending());
        let part = Part::new(recorded, &wanted)?;
        arguments
            .form
            .write(kind, &part, sources.take(), &place, None, output)
    };
    pids.into_iter().map(one).collect()
}

/// The error that kept a profile from being written, and where what was seen is now.
fn left(draft: Draft, error: Error) -> Error {
    Error {
        remedy: format!(
            "what was seen is in {0}: invivo convert {0} --output FILE",
            draft.leave().display()
        ),
        ..error
    }
}

/// Waits for the end of a command that outlives its recording.
fn wait(mut command: Launched, interrupts: &Interrupts, output: &mut Output) -> Result<i32> {
    let begun = Instant::now();
    let mut told = false;
    loop {
        if let Some(code) = command.exit_code()? {
            return Ok(code);
        }
        match interrupts.take() {
            Some(Signal::Interrupt) => {
                output.note(&format!("process {} is left running", command.pid()));
                return Ok(Status::Interrupted as i32);
            }
            Some(signal) => signal.pass_on(&command),
            None => {}
        }
        if !told && begun.elapsed() >= SHOWN {
            told = true;
            output.note(&format!(
                "waiting for process {} to end; Ctrl-C leaves it running",
                command.pid()
            ));
        }
        thread::sleep(LOOK);
    }
}
