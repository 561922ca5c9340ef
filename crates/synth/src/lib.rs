//! What tests look into: live Python processes in every situation that Invivo claims to handle.
//!
//! Shares no code with the crates that read a process, so that a wrong idea of a structure
//! cannot agree with itself. Everything here panics with a remedy instead of returning an
//! error: a test that cannot have its target has failed.
#![forbid(unsafe_code)]

pub mod files;
pub mod helpers;
pub mod image;
pub mod interpreters;
pub mod launch;
pub mod packages;
pub mod pair;
pub mod root;
pub mod samples;
pub mod scenarios;
pub mod target;
pub mod waits;

pub use interpreters::{Interpreter, acted_on, interpreter, interpreters, protocol};
pub use launch::Launch;
pub use target::Target;
pub use waits::Wait;
