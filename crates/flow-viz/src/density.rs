//! `*_density.png`: what the model takes for likely, beside what is.

use ndarray::{Array2, ArrayView2};

use crate::axes::{Axes, TICK_TEXT};
use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{FAINT, INK, MISSING, Rgb, SOFT};
use crate::colormap::density_color;
use crate::error::{Error, Result};
use crate::extent::{Extent, percentiles};
use crate::font;
use crate::number;

/// How [`density`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct DensityConfig {
    /// The title, with the numbers: e.g. `RealNVP on moons: 1.101 nats, 0.011 above the floor`.
    pub title: String,
    /// The titles of the three panels: the model, the truth, the samples.
    pub names: [String; 3],
    /// The names of the two axes.
    pub axis_names: (String, String),
    /// The width of a panel, in pixels; its height follows from the extent. Chosen from the number of panels where it
    /// is `None`.
    pub panel: Option<usize>,
    /// The colour of the samples.
    pub sample_color: Rgb,
    /// The radius of a sample, in pixels.
    pub radius: f32,
}

impl Default for DensityConfig {
    fn default() -> Self {
        Self {
            title: String::new(),
            names: ["model".into(), "truth".into(), "samples of the model".into()],
            axis_names: ("dimension 1".into(), "dimension 2".into()),
            panel: None,
            sample_color: Rgb([38, 84, 140]),
            radius: 1.2,
        }
    }
}

const MARGIN: f32 = 18.0;
const GAP: f32 = 20.0;
const TITLE: f32 = 21.0;
const NAME: f32 = 16.0;
const NOTE: f32 = 15.0;
const BAR: f32 = 16.0;

/// A PNG with the model's density, then, where given, the true density and samples, on axes over `extent`.
///
/// `model` and `truth` are log densities in nats, `[rows, columns]` over equal cells of `extent`: row 0 is the lowest,
/// column 0 the leftmost (see [`Extent::cell_centers`]). `samples` is `[n, 2]`. Both densities share one colour scale
/// from 0 to the 99.9th percentile of the larger. Negative infinity is a density of 0; other values that are not
/// finite are drawn in pink and counted in a line below.
///
/// # Errors
///
/// When an array is empty or has the wrong shape, a density has no finite value, or a setting makes no sense.
pub fn density(
    model: ArrayView2<f32>,
    truth: Option<ArrayView2<f32>>,
    samples: Option<ArrayView2<f32>>,
    extent: Extent,
    config: &DensityConfig,
) -> Result<Vec<u8>> {
    check(model, truth, samples, extent, config)?;
    let model = model.mapv(to_density);
    let truth = truth.map(|t| t.mapv(to_density));
    let top = shared_top(&model, truth.as_ref())?;
    let mut panels = vec![Panel::Heat(&model, 0)];
    panels.extend(truth.as_ref().map(|t| Panel::Heat(t, 1)));
    panels.extend(samples.as_ref().map(|s| Panel::Dots(s.view(), 2)));
    let layout = Layout::new(&panels, extent, config, top);
    let mut canvas = Canvas::new(layout.width as usize, layout.height as usize);
    let title = font::fit(&config.title, TITLE, layout.width - 2.0 * MARGIN);
    canvas.text(&title, (MARGIN, MARGIN), Text::new(TITLE, INK).bold().at(Anchor::Start, Anchor::Start));
    let mut x = layout.left;
    for (i, panel) in panels.iter().enumerate() {
        draw_panel(&mut canvas, &layout.axes(x, i, config, extent), panel, top, config)?;
        x += layout.panel.0 + GAP;
        let last_heat = !panels[i + 1..].iter().any(|p| matches!(p, Panel::Heat(..)));
        if matches!(panel, Panel::Heat(..)) && last_heat {
            draw_bar(&mut canvas, Rect::new(x - 8.0, layout.top, BAR, layout.panel.1), top);
            x += layout.bar + GAP;
        }
    }
    let note = note(&panels, extent);
    canvas.text(&note, (MARGIN, layout.height - MARGIN), Text::new(NOTE, SOFT));
    canvas.png()
}

/// A panel, with the place of its name in the config.
enum Panel<'a> {
    Heat(&'a Array2<f32>, usize),
    Dots(ArrayView2<'a, f32>, usize),
}

fn to_density(log: f32) -> f32 {
    match log {
        f32::INFINITY => f32::NAN, // a density without a bound is a mistake, not a bright spot
        _ => log.exp(),
    }
}

fn check(
    model: ArrayView2<f32>,
    truth: Option<ArrayView2<f32>>,
    samples: Option<ArrayView2<f32>>,
    extent: Extent,
    config: &DensityConfig,
) -> Result<()> {
    extent.check("extent")?;
    if config.panel.is_some_and(|p| !(100..=2000).contains(&p)) {
        return Err(Error::setting("panel", "must be 100 to 2000 pixels"));
    }
    if model.is_empty() {
        return Err(Error::empty("the grid of log densities"));
    }
    if let Some(truth) = truth.filter(|t| t.is_empty()) {
        return Err(Error::shape("the true log density", "at least [1, 1]", truth.shape()));
    }
    match samples {
        Some(samples) if samples.ncols() != 2 => Err(Error::shape("the samples", "[n, 2]", samples.shape())),
        Some(samples) if samples.nrows() == 0 => Err(Error::empty("the set of samples")),
        _ => Ok(()),
    }
}

/// The density at the upper end of the colour scale.
fn shared_top(model: &Array2<f32>, truth: Option<&Array2<f32>>) -> Result<f32> {
    let top = |grid: &Array2<f32>| {
        let (_, highest) = percentiles(grid.iter().copied().collect(), 0.0, 1.0)?;
        let (_, high) = percentiles(grid.iter().copied().collect(), 0.0, 0.999)?;
        // A density of very few cells has no percentile to speak of.
        Some(if high > 0.0 { high } else { highest })
    };
    let finite = |grid: &Array2<f32>, what: &str| top(grid).ok_or_else(|| Error::not_finite(what));
    let model = finite(model, "the model's log density")?;
    let truth = truth.map_or(Ok(0.0), |truth| finite(truth, "the true log density"))?;
    Ok(model.max(truth).max(f32::MIN_POSITIVE))
}

/// Where everything is.
struct Layout {
    left: f32,
    top: f32,
    panel: (f32, f32),
    /// Width of the colour bar with its numbers.
    bar: f32,
    width: f32,
    height: f32,
}

impl Layout {
    fn new(panels: &[Panel], extent: Extent, config: &DensityConfig, top: f32) -> Self {
        let aspect = (extent.height() / extent.width()).clamp(0.2, 5.0);
        let width = config.panel.unwrap_or([380, 340, 232][panels.len().clamp(1, 3) - 1]) as f32;
        let panel = (width, (width * aspect).round());
        let numbers = bar_ticks(top).into_iter().map(|(_, text)| font::width(&text, TICK_TEXT));
        let mut layout = Self {
            left: 0.0,
            top: MARGIN + if config.title.is_empty() { 0.0 } else { TITLE + 16.0 } + NAME + 12.0,
            panel,
            bar: BAR + 8.0 + numbers.fold(0.0, f32::max).max(font::width("density", TICK_TEXT) - BAR),
            width: 0.0,
            height: 0.0,
        };
        let axes = layout.axes(0.0, 0, config, extent);
        let (left, below) = (axes.left_room(), axes.bottom_room());
        let noted = if note(panels, extent).is_empty() { 0.0 } else { NOTE + 12.0 };
        layout.left = (MARGIN + left).ceil();
        layout.width = layout.left + panels.len() as f32 * (panel.0 + GAP) + layout.bar + MARGIN;
        layout.height = layout.top + panel.1 + below + noted + MARGIN;
        layout
    }

    fn axes<'a>(&self, x: f32, i: usize, config: &'a DensityConfig, extent: Extent) -> Axes<'a> {
        let (across, upwards) = &config.axis_names;
        Axes {
            rect: Rect::new(x.round(), self.top, self.panel.0, self.panel.1),
            extent,
            names: (across, if i == 0 { upwards } else { "" }),
            numbers: (true, i == 0),
            ticks: (5, 6),
            mesh: false,
        }
    }
}

fn draw_panel(canvas: &mut Canvas, axes: &Axes, panel: &Panel, top: f32, config: &DensityConfig) -> Result<()> {
    axes.draw(canvas, &[])?;
    let rect = axes.rect;
    let name = match panel {
        Panel::Heat(grid, name) => {
            draw_heat(canvas, rect, grid, top);
            &config.names[*name]
        }
        Panel::Dots(samples, name) => {
            for row in samples.rows().into_iter().filter(|r| r.iter().all(|v| v.is_finite())) {
                canvas.disc(axes.place(row[0], row[1]), config.radius, config.sample_color, rect);
            }
            &config.names[*name]
        }
    };
    let style = Text::new(NAME, INK).at(Anchor::Middle, Anchor::End);
    canvas.text(&font::fit(name, NAME, rect.w), (rect.x + 0.5 * rect.w, rect.y - 9.0), style);
    Ok(())
}

/// Every pixel in the colour of the density at its centre, between the four nearest cells.
fn draw_heat(canvas: &mut Canvas, rect: Rect, grid: &Array2<f32>, top: f32) {
    let (rows, columns) = grid.dim();
    for y in 0..rect.h as usize {
        for x in 0..rect.w as usize {
            let v = (1.0 - (y as f32 + 0.5) / rect.h) * rows as f32 - 0.5;
            let u = (x as f32 + 0.5) / rect.w * columns as f32 - 0.5;
            let color = match sample(grid, v, u) {
                Some(value) => density_color(value / top),
                None => MISSING,
            };
            canvas.set(rect.x as i32 + x as i32, rect.y as i32 + y as i32, color);
        }
    }
}

/// The value between cells, or nothing where the nearest cell is not finite.
fn sample(grid: &Array2<f32>, v: f32, u: f32) -> Option<f32> {
    let (rows, columns) = grid.dim();
    let at = |i: f32, j: f32| grid[[(i.max(0.0) as usize).min(rows - 1), (j.max(0.0) as usize).min(columns - 1)]];
    let nearest = at(v.round(), u.round());
    if !nearest.is_finite() {
        return None;
    }
    let (i, j) = (v.floor(), u.floor());
    let mix = |a: f32, b: f32, t: f32| a + (b - a) * t;
    let low = mix(at(i, j), at(i, j + 1.0), u - j);
    let high = mix(at(i + 1.0, j), at(i + 1.0, j + 1.0), u - j);
    let value = mix(low, high, v - i);
    Some(if value.is_finite() { value } else { nearest })
}

/// The colour scale from 0 at the bottom to `top`, with its unit above.
fn draw_bar(canvas: &mut Canvas, rect: Rect, top: f32) {
    for y in 0..rect.h as usize {
        let share = 1.0 - (y as f32 + 0.5) / rect.h;
        canvas.fill(Rect::new(rect.x, rect.y + y as f32, rect.w, 1.0), density_color(share));
    }
    canvas.frame(rect, FAINT);
    let style = Text::new(TICK_TEXT, SOFT);
    for (value, text) in bar_ticks(top) {
        let y = rect.bottom() - value / top * rect.h;
        canvas.fill(Rect::new(rect.right(), y.round(), 4.0, 1.0), SOFT);
        canvas.text(&text, (rect.right() + 7.0, y), style.at(Anchor::Start, Anchor::Middle));
    }
    canvas.text("density", (rect.x, rect.y - 9.0), Text::new(TICK_TEXT, INK));
}

fn bar_ticks(top: f32) -> Vec<(f32, String)> {
    let step = crate::axes::nice_step(top as f64, 5);
    let count = (top as f64 / step).floor() as usize;
    (0..=count.min(20)).map(|i| i as f64 * step).map(|v| (v as f32, number::tick(v, step))).collect()
}

/// What the picture does not show, in words; empty where that is nothing.
fn note(panels: &[Panel], extent: Extent) -> String {
    let mut notes = Vec::new();
    for panel in panels {
        match panel {
            Panel::Heat(grid, i) => {
                let broken = grid.iter().filter(|v| !v.is_finite()).count();
                if broken > 0 {
                    let name = ["model", "truth"][*i];
                    notes.push(format!("{} cells of the {name} are not finite (pink)", number::count(broken)));
                }
            }
            Panel::Dots(samples, _) => {
                let seen = samples.rows().into_iter().filter(|r| extent.contains(r[0], r[1])).count();
                if seen < samples.nrows() {
                    let (out, of) = (samples.nrows() - seen, samples.nrows());
                    notes.push(format!("{} of {} samples not shown", number::count(out), number::count(of)));
                }
            }
        }
    }
    notes.join(", ")
}
