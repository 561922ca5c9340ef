use invivo_cpython::Location;
use invivo_model::{Address, Build, Error, ErrorKind, Result, Version};

/// The CPythons of one process, in the order of their addresses, and the one of them that is looked
/// into. Nearly always there is one.
#[derive(Clone, Debug)]
pub struct Runtimes {
    all: Vec<Location>,
    taken: usize,
    named: bool,
}

/// One CPython of a process, as far as it takes to tell it from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeName {
    /// Its number, from 1, in the order of the addresses. It holds until another one is loaded or
    /// ends.
    pub number: usize,
    /// Its version, as precisely as it is known.
    pub version: Option<Version>,
    /// How it was built.
    pub build: Build,
    /// The mapped file that holds it.
    pub module: Vec<u8>,
    /// Where its `_PyRuntime` lies.
    pub address: Address,
}

impl Runtimes {
    /// Takes the one with this `number`, or the first where none is named.
    pub(crate) fn choose(pid: u32, all: Vec<Location>, number: Option<u32>) -> Result<Self> {
        let taken = match number {
            None => Some(0),
            Some(number) => usize::try_from(number)
                .ok()
                .and_then(|it| it.checked_sub(1)),
        };
        let taken = taken.filter(|taken| *taken < all.len());
        let found = Self {
            all,
            taken: taken.unwrap_or(0),
            named: number.is_some(),
        };
        let (Some(number), None) = (number, taken) else {
            return Ok(found);
        };
        let names: Vec<_> = found.names().iter().map(RuntimeName::sentence).collect();
        Err(Error::new(
            ErrorKind::Usage,
            format!("process {pid} has no CPython number {number}"),
            format!("it has {}", names.join("; ")),
            "name one of these: --runtime NUMBER",
        ))
    }

    /// The one that is looked into.
    pub(crate) fn taken(&self) -> Result<&Location> {
        let taken = self.all.get(self.taken);
        taken.ok_or_else(|| Error::internal("an interpreter was chosen that there is not"))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The number of the one that is looked into.
    pub fn number(&self) -> usize {
        self.taken + 1
    }

    /// What there are.
    pub fn names(&self) -> Vec<RuntimeName> {
        let all = self.all.iter().enumerate();
        all.map(|(index, location)| RuntimeName {
            number: index + 1,
            version: location.version,
            build: location.build,
            module: location.module.clone(),
            address: location.address,
        })
        .collect()
    }

    /// What there is to say where nobody has named one of several: which one was taken, and how to
    /// choose another.
    pub fn unnamed(&self, pid: u32) -> Option<String> {
        if self.named {
            return None;
        }
        let names = self.names();
        let taken = names.get(self.taken)?;
        let others = names.iter().filter(|name| name.number != taken.number);
        let others: Vec<_> = others.map(RuntimeName::sentence).collect();
        (!others.is_empty()).then(|| {
            format!(
                "process {pid} has {} CPythons, and only {} is looked at; not {}. To choose: \
                 --runtime NUMBER",
                names.len(),
                taken.sentence(),
                others.join("; "),
            )
        })
    }

    /// Makes sure that the one to be acted in was named, or is the only one.
    ///
    /// # Errors
    /// `Usage` with all that there are.
    pub fn ensure_named(&self, pid: u32) -> Result<()> {
        if self.named || self.all.len() == 1 {
            return Ok(());
        }
        let names: Vec<_> = self.names().iter().map(RuntimeName::sentence).collect();
        Err(Error::new(
            ErrorKind::Usage,
            format!("process {pid} has {} CPythons", names.len()),
            format!(
                "nothing says in which one it shall run: {}",
                names.join("; ")
            ),
            "name one of these: --runtime NUMBER",
        ))
    }
}

impl RuntimeName {
    /// `number 2, CPython 3.12.1 in /usr/lib/libpython3.12.so.1.0`. Escaped where it is printed.
    pub fn sentence(&self) -> String {
        let version = self.version.map_or_else(
            || "of an unknown version".to_owned(),
            |version| version.to_string(),
        );
        let module = String::from_utf8_lossy(&self.module);
        format!("number {}, CPython {version} in {module}", self.number)
    }
}
