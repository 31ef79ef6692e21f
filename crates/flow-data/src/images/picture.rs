//! One image file, from its bytes to a square of pixels.

use std::{error::Error, fs, io::Cursor, path::Path};

use image::{
    DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, Pixel, RgbImage,
    imageops::{self, FilterType},
    metadata::Orientation,
};

use super::jpeg;

/// The most bytes of a file, and of the image unpacked from it: 89 million pixels in colour.
const MAX_BYTES: u64 = 256 << 20;
/// The most pixels on a side of the file's image.
const MAX_SIDE: u32 = 1 << 15;

/// A square of pixels, a channel after the other: one where it is grey, else three.
pub(super) struct Picture {
    planes: Vec<u8>,
    grey: bool,
}

impl Picture {
    /// Reads a file; the middle square of its image is resized to `side`.
    ///
    /// # Errors
    /// Why it cannot be read, without the file's name.
    pub fn read(path: &Path, side: usize) -> Result<Picture, String> {
        let file = fs::metadata(path).map_err(line)?;
        if !file.is_file() {
            return Err("not a plain file".into());
        }
        if file.len() > MAX_BYTES {
            return Err(format!("{} bytes, at most {MAX_BYTES} are read", file.len()));
        }
        let bytes = fs::read(path).map_err(line)?;
        Ok(Picture::from_rgb(&resize(&on_black(decode(&bytes)?), side as u32)))
    }

    /// Whether it has one channel.
    pub fn is_grey(&self) -> bool {
        self.grey
    }

    /// Appends it as a row of so many channels, 3 or, for a grey one, 1.
    pub fn append_to(self, row: &mut Vec<u8>, channels: usize) {
        let copies = if self.grey { channels } else { 1 };
        (0..copies).for_each(|_| row.extend_from_slice(&self.planes));
    }

    fn from_rgb(image: &RgbImage) -> Picture {
        let plane = |channel: usize| image.pixels().map(move |pixel| pixel.0[channel]);
        // By its pixels, not by how it is stored: scans of grey pages come as colour JPEG.
        let grey = image.pixels().all(|pixel| pixel.0[0] == pixel.0[1] && pixel.0[1] == pixel.0[2]);
        let channels = if grey { 1 } else { 3 };
        Picture { planes: (0..channels).flat_map(plane).collect(), grey }
    }
}

/// The image as it is meant to be seen: turned as its EXIF says.
fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(line)?;
    match reader.format() {
        Some(ImageFormat::Png) => {}
        Some(ImageFormat::Jpeg) if jpeg::is_whole(bytes) => {}
        Some(ImageFormat::Jpeg) => return Err("a JPEG that is cut off".into()),
        _ => return Err("neither PNG nor JPEG".into()),
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(line)?;
    if decoder.total_bytes() > MAX_BYTES {
        let (width, height) = decoder.dimensions();
        return Err(format!("{width} x {height} pixels, at most {MAX_BYTES} bytes are unpacked"));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(line)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// An error on one line, whatever a decoder says.
fn line(error: impl Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// 8 bits a channel; what is transparent lets black through.
fn on_black(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let image = image.into_rgba8();
    let mut out = RgbImage::new(image.width(), image.height());
    for (from, to) in image.pixels().zip(out.pixels_mut()) {
        let alpha = u16::from(from.0[3]);
        *to = from.to_rgb().map(|value| ((u16::from(value) * alpha + 127) / 255) as u8);
    }
    out
}

/// The middle square, resized. Cut first: a strip of 1 x 30,000 pixels must not become one of 1,000 x 30,000,000. The
/// filter is bicubic (Catmull-Rom) and widened where the image shrinks; it needs no sine, so all machines agree.
fn resize(image: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = image.dimensions();
    let short = width.min(height);
    let square = imageops::crop_imm(image, (width - short) / 2, (height - short) / 2, short, short);
    imageops::resize(&*square, side, side, FilterType::CatmullRom)
}
