//! Arbitrary memory: nothing panics, loops, or reads without bound.

mod support;

use invivo_cpython::{Limits, Queue, Runtime};
use invivo_model::Address;
use proptest::prelude::*;
use support::{Made, find, open};
use synth::image::{Image, RUNTIME, Release};

/// Pieces of memory that one look at a small target may ask for.
const MAX_PIECES: usize = 400_000;
/// Bytes that it may ask for.
const MAX_BYTES: usize = 64 << 20;

fn release() -> impl Strategy<Value = Release> {
    prop::sample::select(Release::ALL.to_vec())
}

/// A word as a hostile target would choose it: small, huge, or an address that is mapped.
fn word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..64,
        any::<u64>(),
        (0_u64..0x9000).prop_map(|offset| 0x7f00_0000_0000 + offset * 8),
        (0_u64..0x200).prop_map(|offset| RUNTIME + offset * 8),
    ]
}

/// Everything there is to ask of a runtime.
fn ask_everything(memory: &Made) {
    let Ok(location) = find(memory) else { return };
    let limits = Limits {
        threads: 2000,
        interpreters: 200,
        ..Limits::default()
    };
    let Ok(runtime) = Runtime::open(memory, &location, limits) else {
        return;
    };
    let _ = runtime.main_thread_id();
    let Ok(found) = runtime.interpreters() else {
        return;
    };
    for interpreter in found.list.iter().take(3) {
        let _ = runtime.sys_version(interpreter);
        let _ = runtime.xoptions(interpreter);
        let _ = runtime.phase(interpreter);
        for queue in [Queue::MainThread, Queue::AnyThread] {
            if let Ok(seen) = runtime.pending_calls(interpreter, queue) {
                assert!(seen.calls.len() <= seen.capacity);
            }
        }
        for thread in interpreter.threads.iter().take(3) {
            let _ = runtime.standing(interpreter, thread);
            let _ = runtime.thread_top_function(thread);
            let _ = runtime.string(thread.current_frame);
            let _ = runtime.dict_items(thread.current_frame);
        }
    }
}

/// An image with something of everything in it.
fn furnished(release: Release) -> Image {
    let (mut image, interpreter, thread) = Image::with_main(release);
    let frame = image.frame("function", "file.py", 0, 0);
    image.set_word(thread + synth::image::THREAD_CURRENT_FRAME, frame);
    let (name, version) = (image.string("version"), image.string("3.x"));
    let options = image.string_dict(&[(name, version)]);
    let key = image.string("_xoptions");
    let sys = image.general_dict(&[(name, version), (key, options)]);
    image.set_word(interpreter + image.positions.sysdict, sys);
    image
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_table_is_refused_or_harmless(
        release in release(),
        words in prop::collection::vec((0_u64..111, word()), 1..8),
    ) {
        let mut image = furnished(release);
        for (index, value) in words {
            // The cookie stays.
            image.set_word(RUNTIME + 8 + index * 8, value);
        }
        let memory = Made::new(image);
        ask_everything(&memory);
        prop_assert!(memory.pieces.get() < MAX_PIECES);
        prop_assert!(memory.bytes.get() < MAX_BYTES);
    }

    #[test]
    fn any_bytes_behind_the_cookie_are_refused_or_harmless(
        bytes in prop::collection::vec(any::<u8>(), 0..900),
    ) {
        let mut image = furnished(Release::V3_14);
        image.write(RUNTIME + 16, &bytes);
        let memory = Made::new(image);
        ask_everything(&memory);
        prop_assert!(memory.pieces.get() < MAX_PIECES);
    }

    #[test]
    fn any_heap_is_read_within_bounds(
        release in release(),
        words in prop::collection::vec((0_u64..0x900, word()), 1..200),
    ) {
        let mut image = furnished(release);
        for (index, value) in words {
            image.set_word(0x7f00_0000_0000 + index * 8, value);
            // And where the interpreter's and thread's own fields are.
            image.set_word(0x7f00_0000_0000 + 7264 + (index % 100) * 8, value);
        }
        let memory = Made::new(image);
        ask_everything(&memory);
        prop_assert!(memory.pieces.get() < MAX_PIECES, "{} pieces", memory.pieces.get());
        prop_assert!(memory.bytes.get() < MAX_BYTES, "{} bytes", memory.bytes.get());
    }

    #[test]
    fn any_string_header_is_read_within_bounds(length in word(), state in any::<u32>()) {
        let (mut image, _, _) = Image::with_main(Release::V3_15);
        let string = image.string("a string");
        image.set_word(string + 16, length);
        image.write(string + 32, &state.to_le_bytes());
        let memory = Made::new(image);
        let runtime = open(&memory);
        let before = memory.bytes.get();
        if let Ok(text) = runtime.string(Address(string)) {
            prop_assert!(text.text.chars().count() <= Limits::default().string_characters);
        }
        prop_assert!(memory.bytes.get() - before < 128 << 10);
    }

    #[test]
    fn any_dictionary_header_is_read_within_bounds(
        header in any::<u64>(),
        count in word(),
        values in word(),
    ) {
        let (mut image, _, _) = Image::with_main(Release::V3_14);
        let key = image.string("key");
        let dict = image.string_dict(&[(key, key)]);
        let keys = image.word(dict + 32);
        image.set_word(keys + 8, header);
        image.set_word(keys + 24, count);
        image.set_word(dict + 40, values);
        let memory = Made::new(image);
        let runtime = open(&memory);
        let before = memory.bytes.get();
        if let Ok(found) = runtime.dict_items(Address(dict)) {
            prop_assert!(found.items.len() <= Limits::default().dict_entries);
        }
        prop_assert!(memory.bytes.get() - before < 1 << 20);
    }
}
