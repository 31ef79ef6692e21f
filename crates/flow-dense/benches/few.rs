//! One row through 24 layers of 512 to 512, whose weights come from outside a core's own cache, on one thread: as they are held.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flow_dense::{Bf16, Held, Layer, Packed, Slope, Weight, through_layers};

const WIDTH: usize = 512;
const LAYERS: usize = 24;

/// Numbers within ±1/20, of all sizes up to it.
fn numbers(len: usize, mut state: u32) -> Vec<f32> {
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) / 20.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn bench(c: &mut Criterion) {
    let size = WIDTH * WIDTH;
    let weights: Vec<Vec<f32>> = (0..LAYERS).map(|layer| numbers(size, layer as u32)).collect();
    let halves: Vec<Vec<Bf16>> = weights.iter().map(|w| w.iter().map(|&x| Bf16::nearest(x)).collect()).collect();
    let packed: Vec<Packed> = weights.iter().map(|w| Packed::new(Weight::new(w, WIDTH)).expect("smaller")).collect();
    let packed_halves = halves.iter().map(|w| Packed::of_bf16(Weight::new(w, WIDTH)).expect("smaller"));
    let packed_halves: Vec<Packed> = packed_halves.collect();
    let held: [(&str, Vec<Held>); 4] = [
        ("f32", weights.iter().map(|w| Weight::new(w, WIDTH).into()).collect()),
        ("f32, packed", packed.iter().map(Held::from).collect()),
        ("bf16", halves.iter().map(|w| Weight::new(w, WIDTH).into()).collect()),
        ("bf16, packed", packed_halves.iter().map(Held::from).collect()),
    ];
    let bias = numbers(WIDTH, 100);
    let mut group = c.benchmark_group("a few rows");
    for rows in [1, 2, 4, 15] {
        let x = numbers(rows * WIDTH, 200);
        group.throughput(Throughput::Elements((LAYERS * size) as u64));
        for (name, held) in &held {
            let layer = |weight| Layer { weight, bias: &bias, activation: Some(Slope(0.0)), residual: false };
            let layers: Vec<Layer> = held.iter().copied().map(layer).collect();
            let mut y = vec![0.0; rows * WIDTH];
            group
                .bench_function(format!("{rows}, {name}"), |b| b.iter(|| through_layers(&layers, None, &x, &mut y, 1)));
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
