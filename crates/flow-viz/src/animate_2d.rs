//! `*_moons.gif`: points of the plane on their way through the layers, a faint grid bent along with them.

use ndarray::{Array2, ArrayView2, Zip};

use crate::axes::Axes;
use crate::canvas::{Canvas, Rect};
use crate::color::{FAINT, Rgb};
use crate::ease::{Moment, moments};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::film::{self, Quality};
use crate::film_head::HEAD;
use crate::grid::Grid;
use crate::layer::{Layer2d, check_points};
use crate::panels_2d::{draw_grid, draw_points, shared_extent};

/// How [`animate_2d`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct Animate2dConfig {
    /// What is shown, before the layer's name, e.g. `RealNVP`.
    pub title: String,
    /// The side of the plane shown, in pixels; the title comes on top.
    pub side: usize,
    /// The radius of a point, in pixels.
    pub radius: f32,
    /// The longest the film may take, in seconds.
    pub seconds: f32,
    /// The largest the file may be, in bytes: frames and colours are saved until it fits.
    pub max_bytes: usize,
    /// What every frame shows; chosen from the points of all layers where it is `None`.
    pub extent: Option<Extent>,
    /// The grid whose points the layers carry ([`Layer2d::grid`]).
    pub grid: Option<Grid>,
}

impl Default for Animate2dConfig {
    fn default() -> Self {
        Self {
            title: String::new(),
            side: 440,
            radius: 1.7,
            seconds: 12.0,
            max_bytes: 1_500_000,
            extent: None,
            grid: None,
        }
    }
}

/// From the smoothest film to the smallest.
const QUALITIES: [Quality; 6] = [
    Quality { tweens: 14, colors: 128 },
    Quality { tweens: 10, colors: 96 },
    Quality { tweens: 7, colors: 64 },
    Quality { tweens: 4, colors: 48 },
    Quality { tweens: 2, colors: 32 },
    Quality { tweens: 0, colors: 32 },
];

const MARGIN: f32 = 12.0;

/// A GIF that takes the points through `layers` in their order (latent first, to see samples being born), pausing at
/// each, the name of the layer at work in the title.
///
/// Each layer's points are `[n, 2]`, row `i` the same sample everywhere, drawn in `colors[i]` in every frame. Points
/// that are not finite are left out while they are.
///
/// # Errors
///
/// When there is no layer or no point, when shapes do not match, when no point is finite, when a setting makes no
/// sense, or when the film is too large even with the fewest frames.
pub fn animate_2d(layers: &[Layer2d], colors: &[Rgb], config: &Animate2dConfig) -> Result<Vec<u8>> {
    check_points(layers, colors, config.grid.as_ref())?;
    if !(100..=2000).contains(&config.side) {
        return Err(Error::setting("side", "must be 100 to 2000 pixels"));
    }
    let extent = shared_extent(layers, config.extent)?;
    film::within(config.max_bytes, &QUALITIES, |quality, limit| {
        let moments = moments(layers.len(), config.seconds, quality.tweens)?;
        let delays: Vec<u16> = moments.iter().map(|m| m.delay).collect();
        let draw = |i: usize| draw_frame(layers, colors, config, extent, moments[i]);
        film::encode(&delays, &film::samples(&moments), quality.colors, limit, draw)
    })
}

fn draw_frame(layers: &[Layer2d], colors: &[Rgb], config: &Animate2dConfig, extent: Extent, moment: Moment) -> Canvas {
    let side = config.side as f32;
    let size = (side + 2.0 * MARGIN, side + HEAD + MARGIN);
    let mut canvas = Canvas::new(size.0 as usize, size.1 as usize);
    let rect = Rect::new(MARGIN, HEAD, side, side);
    let name = &layers[moment.layer()].name;
    moment.head(&config.title, name, layers.len()).draw(&mut canvas, rect);
    canvas.frame(rect, FAINT);
    let axes = Axes { rect, extent, names: ("", ""), numbers: (false, false), ticks: (0, 0), mesh: false };
    let (here, next) = (&layers[moment.from], &layers[(moment.from + 1).min(layers.len() - 1)]);
    if let (Some(grid), Some(a), Some(b)) = (&config.grid, &here.grid, &next.grid) {
        draw_grid(&mut canvas, &axes, grid, between(a.view(), b.view(), moment).view());
    }
    let points = between(here.points.view(), next.points.view(), moment);
    draw_points(&mut canvas, &axes, points.view(), colors, config.radius);
    canvas
}

fn between(a: ArrayView2<f32>, b: ArrayView2<f32>, moment: Moment) -> Array2<f32> {
    Zip::from(a).and(b).map_collect(|&a, &b| moment.between(a, b))
}
