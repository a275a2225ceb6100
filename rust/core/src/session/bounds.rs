//! The bounds of all settings in one list.

#![forbid(unsafe_code)]

use crate::blocks;
use crate::bounds::Bounds;
#[cfg(feature = "shards")]
use crate::data;
use crate::head;
use crate::model;
use crate::optim;
use crate::stem;

/// The bounds of the numbers that can be set, each declared by the part that uses it, by dotted names.
///
/// ```
/// let depth = ssm_hpn::session::bounds().find(|of| of.key == "model.n_layers").expect("a setting");
/// assert!(depth.is_whole);
/// assert_eq!(depth.low, ssm_hpn::bounds::Edge::At(1.0));
/// ```
pub fn bounds() -> impl Iterator<Item = &'static Bounds> {
    let parts = [
        model::config::BOUNDS,
        stem::windows::BOUNDS,
        stem::filters::BOUNDS,
        blocks::mamba1::BOUNDS,
        head::config::BOUNDS,
        head::loss_config::BOUNDS,
        optim::config::BOUNDS,
    ];
    #[cfg(feature = "shards")]
    let parts = parts.into_iter().chain([data::loader_config::BOUNDS, data::writer::BOUNDS]);
    parts.into_iter().flatten()
}
