//! Whether values were what was read of them.
//!
//! A running target may free an object between the moment at which a variable led to it and the
//! moment at which it is read, and may keep something else at its place by then. So everything
//! that a value was made of is read again by one call, by turns with what led to it, and must not
//! have changed: an object that a variable holds before and after can't have been another one in
//! between. Where memory is freed and used again within that call, it can't hold both at each
//! turn.

use invivo_model::Address;
use invivo_process::{Fault, Memory};

use crate::frames::{Met, Watch};
use crate::layout::common::STACK_REFERENCE_TAGS;
use crate::pieces::{Piece, read_pieces};
use crate::runtime::Runtime;

/// How often a small value is read again.
const TURNS: usize = 4;
/// Pieces that are small: of those that belong together, so many are read by turns.
const SMALL: usize = 48;

/// A word that leads to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) at: Address,
    pub(super) to: Address,
}

impl Link {
    /// Whether the word is as it was. Its tags tell who counts the reference.
    fn holds(self, now: &Piece) -> bool {
        let word = now.word(self.at, 0);
        word.is_some_and(|word| word & !STACK_REFERENCE_TAGS == self.to.0 & !STACK_REFERENCE_TAGS)
    }
}

/// An object that was asked for, and how it was found.
#[derive(Clone, Debug, Default)]
pub(super) struct Root {
    pub(super) object: Address,
    /// The words that lead to it, the first of them in the frame.
    pub(super) links: Vec<Link>,
    /// The place of its frame in the stack, where it is a variable's value.
    pub(super) frame: Option<usize>,
}

/// What a value was made of.
#[derive(Debug, Default)]
pub(super) struct Evidence<'a> {
    pub(super) links: &'a [Link],
    pub(super) frame: Option<usize>,
    /// Of each of its objects what was read of it.
    pub(super) objects: Vec<&'a [Piece]>,
}

impl Evidence<'_> {
    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.objects.iter().copied().flatten()
    }

    fn size(&self) -> usize {
        self.links.len() + self.pieces().count()
    }

    fn places(&self) -> impl Iterator<Item = (Address, usize)> {
        let links = self.links.iter().map(|link| (link.at, 8));
        links.chain(self.pieces().map(|piece| (piece.start, piece.bytes.len())))
    }
}

/// What has not changed of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether its object is where it was found.
    pub(super) is_held: bool,
    /// Of each of its objects, whether it is as it was read.
    pub(super) objects: Vec<bool>,
}

impl Verdict {
    /// That nothing is known to be as it was.
    pub(super) fn unknown(objects: usize) -> Self {
        Self {
            is_held: false,
            objects: vec![false; objects],
        }
    }
}

impl<M: Memory> Runtime<M> {
    /// What is still as it was of each of these.
    pub(super) fn check(
        &self,
        all: &[Evidence<'_>],
        watch: &mut Option<Watch>,
    ) -> Result<Vec<Verdict>, Fault> {
        let mut verdicts = Vec::with_capacity(all.len());
        let mut rest = all;
        while !rest.is_empty() {
            let mut size = 0;
            let fitting = rest.iter().take_while(|evidence| {
                size += evidence.size();
                size <= SMALL
            });
            let count = fitting.count().max(1);
            let (together, others) = rest.split_at_checked(count).unwrap_or_default();
            let size: usize = together.iter().map(Evidence::size).sum();
            let turns = if size <= SMALL * 2 { TURNS } else { 1 };
            verdicts.extend(self.check_together(together, turns, watch)?);
            rest = others;
        }
        Ok(verdicts)
    }

    fn check_together(
        &self,
        all: &[Evidence<'_>],
        turns: usize,
        watch: &mut Option<Watch>,
    ) -> Result<Vec<Verdict>, Fault> {
        let mut places = Vec::new();
        let frames = watch.as_ref().map(|watch| self.watch_places(watch));
        for _ in 0..turns {
            places.extend(frames.iter().flatten().copied());
            places.extend(all.iter().flat_map(Evidence::places));
        }
        let links = |evidence: &Evidence<'_>| evidence.links.to_vec();
        let last: Vec<_> = all.iter().flat_map(links).collect();
        places.extend(last.iter().map(|link| (link.at, 8)));
        places.extend(frames.iter().flatten().copied());
        let mut now = read_pieces(&self.memory, places)?.into_iter();
        let mut met = Met::default();
        let verdict = |evidence: &Evidence<'_>| Verdict {
            is_held: true,
            objects: vec![true; evidence.objects.len()],
        };
        let mut verdicts: Vec<_> = all.iter().map(verdict).collect();
        self.judge_recorded(all, &mut verdicts);
        for _ in 0..turns {
            self.judge_frames(watch, &mut met, &mut now, all, &mut verdicts);
            for (evidence, verdict) in all.iter().zip(&mut verdicts) {
                judge_links(evidence, &mut now, verdict);
                for (object, same) in evidence.objects.iter().zip(&mut verdict.objects) {
                    let now = now.by_ref().take(object.len());
                    let count = object
                        .iter()
                        .zip(now)
                        .filter(|(was, now)| was.bytes == now.bytes);
                    *same &= count.count() == object.len();
                }
            }
        }
        for (evidence, verdict) in all.iter().zip(&mut verdicts) {
            judge_links(evidence, &mut now, verdict);
        }
        self.judge_frames(watch, &mut met, &mut now, all, &mut verdicts);
        if let Some(watch) = watch {
            watch.learn(met);
        }
        Ok(verdicts)
    }

    /// Of recorded memory, lets only hold what had not changed while it was recorded.
    fn judge_recorded(&self, all: &[Evidence<'_>], verdicts: &mut [Verdict]) {
        let changed = |piece: &Piece| self.memory.has_changed(piece.start, piece.bytes.len());
        for (evidence, verdict) in all.iter().zip(verdicts) {
            let mut links = evidence.links.iter();
            verdict.is_held &= !links.any(|link| self.memory.has_changed(link.at, 8));
            for (object, same) in evidence.objects.iter().zip(&mut verdict.objects) {
                *same &= !object.iter().any(changed);
            }
        }
    }

    /// Lets only hold what was found in frames that were in their calls.
    fn judge_frames(
        &self,
        watch: &Option<Watch>,
        met: &mut Met,
        now: &mut impl Iterator<Item = Piece>,
        all: &[Evidence<'_>],
        verdicts: &mut [Verdict],
    ) {
        let Some(watch) = watch else { return };
        let innermost = self.innermost(watch, met, now);
        for (evidence, verdict) in all.iter().zip(verdicts) {
            let is_in_call = |frame| innermost.is_some_and(|innermost| innermost <= frame);
            verdict.is_held &= evidence.frame.is_none_or(is_in_call);
        }
    }
}

fn judge_links(
    evidence: &Evidence<'_>,
    now: &mut impl Iterator<Item = Piece>,
    verdict: &mut Verdict,
) {
    for link in evidence.links {
        verdict.is_held &= now.next().is_some_and(|now| link.holds(&now));
    }
}
