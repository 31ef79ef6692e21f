//! Small images enlarged by whole factors, every value a square of pixels.

use ndarray::ArrayView3;

use crate::canvas::{Canvas, Rect};
use crate::color::{MISSING, Rgb};

/// The byte of `value` between `black` and `white`; values beyond them are black and white.
pub(crate) fn level(value: f32, (black, white): (f32, f32)) -> u8 {
    (((value - black) / (white - black)).clamp(0.0, 1.0) * 255.0).round() as u8
}

/// The same in `steps` equal steps from 0 to 255, at least two.
pub(crate) fn level_of(steps: usize, value: f32, (black, white): (f32, f32)) -> u8 {
    let top = (steps.max(2) - 1) as f32;
    let step = ((value - black) / (white - black)).clamp(0.0, 1.0) * top;
    (step.round() * 255.0 / top).round() as u8
}

/// The colour of a place in an image of 1 or 3 channels, `level` giving the byte of a value. A place of which one value
/// is not finite is missing as a whole.
pub(crate) fn color(channels: usize, value: impl Fn(usize) -> f32, level: impl Fn(f32) -> u8) -> Rgb {
    let grey = channels == 1;
    let values: [f32; 3] = std::array::from_fn(|c| if grey { value(0) } else { value(c) });
    match values.iter().all(|v| v.is_finite()) {
        true if grey => Rgb::grey(level(values[0])),
        true => Rgb(values.map(level)),
        false => MISSING,
    }
}

/// Draws an image `[1 or 3, h, w]`, red, green and blue in turn, with its upper left corner at `corner` and each value
/// `scale` pixels wide and high.
pub(crate) fn draw_channels(
    canvas: &mut Canvas,
    image: ArrayView3<f32>,
    corner: (f32, f32),
    scale: usize,
    range: (f32, f32),
) {
    draw_values(canvas, image, corner, scale, |_, value| value, |value| level(value, range));
}

/// The same with `value(at, v)` instead of each value v at `at` (channel, row, column), and `level` giving its byte.
pub(crate) fn draw_values(
    canvas: &mut Canvas,
    image: ArrayView3<f32>,
    corner: (f32, f32),
    scale: usize,
    value: impl Fn((usize, usize, usize), f32) -> f32,
    level: impl Fn(f32) -> u8,
) {
    let (channels, h, w) = image.dim();
    for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
        let color = color(channels, |c| value((c, y, x), image[[c, y, x]]), &level);
        draw_square(canvas, corner, (y, x), scale, color);
    }
}

/// The square of one value.
fn draw_square(canvas: &mut Canvas, (x, y): (f32, f32), (row, column): (usize, usize), scale: usize, color: Rgb) {
    let side = scale as f32;
    canvas.fill(Rect::new(x + column as f32 * side, y + row as f32 * side, side, side), color);
}

/// A bar that runs from black at the left to white at the right, framed.
pub(crate) fn draw_grey_bar(canvas: &mut Canvas, rect: Rect, edge: Rgb) {
    for i in 0..rect.w as usize {
        let shade = Rgb::grey((255.0 * i as f32 / (rect.w - 1.0).max(1.0)) as u8);
        canvas.fill(Rect::new(rect.x + i as f32, rect.y, 1.0, rect.h), shade);
    }
    canvas.frame(rect, edge);
}

/// The largest whole factor (1 to 12) that brings `size` pixels to at most `target`.
pub(crate) fn scale_to(size: usize, target: usize) -> usize {
    (target / size.max(1)).clamp(1, 12)
}
