//! What objects hold, understood from memory alone: nothing runs in the target.

mod attributes;
mod classes;
mod containers;
mod kinds;
