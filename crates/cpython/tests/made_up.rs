//! Interpreters in made-up memory: as they should be, and bent in every way.

mod support;

use invivo_cpython::{Limits, Method, Phase, Runtime, XOption, locate_with};
use invivo_model::{Address, ErrorKind, ThreadState};
use support::{Made, find, no_file, open, program};
use synth::image::{
    Image, RUNTIME, Release, THREAD_CURRENT_FRAME, THREAD_EVAL_BREAKER, THREAD_INTERPRETER,
    THREAD_NEXT,
};

/// The table's word at a byte position, replaced.
fn with_table_word(release: Release, position: u64, value: u64) -> Made {
    let (mut image, _, _) = Image::with_main(release);
    image.set_word(RUNTIME + position, value);
    Made::new(image)
}

fn native_ids(threads: &[ThreadState]) -> Vec<u64> {
    threads.iter().map(|thread| thread.native_id).collect()
}

#[test]
fn every_release_is_found_by_its_cookie_and_read() {
    for (release, version) in Release::ALL.into_iter().zip(["3.13.0", "3.14.8", "3.15.0"]) {
        let (mut image, interpreter, first) = Image::with_main(release);
        let second = image.push_thread(interpreter, 101);
        let memory = Made::new(image);
        let location = find(&memory).unwrap();
        assert_eq!(location.method, Method::Scan);
        assert_eq!(location.address, Address(RUNTIME));
        assert_eq!(location.version.unwrap().to_string(), version);
        assert_eq!(location.build.free_threaded, Some(false));
        assert_eq!(location.build.debug, None);

        let runtime = open(&memory);
        let found = runtime.interpreters().unwrap();
        assert_eq!(found.defects, []);
        let main = found.main().unwrap();
        assert_eq!(main.address, Address(interpreter));
        let addresses: Vec<_> = main.threads.iter().map(|thread| thread.address).collect();
        assert_eq!(addresses, [Address(second), Address(first)]);
        assert_eq!(native_ids(&main.threads), [101, 100]);
        assert_eq!(main.threads[0].thread_id, 101 << 12);
        assert_eq!(runtime.main_thread_id().unwrap(), 100 << 12);
        assert_eq!(runtime.phase(main).unwrap(), Phase::Running);
        let has_protocol = release != Release::V3_13;
        assert_eq!(main.main_thread, has_protocol.then_some(Address(first)));
        assert_eq!(main.remote_debugging, has_protocol.then_some(true));
    }
}

#[test]
fn a_thread_says_where_its_request_would_be_written() {
    for release in [Release::V3_14, Release::V3_15] {
        let (mut image, _, thread) = Image::with_main(release);
        let support = thread + image.positions.support;
        image.write(support, &1_u32.to_le_bytes());
        let memory = Made::new(image);
        let found = open(&memory).interpreters().unwrap();
        let debugger = found.main().unwrap().threads[0].debugger.clone().unwrap();
        assert_eq!(debugger.pending_call, Address(support));
        assert_eq!(debugger.script_path, Address(support + 4));
        assert_eq!(debugger.script_path_size, 512);
        assert_eq!(debugger.eval_breaker, Address(thread + THREAD_EVAL_BREAKER));
        assert_eq!(debugger.pending, 1);
    }
}

#[test]
fn an_opt_out_and_the_end_are_seen() {
    let (mut image, interpreter, thread) = Image::with_main(Release::V3_15);
    image.write(
        interpreter + image.positions.remote_debug,
        &0_u32.to_le_bytes(),
    );
    image.set_word(RUNTIME + image.positions.finalizing, thread);
    let memory = Made::new(image);
    let runtime = open(&memory);
    let found = runtime.interpreters().unwrap();
    let main = found.main().unwrap();
    assert_eq!(main.remote_debugging, Some(false));
    assert_eq!(runtime.phase(main).unwrap(), Phase::Finalizing);
}

#[test]
fn main_is_number_zero_wherever_it_stands() {
    for release in Release::ALL {
        let (mut image, main, _) = Image::with_main(release);
        let newer = image.push_interpreter(2);
        image.push_thread(newer, 102);
        image.push_interpreter(3);
        let memory = Made::new(image);
        let found = open(&memory).interpreters().unwrap();
        let ids: Vec<_> = found
            .list
            .iter()
            .map(|interpreter| interpreter.id)
            .collect();
        assert_eq!(ids, [3, 2, 0]);
        assert_eq!(found.main().unwrap().address, Address(main));
        assert_eq!(native_ids(&found.list[1].threads), [102]);
        assert_eq!(found.list[0].threads, []);
        assert_eq!(found.defects, []);
    }
}

#[test]
fn embedded_python_has_threads_but_no_main_one() {
    let (mut image, interpreter, _) = Image::with_main(Release::V3_14);
    image.set_word(interpreter + image.positions.threads_main, 0);
    let memory = Made::new(image);
    let found = open(&memory).interpreters().unwrap();
    assert_eq!(found.main().unwrap().main_thread, Some(Address::NULL));
    assert_eq!(native_ids(&found.main().unwrap().threads), [100]);
}

#[test]
fn before_the_first_interpreter_there_are_none() {
    let memory = Made::new(Image::new(Release::V3_14));
    let found = open(&memory).interpreters().unwrap();
    assert_eq!(found.list, []);
    assert_eq!(found.defects, []);
}

#[test]
fn a_cycle_of_interpreters_is_cut_and_said() {
    let (mut image, main, _) = Image::with_main(Release::V3_15);
    let newer = image.push_interpreter(1);
    image.set_word(main + image.positions.interpreter_next, newer);
    let memory = Made::new(image);
    let found = open(&memory).interpreters().unwrap();
    assert_eq!(found.list.len(), 2);
    assert_eq!(found.defects.len(), 1);
    assert_eq!(found.defects[0].address, Address(newer));
    assert!(
        found.defects[0].what.contains("leads back"),
        "{}",
        found.defects[0].what
    );
}

#[test]
fn a_cycle_of_threads_is_cut_and_said() {
    let (mut image, interpreter, first) = Image::with_main(Release::V3_14);
    let second = image.push_thread(interpreter, 101);
    image.set_word(first + THREAD_NEXT, second);
    let memory = Made::new(image);
    let found = open(&memory).interpreters().unwrap();
    assert_eq!(native_ids(&found.main().unwrap().threads), [101, 100]);
    assert_eq!(found.defects.len(), 1);
    assert_eq!(found.defects[0].address, Address(second));
}

#[test]
fn wild_pointers_become_defects_and_what_was_read_stays() {
    let (mut image, interpreter, first) = Image::with_main(Release::V3_14);
    image.set_word(first + THREAD_NEXT, 0xdead_beef_0000);
    image.set_word(interpreter + image.positions.interpreter_next, u64::MAX - 7);
    let memory = Made::new(image);
    let found = open(&memory).interpreters().unwrap();
    assert_eq!(native_ids(&found.main().unwrap().threads), [100]);
    let at: Vec<_> = found.defects.iter().map(|defect| defect.address).collect();
    assert_eq!(at, [Address(0xdead_beef_0000), Address(u64::MAX - 7)]);
}

#[test]
fn a_thread_of_another_interpreter_is_not_taken() {
    let (mut image, interpreter, _) = Image::with_main(Release::V3_15);
    let stranger = image.push_thread(interpreter, 101);
    image.set_word(stranger + THREAD_INTERPRETER, interpreter + 8);
    let memory = Made::new(image);
    let found = open(&memory).interpreters().unwrap();
    assert_eq!(found.main().unwrap().threads, []);
    assert!(
        found.defects[0].what.contains("another interpreter"),
        "{}",
        found.defects[0].what
    );
}

#[test]
fn more_threads_and_interpreters_than_allowed_are_cut_and_said() {
    let (mut image, interpreter, _) = Image::with_main(Release::V3_14);
    for id in 1..40 {
        image.push_thread(interpreter, 100 + id);
    }
    for id in 1..20 {
        image.push_interpreter(id);
    }
    let memory = Made::new(image);
    let location = find(&memory).unwrap();
    let limits = Limits {
        threads: 10,
        interpreters: 5,
        ..Limits::default()
    };
    let few = Runtime::open(&memory, &location, limits)
        .unwrap()
        .interpreters()
        .unwrap();
    assert_eq!(few.list.len(), 5);
    assert!(
        few.defects[0].what.contains("more interpreters"),
        "{}",
        few.defects[0].what
    );
    let limits = Limits {
        threads: 10,
        ..Limits::default()
    };
    let many = Runtime::open(&memory, &location, limits)
        .unwrap()
        .interpreters()
        .unwrap();
    assert_eq!(many.main().unwrap().threads.len(), 10);
    assert!(
        many.defects[0].what.contains("more threads"),
        "{}",
        many.defects[0].what
    );
}

#[test]
fn a_table_that_leads_out_of_its_structures_is_not_believed() {
    // Byte positions in 3.14's table: interpreter_state.id, thread_state.next,
    // debugger_support.remote_debugger_support, .debugger_script_path_size, free_threaded, sizes.
    let absurd = [
        (56, 225_864),
        (56, u64::MAX),
        (56, 7281),
        (192, 832),
        (192, 1 << 40),
        (720, 320),
        (752, 1 << 20),
        (16, 2),
        (48, 0),
        (48, 1 << 40),
        (176, 1 << 20),
        (624, 62),
    ];
    for (position, value) in absurd {
        let memory = with_table_word(Release::V3_14, position, value);
        let error = find(&memory).unwrap_err();
        assert_eq!(
            error.kind,
            ErrorKind::NotPython,
            "word at {position} = {value}: {error}"
        );
    }
    let fine = with_table_word(Release::V3_14, 56, 7280);
    assert!(find(&fine).is_ok());
}

#[test]
fn versions_without_a_known_layout_are_refused_by_name() {
    let refused = [
        (0x0310_00f0, "CPython 3.16.0"),
        (0x0310_00a2, "CPython 3.16.0a2"),
        (0x0400_00f0, "CPython 4.0.0"),
        (0x030f_00b3, "CPython 3.15.0b3"),
    ];
    for (hex, name) in refused {
        let memory = with_table_word(Release::V3_15, 8, hex);
        let location = find(&memory).unwrap();
        let error = Runtime::open(&memory, &location, Limits::default()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.what.contains(name), "{}", error.what);
        assert!(
            name.contains(&location.version.unwrap().to_string()),
            "{:?}",
            location.version
        );
    }
    let unknown = with_table_word(Release::V3_15, 8, 0x0310_00f0);
    let error = find(&unknown).unwrap().layout.unwrap_err();
    assert!(error.why.contains("3.8 to 3.15"), "{}", error.why);
    // The final layout came with the fourth beta.
    let beta = with_table_word(Release::V3_15, 8, 0x030f_00b4);
    assert!(find(&beta).unwrap().layout.is_ok());
}

#[test]
fn the_live_one_of_two_copies_is_taken() {
    let (mut image, _, _) = Image::with_main(Release::V3_14);
    // A second runtime state, before the first in the scan's order, in which nothing runs.
    let live = RUNTIME + 0x8000;
    for word in 0..120 {
        let value = image.word(RUNTIME + word * 8);
        image.set_word(live + word * 8, value);
    }
    image.set_word(RUNTIME + image.positions.interpreters_head, 0);
    let memory = Made::new(image);
    assert_eq!(find(&memory).unwrap().address, Address(live));
}

#[test]
fn code_that_holds_a_cookie_is_no_interpreter() {
    let (image, _, _) = Image::with_main(Release::V3_14);
    let memory = Made::new(image);
    let mut program = program("/opt/app");
    assert!(locate_with(&memory, &[program.clone()], &Limits::default(), no_file).is_ok());
    for mapping in &mut program.mappings {
        mapping.executable = true;
    }
    let error = locate_with(&memory, &[program], &Limits::default(), no_file).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotPython);
}

#[test]
fn a_scan_ends_where_its_limit_is() {
    let (mut image, _, _) = Image::with_main(Release::V3_14);
    let mut program = program("/opt/app");
    let data = program.mappings.last_mut().unwrap();
    // A megabyte of nothing before the runtime state.
    data.range.start = Address(RUNTIME - (1 << 20));
    image.write(RUNTIME - (1 << 20), &vec![0; 1 << 20]);
    let memory = Made::new(image);
    let enough = Limits {
        scan_bytes: (1 << 20) + 4096,
        ..Limits::default()
    };
    let found = locate_with(&memory, &[program.clone()], &enough, no_file).unwrap();
    assert_eq!(found.address, Address(RUNTIME));
    let short = Limits {
        scan_bytes: 1 << 20,
        ..Limits::default()
    };
    let error = locate_with(&memory, &[program], &short, no_file).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotPython);
}

#[test]
fn a_flood_of_cookies_costs_a_bounded_number_of_reads() {
    let (mut image, _, _) = Image::with_main(Release::V3_14);
    for index in 0..1000 {
        image.write(RUNTIME + 0x1000 + index * 24, b"xdebugpy");
        image.set_word(RUNTIME + 0x1000 + index * 24 + 8, 0x030e_08f0);
    }
    let memory = Made::new(image);
    let location = find(&memory).unwrap();
    assert_eq!(location.address, Address(RUNTIME));
    assert!(memory.pieces.get() < 300, "{} pieces", memory.pieces.get());
}

#[test]
fn a_process_without_a_cookie_is_not_python() {
    let (mut image, _, _) = Image::with_main(Release::V3_14);
    image.write(RUNTIME, b"xdebugpz");
    let memory = Made::new(image);
    let error = find(&memory).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotPython);
    assert!(error.why.contains("none of 1 mapped"), "{}", error.why);
    assert!(error.why.contains("it is gone"), "{}", error.why);
}

#[test]
fn strings_of_every_form_are_read() {
    let (mut image, _, _) = Image::with_main(Release::V3_15);
    let texts = [
        "",
        "ascii",
        "naïve",
        "żółw",
        "🐢 in a wide string",
        &"x".repeat(3000),
    ];
    let addresses: Vec<_> = texts.iter().map(|text| image.string(text)).collect();
    let apart = image.string_of(b"elsewhere", 1, false, false);
    let surrogate = image.string_of(&[b'a', 0, 0x80, 0xdc], 2, true, false);
    let long = image.string(&"y".repeat(20_000));
    let no_string = image.object();
    let memory = Made::new(image);
    let runtime = open(&memory);
    for (text, address) in texts.iter().zip(addresses) {
        let read = runtime.string(Address(address)).unwrap();
        assert_eq!((read.text.as_str(), read.truncated), (*text, false));
    }
    assert_eq!(runtime.string(Address(apart)).unwrap().text, "elsewhere");
    assert_eq!(
        runtime.string(Address(surrogate)).unwrap().text,
        "a\u{10dc80}"
    );
    let cut = runtime.string(Address(long)).unwrap();
    assert_eq!((cut.text.len(), cut.truncated), (16_384, true));
    assert!(cut.to_string().ends_with("y…"));
    assert_eq!(
        runtime.string(Address(no_string)).unwrap_err().kind,
        ErrorKind::Corrupt
    );
    assert_eq!(
        runtime.string(Address(8)).unwrap_err().kind,
        ErrorKind::Corrupt
    );
}

#[test]
fn strings_of_a_free_threaded_build_have_their_bits_elsewhere() {
    // Include/cpython/unicodeobject.h: `interned` takes the whole first byte there.
    for release in [Release::V3_14, Release::V3_15] {
        let (mut image, _, _) = Image::with_main(release);
        image.set_word(RUNTIME + 16, 1);
        let string = image.string("free");
        image.write(
            string + 32,
            &(1_u32 << 8 | 1 << 11 | 1 << 12 | 3).to_le_bytes(),
        );
        let memory = Made::new(image);
        assert_eq!(find(&memory).unwrap().build.free_threaded, Some(true));
        assert_eq!(open(&memory).string(Address(string)).unwrap().text, "free");
    }
}

#[test]
fn dictionaries_of_every_form_are_read() {
    for release in Release::ALL {
        let (mut image, _, _) = Image::with_main(release);
        let keys = ["one", "two", "three"].map(|key| image.string(key));
        let values = [(); 3].map(|()| image.object());
        let items: Vec<_> = keys.into_iter().zip(values).collect();
        let dicts = [
            image.general_dict(&items),
            image.string_dict(&items),
            image.split_dict(&items),
        ];
        let deleted = image.string_dict(&[(0, 0), items[1]]);
        let empty = image.string_dict(&[]);
        let memory = Made::new(image);
        let runtime = open(&memory);
        let expected: Vec<_> = items
            .iter()
            .map(|(key, value)| (Address(*key), Address(*value)))
            .collect();
        for dict in dicts {
            let read = runtime.dict_items(Address(dict)).unwrap();
            assert_eq!((read.items, read.truncated), (expected.clone(), false));
        }
        assert_eq!(
            runtime.dict_items(Address(deleted)).unwrap().items,
            expected[1..2]
        );
        assert_eq!(runtime.dict_items(Address(empty)).unwrap().items, []);
        assert_eq!(
            runtime.dict_items(Address(items[0].1)).unwrap_err().kind,
            ErrorKind::Corrupt
        );
    }
}

#[test]
fn more_entries_than_a_dictionary_has_room_for_are_not_believed() {
    let (mut image, _, _) = Image::with_main(Release::V3_15);
    let key = image.string("key");
    let dict = image.string_dict(&[(key, key)]);
    let keys = image.word(dict + 32);
    image.set_word(keys + 24, 9);
    let memory = Made::new(image);
    let error = open(&memory).dict_items(Address(dict)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.why.contains("can't be right"), "{}", error.why);
}

#[test]
fn the_module_sys_answers_by_name() {
    let (mut image, interpreter, _) = Image::with_main(Release::V3_14);
    let (version, flags) = (image.string("3.14.8 (main)"), image.string("d"));
    let (option, value, bare, truth) = (
        image.string("importtime"),
        image.string("2"),
        image.string("dev"),
        image.object(),
    );
    let options = image.string_dict(&[(option, value), (bare, truth)]);
    let names = ["_xoptions", "version", "abiflags"].map(|name| image.string(name));
    let sys = image.string_dict(&[(names[0], options), (names[1], version), (names[2], flags)]);
    image.set_word(interpreter + image.positions.sysdict, sys);
    let memory = Made::new(image);
    let runtime = open(&memory);
    let found = runtime.interpreters().unwrap();
    let main = found.main().unwrap();
    assert_eq!(
        runtime.sys_version(main).unwrap().unwrap().text,
        "3.14.8 (main)"
    );
    assert_eq!(runtime.abiflags(main).unwrap().unwrap().text, "d");
    assert_eq!(runtime.sys_attribute(main, "nothing").unwrap(), None);
    let expected = [("importtime", Some("2")), ("dev", None)].map(|(name, value)| XOption {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    });
    assert_eq!(runtime.xoptions(main).unwrap(), expected);
}

#[test]
fn the_innermost_python_function_is_told() {
    for release in Release::ALL {
        let (mut image, _, thread) = Image::with_main(release);
        let outer = image.frame("outer", "outer.py", 0, 0);
        let inner = image.frame("Class.método", "/srv/naïve.py", 1, outer);
        let shim = image.frame("__init__", "__init__", 0, inner);
        let sentinel = image.frame("none", "none", 3, shim);
        image.set_word(thread + THREAD_CURRENT_FRAME, sentinel);
        let memory = Made::new(image);
        let runtime = open(&memory);
        let found = runtime.interpreters().unwrap();
        let function = runtime.thread_top_function(&found.main().unwrap().threads[0]);
        let function = function.unwrap().unwrap();
        assert_eq!(function.qualname.text, "Class.método");
        assert_eq!(function.filename.text, "/srv/naïve.py");
    }
}

#[test]
fn a_thread_without_python_code_has_no_function_and_a_cycle_is_said() {
    let (mut image, interpreter, idle) = Image::with_main(Release::V3_15);
    let cycle = image.frame("none", "none", 3, 0);
    image.set_word(cycle + 8, cycle);
    let spinning = image.push_thread(interpreter, 101);
    image.set_word(spinning + THREAD_CURRENT_FRAME, cycle);
    let memory = Made::new(image);
    let runtime = open(&memory);
    let found = runtime.interpreters().unwrap();
    let threads = &found.main().unwrap().threads;
    assert_eq!(
        (threads[0].address, threads[1].address),
        (Address(spinning), Address(idle))
    );
    let error = runtime.thread_top_function(&threads[0]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Corrupt);
    assert!(error.why.contains("lead back"), "{}", error.why);
    assert_eq!(runtime.thread_top_function(&threads[1]).unwrap(), None);
}
