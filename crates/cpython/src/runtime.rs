//! An interpreter that can be looked into.

use invivo_model::{
    Address, Build, Error, ErrorKind, Interpreter, ReleaseLevel, Result, Text, Version,
};
use invivo_process::Memory;

use crate::code::SharedCodes;
use crate::fields::{corrupt, fault, read_fields};
use crate::interpreters::{self, Interpreters};
use crate::layout::{self, Layout, Preamble};
use crate::limits::Limits;
use crate::locate::Location;

/// More options than anybody gives with `-X`.
const MAX_XOPTIONS: usize = 256;

/// The runtime state of an interpreter whose layout is known. Reads what is asked for when it is
/// asked for; keeps nothing of the target but where it is, and the code objects it has met.
#[derive(Clone, Debug)]
pub struct Runtime<M> {
    pub(crate) memory: M,
    pub(crate) layout: Layout,
    pub(crate) limits: Limits,
    pub(crate) codes: SharedCodes,
    address: Address,
    version: Version,
    build: Build,
}

/// What an interpreter is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is not ready to run Python code: it is being started, or has been shut down.
    Uninitialized,
    /// It runs Python code: also while it imports `site`, and while it waits at its end for its
    /// threads and runs what was registered with `atexit`.
    Running,
    /// It is being shut down: what code that still runs finds may be gone.
    Finalizing,
}

/// One of the options given with `-X`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XOption {
    /// What stands before the `=`.
    pub name: String,
    /// What stands behind it; `None` where there is no `=`.
    pub value: Option<String>,
}

impl<M: Memory> Runtime<M> {
    /// Opens the interpreter at `location`.
    ///
    /// # Errors
    ///
    /// Those of [`Location::layout`].
    pub fn open(memory: M, location: &Location, limits: Limits) -> Result<Self> {
        let layout = location.layout.clone()?;
        let version = location.version.ok_or_else(|| {
            corrupt(
                "cannot look into the interpreter",
                "it has a layout, but no version",
            )
        })?;
        let (address, build) = (location.address, location.build);
        Ok(Self::new(memory, layout, limits, address, version, build))
    }

    /// The interpreter at `address`, if it is as is said here.
    pub(crate) fn new(
        memory: M,
        layout: Layout,
        limits: Limits,
        address: Address,
        version: Version,
        build: Build,
    ) -> Self {
        Self {
            memory,
            layout,
            limits,
            codes: SharedCodes::default(),
            address,
            version,
            build,
        }
    }

    /// The same interpreter, read by way of other memory.
    pub fn with_memory<N>(&self, memory: N) -> Runtime<N> {
        Runtime {
            memory,
            layout: self.layout.clone(),
            limits: self.limits,
            codes: self.codes.clone(),
            address: self.address,
            version: self.version,
            build: self.build,
        }
    }

    /// What it is read from.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// The interpreter's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How it was built.
    pub fn build(&self) -> Build {
        self.build
    }

    /// Where its `_PyRuntime` lies.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Whether its version takes part in the remote debugging protocol.
    pub fn has_protocol(&self) -> bool {
        self.layout.debugger.is_some()
    }

    /// What lies where in it.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Makes sure that the interpreter that was opened still lies where it was. A process that
    /// runs another program has other things there, and may have started another Python.
    ///
    /// # Errors
    ///
    /// `Gone` where it is there no more.
    pub fn ensure_present(&self) -> Result<()> {
        let is_it = if layout::has_table(self.version) {
            self.has_own_table()
        } else {
            self.told_version() == Some(self.version)
        };
        if is_it {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Gone,
            format!("CPython {} is not there any more", self.version),
            "the process runs another program now, or has ended",
            "look at what there is with: invivo ps",
        ))
    }

    /// Whether the table's first words are those of this interpreter.
    fn has_own_table(&self) -> bool {
        let mut bytes = [0; Preamble::SIZE];
        let read = self.memory.read(self.address, &mut bytes);
        let free_threaded = u64::from(self.build.free_threaded == Some(true));
        let is_it =
            |found: Preamble| found.version == self.version && found.free_threaded == free_threaded;
        read.is_ok() && Preamble::parse(&bytes).is_some_and(is_it)
    }

    /// The version that the main interpreter says it is, if there is one and it can be read.
    pub(crate) fn told_version(&self) -> Option<Version> {
        let main = interpreters::main(&self.memory, self.address, &self.layout, &self.limits)?;
        let text = self.sys_object(main, "version").ok()??;
        version_at_start(&self.string(text).ok()?.text)
    }

    /// All interpreters and their threads. What keeps a part from being read stands among the
    /// defects.
    ///
    /// # Errors
    ///
    /// `Gone` or `Refused` where the memory can't be read at all, `Corrupt` where the runtime
    /// state itself can't.
    pub fn interpreters(&self) -> Result<Interpreters> {
        interpreters::read_all(&self.memory, self.address, &self.layout, &self.limits)
    }

    /// What `interpreter` is in the middle of.
    ///
    /// # Errors
    ///
    /// As [`Runtime::interpreters`].
    pub fn phase(&self, interpreter: &Interpreter) -> Result<Phase> {
        const WHAT: &str = "cannot tell whether Python is starting or shutting down";
        let layout = &self.layout.runtime;
        let fields = [
            (layout.core_initialized, 4),
            (layout.initialized, 4),
            (layout.finalizing, 8),
        ];
        let [core_initialized, initialized, finalizing_thread] =
            read_fields(&self.memory, self.address, fields).map_err(|met| fault(WHAT, met))?;
        let layout = &self.layout.interpreter;
        let fields = [(layout.finalizing, 4), (layout.modules, 8)];
        let [finalizing, modules] = read_fields(&self.memory, interpreter.address, fields)
            .map_err(|met| fault(WHAT, met))?;
        // The main interpreter has its flag set before it waits for its threads and runs what was
        // registered to run at the end, all of which is Python code as any other.
        if finalizing_thread != 0 || finalizing != 0 && interpreter.id != 0 {
            return Ok(Phase::Finalizing);
        }
        // `__main__` is the last module to be made before `site` is imported.
        let runs = initialized != 0
            || core_initialized != 0
                && modules != 0
                && self.dict_value(Address(modules), "__main__")?.is_some();
        Ok(if runs {
            Phase::Running
        } else {
            Phase::Uninitialized
        })
    }

    /// Whether a module, and nothing else, is in the interpreter's `sys.modules` under this name.
    ///
    /// # Errors
    ///
    /// As [`Runtime::interpreters`].
    pub fn has_module(&self, interpreter: &Interpreter, name: &str) -> Result<bool> {
        const WHAT: &str = "cannot read which modules are there";
        let fields = [(self.layout.interpreter.modules, 8)];
        let [modules] = read_fields(&self.memory, interpreter.address, fields)
            .map_err(|met| fault(WHAT, met))?;
        if modules == 0 {
            return Ok(false);
        }
        let modules = Address(modules);
        let (Some(found), Some(sys)) = (
            self.dict_value(modules, name)?,
            self.dict_value(modules, "sys")?,
        ) else {
            return Ok(false);
        };
        // A program may have put anything under its name, as None for what it shall not import.
        let class = |object| {
            let class = read_fields(&self.memory, object, [(self.layout.object.type_of, 8)]);
            class.map_err(|met| fault(WHAT, met))
        };
        Ok(class(found)? == class(sys)?)
    }

    /// The `thread_id` of the thread in which Python was initialized, which is the one that
    /// Python's signal handlers run in.
    ///
    /// # Errors
    ///
    /// As [`Runtime::interpreters`].
    pub fn main_thread_id(&self) -> Result<u64> {
        let field = [(self.layout.runtime.main_thread, 8)];
        let [id] = read_fields(&self.memory, self.address, field)
            .map_err(|met| fault("cannot tell which thread is the main one", met))?;
        Ok(id)
    }

    /// The object that is the attribute `name` of the module `sys` in an interpreter; `None` where
    /// it has no such attribute (or no `sys` yet).
    ///
    /// # Errors
    ///
    /// As [`Runtime::dict_items`].
    pub fn sys_attribute(&self, interpreter: &Interpreter, name: &str) -> Result<Option<Address>> {
        self.sys_object(interpreter.address, name)
    }

    fn sys_object(&self, interpreter: Address, name: &str) -> Result<Option<Address>> {
        let field = [(self.layout.interpreter.sysdict, 8)];
        let [sysdict] = read_fields(&self.memory, interpreter, field)
            .map_err(|met| fault("cannot read the module sys", met))?;
        if sysdict == 0 {
            return Ok(None);
        }
        self.dict_value(Address(sysdict), name)
    }

    /// `sys.version`: the version with the date and compiler of the build.
    ///
    /// # Errors
    ///
    /// As [`Runtime::string`].
    pub fn sys_version(&self, interpreter: &Interpreter) -> Result<Option<Text>> {
        self.sys_string(interpreter, "version")
    }

    /// `sys.abiflags`: `d` for a debug build, `t` for a free-threaded one.
    ///
    /// # Errors
    ///
    /// As [`Runtime::string`].
    pub fn abiflags(&self, interpreter: &Interpreter) -> Result<Option<Text>> {
        self.sys_string(interpreter, "abiflags")
    }

    /// `sys._xoptions`: the options given with `-X` when the process was started, the
    /// first 256 of them.
    ///
    /// # Errors
    ///
    /// As [`Runtime::string`].
    pub fn xoptions(&self, interpreter: &Interpreter) -> Result<Vec<XOption>> {
        let Some(dict) = self.sys_attribute(interpreter, "_xoptions")? else {
            return Ok(Vec::new());
        };
        let items = self.dict_items(dict)?.items;
        items
            .into_iter()
            .take(MAX_XOPTIONS)
            .map(|(name, value)| {
                // `True` where there is no `=`: no string.
                let value = if self.is_string(value)? {
                    Some(self.string(value)?.text)
                } else {
                    None
                };
                Ok(XOption {
                    name: self.string(name)?.text,
                    value,
                })
            })
            .collect()
    }

    fn sys_string(&self, interpreter: &Interpreter, name: &str) -> Result<Option<Text>> {
        let object = self.sys_attribute(interpreter, name)?;
        object.map(|object| self.string(object)).transpose()
    }
}

/// The version that `sys.version` begins with, such as `3.9.0rc1+ (default, …`.
fn version_at_start(text: &str) -> Option<Version> {
    let (number, _) = text.split_once(' ')?;
    let mut parts = number.trim_end_matches('+').splitn(3, '.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    let rest = parts.next()?;
    let digits = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (micro, level) = rest.split_at(digits);
    let levels = [
        ("a", ReleaseLevel::Alpha),
        ("b", ReleaseLevel::Beta),
        ("rc", ReleaseLevel::Candidate),
    ];
    let (level, serial) = match levels.into_iter().find(|(sign, _)| level.starts_with(sign)) {
        Some((sign, found)) => (found, level.strip_prefix(sign)?.parse().ok()?),
        None if level.is_empty() => (ReleaseLevel::Final, 0),
        None => return None,
    };
    Some(Version {
        micro: Some(micro.parse().ok()?),
        level,
        serial,
        ..Version::from_minor(major, minor)
    })
}

#[cfg(test)]
mod tests {
    use super::version_at_start;

    #[test]
    fn versions_are_taken_from_the_start_of_sys_version() {
        let shown = |text| version_at_start(text).map(|version| version.to_string());
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(shown("3.8.18 (default, May  9 2026)"), told("3.8.18"));
        assert_eq!(shown("3.9.0rc1+ (default, Aug 2020)"), told("3.9.0rc1"));
        assert_eq!(shown("3.10.0b3 (tags/v3.10.0b3)"), told("3.10.0b3"));
        for none in [
            "",
            "3.8.18",
            "3.8 (x)",
            "3.8.x (x)",
            "3.8.1x (x)",
            "3.8.1rc (x)",
            "3.999.1 (x)",
        ] {
            assert_eq!(shown(none), None, "{none}");
        }
    }
}
