//! Colours: sRGB bytes, and the way to them from OKLCh, where equal steps look equal.

/// An opaque sRGB colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rgb(pub [u8; 3]);

/// The background of every figure.
pub(crate) const PAPER: Rgb = Rgb([255, 255, 255]);
/// Titles and labels.
pub(crate) const INK: Rgb = Rgb([32, 34, 38]);
/// Notes, ticks and axes.
pub(crate) const SOFT: Rgb = Rgb([92, 96, 104]);
/// Frames and grid lines.
pub(crate) const FAINT: Rgb = Rgb([222, 224, 228]);
/// A value that is not finite.
pub(crate) const MISSING: Rgb = Rgb([226, 106, 170]);

impl Rgb {
    /// A grey: 0 is black, 255 white.
    pub const fn grey(level: u8) -> Self {
        Self([level; 3])
    }

    /// The colour `share` of the way from `self` (0) to `other` (1).
    pub fn mix(self, other: Rgb, share: f32) -> Self {
        let share = share.clamp(0.0, 1.0);
        let blend = |a: u8, b: u8| (a as f32 + (b as f32 - a as f32) * share).round() as u8;
        Self(std::array::from_fn(|i| blend(self.0[i], other.0[i])))
    }

    /// From lightness (0 to 1), chroma (0 to about 0.3) and hue (radians) in OKLCh. A colour that no screen shows
    /// keeps its lightness and hue, and loses chroma.
    pub fn from_oklch(lightness: f32, chroma: f32, hue: f32) -> Self {
        let (mut low, mut high) = (0.0, chroma);
        if let Some(rgb) = oklch(lightness, chroma, hue) {
            return rgb;
        }
        for _ in 0..12 {
            let middle = 0.5 * (low + high);
            match oklch(lightness, middle, hue) {
                Some(_) => low = middle,
                None => high = middle,
            }
        }
        oklch(lightness, low, hue).unwrap_or(Self::grey((lightness.clamp(0.0, 1.0) * 255.0) as u8))
    }
}

/// OKLCh to sRGB (B. Ottosson, "A perceptual color space for image processing", 2020), or nothing out of gamut.
fn oklch(lightness: f32, chroma: f32, hue: f32) -> Option<Rgb> {
    let (a, b) = (chroma * hue.cos(), chroma * hue.sin());
    let l = (lightness + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let m = (lightness - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let s = (lightness - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * l - 3.307_711_6 * m + 0.230_969_94 * s,
        -1.268_438 * l + 2.609_757_4 * m - 0.341_319_38 * s,
        -0.004_196_086 * l - 0.703_418_6 * m + 1.707_614_7 * s,
    ];
    let inside = linear.iter().all(|v| (-0.0005..=1.0005).contains(v));
    inside.then(|| Rgb(linear.map(gamma)))
}

/// The sRGB byte of a linear intensity.
fn gamma(linear: f32) -> u8 {
    let v = linear.clamp(0.0, 1.0);
    let encoded = if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
    (encoded * 255.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_come_out_of_oklch() {
        assert_eq!(Rgb::from_oklch(1.0, 0.0, 0.0), Rgb([255, 255, 255]));
        assert_eq!(Rgb::from_oklch(0.0, 0.0, 0.0), Rgb([0, 0, 0]));
        // sRGB red is L 0.628, C 0.2577, h 29.23 degrees.
        let Rgb([r, g, b]) = Rgb::from_oklch(0.627_96, 0.257_68, 29.234_f32.to_radians());
        assert!(r >= 254 && g <= 6 && b <= 6, "{r} {g} {b}");
    }

    #[test]
    fn a_colour_out_of_gamut_keeps_its_hue() {
        let Rgb([r, g, b]) = Rgb::from_oklch(0.7, 0.4, 29.2_f32.to_radians());
        assert!(r > g && r > b, "{r} {g} {b}");
    }

    #[test]
    fn mix_meets_both_ends() {
        assert_eq!(INK.mix(PAPER, 0.0), INK);
        assert_eq!(INK.mix(PAPER, 1.0), PAPER);
        assert_eq!(Rgb::grey(0).mix(Rgb::grey(100), 0.5), Rgb::grey(50));
    }
}
