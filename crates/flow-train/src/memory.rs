//! Memory for what is walked through at every step.

use tch::{Device, Kind, Tensor};

/// `len` zeros of f32. On a processor under Linux the system is asked for large pages: a step walks through every parameter
/// and moment, and looking up small pages is then a measurable part of it. It may say no, and nothing but time is lost.
pub(crate) fn zeros(len: i64, device: Device) -> Tensor {
    let mut buffer = Tensor::empty([len], (Kind::Float, device));
    #[cfg(target_os = "linux")]
    if device == Device::Cpu {
        ask_for_large_pages(&buffer);
    }
    // What is written first after the asking is laid out so.
    buffer.zero_()
}

/// Of 2 MiB, x86-64's.
#[cfg(target_os = "linux")]
const LARGE: usize = 2 << 20;

#[cfg(target_os = "linux")]
fn ask_for_large_pages(buffer: &Tensor) {
    let start = buffer.data_ptr() as usize;
    let end = start + buffer.numel() * size_of::<f32>();
    let (first, last) = (start.next_multiple_of(LARGE), end / LARGE * LARGE);
    if first < last {
        #[allow(unsafe_code, reason = "the system is advised of memory by its address")]
        // SAFETY: the range lies within the buffer, and the advice changes neither its contents nor who may touch it.
        let _ = unsafe { libc::madvise(first as *mut libc::c_void, last - first, libc::MADV_HUGEPAGE) };
    }
}
