//! Targets that map what is never given: pages of a file system that they serve themselves.

mod support;

mod as_root {
    use std::process::Command;
    use std::time::{Duration, Instant};

    use synth::{Launch, interpreter};

    use crate::support::{INVIVO, Run};

    /// Serves a file by FUSE, in a mount namespace of its own, up to its being read, and maps it:
    /// in the place of its own arguments, or as what Invivo looks for, a library of Python's, with a
    /// frame's variable that leads into it.
    const SILENT: &str = r#"
import ctypes, gc, os, struct, sys, tempfile, time
libc = ctypes.CDLL(None, use_errno=True)
def checked(outcome):
    if outcome != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
checked(libc.unshare(0x20000))
checked(libc.mount(b"none", b"/", None, 0x44000, None))
place = tempfile.mkdtemp()
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
checked(libc.mount(b"silent", place.encode(), b"fuse", 6, options))
def attributes(node):
    mode = 0o40755 if node == 1 else 0o100755
    return struct.pack("<6Q10I", node, 1 << 16, 128, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)
def serve():
    libc.prctl(1, 9)
    while True:
        request = os.read(fuse, 1 << 20)
        _, opcode, unique, node = struct.unpack("<IIQQ", request[:24])
        error, body = 0, b""
        if opcode == 26:
            body = struct.pack("<4I2H2I2H8I", 7, 31, 65536, 0, 1, 1, 4096, 1, 16, 0, *[0] * 8)
        elif opcode == 1:
            body = struct.pack("<4Q2I", 2, 0, 3600, 3600, 0, 0) + attributes(2)
        elif opcode == 3:
            body = struct.pack("<Q2I", 3600, 0, 0) + attributes(node)
        elif opcode == 14:
            body = struct.pack("<Q2I", 1, 0, 0)
        elif opcode in (2, 15, 42):
            continue
        else:
            error = -38
        os.write(fuse, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
if os.fork() == 0:
    serve()
file = os.open(place + "/libpython3.99.so.1.0", os.O_RDONLY)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
gc.disable()
pair = ("a", "b")
if sys.argv[1] == "arguments":
    with open("/proc/self/stat") as stat:
        start = int(stat.read().rpartition(")")[2].split()[45])
    libc.mmap(start & ~4095, 4096, 1, 0x12, file, 0)
else:
    # A frame's variable leads into it.
    page = libc.mmap(None, 8192, 5, 2, file, 0)
    # Since 3.14 a hash stands before the items.
    items = id(pair) + (32 if sys.version_info >= (3, 14) else 24)
    ctypes.c_void_p.from_address(items).value = page + 64
def wait(pair):
    os.write(1, b"ready\n")
    while True:
        time.sleep(0.01)
wait(pair)
"#;

    fn run(words: &[&str]) -> Run {
        let mut command = Command::new("timeout");
        command.args(["-k", "1", "90", INVIVO]).args(words);
        let begun = Instant::now();
        let run = Run::of(command.output().expect("running invivo"));
        assert!(
            !matches!(run.code, None | Some(124 | 137)),
            "{words:?}: {run:#?}"
        );
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(60), "{words:?} took {took:?}");
        run
    }

    #[test]
    fn no_command_waits_for_memory_that_is_never_given() {
        for version in ["3.14", "3.11"] {
            let launch = Launch::new(interpreter(version), SILENT);
            let target = launch.arguments(["value"]).start();
            let pid = target.pid().to_string();
            run(&["ps"]).expect(0);
            run(&["doctor", &pid]).expect(0);
            run(&["tasks", &pid]).expect(0);
            assert_eq!(run(&["exec", &pid, "-e", "6 * 7"]).expect(0).stdout, "42\n");
            run(&["record", &pid, "-d", "0.5", "-f", "table"]).expect(0);
            let shown = run(&["dump", &pid, "--locals"]).expect(0);
            assert!(shown.stdout.contains("wait"), "{shown:#?}");
            let named = format!("process {pid}: a part of its memory does not answer");
            assert!(shown.stderr.contains(&named), "{shown:#?}");
            assert!(
                shown.stderr.contains("libpython3.99.so.1.0 at 0x"),
                "{shown:#?}"
            );
            assert!(target.is_running());
        }
    }

    /// The kernel has not given those since 4.17 (CVE-2018-1120): this holds it to that.
    #[test]
    fn no_command_waits_for_arguments_that_are_never_given() {
        let launch = Launch::new(interpreter("3.14"), SILENT);
        let target = launch.arguments(["arguments"]).start();
        let pid = target.pid().to_string();
        assert!(run(&["ps"]).expect(0).stdout.contains(&pid));
        run(&["ps", "--json"]).expect(0);
        run(&["dump", &pid]).expect(0);
        run(&["tasks", &pid]).expect(0);
        for words in [&["doctor", &pid][..], &["exec", &pid, "-e", "1"]] {
            run(words);
        }
        assert!(target.is_running());
    }
}
