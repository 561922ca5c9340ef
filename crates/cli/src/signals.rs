//! Catching signals so that none is lost.

use std::io;

use invivo::{Error, Result, is_ignored, with_signals_held};
use signal_hook::consts::SIGINT;

/// Installs handlers. While signal-hook takes a signal over, one that came would be lost: what was
/// done before is done no more, and what is to be done is not known yet. So it is called before
/// there is a second thread, and what comes meanwhile is handled afterwards.
pub(crate) fn catch<T>(install: impl FnOnce() -> io::Result<T>) -> Result<T> {
    with_signals_held(install)
        .map_err(|error| Error::internal(format!("signals can't be handled: {error}")))
}

/// Whether a signal shall stay ignored, as those who started us wanted it (`nohup`). Not Ctrl-C,
/// which shells have everything ignore that they start in the background.
pub(crate) fn stays_ignored(signal: i32) -> bool {
    signal != SIGINT && is_ignored(signal)
}
