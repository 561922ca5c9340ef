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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &[u8] = b"\
55d1c8a00000-55d1c8a01000 r--p 00000000 fd:01 1234                       /usr/bin/app\n\
55d1c8a01000-55d1c8a02000 r-xp 00001000 fd:01 1234                       /usr/bin/app\n\
55d1c8a03000-55d1c8a04000 rw-p 00002000 fd:01 1234                       /usr/bin/app\n\
55d1c8a04000-55d1c8a06000 rw-p 00000000 00:00 0 \n\
55d1c8a06000-55d1c8a07000 rw-p 00000000 00:00 0                          [anon:more bss]\n\
55d1c9000000-55d1c9021000 rw-p 00000000 00:00 0                          [heap]\n\
7f0000000000-7f0000001000 rw-p 00000000 00:00 0 \n\
7f0000001000-7f0000002000 r-xs 00000000 00:1f 99                         /a b/new\\012line.so (deleted)\n\
7f0000002000-7f0000003000 rw-p 00000000 00:00 0                          [stack]\n\
7f0000003000-7f0000004000 rw-p 00000000 00:00 0 \n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

    fn sample() -> Vec<Mapping> {
        parse(SAMPLE).expect("it is of the kernel's form")
    }

    #[test]
    fn every_field_is_read() {
        let mappings = sample();
        assert_eq!(mappings.len(), 11);
        let expected = Mapping {
            range: Address(0x7f00_0000_1000)..Address(0x7f00_0000_2000),
            readable: true,
            writable: false,
            executable: true,
            offset: 0,
            device: (0, 0x1f),
            inode: 99,
            name: b"/a b/new\nline.so".to_vec(),
            deleted: true,
        };
        assert_eq!(mappings[7], expected);
        assert_eq!(mappings[1].offset, 0x1000);
        assert_eq!(mappings[1].device, (0xfd, 1));
        assert_eq!(mappings[3].name, b"");
        assert!(!mappings[10].readable);
        assert_eq!(mappings[10].range.start, Address(0xffff_ffff_ff60_0000));
    }

    #[test]
    fn anonymous_memory_right_behind_a_file_belongs_to_it() {
        let modules = modules(sample());
        let lengths: Vec<_> = modules
            .iter()
            .map(|module| (module.file_name(), module.mappings.len()))
            .collect();
        assert_eq!(lengths, [(&b"app"[..], 5), (b"new\nline.so", 1)]);
        assert_eq!(modules[0].base(), Address(0x55d1_c8a0_0000));
        assert!(modules[0].is_code() && !modules[0].deleted);
        assert!(modules[1].deleted);
    }

    #[test]
    fn a_replaced_file_of_the_same_name_is_another_module() {
        let text = b"1000-2000 r--p 0 8:1 5 /x\n2000-3000 r--p 0 8:1 6 /x\n3000-4000 r--p 0 8:2 5 /x\n4000-5000 r--p 0 8:1 5 /x\n";
        let modules = modules(parse(text).expect("four lines"));
        let found: Vec<_> = modules
            .iter()
            .map(|m| (m.device, m.inode, m.mappings.len()))
            .collect();
        assert_eq!(found, [((8, 1), 5, 2), ((8, 1), 6, 1), ((8, 2), 5, 1)]);
    }

    #[test]
    fn our_own_mappings_are_understood() {
        let text = std::fs::read("/proc/self/maps").expect("we may look at ourselves");
        let mappings = parse(&text).expect("the kernel's form");
        let here = Address(SAMPLE.as_ptr() as u64);
        assert!(
            mappings
                .iter()
                .any(|mapping| mapping.range.contains(&here) && mapping.inode != 0)
        );
    }

    prop_compose! {
        fn mapping()(
            start in any::<u64>(),
            length in any::<u32>(),
            rights in any::<(bool, bool, bool)>(),
            offset in any::<u64>(),
            device in any::<(u32, u32)>(),
            inode in any::<u64>(),
            name in proptest::collection::vec(any::<u8>(), 0..40),
            deleted in any::<bool>(),
        ) -> Mapping {
            let name = [b"/", &*name].concat();
            Mapping {
                range: Address(start)..Address(start.saturating_add(length.into())),
                readable: rights.0,
                writable: rights.1,
                executable: rights.2,
                offset,
                device,
                inode,
                name,
                deleted,
            }
        }
    }

    /// As `show_map_vma` of the kernel prints it (`fs/proc/task_mmu.c`).
    fn print(mapping: &Mapping) -> Vec<u8> {
        let right = |granted, letter| if granted { letter } else { '-' };
        let mut line = format!(
            "{:08x}-{:08x} {}{}{}p {:08x} {:02x}:{:02x} {} ",
            mapping.range.start.0,
            mapping.range.end.0,
            right(mapping.readable, 'r'),
            right(mapping.writable, 'w'),
            right(mapping.executable, 'x'),
            mapping.offset,
            mapping.device.0,
            mapping.device.1,
            mapping.inode,
        )
        .into_bytes();
        line.resize(line.len().max(73), b' ');
        for byte in &mapping.name {
            match byte {
                b'\n' => line.extend_from_slice(br"\012"),
                byte => line.push(*byte),
            }
        }
        if mapping.deleted {
            line.extend_from_slice(DELETED);
        }
        line.push(b'\n');
        line
    }

    proptest! {
        #[test]
        fn what_the_kernel_prints_is_read_back(mappings in proptest::collection::vec(mapping(), 0..8)) {
            let text: Vec<u8> = mappings.iter().flat_map(print).collect();
            prop_assert_eq!(parse(&text), Some(mappings));
        }

        #[test]
        fn any_bytes_are_taken(text in proptest::collection::vec(any::<u8>(), 0..400)) {
            if let Some(mappings) = parse(&text) {
                modules(mappings);
            }
        }

        #[test]
        fn any_change_to_a_line_is_taken(at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
            let mut text = SAMPLE.to_vec();
            *at.get_mut(&mut text) = byte;
            if let Some(mappings) = parse(&text) {
                let count = mappings.len();
                let grouped: usize = modules(mappings).iter().map(|m| m.mappings.len()).sum();
                prop_assert!(grouped <= count);
            }
        }
    }
}
