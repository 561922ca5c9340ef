use std::fmt;

/// A string of a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Text {
    /// Its characters; lone surrogates, which are none, as [`surrogate`](crate::surrogate) keeps
    /// them.
    pub text: String,
    /// Whether it goes on, longer than was read.
    pub truncated: bool,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if self.truncated {
            f.write_str("…")
        } else {
            Ok(())
        }
    }
}
