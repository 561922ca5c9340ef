//! Records a running Python: `record PID HERTZ SECONDS FILE`. Tests kill it, and it shows what
//! recording takes.

use std::fs::File;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use invivo_model::{About, Error, ErrorKind, Result};
use invivo_process::Target;
use invivo_profile::{Jitter, Options, Plan, Session, Step, Subject, Writer};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match words.as_slice() {
        [pid, hertz, seconds, file] => record(pid, hertz, seconds, file),
        _ => Err(usage("four words are needed")),
    };
    match outcome {
        Ok(about) => {
            println!("{about:?}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn record(pid: &str, hertz: &str, seconds: &str, file: &str) -> Result<About> {
    let number = |word: &str| {
        word.parse::<u32>()
            .map_err(|error| usage(&error.to_string()))
    };
    let plan = Plan {
        interval: 1_000_000_000 / u64::from(number(hertz)?.max(1)),
        jitter: Jitter::Uniform,
        from: invivo_profile::SampleFrom::Auto,
        options: Options::default(),
        creator: "an example".to_owned(),
    };
    let file = File::create(file).map_err(|error| usage(&error.to_string()))?;
    let mut session = Session::new(plan, |about| Writer::new(file, about))?;
    session.add(Subject::new(Target::open(number(pid)?)?, None, None)?)?;
    let end = Instant::now() + Duration::from_secs(number(seconds)?.into());
    while Instant::now() < end && session.step()? != Step::Ended {}
    let (writer, about) = session.end();
    writer.finish(&about)?;
    Ok(about)
}

fn usage(why: &str) -> Error {
    let remedy = "record PID HERTZ SECONDS FILE";
    Error::new(ErrorKind::Usage, "cannot record", why, remedy)
}
