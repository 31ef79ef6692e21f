//! Work of our own on libtorch's threads.
//!
//! libtorch computes on a pool of OpenMP's, whose threads wait awake between two operations. What is done between them on
//! threads made for it would pay more for waking these than for the work. GNU's OpenMP, which libtorch for Linux comes
//! with, runs any function on its pool; where it is not there, threads are made.

use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ops::Range;
use std::sync::OnceLock;

/// Calls `work(0, parts)`, ..., `work(parts - 1, parts)`, all at the same time, and returns when all have.
pub fn in_parallel(parts: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    match pool() {
        _ if parts <= 1 => (0..parts).for_each(|part| work(part, parts)),
        Some(pool) => pool.run(parts, work),
        None => std::thread::scope(|scope| {
            (1..parts).for_each(|part| drop(scope.spawn(move || work(part, parts))));
            work(0, parts);
        }),
    }
}

/// The `part`-th of `parts` shares of `0..count`, as equal as can be.
pub(crate) fn share(count: usize, part: usize, parts: usize) -> Range<usize> {
    part * count / parts..(part + 1) * count / parts
}

/// Memory to which several parts of one work write, each to its own places.
#[derive(Clone, Copy)]
pub(crate) struct Shared(pub *mut f32);

// SAFETY: a pointer is no more than a number; whoever follows it keeps to its own part.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The place of the `i`-th number.
    ///
    /// # Safety
    ///
    /// There are so many.
    #[inline(always)]
    pub(crate) unsafe fn at(&self, i: usize) -> *mut f32 {
        // SAFETY: by the contract.
        unsafe { self.0.add(i) }
    }
}

/// What is used of libgomp: <https://gcc.gnu.org/onlinedocs/libgomp/Implementing-PARALLEL-construct.html>.
struct Pool {
    parallel: Parallel,
    thread: Count,
    threads: Count,
}

/// Function, its argument, number of threads, flags.
type Parallel = unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);
type Count = unsafe extern "C" fn() -> c_int;

struct Job<'a> {
    parts: usize,
    work: &'a (dyn Fn(usize, usize) + Sync),
    pool: &'a Pool,
}

impl Pool {
    fn run(&self, parts: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        let mut job = Job { parts, work, pool: self };
        // SAFETY: GOMP_parallel returns when every thread has come back from `run_part`, so `job` outlives them; they share
        // it by reference, and `work` is Sync.
        unsafe {
            (self.parallel)(run_part, (&raw mut job).cast(), parts as c_uint, 0);
        }
    }
}

/// What every thread of the team runs. A panic must not unwind into C: crossing `extern "C"` it ends the process.
unsafe extern "C" fn run_part(job: *mut c_void) {
    // SAFETY: `Pool::run` passed a pointer to a job that lives until every thread is back, and nobody writes to it.
    let job = unsafe { &*job.cast_const().cast::<Job<'_>>() };
    // SAFETY: both take nothing and only read the state of the calling thread's team.
    let (own, team) = unsafe { ((job.pool.thread)(), (job.pool.threads)()) };
    // A team may be smaller than asked for.
    (own as usize..job.parts).step_by((team as usize).max(1)).for_each(|part| (job.work)(part, job.parts));
}

/// libgomp, if this process has loaded it.
fn pool() -> Option<&'static Pool> {
    static POOL: OnceLock<Option<Pool>> = OnceLock::new();
    POOL.get_or_init(find).as_ref()
}

#[cfg(target_os = "linux")]
fn find() -> Option<Pool> {
    // SAFETY: looking up a name among the loaded libraries has no precondition.
    let symbol = |name: &CStr| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    let [parallel, thread, threads] = [c"GOMP_parallel", c"omp_get_thread_num", c"omp_get_num_threads"].map(symbol);
    if [parallel, thread, threads].iter().any(|symbol| symbol.is_null()) {
        return None;
    }
    // SAFETY: the names are those of libgomp's documented interface, whose signatures these are, and a library that is
    // loaded with libtorch stays loaded.
    Some(unsafe {
        Pool {
            parallel: std::mem::transmute::<*mut c_void, Parallel>(parallel),
            thread: std::mem::transmute::<*mut c_void, Count>(thread),
            threads: std::mem::transmute::<*mut c_void, Count>(threads),
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn find() -> Option<Pool> {
    None
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_part_is_worked_on_once() {
        for parts in [0, 1, 2, 3, 17] {
            let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
            in_parallel(parts, &|part, _| {
                counts[part].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{parts}: {counts:?}");
        }
    }
}
