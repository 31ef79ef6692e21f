//! The heads of a table's columns: in lines where every one fits, else all of them upwards, for one style reads best.

use crate::canvas::{Anchor, Canvas, Spot, Text};
use crate::color::INK;
use crate::font;

const SIZE: f32 = 15.0;
const LINE: f32 = 19.0;
/// The longest name written upwards.
const LONGEST: f32 = 220.0;

/// A head for each column.
pub(crate) struct Heads(Vec<Head>);

enum Head {
    Lines(Vec<String>),
    Upwards(String),
}

impl Heads {
    /// The heads of columns `room` pixels wide.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str> + Clone, room: f32) -> Self {
        let wrapped: Option<Vec<_>> = names.clone().into_iter().map(|name| lines(name, room)).collect();
        Self(match wrapped {
            Some(all) => all.into_iter().map(Head::Lines).collect(),
            None => names.into_iter().map(|name| Head::Upwards(font::fit(name, SIZE, LONGEST))).collect(),
        })
    }

    /// Pixels from the top of the tallest head to the baseline of all.
    pub fn height(&self) -> f32 {
        let height = |head: &Head| match head {
            Head::Lines(lines) => lines.len() as f32 * LINE,
            Head::Upwards(name) => font::width(name, SIZE) + 4.0,
        };
        self.0.iter().map(height).fold(0.0, f32::max)
    }

    /// Draws the head of a column whose middle is `x`, standing on the baseline `y`.
    pub fn draw(&self, canvas: &mut Canvas, column: usize, (x, y): Spot) {
        let style = Text::new(SIZE, INK);
        match &self.0[column] {
            Head::Upwards(name) => {
                canvas.text(name, (x, y), style.at(Anchor::Start, Anchor::Middle).upwards());
            }
            Head::Lines(lines) => {
                for (i, line) in lines.iter().rev().enumerate() {
                    canvas.text(line, (x, y - i as f32 * LINE), style.at(Anchor::Middle, Anchor::End));
                }
            }
        }
    }
}

/// A name in at most three lines broken at spaces, or four where it is a path: each of its parts starts a line.
fn lines(name: &str, room: f32) -> Option<Vec<String>> {
    let parts = parts(name);
    if parts.len() == 1 || font::width(name, SIZE) <= room {
        return font::wrap(name, SIZE, room).filter(|lines| lines.len() <= 3);
    }
    let wrapped: Option<Vec<_>> = parts.into_iter().map(|part| font::wrap(part, SIZE, room)).collect();
    wrapped.map(|parts| parts.concat()).filter(|lines| lines.len() <= 4)
}

/// The parts of a path such as `level_1.step_7.coupling`, each with its dot. A dot before a digit is a decimal's.
pub(crate) fn parts(name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    for (i, pair) in name.as_bytes().windows(2).enumerate() {
        if pair[0] == b'.' && pair[1].is_ascii_alphabetic() {
            parts.push(&name[start..=i]);
            start = i + 1;
        }
    }
    parts.push(&name[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_breaks_at_its_dots_and_a_decimal_does_not() {
        assert_eq!(parts("level_1.step_7.coupling"), ["level_1.", "step_7.", "coupling"]);
        assert_eq!(parts("T = 0.7"), ["T = 0.7"]);
        assert_eq!(lines("level 1.step 7.coupling", 70.0).unwrap(), ["level 1.", "step 7.", "coupling"]);
        assert_eq!(lines("a.b", 70.0).unwrap(), ["a.b"]);
        assert_eq!(lines("level_1.permutation", 50.0), None);
    }

    #[test]
    fn one_name_too_wide_turns_all() {
        let heads = Heads::new(["a", "batch-normalization"], 60.0);
        assert!(heads.0.iter().all(|h| matches!(h, Head::Upwards(_))));
        assert!(heads.height() > 100.0);
    }
}
