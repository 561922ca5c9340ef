//! Reading fields of structures in a target.

use invivo_model::{Address, Error, ErrorKind};
use invivo_process::{Fault, Memory, ReadRequest};

/// Reads `N` fields of at most eight bytes of the structure at `base`, given as offset and width,
/// by one call. Shorter ones are zero-extended.
pub(crate) fn read_fields<const N: usize>(
    memory: &impl Memory,
    base: Address,
    fields: [(u64, usize); N],
) -> Result<[u64; N], Fault> {
    let mut buffers = [[0; 8]; N];
    let mut requests = Vec::with_capacity(N);
    for ((offset, width), buffer) in fields.iter().zip(&mut buffers) {
        let address = base.offset(*offset).ok_or(Fault::Unmapped(base))?;
        let buffer = buffer.get_mut(..*width).ok_or(Fault::Unmapped(address))?;
        requests.push(ReadRequest::new(address, buffer));
    }
    memory.read_many(&mut requests)?;
    if let Some(short) = requests.iter().find(|request| !request.is_complete()) {
        return Err(Fault::Unmapped(short.address));
    }
    // Little-endian targets only, as `invivo-image` makes sure of.
    Ok(buffers.map(u64::from_le_bytes))
}

/// What a fault means where `what` can't be had because of it.
pub(crate) fn fault(what: &str, fault: Fault) -> Error {
    match fault {
        Fault::Gone => Error::new(
            ErrorKind::Gone,
            what,
            "the process ended meanwhile",
            "look for its successor with: invivo ps",
        ),
        Fault::Refused => Error::new(
            ErrorKind::Refused,
            what,
            "the operating system refuses to let us read the process's memory",
            "see which rule refuses with: invivo doctor PID",
        ),
        Fault::TimedOut => Error::new(
            ErrorKind::TimedOut,
            what,
            "the time given for reading is up",
            "give more time with --timeout",
        ),
        Fault::Exhausted => Error::new(
            ErrorKind::Corrupt,
            what,
            fault.to_string(),
            "look at fewer things at once; if it stays, the process is damaged or pretends",
        ),
        Fault::Unmapped(_) => corrupt(what, fault.to_string()),
    }
}

/// That what was read can't be what an interpreter holds.
pub(crate) fn corrupt(what: impl Into<String>, why: impl Into<String>) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        what,
        why,
        "try again; if it stays, look at the process with a native debugger",
    )
}
