//! The rules, in the order the kernel applies them: `__ptrace_may_access` (`kernel/ptrace.c`),
//! `cap_ptrace_access_check` (`security/commoncap.c`), `yama_ptrace_access_check`
//! (`security/yama/yama_lsm.c`), the other security modules, then `ptrace_attach`.

use super::answers;
use super::{
    Capabilities, Check, CheckVerdict, Credentials, Dumpable, Facts, Outcome, Rule, UserNamespace,
    Yama,
};
use CheckVerdict::{Allows, NotDeciding, Refuses, Unknown};

/// Applies every rule to `facts`, then holds the rules against what the kernel answered.
///
/// A rule that would refuse what the kernel granted becomes [`Unknown`](CheckVerdict::Unknown);
/// a refusal that no rule accounts for becomes a check [`Rule::Unexplained`].
pub fn judge(facts: &Facts) -> Vec<Check> {
    if facts.is_self {
        let mut checks = vec![other_process()];
        checks.extend(answers::checks(facts));
        return checks;
    }
    let mut checks = vec![
        kernel_thread(facts),
        same_user(facts),
        user_namespace(facts),
        dumpable(facts),
        capabilities(facts),
        yama(facts),
        security_module(facts),
    ];
    let disagreement = answers::reconcile_memory(facts, &mut checks);
    checks.extend(disagreement);
    checks.extend([tracer(facts), seccomp(facts)]);
    let disagreement = answers::reconcile_calls(facts, &checks);
    checks.extend(disagreement);
    checks.extend([pid_namespace(facts), mount_namespace(facts), binary(facts)]);
    checks.extend(answers::checks(facts));
    checks
}

pub(super) fn check(rule: Rule, verdict: CheckVerdict, fact: impl Into<String>) -> Check {
    Check {
        rule,
        fact: fact.into(),
        verdict,
        remedy: None,
    }
}

pub(super) fn refuse(rule: Rule, fact: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check {
        rule,
        fact: fact.into(),
        verdict: Refuses,
        remedy: Some(remedy.into()),
    }
}

fn unknown(rule: Rule, fact: impl Into<String>, remedy: impl Into<String>) -> Check {
    Check {
        rule,
        fact: fact.into(),
        verdict: Unknown,
        remedy: Some(remedy.into()),
    }
}

/// Whether the caller has `CAP_SYS_PTRACE` where the target lives (`ns_capable`): in the same
/// user namespace by its own set, below by that or by owning the namespace, elsewhere never. The
/// namespace of the target's memory may lie above that of its credentials until it calls `exec`;
/// that can't be read, and the probes cover it.
fn capable(facts: &Facts) -> Option<bool> {
    let has = facts.caller.effective.contains(Capabilities::SYS_PTRACE);
    match facts.user_namespace {
        UserNamespace::Same => Some(has),
        UserNamespace::Below { owned } => {
            if has {
                return Some(true);
            }
            owned
        }
        UserNamespace::Outside => Some(false),
        UserNamespace::Unknown { same_ids } => (same_ids && !has).then_some(false),
    }
}

/// How Invivo gets `CAP_SYS_PTRACE`, said for who it is now.
fn become_capable(facts: &Facts) -> &'static str {
    if facts.caller.effective.contains(Capabilities::SYS_PTRACE) {
        // It has it, but not where the target lives.
        return "run invivo in the target's own user namespace or above it, as on the host";
    }
    if facts.caller.user.effective == 0 {
        "give Invivo's container CAP_SYS_PTRACE (docker run --cap-add=SYS_PTRACE; Kubernetes: \
         securityContext.capabilities.add: [SYS_PTRACE])"
    } else {
        "give Invivo CAP_SYS_PTRACE: sudo setcap cap_sys_ptrace+ep \"$(command -v invivo)\", or \
         run it as root: sudo invivo …"
    }
}

fn other_process() -> Check {
    refuse(
        Rule::OtherProcess,
        "the target is the calling process itself, and a process can't stop itself",
        "call from another process",
    )
}

fn kernel_thread(facts: &Facts) -> Check {
    let rule = Rule::KernelThread;
    if facts.kernel_thread {
        return refuse(
            rule,
            format!(
                "process {} is a thread of the kernel and has no memory",
                facts.pid
            ),
            "choose a Python process from: invivo ps",
        );
    }
    check(rule, Allows, "it is a program, not a thread of the kernel")
}

/// `__ptrace_may_access`: the caller's real ids against all of the target's.
fn same_user(facts: &Facts) -> Check {
    let rule = Rule::SameUser;
    let Some(target) = &facts.target else {
        return unknown(
            rule,
            "the target's user could not be read",
            become_capable(facts),
        );
    };
    let caller = &facts.caller;
    let same = target.user.are_all(caller.user.real) && target.group.are_all(caller.group.real);
    if same && facts.ids_comparable {
        return check(rule, Allows, format!("both run as {}", caller.user_text()));
    }
    let fact = differing_ids(caller, target);
    if same {
        let fact = format!(
            "both ids read as {}, which stands for many here",
            caller.user.real
        );
        return unknown(rule, fact, become_capable(facts));
    }
    match capable(facts) {
        Some(true) => check(
            rule,
            Allows,
            format!("{fact}; Invivo has CAP_SYS_PTRACE there"),
        ),
        Some(false) => {
            let remedy = other_user_remedy(facts, target);
            refuse(rule, format!("{fact}, without CAP_SYS_PTRACE"), remedy)
        }
        None => unknown(
            rule,
            format!("{fact}; whether CAP_SYS_PTRACE counts there can't be read"),
            other_user_remedy(facts, target),
        ),
    }
}

/// Which ids differ, in a sentence.
fn differing_ids(caller: &Credentials, target: &Credentials) -> String {
    let (user, group) = (target.user, target.group);
    if !user.are_all(user.real) {
        return format!(
            "the target's user ids differ among themselves (real {}, effective {}, saved {}), \
             as in a setuid program; Invivo runs as {}",
            user.real,
            user.effective,
            user.saved,
            caller.user_text()
        );
    }
    if user.real != caller.user.real {
        return format!(
            "the target runs as {}, Invivo as {}",
            target.user_text(),
            caller.user_text()
        );
    }
    format!(
        "both run as {}, but the target's groups are real {}, effective {}, saved {}, and Invivo's \
         is {}",
        caller.user_text(),
        group.real,
        group.effective,
        group.saved,
        caller.group.real
    )
}

/// To act on another user's process takes the right to make files as that user too, which
/// `CAP_SYS_PTRACE` alone does not give.
fn other_user_remedy(facts: &Facts, target: &Credentials) -> String {
    let (user, group) = (target.user, target.group);
    let caller = &facts.caller;
    let capability = if caller.user.effective == 0 || user.real == caller.user.real {
        become_capable(facts)
    } else {
        "run invivo as root, which has CAP_SYS_PTRACE: sudo invivo …"
    };
    if user.real == 0 || !user.are_all(user.real) || !group.are_all(group.real) {
        return capability.to_owned();
    }
    let switch = match &target.user_name {
        Some(name) if user.real != caller.user.real => format!("sudo -u {name} invivo …"),
        _ => format!(
            "sudo setpriv --reuid {} --regid {} --clear-groups invivo …",
            user.real, group.real
        ),
    };
    format!(
        "run invivo as {}: {switch}; or {capability}",
        target.user_text()
    )
}

fn user_namespace(facts: &Facts) -> Check {
    let rule = Rule::UserNamespace;
    match facts.user_namespace {
        UserNamespace::Same => check(rule, NotDeciding, "the target's is Invivo's own"),
        UserNamespace::Below { owned: Some(true) } => check(
            rule,
            NotDeciding,
            "the target's lies below Invivo's and belongs to Invivo's user, which counts as \
             having every capability there",
        ),
        UserNamespace::Below { .. } => check(
            rule,
            NotDeciding,
            "the target's lies below Invivo's: Invivo's capabilities count there",
        ),
        UserNamespace::Outside => check(
            rule,
            NotDeciding,
            "the target's is not Invivo's nor below it: Invivo's capabilities do not count there",
        ),
        UserNamespace::Unknown { same_ids: true } => check(
            rule,
            NotDeciding,
            "the target's may not be read; its table of ids is the same as Invivo's",
        ),
        UserNamespace::Unknown { same_ids: false } => check(
            rule,
            NotDeciding,
            "the target's may not be read; its table of ids differs from Invivo's, so it is \
             another one",
        ),
    }
}

/// `__ptrace_may_access`, the part on `get_dumpable`.
fn dumpable(facts: &Facts) -> Check {
    let rule = Rule::Dumpable;
    let remedy = || {
        format!(
            "let the target call prctl(PR_SET_DUMPABLE, 1) after it has changed its user, or \
             make its program file readable for its user; or {}",
            become_capable(facts)
        )
    };
    let fact = "its /proc files belong to root, so it is marked as not dumpable (it changed its \
                user, may not read its own program file, or asked for it)";
    match (facts.dumpable, capable(facts)) {
        (Dumpable::Yes, _) => check(rule, Allows, "its /proc files belong to its own user"),
        (Dumpable::No, Some(true)) => check(
            rule,
            Allows,
            format!("{fact}; Invivo has CAP_SYS_PTRACE there"),
        ),
        (Dumpable::Unknown, Some(true)) => check(
            rule,
            Allows,
            "it does not matter, since Invivo has CAP_SYS_PTRACE there",
        ),
        (Dumpable::No, Some(false)) => refuse(rule, fact, remedy()),
        (Dumpable::No, None) => unknown(rule, fact, remedy()),
        (Dumpable::Unknown, _) => unknown(
            rule,
            "whether the target is dumpable can't be read, since root owns its /proc files anyway",
            remedy(),
        ),
    }
}

/// `cap_ptrace_access_check`: the target's permitted set must be part of the caller's, in the
/// same user namespace.
fn capabilities(facts: &Facts) -> Check {
    let rule = Rule::Capabilities;
    let Some(target) = &facts.target else {
        let fact = "the target's capabilities could not be read";
        return unknown(rule, fact, become_capable(facts));
    };
    let missing = target.permitted.without(facts.caller.permitted);
    let same_namespace = match facts.user_namespace {
        UserNamespace::Same => Some(true),
        UserNamespace::Below { .. } | UserNamespace::Outside => Some(false),
        UserNamespace::Unknown { same_ids } => (!same_ids).then_some(false),
    };
    if same_namespace == Some(true) && missing.is_empty() {
        let fact = if target.permitted.is_empty() {
            "the target has none"
        } else {
            "the target has none that Invivo lacks"
        };
        return check(rule, Allows, fact);
    }
    let fact = if missing.is_empty() {
        "the target's count in another user namespace than Invivo's".to_owned()
    } else {
        format!(
            "the target has {}, which Invivo has not",
            listed(&missing.names())
        )
    };
    match capable(facts) {
        Some(true) => check(
            rule,
            Allows,
            format!("{fact}; CAP_SYS_PTRACE outweighs that"),
        ),
        Some(false) if same_namespace.is_some() || !missing.is_empty() => {
            refuse(rule, fact, become_capable(facts))
        }
        Some(false) => check(rule, Allows, "the target has none that Invivo lacks"),
        None => unknown(rule, fact, become_capable(facts)),
    }
}

/// The first few names, and how many more.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 3;
    match names.get(..SHOWN) {
        Some(first) if names.len() > SHOWN => {
            format!(
                "{} and {} more capabilities",
                first.join(", "),
                names.len() - SHOWN
            )
        }
        _ => names.join(", "),
    }
}

/// `yama_ptrace_access_check`.
fn yama(facts: &Facts) -> Check {
    let rule = Rule::Yama;
    let scope = match facts.yama {
        Yama::Absent => return check(rule, Allows, "this kernel has no Yama"),
        Yama::Unknown => {
            let fact = "kernel.yama.ptrace_scope could not be read";
            return unknown(rule, fact, become_capable(facts));
        }
        Yama::Scope(0) => {
            return check(
                rule,
                Allows,
                "kernel.yama.ptrace_scope is 0: no restriction",
            );
        }
        Yama::Scope(scope) => scope,
    };
    if scope >= 3 {
        return refuse(
            rule,
            format!("kernel.yama.ptrace_scope is {scope}: nobody may attach, root included"),
            "it can't be lowered while the machine runs: boot with \
             sysctl kernel.yama.ptrace_scope at 2 or less",
        );
    }
    if capable(facts) == Some(true) {
        let fact =
            format!("kernel.yama.ptrace_scope is {scope}, and Invivo has CAP_SYS_PTRACE there");
        return check(rule, Allows, fact);
    }
    if scope == 2 {
        let fact = "kernel.yama.ptrace_scope is 2: only with CAP_SYS_PTRACE";
        let remedy = format!(
            "{}; last, for the whole machine: sudo sysctl kernel.yama.ptrace_scope=1",
            become_capable(facts)
        );
        return match capable(facts) {
            Some(false) => refuse(rule, fact, remedy),
            _ => unknown(rule, fact, remedy),
        };
    }
    yama_relational(facts)
}

/// Scope 1: ancestors, and whom the target named by `prctl(PR_SET_PTRACER)`, which nothing tells.
fn yama_relational(facts: &Facts) -> Check {
    let rule = Rule::Yama;
    if facts.descends_from_caller == Some(true) {
        let fact = "kernel.yama.ptrace_scope is 1, and Invivo is the target's ancestor";
        return check(rule, Allows, fact);
    }
    if facts.probes.memory() {
        let fact = "kernel.yama.ptrace_scope is 1, and the target lets Invivo in \
                    (PR_SET_PTRACER)";
        return check(rule, Allows, fact);
    }
    let remedy = format!(
        "let the target allow it: prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); or {}; last, for the \
         whole machine: sudo sysctl kernel.yama.ptrace_scope=0",
        become_capable(facts)
    );
    let fact = "kernel.yama.ptrace_scope is 1: only an ancestor of the target, or whom the target \
                named (PR_SET_PTRACER), may attach";
    // The list of those named can't be read; but the right to look without the right to attach is
    // Yama's mark.
    let looks_like_yama = facts.descends_from_caller == Some(false)
        && capable(facts) == Some(false)
        && facts.probes.root.is_granted();
    if looks_like_yama {
        refuse(rule, fact, remedy)
    } else {
        unknown(rule, fact, remedy)
    }
}

fn security_module(facts: &Facts) -> Check {
    let rule = Rule::SecurityModule;
    let security = &facts.security;
    let confined =
        |label: &Option<String>| label.as_deref().is_some_and(|label| label != "unconfined");
    let active = match &security.active {
        Some(names) if names.is_empty() => "no security module is active".to_owned(),
        Some(names) => format!("active: {}", names.join(", ")),
        None => "the list of security modules can't be read".to_owned(),
    };
    if !confined(&security.caller) && !confined(&security.target) {
        return check(
            rule,
            NotDeciding,
            format!("{active}; neither process has a label"),
        );
    }
    let label = |label: &Option<String>| label.clone().unwrap_or_else(|| "none".to_owned());
    unknown(
        rule,
        format!(
            "{active}; Invivo's label is {}, the target's {}; what the policy says can't be read",
            label(&security.caller),
            label(&security.target)
        ),
        "if it refuses, the kernel's log names the rule: sudo journalctl -k -g 'avc:|apparmor=' \
         or sudo ausearch -m avc -ts recent",
    )
}

fn tracer(facts: &Facts) -> Check {
    let rule = Rule::Tracer;
    let Some(tracer) = &facts.tracer else {
        return check(rule, Allows, "nothing traces it");
    };
    let who = match &tracer.name {
        Some(name) => format!("process {} ({name})", tracer.pid),
        None => format!("process {}", tracer.pid),
    };
    refuse(
        rule,
        format!(
            "{who} traces thread {} already, and only one process can",
            tracer.thread
        ),
        format!("let {who} detach (quit the debugger or strace), then try again"),
    )
}

fn seccomp(facts: &Facts) -> Check {
    let rule = Rule::Seccomp;
    let stop_refused = matches!(facts.probes.stop_call, Outcome::Refused(_));
    match facts.filtered {
        Some(false) => check(rule, Allows, "no filter is on Invivo"),
        Some(true) if stop_refused => refuse(
            rule,
            "a filter on Invivo refuses ptrace, which stops a target's threads",
            "run invivo outside this sandbox, or let its seccomp profile permit ptrace, \
             process_vm_readv and process_vm_writev (docker run --security-opt \
             seccomp=PROFILE.json)",
        ),
        Some(true) if !facts.probes.memory_call.is_granted() && facts.probes.memory() => check(
            rule,
            NotDeciding,
            "a filter on Invivo refuses process_vm_readv; memory is read through /proc instead",
        ),
        Some(true) => check(
            rule,
            NotDeciding,
            "a filter is on Invivo, and lets ptrace through",
        ),
        None => check(
            rule,
            NotDeciding,
            "whether a filter is on Invivo could not be read",
        ),
    }
}

fn pid_namespace(facts: &Facts) -> Check {
    let rule = Rule::PidNamespace;
    let fact = match (facts.same_pid_namespace, facts.inner_pid) {
        (_, Some(inner)) => format!("another one: the target knows itself as process {inner}"),
        (Some(true), None) => "the target's is Invivo's own".to_owned(),
        (Some(false), None) => "another one".to_owned(),
        (None, None) => "the target's may not be read".to_owned(),
    };
    check(rule, NotDeciding, fact)
}

fn mount_namespace(facts: &Facts) -> Check {
    let rule = Rule::MountNamespace;
    let fact = match (facts.same_mount_namespace, facts.same_root) {
        (Some(true), Some(true)) => "the target sees the same files as Invivo",
        (Some(false), _) => "another one: paths are those of the target's own root",
        (_, Some(false)) => "the target has a root directory of its own (chroot)",
        _ => "the target's may not be read",
    };
    check(rule, NotDeciding, fact)
}

fn binary(facts: &Facts) -> Check {
    let rule = Rule::Binary;
    match &facts.binary {
        Outcome::Granted => check(rule, Allows, "the target's executable can be read"),
        Outcome::Refused(error) => check(
            rule,
            NotDeciding,
            format!("it can't be opened ({error}); what is needed of it is looked for in memory"),
        ),
        Outcome::NotAsked(why) => check(rule, NotDeciding, why.clone()),
    }
}
