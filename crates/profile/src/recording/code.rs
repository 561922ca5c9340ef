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

/// The trust, and four answers with three possibilities each, as one number below 243.
pub(super) fn state(status: &SampleStatus, trust: Trust) -> u8 {
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

pub(super) fn to_state(number: u8) -> Option<(SampleStatus, Trust)> {
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
        for number in 0..=u8::MAX {
            match to_state(number) {
                Some((status, trust)) => assert_eq!(state(&status, trust), number),
                None => assert!(number >= 243),
            }
        }
    }

    #[test]
    fn kinds_and_modes() {
        for number in 0..=u8::MAX {
            assert_eq!(to_kind(number).map(kind), (number < 5).then_some(number));
            assert_eq!(to_mode(number).map(mode), (number < 4).then_some(number));
        }
    }
}
