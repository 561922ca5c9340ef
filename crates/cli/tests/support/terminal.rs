//! A program in a terminal of its own.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

/// The terminal: a program of Python's, which can have one.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/terminal.py");

/// A terminal of 80×24 with a program in it, which ends with it.
#[derive(Debug)]
pub(crate) struct Terminal {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// How it stands.
#[derive(Debug)]
pub(crate) struct Standing(Value);

impl Terminal {
    pub(crate) fn start<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Self {
        let python = &synth::interpreter("3.12").program;
        let mut child = Command::new(python)
            .arg(PROGRAM)
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a terminal");
        Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().expect("its answers")),
            child,
        }
    }

    fn order(&mut self, order: &Value) -> Standing {
        let orders = self.orders.as_mut().expect("open until dropped");
        writeln!(orders, "{order}").expect("a terminal that listens");
        let mut answer = String::new();
        self.answers.read_line(&mut answer).expect("an answer");
        Standing(serde_json::from_str(&answer).expect("JSON"))
    }

    /// Waits until this is on the screen.
    #[track_caller]
    pub(crate) fn wait(&mut self, text: &str) -> Standing {
        self.order(&json!({"do": "wait", "text": text})).done(text)
    }

    pub(crate) fn keys(&mut self, text: &str) {
        self.order(&json!({"do": "keys", "text": text}));
    }

    pub(crate) fn resize(&mut self, columns: u16, rows: u16) {
        self.order(&json!({"do": "resize", "columns": columns, "rows": rows}));
    }

    pub(crate) fn signal(&mut self, number: i32) {
        self.order(&json!({"do": "signal", "number": number}));
    }

    /// Waits until the program stands still.
    #[track_caller]
    pub(crate) fn stopped(&mut self) -> Standing {
        self.order(&json!({"do": "stopped"})).done("it stops")
    }

    /// Waits until the program has ended.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> Standing {
        self.order(&json!({"do": "ended"})).done("it ends")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.orders.take());
        let _ = self.child.wait();
    }
}

impl Standing {
    #[track_caller]
    fn done(self, what: &str) -> Self {
        assert_eq!(self.0["done"], true, "not in time: {what}: {:#}", self.0);
        self
    }

    pub(crate) fn screen(&self) -> String {
        let lines = self.0["screen"].as_array().expect("lines").iter();
        let lines: Vec<&str> = lines.map(|line| line.as_str().expect("text")).collect();
        lines.join("\n")
    }

    pub(crate) fn code(&self) -> Option<i64> {
        self.0["code"].as_i64()
    }

    /// Whether a program has had it for itself.
    pub(crate) fn was_taken(&self) -> bool {
        self.0["taken"] == true
    }

    /// Asserts that a program has it for itself.
    #[track_caller]
    pub(crate) fn taken(&self) {
        let state = (&self.0["alternate"], &self.0["cursor"], &self.0["restored"]);
        assert_eq!(
            state,
            (&json!(true), &json!(false), &json!(false)),
            "{:#}",
            self.0
        );
    }

    /// Asserts that it is as it was before the program.
    #[track_caller]
    pub(crate) fn as_before(&self) {
        let state = (&self.0["alternate"], &self.0["cursor"], &self.0["restored"]);
        assert_eq!(
            state,
            (&json!(false), &json!(true), &json!(true)),
            "{:#}",
            self.0
        );
    }
}
