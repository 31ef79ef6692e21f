//! What an NVIDIA card can do at most, and how much of its memory this process has.

use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tch::{Cuda, Device, Kind, Tensor};

use crate::machine::best;

/// Rows and columns of the factors of a product.
const SIDE: i64 = 8192;
/// Numbers copied, a GiB of them: far more than any cache holds.
const COPIED: i64 = 1 << 28;
const MIB: u64 = 1 << 20;

/// f32 operations a second of a product, as libtorch multiplies where nobody asks for TF32, and bytes a second of a large
/// copy within the card (read and written both count), which stands for reading, too.
pub fn measure(device: Device, weight_bytes: usize) -> Value {
    let options = (Kind::Float, device);
    let flops = {
        // Numbers at random: a card that multiplies zeros gets less warm, and is faster.
        let (a, b) = (Tensor::randn([SIDE, SIDE], options), Tensor::randn([SIDE, SIDE], options));
        let mut product = Tensor::zeros([SIDE, SIDE], options);
        best(|| 2.0 * (SIDE as f64).powi(3) / seconds(device, || product = a.matmul(&b)))
    };
    let (from, mut to) = (Tensor::ones([COPIED], options), Tensor::zeros([COPIED], options));
    let bytes = 2.0 * 4.0 * COPIED as f64;
    let copy = best(|| bytes / seconds(device, || to.copy_(&from)));
    json!({
        "flops": flops, "how": "f32 matrix product, 8192³", "copy": copy, "read": copy, "read_bytes": weight_bytes,
    })
}

fn seconds(device: Device, work: impl FnOnce()) -> f64 {
    finish(device);
    let start = Instant::now();
    work();
    finish(device);
    start.elapsed().as_secs_f64()
}

/// Waits until a card has done all it was given.
pub fn finish(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// Made before anything is computed on the card: containers hide whose memory it is, so what was in use is kept.
pub struct Memory {
    before: Option<u64>,
}

impl Memory {
    pub fn new() -> Self {
        Memory { before: used() }
    }

    /// With CUDA's context and what libtorch keeps; `None` where nobody knows. `xtask/compare/card.py` asks in the same way.
    pub fn bytes(&self) -> Option<u64> {
        let listed = numbers(&ask("--query-compute-apps=pid,used_memory"));
        let own = listed.iter().find(|row| row.first() == Some(&u64::from(std::process::id())));
        let mib = match own.and_then(|row| row.get(1)) {
            Some(mib) => *mib,
            None => used()?.saturating_sub(self.before?),
        };
        Some(mib * MIB)
    }
}

/// MiB in use by everybody.
fn used() -> Option<u64> {
    numbers(&ask("--query-gpu=memory.used")).first()?.first().copied()
}

/// What the driver says; nothing where it cannot be asked.
fn ask(query: &str) -> String {
    // CUDA's first card is the first of those that it may see.
    let seen = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_else(|_| "0".into());
    let card = format!("--id={}", seen.split(',').next().unwrap_or_default());
    let said = Command::new("nvidia-smi").args([&card, query, "--format=csv,noheader,nounits"]).output();
    said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// The rows that are of numbers alone.
fn numbers(said: &str) -> Vec<Vec<u64>> {
    said.lines().filter_map(|line| line.split(',').map(|cell| cell.trim().parse().ok()).collect()).collect()
}
