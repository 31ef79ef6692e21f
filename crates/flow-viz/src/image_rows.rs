//! Labelled rows of images: temperatures, interpolations, attributes, classes, a row each.

use ndarray::{Array, ArrayD, ArrayView4, Axis, Dimension};

use crate::canvas::{Anchor, Canvas, LARGEST, Rect, Text};
use crate::color::{INK, Rgb, SOFT};
use crate::error::{Error, Result};
use crate::font;
use crate::heads::Heads;
use crate::images::{alike, check_range};
use crate::number;
use crate::pixels::{draw_channels, scale_to};

/// A row of images with what they have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRow {
    /// What stands at the left, e.g. `T = 0.7` or `class 3`.
    pub label: String,
    /// `[k, h, w]` or `[k, 1, h, w]` in grey, `[k, 3, h, w]` in colour.
    pub images: ArrayD<f32>,
    /// The images with a frame, counted from 0, e.g. the two real ends of an interpolation.
    pub framed: Vec<usize>,
}

impl ImageRow {
    /// A row without frames; `images` is `[k, h, w]`, `[k, 1, h, w]` or `[k, 3, h, w]`.
    pub fn new<D: Dimension>(label: impl Into<String>, images: Array<f32, D>) -> Self {
        Self { label: label.into(), images: images.into_dyn(), framed: Vec::new() }
    }

    /// The same with a frame round each of these images, counted from 0.
    pub fn with_framed(self, columns: impl IntoIterator<Item = usize>) -> Self {
        Self { framed: columns.into_iter().collect(), ..self }
    }
}

/// How [`image_rows`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageRowsConfig {
    /// The line above, e.g. `Glow on MNIST, interpolations in the latent`.
    pub caption: String,
    /// A label for each column, e.g. the strength of an attribute; none where it is empty.
    pub columns: Vec<String>,
    /// What the columns' labels are, e.g. `strength`.
    pub columns_name: String,
    /// Pixels for each value of an image; chosen from the images' size and number where it is `None`.
    pub scale: Option<usize>,
    /// The values shown as black and as white.
    pub range: (f32, f32),
    /// The colour of the frames.
    pub frame_color: Rgb,
    /// What the frames say, e.g. `test images`: written below beside a sample of a frame.
    pub frame_note: String,
}

impl Default for ImageRowsConfig {
    fn default() -> Self {
        Self {
            caption: String::new(),
            columns: Vec::new(),
            columns_name: String::new(),
            scale: None,
            range: (0.0, 1.0),
            frame_color: Rgb([226, 92, 18]),
            frame_note: String::new(),
        }
    }
}

const MARGIN: f32 = 16.0;
/// Room for a frame on either side.
const GAP: f32 = 4.0;
const FRAME: f32 = 2.0;
const CAPTION: f32 = 20.0;
const LABEL: f32 = 15.0;
const LINE: f32 = 19.0;
const NOTE: f32 = 15.0;
/// The widest a label may be before it is broken at spaces.
const WIDEST: f32 = 150.0;

/// A PNG of `rows` from top to bottom, the label of each at its left.
///
/// All rows hold as many images of one shape. Values beyond [`ImageRowsConfig::range`] are black or white; a value that
/// is not finite is drawn in pink, and a line below counts them.
///
/// # Errors
///
/// When there is no row, no image or no pixel, when shapes differ or are none of those of [`ImageRow`], when no value
/// is finite, when labels and columns differ in number, when a frame is round no image, or when a setting makes no
/// sense.
pub fn image_rows(rows: &[ImageRow], config: &ImageRowsConfig) -> Result<Vec<u8>> {
    if rows.is_empty() {
        return Err(Error::empty("the list of rows"));
    }
    let images = alike(rows.iter().map(|row| (format!("row {:?}", row.label), &row.images)))?;
    check(rows, &images, config)?;
    let broken = images.iter().flatten().filter(|v| !v.is_finite()).count();
    if broken == images.iter().map(|i| i.len()).sum::<usize>() {
        return Err(Error::not_finite("every row"));
    }
    let foot = foot(rows, config, broken);
    let layout = Layout::new(rows, images[0].dim(), config, &foot)?;
    let mut canvas = Canvas::new(layout.width as usize, layout.height as usize);
    let caption = font::fit(&config.caption, CAPTION, layout.width - 2.0 * MARGIN);
    canvas.text(&caption, (MARGIN, MARGIN), Text::new(CAPTION, INK).at(Anchor::Start, Anchor::Start));
    layout.draw_heads(&mut canvas, config);
    for (i, (row, images)) in rows.iter().zip(&images).enumerate() {
        layout.draw_label(&mut canvas, i);
        for (j, image) in images.axis_iter(Axis(0)).enumerate() {
            let corner = layout.corner(i, j);
            draw_channels(&mut canvas, image, corner, layout.scale, config.range);
            if row.framed.contains(&j) {
                draw_frame(&mut canvas, layout.cell(i, j), config.frame_color);
            }
        }
    }
    layout.draw_foot(&mut canvas, &foot, config.frame_color);
    canvas.png()
}

fn check(rows: &[ImageRow], images: &[ArrayView4<f32>], config: &ImageRowsConfig) -> Result<()> {
    check_range(config.range)?;
    let columns = images[0].dim().0;
    if !config.columns.is_empty() && config.columns.len() != columns {
        return Err(Error::shape("the labels of the columns", format!("[{columns}]"), &[config.columns.len()]));
    }
    match rows.iter().flat_map(|row| &row.framed).find(|&&i| i >= columns) {
        Some(i) => Err(Error::setting("framed", format!("there is no image {i}, counted from 0, in {columns}"))),
        None => Ok(()),
    }
}

/// A line below the rows.
struct Foot {
    text: String,
    /// Whether a sample of a frame stands before it.
    framed: bool,
}

fn foot(rows: &[ImageRow], config: &ImageRowsConfig, broken: usize) -> Vec<Foot> {
    let mut lines = Vec::new();
    if !config.frame_note.is_empty() && rows.iter().any(|row| !row.framed.is_empty()) {
        lines.push(Foot { text: config.frame_note.clone(), framed: true });
    }
    if broken > 0 {
        lines.push(Foot { text: format!("{} values are not finite (pink)", number::count(broken)), framed: false });
    }
    lines
}

/// A frame two pixels wide, just outside of `rect`.
fn draw_frame(canvas: &mut Canvas, rect: Rect, color: Rgb) {
    for more in 0..FRAME as usize {
        let more = more as f32;
        canvas.frame(Rect::new(rect.x - more, rect.y - more, rect.w + 2.0 * more, rect.h + 2.0 * more), color);
    }
}

/// Where everything is.
struct Layout {
    scale: usize,
    image: (f32, f32),
    left: f32,
    top: f32,
    labels: Vec<Vec<String>>,
    heads: Heads,
    bottom: f32,
    width: f32,
    height: f32,
}

impl Layout {
    fn new(
        rows: &[ImageRow],
        (k, _, h, w): (usize, usize, usize, usize),
        config: &ImageRowsConfig,
        foot: &[Foot],
    ) -> Result<Self> {
        let scale = config.scale.unwrap_or_else(|| chosen_scale(k, h, w));
        if !(1..=64).contains(&scale) {
            return Err(Error::setting("scale", format!("{scale} is not 1 to 64")));
        }
        let image = ((w * scale) as f32, (h * scale) as f32);
        let heads = Heads::new(config.columns.iter().map(String::as_str), image.0);
        let labels: Vec<_> = rows.iter().map(|row| label(&row.label, image.1)).collect();
        let widest = labels.iter().flatten().map(|line| font::width(line, LABEL)).fold(0.0, f32::max);
        let left = MARGIN + if widest > 0.0 { widest + 12.0 } else { FRAME };
        let caption = if config.caption.is_empty() { 0.0 } else { CAPTION + 12.0 };
        let name = if config.columns_name.is_empty() { 0.0 } else { LINE + 3.0 };
        let above = if config.columns.is_empty() { 0.0 } else { heads.height() };
        let top = MARGIN + caption + name + above + if name + above > 0.0 { 6.0 } else { 0.0 };
        let bottom = top + rows.len() as f32 * (image.1 + GAP) - GAP;
        let wanted = left + k as f32 * (image.0 + GAP) - GAP + MARGIN;
        // A caption may widen a narrow figure, within reason.
        let caption = (font::width(&config.caption, CAPTION) + 2.0 * MARGIN + 2.0).min(640.0);
        let layout = Self {
            scale,
            image,
            left: left.ceil(),
            top: top.ceil(),
            labels,
            heads,
            bottom: bottom.ceil(),
            width: wanted.max(caption).ceil(),
            height: (bottom + foot.len() as f32 * (NOTE + 9.0) + MARGIN).ceil(),
        };
        match layout.width.max(layout.height) <= LARGEST {
            true => Ok(layout),
            false => Err(Error::setting("scale", format!("a figure larger than {LARGEST} pixels"))),
        }
    }

    /// The upper left corner of an image.
    fn corner(&self, row: usize, column: usize) -> (f32, f32) {
        (self.left + column as f32 * (self.image.0 + GAP), self.top + row as f32 * (self.image.1 + GAP))
    }

    fn cell(&self, row: usize, column: usize) -> Rect {
        let (x, y) = self.corner(row, column);
        Rect::new(x, y, self.image.0, self.image.1)
    }

    fn draw_heads(&self, canvas: &mut Canvas, config: &ImageRowsConfig) {
        let base = self.top - 8.0;
        for column in 0..config.columns.len() {
            let cell = self.cell(0, column);
            self.heads.draw(canvas, column, (cell.x + 0.5 * cell.w, base));
        }
        if !config.columns_name.is_empty() {
            let above = if config.columns.is_empty() { 0.0 } else { self.heads.height() + 3.0 };
            let name = font::fit(&config.columns_name, LABEL, self.width - self.left - MARGIN);
            canvas.text(&name, (self.left, base - above), Text::new(LABEL, SOFT));
        }
    }

    /// The label of a row, its lines around the middle of the images.
    fn draw_label(&self, canvas: &mut Canvas, row: usize) {
        let lines = &self.labels[row];
        let cell = self.cell(row, 0);
        let first = cell.y + 0.5 * cell.h - 0.5 * LINE * lines.len().saturating_sub(1) as f32;
        for (i, line) in lines.iter().enumerate() {
            let style = Text::new(LABEL, INK).at(Anchor::End, Anchor::Middle);
            canvas.text(line, (self.left - 12.0, first + i as f32 * LINE), style);
        }
    }

    fn draw_foot(&self, canvas: &mut Canvas, foot: &[Foot], color: Rgb) {
        for (i, line) in foot.iter().enumerate() {
            let y = self.bottom + (i + 1) as f32 * (NOTE + 9.0);
            let mut x = self.left;
            if line.framed {
                let side = (font::CAP * NOTE).round();
                draw_frame(canvas, Rect::new(x, (y - side).round(), side, side), color);
                x += side + 10.0;
            }
            let text = font::fit(&line.text, NOTE, self.width - x - MARGIN);
            canvas.text(&text, (x, y), Text::new(NOTE, SOFT));
        }
    }
}

/// As large as a page is wide; wider only where the images of many columns could not be made out.
fn chosen_scale(k: usize, h: usize, w: usize) -> usize {
    let side = h.max(w);
    let legible = 48usize.div_ceil(side).min(scale_to(k * w, 1250));
    scale_to(k * w, 840).max(legible).min(scale_to(side, 128))
}

/// A label in lines broken at spaces, as many as the height of its row holds.
fn label(text: &str, height: f32) -> Vec<String> {
    let most = ((height / LINE) as usize).max(1);
    match font::wrap(text, LABEL, WIDEST) {
        Some(lines) if lines.len() <= most => lines,
        _ => vec![font::fit(text, LABEL, 1.6 * WIDEST)],
    }
}
