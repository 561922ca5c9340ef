//! Whether a text that a target sent is JSON that can be handed on.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// A value of more parts than this is not passed on: whoever parses the text would need much more
/// memory than it has bytes. The bootstrap sends half as many at most.
const PARTS_MAX: usize = 1 << 20;

/// The text, if it is one whole JSON value with proper strings, not nested deeply (128 levels) and
/// of not too many parts. Nothing is built to find that out.
pub(super) fn checked(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let mut parts = PARTS_MAX;
    deserializer
        .deserialize_any(Check { parts: &mut parts })
        .ok()?;
    deserializer.end().ok()?;
    Some(text.to_owned())
}

/// Visits every part of a value and counts.
struct Check<'a> {
    parts: &'a mut usize,
}

impl Check<'_> {
    fn count<E: Error>(&mut self) -> Result<(), E> {
        *self.parts = self
            .parts
            .checked_sub(1)
            .ok_or_else(|| E::custom("too many parts"))?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<(), D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while sequence
            .next_element_seed(Check { parts: self.parts })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        // A number of many digits comes as a map, too.
        while map.next_key_seed(Check { parts: self.parts })?.is_some() {
            map.next_value_seed(Check { parts: self.parts })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_passes_unchanged() {
        for text in [
            "null",
            "true",
            "-1",
            "1e400",
            "123456789012345678901234567890",
            "0.1",
            r#""a\u000a\"é""#,
            r#"{"a":[1,2.5,{"b":null}],"":[]}"#,
        ] {
            assert_eq!(checked(text.as_bytes()).as_deref(), Some(text));
        }
    }

    #[test]
    fn anything_else_does_not() {
        for text in [
            "",
            " ",
            "nul",
            "NaN",
            "[1,]",
            "1 2",
            r#""\ud800""#,
            "{1:2}",
            "'a'",
            "[",
            "\"\n\"",
        ] {
            assert_eq!(checked(text.as_bytes()), None, "{text}");
        }
        assert_eq!(checked(b"\"\xff\""), None);
    }

    #[test]
    fn depth_and_parts_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(checked(nested(100).as_bytes()).is_some());
        assert!(checked(nested(1_000_000).as_bytes()).is_none());
        let many = |parts: usize| format!("[0{}]", ",0".repeat(parts));
        assert!(checked(many(1000).as_bytes()).is_some());
        assert!(checked(many(PARTS_MAX).as_bytes()).is_none());
    }
}
