//! Layers, convolutions and elementwise maps by [`flow_dense`] instead of libtorch: when, and how tensors are looked at for it.

use std::cell::Cell;
use std::ops::{Range, RangeInclusive};

use flow_dense::{Bf16, Images, Instructions, Panels, Planes, Rounding, instructions, multiplies_bf16};
use tch::{Device, Kind, Tensor};

use crate::product::{Precision, processor_multiplies_bf16};

/// Rows from which on panels are worth filling.
const FEWEST_ROWS: i64 = 16;
/// Rows with which training gains by it, as far as measured. With more than 512, products of f32 take nearly all of the time, and with
/// AVX-512 alone a library's are as fast; AMX is faster, and rounded ones libtorch would multiply from a tape.
fn trained_rows() -> RangeInclusive<i64> {
    let f32_by_avx512 = instructions() == Some(Instructions::Avx512) && rounding() == Rounding::None;
    32..=if f32_by_avx512 { 512 } else { 8192 }
}

/// Whether dense layers on `x: [n, ..]`, f32, are computed by [`flow_dense`]: on a processor that has the instructions
/// ([`flow_dense::available`], which the environment can deny), outside of autograd, for however many rows. It is the same
/// mathematics, summed in another order: last bits differ from libtorch's. bf16 products are libtorch's where the processor multiplies
/// bf16 by other instructions than AMX.
pub fn applies_to_rows(x: &Tensor) -> bool {
    x.dim() == 2 && applies_to_products() && applies(x)
}

/// The same of convolutions on `x: [n, channels, h, w]`, of however many images, in training as elsewhere.
pub fn applies_to_images(x: &Tensor) -> bool {
    x.dim() == 4 && applies_to_products() && applies(x)
}

fn applies_to_products() -> bool {
    let rounds = multiplies_bf16() || !processor_multiplies_bf16();
    Precision::now() != Precision::Bf16 || rounds && !rounds_by_libtorch()
}

thread_local! {
    static LEFT_TO_LIBTORCH: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`; products of rounded factors on this thread are libtorch's meanwhile, as they are on a tape: two ways to round them would come
/// to different numbers, where the same are to come out twice.
pub(crate) fn rounded_by_libtorch<T>(f: impl FnOnce() -> T) -> T {
    /// Puts back what was, also where `f` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            LEFT_TO_LIBTORCH.set(self.0);
        }
    }
    let _before = Before(LEFT_TO_LIBTORCH.replace(true));
    f()
}

/// Whether rounded factors are libtorch's to multiply on this thread now.
pub(crate) fn rounds_by_libtorch() -> bool {
    LEFT_TO_LIBTORCH.get() && Precision::now() == Precision::Bf16
}

/// How it rounds factors, by the precision of products on this thread; in f32 not at all, but takes them in parts where there is AMX for it.
pub fn rounding() -> Rounding {
    match Precision::now() {
        Precision::Bf16 => Rounding::Bf16,
        Precision::F32 | Precision::Tf32 if multiplies_bf16() => Rounding::Parts,
        Precision::F32 | Precision::Tf32 => Rounding::None,
    }
}

/// Whether maps of numbers `x`, of any shape but an empty one, are computed so; their factors are never rounded.
pub(crate) fn applies(x: &Tensor) -> bool {
    x.numel() > 0 && x.device() == Device::Cpu && x.kind() == Kind::Float && flow_dense::available() && !taped()
}

/// Numbers that are so few that calls of libtorch, each some microseconds, take longer than computing; with more, its vectors and threads
/// are worth calling.
pub(crate) const FEW_NUMBERS: usize = 1 << 10;

/// [`applies`] where numbers are few.
pub(crate) fn applies_to_few(x: &Tensor) -> bool {
    x.numel() <= FEW_NUMBERS && applies(x)
}

/// `a + b`; few plain numbers without a call of libtorch that adds.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Tensor {
    let plain = |t: &Tensor| applies_to_few(t) && t.is_contiguous();
    let size = a.size();
    if size != b.size() || !plain(a) || !plain(b) {
        return a + b;
    }
    NewTensor::empty(&size).filled_with(numbers(a).iter().zip(numbers(b)).map(|(a, b)| a + b))
}

/// Whether so many rows are so few that panels are not worth filling.
pub fn are_few(rows: usize) -> bool {
    rows < FEWEST_ROWS as usize
}

/// [`applies_to_rows`] for a layer whose gradient will be wanted.
pub fn applies_in_training(x: &Tensor) -> bool {
    applies_to_rows(x) && trained_rows().contains(&x.size()[0])
}

/// Whether autograd looks on. libtorch tells only what was before a change.
pub(crate) fn taped() -> bool {
    #[allow(unsafe_code, reason = "tch has no name for it")]
    // SAFETY: both set a flag of this thread, the second what it was.
    unsafe {
        let was = torch_sys::at_grad_set_enabled(0);
        torch_sys::at_grad_set_enabled(was);
        was != 0
    }
}

/// [`flow_dense::in_parallel`] for work that is libtorch's: each part computes on its own thread alone.
pub fn in_parts(parts: usize, work: &(dyn Fn(usize) + Sync)) {
    // The first question that a thread asks libtorch has it set the number of threads, and must not be one of the work.
    let _ = most_threads();
    flow_dense::in_parallel(parts, &|part, _| {
        let _ = most_threads();
        let _ = flow_dense::alone();
        work(part);
    });
}

/// [`flow_dense::in_turn`] for work that may be libtorch's.
pub fn in_turn(count: usize, threads: usize, work: &(dyn Fn(usize) + Sync)) {
    let _ = most_threads();
    flow_dense::in_turn(count, threads, &|i| {
        if flow_dense::within() {
            let _ = most_threads();
            let _ = flow_dense::alone();
        }
        work(i);
    });
}

/// Threads that libtorch computes with: one in a part of [`flow_dense::in_parallel`].
pub fn threads() -> usize {
    if flow_dense::within() { 1 } else { most_threads() }
}

fn most_threads() -> usize {
    usize::try_from(tch::get_num_threads()).unwrap_or(1).max(1)
}

/// The numbers of a contiguous f32 tensor on the processor, in rows.
///
/// # Panics
///
/// If it is none.
pub fn numbers(t: &Tensor) -> &[f32] {
    check(t);
    #[allow(unsafe_code, reason = "a tensor gives its numbers as a pointer")]
    // SAFETY: a contiguous f32 tensor on the processor owns `numel` floats from its data pointer on, for as long as it
    // lives, and the borrow ends before.
    unsafe {
        slice(t.data_ptr().cast_const().cast(), t.numel())
    }
}

/// The numbers of a contiguous bf16 tensor on the processor, in rows.
///
/// # Panics
///
/// If it is none.
pub fn numbers_bf16(t: &Tensor) -> &[Bf16] {
    let plain = t.kind() == Kind::BFloat16 && t.device() == Device::Cpu && t.is_contiguous();
    assert!(plain, "not a plain bf16 buffer: {t:?}");
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: as above, of bf16, which `Bf16` is laid out as.
    unsafe {
        slice(t.data_ptr().cast_const().cast(), t.numel())
    }
}

/// Those of an f32 tensor to write to, which changes every tensor that has the same memory.
///
/// # Panics
///
/// If it is none.
///
/// # Safety
///
/// Nobody else reads or writes this memory, by another tensor say, as long as the slice is used.
#[allow(unsafe_code, reason = "tensors share memory, and nobody can tell which")]
pub unsafe fn numbers_mut(t: &mut Tensor) -> &mut [f32] {
    let all = 0..t.numel();
    #[allow(unsafe_code, reason = "as above")]
    // SAFETY: the same contract.
    unsafe {
        some_numbers_mut(t, all)
    }
}

/// Some of the same, of which alone the contract speaks.
///
/// # Panics
///
/// If it is none, or there are not so many.
///
/// # Safety
///
/// As of [`numbers_mut`].
#[allow(unsafe_code, reason = "as above")]
pub unsafe fn some_numbers_mut(t: &mut Tensor, some: Range<usize>) -> &mut [f32] {
    check(t);
    assert!(some.start <= some.end && some.end <= t.numel(), "numbers {some:?} of {}", t.numel());
    match some.len() {
        0 => &mut [],
        #[allow(unsafe_code, reason = "a tensor gives its numbers as a pointer")]
        // SAFETY: as above, and by the contract; so many numbers are there.
        len => unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast::<f32>().add(some.start), len) },
    }
}

/// A new f32 tensor on the processor, which nobody else has yet.
#[derive(Debug)]
pub struct NewTensor(Tensor);

impl NewTensor {
    /// Whose numbers are whatever its memory held: to be written before anything reads them.
    pub fn empty(size: &[i64]) -> Self {
        NewTensor(Tensor::empty(size, (Kind::Float, Device::Cpu)))
    }

    /// With the numbers of `x`.
    pub fn copy_of(x: &Tensor) -> Self {
        let mut copy = NewTensor::empty(&x.size());
        copy.0.copy_(x);
        copy
    }

    /// All of its numbers, in rows.
    pub fn numbers_mut(&mut self) -> &mut [f32] {
        #[allow(unsafe_code, reason = "a new tensor is written to")]
        // SAFETY: nobody else has it yet.
        unsafe {
            numbers_mut(&mut self.0)
        }
    }

    /// For others to have.
    pub fn done(self) -> Tensor {
        self.0
    }

    /// With these numbers, by fewer calls than [`Tensor::from_slice`].
    ///
    /// # Panics
    ///
    /// If they are not as many.
    pub(crate) fn filled_with(mut self, numbers: impl IntoIterator<Item = f32>) -> Tensor {
        let mut numbers = numbers.into_iter();
        self.numbers_mut().fill_with(|| numbers.next().expect("as many numbers as there is room for"));
        assert!(numbers.next().is_none(), "more numbers than there is room for");
        self.done()
    }
}

/// # Safety
///
/// `len` numbers are there for as long as the slice is used.
#[allow(unsafe_code, reason = "numbers by a pointer")]
unsafe fn slice<'a, N>(from: *const N, len: usize) -> &'a [N] {
    // SAFETY: by the contract; a tensor without numbers need not have a place.
    if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(from, len) } }
}

fn check(t: &Tensor) {
    assert!(t.kind() == Kind::Float && t.device() == Device::Cpu && t.is_contiguous(), "not a plain f32 buffer: {t:?}");
}

/// f32 on the processor, in rows that may be apart: some columns of a wider matrix, say.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    numbers: &'a [f32],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    apart: usize,
}

impl<'a> Rows<'a> {
    /// Of `x: [n, columns]`; what is not so already has to be copied before ([`in_rows`]).
    ///
    /// # Panics
    ///
    /// If it is not a matrix of f32 on the processor with neighbours in each row.
    pub fn new(x: &'a Tensor) -> Self {
        let (rows, columns) = x.size2().expect("a matrix");
        let apart = x.stride()[0];
        let plain = x.kind() == Kind::Float && x.device() == Device::Cpu;
        assert!(plain && has_rows(x), "not rows of f32: {x:?}");
        let len = if rows * columns == 0 { 0 } else { (rows - 1) * apart + columns };
        #[allow(unsafe_code, reason = "a tensor gives its numbers as a pointer")]
        // SAFETY: from the first number of the first row to the last of the last all belong to the tensor's storage, which lives
        // as long as it, and the borrow ends before.
        let numbers = unsafe { slice(x.data_ptr().cast_const().cast(), len as usize) };
        Rows { numbers, rows: rows as usize, columns: columns as usize, apart: apart as usize }
    }

    /// The numbers from the `first` row on, and how many there are from one row to the next.
    pub fn numbers_from(&self, first: usize) -> (&'a [f32], usize) {
        (&self.numbers[(first * self.apart).min(self.numbers.len())..], self.apart.max(self.columns))
    }

    /// Those from the `first` on, as many as there is room for, one after the other.
    pub fn copy_to(&self, first: usize, room: &mut [f32]) {
        for (i, to) in room.chunks_exact_mut(self.columns).enumerate() {
            let start = (first + i) * self.apart;
            to.copy_from_slice(&self.numbers[start..start + self.columns]);
        }
    }

    /// Those from the `first` on, at most `count`, in panels.
    pub fn panels(&self, first: usize, count: usize, threads: usize) -> Panels {
        let count = count.min(self.rows - first);
        let numbers = &self.numbers[(first * self.apart).min(self.numbers.len())..];
        Panels::from_rows_apart(numbers, (count, self.columns), self.apart, threads)
    }
}

/// Images of f32 on the processor, each whole, that may lie apart: some channels of larger ones, say.
#[derive(Clone, Copy, Debug)]
pub struct ImageRows<'a> {
    numbers: &'a [f32],
    /// How many of which size.
    pub images: Images,
    /// Number of channels.
    pub channels: usize,
    apart: usize,
}

impl<'a> ImageRows<'a> {
    /// Of `x: [n, channels, h, w]`; what is not so already has to be copied before ([`in_images`]).
    ///
    /// # Panics
    ///
    /// If it is no batch of images of f32 on the processor whose numbers are neighbours in each image.
    pub fn new(x: &'a Tensor) -> Self {
        let plain = x.kind() == Kind::Float && x.device() == Device::Cpu;
        assert!(plain && has_images(x), "not images of f32: {x:?}");
        let [count, channels, height, width] = <[i64; 4]>::try_from(x.size()).expect("four sizes").map(|n| n as usize);
        let (apart, each) = (x.stride()[0] as usize, channels * height * width);
        let len = if count * each == 0 { 0 } else { (count - 1) * apart + each };
        #[allow(unsafe_code, reason = "a tensor gives its numbers as a pointer")]
        // SAFETY: as for [`Rows`].
        let numbers = unsafe { slice(x.data_ptr().cast_const().cast(), len) };
        ImageRows { numbers, images: Images { count, height, width }, channels, apart }
    }

    /// Those from the `first` on, at most `count`, as planes.
    pub fn planes(&self, first: usize, count: usize) -> Planes {
        let images = Images { count: count.min(self.images.count - first), ..self.images };
        let numbers = &self.numbers[(first * self.apart).min(self.numbers.len())..];
        Planes::from_images(numbers, images, self.channels, self.apart)
    }
}

/// Whether numbers of an image are neighbours, and images follow each other.
fn has_images(x: &Tensor) -> bool {
    let (Ok([n, c, h, w]), stride) = (<[i64; 4]>::try_from(x.size()), x.stride()) else { return false };
    let within = [(c, h * w), (h, w), (w, 1)];
    within.iter().zip(&stride[1..]).all(|(&(size, whole), &stride)| size <= 1 || stride == whole)
        && (n <= 1 || stride[0] >= c * h * w)
}

/// `x: [n, channels, h, w]` as [`ImageRows`] can read it: copied only where it must be.
pub fn in_images(x: &Tensor) -> Tensor {
    if has_images(x) { x.shallow_clone() } else { x.contiguous() }
}

/// Whether numbers of a row are neighbours, and rows follow each other.
fn has_rows(x: &Tensor) -> bool {
    let (size, stride) = (x.size(), x.stride());
    (size[1] <= 1 || stride[1] == 1) && (size[0] <= 1 || stride[0] >= size[1])
}

/// `x: [n, columns]` as [`Rows`] can read it: copied only where it must be.
pub fn in_rows(x: &Tensor) -> Tensor {
    if has_rows(x) { x.shallow_clone() } else { x.contiguous() }
}

/// All rows of `x: [n, columns]` in panels.
pub fn panels(x: &Tensor) -> Panels {
    let x = in_rows(x);
    let rows = Rows::new(&x);
    rows.panels(0, rows.rows, threads())
}

/// The panels as a tensor `[n, columns]`.
pub fn tensor(panels: &Panels) -> Tensor {
    let size = [panels.rows() as i64, panels.columns() as i64];
    let mut rows = NewTensor::empty(&size);
    panels.to_rows(rows.numbers_mut(), threads());
    rows.done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::with_seed;

    /// Against libtorch, on a tape and off it: few and one more, not side by side, of one kind and two, of sizes to be stretched.
    #[test]
    fn sums_are_those_of_libtorch() {
        let draw = |size: &[i64]| with_seed(1, || Tensor::randn(size, (Kind::Float, Device::Cpu)));
        let few = [
            draw(&[4, 3]),
            draw(&[3, 4]).transpose(0, 1),
            draw(&[4, 3]).to_kind(Kind::Double),
            draw(&[3]),
            draw(&[4, 1]),
        ];
        let many = [draw(&[1025]), draw(&[1025])];
        let empty = [draw(&[0]), draw(&[0])];
        for all in [&few[..], &many, &empty] {
            for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
                let right = a + b;
                for own in [sum(a, b), tch::no_grad(|| sum(a, b))] {
                    assert_eq!((own.kind(), own.size()), (right.kind(), right.size()));
                    assert_eq!(own, right);
                }
            }
        }
    }

    #[test]
    fn gradients_go_through_a_sum() {
        let x = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        sum(&x, &x).sum(Kind::Float).backward();
        assert_eq!(x.grad(), Tensor::full([3], 2.0, (Kind::Float, Device::Cpu)));
    }
}
