//! The left side of a check's figure: a row a layer, its errors on a logarithmic axis.

use crate::canvas::{Anchor, Canvas, Rect, Text};
use crate::check::{CheckConfig, LayerErrors, MARGIN, verdict_color};
use crate::color::{FAINT, INK, PAPER, Rgb, SOFT};
use crate::curve::{REFERENCE, SERIES};
use crate::font;
use crate::histograms::draw_upright;
use crate::legend::Legend;

const LABEL: f32 = 14.0;
const TICK: f32 = 14.0;
const BOUND: f32 = 13.0;
const NAME: f32 = 15.0;
/// The widest name of a layer.
const WIDEST: f32 = 250.0;
const PLANE: f32 = 480.0;
const VERDICT: f32 = 56.0;
/// The least and the most height of a row.
const ROW: (f32, f32) = (20.0, 40.0);
/// Below the rows: numbers, the axis' name, labels of the bounds above.
const FOOT: f32 = 48.0;
const HEAD: f32 = 22.0;
/// The least room between two numbers, or two labels, side by side.
const BETWEEN: f32 = 6.0;
/// The lowest power of ten that is shown: f64 has none of its digits left below.
const LOWEST: i32 = -17;

/// Where everything is.
pub(crate) struct ErrorRows {
    legend: Legend,
    /// The plane of the rows.
    plane: Rect,
    row: f32,
    top: f32,
    highest: i32,
}

/// The kinds of errors: name, colour.
const KINDS: [(&str, Rgb); 3] = [
    ("round trip in f32", SERIES[1]),
    ("round trip in f64", SERIES[0]),
    ("log-det against the Jacobian, f64", SERIES[2]),
];

impl ErrorRows {
    /// Rows from `top` on, `room` pixels high where that makes them no higher than is good.
    pub fn new(layers: &[LayerErrors], config: &CheckConfig, top: f32, room: f32) -> Self {
        let names = layers.iter().map(|layer| font::width(&layer.name, LABEL).min(WIDEST)).fold(0.0, f32::max);
        let left = (MARGIN + names + 12.0).ceil();
        let mut legend = Legend::new(left + PLANE - MARGIN);
        for (name, color) in KINDS {
            legend.add(name.to_owned(), color, false);
        }
        let above = legend.height() + HEAD;
        let n = layers.len() as f32;
        let row = ((room - above - FOOT) / n).clamp(ROW.0, ROW.1).floor();
        let errors = layers.iter().flat_map(errors).flatten().filter(|e| e.is_finite() && *e > 0.0);
        let values = errors.chain(config.bounds.iter().map(|bound| bound.1));
        let highest = values.fold(1e-2, f64::max).log10().ceil().min(40.0) as i32;
        ErrorRows { legend, plane: Rect::new(left, (top + above).ceil(), PLANE, n * row), row, top, highest }
    }

    pub fn height(&self) -> f32 {
        self.plane.bottom() + FOOT - self.top
    }

    pub fn right(&self) -> f32 {
        self.plane.right() + VERDICT
    }

    /// Where an error is: 0 at the left end, what is not finite at the right one.
    fn place(&self, error: f64) -> f32 {
        let span = f64::from(self.highest - LOWEST);
        let share = match error {
            e if !e.is_finite() => 1.0,
            e => ((e.max(1e-300).log10() - f64::from(LOWEST)) / span).clamp(0.0, 1.0),
        };
        self.plane.x + self.plane.w * share as f32
    }

    pub fn draw(&self, canvas: &mut Canvas, layers: &[LayerErrors], config: &CheckConfig) {
        self.legend.draw(canvas, MARGIN, self.top);
        let Rect { x, y, w, .. } = self.plane;
        for (i, layer) in layers.iter().enumerate() {
            let row = Rect::new(x, y + i as f32 * self.row, w, self.row);
            if i % 2 == 0 {
                canvas.fill(row, FAINT.mix(PAPER, 0.6));
            }
            let middle = row.y + 0.5 * row.h;
            let name = font::fit(&layer.name, LABEL, WIDEST);
            canvas.text(&name, (x - 10.0, middle), Text::new(LABEL, INK).at(Anchor::End, Anchor::Middle));
            let style = Text::new(LABEL, verdict_color(&layer.verdict)).at(Anchor::Start, Anchor::Middle);
            canvas.text(&layer.verdict, (self.plane.right() + 10.0, middle), style.bold());
        }
        self.draw_axis(canvas);
        self.draw_bounds(canvas, config);
        for (i, layer) in layers.iter().enumerate() {
            let middle = y + (i as f32 + 0.5) * self.row;
            for (kind, (error, (_, color))) in errors(layer).into_iter().zip(KINDS).enumerate() {
                let Some(error) = error else { continue };
                // A little below one another, so that none hides behind another of the same size.
                let at = (self.place(error), (middle + (kind as f32 - 1.0) * 0.2 * self.row).round());
                match error.is_finite() {
                    true => canvas.disc(at, 4.2, color, canvas.bounds()),
                    false => draw_cross(canvas, at, color),
                }
            }
        }
    }

    fn draw_axis(&self, canvas: &mut Canvas) {
        canvas.frame(self.plane, FAINT);
        let bottom = self.plane.bottom();
        let step = tick_step(self.highest - LOWEST);
        for power in (LOWEST + 1..=self.highest).filter(|power| power % step == 0) {
            let x = self.place(10f64.powi(power)).round();
            canvas.fill(Rect::new(x, self.plane.y, 1.0, self.plane.h), FAINT);
            canvas.fill(Rect::new(x, bottom, 1.0, 4.0), SOFT);
            let number = if power == 0 { "1".to_owned() } else { format!("1e{power}").replace('-', "−") };
            canvas.text(&number, (x, bottom + 8.0), Text::new(TICK, SOFT).at(Anchor::Middle, Anchor::Start));
        }
        let name = "largest error, relative to 1 + |value|; left end: 0, ×: not finite";
        let middle = self.plane.x + 0.5 * self.plane.w;
        canvas.text(name, (middle, bottom + 28.0), Text::new(NAME, INK).at(Anchor::Middle, Anchor::Start));
    }

    fn draw_bounds(&self, canvas: &mut Canvas, config: &CheckConfig) {
        for (label, x, anchor) in self.labels(config) {
            draw_upright(canvas, self.plane, x, 1.4, REFERENCE);
            let style = Text::new(BOUND, REFERENCE).at(anchor, Anchor::End);
            canvas.text(label, (x, self.plane.y - 6.0), style);
        }
    }

    /// The bounds' labels from left to right, each with the place of its line: over its middle or, where labels would
    /// touch so, the first half of them to the left of their lines and the others to the right.
    fn labels<'a>(&self, config: &'a CheckConfig) -> Vec<(&'a str, f32, Anchor)> {
        let place = |(label, value): &'a (String, f64)| (label.as_str(), self.place(*value).floor() + 0.5);
        let mut labels: Vec<(&str, f32)> = config.bounds.iter().map(place).collect();
        labels.sort_by(|a, b| a.1.total_cmp(&b.1));
        let half = |label: &str| 0.5 * font::width(label, BOUND);
        let touch = |pair: &[(&str, f32)]| pair[1].1 - pair[0].1 < half(pair[0].0) + BETWEEN + half(pair[1].0);
        let crowded = labels.windows(2).any(touch);
        let first_half = labels.len() / 2;
        let anchor = |i: usize| match crowded {
            false => Anchor::Middle,
            true if i < first_half => Anchor::End,
            true => Anchor::Start,
        };
        labels.into_iter().enumerate().map(|(i, (label, x))| (label, x, anchor(i))).collect()
    }
}

/// How many powers of ten further the next number stands, on an axis of so many: an even number.
fn tick_step(powers: i32) -> i32 {
    let widest = font::width("1e−16", TICK) + BETWEEN;
    let apart = |step: &i32| PLANE * *step as f32 >= widest * powers as f32;
    (2..=powers).step_by(2).find(apart).unwrap_or(powers)
}

fn errors(layer: &LayerErrors) -> [Option<f64>; 3] {
    [layer.single, layer.double, layer.log_det]
}

fn draw_cross(canvas: &mut Canvas, (x, y): (f32, f32), color: Rgb) {
    let lines = [vec![(x - 5.0, y - 5.0), (x + 5.0, y + 5.0)], vec![(x - 5.0, y + 5.0), (x + 5.0, y - 5.0)]];
    canvas.strokes(&lines, 2.4, color, canvas.bounds());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of a layer whose round trip is off by ten to this power.
    fn rows(power: i32) -> ErrorRows {
        let error = Some(10f64.powi(power));
        let layer =
            LayerErrors { name: "a".into(), single: error, double: None, log_det: None, verdict: "FAIL".into() };
        ErrorRows::new(&[layer], &CheckConfig::default(), 0.0, 100.0)
    }

    #[test]
    fn labels_of_bounds_stand_apart_however_large_an_error_is() {
        let config = CheckConfig::default();
        for power in -20..=60 {
            let spans: Vec<(f32, f32)> = rows(power)
                .labels(&config)
                .into_iter()
                .map(|(label, x, anchor)| {
                    let width = font::width(label, BOUND);
                    let left = match anchor {
                        Anchor::Start => x,
                        Anchor::Middle => x - 0.5 * width,
                        Anchor::End => x - width,
                    };
                    (left, left + width)
                })
                .collect();
            assert!(spans.len() == 2 && spans[0].1 + 5.0 < spans[1].0, "{power}: {spans:?}");
        }
        assert!(rows(-8).labels(&config).iter().all(|(_, _, anchor)| *anchor == Anchor::Middle));
    }

    #[test]
    fn numbers_of_the_axis_stand_apart_however_large_an_error_is() {
        for power in -20..=60 {
            let powers = rows(power).highest - LOWEST;
            let step = tick_step(powers);
            let distance = PLANE * step as f32 / powers as f32;
            assert!(step % 2 == 0 && distance > font::width("1e−16", TICK) + 5.0, "{power}: {step}");
        }
        assert_eq!(tick_step(15), 2);
    }
}
