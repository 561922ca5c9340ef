//! Reading memory that is not ours.

use std::fmt;

use invivo_model::Address;

/// One piece of memory to read: where from, and the buffer whose length says how much.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    /// Where the piece begins.
    pub address: Address,
    /// Where the bytes go; its length is how much is wanted.
    pub buffer: &'a mut [u8],
    /// How many bytes came, counted from the start. Set by [`Memory::read_many`].
    pub filled: usize,
}

impl<'a> ReadRequest<'a> {
    /// A request to fill `buffer` from `address`.
    pub fn new(address: Address, buffer: &'a mut [u8]) -> Self {
        Self {
            address,
            buffer,
            filled: 0,
        }
    }

    /// Whether all that was wanted came.
    pub fn is_complete(&self) -> bool {
        self.filled == self.buffer.len()
    }
}

/// One piece of memory to write. Only a stopped target can be written to: see
/// `Suspension::write_many`.
#[derive(Clone, Copy, Debug)]
pub struct WriteRequest<'a> {
    /// Where the piece goes.
    pub address: Address,
    /// What is written there.
    pub bytes: &'a [u8],
}

/// Why memory could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is mapped at (or all the way behind) this address, or an image does not hold it.
    Unmapped(Address),
    /// The operating system refused, whatever the address.
    Refused,
    /// The process has ended.
    Gone,
    /// The time agreed for reading is up.
    TimedOut,
    /// As much was read as was agreed.
    Exhausted,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmapped(address) => write!(f, "nothing readable at {address}"),
            Self::Refused => f.write_str("reading memory was refused"),
            Self::Gone => f.write_str("the process has ended"),
            Self::TimedOut => f.write_str("the time for reading is up"),
            Self::Exhausted => f.write_str("more would have to be read than is allowed"),
        }
    }
}

impl std::error::Error for Fault {}

/// Memory that can be read: of a live process, a saved image, or one made up by a test.
pub trait Memory {
    /// Reads every piece, in order, in as few system calls as the platform has.
    ///
    /// A piece that is not (wholly) readable leaves its `filled` short and does not keep the
    /// others from being read. `Err` only where nothing can be read at all.
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault>;

    /// Whether so many bytes may still be read. Who reads much at a time asks before it makes
    /// buffers.
    fn ensure_room(&self, bytes: usize) -> Result<(), Fault> {
        let _ = bytes;
        Ok(())
    }

    /// Counts bytes that are kept, or made of what was read, among those that may be read.
    fn count_kept(&self, bytes: usize) -> Result<(), Fault> {
        let _ = bytes;
        Ok(())
    }

    /// From now on what is there now is wanted, and nothing that was read ahead.
    fn look_again(&self) {}

    /// Whether this is recorded memory of which it is known that something in these `size` bytes
    /// changed while it was recorded.
    fn has_changed(&self, address: Address, size: usize) -> bool {
        let _ = (address, size);
        false
    }

    /// Fills `buffer` from `address`, or says from where on it could not.
    fn read(&self, address: Address, buffer: &mut [u8]) -> Result<(), Fault> {
        let mut request = [ReadRequest::new(address, buffer)];
        self.read_many(&mut request)?;
        let [request] = &request;
        if request.is_complete() {
            return Ok(());
        }
        let reached = address.offset(request.filled as u64).unwrap_or(address);
        Err(Fault::Unmapped(reached))
    }

    /// A native-endian `u32` at `address`.
    fn read_u32(&self, address: Address) -> Result<u32, Fault> {
        let mut bytes = [0; 4];
        self.read(address, &mut bytes)?;
        Ok(u32::from_ne_bytes(bytes))
    }

    /// A native-endian `u64` at `address`.
    fn read_u64(&self, address: Address) -> Result<u64, Fault> {
        let mut bytes = [0; 8];
        self.read(address, &mut bytes)?;
        Ok(u64::from_ne_bytes(bytes))
    }

    /// A pointer at `address`.
    fn read_pointer(&self, address: Address) -> Result<Address, Fault> {
        self.read_u64(address).map(Address)
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> Result<(), Fault> {
        (**self).read_many(requests)
    }

    fn ensure_room(&self, bytes: usize) -> Result<(), Fault> {
        (**self).ensure_room(bytes)
    }

    fn count_kept(&self, bytes: usize) -> Result<(), Fault> {
        (**self).count_kept(bytes)
    }

    fn look_again(&self) {
        (**self).look_again();
    }

    fn has_changed(&self, address: Address, size: usize) -> bool {
        (**self).has_changed(address, size)
    }
}
