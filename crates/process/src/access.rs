//! Why may I (not) attach?
//!
//! [`Facts`] are gathered from the operating system; [`judge`] applies the kernel's rules to them
//! and is pure, so that every rule can be tested on facts that no test machine has. What decides
//! in the end is never a rule but a [probe](Probes): a harmless question to the kernel itself.
//! Where rules and probes disagree, a check of its own says so.

mod answers;
mod machine;
mod rules;

use invivo_model::{Error, ErrorKind, Result};

use crate::Target;
use crate::linux::access as system;
pub use crate::linux::access::Users;
pub use machine::{Machine, examine_machine, judge_machine};
pub use rules::judge;

/// What the rules look at, as plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The target's number as the caller sees it.
    pub pid: u32,
    /// The target is the caller itself.
    pub is_self: bool,
    /// The target is a thread of the kernel, which has no memory of its own.
    pub kernel_thread: bool,
    /// The caller's privileges.
    pub caller: Credentials,
    /// The target's privileges; `None` where they could not be read.
    pub target: Option<Credentials>,
    /// Two ids that read the same are the same. Not so in a user namespace that maps only some
    /// ids: all others read as one there.
    pub ids_comparable: bool,
    /// Where the target's user namespace is, seen from the caller's.
    pub user_namespace: UserNamespace,
    /// Whether the target may be dumped, which the kernel takes as "may be looked into".
    pub dumpable: Dumpable,
    /// The Yama security module's scope.
    pub yama: Yama,
    /// The caller is among the target's ancestors; `None` where the chain could not be followed.
    pub descends_from_caller: Option<bool>,
    /// The process that traces one of the target's threads already.
    pub tracer: Option<Tracer>,
    /// A seccomp filter is on the caller; `None` where that could not be read.
    pub filtered: Option<bool>,
    /// The other security modules.
    pub security: SecurityModules,
    /// Whether the target's pid namespace is the caller's; `None` where it could not be read.
    pub same_pid_namespace: Option<bool>,
    /// The number the target has in its own pid namespace, where it differs.
    pub inner_pid: Option<u32>,
    /// Whether the target's mount namespace is the caller's; `None` where it could not be read.
    pub same_mount_namespace: Option<bool>,
    /// Whether the target's root directory is the caller's; `None` where it could not be read.
    pub same_root: Option<bool>,
    /// Opening the target's executable for reading.
    pub binary: Outcome,
    /// What the kernel answered when it was asked.
    pub probes: Probes,
}

/// A process's ids of one sort, in the order the kernel lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// Whose rights it has.
    pub effective: u32,
    /// Whose rights it can take back.
    pub saved: u32,
}

impl Ids {
    /// The same id three times.
    pub fn all(id: u32) -> Self {
        Self {
            real: id,
            effective: id,
            saved: id,
        }
    }

    /// Whether all three are `id`.
    pub fn are_all(&self, id: u32) -> bool {
        *self == Self::all(id)
    }
}

/// A process's privileges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its user ids.
    pub user: Ids,
    /// Its group ids.
    pub group: Ids,
    /// The name of its real user, where the system's user list has one.
    pub user_name: Option<String>,
    /// The capabilities it may take.
    pub permitted: Capabilities,
    /// The capabilities it has right now.
    pub effective: Capabilities,
}

impl Credentials {
    /// Its real user for a message: `nobody (uid 65534)`.
    pub fn user_text(&self) -> String {
        match &self.user_name {
            Some(name) => format!("{name} (uid {})", self.user.real),
            None => format!("uid {}", self.user.real),
        }
    }
}

/// A set of Linux capabilities, a bit each as `linux/capability.h` numbers them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// `CAP_SYS_PTRACE`: may look into any process of its user namespace and those below.
    pub const SYS_PTRACE: Self = Self(1 << 19);

    /// Whether all of `other` are in this set.
    pub fn contains(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    /// Those of this set that `other` has not.
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is the empty set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The names in it, `CAP_CHOWN` and so on; one with no name yet is `CAP_n`.
    pub fn names(self) -> Vec<String> {
        (0..u64::BITS)
            .filter(|bit| self.0 >> bit & 1 == 1)
            .map(|bit| match CAPABILITY_NAMES.get(bit as usize) {
                Some(name) => format!("CAP_{name}"),
                None => format!("CAP_{bit}"),
            })
            .collect()
    }
}

/// `include/uapi/linux/capability.h`, by number.
const CAPABILITY_NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Where a target's user namespace is, seen from the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserNamespace {
    /// It is the caller's own.
    Same,
    /// It lies below the caller's, which holds whatever the caller may do there too.
    Below {
        /// The caller's user made it (or the one it lies in) and so has every capability in it.
        /// `None` where the owner could not be read.
        owned: Option<bool>,
    },
    /// It is neither the caller's nor below it: no capability of the caller counts there.
    Outside,
    /// It could not be read.
    Unknown {
        /// Its table of ids reads as the caller's own does, as it would for the same namespace.
        same_ids: bool,
    },
}

/// Whether a target may be dumped (`PR_SET_DUMPABLE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dumpable {
    /// Yes: its `/proc` files belong to its own user.
    Yes,
    /// No: its `/proc` files belong to root though it does not.
    No,
    /// The target runs as root, so that the owner of its `/proc` files tells nothing, or it could
    /// not be read.
    Unknown,
}

/// The scope of the Yama security module (`kernel.yama.ptrace_scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yama {
    /// This kernel has no Yama.
    Absent,
    /// 0: no restriction. 1: only ancestors, or whom the target named. 2: only with
    /// `CAP_SYS_PTRACE`. 3: nobody, until the next boot.
    Scope(u8),
    /// It is there but could not be read.
    Unknown,
}

/// Who traces a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracer {
    /// The traced thread.
    pub thread: u32,
    /// The tracing process.
    pub pid: u32,
    /// The tracing process's name, where it can be read.
    pub name: Option<String>,
}

/// Security modules beside Yama.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityModules {
    /// The active ones by name; `None` where the list could not be read.
    pub active: Option<Vec<String>>,
    /// The caller's label, where a module gave it one.
    pub caller: Option<String>,
    /// The target's label, where a module gave it one and it can be read.
    pub target: Option<String>,
}

/// What the kernel answered to one harmless question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Granted.
    Granted,
    /// Refused, with the error's name: `EPERM`, `ENOSYS`.
    Refused(String),
    /// It could not be asked, and why.
    NotAsked(String),
}

impl Outcome {
    /// Whether it was granted.
    pub fn is_granted(&self) -> bool {
        *self == Self::Granted
    }
}

/// The kernel's own answers. None of these questions changes or disturbs the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    /// Opening the target's memory as a file, read-only: takes the right to attach.
    pub memory_file: Outcome,
    /// Reading a byte at an address where nothing is mapped: the right to attach is checked
    /// before the address is.
    pub memory_call: Outcome,
    /// Whether the stopping call (`ptrace`) reaches the kernel at all, asked with the number of a
    /// process that can't exist.
    pub stop_call: Outcome,
    /// Opening the target's root directory, where scripts are placed: takes the right to look,
    /// which is less than the right to attach.
    pub root: Outcome,
}

impl Probes {
    /// Whether the target's memory can be read, one way or another.
    pub fn memory(&self) -> bool {
        self.memory_file.is_granted() || self.memory_call.is_granted()
    }
}

/// A rule that can decide an attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A process can't stop itself.
    OtherProcess,
    /// Kernel threads have no memory.
    KernelThread,
    /// All ids equal, or `CAP_SYS_PTRACE`.
    SameUser,
    /// Capabilities count only in one's own user namespace and those below.
    UserNamespace,
    /// The target has no capability that the caller lacks.
    Capabilities,
    /// The target may be dumped, or `CAP_SYS_PTRACE`.
    Dumpable,
    /// Yama's scope.
    Yama,
    /// SELinux, AppArmor, Smack and others.
    SecurityModule,
    /// Only one process can trace a thread.
    Tracer,
    /// A seccomp filter on the caller.
    Seccomp,
    /// Whether process numbers mean the same to both.
    PidNamespace,
    /// Whether paths mean the same to both.
    MountNamespace,
    /// Reading the executable.
    Binary,
    /// Probe: read the target's memory.
    ReadMemory,
    /// Probe: stop the target's threads.
    StopThreads,
    /// Probe: reach the target's root directory.
    ReachRoot,
    /// `/proc` shows other users' processes.
    HiddenProcesses,
    /// Probe: hold a process by a descriptor, so that another can't take its place.
    HoldProcess,
    /// Probe: keep paths inside a target's root.
    ConfinePaths,
    /// The probes say something else than the rules would.
    Unexplained,
}

impl Rule {
    /// Its stable name, as programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OtherProcess => "other_process",
            Self::KernelThread => "kernel_thread",
            Self::SameUser => "same_user",
            Self::UserNamespace => "user_namespace",
            Self::Capabilities => "capabilities",
            Self::Dumpable => "dumpable",
            Self::Yama => "yama",
            Self::SecurityModule => "security_module",
            Self::Tracer => "tracer",
            Self::Seccomp => "seccomp",
            Self::PidNamespace => "pid_namespace",
            Self::MountNamespace => "mount_namespace",
            Self::Binary => "binary",
            Self::ReadMemory => "read_memory",
            Self::StopThreads => "stop_threads",
            Self::ReachRoot => "reach_root",
            Self::HiddenProcesses => "hidden_processes",
            Self::HoldProcess => "hold_process",
            Self::ConfinePaths => "confine_paths",
            Self::Unexplained => "unexplained",
        }
    }

    /// What it refuses by, for a person.
    pub fn label(self) -> &'static str {
        match self {
            Self::OtherProcess => "other process",
            Self::KernelThread => "kernel thread",
            Self::SameUser => "other user",
            Self::UserNamespace => "user namespace",
            Self::Capabilities => "capabilities",
            Self::Dumpable => "not dumpable",
            Self::Yama => "Yama",
            Self::SecurityModule => "security module",
            Self::Tracer => "already traced",
            Self::Seccomp => "seccomp filter",
            Self::PidNamespace => "pid namespace",
            Self::MountNamespace => "mount namespace",
            Self::Binary => "executable",
            Self::ReadMemory => "read memory",
            Self::StopThreads => "stop threads",
            Self::ReachRoot => "reach its root",
            Self::HiddenProcesses => "hidden processes",
            Self::HoldProcess => "hold a process",
            Self::ConfinePaths => "confine paths",
            Self::Unexplained => "unknown rule",
        }
    }
}

/// What one rule says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckVerdict {
    /// It has nothing against attaching.
    Allows,
    /// It refuses.
    Refuses,
    /// The facts it needs can't be read; a probe decides.
    Unknown,
    /// It never decides; its fact explains something.
    NotDeciding,
}

impl CheckVerdict {
    /// Its stable name, as programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allows => "allows",
            Self::Refuses => "refuses",
            Self::Unknown => "unknown",
            Self::NotDeciding => "info",
        }
    }
}

/// One rule applied. `fact` and `remedy` may hold text from the target: escape before showing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The rule.
    pub rule: Rule,
    /// What was read, one sentence without a full stop.
    pub fact: String,
    /// What the rule makes of it.
    pub verdict: CheckVerdict,
    /// What to do about a refusal, the least privilege first.
    pub remedy: Option<String>,
}

/// What the kernel lets the caller do with a target. Decided by the probes alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Look into it and act on it.
    Allowed,
    /// Look into it; its threads can't be stopped or its files not reached, so not act on it.
    LookOnly,
    /// Nothing.
    Refused,
}

impl Verdict {
    /// Its stable name, as programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::LookOnly => "look_only",
            Self::Refused => "refused",
        }
    }
}

/// What `facts` allow.
pub fn verdict(facts: &Facts) -> Verdict {
    let probes = &facts.probes;
    let acts = !facts.is_self
        && facts.tracer.is_none()
        && probes.stop_call.is_granted()
        && probes.root.is_granted();
    match (probes.memory(), acts) {
        (true, true) => Verdict::Allowed,
        (true, false) => Verdict::LookOnly,
        (false, _) => Verdict::Refused,
    }
}

/// The check that decided a refusal: the first that refuses, since the kernel asks in this order.
pub fn deciding(checks: &[Check]) -> Option<&Check> {
    checks
        .iter()
        .find(|check| check.verdict == CheckVerdict::Refuses)
}

/// Gathers the facts about `target` and asks the kernel. Changes nothing.
///
/// # Errors
/// `Gone` when the target has ended; `Refused` where `/proc` can't be read.
pub fn examine(target: &Target) -> Result<Facts> {
    let facts = system::gather(target);
    target.ensure_alive()?;
    facts.map_err(|error| {
        Error::new(
            ErrorKind::Refused,
            format!("could not examine process {}", target.pid()),
            format!("the status files in /proc can't be read: {error}"),
            "check that /proc is mounted and shows this process: ls /proc/self/status",
        )
    })
}

/// What the kernel lets the caller do with `target`: the answer of [`verdict`], from the few
/// questions that decide it.
pub fn ask(target: &Target) -> Verdict {
    system::ask(target)
}

/// Why the operating system refused something about process `pid`: the rule that decided it, or
/// that there is no such process.
pub fn explain(pid: u32) -> Error {
    let facts = Target::open(pid).and_then(|target| examine(&target));
    facts.map_or_else(|error| error, |facts| refusal(&facts))
}

/// The refusal that `facts` amount to, as an error.
pub fn refusal(facts: &Facts) -> Error {
    let pid = facts.pid;
    let what = match verdict(facts) {
        Verdict::Refused => format!("process {pid} may not be attached to"),
        Verdict::LookOnly => format!("process {pid} may be looked into but not acted on"),
        Verdict::Allowed => {
            return Error::new(
                ErrorKind::Refused,
                format!("the operating system refused something about process {pid}"),
                "every rule allows attaching by now, so what stood in the way has changed",
                format!("try again; for every rule in turn: invivo doctor {pid}"),
            );
        }
    };
    let checks = judge(facts);
    let Some(check) = deciding(&checks) else {
        return Error::internal(format!("{what}, and no check says why"));
    };
    let kind = match check.rule {
        Rule::KernelThread => ErrorKind::NotPython,
        _ => ErrorKind::Refused,
    };
    let remedy = check.remedy.clone();
    Error::new(
        kind,
        what,
        check.fact.clone(),
        remedy.unwrap_or_else(|| format!("see every rule in turn: invivo doctor {pid}")),
    )
}
