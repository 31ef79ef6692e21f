//! Memory for what is walked through at every step, and for what comes and goes.

use tch::{Device, Kind, Tensor};

/// Has this process keep the memory that it frees for what it allocates next. For a program to call as it begins, since it
/// holds for all of the program; the libraries here leave that choice to it.
///
/// libtorch frees every intermediate result, and glibc's allocator gives larger ones (some of any size, all above 32 MiB) back
/// to the system, which then clears every page anew before it is written again. That is a tenth of a training step on 1,000
/// rows of nets 512 wide, and half of an evaluation of 1,000 images. What is kept is no more than was needed at once.
/// Elsewhere than on Linux with glibc nothing is done.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in
        [(libc::M_MMAP_THRESHOLD, 1 << 30), (libc::M_TRIM_THRESHOLD, i32::MAX), (libc::M_TOP_PAD, 64 << 20)]
    {
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: it takes two numbers and changes when memory is given back, never what is in it.
        let _ = unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives the system back what is free between what is in use, for a moment when much has been freed that will not be asked for
/// again: weights that were initialised one by one, before a training has all of them in one place. It happens once and chooses nothing
/// for later, unlike [`keep_freed_memory`]. Elsewhere than on Linux with glibc nothing is done.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "a function of another language")]
    // SAFETY: it takes a number, and gives back pages that are in nobody's use.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Bytes of memory that the machine has, where it says so.
pub(crate) fn installed() -> Option<u128> {
    #[cfg(unix)]
    {
        let ask = |what| {
            #[allow(unsafe_code, reason = "a function of another language")]
            // SAFETY: it takes a number and gives one, -1 where it does not know.
            let answer = unsafe { libc::sysconf(what) };
            u128::try_from(answer).ok().filter(|&answer| answer > 0)
        };
        Some(ask(libc::_SC_PHYS_PAGES)? * ask(libc::_SC_PAGESIZE)?)
    }
    #[cfg(not(unix))]
    None
}

/// `len` zeros of f32. On a processor under Linux the system is asked for large pages: a step walks through every parameter
/// and moment, and looking up small pages is then a measurable part of it. It may say no, and nothing but time is lost.
pub(crate) fn zeros(len: i64, device: Device) -> Tensor {
    let mut buffer = Tensor::empty([len], (Kind::Float, device));
    if device == Device::Cpu {
        flow_dense::ask_for_large_pages(buffer.data_ptr().cast_const().cast(), buffer.numel() * size_of::<f32>());
    }
    // Pages that nobody had before are laid out when they are written.
    buffer.zero_()
}
