//! Calls into the core, with the interpreter released, and errors and panics translated.
//!
//! The result of a finished call is always returned. A signal that came meanwhile stays pending, and the interpreter
//! sees to it when the call is over: raising here instead would drop a result whose effects remain.
//!
//! A panic is a bug of the core. It becomes `PanicError`, with its message and place; an object that it was in the middle
//! of changing refuses every further call with the same class. A panic that the core itself catches, such as one of the
//! library that decodes shards, is told as the error that it becomes, and nothing is printed.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;

use crate::errors::{PanicError, to_py};

/// Message and place of the last panic of this process.
static LAST: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Keeps the message and place of a panic instead of printing them; with `RUST_BACKTRACE` they are printed too.
pub(crate) fn keep_panics() {
    let before = panic::take_hook();
    let shown = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    panic::set_hook(Box::new(move |about| {
        let at = about.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        let text = message(about.payload());
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((text, at.unwrap_or_default()));
        if shown {
            before(about);
        }
    }));
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
}

/// The exception of a panic, in one line.
fn panicked(payload: &(dyn Any + Send)) -> PyErr {
    let text = message(payload);
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
    let at = last.filter(|(of, _)| *of == text).map_or(String::new(), |(_, at)| at);
    let text: Vec<_> = text.split_whitespace().collect();
    let found = format!("a panic{at}: {}", text.join(" "));
    PanicError::new_err(format!(
        "the compiled core: expected no failure of its own, found {found}; report it"
    ))
}

/// Runs `f` without the interpreter.
pub(crate) fn enter<R: Send>(py: Python<'_>, f: impl FnOnce() -> ssm_hpn::Result<R> + Send) -> PyResult<R> {
    // What `f` was changing is behind a lock that its panic has poisoned.
    match py.detach(|| catch_unwind(AssertUnwindSafe(f))) {
        Ok(result) => result.map_err(to_py),
        Err(payload) => Err(panicked(&*payload)),
    }
}

/// Waits for other threads that use the same object. One that a panic has left half changed is refused.
///
/// Nothing waits for the interpreter while it holds this, or two threads would wait for each other: it is taken inside
/// [`enter`], or for a few instructions that never release the interpreter.
pub(crate) fn lock<'a, T>(mutex: &'a Mutex<T>, what: &str) -> ssm_hpn::Result<MutexGuard<'a, T>> {
    mutex.lock().map_err(|_| ssm_hpn::Error::poisoned(what, "make a new one"))
}

/// The same for what is whole at every moment, such as an option that is taken and put back.
pub(crate) fn lock_any<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
