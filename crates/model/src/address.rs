use std::fmt;

/// A place in a target's memory. It was usually read from the target, so it may be anything:
/// arithmetic on it is checked and never wraps.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(pub u64);

impl Address {
    /// The null pointer.
    pub const NULL: Self = Self(0);

    /// The address `bytes` further on, or `None` where that would leave the address space.
    pub fn offset(self, bytes: u64) -> Option<Self> {
        self.0.checked_add(bytes).map(Self)
    }

    /// How far `self` lies behind `start`, in bytes; `None` where it lies before it.
    pub fn since(self, start: Self) -> Option<u64> {
        self.0.checked_sub(start.0)
    }

    /// Whether this is the null pointer.
    pub fn is_null(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
