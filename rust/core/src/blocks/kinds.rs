//! The kinds of block of this crate: what configurations and people call them.

#![forbid(unsafe_code)]

/// One kind of block.
///
/// ```
/// use ssm_hpn::blocks::kinds;
///
/// let titles: Vec<_> = kinds::ALL.iter().filter(|kind| kind.alone).map(|kind| kind.title).collect();
/// assert_eq!(titles, ["Mamba-1", "MLP", "bidirectional"]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockKind {
    /// Name in configurations.
    pub name: &'static str,
    /// Name in reports.
    pub title: &'static str,
    /// Whether a list of layers may give the name without settings: none of them has to be chosen.
    pub alone: bool,
}

/// Selective state space.
pub static MAMBA1: BlockKind = BlockKind { name: "mamba1", title: "Mamba-1", alone: true };
/// Two linear maps with an activation, for each token separately.
pub static MLP: BlockKind = BlockKind { name: "mlp", title: "MLP", alone: true };
/// One block from each end of a document. The Python package completes the name alone with the block of the model.
pub static BIDIRECTIONAL: BlockKind =
    BlockKind { name: "bidirectional", title: "bidirectional", alone: true };
/// One block after the other.
pub static SEQUENTIAL: BlockKind = BlockKind { name: "sequential", title: "sequential", alone: false };
/// A block with a norm before it and its input added.
pub static RESIDUAL: BlockKind = BlockKind { name: "residual", title: "residual", alone: false };

/// The kinds of this crate, in the order of the documentation.
pub static ALL: [&BlockKind; 5] = [&MAMBA1, &MLP, &BIDIRECTIONAL, &SEQUENTIAL, &RESIDUAL];
