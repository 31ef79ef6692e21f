//! `*_confusion.png`: which classes a model takes for which.

use ndarray::{ArrayView1, ArrayView2};

use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{FAINT, INK, PAPER, Rgb, SOFT};
use crate::error::{Error, Result};
use crate::font;
use crate::heads::Heads;
use crate::number;

/// How [`confusion`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfusionConfig {
    /// The line above, e.g. `Glow on MNIST, p(class | x) by Bayes`.
    pub caption: String,
    /// What the rows are.
    pub rows_name: String,
    /// What the columns are.
    pub columns_name: String,
}

impl Default for ConfusionConfig {
    fn default() -> Self {
        Self { caption: String::new(), rows_name: "true class".into(), columns_name: "most likely class".into() }
    }
}

const MARGIN: f32 = 18.0;
const CAPTION: f32 = 20.0;
const NAME: f32 = 16.0;
const LABEL: f32 = 15.0;
const COUNT: f32 = 14.0;
const NOTE: f32 = 14.0;
const LINE: f32 = 19.0;
const GAP: f32 = 1.0;
/// The smallest cell, and the widest label.
const SMALLEST: f32 = 40.0;
const WIDEST: f32 = 160.0;
/// The colour of a cell that holds its whole row.
const FULL: Rgb = Rgb([12, 62, 128]);
const BAR: (f32, f32) = (240.0, 9.0);
/// The most classes that a picture can tell apart.
const MOST: usize = 200;

/// A PNG of `counts`, `[k, k]`: row i column j is how many of class i were taken for class j.
///
/// A cell is the darker the larger its share of the row, so that rare classes are seen like frequent ones; its number
/// is the count. Shades go with the square root of the share, for mistakes to be seen beside what is right. The
/// accuracy, which is the share of all counts on the diagonal, stands below the caption.
///
/// # Errors
///
/// When there is no class or no count above 0, when `counts` is not square, when names and classes differ in number, or
/// when there are more than 200 classes.
pub fn confusion(counts: ArrayView2<u64>, names: &[String], config: &ConfusionConfig) -> Result<Vec<u8>> {
    check(counts, names)?;
    let layout = Layout::new(counts, names, config);
    let mut canvas = Canvas::new(layout.width as usize, layout.height as usize);
    let above = Text::new(CAPTION, INK).at(Anchor::Start, Anchor::Start);
    let caption = font::fit(&config.caption, CAPTION, layout.width - 2.0 * MARGIN);
    canvas.text(&caption, (MARGIN, MARGIN), above);
    let y = MARGIN + if caption.is_empty() { 0.0 } else { CAPTION + 8.0 };
    canvas.text(&accuracy(counts), (MARGIN, y), Text { size: NAME, ..above });
    layout.draw_names(&mut canvas, names, config);
    for (i, row) in counts.rows().into_iter().enumerate() {
        let total = total(row);
        for (j, &count) in row.iter().enumerate() {
            let share = if total > 0.0 { count as f64 / total } else { 0.0 };
            draw_cell(&mut canvas, layout.cell(i, j), count, share as f32);
        }
    }
    canvas.frame(layout.all(), FAINT);
    layout.draw_scale(&mut canvas);
    canvas.png()
}

fn check(counts: ArrayView2<u64>, names: &[String]) -> Result<()> {
    let (rows, columns) = counts.dim();
    if rows != columns {
        return Err(Error::shape("the counts", "[k, k]", counts.shape()));
    }
    if counts.iter().all(|&c| c == 0) {
        return Err(Error::empty("every count"));
    }
    if names.len() != rows {
        return Err(Error::shape("the names of the classes", format!("[{rows}]"), &[names.len()]));
    }
    match rows <= MOST {
        true => Ok(()),
        false => Err(Error::setting("counts", format!("{rows} classes are more than {MOST}"))),
    }
}

/// A sum that no count can overflow.
fn total(counts: ArrayView1<u64>) -> f64 {
    counts.iter().map(|&c| c as f64).sum()
}

/// The second line of the caption.
fn accuracy(counts: ArrayView2<u64>) -> String {
    let all: f64 = counts.rows().into_iter().map(total).sum();
    let right = total(counts.diag());
    format!("accuracy {:.2} %, n = {}", 100.0 * right / all, number::count(all as usize))
}

/// The shade of a share. The square root tells a hundredth from nothing, for mistakes are what is looked for.
fn shade(share: f32) -> f32 {
    share.sqrt()
}

/// A cell in its shade, the count on it in ink or, where it is dark, in paper.
fn draw_cell(canvas: &mut Canvas, rect: Rect, count: u64, share: f32) {
    let shade = shade(share);
    canvas.fill(rect, PAPER.mix(FULL, shade));
    // A table of mostly zeros is read by what is not zero.
    let color = match count {
        0 => PAPER.mix(SOFT, 0.55),
        _ if shade > 0.5 => PAPER,
        _ => INK,
    };
    let middle = (rect.x + 0.5 * rect.w, rect.y + 0.5 * rect.h);
    let style = Text::new(COUNT, color).at(Anchor::Middle, Anchor::Middle);
    canvas.text(&number::count(count as usize), middle, style);
}

/// Where everything is.
struct Layout {
    classes: usize,
    cell: f32,
    left: f32,
    top: f32,
    heads: Heads,
    width: f32,
    height: f32,
}

impl Layout {
    fn new(counts: ArrayView2<u64>, names: &[String], config: &ConfusionConfig) -> Self {
        let classes = names.len();
        let widest = counts.iter().map(|&c| font::width(&number::count(c as usize), COUNT)).fold(0.0, f32::max);
        let cell = (widest + 12.0).max(SMALLEST).ceil();
        let heads = Heads::new(names.iter().map(String::as_str), cell - 2.0);
        let label = names.iter().map(|n| font::width(n, LABEL).min(WIDEST)).fold(0.0, f32::max);
        let upwards = if config.rows_name.is_empty() { 0.0 } else { NAME + 12.0 };
        let left = (MARGIN + upwards + label + 10.0).ceil();
        let side = classes as f32 * cell - GAP;
        // A caption may widen a narrow figure, within reason.
        let caption = (font::width(&config.caption, CAPTION) + 2.0 * MARGIN + 2.0).min(640.0);
        let foot = 2.0 * MARGIN + font::width(SCALE, NOTE) + BAR.0 + 36.0;
        let width = (left + side + MARGIN).max(caption).max(foot).ceil();
        let across = if config.columns_name.is_empty() { 0.0 } else { NAME + 8.0 };
        let titled = if config.caption.is_empty() { 0.0 } else { CAPTION + 8.0 };
        let top = (MARGIN + titled + NAME + 12.0 + across + heads.height() + 8.0).ceil();
        let height = (top + side + 16.0 + BAR.1 + LINE + MARGIN).ceil();
        Self { classes, cell, left, top, heads, width, height }
    }

    fn cell(&self, row: usize, column: usize) -> Rect {
        let (x, y) = (self.left + column as f32 * self.cell, self.top + row as f32 * self.cell);
        Rect::new(x, y, self.cell - GAP, self.cell - GAP)
    }

    fn all(&self) -> Rect {
        let side = self.classes as f32 * self.cell - GAP;
        Rect::new(self.left, self.top, side, side)
    }

    /// The names of the classes on both sides, and what the sides are.
    fn draw_names(&self, canvas: &mut Canvas, names: &[String], config: &ConfusionConfig) {
        for (i, name) in names.iter().enumerate() {
            let cell = self.cell(i, i);
            let style = Text::new(LABEL, INK).at(Anchor::End, Anchor::Middle);
            let name = font::fit(name, LABEL, WIDEST);
            canvas.text(&name, (self.left - 10.0, cell.y + 0.5 * cell.h), style);
            self.heads.draw(canvas, i, (cell.x + 0.5 * cell.w, self.top - 9.0));
        }
        let all = self.all();
        let style = Text::new(NAME, SOFT).at(Anchor::Middle, Anchor::End);
        let name = font::fit(&config.columns_name, NAME, self.width - self.left - MARGIN);
        canvas.text(&name, (all.x + 0.5 * all.w, self.top - self.heads.height() - 17.0), style);
        let style = Text::new(NAME, SOFT).at(Anchor::Middle, Anchor::Start).upwards();
        let name = font::fit(&config.rows_name, NAME, all.h.max(120.0));
        canvas.text(&name, (MARGIN, all.y + 0.5 * all.h), style);
    }

    /// What the shades are.
    fn draw_scale(&self, canvas: &mut Canvas) {
        let x = (MARGIN + font::width(SCALE, NOTE) + 14.0).round();
        let bar = Rect::new(x, (self.all().bottom() + 16.0).round(), BAR.0, BAR.1);
        for i in 0..bar.w as usize {
            let shade = PAPER.mix(FULL, i as f32 / (bar.w - 1.0));
            canvas.fill(Rect::new(bar.x + i as f32, bar.y, 1.0, bar.h), shade);
        }
        canvas.frame(bar, FAINT);
        let style = Text::new(NOTE, SOFT);
        canvas.text(SCALE, (MARGIN, bar.bottom()), style);
        for (share, text) in [(0.0, "0"), (0.01, "1 %"), (0.1, "10 %"), (0.5, "50 %"), (1.0, "100 %")] {
            let x = (bar.x + shade(share) * bar.w).round();
            canvas.fill(Rect::new(x, bar.bottom(), 1.0, 4.0), SOFT);
            canvas.text(text, (x, bar.bottom() + 8.0), style.at(Anchor::Middle, Anchor::Start));
        }
    }
}

const SCALE: &str = "share of the row";
