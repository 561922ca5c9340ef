use crate::{Address, Defect, Stack, Text};

/// A greenlet that waits to be switched to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greenlet {
    /// Where its object lies.
    pub address: Address,
    /// The name of its class; `None` where that could not be read.
    pub class: Option<Text>,
    /// The frames that it waits in.
    pub stack: Stack,
}

/// The greenlets of an interpreter that are suspended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Greenlets {
    /// They, by their addresses.
    pub list: Vec<Greenlet>,
    /// How many were found that have no frames: they run, have not begun, or have ended.
    pub not_suspended: usize,
    /// How many there are that were not looked at.
    pub left_out: usize,
    /// What could not be read as it should: then there may be more.
    pub defects: Vec<Defect>,
}
