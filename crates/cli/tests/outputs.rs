//! Where results are written: nowhere else than named, in nobody else's place, in time.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Run, busy, invivo};
use synth::interpreter;

/// A recording of a target that has ended, in a directory of its own.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Self { directory };
        let target = busy(interpreter("3.14"));
        let pid = target.pid().to_string();
        let recording = place.text("a.invivo");
        invivo(["record", &pid, "-d", "0.5", "-o", &recording]).expect(0);
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("plain").to_owned()
    }

    fn convert(&self, output: &str) -> Run {
        invivo([
            "convert",
            &self.text("a.invivo"),
            "-f",
            "collapsed",
            "-o",
            output,
        ])
    }
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.expect("running mkfifo").success());
}

#[test]
fn what_is_replaced_stays_as_private_as_it_was() {
    let place = Place::new();
    let page = place.text("a.txt");
    fs::write(&page, "old").expect("a file");
    fs::set_permissions(&page, fs::Permissions::from_mode(0o600)).expect("its mode");
    place.convert(&page).expect(0);
    let found = fs::metadata(&page).expect("it is there");
    assert_eq!(found.mode() & 0o777, 0o600);
    assert!(found.len() > 10);
}

#[test]
fn a_link_is_neither_followed_nor_replaced() {
    let place = Place::new();
    fs::write(place.path("file"), "old").expect("a file");
    symlink("file", place.path("link.txt")).expect("a link");
    let link = place.text("link.txt");
    place
        .convert(&link)
        .refused(2, "link.txt", "a symbolic link");
    invivo(["record", "1", "-o", &link, "-f", "table"]).refused(2, "link.txt", "a symbolic link");
    assert_eq!(
        fs::read_to_string(place.path("file")).expect("it is there"),
        "old"
    );
    // What leads to a pipe or a device does no harm.
    let run = place.convert("/dev/stdout").expect(0);
    assert!(run.stdout.contains("main"), "{run:#?}");
}

#[test]
fn a_fifo_that_nobody_reads_is_given_up() {
    let place = Place::new();
    make_fifo(&place.path("fifo"));
    let output = Command::new("timeout")
        .args(["60", support::INVIVO, "convert", &place.text("a.invivo")])
        .args(["-f", "collapsed", "-o", &place.text("fifo")])
        .output();
    let run = Run::of(output.expect("running invivo"));
    run.refused(2, "fifo", "nobody has read from it for 5 s");
}

/// A C1 control that begins a colour, DEL, a bidirectional mark, one that is not seen, a tag.
const MARKS: &str = "\u{9b}31m\u{7f}\u{202e}\u{3164}\u{e0041}";

fn is_plain(text: &str) -> bool {
    !text.contains(|character: char| character != '\n' && !invivo::escape::is_plain(character))
}

#[test]
fn json_is_of_plain_characters_and_exact() {
    let program = "
import sys, threading, time
secret = sys.argv[1]
threading.current_thread().name = secret
exec(compile(f'def f(value):\\n print(\"ready\", flush=True)\\n time.sleep(1000)', secret, 'exec'))
f({secret: [secret]})
";
    let launch = synth::Launch::new(interpreter("3.14"), program);
    let target = launch.arguments([MARKS]).start();
    let pid = target.pid().to_string();
    let printing = format!("print('{MARKS}')");
    for (words, is_told) in [
        (&["dump", &pid, "--json", "--locals"][..], true),
        (&["exec", &pid, "--json", "-c", &printing], true),
        (&["ps", "--json"], true),
        (&["doctor", &pid, "--json"], false),
        (&["dump", "--json", "--image", MARKS], false),
    ] {
        let run = invivo(words);
        assert!(is_plain(&run.stdout), "{words:?}: {:?}", run.stdout);
        assert!(is_plain(&run.stderr), "{words:?}: {:?}", run.stderr);
        let told = run.json().to_string().contains(MARKS);
        assert!(told || !is_told, "{words:?}: {run:#?}");
    }
}

#[test]
fn what_is_typed_comes_back_escaped() {
    for words in [
        &["dump", MARKS][..],
        &[MARKS],
        &["dump", "1", "--no-such-option\u{9b}31m\x1b[2J"],
        &["record", "1", "-f", MARKS],
        &["--color", "always", "dump", MARKS],
    ] {
        let run = invivo(words).expect(2);
        assert!(is_plain(&run.stderr), "{:?}", run.stderr);
        assert!(run.stderr.contains("\\x9b31m"), "{run:#?}");
    }
    // Without such words it is as colourful as asked for.
    assert!(invivo(["dump", "x"]).expect(2).stderr.contains("'x'"));
}

mod as_root {
    use std::os::unix::fs::lchown;

    use super::*;

    /// What `cat >FILE` may not write to as the kernel is set up on most machines.
    #[test]
    fn nothing_of_another_user_is_written_over_in_tmp() {
        let place = Place::new();
        let open = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(place.directory.path(), open).expect("opening it");
        fs::write(place.path("victim.txt"), "old").expect("a file");
        fs::write(place.path("file.txt"), "old").expect("a file");
        symlink("victim.txt", place.path("link.txt")).expect("a link");
        make_fifo(&place.path("fifo"));
        for name in ["file.txt", "link.txt", "fifo"] {
            lchown(place.path(name), Some(65534), Some(65534)).expect("we are root");
        }
        place
            .convert(&place.text("file.txt"))
            .refused(2, "file.txt", "user 65534");
        place
            .convert(&place.text("link.txt"))
            .refused(2, "link.txt", "symbolic link");
        place
            .convert(&place.text("fifo"))
            .refused(2, "fifo", "user 65534");
        for name in ["victim.txt", "file.txt"] {
            let kept = fs::read_to_string(place.path(name)).expect("it is there");
            assert_eq!(kept, "old");
        }
    }

    #[test]
    fn what_is_replaced_stays_its_owners() {
        let place = Place::new();
        let page = place.text("a.txt");
        fs::write(&page, "old").expect("a file");
        lchown(&page, Some(65534), Some(65534)).expect("we are root");
        place.convert(&page).expect(0);
        let found = fs::metadata(&page).expect("it is there");
        assert_eq!((found.uid(), found.gid()), (65534, 65534));
        assert!(found.len() > 10);
    }
}
