//! Memory that is read again and again, in large pages: looking up small ones is a measurable part of reading it.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::lanes::LINE;

/// Words of one line of a cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub [u32; LINE]);

/// A large page of x86-64 and others.
const LARGE: usize = 2 << 20;
/// What is taken at once; pages that nobody had before the system gives when they are written.
const CHUNK: usize = 32 << 20;

/// Asks the system to lay out this memory in large pages, as far as it is whole ones: what has not been written yet, when it is; and what
/// has, as memory that somebody had before and gave back, at once. What was written of a page in part is all there afterwards. It may say
/// no, as Linux before 6.1 does to the second, and no more than time is lost; elsewhere than on Linux it is not asked.
pub fn ask_for_large_pages(start: *const u8, bytes: usize) {
    #[cfg(target_os = "linux")]
    {
        /// Of the GNU C library's names alone has `libc` this one.
        const MADV_COLLAPSE: libc::c_int = 25;
        let end = (start as usize).saturating_add(bytes);
        let (first, last) = ((start as usize).next_multiple_of(LARGE), end / LARGE * LARGE);
        let advise = |at: usize, bytes, advice| {
            // SAFETY: advice changes neither what is in memory nor who may touch it, and where there is none it is an error.
            let _ = unsafe { libc::madvise(at as *mut libc::c_void, bytes, advice) };
        };
        if first < last {
            advise(first, last - first, libc::MADV_HUGEPAGE);
            // One by one, for at a page that has not been written it stops.
            (first..last).step_by(LARGE).for_each(|page| advise(page, LARGE, MADV_COLLAPSE));
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, bytes);
}

/// Lines in large pages, beside others that were copied before and after: most are smaller than a page.
pub(crate) struct Lines {
    chunk: Arc<Chunk>,
    first: usize,
    count: usize,
}

impl Lines {
    pub(crate) fn copied(lines: &[Line]) -> Self {
        /// The chunk that is being filled, and how many of its lines are taken.
        static CURRENT: Mutex<(Weak<Chunk>, usize)> = Mutex::new((Weak::new(), 0));
        let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
        let (chunk, first) = match current.0.upgrade() {
            Some(chunk) if current.1 + lines.len() <= chunk.lines() => (chunk, current.1),
            _ => (Arc::new(Chunk::new(size_of_val(lines).max(CHUNK))), 0),
        };
        // SAFETY: these lines are there, and nobody else has them: they were not given before, nor will they be again.
        unsafe { std::ptr::copy_nonoverlapping(lines.as_ptr(), chunk.start.add(first), lines.len()) }
        *current = (Arc::downgrade(&chunk), first + lines.len());
        Lines { chunk, first, count: lines.len() }
    }
}

impl Deref for Lines {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        // SAFETY: so many lines were written there, by whoever made this, and nobody writes them again.
        unsafe { std::slice::from_raw_parts(self.chunk.start.add(self.first), self.count) }
    }
}

/// Memory for lines, of which each is written once.
struct Chunk {
    start: *mut Line,
    layout: Layout,
}

// SAFETY: what is read of it was written before it was given, and is not written again.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.next_multiple_of(LARGE), LARGE).expect("memory can hold it");
        // SAFETY: it is not of size 0.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        ask_for_large_pages(start, layout.size());
        Chunk { start: start.cast(), layout }
    }

    fn lines(&self) -> usize {
        self.layout.size() / size_of::<Line>()
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: it was allocated so, and nobody has lines of it any more.
        unsafe { dealloc(self.start.cast(), self.layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize, word: u32) -> Vec<Line> {
        (0..count).map(|i| Line([word + i as u32; LINE])).collect()
    }

    fn assert_are(lines: &Lines, word: u32) {
        assert!(lines.iter().enumerate().all(|(i, line)| line.0 == [word + i as u32; LINE]));
        assert_eq!(lines.as_ptr() as usize % 64, 0);
    }

    #[test]
    fn what_is_in_memory_stays() {
        let words: Vec<u32> = (0..3 << 20).collect();
        ask_for_large_pages(words.as_ptr().cast(), size_of_val(&words[..]));
        assert!((0..).zip(&words).all(|(i, word)| i == *word));
    }

    /// Of many threads at once, some larger than a chunk, while others go.
    #[test]
    fn lines_stay_what_they_are() {
        let of = |thread: u32| {
            let kept: Vec<(Lines, u32)> = (0..40)
                .filter_map(|i| {
                    let word = 1000 * (40 * thread + i);
                    let count = if i == 7 { CHUNK / 64 + 3 } else { 100 * i as usize };
                    let lines = Lines::copied(&lines(count, word));
                    (i % 3 > 0).then_some((lines, word))
                })
                .collect();
            kept.iter().for_each(|(lines, word)| assert_are(lines, *word));
        };
        std::thread::scope(|scope| (0..3).for_each(|thread| drop(scope.spawn(move || of(thread)))));
    }
}
