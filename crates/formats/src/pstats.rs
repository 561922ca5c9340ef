//! A file that Python's `pstats.Stats` loads: its dictionary of functions, in the format of
//! `marshal`.
//!
//! Of a function, *calls* are the ticks it was seen in, `tottime` is the time it was innermost, and
//! `cumtime` the time it was on the stack; its callers have the parts of these that came through
//! them. A tick counts once however often a function stood on the stack. Functions that are none
//! of Python have the file `~`, as built-in ones do in other profiles. The format has no place for
//! threads, and none for how a profile was made and what is missing from it: that is the name of a
//! function that was never called.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use invivo_model::{FunctionKind, ProfileFunction, Result};

use crate::counts::{Counts, Share, shares};
use crate::places::Tree;
use crate::source::Checked;
use crate::{By, Options, Writer, names, summary, unwritten};

pub(crate) struct Pstats;

/// What functions are told apart by: file, line and name.
type Label = (String, u32, String);

impl Writer for Pstats {
    fn write(&self, profile: &Checked<'_>, _: &Options<'_>, out: &mut dyn Write) -> Result<()> {
        let tree = Tree::new(profile, By::Function)?;
        let counts = Counts::new(profile)?;
        let own = counts.own(&tree);
        let (labels, of_place) = labels(profile, &tree)?;
        let label = |node: u32| of_place[tree.nodes[node as usize].place as usize];
        let budget = &profile.budget;
        let functions = shares(&tree, &own, |node| Some(label(node)), budget)?;
        let call = |node: u32| {
            let caller = tree.nodes[node as usize].caller?;
            Some((label(node), label(caller)))
        };
        let calls = shares(&tree, &own, call, budget)?;
        budget.take_list::<[usize; 6]>(2 * calls.len())?;
        budget.take_map::<(usize, BTreeMap<usize, Share>)>(labels.len())?;
        let mut callers: HashMap<usize, BTreeMap<usize, Share>> = HashMap::new();
        for ((called, caller), share) in calls {
            callers.entry(called).or_default().insert(caller, share);
        }

        let mut marshal = Marshal(out);
        marshal.begin_dict()?;
        for (number, label) in labels.iter().enumerate() {
            let Some(share) = functions.get(&number) else {
                continue;
            };
            marshal.label(label)?;
            marshal.tuple(5)?;
            marshal.share(profile, *share)?;
            marshal.begin_dict()?;
            for (caller, share) in callers.get(&number).into_iter().flatten() {
                marshal.label(&labels[*caller])?;
                marshal.tuple(4)?;
                marshal.share(profile, *share)?;
            }
            marshal.end_dict()?;
        }
        marshal.label(&("~".to_owned(), 0, said(profile, counts.total)))?;
        marshal.tuple(5)?;
        marshal.share(profile, Share::default())?;
        marshal.begin_dict()?;
        marshal.end_dict()?;
        marshal.end_dict()
    }
}

fn said(profile: &Checked<'_>, ticks: u64) -> String {
    format!("<{}>", summary::facts(profile, ticks).join("; "))
}

/// The labels, each once, and that of each place.
fn labels(profile: &Checked<'_>, tree: &Tree) -> Result<(Vec<Label>, Vec<usize>)> {
    let budget = &profile.budget;
    budget.take_list::<(usize, Label)>(tree.places.len())?;
    budget.take_map::<(Label, usize)>(tree.places.len())?;
    let (mut labels, mut known) = (Vec::new(), HashMap::new());
    let of_place = tree.places.iter().map(|place| {
        let label = label(profile.function(place.function));
        if !known.contains_key(&label) {
            // Once in the list, and once in the table.
            [&label.0, &label.2, &label.0, &label.2]
                .iter()
                .try_for_each(|text| budget.take_text(text))?;
        }
        Ok(*known.entry(label).or_insert_with_key(|label| {
            labels.push(label.clone());
            labels.len() - 1
        }))
    });
    let of_place = of_place.collect::<Result<_>>()?;
    Ok((labels, of_place))
}

fn label(function: &ProfileFunction) -> Label {
    let (name, file) = (names::function(function), names::file(function));
    if function.kind == FunctionKind::Python && !file.is_empty() {
        (file, function.first_line, name)
    } else {
        ("~".to_owned(), 0, name)
    }
}

/// Python's `marshal` format: `Python/marshal.c`, the codes of version 0, which every version reads.
struct Marshal<'a>(&'a mut dyn Write);

impl Marshal<'_> {
    fn put(&mut self, code: u8, bytes: &[u8]) -> Result<()> {
        self.0.write_all(&[code]).map_err(unwritten)?;
        self.0.write_all(bytes).map_err(unwritten)
    }

    fn begin_dict(&mut self) -> Result<()> {
        self.put(b'{', &[])
    }

    fn end_dict(&mut self) -> Result<()> {
        self.put(b'0', &[])
    }

    fn tuple(&mut self, length: u8) -> Result<()> {
        self.put(b'(', &u32::from(length).to_le_bytes())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        // A name is bounded by what was read of a target.
        self.put(b'u', &(text.len() as u32).to_le_bytes())?;
        self.0.write_all(text.as_bytes()).map_err(unwritten)
    }

    fn number(&mut self, number: u64) -> Result<()> {
        if let Ok(small) = i32::try_from(number) {
            return self.put(b'i', &small.to_le_bytes());
        }
        // Digits of 15 bits, the lowest first.
        let digits = (64 - number.leading_zeros()).div_ceil(15);
        self.put(b'l', &digits.to_le_bytes())?;
        for digit in 0..digits {
            let digit = (number >> (15 * digit)) as u16 & 0x7FFF;
            self.0.write_all(&digit.to_le_bytes()).map_err(unwritten)?;
        }
        Ok(())
    }

    fn label(&mut self, (file, line, name): &Label) -> Result<()> {
        self.tuple(3)?;
        self.text(file)?;
        self.number((*line).into())?;
        self.text(name)
    }

    /// Calls (those that are no recursion, and all), time inside, time with what was called.
    fn share(&mut self, profile: &Checked<'_>, share: Share) -> Result<()> {
        self.number(share.total)?;
        self.number(share.total)?;
        for ticks in [share.own, share.total] {
            let seconds = profile.time(ticks) as f64 / 1e9;
            self.put(b'g', &seconds.to_le_bytes())?;
        }
        Ok(())
    }
}
