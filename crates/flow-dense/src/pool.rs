//! Work of our own on libtorch's threads.
//!
//! libtorch computes on a pool of OpenMP's, whose threads wait awake between two operations. What is done between them on
//! threads made for it would pay more for waking these than for the work. GNU's OpenMP, which libtorch for Linux comes
//! with, runs any function on its pool; where it is not there, threads are made.

use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Calls `work(0, parts)`, ..., `work(parts - 1, parts)`, all at the same time, and returns when all have. Within such work
/// there are no more threads to be had: there the calls are one after another.
///
/// # Panics
///
/// If a call does, with what one of them said.
pub fn in_parallel(parts: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    match pool() {
        _ if parts <= 1 || within() => (0..parts).for_each(|part| work(part, parts)),
        Some(pool) => pool.run(parts, work),
        None => std::thread::scope(|scope| {
            let run = move |part| part_of(|| work(part, parts));
            let others: Vec<_> = (1..parts).map(|part| scope.spawn(move || run(part))).collect();
            run(0);
            if let Some(said) = others.into_iter().filter_map(|other| other.join().err()).next() {
                resume_unwind(said);
            }
        }),
    }
}

/// Calls `work(0)`, ..., `work(count - 1)` on so many threads, of which each takes the next when it is done with one, and returns when
/// all have: so none has to wait for another whose processor is busy with something else.
///
/// # Panics
///
/// As [`in_parallel`].
pub fn in_turn(count: usize, threads: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    in_parallel(threads.max(1).min(count), &|_, _| {
        // What the calls write is seen by others when all parts are back.
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&i| i < count);
        std::iter::from_fn(take).for_each(work);
    });
}

/// Calls `work(0, members)`, ..., `work(members - 1, members)`, truly all at the same time, so that they may wait for each other;
/// `members` are at most so many. A call must not panic while others wait for it.
pub fn in_team(most: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    match pool() {
        Some(pool) if most > 1 && !within() => pool.run_team(most, work),
        None if most > 1 && !within() => threads_of_its_own(most, work),
        _ => work(0, 1),
    }
}

/// A team of threads that are made for it, of as many as can be.
fn threads_of_its_own(most: usize, work: &(dyn Fn(usize, usize) + Sync)) {
    let members = OnceLock::new();
    std::thread::scope(|scope| {
        let member = |own| part_of(|| work(own, *members.wait()));
        let start = |own| std::thread::Builder::new().spawn_scoped(scope, move || member(own));
        let others = (1..most).take_while(|&own| start(own).is_ok()).count();
        members.get_or_init(|| others + 1);
        member(0);
    });
}

/// Whether this thread is at work in a part of [`in_parallel`].
pub fn within() -> bool {
    WITHIN.get()
}

thread_local! {
    static WITHIN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` as a part.
fn part_of(f: impl FnOnce()) {
    struct After;
    impl Drop for After {
        fn drop(&mut self) {
            WITHIN.set(false);
        }
    }
    WITHIN.set(true);
    let _after = After;
    f();
}

/// Tells OpenMP that what this part of [`in_parallel`] calls is to be computed on its own thread, until the part ends. Without it
/// a library that was compiled for OpenMP counts on as many threads as elsewhere, and a sum of oneDNN's waits for them for ever.
/// `false` where parts are not OpenMP's, and nothing was told.
pub fn alone() -> bool {
    let pool = pool().filter(|_| within());
    if let Some(pool) = pool {
        // SAFETY: it sets a number of this thread's own task, which ends with the part.
        unsafe { (pool.set_threads)(1) }
    }
    pool.is_some()
}

/// Whether parts are OpenMP's, as libtorch's threads are.
pub fn on_its_threads() -> bool {
    pool().is_some()
}

/// The `part`-th of `parts` shares of `0..count`, as equal as can be.
pub fn share(count: usize, part: usize, parts: usize) -> Range<usize> {
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
    set_threads: SetCount,
}

/// Function, its argument, number of threads, flags.
type Parallel = unsafe extern "C" fn(unsafe extern "C" fn(*mut c_void), *mut c_void, c_uint, c_uint);
type Count = unsafe extern "C" fn() -> c_int;
type SetCount = unsafe extern "C" fn(c_int);

struct Job<'a> {
    parts: usize,
    work: &'a (dyn Fn(usize, usize) + Sync),
    pool: &'a Pool,
    /// What the first part that panicked said.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Pool {
    fn run_team(&self, most: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        let mut team = Team { work, pool: self };
        // SAFETY: as in `run`.
        unsafe {
            (self.parallel)(run_member, (&raw mut team).cast(), most as c_uint, 0);
        }
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize, usize) + Sync)) {
        let mut job = Job { parts, work, pool: self, panic: Mutex::new(None) };
        // SAFETY: GOMP_parallel returns when every thread has come back from `run_parts`, so `job` outlives them; they share
        // it by reference, and `work` is Sync.
        unsafe {
            (self.parallel)(run_parts, (&raw mut job).cast(), parts as c_uint, 0);
        }
        if let Some(said) = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(said);
        }
    }
}

struct Team<'a> {
    work: &'a (dyn Fn(usize, usize) + Sync),
    pool: &'a Pool,
}

/// What every thread of a team runs whose members wait for each other: there is no going on without one of them, and a panic
/// ends the process.
unsafe extern "C" fn run_member(team: *mut c_void) {
    // SAFETY: `Pool::run_team` passed a pointer to a team that lives until every thread is back, and nobody writes to it.
    let team = unsafe { &*team.cast_const().cast::<Team<'_>>() };
    // SAFETY: both take nothing and only read the state of the calling thread's team.
    let (own, members) = unsafe { ((team.pool.thread)(), (team.pool.threads)()) };
    part_of(|| (team.work)(own as usize, members as usize));
}

/// What every thread of the team runs. A panic must not unwind into C: crossing `extern "C"` it ends the process.
unsafe extern "C" fn run_parts(job: *mut c_void) {
    // SAFETY: `Pool::run` passed a pointer to a job that lives until every thread is back, and nobody writes to it.
    let job = unsafe { &*job.cast_const().cast::<Job<'_>>() };
    // SAFETY: both take nothing and only read the state of the calling thread's team.
    let (own, team) = unsafe { ((job.pool.thread)(), (job.pool.threads)()) };
    // A team may be smaller than asked for.
    for part in (own as usize..job.parts).step_by((team as usize).max(1)) {
        let done = catch_unwind(AssertUnwindSafe(|| part_of(|| (job.work)(part, job.parts))));
        if let Err(said) = done {
            job.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said);
        }
    }
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
    let names = [c"GOMP_parallel", c"omp_get_thread_num", c"omp_get_num_threads", c"omp_set_num_threads"];
    let [parallel, thread, threads, set_threads] = names.map(symbol);
    if [parallel, thread, threads, set_threads].iter().any(|symbol| symbol.is_null()) {
        return None;
    }
    // SAFETY: the names are those of libgomp's documented interface, whose signatures these are, and a library that is
    // loaded with libtorch stays loaded.
    Some(unsafe {
        Pool {
            parallel: std::mem::transmute::<*mut c_void, Parallel>(parallel),
            thread: std::mem::transmute::<*mut c_void, Count>(thread),
            threads: std::mem::transmute::<*mut c_void, Count>(threads),
            set_threads: std::mem::transmute::<*mut c_void, SetCount>(set_threads),
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
                assert!(within() || parts == 1);
                // Nor are parts of a part left out.
                in_parallel(3, &|_, _| {
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 3), "{parts}: {counts:?}");
            assert!(!within());
        }
    }

    #[test]
    fn every_turn_is_taken_once() {
        for (count, threads) in [(0, 2), (1, 2), (2, 1), (17, 3)] {
            let counts: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            in_turn(count, threads, &|i| {
                counts[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{count} {threads}: {counts:?}");
        }
    }

    #[test]
    #[should_panic(expected = "part 2 of 3")]
    fn a_panic_comes_out_where_the_work_was_begun() {
        in_parallel(3, &|part, parts| assert!(part < 2, "part {part} of {parts}"));
    }
}
