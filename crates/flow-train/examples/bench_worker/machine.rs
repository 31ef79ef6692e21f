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

/// f32 operations a second, bytes a second of a large copy (read and written both count), and of reading `weight_bytes`
/// again and again, which may fit in a cache.
pub fn measure(threads: usize, weight_bytes: usize) -> Value {
    let (multiply_add, lanes, how) = kernel();
    let chains = (CHAINS * lanes) as f64;
    let flops = best(|| {
        let seconds = on_threads(threads, |_| {
            black_box(multiply_add(ROUNDS));
        });
        2.0 * chains * ROUNDS as f64 * threads as f64 / seconds
    });
    json!({
        "flops": flops, "how": how, "copy": copy(threads), "read": read(threads, weight_bytes), "read_bytes": weight_bytes,
    })
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
