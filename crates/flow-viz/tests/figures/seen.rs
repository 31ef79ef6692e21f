//! What a test sees of a figure: pixels, spots of a colour, frames.

use flow_viz::Rgb;
use image::RgbImage;

pub const RED: Rgb = Rgb([220, 20, 20]);
pub const BLUE: Rgb = Rgb([20, 40, 220]);

/// A PNG decoded.
pub fn png(bytes: &[u8]) -> RgbImage {
    image::load_from_memory_with_format(bytes, image::ImageFormat::Png).unwrap().to_rgb8()
}

/// The centres of all connected spots of about this colour, from left to right.
pub fn spots(image: &RgbImage, color: Rgb) -> Vec<(f32, f32)> {
    let near = |p: &image::Rgb<u8>| (0..3).all(|i| p.0[i].abs_diff(color.0[i]) < 16);
    let mut left: Vec<(u32, u32)> =
        image.enumerate_pixels().filter(|(_, _, p)| near(p)).map(|(x, y, _)| (x, y)).collect();
    let mut centers = Vec::new();
    while let Some(first) = left.pop() {
        let mut spot = vec![first];
        let mut i = 0;
        while i < spot.len() {
            let (x, y) = spot[i];
            let (touching, rest) =
                left.into_iter().partition(|p: &(u32, u32)| p.0.abs_diff(x) <= 1 && p.1.abs_diff(y) <= 1);
            spot.extend::<Vec<_>>(touching);
            left = rest;
            i += 1;
        }
        let mean =
            |axis: fn(&(u32, u32)) -> u32| spot.iter().map(|p| axis(p) as f32 + 0.5).sum::<f32>() / spot.len() as f32;
        centers.push((mean(|p| p.0), mean(|p| p.1)));
    }
    centers.sort_by(|a, b| a.0.total_cmp(&b.0));
    centers
}

/// Pixels of exactly this colour.
pub fn count(image: &RgbImage, color: Rgb) -> usize {
    image.pixels().filter(|p| p.0 == color.0).count()
}

/// A film as a viewer sees it: each frame whole, with its time in hundredths of a second.
pub fn film(bytes: &[u8]) -> Vec<(RgbImage, u16)> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(bytes).unwrap();
    assert_eq!(decoder.repeat(), gif::Repeat::Infinite);
    let mut screen = RgbImage::new(decoder.width() as u32, decoder.height() as u32);
    let mut frames = Vec::new();
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        for (i, pixel) in frame.buffer.chunks_exact(4).enumerate() {
            let (x, y) = (i as u32 % frame.width as u32, i as u32 / frame.width as u32);
            if pixel[3] > 0 {
                let at = (x + frame.left as u32, y + frame.top as u32);
                screen.put_pixel(at.0, at.1, image::Rgb([pixel[0], pixel[1], pixel[2]]));
            }
        }
        frames.push((screen.clone(), frame.delay));
    }
    frames
}

/// `n` numbers that look like a standard normal, the same every time.
pub fn normal(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

pub fn near(a: f32, b: f32, tolerance: f32) -> bool {
    (a - b).abs() <= tolerance
}
