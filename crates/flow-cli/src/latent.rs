//! Ways through the latent: encoding, decoding, and arcs between two points.

use flow_core::Flow;
use tch::{Kind, Tensor};

/// Rows that go through the flow at a time, so that any number fits in memory.
const ROWS: i64 = 500;

/// Data to latent, `[n, D]` to the same, without gradients.
pub fn encode(flow: &Flow, x: &Tensor, context: Option<&Tensor>) -> Tensor {
    in_parts(x, context, |x, context| flow.bijection().forward(x, context).0)
}

/// Latent to data, `[n, D]` to the same, without gradients.
pub fn decode(flow: &Flow, z: &Tensor, context: Option<&Tensor>) -> Tensor {
    in_parts(z, context, |z, context| flow.bijection().inverse(z, context).0)
}

fn in_parts(rows: &Tensor, context: Option<&Tensor>, map: impl Fn(&Tensor, Option<&Tensor>) -> Tensor) -> Tensor {
    let n = rows.size()[0];
    let part = |start: i64| {
        let part = |t: &Tensor| t.narrow(0, start, ROWS.min(n - start));
        map(&part(rows), context.map(part).as_ref())
    };
    let parts: Vec<Tensor> = tch::no_grad(|| (0..n).step_by(ROWS as usize).map(part).collect());
    Tensor::cat(&parts, 0)
}

/// The point at share `t` of the way from each row of `a` to that of `b`, `[n, D]` both: along the arc between their
/// directions, its length changing evenly from one's to the other's.
///
/// ```text
/// z(t) = ((1 - t) |a| + t |b|) (sin((1 - t) ω) a/|a| + sin(t ω) b/|b|) / sin ω      cos ω = a·b / (|a| |b|)
/// ```
///
/// A straight line would pass nearer to the origin than any draw of the base lies (Shoemake 1985; White 2016). Rows of one
/// direction, or of opposite ones, between which no arc is the shortest, are joined by a straight line.
pub fn slerp(a: &Tensor, b: &Tensor, t: f64) -> Tensor {
    let dot = |x: &Tensor, y: &Tensor| numbers(&(x * y).sum_dim_intlist([1i64].as_slice(), false, Kind::Float));
    let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
    let weights = (0..aa.len()).map(|i| weights(aa[i].sqrt(), bb[i].sqrt(), ab[i], t));
    let (of_a, of_b): (Vec<f32>, Vec<f32>) = weights.map(|(a, b)| (a as f32, b as f32)).unzip();
    let column = |weights: &[f32]| Tensor::from_slice(weights).unsqueeze(1).to_device(a.device());
    a * column(&of_a) + b * column(&of_b)
}

fn numbers(values: &Tensor) -> Vec<f64> {
    // First to the processor: Metal has no f64.
    Vec::try_from(values.to_device(tch::Device::Cpu).to_kind(Kind::Double)).expect("a vector")
}

/// The factors on two points of these lengths and of this product.
fn weights(a: f64, b: f64, product: f64, t: f64) -> (f64, f64) {
    let angle = (product / (a * b)).clamp(-1.0, 1.0).acos();
    // An origin has no direction: the angle is not a number then.
    if angle.is_nan() || angle.sin() < 1e-4 {
        return (1.0 - t, t);
    }
    let length = (1.0 - t) * a + t * b;
    let factor = |t: f64, own: f64| length / own * (t * angle).sin() / angle.sin();
    (factor(1.0 - t, a), factor(t, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: &[[f32; 2]]) -> Tensor {
        Tensor::from_slice(&values.concat()).reshape([values.len() as i64, 2])
    }

    fn close(x: &Tensor, y: &Tensor) -> bool {
        (x - y).abs().max().double_value(&[]) < 1e-5
    }

    #[test]
    fn an_arc_turns_and_grows_evenly() {
        let (a, b) = (rows(&[[1.0, 0.0], [0.0, 2.0]]), rows(&[[0.0, 3.0], [2.0, 0.0]]));
        assert!(close(&slerp(&a, &b, 0.0), &a) && close(&slerp(&a, &b, 1.0), &b));
        // Half of a right angle, at the mean of the two lengths.
        let half = 0.5f32.sqrt();
        assert!(close(&slerp(&a, &b, 0.5), &rows(&[[2.0 * half, 2.0 * half], [2.0 * half, 2.0 * half]])));
        let third = slerp(&a, &b, 1.0 / 3.0);
        let (length, angle) = (5.0f32 / 3.0, 30f32.to_radians());
        assert!(close(&third.narrow(0, 0, 1), &rows(&[[length * angle.cos(), length * angle.sin()]])));
    }

    #[test]
    fn where_there_is_no_arc_the_way_is_straight() {
        let (a, b) = (rows(&[[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]), rows(&[[-1.0, 0.0], [3.0, 3.0], [0.0, 2.0]]));
        assert!(close(&slerp(&a, &b, 0.25), &rows(&[[0.5, 0.0], [1.5, 1.5], [0.0, 0.5]])));
    }
}
