//! Made-up stacks for tests.

use std::sync::Arc;

use invivo_model::{Address, Code, Frame, Gil, Position, Stack, Text, Thread, ThreadState, Trust};

pub(crate) fn text(text: &str) -> Text {
    Text {
        text: text.to_owned(),
        truncated: false,
    }
}

pub(crate) fn frame(name: &str, file: &str, line: u32) -> Frame {
    Frame {
        address: Address(0x1000),
        code: Arc::new(Code {
            address: Address(0x2000),
            name: text(name),
            qualname: None,
            filename: text(file),
            first_line: 1,
            flags: 0,
        }),
        position: Position {
            line: Some(line),
            ..Position::default()
        },
        opcode: None,
        through_c: None,
        trust: Trust::Whole,
        slots: None,
    }
}

pub(crate) fn thread(native_id: u64, gil: Gil, frames: Vec<Frame>) -> Thread {
    Thread {
        state: ThreadState {
            address: Address(0x10_0000 + native_id),
            native_id,
            thread_id: 0x7000_0000 + native_id,
            current_frame: Address::NULL,
            debugger: None,
        },
        name: None,
        gil,
        handles_exception: Some(false),
        is_main: false,
        collects_garbage: None,
        stack: Stack {
            frames,
            ..Stack::default()
        },
    }
}
