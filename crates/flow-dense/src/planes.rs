//! Batches of images, a plane for each channel: all images one after another, with zeros between them.

use std::mem::MaybeUninit;
use std::sync::Arc;

use crate::lanes::{LINE, Lanes, with_lanes};
use crate::panels::Line;
use crate::rounded::round;

/// How many images of which size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of each.
    pub height: usize,
    /// Pixels of each row.
    pub width: usize,
}

impl Images {
    /// Places from a pixel to the one below it: a row ends in a zero, which is also where the next one's left neighbour is.
    pub(crate) fn row(self) -> usize {
        self.width + 1
    }

    /// Places from an image to the next: it ends in a row of zeros, which the next one has above it.
    fn image(self) -> usize {
        (self.height + 1) * self.row()
    }

    /// Places from the first pixel to the last, rounded up to a multiple of 32, of which every tile is a part.
    pub(crate) fn places(self) -> usize {
        let all = self.count * self.image();
        if self.count * self.height * self.width == 0 { 0 } else { (all - self.row() - 1).next_multiple_of(2 * LINE) }
    }

    /// Zeros before the first pixel: what is above it and to the left.
    pub(crate) fn front(self) -> usize {
        (self.row() + 1).next_multiple_of(LINE)
    }

    /// Numbers of a plane: as many zeros behind the last place; an odd number of cache lines, for planes of a power of two
    /// would share the few places that a cache has for such.
    pub(crate) fn plane(self) -> usize {
        let lines = (2 * self.front() + self.places()) / LINE;
        (lines | 1) * LINE
    }

    /// A bit for each place, set where there is a pixel.
    fn mask(self) -> Arc<[u16]> {
        let mut mask = vec![0u16; self.places() / LINE];
        for image in 0..self.count {
            for y in 0..self.height {
                let start = image * self.image() + y * self.row();
                (start..start + self.width).for_each(|place| mask[place / LINE] |= 1 << (place % LINE));
            }
        }
        mask.into()
    }

    fn pixels(self) -> usize {
        self.height * self.width
    }
}

/// Images of some channels, `[channels, count (height + 1) (width + 1)]` in memory with zeros around each image, so that a
/// convolution is a sum of products of planes that lie some places apart. Zeros stay zeros.
#[derive(Clone, Debug)]
pub struct Planes {
    images: Images,
    channels: usize,
    mask: Arc<[u16]>,
    lines: Vec<MaybeUninit<Line>>,
}

impl Planes {
    /// Zeros around images whose places are yet to be written, all of them.
    fn with_mask(images: Images, channels: usize, mask: Arc<[u16]>) -> Self {
        let count = (images.plane() / LINE).checked_mul(channels).expect("as many as memory can be");
        let mut lines: Vec<MaybeUninit<Line>> = Vec::with_capacity(count);
        // SAFETY: the capacity is `count`, and nothing is claimed of what is there; whoever makes planes writes all of them.
        unsafe {
            lines.set_len(count);
        }
        let (front, end) = (images.front() / LINE, (images.front() + images.places()) / LINE);
        for plane in lines.chunks_mut(images.plane() / LINE) {
            plane[..front].fill(MaybeUninit::zeroed());
            plane[end..].fill(MaybeUninit::zeroed());
        }
        Planes { images, channels, mask, lines }
    }

    /// The same for other images of the same places.
    pub(crate) fn alike(&self, channels: usize) -> Self {
        Planes::with_mask(self.images, channels, self.mask.clone())
    }

    /// How many images of which size.
    pub fn images(&self) -> Images {
        self.images
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    pub(crate) fn mask(&self) -> &[u16] {
        &self.mask
    }

    /// The first place of the first plane.
    pub(crate) fn pointer(&self) -> *const f32 {
        self.lines.as_ptr().cast::<f32>().wrapping_add(self.images.front())
    }

    /// The whole plane of a channel, zeros in front of its first place and behind its last ones included.
    ///
    /// # Safety
    ///
    /// There are so many channels, or as many.
    pub(crate) unsafe fn plane(&self, channel: usize) -> *const f32 {
        // SAFETY: by the contract.
        unsafe { self.lines.as_ptr().cast::<f32>().add(channel * self.images.plane()) }
    }

    /// The same, rounded to bf16.
    pub(crate) fn rounded(&self) -> Planes {
        let mut planes = self.alike(self.channels);
        let count = self.channels * self.images.plane();
        // SAFETY: there are as many numbers on both sides, and all of them are written: nothing lies between planes.
        unsafe { round(self.lines.as_ptr().cast(), count, planes.lines.as_mut_ptr().cast()) }
        planes
    }

    pub(crate) fn pointer_mut(&mut self) -> *mut f32 {
        self.lines.as_mut_ptr().cast::<f32>().wrapping_add(self.images.front())
    }

    /// Of images `[count, channels, height, width]`, of which each lies `apart` numbers behind the one before.
    ///
    /// # Panics
    ///
    /// If there are not so many numbers.
    pub fn from_images(numbers: &[f32], images: Images, channels: usize, apart: usize) -> Self {
        let Images { count, height, width } = images;
        let each = height.checked_mul(width).and_then(|pixels| pixels.checked_mul(channels));
        let last = each.and_then(|each| count.saturating_sub(1).checked_mul(apart)?.checked_add(each));
        let fits = count == 0 || last.is_some_and(|last| last <= numbers.len());
        assert!(fits, "{count} images of {channels} x {height} x {width}, {apart} apart, among {}", numbers.len());
        let mut planes = Planes::with_mask(images, channels, images.mask());
        let to = planes.pointer_mut();
        // SAFETY: all places of all planes are there, and so are the images.
        unsafe { spread(numbers.as_ptr(), images, channels, apart, to) }
        planes
    }

    /// One number for all pixels of a channel of an image, of `[count, channels]`.
    ///
    /// # Panics
    ///
    /// If there are not so many numbers.
    pub fn of_constants(numbers: &[f32], images: Images, channels: usize) -> Self {
        assert_eq!(
            Some(numbers.len()),
            images.count.checked_mul(channels),
            "one number for each of {channels} channels"
        );
        let each: Vec<f32> = numbers.iter().flat_map(|&x| std::iter::repeat_n(x, images.pixels())).collect();
        Planes::from_images(&each, images, channels, channels * images.pixels())
    }

    /// The sum of each channel of each image, `[count, channels]`.
    pub fn sums_of_images(&self) -> Vec<f32> {
        let Images { count, height, width } = self.images;
        let mut sums = vec![0.0; count * self.channels];
        for (i, sum) in sums.iter_mut().enumerate() {
            let (image, channel) = (i / self.channels, i % self.channels);
            let at = channel * self.images.plane() + image * self.images.image();
            for y in 0..height {
                // SAFETY: so many pixels are in a row of an image.
                let row = unsafe { std::slice::from_raw_parts(self.pointer().add(at + y * self.images.row()), width) };
                *sum += row.iter().sum::<f32>();
            }
        }
        sums
    }

    /// Writes the images, `[count, channels, height, width]`, one after the other.
    ///
    /// # Panics
    ///
    /// If `numbers` are not as many.
    pub fn to_images(&self, numbers: &mut [f32]) {
        let Images { count, height, width } = self.images;
        let fits = numbers.len() == count * self.channels * self.images.pixels();
        assert!(fits, "room for {count} images of {} x {height} x {width}", self.channels);
        // SAFETY: as above.
        unsafe { gather(self.pointer(), self.images, self.channels, numbers.as_mut_ptr()) }
    }

    /// The sum of each channel.
    pub fn sums(&self) -> Vec<f32> {
        // SAFETY: all places are there, zeros among them.
        let sum = |channel| unsafe { sum(self.pointer().add(channel * self.images.plane()), self.images.places()) };
        (0..self.channels).map(sum).collect()
    }
}

with_lanes! {
    /// Images to planes, zeros between them.
    unsafe fn spread(from: *const f32, images: Images, channels: usize, apart: usize, to: *mut f32) = spread_by
}

/// # Safety
///
/// `from` is so many images, `to` the first place of so many planes.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn spread_by<V: Lanes>(from: *const f32, images: Images, channels: usize, apart: usize, to: *mut f32) {
    let Images { count, height, width } = images;
    for channel in 0..channels {
        unsafe {
            let plane = to.add(channel * images.plane());
            for place in (0..images.places()).step_by(V::LANES) {
                V::splat(0.0).store(plane.add(place));
            }
            for image in 0..count {
                for y in 0..height {
                    let from = from.add(image * apart + (channel * height + y) * width);
                    copy::<V>(from, plane.add(image * images.image() + y * images.row()), width);
                }
            }
        }
    }
}

with_lanes! {
    /// Planes to images.
    unsafe fn gather(from: *const f32, images: Images, channels: usize, to: *mut f32) = gather_by
}

/// # Safety
///
/// As [`spread_by`], the other way.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn gather_by<V: Lanes>(from: *const f32, images: Images, channels: usize, to: *mut f32) {
    let Images { count, height, width } = images;
    for image in 0..count {
        for channel in 0..channels {
            for y in 0..height {
                unsafe {
                    let from = from.add(channel * images.plane() + image * images.image() + y * images.row());
                    copy::<V>(from, to.add(((image * channels + channel) * height + y) * width), width);
                }
            }
        }
    }
}

/// # Safety
///
/// So many numbers are there to be read, and to be written.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn copy<V: Lanes>(from: *const f32, to: *mut f32, count: usize) {
    for i in (0..count).step_by(V::LANES) {
        let some = V::LANES.min(count - i);
        unsafe { V::load_first(from.add(i), some).store_first(to.add(i), some) }
    }
}

with_lanes! {
    unsafe fn sum(from: *const f32, count: usize) -> f32 = sum_by
}

/// # Safety
///
/// So many numbers are there, whole vectors.
#[inline(always)]
#[allow(clippy::undocumented_unsafe_blocks, reason = "memory by pointers, by the contract above")]
unsafe fn sum_by<V: Lanes>(from: *const f32, count: usize) -> f32 {
    unsafe {
        let mut sums = [V::splat(0.0); 2];
        for i in (0..count).step_by(V::ACROSS) {
            for (half, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add(V::load(from.add(i + half * V::LANES)));
            }
        }
        sums[0].add(sums[1]).sum()
    }
}
