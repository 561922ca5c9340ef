//! What `record` and `top` have in common: what is sampled, and how.

use std::ffi::OsString;

use clap::{ArgGroup, Args, ValueEnum};
use invivo::profile::{Jitter, Mode, Options, Plan, SampleFrom, Turn, plan};
use invivo::{Error, Halt, Result, Target};

/// How to sample.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Sampling {
    /// How often to look, in ticks a second: 0.1 to 100000; `10k` is 10000. Beyond 33k, where going
    /// to sleep takes longer than a tick, several come at once and then a rest.
    #[arg(short = 'r', long = "rate", value_name = "HZ", default_value = "1000", value_parser = interval)]
    interval: u64,

    /// Which threads count.
    #[arg(long, value_enum, default_value_t)]
    mode: ModeChoice,

    /// Leave out threads that sleep or wait.
    #[arg(long)]
    no_idle: bool,

    /// Tell of each sample whether its thread was on a processor or waited for one. It takes two
    /// more system calls for each thread and tick.
    #[arg(long)]
    activity: bool,

    /// Show the garbage collector on the stack of the thread that runs it.
    #[arg(long)]
    gc: bool,

    #[command(flatten)]
    stacks: Stacks,

    /// From which processor threads are read that run. On its own processor a thread can't run
    /// while it is read, and is interrupted at moments that don't depend on what it does.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t)]
    sample_from: FromChoice,

    /// How moments to look are spread, so that they don't beat with a period of the process.
    #[arg(long, value_enum, default_value_t)]
    jitter: JitterChoice,
}

/// What stacks show beside Python functions.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sampling")]
pub(crate) struct Stacks {
    /// Mark with <native> where C code called Python code, as `sorted` calls its key (CPython 3.11
    /// and later). Stacks of the C code itself are to come.
    #[arg(long)]
    native: bool,

    /// Show a thread that runs an asyncio task in that task, <task NAME>, below those that wait for
    /// it, instead of in the event loop. Of several that wait for the same one, one is shown and
    /// the others counted. Coroutines of no task that could be found stand below <task not known>.
    /// It takes several system calls and about a millisecond more for each tick, and longer where
    /// there are hundreds of tasks.
    #[arg(long = "async")]
    tasks: bool,
}

impl Stacks {
    pub(crate) fn options(&self) -> Options {
        Options {
            native: self.native,
            tasks: self.tasks,
            ..Options::default()
        }
    }
}

/// `--mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeChoice {
    /// All, whatever they do.
    #[default]
    Wall,
    /// Those on a processor, as the kernel accounts it, those without Python too.
    Cpu,
    /// Those that hold the GIL.
    Gil,
    /// Those that handle an exception.
    Exception,
}

/// `--jitter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum JitterChoice {
    /// One in each interval, at any moment in it.
    #[default]
    Uniform,
    /// At exponential distances: right on average whatever the process does.
    Exponential,
    /// One interval apart.
    None,
}

/// `--sample-from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FromChoice {
    /// From their own processor where Invivo may run there, else from another one. The affinity
    /// that Invivo was started with (taskset) is kept to; and where sampling takes more than a
    /// tenth of that processor, as at high rates, it goes on from elsewhere.
    #[default]
    Auto,
    /// The same, whatever Invivo's own affinity is and whatever it takes.
    OwnProcessor,
    /// From another processor: costs the process less, and its shares are less right.
    Elsewhere,
}

impl From<ModeChoice> for Mode {
    fn from(choice: ModeChoice) -> Self {
        match choice {
            ModeChoice::Wall => Self::Wall,
            ModeChoice::Cpu => Self::Cpu,
            ModeChoice::Gil => Self::Gil,
            ModeChoice::Exception => Self::Exception,
        }
    }
}

impl Sampling {
    /// The plan they make.
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            interval: self.interval,
            jitter: match self.jitter {
                JitterChoice::Uniform => Jitter::Uniform,
                JitterChoice::Exponential => Jitter::Exponential,
                JitterChoice::None => Jitter::None,
            },
            from: match self.sample_from {
                FromChoice::Auto => SampleFrom::Auto,
                FromChoice::OwnProcessor => SampleFrom::OwnProcessor,
                FromChoice::Elsewhere => SampleFrom::Elsewhere,
            },
            ..plan(Options {
                mode: self.mode.into(),
                idle: !self.no_idle,
                activity: self.activity,
                collector: self.gc,
                ..self.stacks.options()
            })
        }
    }
}

/// A rate as the nanoseconds from tick to tick.
pub(crate) fn interval(text: &str) -> Result<u64, String> {
    let text = text.to_ascii_lowercase();
    let text = text.strip_suffix("hz").unwrap_or(&text).trim_end();
    let (number, unit) = match text.strip_suffix('k') {
        Some(number) => (number, 1000.0),
        None => (text, 1.0),
    };
    let number: f64 = number
        .trim_end()
        .parse()
        .map_err(|_| "not a number of ticks a second".to_owned())?;
    let rate = number * unit;
    if !(0.1..=100_000.0).contains(&rate) {
        return Err("not between 0.1 and 100000 ticks a second".to_owned());
    }
    Ok((1e9 / rate).round() as u64)
}

/// What is sampled: a process, or a command that is started for it.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = ArgGroup::new("subject").args(["pid", "command"]).required(true))]
pub(crate) struct Subject {
    /// The process.
    #[arg(value_name = "PID")]
    pub(crate) pid: Option<u32>,

    /// Which CPython, where the process has several: a number from `invivo doctor PID`. It also
    /// holds for the programs that it becomes and the processes that it starts, where these have
    /// several.
    #[arg(long, value_name = "NUMBER", conflicts_with = "command", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runtime: Option<u32>,

    /// A command to start and to sample from its first line to its end.
    #[arg(last = true, value_name = "CMD", num_args = 1..)]
    command: Vec<OsString>,
}

/// What a [`Subject`] says.
pub(crate) enum Words<'a> {
    Process(u32),
    /// A program and its arguments.
    Command(&'a OsString, &'a [OsString]),
}

impl Subject {
    /// That only the first of several CPythons in the process is sampled, where none was named. What
    /// can't be looked into is told by the sampling itself.
    pub(crate) fn runtimes_text(&self) -> Option<String> {
        let pid = self.pid.filter(|_| self.runtime.is_none())?;
        invivo::attach(pid).ok()?.runtimes.unnamed(pid)
    }

    pub(crate) fn words(&self) -> Result<Words<'_>> {
        match (self.pid, self.command.split_first()) {
            (Some(pid), _) => Ok(Words::Process(pid)),
            (None, Some((program, arguments))) => Ok(Words::Command(program, arguments)),
            (None, None) => Err(Error::internal("neither a process nor a command was given")),
        }
    }
}

/// What has become of a process that was sampled, in a line. Escaped where it is printed.
pub(crate) fn turn_text(turn: &Turn) -> String {
    match turn {
        Turn::Exec { pid, command } => {
            format!(
                "process {pid} runs another program now: {}",
                command.join(" ")
            )
        }
        Turn::End { pid } => format!("process {pid} has ended"),
    }
}

/// That a process is no Python any more.
pub(crate) fn becoming_text(pid: u32, command: &[String]) -> String {
    let command = command.join(" ");
    format!("no Python was found in the program that process {pid} runs now: {command}")
}

/// The number of the process that a turn is about.
pub(crate) fn turned(turn: &Turn) -> u32 {
    match turn {
        Turn::Exec { pid, .. } | Turn::End { pid } => *pid,
    }
}

/// Notices when a process stands still, and when it goes on.
#[derive(Debug, Default)]
pub(crate) struct HaltWatch(Option<Halt>);

impl HaltWatch {
    /// What stops it now, if it is a signal: a tracer may hold it for a moment only.
    pub(crate) fn halt(&self) -> Option<Halt> {
        self.0
    }

    /// What there is to say since this was last asked.
    pub(crate) fn news(&mut self, target: &Target) -> Option<String> {
        let is_signal = |halt: &Halt| matches!(halt, Halt::Signal(_));
        let now = target.halt().filter(is_signal);
        let before = std::mem::replace(&mut self.0, now);
        let pid = target.pid();
        match (before, now) {
            (before, Some(halt)) if before != now => {
                Some(format!("process {pid} is {halt}: {}", halt.remedy(pid)))
            }
            (Some(_), None) if target.ensure_alive().is_ok() => {
                Some(format!("process {pid} goes on"))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, nanoseconds) in [
            ("1000", Ok(1_000_000)),
            ("10k", Ok(100_000)),
            ("2.5 kHz", Ok(400_000)),
            ("100hz", Ok(10_000_000)),
            ("0.1", Ok(10_000_000_000)),
            ("100k", Ok(10_000)),
        ] {
            assert_eq!(interval(text), nanoseconds, "{text}");
        }
        for text in ["", "k", "0", "-5", "nan", "inf", "100001", "10kk"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
