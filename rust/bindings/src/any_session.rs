//! The session behind a `Session`, its streams and its flat views: one of either number type, under one lock.
//!
//! The lock is only taken while the interpreter is released, and given back before it is taken again: so no thread waits
//! for the lock while another waits for the interpreter. Several threads may read at once.

use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ssm_hpn::session::Session;
use ssm_hpn::{Error, Result};

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
    pub(crate) fn read(&self) -> Result<RwLockReadGuard<'_, AnySession>> {
        self.0.read().map_err(|_| half_changed())
    }

    /// For calls that change the session, which run alone.
    pub(crate) fn write(&self) -> Result<RwLockWriteGuard<'_, AnySession>> {
        self.0.write().map_err(|_| half_changed())
    }
}

/// A panic in a call that changes the session leaves it unusable; one in a call that only reads leaves it as it was.
fn half_changed() -> Error {
    Error::poisoned("session", "load the newest checkpoint")
}
