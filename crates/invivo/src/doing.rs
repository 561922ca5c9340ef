//! What a thread is doing, in one sentence.

use std::fmt;

use invivo_model::Gil;

use crate::OsActivity;

/// What is known of a thread when its sentence is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) gil: Gil,
    /// Who holds the GIL it waits for, as the caller's `ps -T` shows it.
    pub(crate) holder: Option<u32>,
    pub(crate) activity: Option<&'a OsActivity>,
    /// Why it is not known which thread it is; `None` where that is known, or it is none any more.
    pub(crate) unknown: Option<&'a str>,
    pub(crate) free_threaded: bool,
    pub(crate) has_frames: bool,
    pub(crate) handles_exception: bool,
    pub(crate) collects_garbage: bool,
}

/// What a thread is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doing {
    /// The gist of it.
    pub kind: DoingKind,
    /// All of it, for people.
    pub sentence: String,
}

/// The gist of what a thread is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoingKind {
    /// It holds the GIL (in a free-threaded build: is attached) and runs.
    RunsPython,
    /// It collects garbage.
    CollectsGarbage,
    /// It holds the GIL, and sleeps all the same: nobody else can run Python meanwhile.
    SleepsWithGil,
    /// It holds the GIL; what it does with it the operating system did not say.
    HoldsGil,
    /// It waits for the GIL.
    WaitsForGil,
    /// It runs code that is not Python, without the GIL.
    RunsNative,
    /// It sleeps in a system call, without the GIL.
    Sleeps,
    /// A signal or a tracer has stopped it.
    Stopped,
    /// Its OS thread has ended, or was not among those that the kernel named.
    Ended,
    /// That could not be told.
    Unknown,
}

impl DoingKind {
    /// Its name, as JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::RunsPython => "runs_python",
            Self::CollectsGarbage => "collects_garbage",
            Self::SleepsWithGil => "sleeps_with_gil",
            Self::HoldsGil => "holds_gil",
            Self::WaitsForGil => "waits_for_gil",
            Self::RunsNative => "runs_native",
            Self::Sleeps => "sleeps",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Decides what a thread is doing. What memory says of the GIL and what the kernel says may be of two
/// moments: where they contradict each other, the kernel counts only if the thread was steady.
pub(crate) fn doing(known: Known<'_>) -> Doing {
    let (kind, mut sentence) = gist(known);
    if known.handles_exception {
        sentence.push_str(", handles an exception");
    }
    if !known.has_frames {
        sentence.push_str(", no Python frames");
    }
    Doing { kind, sentence }
}

fn gist(known: Known<'_>) -> (DoingKind, String) {
    use DoingKind::*;

    let asleep = known.activity.filter(|activity| !activity.running);
    if let Some(activity) = asleep.filter(|activity| matches!(activity.state, 'T' | 't')) {
        return (Stopped, format!("{}{}", gil_prefix(known), state(activity)));
    }
    let Some(activity) = known.activity else {
        if let Some(why) = known.unknown {
            let which = format!("which OS thread runs it is not known: {why}");
            return match known.gil {
                Gil::Holds => (HoldsGil, format!("{}; {which}", holds(known))),
                Gil::Waits => (WaitsForGil, format!("{}; {which}", waits(known))),
                Gil::Without | Gil::Unknown => (Unknown, which),
            };
        }
        return match known.gil {
            Gil::Holds => (HoldsGil, holds(known).to_owned()),
            Gil::Waits => (WaitsForGil, waits(known)),
            Gil::Without | Gil::Unknown => (Ended, "its OS thread could not be found".to_owned()),
        };
    };
    match known.gil {
        Gil::Waits => (WaitsForGil, waits(known)),
        Gil::Holds if !activity.running && activity.steady => (
            SleepsWithGil,
            format!("{}{}", gil_prefix(known), state(activity)),
        ),
        Gil::Holds if known.collects_garbage => (CollectsGarbage, "collects garbage".to_owned()),
        Gil::Holds if known.has_frames => (RunsPython, "runs Python".to_owned()),
        Gil::Holds => (RunsPython, format!("runs, {}", holding(known))),
        Gil::Without if activity.running && activity.steady => (RunsNative, native(known)),
        // Another held it while this one was seen to run before or after.
        Gil::Without if activity.running && known.holder.is_some() => (WaitsForGil, waits(known)),
        Gil::Without | Gil::Unknown if activity.running => (Unknown, "runs".to_owned()),
        Gil::Without | Gil::Unknown if matches!(activity.state, 'Z' | 'X') => {
            (Ended, "has ended".to_owned())
        }
        Gil::Without | Gil::Unknown => (Sleeps, state(activity)),
    }
}

fn native(known: Known<'_>) -> String {
    if known.free_threaded {
        "runs native code, detached from Python".to_owned()
    } else {
        "runs native code without the GIL".to_owned()
    }
}

fn waits(known: Known<'_>) -> String {
    match (known.free_threaded, known.holder) {
        (true, _) => "waits to be attached to Python".to_owned(),
        (false, Some(holder)) => format!("waits for the GIL held by thread {holder}"),
        (false, None) => "waits for the GIL".to_owned(),
    }
}

fn holds(known: Known<'_>) -> &'static str {
    if known.free_threaded {
        "is attached to Python"
    } else {
        "holds the GIL"
    }
}

fn holding(known: Known<'_>) -> &'static str {
    if known.free_threaded {
        "attached to Python"
    } else {
        "holding the GIL"
    }
}

/// What goes before the operating system's word where the thread holds the GIL.
fn gil_prefix(known: Known<'_>) -> String {
    match known.gil {
        Gil::Holds => format!("{}, ", holds(known)),
        _ => String::new(),
    }
}

impl fmt::Display for OsActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&state(self))
    }
}

/// The operating system's word on a thread.
fn state(activity: &OsActivity) -> String {
    let place = match activity.system_call.as_deref() {
        Some("futex") => "in futex wait",
        Some(call) => return format!("{} in {call}", how(activity)),
        None => return how(activity),
    };
    match activity.state {
        'S' => place.to_owned(),
        _ => format!("{} {place}", how(activity)),
    }
}

fn how(activity: &OsActivity) -> String {
    match activity.state {
        'R' => "runnable".to_owned(),
        'S' => "asleep".to_owned(),
        'D' => "in uninterruptible sleep".to_owned(),
        'T' => "stopped by a signal".to_owned(),
        't' => "stopped by a tracer".to_owned(),
        'Z' | 'X' => "ended".to_owned(),
        'I' => "idle".to_owned(),
        'P' => "parked".to_owned(),
        other => format!("in state {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(state: char, call: Option<&str>) -> OsActivity {
        OsActivity {
            state,
            running: state == 'R',
            system_call: call.map(str::to_owned),
            argument: None,
            steady: true,
        }
    }

    fn of(gil: Gil, activity: Option<&OsActivity>) -> Known<'_> {
        Known {
            gil,
            holder: None,
            activity,
            unknown: None,
            free_threaded: false,
            has_frames: true,
            handles_exception: false,
            collects_garbage: false,
        }
    }

    #[test]
    fn a_sentence_for_every_case() {
        use DoingKind::*;

        let runs = activity('R', None);
        let (lock, sleep) = (
            activity('S', Some("futex")),
            activity('S', Some("clock_nanosleep")),
        );
        let disk = activity('D', Some("read"));
        let hidden = activity('S', None);
        let stopped = activity('t', Some("futex"));
        let ended = activity('Z', None);
        for (gil, activity, kind, sentence) in [
            (Gil::Holds, Some(&runs), RunsPython, "runs Python"),
            (
                Gil::Holds,
                Some(&disk),
                SleepsWithGil,
                "holds the GIL, in uninterruptible sleep in read",
            ),
            (
                Gil::Holds,
                Some(&lock),
                SleepsWithGil,
                "holds the GIL, in futex wait",
            ),
            (Gil::Holds, None, HoldsGil, "holds the GIL"),
            (Gil::Waits, Some(&lock), WaitsForGil, "waits for the GIL"),
            (
                Gil::Without,
                Some(&runs),
                RunsNative,
                "runs native code without the GIL",
            ),
            (Gil::Without, Some(&lock), Sleeps, "in futex wait"),
            (
                Gil::Without,
                Some(&sleep),
                Sleeps,
                "asleep in clock_nanosleep",
            ),
            (Gil::Without, Some(&hidden), Sleeps, "asleep"),
            (
                Gil::Without,
                Some(&stopped),
                Stopped,
                "stopped by a tracer in futex wait",
            ),
            (
                Gil::Holds,
                Some(&stopped),
                Stopped,
                "holds the GIL, stopped by a tracer in futex wait",
            ),
            (Gil::Without, Some(&ended), Ended, "has ended"),
            (
                Gil::Without,
                None,
                Ended,
                "its OS thread could not be found",
            ),
            (Gil::Unknown, Some(&runs), Unknown, "runs"),
        ] {
            let found = doing(of(gil, activity));
            assert_eq!((found.kind, found.sentence.as_str()), (kind, sentence));
        }
    }

    #[test]
    fn what_was_of_two_moments_is_no_contradiction() {
        let moves = |state| OsActivity {
            steady: false,
            ..activity(state, None)
        };
        let (runs, sleeps) = (moves('R'), moves('S'));
        let said = |known| doing(known).sentence;
        assert_eq!(said(of(Gil::Holds, Some(&sleeps))), "runs Python");
        assert_eq!(said(of(Gil::Without, Some(&runs))), "runs");
        assert_eq!(
            said(Known {
                holder: Some(12),
                ..of(Gil::Without, Some(&runs))
            }),
            "waits for the GIL held by thread 12"
        );
    }

    #[test]
    fn what_else_is_known_is_said() {
        let runs = activity('R', None);
        let lock = activity('S', Some("futex"));
        let said = |known| doing(known).sentence;
        assert_eq!(
            said(Known {
                holder: Some(12),
                ..of(Gil::Waits, Some(&lock))
            }),
            "waits for the GIL held by thread 12"
        );
        assert_eq!(
            said(Known {
                handles_exception: true,
                ..of(Gil::Holds, Some(&runs))
            }),
            "runs Python, handles an exception"
        );
        assert_eq!(
            said(Known {
                has_frames: false,
                ..of(Gil::Without, Some(&lock))
            }),
            "in futex wait, no Python frames"
        );
        assert_eq!(
            said(Known {
                has_frames: false,
                ..of(Gil::Holds, Some(&runs))
            }),
            "runs, holding the GIL, no Python frames"
        );
        let collects = Known {
            collects_garbage: true,
            ..of(Gil::Holds, Some(&runs))
        };
        assert_eq!(doing(collects).kind, DoingKind::CollectsGarbage);
        let free = |gil, activity| {
            said(Known {
                free_threaded: true,
                ..of(gil, Some(activity))
            })
        };
        assert_eq!(free(Gil::Holds, &runs), "runs Python");
        assert_eq!(free(Gil::Waits, &lock), "waits to be attached to Python");
        assert_eq!(
            free(Gil::Without, &runs),
            "runs native code, detached from Python"
        );
    }
}
