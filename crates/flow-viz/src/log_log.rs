//! Panels with both axes logarithmic: how one quantity grows with another.

use crate::canvas::{Anchor, Canvas, Rect, Spot, Text};
use crate::color::{FAINT, INK, PAPER, SOFT};
use crate::curve::{SERIES, Series};
use crate::error::{Error, Result};
use crate::font;
use crate::legend::Legend;
use crate::log_axis::LogAxis;
use crate::number;

/// One panel of [`log_log`]: a power law in it is a straight line, its exponent the slope.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLogPanel {
    /// The name of the x axis.
    pub x_name: String,
    /// The name of the y axis, with its unit.
    pub y_name: String,
    /// The lines, `x` rising, with a disc at each point.
    pub series: Vec<Series>,
}

/// How [`log_log`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLogConfig {
    /// The title.
    pub title: String,
    /// Panels in a row.
    pub columns: usize,
    /// Width and height of a panel with its names and legend, in pixels.
    pub panel: (usize, usize),
}

impl Default for LogLogConfig {
    fn default() -> Self {
        Self { title: String::new(), columns: 2, panel: (440, 360) }
    }
}

const MARGIN: f32 = 18.0;
const TITLE: f32 = 21.0;
const NAME: f32 = 16.0;
const TICK: f32 = 14.0;
/// Left of the plane: a name, a number, and room between.
const LEFT: f32 = 84.0;
/// Below the plane: numbers, a name.
const BELOW: f32 = 56.0;
/// Right of the plane.
const RIGHT: f32 = 16.0;

/// A PNG with `panels` in rows.
///
/// Points that have no logarithm, or are not finite, are left out, and their number is said below the panels.
///
/// # Errors
///
/// When a panel has no point to draw, or a setting makes no sense.
pub fn log_log(panels: &[LogLogPanel], config: &LogLogConfig) -> Result<Vec<u8>> {
    if panels.iter().all(|panel| panel.series.iter().all(|s| s.points.is_empty())) {
        return Err(Error::empty("every series"));
    }
    let ((width, height), columns) = (config.panel, config.columns);
    if !(1..=12).contains(&columns) {
        return Err(Error::setting("columns", "must be 1 to 12"));
    }
    if !(240..=4_000).contains(&width) || !(200..=4_000).contains(&height) {
        return Err(Error::setting("panel", "must be 240 x 200 to 4,000 x 4,000 pixels"));
    }
    let head = if config.title.is_empty() { MARGIN } else { MARGIN + TITLE + 14.0 };
    let (across, rows) = (columns.min(panels.len()), panels.len().div_ceil(columns));
    let left_out: usize = panels.iter().flat_map(|p| &p.series).map(|s| s.points.len() - drawable(s).len()).sum();
    let foot = if left_out > 0 { TICK + MARGIN } else { 0.0 };
    let mut canvas = Canvas::new(across * width, (head + foot) as usize + rows * height);
    let title = font::fit(&config.title, TITLE, canvas.width() as f32 - 2.0 * MARGIN);
    canvas.text(&title, (MARGIN, MARGIN), Text::new(TITLE, INK).bold().at(Anchor::Start, Anchor::Start));
    for (i, panel) in panels.iter().enumerate() {
        let (x, y) = ((i % columns * width) as f32, head + (i / columns * height) as f32);
        draw_panel(&mut canvas, panel, Rect::new(x, y, width as f32, height as f32))?;
    }
    if left_out > 0 {
        let note = format!("{} values have no logarithm", number::count(left_out));
        let y = canvas.height() as f32 - MARGIN;
        canvas.text(&note, (MARGIN, y), Text::new(TICK, SOFT));
    }
    canvas.png()
}

/// The points that have a place in the plane.
fn drawable(series: &Series) -> Vec<(f64, f64)> {
    let fits = |v: f64| v.is_finite() && v > 0.0;
    series.points.iter().copied().filter(|p| fits(p.0) && fits(p.1)).collect()
}

fn draw_panel(canvas: &mut Canvas, panel: &LogLogPanel, room: Rect) -> Result<()> {
    let lines: Vec<Vec<(f64, f64)>> = panel.series.iter().map(drawable).collect();
    let points = || lines.iter().flatten();
    let (Some(x), Some(y)) = (LogAxis::over(points().map(|p| p.0)), LogAxis::over(points().map(|p| p.1))) else {
        return Err(Error::not_finite(format!("the panel of {} and {}", panel.x_name, panel.y_name)));
    };
    let mut legend = Legend::new(room.w - LEFT - RIGHT);
    for (i, series) in panel.series.iter().enumerate() {
        legend.add(series.name.clone(), SERIES[i % SERIES.len()], false);
    }
    let top = legend.height() + 4.0;
    let plane = Rect::new(
        (room.x + LEFT).floor(),
        (room.y + top).floor(),
        (room.w - LEFT - RIGHT).floor(),
        (room.h - top - BELOW).floor(),
    );
    legend.draw(canvas, plane.x, room.y);
    draw_axes(canvas, panel, plane, x, y);
    let place = |&(a, b): &(f64, f64)| place(plane, x.share(a), y.share(b));
    for (line, color) in lines.iter().zip(SERIES.into_iter().cycle()) {
        let line: Vec<Spot> = line.iter().map(place).collect();
        canvas.strokes(std::slice::from_ref(&line), 2.0, color, plane);
        for spot in line {
            canvas.disc(spot, 5.0, PAPER, plane);
            canvas.disc(spot, 3.6, color, plane);
        }
    }
    Ok(())
}

fn place(plane: Rect, across: f32, upwards: f32) -> Spot {
    (plane.x + across * plane.w, plane.bottom() - upwards * plane.h)
}

fn draw_axes(canvas: &mut Canvas, panel: &LogLogPanel, plane: Rect, x: LogAxis, y: LogAxis) {
    canvas.frame(plane, FAINT);
    let bounds = canvas.bounds();
    // In the middle of a pixel a level or upright line is crisp.
    let crisp = |v: f32| v.floor() + 0.5;
    let number = Text::new(TICK, SOFT);
    for (across, text) in numbered(&x, plane.w, |text| font::width(text, TICK)) {
        let across = crisp(plane.x + across);
        canvas.strokes(&[vec![(across, plane.y), (across, plane.bottom())]], 1.0, FAINT, bounds);
        canvas.text(&text, (across, plane.bottom() + 6.0), number.at(Anchor::Middle, Anchor::Start));
    }
    for (upwards, text) in numbered(&y, plane.h, |_| TICK) {
        let down = crisp(plane.bottom() - upwards);
        canvas.strokes(&[vec![(plane.x, down), (plane.right(), down)]], 1.0, FAINT, bounds);
        canvas.text(&text, (plane.x - 6.0, down), number.at(Anchor::End, Anchor::Middle));
    }
    let (middle, centre) = (plane.x + 0.5 * plane.w, plane.y + 0.5 * plane.h);
    let name = Text::new(NAME, INK);
    let below = plane.bottom() + 6.0 + TICK + 6.0;
    canvas.text(&panel.x_name, (middle, below), name.at(Anchor::Middle, Anchor::Start));
    canvas.text(&panel.y_name, (plane.x - LEFT + 14.0, centre), name.at(Anchor::Middle, Anchor::Start).upwards());
}

/// The ticks of an axis `side` pixels long: how far from its low end they are, and their numbers. `length` is how much
/// of the axis a number takes; one that would touch the one before it is left empty, its line stays.
fn numbered(axis: &LogAxis, side: f32, length: impl Fn(&str) -> f32) -> Vec<(f32, String)> {
    let mut free = f32::NEG_INFINITY;
    let fit = |(value, text): (f64, String)| {
        let (at, half) = (side * axis.share(value), 0.5 * length(text.as_str()));
        if at - half < free {
            return (at, String::new());
        }
        free = at + half + 0.5 * TICK;
        (at, text)
    };
    axis.ticks().into_iter().map(fit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(values: [f64; 2], side: f32, length: impl Fn(&str) -> f32) -> (usize, Vec<String>) {
        let ticks = numbered(&LogAxis::over(values.into_iter()).unwrap(), side, length);
        (ticks.len(), ticks.into_iter().map(|(_, text)| text).filter(|text| !text.is_empty()).collect())
    }

    #[test]
    fn numbers_that_would_touch_are_left_out() {
        // The widths of docs/scale.png, in a panel of 360 pixels.
        let (ticks, numbers) = written([16.0, 2_048.0], 360.0 - LEFT - RIGHT, |text| font::width(text, TICK));
        assert_eq!((ticks, numbers.len()), (7, 6));
        assert_eq!(numbers, ["20", "50", "100", "200", "500", "2,000"]);
        let (ticks, numbers) = written([1e-30, 1e30], 200.0, |_| TICK);
        assert!(ticks > 60 && (8..=11).contains(&numbers.len()), "{ticks}: {numbers:?}");
    }
}
