//! Convolutions, there and back, and the gradients of their filters against the same by plain loops in f64, of sizes that no
//! tile divides.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use common::{ROUNDING, again_with_fewer_instructions, close, draw};
use flow_dense::{
    Bf16, Filters, Images, Planes, Rounding, Slope, ThenPlanes, convolve, convolve_back, filter_gradient,
};

/// Heights and widths.
const SIZES: [(usize, usize); 7] = [(1, 1), (1, 5), (5, 1), (7, 7), (14, 14), (3, 20), (16, 31)];

/// Outputs and inputs.
const CHANNELS: [(usize, usize); 6] = [(1, 1), (14, 5), (5, 14), (31, 15), (15, 31), (33, 35)];

const TAPS: [usize; 2] = [1, 9];

const ROUNDINGS: [Rounding; 2] = [Rounding::None, Rounding::Bf16];

/// Numbers as a product has them.
fn factor(rounding: Rounding, numbers: &[f32]) -> Vec<f32> {
    let number = |x: &f32| if rounding == Rounding::Bf16 { Bf16::nearest(*x).to_f32() } else { *x };
    numbers.iter().map(number).collect()
}

fn batches() -> impl Iterator<Item = Images> {
    let of = |count| SIZES.map(|(height, width)| Images { count, height, width });
    [0, 1, 3].into_iter().flat_map(of)
}

/// Numbers of so many channels.
fn len(images: Images, channels: usize) -> usize {
    images.count * channels * images.height * images.width
}

fn planes(numbers: &[f32], images: Images, channels: usize) -> Planes {
    Planes::from_images(numbers, images, channels, channels * images.height * images.width)
}

fn numbers(planes: &Planes) -> Vec<f32> {
    let mut numbers = vec![f32::NAN; len(planes.images(), planes.channels())];
    planes.to_images(&mut numbers);
    numbers
}

/// The sum of each channel, and that of magnitudes.
fn plain_sums(numbers: &[f32], images: Images, channels: usize) -> Vec<(f64, f64)> {
    let pixels = images.height * images.width;
    let mut sums = vec![(0.0, 0.0); channels];
    for (at, x) in numbers.iter().enumerate() {
        let (sum, magnitudes) = &mut sums[at / pixels % channels];
        *sum += f64::from(*x);
        *magnitudes += f64::from(x.abs());
    }
    sums
}

/// Sums are those of the pixels: nothing lies between images.
#[track_caller]
fn sums_are_of(planes: &Planes, numbers: &[f32]) {
    let sums = planes.sums();
    assert_eq!(sums.len(), planes.channels());
    for (sum, (plain, magnitudes)) in sums.iter().zip(plain_sums(numbers, planes.images(), planes.channels())) {
        assert!((f64::from(*sum) - plain).abs() <= 1e-6 * magnitudes, "{sum} {plain}");
    }
}

/// Planes hold what they should, and zeros between images.
#[track_caller]
fn right(planes: &Planes, plain: &[f64]) {
    let numbers = numbers(planes);
    close(&numbers, plain, ROUNDING);
    sums_are_of(planes, &numbers);
}

/// Calls `f(filter, input, output)` with the places of the three numbers that meet, for each product of a convolution.
fn products(images: Images, (outputs, inputs): (usize, usize), taps: usize, mut f: impl FnMut(usize, usize, usize)) {
    let Images { count, height, width } = images;
    let side = if taps == 1 { 1 } else { 3 };
    let mut at = |image, output, input, y: usize, x: usize| {
        for (tap_y, tap_x) in (0..side).flat_map(|tap_y| (0..side).map(move |tap_x| (tap_y, tap_x))) {
            // One more than where it reads, if it is in the middle of nine.
            let (from_y, from_x) = (y + tap_y, x + tap_x);
            let edge = side / 2;
            if (edge..height + edge).contains(&from_y) && (edge..width + edge).contains(&from_x) {
                let filter = ((output * inputs + input) * side + tap_y) * side + tap_x;
                let from = ((image * inputs + input) * height + from_y - edge) * width + from_x - edge;
                f(filter, from, ((image * outputs + output) * height + y) * width + x);
            }
        }
    };
    for image in 0..count {
        for output in 0..outputs {
            for input in 0..inputs {
                for y in 0..height {
                    (0..width).for_each(|x| at(image, output, input, y, x));
                }
            }
        }
    }
}

fn plain_convolve(filters: Filters, w: &[f32], x: &[f32], images: Images) -> Vec<f64> {
    let mut out = vec![0.0; len(images, filters.outputs())];
    products(images, (filters.outputs(), filters.inputs()), filters.taps(), |filter, input, output| {
        out[output] += f64::from(w[filter]) * f64::from(x[input]);
    });
    out
}

fn plain_convolve_back(filters: Filters, w: &[f32], grad: &[f32], images: Images) -> Vec<f64> {
    let mut out = vec![0.0; len(images, filters.inputs())];
    products(images, (filters.outputs(), filters.inputs()), filters.taps(), |filter, input, output| {
        out[input] += f64::from(w[filter]) * f64::from(grad[output]);
    });
    out
}

fn plain_filter_gradient(grad: &[f32], x: &[f32], images: Images, channels: (usize, usize), taps: usize) -> Vec<f64> {
    let mut out = vec![0.0; channels.0 * channels.1 * taps];
    products(images, channels, taps, |filter, input, output| {
        out[filter] += f64::from(grad[output]) * f64::from(x[input]);
    });
    out
}

#[test]
fn images_and_back() {
    for images in batches() {
        for channels in [1, 2, 5, 31] {
            let each = channels * images.height * images.width;
            let packed = draw(len(images, channels), 1);
            for between in [0, 1, 37] {
                // Behind the last one there is nothing.
                let apart = packed.chunks(each).collect::<Vec<_>>().join(&vec![f32::NAN; between][..]);
                let there = Planes::from_images(&apart, images, channels, each + between);
                assert_eq!((there.images(), there.channels()), (images, channels));
                assert_eq!(numbers(&there), packed);
                sums_are_of(&there, &packed);
            }
        }
    }
}

#[test]
fn one_number_an_image_and_sums_of_images() {
    for images in batches() {
        for channels in [1, 5] {
            let pixels = images.height * images.width;
            let constants = draw(images.count * channels, 1);
            let there = numbers(&Planes::of_constants(&constants, images, channels));
            assert!(there.chunks(pixels).zip(&constants).all(|(image, x)| image.iter().all(|pixel| pixel == x)));
            let packed = draw(len(images, channels), 2);
            let of = |image: &[f32]| image.iter().map(|x| f64::from(*x)).sum();
            let sums: Vec<f64> = packed.chunks(pixels).map(of).collect();
            close(&planes(&packed, images, channels).sums_of_images(), &sums, ROUNDING);
        }
    }
}

/// `torch.nn.functional.conv2d` of the same, with a padding of 1.
#[test]
fn taps_are_in_the_order_of_libtorch() {
    let images = Images { count: 1, height: 2, width: 2 };
    let x = planes(&[1.0, 2.0, 3.0, 4.0], images, 1);
    let w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
    let filters = Filters::new(&w, (1, 1), 9);
    assert_eq!(numbers(&convolve(filters, &x, ThenPlanes::default())), [77.0, 67.0, 47.0, 37.0]);
    assert_eq!(numbers(&convolve_back(filters, &x, ThenPlanes::default())), [23.0, 33.0, 53.0, 63.0]);
    let one_each = planes(&[1.0; 4], images, 1);
    assert_eq!(filter_gradient(&one_each, &x, Rounding::None, 9), [1.0, 3.0, 2.0, 4.0, 10.0, 6.0, 3.0, 7.0, 4.0]);
}

/// `run` gives `plain`, and the same with each choice of what may follow; of rounded factors with nothing and with all of it.
fn with_all_that_may_follow(
    (images, channels): (Images, usize),
    plain: &[f64],
    (slope, rounding): (f32, Rounding),
    run: impl Fn(ThenPlanes) -> Planes,
) {
    let (bias, mut result, sum) = (draw(channels, 7), draw(plain.len(), 8), draw(plain.len(), 9));
    // What ReLU leaves, and 0 is not above 0.
    result.iter_mut().step_by(3).for_each(|result| *result = 0.0);
    let [result_planes, sum_planes] = [&result, &sum].map(|numbers| planes(numbers, images, channels));
    let below = |y: f64, above: bool| if above { y } else { f64::from(slope) * y };
    for asked in (0..32).step_by(if rounding == Rounding::None { 1 } else { 31 }) {
        let asks = |step: u32| asked >> step & 1 == 1;
        let mut before = None;
        let out = run(ThenPlanes {
            bias: asks(0).then_some(&bias),
            derivative: asks(1).then_some((&result_planes, Slope(slope))),
            sum: asks(2).then_some(&sum_planes),
            before_activation: asks(3).then_some(&mut before),
            activation: asks(4).then_some(Slope(slope)),
            rounding,
        });
        let steps = |(at, y): (usize, &f64)| {
            let channel = at / (images.height * images.width) % channels;
            let y = if asks(0) { y + f64::from(bias[channel]) } else { *y };
            let y = below(y, !asks(1) || result[at] > 0.0);
            if asks(2) { y + f64::from(sum[at]) } else { y }
        };
        let kept: Vec<f64> = plain.iter().enumerate().map(steps).collect();
        let activated: Vec<f64> = kept.iter().map(|y| below(*y, !asks(4) || *y > 0.0)).collect();
        assert_eq!((out.images(), out.channels()), (images, channels));
        right(&out, &activated);
        assert_eq!(before.is_some(), asks(3));
        before.iter().for_each(|before| right(before, &kept));
    }
}

#[test]
fn there_with_all_that_may_follow() {
    for images in batches() {
        for (outputs, inputs) in CHANNELS {
            for (taps, slope) in TAPS.into_iter().zip([0.01, 0.0]) {
                let (w, x) = (draw(outputs * inputs * taps, 1), draw(len(images, inputs), 2));
                let filters = Filters::new(&w, (outputs, inputs), taps);
                let input = planes(&x, images, inputs);
                for rounding in ROUNDINGS {
                    let plain = plain_convolve(filters, &factor(rounding, &w), &factor(rounding, &x), images);
                    let run = |then: ThenPlanes| convolve(filters, &input, then);
                    with_all_that_may_follow((images, outputs), &plain, (slope, rounding), run);
                }
            }
        }
    }
}

#[test]
fn back_with_all_that_may_follow() {
    for images in batches() {
        for (outputs, inputs) in CHANNELS {
            for (taps, slope) in TAPS.into_iter().zip([0.0, 0.25]) {
                let (w, g) = (draw(outputs * inputs * taps, 1), draw(len(images, outputs), 2));
                let filters = Filters::new(&w, (outputs, inputs), taps);
                let grad = planes(&g, images, outputs);
                for rounding in ROUNDINGS {
                    let plain = plain_convolve_back(filters, &factor(rounding, &w), &factor(rounding, &g), images);
                    let run = |then: ThenPlanes| convolve_back(filters, &grad, then);
                    with_all_that_may_follow((images, inputs), &plain, (slope, rounding), run);
                }
            }
        }
    }
}

/// A sum of nothing is 0, plus the bias.
#[test]
fn of_no_channels() {
    let images = Images { count: 3, height: 7, width: 5 };
    for (taps, rounding) in TAPS.into_iter().flat_map(|taps| ROUNDINGS.map(|rounding| (taps, rounding))) {
        let nothing = planes(&[], images, 0);
        let then = || ThenPlanes { bias: Some(&[0.5, -2.0, 3.0]), rounding, ..ThenPlanes::default() };
        let there = convolve(Filters::new(&[], (3, 0), taps), &nothing, then());
        let back = convolve_back(Filters::new(&[], (0, 3), taps), &nothing, then());
        for out in [there, back] {
            assert!(numbers(&out).iter().enumerate().all(|(at, y)| *y == [0.5, -2.0, 3.0][at / 35 % 3]));
        }
        let three = planes(&draw(len(images, 3), 1), images, 3);
        assert!(filter_gradient(&nothing, &three, rounding, taps).is_empty());
        assert!(filter_gradient(&three, &nothing, rounding, taps).is_empty());
    }
}

#[test]
fn gradients_of_filters() {
    for images in batches() {
        for (outputs, inputs) in [(1, 1), (2, 5), (3, 4), (4, 7), (5, 11), (7, 1), (8, 15), (11, 6), (14, 3), (35, 33)]
        {
            for (taps, rounding) in TAPS.into_iter().flat_map(|taps| ROUNDINGS.map(|rounding| (taps, rounding))) {
                let (g, x) = (draw(len(images, outputs), 1), draw(len(images, inputs), 2));
                let fast = filter_gradient(&planes(&g, images, outputs), &planes(&x, images, inputs), rounding, taps);
                let (g, x) = (factor(rounding, &g), factor(rounding, &x));
                close(&fast, &plain_filter_gradient(&g, &x, images, (outputs, inputs), taps), ROUNDING);
            }
        }
    }
}

/// There are zeros around what was computed, too, for all that reads it.
#[test]
fn what_comes_out_goes_in() {
    for images in batches() {
        let (outputs, inputs) = (5, 4);
        let (w, v) = (draw(outputs * inputs * 9, 1), draw(outputs * inputs * 9, 2));
        let (there, back) = (Filters::new(&w, (outputs, inputs), 9), Filters::new(&v, (outputs, inputs), 9));
        let (x, bias, back_bias) = (draw(len(images, inputs), 3), draw(outputs, 4), draw(inputs, 5));
        let mut kept = None;
        let then = ThenPlanes {
            bias: Some(&bias),
            before_activation: Some(&mut kept),
            activation: Some(Slope(0.01)),
            ..ThenPlanes::default()
        };
        let out = convolve(there, &planes(&x, images, inputs), then);
        for y in [out, kept.expect("it was asked for")] {
            let y_numbers = numbers(&y);
            let z = convolve_back(back, &y, ThenPlanes { bias: Some(&back_bias), ..ThenPlanes::default() });
            let each = len(Images { count: 1, ..images }, 1);
            let plain = plain_convolve_back(back, &v, &y_numbers, images).into_iter().enumerate();
            let plain: Vec<f64> = plain.map(|(at, z)| z + f64::from(back_bias[at / each % inputs])).collect();
            right(&z, &plain);
            let z_numbers = numbers(&z);
            right(&convolve(there, &z, ThenPlanes::default()), &plain_convolve(there, &w, &z_numbers, images));
            // Sums of up to 1,500 products of numbers up to 100.
            let gradient = plain_filter_gradient(&y_numbers, &z_numbers, images, (outputs, inputs), 9);
            close(&filter_gradient(&y, &z, Rounding::None, 9), &gradient, 100.0 * ROUNDING);
        }
    }
}

/// What is not finite stays in its own image, and there among its neighbours, though zeros beside it are multiplied, too.
#[test]
fn neighbours_of_what_is_not_finite() {
    let (outputs, inputs) = (15, 2);
    let (w, bias) = (draw(outputs * inputs * 9, 1), draw(outputs, 2));
    let filters = Filters::new(&w, (outputs, inputs), 9);
    let again = draw(outputs * 9, 3);
    let again_filters = Filters::new(&again, (1, outputs), 9);
    for (height, width) in SIZES {
        let images = Images { count: 3, height, width };
        let pixels = height * width;
        for at in [0, width - 1, pixels / 2, pixels - width, pixels - 1] {
            let all = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
            for (bad, rounding) in all.into_iter().flat_map(|bad| ROUNDINGS.map(|rounding| (bad, rounding))) {
                let mut x = draw(len(images, inputs), 4);
                x[inputs * pixels + at] = bad;
                let input = planes(&x, images, inputs);
                let plainly = ThenPlanes { rounding, ..ThenPlanes::default() };
                let y = convolve(
                    filters,
                    &input,
                    ThenPlanes { bias: Some(&bias), activation: Some(Slope(0.0)), ..plainly },
                );
                let plain = plain_convolve(filters, &factor(rounding, &w), &factor(rounding, &x), images);
                let plain = plain.into_iter().enumerate();
                let plain = plain.map(|(i, y)| y + f64::from(bias[i / pixels % outputs]));
                let plain: Vec<f64> = plain.map(|y| if y < 0.0 { 0.0 } else { y }).collect();
                let numbers_of_y = numbers(&y);
                close(&numbers_of_y, &plain, ROUNDING);
                let others = |image: usize| &numbers_of_y[image * outputs * pixels..][..outputs * pixels];
                assert!([0, 2].map(others).iter().all(|image| image.iter().all(|y| y.is_finite())));
                assert!(!others(1).iter().all(|y| y.is_finite()));
                // Nor is anything of it left between images.
                let z = convolve(again_filters, &y, ThenPlanes { rounding, ..ThenPlanes::default() });
                let [again, y] = [&again, &numbers_of_y].map(|numbers| factor(rounding, numbers));
                close(&numbers(&z), &plain_convolve(again_filters, &again, &y, images), ROUNDING);
            }
        }
    }
}

/// What is infinite or no number stays it, and ReLU's other side is 0 even of infinity.
#[test]
fn what_is_not_finite_and_follows() {
    let images = Images { count: 2, height: 2, width: 2 };
    let x = planes(&[-1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], images, 1);
    let filters = Filters::new(&[1.0], (1, 1), 1);
    let (nan, infinity) = (f32::NAN, f32::INFINITY);
    let seen = |y: &Planes| numbers(y).iter().map(|y| format!("{y}")).collect::<Vec<_>>().join(" ");

    let sum = planes(&[0.0, nan, infinity, -infinity, 0.0, 0.0, 0.0, 0.0], images, 1);
    for (slope, right) in [(0.0, "0 NaN inf 0 4 5 6 7"), (0.5, "-0.5 NaN inf -inf 4 5 6 7")] {
        let mut before = None;
        let then = ThenPlanes {
            sum: Some(&sum),
            before_activation: Some(&mut before),
            activation: Some(Slope(slope)),
            ..ThenPlanes::default()
        };
        assert_eq!(seen(&convolve(filters, &x, then)), right);
        assert_eq!(seen(&before.expect("it was asked for")), "-1 NaN inf -inf 4 5 6 7");
    }

    let of = planes(&[infinity, nan, -infinity, 0.0, 1.0, 1.0, 1.0, 1.0], images, 1);
    for (slope, right) in [(0.0, "-1 0 0 0 4 5 6 7"), (0.5, "-1 0.5 1 1.5 4 5 6 7")] {
        let then = ThenPlanes { derivative: Some((&of, Slope(slope))), ..ThenPlanes::default() };
        assert_eq!(seen(&convolve(filters, &x, then)), right);
    }
    // ReLU's derivative is 0 even times infinity.
    let then = ThenPlanes { derivative: Some((&of, Slope(0.0))), ..ThenPlanes::default() };
    assert_eq!(seen(&convolve_back(filters, &sum, then)), "0 0 0 0 0 0 0 0");
}

/// Gradients of filters of other channels are none the worse for it.
#[test]
fn gradients_beside_what_is_not_finite() {
    let images = Images { count: 3, height: 7, width: 7 };
    let (outputs, inputs) = (7, 6);
    for (taps, rounding) in TAPS.into_iter().flat_map(|taps| ROUNDINGS.map(|rounding| (taps, rounding))) {
        for bad in 0..inputs {
            let (g, mut x) = (draw(len(images, outputs), 1), draw(len(images, inputs), 2));
            x[(inputs + bad) * 49 + 24] = f32::NAN;
            let fast = filter_gradient(&planes(&g, images, outputs), &planes(&x, images, inputs), rounding, taps);
            let (g, x) = (factor(rounding, &g), factor(rounding, &x));
            // Far from the border every tap sees it.
            close(&fast, &plain_filter_gradient(&g, &x, images, (outputs, inputs), taps), ROUNDING);
            let of_bad = |at: usize| at / taps % inputs == bad;
            assert!(fast.iter().enumerate().all(|(at, fast)| fast.is_nan() == of_bad(at)));
        }
    }
}

/// What `f` says when it panics.
fn said(f: impl FnOnce()) -> String {
    let said = catch_unwind(AssertUnwindSafe(f)).expect_err("sizes do not go together");
    said.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn sizes_that_do_not_go_together_are_told() {
    let images = Images { count: 2, height: 3, width: 4 };
    let x = planes(&[1.0; 48], images, 2);
    let (w, bias) = ([1.0; 54], [1.0; 4]);
    let filters = |outputs, inputs| Filters::new(&w[..outputs * inputs * 9], (outputs, inputs), 9);
    let others = [planes(&[1.0; 48], Images { height: 4, width: 3, ..images }, 2), planes(&[1.0; 72], images, 3)];

    let few = said(|| drop(Planes::from_images(&[1.0; 48], images, 2, 25)));
    assert!(few.contains("2 images of 2 x 3 x 4, 25 apart, among 48"), "{few}");
    let none = said(|| drop(Planes::from_images(&[], images, 2, 0)));
    assert!(none.contains("among 0"), "{none}");
    for room in [47, 49] {
        let room = said(|| x.to_images(&mut vec![0.0; room]));
        assert!(room.contains("room for 2 images of 2 x 3 x 4"), "{room}");
    }
    for (len, taps) in [(53, 9), (24, 4)] {
        let filters = said(|| assert_eq!(Filters::new(&w[..len], (3, 2), taps).taps(), taps));
        assert!(filters.contains("filters of 2 channels"), "{filters}");
    }
    assert!(said(|| drop(convolve(filters(2, 3), &x, ThenPlanes::default()))).contains("filters are for"));
    assert!(said(|| drop(convolve_back(filters(3, 2), &x, ThenPlanes::default()))).contains("filters give"));
    for run in [convolve, convolve_back] {
        let run = |then: ThenPlanes| said(|| drop(run(filters(2, 2), &x, then)));
        assert!(run(ThenPlanes { bias: Some(&bias[..3]), ..ThenPlanes::default() }).contains("a bias for 2"));
        assert!(run(ThenPlanes { bias: Some(&bias[..1]), ..ThenPlanes::default() }).contains("a bias for 2"));
        for other in &others {
            let sum = ThenPlanes { sum: Some(other), ..ThenPlanes::default() };
            assert!(run(sum).contains("planes of 2 channels"));
            let derivative = ThenPlanes { derivative: Some((other, Slope(0.0))), ..ThenPlanes::default() };
            assert!(run(derivative).contains("planes of 2 channels"));
        }
    }
    assert!(said(|| drop(filter_gradient(&x, &others[0], Rounding::None, 9))).contains("the same images"));
    assert!(said(|| drop(filter_gradient(&x, &x, Rounding::None, 4))).contains("4 taps"));
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
