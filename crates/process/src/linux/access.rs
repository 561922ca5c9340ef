//! Gathering the facts that [`crate::access`] judges, and asking the kernel.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Mode, OFlags, fstat};
use rustix::io::Errno;

use super::proc::{self, Status};
use super::target::Process;
use super::{Target, sys};
use crate::access::{
    Capabilities, Credentials, Dumpable, Facts, Ids, Machine, Outcome, Probes, SecurityModules,
    Tracer, UserNamespace, Verdict, Yama,
};

/// No file of `/proc` that is read here is longer; the rest is not looked at.
const PROC_FILE_MAX: u64 = 64 * 1024;

/// A longer user list is read up to here.
const PASSWD_MAX: u64 = 4 << 20;

/// A parent's parent's … this often at most.
const ANCESTORS_MAX: usize = 4096;

/// The kernel nests user namespaces 32 deep (`create_user_ns`, `kernel/user_namespace.c`).
const NAMESPACES_MAX: usize = 33;

/// Above any number a process can have: `PID_MAX_LIMIT` (`include/linux/threads.h`) is 2^22.
const NO_PROCESS: i32 = i32::MAX;

/// `PF_KTHREAD` of `include/linux/sched.h`, in the flags of `/proc/PID/stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// `PROC_USER_INIT_INO` of `include/linux/proc_ns.h`: the first user namespace's name is fixed.
const INITIAL_USER: &[u8] = b"user:[4026531837]";

/// The caller's directory in `/proc`: its thread's, since privileges are a thread's.
const OWN: &str = "/proc/thread-self";

/// Gathers what decides about a process.
pub(crate) fn gather(target: &Target) -> io::Result<Facts> {
    let process = &target.process;
    let own_status = own_status()?;
    let status = proc::parse_status(&process.read("status", PROC_FILE_MAX)?);
    let users = Users::load();
    let caller = credentials(&own_status, &users).ok_or_else(unreadable)?;
    let target = credentials(&status, &users);
    let user_namespace = user_namespace(process, caller.user.effective);
    let same_namespace = |name: &str| Some(link(process, name)? == own_link(name)?);
    Ok(Facts {
        pid: process.pid,
        is_self: process.pid == std::process::id(),
        kernel_thread: is_kernel_thread(process),
        ids_comparable: ids_comparable(&caller),
        dumpable: target.as_ref().map_or(Dumpable::Unknown, |target| {
            dumpable(process, target, user_namespace)
        }),
        user_namespace,
        yama: yama(),
        descends_from_caller: descends_from(status.parent, std::process::id()),
        tracer: tracer(process),
        filtered: own_status.seccomp.map(|mode| mode != 0),
        security: SecurityModules {
            active: active_security_modules(),
            caller: own_label(),
            target: process
                .read("attr/current", PROC_FILE_MAX)
                .ok()
                .and_then(label),
        },
        same_pid_namespace: same_namespace("ns/pid"),
        inner_pid: status
            .innermost_pid()
            .filter(|_| status.namespace_pids.len() > 1),
        same_mount_namespace: same_namespace("ns/mnt"),
        same_root: same_root(process),
        binary: open_outcome(process, "exe", OFlags::RDONLY | OFlags::NONBLOCK),
        probes: probes(process),
        caller,
        target,
    })
}

/// The verdict alone, by the probes and the tracer.
pub(crate) fn ask(target: &Target) -> Verdict {
    let process = &target.process;
    let probes = probes(process);
    if !probes.memory() {
        return Verdict::Refused;
    }
    let acts = probes.stop_call.is_granted() && probes.root.is_granted();
    if acts && process.pid != std::process::id() && tracer(process).is_none() {
        Verdict::Allowed
    } else {
        Verdict::LookOnly
    }
}

/// What decides on this machine, whatever the target.
pub(crate) fn machine() -> io::Result<Machine> {
    let status = own_status()?;
    Ok(Machine {
        caller: credentials(&status, &Users::load()).ok_or_else(unreadable)?,
        initial_user_namespace: own_link("ns/user").map(|name| name == INITIAL_USER),
        yama: yama(),
        filtered: status.seccomp.map(|mode| mode != 0),
        active_security_modules: active_security_modules(),
        label: own_label(),
        hidden_processes: hidden_processes(),
        read_call: reaches_kernel(sys::read_probe(NO_PROCESS)),
        stop_call: reaches_kernel(sys::seize_probe()),
        identity_call: outcome(
            rustix::process::pidfd_open(
                rustix::process::getpid(),
                rustix::process::PidfdFlags::empty(),
            )
            .map(drop),
        ),
        path_call: outcome(
            rustix::fs::openat2(
                rustix::fs::CWD,
                "/",
                OFlags::PATH | OFlags::CLOEXEC,
                Mode::empty(),
                rustix::fs::ResolveFlags::IN_ROOT,
            )
            .map(drop),
        ),
    })
}

fn unreadable() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its status is not as expected")
}

fn own_status() -> io::Result<Status> {
    Ok(proc::parse_status(&fs::read(format!("{OWN}/status"))?))
}

fn own_link(name: &str) -> Option<Vec<u8>> {
    Some(
        fs::read_link(format!("{OWN}/{name}"))
            .ok()?
            .into_os_string()
            .into_vec(),
    )
}

fn own_label() -> Option<String> {
    fs::read(format!("{OWN}/attr/current")).ok().and_then(label)
}

fn credentials(status: &Status, users: &Users) -> Option<Credentials> {
    let ids = |[real, effective, saved, _]: [u32; 4]| Ids {
        real,
        effective,
        saved,
    };
    let user = ids(status.uid?);
    Some(Credentials {
        user,
        group: ids(status.gid?),
        user_name: users.name(user.real).map(str::to_owned),
        permitted: Capabilities(status.permitted_capabilities?),
        effective: Capabilities(status.effective_capabilities?),
    })
}

fn link(process: &Process, name: &str) -> Option<Vec<u8>> {
    Some(process.read_link(name).ok()?.into_os_string().into_vec())
}

fn is_kernel_thread(process: &Process) -> bool {
    let Ok(stat) = process.read("stat", PROC_FILE_MAX) else {
        return false;
    };
    // Behind the name in parentheses, which may itself hold some, come state, parent, group,
    // session, terminal, its group, and the flags.
    let flags = String::from_utf8_lossy(&stat)
        .rsplit_once(')')
        .and_then(|(_, behind)| behind.split_ascii_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

/// Ids read the same only if they are where our namespace has a number for each.
fn ids_comparable(caller: &Credentials) -> bool {
    let whole =
        |path| fs::read(path).is_ok_and(|map| id_map(&map) == [[0, 0, u64::from(u32::MAX)]]);
    if whole("/proc/self/uid_map") && whole("/proc/self/gid_map") {
        return true;
    }
    let overflow = |path| {
        fs::read_to_string(path)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(65534)
    };
    caller.user.real != overflow("/proc/sys/kernel/overflowuid")
        && caller.group.real != overflow("/proc/sys/kernel/overflowgid")
}

/// By the owner of `/proc/PID/mem`, which is root where the process is not dumpable
/// (`task_dump_owner`, `fs/proc/base.c`).
fn dumpable(process: &Process, target: &Credentials, namespace: UserNamespace) -> Dumpable {
    let found = process.open_file("mem", OFlags::PATH).and_then(fstat);
    let Ok(found) = found else {
        return Dumpable::Unknown;
    };
    let (user, group) = (target.user.effective, target.group.effective);
    if (found.st_uid, found.st_gid) != (user, group) {
        return Dumpable::No;
    }
    // It would be the root of the target's namespace, which may have any number in ours.
    if namespace == UserNamespace::Same && (user, group) != (0, 0) {
        Dumpable::Yes
    } else {
        Dumpable::Unknown
    }
}

fn user_namespace(process: &Process, own_user: u32) -> UserNamespace {
    let inode = |fd: &OwnedFd| fstat(fd).ok().map(|found| found.st_ino);
    let own = fs::File::open(format!("{OWN}/ns/user"))
        .ok()
        .map(OwnedFd::from);
    let target = process.open_file("ns/user", OFlags::RDONLY).ok();
    let (Some(own), Some(mut current)) = (own.as_ref().and_then(inode), target) else {
        return by_id_maps(process);
    };
    if inode(&current) == Some(own) {
        return UserNamespace::Same;
    }
    // Upwards from the target's, until ours or the end of what we may see.
    for _ in 0..NAMESPACES_MAX {
        let owner = sys::namespace_owner(current.as_fd()).ok();
        let Ok(parent) = sys::namespace_parent(current.as_fd()) else {
            return UserNamespace::Outside;
        };
        if inode(&parent) == Some(own) {
            return UserNamespace::Below {
                owned: owner.map(|owner| owner == own_user),
            };
        }
        current = parent;
    }
    UserNamespace::Outside
}

/// What the tables of ids tell where the namespace itself may not be read. They are shown as our
/// own namespace numbers the ids: what it has no number for, or more than it has, lies outside.
fn by_id_maps(process: &Process) -> UserNamespace {
    let maps = ["uid_map", "gid_map"].map(|name| {
        let own = fs::read(format!("{OWN}/{name}"))
            .ok()
            .map(|map| id_map(&map));
        let target = process
            .read(name, PROC_FILE_MAX)
            .ok()
            .map(|map| id_map(&map));
        (own, target)
    });
    let size = |map: &[[u64; 3]]| map.iter().map(|[_, _, count]| count).sum::<u64>();
    let unmapped = u64::from(u32::MAX);
    let outside = maps.iter().any(|maps| match maps {
        (Some(own), Some(target)) => {
            target.iter().any(|[_, outer, _]| *outer == unmapped) || size(target) > size(own)
        }
        _ => false,
    });
    if outside {
        return UserNamespace::Outside;
    }
    UserNamespace::Unknown {
        same_ids: maps.iter().all(|(own, map)| own.is_some() && own == map),
    }
}

/// The lines of an id map: first id inside, first id outside, how many.
fn id_map(text: &[u8]) -> Vec<[u64; 3]> {
    let line = |line: &str| {
        let numbers: Vec<u64> = line
            .split_ascii_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        numbers.try_into().ok()
    };
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(line)
        .collect()
}

fn yama() -> Yama {
    match fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope") {
        Ok(text) => text.trim().parse().map_or(Yama::Unknown, Yama::Scope),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                && fs::exists("/proc/sys/kernel").unwrap_or(false) =>
        {
            Yama::Absent
        }
        Err(_) => Yama::Unknown,
    }
}

fn descends_from(parent: Option<u32>, ancestor: u32) -> Option<bool> {
    let mut current = parent?;
    for _ in 0..ANCESTORS_MAX {
        match current {
            // The first process has no parent; neither has one whose parent is outside our pid
            // namespace.
            0 => return Some(false),
            pid if pid == ancestor => return Some(true),
            pid => {
                let text = fs::read(format!("/proc/{pid}/status")).ok()?;
                current = proc::parse_status(&text).parent?;
            }
        }
    }
    None
}

fn tracer(process: &Process) -> Option<Tracer> {
    process.thread_ids().ok()?.into_iter().find_map(|thread| {
        let status = proc::parse_status(&process.read_of_thread(thread, "status").ok()?);
        // A thread's number: what a person knows is its process.
        let tracer = status.tracer.filter(|tracer| *tracer != 0)?;
        let tracer_status = fs::read(format!("/proc/{tracer}/status"));
        let pid = tracer_status
            .ok()
            .and_then(|text| proc::parse_status(&text).process)
            .unwrap_or(tracer);
        let name = fs::read(format!("/proc/{pid}/comm")).ok();
        let name = name.map(|name| String::from_utf8_lossy(name.trim_ascii_end()).into_owned());
        Some(Tracer { thread, pid, name })
    })
}

fn active_security_modules() -> Option<Vec<String>> {
    let text = fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    // Neither decides about other processes' memory by labels; Yama is a rule of its own.
    let quiet = [
        "capability",
        "yama",
        "lockdown",
        "landlock",
        "loadpin",
        "safesetid",
        "ima",
        "evm",
    ];
    let names = text
        .trim()
        .split(',')
        .filter(|name| !name.is_empty() && !quiet.contains(name));
    Some(names.map(str::to_owned).collect())
}

/// A process's security label; `None` where no module gives labels.
fn label(text: Vec<u8>) -> Option<String> {
    let text = String::from_utf8_lossy(&text);
    let text = text.trim_end_matches(['\0', '\n']);
    (!text.is_empty()).then(|| text.to_owned())
}

fn same_root(process: &Process) -> Option<bool> {
    let target = fstat(process.open_file("root", OFlags::PATH).ok()?).ok()?;
    let own = rustix::fs::stat("/").ok()?;
    Some((target.st_dev, target.st_ino) == (own.st_dev, own.st_ino))
}

/// Whether `/proc` is mounted so that it hides others' processes: the `hidepid=` that it shows.
fn hidden_processes() -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut options = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (_, place, kind, options) =
            (words.next()?, words.next()?, words.next()?, words.next()?);
        (place == "/proc" && kind == "proc").then_some(options)
    });
    let value = options
        .next_back()?
        .split(',')
        .find_map(|option| option.strip_prefix("hidepid="))?;
    (value != "0" && value != "off").then(|| value.to_owned())
}

fn probes(process: &Process) -> Probes {
    // A first thread that has ended has no memory any more; the others have.
    let thread = process.living_thread().unwrap_or(process.pid);
    let memory_call = match i32::try_from(thread).map(sys::read_probe) {
        // Nothing is mapped at the first address: that it was looked at is the grant.
        Ok(Err(Errno::FAULT)) => Outcome::Granted,
        Ok(answer) => outcome(answer),
        Err(_) => Outcome::NotAsked("its number is too large".to_owned()),
    };
    Probes {
        memory_file: open_outcome(process, "mem", OFlags::RDONLY),
        memory_call,
        stop_call: reaches_kernel(sys::seize_probe()),
        root: open_outcome(process, "root", OFlags::PATH | OFlags::DIRECTORY),
    }
}

fn open_outcome(process: &Process, name: &str, flags: OFlags) -> Outcome {
    outcome(process.open_file(name, flags | OFlags::NOCTTY).map(drop))
}

/// What a call with a number that no process has tells: `ESRCH` is the kernel's own answer, so nothing
/// stands before it.
fn reaches_kernel(answer: Result<(), Errno>) -> Outcome {
    match answer {
        Err(Errno::SRCH) => Outcome::Granted,
        answer => outcome(answer),
    }
}

fn outcome(answer: Result<(), Errno>) -> Outcome {
    match answer {
        Ok(()) => Outcome::Granted,
        Err(error) => Outcome::Refused(error_name(error)),
    }
}

fn error_name(error: Errno) -> String {
    match error {
        Errno::PERM => "EPERM".to_owned(),
        Errno::ACCESS => "EACCES".to_owned(),
        Errno::NOSYS => "ENOSYS".to_owned(),
        Errno::SRCH => "ESRCH".to_owned(),
        Errno::NOENT => "ENOENT".to_owned(),
        other => other.to_string(),
    }
}

/// The system's user list: which name goes with which id.
///
/// Read from `/etc/passwd` alone: users that only a directory service knows stay numbers.
#[derive(Clone, Debug, Default)]
pub struct Users {
    names: HashMap<u32, String>,
}

impl Users {
    /// Reads the list; it is empty where there is none.
    pub fn load() -> Self {
        let mut bytes = Vec::new();
        if let Ok(file) = fs::File::open("/etc/passwd") {
            // Whatever was read before an error is as good as all.
            let _ = file.take(PASSWD_MAX).read_to_end(&mut bytes);
        }
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Self {
        let mut names = HashMap::new();
        for line in text.lines() {
            let mut fields = line.split(':');
            if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
                names.entry(id).or_insert_with(|| name.to_owned());
            }
        }
        Self { names }
    }

    /// The name of the user `id`, where the list has it.
    pub fn name(&self, id: u32) -> Option<&str> {
        self.names.get(&id).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_an_id_counts_and_bad_lines_do_not() {
        let users = Users::parse("root:x:0:0::/:\ntoor:x:0:0\n\nodd\nbad:x:y:\nme:x:1000:1000");
        assert_eq!(users.name(0), Some("root"));
        assert_eq!(users.name(1000), Some("me"));
        assert_eq!(users.name(7), None);
    }
}
