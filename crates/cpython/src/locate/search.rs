//! One search for interpreters: what was looked at, those that live, and the best of what does not.

use invivo_image::MappedElf;
use invivo_model::{Address, Build, Error, ErrorKind, Result, Version};
use invivo_process::{Fault, Mapping, Memory, Module, ReadRequest};

use super::{Location, Method, names};
use crate::facts::{FileFacts, is_debug};
use crate::fields::{corrupt, fault};
use crate::interpreters;
use crate::layout::common::{DEBUG_SYMBOL, RUNTIME_SYMBOL, VERSION_SYMBOL};
use crate::layout::{self, Layout, Preamble};
use crate::limits::Limits;
use crate::runtime::Runtime;

const WHAT: &str = "cannot find a Python interpreter in the process";
/// How often one file may be mapped as a whole, as `dlmopen` does it.
const MAX_COPIES: usize = 16;
/// How many places are looked at closely: more than any honest process offers.
const MAX_CANDIDATES: usize = 64;
/// How many images in memory are searched for symbols, where their files can't be had.
const MAX_IMAGES: usize = 256;
/// How much is scanned at a time.
const SCAN_PIECE: usize = 256 << 10;
/// The runtime state is aligned at least so.
const ALIGNMENT: usize = 8;

/// How good a find is: the live copy of an interpreter beats one that has never run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// There is a runtime state, but its table can't be right.
    Damaged,
    /// There is one that can't be looked into: old, unknown, or not ours to read.
    Closed,
    /// It can be looked into, but no interpreter runs in it.
    Idle,
    /// It can be looked into and has a main interpreter.
    Live,
}

/// A place where a runtime state may be.
struct Candidate<'a> {
    address: Address,
    module: &'a Module,
    method: Method,
    /// Where `Py_Version` would be.
    version_address: Option<Address>,
    /// What the file said, if it could be read.
    version: Option<Version>,
    build: Build,
}

pub(super) struct Search<'a, M> {
    memory: &'a M,
    modules: &'a [Module],
    limits: &'a Limits,
    live: Vec<Location>,
    /// The best of those that do not live.
    best: Option<(Rank, Location)>,
    /// Files of which neither the file nor its image in memory said whether they hold one.
    undecided: Vec<&'a Module>,
    looked_at: usize,
    candidates: usize,
    images: usize,
    /// The first file that could not be read, and why.
    unreadable: Option<Error>,
    refused: bool,
}

impl<'a, M: Memory> Search<'a, M> {
    pub(super) fn new(memory: &'a M, modules: &'a [Module], limits: &'a Limits) -> Self {
        Self {
            memory,
            modules,
            limits,
            live: Vec::new(),
            best: None,
            undecided: Vec::new(),
            looked_at: 0,
            candidates: 0,
            images: 0,
            unreadable: None,
            refused: false,
        }
    }

    /// Whether a live one has been found.
    pub(super) fn has_live(&self) -> bool {
        !self.live.is_empty()
    }

    /// Looks at one mapped file, of which `facts` are known.
    pub(super) fn examine(&mut self, module: &'a Module, facts: Result<FileFacts>) -> Result<()> {
        self.looked_at += 1;
        match facts {
            Ok(facts) => self.by_file(module, &facts),
            Err(error) => {
                self.unreadable.get_or_insert(error);
                self.by_image(module)
            }
        }
    }

    /// Section and symbol, as the file has them.
    fn by_file(&mut self, module: &'a Module, facts: &FileFacts) -> Result<()> {
        let (Some((runtime, method)), Some(load)) = (facts.runtime, facts.load) else {
            if !facts.conclusive {
                self.undecided.push(module);
            }
            return Ok(());
        };
        let of_file = module.mappings.iter().filter(|mapping| mapping.inode != 0);
        let biases = of_file.filter_map(|m| load.bias(m.range.start.0, m.offset));
        for bias in biases.take(MAX_COPIES) {
            let address = Address(bias.wrapping_add(runtime));
            if !is_writable(module, address) {
                continue;
            }
            self.consider(&Candidate {
                address,
                module,
                method,
                version_address: facts
                    .version_address
                    .map(|at| Address(bias.wrapping_add(at))),
                version: facts.version,
                build: facts.build,
            })?;
        }
        Ok(())
    }

    /// The symbol, as the image in memory has it.
    fn by_image(&mut self, module: &'a Module) -> Result<()> {
        let memory = self.memory;
        let starts = module
            .mappings
            .iter()
            .filter(|mapping| mapping.inode != 0 && mapping.offset == 0 && mapping.readable);
        let mut decided = false;
        for start in starts.take(MAX_COPIES) {
            self.images += 1;
            if self.images > MAX_IMAGES {
                break;
            }
            let mut met = None;
            let read = |at, buffer: &mut [u8]| {
                met = memory.read(Address(at), buffer).err().or(met);
                met.is_none()
            };
            let symbols = MappedElf::parse(start.range.start.0, read)
                .ok()
                .and_then(|mut elf| {
                    elf.dynamic_symbols([RUNTIME_SYMBOL, VERSION_SYMBOL, DEBUG_SYMBOL])
                });
            if let Some(met) = met {
                self.note(met)?;
            }
            let addresses = symbols
                .unwrap_or_default()
                .map(|it| it.map(|symbol| symbol.address));
            let [Some(runtime), version, debug] = addresses else {
                continue;
            };
            let address = Address(runtime);
            if !is_writable(module, address) {
                continue;
            }
            decided = true;
            self.consider(&Candidate {
                address,
                module,
                method: Method::MappedSymbol,
                version_address: version.map(Address),
                version: None,
                build: Build {
                    debug: is_debug(Some(runtime), debug),
                    free_threaded: None,
                },
            })?;
        }
        if !decided {
            self.undecided.push(module);
        }
        Ok(())
    }

    /// Looks for the cookie in the writable memory of files that said nothing, if nothing has
    /// been found otherwise.
    pub(super) fn scan_undecided(&mut self) -> Result<()> {
        let mut left = self.limits.scan_bytes;
        for module in std::mem::take(&mut self.undecided) {
            // Never executable memory: code that compares with the cookie holds it too.
            let data = module
                .mappings
                .iter()
                .filter(|m| m.readable && m.writable && !m.executable);
            for mapping in data {
                if self.has_live() || self.best.is_some() || left == 0 {
                    return Ok(());
                }
                let size = mapping
                    .range
                    .end
                    .since(mapping.range.start)
                    .unwrap_or(0)
                    .min(left);
                left -= size;
                self.scan(module, mapping, size)?;
            }
        }
        Ok(())
    }

    fn scan(&mut self, module: &'a Module, mapping: &Mapping, size: u64) -> Result<()> {
        let mut buffer = vec![0; SCAN_PIECE];
        let mut done = 0;
        while done + Preamble::SIZE as u64 <= size {
            let Some(start) = mapping.range.start.offset(done) else {
                break;
            };
            let wanted = usize::try_from(size - done)
                .unwrap_or(SCAN_PIECE)
                .min(SCAN_PIECE);
            let piece = buffer.get_mut(..wanted).unwrap_or_default();
            let mut request = [ReadRequest::new(start, piece)];
            self.memory
                .read_many(&mut request)
                .or_else(|met| self.note(met))?;
            let [request] = &request;
            let filled = request.filled;
            for offset in cookies(buffer.get(..filled).unwrap_or_default()) {
                self.consider(&Candidate {
                    address: start.offset(offset).unwrap_or(start),
                    module,
                    method: Method::Scan,
                    version_address: None,
                    version: None,
                    build: Build::default(),
                })?;
            }
            if filled < wanted {
                break;
            }
            // The next piece begins early enough for a table that this one cut.
            done += (wanted + 1 - Preamble::SIZE).next_multiple_of(ALIGNMENT) as u64;
        }
        Ok(())
    }

    /// Looks at a place, and keeps it if it lives or is the best so far.
    fn consider(&mut self, candidate: &Candidate<'_>) -> Result<()> {
        self.candidates += 1;
        if self.candidates > MAX_CANDIDATES {
            return Ok(());
        }
        let mut table = vec![0; Layout::max_table_size()];
        let mut request = [ReadRequest::new(candidate.address, &mut table)];
        let read = self.memory.read_many(&mut request);
        let [request] = &request;
        let filled = request.filled;
        table.truncate(filled);
        let found = match read {
            Err(Fault::Refused) => Some(self.refused(candidate)),
            Err(met @ (Fault::Gone | Fault::TimedOut | Fault::Exhausted)) => {
                return Err(fault(WHAT, met));
            }
            Ok(()) | Err(Fault::Unmapped(_)) => match Preamble::parse(&table) {
                Some(preamble) => Some(self.with_table(candidate, preamble, &table)),
                // It changed meanwhile.
                None if candidate.method == Method::Scan => None,
                None => Some(self.without_table(candidate)),
            },
        };
        let Some((rank, location)) = found else {
            return Ok(());
        };
        if rank == Rank::Live {
            // One file may be mapped piece by piece, each of which leads to the same place.
            if self.live.iter().all(|it| it.address != location.address) {
                self.live.push(location);
            }
        } else if
        // A cookie alone is not enough to call any memory an interpreter.
        !(rank == Rank::Damaged && candidate.method == Method::Scan)
            && self.best.as_ref().is_none_or(|(best, _)| rank > *best)
        {
            self.best = Some((rank, location));
        }
        Ok(())
    }

    fn with_table(
        &self,
        candidate: &Candidate<'_>,
        preamble: Preamble,
        table: &[u8],
    ) -> (Rank, Location) {
        let layout = Layout::parse(table);
        let rank = match &layout {
            Err(error) if error.kind == ErrorKind::Corrupt => Rank::Damaged,
            Err(_) => Rank::Closed,
            Ok(layout) => self.rank(candidate, layout),
        };
        let build = Build {
            free_threaded: Some(preamble.free_threaded != 0),
            ..candidate.build
        };
        (
            rank,
            location(candidate, Some(preamble.version), build, layout),
        )
    }

    /// How good a place is at which there is an interpreter with this layout.
    fn rank(&self, candidate: &Candidate<'_>, layout: &Layout) -> Rank {
        match interpreters::main(self.memory, candidate.address, layout, self.limits) {
            Some(_) => Rank::Live,
            None => Rank::Idle,
        }
    }

    fn without_table(&self, candidate: &Candidate<'_>) -> (Rank, Location) {
        let in_memory = candidate
            .version_address
            .and_then(|at| Version::from_hex(self.memory.read_u64(at).ok()?));
        let said = in_memory.or(candidate.version);
        let named = names::version(candidate.module, self.modules);
        if let Some(version) = said.or(named).filter(|version| layout::has_table(*version)) {
            let error = corrupt(
                "cannot look into the interpreter",
                format!("there is no table of offsets at {}", candidate.address),
            );
            let location = location(candidate, Some(version), candidate.build, Err(error));
            return (Rank::Damaged, location);
        }
        let (version, layout) = match said {
            Some(version) => (said, Layout::without_table(version)),
            None => self.by_memory(candidate, named),
        };
        let rank = layout
            .as_ref()
            .map_or(Rank::Closed, |layout| self.rank(candidate, layout));
        let build = without_free_threading(candidate);
        (rank, location(candidate, version, build, layout))
    }

    /// Version and layout of an interpreter that says its version only in `sys.version`: the
    /// layout is the one with which it reads as that layout's own version.
    fn by_memory(
        &self,
        candidate: &Candidate<'_>,
        named: Option<Version>,
    ) -> (Option<Version>, Result<Layout>) {
        let others = layout::versions_without_table().filter(|version| Some(*version) != named);
        for version in named.into_iter().chain(others) {
            let Ok(layout) = Layout::without_table(version) else {
                continue;
            };
            let build = without_free_threading(candidate);
            let address = candidate.address;
            let runtime = Runtime::new(self.memory, layout, *self.limits, address, version, build);
            let told = runtime.told_version();
            if let Some(told) = told.filter(|told| is_same_minor(*told, version)) {
                return (Some(told), Layout::without_table(told));
            }
        }
        let Some(version) = named else {
            return (None, Err(layout::untold()));
        };
        let layout = Layout::without_table(version).and_then(|layout| {
            // Where nothing runs yet, there is nothing to confirm it, and nothing to misread.
            match self.rank(candidate, &layout) {
                Rank::Idle => Ok(layout),
                _ => Err(layout::unconfirmed(version)),
            }
        });
        (named, layout)
    }

    /// What the file tells has to do where the memory may not be read.
    fn refused(&self, candidate: &Candidate<'_>) -> (Rank, Location) {
        let version = candidate
            .version
            .or_else(|| names::version(candidate.module, self.modules));
        let error = fault("cannot look into the interpreter", Fault::Refused);
        (
            Rank::Closed,
            location(candidate, version, candidate.build, Err(error)),
        )
    }

    /// Remembers a fault that does not end the search.
    fn note(&mut self, met: Fault) -> Result<()> {
        match met {
            Fault::Gone | Fault::TimedOut | Fault::Exhausted => return Err(fault(WHAT, met)),
            Fault::Refused => self.refused = true,
            Fault::Unmapped(_) => {}
        }
        Ok(())
    }

    /// All that live, else the best that was found, or why there is nothing.
    pub(super) fn finish(mut self) -> Result<Vec<Location>> {
        if self.has_live() {
            self.live.sort_by_key(|location| location.address);
            return Ok(self.live);
        }
        if let Some((_, location)) = self.best {
            return Ok(vec![location]);
        }
        if self.refused {
            return Err(fault(WHAT, Fault::Refused));
        }
        if let Some((name, why)) = names::other_python(self.modules) {
            return Err(layout::never(&name, why));
        }
        let namesake = self
            .modules
            .iter()
            .find(|m| m.is_code() && names::sounds_like_python(m));
        let why = match (namesake, self.unreadable) {
            (Some(module), _) => format!(
                "{} is called after Python, but no runtime state can be found in it: it is \
                 stripped of its symbols, or no interpreter",
                String::from_utf8_lossy(&module.name),
            ),
            (None, Some(error)) => format!(
                "none of {} mapped programs and libraries holds one, but not all could be read: \
                 {error}",
                self.looked_at,
            ),
            (None, None) => {
                format!(
                    "none of {} mapped programs and libraries holds one",
                    self.looked_at
                )
            }
        };
        Err(Error::new(
            ErrorKind::NotPython,
            WHAT,
            why,
            "see which processes are Python with: invivo ps",
        ))
    }
}

/// What is known of the build of an interpreter from before there were free-threaded ones.
fn without_free_threading(candidate: &Candidate<'_>) -> Build {
    Build {
        free_threaded: Some(false),
        ..candidate.build
    }
}

fn is_same_minor(one: Version, other: Version) -> bool {
    (one.major, one.minor) == (other.major, other.minor)
}

fn location(
    candidate: &Candidate<'_>,
    version: Option<Version>,
    build: Build,
    layout: Result<Layout>,
) -> Location {
    Location {
        address: candidate.address,
        module: candidate.module.name.clone(),
        method: candidate.method,
        version,
        build,
        layout,
    }
}

/// Whether a runtime state can be at this address: it lies in writable memory of the file.
fn is_writable(module: &Module, address: Address) -> bool {
    module
        .mappings
        .iter()
        .any(|mapping| mapping.writable && mapping.range.contains(&address))
}

/// Where in the bytes the start of a table is that may be an interpreter's.
fn cookies(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let words = bytes.chunks_exact(ALIGNMENT).enumerate();
    words.filter_map(|(index, _)| {
        let at = index * ALIGNMENT;
        let preamble = bytes.get(at..at + Preamble::SIZE)?;
        let preamble = Preamble::parse(preamble)?;
        let plausible = layout::has_table(preamble.version) && preamble.free_threaded <= 1;
        if plausible {
            u64::try_from(at).ok()
        } else {
            None
        }
    })
}
