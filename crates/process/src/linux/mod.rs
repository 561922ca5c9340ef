//! Linux, as the kernel shows it under `/proc` and by its system calls.

pub(crate) mod access;
mod accounts;
mod append;
mod aside;
mod channel;
mod children;
pub mod clock;
mod descriptors;
mod files;
mod halt;
mod identity;
mod launch;
mod list;
mod lock;
mod machine;
mod maps;
mod memory;
mod mounts;
mod new_file;
mod own;
mod proc;
mod processors;
mod program;
mod root;
mod stacks;
mod staging;
mod steer;
mod still;
mod stop;
mod stream;
mod sys;
mod system_calls;
mod target;
mod threads;

pub use accounts::{Account, is_processor_time_accounted};
pub use append::AppendFile;
pub use channel::{Connection, Listener, Transfer};
pub use children::descendants;
pub use descriptors::Descriptors;
pub use halt::Halt;
pub use identity::{Identity, USER_MAP_FILES};
pub use launch::Launched;
pub use list::pids;
pub use lock::TargetLock;
pub use machine::{Argument, Call};
pub use memory::ProcessMemory;
pub use new_file::{NewFile, Readers};
pub use own::{
    file_name, is_ignored, login_uid, own_pid_namespace, own_uid, random, standard_error,
    standard_output, with_signals_held, write_patiently,
};
pub use proc::Status;
pub use processors::{Affinity, own_processor};
pub use program::ProgramWatch;
pub use root::TargetRoot;
pub use staging::PrivateDirectory;
pub use steer::{SignalReturn, Standing};
pub use still::{Standstill, Stopper};
pub use stop::Suspension;
pub use stream::{Stream, is_stream};
pub use target::Target;
pub use threads::{Activity, SystemCall, Thread, ThreadPlace, ThreadWatch, Waiting, native_ids};
