//! What threads have to do with the GIL and with exceptions, as far as it is at hand.

use invivo_model::{Address, Gil};
use invivo_process::{Fault, Memory};

use super::region::Region;
use super::thread::ReadThread;
use super::world::ReadInterpreter;
use crate::exceptions::{Item, MAX_STEPS};
use crate::gil::GilState;
use crate::layout::Layout;
use crate::layout::common::EXCEPTION_FLAG;
use crate::runtime::Runtime;
use crate::threads::collects_garbage;

/// What a thread has to do with the GIL.
pub(super) fn gil(layout: &Layout, thread: &ReadThread, gil: Option<GilState>, waits: bool) -> Gil {
    let Some(gil) = gil else {
        return Gil::Unknown;
    };
    if gil.is_held_by(thread.state.address) {
        return Gil::Holds;
    }
    let requested = layout.thread.gil_requested.filter(|_| waits);
    let state = thread.regions.state.view();
    match requested.and_then(|at| state.int(thread.state.address, at)) {
        Some(requested) if requested != 0 => Gil::Waits,
        _ => Gil::Without,
    }
}

/// Whether a thread collects garbage.
pub(super) fn collects(interpreter: &ReadInterpreter, thread: &ReadThread) -> Option<bool> {
    let frames = thread.frames.iter().map(|frame| frame.address);
    let (alone, began) = (interpreter.threads == 1, interpreter.collecting_frame);
    collects_garbage(interpreter.collecting, began, alone, frames)
}

/// Whether a thread handles an exception or raises one.
///
/// `None` where that takes another call to tell, and `calls` does not allow it.
pub(super) fn handles_exception<M: Memory>(
    runtime: &Runtime<M>,
    thread: &mut ReadThread,
    calls: bool,
) -> Result<Option<bool>, Fault> {
    let layout = &runtime.layout;
    let size = Item::size(layout);
    let address = thread.state.address;
    let state = thread.regions.state.view();
    let word = |at| state.word(address, at);
    let (Some(raised), Some(item)) = (
        word(layout.thread.current_exception),
        word(layout.thread.exc_info),
    ) else {
        return Ok(None);
    };
    if raised != 0 {
        return Ok(Some(true));
    }
    let mut item = Address(item);
    let mut read = Region::default();
    for _ in 0..MAX_STEPS {
        if item.is_null() {
            return Ok(Some(false));
        }
        let at_hand = [&thread.regions.state, &thread.regions.item]
            .into_iter()
            .find(|region| region.holds(item, size));
        let found = match at_hand {
            Some(region) => Item::parse(layout, item, region.view()),
            None => {
                // It is there the next time, if it is the same.
                thread.regions.item.place(item, size);
                if !calls {
                    return Ok(None);
                }
                read.place(item, size);
                let met = runtime.memory.read(item, read.refill());
                read.fill(if met.is_ok() { size } else { 0 });
                Item::parse(layout, item, read.view())
            }
        };
        let Some(Item { value, previous }) = found else {
            return Ok(None);
        };
        if !value.is_null() && thread.no_exception != Some(value) {
            match is_exception(runtime, value)? {
                Some(true) => return Ok(Some(true)),
                Some(false) => thread.no_exception = Some(value),
                None => return Ok(None),
            }
        }
        item = previous;
    }
    Ok(None)
}

/// Whether the object at `value` is an exception, and not `None`.
fn is_exception<M: Memory>(runtime: &Runtime<M>, value: Address) -> Result<Option<bool>, Fault> {
    let object = &runtime.layout.object;
    let word = |base: Address, at| match base.offset(at) {
        Some(place) => match runtime.memory.read_u64(place) {
            Ok(word) => Ok(Some(word)),
            Err(Fault::Unmapped(_)) => Ok(None),
            Err(met) => Err(met),
        },
        None => Ok(None),
    };
    let Some(class) = word(value, object.type_of)? else {
        return Ok(None);
    };
    let flags = word(Address(class), object.type_flags)?;
    Ok(flags.map(|flags| flags & EXCEPTION_FLAG != 0))
}
