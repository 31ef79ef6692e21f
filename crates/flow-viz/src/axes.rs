//! Labelled axes around a part of the canvas, drawn by plotters.

use plotters::chart::ChartBuilder;
use plotters::coord::ranged1d::{BoldPoints, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{IntoFont, LineSeries, ShapeStyle};
use plotters::style::{Color, RGBColor};

use crate::canvas::{Canvas, Rect, Spot};
use crate::color::{FAINT, INK, Rgb, SOFT};
use crate::error::Result;
use crate::extent::Extent;
use crate::font;
use crate::number;
use crate::plot::{FINE, OrPlotError, Sheet, fine};

/// Size of the numbers at the ticks, in pixels.
pub(crate) const TICK_TEXT: f32 = 14.0;
/// Size of the axes' names, in pixels.
pub(crate) const NAME_TEXT: f32 = 16.0;
/// The least room between two numbers side by side, in pixels.
const BETWEEN: f32 = 6.0;

/// Axes over `extent`, whose plane is shown in `rect`. Numbers and names lie outside of `rect`.
#[derive(Clone, Debug)]
pub(crate) struct Axes<'a> {
    pub rect: Rect,
    pub extent: Extent,
    /// The names; empty for none.
    pub names: (&'a str, &'a str),
    /// Whether the numbers are written, across and upwards.
    pub numbers: (bool, bool),
    /// The most ticks, across and upwards; across, fewer where their numbers would touch.
    pub ticks: (usize, usize),
    /// Whether faint lines run across the plane at the ticks.
    pub mesh: bool,
}

/// A curve in the units of the axes.
pub(crate) struct Curve {
    pub points: Vec<(f64, f64)>,
    pub color: Rgb,
    pub width: f32,
}

impl Axes<'_> {
    /// Space left of `rect` for numbers as wide as these, and the name.
    pub fn left_room(&self) -> f32 {
        let numbers = match self.numbers.1 {
            true => self.widest_number() + 10.0,
            false => 4.0,
        };
        numbers + if self.names.1.is_empty() { 4.0 } else { NAME_TEXT + 12.0 }
    }

    /// Space below `rect` for numbers and the name.
    pub fn bottom_room(&self) -> f32 {
        let numbers = if self.numbers.0 { TICK_TEXT + 6.0 } else { 4.0 };
        numbers + if self.names.0.is_empty() { 2.0 } else { NAME_TEXT + 4.0 }
    }

    /// Where a point of the plane is on the canvas, to 1/64 of a pixel from the corner of `rect`: so the same points
    /// give the same pixels in every panel.
    pub fn place(&self, x: f32, y: f32) -> Spot {
        let Extent { x: (x0, x1), y: (y0, y1) } = self.extent;
        let within = |share: f32, side: f32| (share * side * 64.0).round() / 64.0;
        let across = within((x - x0) / (x1 - x0), self.rect.w);
        let upwards = within((y - y0) / (y1 - y0), self.rect.h);
        (self.rect.x + across, self.rect.bottom() - upwards)
    }

    /// Draws the axes, then `curves` in their plane.
    ///
    /// # Errors
    ///
    /// When plotters fails.
    pub fn draw(&self, canvas: &mut Canvas, curves: &[Curve]) -> Result<()> {
        canvas.frame(self.rect, FAINT);
        let (left, below) = (self.left_room(), self.bottom_room());
        let Rect { x, y, w, h } = self.rect;
        let area = Sheet::area(canvas, Rect::new(x - left, y, w + left, h + below));
        let mut chart = ChartBuilder::on(&area)
            .x_label_area_size(fine(below))
            .y_label_area_size(fine(left))
            .build_cartesian_2d(
                self.extent.x.0 as f64..self.extent.x.1 as f64,
                self.extent.y.0 as f64..self.extent.y.1 as f64,
            )
            .or_plot_error()?;
        let number = |size: f32, color: Rgb| ("sans-serif", (size * FINE) as f64).into_font().color(&plain(color));
        let across = self.ticks_across();
        let (x_step, y_step) = (step(self.extent.x, across), step(self.extent.y, self.ticks.1));
        let x_number = |v: &f64| if self.numbers.0 { number::tick(*v, x_step) } else { String::new() };
        let y_number = |v: &f64| if self.numbers.1 { number::tick(*v, y_step) } else { String::new() };
        let mut mesh = chart.configure_mesh();
        mesh.x_labels(across)
            .y_labels(self.ticks.1)
            .max_light_lines(0)
            .bold_line_style(line(FAINT.mix(crate::color::PAPER, 0.35), 1.0))
            .axis_style(line(SOFT, 1.0))
            .set_all_tick_mark_size(fine(4.0))
            .label_style(number(TICK_TEXT, SOFT))
            .axis_desc_style(number(NAME_TEXT, INK))
            .x_label_formatter(&x_number)
            .y_label_formatter(&y_number)
            .x_desc(self.names.0)
            .y_desc(self.names.1);
        if !self.mesh {
            mesh.disable_mesh();
        }
        mesh.draw().or_plot_error()?;
        for curve in curves {
            let points = curve.points.iter().copied();
            chart.draw_series(LineSeries::new(points, line(curve.color, curve.width))).or_plot_error()?;
        }
        Ok(())
    }

    /// The most ticks across whose numbers do not touch. Where no numbers are written there are as many, so that panels
    /// one below another have their ticks at the same places.
    fn ticks_across(&self) -> usize {
        (1..=self.ticks.0).rev().find(|&most| self.stand_apart(most)).unwrap_or(0)
    }

    /// Whether the numbers of at most so many ticks across stand apart. A single one does.
    fn stand_apart(&self, most: usize) -> bool {
        let step = step(self.extent.x, most);
        let half = |v: f64| 0.5 * font::width(&number::tick(v, step), TICK_TEXT);
        let pixel = (self.extent.x.1 as f64 - self.extent.x.0 as f64) / self.rect.w as f64;
        let room = |pair: &[f64]| ((pair[1] - pair[0]) / pixel) as f32;
        let apart = |pair: &[f64]| half(pair[0]) + BETWEEN + half(pair[1]) <= room(pair);
        ticks(self.extent.x, most).windows(2).all(apart)
    }

    fn widest_number(&self) -> f32 {
        let step = step(self.extent.y, self.ticks.1);
        let width = |v: f64| font::width(&number::tick(v, step), TICK_TEXT);
        ticks(self.extent.y, self.ticks.1).into_iter().map(width).fold(0.0, f32::max)
    }
}

/// Where plotters puts at most so many ticks between two limits.
fn ticks((low, high): (f32, f32), most: usize) -> Vec<f64> {
    RangedCoordf64::from(low as f64..high as f64).key_points(BoldPoints(most))
}

/// The distance between two of these ticks, which tells how many digits they need; a single one needs those of the
/// distance between the limits.
fn step(limits: (f32, f32), most: usize) -> f64 {
    match ticks(limits, most)[..] {
        [first, second, ..] => second - first,
        _ => limits.1 as f64 - limits.0 as f64,
    }
}

/// The step of 1, 2 or 5 times a power of ten that gives at most `ticks` ticks over `span`.
pub(crate) fn nice_step(span: f64, ticks: usize) -> f64 {
    let rough = span / ticks.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
    steps.into_iter().find(|&s| s >= rough * 0.999).unwrap_or(10.0 * power)
}

fn plain(Rgb([r, g, b]): Rgb) -> RGBColor {
    RGBColor(r, g, b)
}

fn line(color: Rgb, width: f32) -> ShapeStyle {
    ShapeStyle::from(plain(color).to_rgba()).stroke_width(fine(width) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(x: (f32, f32)) -> Axes<'static> {
        Axes {
            rect: Rect::new(0.0, 0.0, 220.0, 220.0),
            extent: Extent::new(x, (0.0, 1.0)),
            names: ("", ""),
            numbers: (true, true),
            ticks: (5, 5),
            mesh: false,
        }
    }

    /// The numbers across, as they are written.
    fn numbers(axes: &Axes) -> Vec<String> {
        let most = axes.ticks_across();
        let step = step(axes.extent.x, most);
        ticks(axes.extent.x, most).into_iter().map(|v| number::tick(v, step)).collect()
    }

    #[test]
    fn wide_numbers_make_fewer_ticks() {
        assert_eq!(numbers(&panel((110_000.0, 640_000.0))), ["200,000", "400,000", "600,000"]);
        assert_eq!(numbers(&panel((-2.5, 2.5))), ["−2", "−1", "0", "1", "2"]);
        let unnumbered = Axes { numbers: (false, false), ..panel((110_000.0, 640_000.0)) };
        assert_eq!(unnumbered.ticks_across(), panel((110_000.0, 640_000.0)).ticks_across());
    }

    #[test]
    fn a_single_tick_has_the_digits_it_needs() {
        let narrow = Axes { rect: Rect::new(0.0, 0.0, 40.0, 40.0), ..panel((0.912, 0.979)) };
        assert_eq!(numbers(&narrow), ["0.95"]);
    }
}
