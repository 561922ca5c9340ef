//! Where a script is placed so that the target, and nobody else, can read it.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use invivo_cpython::Runtime;
use invivo_model::{Error, ErrorKind, Result};
use invivo_process::{
    Connection, Identity, Listener, Memory, PrivateDirectory, Target, TargetRoot, own_pid_namespace,
};

use crate::plan::STOP_WITHIN;
use crate::protocol;

pub(crate) const PREFIX: &str = "invivo-";
pub(crate) const SCRIPT: &str = "script.py";
pub(crate) const SOCKET: &str = "s";
/// The task of a script that has no sockets, until it is taken and then; and what it sends.
pub(crate) const TASK: &str = "t";
pub(crate) const TAKEN: &str = "r";
pub(crate) const SENT: &str = "o";
/// Why a script did not begin.
pub(crate) const NOTE: &str = "e";

/// All that may be in a directory.
const FILES: [&str; 6] = [SCRIPT, SOCKET, TASK, TAKEN, SENT, NOTE];

/// A crowded /tmp is searched for what an earlier run left behind up to here.
const ENTRIES_MAX: usize = 20_000;

/// Directories like ours that are looked at, in each place: anybody can make any number of them.
const SWEPT_MAX: usize = 256;

/// Time that looking for it has even where the time-out is short.
const SWEEP_FOR_AT_LEAST: Duration = Duration::from_millis(250);

/// What a directory of another machine's or container's Invivo may be old before it is removed.
const FOREIGN_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// The directories that are tried, in this order, as the target sees them.
pub(crate) fn candidates(target: &Target) -> Result<Vec<PathBuf>> {
    let uid = target.identity()?.uid;
    let mut list = Vec::new();
    if let Some(own) = target.environment_variable("TMPDIR")?.map(PathBuf::from)
        && own.has_root()
    {
        list.push(own);
    }
    for path in ["/tmp", "/dev/shm", "/var/tmp", &format!("/run/user/{uid}")] {
        if !list.iter().any(|known| known == Path::new(path)) {
            list.push(path.into());
        }
    }
    Ok(list)
}

/// The name of a staging directory: it says whose it is, so that a later run can tell what was
/// left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The pid namespace in which `pid` is meant, by its inode.
    pub(crate) namespace: u64,
    /// The target.
    pub(crate) pid: u32,
    /// Its start time.
    pub(crate) start_time: u64,
    /// When the script is to be forgotten, in milliseconds since 1970.
    pub(crate) deadline: u64,
    /// Whether its maker waits for it: then it is left behind as soon as its lock is free.
    pub(crate) attended: bool,
    /// Makes it unique.
    pub(crate) nonce: u32,
}

impl Label {
    fn name(&self) -> String {
        let Self {
            namespace,
            pid,
            start_time,
            deadline,
            attended,
            nonce,
        } = self;
        let kind = if *attended { 'w' } else { 'n' };
        format!("{PREFIX}{namespace}-{pid}-{start_time}-{deadline}-{kind}-{nonce:08x}")
    }

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let label = Self {
            namespace: parts.next()?.parse().ok()?,
            pid: parts.next()?.parse().ok()?,
            start_time: parts.next()?.parse().ok()?,
            deadline: parts.next()?.parse().ok()?,
            attended: match parts.next()? {
                "w" => true,
                "n" => false,
                _ => return None,
            },
            nonce: u32::from_str_radix(parts.next()?, 16).ok()?,
        };
        // Only what we would have written ourselves is ours.
        (label.name() == name).then_some(label)
    }
}

/// Whether a text of a run that has ended names a script that does nothing any more: its maker
/// was to wait for it, or its time is up.
pub(crate) fn is_over(text: &str) -> bool {
    let mut parts = text.split('/');
    let label = parts.find_map(Label::parse);
    label.is_some_and(|label| label.attended || now() > label.deadline)
}

/// Milliseconds since 1970, the clock that a target shares whatever its namespaces are.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A directory that is made for one script. Dropping it removes what is in it.
#[derive(Debug)]
pub(crate) struct Stage {
    directory: PrivateDirectory,
    /// Its lock says that we live.
    task: Option<File>,
    left: bool,
}

impl Stage {
    /// Makes a directory in the first of `candidates` that works, and has `fill` write into it what it
    /// is to hold, for which there may be no room.
    ///
    /// # Errors
    /// `Unsupported`, with what was wrong with each.
    pub(crate) fn new(
        target: &Target,
        candidates: &[PathBuf],
        label: &Label,
        path_size: u64,
        mut fill: impl FnMut(&mut Self) -> io::Result<()>,
    ) -> Result<(Self, Listener)> {
        let root = target.root()?;
        let owner = target.identity()?;
        let name = label.name();
        let mut tried = Vec::new();
        for parent in candidates {
            let made = Self::make(&root, parent, &name, &owner, path_size);
            let filled = made.and_then(|(mut stage, listener)| {
                fill(&mut stage)?;
                Ok((stage, listener))
            });
            match filled {
                Ok(filled) => return Ok(filled),
                Err(error) => tried.push(format!("{}: {error}", parent.display())),
            }
        }
        Err(no_place(target, &tried))
    }

    fn make(
        root: &TargetRoot,
        parent: &Path,
        name: &str,
        owner: &Identity,
        path_size: u64,
    ) -> io::Result<(Self, Listener)> {
        let longest = parent.join(name).join(SCRIPT).as_os_str().len() as u64;
        if longest >= path_size {
            return Err(io::Error::other(format!(
                "its path is longer than the {} bytes the target takes",
                path_size.saturating_sub(1)
            )));
        }
        let directory = root.create_private_directory(parent, name, owner)?;
        let stage = Self {
            directory,
            task: None,
            left: false,
        };
        stage.directory.try_lock()?;
        let listener = stage.directory.listen(SOCKET)?;
        Ok((stage, listener))
    }

    /// The directory as the target sees it.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The script as the target sees it.
    pub(crate) fn script(&self) -> PathBuf {
        self.path().join(SCRIPT)
    }

    /// Writes the script.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn write_script(&self, text: &[u8]) -> io::Result<()> {
        self.directory.write_file(SCRIPT, text)
    }

    /// Writes the task for a script that will have no sockets.
    ///
    /// # Errors
    /// What the file system says; it may have no locks.
    pub(crate) fn write_task(&mut self, task: &[u8]) -> io::Result<()> {
        self.task = Some(self.directory.write_locked_file(TASK, task)?);
        Ok(())
    }

    /// What the script sends, once it has taken its task from the file.
    ///
    /// # Errors
    /// `Refused` where that can't be read.
    pub(crate) fn taken(&self) -> Result<Option<Connection>> {
        if self.task.is_none() || !self.directory.has(TAKEN) {
            return Ok(None);
        }
        self.directory.follow(SENT).map(Some).map_err(|error| {
            Error::new(
                ErrorKind::Refused,
                "what the script sends can't be read",
                error.to_string(),
                "try again; the script may or may not have run",
            )
        })
    }

    /// What has to live for as long as the script's task and output are waited for.
    pub(crate) fn take_lock(&mut self) -> Option<File> {
        self.task.take()
    }

    /// Keeps a script without sockets from beginning. `false` where it has begun.
    pub(crate) fn revoke(&self) -> bool {
        let revoked = self.directory.remove_file(TASK);
        self.task.is_none() || revoked.is_ok_and(|removed| removed || !self.directory.has(TAKEN))
    }

    /// Why the script could not begin, if it said so.
    pub(crate) fn note(&self) -> Option<String> {
        let text = self.directory.link_text(NOTE)?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Leaves the directory to the script in it, which removes it when it begins.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !self.left {
            // Where this fails the next run tries again.
            let _ = self.directory.remove(&FILES);
        }
    }
}

/// Removes what runs before us left behind, and withdraws their requests to this target first, so
/// that it never looks for a script that is gone.
///
/// # Errors
/// Only what keeps a request from being withdrawn. What can't be removed stays.
pub(crate) fn sweep<M: Memory + Sync>(
    target: &Target,
    runtime: &Runtime<M>,
    candidates: &[PathBuf],
    until: Instant,
) -> Result<()> {
    let root = target.root()?;
    let owner = target.identity()?;
    // What remains of the time is for what was asked for, but a request of a killed run would stand in
    // its way.
    let now = Instant::now();
    let until = now + (until.saturating_duration_since(now) / 4).max(SWEEP_FOR_AT_LEAST);
    for parent in candidates {
        let names = root.names_with_prefix(parent, PREFIX, &owner, ENTRIES_MAX);
        let labelled = |name: String| Label::parse(&name).map(|label| (name, label));
        let names = names.unwrap_or_default().into_iter().filter_map(labelled);
        for (name, label) in nearest(names.collect(), target) {
            if Instant::now() >= until {
                return Ok(());
            }
            let Some(abandoned) = abandonment(target, &label)? else {
                continue;
            };
            let Ok(directory) = root.open_private_directory(parent, &name, &owner) else {
                continue;
            };
            // Its maker holds the lock as long as it lives.
            if !directory.try_lock().unwrap_or(false) {
                continue;
            }
            if abandoned == Abandoned::Here {
                withdraw(target, runtime, &directory.path().join(SCRIPT))?;
            }
            let _ = directory.remove(&FILES);
        }
    }
    Ok(())
}

/// As many as are looked at, those from runs against this very target first: requests of such may
/// wait in it.
fn nearest(mut names: Vec<(String, Label)>, target: &Target) -> Vec<(String, Label)> {
    let here = (target.pid(), target.start_time());
    names.sort_by_key(|(_, label)| (label.pid, label.start_time) != here);
    names.truncate(SWEPT_MAX);
    names
}

/// Where a directory that nobody needs comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Abandoned {
    /// From a run against this very target.
    Here,
    /// From one against a process that is gone.
    Elsewhere,
}

fn abandonment(target: &Target, label: &Label) -> Result<Option<Abandoned>> {
    let past = |grace: Duration| u128::from(now()) > u128::from(label.deadline) + grace.as_millis();
    if label.namespace != own_pid_namespace()? {
        return Ok(past(FOREIGN_FOR).then_some(Abandoned::Elsewhere));
    }
    if (label.pid, label.start_time) == (target.pid(), target.start_time()) {
        return Ok((label.attended || past(Duration::ZERO)).then_some(Abandoned::Here));
    }
    let lives = Target::open(label.pid).is_ok_and(|one| one.start_time() == label.start_time);
    Ok((!lives).then_some(Abandoned::Elsewhere))
}

/// Withdraws the request for `script` from whichever thread it was made to by the protocol. (A
/// pending call that finds no script does nothing.)
fn withdraw<M: Memory + Sync>(target: &Target, runtime: &Runtime<M>, script: &Path) -> Result<()> {
    let threads = || -> Result<Vec<_>> {
        let interpreters = runtime.interpreters()?.list;
        let threads = interpreters.into_iter().flat_map(|one| one.threads);
        Ok(threads
            .filter_map(|thread| thread.debugger)
            .filter(|places| protocol::is_pending(target, places, script))
            .collect())
    };
    if threads()?.is_empty() {
        return Ok(());
    }
    target.while_stopped(STOP_WITHIN, |stopped| {
        for places in threads()? {
            protocol::retract(target, stopped, &places, script)?;
        }
        Ok(())
    })?
}

/// The first of `candidates` in which a directory could be made, as far as that can be told without
/// making one.
///
/// # Errors
/// `Unsupported`, with what is wrong with each.
pub(crate) fn first_usable(target: &Target, candidates: &[PathBuf]) -> Result<PathBuf> {
    let root = target.root()?;
    let owner = target.identity()?;
    let mut tried = Vec::new();
    for parent in candidates {
        match root.check_writable_directory(parent, &owner) {
            Ok(()) => return Ok(parent.clone()),
            Err(error) => tried.push(format!("{}: {error}", parent.display())),
        }
    }
    Err(no_place(target, &tried))
}

fn no_place(target: &Target, tried: &[String]) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "no place for a script that process {} could read",
            target.pid()
        ),
        tried.join("; "),
        "give the target a directory it can write to: TMPDIR, /tmp or /dev/shm",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label {
        namespace: 4_026_531_836,
        pid: 4_194_303,
        start_time: 123_456_789,
        deadline: 1_795_430_000_000,
        attended: true,
        nonce: 0xbeef,
    };

    #[test]
    fn a_label_survives_its_name() {
        assert_eq!(Label::parse(&LABEL.name()), Some(LABEL));
        let unattended = Label {
            attended: false,
            ..LABEL
        };
        assert_eq!(Label::parse(&unattended.name()), Some(unattended));
    }

    #[test]
    fn a_text_tells_whether_its_script_is_over() {
        let text = |label: &Label| format!("FileIO(b'/tmp/{}/script.py')", label.name());
        assert!(is_over(&text(&LABEL)));
        let unattended = |deadline| Label {
            attended: false,
            deadline,
            ..LABEL
        };
        assert!(!is_over(&text(&unattended(now() + 60_000))));
        assert!(is_over(&text(&unattended(now() - 60_000))));
        assert!(!is_over("FileIO(b'/tmp/script.py')"));
    }

    #[test]
    fn what_we_did_not_name_is_not_ours() {
        for name in [
            "invivo-",
            "invivo-1-2-3-4-w",
            "invivo-1-2-3-4-x-00000000",
            "invivo-1-2-3-4-w-00000000-5",
            "invivo-01-2-3-4-w-00000000",
            "invivo-1-2-3-4-w-0000000g",
            "somebody-1-2-3-4-w-00000000",
        ] {
            assert_eq!(Label::parse(name), None, "{name}");
        }
    }
}
