//! The innermost function a thread is in.

use invivo_model::{Address, Result, Text, ThreadState};
use invivo_process::Memory;

use crate::fields::{fault, read_fields};
use crate::layout::common::{SHIM_FILE, STACK_REFERENCE_TAGS};
use crate::runtime::Runtime;

const WHAT: &str = "cannot read the thread's frames";

/// A Python function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// `co_qualname`, in versions without it `co_name`.
    pub qualname: Text,
    /// `co_filename`.
    pub filename: Text,
}

impl<M: Memory> Runtime<M> {
    /// The innermost Python function of a thread; `None` where it runs no Python code.
    ///
    /// The thread runs on meanwhile, so this is a hint, not a proof.
    ///
    /// # Errors
    ///
    /// `Corrupt` where frame or code can't be read, which also happens when the thread leaves the
    /// function meanwhile; `Gone` or `Refused` where memory can't be read at all.
    pub fn thread_top_function(&self, thread: &ThreadState) -> Result<Option<Function>> {
        let layout = &self.layout.frame;
        let fields = [
            (layout.executable, 8),
            (layout.previous, 8),
            (layout.owner.map_or(layout.previous, |owner| owner.at), 1),
        ];
        let mut frame = thread.current_frame;
        for _ in 0..self.limits.frames {
            if frame.is_null() {
                break;
            }
            let [executable, previous, owner] =
                read_fields(&self.memory, frame, fields).map_err(|met| fault(WHAT, met))?;
            let code = Address(executable & !STACK_REFERENCE_TAGS);
            let is_sentinel = layout
                .owner
                .is_some_and(|known| owner >= u64::from(known.first_sentinel));
            if !is_sentinel && !code.is_null() {
                let function = self.function(code)?;
                if function.filename.text != SHIM_FILE {
                    return Ok(Some(function));
                }
            }
            frame = Address(previous);
        }
        Ok(None)
    }

    fn function(&self, code: Address) -> Result<Function> {
        let layout = &self.layout.code;
        let fields = [
            (layout.qualname.unwrap_or(layout.name), 8),
            (layout.filename, 8),
        ];
        let [qualname, filename] =
            read_fields(&self.memory, code, fields).map_err(|met| fault(WHAT, met))?;
        Ok(Function {
            qualname: self.string(Address(qualname))?,
            filename: self.string(Address(filename))?,
        })
    }
}
