//! The unused workspaces of a session: several threads may run inference at once, each in a workspace of its own.

#![forbid(unsafe_code)]

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use crate::model::buffers::PassMemory;
use crate::numeric::Scalar;

/// Most unused workspaces that are kept; further ones are freed when they are returned.
const MOST_FREE: usize = 2;

/// The workspaces of a session that no pass is using.
#[derive(Default)]
pub(super) struct Workspaces<T: Scalar>(Mutex<Vec<PassMemory<T>>>);

impl<T: Scalar> Workspaces<T> {
    /// A workspace for one pass, the one that was used last if it is free.
    pub(super) fn take(&self) -> LentWorkspace<'_, T> {
        let memory = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        LentWorkspace { home: self, memory }
    }
}

/// A workspace in use, returned to the session when it is dropped.
pub(super) struct LentWorkspace<'a, T: Scalar> {
    home: &'a Workspaces<T>,
    memory: PassMemory<T>,
}

impl<T: Scalar> Deref for LentWorkspace<'_, T> {
    type Target = PassMemory<T>;

    fn deref(&self) -> &PassMemory<T> {
        &self.memory
    }
}

impl<T: Scalar> DerefMut for LentWorkspace<'_, T> {
    fn deref_mut(&mut self) -> &mut PassMemory<T> {
        &mut self.memory
    }
}

impl<T: Scalar> Drop for LentWorkspace<'_, T> {
    fn drop(&mut self) {
        let mut free = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MOST_FREE {
            free.push(std::mem::take(&mut self.memory));
        }
    }
}
