//! Dynamic symbols, found through the hash tables as a loader does: a few small reads a name,
//! whatever the size of the symbol table.

use object::LittleEndian as LE;
use object::elf::{
    self, DT_GNU_HASH, DT_HASH, DT_NULL, DT_STRSZ, DT_STRTAB, DT_SYMTAB, Dyn64, GnuHashHeader,
    HashHeader, SHN_UNDEF, Sym64,
};

use crate::source::Source;

/// Real dynamic sections have about thirty entries.
const MAX_ENTRIES: u64 = 1024;
/// How many symbols of one hash chain are looked at; real chains have a handful.
const MAX_CHAIN: u32 = 64;
/// Bytes a word of the GNU table's bloom filter takes in a 64-bit file.
const BLOOM_WORD: u64 = 8;
const SYMBOL: u64 = size_of::<Sym64<LE>>() as u64;

/// What a dynamic symbol stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Where it begins.
    pub address: u64,
    /// How many bytes it takes; 0 where the file does not say.
    pub size: u64,
}

/// The tables of a file's dynamic symbols. Positions are what the source takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DynamicSymbols {
    symbols: u64,
    strings: u64,
    strings_size: u64,
    hash: HashTable,
}

#[derive(Clone, Copy, Debug)]
enum HashTable {
    Gnu {
        buckets: u32,
        first_symbol: u32,
        bloom: u64,
        bloom_words: u32,
        bloom_shift: u32,
    },
    SysV {
        at: u64,
        buckets: u32,
    },
}

impl DynamicSymbols {
    /// Reads the dynamic section of `size` bytes at `at`. `locate` turns a pointer in it into a
    /// position.
    pub(crate) fn parse<S: Source>(
        source: &mut S,
        at: u64,
        size: u64,
        locate: impl Fn(u64) -> u64,
    ) -> Option<Self> {
        let count = (size / size_of::<Dyn64<LE>>() as u64).min(MAX_ENTRIES);
        let entries: Vec<Dyn64<LE>> = source.structures(at, usize::try_from(count).ok()?)?;
        let value = |tag| {
            let mut real = entries
                .iter()
                .take_while(|entry| entry.d_tag.get(LE) != DT_NULL);
            real.find(|entry| entry.d_tag.get(LE) == tag)
                .map(|entry| entry.d_val.get(LE))
        };
        let hash = match (value(DT_GNU_HASH), value(DT_HASH)) {
            (Some(at), _) => HashTable::gnu(source, locate(at))?,
            (None, Some(at)) => HashTable::sysv(source, locate(at))?,
            (None, None) => return None,
        };
        Some(Self {
            symbols: locate(value(DT_SYMTAB)?),
            strings: locate(value(DT_STRTAB)?),
            strings_size: value(DT_STRSZ)?,
            hash,
        })
    }

    /// The symbol `name`, if the file defines it.
    pub(crate) fn symbol<S: Source>(&self, source: &mut S, name: &[u8]) -> Option<Symbol> {
        match self.hash {
            HashTable::Gnu { .. } => self.by_gnu_hash(source, name),
            HashTable::SysV { at, buckets } => self.by_sysv_hash(source, name, at, buckets),
        }
    }

    fn by_gnu_hash<S: Source>(&self, source: &mut S, name: &[u8]) -> Option<Symbol> {
        let HashTable::Gnu {
            buckets,
            first_symbol,
            bloom,
            bloom_words,
            bloom_shift,
        } = self.hash
        else {
            return None;
        };
        let hash = elf::gnu_hash(name);
        let word = u64::from(hash / 64 % bloom_words);
        let word = read_u64(source, bloom.checked_add(word * BLOOM_WORD)?)?;
        let second = hash.checked_shr(bloom_shift).unwrap_or(0);
        if word >> (hash % 64) & 1 == 0 || word >> (second % 64) & 1 == 0 {
            return None;
        }
        let bucket_table = bloom.checked_add(u64::from(bloom_words) * BLOOM_WORD)?;
        let bucket = bucket_table.checked_add(u64::from(hash % buckets) * 4)?;
        let first = read_u32(source, bucket)?;
        let hashes = bucket_table.checked_add(u64::from(buckets) * 4)?;
        for index in first..first.saturating_add(MAX_CHAIN) {
            let place = u64::from(index.checked_sub(first_symbol)?);
            let other = read_u32(source, hashes.checked_add(place * 4)?)?;
            if other | 1 == hash | 1
                && let Some(symbol) = self.if_named(source, index, name)
            {
                return Some(symbol);
            }
            if other & 1 == 1 {
                break;
            }
        }
        None
    }

    fn by_sysv_hash<S: Source>(
        &self,
        source: &mut S,
        name: &[u8],
        at: u64,
        buckets: u32,
    ) -> Option<Symbol> {
        let bucket_table = at.checked_add(size_of::<HashHeader<LE>>() as u64)?;
        let chains = bucket_table.checked_add(u64::from(buckets) * 4)?;
        let bucket = u64::from(elf::hash(name) % buckets);
        let mut index = read_u32(source, bucket_table.checked_add(bucket * 4)?)?;
        for _ in 0..MAX_CHAIN {
            if index == 0 {
                break;
            }
            if let Some(symbol) = self.if_named(source, index, name) {
                return Some(symbol);
            }
            index = read_u32(source, chains.checked_add(u64::from(index) * 4)?)?;
        }
        None
    }

    /// Symbol `index` if it is defined here and called `name`.
    fn if_named<S: Source>(&self, source: &mut S, index: u32, name: &[u8]) -> Option<Symbol> {
        let at = self.symbols.checked_add(u64::from(index) * SYMBOL)?;
        let symbol: Sym64<LE> = source.structure(at)?;
        let start = u64::from(symbol.st_name.get(LE));
        let length = u64::try_from(name.len()).ok()?.checked_add(1)?;
        if start.checked_add(length)? > self.strings_size {
            return None;
        }
        let mut found = vec![0; name.len() + 1];
        source.fill(self.strings.checked_add(start)?, &mut found)?;
        let named = found.split_last() == Some((&0, name));
        let defined = symbol.st_shndx.get(LE) != SHN_UNDEF && symbol.st_value.get(LE) != 0;
        (named && defined).then(|| Symbol {
            address: symbol.st_value.get(LE),
            size: symbol.st_size.get(LE),
        })
    }
}

impl HashTable {
    fn gnu<S: Source>(source: &mut S, at: u64) -> Option<Self> {
        let header: GnuHashHeader<LE> = source.structure(at)?;
        let buckets = header.bucket_count.get(LE);
        let bloom_words = header.bloom_count.get(LE);
        (buckets != 0 && bloom_words != 0).then_some(Self::Gnu {
            buckets,
            first_symbol: header.symbol_base.get(LE),
            bloom: at.checked_add(size_of::<GnuHashHeader<LE>>() as u64)?,
            bloom_words,
            bloom_shift: header.bloom_shift.get(LE),
        })
    }

    fn sysv<S: Source>(source: &mut S, at: u64) -> Option<Self> {
        let header: HashHeader<LE> = source.structure(at)?;
        let buckets = header.bucket_count.get(LE);
        (buckets != 0).then_some(Self::SysV { at, buckets })
    }
}

fn read_u32<S: Source>(source: &mut S, at: u64) -> Option<u32> {
    let mut bytes = [0; 4];
    source.fill(at, &mut bytes)?;
    Some(u32::from_le_bytes(bytes))
}

fn read_u64<S: Source>(source: &mut S, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    source.fill(at, &mut bytes)?;
    Some(u64::from_le_bytes(bytes))
}
