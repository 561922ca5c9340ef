//! Whether a program has audit hooks (`sys.addaudithook`).

use invivo_model::{Address, Interpreter, Result};
use invivo_process::Memory;

use crate::fields::{fault, read_fields};
use crate::layout::common::LIST_FLAG;
use crate::runtime::Runtime;

const WHAT: &str = "cannot read the list of audit hooks";

impl<M: Memory> Runtime<M> {
    /// Whether Python code has added audit hooks to an interpreter. `None` where that is not known:
    /// from 3.14 on, and where what lies in the list's place is no list. (Hooks of C code are not
    /// looked for.)
    ///
    /// # Errors
    ///
    /// When the memory of the target can't be read.
    pub fn has_audit_hooks(&self, interpreter: &Interpreter) -> Result<Option<bool>> {
        let Some(field) = self.layout.interpreter.audit_hooks else {
            return Ok(None);
        };
        let [list] = read_fields(&self.memory, interpreter.address, [(field, 8)])
            .map_err(|met| fault(WHAT, met))?;
        if list == 0 {
            return Ok(Some(false));
        }
        let list = Address(list);
        let is_list = |flags: u64| flags & LIST_FLAG != 0;
        if !self.type_flags(list, WHAT).is_ok_and(is_list) {
            return Ok(None);
        }
        // Include/object.h, `PyVarObject`: the length follows the class.
        let length = self.layout.object.type_of + 8;
        let [length] =
            read_fields(&self.memory, list, [(length, 8)]).map_err(|met| fault(WHAT, met))?;
        Ok(Some(length != 0))
    }
}
