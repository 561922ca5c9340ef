//! A line of JSON for each thing: what the profile is, its tables, then its samples.
//!
//! Every line is an object with a `type`. What a line refers to stands before it, by the number in
//! its `id`; numbers count from 0 without a gap. Times are nanoseconds; what is not known is `null`.
//!
//! | `type` | the other keys |
//! | --- | --- |
//! | `about` | `schema` (1), `creator`, `started` (since 1970), `duration`, `interval`, `mode` (`wall`, `cpu`, `gil`, `exception`), `ticks`, `missed`, `torn`, `rate` (ticks a second that were reached), `own_time` (of a processor, for sampling), `looks` (how often a thread that ran Python code was read from its own processor, `own_processor`, where it could not run meanwhile; from another one, `elsewhere`; while its process was `stopped`; all 0 where it was not noted) |
//! | `process` | `id`, `pid`, `parent` (a pid), `command` (a list), `version` |
//! | `thread` | `id`, `process`, `tid`, `name`, `interpreter`, `is_main` |
//! | `function` | `id`, `name`, `file`, `first_line`, `kind` (`python`, `native`, `collector`, `task`, `place`) |
//! | `frame` | `id`, `function`, `line`, `columns` (two), `opcode` |
//! | `stack` | `id`, `caller` (a stack), `frame` |
//! | `sample` | `time` (since `started`), `thread`, `stack`, `on_cpu`, `waits_for_cpu`, `holds_gil`, `waits_for_gil`, `handles_exception`, `trust` (`whole`, `torn`, `guessed`), `ticks` (in a row) |
//! | `end` | `samples` (lines of samples), `ticks` (theirs): a file without this line is cut off |
//!
//! Names are as the target has them, not escaped further than JSON asks for. A name that was too
//! long to be read whole ends in `…`.

use std::fmt::{self, Display};
use std::io::Write;

use invivo_model::{Result, Sample, Text, Trust};
use serde_json::{Value, json};

use crate::json::Known;
use crate::source::Checked;
use crate::{Options, Writer, names, summary, unwritten};

pub(crate) struct JsonLines;

impl Writer for JsonLines {
    fn write(&self, profile: &Checked<'_>, _: &Options<'_>, out: &mut dyn Write) -> Result<()> {
        line(out, &about(profile))?;
        tables(profile, out)?;
        let (mut samples, mut ticks) = (0_u64, 0);
        profile.for_each_sample(&mut |seen| {
            let sample = &seen.sample;
            samples += 1;
            ticks += u64::from(sample.ticks);
            writeln!(out, "{}", Line(sample)).map_err(unwritten)
        })?;
        line(
            out,
            &json!({"type": "end", "samples": samples, "ticks": ticks}),
        )
    }
}

/// A sample as a line: there are many, so that it is written without a detour.
struct Line<'a>(&'a Sample);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sample {
            time,
            thread,
            stack,
            status,
            trust,
            ticks,
        } = self.0;
        write!(
            f,
            "{{\"type\":\"sample\",\"time\":{time},\"thread\":{thread},\"stack\":{}",
            Known(*stack)
        )?;
        for (name, value) in [
            ("on_cpu", status.on_cpu),
            ("waits_for_cpu", status.waits_for_cpu),
            ("holds_gil", status.holds_gil),
            ("waits_for_gil", status.waits_for_gil),
            ("handles_exception", status.handles_exception),
        ] {
            write!(f, ",\"{name}\":{}", Known(value))?;
        }
        let trust = match trust {
            Trust::Whole => "whole",
            Trust::Torn => "torn",
            Trust::Guessed => "guessed",
        };
        write!(f, ",\"trust\":\"{trust}\",\"ticks\":{ticks}}}")
    }
}

fn line(out: &mut dyn Write, value: &Value) -> Result<()> {
    writeln!(out, "{value}").map_err(unwritten)
}

fn about(profile: &Checked<'_>) -> Value {
    let about = profile.about;
    json!({
        "type": "about", "schema": 1, "creator": about.creator, "started": about.started,
        "duration": about.duration, "interval": about.interval, "mode": names::mode(about.mode),
        "ticks": about.ticks, "missed": about.missed, "torn": about.torn,
        "rate": summary::reached(about),
        "own_time": about.own_time,
        "looks": {
            "own_processor": about.looks.own_processor,
            "elsewhere": about.looks.elsewhere,
            "stopped": about.looks.stopped,
        },
    })
}

fn tables(profile: &Checked<'_>, out: &mut dyn Write) -> Result<()> {
    let tables = profile.tables;
    for (id, process) in tables.processes.iter().enumerate() {
        let value = json!({
            "type": "process", "id": id, "pid": process.pid, "parent": process.parent,
            "command": process.command, "version": process.version,
        });
        line(out, &value)?;
    }
    for (id, thread) in tables.threads.iter().enumerate() {
        let value = json!({
            "type": "thread", "id": id, "process": thread.process, "tid": thread.tid,
            "name": thread.name.as_ref().map(Text::to_string),
            "interpreter": thread.interpreter, "is_main": thread.is_main,
        });
        line(out, &value)?;
    }
    for (id, function) in tables.functions.iter().enumerate() {
        let value = json!({
            "type": "function", "id": id, "name": function.name.to_string(),
            "file": function.file.to_string(), "first_line": function.first_line,
            "kind": names::kind(function.kind),
        });
        line(out, &value)?;
    }
    for (id, frame) in tables.frames.iter().enumerate() {
        let value = json!({
            "type": "frame", "id": id, "function": frame.function, "line": frame.line,
            "columns": frame.columns, "opcode": frame.opcode,
        });
        line(out, &value)?;
    }
    for (id, stack) in tables.stacks.iter().enumerate() {
        let value = json!({
            "type": "stack", "id": id, "caller": stack.caller, "frame": stack.frame,
        });
        line(out, &value)?;
    }
    Ok(())
}
