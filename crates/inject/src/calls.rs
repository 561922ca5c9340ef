//! The functions of a target that it is made to call, and the text it runs with them.

use std::path::Path;

use invivo_cpython::Runtime;
use invivo_model::{Address, Error, ErrorKind, Result};
use invivo_process::{Argument, Call, Memory, Module, SignalReturn, Target};

use crate::channel::literal;

/// Where the functions lie, and what else steering a thread takes.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    /// What is mapped.
    pub(crate) modules: Vec<Module>,
    /// `PyRun_SimpleString`: runs a text in `__main__`.
    pub(crate) run: Address,
    /// `PyErr_CheckSignals`: takes up a request, where the version has the protocol.
    pub(crate) check: Address,
    /// `PyEval_RestoreThread` and `PyEval_SaveThread`: take the GIL and let go of it.
    restore: Address,
    save: Address,
    signal_return: Result<SignalReturn>,
}

impl Tools {
    /// Looks for all of it.
    ///
    /// # Errors
    /// `Unsupported` where the target does not export the functions.
    pub(crate) fn find<M: Memory>(target: &Target, runtime: &Runtime<M>) -> Result<Self> {
        let modules = target.modules()?;
        let names: [&[u8]; 4] = [
            b"PyRun_SimpleString",
            b"PyErr_CheckSignals",
            b"PyEval_RestoreThread",
            b"PyEval_SaveThread",
        ];
        let found = runtime.exports(&modules, target, names);
        let [Some(run), Some(check), Some(restore), Some(save)] = found else {
            let missing = names.iter().zip(found).find(|(_, export)| export.is_none());
            let missing = missing.map_or(&b""[..], |(name, _)| name);
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("process {} can't be made to run a script", target.pid()),
                format!(
                    "its interpreter does not export {}",
                    String::from_utf8_lossy(missing)
                ),
                "it was built without its C API: run it with another build of CPython",
            ));
        };
        Ok(Self {
            run: run.address,
            check: check.address,
            restore: restore.address,
            save: save.address,
            // Without it threads that wait are left alone.
            signal_return: target.signal_return(&modules),
            modules,
        })
    }

    /// What makes a thread of the thread state at `thread` call `function` as a callback would:
    /// with the GIL taken before and let go afterwards.
    ///
    /// # Errors
    /// `Unsupported` where no thread can be steered.
    pub(crate) fn callback(
        &self,
        thread: Address,
        function: Address,
        argument: Argument,
    ) -> Result<([Call; 3], SignalReturn)> {
        let call = |function, argument| Call { function, argument };
        let calls = [
            call(self.restore, Argument::Value(thread.0)),
            call(function, argument),
            call(self.save, Argument::Value(0)),
        ];
        Ok((calls, self.signal_return.clone()?))
    }
}

/// What stands at the beginning of every text of ours in a target.
pub(crate) const MARK: &[u8] = b"#invivo\n";

/// The text that runs the script at `path` in a dictionary of its own, in the thread that
/// `threading` knows by `ident` and in no other, whatever the names in `__main__` stand for, and
/// never raises. `nonce` makes the two names unique that it needs there for a moment.
pub(crate) fn runner(path: &Path, ident: u64, nonce: u32) -> String {
    let mark = String::from_utf8_lossy(MARK);
    let path = literal(path.as_os_str().as_encoded_bytes());
    let (one, other) = (
        format!("_invivo_{nonce:08x}"),
        format!("_invivo_{nonce:08x}_"),
    );
    // Both names are gone before the script begins: an argument is evaluated before the call.
    format!(
        "{mark}try:\n \
         import builtins as {one},_thread as {other}\n \
         if {other}.get_ident()=={ident}:\n  \
         with {one}.open({path},'rb')as {other}:{other}={other}.read()\n  \
         {one}.exec({one}.globals().pop('{other}'),\
         {{'__builtins__':{one}.globals().pop('{one}')}})\n\
         except:0\n\
         try:del {one}\n\
         except:0\n\
         try:del {other}\n\
         except:0\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_fits_where_it_goes_and_says_whose_it_is() {
        let text = runner(Path::new("/tmp/it's\n"), 7, 0xbeef);
        assert!(text.as_bytes().starts_with(MARK));
        assert!(text.is_ascii() && !text.contains('\0'));
        assert!(text.contains(r"open(b'/tmp/it\'s\n','rb')as _invivo_0000beef_:"));
        assert!(text.contains("\n if _invivo_0000beef_.get_ident()==7:\n  with "));
        let longest = runner(Path::new(&"x".repeat(511)), u64::MAX, u32::MAX);
        assert!(longest.len() < 1024, "{}", longest.len());
    }
}
