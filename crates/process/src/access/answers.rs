//! What the kernel answered when it was asked, as checks, and how the rules hold against it.

use super::CheckVerdict::{Allows, NotDeciding, Refuses, Unknown};
use super::rules::{check, refuse};
use super::{Check, Facts, Outcome, Rule};

/// The kernel's own answers, one check for each right that a whole attach needs.
pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    let probes = &facts.probes;
    let memory = match (&probes.memory_call, &probes.memory_file) {
        (Outcome::Granted, _) => check(Rule::ReadMemory, Allows, "the kernel lets Invivo read it"),
        (call, Outcome::Granted) => check(
            Rule::ReadMemory,
            Allows,
            format!(
                "the kernel lets Invivo read /proc/PID/mem (process_vm_readv: {})",
                said(call)
            ),
        ),
        (call, file) => check(
            Rule::ReadMemory,
            Refuses,
            format!(
                "the kernel refuses process_vm_readv ({}) and /proc/PID/mem ({})",
                said(call),
                said(file)
            ),
        ),
    };
    let stop = match &probes.stop_call {
        Outcome::Granted => check(
            Rule::StopThreads,
            Allows,
            "ptrace reaches the kernel, whose rules are above",
        ),
        outcome => check(
            Rule::StopThreads,
            Refuses,
            format!(
                "ptrace does not reach the kernel's rules ({})",
                said(outcome)
            ),
        ),
    };
    let root = match &probes.root {
        Outcome::Granted => check(Rule::ReachRoot, Allows, "the target's root can be opened"),
        outcome => check(
            Rule::ReachRoot,
            Refuses,
            format!("the target's root can't be opened ({})", said(outcome)),
        ),
    };
    vec![memory, stop, root]
}

fn said(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Granted => "granted".to_owned(),
        Outcome::Refused(error) => error.clone(),
        Outcome::NotAsked(why) => format!("not asked: {why}"),
    }
}

/// Holds the rules on memory against the probes. The probes are right; where the rules say
/// otherwise, a check says that they do.
pub(super) fn reconcile_memory(facts: &Facts, checks: &mut [Check]) -> Option<Check> {
    let refusing: Vec<&mut Check> = checks
        .iter_mut()
        .filter(|check| check.verdict == Refuses)
        .collect();
    match (facts.probes.memory(), refusing.is_empty()) {
        (true, true) | (false, false) => None,
        (true, false) => {
            let names: Vec<&str> = refusing.iter().map(|check| check.rule.label()).collect();
            let names = names.join(", ");
            for check in refusing {
                check.verdict = Unknown;
            }
            let fact = format!("by the rules ({names}) the kernel should refuse, yet it grants");
            Some(check(Rule::Unexplained, NotDeciding, fact))
        }
        (false, true) => Some(unexplained(checks)),
    }
}

/// The kernel refuses, and no rule for certain: those that may have are named.
fn unexplained(checks: &[Check]) -> Check {
    let undecided: Vec<&str> = checks
        .iter()
        .filter(|check| check.verdict == Unknown)
        .map(|check| check.rule.label())
        .collect();
    let fact = if undecided.is_empty() {
        "a rule Invivo does not know, such as a security module's policy, refused".to_owned()
    } else {
        format!(
            "the kernel refused, by a rule whose facts can't be read ({}) or one Invivo does not \
             know",
            undecided.join(", ")
        )
    };
    refuse(
        Rule::Unexplained,
        fact,
        "see what the kernel logged: sudo journalctl -k -g 'avc:|apparmor='; or run invivo \
         where the target runs, in its container and with its label",
    )
}

/// The same for stopping and for the target's files, where memory may be read.
pub(super) fn reconcile_calls(facts: &Facts, checks: &[Check]) -> Option<Check> {
    let probes = &facts.probes;
    if !probes.memory() || checks.iter().any(|check| check.verdict == Refuses) {
        return None;
    }
    if !probes.stop_call.is_granted() {
        return Some(refuse(
            Rule::Unexplained,
            "ptrace is refused before the kernel's rules are asked, as in a sandbox",
            "run invivo outside the sandbox it runs in",
        ));
    }
    (!probes.root.is_granted()).then(|| {
        refuse(
            Rule::Unexplained,
            "memory may be read but the target's root directory not opened, by a rule Invivo \
             does not know",
            "see what the kernel logged: sudo journalctl -k -g 'avc:|apparmor='",
        )
    })
}
