//! A kernel by its source and options: compiled once for each GPU, and started.

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{LazyLock, Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

use super::arguments::int;
use super::kept::Kept;
use crate::Error;
use crate::told::told;

/// Where a kernel is written, and what its options are called.
pub(super) struct Source {
    pub text: &'static str,
    pub options: &'static [&'static str],
    /// Its number in `emulated.cpp`.
    pub number: c_int,
}

/// Threads of a block.
pub(super) const THREADS: usize = 256;

/// The first GPUs that copy to shared memory while they compute, and multiply TF32.
const LEAST_CAPABILITY: c_int = 80;

/// Whether this crate's own kernels can compute on `x`: f32, not of no rows, on a GPU of compute capability 8.0 or above, unless the
/// environment has `FLOW_PRODUCTS=libtorch`; or within [`emulated`]. Autograd knows nothing of them, and is for the caller to see to.
pub fn applies(x: &Tensor) -> bool {
    let there = match x.device() {
        Device::Cuda(ordinal) => capability(ordinal) >= LEAST_CAPABILITY,
        Device::Cpu => EMULATES.get(),
        _ => false,
    };
    there && x.kind() == Kind::Float && x.numel() > 0
}

/// Runs `f`; on this thread kernels compute on the processor's tensors meanwhile, thread by thread of a GPU as it were. For
/// tests of what they compute, on machines without one.
pub fn emulated<T>(f: impl FnOnce() -> T) -> T {
    /// Puts back what was, also where `f` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            EMULATES.set(self.0);
        }
    }
    let _before = Before(EMULATES.replace(true));
    f()
}

thread_local! {
    static EMULATES: Cell<bool> = const { Cell::new(false) };
}

/// 90 for compute capability 9.0; 0 where kernels are not to be had, or not wanted.
fn capability(ordinal: usize) -> c_int {
    static KNOWN: LazyLock<Mutex<HashMap<usize, c_int>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(ordinal).or_insert_with(|| {
        if std::env::var_os("FLOW_PRODUCTS").is_some_and(|products| products == "libtorch") {
            return 0;
        }
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: it asks the driver about a GPU by its number, if there is a driver.
        let capability = unsafe { flow_cuda_kernels_capability(ordinal as c_int) };
        // An NVRTC that is older than the GPU does not know it.
        let works = capability >= LEAST_CAPABILITY && compile(ordinal, capability, &SMALLEST, &[], 0).is_ok();
        if works { capability } else { 0 }
    })
}

/// A kernel that does nothing.
const SMALLEST: Source = Source { text: "extern \"C\" __global__ void kernel(int) {}", options: &[], number: -1 };

/// Bytes of shared memory that a block on `device` can have: the H100 has 227 KiB for one, GeForces have 99.
pub(super) fn room(device: Device) -> usize {
    static KNOWN: LazyLock<Mutex<HashMap<usize, usize>>> = LazyLock::new(Mutex::default);
    let Device::Cuda(ordinal) = device else { return usize::MAX };
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    *known.entry(ordinal).or_insert_with(|| {
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: it asks the driver about a GPU by its number.
        let bytes = unsafe { flow_cuda_kernels_shared(ordinal as c_int) };
        usize::try_from(bytes).unwrap_or(0)
    })
}

/// A compiled kernel, which lives as long as the process.
#[derive(Clone, Copy)]
struct Function(*mut c_void);

#[allow(unsafe_code, reason = "a pointer says nothing of threads")]
// SAFETY: the driver takes its own locks.
unsafe impl Send for Function {}

type Compiled = HashMap<(usize, c_int, Vec<c_int>), Function>;

/// Starts the kernel of `source` by `options` in so many blocks, with so many bytes of shared memory, on the current stream of
/// `device`.
///
/// # Safety
///
/// `argument` is what the kernel takes, laid out as there, and all that it points to is on the device, as large as the kernel
/// takes it to be, and lives until the work before the next read of a result is done: as tensors of libtorch do.
#[allow(unsafe_code, reason = "a kernel reads and writes by pointers")]
pub(super) unsafe fn launch<A>(
    device: Device,
    source: &Source,
    options: &[c_int],
    blocks: usize,
    shared: usize,
    argument: &A,
) {
    let argument = std::ptr::from_ref(argument).cast::<c_void>();
    let blocks = u32::try_from(int(blocks)).expect("no fewer than none");
    let Device::Cuda(ordinal) = device else {
        assert!(EMULATES.get(), "a kernel cannot compute on {device:?}");
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _only = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: by the contract.
        unsafe { flow_cuda_emulate(source.number, options.as_ptr(), blocks, argument) };
        return;
    };
    let shared = shared as c_int;
    let function = compiled(ordinal, source, options, shared);
    let ordinal = ordinal as c_int;
    let started = told(|why, room| {
        // SAFETY: by the contract; the argument is read before the call returns. `why` has `room` bytes.
        unsafe { flow_cuda_kernels_launch(ordinal, function.0, blocks, shared, argument.cast_mut(), why, room) }
            .then_some(())
    });
    started.unwrap_or_else(|error| panic!("{error} (FLOW_PRODUCTS=libtorch does without)"));
}

fn compiled(ordinal: usize, source: &Source, options: &[c_int], shared: c_int) -> Function {
    static KNOWN: LazyLock<Mutex<Compiled>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (ordinal, source.number, options.to_vec());
    if let Some(function) = known.get(&key) {
        return *function;
    }
    let function = compile(ordinal, capability(ordinal), source, options, shared)
        .unwrap_or_else(|error| panic!("{error} (FLOW_PRODUCTS=libtorch does without)"));
    known.insert(key, function);
    function
}

fn compile(
    ordinal: usize,
    capability: c_int,
    source: &Source,
    options: &[c_int],
    shared: c_int,
) -> Result<Function, Error> {
    let named = source.options.iter().zip(options).map(|(name, value)| format!("-D{name}={value}"));
    let common = [format!("--gpu-architecture=sm_{capability}"), "--std=c++17".to_owned()];
    let options: Vec<String> = common.into_iter().chain(named).collect();
    let kept = Kept::new(source.text, &options, version());
    // What was kept by another driver may be no good to this one.
    if let Some(function) = kept.read().and_then(|code| load(ordinal, &code, shared).ok()) {
        return Ok(function);
    }
    let code = code(source, &options)?;
    kept.write(&code);
    load(ordinal, &code, shared)
}

/// NVRTC's, 13000 for 13.0.
fn version() -> c_int {
    #[allow(unsafe_code, reason = "a function of another language")]
    // SAFETY: it takes nothing.
    unsafe {
        flow_cuda_kernels_version()
    }
}

fn load(ordinal: usize, code: &[u8], shared: c_int) -> Result<Function, Error> {
    told(|why, room| {
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: it is whole code, which says itself how long it is; `why` has `room` bytes.
        let function = unsafe { flow_cuda_kernels_load(ordinal as c_int, code.as_ptr().cast(), shared, why, room) };
        (!function.is_null()).then_some(Function(function))
    })
}

/// What NVRTC makes of it.
fn code(source: &Source, options: &[String]) -> Result<Vec<u8>, Error> {
    let string = |text: &str| CString::new(text).expect("no zero in it");
    let options: Vec<CString> = options.iter().map(|option| string(option)).collect();
    let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let text = string(source.text);
    let mut size = 0;
    let program = told(|why, room| {
        let count = pointers.len() as c_int;
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: strings end with a zero, there are as many options as it is told, and `why` has `room` bytes.
        let program =
            unsafe { flow_cuda_kernels_compile(text.as_ptr(), pointers.as_ptr(), count, &raw mut size, why, room) };
        (!program.is_null()).then_some(program)
    })?;
    let mut code = vec![0u8; size];
    told(|why, room| {
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: the program is one, nobody has it afterwards, and there is room for its code; `why` has `room` bytes.
        unsafe { flow_cuda_kernels_code(program, code.as_mut_ptr().cast(), why, room) }.then_some(())
    })?;
    Ok(code)
}

#[allow(unsafe_code, reason = "functions of another language")]
// SAFETY: these are the functions of kernels.cpp and emulated.cpp, by their types there.
unsafe extern "C" {
    fn flow_cuda_kernels_capability(ordinal: c_int) -> c_int;
    fn flow_cuda_kernels_shared(ordinal: c_int) -> c_int;
    fn flow_cuda_kernels_version() -> c_int;
    fn flow_cuda_kernels_compile(
        source: *const c_char,
        options: *const *const c_char,
        count: c_int,
        size: *mut usize,
        why: *mut c_char,
        room: usize,
    ) -> *mut c_void;
    fn flow_cuda_kernels_code(program: *mut c_void, code: *mut c_char, why: *mut c_char, room: usize) -> bool;
    fn flow_cuda_kernels_load(
        ordinal: c_int,
        code: *const c_char,
        shared: c_int,
        why: *mut c_char,
        room: usize,
    ) -> *mut c_void;
    fn flow_cuda_kernels_launch(
        ordinal: c_int,
        function: *mut c_void,
        blocks: u32,
        shared: c_int,
        argument: *mut c_void,
        why: *mut c_char,
        room: usize,
    ) -> bool;
    fn flow_cuda_emulate(source: c_int, options: *const c_int, blocks: u32, argument: *const c_void);
}
