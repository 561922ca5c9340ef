//! `invivo dump --save-image` and `--image`: a look that is kept, and looked at elsewhere.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::people::{dump, people};
use support::{eventually, invivo};
use synth::{Launch, interpreter, interpreters, samples};

#[test]
fn an_image_says_what_the_dump_said() {
    let place = tempfile::tempdir().expect("a directory");
    for interpreter in interpreters() {
        let target = people(interpreter, &["quiet"]);
        target.signal(rustix::process::Signal::STOP);
        eventually("it is stopped", || {
            target
                .thread_states()
                .iter()
                .all(|(_, state)| *state == 'T')
        });
        let file = place.path().join(&interpreter.name);
        let file = file.to_str().expect("a path in UTF-8");
        for words in [&[][..], &["--locals=3", "--all-interpreters", "--opcodes"]] {
            let saved = dump(
                &target,
                &[&["--save-image", file, "--force"][..], words].concat(),
            );
            let saved = saved.expect(0);
            assert!(
                saved.stderr.contains("hold memory of the process"),
                "{saved:#?}"
            );
            let mode = fs::metadata(file).expect("the image").permissions().mode();
            assert_eq!(mode & 0o7777, 0o600);
            // Options that say what to read need not be said again.
            let again = invivo(["dump", "--image", file]).expect(0);
            assert_eq!(again.stdout, saved.stdout, "{}", interpreter.name);
        }
        dump(&target, &["--save-image", file]).refused(2, file, "there is one already");
        target.signal(rustix::process::Signal::CONT);
    }
}

#[test]
fn a_damaged_image_is_refused_and_breaks_nothing() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("image");
    let path = file.to_str().expect("a path in UTF-8");
    let target = Launch::new(interpreter("3.14"), samples::SLEEPER).start();
    dump(&target, &["--locals", "--save-image", path]).expect(0);
    let bytes = fs::read(&file).expect("the image");
    let with = |bytes: &[u8]| {
        fs::write(&file, bytes).expect("writing it");
        invivo(["dump", "--image", path])
    };
    for (bad, why) in [
        (&b""[..], "does not begin"),
        (b"invivo dump 2\n{}\n", "does not begin"),
        (b"invivo dump 1\n", "cut off"),
        (b"invivo dump 1\n{}\n", "description"),
        (&bytes[..bytes.len() - 1], "cut off"),
    ] {
        with(bad).refused(5, "can't be read", why);
    }
    // Cut and changed anywhere, it is refused or shows something.
    let step = bytes.len() / 60;
    for at in (0..bytes.len()).step_by(step) {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        for bad in [&bytes[..at], &changed] {
            let run = with(bad);
            assert!(matches!(run.code, Some(0 | 2 | 5 | 6)), "at {at}: {run:#?}");
        }
    }
    invivo(["dump", "--image", "/no/such/file"]).refused(2, "/no/such/file", "No such file");
    invivo(["dump", "--image", "/dev/zero"]).refused(5, "/dev/zero", "more than");
}
