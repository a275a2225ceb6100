//! The division of a product into tasks, computed from its shape alone and not from the number of threads.

#![forbid(unsafe_code)]

/// Number of tasks to aim for: enough to divide the work evenly among a few threads.
const FEW: usize = 8;
/// Number of tasks to aim for where each further halving costs less than [`LITTLE`].
const MANY: usize = 32;
/// Share of a product's time that another halving may add, up to [`MANY`] tasks.
const LITTLE: f64 = 0.0125;
/// Least number of multiply-adds of a task, about 5 µs of a fast core.
const LEAST_WORK: usize = 1 << 19;
/// Largest extents of a task along rows, columns and depth: the packed columns of one chunk stay in a core's L2 cache.
const MOST: [usize; 3] = [1024, 384, usize::MAX];
/// Smallest extents.
const LEAST: [usize; 3] = [64, 64, 256];
/// Extents are multiples of these, so that register tiles are whole except at the end.
const UNIT: [usize; 3] = [16, 16, 16];

/// What a task costs beside its multiply-adds, in multiply-adds per element, measured on AVX-512: every task reads, or packs,
/// its part of both factors, and a part of the depth beyond the first writes a partial output that is added later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cost {
    /// Reading an element of a, once per task; it is used for all columns of the task.
    pub(super) a: f64,
    /// Reading or packing an element of b, once per task; it is used for all rows of the task.
    pub(super) b: f64,
    /// Writing and adding an element of a partial output. Infinite where the depth may not be divided.
    pub(super) part: f64,
}

/// Extents of a task, and how many tasks there are along each direction: rows, columns, depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Split {
    shape: [usize; 3],
    extent: [usize; 3],
    pub(super) count: [usize; 3],
}

impl Split {
    /// Starts from the largest extents and halves whichever adds least cost, until there are enough tasks.
    pub(super) fn new(rows: usize, cols: usize, depth: usize, cost: Cost) -> Self {
        let mut split = Self::even([rows, cols, depth], MOST);
        // Rows share b, columns share a.
        let cost = [cost.b, cost.a, cost.part];
        while rows * cols * depth >= 2 * split.tasks() * LEAST_WORK {
            let added = |axis: usize| cost[axis] / split.extent[axis] as f64;
            let axes = (0..3).filter(|&axis| split.extent[axis] >= 2 * LEAST[axis]);
            let Some(axis) = axes.min_by(|&i, &j| added(i).total_cmp(&added(j))) else { break };
            let enough = if added(axis) <= LITTLE { MANY } else { FEW };
            if split.tasks() >= enough || added(axis).is_infinite() {
                break;
            }
            let mut extent = split.extent;
            extent[axis] /= 2;
            split = Self::even(split.shape, extent);
        }
        split
    }

    /// Divides each direction evenly into parts of at most about `extent`.
    fn even(shape: [usize; 3], extent: [usize; 3]) -> Self {
        let extent = std::array::from_fn(|axis| {
            let parts = shape[axis].div_ceil(extent[axis]).max(1);
            shape[axis].div_ceil(parts).next_multiple_of(UNIT[axis]).max(UNIT[axis])
        });
        Self { shape, extent, count: std::array::from_fn(|axis| shape[axis].div_ceil(extent[axis]).max(1)) }
    }

    /// Number of tasks.
    pub(super) fn tasks(&self) -> usize {
        self.count.iter().product()
    }

    /// Rows, columns and depth of a task.
    pub(super) fn ranges(&self, task: usize) -> [std::ops::Range<usize>; 3] {
        let [_, cols, depth] = self.count;
        let place = [task / depth / cols, task / depth % cols, task % depth];
        std::array::from_fn(|axis| {
            let (extent, end) = (self.extent[axis], self.shape[axis]);
            (place[axis] * extent).min(end)..((place[axis] + 1) * extent).min(end)
        })
    }

    /// Index of the part of the depth that a task computes.
    pub(super) fn part(&self, task: usize) -> usize {
        task % self.count[2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COPIED: Cost = Cost { a: 4.0, b: 4.0, part: f64::INFINITY };
    const DIVIDED: Cost = Cost { a: 4.0, b: 4.0, part: 10.0 };

    #[test]
    fn tasks_cover_every_product_once() {
        for (rows, cols, depth) in
            [(0, 3, 3), (1, 1, 0), (2048, 512, 128), (40, 256, 2048), (333, 1000, 5000)]
        {
            for cost in [COPIED, DIVIDED] {
                let split = Split::new(rows, cols, depth, cost);
                let volume = |task| split.ranges(task).iter().map(ExactSizeIterator::len).product::<usize>();
                assert_eq!((0..split.tasks()).map(volume).sum::<usize>(), rows * cols * depth);
                assert!(cost.part.is_finite() || split.count[2] == 1);
            }
        }
    }

    #[test]
    fn large_products_are_divided_and_small_ones_are_one_task() {
        assert!(Split::new(2048, 128, 512, COPIED).tasks() >= FEW);
        assert!(Split::new(128, 256, 2048, DIVIDED).tasks() >= FEW);
        assert_eq!(Split::new(8, 512, 128, COPIED).tasks(), 2);
        assert_eq!(Split::new(8, 128, 128, COPIED).tasks(), 1);
    }
}
