use std::fmt;

/// How finished a CPython release is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReleaseLevel {
    /// `a`
    Alpha,
    /// `b`
    Beta,
    /// `rc`
    Candidate,
    /// A final release.
    Final,
}

/// A CPython version, as precisely as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The `3` of `3.14.8`.
    pub major: u8,
    /// The `14` of `3.14.8`.
    pub minor: u8,
    /// The `8` of `3.14.8`; `None` where only the minor version could be told.
    pub micro: Option<u8>,
    /// Final, or which pre-release.
    pub level: ReleaseLevel,
    /// The number of the pre-release; 0 for a final release.
    pub serial: u8,
}

impl Version {
    /// From `PY_VERSION_HEX` (`Include/patchlevel.h`): major, minor and micro in a byte each, then
    /// four bits of level (`0xA` alpha, `0xB` beta, `0xC` candidate, `0xF` final) and four of
    /// serial. `None` where the level is none of these or a higher byte is set.
    pub fn from_hex(hex: u64) -> Option<Self> {
        let [0, 0, 0, 0, major, minor, micro, last] = hex.to_be_bytes() else {
            return None;
        };
        let level = match last >> 4 {
            0xA => ReleaseLevel::Alpha,
            0xB => ReleaseLevel::Beta,
            0xC => ReleaseLevel::Candidate,
            0xF => ReleaseLevel::Final,
            _ => return None,
        };
        Some(Self {
            major,
            minor,
            micro: Some(micro),
            level,
            serial: last & 0xF,
        })
    }

    /// A version of which only the minor is known, as a file's name tells it.
    pub fn from_minor(major: u8, minor: u8) -> Self {
        Self {
            major,
            minor,
            micro: None,
            level: ReleaseLevel::Final,
            serial: 0,
        }
    }

    /// Whether this is an alpha, beta or candidate: their layouts are compatible only with
    /// themselves.
    pub fn is_prerelease(&self) -> bool {
        self.level != ReleaseLevel::Final
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)?;
        if let Some(micro) = self.micro {
            write!(f, ".{micro}")?;
        }
        match self.level {
            ReleaseLevel::Alpha => write!(f, "a{}", self.serial),
            ReleaseLevel::Beta => write!(f, "b{}", self.serial),
            ReleaseLevel::Candidate => write!(f, "rc{}", self.serial),
            ReleaseLevel::Final => Ok(()),
        }
    }
}

/// How an interpreter was built, as far as it can be told from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// Built `--with-pydebug`; `None` where nothing readable tells.
    pub debug: Option<bool>,
    /// Built `--disable-gil`; `None` where nothing readable tells.
    pub free_threaded: Option<bool>,
}
