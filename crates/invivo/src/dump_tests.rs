use super::*;
use crate::testing::{frame, thread};
use crate::{DoingKind, OsActivity};
use invivo_process::ThreadStack;

fn os_thread(tid: u32, native_id: u64, state: char) -> OsThread {
    OsThread {
        tid,
        native_id,
        name: "python3".to_owned(),
        activity: Some(OsActivity {
            state,
            running: state == 'R',
            system_call: None,
            argument: None,
            steady: false,
        }),
    }
}

fn subject() -> Subject {
    Subject {
        pid: 100,
        command: vec!["python3".to_owned()],
        executable: None,
        version: None,
        build: Build::default(),
        runtime: Address(0x5000),
        runtimes: None,
        halt: None,
    }
}

fn interpreter(id: i64, threads: Vec<Thread>) -> InterpreterThreads {
    InterpreterThreads {
        address: Address(0x9000),
        id,
        gil: Address(0x6000),
        collecting: None,
        threads,
        names: HashMap::new(),
        main_ident: 0,
        defects: Vec::new(),
    }
}

/// Each thread state is run by the thread that it names.
fn runners(found: &[InterpreterThreads]) -> Runners {
    let threads = found.iter().flat_map(|one| &one.threads);
    let numbered = threads.filter(|thread| thread.state.native_id < 4);
    let by_state = numbered.map(|thread| {
        let tid = u32::try_from(4000 + thread.state.native_id).expect("a small number");
        (thread.state.address, Runner::Proven(tid))
    });
    Runners {
        by_state: by_state.collect(),
        stacks: Stacks::default(),
    }
}

fn tids(joined: &[InterpreterDump]) -> Vec<Vec<Option<u32>>> {
    let tid = |dump: &ThreadDump| dump.os.as_ref().map(|os| os.tid);
    joined
        .iter()
        .map(|interpreter| interpreter.threads.iter().map(tid).collect())
        .collect()
}

/// A process in another pid namespace: two threads with Python, one without, one that has ended.
fn process() -> (Vec<InterpreterThreads>, Vec<OsThread>) {
    let waits = thread(2, Gil::Waits, vec![frame("f", "/f.py", 1)]);
    let holds = thread(1, Gil::Holds, vec![frame("g", "/f.py", 2)]);
    let ended = thread(9, Gil::Without, Vec::new());
    let found = vec![
        interpreter(1, vec![ended]),
        interpreter(0, vec![waits, holds]),
    ];
    let threads = vec![
        os_thread(4001, 1, 'R'),
        os_thread(4002, 2, 'S'),
        os_thread(4003, 3, 'S'),
    ];
    (found, threads)
}

#[test]
fn threads_are_joined_across_pid_namespaces() {
    let (found, threads) = process();
    let runners = runners(&found);
    let joined = join(found, &threads, &runners, &subject());
    assert_eq!(tids(&joined), [vec![Some(4001), Some(4002)], vec![None]]);
    let said: Vec<_> = joined
        .iter()
        .flat_map(|one| &one.threads)
        .map(|dump| dump.doing.sentence.as_str())
        .collect();
    assert_eq!(
        said,
        [
            "runs Python",
            "waits for the GIL held by thread 4001",
            "its OS thread could not be found, no Python frames"
        ]
    );
    assert_eq!(joined[1].threads[0].doing.kind, DoingKind::Ended);
    let left: Vec<u32> = left_over(&threads, &joined)
        .iter()
        .map(|thread| thread.tid)
        .collect();
    assert_eq!(left, [4003]);
}

#[test]
fn only_what_was_asked_for_is_left() {
    let chosen = |options: DumpOptions| {
        let (found, threads) = process();
        let runners = runners(&found);
        let mut joined = join(found, &threads, &runners, &subject());
        choose(&mut joined, &options, &subject()).map(|()| tids(&joined))
    };
    let usual = DumpOptions::default();
    assert_eq!(
        chosen(usual.clone()),
        Ok(vec![vec![Some(4001), Some(4002)]])
    );
    assert_eq!(
        chosen(DumpOptions {
            thread: Some(4002),
            ..usual.clone()
        }),
        Ok(vec![vec![Some(4002)]])
    );
    assert_eq!(
        chosen(DumpOptions {
            all_interpreters: true,
            ..usual.clone()
        })
        .map(|all| all.len()),
        Ok(2)
    );
    let error = chosen(DumpOptions {
        thread: Some(4003),
        ..usual
    })
    .expect_err("it has no Python");
    assert_eq!(error.kind, ErrorKind::Usage);
    assert_eq!(error.why, "its Python threads are: 4001, 4002");
}

#[test]
fn a_thread_is_called_after_who_runs_it_and_not_after_who_made_its_state() {
    let (mut found, threads) = process();
    let name = |name: &str| crate::testing::text(name);
    let names = [(0xa, name("MainThread")), (0xb, name("worker"))];
    for one in &mut found {
        one.names = names.clone().into();
        one.main_ident = 0xa;
        for thread in &mut one.threads {
            thread.name = Some(name("MainThread"));
            thread.is_main = true;
        }
    }
    let mut runners = runners(&found);
    let lent = &found[1].threads[0].state;
    runners.by_state.insert(lent.address, Runner::Proven(4001));
    let spare = &found[1].threads[1].state;
    let unknown = Runner::Unknown("nobody knows".to_owned());
    runners.by_state.insert(spare.address, unknown);
    runners.stacks.threads = vec![ThreadStack {
        tid: 4001,
        pthread: Some(0xb),
        ..ThreadStack::default()
    }];
    let joined = join(found, &threads, &runners, &subject());
    let [spare, lent] = &joined[0].threads[..] else {
        panic!("{joined:?}");
    };
    assert_eq!(lent.thread.name, Some(name("worker")));
    assert!(!lent.thread.is_main);
    assert_eq!(lent.ident, Some(0xb));
    assert_eq!((&spare.thread.name, spare.ident), (&None, None));
    assert_eq!(
        spare.doing.sentence,
        "holds the GIL; which OS thread runs it is not known: nobody knows"
    );
}

#[test]
fn who_sleeps_on_the_gil_waits_for_it() {
    let sleeps = |place: u64| {
        let mut threads = process().1;
        let activity = threads[1].activity.as_mut().expect("an activity");
        activity.system_call = Some("futex".to_owned());
        activity.argument = Some(place);
        let holds = thread(1, Gil::Holds, vec![frame("g", "/f.py", 2)]);
        let other = thread(2, Gil::Without, vec![frame("f", "/f.py", 1)]);
        let found = vec![interpreter(0, vec![other, holds])];
        let runners = runners(&found);
        let joined = join(found, &threads, &runners, &subject());
        joined[0].threads[1].doing.sentence.clone()
    };
    assert_eq!(sleeps(0x6028), "waits for the GIL held by thread 4001");
    assert_eq!(sleeps(0x5ff8), "in futex wait");
    assert_eq!(sleeps(0x6000 + GIL_SIZE), "in futex wait");
}

#[test]
fn only_contradictions_are_asked_about_again() {
    let (found, threads) = process();
    assert_eq!(doubtful(&found, &threads, &runners(&found)), [0_u32; 0]);
    let without = thread(1, Gil::Without, Vec::new());
    let holds = thread(2, Gil::Holds, Vec::new());
    let found = vec![interpreter(0, vec![holds, without])];
    assert_eq!(doubtful(&found, &threads, &runners(&found)), [4002, 4001]);
}
