//! `*_forward.png` and `*_inverse.png` of images: a row a sample, a column a layer, black and white named.

use crate::canvas::{Anchor, Canvas, LARGEST, Rect, Text};
use crate::color::{FAINT, INK, SOFT};
use crate::error::{Error, Result};
use crate::font;
use crate::heads::Heads;
use crate::layer::{LayerImages, check_images};
use crate::number;
use crate::pixels::{draw_channels, draw_grey_bar, scale_to};
use ndarray::Axis;

/// How [`layers_images`] looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayersImagesConfig {
    /// The title over all columns.
    pub caption: String,
    /// Pixels for each value of an image; chosen from the image's size where it is `None`.
    pub scale: Option<usize>,
    /// Layers side by side, the next ones in a band below; as many as a page can show where it is `None`.
    pub columns: Option<usize>,
}

const MARGIN: f32 = 18.0;
const GAP: f32 = 6.0;
const CAPTION: f32 = 21.0;
const NUMBER: f32 = 14.0;
const LINE: f32 = 19.0;
const BAR: f32 = 8.0;
/// No narrower than a number of four digits with its sign.
const NARROWEST: f32 = 52.0;
/// A figure wider than this is shrunk on a page until nobody can read it.
const WIDEST: f32 = 1100.0;
/// Between the scales of a band and the heads of the next.
const BETWEEN: f32 = 22.0;

/// A PNG with the images as a table: a row for each sample, a column for each of `layers` in their order.
///
/// All layers hold `[n, h, w]`, or all `[n, 3, h, w]` in colour. Each column has its own scale from black to white,
/// since layers differ in scale: from [`LayerImages::with_range`], or from the percentiles 1 to 99 of the column, its
/// channels taken together; the two values are written below it. A value that is not finite is drawn in pink, and
/// counted in the last line. More layers than a page is wide are
/// broken into bands, one below the other, of about as many columns each.
///
/// # Errors
///
/// When there is no layer or no pixel, when shapes differ, when a layer holds no finite value, or when a setting makes
/// no sense.
pub fn layers_images(layers: &[LayerImages], config: &LayersImagesConfig) -> Result<Vec<u8>> {
    let shape = check_images(layers)?;
    let ranges = layers.iter().map(LayerImages::black_and_white).collect::<Result<Vec<_>>>()?;
    let layout = Layout::new(layers, config, shape)?;
    let mut canvas = Canvas::new(layout.width as usize, layout.height as usize);
    let caption = font::fit(&config.caption, CAPTION, layout.width - 2.0 * MARGIN);
    canvas.text(&caption, (MARGIN, MARGIN), Text::new(CAPTION, INK).bold().at(Anchor::Start, Anchor::Start));
    for (i, (layer, &range)) in layers.iter().zip(&ranges).enumerate() {
        layout.heads.draw(&mut canvas, i, (layout.middle(i), layout.corner(0, i).1 - 9.0));
        for (row, image) in layer.images.axis_iter(Axis(0)).enumerate() {
            let corner = layout.corner(row, i);
            draw_channels(&mut canvas, image, corner, layout.scale, range);
            let frame = Rect::new(corner.0, corner.1, layout.image.0, layout.image.1);
            canvas.frame(frame, FAINT);
        }
        layout.draw_scale(&mut canvas, i, range);
    }
    layout.draw_legend(&mut canvas, layers);
    canvas.png()
}

/// The most images of `[channels, h, w]` one below the other for which [`layers_images`] has room, at the scale that it
/// chooses: what is more need not be computed. Where layers are broken into bands, fewer have room.
pub fn most_images([channels, h, w]: [usize; 3]) -> usize {
    let height = h * scale_to(h.max(w), target(channels));
    ((LARGEST + GAP) / (height as f32 + GAP)) as usize
}

/// About how many pixels an image is wide: in colour a little more, for the common 32 x 32 to be doubled.
fn target(channels: usize) -> usize {
    if channels == 1 { 60 } else { 72 }
}

/// Where everything is.
struct Layout {
    rows: usize,
    /// Layers in a band, and how far the next band lies below.
    columns: usize,
    bands: usize,
    band: f32,
    /// How the scales were chosen.
    legend: &'static str,
    scale: usize,
    image: (f32, f32),
    cell: (f32, f32),
    left: f32,
    top: f32,
    heads: Heads,
    width: f32,
    height: f32,
}

impl Layout {
    fn new(
        layers: &[LayerImages],
        config: &LayersImagesConfig,
        (n, c, h, w): (usize, usize, usize, usize),
    ) -> Result<Self> {
        let scale = config.scale.unwrap_or_else(|| scale_to(h.max(w), target(c)));
        if !(1..=64).contains(&scale) {
            return Err(Error::setting("scale", format!("{scale} is not 1 to 64")));
        }
        let image = ((w * scale) as f32, (h * scale) as f32);
        let cell = (image.0.max(NARROWEST) + GAP, image.1 + GAP);
        let heads = Heads::new(layers.iter().map(|l| l.name.as_str()), cell.0 - 4.0);
        let caption = if config.caption.is_empty() { 0.0 } else { CAPTION + 16.0 };
        let left = MARGIN + font::width("white", NUMBER) + 12.0;
        let columns = match config.columns {
            Some(0) => return Err(Error::setting("columns", "at least one column")),
            Some(columns) => columns.min(layers.len()),
            None => even_columns(layers.len(), ((WIDEST - left - MARGIN + GAP) / cell.0) as usize),
        };
        let bands = layers.len().div_ceil(columns);
        let top = MARGIN + caption + heads.height() + 8.0;
        let band = n as f32 * cell.1 - GAP + 10.0 + BAR + 2.0 * LINE + BETWEEN + heads.height() + 8.0;
        let legend = if c == 1 { LEGEND } else { LEGEND_RGB };
        let wanted = left + columns as f32 * cell.0 - GAP + MARGIN;
        let below = 10.0 + BAR + 3.0 * LINE + MARGIN;
        let layout = Self {
            rows: n,
            columns,
            bands,
            band,
            legend,
            scale,
            image,
            cell,
            left,
            top,
            heads,
            width: wanted.max(font::width(legend, NUMBER) + 2.0 * MARGIN).ceil(),
            height: (top + (bands - 1) as f32 * band + n as f32 * cell.1 - GAP + below).ceil(),
        };
        match layout.width.max(layout.height) <= LARGEST {
            true => Ok(layout),
            false => Err(Error::setting("columns, scale", format!("a figure larger than {LARGEST} pixels"))),
        }
    }

    /// The upper left corner of an image.
    fn corner(&self, row: usize, layer: usize) -> (f32, f32) {
        let (band, column) = (layer / self.columns, layer % self.columns);
        let inset = 0.5 * (self.cell.0 - GAP - self.image.0);
        let top = self.top + band as f32 * self.band;
        ((self.left + column as f32 * self.cell.0 + inset).round(), (top + row as f32 * self.cell.1).round())
    }

    /// The middle of a layer's column.
    fn middle(&self, layer: usize) -> f32 {
        self.corner(0, layer).0 + 0.5 * self.image.0
    }

    /// The lower edge of a band's images.
    fn bottom(&self, band: usize) -> f32 {
        self.top + band as f32 * self.band + self.rows as f32 * self.cell.1 - GAP
    }

    /// The grey bar of a column, and the values of its two ends.
    fn draw_scale(&self, canvas: &mut Canvas, layer: usize, (black, white): (f32, f32)) {
        let top = self.bottom(layer / self.columns) + 10.0;
        let bar = Rect::new(self.corner(0, layer).0, top, self.image.0, BAR);
        draw_grey_bar(canvas, bar, SOFT);
        for (i, value) in [black, white].into_iter().enumerate() {
            let y = top + BAR + (i + 1) as f32 * LINE;
            let style = Text::new(NUMBER, INK).at(Anchor::Middle, Anchor::End);
            canvas.text(&number::short(value as f64), (self.middle(layer), y), style);
        }
    }

    /// What the two rows of numbers are, and how the scales were chosen.
    fn draw_legend(&self, canvas: &mut Canvas, layers: &[LayerImages]) {
        for band in 0..self.bands {
            let y = self.bottom(band) + 10.0 + BAR;
            canvas.text("black", (MARGIN, y + LINE), Text::new(NUMBER, SOFT));
            canvas.text("white", (MARGIN, y + 2.0 * LINE), Text::new(NUMBER, SOFT));
        }
        let broken = layers.iter().flat_map(|l| &l.images).filter(|v| !v.is_finite()).count();
        let chosen = layers.iter().any(|l| l.range.is_none());
        let note = match (chosen, broken) {
            (true, 0) => self.legend.to_string(),
            (false, 0) => String::new(),
            (_, broken) => format!("{} values are not finite (pink)", number::count(broken)),
        };
        let y = self.bottom(self.bands - 1) + 10.0 + BAR + 3.0 * LINE + 4.0;
        canvas.text(&note, (MARGIN, y), Text::new(NUMBER, SOFT));
    }
}

const LEGEND: &str = "Each column has its own grey scale: percentiles 1 to 99, where not fixed.";

const LEGEND_RGB: &str =
    "Each column has its own scale, the same for red, green and blue: percentiles 1 to 99, where not fixed.";

/// The columns of the fewest bands of at most `most`, as even as can be.
fn even_columns(layers: usize, most: usize) -> usize {
    layers.div_ceil(layers.div_ceil(most.max(1)))
}
