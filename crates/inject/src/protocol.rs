//! The remote debugging protocol (PEP 768): three fields of a thread state.

use std::path::Path;

use invivo_model::{DebuggerSupport, Error, ErrorKind, Result, ThreadState};
use invivo_process::{Memory, Suspension, Target, WriteRequest};

use crate::plan::PlannedWrite;

/// The bit of the eval breaker that makes a thread look for a request at its next safe point:
/// `_PY_EVAL_PLEASE_STOP_BIT` (`Include/internal/pycore_ceval.h`).
const PLEASE_STOP: u8 = 1 << 5;

/// What became of a request that was withdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retraction {
    /// It had not begun, and won't.
    Withdrawn,
    /// The target had taken it up already.
    Begun,
}

/// What a request writes, in this order.
pub(crate) fn planned(places: &DebuggerSupport) -> Vec<PlannedWrite> {
    vec![
        PlannedWrite {
            field: "debugger_script_path",
            address: Some(places.script_path),
            size: places.script_path_size,
            change: "the staged script's path, NUL at its end",
        },
        PlannedWrite {
            field: "debugger_pending_call",
            address: Some(places.pending_call),
            size: 4,
            change: "0 becomes 1",
        },
        PlannedWrite {
            field: "eval_breaker",
            address: Some(places.eval_breaker),
            size: 1,
            change: "bit 5 is set; the target clears it",
        },
    ]
}

/// Asks the thread to run the script at `path`.
///
/// # Errors
/// `Unsupported` when another request is pending, or when the target can't be written.
pub(crate) fn request(
    target: &Target,
    stopped: &Suspension<'_>,
    places: &DebuggerSupport,
    tid: u32,
    path: &Path,
) -> Result<()> {
    let mut path_bytes = path.as_os_str().as_encoded_bytes().to_vec();
    path_bytes.push(0);
    if path_bytes.len() as u64 > places.script_path_size {
        return Err(Error::internal(format!(
            "a staged path of {} bytes does not fit",
            path_bytes.len()
        )));
    }
    if places.pending != 0 {
        return Err(already_pending(target, tid));
    }
    let mut breaker = [0];
    target
        .memory()
        .read(places.eval_breaker, &mut breaker)
        .map_err(|fault| {
            Error::new(
                ErrorKind::Gone,
                format!(
                    "thread {tid} of process {} is not there any more",
                    target.pid()
                ),
                fault.to_string(),
                "nothing was run; look again with: invivo ps",
            )
        })?;
    let [breaker] = breaker;
    // One call and this order: whatever cuts it short, the flag never stands before its path, and
    // without the bit it is only looked at later.
    stopped.write_many(&[
        WriteRequest {
            address: places.script_path,
            bytes: &path_bytes,
        },
        WriteRequest {
            address: places.pending_call,
            bytes: &1_i32.to_ne_bytes(),
        },
        WriteRequest {
            address: places.eval_breaker,
            bytes: &[breaker | PLEASE_STOP],
        },
    ])
}

/// Whether the request for the script at `path` stands at `places`.
pub(crate) fn is_pending(target: &Target, places: &DebuggerSupport, path: &Path) -> bool {
    places.pending != 0 && pending_path(target, places) == path.as_os_str().as_encoded_bytes()
}

/// Withdraws, with the threads stopped, the request that stands at `places` if it is ours.
pub(crate) fn retract(
    target: &Target,
    stopped: &Suspension<'_>,
    places: &DebuggerSupport,
    path: &Path,
) -> Result<Retraction> {
    if !is_pending(target, places, path) {
        return Ok(Retraction::Begun);
    }
    stopped.write_many(&[WriteRequest {
        address: places.pending_call,
        bytes: &0_i32.to_ne_bytes(),
    }])?;
    Ok(Retraction::Withdrawn)
}

/// The path that stands in a thread state's buffer; empty where it can't be read.
fn pending_path(target: &Target, places: &DebuggerSupport) -> Vec<u8> {
    /// No version has a buffer larger than this; what claims to be is not believed.
    const SIZE_MAX: u64 = 4096;
    let mut path = vec![0; usize::try_from(places.script_path_size.min(SIZE_MAX)).unwrap_or(0)];
    if target.memory().read(places.script_path, &mut path).is_err() {
        path.clear();
    }
    let end = path
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(path.len());
    path.truncate(end);
    path
}

/// The places of a thread state that has them.
///
/// # Errors
/// `Corrupt` where it says of none, though its version has them.
pub(crate) fn places(target: &Target, thread: &ThreadState) -> Result<DebuggerSupport> {
    thread.debugger.clone().ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            format!("process {} can't be made to run a script", target.pid()),
            "its table of offsets names no places for a request",
            "its memory may be damaged; try again",
        )
    })
}

pub(crate) fn already_pending(target: &Target, tid: u32) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "another request waits for thread {tid} of process {}",
            target.pid()
        ),
        "its debugger_pending_call is set: some tool asked for a script that has not begun",
        "wait until it has run, or choose another thread with --thread",
    )
}
