//! `/proc/PID/maps`: bytes in, mappings out.

use std::collections::HashMap;
use std::ops::Range;

use crate::{Address, Mapping, Module};

/// What the kernel puts behind the name of a file that has no name any more.
pub(super) const DELETED: &[u8] = b" (deleted)";

/// Parses the whole file; `None` where a line is not of the kernel's form.
pub(super) fn parse(text: &[u8]) -> Option<Vec<Mapping>> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(parse_line)
        .collect()
}

/// One line: `start-end perms offset major:minor inode`, blanks, and perhaps a name.
fn parse_line(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let range = parse_range(fields.next()?)?;
    let [read, write, execute, _sharing] = *fields.next()?.first_chunk()?;
    let offset = hex(fields.next()?)?;
    let (major, minor) = split_once(fields.next()?, b':')?;
    let inode = decimal(fields.next()?)?;
    let shown = fields.next().unwrap_or_default().trim_ascii_start();
    let (name, deleted) = match shown.strip_suffix(DELETED) {
        Some(name) => (name, true),
        None => (shown, false),
    };
    Some(Mapping {
        range,
        readable: read == b'r',
        writable: write == b'w',
        executable: execute == b'x',
        offset,
        device: (hex(major)?.try_into().ok()?, hex(minor)?.try_into().ok()?),
        inode,
        name: unescape(name),
        deleted,
    })
}

fn parse_range(field: &[u8]) -> Option<Range<Address>> {
    let (start, end) = split_once(field, b'-')?;
    let range = Address(hex(start)?)..Address(hex(end)?);
    (range.start <= range.end).then_some(range)
}

/// Undoes the one escape that the kernel makes: `\012` for a newline. (It leaves a backslash as
/// it is, so that a name that really holds `\012` comes out wrong: whoever opens the file
/// compares inodes.)
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, behind)) = rest.split_first() {
        if let Some(behind) = rest.strip_prefix(br"\012") {
            plain.push(b'\n');
            rest = behind;
        } else {
            plain.push(first);
            rest = behind;
        }
    }
    plain
}

/// Groups mappings by file, in the order in which the files first appear.
///
/// Anonymous mappings that directly follow one of a file's belong to it: a library's `.bss`.
pub(super) fn modules(mappings: Vec<Mapping>) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    let mut known = HashMap::new();
    // The module that the mapping before belongs to, and where that mapping ends.
    let mut before: Option<(usize, Address)> = None;
    for mapping in mappings {
        let end = mapping.range.end;
        let index = if mapping.inode != 0 {
            let key = (mapping.device, mapping.inode, mapping.name.clone());
            *known.entry(key).or_insert_with(|| {
                modules.push(Module {
                    name: mapping.name.clone(),
                    device: mapping.device,
                    inode: mapping.inode,
                    deleted: mapping.deleted,
                    mappings: Vec::new(),
                });
                modules.len() - 1
            })
        } else {
            match before {
                Some((index, reached))
                    if reached == mapping.range.start && is_unnamed(&mapping) =>
                {
                    index
                }
                _ => {
                    before = None;
                    continue;
                }
            }
        };
        if let Some(module) = modules.get_mut(index) {
            module.mappings.push(mapping);
        }
        before = Some((index, end));
    }
    modules
}

/// Whether this is anonymous memory without a role, named (`PR_SET_VMA_ANON_NAME`) or not; the
/// heap and stacks have one.
fn is_unnamed(mapping: &Mapping) -> bool {
    mapping.name.is_empty() || mapping.name.starts_with(b"[anon:")
}

fn split_once(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let position = text.iter().position(|byte| *byte == at)?;
    Some((text.get(..position)?, text.get(position + 1..)?))
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(text).ok()?, 16).ok()
}

fn decimal(text: &[u8]) -> Option<u64> {
    str::from_utf8(text).ok()?.parse().ok()
}
