/// How much is read of one process at most. Nothing that a target claims goes beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Mapped files that are looked at for an interpreter, the likely ones first: 1024.
    pub modules: usize,
    /// Bytes of writable memory that are scanned where no file says where the interpreter is:
    /// 16 MiB.
    pub scan_bytes: u64,
    /// Interpreter states: 1024.
    pub interpreters: usize,
    /// Thread states of all interpreters together: 32 768.
    pub threads: usize,
    /// Frames of one stack, and a fourth of those of all stacks together: 65 536.
    pub frames: usize,
    /// Frames that are no Python code, on the way to the innermost one that is: 64.
    pub sentinels: usize,
    /// asyncio tasks of all interpreters together: 65 536.
    pub tasks: usize,
    /// Coroutines of all tasks together: 524 288.
    pub coroutines: usize,
    /// Characters of one string: 16 384. More are cut.
    pub string_characters: usize,
    /// Entries of one dictionary: 16 384. More are cut.
    pub dict_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            modules: 1024,
            scan_bytes: 16 << 20,
            interpreters: 1024,
            threads: 32_768,
            frames: 65_536,
            sentinels: 64,
            tasks: 65_536,
            coroutines: 524_288,
            string_characters: 16_384,
            dict_entries: 16_384,
        }
    }
}
