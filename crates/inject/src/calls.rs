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

/// The text that runs the script at `path` in a dictionary of its own, whatever the names in
/// `__main__` stand for and whatever modules the program has patched, and never raises. `nonce`
/// makes the two names unique that it needs there for a moment.
///
/// It does nothing in other threads than `only` (a thread as `threading.get_ident()` numbers it).
/// `None` is for what no other thread can come to run.
pub(crate) fn runner(path: &Path, only: Option<u64>, nonce: u32) -> String {
    let mark = String::from_utf8_lossy(MARK);
    let path = literal(path.as_os_str().as_encoded_bytes());
    let (one, other) = (format!("_i{nonce:08x}"), format!("_j{nonce:08x}"));
    // A program may patch `_thread.get_ident`, but no type that is written in C: an RLock tells
    // who holds it. (Of types written in Python bit 9 is set, and bit 8 is not.)
    let (check, indent) = match only {
        None => (String::new(), ""),
        Some(ident) => {
            let check = format!(
                " {other}=[{other}()for {other} in().__class__.__base__.__subclasses__()if \
                 ().__class__.__class__.__dict__['__flags__'].__get__({other})&768!=512 \
                 and {other}.__name__=='RLock'][0]\n \
                 {other}.acquire()\n \
                 if {other}._release_save()[1]=={ident}:\n"
            );
            (check, " ")
        }
    };
    // An import would run what the program has put in its way; the import system itself holds all
    // that is needed. Both names are gone before the script begins: an argument is evaluated
    // before the call.
    let inner = format!(
        "try:\n\
         {check}\
         {indent} {other}={one}['__loader__'].find_spec.__globals__['_bootstrap_external']._io\n\
         {indent} with {other}.FileIO({path})as {other}:{other}={other}.read()\n\
         {indent} {one}['exec']((lambda:0).__globals__.pop('{other}'),\
         {{'__builtins__':(lambda:0).__globals__.pop('{one}')}})\n\
         except:0"
    );
    // What a signal handler of the program raises before the first `try`, or once the last one is
    // over, makes the call fail, and with it what a pending call interrupts. Handlers are called
    // when code is entered, which from 3.11 on is all the time that compiling it takes, and before
    // 3.11 when what an `except` has caught goes, with the script's frames. So most of it is a
    // string, which takes hardly any time to compile, and what that raises is caught once more.
    format!(
        "{mark}try:\n \
         {one}=__builtins__\n \
         try:{one}={one}.__dict__\n \
         except:0\n \
         {one}['exec'](r'''{inner}''')\n\
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
        let text = runner(Path::new("/tmp/it's\n"), None, 0xbeef);
        assert!(text.as_bytes().starts_with(MARK));
        assert!(text.is_ascii() && !text.contains('\0'));
        assert!(text.contains(r"FileIO(b'/tmp/it\'s\n')as _j0000beef:"));
        assert!(!text.contains("RLock"));
        let text = runner(Path::new("/tmp/x"), Some(7), 0xbeef);
        assert!(text.contains("\n if _j0000beef._release_save()[1]==7:\n  _j0000beef=_i"));
        let longest = Path::new(&"x".repeat(300)).to_owned();
        let longest = runner(&longest, Some(u64::MAX), u32::MAX);
        assert!(longest.len() < 1060, "{}", longest.len());
    }
}
