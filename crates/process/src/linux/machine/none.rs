//! A machine on which no thread can be steered yet.

use super::{Detour, Prepared, Registers};
use crate::Address;

/// There are none.
#[derive(Clone, Debug)]
pub(in crate::linux) enum Native {}

impl Registers for Native {
    const SYSTEM_CALL: &'static [u8] = &[];
    const SIGNAL_RETURN: &'static [u8] = &[];
    const SHADOW_STACK: Option<i32> = None;
    const VECTORS: i32 = 0;
    const RED_ZONE: u64 = 0;

    fn parse(_: &[u8]) -> Option<Self> {
        None
    }

    fn bytes(&self) -> Vec<u8> {
        match *self {}
    }

    fn instruction(&self) -> Address {
        match *self {}
    }

    fn stack(&self) -> Address {
        match *self {}
    }

    fn frame(&self) -> Address {
        match *self {}
    }

    fn thread_pointer(&self) -> Option<Address> {
        match *self {}
    }

    fn system_call(&self) -> Option<(u32, [u64; 6])> {
        match *self {}
    }

    fn outcome(&self) -> i64 {
        match *self {}
    }

    fn returning(&self, _: i64) -> Self {
        match *self {}
    }

    fn again(&self) -> Self {
        match *self {}
    }

    fn detour(&self, _: &Detour<'_, Self>) -> Option<Prepared<Self>> {
        match *self {}
    }
}
