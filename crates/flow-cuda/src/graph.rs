//! What was started on a GPU, to be started again.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use crate::Error;
use crate::told::told;

/// Kernels with the memory that they read and write, in their order.
#[derive(Debug)]
pub struct Graph {
    raw: NonNull<c_void>,
}

#[allow(unsafe_code, reason = "a pointer says nothing of threads")]
// SAFETY: libtorch takes its own locks around what graphs share, and `&self` and `&mut self` keep two threads from one.
unsafe impl Send for Graph {}

/// While one thread records, CUDA lets no other wait for the whole GPU, as every recording does at first.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Whether graphs can be recorded: whether the libtorch of this program has CUDA.
pub fn is_available() -> bool {
    #[allow(unsafe_code, reason = "a function of another language")]
    // SAFETY: it takes nothing and looks up names.
    unsafe {
        flow_cuda_graphs_available()
    }
}

impl Graph {
    /// Records what `work` starts on the GPU `device`. Nothing of it is run: tensors that `work` returns hold what they should
    /// from the first [`Graph::replay`] on, and are overwritten by each.
    ///
    /// `work` must not wait for the GPU (read a number back, copy from the processor's memory), and the tensors that it
    /// reads must live as long as the graph. Run it once or more before: libraries set themselves up at their first call, and
    /// [`kernels`](crate::kernels) are compiled, which cannot be recorded. Random numbers are drawn anew by each replay, from the generator as it is then.
    ///
    /// # Errors
    ///
    /// There are no graphs, or `work` did what cannot be recorded; a panic in it is caught, and told as an error.
    pub fn record<T>(device: usize, work: impl FnOnce() -> T) -> Result<(Self, T), Error> {
        if !is_available() {
            return Err(Error::Unavailable);
        }
        let index = i8::try_from(device).map_err(|_| Error::Refused(format!("there is no GPU {device}")))?;
        let _only = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // Recorded work goes by another stream, which must not overtake what has been started before.
        tch::Cuda::synchronize(device as i64);
        let raw = told(|why, room| {
            #[allow(unsafe_code, reason = "a function of another language")]
            // SAFETY: `why` has `room` bytes.
            NonNull::new(unsafe { flow_cuda_graph_begin(index, why, room) })
        })?;
        let graph = Graph { raw };
        let worked = catch_unwind(AssertUnwindSafe(work));
        let ended = told(|why, room| {
            #[allow(unsafe_code, reason = "a function of another language")]
            // SAFETY: the graph is one, and recording; `why` has `room` bytes.
            unsafe { flow_cuda_graph_end(graph.raw.as_ptr(), why, room) }.then_some(())
        });
        let result = worked.map_err(|panic| Error::Refused(words(panic.as_ref())))?;
        ended.map(|()| (graph, result))
    }

    /// Starts all of it, after what was started before on the current stream.
    ///
    /// # Errors
    ///
    /// CUDA refused, in its own words.
    pub fn replay(&self) -> Result<(), Error> {
        told(|why, room| {
            #[allow(unsafe_code, reason = "a function of another language")]
            // SAFETY: the graph is one, and was recorded; `why` has `room` bytes.
            unsafe { flow_cuda_graph_replay(self.raw.as_ptr(), why, room) }.then_some(())
        })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        #[allow(unsafe_code, reason = "a function of another language")]
        // SAFETY: the graph is one, and nobody has it any more.
        unsafe {
            flow_cuda_graph_free(self.raw.as_ptr());
        }
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without words").to_owned()
}

#[allow(unsafe_code, reason = "functions of another language")]
// SAFETY: these are the functions of graph.cpp, by their types there.
unsafe extern "C" {
    fn flow_cuda_graphs_available() -> bool;
    fn flow_cuda_graph_begin(device: i8, why: *mut c_char, room: usize) -> *mut c_void;
    fn flow_cuda_graph_end(graph: *mut c_void, why: *mut c_char, room: usize) -> bool;
    fn flow_cuda_graph_replay(graph: *mut c_void, why: *mut c_char, room: usize) -> bool;
    fn flow_cuda_graph_free(graph: *mut c_void);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_cuda_nothing_is_recorded() {
        if !tch::Cuda::is_available() {
            let never = || unreachable!("nothing can be recorded here");
            assert!(matches!(Graph::record(0, never), Err(Error::Unavailable | Error::Refused(_))));
        }
    }

    #[test]
    fn panics_are_told_in_their_words() {
        let said = |panic: Box<dyn std::any::Any + Send>| words(panic.as_ref());
        assert_eq!(said(catch_unwind(|| panic!("so much: {}", 3)).unwrap_err()), "so much: 3");
        assert_eq!(said(catch_unwind(|| panic!("plain")).unwrap_err()), "plain");
    }
}
