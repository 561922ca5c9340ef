//! `cargo xtask fuzz commands`: the command itself, with files, words and processes made up by a
//! seed, under a limit of memory and a watchdog.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use synth::interpreters::{interpreters, workspace};

use super::asked::{Asked, Subjects};
use super::chance::Chance;
use super::inputs::Inputs;
use crate::run::{Doing, Outcome};
use crate::{pythons, release};

const USAGE: &str = "usage: cargo xtask fuzz commands [MINUTES] [--seed NUMBER] [--invivo PROGRAM]";

/// MiB of addresses that a command gets, and of memory that it may use of these.
const ADDRESSES: &str = "1024";
const MEBIBYTES: u64 = 256;
/// Seconds beyond those that a command is allowed in which a loaded machine lets it end.
const PATIENCE: f64 = 20.0;
/// How many commands are run beside the same process.
const RUNS_A_TARGET: u64 = 40;
/// With so many failures there is enough to do.
const ENOUGH: usize = 20;

/// Every exit code that is documented but 70, which is a defect, and 1, which is a script's.
const CODES: [i32; 9] = [0, 2, 3, 4, 5, 6, 7, 74, 130];

pub(super) fn run(arguments: &[&str]) -> Outcome {
    let mut minutes = 10.0;
    let mut seed = None;
    let mut invivo = None;
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        match (*word, rest.as_slice().first()) {
            ("--seed", Some(number)) => {
                seed = Some(number.parse().doing(|| format!("seed: {number}"))?);
                rest.next();
            }
            ("--invivo", Some(program)) => {
                invivo = Some(PathBuf::from(program));
                rest.next();
            }
            (word, _) => minutes = word.parse().map_err(|_| USAGE.to_owned())?,
        }
    }
    let time = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let seed: u64 = seed.unwrap_or(time.as_secs() * 1_000_000);
    pythons::ensure()?;
    let invivo = invivo.map_or_else(release::binary, Ok)?;
    let mut session = Session::begin(&invivo, seed)?;
    println!(
        "seed {seed}; what fails is kept in {}",
        session.failed().display()
    );
    let until = Instant::now() + Duration::from_secs_f64(minutes * 60.0);
    let (mut number, mut failures) = (seed, 0);
    loop {
        failures += usize::from(session.step(number)?);
        number += 1;
        if Instant::now() >= until || failures >= ENOUGH {
            break;
        }
    }
    println!(
        "{} commands, {failures} failed; {}",
        number - seed,
        session.counts
    );
    if failures > 0 {
        return Err(format!(
            "{failures} commands failed; again: --seed NUMBER with 0 minutes"
        ));
    }
    Ok(())
}

/// How a command went.
#[derive(Debug, Deserialize)]
struct Ended {
    code: i32,
    in_time: bool,
    seconds: f64,
    processor: f64,
    mebibytes: u64,
}

/// What was seen in all.
#[derive(Default)]
struct Counts {
    codes: std::collections::BTreeMap<i32, usize>,
    most_mebibytes: u64,
    longest: f64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            codes,
            most_mebibytes,
            longest,
        } = self;
        write!(
            f,
            "exit codes {codes:?}, at most {most_mebibytes} MiB, {longest:.1} s"
        )
    }
}

struct Session {
    invivo: PathBuf,
    directory: PathBuf,
    inputs: Inputs,
    runner: Runner,
    target: Target,
    counts: Counts,
}

impl Session {
    fn begin(invivo: &Path, seed: u64) -> Outcome<Self> {
        let directory = workspace().join("target/fuzz/commands");
        let temporary = directory.join("tmp");
        fs::create_dir_all(&temporary).doing(|| "making a directory".to_owned())?;
        let target = Target::start(seed, &temporary)?;
        let runner = Runner::start(&directory)?;
        let [recording, image] = ["real.invivo", "real.image"].map(|name| directory.join(name));
        let pid = target.child.id().to_string();
        let mut save = Command::new(invivo);
        save.args(["dump", &pid, "--locals=3", "--force", "--save-image"]);
        crate::run::capture(save.arg(&image))?;
        let mut record = Command::new(invivo);
        record.args(["record", &pid, "-d", "1", "--activity", "-o"]);
        crate::run::capture(record.arg(&recording))?;
        let read = |path| fs::read(path).doing(|| "reading what was made".to_owned());
        Ok(Self {
            invivo: invivo.to_owned(),
            inputs: Inputs::new(read(&recording)?, read(&image)?),
            directory,
            runner,
            target,
            counts: Counts::default(),
        })
    }

    fn failed(&self) -> PathBuf {
        self.directory.join("failed")
    }

    /// Runs one command, and says whether it failed.
    fn step(&mut self, number: u64) -> Outcome<bool> {
        if self.target.has_ended()? || self.target.seed != number / RUNS_A_TARGET {
            self.target = Target::start(number, &self.directory.join("tmp"))?;
        }
        let mut chance = Chance::new(number);
        let names = ["a.invivo", "b.invivo", "a.image"].map(|name| self.directory.join(name));
        let subjects = Subjects {
            files: names.each_ref().map(|path| path.display().to_string()),
            pid: self.target.child.id(),
        };
        let asked = Asked::any(&subjects, &mut chance);
        for (at, (path, shown)) in names.iter().zip(&subjects.files).enumerate() {
            if asked.words.contains(shown) {
                let bytes = match at {
                    2 => self.inputs.image(&mut chance),
                    _ => self.inputs.recording(&mut chance),
                };
                fs::write(path, bytes).doing(|| "writing an input".to_owned())?;
            }
        }
        let ended = self.runner.run(&self.invivo, &asked)?;
        *self.counts.codes.entry(ended.code).or_default() += 1;
        self.counts.most_mebibytes = self.counts.most_mebibytes.max(ended.mebibytes);
        self.counts.longest = self.counts.longest.max(ended.seconds);
        let [stdout, stderr] = self.runner.said()?;
        let Some(fault) = fault(&asked, &ended, &stdout, &stderr) else {
            return Ok(false);
        };
        self.keep(number, &asked, &subjects, &format!("{fault}\n{ended:?}"))?;
        println!(
            "{number}: {fault}\n  {ended:?}\n  {:?}\n  target {} {}\n  {}",
            asked.words,
            self.target.seed,
            self.target.python,
            String::from_utf8_lossy(&stderr[..stderr.len().min(400)]).escape_debug(),
        );
        Ok(true)
    }

    /// Keeps what is needed to see it again.
    fn keep(&self, number: u64, asked: &Asked, subjects: &Subjects, fault: &str) -> Outcome {
        let kept = self.failed().join(number.to_string());
        let doing = || format!("keeping what failed in {}", kept.display());
        fs::create_dir_all(&kept).doing(doing)?;
        for file in subjects
            .files
            .iter()
            .filter(|file| asked.words.contains(file))
        {
            let name = Path::new(file).file_name().unwrap_or_default();
            fs::copy(file, kept.join(name)).doing(doing)?;
        }
        for path in &self.runner.outputs {
            let name = path.file_name().unwrap_or_default();
            fs::copy(path, kept.join(name)).doing(doing)?;
        }
        let Target { seed, python, .. } = &self.target;
        let note = format!("{fault}\n{:?}\ntarget.py {seed} in {python}\n", asked.words);
        fs::write(kept.join("note.txt"), note).doing(doing)
    }
}

/// What is wrong with how it went.
fn fault(asked: &Asked, ended: &Ended, stdout: &[u8], stderr: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(stderr);
    if !ended.in_time {
        return Some("did not end".into());
    }
    if ended.code < 0 {
        return Some(format!("ended by signal {}", -ended.code));
    }
    if ended.code == 101 || (said.contains("panicked at") && !asked.is_script) {
        return Some("panicked".into());
    }
    let is_known = CODES.contains(&ended.code) || (asked.is_script && ended.code == 1);
    if !is_known {
        return Some(format!("exit code {}", ended.code));
    }
    if ended.mebibytes > MEBIBYTES {
        return Some(format!("took {} MiB", ended.mebibytes));
    }
    if ended.processor > 2.0 * asked.seconds + 0.2 {
        return Some(format!("worked for {:.1} s", ended.processor));
    }
    if asked.is_text
        && let Some(odd) = odd(stdout, "\n")
    {
        return Some(format!("stdout has {odd}"));
    }
    // A tab that was typed moves nothing but what follows.
    if !asked.is_script
        && let Some(odd) = odd(stderr, "\n\t")
    {
        return Some(format!("stderr has {odd}"));
    }
    None
}

/// What a terminal would not show as a character in its place.
fn odd(text: &[u8], expected: &str) -> Option<String> {
    let Ok(text) = std::str::from_utf8(text) else {
        return Some("bytes that are no text".into());
    };
    let is_odd = |character: &char| match *character {
        plain if expected.contains(plain) => false,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => true,
        '\u{feff}' | '\u{ad}' | '\u{61c}' => true,
        other => other.is_control(),
    };
    let odd = text.chars().find(is_odd)?;
    Some(format!("U+{:04X}", u32::from(odd)))
}

/// The program that runs commands and measures them.
struct Runner {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    outputs: [PathBuf; 2],
}

impl Runner {
    fn start(directory: &Path) -> Outcome<Self> {
        let python = &synth::interpreter("3.14").program;
        let mut command = Command::new(python);
        command.args(["-I", "-c", include_str!("child.py"), ADDRESSES]);
        command.current_dir(directory);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().doing(|| "starting the runner".to_owned())?;
        let questions = child.stdin.take().ok_or("the runner has no stdin")?;
        let answers = child.stdout.take().ok_or("the runner has no stdout")?;
        Ok(Self {
            child,
            questions,
            answers: BufReader::new(answers),
            outputs: ["stdout", "stderr"].map(|name| directory.join(name)),
        })
    }

    fn run(&mut self, program: &Path, asked: &Asked) -> Outcome<Ended> {
        let program = program.display().to_string();
        let words = std::iter::once(&program).chain(&asked.words);
        let words: Vec<&[u8]> = words.map(|word| word.as_bytes()).collect();
        let question = json!({
            "words": words,
            "seconds": 2.0 * asked.seconds + PATIENCE,
            "stdout": self.outputs[0],
            "stderr": self.outputs[1],
        });
        writeln!(self.questions, "{question}").doing(|| "asking the runner".to_owned())?;
        let mut answer = String::new();
        let read = self.answers.read_line(&mut answer);
        read.doing(|| "hearing the runner".to_owned())?;
        serde_json::from_str(&answer).doing(|| format!("the runner's answer {answer:?}"))
    }

    fn said(&self) -> Outcome<[Vec<u8>; 2]> {
        let read = |path| fs::read(path).doing(|| "reading what it printed".to_owned());
        Ok([read(&self.outputs[0])?, read(&self.outputs[1])?])
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process that is looked at.
struct Target {
    child: Child,
    seed: u64,
    python: String,
    temporary: PathBuf,
}

impl Target {
    /// The one that goes with a command's number. It is looked at when it has done all that it
    /// does, or has had the time for it.
    fn start(number: u64, temporary: &Path) -> Outcome<Self> {
        let seed = number / RUNS_A_TARGET;
        let all = interpreters();
        let python = &all[(seed % all.len() as u64) as usize];
        let program = workspace().join("crates/xtask/src/fuzz/target.py");
        let mut command = Command::new(&python.program);
        command.arg("-I").arg(program).arg(seed.to_string());
        command.env("TMPDIR", temporary).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().doing(|| "starting a target".to_owned())?;
        let stdout = child.stdout.take().ok_or("the target has no stdout")?;
        // Read to its end beside us, since scripts print there.
        let (sender, ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = stdout;
            let _ = sender.send(std::io::Read::read(&mut stdout, &mut [0; 8]));
            let _ = std::io::copy(&mut stdout, &mut std::io::sink());
        });
        let _ = ready.recv_timeout(Duration::from_secs(20));
        Ok(Self {
            child,
            seed,
            python: python.name.clone(),
            temporary: temporary.to_owned(),
        })
    }

    fn has_ended(&mut self) -> Outcome<bool> {
        let ended = self.child.try_wait();
        Ok(ended
            .doing(|| "looking after the target".to_owned())?
            .is_some())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let left = fs::read_dir(&self.temporary)
            .into_iter()
            .flatten()
            .flatten();
        for entry in left {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
