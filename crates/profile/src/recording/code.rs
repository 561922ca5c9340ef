//! What stands for kinds, modes and states in a recording.

use invivo_model::{FunctionKind, Mode, SampleStatus, Trust};

const KINDS: [FunctionKind; 5] = [
    FunctionKind::Python,
    FunctionKind::Native,
    FunctionKind::Collector,
    FunctionKind::Task,
    FunctionKind::Place,
];
const MODES: [Mode; 4] = [Mode::Wall, Mode::Cpu, Mode::Gil, Mode::Exception];
const TRUSTS: [Trust; 3] = [Trust::Whole, Trust::Torn, Trust::Guessed];
const ANSWERS: [Option<bool>; 3] = [None, Some(false), Some(true)];

fn number_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    // Each of these lists is complete and short.
    all.iter().position(|other| other == one).unwrap_or(0) as u8
}

pub(super) fn kind(kind: FunctionKind) -> u8 {
    number_of(&KINDS, &kind)
}

pub(super) fn to_kind(number: u8) -> Option<FunctionKind> {
    KINDS.get(usize::from(number)).copied()
}

pub(super) fn mode(mode: Mode) -> u8 {
    number_of(&MODES, &mode)
}

pub(super) fn to_mode(number: u8) -> Option<Mode> {
    MODES.get(usize::from(number)).copied()
}

/// What a state begins with that tells whether the thread waits for a processor: this for no, the
/// next number for yes. The rest of the state follows.
const WAITS: u8 = 243;

/// A state, as a byte or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Whether it waits for a processor, where that is known.
    first: Option<u8>,
    /// The trust, and four answers with three possibilities each, as one number below 243.
    rest: u8,
}

impl State {
    pub(super) fn put(self, out: &mut Vec<u8>) {
        out.extend(self.first);
        out.push(self.rest);
    }
}

pub(super) fn state(status: &SampleStatus, trust: Trust) -> State {
    State {
        first: status.waits_for_cpu.map(|waits| WAITS + u8::from(waits)),
        rest: rest(status, trust),
    }
}

fn rest(status: &SampleStatus, trust: Trust) -> u8 {
    let answers = [
        status.handles_exception,
        status.waits_for_gil,
        status.holds_gil,
        status.on_cpu,
    ];
    let answers = answers.iter().map(|answer| number_of(&ANSWERS, answer));
    let state = answers.fold(0, |state, answer| state * 3 + answer);
    state * 3 + number_of(&TRUSTS, &trust)
}

/// The next state of what `next` gives, byte by byte.
pub(super) fn to_state(mut next: impl FnMut() -> Option<u8>) -> Option<(SampleStatus, Trust)> {
    let first = next()?;
    let waits = first.checked_sub(WAITS);
    let (mut status, trust) = to_rest(if waits.is_some() { next()? } else { first })?;
    status.waits_for_cpu = match waits {
        None => None,
        Some(0) => Some(false),
        Some(1) => Some(true),
        Some(_) => return None,
    };
    Some((status, trust))
}

fn to_rest(number: u8) -> Option<(SampleStatus, Trust)> {
    let mut rest = number;
    let mut next = || {
        let digit = usize::from(rest % 3);
        rest /= 3;
        digit
    };
    let trust = TRUSTS.get(next()).copied()?;
    let mut answer = || ANSWERS.get(next()).copied();
    let status = SampleStatus {
        on_cpu: answer()?,
        waits_for_cpu: None,
        holds_gil: answer()?,
        waits_for_gil: answer()?,
        handles_exception: answer()?,
    };
    (rest == 0).then_some((status, trust))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_own_number() {
        for first in 0..=u8::MAX {
            for rest in 0..=u8::MAX {
                let mut bytes = [first, rest].into_iter();
                let read = to_state(|| bytes.next());
                let taken = 2 - bytes.len();
                let Some((status, trust)) = read else {
                    assert!(first > 244 || first >= WAITS && rest >= WAITS);
                    continue;
                };
                let mut written = Vec::new();
                state(&status, trust).put(&mut written);
                assert_eq!(written, &[first, rest][..taken]);
            }
        }
        assert_eq!(to_state(|| None), None);
    }

    #[test]
    fn kinds_and_modes() {
        for number in 0..=u8::MAX {
            assert_eq!(to_kind(number).map(kind), (number < 5).then_some(number));
            assert_eq!(to_mode(number).map(mode), (number < 4).then_some(number));
        }
    }
}
