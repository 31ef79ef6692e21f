//! `*_mnist.gif`: a sheet of images on their way through the layers, legible in every frame.

use ndarray::Axis;

use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{FAINT, INK, MISSING, Rgb, SOFT};
use crate::ease::{Moment, moments};
use crate::error::{Error, Result};
use crate::film::{self, Quality};
use crate::film_head::HEAD;
use crate::font;
use crate::layer::{LayerImages, check_images};
use crate::number;
use crate::pixels::{draw_grey_bar, draw_square, scale_to};

/// How [`animate_images`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct AnimateImagesConfig {
    /// What is shown, before the layer's name, e.g. `NICE`.
    pub title: String,
    /// Images in a row; chosen from their number where it is `None` (16 images: 4).
    pub columns: Option<usize>,
    /// Pixels for each value of an image; chosen from the image's size where it is `None`.
    pub scale: Option<usize>,
    /// The longest the film may take, in seconds.
    pub seconds: f32,
    /// The largest the file may be, in bytes: frames and greys are saved until it fits.
    pub max_bytes: usize,
}

impl Default for AnimateImagesConfig {
    fn default() -> Self {
        Self { title: String::new(), columns: None, scale: None, seconds: 12.0, max_bytes: 1_500_000 }
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

const MARGIN: f32 = 12.0;
const FOOT: f32 = 34.0;
const GAP: f32 = 4.0;
const NOTE: f32 = 15.0;
/// The narrowest film whose title can be read.
const NARROWEST: f32 = 320.0;

/// A GIF that takes a sheet of images through `layers` in their order (latent first, to see samples being born),
/// pausing at each, the name of the layer at work in the title.
///
/// All layers hold `[n, h, w]`. The grey scale of each layer is that of
/// [`layers_images`](crate::layers_images()); between two layers it moves from one to the other, and its ends are
/// written below the sheet in every frame.
///
/// # Errors
///
/// When there is no layer or no pixel, when shapes differ, when a layer holds no finite value, when a setting makes no
/// sense, or when the film is too large even with the fewest frames.
pub fn animate_images(layers: &[LayerImages], config: &AnimateImagesConfig) -> Result<Vec<u8>> {
    let shape = check_images(layers)?;
    let ranges = layers.iter().map(LayerImages::black_and_white).collect::<Result<Vec<_>>>()?;
    let sheet = Sheet::new(shape, config)?;
    film::within(config.max_bytes, &QUALITIES, |quality| {
        let moments = moments(layers.len(), config.seconds, quality.tweens)?;
        let delays: Vec<u16> = moments.iter().map(|m| m.delay).collect();
        let draw = |i: usize| {
            let film = Film { layers, ranges: &ranges, config, sheet: &sheet, greys: quality.colors };
            film.frame(moments[i])
        };
        // Beside the greys of the images: paper, ink and what lies between them in letters.
        film::encode(&delays, &film::samples(&moments), quality.colors + 16, draw)
    })
}

/// Where the images are.
struct Sheet {
    columns: usize,
    scale: usize,
    cell: (f32, f32),
    rect: Rect,
}

impl Sheet {
    fn new((n, h, w): (usize, usize, usize), config: &AnimateImagesConfig) -> Result<Self> {
        let columns = config.columns.unwrap_or((n as f64).sqrt().ceil() as usize).min(n);
        let rows = n.div_ceil(columns.max(1));
        let scale = config.scale.unwrap_or_else(|| scale_to((columns * w).max(rows * h), 400));
        if columns == 0 || !(1..=64).contains(&scale) {
            let reason = "at least one column, and 1 to 64 pixels a value";
            return Err(Error::setting("columns, scale", reason));
        }
        let cell = ((w * scale) as f32 + GAP, (h * scale) as f32 + GAP);
        let (width, height) = (columns as f32 * cell.0 - GAP, rows as f32 * cell.1 - GAP);
        let inset = (0.5 * (NARROWEST - width)).max(0.0).round();
        if width > 4000.0 || height > 4000.0 {
            return Err(Error::setting("columns, scale", "a film larger than 4000 pixels"));
        }
        Ok(Self { columns, scale, cell, rect: Rect::new(MARGIN + inset, HEAD, width, height) })
    }

    /// The line of the title and of the numbers: as wide as the sheet, or wider where that is narrow.
    fn line(&self) -> Rect {
        let w = self.rect.w.max(NARROWEST);
        Rect::new(MARGIN, self.rect.y, w, self.rect.h)
    }

    fn canvas(&self) -> Canvas {
        let line = self.line();
        Canvas::new((line.w + 2.0 * MARGIN) as usize, (line.bottom() + FOOT) as usize)
    }
}

struct Film<'a> {
    layers: &'a [LayerImages],
    ranges: &'a [(f32, f32)],
    config: &'a AnimateImagesConfig,
    sheet: &'a Sheet,
    greys: usize,
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
        let Sheet { columns, scale, cell, rect } = *self.sheet;
        canvas.fill(rect, FAINT);
        for (i, (a, b)) in here.axis_iter(Axis(0)).zip(next.axis_iter(Axis(0))).enumerate() {
            let corner = (rect.x + (i % columns) as f32 * cell.0, rect.y + (i / columns) as f32 * cell.1);
            for (at, &value) in a.indexed_iter() {
                let color = self.grey(moment.between(value, b[at]), range);
                draw_square(canvas, corner, at, scale, color);
            }
        }
    }

    /// The grey of a value, in as many steps as the film has greys.
    fn grey(&self, value: f32, (black, white): (f32, f32)) -> Rgb {
        if !value.is_finite() {
            return MISSING;
        }
        let steps = (self.greys.max(2) - 1) as f32;
        let step = ((value - black) / (white - black)).clamp(0.0, 1.0) * steps;
        Rgb::grey((step.round() * 255.0 / steps).round() as u8)
    }

    /// Which values are black and white in this frame.
    fn draw_foot(&self, canvas: &mut Canvas, (black, white): (f32, f32)) {
        let line = self.sheet.line();
        let y = line.bottom() + 22.0;
        let bar = Rect::new(line.x + 0.5 * line.w - 50.0, y - 10.0, 100.0, 9.0);
        draw_grey_bar(canvas, bar, SOFT);
        let words = |value: f32| font::fit(&number::fixed(value as f64), NOTE, 80.0);
        let style = Text::new(NOTE, INK);
        canvas.text(&words(black), (bar.x - 10.0, y), style.at(Anchor::End, Anchor::End));
        canvas.text(&words(white), (bar.right() + 10.0, y), style);
    }
}
