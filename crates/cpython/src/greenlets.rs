//! Greenlets that are suspended, and the frames that they wait in.
//!
//! The package keeps what it knows of a greenlet in a structure that differs from release to
//! release. What all have in common is enough: somewhere in it, or in the object itself, is a
//! pointer to the frame object of the innermost frame while it is suspended. It is looked for, and
//! believed only where what it leads to says the same. Where C code called Python code (3.12 and
//! later) the links between frames lead through the C stack, of which the part that was in the way
//! of other greenlets is kept elsewhere: that is described right before the pointer.

use std::collections::{BTreeMap, HashMap};

use invivo_model::{Address, Defect, Greenlet, Greenlets, Result, Stack, Text};
use invivo_process::{Fault, Memory};

use crate::fields::{fault, read_fields};
use crate::frames::{RawFrame, StackOptions};
use crate::pieces::{Piece, length, read_pieces, within_page};
use crate::runtime::Runtime;
use crate::values::Classes;

const WHAT: &str = "cannot read the greenlets";
/// The class of all greenlets, as it is called in C.
const CLASS: &str = "greenlet.greenlet";
/// The class of frame objects.
const FRAME: &str = "frame";
/// The class of code objects.
const CODE: &str = "code";
/// The module of the package.
const MODULE: &str = "greenlet";
/// Bytes of a greenlet object at most, and of what it keeps apart, in which the pointer is looked
/// for.
const OBJECT: u64 = 512;
const APART: usize = 512;
/// As many of them are read wherever it lies in its page.
const LEAST: usize = 256;
/// Classes above a class.
const MAX_BASES: usize = 16;
/// Greenlets that are shown.
const MAX_GREENLETS: usize = 10_000;
/// Frames of them all.
const MAX_FRAMES: usize = 1 << 18;
/// Bytes of a frame's variables, and references to a frame object.
const MAX_VALUES: u64 = 1 << 16;
const MAX_REFERENCES: u64 = 1 << 16;
/// More bytes than are kept of any C stack.
const MAX_SAVED: u64 = 1 << 30;

/// What classes are called in C.
type Names = HashMap<Address, Text>;

/// A suspended greenlet as it was found.
#[derive(Debug)]
struct Suspended {
    greenlet: Address,
    /// How far behind the beginning of the object, or of what it keeps apart, the pointer lies.
    offset: u64,
    /// Where the pointer to its frame object lies, and what it is.
    place: Address,
    frame_object: Address,
    saved: Option<SavedStack>,
    next: Address,
    frames: Vec<RawFrame>,
    broken: Option<Defect>,
}

/// A part of a C stack that is kept elsewhere.
#[derive(Clone, Copy, Debug)]
struct SavedStack {
    start: Address,
    size: u64,
    copy: Address,
}

impl Suspended {
    /// Where what belongs at `address` is now.
    fn at(&self, address: Address) -> Address {
        let saved = self.saved.and_then(|saved| {
            let inside = address.since(saved.start)?;
            (inside < saved.size).then_some(saved.copy.offset(inside)?)
        });
        saved.unwrap_or(address)
    }
}

impl<M: Memory> Runtime<M> {
    /// The suspended greenlets of the interpreter at `interpreter`, the first 10,000 of them;
    /// `None` where the package has not been imported.
    ///
    /// # Errors
    ///
    /// `Gone` or `Refused` where memory can't be read at all.
    pub fn greenlets(
        &self,
        interpreter: Address,
        options: &StackOptions,
    ) -> Result<Option<Greenlets>> {
        let field = [(self.layout.interpreter.modules, 8)];
        let [modules] =
            read_fields(&self.memory, interpreter, field).map_err(|met| fault(WHAT, met))?;
        if modules == 0 || self.dict_value(Address(modules), MODULE)?.is_none() {
            return Ok(None);
        }
        let found = self.find_greenlets(interpreter, options);
        found.map(Some).map_err(|met| fault(WHAT, met))
    }

    fn find_greenlets(
        &self,
        interpreter: Address,
        options: &StackOptions,
    ) -> Result<Greenlets, Fault> {
        let mut greenlets = Greenlets::default();
        let Some(collected) = self.collected(interpreter)? else {
            greenlets.defects.push(Defect {
                address: interpreter,
                what: "such a build keeps no list of its objects to find greenlets in".to_owned(),
            });
            return Ok(greenlets);
        };
        greenlets.defects = collected.defects;
        let classes: Vec<_> = collected.by_class.keys().copied().collect();
        let bases = self.greenlet_bases(&classes)?;
        let mut objects: Vec<(Address, Address)> = Vec::new();
        let mut own_class = Address::NULL;
        for (class, base) in classes.iter().zip(bases) {
            if base.is_null() {
                continue;
            }
            own_class = base;
            let of_class = collected.by_class.get(class).into_iter().flatten();
            objects.extend(of_class.map(|object| (*object, *class)));
        }
        objects.sort_unstable();
        greenlets.left_out = objects.len().saturating_sub(MAX_GREENLETS);
        objects.truncate(MAX_GREENLETS);
        let mut names = Classes::default();
        let of_objects = objects.iter().map(|(_, class)| *class);
        names.load(self, of_objects.chain([own_class]))?;
        let size = names.get(own_class).map_or(0, |class| class.basicsize);
        let mut called = Names::new();
        let mut suspended = Vec::new();
        let mut classes = Vec::new();
        for (object, class) in &objects {
            let size = size.min(OBJECT);
            if let Some(found) = self.suspended(*object, size, &mut called)? {
                let name = names.get(*class).map(|class| class.name.clone());
                suspended.push(found);
                classes.push(name);
            }
        }
        // It lies at the same place in all of them. Where it is null the next that was found is
        // that of a neighbour.
        let mut offsets = BTreeMap::<u64, usize>::new();
        for found in &suspended {
            *offsets.entry(found.offset).or_default() += 1;
        }
        let most = offsets.iter().rev().max_by_key(|(_, count)| **count);
        let offset = most.map(|(offset, _)| *offset);
        let is_own = |found: &Suspended| Some(found.offset) == offset;
        let (mut suspended, classes): (Vec<_>, Vec<_>) = suspended
            .into_iter()
            .zip(classes)
            .filter(|(found, _)| is_own(found))
            .unzip();
        greenlets.not_suspended = objects.len() - suspended.len();
        self.follow_frames(&mut suspended)?;
        greenlets.list = self.understand_greenlets(suspended, classes, options)?;
        Ok(greenlets)
    }

    /// The class of all greenlets, for each of these classes that is derived from it or is it; null
    /// for the others.
    fn greenlet_bases(&self, classes: &[Address]) -> Result<Vec<Address>, Fault> {
        let layout = &self.layout.object;
        let mut current = classes.to_vec();
        let mut found = vec![Address::NULL; classes.len()];
        for _ in 0..MAX_BASES {
            let at = |class: &Address, offset| (class.offset(offset).unwrap_or_default(), 8);
            let places = current
                .iter()
                .flat_map(|class| [at(class, layout.type_name), at(class, layout.type_base)]);
            let pieces = read_pieces(&self.memory, places)?;
            let word = |piece: &Piece| Address(piece.word(piece.start, 0).unwrap_or(0));
            let (pairs, _) = pieces.as_chunks::<2>();
            let names: Vec<_> = pairs.iter().map(|[name, _]| word(name)).collect();
            let names = self.c_strings(&names)?;
            for ((found, name), class) in found.iter_mut().zip(names).zip(&current) {
                if name.text == CLASS {
                    *found = *class;
                }
            }
            for (current, [_, base]) in current.iter_mut().zip(pairs) {
                *current = word(base);
            }
            if current.iter().all(|class| class.is_null()) {
                break;
            }
        }
        Ok(found)
    }

    /// What is found of a greenlet where it is suspended.
    fn suspended(
        &self,
        greenlet: Address,
        size: u64,
        names: &mut Names,
    ) -> Result<Option<Suspended>, Fault> {
        let pieces = read_pieces(&self.memory, [(greenlet, length(size))])?;
        let object = pieces.into_iter().next().unwrap_or_default();
        let head = self.layout.object.size;
        if let Some(found) = self.frame_in(greenlet, &object, head, names)? {
            return Ok(Some(found));
        }
        // The last word leads to what it keeps apart, which leads back.
        let last = size.checked_sub(8).and_then(|at| object.word(greenlet, at));
        let apart = self.around(Address(last.unwrap_or(0)), APART)?;
        if !words_from(&apart, 0).any(|(_, word)| word == greenlet) {
            return Ok(None);
        }
        self.frame_in(greenlet, &apart, 0, names)
    }

    fn around(&self, address: Address, wanted: usize) -> Result<Piece, Fault> {
        let size = within_page(address, LEAST, wanted);
        let mut pieces = read_pieces(&self.memory, [(address, size), (address, LEAST)])?;
        let least = pieces.pop().unwrap_or_default();
        let piece = pieces.pop().unwrap_or_default();
        let is_longer = least.bytes.len() > piece.bytes.len();
        Ok(if is_longer { least } else { piece })
    }

    /// The frame object that a word of `piece` from `offset` on leads to.
    fn frame_in(
        &self,
        greenlet: Address,
        piece: &Piece,
        offset: u64,
        names: &mut Names,
    ) -> Result<Option<Suspended>, Fault> {
        let words: Vec<_> = words_from(piece, offset)
            .filter(|(_, word)| !word.is_null() && word.0 % 8 == 0)
            .collect();
        let type_of = self.layout.object.type_of;
        let places = words
            .iter()
            .map(|(_, word)| (word.offset(type_of).unwrap_or_default(), 8));
        let classes = read_pieces(&self.memory, places)?;
        for ((place, object), class) in words.into_iter().zip(classes) {
            let Some(class) = class.word(class.start, 0).map(Address) else {
                continue;
            };
            if !self.is_called(class, FRAME, names)? {
                continue;
            }
            let Some(frame) = self.frame_of(object, names)? else {
                continue;
            };
            return Ok(Some(Suspended {
                greenlet,
                offset: place.since(piece.start).unwrap_or(0),
                place,
                frame_object: object,
                saved: saved_before(piece, place),
                next: frame,
                frames: Vec::new(),
                broken: None,
            }));
        }
        Ok(None)
    }

    /// Whether a class is called so in C.
    fn is_called(&self, class: Address, name: &str, known: &mut Names) -> Result<bool, Fault> {
        if let Some(known) = known.get(&class) {
            return Ok(known.text == name);
        }
        let place = class.offset(self.layout.object.type_name);
        let pieces = read_pieces(&self.memory, [(place.unwrap_or_default(), 8)])?;
        let text = pieces.first().and_then(|piece| piece.word(piece.start, 0));
        let texts = self.c_strings(&[Address(text.unwrap_or(0))])?;
        let text = texts.into_iter().next().unwrap_or_default();
        let is_it = text.text == name;
        known.insert(class, text);
        Ok(is_it)
    }

    /// The frame that a frame object is of, where that says so too and runs code. Before frames
    /// were apart from these, it is the object itself.
    fn frame_of(&self, object: Address, names: &mut Names) -> Result<Option<Address>, Fault> {
        let mut frame = object;
        if self.layout.chunk.is_some() {
            // `f_back`, then `f_frame`.
            let at = object.offset(self.layout.object.size + 8);
            let pieces = read_pieces(&self.memory, [(at.unwrap_or_default(), 8)])?;
            let word = pieces.first().and_then(|piece| piece.word(piece.start, 0));
            frame = Address(word.unwrap_or(0));
        }
        let size = length(self.layout.frame.size);
        let pieces = read_pieces(&self.memory, [(frame, size)])?;
        let piece = pieces.into_iter().next().unwrap_or_default();
        let Some(raw) = RawFrame::parse(&self.layout, piece.view(), frame) else {
            return Ok(None);
        };
        // What lies on a C stack may look like one, but begins with no count of references, and
        // has no stack of values in itself.
        let says_so = if frame == object {
            let count = piece.word(object, 0).unwrap_or(0);
            let values = object
                .offset(self.layout.frame.localsplus)
                .unwrap_or_default();
            let is_inside = |word: Address| word.since(values).is_some_and(|at| at < MAX_VALUES);
            let mut words = words_from(&piece, 0);
            (1..=MAX_REFERENCES).contains(&count) && words.any(|(_, word)| is_inside(word))
        } else {
            words_from(&piece, 0).any(|(_, word)| word == object)
        };
        if !says_so {
            return Ok(None);
        }
        let class = raw.executable.offset(self.layout.object.type_of);
        let pieces = read_pieces(&self.memory, [(class.unwrap_or_default(), 8)])?;
        let class = pieces.first().and_then(|piece| piece.word(piece.start, 0));
        let is_code = self.is_called(Address(class.unwrap_or(0)), CODE, names)?;
        Ok(is_code.then_some(frame))
    }

    /// Follows the frames of all greenlets at once, each to its outermost.
    fn follow_frames(&self, all: &mut [Suspended]) -> Result<(), Fault> {
        let size = length(self.layout.frame.size);
        let mut left = MAX_FRAMES;
        loop {
            let open: Vec<_> = all
                .iter_mut()
                .filter(|one| !one.next.is_null() && one.broken.is_none())
                .collect();
            if open.is_empty() {
                return Ok(());
            }
            let places = open.iter().map(|one| (one.at(one.next), size));
            let pieces = read_pieces(&self.memory, places)?;
            for (one, piece) in open.into_iter().zip(pieces) {
                let address = one.next;
                let here = Piece {
                    start: address,
                    ..piece
                };
                let what = match RawFrame::parse(&self.layout, here.view(), address) {
                    Some(_) if left == 0 || one.frames.len() >= self.limits.frames => {
                        "more frames than are looked at"
                    }
                    Some(frame) => {
                        left -= 1;
                        one.next = frame.previous;
                        one.frames.push(frame);
                        continue;
                    }
                    None => "the frame can't be read",
                };
                one.broken = Some(Defect {
                    address,
                    what: what.to_owned(),
                });
            }
        }
    }

    fn understand_greenlets(
        &self,
        all: Vec<Suspended>,
        classes: Vec<Option<Text>>,
        options: &StackOptions,
    ) -> Result<Vec<Greenlet>, Fault> {
        let places: Vec<_> = all.iter().map(|one| (one.place, 8)).collect();
        let frames: Vec<_> = all.iter().map(|one| one.frames.as_slice()).collect();
        let stacks = self.stacks_of(&frames, options)?;
        // Who was switched to meanwhile has frames of another moment.
        let now = read_pieces(&self.memory, places)?;
        let parts = all
            .into_iter()
            .zip(classes)
            .zip(stacks.into_iter().zip(now));
        let greenlets = parts.map(|((one, class), (stack, now))| {
            let is_still = now.word(now.start, 0) == Some(one.frame_object.0);
            let switched = || Defect {
                address: one.greenlet,
                what: "it was switched to while it was read".to_owned(),
            };
            let cut = one.broken.clone().or(stack.cut);
            Greenlet {
                address: one.greenlet,
                class,
                stack: Stack {
                    cut: if is_still { cut } else { Some(switched()) },
                    ..stack
                },
            }
        });
        Ok(greenlets.collect())
    }
}

/// The whole words of a piece from `offset` on, and where they are.
fn words_from(piece: &Piece, offset: u64) -> impl Iterator<Item = (Address, Address)> {
    let start = piece.start.offset(offset).unwrap_or_default();
    let rest = piece.bytes.get(length(offset)..).unwrap_or_default();
    let (words, _) = rest.as_chunks::<8>();
    words.iter().enumerate().map(move |(index, word)| {
        let at = start.offset(index as u64 * 8).unwrap_or_default();
        (at, Address(u64::from_le_bytes(*word)))
    })
}

/// The part of the C stack that is kept elsewhere, as it is described before the pointer to the
/// frame object: where the stack begins and ends, the copy, its size, another greenlet's, and a
/// context.
fn saved_before(piece: &Piece, place: Address) -> Option<SavedStack> {
    let word = |before: u64| {
        let at = Address(place.0.checked_sub(before)?);
        piece.word(at, 0)
    };
    let [start, stop, copy, size] = [word(48)?, word(40)?, word(32)?, word(24)?];
    let fits = start < stop && size <= stop - start && size <= MAX_SAVED && copy != 0;
    (fits && size > 0).then_some(SavedStack {
        start: Address(start),
        size,
        copy: Address(copy),
    })
}
