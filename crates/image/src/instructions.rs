//! What a few instructions of x86-64 say.

/// What a call instruction calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Called {
    /// What begins at this address.
    Function(u64),
    /// What the pointer at this address leads to.
    Pointer(u64),
}

/// How many bytes the longest call has that names what it calls.
const LONGEST: usize = 6;

/// What was called by the instruction that ends with `code`, before `return_address`; `None` where
/// only a register says so, or where it is no call.
///
/// The bytes before a call may look like a longer one: believe only what makes sense.
pub fn called(code: [u8; LONGEST], return_address: u64) -> Option<Called> {
    let [first, second, offset @ ..] = code;
    let place = return_address.wrapping_add_signed(i32::from_le_bytes(offset).into());
    match (first, second) {
        (0xff, 0x15) => Some(Called::Pointer(place)),
        (_, 0xe8) => Some(Called::Function(place)),
        _ => None,
    }
}

/// Where the jumps in `code` lead that say so by themselves; `at` is where it begins. Bytes in the
/// middle of other instructions are taken for jumps too: they lead anywhere.
pub fn jumps(code: &[u8], at: u64) -> impl Iterator<Item = u64> {
    let jump = |bytes: &[u8]| match *bytes {
        [0x0f, 0x80..=0x8f, a, b, c, d] => Some((6, [a, b, c, d])),
        [0xe9, a, b, c, d, _] => Some((5, [a, b, c, d])),
        _ => None,
    };
    let windows = (at..).zip(code.windows(LONGEST));
    windows.filter_map(move |(start, bytes)| {
        let (length, offset) = jump(bytes)?;
        let offset = i64::from(i32::from_le_bytes(offset)) + length;
        Some(start.wrapping_add_signed(offset))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_say_what_they_call() {
        let at = 0x1000;
        let near = [0x90, 0xe8, 0x10, 0, 0, 0];
        assert_eq!(called(near, at), Some(Called::Function(0x1010)));
        let table = [0xff, 0x15, 0xf0, 0xff, 0xff, 0xff];
        assert_eq!(called(table, at), Some(Called::Pointer(0xff0)));
        // call *%r11
        assert_eq!(called([0x90, 0x90, 0x90, 0x41, 0xff, 0xd3], at), None);
    }

    #[test]
    fn jumps_lead_where_they_say() {
        let code = [
            0x0f, 0x84, 0x10, 0, 0, 0, // je
            0xe9, 0xf0, 0xff, 0xff, 0xff, // jmp
            0xeb, 0x01, // a short one
        ];
        let found: Vec<u64> = jumps(&code, 0x1000).collect();
        assert_eq!(found, [0x1016, 0xffb]);
        assert_eq!(jumps(&[0xe9; 5], u64::MAX).count(), 0);
    }
}
