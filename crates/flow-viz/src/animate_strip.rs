//! `*_interpolation.gif`: a few images side by side that change from frame to frame, forth and back.

use ndarray::{ArrayD, ArrayView4, Axis};

use crate::canvas::Canvas;
use crate::color::FAINT;
use crate::error::{Error, Result};
use crate::film;
use crate::film_head::FilmHead;
use crate::film_sheet::{FilmSheet, MARGIN};
use crate::images::{alike, check_range};
use crate::pixels::{draw_values, level, level_of, scale_to};

/// How [`animate_strip`] looks.
#[derive(Clone, Debug, PartialEq)]
pub struct AnimateStripConfig {
    /// What is shown, e.g. `Glow on MNIST, interpolations`.
    pub title: String,
    /// A name for each frame beside the title, e.g. `T = 0.7`; none where it is empty.
    pub names: Vec<String>,
    /// Images in a row; up to 8, then as many as rows, where it is `None`.
    pub columns: Option<usize>,
    /// Pixels for each value of an image; chosen from the images' size and number where it is `None`.
    pub scale: Option<usize>,
    /// The values shown as black and as white.
    pub range: (f32, f32),
    /// Whether the film runs back before it starts again, so that it never jumps.
    pub back: bool,
    /// The longest the film may take, in seconds.
    pub seconds: f32,
    /// The largest the file may be, in bytes: colours and frames are saved until it fits.
    pub max_bytes: usize,
}

impl Default for AnimateStripConfig {
    fn default() -> Self {
        Self {
            title: String::new(),
            names: Vec::new(),
            columns: None,
            scale: None,
            range: (0.0, 1.0),
            back: true,
            seconds: 12.0,
            max_bytes: 1_500_000,
        }
    }
}

/// How finely a film is drawn: of how many frames one is shown, and with how many colours.
#[derive(Clone, Copy, Debug)]
struct Quality {
    every: usize,
    colors: usize,
}

/// From the smoothest film to the smallest.
const QUALITIES: [Quality; 7] = [
    Quality { every: 1, colors: 224 },
    Quality { every: 1, colors: 96 },
    Quality { every: 1, colors: 48 },
    Quality { every: 1, colors: 24 },
    Quality { every: 2, colors: 24 },
    Quality { every: 3, colors: 16 },
    Quality { every: 5, colors: 12 },
];

/// Wanted time of a frame, and of the first and the last of them, in hundredths of a second.
const FRAME: f64 = 8.0;
const REST: f64 = 80.0;

/// A GIF of `frames`, each a row of images `[k, h, w]` or `[k, 1, h, w]` in grey or `[k, 3, h, w]` in colour, resting at
/// the first and the last. A bar over the images fills from the one to the other.
///
/// The scale is fixed: values beyond [`AnimateStripConfig::range`] are black or white. A value that is not finite is
/// drawn in pink.
///
/// # Errors
///
/// When there is no frame, no image or no pixel, when shapes differ or are none of these, when names and frames differ
/// in number, when no value is finite, when a setting makes no sense, or when the film is too large even with the
/// fewest frames.
pub fn animate_strip(frames: &[ArrayD<f32>], config: &AnimateStripConfig) -> Result<Vec<u8>> {
    let images = alike(frames.iter().enumerate().map(|(i, frame)| (format!("frame {i}"), frame)))?;
    let (k, channels, h, w) = images.first().ok_or_else(|| Error::empty("the list of frames"))?.dim();
    check_range(config.range)?;
    if !config.names.is_empty() && config.names.len() != images.len() {
        return Err(Error::shape("the names of the frames", format!("[{}]", images.len()), &[config.names.len()]));
    }
    if images.iter().flatten().all(|v| !v.is_finite()) {
        return Err(Error::not_finite("every frame"));
    }
    let columns = config.columns.unwrap_or(if k <= 8 { k } else { (k as f64).sqrt().ceil() as usize }).min(k);
    let rows = k.div_ceil(columns.max(1));
    let fits = || scale_to((columns * w).max(rows * h), 720).min(scale_to(w.max(h), 240));
    let sheet = FilmSheet::new((k, h, w), columns, config.scale.unwrap_or_else(fits), MARGIN)?;
    film::within(config.max_bytes, &QUALITIES, |quality, limit| {
        let shots = shots(images.len(), quality.every, config)?;
        let delays: Vec<u16> = shots.iter().map(|s| s.delay).collect();
        let greys = (channels == 1).then_some(quality.colors.min(MOST_GREYS));
        let strip = Strip { images: &images, config, sheet, greys };
        // The way back shows nothing new.
        let sample: Vec<usize> = (0..shots.len()).filter(|&i| i == 0 || shots[i].frame > shots[i - 1].frame).collect();
        let colors = greys.unwrap_or(quality.colors) + 16;
        film::encode(&delays, &sample, colors, limit, |i| strip.draw(shots[i].frame))
    })
}

/// As many greys as a film's palette tells apart.
const MOST_GREYS: usize = 32;

/// A frame in its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Shot {
    frame: usize,
    /// In hundredths of a second.
    delay: u16,
}

/// Every `every`-th frame and the last, then the same backwards where the film runs back, within the time.
fn shots(frames: usize, every: usize, config: &AnimateStripConfig) -> Result<Vec<Shot>> {
    let seconds = config.seconds;
    if !(seconds.is_finite() && seconds > 0.0) {
        return Err(Error::setting("seconds", format!("{seconds} is no duration")));
    }
    let last = frames - 1;
    let mut order: Vec<usize> = (0..last).step_by(every).chain([last]).collect();
    if config.back && order.len() > 2 {
        order.extend((1..order.len() - 1).rev().map(|i| order[i]).collect::<Vec<_>>());
    }
    let ends = order.iter().filter(|&&i| i == 0 || i == last).count() as f64;
    // A frame left out leaves its time to the one before.
    let wanted = ends * REST + (order.len() as f64 - ends) * FRAME * every as f64;
    let scale = (100.0 * seconds as f64 / wanted).min(1.0);
    let delay = |frame: usize| {
        let wanted = if frame == 0 || frame == last { REST } else { FRAME * every as f64 };
        (wanted * scale) as u16
    };
    // Players slow down frames shorter than 0.02 s.
    match order.iter().all(|&frame| delay(frame) >= 2) {
        true => Ok(order.into_iter().map(|frame| Shot { frame, delay: delay(frame) }).collect()),
        false => Err(Error::setting("seconds", format!("{frames} frames do not fit into {seconds} s"))),
    }
}

struct Strip<'a> {
    images: &'a [ArrayView4<'a, f32>],
    config: &'a AnimateStripConfig,
    sheet: FilmSheet,
    /// The steps from black to white; in colour the palette alone decides.
    greys: Option<usize>,
}

impl Strip<'_> {
    fn draw(&self, frame: usize) -> Canvas {
        let mut canvas = self.sheet.canvas();
        let name = self.config.names.get(frame).map_or("", String::as_str);
        let done = frame as f32 / (self.images.len() - 1).max(1) as f32;
        FilmHead { title: &self.config.title, name, count: None, done }.draw(&mut canvas, self.sheet.line());
        canvas.fill(self.sheet.rect, FAINT);
        let range = self.config.range;
        for (i, image) in self.images[frame].axis_iter(Axis(0)).enumerate() {
            let level = |value| match self.greys {
                Some(steps) => level_of(steps, value, range),
                None => level(value, range),
            };
            draw_values(&mut canvas, image, self.sheet.corner(i), self.sheet.scale, |_, value| value, level);
        }
        canvas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(frames: usize, every: usize, back: bool) -> Vec<usize> {
        let config = AnimateStripConfig { back, ..AnimateStripConfig::default() };
        shots(frames, every, &config).unwrap().into_iter().map(|s| s.frame).collect()
    }

    #[test]
    fn forth_and_back_without_a_jump() {
        assert_eq!(order(4, 1, true), [0, 1, 2, 3, 2, 1]);
        assert_eq!(order(4, 1, false), [0, 1, 2, 3]);
        assert_eq!(order(6, 2, true), [0, 2, 4, 5, 4, 2]);
        assert_eq!((order(1, 1, true), order(2, 1, true)), (vec![0], vec![0, 1]));
    }

    #[test]
    fn any_number_of_frames_fits_the_time() {
        for (frames, every) in [(1, 1), (2, 1), (30, 1), (30, 5), (250, 1)] {
            let shots = shots(frames, every, &AnimateStripConfig::default()).unwrap();
            let total: u32 = shots.iter().map(|s| s.delay as u32).sum();
            assert!(total <= 1200 && shots.iter().all(|s| s.delay >= 2), "{frames}: {total}");
        }
        let hasty = AnimateStripConfig { seconds: 0.1, ..AnimateStripConfig::default() };
        assert!(shots(30, 1, &hasty).is_err());
    }
}
