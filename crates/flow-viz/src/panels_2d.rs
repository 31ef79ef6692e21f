//! `*_forward.png` and `*_inverse.png` on the plane: one panel a layer, limits shared, each point in its own colour.

use ndarray::ArrayView2;

use crate::axes::Axes;
use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::color::{FAINT, INK, Rgb, SOFT};
use crate::colormap::angle_color;
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::font;
use crate::grid::Grid;
use crate::layer::{Layer2d, check_points};
use crate::number;

/// How [`layers_2d`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Layers2dConfig {
    /// The title over all panels.
    pub caption: String,
    /// What the colours mean, in a line below the panels; the colour wheel beside it shows angles. Empty for neither.
    pub color_note: String,
    /// The names of the two axes.
    pub axis_names: (String, String),
    /// Panels in a row; chosen from their number where it is `None`.
    pub columns: Option<usize>,
    /// The side of a panel, in pixels.
    pub panel: usize,
    /// The radius of a point, in pixels.
    pub radius: f32,
    /// What every panel shows; chosen from the points of all layers where it is `None`.
    pub extent: Option<Extent>,
    /// The grid whose points the layers carry ([`Layer2d::grid`]).
    pub grid: Option<Grid>,
}

impl Default for Layers2dConfig {
    fn default() -> Self {
        Self {
            caption: String::new(),
            color_note: "colour: the point's angle in the latent".into(),
            axis_names: ("dimension 1".into(), "dimension 2".into()),
            columns: None,
            panel: 220,
            radius: 1.4,
            extent: None,
            grid: None,
        }
    }
}

const MARGIN: f32 = 18.0;
const GAP: f32 = 16.0;
const CAPTION: f32 = 21.0;
const TITLE: f32 = 16.0;
const NOTE: f32 = 15.0;

/// A PNG with one panel for each of `layers`, in their order, all of them over the same limits.
///
/// Each layer's points are `[n, 2]`, row `i` the same sample everywhere, drawn in `colors[i]` (see
/// [`angle_colors`](crate::angle_colors)). Points that are not finite are left out, those beyond the limits lie
/// outside; a line below the panels says how many.
///
/// # Errors
///
/// When there is no layer or no point, when shapes do not match, when no point is finite, or when a setting makes no
/// sense.
pub fn layers_2d(layers: &[Layer2d], colors: &[Rgb], config: &Layers2dConfig) -> Result<Vec<u8>> {
    check_points(layers, colors, config.grid.as_ref())?;
    let layout = Layout::new(layers, config)?;
    let mut canvas = Canvas::new(layout.width as usize, layout.height as usize);
    let caption = font::fit(&config.caption, CAPTION, layout.width - 2.0 * MARGIN);
    let style = Text::new(CAPTION, INK).bold().at(Anchor::Start, Anchor::Start);
    canvas.text(&caption, (MARGIN, MARGIN), style);
    for (i, layer) in layers.iter().enumerate() {
        draw_panel(&mut canvas, &layout.axes(i, config), layer, colors, config)?;
    }
    draw_note(&mut canvas, &layout, layers, config);
    canvas.png()
}

/// Where everything is.
struct Layout {
    extent: Extent,
    columns: usize,
    count: usize,
    panel: f32,
    left: f32,
    top: f32,
    row: f32,
    width: f32,
    height: f32,
}

impl Layout {
    fn new(layers: &[Layer2d], config: &Layers2dConfig) -> Result<Self> {
        let extent = shared_extent(layers, config.extent)?;
        let count = layers.len();
        let columns = config.columns.unwrap_or_else(|| balanced(count));
        if columns == 0 || !(40..=2000).contains(&config.panel) {
            let reason = "at least one column of panels of 40 to 2000 pixels";
            return Err(Error::setting("columns, panel", reason));
        }
        let columns = columns.min(count);
        let rows = count.div_ceil(columns) as f32;
        let mut layout = Self {
            extent,
            columns,
            count,
            panel: config.panel as f32,
            left: 0.0,
            top: MARGIN + if config.caption.is_empty() { 0.0 } else { CAPTION + 16.0 },
            row: config.panel as f32 + TITLE + 12.0 + GAP,
            width: 0.0,
            height: 0.0,
        };
        let outer = layout.axes(0, config);
        layout.left = (MARGIN + outer.left_room()).ceil();
        layout.width = layout.left + columns as f32 * (layout.panel + GAP) - GAP + MARGIN;
        layout.height = layout.top + rows * layout.row - GAP + layout.below(config) + NOTE + MARGIN + 10.0;
        Ok(layout)
    }

    /// Space for numbers and the name below the lowest panels.
    fn below(&self, config: &Layers2dConfig) -> f32 {
        self.axes(self.count - 1, config).bottom_room()
    }

    /// The axes of panel `i`: numbers only at the left and where no panel is below.
    fn axes<'a>(&self, i: usize, config: &'a Layers2dConfig) -> Axes<'a> {
        let (row, column) = (i / self.columns, i % self.columns);
        let (leftmost, lowest) = (column == 0, i + self.columns >= self.count);
        let (across, upwards) = &config.axis_names;
        Axes {
            rect: Rect::new(
                self.left + column as f32 * (self.panel + GAP),
                self.top + TITLE + 12.0 + row as f32 * self.row,
                self.panel,
                self.panel,
            ),
            extent: self.extent,
            names: (if lowest { across } else { "" }, if leftmost { upwards } else { "" }),
            numbers: (lowest, leftmost),
            ticks: (5, 5),
            mesh: false,
        }
    }
}

/// Rows of equal length: one up to four panels, then as few rows of at most four as will do.
fn balanced(count: usize) -> usize {
    count.div_ceil(count.div_ceil(4).max(1))
}

pub(crate) fn shared_extent(layers: &[Layer2d], fixed: Option<Extent>) -> Result<Extent> {
    let extent = match fixed {
        Some(extent) => extent,
        None => Extent::robust(layers.iter().map(|l| l.points.view()))?,
    };
    extent.check("extent")?;
    Ok(extent)
}

fn draw_panel(
    canvas: &mut Canvas,
    axes: &Axes,
    layer: &Layer2d,
    colors: &[Rgb],
    config: &Layers2dConfig,
) -> Result<()> {
    axes.draw(canvas, &[])?;
    let rect = axes.rect;
    let title = font::fit(&layer.name, TITLE, rect.w);
    let style = Text::new(TITLE, INK).at(Anchor::Middle, Anchor::End);
    canvas.text(&title, (rect.x + 0.5 * rect.w, rect.y - 8.0), style);
    if let (Some(grid), Some(points)) = (config.grid, &layer.grid) {
        draw_grid(canvas, axes, &grid, points.view());
    }
    draw_points(canvas, axes, layer.points.view(), colors, config.radius);
    Ok(())
}

/// The grid's lines, faint, where the layer has taken them.
pub(crate) fn draw_grid(canvas: &mut Canvas, axes: &Axes, grid: &Grid, points: ArrayView2<f32>) {
    let place = |path: Vec<(f32, f32)>| path.into_iter().map(|(x, y)| axes.place(x, y)).collect();
    let paths: Vec<_> = grid.paths(points).into_iter().map(place).collect();
    canvas.strokes(&paths, 1.0, FAINT, axes.rect);
}

/// The points, in the order of their rows in every figure, so that the same ones lie on top.
pub(crate) fn draw_points(canvas: &mut Canvas, axes: &Axes, points: ArrayView2<f32>, colors: &[Rgb], radius: f32) {
    for (row, &color) in points.rows().into_iter().zip(colors) {
        let spot = axes.place(row[0], row[1]);
        if spot.0.is_finite() && spot.1.is_finite() {
            canvas.disc(spot, radius, color, axes.rect);
        }
    }
}

/// What the colours mean, and how many points are not seen.
fn draw_note(canvas: &mut Canvas, layout: &Layout, layers: &[Layer2d], config: &Layers2dConfig) {
    let y = layout.height - MARGIN;
    let middle = y - 0.5 * font::CAP * NOTE;
    let mut x = MARGIN;
    if !config.color_note.is_empty() {
        draw_wheel(canvas, (x + 9.0, middle), 9.0);
        x += 26.0;
    }
    let parts = [config.color_note.clone(), unseen(layers, layout.extent)];
    let parts: Vec<_> = parts.into_iter().filter(|p| !p.is_empty()).collect();
    let note = font::fit(&parts.join("; "), NOTE, layout.width - x - MARGIN);
    canvas.text(&note, (x, y), Text::new(NOTE, SOFT));
}

/// The angles' colours around a circle.
fn draw_wheel(canvas: &mut Canvas, (cx, cy): (f32, f32), radius: f32) {
    for y in (cy - radius) as i32 - 1..=(cy + radius) as i32 + 1 {
        for x in (cx - radius) as i32 - 1..=(cx + radius) as i32 + 1 {
            let (dx, dy) = (x as f32 + 0.5 - cx, cy - y as f32 - 0.5);
            let r = (dx * dx + dy * dy).sqrt();
            let share = (radius + 0.5 - r).min(r - 0.4 * radius + 0.5).clamp(0.0, 1.0);
            canvas.blend(x, y, angle_color(dy.atan2(dx)), share);
        }
    }
}

/// How many points lie outside or are not finite, in words; empty where there are none.
fn unseen(layers: &[Layer2d], extent: Extent) -> String {
    let rows = || layers.iter().flat_map(|l| l.points.rows());
    let total = layers.iter().map(|l| l.points.nrows()).sum();
    let broken = rows().filter(|r| !(r[0].is_finite() && r[1].is_finite())).count();
    let inside = rows().filter(|r| extent.contains(r[0], r[1])).count();
    let outside = total - broken - inside;
    let of = format!("of {} points", number::count(total));
    match (outside, broken) {
        (0, 0) => String::new(),
        (_, 0) => format!("{} {of} lie outside", number::count(outside)),
        (0, _) => format!("{} {of} not finite", number::count(broken)),
        _ => format!("{} {of} lie outside, {} not finite", number::count(outside), number::count(broken)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_balanced() {
        let columns: Vec<usize> = [1, 4, 5, 6, 7, 8, 9, 12].map(balanced).to_vec();
        assert_eq!(columns, [1, 4, 3, 3, 4, 4, 3, 4]);
    }
}
