//! A sheet of RGB pixels with smooth discs, lines and text; coordinates are pixels, (0, 0) the upper left corner.

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use crate::color::{PAPER, Rgb};
use crate::error::Result;
use crate::font;
use crate::mask::Mask;

/// The largest figure whose size follows from how much is shown, each way, in pixels.
pub(crate) const LARGEST: f32 = 20_000.0;

/// A point on the canvas, in pixels.
pub(crate) type Spot = (f32, f32);

/// A rectangle on the canvas, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rect {
    pub x: f32,
    pub y: f32,
    pub w: f32,
    pub h: f32,
}

impl Rect {
    pub fn new(x: f32, y: f32, w: f32, h: f32) -> Self {
        Self { x, y, w, h }
    }

    pub fn right(self) -> f32 {
        self.x + self.w
    }

    pub fn bottom(self) -> f32 {
        self.y + self.h
    }

    #[cfg(test)]
    pub fn contains(self, (x, y): Spot) -> bool {
        x >= self.x && x <= self.right() && y >= self.y && y <= self.bottom()
    }
}

/// Where a text sits, seen from its anchor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// How a text is set. `across` runs along the line, `down` from the top of the capitals to the baseline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub size: f32,
    pub color: Rgb,
    pub bold: bool,
    pub across: Anchor,
    pub down: Anchor,
    /// A quarter turn to the left: the line runs upwards.
    pub upwards: bool,
}

impl Text {
    pub fn new(size: f32, color: Rgb) -> Self {
        Self { size, color, bold: false, across: Anchor::Start, down: Anchor::End, upwards: false }
    }

    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    pub fn at(self, across: Anchor, down: Anchor) -> Self {
        Self { across, down, ..self }
    }

    pub fn upwards(self) -> Self {
        Self { upwards: true, ..self }
    }
}

/// The pixels.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Canvas {
    /// A white canvas.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, pixels: vec![PAPER.0; width * height] }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    pub fn bounds(&self) -> Rect {
        Rect::new(0.0, 0.0, self.width as f32, self.height as f32)
    }

    /// All pixels, row after row.
    pub fn pixels(&self) -> &[[u8; 3]] {
        &self.pixels
    }

    pub fn set(&mut self, x: i32, y: i32, color: Rgb) {
        if let Some(i) = self.index(x, y) {
            self.pixels[i] = color.0;
        }
    }

    pub fn blend(&mut self, x: i32, y: i32, color: Rgb, share: f32) {
        if let Some(i) = self.index(x, y) {
            self.pixels[i] = Rgb(self.pixels[i]).mix(color, share).0;
        }
    }

    fn index(&self, x: i32, y: i32) -> Option<usize> {
        let (x, y) = (usize::try_from(x).ok()?, usize::try_from(y).ok()?);
        (x < self.width && y < self.height).then_some(y * self.width + x)
    }

    /// Fills the pixels whose centres lie in `rect`.
    pub fn fill(&mut self, rect: Rect, color: Rgb) {
        let span = |from: f32, to: f32| from.round() as i32..to.round() as i32;
        for y in span(rect.y, rect.bottom()) {
            for x in span(rect.x, rect.right()) {
                self.set(x, y, color);
            }
        }
    }

    /// Draws the outline of `rect`, one pixel wide, just outside of it.
    pub fn frame(&mut self, rect: Rect, color: Rgb) {
        let Rect { x, y, w, h } = rect;
        self.fill(Rect::new(x - 1.0, y - 1.0, w + 2.0, 1.0), color);
        self.fill(Rect::new(x - 1.0, y + h, w + 2.0, 1.0), color);
        self.fill(Rect::new(x - 1.0, y, 1.0, h), color);
        self.fill(Rect::new(x + w, y, 1.0, h), color);
    }

    /// A smooth disc, cut at the edges of `clip`.
    pub fn disc(&mut self, (cx, cy): Spot, radius: f32, color: Rgb, clip: Rect) {
        let reach = radius + 0.5;
        let x0 = (cx - reach).floor().max(clip.x) as i32;
        let x1 = (cx + reach).ceil().min(clip.right()) as i32;
        let y0 = (cy - reach).floor().max(clip.y) as i32;
        let y1 = (cy + reach).ceil().min(clip.bottom()) as i32;
        for y in y0..y1 {
            for x in x0..x1 {
                let (dx, dy) = (x as f32 + 0.5 - cx, y as f32 + 0.5 - cy);
                let share = reach - (dx * dx + dy * dy).sqrt();
                if share > 0.0 {
                    self.blend(x, y, color, share.min(1.0));
                }
            }
        }
    }

    /// Smooth lines through `paths`, cut at the edges of `clip`. Where lines cross, nothing gets darker.
    pub fn strokes(&mut self, paths: &[Vec<Spot>], width: f32, color: Rgb, clip: Rect) {
        let mut mask = Mask::new(clip, self.bounds());
        for path in paths {
            for pair in path.windows(2) {
                mask.segment(pair[0], pair[1], width);
            }
        }
        self.paint(&mask, color);
    }

    /// Lays `color` on every pixel, as much as `mask` covers.
    pub fn paint(&mut self, mask: &Mask, color: Rgb) {
        mask.for_each(|x, y, share| self.blend(x, y, color, share));
    }

    /// One line of text at `spot`.
    pub fn text(&mut self, text: &str, (x, y): Spot, style: Text) {
        let along = match style.across {
            Anchor::Start => 0.0,
            Anchor::Middle => -0.5 * font::width(text, style.size),
            Anchor::End => -font::width(text, style.size),
        };
        let below = match style.down {
            Anchor::Start => font::CAP * style.size,
            Anchor::Middle => 0.5 * font::CAP * style.size,
            Anchor::End => 0.0,
        };
        let (x, y) = (x.round() as i32, y.round() as i32);
        let below = below.round() as i32;
        let line = font::width(text, style.size) + style.size;
        let (left, up) = (along - 0.5 * style.size, below as f32 - 1.2 * style.size);
        let room = match style.upwards {
            false => Rect::new(x as f32 + left, y as f32 + up, line, 1.7 * style.size),
            true => Rect::new(x as f32 + up, y as f32 - left - line, 1.7 * style.size, line),
        };
        let mut mask = Mask::new(room, self.bounds());
        let mut put = |dx: i32, dy: i32, share: f32| {
            let (px, py) = match style.upwards {
                false => (x + dx, y + dy + below),
                true => (x + dy + below, y - dx - 1),
            };
            mask.cover(px, py, share);
        };
        // The face is a light one: a little more weight makes it as dark as print on paper.
        let more = if style.bold { 0.75 } else { 0.3 };
        font::cover(text, style.size, along, more, &mut put);
        self.paint(&mask, style.color);
    }

    /// The canvas as PNG bytes.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        PngEncoder::new_with_quality(
            &mut bytes,
            image::codecs::png::CompressionType::Best,
            image::codecs::png::FilterType::Adaptive,
        )
        .write_image(
            self.pixels.as_flattened(),
            self.width as u32,
            self.height as u32,
            ExtendedColorType::Rgb8,
        )?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::color::INK;

    fn ink(canvas: &Canvas, rect: Rect) -> usize {
        let hit = |i: usize| {
            let spot = ((i % canvas.width) as f32 + 0.5, (i / canvas.width) as f32 + 0.5);
            rect.contains(spot) && canvas.pixels[i] != PAPER.0
        };
        (0..canvas.pixels.len()).filter(|&i| hit(i)).count()
    }

    #[test]
    fn a_disc_covers_its_area_and_keeps_to_its_clip() {
        let mut canvas = Canvas::new(40, 40);
        canvas.disc((20.0, 20.0), 8.0, Rgb::grey(0), canvas.bounds());
        let dark: f32 = canvas.pixels.iter().map(|p| 1.0 - p[0] as f32 / 255.0).sum();
        assert!((dark - 201.0).abs() < 3.0, "{dark}");
        let mut canvas = Canvas::new(40, 40);
        let left = Rect::new(0.0, 0.0, 20.0, 40.0);
        canvas.disc((20.0, 20.0), 8.0, INK, left);
        assert_eq!(ink(&canvas, Rect::new(20.0, 0.0, 20.0, 40.0)), 0);
        assert!(ink(&canvas, left) > 90);
    }

    #[test]
    fn crossing_lines_are_no_darker_where_they_cross() {
        let mut canvas = Canvas::new(21, 21);
        let paths = [vec![(0.0, 10.5), (21.0, 10.5)], vec![(10.5, 0.0), (10.5, 21.0)]];
        canvas.strokes(&paths, 1.0, Rgb::grey(200), canvas.bounds());
        assert_eq!(canvas.pixels[10 * 21 + 10], [200; 3]);
        assert_eq!(canvas.pixels[10 * 21 + 3], [200; 3]);
    }

    #[test]
    fn text_sits_where_its_anchor_says() {
        let mut canvas = Canvas::new(100, 40);
        let style = Text::new(16.0, INK).at(Anchor::End, Anchor::Start);
        canvas.text("HAND", (90.0, 10.0), style);
        assert!(ink(&canvas, Rect::new(45.0, 10.0, 46.0, 12.0)) > 50);
        assert_eq!(ink(&canvas, Rect::new(0.0, 0.0, 45.0, 40.0)), 0);
        assert_eq!(ink(&canvas, Rect::new(0.0, 0.0, 100.0, 9.0)), 0);
        let mut canvas = Canvas::new(40, 100);
        canvas.text("HAND", (20.0, 50.0), Text::new(16.0, INK).at(Anchor::Middle, Anchor::Middle).upwards());
        assert!(ink(&canvas, Rect::new(12.0, 25.0, 16.0, 50.0)) > 50);
        assert_eq!(ink(&canvas, Rect::new(0.0, 0.0, 11.0, 100.0)), 0);
    }

    #[test]
    fn drawing_off_the_canvas_is_no_harm() {
        let mut canvas = Canvas::new(10, 10);
        canvas.disc((-50.0, 1e9), 3.0, INK, canvas.bounds());
        canvas.strokes(&[vec![(-1e9, 5.0), (1e9, f32::NAN)]], 1.0, INK, canvas.bounds());
        canvas.text("far away", (1000.0, -1000.0), Text::new(16.0, INK));
        assert_eq!(canvas, Canvas::new(10, 10));
    }
}
