//! Images of processes of which much would be made.

use super::HostileFile;

/// Bytes of a file.
const SIZE: usize = 64 << 20;

/// The first line, and the description with `more` in it, which is repeated up to so many bytes.
fn description(before: &str, more: &str, after: &str, size: usize) -> Vec<u8> {
    let mut file = b"invivo dump 1\n{".to_vec();
    file.extend(before.as_bytes());
    while file.len() + more.len() + after.len() < size {
        file.extend(more.as_bytes());
    }
    file.extend(after.as_bytes());
    file
}

/// One of each kind.
pub fn hostile() -> Vec<HostileFile> {
    let list = |name: &'static str, field: &str, item: &str| HostileFile {
        name,
        bytes: description(
            &format!("\"{field}\":[{item}"),
            &format!(",{item}"),
            "]}\n",
            SIZE / 4,
        ),
    };
    let thread = r#"{"tid":1,"native_id":1,"name":"","activity":null}"#;
    let lines = description(
        "\"lines\":{\"\":{\"0\":\"\"",
        ",\"1\":\"\"",
        "}}}\n",
        SIZE / 4,
    );
    vec![
        list("words", "command", "\"\""),
        list("changed", "changed", "1"),
        list("threads", "os_threads", thread),
        HostileFile {
            name: "lines",
            bytes: lines,
        },
        HostileFile {
            name: "ranges",
            bytes: ranges(),
        },
    ]
}

/// Nearly four million ranges of a byte each.
fn ranges() -> Vec<u8> {
    let mut file = WHOLE.as_bytes().to_vec();
    file.extend(b"invivo\x01\n");
    let mut start = 8_u64;
    while file.len() < SIZE - 17 {
        file.extend(start.to_le_bytes());
        file.extend(1_u64.to_le_bytes());
        file.push(0);
        start += 8;
    }
    file
}

/// A description in which nothing is missing.
const WHOLE: &str = concat!(
    "invivo dump 1\n",
    r#"{"time":0,"pid":1,"command":[],"executable":null,"runtime":4096,"#,
    r#""version":{"major":3,"minor":14,"micro":8,"level":"","serial":0},"debug":false,"#,
    r#""free_threaded":false,"module":"","found_by":"","os_threads":null,"stacks":null,"#,
    r#""options":{"locals":null,"opcodes":false,"thread":null,"all_interpreters":false,"#,
    r#""block":false},"lines":{}}"#,
    "\n"
);
