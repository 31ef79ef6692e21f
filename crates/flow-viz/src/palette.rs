//! A palette for a film: the colours that matter most (median cut), and the nearest of them for any pixel.

use crate::canvas::Canvas;
use crate::color::{FAINT, INK, PAPER, Rgb, SOFT};

/// Bits kept of each channel when colours are counted.
const BITS: usize = 5;
const CELLS: usize = 1 << (3 * BITS);

/// Up to 255 colours, entry 0 of the table being kept for "unchanged".
pub(crate) struct Palette {
    colors: Vec<Rgb>,
    /// The entry (from 1) for each cell of colour space.
    nearest: Vec<u8>,
}

/// A cell of colour space that occurs: its mean colour and how often.
#[derive(Clone, Copy)]
struct Bin {
    color: [f32; 3],
    count: f32,
}

impl Palette {
    /// At most `size` (8 to 255) colours for `stills`; those of the lettering are always among them.
    pub fn new(stills: &[Canvas], size: usize) -> Self {
        let size = size.clamp(8, 255);
        let mut colors = vec![PAPER, INK, SOFT, FAINT];
        let boxes = median_cut(count(stills), size - colors.len());
        for color in boxes.into_iter().map(mean) {
            if !colors.contains(&color) {
                colors.push(color);
            }
        }
        let nearest = (0..CELLS).map(|cell| closest(&colors, center(cell))).collect();
        Self { colors, nearest }
    }

    pub fn colors(&self) -> &[Rgb] {
        &self.colors
    }

    /// The table entry for each pixel, from 1.
    pub fn indices(&self, pixels: &[[u8; 3]]) -> Vec<u8> {
        pixels.iter().map(|&p| self.nearest[cell(p)]).collect()
    }
}

fn cell([r, g, b]: [u8; 3]) -> usize {
    let part = |v: u8| v as usize >> (8 - BITS);
    (part(r) << (2 * BITS)) | (part(g) << BITS) | part(b)
}

/// The middle of a cell, spread so that the first and last cells are black and white.
fn center(cell: usize) -> [f32; 3] {
    let top = (1 << BITS) - 1;
    let part = |shift: usize| ((cell >> shift) & top) as f32 * 255.0 / top as f32;
    [part(2 * BITS), part(BITS), part(0)]
}

fn closest(colors: &[Rgb], to: [f32; 3]) -> u8 {
    let distance = |c: &Rgb| -> f32 { (0..3).map(|i| (c.0[i] as f32 - to[i]).powi(2)).sum() };
    let best = (0..colors.len()).min_by(|&a, &b| distance(&colors[a]).total_cmp(&distance(&colors[b])));
    best.unwrap_or(0) as u8 + 1
}

/// How often each cell occurs, paper apart: it has its own entry.
fn count(stills: &[Canvas]) -> Vec<Bin> {
    let mut sums = vec![[0u64; 4]; CELLS];
    for pixel in stills.iter().flat_map(|s| s.pixels()).filter(|&&p| p != PAPER.0) {
        let sum = &mut sums[cell(*pixel)];
        (0..3).for_each(|i| sum[i] += pixel[i] as u64);
        sum[3] += 1;
    }
    let bin =
        |sum: &[u64; 4]| Bin { color: std::array::from_fn(|i| sum[i] as f32 / sum[3] as f32), count: sum[3] as f32 };
    sums.iter().filter(|s| s[3] > 0).map(bin).collect()
}

/// Splits the bins into at most `parts` boxes, always the one that varies most, along the channel that varies most.
fn median_cut(bins: Vec<Bin>, parts: usize) -> Vec<Vec<Bin>> {
    if bins.is_empty() || parts == 0 {
        return Vec::new();
    }
    let mut boxes = vec![(spread(&bins), bins)];
    while boxes.len() < parts {
        let widest = (0..boxes.len()).max_by(|&a, &b| boxes[a].0.1.total_cmp(&boxes[b].0.1));
        let Some(i) = widest.filter(|&i| boxes[i].1.len() > 1 && boxes[i].0.1 > 0.0) else {
            break;
        };
        let ((channel, _), mut bins) = boxes.swap_remove(i);
        bins.sort_by(|a, b| a.color[channel].total_cmp(&b.color[channel]));
        let upper = bins.split_off(halfway(&bins, channel));
        boxes.push((spread(&bins), bins));
        boxes.push((spread(&upper), upper));
    }
    boxes.into_iter().map(|(_, bins)| bins).collect()
}

/// The channel of largest variance, and that variance times a softened count, so that rare colours get a place too.
fn spread(bins: &[Bin]) -> (usize, f32) {
    let total: f32 = bins.iter().map(|b| b.count).sum();
    let variance = |i: usize| {
        let mean = bins.iter().map(|b| b.color[i] * b.count).sum::<f32>() / total;
        bins.iter().map(|b| (b.color[i] - mean).powi(2) * b.count).sum::<f32>() / total
    };
    let channels = [variance(0), variance(1), variance(2)];
    let widest = (0..3).max_by(|&a, &b| channels[a].total_cmp(&channels[b])).unwrap_or(0);
    (widest, channels[widest] * total.sqrt())
}

/// The first bin above the mean, so that neither side is empty.
fn halfway(bins: &[Bin], channel: usize) -> usize {
    let total: f32 = bins.iter().map(|b| b.count).sum();
    let mean = bins.iter().map(|b| b.color[channel] * b.count).sum::<f32>() / total;
    let at = bins.partition_point(|b| b.color[channel] < mean);
    at.clamp(1, bins.len() - 1)
}

fn mean(bins: Vec<Bin>) -> Rgb {
    let total: f32 = bins.iter().map(|b| b.count).sum();
    let channel = |i: usize| bins.iter().map(|b| b.color[i] * b.count).sum::<f32>() / total;
    Rgb(std::array::from_fn(|i| channel(i).round() as u8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canvas(colors: &[Rgb]) -> Canvas {
        let mut canvas = Canvas::new(colors.len(), 1);
        colors.iter().enumerate().for_each(|(i, &c)| canvas.set(i as i32, 0, c));
        canvas
    }

    #[test]
    fn few_colours_are_kept_exactly() {
        let wanted = [PAPER, INK, Rgb([200, 30, 40]), Rgb([10, 120, 220]), Rgb::grey(128)];
        let still = canvas(&wanted);
        let palette = Palette::new(std::slice::from_ref(&still), 16);
        for (&index, want) in palette.indices(still.pixels()).iter().zip(wanted) {
            assert_eq!(palette.colors()[index as usize - 1], want);
        }
    }

    #[test]
    fn many_greys_come_out_in_even_steps() {
        let greys: Vec<Rgb> = (0..=255).map(Rgb::grey).collect();
        let still = canvas(&greys);
        let palette = Palette::new(std::slice::from_ref(&still), 32);
        assert!(palette.colors().len() <= 32);
        for (&index, want) in palette.indices(still.pixels()).iter().zip(greys) {
            let error = palette.colors()[index as usize - 1].0[0].abs_diff(want.0[0]);
            assert!(error <= 12, "{want:?} is off by {error}");
        }
    }
}
