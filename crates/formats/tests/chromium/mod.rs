//! A headless Chromium, spoken to by its debugging protocol: JSON messages with a NUL behind each,
//! through two pipes.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use synth::target::PATIENCE;
use tempfile::TempDir;

/// What a page is shown on. The browser is told so: the window of some can't be as narrow as a phone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    width: u32,
    height: u32,
    mobile: bool,
}

pub(crate) const DESK: Device = Device {
    width: 1280,
    height: 800,
    mobile: false,
};

pub(crate) const PHONE: Device = Device {
    width: 390,
    height: 844,
    mobile: true,
};

/// A running browser with nothing of anybody's in it.
pub(crate) struct Chromium {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    directory: TempDir,
}

impl Chromium {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = env::var("INVIVO_CHROMIUM").unwrap_or("chromium-headless-shell".to_owned());
        // It reads requests from descriptor 3 and answers on 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >&2"])
            .arg(program)
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .arg("--remote-debugging-pipe")
            .arg(format!("--user-data-dir={}", directory.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(directory.path().join("said")).unwrap())
            .spawn()
            .expect("a shell");
        let (told, messages) = mpsc::channel();
        let answers = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for message in answers.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("JSON");
                if told.send(message).is_err() {
                    break;
                }
            }
        });
        Self {
            requests: child.stdin.take().unwrap(),
            child,
            messages,
            last: 0,
            directory,
        }
    }

    /// Opens a page, and returns when its scripts have run.
    pub(crate) fn open(&mut self, page: &str, device: Device) -> Page<'_> {
        let path = self.directory.path().join("page.html");
        fs::write(&path, page).unwrap();
        let target = self.ask(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask(None, "Target.attachToTarget", &target);
        let session = session["sessionId"].as_str().expect("a session").to_owned();
        let Device {
            width,
            height,
            mobile,
        } = device;
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile});
        let metrics_are_set = "Emulation.setDeviceMetricsOverride";
        self.ask(Some(&session), metrics_are_set, &metrics);
        self.ask(Some(&session), "Page.enable", &json!({}));
        let url = format!("file://{}", path.display());
        self.ask(Some(&session), "Page.navigate", &json!({"url": url}));
        self.next(|message| {
            message["method"] == "Page.loadEventFired" && message["sessionId"] == session.as_str()
        });
        Page {
            browser: self,
            session,
        }
    }

    /// The result of a request.
    fn ask(&mut self, session: Option<&str>, method: &str, parameters: &Value) -> Value {
        self.last += 1;
        let number = self.last;
        let mut request = json!({"id": number, "method": method, "params": parameters});
        if let Some(session) = session {
            request["sessionId"] = session.into();
        }
        let sent = write!(self.requests, "{request}\0").and_then(|()| self.requests.flush());
        if let Err(error) = sent {
            panic!("{method}: {error}\n{}", self.said());
        }
        let mut answer = self.next(|message| message["id"] == number);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// The next message of this kind; those before it are passed.
    fn next(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(message) if wanted(&message) => return message,
                Ok(_) => {}
                Err(why) => panic!("no answer of the browser: {why}\n{}", self.said()),
            }
        }
    }

    /// What it said on its standard error.
    fn said(&self) -> String {
        fs::read_to_string(self.directory.path().join("said")).unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Asked, it ends its own processes first, and nobody writes into the directory any more.
        let close = json!({"id": self.last + 1, "method": "Browser.close"});
        let asked = write!(self.requests, "{close}\0");
        let until = Instant::now() + PATIENCE;
        while asked.is_ok()
            && Instant::now() < until
            && self.child.try_wait().is_ok_and(|s| s.is_none())
        {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An open page.
pub(crate) struct Page<'b> {
    browser: &'b mut Chromium,
    session: String,
}

impl Page<'_> {
    /// What an expression of JavaScript is in it.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let parameters = json!({"expression": expression, "returnByValue": true});
        let mut answer = self
            .browser
            .ask(Some(&self.session), "Runtime.evaluate", &parameters);
        assert!(answer.get("exceptionDetails").is_none(), "{answer}");
        answer["result"]["value"].take()
    }
}
