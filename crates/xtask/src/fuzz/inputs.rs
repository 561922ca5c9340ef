//! Recordings and images as a sender makes them: of real ones, and of nothing.

use serde_json::{Value, json};
use synth::files::recordings::{RecordingFile, put, reworked};
use synth::files::{HostileFile, images, recordings};

use super::chance::Chance;

/// What files are made of.
pub(super) struct Inputs {
    /// A real recording and a real image.
    pub(super) recording: Vec<u8>,
    pub(super) image: Vec<u8>,
    recordings: Vec<HostileFile>,
    images: Vec<HostileFile>,
}

impl Inputs {
    pub(super) fn new(recording: Vec<u8>, image: Vec<u8>) -> Self {
        Self {
            recording,
            image,
            recordings: recordings::hostile(),
            images: images::hostile(),
        }
    }

    /// A file that is said to be a recording.
    pub(super) fn recording(&self, chance: &mut Chance) -> Vec<u8> {
        match chance.below(24) {
            0 => chance.pick(&self.recordings).bytes.clone(),
            1 => anything(chance),
            2 => {
                let mut bytes = self.recording.clone();
                chance.change(&mut bytes);
                bytes
            }
            3..12 => {
                let all = chance.one_in(2);
                reworked(&self.recording, |block| {
                    if all || chance.one_in(3) {
                        chance.change(block);
                    }
                })
            }
            _ => {
                let made = made_recording(chance);
                if chance.one_in(2) {
                    return made;
                }
                reworked(&made, |block| {
                    if chance.one_in(2) {
                        chance.change(block);
                    }
                })
            }
        }
    }

    /// A file that is said to be an image.
    pub(super) fn image(&self, chance: &mut Chance) -> Vec<u8> {
        match chance.below(24) {
            0 => chance.pick(&self.images).bytes.clone(),
            1 => anything(chance),
            _ => self.changed_image(chance),
        }
    }

    fn changed_image(&self, chance: &mut Chance) -> Vec<u8> {
        let mut parts = self.image.splitn(3, |byte| *byte == b'\n');
        let first = parts.next().unwrap_or_default();
        let description = parts.next().unwrap_or_default();
        let mut memory = parts.next().unwrap_or_default().to_vec();
        let mut description = description.to_vec();
        if chance.one_in(2)
            && let Ok(mut value) = serde_json::from_slice::<Value>(&description)
        {
            for _ in 0..=chance.below(3) {
                change_value(&mut value, chance);
            }
            description = value.to_string().into_bytes();
        } else if chance.one_in(8) {
            chance.change(&mut description);
        }
        match chance.below(3) {
            0 => {}
            1 => chance.change(&mut memory),
            // Words only, so that the ranges stay what they are.
            _ => change_words(&mut memory, chance),
        }
        [first, b"\n", &description, b"\n", &memory].concat()
    }
}

/// Bytes of no form.
fn anything(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = chance.text(20_000).into_bytes();
    chance.change(&mut bytes);
    bytes
}

/// Words become others that are there too, or numbers at edges.
fn change_words(memory: &mut [u8], chance: &mut Chance) {
    let words = memory.len() / 8;
    if words == 0 {
        return;
    }
    for _ in 0..=chance.below(200) {
        let to = chance.below(words) * 8;
        let from = chance.below(words) * 8;
        if chance.one_in(3) {
            memory[to..to + 8].copy_from_slice(&chance.edge().to_le_bytes());
        } else {
            memory.copy_within(from..from + 8, to);
        }
    }
}

/// Another value somewhere within this one.
fn change_value(value: &mut Value, chance: &mut Chance) {
    match value {
        Value::Array(items) if !items.is_empty() && !chance.one_in(4) => {
            let at = chance.below(items.len());
            match chance.below(4) {
                0 => {
                    let item = items[at].clone();
                    items.extend(std::iter::repeat_n(item, chance.below(3000)));
                }
                1 => drop(items.remove(at)),
                _ => change_value(&mut items[at], chance),
            }
        }
        Value::Object(fields) if !fields.is_empty() && !chance.one_in(8) => {
            let at = chance.below(fields.len());
            let key = fields.keys().nth(at).cloned().unwrap_or_default();
            match chance.below(8) {
                0 => drop(fields.remove(&key)),
                1 => {
                    for number in 0..chance.below(200) {
                        let text = chance.text(500);
                        fields.insert(format!("{number}{text}"), fields[&key].clone());
                    }
                }
                _ => change_value(&mut fields[&key], chance),
            }
        }
        _ => *value = some_value(chance),
    }
}

fn some_value(chance: &mut Chance) -> Value {
    match chance.below(8) {
        0 => Value::Null,
        1 => json!(chance.one_in(2)),
        2..5 => json!(chance.edge()),
        5 => json!(-(chance.edge() as f64)),
        6 => json!([chance.text(20_000)]),
        _ => json!(chance.text(20_000)),
    }
}

/// A recording of processes, threads, functions, frames and stacks that nearly fit each other.
fn made_recording(chance: &mut Chance) -> Vec<u8> {
    let mut file = RecordingFile::new();
    let mut counts = [0_u64; 4];
    for _ in 0..1 + chance.below(6) {
        for _ in 0..chance.seldom(4, 2000, 40) {
            add(&mut file, &mut counts, chance);
        }
        let changes = changes(counts, chance);
        if chance.one_in(8) {
            file.block(&[]);
            file.blocks(&changes, chance.below(300));
        } else {
            file.block(&changes);
        }
    }
    file.into_bytes()
}

/// One more of something; `counts` are those of threads, functions, frames and stacks.
fn add(file: &mut RecordingFile, counts: &mut [u64; 4], chance: &mut Chance) {
    let [threads, functions, frames, stacks] = counts;
    let longest = if chance.one_in(20) { 17 << 10 } else { 60 };
    match chance.below(12) {
        0 => {
            let many = chance.seldom(20, 3000, 4);
            file.threads(many);
            *threads += many as u64;
        }
        1..4 => {
            file.function(&chance.text(longest), &chance.text(longest));
            *functions += 1;
        }
        4..7 => {
            file.frame(near(*functions, chance), chance.edge());
            *frames += 1;
        }
        7..11 => {
            let caller = (!chance.one_in(4)).then(|| near(*stacks, chance));
            file.stack(caller, near(*frames, chance));
            *stacks += 1;
        }
        _ => {
            let kind = chance.below(10) as u8;
            let rest: Vec<u8> = (0..chance.below(12)).map(|_| chance.edge() as u8).collect();
            file.entry(kind, |out| out.extend(rest));
        }
    }
}

/// Mostly one of so many.
fn near(count: u64, chance: &mut Chance) -> u64 {
    if chance.one_in(300) {
        return chance.edge();
    }
    chance.below(count.max(1) as usize) as u64
}

/// Ticks in which threads are seen in stacks.
fn changes([threads, _, _, stacks]: [u64; 4], chance: &mut Chance) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..chance.seldom(4, 5000, 50) {
        if chance.one_in(200) {
            put(&mut out, chance.edge());
        }
        if chance.one_in(3) {
            out.extend([2, 0]);
            put(&mut out, near(stacks, chance).wrapping_add(1));
            continue;
        }
        let seen = chance.below(threads.clamp(1, 50) as usize);
        out.extend([1, 0]);
        put(&mut out, seen as u64);
        for number in 0..seen {
            put(&mut out, if number == 0 { 2 } else { 10 });
            put(&mut out, chance.below(8) as u64);
            put(&mut out, near(stacks, chance).wrapping_add(1));
        }
    }
    out
}
