//! Queues of pending calls, as several versions have them.

use super::structures::*;

/// `struct _pending_calls` of 32 places, which begins with its lock or so many bytes before it
/// (Include/internal/pycore_pystate.h, 3.8; Include/internal/pycore_interp.h, 3.9 to 3.11;
/// Include/internal/pycore_ceval_state.h, 3.12). Locks are semaphores (Python/thread_pthread.h,
/// `USE_SEMAPHORES`).
pub(super) const fn ring(lock: u64) -> QueueLayout {
    QueueLayout {
        size: lock + 536,
        lock: QueueLock::Semaphore(lock),
        calls: lock + 16,
        call_size: 16,
        call_flags: None,
        places: 32,
        first: lock + 528,
        next: lock + 532,
        count: QueueCount::Flag(lock + 8),
        busy: None,
        finishing: None,
    }
}

/// `struct _pending_calls` (Include/internal/pycore_ceval_state.h, 3.13, and
/// Include/internal/pycore_interp_structs.h, 3.14 and 3.15). How many calls may wait is set in
/// Include/internal/pycore_runtime_init.h.
pub(super) const COUNTED: QueueLayout = QueueLayout {
    size: 7232,
    lock: QueueLock::Mutex(8),
    calls: 24,
    call_size: 24,
    call_flags: Some(16),
    places: 300,
    first: 7224,
    next: 7228,
    count: QueueCount::Number {
        at: 12,
        most: 16,
        round: 20,
        of_main: (32, 0),
        of_any: (300, 100),
    },
    busy: Some((0, 8)),
    finishing: None,
};
