//! The embedded font: how wide a text is, and which pixels it covers.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, GlyphId, OutlinedGlyph, PxScale, ScaleFont, point};

/// Ubuntu Light (Ubuntu font licence 1.0), the same bytes on every machine.
static FACE: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT).expect("the embedded font is whole"));

/// Hack (MIT and Bitstream Vera licences), for signs that the first has not: arrows, subscripts, much of mathematics.
static SIGNS: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(epaint_default_fonts::HACK_REGULAR).expect("the embedded font is whole"));

/// Height of a capital letter, as a share of the font's size.
pub(crate) const CAP: f32 = 0.69;

/// A sign of a text, with its left edge in pixels from the start of the line.
struct Sign {
    face: &'static FontRef<'static>,
    id: GlyphId,
    x: f32,
}

impl Sign {
    /// `c` in the first face that has it.
    fn new(c: char, x: f32) -> Self {
        let face = match FACE.glyph_id(c) == GlyphId(0) && SIGNS.glyph_id(c) != GlyphId(0) {
            true => &*SIGNS,
            false => &*FACE,
        };
        Self { face, id: face.glyph_id(c), x }
    }
}

/// The scale at which the em square is `size` pixels: ab_glyph measures from the lowest descender to the highest ascender.
fn scale(face: &FontRef, size: f32) -> PxScale {
    PxScale::from(size * face.height_unscaled() / face.units_per_em().unwrap_or(1000.0))
}

/// The signs of `text` in their places, and the width of the whole.
fn lay_out(text: &str, size: f32) -> (Vec<Sign>, f32) {
    let mut x = 0.0;
    let mut signs: Vec<Sign> = Vec::new();
    for c in text.chars() {
        let mut sign = Sign::new(c, x);
        let font = sign.face.as_scaled(scale(sign.face, size));
        if let Some(before) = signs.last().filter(|s| std::ptr::eq(s.face, sign.face)) {
            sign.x += font.kern(before.id, sign.id);
        }
        x = sign.x + font.h_advance(sign.id);
        signs.push(sign);
    }
    (signs, x)
}

/// Width of one line of text, in pixels.
pub(crate) fn width(text: &str, size: f32) -> f32 {
    lay_out(text, size).1
}

/// Sub-pixels to a pixel, each way, while a glyph is thickened.
const FINE: usize = 4;

/// Calls `cover(x, y, share)` for each pixel that `text` touches; `(0, 0)` is the start of the baseline, moved by
/// `shift` pixels to the right. Every stroke is `more` pixels wider than the light face draws it.
pub(crate) fn cover(text: &str, size: f32, shift: f32, more: f32, mut cover: impl FnMut(i32, i32, f32)) {
    let fine = FINE as f32;
    for Sign { face, id, x } in lay_out(text, size).0 {
        let glyph = id.with_scale_and_position(scale(face, size * fine), point((x + shift) * fine, 0.0));
        if let Some(outline) = face.outline_glyph(glyph) {
            thicken(&outline, (more * fine).round() as usize, &mut cover);
        } // nothing to cover: a space
    }
}

/// Smears a glyph drawn in sub-pixels `more` of them to the right, and averages it to pixels.
fn thicken(outline: &OutlinedGlyph, more: usize, cover: &mut impl FnMut(i32, i32, f32)) {
    let (corner, far) = (outline.px_bounds().min, outline.px_bounds().max);
    // Whole pixels all around, so that sub-pixels fall into them evenly.
    let low = |v: f32| (v / FINE as f32).floor() as i32;
    let (x0, y0) = (low(corner.x), low(corner.y));
    let (w, h) = (low(far.x) - x0 + 2, low(far.y) - y0 + 1);
    let mut share = vec![0f32; (w * h) as usize * FINE * FINE];
    let row = w as usize * FINE;
    let start = |at: f32, pixel: i32| (at as i32 - pixel * FINE as i32) as usize;
    let (left, top) = (start(corner.x, x0), start(corner.y, y0));
    outline.draw(|dx, dy, c| {
        let at = (top + dy as usize) * row + left + dx as usize;
        for cell in share.iter_mut().skip(at).take(more + 1) {
            *cell = cell.max(c);
        }
    });
    for (y, x) in (0..h).flat_map(|y| (0..w).map(move |x| (y, x))) {
        let lines = (0..FINE).map(|i| (y as usize * FINE + i) * row + x as usize * FINE);
        let sum: f32 = lines.map(|at| share[at..at + FINE].iter().sum::<f32>()).sum();
        if sum > 0.0 {
            cover(x0 + x, y0 + y, sum / (FINE * FINE) as f32);
        }
    }
}

/// Breaks `text` at spaces into lines no wider than `room` pixels, or nothing where a single word is wider.
pub(crate) fn wrap(text: &str, size: f32, room: f32) -> Option<Vec<String>> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        if width(word, size) > room {
            return None;
        }
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}"), size) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_string()),
        }
    }
    Some(lines)
}

/// `text`, cut and ended with an ellipsis where it is wider than `room` pixels.
pub(crate) fn fit(text: &str, size: f32, room: f32) -> String {
    if width(text, size) <= room {
        return text.to_string();
    }
    let mut kept: Vec<char> = text.chars().collect();
    while kept.pop().is_some() {
        let short: String = kept.iter().collect::<String>().trim_end().to_string() + "…";
        if width(&short, size) <= room {
            return short;
        }
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capitals_are_as_high_as_said() {
        let mut top = 0;
        cover("H", 100.0, 0.0, 0.0, |_, y, share| {
            if share > 0.5 {
                top = top.min(y);
            }
        });
        assert!((top + (CAP * 100.0) as i32).abs() <= 2, "{top}");
    }

    #[test]
    fn lines_break_at_spaces_and_never_in_words() {
        assert_eq!(wrap("coupling 3", 16.0, 70.0).unwrap(), ["coupling", "3"]);
        assert_eq!(wrap("coupling 3", 16.0, 200.0).unwrap(), ["coupling 3"]);
        assert_eq!(wrap("coupling 3", 16.0, 30.0), None);
    }

    #[test]
    fn long_text_ends_in_an_ellipsis() {
        let short = fit("a rather long name of a layer", 16.0, 80.0);
        assert!(short.ends_with('…') && width(&short, 16.0) <= 80.0);
    }

    #[test]
    fn the_signs_we_print_are_in_the_font() {
        for c in "−…×≤±–→←₁₂√".chars() {
            assert_ne!(Sign::new(c, 0.0).id, GlyphId(0), "{c}");
        }
    }
}
