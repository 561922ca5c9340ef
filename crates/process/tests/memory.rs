//! Reading the memory of live processes.

mod support;

use invivo_process::{Address, Fault, Memory, ReadRequest};
use support::{Subject, thread_states, until};

#[test]
fn a_piece_is_read_as_far_as_it_goes() {
    let subject = Subject::new(&["pages"]);
    let memory = subject.target().memory();
    let page = rustix::param::page_size();
    let first = subject.said[0];
    let at = |offset: usize| first.offset(offset as u64).expect("in range");

    let mut across = vec![0; page];
    let half = page / 2;
    assert_eq!(
        memory.read(at(half), &mut across),
        Err(Fault::Unmapped(at(page)))
    );
    assert_eq!(across[..half], vec![b'a'; half]);
    assert_eq!(
        memory.read(at(page), &mut [0]),
        Err(Fault::Unmapped(at(page)))
    );
    let mut whole = vec![0; page];
    assert_eq!(memory.read(at(2 * page), &mut whole), Ok(()));
    assert_eq!(whole, vec![b'c'; page]);
}

#[test]
fn a_piece_that_is_not_there_keeps_no_other_back() {
    let subject = Subject::new(&["pages"]);
    let memory = subject.target().memory();
    let page = rustix::param::page_size() as u64;
    let first = subject.said[0];
    let at = |offset: u64| first.offset(offset).expect("in range");
    let places = [
        (at(page), 0),
        (at(page - 3), 3),
        (Address::NULL, 0),
        (at(0), 8),
        (Address(u64::MAX), 0),
        (Address(u64::MAX - 7), 0),
        (Address(0xffff_8000_0000_0000), 0),
        (at(2 * page), 8),
        (at(3 * page - 8), 8),
        (at(page), 0),
    ];
    let mut buffers = [[0_u8; 8]; 10];
    let mut requests: Vec<_> = places
        .iter()
        .zip(&mut buffers)
        .map(|((address, _), buffer)| ReadRequest::new(*address, buffer))
        .collect();
    assert_eq!(memory.read_many(&mut requests), Ok(()));
    let filled: Vec<_> = requests.iter().map(|request| request.filled).collect();
    assert_eq!(filled, places.map(|(_, expected)| expected));
    assert_eq!(buffers[1], *b"aaa\0\0\0\0\0");
    assert_eq!(buffers[3], *b"aaaaaaaa");
    assert_eq!(buffers[8], *b"cccccccc");
}

#[test]
fn more_pieces_than_one_call_takes_are_read() {
    let subject = Subject::new(&["pages"]);
    let memory = subject.target().memory();
    let mut buffer = vec![0; 5000];
    let mut requests: Vec<_> = buffer
        .chunks_mut(1)
        .map(|byte| ReadRequest::new(subject.said[0], byte))
        .collect();
    assert_eq!(memory.read_many(&mut requests), Ok(()));
    assert!(requests.iter().all(ReadRequest::is_complete));
    assert_eq!(buffer, vec![b'a'; 5000]);
}

#[test]
fn nothing_is_always_read() {
    let subject = Subject::new(&["pages"]);
    let memory = subject.target().memory();
    assert_eq!(memory.read_many(&mut []), Ok(()));
    let (mut nothing, mut byte) = ([], [0]);
    let mut requests = [
        ReadRequest::new(Address(1), &mut nothing),
        ReadRequest::new(subject.said[0], &mut byte),
    ];
    assert_eq!(memory.read_many(&mut requests), Ok(()));
    assert_eq!(byte, [b'a']);
}

#[test]
fn memory_of_a_process_that_has_ended_is_gone() {
    let mut subject = Subject::new(&["pages"]);
    let address = subject.said[0];
    let before = subject.target();
    let memory = before.memory();
    assert!(memory.read_u32(address).is_ok());
    subject.child.kill().expect("it can be killed");
    // Dead, but not collected; then collected.
    until("it is dead", || before.ensure_alive().is_err());
    assert_eq!(memory.read_u32(address), Err(Fault::Gone));
    subject.child.wait().expect("it has ended");
    assert_eq!(memory.read_u32(address), Err(Fault::Gone));
    assert_eq!(before.memory().read_u32(address), Err(Fault::Gone));
}

#[test]
fn memory_outlives_the_first_thread() {
    let subject = Subject::new(&["leaderless"]);
    let target = subject.target();
    until("its first thread has ended", || {
        thread_states(subject.pid())
            .iter()
            .any(|(_, state, _)| *state == 'Z')
    });
    subject.assert_runs(&target);
    let mappings = target.mappings().expect("they are still there");
    assert!(
        mappings
            .iter()
            .any(|mapping| mapping.range.contains(&subject.said[0]))
    );
    assert!(target.executable().expect("known").ends_with("subject"));
    assert!(target.root().is_ok());
    assert_eq!(target.environment_variable("INVIVO_NOT_SET"), Ok(None));
    let words = target.command_line().expect("they are still there");
    assert_eq!(words.last(), Some(&"leaderless".into()));
}
