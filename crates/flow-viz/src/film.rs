//! Frames to GIF: one palette for all of them, and each frame only what changed since the one before.

use std::borrow::Cow;

use gif::{DisposalMethod, Encoder, Frame, Repeat};

use crate::canvas::Canvas;
use crate::color::Rgb;
use crate::ease::Moment;
use crate::error::{Error, Result};
use crate::palette::Palette;

/// The transparent entry: the pixel stays as it was.
const SAME: u8 = 0;

/// Writes the frames that `draw(i)` gives, `delays[i]` hundredths of a second each, for ever repeated.
///
/// The palette of at most `colors` entries is made from the frames named in `sample`. Every frame is drawn when it is
/// needed, so that a long film takes no more memory than two frames; a film that grows beyond `limit` bytes is given up.
pub(crate) fn encode(
    delays: &[u16],
    sample: &[usize],
    colors: usize,
    limit: usize,
    draw: impl Fn(usize) -> Canvas,
) -> Result<Vec<u8>> {
    let stills: Vec<Canvas> = sample.iter().map(|&i| draw(i)).collect();
    let first = stills.first().ok_or_else(|| Error::empty("the film"))?;
    let size = (first.width() as u16, first.height() as u16);
    let palette = Palette::new(&stills, colors);
    drop(stills);

    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, size.0, size.1, &palette_bytes(&palette))?;
    encoder.set_repeat(Repeat::Infinite)?;
    let mut shown: Vec<u8> = Vec::new();
    for (i, &delay) in delays.iter().enumerate() {
        let next = palette.indices(draw(i).pixels());
        let frame = difference(&shown, &next, size);
        encoder.write_frame(&Frame { delay, ..frame })?;
        shown = next;
        let bytes = encoder.get_ref().len();
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
    }
    drop(encoder);
    Ok(bytes)
}

/// The global table: a place for "unchanged", then the colours.
fn palette_bytes(palette: &Palette) -> Vec<u8> {
    let unused = [Rgb::grey(0)];
    let entries = unused.iter().chain(palette.colors());
    entries.flat_map(|c| c.0).collect()
}

/// The smallest rectangle that turns `shown` into `next`, unchanged pixels in it left transparent.
fn difference(shown: &[u8], next: &[u8], (width, height): (u16, u16)) -> Frame<'static> {
    let w = width as usize;
    let changed = |i: usize| shown.get(i) != Some(&next[i]);
    let mut edges = (w, height as usize, 0, 0);
    for i in (0..next.len()).filter(|&i| changed(i)) {
        let (x, y) = (i % w, i / w);
        edges = (edges.0.min(x), edges.1.min(y), edges.2.max(x + 1), edges.3.max(y + 1));
    }
    if edges.2 == 0 {
        edges = (0, 0, 1, 1); // nothing moved; a frame needs a pixel all the same
    }
    let (x0, y0, x1, y1) = edges;
    let cell = |i: usize| if changed(i) { next[i] } else { SAME };
    let buffer: Vec<u8> = (y0..y1).flat_map(|y| (x0..x1).map(move |x| cell(y * w + x))).collect();
    Frame {
        left: x0 as u16,
        top: y0 as u16,
        width: (x1 - x0) as u16,
        height: (y1 - y0) as u16,
        buffer: Cow::Owned(buffer),
        transparent: Some(SAME),
        dispose: DisposalMethod::Keep,
        ..Frame::default()
    }
}

/// How finely a film is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quality {
    /// Frames between two layers.
    pub tweens: usize,
    /// Colours in the palette.
    pub colors: usize,
}

/// The first of `qualities` whose film stays within `limit` bytes.
///
/// `film` is told how many bytes it may take: no more than the limit, but for the last quality any number, so that the
/// error says how large the smallest film is.
pub(crate) fn within<Q: Copy>(
    limit: usize,
    qualities: &[Q],
    film: impl Fn(Q, usize) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let (last, before) = qualities.split_last().ok_or_else(|| Error::empty("the list of qualities"))?;
    for &quality in before {
        match film(quality, limit) {
            Ok(bytes) if bytes.len() <= limit => return Ok(bytes),
            Ok(_) | Err(Error::TooLarge { .. }) => continue,
            other => return other,
        }
    }
    let bytes = film(*last, usize::MAX)?;
    match bytes.len() <= limit {
        true => Ok(bytes),
        false => Err(Error::TooLarge { bytes: bytes.len(), limit }),
    }
}

/// The frames that stand for all when the palette is chosen: each layer, and halfway to the next.
pub(crate) fn samples(moments: &[Moment]) -> Vec<usize> {
    let still = |i: usize| moments[i].share == 0.0;
    let halfway = |i: usize| moments[i].share >= 0.5 && moments[i - 1].share < 0.5;
    (0..moments.len()).filter(|&i| still(i) || halfway(i)).collect()
}
