//! A step of Adam: `adam.cu`.

use std::ffi::c_int;

use super::arguments::{int, read_if};
use super::launch::{Source, THREADS, launch};
use crate::adam::{Constants, Moved, Numbers};

const SOURCE: Source = Source { text: include_str!("adam.cu"), options: &["OF_ADAM"], number: 2 };

const MOST: usize = 32;
/// Numbers of a block.
const OF_A_BLOCK: usize = 4 * THREADS;

/// `struct Adam` of `adam.cu`.
#[repr(C)]
struct Adam {
    segments: [Segment; MOST],
    count: c_int,
    rate: *const f32,
    step: *const f32,
    shrink: *const f32,
    skip: *const f32,
    log_beta1: f32,
    log_beta2: f32,
    rest1: f32,
    rest2: f32,
    decay: f32,
    epsilon: f32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Segment {
    parameter: *mut f32,
    gradient: *const f32,
    first: *mut f32,
    second: *mut f32,
    length: c_int,
    first_block: c_int,
}

const NOTHING: Segment = Segment {
    parameter: std::ptr::null_mut(),
    gradient: std::ptr::null(),
    first: std::ptr::null_mut(),
    second: std::ptr::null_mut(),
    length: 0,
    first_block: 0,
};

/// The step of `moved`, whose tensors are vectors of one length on one device, in f32, as `numbers` are.
pub(crate) fn adam(moved: &[Moved], constants: Constants, numbers: &Numbers) {
    let Constants { beta1, beta2, decay, epsilon } = constants;
    let Some(device) = moved.first().map(|moved| moved.parameters.device()) else { return };
    let number = |t| read_if(t, 1, device);
    for moved in moved.chunks(MOST) {
        let mut argument = Adam {
            segments: [NOTHING; MOST],
            count: int(moved.len()),
            rate: number(Some(numbers.rate)),
            step: number(Some(numbers.step)),
            shrink: number(numbers.shrink),
            skip: number(numbers.skip),
            log_beta1: beta1.ln() as f32,
            log_beta2: beta2.ln() as f32,
            rest1: (1.0 - beta1) as f32,
            rest2: (1.0 - beta2) as f32,
            decay: decay as f32,
            epsilon: epsilon as f32,
        };
        let mut blocks = 0;
        for (segment, moved) in argument.segments.iter_mut().zip(moved) {
            let length = moved.parameters.numel();
            *segment = Segment {
                parameter: moved.parameters.data_ptr().cast(),
                gradient: moved.gradients.data_ptr().cast_const().cast(),
                first: moved.first.data_ptr().cast(),
                second: moved.second.data_ptr().cast(),
                length: int(length),
                first_block: int(blocks),
            };
            blocks += length.div_ceil(OF_A_BLOCK);
        }
        if blocks == 0 {
            continue;
        }
        #[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
        // SAFETY: all four of a segment have as many numbers, neighbours of one another, as the caller was asked for.
        unsafe {
            launch(device, &SOURCE, &[1], blocks, 0, &argument);
        }
    }
}
