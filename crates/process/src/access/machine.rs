use invivo_model::{Error, ErrorKind, Result};

use super::CheckVerdict::{Allows, NotDeciding, Unknown};
use super::rules::{check, refuse};
use super::{Capabilities, Check, Credentials, Outcome, Rule, Yama};
use crate::linux::access as system;

/// What decides about attaching on this machine, whatever the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The caller's privileges.
    pub caller: Credentials,
    /// The caller is in the machine's first user namespace, not in a container's own.
    pub initial_user_namespace: Option<bool>,
    /// The Yama security module's scope.
    pub yama: Yama,
    /// A seccomp filter is on the caller; `None` where that could not be read.
    pub filtered: Option<bool>,
    /// The active security modules that decide by labels; `None` where the list can't be read.
    pub active_security_modules: Option<Vec<String>>,
    /// The caller's security label, where a module gave it one.
    pub label: Option<String>,
    /// How `/proc` hides other users' processes (`hidepid`), where it does.
    pub hidden_processes: Option<String>,
    /// Whether reading memory in one call (`process_vm_readv`) reaches the kernel.
    pub read_call: Outcome,
    /// Whether stopping (`ptrace`) does.
    pub stop_call: Outcome,
    /// Whether processes can be held by a descriptor (`pidfd_open`, Linux 5.3).
    pub identity_call: Outcome,
    /// Whether paths can be kept inside a root (`openat2`, Linux 5.6).
    pub path_call: Outcome,
}

/// What decides about attaching on this machine, whatever the target.
///
/// # Errors
/// `Refused` where the caller's own `/proc` can't be read.
pub fn examine_machine() -> Result<Machine> {
    system::machine().map_err(|error| {
        Error::new(
            ErrorKind::Refused,
            "could not examine this machine",
            format!("/proc/self can't be read: {error}"),
            "check that /proc is mounted: ls /proc/self/status",
        )
    })
}

/// What `machine` means for attaching to any target. A refusal here is one of every target, or,
/// with [`Rule::SameUser`] and [`Rule::Yama`], of those it names.
pub fn judge_machine(machine: &Machine) -> Vec<Check> {
    let capable = machine.caller.effective.contains(Capabilities::SYS_PTRACE);
    vec![
        user(machine, capable),
        user_namespace(machine),
        yama(machine, capable),
        security_module(machine),
        seccomp(machine),
        hidden_processes(machine),
        call(
            Rule::ReadMemory,
            "process_vm_readv",
            &machine.read_call,
            Need::No,
        ),
        call(Rule::StopThreads, "ptrace", &machine.stop_call, Need::Yes),
        call(
            Rule::HoldProcess,
            "pidfd_open",
            &machine.identity_call,
            Need::Yes,
        ),
        call(Rule::ConfinePaths, "openat2", &machine.path_call, Need::Yes),
    ]
}

fn user(machine: &Machine, capable: bool) -> Check {
    let who = machine.caller.user_text();
    if capable {
        let fact = format!("{who}, with CAP_SYS_PTRACE: other users' processes too");
        return check(Rule::SameUser, Allows, fact);
    }
    let root = machine.caller.user.effective == 0;
    Check {
        remedy: Some(
            if root {
                "for other users' processes: give Invivo's container CAP_SYS_PTRACE (docker run \
                 --cap-add=SYS_PTRACE)"
            } else {
                "for other users' processes: sudo -u USER invivo …, or sudo invivo …"
            }
            .to_owned(),
        ),
        ..check(
            Rule::SameUser,
            NotDeciding,
            format!("{who}, without CAP_SYS_PTRACE: only this user's own processes"),
        )
    }
}

fn user_namespace(machine: &Machine) -> Check {
    let fact = match machine.initial_user_namespace {
        Some(true) => "the machine's own",
        Some(false) => "a container's own: processes outside it are out of reach",
        None => "it could not be read",
    };
    check(Rule::UserNamespace, NotDeciding, fact)
}

fn yama(machine: &Machine, capable: bool) -> Check {
    let rule = Rule::Yama;
    let say = |scope: &str| format!("kernel.yama.ptrace_scope is {scope}");
    match machine.yama {
        Yama::Absent => check(rule, Allows, "this kernel has no Yama"),
        Yama::Unknown => check(rule, Unknown, "kernel.yama.ptrace_scope could not be read"),
        Yama::Scope(0) => check(rule, Allows, say("0: no restriction")),
        Yama::Scope(1 | 2) if capable => {
            check(rule, Allows, say("1 or 2, which CAP_SYS_PTRACE outweighs"))
        }
        Yama::Scope(1) => refuse(
            rule,
            say("1: only processes that Invivo started, or that name it (PR_SET_PTRACER)"),
            "give Invivo CAP_SYS_PTRACE: sudo setcap cap_sys_ptrace+ep \"$(command -v invivo)\", \
             or sudo invivo …; last, for the whole machine: sudo sysctl kernel.yama.ptrace_scope=0",
        ),
        Yama::Scope(2) => refuse(
            rule,
            say("2: only with CAP_SYS_PTRACE"),
            "give Invivo CAP_SYS_PTRACE: sudo setcap cap_sys_ptrace+ep \"$(command -v invivo)\", \
             or sudo invivo …",
        ),
        Yama::Scope(scope) => refuse(
            rule,
            say(&format!("{scope}: nobody may attach, root included")),
            "it can't be lowered while the machine runs: boot with it at 2 or less",
        ),
    }
}

fn security_module(machine: &Machine) -> Check {
    let active = match &machine.active_security_modules {
        Some(names) if names.is_empty() => "none is active".to_owned(),
        Some(names) => format!("active: {}", names.join(", ")),
        None => "the list can't be read".to_owned(),
    };
    let fact = match &machine.label {
        Some(label) => format!("{active}; Invivo's label is {label}"),
        None => format!("{active}; Invivo has no label"),
    };
    check(Rule::SecurityModule, NotDeciding, fact)
}

fn seccomp(machine: &Machine) -> Check {
    let fact = match machine.filtered {
        Some(true) => "a filter is on Invivo; what it refuses shows below",
        Some(false) => "no filter is on Invivo",
        None => "whether a filter is on Invivo could not be read",
    };
    check(Rule::Seccomp, NotDeciding, fact)
}

fn hidden_processes(machine: &Machine) -> Check {
    let rule = Rule::HiddenProcesses;
    match &machine.hidden_processes {
        None => check(rule, Allows, "/proc shows every process"),
        Some(value) => Check {
            remedy: Some("run invivo as the target's user, or with sudo".to_owned()),
            ..check(
                rule,
                NotDeciding,
                format!("/proc is mounted with hidepid={value}: others' processes may not show"),
            )
        },
    }
}

/// Whether Invivo can do without a system call.
enum Need {
    /// It can: memory is read through a file then.
    No,
    /// It can't.
    Yes,
}

fn call(rule: Rule, name: &str, outcome: &Outcome, need: Need) -> Check {
    let (Outcome::Refused(error) | Outcome::NotAsked(error)) = outcome else {
        return check(rule, Allows, format!("{name} works"));
    };
    if matches!(need, Need::No) {
        let fact = format!("{name} does not ({error}); /proc/PID/mem is read instead");
        return check(rule, NotDeciding, fact);
    }
    refuse(
        rule,
        format!("{name} does not work ({error})"),
        "Linux 5.6 or later is needed, and a sandbox's filter must let it through: run invivo \
         outside the sandbox",
    )
}
