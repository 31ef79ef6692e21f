//! The line over a film: its title, what is seen in this frame, and a bar that fills.

use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{FAINT, INK, SOFT};
use crate::font;
use crate::heads;

/// Height of the line with its bar.
pub(crate) const HEAD: f32 = 46.0;
const TITLE: f32 = 20.0;
const COUNT: f32 = 16.0;
/// A title or a name too long for the title's size is set in these.
const SMALL: f32 = 16.0;
const SMALLEST: f32 = 14.0;

/// What the line says in one frame.
pub(crate) struct FilmHead<'a> {
    pub title: &'a str,
    /// What is seen, e.g. the layer at work.
    pub name: &'a str,
    /// The number of what is seen, counted from 1, and of how many.
    pub count: Option<(usize, usize)>,
    /// How far the bar is filled, 0 to 1.
    pub done: f32,
}

impl FilmHead<'_> {
    /// Draws the line above `below`, as wide as that.
    pub fn draw(&self, canvas: &mut Canvas, below: Rect) {
        let baseline = below.y - 16.0;
        let mut right = below.right();
        if let Some((i, n)) = self.count {
            let style = Text::new(COUNT, SOFT).at(Anchor::End, Anchor::End);
            canvas.text(&format!("{i} / {n}"), (below.right(), baseline), style);
            right -= font::width(&format!("{n} / {n}"), COUNT) + 12.0;
        }
        let mut x = below.x;
        if !self.title.is_empty() {
            let room = if self.name.is_empty() { right - x } else { 0.6 * below.w };
            let fits = |size: &f32| font::width(self.title, *size) <= room;
            let size = [TITLE, SMALL, SMALLEST].into_iter().find(fits).unwrap_or(SMALLEST);
            let title = font::fit(self.title, size, room);
            canvas.text(&title, (x, baseline), Text::new(size, INK).bold());
            x += font::width(&title, size) + 14.0;
        }
        let (size, lines) = set(self.name, right - x);
        for (i, line) in lines.iter().rev().enumerate() {
            // Two lines stand around the middle of the title.
            let drop = if lines.len() > 1 { 3.0 } else { 0.0 };
            canvas.text(line, (x, baseline + drop - i as f32 * (size + 2.0)), Text::new(size, INK));
        }
        canvas.fill(Rect::new(below.x, below.y - 8.0, below.w, 3.0), FAINT);
        canvas.fill(Rect::new(below.x, below.y - 8.0, self.done * below.w, 3.0), SOFT);
    }
}

/// The size and the lines of a name: as large as fits one line, else small in two, else cut.
fn set(name: &str, room: f32) -> (f32, Vec<String>) {
    for size in [TITLE, SMALL] {
        if font::width(name, size) <= room {
            return (size, vec![name.to_string()]);
        }
    }
    let widest = |lines: &[String; 2]| font::width(&lines[0], SMALLEST).max(font::width(&lines[1], SMALLEST));
    let best = halves(name).into_iter().min_by(|a, b| widest(a).total_cmp(&widest(b)));
    match best {
        Some(lines) if widest(&lines) <= room => (SMALLEST, lines.to_vec()),
        Some(lines) => (SMALLEST, lines.iter().map(|line| font::fit(line, SMALLEST, room)).collect()),
        None => (TITLE, vec![font::fit(name, TITLE, room)]),
    }
}

/// All ways to break a name in two, between the parts of a path or, where it is none, between words.
fn halves(name: &str) -> Vec<[String; 2]> {
    let (parts, glue) = match heads::parts(name) {
        parts if parts.len() > 1 => (parts, ""),
        _ => (name.split_whitespace().collect(), " "),
    };
    (1..parts.len()).map(|i| [parts[..i].join(glue), parts[i..].join(glue)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_set_in_two_lines_before_it_is_cut() {
        let name = "level_3.step_8.coupling";
        assert_eq!(set(name, 400.0), (TITLE, vec![name.to_string()]));
        assert_eq!(set(name, 190.0), (SMALL, vec![name.to_string()]));
        assert_eq!(set(name, 120.0).1, ["level_3.step_8.", "coupling"]);
        assert!(set(name, 60.0).1.iter().all(|line| font::width(line, SMALLEST) <= 60.0));
        assert_eq!(set("batch normalization", 90.0).1, ["batch", "normalization"]);
        assert_eq!(set("", 10.0).1, [""]);
    }
}
