//! The small files of `/proc/PID`: bytes in, structs out.

/// What `/proc/PID/status` says of a process or thread.
///
/// Numbers of processes, users and groups are as our own namespaces show them. What an older
/// kernel does not show, or what could not be parsed, is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The thread's name, at most 15 bytes (of a process: its first thread's).
    pub name: Vec<u8>,
    /// The state's letter as `ps` shows it: `R`, `S`, `D`, `T` (stopped by a signal), `t` (by a
    /// tracer), `Z`, `X`, `I`, `P`.
    pub state: Option<char>,
    /// Its number: a process's, or a thread's.
    pub number: Option<u32>,
    /// The process a thread belongs to.
    pub process: Option<u32>,
    /// Its parent process.
    pub parent: Option<u32>,
    /// Who traces it; 0 for nobody, or for one whom our pid namespace does not hold.
    pub tracer: Option<u32>,
    /// User ids: real, effective, saved, file system.
    pub uid: Option<[u32; 4]>,
    /// Group ids: real, effective, saved, file system.
    pub gid: Option<[u32; 4]>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Its number in each pid namespace that holds it, ours first, its own last.
    pub namespace_pids: Vec<u32>,
    /// How many threads the process has.
    pub threads: Option<u32>,
    /// Capabilities it may use, as the kernel's bit mask.
    pub permitted_capabilities: Option<u64>,
    /// Capabilities it has in force, as the kernel's bit mask.
    pub effective_capabilities: Option<u64>,
    /// It (and what it runs) can't gain privileges.
    pub no_new_privileges: Option<bool>,
    /// Seccomp: 0 none, 1 strict, 2 a filter.
    pub seccomp: Option<u32>,
    /// How often the thread went to sleep by itself: in a system call, say.
    pub sleeps: Option<u64>,
}

impl Status {
    /// Its number in its own pid namespace: what it knows itself by.
    pub fn innermost_pid(&self) -> Option<u32> {
        self.namespace_pids.last().copied()
    }
}

/// The soft limit in a `limits` file's line that begins with `name`.
pub(super) fn parse_limit(text: &[u8], name: &str) -> Option<u64> {
    let text = str::from_utf8(text).ok()?;
    let mut lines = text.lines();
    let values = lines.find_map(|line| line.strip_prefix(name))?;
    match values.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

/// Parses a `status` file. Unknown lines are passed over.
pub(super) fn parse_status(text: &[u8]) -> Status {
    let mut status = Status::default();
    for line in text.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (key, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default();
        match key {
            // A name may hold blanks at its ends: only the tab behind the colon goes.
            b"Name" => status.name = unescape(value.strip_prefix(b"\t").unwrap_or(value)),
            b"State" => status.state = value.trim_ascii().first().map(|byte| char::from(*byte)),
            b"Tgid" => status.process = numbers(value).next(),
            b"Pid" => status.number = numbers(value).next(),
            b"PPid" => status.parent = numbers(value).next(),
            b"TracerPid" => status.tracer = numbers(value).next(),
            b"Uid" => status.uid = four(value),
            b"Gid" => status.gid = four(value),
            b"Groups" => status.groups = numbers(value).collect(),
            b"NSpid" => status.namespace_pids = numbers(value).collect(),
            b"Threads" => status.threads = numbers(value).next(),
            b"CapPrm" => status.permitted_capabilities = mask(value),
            b"CapEff" => status.effective_capabilities = mask(value),
            b"NoNewPrivs" => status.no_new_privileges = numbers(value).next().map(|n| n != 0),
            b"Seccomp" => status.seccomp = numbers(value).next(),
            b"voluntary_ctxt_switches" => {
                let count = str::from_utf8(value).ok();
                status.sleeps = count.and_then(|count| count.trim().parse().ok());
            }
            _ => {}
        }
    }
    status
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// The state's letter; see [`Status::state`].
    pub(super) state: char,
    /// How many threads the process has.
    pub(super) threads: u64,
    /// When it started, in clock ticks since boot.
    pub(super) start_time: u64,
}

/// The signal that a process was stopped by, by the `stat` file of all its threads together; `None`
/// where the kernel does not say (before Linux 5.17, or to whom it hides it).
pub(super) fn parse_stop_signal(text: &[u8]) -> Option<u8> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let behind = str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let mut fields = behind.split_ascii_whitespace();
    let code: u8 = fields.nth(52 - 3)?.parse().ok()?;
    (code != 0).then_some(code)
}

/// Parses a `stat` file. The name in it may hold blanks, newlines and `)`: it ends at the last
/// `)`, since numbers follow.
pub(super) fn parse_stat(text: &[u8]) -> Option<Stat> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let behind = str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let mut fields = behind.split_ascii_whitespace();
    // Field 3 is the first behind the name; see proc_pid_stat(5).
    let state = fields.next()?.chars().next()?;
    let threads = fields.nth(20 - 4)?.parse().ok()?;
    let start_time = fields.nth(22 - 21)?.parse().ok()?;
    Some(Stat {
        state,
        threads,
        start_time,
    })
}

/// The processor time that a `stat` file says, in ticks of the clock: what was spent in the program
/// and what in the kernel for it.
pub(super) fn parse_processor_ticks(text: &[u8]) -> Option<u64> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let behind = str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let mut fields = behind.split_ascii_whitespace();
    let user: u64 = fields.nth(14 - 3)?.parse().ok()?;
    let kernel: u64 = fields.next()?.parse().ok()?;
    user.checked_add(kernel)
}

/// What `waitpid` would tell of a process, as its `stat` file says it: of one that was stopped, the
/// signal that did it. 0 where we may not know, and on kernels that keep it to themselves.
pub(super) fn parse_exit_code(text: &[u8]) -> Option<i32> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let behind = str::from_utf8(text.get(name_end + 1..)?).ok()?;
    behind.split_ascii_whitespace().nth(52 - 3)?.parse().ok()
}

/// Whether a thread is on its way to its end (`PF_EXITING`), as its `stat` file says: it runs no
/// code of the program any more, and what `/proc` shows of it goes piece by piece.
pub(super) fn parse_is_exiting(text: &[u8]) -> Option<bool> {
    const PF_EXITING: u32 = 4;
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let behind = str::from_utf8(text.get(name_end + 1..)?).ok()?;
    let flags: u32 = behind.split_ascii_whitespace().nth(9 - 3)?.parse().ok()?;
    Some(flags & PF_EXITING != 0)
}

/// The parent's number that a `stat` file says.
pub(super) fn parse_parent(text: &[u8]) -> Option<u32> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let behind = str::from_utf8(text.get(name_end + 1..)?).ok()?;
    behind.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// What `/proc/PID/task/TID/syscall` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallState {
    /// It runs, or waits to be run.
    Running,
    /// It sleeps, but in no system call (in a page fault, say).
    Outside,
    /// It sleeps in this system call, which has this first argument.
    Inside(u32, u64),
}

/// Parses a `syscall` file.
pub(super) fn parse_syscall(text: &[u8]) -> Option<CallState> {
    let mut words = str::from_utf8(text).ok()?.split_ascii_whitespace();
    match words.next()? {
        "running" => Some(CallState::Running),
        "-1" => Some(CallState::Outside),
        number => {
            let argument = words.next()?.strip_prefix("0x")?;
            let argument = u64::from_str_radix(argument, 16).ok()?;
            Some(CallState::Inside(number.parse().ok()?, argument))
        }
    }
}

/// The stack pointer and the next instruction of the thread that a `syscall` file tells of; `None`
/// where it runs.
pub(super) fn parse_place(text: &[u8]) -> Option<[u64; 2]> {
    let mut words = str::from_utf8(text).ok()?.split_ascii_whitespace();
    let mut last = || {
        let word = words.next_back()?.strip_prefix("0x")?;
        u64::from_str_radix(word, 16).ok()
    };
    let instruction = last()?;
    Some([last()?, instruction])
}

/// Parses `cmdline` and `environ`: strings that each end with a NUL (the last may lack it where
/// the process has overwritten its arguments).
pub(super) fn strings(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let parts = (!text.is_empty()).then(|| {
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        text.split(|byte| *byte == 0)
    });
    parts.into_iter().flatten()
}

/// Undoes the escapes that the kernel makes in a name: `\n` and `\\`.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut bytes = name.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next() {
                Some(b'n') => b'\n',
                Some(other) => other,
                None => b'\\',
            },
            other => other,
        });
    }
    plain
}

/// The decimal numbers in `value`, up to the first thing that is none.
fn numbers(value: &[u8]) -> impl Iterator<Item = u32> {
    value
        .split(u8::is_ascii_whitespace)
        .filter(|field| !field.is_empty())
        .map_while(|field| str::from_utf8(field).ok()?.parse().ok())
}

fn four(value: &[u8]) -> Option<[u32; 4]> {
    let found: Vec<u32> = numbers(value).take(4).collect();
    found.try_into().ok()
}

fn mask(value: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(value.trim_ascii()).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As `/proc/PID/stat` of a process named `name`.
    fn stat_of(name: &[u8]) -> Vec<u8> {
        let numbers = b" S 1 77 77 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 7 0 123456 1000000 250 \
            18446744073709551615 1 2 3 0 0 0 0 0 0 1 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        [b"77 (", name, b")", &numbers[..]].concat()
    }

    #[test]
    fn a_thread_on_its_way_to_its_end_is_told_by_its_flags() {
        let text = stat_of(b"worker) 4");
        assert_eq!(parse_is_exiting(&text), Some(false));
        let exiting = String::from_utf8(text).expect("text");
        let exiting = exiting.replacen("4194560", "4194564", 1);
        assert_eq!(parse_is_exiting(exiting.as_bytes()), Some(true));
        assert_eq!(parse_is_exiting(b"77 (worker) S 1"), None);
    }

    #[test]
    fn the_limit_of_open_files_is_the_soft_one() {
        let limits = |soft: &str| {
            format!(
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             30000                30000                processes \n\
                 Max open files            {soft:<21}524288               files     \n"
            )
        };
        let limit = |soft: &str| parse_limit(limits(soft).as_bytes(), "Max open files");
        assert_eq!(limit("1024"), Some(1024));
        assert_eq!(limit("unlimited"), Some(u64::MAX));
        assert_eq!(limit("many"), None);
        assert_eq!(parse_limit(b"", "Max open files"), None);
    }

    #[test]
    fn a_status_is_read() {
        let text =
            b"Name:\t a\\nb\\\\ \nUmask:\t0022\nState:\tt (tracing stop)\nTgid:\t40\nPid:\t41\n\
            PPid:\t7\nTracerPid:\t9\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t20 30 \n\
            NSpid:\t41\t5\t2\nThreads:\t3\nCapPrm:\t000001ffffffffff\nCapEff:\t0000000000000400\n\
            NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n\
            voluntary_ctxt_switches:\t1099511627776\n";
        let status = parse_status(text);
        let expected = Status {
            name: b" a\nb\\ ".to_vec(),
            state: Some('t'),
            number: Some(41),
            process: Some(40),
            parent: Some(7),
            tracer: Some(9),
            uid: Some([1, 2, 3, 4]),
            gid: Some([5, 6, 7, 8]),
            groups: vec![20, 30],
            namespace_pids: vec![41, 5, 2],
            threads: Some(3),
            permitted_capabilities: Some(0x1ff_ffff_ffff),
            effective_capabilities: Some(0x400),
            no_new_privileges: Some(true),
            seccomp: Some(2),
            sleeps: Some(1 << 40),
        };
        assert_eq!(status, expected);
        assert_eq!(status.innermost_pid(), Some(2));
        assert_eq!(parse_status(b""), Status::default());
    }

    #[test]
    fn a_system_call_is_read() {
        let inside = parse_syscall(b"230 0x1f 0x0 0x7ffd 0x0 0x0 0x0 0x7ffe 0x7f00\n");
        assert_eq!(inside, Some(CallState::Inside(230, 0x1f)));
        let text = b"230 0x1f 0x0 0x7ffd 0x0 0x0 0x0 0x7ffe 0x7f00\n";
        assert_eq!(parse_place(text), Some([0x7ffe, 0x7f00]));
        assert_eq!(parse_place(b"running\n"), None);
        assert_eq!(parse_place(b"0x7f00\n"), None);
        assert_eq!(parse_syscall(b"running\n"), Some(CallState::Running));
        assert_eq!(
            parse_syscall(b"-1 0x7ffe 0x7f00\n"),
            Some(CallState::Outside)
        );
        assert_eq!(parse_syscall(b""), None);
    }

    #[test]
    fn strings_end_with_a_nul_each() {
        let strings = |text| strings(text).collect::<Vec<_>>();
        assert_eq!(strings(b"a\0\0b c\0"), [&b"a"[..], b"", b"b c"]);
        // As a process that has overwritten its arguments shows them.
        assert_eq!(strings(b"worker: idle"), [b"worker: idle"]);
        assert_eq!(strings(b""), [b""; 0]);
    }

    proptest! {
        #[test]
        fn no_name_confuses_a_stat(name in proptest::collection::vec(any::<u8>(), 0..16)) {
            let expected = Stat { state: 'S', threads: 7, start_time: 123_456 };
            prop_assert_eq!(parse_stat(&stat_of(&name)), Some(expected));
        }

        #[test]
        fn any_bytes_are_taken(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            let stat = parse_stat(&text);
            prop_assert!(stat.is_none() || text.contains(&b')'));
            parse_status(&text);
            parse_syscall(&text);
            parse_place(&text);
            let nuls = text.iter().filter(|byte| **byte == 0).count();
            prop_assert!(strings(&text).count() <= nuls + 1);
        }

        #[test]
        fn any_values_are_taken(
            key in "Name|State|Tgid|Pid|PPid|TracerPid|Uid|Gid|Groups|NSpid|Threads|CapPrm|CapEff|NoNewPrivs|Seccomp",
            value in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            let status = parse_status(&[key.as_bytes(), b":\t", &value].concat());
            prop_assert!(status.groups.len() <= value.len());
        }
    }
}
