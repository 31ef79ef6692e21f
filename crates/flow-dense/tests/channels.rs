//! Maps of channels against the same in f64.

mod common;

use common::{ROUNDING, again_with_fewer_instructions, close, draw};
use flow_dense::{ChannelScale, mix_channels, mix_channels_gradient, scale_channels, scale_channels_back};

/// Images, inputs, outputs, pixels: fewer than a vector of either kind, several, and none.
const SIZES: [[usize; 4]; 6] =
    [[1, 1, 1, 1], [2, 4, 4, 196], [3, 8, 8, 49], [1, 12, 12, 64], [2, 5, 7, 19], [0, 4, 4, 9]];

fn f64s(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

#[test]
fn a_scale_and_a_shift_for_each_channel() {
    for [count, channels, _, pixels] in SIZES {
        let images = draw(count * channels * pixels, 1);
        let [before, scale, after] = [2, 3, 4].map(|seed| draw(channels, seed));
        let mut own = images.clone();
        scale_channels(&mut own, pixels, ChannelScale { before: &before, scale: &scale, after: &after });
        let right = images.iter().enumerate().map(|(i, &x)| {
            let [before, scale, after] = [&before, &scale, &after].map(|all| f64::from(all[i / pixels % channels]));
            (f64::from(x) + before) * scale + after
        });
        close(&own, &right.collect::<Vec<_>>(), ROUNDING);
    }
}

#[test]
fn the_way_back_of_scales() {
    for [count, channels, _, pixels] in SIZES {
        let [values, grad] = [1, 2].map(|seed| draw(count * channels * pixels, seed));
        let scale = draw(channels, 3);
        let mut own = grad.clone();
        let [of_before, of_scale] = scale_channels_back(&mut own, &values, pixels, &scale);
        let at = |i: usize| i / pixels % channels;
        let of_x: Vec<f64> = (0..grad.len()).map(|i| f64::from(grad[i]) * f64::from(scale[at(i)])).collect();
        let of = |channel: usize, f: &dyn Fn(usize) -> f64| (0..grad.len()).filter(|&i| at(i) == channel).map(f).sum();
        let of_channels = |f: &dyn Fn(usize) -> f64| (0..channels).map(|channel| of(channel, f)).collect::<Vec<f64>>();
        close(&own, &of_x, ROUNDING);
        close(&of_before, &of_channels(&|i| of_x[i]), ROUNDING);
        close(&of_scale, &of_channels(&|i| f64::from(grad[i]) * f64::from(values[i])), ROUNDING);
    }
}

#[test]
fn a_matrix_at_every_pixel() {
    for [count, inputs, outputs, pixels] in SIZES {
        let (images, matrix) = (draw(count * inputs * pixels, 1), draw(outputs * inputs, 2));
        let mut own = vec![f32::NAN; count * outputs * pixels];
        mix_channels(&images, pixels, &matrix, inputs, &mut own);
        let (images, matrix) = (f64s(&images), f64s(&matrix));
        let right = (0..own.len()).map(|i| {
            let (image, output, pixel) = (i / pixels / outputs, i / pixels % outputs, i % pixels);
            let x = |input| images[(image * inputs + input) * pixels + pixel];
            (0..inputs).map(|input| matrix[output * inputs + input] * x(input)).sum()
        });
        close(&own, &right.collect::<Vec<_>>(), ROUNDING);
    }
}

#[test]
fn the_gradient_of_the_matrix() {
    for [count, inputs, outputs, pixels] in SIZES {
        let (grad, images) = (draw(count * outputs * pixels, 1), draw(count * inputs * pixels, 2));
        let own = mix_channels_gradient(&grad, &images, pixels, outputs, inputs);
        let (grad, images) = (f64s(&grad), f64s(&images));
        let right = (0..outputs * inputs).map(|i| {
            let (output, input) = (i / inputs, i % inputs);
            let at = |image, pixel| {
                grad[(image * outputs + output) * pixels + pixel] * images[(image * inputs + input) * pixels + pixel]
            };
            (0..count).flat_map(|image| (0..pixels).map(move |pixel| (image, pixel))).map(|(i, p)| at(i, p)).sum()
        });
        close(&own, &right.collect::<Vec<_>>(), ROUNDING);
    }
}

#[test]
#[should_panic(expected = "10 numbers are no images of 4 channels of 9 pixels")]
fn images_that_are_not_whole_are_refused() {
    scale_channels(&mut [0.0; 10], 9, ChannelScale { before: &[0.0; 4], scale: &[1.0; 4], after: &[0.0; 4] });
}

#[test]
#[should_panic(expected = "35 numbers are no images of 4 channels of 9 pixels")]
fn room_for_fewer_images_is_refused() {
    mix_channels(&[0.0; 36], 9, &[0.0; 16], 4, &mut [0.0; 35]);
}

#[test]
fn the_same_with_fewer_instructions() {
    again_with_fewer_instructions("the_same_with_fewer_instructions");
}
