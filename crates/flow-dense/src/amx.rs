//! Blocks of bf16 products by AMX, whose eight registers hold a tile each: 16 lines of 64 bytes.
//!
//! The compiler's own functions for it are not stable yet, so its instructions are written out.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::marker::PhantomData;
use std::sync::OnceLock;

use crate::bf16::Right;
use crate::weight::Bf16;
use crate::{Instructions, instructions};

/// Whether this processor has them, beside AVX-512, and the system lets this process use them.
pub(crate) fn usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| instructions() == Some(Instructions::Avx512) && there() && allowed())
}

/// Whether the processor has tiles and products of bf16 in them, and the system keeps tiles for who uses them.
fn there() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const BOTH_STATES: u64 = 0b11 << 17;
    if !std::arch::is_x86_feature_detected!("xsave") {
        return false;
    }
    let both = AMX_BF16 | AMX_TILE;
    #[target_feature(enable = "xsave")]
    fn states() -> u64 {
        // SAFETY: a processor with AVX-512 can be asked which states its system keeps.
        unsafe { _xgetbv(0) }
    }
    // SAFETY: the processor has `xsave`, which was asked above.
    __cpuid_count(7, 0).edx & both == both && unsafe { states() } & BOTH_STATES == BOTH_STATES
}

/// Linux keeps tiles only for a process that has asked, once for all its threads.
#[cfg(target_os = "linux")]
fn allowed() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: a system call that reads two numbers; one that does not know it says so.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn allowed() -> bool {
    false
}

/// What tells the processor that all eight tiles are whole, as it reads it.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    first_row: u8,
    nothing: [u8; 14],
    bytes_a_row: [u16; 16],
    rows: [u8; 16],
}

static WHOLE: Configuration = Configuration {
    palette: 1,
    first_row: 0,
    nothing: [0; 14],
    bytes_a_row: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// This thread's tiles, ready as long as it lives.
pub(crate) struct Tiles(PhantomData<*mut ()>);

impl Tiles {
    /// # Safety
    ///
    /// They are [`usable`], and there are no others of this thread.
    pub(crate) unsafe fn configured() -> Self {
        // SAFETY: the processor has the instruction, and it reads 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly, preserves_flags)) }
        Tiles(PhantomData)
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the processor has the instruction. Nobody else's tiles are lost: whoever uses them configures them first.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}

/// [`Ready::multiply`](crate::bf16::Ready::multiply).
///
/// # Safety
///
/// As that, and there is a step; [`Tiles`] of this thread are configured.
pub(crate) unsafe fn multiply(left: *const Bf16, right: Right, to: *mut f32, apart: usize) {
    debug_assert!(!right.steps.is_empty(), "a product of something");
    // SAFETY: each step reads 2 KiB of the left factor and as much of the right one, from where the table says; they are there by the
    // contract, as is the block that is written. Tiles are nobody else's while it runs, and what it changes is said.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "mov {at}, [{table}]",
            "add {at}, {right}",
            "tileloadd tmm4, [{left} + {line}]",
            "tileloadd tmm6, [{at} + {row}]",
            "tileloadd tmm7, [{at} + {row} + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{left} + {line} + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {left}, 2048",
            "add {table}, 8",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{to} + {apart}], tmm0",
            "tilestored [{to} + {apart} + 64], tmm1",
            "tilestored [{below} + {apart}], tmm2",
            "tilestored [{below} + {apart} + 64], tmm3",
            left = inout(reg) left => _,
            right = in(reg) right.at,
            at = out(reg) _,
            table = inout(reg) right.steps.as_ptr() => _,
            steps = inout(reg) right.steps.len() => _,
            line = in(reg) 64_usize,
            row = in(reg) right.row * size_of::<Bf16>(),
            to = in(reg) to,
            below = in(reg) to.add(16 * apart),
            apart = in(reg) apart * size_of::<f32>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
