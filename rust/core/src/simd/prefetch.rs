//! Prefetching: cache lines are requested before they are used.

/// Requests the cache lines of `x[from .. from + len]`, for a use some thousand cycles later. It changes no result, and
/// does nothing outside the slice or where there is no stable instruction for it.
#[inline(always)]
pub fn prefetch<T>(x: &[T], from: usize, len: usize) {
    const LINE_BYTES: usize = 64;
    for part in x.get(from..from + len).unwrap_or(&[]).chunks(LINE_BYTES / size_of::<T>()) {
        prefetch_line(part.as_ptr());
    }
}

/// As [`prefetch`], the cache line that holds `x`, which need not point to anything.
#[inline(always)]
pub(crate) fn prefetch_line<T>(x: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction, and it reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(x.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = x;
}
