//! Which processes a process has started.

use std::collections::{HashMap, HashSet, VecDeque};

use invivo_model::Result;
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::target::{read_at, thread_ids};
use super::{list, proc};

/// How much of a list of children is read: some 50,000.
const MAX_CHILDREN: u64 = 512 << 10;

/// The numbers of all processes that descend from these, nearest first, each with its parent's
/// number. One whose parent has ended meanwhile descends from nobody any more.
///
/// # Errors
/// `Refused` where `/proc` can't be read.
pub fn descendants(ancestors: &[u32]) -> Result<Vec<(u32, u32)>> {
    // Made only where the kernel does not list a process's children.
    let mut by_parent: Option<HashMap<u32, Vec<u32>>> = None;
    let mut found: Vec<(u32, u32)> = Vec::new();
    let mut open: VecDeque<u32> = ancestors.iter().copied().collect();
    // A number may be given anew while we look: each is gone through once.
    let mut seen: HashSet<u32> = ancestors.iter().copied().collect();
    while let Some(parent) = open.pop_front() {
        let listed = if by_parent.is_none() {
            listed(parent)
        } else {
            None
        };
        let children = match (listed, &by_parent) {
            (Some(children), _) => children,
            (None, Some(table)) => table.get(&parent).cloned().unwrap_or_default(),
            (None, None) => {
                let table = by_parent.insert(parents()?);
                table.get(&parent).cloned().unwrap_or_default()
            }
        };
        for child in children.into_iter().filter(|child| seen.insert(*child)) {
            found.push((child, parent));
            open.push_back(child);
        }
    }
    Ok(found)
}

/// The children of each of its threads as the kernel lists them; `None` where it does not
/// (`CONFIG_PROC_CHILDREN`). Empty where the process has ended.
fn listed(parent: u32) -> Option<Vec<u32>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(process) = openat(CWD, format!("/proc/{parent}"), flags, Mode::empty()) else {
        return Some(Vec::new());
    };
    let Ok(threads) = thread_ids(&process) else {
        return Some(Vec::new());
    };
    let mut children = Vec::new();
    let mut read = threads.is_empty();
    for thread in threads {
        let text = read_at(&process, &format!("task/{thread}/children"), MAX_CHILDREN);
        if let Ok(text) = text {
            read = true;
            children.extend(numbers(&text));
        }
    }
    read.then_some(children)
}

fn numbers(text: &[u8]) -> impl Iterator<Item = u32> {
    let words = text.split(u8::is_ascii_whitespace);
    words.filter_map(|word| str::from_utf8(word).ok()?.parse().ok())
}

/// All children of each process, by what each process says of its parent.
fn parents() -> Result<HashMap<u32, Vec<u32>>> {
    let mut table: HashMap<u32, Vec<u32>> = HashMap::new();
    for pid in list::pids()? {
        let stat = read_at(CWD, &format!("/proc/{pid}/stat"), 4096);
        if let Some(parent) = stat.ok().and_then(|text| proc::parse_parent(&text)) {
            table.entry(parent).or_default().push(pid);
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Command, Stdio};

    use super::*;

    /// A shell that starts another, which says its number and waits for its input to end.
    #[test]
    fn children_and_theirs_are_found_by_either_way() {
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'echo $$; read end; :'; :"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut said = BufReader::new(shell.stdout.take().expect("its output"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        let inner: u32 = line.trim().parse().expect("a number");

        let ours = std::process::id();
        let found = descendants(&[ours]).expect("/proc is there");
        assert!(found.contains(&(shell.id(), ours)), "{found:?}");
        assert!(found.contains(&(inner, shell.id())), "{found:?}");
        assert_eq!(descendants(&[shell.id()]), Ok(vec![(inner, shell.id())]));
        assert_eq!(descendants(&[inner]), Ok(Vec::new()));

        let table = parents().expect("/proc is there");
        assert!(table[&ours].contains(&shell.id()));
        assert_eq!(table[&shell.id()], [inner]);

        drop(shell.stdin.take());
        shell.wait().expect("its end");
        said.read_to_end(&mut Vec::new()).expect("the end");
        assert_eq!(descendants(&[shell.id()]), Ok(Vec::new()));
    }

    #[test]
    fn numbers_of_children() {
        let found: Vec<u32> = numbers(b"12 345 6 ").collect();
        assert_eq!(found, [12, 345, 6]);
        assert_eq!(numbers(b"").count(), 0);
        assert_eq!(numbers(b"x -1 99999999999").count(), 0);
    }
}
