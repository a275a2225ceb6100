//! The session behind a `Session`, its streams and its flat views: one of either number type, under one lock.
//!
//! The lock is only taken while the interpreter is released, and given back before it is taken again: so no thread waits
//! for the lock while another waits for the interpreter. Several threads may read at once.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ssm_hpn::session::Session;

/// A session of either number type.
pub(crate) enum AnySession {
    F32(Session<f32>),
    F64(Session<f64>),
}

/// The same expression for either number type.
macro_rules! either {
    ($any:expr, $session:ident => $body:expr) => {
        match $any {
            AnySession::F32($session) => $body,
            AnySession::F64($session) => $body,
        }
    };
}
pub(crate) use either;

/// A session that several Python objects refer to.
#[derive(Clone)]
pub(crate) struct SharedSession(Arc<RwLock<AnySession>>);

impl SharedSession {
    pub(crate) fn new(session: AnySession) -> Self {
        Self(Arc::new(RwLock::new(session)))
    }

    /// For calls that change nothing; several may run at once.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, AnySession> {
        // A panic inside the core is raised in Python; the session stays usable as far as it was before.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// For calls that change the session, which run alone.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, AnySession> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}
