//! Small images enlarged by whole factors, every value a square of pixels.

use ndarray::{ArrayView2, ArrayView3};

use crate::canvas::{Canvas, Rect};
use crate::color::{MISSING, Rgb};

/// The grey of `value` between `black` and `white`; values beyond them are black and white.
pub(crate) fn grey(value: f32, (black, white): (f32, f32)) -> Rgb {
    match value.is_finite() {
        true => Rgb::grey(level(value, (black, white))),
        false => MISSING,
    }
}

fn level(value: f32, (black, white): (f32, f32)) -> u8 {
    (((value - black) / (white - black)).clamp(0.0, 1.0) * 255.0).round() as u8
}

/// Draws an image `[h, w]` with its upper left corner at `(x, y)`, each value `scale` pixels wide and high.
pub(crate) fn draw_grey(
    canvas: &mut Canvas,
    image: ArrayView2<f32>,
    (x, y): (f32, f32),
    scale: usize,
    range: (f32, f32),
) {
    for ((i, j), &value) in image.indexed_iter() {
        draw_square(canvas, (x, y), (i, j), scale, grey(value, range));
    }
}

/// Draws an image `[1 or 3, h, w]`, red, green and blue in turn.
pub(crate) fn draw_channels(
    canvas: &mut Canvas,
    image: ArrayView3<f32>,
    corner: (f32, f32),
    scale: usize,
    range: (f32, f32),
) {
    let (channels, h, w) = image.dim();
    for (i, j) in (0..h).flat_map(|i| (0..w).map(move |j| (i, j))) {
        let value = |c: usize| image[[c.min(channels - 1), i, j]];
        let finite = (0..3).all(|c| value(c).is_finite());
        let color = if finite { Rgb(std::array::from_fn(|c| level(value(c), range))) } else { MISSING };
        draw_square(canvas, corner, (i, j), scale, color);
    }
}

/// The square of one value.
pub(crate) fn draw_square(
    canvas: &mut Canvas,
    (x, y): (f32, f32),
    (row, column): (usize, usize),
    scale: usize,
    color: Rgb,
) {
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
