//! The embedded font: how wide a text is, and which pixels it covers.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, GlyphId, PxScale, ScaleFont, point};

/// Ubuntu Light (Ubuntu font licence 1.0), the same bytes on every machine.
static FACE: LazyLock<FontRef<'static>> =
    LazyLock::new(|| FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT).expect("the embedded font is whole"));

/// Height of a capital letter, as a share of the font's size.
pub(crate) const CAP: f32 = 0.69;

/// The scale at which the em square is `size` pixels: ab_glyph measures from the lowest descender to the highest ascender.
fn scale(size: f32) -> PxScale {
    let units = FACE.units_per_em().unwrap_or(1000.0);
    PxScale::from(size * FACE.height_unscaled() / units)
}

/// Every glyph of `text` with its left edge, in pixels from the start; then the width of the whole.
fn lay_out(text: &str, size: f32) -> (Vec<(GlyphId, f32)>, f32) {
    let font = FACE.as_scaled(scale(size));
    let mut x = 0.0;
    let mut previous = None;
    let mut glyphs = Vec::new();
    for c in text.chars() {
        let glyph = font.glyph_id(c);
        if let Some(previous) = previous {
            x += font.kern(previous, glyph);
        }
        glyphs.push((glyph, x));
        x += font.h_advance(glyph);
        previous = Some(glyph);
    }
    (glyphs, x)
}

/// Width of one line of text, in pixels.
pub(crate) fn width(text: &str, size: f32) -> f32 {
    lay_out(text, size).1
}

/// Calls `cover(x, y, share)` for each pixel that `text` touches; `(0, 0)` is the start of the baseline, moved by
/// `shift` pixels to the right.
pub(crate) fn cover(text: &str, size: f32, shift: f32, mut cover: impl FnMut(i32, i32, f32)) {
    for (id, x) in lay_out(text, size).0 {
        let glyph = id.with_scale_and_position(scale(size), point(x + shift, 0.0));
        let Some(outline) = FACE.outline_glyph(glyph) else {
            continue; // a space
        };
        let corner = outline.px_bounds().min;
        outline.draw(|dx, dy, share| {
            cover(corner.x as i32 + dx as i32, corner.y as i32 + dy as i32, share);
        });
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
        cover("H", 100.0, 0.0, |_, y, share| {
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
        for c in "−…→×≤±–".chars() {
            assert_ne!(FACE.glyph_id(c), GlyphId(0), "{c}");
        }
    }
}
