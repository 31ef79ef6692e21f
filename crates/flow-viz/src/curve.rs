//! `*_curve.png`: likelihood against steps, with the floor or a published number as a line.

use crate::axes::{Axes, Curve};
use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{INK, PAPER, Rgb, SOFT};
use crate::error::{Error, Result};
use crate::extent::{Extent, percentiles, within};
use crate::font;
use crate::legend::{Legend, dashes};
use crate::number;

/// A named sequence of values, e.g. the training likelihood.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The name in the legend.
    pub name: String,
    /// `(step, value)`, steps rising.
    pub points: Vec<(f64, f64)>,
    /// Whether values are noisy: they are drawn thin, and a running mean over them thick.
    pub smooth: bool,
}

impl Series {
    /// A series drawn as it is.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, smooth: false }
    }

    /// A noisy series: thin, with a thick running mean.
    pub fn noisy(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { smooth: true, ..Self::new(name, points) }
    }
}

/// A value to compare with, drawn as a dashed horizontal line.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// What the value is, e.g. `entropy of the data`.
    pub label: String,
    /// The value, in the unit of the curves.
    pub value: f64,
}

impl Reference {
    /// A line at `value`.
    pub fn new(label: impl Into<String>, value: f64) -> Self {
        Self { label: label.into(), value }
    }
}

/// How [`curve`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct CurveConfig {
    /// The title.
    pub title: String,
    /// The name of the x axis.
    pub x_name: String,
    /// The name of the y axis, with its unit.
    pub y_name: String,
    /// Width and height of the figure, in pixels.
    pub size: (usize, usize),
    /// Lowest and highest value shown; chosen from the values where it is `None`, so that the first steps do not
    /// squash the rest.
    pub limits: Option<(f64, f64)>,
}

impl Default for CurveConfig {
    fn default() -> Self {
        Self {
            title: String::new(),
            x_name: "step".into(),
            y_name: "nats per sample".into(),
            size: (880, 500),
            limits: None,
        }
    }
}

const MARGIN: f32 = 18.0;
const TITLE: f32 = 21.0;
const LABEL: f32 = 15.0;
/// Colours of the series in turn, and of the reference lines.
pub(crate) const SERIES: [Rgb; 5] =
    [Rgb([38, 108, 190]), Rgb([222, 106, 26]), Rgb([34, 140, 98]), Rgb([152, 74, 168]), Rgb([126, 104, 40])];
pub(crate) const REFERENCE: Rgb = Rgb([176, 32, 56]);

/// A PNG with the `series` as curves over steps and the `references` as dashed lines. A series of one point is a disc.
///
/// Values that are not finite are left out, and their number is said below the curves.
///
/// # Errors
///
/// When no series has a finite point, or a setting makes no sense.
pub fn curve(series: &[Series], references: &[Reference], config: &CurveConfig) -> Result<Vec<u8>> {
    if series.iter().all(|s| s.points.is_empty()) {
        return Err(Error::empty("every series"));
    }
    let (width, height) = config.size;
    if !(300..=10_000).contains(&width) || !(200..=10_000).contains(&height) {
        return Err(Error::setting("size", "must be 300 x 200 to 10,000 x 10,000 pixels"));
    }
    let finite: Vec<Vec<(f64, f64)>> = series.iter().map(|s| finite_points(&s.points)).collect();
    let extent = extent(series, &finite, references, config)?;
    let mut canvas = Canvas::new(width, height);
    let legend = legend(series, references, extent, width as f32 - 120.0);
    let axes = axes(config, extent, &legend);
    let colors = SERIES.into_iter().cycle();
    let named = series.iter().zip(&finite).zip(colors);
    let curves: Vec<Curve> = named.flat_map(|((s, points), color)| drawn(s, points, color)).collect();
    let lines = references.iter().filter(|r| within(r.value, extent.y));
    draw(&mut canvas, &axes, &curves, lines)?;
    draw_title(&mut canvas, config);
    legend.draw(&mut canvas, axes.rect.x, axes.rect.y - legend.height() - 6.0);
    draw_note(&mut canvas, series, &finite);
    canvas.png()
}

/// The curves that show one series: as it is, or thin with its running mean.
fn drawn(series: &Series, points: &[(f64, f64)], color: Rgb) -> Vec<Curve> {
    let thick = |points| Curve { points, color, width: 2.2 };
    match series.smooth {
        false => vec![thick(points.to_vec())],
        true => vec![
            Curve { points: points.to_vec(), color: color.mix(PAPER, 0.68), width: 1.0 },
            thick(running_mean(points)),
        ],
    }
}

fn draw<'a>(
    canvas: &mut Canvas,
    axes: &Axes,
    curves: &[Curve],
    references: impl Iterator<Item = &'a Reference>,
) -> Result<()> {
    let limits = axes.extent.y;
    // plotters draws beyond the axes what lies beyond the limits: a curve that leaves the plane is cut there.
    let pieces = |c: &Curve| {
        let (color, width) = (c.color, c.width);
        let curve = move |points| Curve { points, color, width };
        pieces_within(&c.points, limits).into_iter().map(curve)
    };
    let lines: Vec<Curve> = curves.iter().flat_map(pieces).collect();
    axes.draw(canvas, &lines)?;
    curves.iter().for_each(|curve| draw_alone(canvas, axes, curve));
    for reference in references {
        draw_reference(canvas, axes, reference);
    }
    Ok(())
}

/// A curve of one point is no line: a disc shows where it is.
fn draw_alone(canvas: &mut Canvas, axes: &Axes, curve: &Curve) {
    if let [(x, y)] = curve.points[..]
        && within(y, axes.extent.y)
    {
        canvas.disc(axes.place(x as f32, y as f32), 1.5 * curve.width, curve.color, canvas.bounds());
    }
}

fn finite_points(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite()).collect()
}

/// The pieces of a curve between the limits, each ending where the curve crosses them.
fn pieces_within(points: &[(f64, f64)], limits: (f32, f32)) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    for pair in points.windows(2) {
        let Some((from, to)) = segment_within(pair[0], pair[1], limits) else {
            continue;
        };
        match pieces.last_mut() {
            Some(piece) if piece.last() == Some(&from) => piece.push(to),
            _ => pieces.push(vec![from, to]),
        }
    }
    pieces
}

/// The part of a line from `a` to `b` between the limits.
fn segment_within(a: (f64, f64), b: (f64, f64), (low, high): (f32, f32)) -> Option<((f64, f64), (f64, f64))> {
    let (low, high) = (low as f64, high as f64);
    if a.1.max(b.1) < low || a.1.min(b.1) > high {
        return None;
    }
    let end = |p: (f64, f64)| {
        let y = p.1.clamp(low, high);
        match y == p.1 {
            true => p,
            false => (a.0 + (b.0 - a.0) * (y - a.1) / (b.1 - a.1), y),
        }
    };
    Some((end(a), end(b)))
}

/// The mean over a window of 1/40 of the points around each; at the ends, over the part of it that there is.
fn running_mean(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let half = (points.len() / 80).max(1);
    let sums = prefix_sums(points);
    let mean = |i: usize| {
        let (from, to) = (i.saturating_sub(half), (i + half + 1).min(points.len()));
        let ((before, lost_before), (sum, lost)) = (sums[from], sums[to]);
        ((sum - before) + (lost - lost_before)) / (to - from) as f64
    };
    points.iter().enumerate().map(|(i, p)| (p.0, mean(i))).collect()
}

/// The sums of the first 0, 1, 2, ... values, each with what rounding took from it (A. Neumaier, 1974): without that,
/// one huge value swallows all that come after it.
fn prefix_sums(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let (mut sum, mut lost) = (0.0f64, 0.0f64);
    let mut sums = vec![(sum, lost)];
    for &(_, value) in points {
        let next = sum + value;
        let (large, small) = if sum.abs() >= value.abs() { (sum, value) } else { (value, sum) };
        lost += (large - next) + small;
        sum = next;
        sums.push((sum, lost));
    }
    sums
}

/// All steps; the values of the later nine tenths of them without the most extreme, and the references.
fn extent(
    series: &[Series],
    finite: &[Vec<(f64, f64)>],
    references: &[Reference],
    config: &CurveConfig,
) -> Result<Extent> {
    let steps = || finite.iter().flatten().map(|p| p.0);
    let (first, last) = (steps().fold(f64::INFINITY, f64::min), steps().fold(f64::NEG_INFINITY, f64::max));
    if first > last {
        return Err(Error::not_finite("every series"));
    }
    let last = if last > first { last } else { first + 1.0 };
    let y = match config.limits {
        Some((low, high)) => (low as f32, high as f32),
        None => {
            let settled = first + 0.1 * (last - first);
            robust_limits(series, finite, references, settled)
        }
    };
    let extent = Extent::new((first as f32, last as f32), y);
    extent.check("limits")?;
    Ok(extent)
}

fn robust_limits(series: &[Series], finite: &[Vec<(f64, f64)>], references: &[Reference], settled: f64) -> (f32, f32) {
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    for (series, points) in series.iter().zip(finite) {
        let late: Vec<f32> = points.iter().filter(|p| p.0 >= settled).map(|p| p.1 as f32).collect();
        let values = if late.is_empty() { points.iter().map(|p| p.1 as f32).collect() } else { late };
        let tail = if series.smooth { 0.02 } else { 0.0 };
        if let Some((a, b)) = percentiles(values, tail, 1.0 - tail) {
            (low, high) = (low.min(a), high.max(b));
        }
    }
    for reference in references.iter().filter(|r| r.value.is_finite()) {
        (low, high) = (low.min(reference.value as f32), high.max(reference.value as f32));
    }
    let room = (0.08 * (high - low)).max(1e-4 * high.abs().max(1e-3));
    (low - room, high + room)
}

fn axes<'a>(config: &'a CurveConfig, extent: Extent, legend: &Legend) -> Axes<'a> {
    let (width, height) = (config.size.0 as f32, config.size.1 as f32);
    let mut axes = Axes {
        rect: Rect::new(0.0, 0.0, width, height),
        extent,
        names: (&config.x_name, &config.y_name),
        numbers: (true, true),
        ticks: (8, 7),
        mesh: true,
    };
    let title = if config.title.is_empty() { 0.0 } else { TITLE + 10.0 };
    let top = (MARGIN + title + legend.height() + 6.0).ceil();
    let left = MARGIN + axes.left_room();
    let right = MARGIN + 10.0;
    axes.rect = Rect::new(
        left.ceil(),
        top,
        (width - left.ceil() - right).floor(),
        (height - top - axes.bottom_room() - MARGIN).floor(),
    );
    axes
}

fn draw_title(canvas: &mut Canvas, config: &CurveConfig) {
    let title = font::fit(&config.title, TITLE, canvas.width() as f32 - 2.0 * MARGIN);
    let style = Text::new(TITLE, INK).bold().at(Anchor::Start, Anchor::Start);
    canvas.text(&title, (MARGIN, MARGIN), style);
}

/// The series, then the references with their values.
fn legend(series: &[Series], references: &[Reference], extent: Extent, room: f32) -> Legend {
    let mut legend = Legend::new(room);
    for (i, series) in series.iter().enumerate() {
        legend.add(series.name.clone(), SERIES[i % SERIES.len()], false);
    }
    for reference in references {
        let seen = within(reference.value, extent.y);
        let hidden = if seen { "" } else { " (beyond the axis)" };
        let text = format!("{}: {}{hidden}", reference.label, number::exact(reference.value));
        legend.add(text, REFERENCE, true);
    }
    legend
}

/// A dashed line across the plane.
fn draw_reference(canvas: &mut Canvas, axes: &Axes, reference: &Reference) {
    let rect = axes.rect;
    // In the middle of a row of pixels a level line is crisp.
    let y = axes.place(0.0, reference.value as f32).1.floor() + 0.5;
    canvas.strokes(&dashes(rect.x, rect.right(), y), 1.6, REFERENCE, rect);
}

/// How many values could not be drawn, at the lower left.
fn draw_note(canvas: &mut Canvas, series: &[Series], finite: &[Vec<(f64, f64)>]) {
    let total: usize = series.iter().map(|s| s.points.len()).sum();
    let broken = total - finite.iter().map(Vec::len).sum::<usize>();
    if broken > 0 {
        let note = format!("{} values are not finite", number::count(broken));
        let y = canvas.height() as f32 - MARGIN;
        canvas.text(&note, (MARGIN, y), Text::new(LABEL, SOFT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_huge_value_spoils_the_mean_only_around_it() {
        let mut points: Vec<(f64, f64)> = (0..400).map(|i| (f64::from(i), 1.0)).collect();
        points[20].1 = -1e20;
        let Curve { points: means, .. } = drawn(&Series::noisy("x", points.clone()), &points, INK).remove(1);
        // A window of 11 points.
        for (i, (_, mean)) in means.iter().enumerate() {
            assert_eq!(*mean < 0.0, (15..=25).contains(&i), "{i}: {mean}");
            assert!(*mean < 0.0 || *mean == 1.0, "{i}: {mean}");
        }
    }
}
