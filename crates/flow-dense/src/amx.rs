//! Blocks of bf16 products by AMX, whose eight registers hold a tile each: 16 lines of 64 bytes.
//!
//! The compiler's own functions for it are not stable yet, so its instructions are written out.

use std::arch::asm;
use std::arch::x86_64::{__cpuid_count, _xgetbv};
use std::marker::PhantomData;
use std::mem::offset_of;
use std::sync::OnceLock;

use crate::bf16::{Left, Right, Soon};
use crate::instructions::amx_is_allowed;
use crate::weight::Bf16;
use crate::{Instructions, instructions};

/// Whether this processor has them, beside AVX-512, and the system lets this process use them.
pub(crate) fn usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    let tiles = || amx_is_allowed() && instructions() == Some(Instructions::Avx512) && there() && granted();
    *USABLE.get_or_init(tiles)
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
fn granted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: a system call that reads two numbers; one that does not know it says so.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
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

/// What the loops keep in memory, for there are not registers enough.
#[repr(C)]
struct Block {
    right: *const Bf16,
    /// Bytes from a part to the next.
    right_part: usize,
    /// What is in front of the table.
    before: *const isize,
    /// How often lines are asked for at each place of the loops, and how often they still are in all.
    each: usize,
    asks: usize,
    to: *mut f32,
    /// Bytes from a row of the block to the next.
    apart: usize,
}

/// Asks for two lines that are wanted soon, as often as it is said.
macro_rules! ask {
    ($ask:literal) => {
        concat!(
            "mov {k}, [{block} + {each}]\n",
            "5:\n",
            "dec {k}\n",
            "js 6f\n",
            "dec qword ptr [{block} + {asks}]\n",
            "js 6f\n",
            $ask,
            " [{soon}]\n",
            $ask,
            " [{soon} + 64]\n",
            "add {soon}, {soon_apart}\n",
            "jmp 5b\n",
            "6:\n",
        )
    };
}

/// Four products, two tiles of the left factor by two of the right one, some of which are loaded between them.
macro_rules! four {
    (load left and right) => {
        concat!(
            "tileloadd tmm4, [{left} + {line}]\n",
            "tileloadd tmm6, [{at} + {row}]\n",
            "tileloadd tmm7, [{at} + {row} + 64]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm5, [{left} + {line} + 1024]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
    (load left) => {
        concat!(
            "tileloadd tmm4, [{left} + {line}]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm5, [{left} + {line} + 1024]\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
    (load right) => {
        concat!(
            "tileloadd tmm6, [{at} + {row}]\n",
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tileloadd tmm7, [{at} + {row} + 64]\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n",
        )
    };
}

/// A block by these loops. Each step reads 2 KiB of each part of the left factor and as much of the right one, from where the table says.
macro_rules! block {
    ($loops:expr, $left:ident, $right:ident, $soon:ident, $block:ident) => {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            $loops,
            "mov {at}, [{block} + {to}]",
            "mov {k}, [{block} + {apart}]",
            "tilestored [{at} + {k}], tmm0",
            "tilestored [{at} + {k} + 64], tmm1",
            "lea {at}, [{at} + 8 * {k}]",
            "lea {at}, [{at} + 8 * {k}]",
            "tilestored [{at} + {k}], tmm2",
            "tilestored [{at} + {k} + 64], tmm3",
            block = in(reg) &raw mut $block,
            left = inout(reg) $left.at => _,
            left_part = in(reg) $left.part * size_of::<Bf16>(),
            at = out(reg) _,
            k = out(reg) _,
            table = inout(reg) $right.steps.as_ptr() => _,
            steps = inout(reg) $right.steps.len() => _,
            line = in(reg) 64_usize,
            row = in(reg) $right.row * size_of::<Bf16>(),
            soon = inout(reg) $soon.at => _,
            soon_apart = in(reg) $soon.apart * size_of::<f32>(),
            right = const offset_of!(Block, right),
            right_part = const offset_of!(Block, right_part),
            before = const offset_of!(Block, before),
            each = const offset_of!(Block, each),
            asks = const offset_of!(Block, asks),
            to = const offset_of!(Block, to),
            apart = const offset_of!(Block, apart),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// One part of each factor.
macro_rules! rounded {
    ($ask:literal) => {
        concat!(
            "2:\n",
            "mov {at}, [{table}]\n",
            "add {at}, [{block} + {right}]\n",
            four!(load left and right),
            ask!($ask),
            "add {left}, 2048\n",
            "add {table}, 8\n",
            "dec {steps}\n",
            "jnz 2b\n",
            // An operand has to be in the text.
            "/* {left_part} {right_part} {before} */\n",
        )
    };
}

/// Three parts of each: all other products of all steps, then those of the first parts, from the last step to the first, as pointers stand
/// and caches still have them.
macro_rules! in_parts {
    ($ask:literal) => {
        concat!(
            "lea {left}, [{left} + 2 * {left_part}]\n",
            "sub {table}, 8\n",
            "2:\n",
            "add {table}, 8\n",
            "mov {at}, [{table}]\n",
            "add {at}, [{block} + {right}]\n",
            four!(load left and right),
            ask!($ask),
            "sub {left}, {left_part}\n",
            four!(load left),
            ask!($ask),
            "add {at}, [{block} + {right_part}]\n",
            four!(load right),
            ask!($ask),
            "sub {left}, {left_part}\n",
            four!(load left),
            ask!($ask),
            "add {at}, [{block} + {right_part}]\n",
            four!(load right),
            ask!($ask),
            "lea {left}, [{left} + 2 * {left_part} + 2048]\n",
            "dec {steps}\n",
            "jnz 2b\n",
            "sub {left}, {left_part}\n",
            "sub {left}, {left_part}\n",
            "3:\n",
            "sub {left}, 2048\n",
            "mov {at}, [{table}]\n",
            "add {at}, [{block} + {right}]\n",
            four!(load left and right),
            ask!($ask),
            "sub {table}, 8\n",
            "cmp {table}, [{block} + {before}]\n",
            "jne 3b\n",
        )
    };
}

/// [`Ready::multiply`](crate::bf16::Ready::multiply) of one part, or of three.
///
/// # Safety
///
/// As that, and there is a step; [`Tiles`] of this thread are configured.
pub(crate) unsafe fn multiply<const PARTS: usize>(left: Left, right: Right, to: *mut f32, apart: usize, soon: Soon) {
    debug_assert!(!right.steps.is_empty(), "a product of something");
    let places = right.steps.len() * if PARTS == 1 { 1 } else { 6 };
    let mut block = Block {
        right: right.at,
        right_part: right.part * size_of::<Bf16>(),
        before: right.steps.as_ptr().wrapping_sub(1),
        each: soon.count.div_ceil(places),
        asks: soon.count,
        to,
        apart: apart * size_of::<f32>(),
    };
    // SAFETY: what is read of both factors is there by the contract, as is the block that is written; what is asked for need not be.
    // Tiles are nobody else's while it runs, and what it changes is said.
    unsafe {
        match (PARTS, soon.to_write) {
            (1, false) => block!(rounded!("prefetcht1"), left, right, soon, block),
            (1, true) => block!(rounded!("prefetchw"), left, right, soon, block),
            (_, false) => block!(in_parts!("prefetcht1"), left, right, soon, block),
            (_, true) => block!(in_parts!("prefetchw"), left, right, soon, block),
        }
    }
}
