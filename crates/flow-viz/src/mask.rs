//! How much of each pixel a shape covers. Shapes laid over each other cover no more than the largest of them.

use crate::canvas::{Rect, Spot};

/// Shares in 0..=1 over a rectangle of pixels.
pub(crate) struct Mask {
    x0: i32,
    y0: i32,
    width: usize,
    share: Vec<f32>,
    clip: Rect,
}

impl Mask {
    /// Nothing covered yet. Whatever falls outside of `clip` and `canvas` is dropped.
    pub fn new(clip: Rect, canvas: Rect) -> Self {
        let x0 = clip.x.max(canvas.x).floor();
        let y0 = clip.y.max(canvas.y).floor();
        let x1 = clip.right().min(canvas.right()).ceil().max(x0);
        let y1 = clip.bottom().min(canvas.bottom()).ceil().max(y0);
        let (x1, y1) = if x1 > x0 && y1 > y0 { (x1, y1) } else { (x0, y0) };
        Self {
            x0: x0 as i32,
            y0: y0 as i32,
            width: (x1 - x0) as usize,
            share: vec![0.0; ((x1 - x0) * (y1 - y0)) as usize],
            clip: Rect::new(x0, y0, x1 - x0, y1 - y0),
        }
    }

    /// Covers at least `share` of the pixel at `(x, y)`.
    pub fn cover(&mut self, x: i32, y: i32, share: f32) {
        let (dx, dy) = (x.wrapping_sub(self.x0), y.wrapping_sub(self.y0));
        if dx < 0 || dy < 0 || dx as usize >= self.width {
            return;
        }
        if let Some(cell) = self.share.get_mut(dy as usize * self.width + dx as usize) {
            *cell = cell.max(share.min(1.0));
        }
    }

    /// Covers a line from `a` to `b` with round ends. Ends that are not finite are left out.
    pub fn segment(&mut self, a: Spot, b: Spot, width: f32) {
        let Some((a, b)) = clip_segment(a, b, self.clip, width + 2.0) else {
            return;
        };
        let reach = 0.5 * width + 0.5;
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length2 = dx * dx + dy * dy;
        // Walk along the longer side; at each step look only at the few pixels across that the line can touch.
        let flat = dx.abs() >= dy.abs();
        let (a, b, dx, dy) = if flat { (a, b, dx, dy) } else { ((a.1, a.0), (b.1, b.0), dy, dx) };
        let slope = if dx == 0.0 { 0.0 } else { dy / dx };
        let side = reach * (1.0 + slope * slope).sqrt() + slope.abs() + 1.0;
        for i in (a.0.min(b.0) - reach).floor() as i32..=(a.0.max(b.0) + reach).ceil() as i32 {
            let u = i as f32 + 0.5;
            let middle = a.1 + slope * (u - a.0).clamp(dx.min(0.0), dx.max(0.0));
            for j in (middle - side).floor() as i32..=(middle + side).ceil() as i32 {
                let v = j as f32 + 0.5;
                let along = match length2 {
                    0.0 => 0.0,
                    _ => (((u - a.0) * dx + (v - a.1) * dy) / length2).clamp(0.0, 1.0),
                };
                let (du, dv) = (u - a.0 - along * dx, v - a.1 - along * dy);
                let share = reach - (du * du + dv * dv).sqrt();
                if share > 0.0 {
                    let (x, y) = if flat { (i, j) } else { (j, i) };
                    self.cover(x, y, share.min(width.min(1.0)));
                }
            }
        }
    }

    /// Calls `visit(x, y, share)` for each pixel that is covered.
    pub fn for_each(&self, mut visit: impl FnMut(i32, i32, f32)) {
        for (i, &share) in self.share.iter().enumerate() {
            if share > 0.0 {
                let (x, y) = (i % self.width, i / self.width);
                visit(self.x0 + x as i32, self.y0 + y as i32, share);
            }
        }
    }
}

/// The part of a segment within `clip` widened by `margin` (Liang and Barsky), so that a point flung far away costs nothing.
fn clip_segment(a: Spot, b: Spot, clip: Rect, margin: f32) -> Option<(Spot, Spot)> {
    if ![a.0, a.1, b.0, b.1].iter().all(|v| v.is_finite()) {
        return None;
    }
    let (dx, dy) = (b.0 as f64 - a.0 as f64, b.1 as f64 - a.1 as f64);
    let bounds = [
        (-dx, a.0 - clip.x + margin),
        (dx, clip.right() + margin - a.0),
        (-dy, a.1 - clip.y + margin),
        (dy, clip.bottom() + margin - a.1),
    ];
    let (mut from, mut to) = (0.0_f64, 1.0_f64);
    for (step, room) in bounds {
        let room = room as f64;
        if step == 0.0 && room < 0.0 {
            return None;
        } else if step < 0.0 {
            from = from.max(room / step);
        } else if step > 0.0 {
            to = to.min(room / step);
        }
    }
    let at = |t: f64| ((a.0 as f64 + t * dx) as f32, (a.1 as f64 + t * dy) as f32);
    (from <= to).then(|| (at(from), at(to)))
}
