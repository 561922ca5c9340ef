//! Pending calls: what `Py_AddPendingCall` does, done from outside while all threads stand still.

use std::path::Path;

use invivo_cpython::{Change, PendingCall, PendingCalls, Queue, Runtime};
use invivo_model::{Address, ErrorKind, Interpreter, Result};
use invivo_process::{Memory, ReadRequest, Suspension, Target, WriteRequest};

use crate::calls::{MARK, Tools, runner};
use crate::plan::PlannedWrite;
use crate::protocol::Retraction;
use crate::room;
use crate::stage;

/// A text in the target, and the call that runs it.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub(crate) queue: Queue,
    call: PendingCall,
    /// What lay in the text's place.
    before: Vec<u8>,
}

/// What a pending call writes, in this order.
///
/// # Errors
/// As [`Runtime::pending_calls`], and `Unsupported` where there is no room for the text.
pub(crate) fn planned<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    interpreter: &Interpreter,
    queue: Queue,
    tools: &Tools,
) -> Result<Vec<PlannedWrite>> {
    /// No script's path is longer, unless the target's directory for temporary files is far down.
    const PATH: usize = 96;
    let calls = runtime.pending_calls(interpreter, queue)?;
    let nothing = PendingCall {
        function: Address::NULL,
        argument: Address::NULL,
    };
    let path = "x".repeat(PATH);
    let only = runtime.has_queue(Queue::AnyThread).then_some(u64::MAX);
    let size = runner(Path::new(&path), only, 0).len() + 1;
    let waiting = texts(runtime).unwrap_or_default();
    let mut writes = vec![PlannedWrite {
        field: "text",
        address: Some(room::find(target, &tools.modules, size, &waiting)?.at),
        size: size as u64,
        change: "what runs the staged script, in memory that nobody uses; as before afterwards",
    }];
    writes.extend(calls.entry(nothing)?.iter().map(|change| PlannedWrite {
        field: change.field,
        address: Some(change.address),
        size: change.bytes.len() as u64,
        change: "as Py_AddPendingCall changes it",
    }));
    Ok(writes)
}

/// Why no pending call may run a text: one whose text is refused raises a `SystemError` in whatever
/// code it interrupts. (A callback that is refused raises nothing there.)
pub(crate) fn hooked<M: Memory>(runtime: &Runtime<M>, interpreter: &Interpreter) -> Option<String> {
    let has_hooks = runtime.has_audit_hooks(interpreter).ok().flatten() == Some(true);
    has_hooks.then(|| {
        "the program has an audit hook, and one that refuses a script while its thread runs makes \
         the program's own code fail: a script can begin only where the thread waits"
            .to_owned()
    })
}

/// Queues a call in `queue` that runs `text`, with all threads stopped. The inner error says why that can't
/// be done at this moment.
///
/// # Errors
/// When there is no room for the text, or the target can't be read or written.
pub(crate) fn queue<M: Memory>(
    target: &Target,
    runtime: &Runtime<M>,
    stopped: &Suspension<'_>,
    interpreter: &Interpreter,
    tools: &Tools,
    queue: Queue,
    text: &str,
) -> Result<Result<Queued, String>> {
    if let Some(why) = hooked(runtime, interpreter) {
        return Ok(Err(why));
    }
    let calls = match runtime.pending_calls(interpreter, queue) {
        Err(error) if error.kind == ErrorKind::Unsupported => return Ok(Err(error.why)),
        calls => calls?,
    };
    let is_ours = |call: &PendingCall| call.function == tools.run;
    let (abandoned, _): (Vec<PendingCall>, Vec<PendingCall>) = calls
        .calls
        .iter()
        .partition(|call| is_ours(call) && is_abandoned(target, call.argument));
    let mut waiting = match texts(runtime) {
        Err(error) if error.kind == ErrorKind::Unsupported => return Ok(Err(error.why)),
        waiting => waiting?,
    };
    waiting.retain(|text| abandoned.iter().all(|call| call.argument != *text));
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    let room = room::find(target, &tools.modules, bytes.len(), &waiting)?;
    let call = PendingCall {
        function: tools.run,
        argument: room.at,
    };
    let changes = if abandoned.contains(&call) {
        // The call of a run that was killed gets our text.
        Vec::new()
    } else {
        match entry(&calls, call)? {
            Ok(changes) => changes,
            Err(why) => return Ok(Err(why)),
        }
    };
    // The text first: whatever cuts it short, no call stands before its text.
    write(stopped, Some((call.argument, &bytes)), &changes)?;
    Ok(Ok(Queued {
        queue,
        call,
        before: room.before,
    }))
}

/// Queues a call of `PyErr_CheckSignals` (which takes no argument, and has no use for the one it
/// gets), with all threads stopped. The inner error says why that can't be done at this moment.
///
/// # Errors
/// When the target can't be read or written.
pub(crate) fn queue_check<M: Memory>(
    runtime: &Runtime<M>,
    stopped: &Suspension<'_>,
    interpreter: &Interpreter,
    tools: &Tools,
) -> Result<Result<(), String>> {
    let calls = runtime.pending_calls(interpreter, Queue::MainThread)?;
    let call = PendingCall {
        function: tools.check,
        argument: Address::NULL,
    };
    // One that waits already does as well.
    if calls.calls.contains(&call) {
        return Ok(Ok(()));
    }
    match entry(&calls, call)? {
        Ok(changes) => write(stopped, None, &changes).map(Ok),
        Err(why) => Ok(Err(why)),
    }
}

/// Takes the call back if it has not been made, and removes its text, with all threads stopped.
///
/// # Errors
/// When the target can't be read or written.
pub(crate) fn withdraw<M: Memory>(
    runtime: &Runtime<M>,
    stopped: &Suspension<'_>,
    interpreter: &Interpreter,
    queued: &Queued,
) -> Result<Retraction> {
    let calls = runtime.pending_calls(interpreter, queued.queue)?;
    if !calls.calls.contains(&queued.call) {
        return Ok(Retraction::Begun);
    }
    let Some(changes) = calls.without_last(queued.call) else {
        // Others have queued up behind it: it is made, and does nothing.
        let mut nothing = MARK.to_vec();
        nothing.resize(queued.before.len(), 0);
        write(stopped, Some((queued.call.argument, &nothing)), &[])?;
        return Ok(Retraction::Withdrawn);
    };
    write(stopped, None, &changes)?;
    erase(stopped, queued)?;
    Ok(Retraction::Withdrawn)
}

/// Whether the call waits no more; `None` where that can't be told without stopping anything.
pub(crate) fn is_made<M: Memory>(
    runtime: &Runtime<M>,
    interpreter: &Interpreter,
    queued: &Queued,
) -> Option<bool> {
    let calls = runtime.pending_calls(interpreter, queued.queue).ok()?;
    Some(!calls.calls.contains(&queued.call))
}

/// Whether a call that waits, in any queue, refers to the text.
///
/// # Errors
/// When the target can't be read.
pub(crate) fn is_referred_to<M: Memory>(runtime: &Runtime<M>, queued: &Queued) -> Result<bool> {
    Ok(texts(runtime)?.contains(&queued.call.argument))
}

/// Removes the text of a call that has been made, with all threads stopped.
///
/// # Errors
/// When the target can't be written.
pub(crate) fn erase(stopped: &Suspension<'_>, queued: &Queued) -> Result<()> {
    write(stopped, Some((queued.call.argument, &queued.before)), &[])
}

/// The arguments of all calls that wait, whoever is to make them.
fn texts<M: Memory>(runtime: &Runtime<M>) -> Result<Vec<Address>> {
    let mut texts = Vec::new();
    for interpreter in runtime.interpreters()?.list {
        for queue in [Queue::MainThread, Queue::AnyThread] {
            let of_main = queue == Queue::MainThread;
            if of_main && interpreter.id != 0 || !runtime.has_queue(queue) {
                continue;
            }
            let calls = match runtime.pending_calls(&interpreter, queue) {
                // Nobody is there to make any.
                Err(_) if interpreter.threads.is_empty() => continue,
                calls => calls?,
            };
            texts.extend(calls.calls.iter().map(|call| call.argument));
        }
    }
    Ok(texts)
}

/// Whether the text at `text` does nothing any more: it was taken back, is of a run that was killed
/// while it waited (we hold the lock on the target, so that no other waits now), or of one whose
/// time is up.
fn is_abandoned(target: &Target, text: Address) -> bool {
    let mut bytes = [0; room::SLOT as usize];
    let mut read = [ReadRequest::new(text, &mut bytes)];
    let came = match target.memory().read_many(&mut read) {
        Ok(()) => read.first().map_or(0, |piece| piece.filled),
        Err(_) => 0,
    };
    let bytes = bytes.get(..came).unwrap_or_default();
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let ours = text.strip_prefix(MARK);
    ours.is_some_and(|ours| ours.is_empty() || stage::is_over(&String::from_utf8_lossy(ours)))
}

/// The changes that add a call; the inner error where that can't be done at this moment.
fn entry(calls: &PendingCalls, call: PendingCall) -> Result<Result<Vec<Change>, String>> {
    match calls.entry(call) {
        Ok(changes) => Ok(Ok(changes)),
        Err(error) if error.kind == ErrorKind::Unsupported => Ok(Err(error.why)),
        Err(error) => Err(error),
    }
}

fn write(
    stopped: &Suspension<'_>,
    text: Option<(Address, &[u8])>,
    changes: &[Change],
) -> Result<()> {
    let text = text.map(|(address, bytes)| WriteRequest { address, bytes });
    let changes = changes.iter().map(|change| WriteRequest {
        address: change.address,
        bytes: &change.bytes,
    });
    let requests: Vec<WriteRequest<'_>> = text.into_iter().chain(changes).collect();
    stopped.write_many(&requests)
}
