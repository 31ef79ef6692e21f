//! plotters on our canvas: axes and curves with smooth lines and the embedded font.
//!
//! plotters counts in whole pixels. It is told of a sheet [`FINE`] times as large, so that what it rounds to is a
//! fraction of a real pixel.

use std::convert::Infallible;

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, DrawingBackend, IntoDrawingArea};
use plotters::style::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontTransform};

use crate::canvas::{Anchor, Canvas, Rect, Spot, Text};
use crate::color::Rgb;
use crate::error::{Error, Result};
use crate::font;

/// plotters' pixels to one of ours.
pub(crate) const FINE: f32 = 8.0;

type Drawn = std::result::Result<(), DrawingErrorKind<Infallible>>;

/// A canvas that plotters draws on.
pub(crate) struct Sheet<'a>(pub &'a mut Canvas);

impl<'a> Sheet<'a> {
    /// The part of `canvas` within `rect` as a drawing area.
    pub fn area(canvas: &'a mut Canvas, rect: Rect) -> DrawingArea<Sheet<'a>, Shift> {
        let corner = (fine(rect.x), fine(rect.y));
        let size = (fine(rect.w) as u32, fine(rect.h) as u32);
        Sheet(canvas).into_drawing_area().shrink(corner, size)
    }
}

/// Our pixels in plotters' pixels.
pub(crate) fn fine(pixels: f32) -> i32 {
    (pixels * FINE).round() as i32
}

/// Any error of plotters as ours.
pub(crate) fn plot_error(error: impl std::fmt::Display) -> Error {
    Error::Plot(error.to_string())
}

/// Turns plotters' results into ours.
pub(crate) trait OrPlotError<T> {
    fn or_plot_error(self) -> Result<T>;
}

impl<T, E: std::fmt::Display> OrPlotError<T> for std::result::Result<T, E> {
    fn or_plot_error(self) -> Result<T> {
        self.map_err(plot_error)
    }
}

fn spot((x, y): BackendCoord) -> Spot {
    (x as f32 / FINE, y as f32 / FINE)
}

/// The colour a style gives on white paper.
fn rgb(color: BackendColor) -> Rgb {
    let (r, g, b) = color.rgb;
    crate::color::PAPER.mix(Rgb([r, g, b]), color.alpha as f32)
}

fn width<S: BackendStyle>(style: &S) -> f32 {
    style.stroke_width() as f32 / FINE
}

impl DrawingBackend for Sheet<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (fine(self.0.width() as f32) as u32, fine(self.0.height() as f32) as u32)
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn {
        let (x, y) = spot(at);
        let share = (color.alpha as f32) / (FINE * FINE);
        let (r, g, b) = color.rgb;
        self.0.blend(x as i32, y as i32, Rgb([r, g, b]), share);
        Ok(())
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Drawn {
        self.draw_path([from, to], style)
    }

    fn draw_path<S, I>(&mut self, path: I, style: &S) -> Drawn
    where
        S: BackendStyle,
        I: IntoIterator<Item = BackendCoord>,
    {
        let path: Vec<Spot> = path.into_iter().map(spot).collect();
        let bounds = self.0.bounds();
        if style.color().alpha > 0.0 {
            self.0.strokes(&[path], width(style), rgb(style.color()), bounds);
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        lower_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        let ((x0, y0), (x1, y1)) = (spot(upper_left), spot(lower_right));
        let rect = Rect::new(x0, y0, x1 - x0, y1 - y0);
        match fill {
            true => self.0.fill(rect, rgb(style.color())),
            false => self.0.frame(rect, rgb(style.color())),
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, center: BackendCoord, radius: u32, style: &S, _fill: bool) -> Drawn {
        let bounds = self.0.bounds();
        self.0.disc(spot(center), radius as f32 / FINE, rgb(style.color()), bounds);
        Ok(())
    }

    fn draw_text<T: BackendTextStyle>(&mut self, text: &str, style: &T, at: BackendCoord) -> Drawn {
        let across = match style.anchor().h_pos {
            HPos::Left => Anchor::Start,
            HPos::Center => Anchor::Middle,
            HPos::Right => Anchor::End,
        };
        let down = match style.anchor().v_pos {
            VPos::Top => Anchor::Start,
            VPos::Center => Anchor::Middle,
            VPos::Bottom => Anchor::End,
        };
        let set = Text::new(style.size() as f32 / FINE, rgb(style.color())).at(across, down);
        let set = match style.transform() {
            FontTransform::Rotate90 | FontTransform::Rotate270 => set.upwards(),
            _ => set,
        };
        self.0.text(text, spot(at), set);
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(
        &self,
        text: &str,
        style: &T,
    ) -> std::result::Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let size = style.size() as f32 / FINE;
        let (w, h) = (font::width(text, size), font::CAP * size);
        Ok((fine(w) as u32, fine(h) as u32))
    }
}
