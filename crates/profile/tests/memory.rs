//! A recording of any length is written in the same memory. Alone in its process, so that what is
//! measured is the writer's.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use invivo_model::{About, FunctionKind, ProfileFrame, ProfileFunction, ProfileProcess};
use invivo_model::{ProfileThread, SampleStatus, StackNode, Text, Trust};
use invivo_profile::{Interner, Seen, Sink, Writer};

/// Of 10 kHz.
const INTERVAL: u64 = 100_000;
const MINUTE: u64 = 600_000;
const STACKS: u32 = 1000;

/// Takes bytes and keeps how many there were.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pages that this process has in memory.
fn pages() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

fn tables(sink: &mut dyn Sink) {
    let mut interner = Interner::new();
    let process = ProfileProcess {
        pid: 4711,
        parent: None,
        command: Vec::new(),
        version: "3.15.0".to_owned(),
    };
    interner.process(&process, sink).unwrap();
    let thread = ProfileThread {
        process: 0,
        tid: 4711,
        name: None,
        interpreter: 0,
        is_main: true,
    };
    interner.thread(&thread, sink).unwrap();
    for line in 0..STACKS {
        let function = ProfileFunction {
            name: Text::default(),
            file: Text::default(),
            first_line: line,
            kind: FunctionKind::Python,
        };
        let frame = ProfileFrame {
            function: interner.function(&function, sink).unwrap(),
            line,
            columns: None,
            opcode: None,
        };
        let frame = interner.frame(frame, sink).unwrap();
        let node = StackNode {
            caller: None,
            frame,
        };
        interner.stack(node, sink).unwrap();
    }
}

#[test]
fn the_tenth_minute_at_10_khz_takes_no_more_memory_than_the_first() {
    let file = Count::default();
    let mut about = About {
        interval: INTERVAL,
        ..About::default()
    };
    let mut writer = Writer::new(file.clone(), &about).unwrap();
    tables(&mut writer);
    let mut after_a_minute = 0;
    for tick in 0..10 * MINUTE {
        // Another stack each time, as of a thread that is never where it was.
        let stack = tick.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let seen = Seen {
            thread: 0,
            stack: Some(stack as u32 % STACKS),
            status: SampleStatus::default(),
            trust: Trust::Whole,
        };
        about.ticks += 1;
        about.duration += INTERVAL;
        writer.tick(&about, &[seen]).unwrap();
        if tick == MINUTE {
            after_a_minute = pages();
        }
    }
    let grown = pages().saturating_sub(after_a_minute);
    // Sixteen blocks of 64 KiB may wait on a busy machine; a byte kept of each sample were more.
    assert!(grown < 512, "{grown} pages");
    writer.finish(&about).unwrap();
    let bytes = file.0.load(Ordering::Relaxed);
    assert!(bytes < 4 * 10 * MINUTE, "{bytes}");
}
