//! `*_forward.png` and `*_inverse.png` of images: a row a sample, a column a layer, black and white named.

use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{FAINT, INK, SOFT};
use crate::error::{Error, Result};
use crate::font;
use crate::layer::{LayerImages, check_images};
use crate::number;
use crate::pixels::{draw_grey, draw_grey_bar, scale_to};
use ndarray::Axis;

/// How [`layers_images`] looks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayersImagesConfig {
    /// The title over all columns.
    pub caption: String,
    /// Pixels for each value of an image; chosen from the image's size where it is `None`.
    pub scale: Option<usize>,
}

const MARGIN: f32 = 18.0;
const GAP: f32 = 6.0;
const CAPTION: f32 = 21.0;
const TITLE: f32 = 15.0;
const NUMBER: f32 = 14.0;
const LINE: f32 = 19.0;
const BAR: f32 = 8.0;
/// No narrower than a number of four digits with its sign.
const NARROWEST: f32 = 52.0;

/// A PNG with the images as a table: a row for each sample, a column for each of `layers` in their order.
///
/// All layers hold `[n, h, w]`. Each column has its own grey scale, since layers differ in scale: from
/// [`LayerImages::with_range`], or from the percentiles 1 to 99 of the column; the two values are written below it. A
/// value that is not finite is drawn in pink, and counted in the last line.
///
/// # Errors
///
/// When there is no layer or no pixel, when shapes differ, when a layer holds no finite value, or when a setting makes
/// no sense.
pub fn layers_images(layers: &[LayerImages], config: &LayersImagesConfig) -> Result<Vec<u8>> {
    let (n, h, w) = check_images(layers)?;
    let ranges = layers.iter().map(LayerImages::black_and_white).collect::<Result<Vec<_>>>()?;
    let layout = Layout::new(layers, config, (n, h, w))?;
    let mut canvas = Canvas::new(layout.width as usize, layout.height as usize);
    let caption = font::fit(&config.caption, CAPTION, layout.width - 2.0 * MARGIN);
    canvas.text(&caption, (MARGIN, MARGIN), Text::new(CAPTION, INK).bold().at(Anchor::Start, Anchor::Start));
    for (column, (layer, &range)) in layers.iter().zip(&ranges).enumerate() {
        layout.draw_title(&mut canvas, column);
        for (row, image) in layer.images.axis_iter(Axis(0)).enumerate() {
            let corner = layout.corner(row, column);
            draw_grey(&mut canvas, image, corner, layout.scale, range);
            let frame = Rect::new(corner.0, corner.1, layout.image.0, layout.image.1);
            canvas.frame(frame, FAINT);
        }
        layout.draw_scale(&mut canvas, column, range);
    }
    layout.draw_legend(&mut canvas, layers);
    canvas.png()
}

/// A column's title: in lines, or upwards where a word is too wide.
enum Title {
    Lines(Vec<String>),
    Upwards(String),
}

/// Where everything is.
struct Layout {
    rows: usize,
    scale: usize,
    image: (f32, f32),
    cell: (f32, f32),
    left: f32,
    top: f32,
    titles: Vec<Title>,
    width: f32,
    height: f32,
}

impl Layout {
    fn new(layers: &[LayerImages], config: &LayersImagesConfig, (n, h, w): (usize, usize, usize)) -> Result<Self> {
        let scale = config.scale.unwrap_or_else(|| scale_to(h.max(w), 60));
        if !(1..=64).contains(&scale) {
            return Err(Error::setting("scale", format!("{scale} is not 1 to 64")));
        }
        let image = ((w * scale) as f32, (h * scale) as f32);
        let cell = (image.0.max(NARROWEST) + GAP, image.1 + GAP);
        let titles = titles(layers, cell.0 - 4.0);
        let caption = if config.caption.is_empty() { 0.0 } else { CAPTION + 16.0 };
        let left = MARGIN + font::width("white", NUMBER) + 12.0;
        let top = MARGIN + caption + title_height(&titles) + 8.0;
        let wanted = left + layers.len() as f32 * cell.0 - GAP + MARGIN;
        let below = 10.0 + BAR + 3.0 * LINE + MARGIN;
        Ok(Self {
            rows: n,
            scale,
            image,
            cell,
            left,
            top,
            titles,
            width: wanted.max(font::width(LEGEND, NUMBER) + 2.0 * MARGIN).ceil(),
            height: (top + n as f32 * cell.1 - GAP + below).ceil(),
        })
    }

    /// The upper left corner of an image.
    fn corner(&self, row: usize, column: usize) -> (f32, f32) {
        let inset = 0.5 * (self.cell.0 - GAP - self.image.0);
        ((self.left + column as f32 * self.cell.0 + inset).round(), (self.top + row as f32 * self.cell.1).round())
    }

    /// The middle of a column.
    fn middle(&self, column: usize) -> f32 {
        self.corner(0, column).0 + 0.5 * self.image.0
    }

    fn bottom(&self) -> f32 {
        self.top + self.rows as f32 * self.cell.1 - GAP
    }

    fn draw_title(&self, canvas: &mut Canvas, column: usize) {
        let (x, y) = (self.middle(column), self.top - 9.0);
        let style = Text::new(TITLE, INK);
        match &self.titles[column] {
            Title::Upwards(name) => {
                canvas.text(name, (x, y), style.at(Anchor::Start, Anchor::Middle).upwards());
            }
            Title::Lines(lines) => {
                for (i, line) in lines.iter().rev().enumerate() {
                    canvas.text(line, (x, y - i as f32 * LINE), style.at(Anchor::Middle, Anchor::End));
                }
            }
        }
    }

    /// The grey bar of a column, and the values of its two ends.
    fn draw_scale(&self, canvas: &mut Canvas, column: usize, (black, white): (f32, f32)) {
        let top = self.bottom() + 10.0;
        let bar = Rect::new(self.corner(0, column).0, top, self.image.0, BAR);
        draw_grey_bar(canvas, bar, SOFT);
        for (i, value) in [black, white].into_iter().enumerate() {
            let y = top + BAR + (i + 1) as f32 * LINE;
            let style = Text::new(NUMBER, INK).at(Anchor::Middle, Anchor::End);
            canvas.text(&number::short(value as f64), (self.middle(column), y), style);
        }
    }

    /// What the two rows of numbers are, and how the scales were chosen.
    fn draw_legend(&self, canvas: &mut Canvas, layers: &[LayerImages]) {
        let y = self.bottom() + 10.0 + BAR;
        canvas.text("black", (MARGIN, y + LINE), Text::new(NUMBER, SOFT));
        canvas.text("white", (MARGIN, y + 2.0 * LINE), Text::new(NUMBER, SOFT));
        let broken = layers.iter().flat_map(|l| &l.images).filter(|v| !v.is_finite()).count();
        let chosen = layers.iter().any(|l| l.range.is_none());
        let note = match (chosen, broken) {
            (true, 0) => LEGEND.to_string(),
            (false, 0) => String::new(),
            (_, broken) => format!("{} values are not finite (pink)", number::count(broken)),
        };
        canvas.text(&note, (MARGIN, y + 3.0 * LINE + 4.0), Text::new(NUMBER, SOFT));
    }
}

const LEGEND: &str = "Each column has its own grey scale: percentiles 1 to 99, where not fixed.";

/// All titles in lines where every one fits, else all of them upwards: a table's head in one style.
fn titles(layers: &[LayerImages], room: f32) -> Vec<Title> {
    let lines = |l: &LayerImages| font::wrap(&l.name, TITLE, room).filter(|lines| lines.len() <= 3);
    let wrapped: Option<Vec<_>> = layers.iter().map(lines).collect();
    match wrapped {
        Some(all) => all.into_iter().map(Title::Lines).collect(),
        None => layers.iter().map(|l| Title::Upwards(font::fit(&l.name, TITLE, 220.0))).collect(),
    }
}

fn title_height(titles: &[Title]) -> f32 {
    let height = |title: &Title| match title {
        Title::Lines(lines) => lines.len() as f32 * LINE,
        Title::Upwards(name) => font::width(name, TITLE) + 4.0,
    };
    titles.iter().map(height).fold(0.0, f32::max)
}
