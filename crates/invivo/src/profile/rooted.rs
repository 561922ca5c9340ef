use std::collections::HashMap;
use std::fmt;

use invivo_formats::Source;
use invivo_model::{
    About, Budget, FunctionKind, ProfileFrame, ProfileFunction, ProfileProcess, ProfileThread,
    Result, Sample, StackNode, Tables, Text,
};

/// How much of a command tells which process it is.
const COMMAND_MAX: usize = 120;

/// A profile whose stacks begin with the process, the thread, or both: as files need it that have
/// all stacks in one tree.
pub struct Rooted<'a> {
    source: &'a dyn Source,
    tables: Tables,
    /// What stands below the stacks of each thread.
    roots: Vec<u32>,
    /// The stack that stands for one of the source on top of a root.
    stacks: HashMap<(u32, Option<u32>), u32>,
    /// What it takes comes back with it.
    budget: Budget,
}

impl<'a> Rooted<'a> {
    /// `source` with its processes, its threads or both below the stacks.
    ///
    /// # Errors
    /// What reading the samples fails with.
    pub fn new(source: &'a dyn Source, processes: bool, threads: bool) -> Result<Self> {
        let mut build = Build::new(source)?;
        let roots: Vec<u32> = build.roots(source.tables(), processes, threads)?;
        let mut stacks = HashMap::new();
        source.for_each_sample(&mut |sample| match roots.get(sample.thread as usize) {
            Some(root) => build.place(*root, sample.stack, source.tables(), &mut stacks),
            None => Ok(()),
        })?;
        Ok(Self {
            source,
            tables: build.tables,
            budget: build.budget,
            roots,
            stacks,
        })
    }
}

impl Source for Rooted<'_> {
    fn about(&self) -> &About {
        self.source.about()
    }

    fn tables(&self) -> &Tables {
        &self.tables
    }

    fn for_each_sample(&self, each: &mut dyn FnMut(&Sample) -> Result<()>) -> Result<()> {
        self.source.for_each_sample(&mut |sample| {
            let root = self.roots.get(sample.thread as usize);
            let stack = root.and_then(|root| self.stacks.get(&(*root, sample.stack)));
            each(&Sample {
                stack: stack.copied(),
                ..*sample
            })
        })
    }

    fn budget(&self) -> Budget {
        self.budget.clone()
    }
}

/// The tables, while they are made.
struct Build {
    tables: Tables,
    /// The frame for what ran no Python code.
    nothing: Option<u32>,
    budget: Budget,
}

impl Build {
    fn new(source: &dyn Source) -> Result<Self> {
        let (all, budget) = (source.tables(), source.budget().part());
        budget.take(all.size())?;
        let tables = Tables {
            stacks: Vec::new(),
            ..all.clone()
        };
        Ok(Self {
            tables,
            nothing: None,
            budget,
        })
    }

    /// The stack that stands below those of each thread.
    fn roots(&mut self, all: &Tables, processes: bool, threads: bool) -> Result<Vec<u32>> {
        self.budget.take_list::<u32>(all.threads.len())?;
        let below = all.processes.iter().map(|process| {
            let mark =
                processes.then(|| self.mark(None, process_label(process), FunctionKind::Place));
            mark.transpose()
        });
        let below: Vec<Option<u32>> = below.collect::<Result<_>>()?;
        let roots = all.threads.iter().map(|thread| {
            let below = below.get(thread.process as usize).copied().flatten();
            match below {
                Some(below) if !threads => Ok(below),
                _ => self.mark(below, thread_label(thread), FunctionKind::Place),
            }
        });
        roots.collect()
    }

    /// Puts a stack on top of a root, with all its callers.
    fn place(
        &mut self,
        root: u32,
        stack: Option<u32>,
        all: &Tables,
        known: &mut HashMap<(u32, Option<u32>), u32>,
    ) -> Result<()> {
        let mut missing = Vec::new();
        let path = self.budget.part();
        let mut at = stack;
        let mut caller = root;
        if at.is_none() && !known.contains_key(&(root, None)) {
            let nothing = self.nothing()?;
            let stack = self.push(Some(root), nothing)?;
            self.know((root, None), stack, known)?;
        }
        while let Some(index) = at {
            if let Some(placed) = known.get(&(root, at)) {
                caller = *placed;
                break;
            }
            let Some(node) = all.stacks.get(index as usize) else {
                return Ok(());
            };
            path.push(&mut missing, (index, node.frame))?;
            // A caller stands before what it calls: that ends.
            at = node.caller.filter(|caller| *caller < index);
        }
        for (index, frame) in missing.into_iter().rev() {
            caller = self.push(Some(caller), frame)?;
            self.know((root, Some(index)), caller, known)?;
        }
        Ok(())
    }

    /// Takes note of the stack that stands for another on top of a root.
    fn know(
        &self,
        key: (u32, Option<u32>),
        stack: u32,
        known: &mut HashMap<(u32, Option<u32>), u32>,
    ) -> Result<()> {
        self.budget.make_room(known)?;
        known.insert(key, stack);
        Ok(())
    }

    fn nothing(&mut self) -> Result<u32> {
        match self.nothing {
            Some(frame) => Ok(frame),
            None => {
                let frame = self.frame("<no Python code>".to_owned(), FunctionKind::Native)?;
                self.nothing = Some(frame);
                Ok(frame)
            }
        }
    }

    fn mark(&mut self, caller: Option<u32>, name: String, kind: FunctionKind) -> Result<u32> {
        let frame = self.frame(name, kind)?;
        self.push(caller, frame)
    }

    fn frame(&mut self, name: String, kind: FunctionKind) -> Result<u32> {
        let function = ProfileFunction {
            name: text(name),
            file: Text::default(),
            first_line: 0,
            kind,
        };
        self.budget.take_text(&function.name.text)?;
        self.budget.push(&mut self.tables.functions, function)?;
        let frame = ProfileFrame {
            function: last(self.tables.functions.len()),
            line: 0,
            columns: None,
            opcode: None,
        };
        self.budget.push(&mut self.tables.frames, frame)?;
        Ok(last(self.tables.frames.len()))
    }

    fn push(&mut self, caller: Option<u32>, frame: u32) -> Result<u32> {
        let stack = StackNode { caller, frame };
        self.budget.push(&mut self.tables.stacks, stack)?;
        Ok(last(self.tables.stacks.len()))
    }
}

/// The index of the last of so many. Who writes a profile refuses tables that have more.
fn last(length: usize) -> u32 {
    u32::try_from(length - 1).unwrap_or(u32::MAX)
}

fn text(name: String) -> Text {
    let cut = name.char_indices().nth(COMMAND_MAX).map(|(at, _)| at);
    Text {
        truncated: cut.is_some(),
        text: name
            .get(..cut.unwrap_or(name.len()))
            .map_or_else(String::new, str::to_owned),
    }
}

fn process_label(process: &ProfileProcess) -> String {
    format!("process {}: {}", process.pid, process.command.join(" "))
}

fn thread_label(thread: &ProfileThread) -> String {
    match &thread.name {
        Some(name) if !name.text.is_empty() => format!("thread {}: {}", thread.tid, name.text),
        _ if thread.is_main => format!("thread {}: main thread", thread.tid),
        _ => format!("thread {}", thread.tid),
    }
}

impl fmt::Debug for Rooted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooted")
            .field("about", self.about())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use invivo_formats::{Format, write};
    use invivo_model::{Profile, SampleStatus, Trust};

    use super::*;

    fn profile() -> Profile {
        let mut profile = Profile::default();
        profile.about.interval = 1;
        let tables = &mut profile.tables;
        for name in ["a", "b"] {
            let function = last(tables.functions.len() + 1);
            tables.functions.push(ProfileFunction {
                name: text(name.to_owned()),
                file: Text::default(),
                first_line: 1,
                kind: FunctionKind::Python,
            });
            tables.frames.push(ProfileFrame {
                function,
                line: 1,
                columns: None,
                opcode: None,
            });
        }
        for (caller, frame) in [(None, 0), (Some(0), 1)] {
            tables.stacks.push(StackNode { caller, frame });
        }
        for pid in [7, 8] {
            tables.processes.push(ProfileProcess {
                pid,
                parent: None,
                command: vec!["python".to_owned(), "x;y.py".to_owned()],
                version: String::new(),
            });
        }
        for (process, tid, name) in [(0, 7, None), (0, 70, Some("w")), (1, 8, None)] {
            tables.threads.push(ProfileThread {
                process,
                tid,
                name: name.map(|name| text(name.to_owned())),
                interpreter: 0,
                is_main: name.is_none(),
            });
        }
        for (thread, stack) in [(0, Some(1)), (1, Some(1)), (1, None), (2, Some(0))] {
            profile.samples.push(Sample {
                time: 0,
                thread,
                stack,
                status: SampleStatus::default(),
                trust: Trust::Whole,
                ticks: 5,
            });
        }
        profile
    }

    fn lines(processes: bool, threads: bool) -> Vec<String> {
        let profile = profile();
        let rooted = Rooted::new(&profile, processes, threads).expect("nothing fails");
        let mut bytes = Vec::new();
        write(Format::Collapsed, &rooted, &Default::default(), &mut bytes).expect("it fits");
        let text = String::from_utf8(bytes).expect("it is text");
        let stacks = text.lines().filter(|line| !line.starts_with('#'));
        let mut lines: Vec<String> = stacks.map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn stacks_begin_with_their_process() {
        let first = r"process 7: python x\x3by.py";
        let expected = [
            format!("{first};<no Python code> 5"),
            format!("{first};a;b 10"),
            r"process 8: python x\x3by.py;a 5".to_owned(),
        ];
        assert_eq!(lines(true, false), expected);
    }

    #[test]
    fn stacks_begin_with_their_thread() {
        let expected = [
            "thread 70: w;<no Python code> 5",
            "thread 70: w;a;b 5",
            "thread 7: main thread;a;b 5",
            "thread 8: main thread;a 5",
        ];
        assert_eq!(lines(false, true), expected);
        assert!(
            lines(true, true)
                .iter()
                .all(|line| line.contains("y.py;thread "))
        );
    }
}
