//! Maps of images that know channels and no neighbours: a scale and a shift for each, and a matrix for all channels of a pixel.
//!
//! Images are `[count, channels, pixels]`, one after another.

use crate::lanes::{Lanes, with_lanes};

/// `(x + before) scale + after`, with one of each for each channel.
#[derive(Clone, Copy, Debug)]
pub struct ChannelScale<'a> {
    /// Added first.
    pub before: &'a [f32],
    /// Multiplied by.
    pub scale: &'a [f32],
    /// Added last.
    pub after: &'a [f32],
}

/// How many of these images there are.
///
/// # Panics
///
/// If they are not whole.
fn count(images: &[f32], channels: usize, pixels: usize) -> usize {
    let each = channels.checked_mul(pixels);
    let whole = each.is_some_and(|each| if each == 0 { images.is_empty() } else { images.len().is_multiple_of(each) });
    assert!(whole, "{} numbers are no images of {channels} channels of {pixels} pixels", images.len());
    images.len() / each.map_or(1, |each| each.max(1))
}

/// Scales and shifts every channel of images of so many pixels.
///
/// # Panics
///
/// If images are not whole, or there is not one number for each channel.
pub fn scale_channels(images: &mut [f32], pixels: usize, by: ChannelScale) {
    let channels = by.scale.len();
    assert!([by.before.len(), by.after.len()] == [channels; 2], "one number of each for {channels} channels");
    count(images, channels, pixels);
    for (plane, channel) in images.chunks_exact_mut(pixels.max(1)).zip((0..channels).cycle()) {
        let [before, scale, after] = [by.before, by.scale, by.after].map(|all| all[channel]);
        // SAFETY: as many numbers as there are.
        unsafe { scale_plane(plane.as_mut_ptr(), plane.len(), [before, scale, after]) }
    }
}

with_lanes! {
    unsafe fn scale_plane(plane: *mut f32, pixels: usize, by: [f32; 3]) = scale_plane_by
}

/// # Safety
///
/// So many numbers are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn scale_plane_by<V: Lanes>(plane: *mut f32, pixels: usize, by: [f32; 3]) {
    unsafe {
        let (before, scale, after) = (V::splat(by[0]), V::splat(by[1]), V::splat(by[2]));
        for i in (0..pixels).step_by(V::LANES) {
            let some = V::LANES.min(pixels - i);
            let x = V::load_first(plane.add(i), some).add(before);
            x.mul_add(scale, after).store_first(plane.add(i), some);
        }
    }
}

/// The way back through `z = (x + before) scale`: `grad` is that with respect to `z` and becomes that with respect to `x`. For each
/// channel, those with respect to `before` and to `ln scale`, the latter by the values of `z`.
///
/// ```text
/// g_x = g scale,   g_before = Σ g_x,   g_ln_scale = Σ g z
/// ```
///
/// # Panics
///
/// If images are not whole, or there are not as many values.
pub fn scale_channels_back(grad: &mut [f32], values: &[f32], pixels: usize, scale: &[f32]) -> [Vec<f32>; 2] {
    let channels = scale.len();
    assert_eq!(grad.len(), values.len(), "a gradient for each value");
    count(values, channels, pixels);
    let [mut of_before, mut of_scale] = [(); 2].map(|()| vec![0.0; channels]);
    let planes = grad.chunks_exact_mut(pixels.max(1)).zip(values.chunks_exact(pixels.max(1)));
    for ((grad, values), channel) in planes.zip((0..channels).cycle()) {
        // SAFETY: as many numbers of both.
        let sums = unsafe { scale_plane_back(grad.as_mut_ptr(), values.as_ptr(), grad.len(), scale[channel]) };
        of_before[channel] += sums[0];
        of_scale[channel] += sums[1];
    }
    [of_before, of_scale]
}

with_lanes! {
    unsafe fn scale_plane_back(grad: *mut f32, values: *const f32, pixels: usize, scale: f32) -> [f32; 2] = scale_plane_back_by
}

/// # Safety
///
/// So many numbers of both are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn scale_plane_back_by<V: Lanes>(grad: *mut f32, values: *const f32, pixels: usize, scale: f32) -> [f32; 2] {
    unsafe {
        let [mut of_before, mut of_scale] = [V::splat(0.0); 2];
        for i in (0..pixels).step_by(V::LANES) {
            let some = V::LANES.min(pixels - i);
            let g = V::load_first(grad.add(i), some);
            of_scale = g.mul_add(V::load_first(values.add(i), some), of_scale);
            of_before = of_before.add(g);
            g.mul(V::splat(scale)).store_first(grad.add(i), some);
        }
        [of_before.sum() * scale, of_scale.sum()]
    }
}

/// `z = W x` at every pixel of images: `matrix: [outputs, inputs]`, `to: [count, outputs, pixels]`.
///
/// # Panics
///
/// If the sizes do not fit.
pub fn mix_channels(images: &[f32], pixels: usize, matrix: &[f32], inputs: usize, to: &mut [f32]) {
    let count = count(images, inputs, pixels);
    let outputs = matrix.len() / inputs.max(1);
    let fits = matrix.len() == outputs * inputs && self::count(to, outputs, pixels) == count;
    assert!(fits, "{} numbers for {count} images, a matrix of {} by {inputs}", to.len(), matrix.len());
    for image in 0..count {
        let (from, to) = (&images[image * inputs * pixels..], &mut to[image * outputs * pixels..]);
        let mix = Mix { from: from.as_ptr(), to: to.as_mut_ptr(), matrix: matrix.as_ptr(), outputs, inputs, pixels };
        // SAFETY: the matrix and an image of both are there.
        unsafe { mix_image(&mix) }
    }
}

struct Mix {
    from: *const f32,
    to: *mut f32,
    matrix: *const f32,
    outputs: usize,
    inputs: usize,
    pixels: usize,
}

with_lanes! {
    unsafe fn mix_image(mix: &Mix) = mix_image_by
}

/// Outputs at a time: with two vectors of pixels each, there are registers for them everywhere.
const AT_ONCE: usize = 4;

/// # Safety
///
/// The matrix and both images are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn mix_image_by<V: Lanes>(mix: &Mix) {
    for pixel in (0..mix.pixels).step_by(V::ACROSS) {
        let rest = mix.pixels - pixel;
        let some = [V::LANES.min(rest), V::LANES.min(rest.saturating_sub(V::LANES))];
        let mut output = 0;
        while output < mix.outputs {
            unsafe {
                if mix.outputs - output < AT_ONCE {
                    mix_tile::<V, 1>(mix, output, pixel, some);
                    output += 1;
                } else {
                    mix_tile::<V, AT_ONCE>(mix, output, pixel, some);
                    output += AT_ONCE;
                }
            }
        }
    }
}

/// # Safety
///
/// As [`mix_image_by`]; so many outputs from that on, and `some` pixels of two vectors from that on, are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn mix_tile<V: Lanes, const N: usize>(mix: &Mix, output: usize, pixel: usize, some: [usize; 2]) {
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; N];
        for input in 0..mix.inputs {
            let from = mix.from.add(input * mix.pixels + pixel);
            let x = [V::load_first(from, some[0]), load_rest::<V>(from, some[1])];
            for (i, sums) in sums.iter_mut().enumerate() {
                let weight = V::splat(mix.matrix.add((output + i) * mix.inputs + input).read());
                *sums = [x[0].mul_add(weight, sums[0]), x[1].mul_add(weight, sums[1])];
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let to = mix.to.add((output + i) * mix.pixels + pixel);
            sums[0].store_first(to, some[0]);
            if some[1] > 0 {
                sums[1].store_first(to.add(V::LANES), some[1]);
            }
        }
    }
}

/// The second vector from `from` on, of which `some` numbers are there.
///
/// # Safety
///
/// They are.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn load_rest<V: Lanes>(from: *const f32, some: usize) -> V {
    unsafe { if some == 0 { V::splat(0.0) } else { V::load_first(from.add(V::LANES), some) } }
}

/// The gradient of the matrix of [`mix_channels`]: `Σ g xᵀ` over all pixels of all images, `[outputs, inputs]`.
///
/// # Panics
///
/// If images are not whole, or not as many.
pub fn mix_channels_gradient(grad: &[f32], images: &[f32], pixels: usize, outputs: usize, inputs: usize) -> Vec<f32> {
    let count = count(images, inputs, pixels);
    assert_eq!(self::count(grad, outputs, pixels), count, "gradients of {count} images");
    let mut matrix = vec![0.0; outputs * inputs];
    if count == 0 {
        return matrix;
    }
    for (output, row) in matrix.chunks_exact_mut(inputs.max(1)).enumerate() {
        let mut dots = Dots {
            a: grad[output * pixels..].as_ptr(),
            b: images.as_ptr(),
            apart: [outputs * pixels, inputs * pixels],
            count,
            pixels,
            to: row,
        };
        // SAFETY: so many planes of both are there.
        unsafe { dots_of(&mut dots) }
    }
    matrix
}

/// A plane of each image of one batch, and as many as `to` has numbers of each of another; from an image to the next so far `apart`.
struct Dots<'a> {
    a: *const f32,
    b: *const f32,
    apart: [usize; 2],
    count: usize,
    pixels: usize,
    to: &'a mut [f32],
}

with_lanes! {
    unsafe fn dots_of(dots: &mut Dots) = dots_by
}

/// # Safety
///
/// So many planes of both are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn dots_by<V: Lanes>(dots: &mut Dots) {
    let mut input = 0;
    while input < dots.to.len() {
        unsafe {
            if dots.to.len() - input < AT_ONCE {
                some_dots::<V, 1>(dots, input);
                input += 1;
            } else {
                some_dots::<V, AT_ONCE>(dots, input);
                input += AT_ONCE;
            }
        }
    }
}

/// # Safety
///
/// As [`dots_by`]; `N` planes from the `first` on are there.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn some_dots<V: Lanes, const N: usize>(dots: &mut Dots, first: usize) {
    unsafe {
        let mut sums = [[V::splat(0.0); 2]; N];
        for image in 0..dots.count {
            let a = dots.a.add(image * dots.apart[0]);
            let b = dots.b.add(image * dots.apart[1] + first * dots.pixels);
            for pixel in (0..dots.pixels).step_by(V::ACROSS) {
                let rest = dots.pixels - pixel;
                let some = [V::LANES.min(rest), V::LANES.min(rest.saturating_sub(V::LANES))];
                let (low, high) = (V::load_first(a.add(pixel), some[0]), load_rest::<V>(a.add(pixel), some[1]));
                for (i, sums) in sums.iter_mut().enumerate() {
                    let b = b.add(i * dots.pixels + pixel);
                    sums[0] = low.mul_add(V::load_first(b, some[0]), sums[0]);
                    sums[1] = high.mul_add(load_rest::<V>(b, some[1]), sums[1]);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            dots.to[first + i] = sums[0].add(sums[1]).sum();
        }
    }
}
