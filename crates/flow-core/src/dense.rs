//! Dense layers by [`flow_dense`] instead of libtorch: when, and how tensors are looked at for it.

use std::ops::RangeInclusive;

use flow_dense::Panels;
use tch::{Device, Kind, Tensor};

use crate::product::Precision;

/// Rows from which on panels of 32 are worth filling; fewer go through libtorch.
const FEWEST_ROWS: i64 = 16;
/// Rows with which training gains by it. With more, products take nearly all of the time, and a library's are as fast.
const TRAINED_ROWS: RangeInclusive<i64> = 32..=512;

/// Whether dense layers on `x: [n, ..]` are computed by [`flow_dense`]: in f32 on a processor that has the instructions
/// ([`flow_dense::available`], which the environment can deny), outside of autograd, for a batch that is worth it. It is the
/// same mathematics, summed in another order.
pub fn applies(x: &Tensor) -> bool {
    x.device() == Device::Cpu
        && x.kind() == Kind::Float
        && x.size()[0] >= FEWEST_ROWS
        && Precision::now() != Precision::Bf16
        && flow_dense::available()
        && !taped()
}

/// The same for a layer whose gradient will be wanted.
pub fn applies_in_training(x: &Tensor) -> bool {
    TRAINED_ROWS.contains(&x.size()[0]) && applies(x)
}

/// Whether autograd looks on. libtorch tells only what was before a change.
fn taped() -> bool {
    #[allow(unsafe_code, reason = "tch has no name for it")]
    // SAFETY: both set a flag of this thread, the second what it was.
    unsafe {
        let was = torch_sys::at_grad_set_enabled(0);
        torch_sys::at_grad_set_enabled(was);
        was != 0
    }
}

/// Threads that libtorch computes with.
pub fn threads() -> usize {
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

/// The same to write to, which changes every tensor that has the same memory.
///
/// # Panics
///
/// If it is none.
pub fn numbers_mut(t: &mut Tensor) -> &mut [f32] {
    check(t);
    match t.numel() {
        0 => &mut [],
        #[allow(unsafe_code, reason = "a tensor gives its numbers as a pointer")]
        // SAFETY: as above; nobody else reads or writes them while the borrow lasts, for tensors stay on one thread here.
        len => unsafe { std::slice::from_raw_parts_mut(t.data_ptr().cast(), len) },
    }
}

/// # Safety
///
/// `len` numbers are there for as long as the slice is used.
#[allow(unsafe_code, reason = "numbers by a pointer")]
unsafe fn slice<'a>(from: *const f32, len: usize) -> &'a [f32] {
    // SAFETY: by the contract; a tensor without numbers need not have a place.
    if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(from, len) } }
}

fn check(t: &Tensor) {
    assert!(t.kind() == Kind::Float && t.device() == Device::Cpu && t.is_contiguous(), "not a plain f32 buffer: {t:?}");
}

/// `x: [n, columns]`, contiguous, in panels.
pub fn panels(x: &Tensor) -> Panels {
    let (rows, columns) = x.size2().expect("a matrix");
    Panels::from_rows(numbers(x), rows as usize, columns as usize, threads())
}

/// The panels as a tensor `[n, columns]`.
pub fn tensor(panels: &Panels) -> Tensor {
    let size = [panels.rows() as i64, panels.columns() as i64];
    let mut rows = Tensor::empty(size, (Kind::Float, Device::Cpu));
    panels.to_rows(numbers_mut(&mut rows), threads());
    rows
}
