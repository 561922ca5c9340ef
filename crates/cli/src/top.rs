//! The live view: what was seen ([`Board`]) → rows ([`listing`]) → a screen ([`draw`]), and keys →
//! what of it is shown ([`State`]).

mod draw;
mod listing;
mod output;
mod plain;
mod screen;
mod state;
mod view;

use invivo::profile::live::Board;

pub(crate) use output::Tail;
pub(crate) use plain::tables;
pub(crate) use view::{Ending, Show, Signals};

pub(crate) use state::State;

/// The seconds that count as recent.
pub(crate) const WINDOW: u64 = 5;

/// What is shown, at one moment.
struct Picture<'a> {
    board: &'a Board,
    state: &'a State,
    /// What to say of the process where nothing is known of it yet.
    subject: &'a str,
    /// What keeps more from coming.
    plight: Option<&'a str>,
    color: bool,
}

#[cfg(test)]
mod tests;
