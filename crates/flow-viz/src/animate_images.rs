//! `*_mnist.gif`: a sheet of images on their way through the layers, legible in every frame.

use ndarray::Axis;

use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{FAINT, INK, SOFT};
use crate::ease::{Moment, moments};
use crate::error::{Error, Result};
use crate::film::{self, Quality};
use crate::film_sheet::FilmSheet;
use crate::font;
use crate::layer::{LayerImages, check_images};
use crate::number;
use crate::pixels::{draw_grey_bar, draw_values, level, level_of, scale_to};

/// How [`animate_images`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct AnimateImagesConfig {
    /// What is shown, before the layer's name, e.g. `NICE`.
    pub title: String,
    /// What is to be said below the images, beside the scale: the temperature, in a few letters.
    pub note: String,
    /// Images in a row; chosen from their number where it is `None` (16 images: 4).
    pub columns: Option<usize>,
    /// Pixels for each value of an image; chosen from the image's size where it is `None`.
    pub scale: Option<usize>,
    /// The longest the film may take, in seconds.
    pub seconds: f32,
    /// The largest the file may be, in bytes: frames and colours are saved until it fits, then the
    /// scale where that is `None`.
    pub max_bytes: usize,
}

impl Default for AnimateImagesConfig {
    fn default() -> Self {
        Self {
            title: String::new(),
            note: String::new(),
            columns: None,
            scale: None,
            seconds: 12.0,
            max_bytes: 1_500_000,
        }
    }
}

/// From the smoothest film to the smallest. Noise hardly compresses, so greys are what is saved first.
const QUALITIES: [Quality; 8] = [
    Quality { tweens: 12, colors: 32 },
    Quality { tweens: 10, colors: 24 },
    Quality { tweens: 8, colors: 16 },
    Quality { tweens: 6, colors: 12 },
    Quality { tweens: 4, colors: 12 },
    Quality { tweens: 2, colors: 10 },
    Quality { tweens: 1, colors: 8 },
    Quality { tweens: 0, colors: 8 },
];

/// The same for colours, of which noise has more than a palette holds.
const QUALITIES_RGB: [Quality; 8] = [
    Quality { tweens: 12, colors: 224 },
    Quality { tweens: 10, colors: 160 },
    Quality { tweens: 8, colors: 112 },
    Quality { tweens: 6, colors: 80 },
    Quality { tweens: 4, colors: 64 },
    Quality { tweens: 2, colors: 48 },
    Quality { tweens: 1, colors: 32 },
    Quality { tweens: 0, colors: 16 },
];

/// The first quality worth a try with smaller images.
const SMALL: usize = 4;

const FOOT: f32 = 34.0;
const NOTE: f32 = 15.0;
/// Width of the bar from black to white.
const BAR: f32 = 100.0;
/// From the bar to the numbers at its ends.
const BESIDE: f32 = 10.0;

/// A GIF that takes a sheet of images through `layers` in their order (latent first, to see samples being born),
/// pausing at each, the name of the layer at work in the title.
///
/// All layers hold `[n, h, w]`, or all `[n, 3, h, w]` in colour. The scale of each layer is that of
/// [`layers_images`](crate::layers_images()); between two layers it moves from one to the other, and its ends are
/// written below the sheet in every frame.
///
/// # Errors
///
/// When there is no layer or no pixel, when shapes differ, when a layer holds no finite value, when a setting makes no
/// sense, or when the film is too large even with the fewest frames.
pub fn animate_images(layers: &[LayerImages], config: &AnimateImagesConfig) -> Result<Vec<u8>> {
    let (n, channels, h, w) = check_images(layers)?;
    let ranges = layers.iter().map(LayerImages::black_and_white).collect::<Result<Vec<_>>>()?;
    let columns = config.columns.unwrap_or((n as f64).sqrt().ceil() as usize).min(n);
    let rows = n.div_ceil(columns.max(1));
    let scale = config.scale.unwrap_or_else(|| scale_to((columns * w).max(rows * h), 400));
    let qualities = if channels == 1 { &QUALITIES } else { &QUALITIES_RGB };
    let film = |scale: usize, qualities: &[Quality]| {
        let sheet = FilmSheet::new((n, h, w), columns, scale, FOOT)?;
        film::within(config.max_bytes, qualities, |quality, limit| {
            let moments = moments(layers.len(), config.seconds, quality.tweens)?;
            let delays: Vec<u16> = moments.iter().map(|m| m.delay).collect();
            let greys = (channels == 1).then_some(quality.colors);
            let draw = |i: usize| Film { layers, ranges: &ranges, config, sheet, greys }.frame(moments[i]);
            // Beside the colours of the images: paper, ink and what lies between them in letters.
            film::encode(&delays, &film::samples(&moments), quality.colors + 16, limit, draw)
        })
    };
    // Very many layers of noise fit at no quality: where nobody asked for a scale, the images get smaller.
    let scales = if config.scale.is_some() { scale..=scale } else { 1..=scale };
    let mut bytes = film(scale, qualities);
    for smaller in scales.rev().skip(1) {
        match bytes {
            Err(Error::TooLarge { .. }) => bytes = film(smaller, &qualities[SMALL..]),
            _ => break,
        }
    }
    bytes
}

struct Film<'a> {
    layers: &'a [LayerImages],
    ranges: &'a [(f32, f32)],
    config: &'a AnimateImagesConfig,
    sheet: FilmSheet,
    /// The steps from black to white; in colour the palette alone decides.
    greys: Option<usize>,
}

impl Film<'_> {
    fn frame(&self, moment: Moment) -> Canvas {
        let mut canvas = self.sheet.canvas();
        let layer = &self.layers[moment.layer()].name;
        moment.head(&self.config.title, layer, self.layers.len()).draw(&mut canvas, self.sheet.line());
        let next = (moment.from + 1).min(self.layers.len() - 1);
        let (a, b) = (self.ranges[moment.from], self.ranges[next]);
        let range = (moment.between(a.0, b.0), moment.between(a.1, b.1));
        self.draw_sheet(&mut canvas, moment, next, range);
        self.draw_foot(&mut canvas, range);
        canvas
    }

    fn draw_sheet(&self, canvas: &mut Canvas, moment: Moment, next: usize, range: (f32, f32)) {
        let (here, next) = (&self.layers[moment.from].images, &self.layers[next].images);
        canvas.fill(self.sheet.rect, FAINT);
        for (i, (a, b)) in here.axis_iter(Axis(0)).zip(next.axis_iter(Axis(0))).enumerate() {
            let value = |at, value| moment.between(value, b[at]);
            let level = |value| match self.greys {
                Some(steps) => level_of(steps, value, range),
                None => level(value, range),
            };
            draw_values(canvas, a, self.sheet.corner(i), self.sheet.scale, value, level);
        }
    }

    /// Which values are black and white in this frame, and the note.
    fn draw_foot(&self, canvas: &mut Canvas, (black, white): (f32, f32)) {
        let line = self.sheet.line();
        let y = line.bottom() + 22.0;
        let (note, left) = foot(line, self.ranges, &self.config.note);
        let bar = Rect::new(left, y - 10.0, BAR, 9.0);
        draw_grey_bar(canvas, bar, SOFT);
        let style = Text::new(NOTE, INK);
        canvas.text(&note, (line.x, y), style);
        canvas.text(&number::fixed(black as f64), (bar.x - BESIDE, y), style.at(Anchor::End, Anchor::End));
        canvas.text(&number::fixed(white as f64), (bar.right() + BESIDE, y), style);
    }
}

/// The note of a film's foot as far as there is room, and where the bar begins: in the middle, or clear of the note.
fn foot(line: Rect, ranges: &[(f32, f32)], note: &str) -> (String, f32) {
    // Room for the widest numbers of the film, two digits at least: the bar stands still from frame to frame.
    let widest = |end: fn(&(f32, f32)) -> f32| {
        let width = |range: &(f32, f32)| font::width(&number::fixed(end(range) as f64), NOTE);
        ranges.iter().map(width).fold(font::width("−88.88", NOTE), f32::max)
    };
    let (black, white) = (widest(|range| range.0), widest(|range| range.1));
    let before = 12.0 + black + BESIDE;
    let room = (0.3 * line.w).min(line.w - before - BAR - BESIDE - white);
    let note = font::fit(note, NOTE, room);
    let left = line.x + font::width(&note, NOTE) + before;
    (note, (line.x + 0.5 * (line.w - BAR)).max(left).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn note_bar_and_numbers_stand_apart_on_the_narrowest_line() {
        let line = Rect::new(12.0, 46.0, 320.0, 200.0);
        let width = |text: &str| font::width(text, NOTE);
        for (ranges, note, kept) in [
            ([(-1.74, 1.8), (0.0, 1.0)], "T = 0.75", true),
            ([(-88.88, 88.88), (0.0, 1.0)], "T = 0.75", true),
            ([(-88.88, 88.88), (0.0, 1.0)], "a note that has more than a few letters", false),
            ([(-54_321.09, -12_345.67), (0.0, 1.0)], "T = 0.75", false),
        ] {
            let (shown, bar) = foot(line, &ranges, note);
            assert_eq!(shown == note, kept, "{shown}");
            let (black, white) = ranges[0];
            let (black, white) = (width(&number::fixed(black as f64)), width(&number::fixed(white as f64)));
            assert!(line.x + width(&shown) + 8.0 < bar - BESIDE - black, "{shown} and the bar at {bar}");
            assert!(bar + BAR + BESIDE + white < line.right() + 1.0, "{shown} and the bar at {bar}");
        }
    }
}
