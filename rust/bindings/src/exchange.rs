//! An object of Python that carries bytes between ranks, as the core asks for it.

use std::ffi::c_char;

use pyo3::ffi::{PyBUF_READ, PyBUF_WRITE, PyMemoryView_FromMemory};
use pyo3::prelude::*;

use ssm_hpn::{Error as CoreError, Exchange, Result};

/// The object, with its number of ranks.
pub(crate) struct PyExchange {
    object: Py<PyAny>,
    rank: usize,
    ranks: usize,
}

impl PyExchange {
    /// An object with `rank`, `size`, `all_to_all(send, cuts, receive)` and `all_gather(buffer, cuts)`.
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let (rank, ranks) = (object.getattr("rank")?.extract()?, object.getattr("size")?.extract()?);
        Ok(Self { object: object.clone().unbind(), rank, ranks })
    }

    fn call(
        &self,
        call: impl for<'py> FnOnce(Python<'py>, &Bound<'py, PyAny>) -> PyResult<()> + Send,
    ) -> Result<()> {
        Python::attach(|py| call(py, self.object.bind(py)))
            .map_err(|error| CoreError::Rank { problem: error_text(&error) })
    }
}

/// The text of an exception, without its class.
fn error_text(error: &PyErr) -> String {
    Python::attach(|py| error.value(py).to_string())
}

/// Bytes of the core for the time of one call.
struct View<'py>(Bound<'py, PyAny>);

impl<'py> View<'py> {
    /// # Safety
    /// The bytes live until the view is dropped; for `PyBUF_WRITE` nothing else refers to them.
    unsafe fn new(py: Python<'py>, start: *mut u8, len: usize, flags: i32) -> PyResult<Self> {
        let len = isize::try_from(len)?;
        // SAFETY: the memory is there by the caller's promise; the object returned is ours, or null with an exception.
        let view = unsafe {
            Bound::from_owned_ptr_or_err(py, PyMemoryView_FromMemory(start.cast::<c_char>(), len, flags))
        };
        view.map(Self)
    }
}

impl Drop for View<'_> {
    #[expect(clippy::print_stderr, reason = "the process ends at once, and nothing else could say why")]
    fn drop(&mut self) {
        if self.0.call_method0("release").is_err() {
            // Somebody kept a view of memory that may be gone by its next use.
            eprintln!("an exchange between ranks kept a view of the buffers it was given");
            std::process::abort();
        }
    }
}

impl Exchange for PyExchange {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.ranks
    }

    fn all_to_all(&self, send: &[u8], cuts: &[usize], receive: &mut [u8]) -> Result<()> {
        self.call(|py, object| {
            // SAFETY: both slices outlive this call, and the views are released before it ends.
            let send = unsafe { View::new(py, send.as_ptr().cast_mut(), send.len(), PyBUF_READ)? };
            // SAFETY: as above.
            let receive = unsafe { View::new(py, receive.as_mut_ptr(), receive.len(), PyBUF_WRITE)? };
            object.call_method1("all_to_all", (&send.0, cuts.to_vec(), &receive.0)).map(drop)
        })
    }

    fn all_gather(&self, buffer: &mut [u8], cuts: &[usize]) -> Result<()> {
        self.call(|py, object| {
            // SAFETY: as in `all_to_all`.
            let buffer = unsafe { View::new(py, buffer.as_mut_ptr(), buffer.len(), PyBUF_WRITE)? };
            object.call_method1("all_gather", (&buffer.0, cuts.to_vec())).map(drop)
        })
    }
}
