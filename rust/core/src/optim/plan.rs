//! How the buffers are cut for the passes of the optimiser: blocks of [`BLOCK`] elements, whatever the number of
//! threads, and in each block the parts of the trained tensors that lie in it. Sums are taken part by part and joined
//! in the order of the blocks, so that they have the same bits for any number of threads.

use std::ops::Range;

use crate::params::{Slot, Table, TensorMasks};

/// Elements of a block: small enough that a block of parameters, gradients and both moments stays in the cache between
/// the strips of a pass, large enough that the cost of a task is negligible.
pub(crate) const BLOCK: usize = 16_384;

/// The part of one trained tensor that lies in one block.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BlockPart {
    pub(super) slot: Slot,
    /// Elements, counted from the start of the block.
    pub(super) range: Range<usize>,
    pub(super) decay: bool,
}

/// The parts of all blocks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct BlockPlan {
    parts: Vec<BlockPart>,
    /// By block: its parts.
    blocks: Vec<Range<usize>>,
    trained: Vec<Slot>,
}

impl BlockPlan {
    pub(super) fn new(table: &Table, masks: &TensorMasks) -> Self {
        let trained: Vec<Slot> = (0..table.entries().len()).filter(|&slot| masks.trainable[slot]).collect();
        let mut plan = Self { parts: Vec::new(), blocks: Vec::new(), trained };
        let mut tensors = plan.trained.iter().peekable();
        for start in (0..table.buffer_len()).step_by(BLOCK) {
            let first = plan.parts.len();
            while let Some(&&slot) = tensors.peek() {
                let whole = &table.entry(slot).range;
                let range = whole.start.max(start)..whole.end.min(start + BLOCK);
                if !range.is_empty() {
                    let range = range.start - start..range.end - start;
                    plan.parts.push(BlockPart { slot, range, decay: masks.decay[slot] });
                }
                if whole.end > start + BLOCK {
                    break;
                }
                tensors.next();
            }
            plan.blocks.push(first..plan.parts.len());
        }
        plan
    }

    pub(super) fn block_count(&self) -> usize {
        self.blocks.len()
    }

    /// Parts of a block, in the order of their places.
    pub(super) fn parts(&self, block: usize) -> &[BlockPart] {
        &self.parts[self.blocks[block].clone()]
    }

    /// Slots of the trained tensors, ascending.
    pub(super) fn trained(&self) -> &[Slot] {
        &self.trained
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{Group, Init, ParamSpec};

    #[test]
    fn the_parts_cover_every_trained_element_once_and_no_other() {
        let mut table = Table::new();
        let lengths = [1, BLOCK - 16, 5, 3 * BLOCK + 7, 0, 16, 2 * BLOCK];
        let specs = lengths.iter().enumerate().map(|(i, &n)| ParamSpec::new(i.to_string(), [n], Init::Zeros));
        table.declare("", Group::Head, specs.collect()).unwrap();
        let mut masks = TensorMasks::declared(&table);
        masks.freeze(&table, |entry| entry.id == "1");
        masks.decay[3] = false;
        let plan = BlockPlan::new(&table, &masks);
        let mut hits = vec![0; table.buffer_len()];
        for block in 0..plan.block_count() {
            for part in plan.parts(block) {
                assert_eq!(part.decay, part.slot != 3);
                for i in part.range.clone() {
                    assert!(table.entry(part.slot).range.contains(&(block * BLOCK + i)));
                    hits[block * BLOCK + i] += 1;
                }
            }
        }
        let mut expected = vec![0; table.buffer_len()];
        for &slot in plan.trained() {
            expected[table.entry(slot).range.clone()].fill(1);
        }
        assert_eq!(plan.trained(), [0, 2, 3, 4, 5, 6]);
        assert!(hits == expected);
    }
}
