//! The bootstrap in every interpreter there is, with a stand-in for the rest of Invivo.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use synth::target::PATIENCE;
use synth::{Interpreter, Launch, Target, interpreters};
use tempfile::TempDir;

use super::decoder::Hello;
use super::script::{self, script};
use super::{Decoder, Ending, Event, Exit, Parameters, Payload, Value, task};
use crate::exception::RemoteException;

use invivo_model::{Error, ErrorKind};

mod endings;
mod traces;

const TOKEN: [u8; 16] = *b"\0token'\\\n\xff\x01\x02\x03\x04\x05\x06";
const REPLY: [u8; 16] = *b"\0reply\"\"\"#\r\n\xfe\x01\x02\x03";
const FOREVER: u64 = 1 << 50;

/// Calls `test` with a fresh target of each interpreter.
fn everywhere(test: impl Fn(&Interpreter, &Target)) {
    assert!(!interpreters().is_empty(), "an interpreter to test with");
    for interpreter in interpreters() {
        eprintln!("with Python {}", interpreter.name);
        test(interpreter, &start(interpreter, |launch| launch));
    }
}

fn start(interpreter: &Interpreter, with: impl Fn(Launch<'_>) -> Launch<'_>) -> Target {
    with(Launch::new(
        interpreter,
        include_str!("../../tests/target.py"),
    ))
    .start()
}

/// Has the target's main thread run `text`.
fn tell(target: &Target, text: &str) {
    let escaped: String = text
        .chars()
        .map(|c| format!("\\U{:08x}", u32::from(c)))
        .collect();
    target.send_line(&format!("'{escaped}'"));
}

/// The value of `expression` in the target.
fn ask(target: &Target, expression: &str) -> String {
    tell(target, &format!("answer({expression})"));
    let line = target.wait_line("answer", PATIENCE);
    line.strip_prefix("answer")
        .expect("it begins so")
        .trim()
        .to_owned()
}

fn payload(evaluate: bool, source: &str) -> Payload {
    Payload {
        evaluate,
        source: source.to_owned(),
        name: "<invivo>".to_owned(),
        arguments: vec!["-c".to_owned(), "é ü".to_owned()],
        main_namespace: false,
        wants_json: true,
        stop_after: None,
    }
}

/// A staged script.
struct Staged {
    _around: TempDir,
    directory: PathBuf,
    listener: UnixListener,
    payload: Payload,
}

impl Staged {
    /// One that calls back.
    fn new(payload: &Payload) -> Self {
        Self::at("run", FOREVER, payload, true)
    }

    fn at(name: &str, deadline: u64, payload: &Payload, attended: bool) -> Self {
        let around = tempfile::tempdir().expect("a directory");
        let directory = around.path().join(name);
        std::fs::create_dir(&directory).expect("making the staging directory");
        let place = std::fs::File::open(&directory).expect("opening it");
        let fd = std::os::fd::AsRawFd::as_raw_fd(&place);
        // Its own path may be too long for a socket's address.
        let listener = UnixListener::bind(format!("/proc/self/fd/{fd}/s")).expect("listening");
        let parameters = Parameters {
            token: TOKEN,
            reply: REPLY,
            directory: directory.as_os_str().as_encoded_bytes().to_vec(),
            script: b"script.py".to_vec(),
            deadline,
            payload: payload.clone(),
            attended,
            announce: true,
            pid: None,
        };
        std::fs::write(directory.join("script.py"), script(&parameters)).expect("staging");
        Self {
            _around: around,
            directory,
            listener,
            payload: payload.clone(),
        }
    }

    /// The Python statement that runs it.
    fn statement(&self) -> String {
        format!("run({:?})", self.directory.join("script.py"))
    }

    /// Waits until the target calls.
    fn accept(&self) -> Caller {
        let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
        let patience = Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut ready, Some(&patience)), Ok(1), "the target calls");
        let (stream, _) = self.listener.accept().expect("accepting");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("setting a timeout");
        Caller {
            stream,
            decoder: Decoder::new(),
            directory: self.directory.clone(),
            payload: self.payload.clone(),
        }
    }

    fn is_gone(&self) -> bool {
        !Path::new(&self.directory).exists()
    }
}

/// The target's end of the channel.
struct Caller {
    stream: UnixStream,
    decoder: Decoder,
    directory: PathBuf,
    payload: Payload,
}

impl Caller {
    /// The next event, or `None` where the target hangs up.
    fn next(&mut self) -> Result<Option<Event>, Error> {
        let mut buffer = [0; 65536];
        loop {
            if let Some(event) = self.decoder.next()? {
                return Ok(Some(event));
            }
            let count = match self.stream.read(&mut buffer) {
                // It closed its end without having read all.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
                count => count.expect("the target sends or hangs up"),
            };
            if count == 0 {
                return Ok(None);
            }
            self.decoder.push(&buffer[..count]);
        }
    }

    fn greet(&mut self) {
        assert_eq!(self.next(), Ok(Some(Event::Hello(Hello { token: TOKEN }))));
        assert!(
            self.directory.exists(),
            "files stay until the task is asked for"
        );
    }

    /// Removes the files and hands the task over.
    fn give(&mut self) {
        std::fs::remove_dir_all(&self.directory).expect("removing the files");
        self.stream
            .write_all(&task(&REPLY, &self.payload))
            .expect("sending the task");
    }
}

/// What a whole run told.
struct Told {
    /// Pieces of output in the order they came, neighbours of one stream joined.
    output: Vec<(char, String)>,
    ending: Result<Ending, Error>,
}

impl Told {
    fn stdout(&self) -> String {
        self.output
            .iter()
            .filter(|(kind, _)| *kind == 'O')
            .map(|(_, text)| text.as_str())
            .collect()
    }

    fn value(self) -> Value {
        match self.ending {
            Ok(Ending::Returned(Some(value))) => value,
            other => panic!("not a value: {other:?}"),
        }
    }

    fn exception(self) -> RemoteException {
        match self.ending {
            Ok(Ending::Raised(exception)) => exception,
            other => panic!("not an exception: {other:?}"),
        }
    }
}

/// Follows a run to its end.
fn follow(mut caller: Caller) -> Told {
    let mut output: Vec<(char, String)> = Vec::new();
    let ending = loop {
        let (kind, bytes) = match caller.next() {
            Ok(Some(Event::Stdout(bytes))) => ('O', bytes),
            Ok(Some(Event::Stderr(bytes))) => ('E', bytes),
            Ok(Some(Event::Ended(ending))) => break Ok(ending),
            Ok(Some(Event::Hello(_))) => panic!("a second hello"),
            Ok(None) => panic!("hung up before the end"),
            Err(error) => break Err(error),
        };
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match output.last_mut() {
            Some((last, before)) if *last == kind => before.push_str(&text),
            _ => output.push((kind, text)),
        }
    };
    assert!(
        matches!(caller.next(), Ok(None) | Err(_)),
        "nothing follows"
    );
    Told { output, ending }
}

/// Runs `payload` in the target's main thread.
fn perform(target: &Target, payload: &Payload) -> Told {
    perform_by(target, payload, |statement| statement.to_owned())
}

/// The same, where the target runs what `wrap` makes of the statement.
fn perform_by(target: &Target, payload: &Payload, wrap: impl Fn(&str) -> String) -> Told {
    let staged = Staged::new(payload);
    tell(target, &wrap(&staged.statement()));
    let mut caller = staged.accept();
    caller.greet();
    caller.give();
    let told = follow(caller);
    assert!(staged.is_gone(), "nothing is there again");
    told
}

fn evaluate(target: &Target, source: &str) -> Value {
    perform(target, &payload(true, source)).value()
}

fn execute(target: &Target, source: &str) -> Told {
    perform(target, &payload(false, source))
}

/// The target wrote nothing but `answers` lines of its own.
fn assert_silent(target: &Target) {
    ask(target, "'the end'");
    let strange: Vec<String> = target
        .stdout_so_far()
        .lines()
        .filter(|line| !line.starts_with("answer") && !line.starts_with("ready"))
        .map(str::to_owned)
        .collect();
    assert_eq!(strange, [""; 0], "on its stdout");
    assert_eq!(target.stderr_so_far(), "", "on its stderr");
}

#[test]
fn every_part_compiles() {
    everywhere(|_, target| {
        for (name, text) in script::parts() {
            let compiled = format!("compile({text}, 'part', 'exec').co_name");
            assert_eq!(ask(target, &compiled), "<module>", "{name}");
        }
    });
}

#[test]
fn only_root_and_the_targets_user_are_trusted() {
    let (_, text) = script::parts()
        .find(|(name, _)| *name == "peer")
        .expect("it is there");
    everywhere(|_, target| {
        tell(
            target,
            &format!(
                "from types import SimpleNamespace as N\n\
                 def trusts(user, own, uid_map):\n    \
                 user = user.to_bytes(4, sys.byteorder)\n    \
                 files = {{'/proc/self/uid_map': uid_map, '/proc/sys/kernel/overflowuid': b'65534\\n'}}\n    \
                 posix = N(geteuid=lambda: own, open=lambda path, _: path, close=lambda _: None,\n        \
                 read=lambda path, _: files[path], O_RDONLY=0)\n    \
                 try: exec({text}, dict(sys=sys, posix=posix, user=user))\n    \
                 except OSError: return False\n    \
                 return True\n\
                 everyone, few = b'  0  0  4294967295\\n', b' 0 1000 1\\n'"
            ),
        );
        let answers = "[trusts(*case) for case in [(7, 7, everyone), (8, 7, everyone), \
                       (65534, 7, everyone), (65534, 7, few), (8, 7, few)]]";
        assert_eq!(ask(target, answers), "[True, False, False, True, False]");
    });
}

#[test]
fn values_come_as_text_and_as_json() {
    everywhere(|_, target| {
        for (source, repr, json) in [
            ("1", "1", Some("1")),
            (" 1 + 1", "2", Some("2")),
            ("None", "None", Some("null")),
            (
                "[True, 1.5, -0.0, (), {}]",
                "[True, 1.5, -0.0, (), {}]",
                Some("[true,1.5,-0.0,[],{}]"),
            ),
            (
                "'\\u20ac\\n\"\\\\'",
                "'€\\n\"\\\\'",
                Some("\"€\\u000a\\\"\\\\\""),
            ),
            (
                "{'a': {'b': (1, 2)}}",
                "{'a': {'b': (1, 2)}}",
                Some("{\"a\":{\"b\":[1,2]}}"),
            ),
            (
                "10 ** 30",
                "1000000000000000000000000000000",
                Some("1000000000000000000000000000000"),
            ),
            ("float('nan')", "nan", None),
            ("1e999", "inf", None),
            ("{1: 2}", "{1: 2}", None),
            ("'\\ud800'", "'\\ud800'", None),
            ("b'x'", "b'x'", None),
            ("type('L', (list,), {})()", "[]", None),
            ("(lambda l: l.append(l) or l)([])", "[[...]]", None),
            (
                "__import__('sys').argv",
                "['-c', 'é ü']",
                Some("[\"-c\",\"é ü\"]"),
            ),
            (
                "__name__, __file__",
                "('__main__', '<invivo>')",
                Some("[\"__main__\",\"<invivo>\"]"),
            ),
        ] {
            let value = evaluate(target, source);
            assert_eq!(
                (value.repr.as_str(), value.json.as_deref()),
                (repr, json),
                "{source}"
            );
            assert!(!value.truncated);
        }
        for (source, length) in [("1", 1), ("'x' * 65534", 65536), ("'x' * 65535", 65537)] {
            let mut task = payload(true, source);
            task.wants_json = false;
            let value = perform(target, &task).value();
            assert_eq!((value.repr.len(), value.json), (length, None), "{source}");
        }
        let long = evaluate(target, "'é' * (9 << 20)");
        assert!(long.truncated && long.json.is_none());
        assert_eq!(long.repr.len(), (1 << 24) - 1, "cut between two characters");
        assert_silent(target);
    });
}

#[test]
fn output_is_the_scripts_own_and_in_order() {
    everywhere(|_, target| {
        let told = execute(
            target,
            "import sys\nprint('one', 2, end='')\nprint('!', file=sys.stderr)\nprint('three')\n\
             sys.stdout.buffer.write(b'\\xc3\\xa9\\n')\nsys.stderr.write('four')\n\
             sys.stdout.writelines(['a', 'b'])\nsys.stdout.flush()\nprint('\\ud800')\n\
             assert not sys.stdout.isatty() and sys.stdout.encoding == 'utf-8'\n\
             try: sys.stdout.fileno()\nexcept OSError as e: print(type(e).__name__)\n\
             try: sys.stdout.write(b'x')\nexcept TypeError as e: print(e)\n",
        );
        let expected = [
            ('O', "one 2"),
            ('E', "!\n"),
            ('O', "three\né\n"),
            ('E', "four"),
            (
                'O',
                "ab\\ud800\nUnsupportedOperation\nwrite() argument must be str, not bytes\n",
            ),
        ];
        assert_eq!(
            told.output,
            expected.map(|(kind, text)| (kind, text.to_owned()))
        );
        assert_eq!(told.ending, Ok(Ending::Returned(None)));

        let told = execute(
            target,
            "print('x' * 1_000_000)\nfor i in range(5000): print(i)",
        );
        let lines: String = (0..5000).map(|i| format!("{i}\n")).collect();
        assert_eq!(told.stdout(), "x".repeat(1_000_000) + "\n" + &lines);
        assert_silent(target);
    });
}

#[test]
fn output_comes_while_the_script_runs() {
    everywhere(|_, target| {
        let place = tempfile::tempdir().expect("a directory");
        let gate = place.path().join("gate");
        let staged = Staged::new(&payload(
            false,
            &format!(
                "import os, time\nprint('now')\nwhile not os.path.exists({gate:?}): time.sleep(.001)"
            ),
        ));
        tell(target, &staged.statement());
        let mut caller = staged.accept();
        caller.greet();
        caller.give();
        assert_eq!(caller.next(), Ok(Some(Event::Stdout(b"now\n".to_vec()))));
        std::fs::write(&gate, "").expect("opening the gate");
        assert_eq!(follow(caller).ending, Ok(Ending::Returned(None)));
    });
}

#[test]
fn other_threads_keep_their_output() {
    everywhere(|_, target| {
        let told = execute(
            target,
            "import sys, threading\nkept = sys.stdout, sys.stdout.write, sys.stdout.buffer.write\n\
             def other():\n    print('said other'); kept[0].write('said kept\\n')\n    \
             kept[1]('said method\\n'); kept[0].flush(); kept[2](b'said bytes\\n'); kept[0].flush()\n\
             t = threading.Thread(target=other); t.start(); t.join(); print('mine')\n\
             __import__('__main__').kept = kept, other",
        );
        assert_eq!(told.stdout(), "mine\n");
        assert_eq!(told.ending, Ok(Ending::Returned(None)));
        tell(target, "kept[1]()");
        assert_eq!(ask(target, "sys.stdout is streams[0]"), "True");
        tell(
            target,
            "t = threading.Thread(target=kept[1]); t.start(); t.join()",
        );
        assert_eq!(ask(target, "kept[0][0] is not streams[0]"), "True");
        let own = target.stdout_so_far();
        for line in ["other", "kept", "method", "bytes"] {
            assert_eq!(
                own.matches(&format!("said {line}\n")).count(),
                3,
                "{line} in {own}"
            );
        }
        assert!(!own.contains("mine"));
    });
}
