//! `*_samples.png`: many images on one sheet, square pixels, the caption above.

use ndarray::{ArrayViewD, Axis};

use crate::canvas::{Anchor, Canvas, LARGEST, Text};
use crate::color::{INK, SOFT};
use crate::error::{Error, Result};
use crate::font;
use crate::images::{check_range, with_channels};
use crate::number;
use crate::pixels::{draw_channels, scale_to};

/// How [`sheet`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct SheetConfig {
    /// The line above, e.g. `RealNVP on MNIST, 225 samples, temperature 0.75`.
    pub caption: String,
    /// Images in a row; as many as rows where it is `None` (225 images: 15).
    pub columns: Option<usize>,
    /// Pixels for each value of an image; chosen from the image's size where it is `None`.
    pub scale: Option<usize>,
    /// The values shown as black and as white.
    pub range: (f32, f32),
}

impl Default for SheetConfig {
    fn default() -> Self {
        Self { caption: String::new(), columns: None, scale: None, range: (0.0, 1.0) }
    }
}

const MARGIN: f32 = 16.0;
const GAP: f32 = 2.0;
const CAPTION: f32 = 20.0;
const NOTE: f32 = 15.0;

/// A PNG of `images`, row after row: `[n, h, w]` or `[n, 1, h, w]` in grey, `[n, 3, h, w]` in colour.
///
/// Values beyond [`SheetConfig::range`] are black or white; a value that is not finite is drawn in pink, and a line
/// below counts them.
///
/// # Errors
///
/// When there is no image or no pixel, when the shape is none of these, when no value is finite, when a setting makes no
/// sense, or when the figure would be larger than 20,000 pixels.
pub fn sheet(images: ArrayViewD<f32>, config: &SheetConfig) -> Result<Vec<u8>> {
    let images = with_channels("the batch of images", images)?;
    let (n, _, h, w) = images.dim();
    check_range(config.range)?;
    let columns = config.columns.unwrap_or((n as f64).sqrt().ceil() as usize).min(n);
    let scale = config.scale.unwrap_or_else(|| scale_to(columns * w.max(h), 840));
    if columns == 0 || !(1..=64).contains(&scale) {
        return Err(Error::setting("columns, scale", "at least one column, and 1 to 64 pixels a value"));
    }
    let broken = images.iter().filter(|v| !v.is_finite()).count();
    if broken == images.len() {
        return Err(Error::not_finite("every image"));
    }
    let cell = ((w * scale) as f32 + GAP, (h * scale) as f32 + GAP);
    let size = (columns as f32 * cell.0 - GAP, n.div_ceil(columns) as f32 * cell.1 - GAP);
    let top = if config.caption.is_empty() { MARGIN } else { MARGIN + CAPTION + 12.0 };
    let foot = if broken > 0 { MARGIN + NOTE + 8.0 } else { MARGIN };
    let width = (size.0 + 2.0 * MARGIN).max(caption_width(config));
    let height = top + size.1 + foot;
    if width.max(height) > LARGEST {
        return Err(Error::setting("columns, scale", format!("a figure larger than {LARGEST} pixels")));
    }
    let mut canvas = Canvas::new(width as usize, height as usize);
    let caption = font::fit(&config.caption, CAPTION, width - 2.0 * MARGIN);
    canvas.text(&caption, (MARGIN, MARGIN), Text::new(CAPTION, INK).at(Anchor::Start, Anchor::Start));
    for (i, image) in images.axis_iter(Axis(0)).enumerate() {
        let corner = (MARGIN + (i % columns) as f32 * cell.0, top + (i / columns) as f32 * cell.1);
        draw_channels(&mut canvas, image, corner, scale, config.range);
    }
    if broken > 0 {
        let note = format!("{} values are not finite (pink)", number::count(broken));
        canvas.text(&note, (MARGIN, top + size.1 + MARGIN + NOTE - 6.0), Text::new(NOTE, SOFT));
    }
    canvas.png()
}

/// The width a caption wants, within reason: a sheet of few small images grows to hold it.
fn caption_width(config: &SheetConfig) -> f32 {
    (font::width(&config.caption, CAPTION) + 2.0 * MARGIN + 2.0).min(640.0)
}
