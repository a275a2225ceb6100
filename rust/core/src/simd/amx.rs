//! Products of bf16 blocks on the matrix unit of x86-64 (AMX), by inline assembly: its intrinsics are not stable.
//!
//! A tile register holds 16 rows of 64 bytes. `tdpbf16ps c, a, b` adds to each of the 16 x 16 sums of c 32 products of the block
//! a, whose rows are rows of the product, and the block b, whose rows are pairs of terms of 16 columns:
//!
//! ```text
//! even = Σ_p a[i][2p]·b[p][j][0],  odd = Σ_p a[i][2p+1]·b[p][j][1]     p in order, each step rounded once, from zero
//! c[i][j] = c[i][j] + (even + odd)
//! ```
//!
//! Rounding is to nearest even; numbers below the smallest normal one count as zero. Four tiles are sums of 2 x 2 blocks, so
//! that each block loaded is used twice.
//!
//! The registers are configured for one call ([`with_tiles`]) and released after it: the system then saves nothing of them
//! when it changes to another thread. Linux grants them to a process that asks, which is done once.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use super::block::{Block, BlockProduct};

/// Number of the system call `arch_prctl`, the request for a feature, and the number of the tile registers among features.
const ARCH_PRCTL: i64 = 158;
const ARCH_REQ_XCOMP_PERM: i64 = 0x1023;
const XFEATURE_XTILEDATA: i64 = 18;

/// Whether the processor has tiles with bf16 products and the system lets this process use them. Asked once.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_tiles() && is_permitted())
}

fn has_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const BF16_AND_TILE: u32 = (1 << 22) | (1 << 24);
    const TILE_STATE: u64 = (1 << 17) | (1 << 18);
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let (low, high): (u32, u32);
    // SAFETY: the instruction exists where OSXSAVE is set, and reads a register of the system.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") high, options(nomem, nostack)) };
    let saved = u64::from(low) | u64::from(high) << 32;
    __cpuid_count(7, 0).edx & BF16_AND_TILE == BF16_AND_TILE && saved & TILE_STATE == TILE_STATE
}

#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    let mut result = ARCH_PRCTL;
    // SAFETY: the call changes nothing but the features that this process may use.
    unsafe {
        asm!(
            "syscall", inout("rax") result, in("rdi") ARCH_REQ_XCOMP_PERM, in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _, out("r11") _, options(nostack)
        );
    };
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Eight tiles of 16 rows of 64 bytes.
#[repr(align(64))]
struct TileConfig([u8; 64]);

const CONFIG: TileConfig = {
    let mut config = [0; 64];
    config[0] = 1; // the palette
    let mut tile = 0;
    while tile < 8 {
        config[16 + 2 * tile] = 64; // bytes of a row
        config[48 + tile] = 16; // rows
        tile += 1;
    }
    TileConfig(config)
};

/// Runs `f` with the tile registers configured, on this thread.
///
/// # Safety
/// [`is_available`].
pub(super) unsafe fn with_tiles<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: the processor has tiles; the configuration is 64 bytes.
    unsafe { asm!("ldtilecfg [{}]", in(reg) CONFIG.0.as_ptr(), options(nostack, readonly)) };
    let _release = Release;
    f()
}

/// Releases the tile registers of this thread when it is dropped, also by a panic.
struct Release;

impl Drop for Release {
    fn drop(&mut self) {
        // SAFETY: made by `with_tiles` alone, where the processor has tiles.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// One kernel: loads of blocks and products for each step, loads, zeros and stores of the sums. Sums start from c where `add`
/// is not zero.
macro_rules! kernel {
    ($name:ident, load: [$($load:literal),*], zero: [$($zero:literal),*], step: [$($step:literal),*], store: [$($store:literal),*]) => {
        /// # Safety
        /// Inside [`with_tiles`]; blocks and sums as the fields of [`BlockProduct`] say.
        #[inline(always)]
        unsafe fn $name(p: &BlockProduct) {
            let stride = 4 * p.c_stride;
            let (add, lower) = (u64::from(p.add), p.c.wrapping_add(16 * p.c_stride));
            // SAFETY: by the caller's promise; the tile registers hold nothing between calls.
            unsafe {
                asm!(
                    "test {add}, {add} /* {d} is unused with one strip of rows */",
                    "jz 2f",
                    $($load,)*
                    "jmp 3f",
                    "2:",
                    $($zero,)*
                    "3:",
                    $($step,)*
                    "add {a0}, 1024", "add {a1}, 1024", "add {b0}, 1024", "add {b1}, 1024",
                    "dec {steps}",
                    "jnz 3b",
                    $($store,)*
                    add = in(reg) add,
                    a0 = inout(reg) p.a[0] => _,
                    a1 = inout(reg) p.a[1] => _,
                    b0 = inout(reg) p.b[0] => _,
                    b1 = inout(reg) p.b[1] => _,
                    steps = inout(reg) p.steps => _,
                    line = in(reg) 64_u64,
                    c = in(reg) p.c,
                    d = in(reg) lower,
                    stride = in(reg) stride,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack)
                );
            }
        }
    };
}

kernel!(two_by_two,
    load: ["tileloadd tmm0, [{c} + {stride}]", "tileloadd tmm1, [{c} + {stride} + 64]",
        "tileloadd tmm2, [{d} + {stride}]", "tileloadd tmm3, [{d} + {stride} + 64]"],
    zero: ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
    step: ["tileloadd tmm6, [{b0} + {line}]", "tileloadd tmm4, [{a0} + {line}]", "tileloadd tmm7, [{b1} + {line}]",
        "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7", "tileloadd tmm5, [{a1} + {line}]",
        "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7"],
    store: ["tilestored [{c} + {stride}], tmm0", "tilestored [{c} + {stride} + 64], tmm1",
        "tilestored [{d} + {stride}], tmm2", "tilestored [{d} + {stride} + 64], tmm3"]);

kernel!(two_by_one,
    load: ["tileloadd tmm0, [{c} + {stride}]", "tileloadd tmm2, [{d} + {stride}]"],
    zero: ["tilezero tmm0", "tilezero tmm2"],
    step: ["tileloadd tmm6, [{b0} + {line}]", "tileloadd tmm4, [{a0} + {line}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{a1} + {line}]", "tdpbf16ps tmm2, tmm5, tmm6"],
    store: ["tilestored [{c} + {stride}], tmm0", "tilestored [{d} + {stride}], tmm2"]);

kernel!(one_by_two,
    load: ["tileloadd tmm0, [{c} + {stride}]", "tileloadd tmm1, [{c} + {stride} + 64]"],
    zero: ["tilezero tmm0", "tilezero tmm1"],
    step: ["tileloadd tmm6, [{b0} + {line}]", "tileloadd tmm4, [{a0} + {line}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b1} + {line}]", "tdpbf16ps tmm1, tmm4, tmm7"],
    store: ["tilestored [{c} + {stride}], tmm0", "tilestored [{c} + {stride} + 64], tmm1"]);

kernel!(one_by_one,
    load: ["tileloadd tmm0, [{c} + {stride}]"],
    zero: ["tilezero tmm0"],
    step: ["tileloadd tmm6, [{b0} + {line}]", "tileloadd tmm4, [{a0} + {line}]", "tdpbf16ps tmm0, tmm4, tmm6"],
    store: ["tilestored [{c} + {stride}], tmm0"]);

/// # Safety
/// Inside [`with_tiles`]; the pointers as the fields of [`BlockProduct`] say.
pub(super) unsafe fn multiply(p: &BlockProduct) {
    const { assert!(size_of::<Block>() == 1024) };
    // SAFETY: by the caller's promise.
    unsafe {
        match (p.strips[0], p.strips[1]) {
            (2, 2) => two_by_two(p),
            (2, _) => two_by_one(p),
            (_, 2) => one_by_two(p),
            _ => one_by_one(p),
        }
    }
}
