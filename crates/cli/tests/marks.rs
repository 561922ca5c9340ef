//! What stacks show beside Python functions: C code and tasks, in `record` and `top`.

mod support;

use support::invivo;
use synth::{Launch, interpreter};

#[test]
fn calls_by_c_code_are_marked_if_asked_for() {
    let text =
        "def spin(_):\n print('ready', flush=True)\n while True: pass\nsorted([1], key=spin)";
    let target = Launch::new(interpreter("3.14"), text).start();
    let pid = target.pid().to_string();
    for (option, wanted) in [("--native", true), ("--gc", false)] {
        let words = [
            "record",
            &pid,
            "-d",
            "0.5",
            "-f",
            "collapsed",
            "-o",
            "-",
            option,
        ];
        let stacks = invivo(words).expect(0).stdout;
        assert!(stacks.contains("spin"), "{stacks}");
        assert_eq!(stacks.contains("<native>;"), wanted, "{stacks}");
        let words = ["top", &pid, "--once", "-d", "0.5", option];
        let top = invivo(&words[..words.len() - usize::from(!wanted)]);
        let top = top.expect(0).stdout;
        assert!(top.contains("spin"), "{top}");
        assert_eq!(top.contains("<native>"), wanted, "{top}");
    }
}

#[test]
fn tasks_are_shown_if_asked_for() {
    let text = "\
import asyncio
async def burn():
    print('ready', flush=True)
    while True: pass
async def main():
    task = asyncio.ensure_future(burn())
    task.set_name('a <b>;\\x1b')
    await task
asyncio.run(main())";
    for name in ["3.8", "3.14"] {
        let target = Launch::new(interpreter(name), text).start();
        let pid = target.pid().to_string();
        let words = [
            "record",
            &pid,
            "--async",
            "-d",
            "0.5",
            "-f",
            "collapsed",
            "-o",
            "-",
        ];
        let stacks = invivo(words).expect(0).stdout;
        assert!(
            stacks.starts_with("<task Task-1>;main ("),
            "{name}: {stacks}"
        );
        assert!(stacks.contains(";<task a <b>"), "{name}: {stacks}");
        assert!(!stacks.contains(['\x1b']), "{name}: {stacks}");
        let top = invivo(["top", &pid, "--async", "--once", "-d", "0.5"]);
        let top = top.expect(0).stdout;
        assert!(top.contains("<task a <b>"), "{name}: {top}");
        assert!(!top.contains(['\x1b']), "{name}: {top}");
    }
}
