//! What the machine can do at most: fused multiply-adds and bytes a second, on so many threads.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

/// Independent chains of multiply-adds, enough to hide their latency.
const CHAINS: usize = 16;
/// Multiply-adds of each chain in one go.
const ROUNDS: u64 = 10_000_000;
/// Numbers copied: far more than any cache holds.
const COPIED: usize = 64 << 20;
/// Every figure is the best of so many.
const ATTEMPTS: usize = 5;

/// f32 operations a second and, where the processor multiplies blocks of bf16, those of bf16; bytes a second of a large copy (read and
/// written both count), and of reading `weight_bytes` again and again, which may fit in a cache.
pub fn measure(threads: usize, weight_bytes: usize) -> Value {
    let (multiply_add, lanes, how) = kernel();
    let rate = |operations: u64, kernel: Kernel| {
        best(|| {
            let seconds = on_threads(threads, |_| {
                black_box(kernel(ROUNDS));
            });
            (operations * ROUNDS) as f64 * threads as f64 / seconds
        })
    };
    let by_fma = rate(2 * (CHAINS * lanes) as u64, multiply_add);
    let bf16_flops = blocks().map(|(kernel, operations)| rate(operations, kernel));
    // A product of f32 is six of bf16 there.
    let (flops, how) = match bf16_flops.map(|flops| flops / 6.0) {
        Some(flops) if flops > by_fma => (flops, format!("AMX, six products for one; {how} {:.0}", by_fma / 1e9)),
        _ => (by_fma, how.to_owned()),
    };
    json!({
        "flops": flops, "how": how, "bf16_flops": bf16_flops, "copy": copy(threads), "read": read(threads, weight_bytes),
        "read_bytes": weight_bytes,
    })
}

/// Products of blocks of bf16, if the processor has them, and the operations of a round.
fn blocks() -> Option<(Kernel, u64)> {
    #[cfg(target_arch = "x86_64")]
    if flow_dense::multiplies_bf16() {
        return Some((x86::by_tiles, 2 * 16 * 16 * 32));
    }
    None
}

pub fn best(mut attempt: impl FnMut() -> f64) -> f64 {
    (0..ATTEMPTS).map(|_| attempt()).fold(0.0, f64::max)
}

/// Seconds that `work` takes on all threads at once, each told its number.
fn on_threads(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let start = Instant::now();
    thread::scope(|scope| {
        for i in 0..threads {
            let work = &work;
            scope.spawn(move || work(i));
        }
    });
    start.elapsed().as_secs_f64()
}

fn copy(threads: usize) -> f64 {
    let from = vec![1.0f32; COPIED];
    let mut to = vec![0.0f32; COPIED];
    let part = COPIED.div_ceil(threads);
    best(|| {
        let start = Instant::now();
        thread::scope(|scope| {
            for (from, to) in from.chunks(part).zip(to.chunks_mut(part)) {
                scope.spawn(move || to.copy_from_slice(from));
            }
        });
        2.0 * size_of_val(&from[..]) as f64 / start.elapsed().as_secs_f64()
    })
}

fn read(threads: usize, bytes: usize) -> f64 {
    let data = vec![1u64; bytes.div_ceil(8).max(1)];
    let part = data.len().div_ceil(threads);
    // Long enough for the start of a thread not to count.
    let times = ((1 << 30) / bytes.max(1)).clamp(1, 1 << 16);
    best(|| {
        let seconds = on_threads(threads, |i| {
            let mine = data.chunks(part).nth(i).unwrap_or_default();
            for _ in 0..times {
                black_box(sum(black_box(mine)));
            }
        });
        (times * size_of_val(&data[..])) as f64 / seconds
    })
}

/// Adding whole numbers, in any order, is what a compiler makes wide by itself.
fn sum(data: &[u64]) -> u64 {
    data.iter().fold(0, |sum, &x| sum.wrapping_add(x))
}

type Kernel = fn(u64) -> f32;

/// The widest multiply-add there is, the f32 numbers it takes at once, and its name.
fn kernel() -> (Kernel, usize, &'static str) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return (x86::with_avx512, 16, "AVX-512 FMA");
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return (x86::with_avx2, 8, "AVX2 FMA");
        }
    }
    (portable, 4, "portable multiply and add")
}

/// x = a x + b tends to 1: neither denormal nor infinite.
const A: f32 = 0.999;
const B: f32 = 0.001;

fn portable(rounds: u64) -> f32 {
    let mut x = [[0.5f32; 4]; CHAINS];
    for _ in 0..rounds {
        for lane in x.as_flattened_mut() {
            *lane = *lane * A + B;
        }
    }
    x.as_flattened().iter().sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        _mm256_cvtss_f32, _mm256_fmadd_ps, _mm256_set1_ps, _mm512_cvtss_f32, _mm512_fmadd_ps, _mm512_set1_ps,
    };

    use std::arch::asm;
    use std::hint::black_box;

    use super::{A, B, CHAINS};

    pub fn with_avx512(rounds: u64) -> f32 {
        // SAFETY: `kernel` has looked for the feature.
        #[allow(unsafe_code, reason = "a loop is called that is compiled for more than every processor has")]
        unsafe {
            avx512(rounds)
        }
    }

    pub fn with_avx2(rounds: u64) -> f32 {
        // SAFETY: `kernel` has looked for the features.
        #[allow(unsafe_code, reason = "a loop is called that is compiled for more than every processor has")]
        unsafe {
            avx2(rounds)
        }
    }

    /// Products of two tiles of zeros, added to four others in turn.
    pub fn by_tiles(rounds: u64) -> f32 {
        #[repr(align(64))]
        struct Configuration([u8; 64]);
        let mut whole = Configuration([0; 64]);
        whole.0[0] = 1;
        (0..8).for_each(|tile| (whole.0[16 + 2 * tile], whole.0[48 + tile]) = (64, 16));
        // SAFETY: `blocks` has asked for the instructions, and the system for tiles; nothing but tiles is changed.
        #[allow(unsafe_code, reason = "instructions that the compiler has no stable functions for")]
        unsafe {
            asm!(
                "ldtilecfg [{whole}]",
                "2:",
                "tdpbf16ps tmm0, tmm4, tmm5",
                "tdpbf16ps tmm1, tmm4, tmm5",
                "tdpbf16ps tmm2, tmm4, tmm5",
                "tdpbf16ps tmm3, tmm4, tmm5",
                "dec {fours}",
                "jnz 2b",
                "tilerelease",
                whole = in(reg) &raw const whole,
                fours = inout(reg) rounds.div_ceil(4) => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
        0.0
    }

    #[target_feature(enable = "avx512f")]
    fn avx512(rounds: u64) -> f32 {
        let (a, b) = (_mm512_set1_ps(A), _mm512_set1_ps(B));
        let mut x = [_mm512_set1_ps(0.0); CHAINS];
        // A loop, not `map`: a function of another crate would not be compiled for this feature. And chains that a compiler
        // cannot know to be alike.
        for (i, x) in x.iter_mut().enumerate() {
            *x = _mm512_set1_ps(black_box(i as f32));
        }
        for _ in 0..rounds {
            for x in &mut x {
                *x = _mm512_fmadd_ps(a, *x, b);
            }
        }
        x.iter().map(|&x| _mm512_cvtss_f32(x)).sum()
    }

    #[target_feature(enable = "avx2,fma")]
    fn avx2(rounds: u64) -> f32 {
        let (a, b) = (_mm256_set1_ps(A), _mm256_set1_ps(B));
        // Sixteen registers in all, two of which hold a and b: chains spill at 16, not at 8.
        let mut x = [_mm256_set1_ps(0.0); CHAINS / 2];
        for (i, x) in x.iter_mut().enumerate() {
            *x = _mm256_set1_ps(black_box(i as f32));
        }
        for _ in 0..2 * rounds {
            for x in &mut x {
                *x = _mm256_fmadd_ps(a, *x, b);
            }
        }
        x.iter().map(|&x| _mm256_cvtss_f32(x)).sum()
    }
}
