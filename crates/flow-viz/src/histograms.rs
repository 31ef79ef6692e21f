//! `*_scores.png`: how numbers such as the log-likelihood of each image spread, one sample beside another.

use crate::axes::{Axes, Curve};
use crate::bins::{Bins, Filled, bins_for, robust_range};
use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{INK, Rgb, SOFT};
use crate::curve::{REFERENCE, Reference, SERIES};
use crate::error::{Error, Result};
use crate::extent::{Extent, within};
use crate::font;
use crate::legend::{Legend, dashes};
use crate::number;

/// A named sample of numbers, e.g. the log-likelihood of every image of a test set.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The name in the legend.
    pub name: String,
    /// The numbers, in any order.
    pub values: Vec<f64>,
}

impl Histogram {
    /// A sample of `values`.
    pub fn new(name: impl Into<String>, values: Vec<f64>) -> Self {
        Self { name: name.into(), values }
    }
}

/// How [`histograms`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramsConfig {
    /// The title.
    pub title: String,
    /// The name of the x axis, with its unit.
    pub x_name: String,
    /// The name of the y axis.
    pub y_name: String,
    /// Width and height of the figure, in pixels.
    pub size: (usize, usize),
    /// Lowest and highest value shown; where it is `None`, all but the most extreme 0.5 % of each sample at either
    /// end.
    pub limits: Option<(f64, f64)>,
    /// The number of bins; chosen from the samples where it is `None`.
    pub bins: Option<usize>,
}

impl Default for HistogramsConfig {
    fn default() -> Self {
        Self {
            title: String::new(),
            x_name: "log-likelihood of an image, nats".into(),
            y_name: "share of the sample in a bin".into(),
            size: (880, 500),
            limits: None,
            bins: None,
        }
    }
}

const MARGIN: f32 = 18.0;
const TITLE: f32 = 21.0;
const NOTE: f32 = 15.0;
const LINE: f32 = 20.0;
/// How much of its colour a filled bin has.
const FILL: f32 = 0.22;

/// A PNG with the `samples` as histograms laid over each other, in bins that they share, and the `references` as dashed
/// upright lines, e.g. a threshold.
///
/// A bin is as high as the share of its sample in it, so that samples of different sizes compare. The legend gives the
/// number of finite values and their mean, which a dotted line marks. Values beyond the limits count to both, and they
/// and values that are not finite are counted in a line below.
///
/// # Errors
///
/// When no sample has a finite value, or a setting makes no sense.
pub fn histograms(samples: &[Histogram], references: &[Reference], config: &HistogramsConfig) -> Result<Vec<u8>> {
    let bins = bins(samples, config)?;
    let filled: Vec<Filled> = samples.iter().map(|s| bins.fill(&s.values)).collect();
    let highest = filled.iter().flat_map(|f| (0..bins.count).map(|i| f.share(i))).fold(0.0, f64::max);
    let top = if highest > 0.0 { 1.08 * highest } else { 1.0 };
    let extent = Extent::new((bins.low as f32, bins.high as f32), (0.0, top as f32));
    extent.check("limits")?;
    let mut canvas = Canvas::new(config.size.0, config.size.1);
    let legend = legend(samples, &filled, references, extent, config.size.0 as f32 - 120.0);
    let note = note(samples, &filled, config.size.0 as f32 - 2.0 * MARGIN);
    let axes = axes(config, extent, &legend, note.len());
    draw(&mut canvas, &axes, &bins, &filled)?;
    for reference in references.iter().filter(|r| within(r.value, extent.x)) {
        let x = axes.place(reference.value as f32, 0.0).0;
        draw_upright(&mut canvas, axes.rect, x, 1.6, REFERENCE);
    }
    let title = font::fit(&config.title, TITLE, canvas.width() as f32 - 2.0 * MARGIN);
    canvas.text(&title, (MARGIN, MARGIN), Text::new(TITLE, INK).bold().at(Anchor::Start, Anchor::Start));
    legend.draw(&mut canvas, axes.rect.x, axes.rect.y - legend.height() - 6.0);
    for (i, line) in note.iter().rev().enumerate() {
        canvas.text(line, (MARGIN, canvas.height() as f32 - MARGIN - i as f32 * LINE), Text::new(NOTE, SOFT));
    }
    canvas.png()
}

/// Checks the input; gives the bins.
fn bins(samples: &[Histogram], config: &HistogramsConfig) -> Result<Bins> {
    if samples.iter().all(|s| s.values.is_empty()) {
        return Err(Error::empty("every sample"));
    }
    let (width, height) = config.size;
    if !(300..=10_000).contains(&width) || !(200..=10_000).contains(&height) {
        return Err(Error::setting("size", "must be 300 x 200 to 10,000 x 10,000 pixels"));
    }
    let values: Vec<&[f64]> = samples.iter().map(|s| s.values.as_slice()).collect();
    let robust = robust_range(&values).ok_or_else(|| Error::not_finite("every sample"))?;
    let (low, high) = config.limits.unwrap_or(robust);
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Err(Error::setting("limits", format!("{low} is not below {high}")));
    }
    match config.bins.unwrap_or_else(|| bins_for(&values, (low, high))) {
        count @ 1..=1000 => Ok(Bins { low, high, count }),
        count => Err(Error::setting("bins", format!("{count} is not 1 to 1000"))),
    }
}

/// The axes, filled bins, then all outlines, so that none is hidden by a sample drawn later.
fn draw(canvas: &mut Canvas, axes: &Axes, bins: &Bins, filled: &[Filled]) -> Result<()> {
    axes.draw(canvas, &[] as &[Curve])?;
    let colors = || SERIES.into_iter().cycle();
    for (filled, color) in filled.iter().zip(colors()) {
        draw_fill(canvas, axes, bins, filled, color);
    }
    for (filled, color) in filled.iter().zip(colors()) {
        canvas.strokes(&[outline(axes, bins, filled)], 2.0, color, axes.rect);
    }
    for (filled, color) in filled.iter().zip(colors()).filter(|(f, _)| within(f.mean, axes.extent.x)) {
        draw_dotted(canvas, axes.rect, axes.place(filled.mean as f32, 0.0).0, color);
    }
    Ok(())
}

/// The steps along the tops of the bins, down to the axis at both ends.
pub(crate) fn outline(axes: &Axes, bins: &Bins, filled: &Filled) -> Vec<(f32, f32)> {
    let at = |edge: usize, share: f64| axes.place(bins.edge(edge) as f32, share as f32);
    let step = |i: usize| [at(i, filled.share(i)), at(i + 1, filled.share(i))];
    let steps = (0..bins.count).flat_map(step);
    std::iter::once(at(0, 0.0)).chain(steps).chain([at(bins.count, 0.0)]).collect()
}

/// A tint below the outline, column of pixels by column of pixels.
pub(crate) fn draw_fill(canvas: &mut Canvas, axes: &Axes, bins: &Bins, filled: &Filled, color: Rgb) {
    let rect = axes.rect;
    for column in 0..rect.w as usize {
        let bin = ((column as f32 + 0.5) / rect.w * bins.count as f32) as usize;
        let top = axes.place(0.0, filled.share(bin.min(bins.count - 1)) as f32).1.round();
        for y in top as i32..rect.bottom() as i32 {
            canvas.blend(rect.x as i32 + column as i32, y, color, FILL);
        }
    }
}

/// A dashed upright line over the whole plane.
pub(crate) fn draw_upright(canvas: &mut Canvas, rect: Rect, x: f32, width: f32, color: Rgb) {
    // In the middle of a column of pixels an upright line is crisp.
    let x = x.floor() + 0.5;
    let turned = dashes(rect.y, rect.bottom(), x).into_iter();
    let lines: Vec<Vec<(f32, f32)>> = turned.map(|line| line.into_iter().map(|(a, b)| (b, a)).collect()).collect();
    canvas.strokes(&lines, width, color, rect);
}

/// A dotted upright line over the whole plane: where a mean is.
fn draw_dotted(canvas: &mut Canvas, rect: Rect, x: f32, color: Rgb) {
    let mut y = rect.y;
    while y < rect.bottom() {
        canvas.fill(Rect::new(x.floor() - 0.5, y, 2.0, 2.0), color);
        y += 5.0;
    }
}

fn legend(samples: &[Histogram], filled: &[Filled], references: &[Reference], extent: Extent, room: f32) -> Legend {
    let mut legend = Legend::new(room);
    for ((sample, filled), color) in samples.iter().zip(filled).zip(SERIES.into_iter().cycle()) {
        let count = number::count(filled.finite());
        let text = match filled.finite() {
            0 => format!("{}: n = 0", sample.name),
            _ => format!("{}: n = {count}, mean {}", sample.name, number::close(filled.mean)),
        };
        legend.add(text, color, false);
    }
    for reference in references {
        let hidden = if within(reference.value, extent.x) { "" } else { " (beyond the axis)" };
        legend.add(format!("{}: {}{hidden}", reference.label, number::exact(reference.value)), REFERENCE, true);
    }
    legend
}

fn axes<'a>(config: &'a HistogramsConfig, extent: Extent, legend: &Legend, notes: usize) -> Axes<'a> {
    let (width, height) = (config.size.0 as f32, config.size.1 as f32);
    let mut axes = Axes {
        rect: Rect::new(0.0, 0.0, width, height),
        extent,
        names: (&config.x_name, &config.y_name),
        numbers: (true, true),
        ticks: (8, 6),
        mesh: true,
    };
    let title = if config.title.is_empty() { 0.0 } else { TITLE + 10.0 };
    let top = (MARGIN + title + legend.height() + 6.0).ceil();
    let left = (MARGIN + axes.left_room()).ceil();
    let below = axes.bottom_room() + MARGIN + if notes > 0 { notes as f32 * LINE + 8.0 } else { 0.0 };
    axes.rect = Rect::new(left, top, (width - left - MARGIN - 10.0).floor(), (height - top - below).floor());
    axes
}

/// What the bins do not show, in lines; none where that is nothing.
fn note(samples: &[Histogram], filled: &[Filled], room: f32) -> Vec<String> {
    let mut notes = Vec::new();
    for (kind, what) in ["below the axis", "above the axis", "not finite"].into_iter().enumerate() {
        let count = |f: &Filled| [f.below, f.above, f.broken][kind];
        let counted = samples.iter().zip(filled).map(|(s, f)| (count(f), &s.name)).filter(|(n, _)| *n > 0);
        let said: Vec<String> = counted.map(|(n, name)| format!("{} of {name}", number::count(n))).collect();
        if !said.is_empty() {
            notes.push(format!("{} {what}", said.join(", ")));
        }
    }
    if notes.is_empty() {
        return notes;
    }
    let text = format!("Not shown: {}.", notes.join("; "));
    font::wrap(&text, NOTE, room).unwrap_or_else(|| vec![font::fit(&text, NOTE, room)])
}
