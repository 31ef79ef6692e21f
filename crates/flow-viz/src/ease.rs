//! When an animation shows what: a pause at each layer, a soft move to the next.

use crate::error::{Error, Result};
use crate::film_head::FilmHead;

/// Slow at both ends: 0 at 0, 1 at 1, with no speed at either.
pub(crate) fn smoothstep(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// One frame: the state between layer `from` and the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Moment {
    pub from: usize,
    /// The share of the way to the next layer, eased: 0 at the layer itself.
    pub share: f32,
    /// How long the frame stays, in hundredths of a second.
    pub delay: u16,
}

impl Moment {
    /// The layer that is shown, or that is at work.
    pub fn layer(self) -> usize {
        self.from + usize::from(self.share > 0.0)
    }

    /// The line over this frame of a film through `layers` layers, `name` being that of the layer shown.
    pub fn head<'a>(self, title: &'a str, name: &'a str, layers: usize) -> FilmHead<'a> {
        let done = (self.from as f32 + self.share) / (layers - 1).max(1) as f32;
        FilmHead { title, name, count: Some((self.layer() + 1, layers)), done }
    }

    /// The value between `a` (at this layer) and `b` (at the next).
    pub fn between(self, a: f32, b: f32) -> f32 {
        // Written so that the pause shows `a` itself, even where `b` is not finite.
        if self.share == 0.0 {
            return a;
        }
        a + (b - a) * self.share
    }
}

/// Wanted pause, move and additional rest on the last layer, in hundredths of a second.
const PAUSE: f64 = 60.0;
const MOVE: f64 = 70.0;
const REST: f64 = 140.0;

/// The frames that take `layers` states from first to last within `seconds`, each move in at most `tweens` frames.
pub(crate) fn moments(layers: usize, seconds: f32, tweens: usize) -> Result<Vec<Moment>> {
    if !(seconds.is_finite() && seconds > 0.0) {
        return Err(Error::setting("seconds", format!("{seconds} is no duration")));
    }
    let budget = (100.0 * seconds as f64).min(60_000.0);
    let moves = layers.saturating_sub(1) as f64;
    let scale = (budget / (PAUSE * layers as f64 + MOVE * moves + REST)).min(1.0);
    let pause = (PAUSE * scale) as u16;
    if pause < 2 {
        let reason = format!("{layers} layers do not fit into {seconds} s");
        return Err(Error::setting("seconds", reason));
    }
    // Players slow down frames shorter than 0.02 s; below 0.04 s nobody sees a difference.
    let frames = tweens.min((MOVE * scale / 4.0) as usize);
    let delay = (MOVE * scale / frames.max(1) as f64) as u16;
    // Where nothing moves, the time of the move goes to the pause: many layers flash by as it is.
    let pause = if frames == 0 { pause + (MOVE * scale * moves / layers as f64) as u16 } else { pause };
    let mut moments = Vec::new();
    for from in 0..layers {
        let rest = if from + 1 == layers { REST * scale } else { 0.0 };
        moments.push(Moment { from, share: 0.0, delay: pause + rest as u16 });
        if from + 1 < layers {
            moments.extend((1..=frames).map(|i| Moment {
                from,
                share: smoothstep(i as f32 / (frames + 1) as f32),
                delay,
            }));
        }
    }
    Ok(moments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothstep_is_still_at_both_ends() {
        assert_eq!((smoothstep(0.0), smoothstep(0.5), smoothstep(1.0)), (0.0, 0.5, 1.0));
        assert!(smoothstep(0.01) < 0.001 && smoothstep(0.99) > 0.999);
    }

    #[test]
    fn any_number_of_layers_fits_the_time() {
        for layers in [1, 2, 7, 12, 40, 200] {
            let frames = moments(layers, 12.0, 14).unwrap();
            let total: u32 = frames.iter().map(|m| m.delay as u32).sum();
            assert!(total <= 1200, "{layers} layers take {total}");
            assert_eq!(frames.iter().filter(|m| m.share == 0.0).count(), layers);
            assert!(frames.iter().all(|m| m.delay >= 2));
            let still = moments(layers, 12.0, 0).unwrap();
            let total: u32 = still.iter().map(|m| m.delay as u32).sum();
            assert!(still.len() == layers && total <= 1200, "{layers} layers take {total}");
            assert!(layers < 12 || total > 900, "{layers} layers take only {total}");
        }
    }

    #[test]
    fn too_many_layers_are_refused() {
        assert!(moments(100_000, 12.0, 14).is_err());
        assert!(moments(3, f32::NAN, 14).is_err());
        assert!(moments(3, -1.0, 14).is_err());
    }
}
