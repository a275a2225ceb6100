//! Which tensors are trained and which of them decay: two masks indexed by slot.

use super::table::{Entry, Table};

/// Trainable and decay masks of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorMasks {
    /// By slot: gets gradients and updates.
    pub trainable: Vec<bool>,
    /// By slot: gets weight decay when it is updated.
    pub decay: Vec<bool>,
}

impl TensorMasks {
    /// The masks as declared: all tensors trained but fixed ones.
    pub fn declared(table: &Table) -> Self {
        Self {
            trainable: table.entries().iter().map(|e| e.spec.trained).collect(),
            decay: table.entries().iter().map(|e| e.spec.decay).collect(),
        }
    }

    /// Freezes the tensors for which `frozen` answers true, on top of what is frozen already.
    pub fn freeze(&mut self, table: &Table, frozen: impl Fn(&Entry) -> bool) {
        for (entry, trainable) in table.entries().iter().zip(&mut self.trainable) {
            *trainable &= !frozen(entry);
        }
    }
}
