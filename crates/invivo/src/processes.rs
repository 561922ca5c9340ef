use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use invivo_cpython::{
    FileFacts, Limits, Location, Runtime, examine, locate_all_with, other_python,
};
use invivo_inject::OPT_OUT_VARIABLE;
use invivo_model::{Build, Error, ErrorKind, Result, Version};
use invivo_process::access::{self, Check, Users, Verdict};
use invivo_process::{Halt, Memory, Module, ModuleFiles, Target, pids};

/// A Python process, as far as the caller may know it.
#[derive(Clone, Debug)]
pub struct PythonProcess {
    /// Its number.
    pub pid: u32,
    /// Its real user's number; `None` where it could not be read.
    pub uid: Option<u32>,
    /// That user's name, where the system's user list has one.
    pub user: Option<String>,
    /// Its command and arguments, as it shows them; its name alone where it shows none.
    pub command: Vec<OsString>,
    /// The interpreter in it; `None` where only its name says that it is Python, since it may not
    /// be looked into.
    pub interpreter: Option<FoundInterpreter>,
    /// The further ones where it has several CPythons, in the order of their numbers; that of
    /// `interpreter` is 1.
    pub other_interpreters: Vec<FoundInterpreter>,
    /// What the Python in it is called that Invivo does not look into: another implementation, or
    /// a version that is not known.
    pub unsupported: Option<String>,
    /// What the operating system allows.
    pub access: Verdict,
    /// The rule that refuses, where one does.
    pub refused_by: Option<Check>,
    /// What stopped it, where it stands still.
    pub halt: Option<Halt>,
    /// The mapping, of a file system that a user serves, that did not give what it holds in time.
    pub silent_mapping: Option<String>,
}

/// What a list shows of an interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundInterpreter {
    /// Its version, as precisely as it is known.
    pub version: Option<Version>,
    /// How it was built.
    pub build: Build,
    /// The mapped file that holds it: the program or its libpython.
    pub module: Vec<u8>,
    /// Whether remote debugging is on; `None` where the version has none or it can't be told.
    pub remote_debugging: Option<bool>,
}

/// Every Python process that the caller can see, in the order of their numbers. Reads only.
///
/// A process that may not be looked into is in the list if its name begins like Python's.
///
/// # Errors
/// `Refused` where the processes can't be listed at all.
pub fn python_processes() -> Result<Vec<PythonProcess>> {
    let pids = pids()?;
    let survey = Survey {
        users: Users::load(),
        files: Mutex::default(),
        limits: Limits::default(),
    };
    let next = AtomicUsize::new(0);
    let work = || {
        let mut found = Vec::new();
        while let Some(pid) = pids.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.extend(survey.python_process(*pid));
        }
        found
    };
    // Nearly all of the time is spent in the kernel, on each process's own data.
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WORKERS_MAX);
    let mut found = thread::scope(|scope| {
        // Where no thread can be made (a limit of processes), there is this one.
        let spawned = (1..workers).map(|_| thread::Builder::new().spawn_scoped(scope, work));
        let others: Vec<_> = spawned.map_while(|spawned| spawned.ok()).collect();
        let mut found = work();
        for other in others {
            // A worker that panicked has been reported; what the others found still holds.
            found.extend(other.join().unwrap_or_default());
        }
        found
    });
    found.sort_by_key(|process| process.pid);
    Ok(found)
}

/// More threads than this gain nothing over the kernel's own locks.
const WORKERS_MAX: usize = 8;

/// A file's device and inode.
type FileId = ((u32, u32), u64);

/// What all the processes of one list share.
struct Survey {
    users: Users,
    /// What each mapped file says: most processes map the same ones.
    files: Mutex<HashMap<FileId, Result<FileFacts>>>,
    limits: Limits,
}

impl Survey {
    /// The process `pid` if it is Python; `None` too where it has ended meanwhile.
    fn python_process(&self, pid: u32) -> Option<PythonProcess> {
        if pid == std::process::id() {
            return None;
        }
        let target = Target::open(pid).ok()?;
        let mut unsupported = None;
        let mut other_interpreters = Vec::new();
        let interpreter = match self.interpreters(&target) {
            Ok((found, is_supported, others)) => {
                other_interpreters = others;
                let version = found.version.map(|version| format!(" {version}"));
                let name = || format!("CPython{}", version.unwrap_or_default());
                unsupported = (!is_supported).then(name);
                Some(found)
            }
            Err(error) if error.kind == ErrorKind::Unsupported => {
                unsupported = Some(other_python(&target.modules().ok()?)?);
                None
            }
            Err(error) if error.kind == ErrorKind::Refused && looks_like_python(&target) => None,
            Err(_) if target.memory().silent_mapping().is_some() && looks_like_python(&target) => {
                None
            }
            Err(_) => return None,
        };
        let status = target.status().ok()?;
        let uid = status.uid.map(|[real, ..]| real);
        // The kernel gives none that lie in a file that is mapped over them.
        let mut command = target.command_line().unwrap_or_default();
        if command.is_empty() {
            command.push(OsString::from(
                String::from_utf8_lossy(&status.name).into_owned(),
            ));
        }
        let (access, refused_by) = match access::ask(&target) {
            Verdict::Allowed => (Verdict::Allowed, None),
            _ => {
                let facts = access::examine(&target).ok()?;
                let deciding = access::deciding(&access::judge(&facts)).cloned();
                (access::verdict(&facts), deciding)
            }
        };
        let halt = target.halt();
        target.ensure_alive().ok()?;
        Some(PythonProcess {
            halt,
            pid,
            uid,
            user: uid.and_then(|uid| self.users.name(uid)).map(str::to_owned),
            command,
            interpreter,
            other_interpreters,
            unsupported,
            access,
            refused_by,
            silent_mapping: target.memory().silent_mapping(),
        })
    }

    /// The first interpreter, whether it can be looked into where its memory may be read, and the
    /// others.
    fn interpreters(
        &self,
        target: &Target,
    ) -> Result<(FoundInterpreter, bool, Vec<FoundInterpreter>)> {
        let memory = target.memory();
        let modules = target.modules()?;
        let facts = |module: &Module| self.facts(target, module);
        let found = locate_all_with(&memory, &modules, &self.limits, facts)?;
        let unknown = |error: &Error| error.kind == ErrorKind::Unsupported;
        let is_unknown = |location: &Location| location.layout.as_ref().is_err_and(unknown);
        let is_supported = !found.first().is_some_and(is_unknown);
        let mut found = found.into_iter().map(|location| FoundInterpreter {
            version: location.version,
            build: location.build,
            remote_debugging: remote_debugging(target, &memory, &location, self.limits),
            module: location.module,
        });
        let first = found.next();
        let first = first.ok_or_else(|| Error::internal("an interpreter was found and is none"))?;
        Ok((first, is_supported, found.collect()))
    }

    fn facts(&self, target: &Target, module: &Module) -> Result<FileFacts> {
        let key = (module.device, module.inode);
        let files = || self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = files().get(&key) {
            return known.clone();
        }
        // Not under the lock: two workers may examine the same file, once.
        let facts = target.open_module(module).and_then(examine);
        // A file that this target withholds another one may show.
        if !matches!(
            &facts,
            Err(Error {
                kind: ErrorKind::Refused | ErrorKind::Gone,
                ..
            })
        ) {
            files().insert(key, facts.clone());
        }
        facts
    }
}

/// Whether remote debugging is on in the main interpreter and its operator did not say otherwise.
fn remote_debugging<M: Memory>(
    target: &Target,
    memory: M,
    location: &Location,
    limits: Limits,
) -> Option<bool> {
    let runtime = Runtime::open(memory, location, limits).ok()?;
    let interpreters = runtime.interpreters().ok()?.list;
    let main = interpreters
        .iter()
        .find(|interpreter| interpreter.id == 0)?;
    let enabled = main.remote_debugging?;
    Some(
        enabled
            && target
                .environment_variable(OPT_OUT_VARIABLE)
                .ok()?
                .is_none(),
    )
}

/// By what anybody may read: the process's name, and the name it was started by.
fn looks_like_python(target: &Target) -> bool {
    let begins = |name: &[u8]| {
        name.get(..PYTHON.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PYTHON))
    };
    let named = target.status().is_ok_and(|status| begins(&status.name));
    named
        || target.command_line().is_ok_and(|command| {
            let first = command
                .first()
                .map(|first| first.as_encoded_bytes())
                .unwrap_or_default();
            begins(
                first
                    .rsplit(|byte| *byte == b'/')
                    .next()
                    .unwrap_or_default(),
            )
        })
}

const PYTHON: &[u8] = b"python";
