//! The bound of memory, and panics that are caught inside of the core.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in use, and most that may be.
static USED: AtomicUsize = AtomicUsize::new(0);
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

struct Bounded;

// SAFETY: every call goes to the system's allocator; counting touches atomics alone.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        if used > LIMIT.load(Ordering::Relaxed) {
            LIMIT.store(usize::MAX, Ordering::Relaxed);
            panic!("{used} bytes in use, of which {} are asked for at once", layout.size());
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// Runs `f` with at most `bytes` more memory than is in use now. A panic that leaves it, and one for memory, ends the
/// process; one that the core catches (versions of the Arrow library have panicked on malformed files) does not.
pub(crate) fn within(bytes: usize, f: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|what| {
            if what.payload_as_str().is_some_and(|text| text.contains("bytes in use, of which")) {
                eprintln!("{what}");
                process::abort();
            }
        }));
    });
    LIMIT.store(USED.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    let done = catch_unwind(AssertUnwindSafe(f));
    LIMIT.store(usize::MAX, Ordering::Relaxed);
    if let Err(payload) = done {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        eprintln!("panic: {}", text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("of another type"));
        process::abort();
    }
}
