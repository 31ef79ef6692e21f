//! A convolution of 3 x 3 with 48 channels on 16 images of 14 x 14, back, and the gradient of its filters, on one thread. The same with
//! factors rounded to bf16.

use criterion::{Criterion, criterion_group, criterion_main};
use flow_dense::{Filters, Images, Planes, Rounding, Slope, ThenPlanes, convolve, convolve_back, filter_gradient};

const IMAGES: Images = Images { count: 16, height: 14, width: 14 };
const CHANNELS: usize = 48;

fn numbers(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 % 1000) as f32 - 500.0) / 10_000.0).collect()
}

fn bench(c: &mut Criterion) {
    let each = CHANNELS * IMAGES.height * IMAGES.width;
    let x = Planes::from_images(&numbers(IMAGES.count * each), IMAGES, CHANNELS, each);
    let (weight, bias) = (numbers(CHANNELS * CHANNELS * 9), numbers(CHANNELS));
    let filters = Filters::new(&weight, (CHANNELS, CHANNELS), 9);
    let activation = Some(Slope(0.0));
    for (rounding, of) in [(Rounding::None, ""), (Rounding::Bf16, " of bf16")] {
        let then = || ThenPlanes { rounding, ..ThenPlanes::default() };
        c.bench_function(&format!("convolution{of}"), |b| {
            b.iter(|| convolve(filters, &x, ThenPlanes { bias: Some(&bias), activation, ..then() }));
        });
        c.bench_function(&format!("convolution{of}, back"), |b| {
            let derivative = Some((&x, Slope(0.0)));
            b.iter(|| convolve_back(filters, &x, ThenPlanes { derivative, ..then() }));
        });
        c.bench_function(&format!("convolution{of}, gradient"), |b| b.iter(|| filter_gradient(&x, &x, rounding, 9)));
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
