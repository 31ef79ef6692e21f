//! A legend: samples of lines with their names, in rows.

use crate::canvas::{Canvas, Text};
use crate::color::{INK, Rgb};
use crate::font;

const LABEL: f32 = 15.0;
const SWATCH: f32 = 30.0;
const BETWEEN: f32 = 26.0;
const ROW: f32 = LABEL + 9.0;

/// Entries from left to right, in as many rows as it takes.
pub(crate) struct Legend {
    room: f32,
    entries: Vec<Entry>,
    /// Where the next entry goes.
    next: (f32, usize),
}

/// A sample of a line with its name; `x` counts from the left of the legend.
struct Entry {
    text: String,
    color: Rgb,
    dashed: bool,
    x: f32,
    row: usize,
}

impl Legend {
    /// An empty legend `room` pixels wide.
    pub fn new(room: f32) -> Self {
        Self { room, entries: Vec::new(), next: (0.0, 0) }
    }

    pub fn add(&mut self, text: String, color: Rgb, dashed: bool) {
        let text = font::fit(&text, LABEL, self.room - SWATCH);
        let width = SWATCH + font::width(&text, LABEL);
        let (mut x, mut row) = self.next;
        if x > 0.0 && x + width > self.room {
            (x, row) = (0.0, row + 1);
        }
        self.next = (x + width + BETWEEN, row);
        self.entries.push(Entry { text, color, dashed, x, row });
    }

    pub fn height(&self) -> f32 {
        (self.next.1 + 1) as f32 * ROW
    }

    pub fn draw(&self, canvas: &mut Canvas, left: f32, top: f32) {
        let bounds = canvas.bounds();
        for entry in &self.entries {
            let (x, y) = (left + entry.x, top + entry.row as f32 * ROW + LABEL);
            let middle = y - 0.5 * font::CAP * LABEL;
            let (stroke, width) = match entry.dashed {
                true => (dashes(x, x + 22.0, middle), 1.8),
                false => (vec![vec![(x, middle), (x + 22.0, middle)]], 3.0),
            };
            canvas.strokes(&stroke, width, entry.color, bounds);
            canvas.text(&entry.text, (x + SWATCH, y), Text::new(LABEL, INK));
        }
    }
}

/// The dashes of a level line.
pub(crate) fn dashes(from: f32, to: f32, y: f32) -> Vec<Vec<(f32, f32)>> {
    let dash = |i: usize| {
        let x = from + 13.0 * i as f32;
        vec![(x, y), ((x + 8.0).min(to), y)]
    };
    (0..((to - from) / 13.0).ceil() as usize).map(dash).collect()
}
