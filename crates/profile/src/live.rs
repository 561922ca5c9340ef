//! A profile as it stands right now, for those who show it while it is made.
//!
//! A [`Feed`] takes samples and hands them on in slices, some a second, so that who shows them never
//! keeps the sampling waiting. A [`Board`] puts slices together: what was seen in the last seconds,
//! and since the start.
//!
//! What both keep is bounded, whatever the target does and however long it takes.

mod board;
mod counts;
mod feed;
mod tables;
mod tree;

pub use board::{Board, Load, Overview, PlaceShare, ThreadShare};
pub use counts::{Count, ThreadShares, ThreadTimes, Times};
pub use feed::{Feed, Received, Sampling, Slice, Slices, feed};
pub use tree::Branch;

#[cfg(test)]
mod tests;
