//! Whether a thread may be made to call something: what its state says right now.

use invivo_model::{Address, Interpreter, Result, ThreadState};
use invivo_process::{Fault, Memory};

use crate::fields::{fault, read_fields};
use crate::gil::GilState;
use crate::layout::common::THREAD_ATTACHED;
use crate::layout::{Recursion, RecursionLimit};
use crate::pieces::read_pieces;
use crate::runtime::Runtime;

const WHAT: &str = "cannot read what the thread is allowed to do";

/// What a thread may do where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether it may run Python code, by any of the signs that its version has: it holds the GIL,
    /// or is the one that runs, or is attached to its interpreter.
    pub attached: bool,
    /// Where the GIL lies that it takes; null where there is none.
    pub gil: Address,
    /// How many calls it can nest before Python raises a `RecursionError`; less than 0 where it
    /// is beyond that already.
    pub recursion_left: i64,
}

impl<M: Memory> Runtime<M> {
    /// How a thread of `interpreter` stands.
    ///
    /// # Errors
    ///
    /// As [`Runtime::interpreters`].
    pub fn standing(&self, interpreter: &Interpreter, thread: &ThreadState) -> Result<Standing> {
        let read = || {
            let gil = self.gil_of(interpreter)?;
            Ok(Standing {
                attached: self.is_attached(gil, thread)?,
                gil,
                recursion_left: self.recursion_left(interpreter, thread)?,
            })
        };
        read().map_err(|met| fault(WHAT, met))
    }

    fn is_attached(&self, gil: Address, thread: &ThreadState) -> Result<bool, Fault> {
        let layout = &self.layout.thread;
        if let Some(at) = layout.attachment {
            let [state] = read_fields(&self.memory, thread.address, [(at, 4)])?;
            if state == u64::from(THREAD_ATTACHED) {
                return Ok(true);
            }
        }
        if let Some((at, bit)) = layout.status {
            let [status] = read_fields(&self.memory, thread.address, [(at, 4)])?;
            if status >> bit & 1 == 1 {
                return Ok(true);
            }
        }
        if let Some(at) = self.layout.runtime.current_thread {
            let [current] = read_fields(&self.memory, self.address(), [(at, 8)])?;
            if Address(current) == thread.address {
                return Ok(true);
            }
        }
        self.holds_gil(gil, thread)
    }

    fn gil_of(&self, interpreter: &Interpreter) -> Result<Address, Fault> {
        Ok(
            match (self.layout.runtime.gil, self.layout.interpreter.gil) {
                (Some(at), _) => self.address().offset(at).unwrap_or(Address::NULL),
                (None, Some(at)) => {
                    let [gil] = read_fields(&self.memory, interpreter.address, [(at, 8)])?;
                    Address(gil)
                }
                (None, None) => Address::NULL,
            },
        )
    }

    fn holds_gil(&self, gil: Address, thread: &ThreadState) -> Result<bool, Fault> {
        if gil.is_null() {
            return Ok(false);
        }
        let layout = &self.layout.gil;
        let read = read_pieces(&self.memory, [(gil, GilState::size(layout))])?.pop();
        let state = read.and_then(|piece| GilState::parse(layout, gil, piece.view()));
        let state = state.ok_or(Fault::Unmapped(gil))?;
        Ok(state.is_held_by(thread.address))
    }

    fn recursion_left(
        &self,
        interpreter: &Interpreter,
        thread: &ThreadState,
    ) -> Result<i64, Fault> {
        let int = |base, at| {
            let [value] = read_fields(&self.memory, base, [(at, 4)])?;
            let [a, b, c, d, ..] = value.to_le_bytes();
            Ok(i64::from(i32::from_le_bytes([a, b, c, d])))
        };
        match self.layout.thread.recursion {
            Recursion::Left(at) => int(thread.address, at),
            Recursion::Depth { at, limit } => {
                let limit = match limit {
                    RecursionLimit::Runtime(at) => int(self.address(), at)?,
                    RecursionLimit::Interpreter(at) => int(interpreter.address, at)?,
                };
                Ok(limit - int(thread.address, at)?)
            }
        }
    }
}
