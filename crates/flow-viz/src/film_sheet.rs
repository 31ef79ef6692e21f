//! Where the images of a film stand: in rows of equal cells, between the line above and a foot.

use crate::canvas::{Canvas, Rect};
use crate::error::{Error, Result};
use crate::film_head::HEAD;

pub(crate) const MARGIN: f32 = 12.0;
const GAP: f32 = 4.0;
/// The narrowest film whose title can be read.
const NARROWEST: f32 = 320.0;
/// The largest film, each way.
const LARGEST: f32 = 4000.0;

/// The cells of a film's images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FilmSheet {
    columns: usize,
    pub scale: usize,
    cell: (f32, f32),
    /// All cells.
    pub rect: Rect,
    foot: f32,
}

impl FilmSheet {
    /// Cells for `n` images of `h` x `w` values, `foot` pixels left free below.
    ///
    /// # Errors
    ///
    /// When there is no column, when a value takes not 1 to 64 pixels, or when the film is too large.
    pub fn new((n, h, w): (usize, usize, usize), columns: usize, scale: usize, foot: f32) -> Result<Self> {
        if columns == 0 || !(1..=64).contains(&scale) {
            let reason = "at least one column, and 1 to 64 pixels a value";
            return Err(Error::setting("columns, scale", reason));
        }
        let columns = columns.min(n);
        let rows = n.div_ceil(columns);
        let cell = ((w * scale) as f32 + GAP, (h * scale) as f32 + GAP);
        let (width, height) = (columns as f32 * cell.0 - GAP, rows as f32 * cell.1 - GAP);
        let inset = (0.5 * (NARROWEST - width)).max(0.0).round();
        if width > LARGEST || height > LARGEST {
            return Err(Error::setting("columns, scale", format!("a film larger than {LARGEST} pixels")));
        }
        Ok(Self { columns, scale, cell, rect: Rect::new(MARGIN + inset, HEAD, width, height), foot })
    }

    /// The line of the title and of the foot: as wide as the sheet, or wider where that is narrow.
    pub fn line(&self) -> Rect {
        let w = self.rect.w.max(NARROWEST);
        Rect::new(MARGIN, self.rect.y, w, self.rect.h)
    }

    pub fn canvas(&self) -> Canvas {
        let line = self.line();
        Canvas::new((line.w + 2.0 * MARGIN) as usize, (line.bottom() + self.foot) as usize)
    }

    /// The upper left corner of image `i`.
    pub fn corner(&self, i: usize) -> (f32, f32) {
        let (row, column) = (i / self.columns, i % self.columns);
        (self.rect.x + column as f32 * self.cell.0, self.rect.y + row as f32 * self.cell.1)
    }
}
