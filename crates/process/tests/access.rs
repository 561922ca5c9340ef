//! Every rule on facts made by hand, as most machines can't show them: the kernel's answer is part
//! of the facts, and the verdict must be its.

use std::collections::HashSet;

use invivo_model::ErrorKind;
use invivo_process::access::{
    Capabilities, Check, CheckVerdict, Credentials, Dumpable, Facts, Ids, Outcome, Probes, Rule,
    SecurityModules, Tracer, UserNamespace, Verdict, Yama, deciding, judge, refusal, verdict,
};

fn user(id: u32) -> Credentials {
    Credentials {
        user: Ids::all(id),
        group: Ids::all(id),
        user_name: None,
        permitted: Capabilities::default(),
        effective: Capabilities::default(),
    }
}

fn capable(id: u32) -> Credentials {
    Credentials {
        permitted: Capabilities::SYS_PTRACE,
        effective: Capabilities::SYS_PTRACE,
        ..user(id)
    }
}

fn granted() -> Probes {
    Probes {
        memory_file: Outcome::Granted,
        memory_call: Outcome::Granted,
        stop_call: Outcome::Granted,
        root: Outcome::Granted,
    }
}

/// What an attach that the kernel refuses looks like.
fn refused() -> Probes {
    Probes {
        memory_file: Outcome::Refused("EACCES".into()),
        memory_call: Outcome::Refused("EPERM".into()),
        stop_call: Outcome::Granted,
        root: Outcome::Refused("EACCES".into()),
    }
}

/// What Yama's refusal looks like: the right to look is there, the right to attach is not.
fn refused_by_yama() -> Probes {
    Probes {
        root: Outcome::Granted,
        ..refused()
    }
}

/// User 1000 on another process of user 1000, with nothing in the way.
fn facts() -> Facts {
    Facts {
        pid: 42,
        is_self: false,
        kernel_thread: false,
        caller: user(1000),
        target: Some(user(1000)),
        ids_comparable: true,
        user_namespace: UserNamespace::Same,
        dumpable: Dumpable::Yes,
        yama: Yama::Absent,
        descends_from_caller: Some(false),
        tracer: None,
        filtered: Some(false),
        security: SecurityModules::default(),
        same_pid_namespace: Some(true),
        inner_pid: None,
        same_mount_namespace: Some(true),
        same_root: Some(true),
        binary: Outcome::Granted,
        probes: granted(),
    }
}

/// What `rule` says about `facts`, which must be `expected`.
#[track_caller]
fn says(facts: &Facts, rule: Rule, expected: CheckVerdict) -> Check {
    let checks = judge(facts);
    let check = checks
        .iter()
        .find(|check| check.rule == rule)
        .expect("the rule was applied");
    assert_eq!(check.verdict, expected, "{rule:?}: {}", check.fact);
    check.clone()
}

/// The verdict is `expected` and `rule` is what decided it; gives the remedy.
#[track_caller]
fn decided_by(facts: &Facts, rule: Rule, expected: Verdict) -> String {
    assert_eq!(verdict(facts), expected);
    let checks = judge(facts);
    let check = deciding(&checks).expect("a refusal has a check that decided it");
    assert_eq!(check.rule, rule, "{}", check.fact);
    let remedy = check.remedy.clone().expect("a refusal has a remedy");
    let error = refusal(facts);
    assert_eq!((&error.why, &error.remedy), (&check.fact, &remedy));
    for part in [&error.what, &error.why, &error.remedy] {
        assert!(
            !part.is_empty() && !part.contains('\n') && !part.ends_with('.'),
            "{part:?}"
        );
    }
    remedy
}

/// Where each of `parts` stands in `remedy`, which must be in this order.
#[track_caller]
fn in_order(remedy: &str, parts: &[&str]) {
    let places: Vec<Option<usize>> = parts.iter().map(|part| remedy.find(part)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{parts:?} in {remedy:?}"
    );
}

#[test]
fn same_user_and_nothing_in_the_way_is_allowed() {
    let facts = facts();
    assert_eq!(verdict(&facts), Verdict::Allowed);
    let checks = judge(&facts);
    assert!(deciding(&checks).is_none());
    assert!(
        checks
            .iter()
            .all(|check| check.verdict != CheckVerdict::Unknown)
    );
    let rules: HashSet<Rule> = checks.iter().map(|check| check.rule).collect();
    assert_eq!(rules.len(), checks.len(), "each rule is applied once");
    assert!(!rules.contains(&Rule::Unexplained));
}

#[test]
fn another_user_is_refused_and_told_whose_rights_would_do() {
    let target = Credentials {
        user_name: Some("nobody".into()),
        ..user(65534)
    };
    let facts = Facts {
        target: Some(target),
        probes: refused(),
        ..facts()
    };
    let remedy = decided_by(&facts, Rule::SameUser, Verdict::Refused);
    in_order(
        &remedy,
        &[
            "nobody (uid 65534)",
            "sudo -u nobody invivo",
            "CAP_SYS_PTRACE",
        ],
    );
}

#[test]
fn another_user_is_allowed_with_the_capability_alone() {
    let facts = Facts {
        caller: capable(1000),
        target: Some(user(5)),
        ..facts()
    };
    says(&facts, Rule::SameUser, CheckVerdict::Allows);
    assert_eq!(verdict(&facts), Verdict::Allowed);
}

#[test]
fn a_capability_that_is_only_permitted_does_not_count() {
    let caller = Credentials {
        permitted: Capabilities::SYS_PTRACE,
        ..user(1000)
    };
    let facts = Facts {
        caller,
        target: Some(user(5)),
        probes: refused(),
        ..facts()
    };
    decided_by(&facts, Rule::SameUser, Verdict::Refused);
}

#[test]
fn a_setuid_target_counts_by_all_its_ids() {
    let target = Credentials {
        user: Ids {
            real: 1000,
            effective: 0,
            saved: 0,
        },
        ..user(1000)
    };
    let facts = Facts {
        target: Some(target),
        probes: refused(),
        ..facts()
    };
    let remedy = decided_by(&facts, Rule::SameUser, Verdict::Refused);
    assert!(
        !remedy.contains("sudo -u"),
        "no user alone has these ids: {remedy}"
    );
}

#[test]
fn another_group_is_refused_as_another_user_is() {
    let target = Credentials {
        group: Ids::all(7),
        ..user(1000)
    };
    let facts = Facts {
        target: Some(target),
        probes: refused(),
        ..facts()
    };
    let remedy = decided_by(&facts, Rule::SameUser, Verdict::Refused);
    assert!(remedy.contains("--regid 7"), "{remedy}");
}

#[test]
fn root_without_the_capability_is_told_about_its_container() {
    let facts = Facts {
        caller: user(0),
        target: Some(user(1000)),
        probes: refused(),
        ..facts()
    };
    let remedy = decided_by(&facts, Rule::SameUser, Verdict::Refused);
    assert!(remedy.contains("--cap-add=SYS_PTRACE"), "{remedy}");
}

#[test]
fn ids_that_read_as_nobody_in_a_partial_map_are_not_taken_for_equal() {
    let nobody = user(65534);
    let facts = Facts {
        caller: nobody.clone(),
        target: Some(nobody),
        ids_comparable: false,
        ..facts()
    };
    says(&facts, Rule::SameUser, CheckVerdict::Unknown);
    assert_eq!(verdict(&facts), Verdict::Allowed, "the probe decides");
}

#[test]
fn a_target_with_more_capabilities_is_refused_and_they_are_named() {
    let target = Credentials {
        permitted: Capabilities(1 << 10),
        ..user(1000)
    };
    let mut facts = Facts {
        target: Some(target),
        probes: refused(),
        ..facts()
    };
    decided_by(&facts, Rule::Capabilities, Verdict::Refused);
    let check = says(&facts, Rule::Capabilities, CheckVerdict::Refuses);
    assert!(
        check.fact.contains("CAP_NET_BIND_SERVICE"),
        "{}",
        check.fact
    );

    facts.caller.permitted = Capabilities(1 << 10 | 1);
    facts.probes = granted();
    says(&facts, Rule::Capabilities, CheckVerdict::Allows);

    facts.caller = capable(1000);
    says(&facts, Rule::Capabilities, CheckVerdict::Allows);
}

#[test]
fn a_target_that_is_not_dumpable_is_refused() {
    let mut facts = Facts {
        dumpable: Dumpable::No,
        probes: refused(),
        ..facts()
    };
    let remedy = decided_by(&facts, Rule::Dumpable, Verdict::Refused);
    in_order(&remedy, &["prctl(PR_SET_DUMPABLE, 1)", "CAP_SYS_PTRACE"]);

    facts.caller = capable(1000);
    facts.probes = granted();
    says(&facts, Rule::Dumpable, CheckVerdict::Allows);
    assert_eq!(verdict(&facts), Verdict::Allowed);
}

#[test]
fn whether_roots_process_is_dumpable_is_not_guessed() {
    let (caller, target) = (user(0), Some(user(0)));
    let facts = Facts {
        caller,
        target,
        dumpable: Dumpable::Unknown,
        ..facts()
    };
    says(&facts, Rule::Dumpable, CheckVerdict::Unknown);
    assert_eq!(verdict(&facts), Verdict::Allowed);
}

#[test]
fn a_dumpable_rule_that_only_may_have_refused_is_named_as_such() {
    let (caller, target) = (user(0), Some(user(0)));
    let facts = Facts {
        caller,
        target,
        dumpable: Dumpable::Unknown,
        probes: refused(),
        ..facts()
    };
    says(&facts, Rule::Dumpable, CheckVerdict::Unknown);
    decided_by(&facts, Rule::Unexplained, Verdict::Refused);
    let check = says(&facts, Rule::Unexplained, CheckVerdict::Refuses);
    assert!(
        check.fact.contains("not dumpable"),
        "the undecided rule is named: {}",
        check.fact
    );
}

#[test]
fn yama_0_restricts_nothing() {
    let facts = Facts {
        yama: Yama::Scope(0),
        ..facts()
    };
    says(&facts, Rule::Yama, CheckVerdict::Allows);
}

#[test]
fn yama_1_allows_ancestors_and_the_capability_and_refuses_others() {
    let facts = Facts {
        yama: Yama::Scope(1),
        ..facts()
    };
    let stranger = Facts {
        probes: refused_by_yama(),
        ..facts.clone()
    };
    let remedy = decided_by(&stranger, Rule::Yama, Verdict::Refused);
    in_order(
        &remedy,
        &[
            "PR_SET_PTRACER",
            "CAP_SYS_PTRACE",
            "sysctl kernel.yama.ptrace_scope=0",
        ],
    );

    let ancestor = Facts {
        descends_from_caller: Some(true),
        ..facts.clone()
    };
    says(&ancestor, Rule::Yama, CheckVerdict::Allows);
    let with_capability = Facts {
        caller: capable(1000),
        ..facts.clone()
    };
    says(&with_capability, Rule::Yama, CheckVerdict::Allows);
    // The kernel grants it to a stranger only where the target named it.
    let check = says(&facts, Rule::Yama, CheckVerdict::Allows);
    assert!(check.fact.contains("PR_SET_PTRACER"), "{}", check.fact);
}

#[test]
fn yama_1_is_not_blamed_where_not_even_looking_is_allowed() {
    let facts = Facts {
        yama: Yama::Scope(1),
        probes: refused(),
        ..facts()
    };
    says(&facts, Rule::Yama, CheckVerdict::Unknown);
    decided_by(&facts, Rule::Unexplained, Verdict::Refused);
}

#[test]
fn yama_2_asks_for_the_capability_even_of_ancestors() {
    let mut facts = Facts {
        yama: Yama::Scope(2),
        descends_from_caller: Some(true),
        probes: refused_by_yama(),
        ..facts()
    };
    let remedy = decided_by(&facts, Rule::Yama, Verdict::Refused);
    in_order(
        &remedy,
        &["CAP_SYS_PTRACE", "sysctl kernel.yama.ptrace_scope=1"],
    );
    facts.caller = capable(1000);
    facts.probes = granted();
    says(&facts, Rule::Yama, CheckVerdict::Allows);
}

#[test]
fn yama_3_refuses_everybody() {
    let facts = Facts {
        yama: Yama::Scope(3),
        caller: capable(0),
        probes: refused_by_yama(),
        ..facts()
    };
    let remedy = decided_by(&facts, Rule::Yama, Verdict::Refused);
    assert!(remedy.contains("boot"), "{remedy}");
}

#[test]
fn capabilities_do_not_count_outside_the_own_user_namespace() {
    let facts = Facts {
        caller: capable(0),
        target: Some(user(1000)),
        user_namespace: UserNamespace::Outside,
        probes: refused(),
        ..facts()
    };
    let remedy = decided_by(&facts, Rule::SameUser, Verdict::Refused);
    assert!(remedy.contains("user namespace"), "{remedy}");
    // Not even for a target of the same user: its capabilities can't be compared.
    let facts = Facts {
        target: Some(user(0)),
        ..facts
    };
    decided_by(&facts, Rule::Capabilities, Verdict::Refused);
}

#[test]
fn whoever_made_a_user_namespace_is_capable_in_it() {
    let all = Capabilities((1 << 41) - 1);
    let target = Credentials {
        permitted: all,
        effective: all,
        ..user(1000)
    };
    let mut facts = Facts {
        target: Some(target),
        user_namespace: UserNamespace::Below { owned: Some(true) },
        ..facts()
    };
    says(&facts, Rule::Capabilities, CheckVerdict::Allows);
    assert_eq!(verdict(&facts), Verdict::Allowed);

    facts.user_namespace = UserNamespace::Below { owned: Some(false) };
    facts.probes = refused();
    decided_by(&facts, Rule::Capabilities, Verdict::Refused);

    facts.user_namespace = UserNamespace::Below { owned: None };
    says(&facts, Rule::Capabilities, CheckVerdict::Unknown);
}

#[test]
fn a_tracer_keeps_others_from_acting_but_not_from_looking() {
    let tracer = Tracer {
        thread: 43,
        pid: 7,
        name: Some("gdb".into()),
    };
    let facts = Facts {
        tracer: Some(tracer),
        ..facts()
    };
    decided_by(&facts, Rule::Tracer, Verdict::LookOnly);
    let check = says(&facts, Rule::Tracer, CheckVerdict::Refuses);
    assert!(check.fact.contains("process 7 (gdb)"), "{}", check.fact);
}

#[test]
fn a_tracer_is_not_blamed_for_what_another_rule_refused() {
    let tracer = Tracer {
        thread: 43,
        pid: 7,
        name: None,
    };
    let facts = Facts {
        tracer: Some(tracer),
        probes: refused(),
        ..facts()
    };
    decided_by(&facts, Rule::Unexplained, Verdict::Refused);
}

#[test]
fn a_filter_on_us_that_refuses_ptrace_is_named() {
    let probes = Probes {
        memory_call: Outcome::Refused("EPERM".into()),
        stop_call: Outcome::Refused("EPERM".into()),
        ..granted()
    };
    let mut facts = Facts {
        filtered: Some(true),
        probes,
        ..facts()
    };
    decided_by(&facts, Rule::Seccomp, Verdict::LookOnly);
    says(&facts, Rule::ReadMemory, CheckVerdict::Allows);

    // The same without a filter: something else stands before the kernel.
    facts.filtered = Some(false);
    decided_by(&facts, Rule::Unexplained, Verdict::LookOnly);

    // A filter that lets everything through decides nothing.
    facts.filtered = Some(true);
    facts.probes = granted();
    says(&facts, Rule::Seccomp, CheckVerdict::NotDeciding);
    assert_eq!(verdict(&facts), Verdict::Allowed);
}

#[test]
fn an_unknown_rule_is_said_to_be_unknown() {
    let security = SecurityModules {
        active: Some(vec!["apparmor".into()]),
        caller: Some("unconfined".into()),
        target: Some("locked (enforce)".into()),
    };
    let facts = Facts {
        security,
        probes: refused_by_yama(),
        ..facts()
    };
    says(&facts, Rule::SecurityModule, CheckVerdict::Unknown);
    decided_by(&facts, Rule::Unexplained, Verdict::Refused);
}

#[test]
fn a_rule_that_refuses_what_the_kernel_grants_is_not_believed() {
    let facts = Facts {
        target: Some(user(5)),
        ..facts()
    };
    assert_eq!(verdict(&facts), Verdict::Allowed);
    says(&facts, Rule::SameUser, CheckVerdict::Unknown);
    let check = says(&facts, Rule::Unexplained, CheckVerdict::NotDeciding);
    assert!(check.fact.contains("yet it grants"), "{}", check.fact);
    assert!(deciding(&judge(&facts)).is_none());
}

#[test]
fn memory_without_the_root_directory_is_not_enough_to_act() {
    let probes = Probes {
        root: Outcome::Refused("EACCES".into()),
        ..granted()
    };
    decided_by(
        &Facts { probes, ..facts() },
        Rule::Unexplained,
        Verdict::LookOnly,
    );
}

#[test]
fn kernel_threads_are_not_python() {
    let facts = Facts {
        kernel_thread: true,
        probes: refused(),
        ..facts()
    };
    decided_by(&facts, Rule::KernelThread, Verdict::Refused);
    assert_eq!(refusal(&facts).kind, ErrorKind::NotPython);
}

#[test]
fn a_process_can_read_but_not_stop_itself() {
    let facts = Facts {
        is_self: true,
        ..facts()
    };
    decided_by(&facts, Rule::OtherProcess, Verdict::LookOnly);
}

#[test]
fn capabilities_are_named_and_unknown_ones_numbered() {
    let set = Capabilities(1 | 1 << 19 | 1 << 40 | 1 << 41);
    assert_eq!(
        set.names(),
        [
            "CAP_CHOWN",
            "CAP_SYS_PTRACE",
            "CAP_CHECKPOINT_RESTORE",
            "CAP_41"
        ]
    );
}
