//! `*_check.png`: how far each layer of a flow is from being the bijection it should be, and its latent from the base.

use crate::axes::{Axes, Curve};
use crate::bins::{Bins, bins_for};
use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{INK, Rgb, SOFT};
use crate::curve::{REFERENCE, SERIES};
use crate::error::{Error, Result};
use crate::error_rows::ErrorRows;
use crate::extent::Extent;
use crate::font;
use crate::histograms::{draw_fill, outline};

/// The errors of a layer. Each would be 0 in exact arithmetic; an infinite one, or one that is no number, is drawn at the
/// right end, and nothing where it is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerErrors {
    /// The layer.
    pub name: String,
    /// Of its round trips in f32.
    pub single: Option<f64>,
    /// Of its round trips in f64.
    pub double: Option<f64>,
    /// Of its log-determinant, in f64.
    pub log_det: Option<f64>,
    /// A word at the end of its row: `ok`, `warn`, `FAIL`.
    pub verdict: String,
}

/// A coordinate of the latent, or all of them, beside the density that it should have.
#[derive(Clone, Debug, PartialEq)]
pub struct Marginal {
    /// What it is.
    pub name: String,
    /// The values, in any order.
    pub values: Vec<f64>,
    /// Points of the base's density, `(z, density)`, z rising over the range to show.
    pub base: Vec<(f64, f64)>,
}

/// How [`check`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckConfig {
    /// The title.
    pub title: String,
    /// Errors with a line of their own: label and value, above 0.
    pub bounds: Vec<(String, f64)>,
}

impl Default for CheckConfig {
    fn default() -> Self {
        let bounds = [("f64 fails", 1e-6), ("f32 warns", 1e-3)].map(|(label, value)| (label.to_owned(), value));
        Self { title: String::new(), bounds: bounds.into() }
    }
}

pub(crate) const MARGIN: f32 = 18.0;
const TITLE: f32 = 21.0;
const NAME: f32 = 15.0;
/// Width and height of the plane of a histogram.
const PANEL: (f32, f32) = (330.0, 150.0);
/// From the top of one histogram's name to the next.
const STRIDE: f32 = 250.0;
/// The most layers a figure has.
const MOST: usize = 400;

/// A PNG: on the left a row a layer with its errors on a logarithmic axis, in the order given; on the right a histogram of
/// each of the `marginals` with the base's density over it.
///
/// # Errors
///
/// When there is no layer or more than 400, a marginal has no finite value or no base to compare with, the z of a base
/// do not rise, or a bound is not above 0.
pub fn check(layers: &[LayerErrors], marginals: &[Marginal], config: &CheckConfig) -> Result<Vec<u8>> {
    if layers.is_empty() {
        return Err(Error::empty("every layer"));
    }
    if layers.len() > MOST {
        return Err(Error::setting("layers", format!("{} are more than {MOST}", layers.len())));
    }
    if let Some((label, value)) = config.bounds.iter().find(|(_, value)| !(value.is_finite() && *value > 0.0)) {
        return Err(Error::setting("bounds", format!("{label}: {value} is not above 0")));
    }
    let top = MARGIN + if config.title.is_empty() { 0.0 } else { TITLE + 14.0 };
    let right = marginals.len() as f32 * STRIDE;
    let rows = ErrorRows::new(layers, config, top, right);
    let height = top + rows.height().max(right) + MARGIN;
    let width = rows.right() + if marginals.is_empty() { MARGIN } else { 100.0 + PANEL.0 + MARGIN };
    let mut canvas = Canvas::new(width.ceil() as usize, height.ceil() as usize);
    let title = font::fit(&config.title, TITLE, canvas.width() as f32 - 2.0 * MARGIN);
    canvas.text(&title, (MARGIN, MARGIN), Text::new(TITLE, INK).bold().at(Anchor::Start, Anchor::Start));
    rows.draw(&mut canvas, layers, config);
    for (i, marginal) in marginals.iter().enumerate() {
        let last = i + 1 == marginals.len();
        draw_marginal(&mut canvas, marginal, (rows.right() + 90.0, top + i as f32 * STRIDE), last)?;
    }
    canvas.png()
}

/// A histogram as a density, and the base's.
fn draw_marginal(canvas: &mut Canvas, marginal: &Marginal, (left, top): (f32, f32), last: bool) -> Result<()> {
    let range = base_range(marginal)?;
    let values = marginal.values.as_slice();
    if !values.iter().any(|v| v.is_finite()) {
        return Err(Error::not_finite(marginal.name.clone()));
    }
    let bins = Bins { low: range.0, high: range.1, count: bins_for(&[values], range) };
    let filled = bins.fill(values);
    let width = (range.1 - range.0) / bins.count as f64;
    // The base over a bin is as high as its share there, as the bins are.
    let base: Vec<(f64, f64)> = marginal.base.iter().map(|(z, density)| (*z, density * width)).collect();
    let highest = (0..bins.count).map(|i| filled.share(i)).chain(base.iter().map(|p| p.1)).fold(0.0, f64::max);
    let extent = Extent::new((range.0 as f32, range.1 as f32), (0.0, 1.1 * highest as f32));
    extent.check("the base's range")?;
    let style = Text::new(NAME, INK).at(Anchor::Start, Anchor::Start);
    canvas.text(&font::fit(&marginal.name, NAME, PANEL.0), (left, top), style);
    let beyond = filled.below + filled.above + filled.broken;
    if beyond > 0 {
        let note = format!("{beyond} not shown");
        canvas.text(
            &note,
            (left + PANEL.0, top),
            Text { size: 13.0, color: SOFT, ..style.at(Anchor::End, Anchor::Start) },
        );
    }
    let x_name = if last { "z, and the base's density (red)" } else { "" };
    let axes = Axes {
        rect: Rect::new(left, top + 22.0, PANEL.0, PANEL.1),
        extent,
        names: (x_name, "share of rows"),
        numbers: (true, true),
        ticks: (7, 4),
        mesh: true,
    };
    axes.draw(canvas, &[] as &[Curve])?;
    draw_fill(canvas, &axes, &bins, &filled, SERIES[0]);
    canvas.strokes(&[outline(&axes, &bins, &filled)], 1.6, SERIES[0], axes.rect);
    let curve: Vec<(f32, f32)> = base.iter().map(|(z, share)| axes.place(*z as f32, *share as f32)).collect();
    canvas.strokes(&[curve], 1.8, REFERENCE, axes.rect);
    Ok(())
}

/// The first and the last z of a marginal's base.
fn base_range(marginal: &Marginal) -> Result<(f64, f64)> {
    let (Some(first), Some(end)) = (marginal.base.first(), marginal.base.last()) else {
        return Err(Error::empty(format!("the base of {}", marginal.name)));
    };
    let rising = marginal.base.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let width = end.0 - first.0;
    match rising && width.is_finite() && width > 0.0 {
        true => Ok((first.0, end.0)),
        false => Err(Error::setting("base", format!("the z of {} do not rise", marginal.name))),
    }
}

/// The colour of a verdict's word.
pub(crate) fn verdict_color(verdict: &str) -> Rgb {
    match verdict {
        "ok" => SERIES[2],
        "warn" => SERIES[1],
        _ => REFERENCE,
    }
}
