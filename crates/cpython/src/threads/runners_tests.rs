use invivo_process::Image;

use super::*;

const INTERPRETER: Address = Address(0x99);

fn state(address: u64, thread_id: u64, native_id: u64) -> ThreadState {
    ThreadState {
        address: Address(address),
        native_id,
        thread_id,
        current_frame: Address::NULL,
        debugger: None,
    }
}

fn evidence<'a>(state: &'a ThreadState, c_stack: Option<u64>, frames: &[u64]) -> Evidence<'a> {
    Evidence {
        interpreter: INTERPRETER,
        state,
        c_stack: c_stack.map(Address),
        frames: frames.iter().copied().map(Address).collect(),
        is_in_use: c_stack.is_some() || !frames.is_empty(),
    }
}

fn thread(tid: u32, pthread: u64, ranges: &[(u64, u64)]) -> ThreadStack {
    let range = |(start, end): &(u64, u64)| Address(*start)..Address(*end);
    ThreadStack {
        tid,
        native_id: tid.into(),
        pthread: Some(pthread),
        ranges: ranges.iter().map(range).collect(),
        pointer: None,
    }
}

/// Two threads, with stacks at 0x1000 and at 0x2000.
fn two(still: bool) -> Stacks {
    Stacks {
        threads: vec![
            thread(1, 0xa000, &[(0x1000, 0x1800)]),
            thread(2, 0xb000, &[(0x2000, 0x2800)]),
        ],
        still,
    }
}

/// Memory with these words in it.
fn memory(words: &[(u64, u64)]) -> Image {
    let mut image = Image::new();
    image.insert(Address(0x1000), &[0; 0x2000]);
    for (at, word) in words {
        image.insert(Address(*at), &word.to_le_bytes());
    }
    image
}

fn why(runner: &Runner) -> &str {
    match runner {
        Runner::Unknown(why) => why,
        known => panic!("{known:?}"),
    }
}

#[test]
fn the_stack_in_use_tells_who_runs_a_state_and_not_who_made_it() {
    let (own, lent) = (state(10, 0xa000, 1), state(11, 0xa000, 1));
    let all = [
        evidence(&lent, Some(0x2100), &[]),
        evidence(&own, Some(0x1100), &[]),
    ];
    let runners = decide(&memory(&[]), &all, &two(false));
    assert_eq!(runners[&own.address], Runner::Proven(1));
    assert_eq!(runners[&lent.address], Runner::Proven(2));
}

#[test]
fn a_state_on_no_threads_stack_is_nobodys() {
    let gone = state(10, 0xa000, 1);
    let all = [evidence(&gone, Some(0x5000), &[])];
    let runners = decide(&memory(&[]), &all, &two(false));
    assert!(why(&runners[&gone.address]).contains("none of the threads"));
    let mut stacks = two(false);
    stacks.threads[1].ranges.clear();
    let runners = decide(&memory(&[]), &all, &stacks);
    assert!(why(&runners[&gone.address]).contains("is not known"));
}

#[test]
fn frames_that_are_objects_are_found_by_the_pointers_to_them() {
    let (own, lent) = (state(10, 0xa000, 0), state(11, 0xa000, 0));
    let frames = [
        evidence(&lent, None, &[0x70, 0x71]),
        evidence(&own, None, &[0x80]),
    ];
    // A pointer to the outer one was left on the other's stack.
    let words = [
        (0x1010, 0x80),
        (0x1020, 0x71),
        (0x2010, 0x70),
        (0x2020, 0x71),
    ];
    for still in [false, true] {
        let runners = decide(&memory(&words), &frames, &two(still));
        assert_eq!(runners[&own.address], Runner::Proven(1));
        assert_eq!(runners[&lent.address], Runner::Proven(2));
    }
    // Who has all of them counts, where both have the innermost.
    let words = [
        (0x1010, 0x80),
        (0x1020, 0x70),
        (0x2010, 0x70),
        (0x2020, 0x71),
    ];
    let runners = decide(&memory(&words), &frames, &two(true));
    assert_eq!(runners[&lent.address], Runner::Proven(2));
    let words = [(0x1020, 0x70), (0x2010, 0x70)];
    let runners = decide(&memory(&words), &frames, &two(true));
    assert!(why(&runners[&lent.address]).contains("several"));
    // The innermost must be found of threads that stand still, and need not of others.
    let words = [(0x2010, 0x71)];
    let runners = decide(&memory(&words), &frames, &two(true));
    assert!(why(&runners[&lent.address]).contains("none of the threads"));
    let runners = decide(&memory(&words), &frames, &two(false));
    assert_eq!(runners[&lent.address], Runner::Proven(2));
}

#[test]
fn a_state_that_runs_nothing_is_its_makers_unless_that_has_another() {
    let (own, spare) = (state(10, 0xa000, 1), state(11, 0xa000, 1));
    let idle = [evidence(&spare, None, &[]), evidence(&own, None, &[])];
    let runners = decide(&memory(&[]), &idle, &two(false));
    assert_eq!(runners[&own.address], Runner::Maker(1));
    assert!(why(&runners[&spare.address]).contains("another one"));
    let in_use = [
        evidence(&spare, Some(0x1100), &[]),
        evidence(&own, None, &[]),
    ];
    let runners = decide(&memory(&[]), &in_use, &two(false));
    assert_eq!(runners[&spare.address], Runner::Proven(1));
    assert!(why(&runners[&own.address]).contains("another one"));
}

#[test]
fn what_the_kernel_called_the_maker_counts_only_where_the_c_library_says_nothing() {
    // After a fork the number is the parent's; what the C library knows the thread by is not.
    let forked = state(10, 0xb000, 1);
    let reused = state(11, 0xc000, 2);
    let all = [evidence(&forked, None, &[])];
    let runners = decide(&memory(&[]), &all, &two(false));
    assert_eq!(runners[&forked.address], Runner::Maker(2));
    let all = [evidence(&reused, None, &[])];
    let runners = decide(&memory(&[]), &all, &two(false));
    assert!(why(&runners[&reused.address]).contains("has ended"));
    let mut stacks = two(false);
    stacks.threads[1].pthread = None;
    let runners = decide(&memory(&[]), &all, &stacks);
    assert_eq!(runners[&reused.address], Runner::Maker(2));
}

#[test]
fn a_thread_on_one_of_two_stacks_is_on_that_of_the_state_it_made() {
    let (own, left) = (state(10, 0xb000, 1), state(11, 0xa000, 1));
    let all = [
        evidence(&own, Some(0x2100), &[]),
        evidence(&left, Some(0x1100), &[]),
    ];
    let stacks = Stacks {
        threads: vec![thread(7, 0xb000, &[(0x2000, 0x2800), (0x1000, 0x1800)])],
        still: false,
    };
    let runners = decide(&memory(&[]), &all, &stacks);
    assert_eq!(runners[&own.address], Runner::Proven(7));
    assert!(why(&runners[&left.address]).contains("another stack"));
}
