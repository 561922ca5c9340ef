//! Targets that are out to get something from an `invivo` that root runs.

mod support;

mod as_root {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;
    use std::process::Command;

    use rustix::process::{Pid, Signal, kill_process};
    use synth::launch::Place;
    use synth::target::PATIENCE;
    use synth::{Launch, samples};

    use crate::support::{INVIVO, Run, staged};

    fn within_a_minute(words: &[&str]) -> Run {
        // An invivo that hangs is a failure of its own kind: 124.
        let mut command = Command::new("timeout");
        command.args(["60", INVIVO]).args(words);
        let run = Run::of(command.output().expect("running invivo"));
        assert_ne!(run.code, Some(124), "it hangs: {run:#?}");
        run
    }

    #[test]
    fn its_tmp_is_a_link_out_of_its_root() {
        let outside = tempfile::tempdir().expect("a directory");
        let all = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(outside.path(), all).expect("opening it");
        for place in [Place::Chroot, Place::Container] {
            let target = Launch::new(synth::interpreter("3.14"), samples::BUSY)
                .place(place)
                .start();
            let root = target.root().expect("a root of its own").to_owned();
            for name in ["tmp", "dev/shm", "var/tmp"] {
                let path = root.join(name);
                let _ = fs::remove_dir_all(&path);
                let _ = fs::create_dir_all(path.parent().expect("a parent"));
                let up = format!("../../../../../../../..{}", outside.path().display());
                symlink(
                    if name == "tmp" {
                        outside.path()
                    } else {
                        Path::new(&up)
                    },
                    &path,
                )
                .expect("a link");
            }
            let run = within_a_minute(&["exec", &target.pid().to_string(), "-e", "1"]);
            assert!(matches!(run.code, Some(0 | 5)), "{run:#?}");
            assert_eq!(fs::read_dir(outside.path()).expect("outside").count(), 0);
            assert!(staged(&target).is_empty());
            target.checked();
        }
    }

    #[test]
    fn a_fifo_or_a_device_stands_where_its_binary_was() {
        for kind in [&["p"][..], &["c", "1", "5"], &["b", "7", "0"]] {
            let launch = Launch::new(synth::interpreter("3.14"), samples::BUSY).named("python3");
            let target = launch.start();
            target.delete_executable();
            let made = Command::new("mknod")
                .arg(target.executable())
                .args(kind)
                .status();
            assert!(made.expect("running mknod").success());
            let pid = target.pid().to_string();
            assert_eq!(
                within_a_minute(&["exec", &pid, "-e", "42"])
                    .expect(0)
                    .stdout,
                "42\n"
            );
            within_a_minute(&["doctor", &pid]).expect(0);
            within_a_minute(&["ps"]).expect(0);
            target.checked();
        }
    }

    const SECRET: &str = "the secret that only root may read";

    /// Puts a link of nobody's in the place of a target's program: to a file that only root may
    /// read, with many lines.
    fn lead_to_secret(program: &Path, directory: &Path) {
        let secret = directory.join("secret.py");
        fs::write(&secret, format!("# {SECRET}\n").repeat(500)).expect("a secret");
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&secret, closed).expect("closing it");
        fs::remove_file(program).expect("removing it");
        symlink(&secret, program).expect("a link");
        std::os::unix::fs::lchown(program, Some(65534), Some(65534)).expect("we are root");
    }

    /// The program that a target runs, as `/proc` shows it.
    fn program_of(pid: &str) -> std::path::PathBuf {
        let words = fs::read(format!("/proc/{pid}/cmdline")).expect("its command line");
        let mut words = words.split(|byte| *byte == 0);
        let program = words.find(|word| word.ends_with(b"target.py"));
        String::from_utf8(program.expect("it runs one").to_owned())
            .expect("plain")
            .into()
    }

    #[test]
    fn it_has_no_file_read_to_it_that_it_may_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| {
            directory
                .path()
                .join(name)
                .to_str()
                .expect("plain")
                .to_owned()
        };
        let launch = Launch::new(synth::interpreter("3.14"), samples::BUSY);
        let target = launch.user(65534, 65534).start();
        let pid = target.pid().to_string();
        let program = program_of(&pid);
        let name = program.to_str().expect("plain");
        let line = "if not check(n):";
        let raising = format!("exec(compile('\\n' * 30 + '1/0', {name:?}, 'exec'))");
        let all = || {
            let (page, image) = (path("a.heatmap.html"), path("a.image"));
            let mut said = Vec::new();
            for words in [
                &["dump", &pid][..],
                &["dump", &pid, "--json"],
                &["dump", &pid, "--save-image", &image, "--force"],
                &["dump", "--image", &image],
                &["record", &pid, "-d", "0.5", "-f", "heatmap", "-o", &page],
                &["exec", &pid, "--json", "-c", &raising],
            ] {
                let run = within_a_minute(words);
                assert!(matches!(run.code, Some(0 | 1)), "{run:#?}");
                said.push(format!("{}{}", run.stdout, run.stderr));
            }
            said.push(fs::read_to_string(&page).expect("a page"));
            said
        };
        // So it would show, if it could be read.
        let own = all();
        let shown = own.iter().filter(|said| said.contains(line)).count();
        assert!(shown >= 4, "{shown}: {own:#?}");
        lead_to_secret(&program, directory.path());
        for said in all() {
            assert!(!said.contains(SECRET), "{said}");
        }
        target.checked();
    }

    #[test]
    fn a_child_of_another_user_has_no_file_read_to_it_that_not_everybody_may_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let (secret, page) = (
            directory.path().join("secret.py"),
            directory.path().join("a.heatmap.html"),
        );
        fs::write(&secret, format!("{SECRET}\n").repeat(40)).expect("a secret");
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&secret, closed).expect("closing it");
        // Root's program, whose worker gives its rights up and then names a file of root's.
        let program = "
import os, sys
worker = os.fork()
if worker == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    exec(compile('\\n' * 30 + 'def worker_spins():\\n  while True: pass\\nworker_spins()', sys.argv[1], 'exec'))
print('ready', worker, flush=True)
os.waitpid(worker, 0)
";
        let launch = Launch::new(synth::interpreter("3.14"), program);
        let target = launch.arguments([&secret]).start();
        let pid = target.pid().to_string();
        let page = page.to_str().expect("plain");
        let words = [
            "record",
            &pid,
            "--subprocesses",
            "-d",
            "0.5",
            "-f",
            "heatmap",
        ];
        let run = within_a_minute(&[&words[..], &["-o", page]].concat());
        assert_eq!(run.code, Some(0), "{run:#?}");
        let shown = fs::read_to_string(page).expect("a page");
        assert!(shown.contains("worker_spins"), "{shown}");
        assert!(!shown.contains(SECRET), "{shown}");
        let worker = i32::try_from(target.ready_ids()[0]).expect("a number");
        let worker = Pid::from_raw(worker).expect("no group's");
        kill_process(worker, Signal::KILL).expect("ending the worker");
        assert!(target.wait_exit(PATIENCE).success());
    }

    #[test]
    fn a_recording_has_no_file_read_that_its_maker_may_not_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| {
            directory
                .path()
                .join(name)
                .to_str()
                .expect("plain")
                .to_owned()
        };
        let launch = Launch::new(synth::interpreter("3.14"), samples::BUSY);
        let target = launch.user(65534, 65534).start();
        let pid = target.pid().to_string();
        let (page, recording) = (path("a.heatmap.html"), path("a.invivo"));
        within_a_minute(&["record", &pid, "-d", "0.5", "-o", &recording]).expect(0);
        lead_to_secret(&program_of(&pid), directory.path());
        let shows = |more: &[&str]| {
            let words = ["convert", &recording, "-f", "heatmap", "-o", &page];
            within_a_minute(&[&words[..], more].concat()).expect(0);
            fs::read_to_string(&page).expect("a page").contains(SECRET)
        };
        // Of our own too no file is read that nobody asked for. (The link to it is nobody's.)
        assert!(!shows(&[]));
        std::os::unix::fs::lchown(program_of(&pid), Some(0), None).expect("we are root");
        assert!(shows(&["--sources"]));
        std::os::unix::fs::chown(&recording, Some(65534), None).expect("we are root");
        assert!(!shows(&[]));
        assert!(!shows(&["--sources"]));
        target.checked();
    }

    #[test]
    fn it_removes_or_swaps_what_is_staged_while_we_work() {
        const REMOVER: &str = "
import os, shutil, threading
def remove():
    while True:
        for name in os.listdir('/tmp'):
            if name.startswith('invivo-'):
                path = os.path.join('/tmp', name)
                try:
                    if {swap}:
                        os.rename(path, path + 'x')
                        os.symlink('/srv', path)
                    else:
                        shutil.rmtree(path)
                except OSError:
                    pass
threading.Thread(target=remove, daemon=True).start()
print('ready', flush=True)
while True:
    sum(range(100))
";
        for swap in ["True", "False"] {
            let program = REMOVER.replace("{swap}", swap);
            let launch = Launch::new(synth::interpreter("3.14"), program).place(Place::Container);
            let target = launch.start();
            let pid = target.pid().to_string();
            let before: Vec<_> = listed(&target.root().expect("a root").join("srv"));
            for _ in 0..30 {
                let run = within_a_minute(&[
                    "exec",
                    &pid,
                    "--wake",
                    "never",
                    "--timeout",
                    "0.5",
                    "-e",
                    "1",
                ]);
                assert!(matches!(run.code, Some(0 | 4 | 5 | 6 | 7)), "{run:#?}");
            }
            assert!(target.is_running());
            assert_eq!(listed(&target.root().expect("a root").join("srv")), before);
        }
    }

    fn listed(directory: &Path) -> Vec<std::ffi::OsString> {
        let entries = fs::read_dir(directory).expect("a directory");
        let mut names: Vec<_> = entries.filter_map(|e| Some(e.ok()?.file_name())).collect();
        names.sort();
        names
    }

    #[test]
    fn it_keeps_calling_and_never_says_anything_true() {
        // Threads that take turns, so that there is always a caller, and the script never comes.
        const CALLERS: &str = "
import os, socket, threading, time
def call():
    while True:
        for name in os.listdir('/tmp'):
            if name.startswith('invivo-'):
                try:
                    s = socket.socket(socket.AF_UNIX)
                    s.connect('/tmp/' + name + '/s')
                    s.sendall(b'X' * 64)
                    s.close()
                except OSError:
                    pass
for _ in range(3):
    threading.Thread(target=call, daemon=True).start()
print('ready', flush=True)
time.sleep(1000)
";
        let launch = Launch::new(synth::interpreter("3.14"), CALLERS).place(Place::Container);
        let target = launch.start();
        let pid = target.pid().to_string();
        for _ in 0..3 {
            let run = within_a_minute(&[
                "exec",
                &pid,
                "--wake",
                "never",
                "--timeout",
                "0.5",
                "-e",
                "1",
            ]);
            assert_eq!(run.code, Some(6), "{run:#?}");
        }
        assert!(staged(&target).is_empty());
    }

    #[test]
    fn it_says_anything_on_the_channel() {
        // It finds our socket and speaks before the script does.
        const LIAR: &str = "
import os, socket, threading
def lie():
    while True:
        for name in os.listdir('/tmp'):
            if name.startswith('invivo-'):
                try:
                    s = socket.socket(socket.AF_UNIX)
                    s.connect('/tmp/' + name + '/s')
                    s.sendall(b'H' + os.urandom(200) + b'O\\xff\\xff\\xff\\xff')
                    s.close()
                except OSError:
                    pass
threading.Thread(target=lie, daemon=True).start()
print('ready', flush=True)
while True:
    sum(range(100))
";
        let launch = Launch::new(synth::interpreter("3.14"), LIAR).place(Place::Container);
        let target = launch.start();
        let pid = target.pid().to_string();
        for _ in 0..10 {
            // It may keep its own script from being heard, and nothing worse.
            let run = within_a_minute(&["exec", &pid, "--timeout", "2", "-e", "6 * 7"]);
            match run.code {
                Some(0) => assert_eq!(run.stdout, "42\n"),
                Some(6) => assert_eq!(run.stdout, ""),
                // It left no room for its own script's call.
                _ => drop(run.refused(5, "the script did not begin", "BlockingIOError")),
            }
        }
    }
}
