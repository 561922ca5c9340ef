//! Numbers and texts in as few bytes as they need.

use invivo_model::Text;

/// Appends `value`, seven bits a byte, the lowest first; a set top bit says that more follow.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number that may be negative: 0, -1, 1, -2 … as 0, 1, 2, 3 …
pub(super) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends a number or nothing: 0 for nothing, else the number plus 1.
pub(super) fn put_option(out: &mut Vec<u8>, value: Option<u32>) {
    put(out, value.map_or(0, |value| u64::from(value) + 1));
}

/// Appends its length, and bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends the first bytes of a text, and whether those are not all.
pub(super) fn put_text(out: &mut Vec<u8>, text: &Text, most: usize) {
    let kept = cut(&text.text, most);
    out.push(u8::from(text.truncated || kept.len() < text.text.len()));
    put_bytes(out, kept.as_bytes());
}

/// The characters of a text that fit into `most` bytes.
pub(super) fn cut(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most))
        .unwrap_or_default()
}

/// Reads what the functions above have written. Whatever is not of that form is `None`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let value = self.number()?;
        Some((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    /// The outer `None` says that it could not be read.
    pub(super) fn option(&mut self) -> Option<Option<u32>> {
        match self.number()? {
            0 => Some(None),
            value => Some(Some(u32::try_from(value - 1).ok()?)),
        }
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn string(&mut self) -> Option<String> {
        str::from_utf8(self.bytes()?).ok().map(str::to_owned)
    }

    pub(super) fn text(&mut self) -> Option<Text> {
        let truncated = match self.byte()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        Some(Text {
            text: self.string()?,
            truncated,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_put_comes_back(value: u64, signed: i64, option: Option<u32>, text in ".*") {
            // The last number has no room for "nothing" beside it, and is never given.
            let option = option.map(|value| value.min(u32::MAX - 1));
            let text = Text { text, truncated: signed < 0 };
            let mut out = Vec::new();
            put(&mut out, value);
            put_signed(&mut out, signed);
            put_option(&mut out, option);
            put_text(&mut out, &text, usize::MAX);
            let mut input = Input(&out);
            prop_assert_eq!(input.number(), Some(value));
            prop_assert_eq!(input.signed(), Some(signed));
            prop_assert_eq!(input.option(), Some(option));
            prop_assert_eq!(input.text(), Some(text));
            prop_assert!(input.is_empty());
            prop_assert_eq!(input.number(), None);
        }
    }

    #[test]
    fn texts_are_cut_between_characters() {
        let text = |text: &str, truncated| Text {
            text: text.to_owned(),
            truncated,
        };
        let mut out = Vec::new();
        put_text(&mut out, &text("naïve", false), 3);
        assert_eq!(Input(&out).text(), Some(text("na", true)));
    }

    #[test]
    fn numbers_that_do_not_fit() {
        let nine = [0xff; 9];
        assert_eq!(Input(&[&nine[..], &[1]].concat()).number(), Some(u64::MAX));
        assert_eq!(Input(&[&nine[..], &[2]].concat()).number(), None);
        assert_eq!(Input(&[&nine[..], &[0x81, 0]].concat()).number(), None);
        assert_eq!(Input(&[0x80]).number(), None);
        assert_eq!(Input(&[0x80, 0x80, 0x80, 0x80, 0x10]).small(), None);
        assert_eq!(Input(&[5, 1]).bytes(), None);
        assert_eq!(Input(&[1, 0xff]).string(), None);
    }
}
