//! A made-up process, read as a real one is.

#![allow(dead_code, reason = "each test uses its part")]

use std::cell::Cell;

use invivo_cpython::{FileFacts, Limits, Location, Runtime, locate_with};
use invivo_model::{Address, Error, ErrorKind, Result};
use invivo_process::{Fault, Mapping, Memory, Module, ReadRequest};
use synth::image::{Image, RUNTIME};

/// Memory of a made-up image that counts how often it is asked, and for how much.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) image: Image,
    pub(crate) pieces: Cell<usize>,
    pub(crate) bytes: Cell<usize>,
}

impl Made {
    pub(crate) fn new(image: Image) -> Self {
        Self {
            image,
            pieces: Cell::new(0),
            bytes: Cell::new(0),
        }
    }
}

impl Memory for Made {
    fn read_many(&self, requests: &mut [ReadRequest<'_>]) -> std::result::Result<(), Fault> {
        for request in requests {
            request.filled = self.image.read(request.address.0, request.buffer);
            self.pieces.set(self.pieces.get() + 1);
            self.bytes.set(self.bytes.get() + request.buffer.len());
        }
        Ok(())
    }
}

/// A program called `name` whose writable memory holds the image's runtime state, and whose file
/// is gone.
pub(crate) fn program(name: &str) -> Module {
    let mapping = |start: u64, size: u64, writable: bool| Mapping {
        range: Address(start)..Address(start + size),
        readable: true,
        writable,
        executable: !writable,
        offset: if writable { 0x1000 } else { 0 },
        device: (8, 1),
        inode: 7,
        name: name.as_bytes().to_vec(),
        deleted: true,
    };
    Module {
        name: name.as_bytes().to_vec(),
        device: (8, 1),
        inode: 7,
        deleted: true,
        mappings: vec![
            mapping(RUNTIME - 0x1000, 0x1000, false),
            mapping(RUNTIME, 0x10000, true),
        ],
    }
}

/// That a file can't be had, so that memory alone has to tell.
pub(crate) fn no_file(_: &Module) -> Result<FileFacts> {
    Err(Error::new(
        ErrorKind::Refused,
        "cannot open the file",
        "it is gone",
        "look at memory",
    ))
}

/// Finds the interpreter of an image by its memory alone.
pub(crate) fn find(memory: &Made) -> Result<Location> {
    locate_with(memory, &[program("/opt/app")], &Limits::default(), no_file)
}

/// Opens the interpreter of an image.
pub(crate) fn open(memory: &Made) -> Runtime<&Made> {
    let location = find(memory).expect("there is an interpreter");
    Runtime::open(memory, &location, Limits::default()).expect("it can be looked into")
}
