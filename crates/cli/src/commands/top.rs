use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use invivo::profile::live::{self, Board, Feed, Sampling};
use invivo::profile::{self, Launched, Options, Plan, Session};
use invivo::{Error, ErrorKind, Result, Target};
use signal_hook::consts::SIGTERM;

use super::record::{UNACCOUNTED, summary};
use super::sampling::{
    HaltWatch, ModeChoice, Stacks, Subject, Words, becoming_text, interval, turn_text, turned,
};
use crate::arguments::seconds;
use crate::exit::Status;
use crate::show::{Output, shown, shown_lines};
use crate::top::{Ending, Show, Signals, State, Tail, WINDOW, tables};

/// Watch live what a process, or a command, spends its time in.
///
/// Functions, lines, threads and the tree of calls, by samples of the last five seconds, with the
/// seconds since the start. The process is neither stopped nor changed. Press ? for the keys.
#[derive(Debug, Args)]
#[command(
    override_usage = "invivo top [OPTIONS] PID\n       invivo top [OPTIONS] -- CMD...",
    after_help = "\
Shares are of the time of one thread: two threads that run all the time come to 200 %. Time on a
processor is what the kernel accounted; a thread that others keep from one is in RUNQ%.

A command that it starts has nothing to read, and what it prints is not shown: the last lines come
when the view is left, which ends the command.

Where there is no terminal, or with --once, tables are printed after --duration (2 s) instead.

Examples:
  invivo top 4711
  invivo top 4711 --mode gil
  invivo top --subprocesses 4711          also the workers of a server
  invivo top -- python3 train.py --epochs 3
  invivo top 4711 --once -d 10 > top.txt"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: Subject,

    /// How often to look, in ticks a second: 0.1 to 100000; `10k` is 10000.
    #[arg(short = 'r', long = "rate", value_name = "HZ", default_value = "200", value_parser = interval)]
    interval: u64,

    /// Leave the view after this time.
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,

    /// Which threads count at first: the key m changes it.
    #[arg(long, value_enum, default_value_t = ModeChoice::Cpu)]
    mode: ModeChoice,

    /// Sample the processes it starts too, each from its birth on. It need not be a Python itself
    /// then.
    #[arg(long)]
    subprocesses: bool,

    #[command(flatten)]
    stacks: Stacks,

    /// Print tables once instead of a live view.
    #[arg(long)]
    once: bool,
}

/// For how long tables are about where nothing is said.
const ONCE: Duration = Duration::from_secs(2);

/// How long a command may take to end when it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(10);

/// A command that was started, and the end of what it prints.
struct Command {
    launched: Launched,
    tail: Option<Tail>,
}

pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<ExitCode> {
    let dumb = env::var_os("TERM").is_some_and(|value| value == "dumb");
    let once = arguments.once || dumb || !output.is_terminal() || !io::stdin().is_terminal();
    // Before anything runs that they would leave behind.
    let signals = Signals::catch(!once)?;
    if let Some(text) = arguments.subject.runtimes_text() {
        output.note(&text);
    }
    let (feed, slices) = live::feed();
    let (session, command) = begin(arguments, feed, once)?;
    let pid = match &command {
        Some(command) => Some(command.launched.pid()),
        None => arguments.subject.pid,
    };
    let duration = arguments.duration.or(once.then_some(ONCE));
    let mut show = Show {
        slices,
        sampling: Some(Sampling::start(session)?),
        board: Board::new(Duration::from_secs(WINDOW)),
        state: State::new(arguments.mode.into()),
        subject: subject(arguments)?,
        color: output.has_color(),
        until: duration.map(|duration| Instant::now() + duration),
        target: pid.and_then(|pid| Target::open(pid).ok()),
        halt: HaltWatch::default(),
    };
    let ending = if once {
        show.wait(&signals)
    } else {
        show.run(&signals)
    };
    let nothing = show.board.overview().samples == 0;
    let looked = show.board.about().ticks > 0;
    if once && ending.is_ok() && !nothing {
        let tables = tables(&show.board, &mut show.state, output);
        output.text(&tables);
    }
    tell(&show, pid.unwrap_or_default(), output);
    let board = &show.board;
    let (threads, processes) = (board.threads().len(), board.processes().count());
    let samples = board.overview().samples;
    let lines = summary(board.about(), samples, threads as u64, processes as u64);
    lines.iter().for_each(|line| output.note(line));
    if !profile::is_processor_time_accounted() {
        output.note(UNACCOUNTED);
    }
    // What went wrong has ended it by itself, and is told by `ending`.
    let ended = show.stop();
    let code = command.map(|command| end(command, output)).transpose()?;
    Ok(match (ending?, code) {
        (Ending::Left, _) if once && nothing => {
            return Err(nothing_sampled(arguments.subprocesses, looked));
        }
        (_, Some(code)) if ended => ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)),
        (Ending::Signalled, _) => Status::Interrupted.into(),
        (Ending::Left, _) => Status::Done.into(),
    })
}

/// Says what has happened to the process.
fn tell(show: &Show, pid: u32, output: &mut Output) {
    let turns = show.board.turns().filter(|turn| turned(turn) == pid);
    turns.for_each(|turn| output.note(&turn_text(turn)));
    if let Some(command) = show.board.becoming(pid) {
        output.note(&becoming_text(pid, command));
    }
    if let Some(halt) = show.halt.halt() {
        output.note(&format!("process {pid} is {halt}: {}", halt.remedy(pid)));
    }
}

fn begin(
    arguments: &Arguments,
    feed: Feed,
    once: bool,
) -> Result<(Session<Feed>, Option<Command>)> {
    let plan = Plan {
        interval: arguments.interval,
        ..profile::plan(Options {
            activity: true,
            natives: true,
            collector: true,
            ..arguments.stacks.options()
        })
    };
    let sink = |_: &_| Ok(feed);
    let children = arguments.subprocesses;
    match arguments.subject.words()? {
        Words::Process(pid) => {
            let number = arguments.subject.runtime;
            let session = profile::attach(pid, number, children, plan, sink)?;
            Ok((session, None))
        }
        Words::Command(program, words) if once => {
            let (session, launched) = profile::launch(program, words, children, plan, sink)?;
            let tail = None;
            Ok((session, Some(Command { launched, tail })))
        }
        Words::Command(program, words) => {
            let (session, launched, printed) =
                profile::launch_apart(program, words, children, plan, sink)?;
            let tail = Some(Tail::of(printed));
            Ok((session, Some(Command { launched, tail })))
        }
    }
}

/// What to call it before more is known.
fn subject(arguments: &Arguments) -> Result<String> {
    Ok(match arguments.subject.words()? {
        Words::Process(pid) => pid.to_string(),
        Words::Command(program, words) => {
            let words = std::iter::once(program).chain(words);
            let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
            shown(&words.join(" ")).into_owned()
        }
    })
}

/// `looked`: whether a look at all threads came to its end.
fn nothing_sampled(children: bool, looked: bool) -> Error {
    let why = if looked {
        "no thread with Python code was there in this time"
    } else {
        "the first look at its threads was not over when the time was up"
    };
    let or_children = if children || !looked {
        ""
    } else {
        ", or also what it starts: --subprocesses"
    };
    Error::new(
        ErrorKind::NotPython,
        "nothing was sampled",
        why,
        format!("sample for longer: --duration SECONDS{or_children}"),
    )
}

/// Ends a command that has not ended by itself; gives its exit code, and shows the last that it
/// printed.
fn end(mut command: Command, output: &mut Output) -> Result<i32> {
    let until = Instant::now() + GRACE;
    let mut code = command.launched.exit_code()?;
    if code.is_none() {
        // It may end at this very moment.
        let _ = command.launched.signal(SIGTERM);
    }
    while code.is_none() && Instant::now() < until {
        thread::sleep(LOOK);
        code = command.launched.exit_code()?;
    }
    if let Some(tail) = command.tail {
        let bytes = tail.bytes();
        if !bytes.is_empty() {
            output.note("the last that the command printed:");
            output.diagnostic(&shown_lines(&bytes));
        }
    }
    if code.is_none() {
        let pid = command.launched.pid();
        output.note(&format!(
            "process {pid} was asked to end and has not ended yet"
        ));
    }
    Ok(code.unwrap_or(0))
}
