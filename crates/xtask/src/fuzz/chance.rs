//! Numbers that a seed decides, and what is made by them.

/// Splitmix64: every seed gives another sequence, always the same.
pub(super) struct Chance(u64);

/// Numbers at which something changes.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    0x7fff,
    0xffff,
    1 << 20,
    0x7fff_ffff,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

/// Texts that a terminal, a file format or a reader of options may take for something else.
const ODD: [&str; 24] = [
    "",
    "x",
    "\x1b[2J\x1b]0;title\x07",
    "\u{9b}31m",
    "\u{202e}txt.exe",
    "a\u{200b}b\u{feff}",
    "\n",
    "\r",
    "\t",
    "\0",
    "\x7f",
    "</script><script>alert(1)</script>",
    "\"'\\",
    "%s%n",
    ";rm -rf",
    "é𝔘😀",
    "../../../etc/passwd",
    "/dev/stdin",
    "/proc/self/environ",
    "-",
    "--",
    "--help",
    "<module>",
    "caf\u{e9}\u{301}",
];

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`, which is not 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    /// Less than `usual`, or one time in so many less than `rare`.
    pub(super) fn seldom(&mut self, many: usize, rare: usize, usual: usize) -> usize {
        let end = if self.one_in(many) { rare } else { usual };
        self.below(end)
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// Mostly one that is near an edge or small.
    pub(super) fn edge(&mut self) -> u64 {
        match self.below(4) {
            0 => self.number(),
            1 => self.below(40) as u64,
            2 => *self.pick(&EDGES),
            _ => {
                let near = self.below(3) as u64;
                self.pick(&EDGES).wrapping_add(near).wrapping_sub(1)
            }
        }
    }

    /// A text of up to `longest` bytes.
    pub(super) fn text(&mut self, longest: usize) -> String {
        let length = match self.below(8) {
            0 => longest,
            1 => self.below(longest.max(1)),
            _ => self.below(longest.clamp(1, 40)),
        };
        let mut text = String::new();
        while text.len() < length {
            let piece = *self.pick(&ODD);
            let times = if self.one_in(4) { length / 8 } else { 1 };
            text.push_str(&piece.repeat(times.max(1)));
            text.push('y');
        }
        let end = (0..=length).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or_default());
        text
    }

    /// Changes some bytes: one, a number, a piece taken out, doubled, put elsewhere or cut off.
    pub(super) fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            let length = self.seldom(3, 4096, 16);
            let end = bytes.len().min(at + length);
            match self.below(8) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.edge() as u8,
                2 => drop(bytes.drain(at..end)),
                3 => {
                    let piece = bytes[at..end].repeat(1 + self.below(8));
                    bytes.splice(at..at, piece);
                }
                4 => {
                    // A word from elsewhere: in an image, a pointer to something that is there.
                    let from = self.below(bytes.len() + 1);
                    let piece = bytes[from..bytes.len().min(from + 8)].to_vec();
                    let end = bytes.len().min(at + piece.len());
                    bytes.splice(at..end, piece);
                }
                5 => {
                    let number = self.edge().to_le_bytes();
                    let end = bytes.len().min(at + 8);
                    bytes.splice(at..end, number);
                }
                6 => {
                    let text = self.text(300);
                    bytes.splice(at..at, text.into_bytes());
                }
                7 if self.one_in(4) => bytes.truncate(at),
                _ => {}
            }
        }
    }
}
