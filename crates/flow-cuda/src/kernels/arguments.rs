//! What kernels are given: sizes, and tensors as pointers.

use std::ffi::c_int;

use tch::{Device, Kind, Tensor};

/// A size as kernels count.
///
/// # Panics
///
/// If it is beyond what they count to.
pub(super) fn int(n: usize) -> c_int {
    c_int::try_from(n).expect("sizes that a kernel counts to")
}

/// The numbers of `t`, `len` of f32 on `device`, one after the other.
///
/// # Panics
///
/// If it has others.
pub(super) fn read(t: &Tensor, len: usize, device: Device) -> *const f32 {
    let right = t.kind() == Kind::Float && t.is_contiguous() && t.numel() == len && t.device() == device;
    assert!(right, "{len} numbers of f32 in rows on {device:?}, not {t:?} on {:?}", t.device());
    t.data_ptr().cast_const().cast()
}

/// The same where there is a tensor, else null.
pub(super) fn read_if(t: Option<&Tensor>, len: usize, device: Device) -> *const f32 {
    t.map_or(std::ptr::null(), |t| read(t, len, device))
}

/// The same to write to, or to add to.
pub(super) fn write_if(t: Option<&Tensor>, len: usize, device: Device) -> *mut f32 {
    read_if(t, len, device).cast_mut()
}

/// `t: [n, ..]` of f32 with each row's numbers as neighbours, and how many there are from one row to the next. Some columns of a
/// matrix or some channels of images are such; what is not is copied.
pub(super) fn whole_rows(t: &Tensor) -> (Tensor, usize) {
    assert_eq!(t.kind(), Kind::Float, "a kernel reads f32");
    let (size, stride) = (t.size(), t.stride());
    let mut each = 1;
    let mut neighbours = true;
    for (&n, &apart) in size[1..].iter().zip(&stride[1..]).rev() {
        neighbours &= n <= 1 || apart == each;
        each *= n;
    }
    match neighbours && (size[0] <= 1 || stride[0] >= each) {
        true if size[0] <= 1 => (t.shallow_clone(), each as usize),
        true => (t.shallow_clone(), stride[0] as usize),
        false => (t.contiguous(), each as usize),
    }
}
