//! What is asked of the command, and within what bounds it has to answer.

use super::chance::Chance;

/// A command line, and what holds of how it ends.
pub(super) struct Asked {
    pub(super) words: Vec<String>,
    /// Its time-out; by twice that, and what it takes to be scheduled, it has ended.
    pub(super) seconds: f64,
    /// Whether all that it prints would go to a terminal as it is.
    pub(super) is_text: bool,
    /// Whether a script runs: its status may be 1, and its stderr is its own.
    pub(super) is_script: bool,
}

/// The files and the process that there are to be asked about.
pub(super) struct Subjects {
    /// Two recordings and an image.
    pub(super) files: [String; 3],
    pub(super) pid: u32,
}

const FORMATS: [&str; 11] = [
    "flamegraph",
    "svg",
    "heatmap",
    "collapsed",
    "speedscope",
    "pprof",
    "firefox",
    "chrome",
    "pstats",
    "jsonl",
    "table",
];

/// Words of every command but those that name a file to write.
const WORDS: [&str; 44] = [
    "ps",
    "doctor",
    "dump",
    "tasks",
    "convert",
    "diff",
    "exec",
    "record",
    "completions",
    "help",
    "--json",
    "--image",
    "--locals",
    "--locals=17",
    "--locals=",
    "--max-string",
    "--max-items",
    "--thread",
    "--runtime",
    "--all-interpreters",
    "--opcodes",
    "--order",
    "outermost-first",
    "--timeout",
    "--color",
    "always",
    "-v",
    "-f",
    "table",
    "--lines",
    "--threads",
    "--sources",
    "--memory",
    "--process",
    "--from",
    "--to",
    "-c",
    "-e",
    "--interpreter",
    "--wake",
    "--stop-after",
    "--namespace",
    "--dry-run",
    "--tree",
];

/// Scripts that print, raise, return and break whatever they can reach of the way back.
const SCRIPTS: [&str; 12] = [
    "print('\\x1b[2J\\x9b\\u202e' * 1000)",
    "raise ValueError('\\x1b\\u202e' * 100_000)",
    "import os\nfor n in range(100000): os.write(1, b'\\x1b' * 20)",
    "import sys\nsys.stdout.write('x' * (40 << 20))",
    "import sys\nsys.exit('\\x9b' * 1000)",
    "def f(n): return f(n - 1) if n else 1 / 0\nf(500)",
    "raise ExceptionGroup('g', [ValueError(str(n)) for n in range(5000)])",
    "import os, stat\nfor n in range(3, 64):\n    try:\n        if stat.S_ISSOCK(os.fstat(n).st_mode): os.write(n, os.urandom(4096))\n    except OSError: pass",
    "e = ValueError()\nfor n in range(3000):\n    new = ValueError('c' * 1000); new.__cause__ = e; e = new\nraise e",
    "class E(Exception):\n    __str__ = lambda s: 1 / 0\nE.__name__ = '\\x1b' * 1000\nraise E",
    "exec(compile('1/0', '/proc/self/environ\\x1b', 'exec'))",
    "while True: pass",
];

/// Expressions, of which the value is shown.
const EXPRESSIONS: [&str; 8] = [
    "'\\x1b\\x9b' * 1000",
    "list(range(1000000))",
    "b'\\xff' * 1000",
    "float('nan')",
    "{'\\u202e': {1: [2, (3, None, 1e400)]}}",
    "'\\ud800'",
    "1 / 0",
    "type('\\x1b', (), {'__repr__': lambda s: '\\x1b' * 100000})()",
];

/// The seconds that most commands are given.
const SECONDS: f64 = 1.0;

impl Asked {
    fn new<const N: usize>(words: [&str; N], is_text: bool) -> Self {
        Self {
            words: words.map(str::to_owned).to_vec(),
            seconds: SECONDS,
            is_text,
            is_script: false,
        }
    }

    /// Something that can be asked.
    pub(super) fn any(subjects: &Subjects, chance: &mut Chance) -> Self {
        match chance.below(20) {
            0..6 => Self::convert(subjects, chance),
            6..8 => Self::diff(subjects, chance),
            8..12 => Self::image(subjects, chance),
            12..16 => Self::look(subjects, chance),
            16 => Self::script(subjects, chance),
            17 => Self::record(subjects, chance),
            _ => Self::words(subjects, chance),
        }
    }

    fn option(&mut self, chance: &mut Chance, many: usize, word: &str) {
        if chance.one_in(many) {
            self.words.push(word.to_owned());
        }
    }

    fn number(&mut self, chance: &mut Chance, many: usize, word: &str) {
        if chance.one_in(many) {
            let number = chance.edge().to_string();
            self.words.extend([word.to_owned(), number]);
        }
    }

    fn timed(mut self) -> Self {
        let seconds = self.seconds.to_string();
        self.words.extend(["--timeout".to_owned(), seconds]);
        self
    }

    fn convert(subjects: &Subjects, chance: &mut Chance) -> Self {
        let format = chance.pick(&FORMATS);
        let words = ["convert", &subjects.files[0], "-o", "-", "-f", format];
        let mut asked = Self::new(words, *format == "table");
        asked.option(chance, 3, "--lines");
        asked.option(chance, 3, "--threads");
        asked.option(chance, 4, "--sources");
        asked.number(chance, 12, "--process");
        asked.number(chance, 12, "--thread");
        asked.number(chance, 12, "--from");
        asked.number(chance, 12, "--to");
        if chance.one_in(8) {
            asked.words.extend(["--memory", "1"].map(str::to_owned));
        }
        asked.timed()
    }

    fn diff(subjects: &Subjects, chance: &mut Chance) -> Self {
        let format = *chance.pick(&["table", "flamegraph"]);
        let [before, after, _] = &subjects.files;
        let words = ["diff", before, after, "-o", "-", "-f", format];
        Self::new(words, format == "table").timed()
    }

    fn image(subjects: &Subjects, chance: &mut Chance) -> Self {
        let words = ["dump", "--image", &subjects.files[2]];
        Self::new(words, true).shown(chance).timed()
    }

    fn shown(mut self, chance: &mut Chance) -> Self {
        if chance.one_in(2) {
            let depth = chance.below(17);
            self.words.push(format!("--locals={depth}"));
        }
        if chance.one_in(4) {
            let many = chance.below(65_537);
            self.words
                .extend(["--max-string".to_owned(), many.to_string()]);
        }
        if chance.one_in(4) {
            let many = chance.below(65_537);
            self.words
                .extend(["--max-items".to_owned(), many.to_string()]);
        }
        self.option(chance, 3, "--json");
        self.option(chance, 3, "--opcodes");
        self.option(chance, 4, "--all-interpreters");
        self.option(chance, 4, "--order=outermost-first");
        self
    }

    fn look(subjects: &Subjects, chance: &mut Chance) -> Self {
        let pid = subjects.pid.to_string();
        let mut asked = match chance.below(8) {
            0 => {
                let mut asked = Self::new(["ps"], true);
                asked.seconds = 10.0;
                asked.option(chance, 2, "--json");
                return asked;
            }
            1 => {
                let mut asked = Self::new(["doctor", &pid], true);
                asked.seconds = 10.0;
                asked.option(chance, 2, "--json");
                return asked;
            }
            2 => {
                let mut asked = Self::new(["tasks", &pid], true);
                asked.option(chance, 2, "--json");
                asked.option(chance, 2, "--tree");
                asked
            }
            _ => Self::new(["dump", &pid], true).shown(chance),
        };
        asked.option(chance, 6, "-v");
        asked.timed()
    }

    fn script(subjects: &Subjects, chance: &mut Chance) -> Self {
        let pid = subjects.pid.to_string();
        let (how, script) = if chance.one_in(2) {
            ("-c", chance.pick(&SCRIPTS))
        } else {
            ("-e", chance.pick(&EXPRESSIONS))
        };
        let mut asked = Self::new(["exec", &pid, how, script], false);
        asked.is_script = true;
        asked.words.extend(["--stop-after".into(), "0.5".into()]);
        if chance.one_in(2) {
            asked.words.push("--json".into());
            asked.is_text = true;
        }
        let thread = chance.pick(&["any", "main"]);
        asked.words.extend(["--thread".into(), (*thread).into()]);
        asked.option(chance, 8, "--dry-run");
        asked.timed()
    }

    fn record(subjects: &Subjects, chance: &mut Chance) -> Self {
        let pid = subjects.pid.to_string();
        let format = chance.pick(&FORMATS);
        let words = [
            "record", &pid, "-d", "0.3", "-o", "-", "-f", format, "--mode",
        ];
        let mut asked = Self::new(words, *format == "table");
        let mode = chance.pick(&["wall", "cpu", "gil", "exception"]);
        asked.words.push((*mode).into());
        asked.seconds = 5.0;
        asked.option(chance, 3, "--lines");
        asked.option(chance, 3, "--gc");
        asked
    }

    /// Words that may mean nothing; but no script that is run, and none that write.
    fn words(subjects: &Subjects, chance: &mut Chance) -> Self {
        let mut asked = Self::new([], false);
        asked.seconds = 30.0;
        for _ in 0..chance.below(8) {
            let word = match chance.below(4) {
                0 => chance.text(200).replace('\0', ""),
                1 if chance.one_in(3) => chance.edge().to_string(),
                1 => chance.pick(&subjects.files).clone(),
                _ => (*chance.pick(&WORDS)).to_owned(),
            };
            asked.words.push(word);
        }
        // A profile of its own form, or a completion, may come; errors are for people.
        asked.is_text = !asked.words.iter().any(|word| {
            ["convert", "diff", "record", "completions", "help"].contains(&word.as_str())
        });
        asked
    }
}
