//! Against sums in f64, with bounds derived from the number of terms.

use super::*;
use crate::kernels::testing::{numbers, same_bits_for_any_threads};
use proptest::prelude::*;

/// A matrix inside a wider one: (storage, rows, cols, row stride).
struct Wide<T> {
    data: Vec<T>,
    shape: (usize, usize, usize),
}

impl<T: Scalar> Wide<T> {
    fn new(rows: usize, cols: usize, extra: usize, seed: u64) -> Self {
        Self { data: numbers(rows * (cols + extra), seed), shape: (rows, cols, cols + extra) }
    }
    fn view(&self) -> MatRef<'_, T> {
        MatRef::with_stride(&self.data, self.shape.0, self.shape.1, self.shape.2)
    }
    fn view_mut(&mut self) -> MatMut<'_, T> {
        MatMut::with_stride(&mut self.data, self.shape.0, self.shape.1, self.shape.2)
    }
    fn at(&self, i: usize, j: usize) -> f64 {
        self.data[i * self.shape.2 + j].to_f64()
    }
}

/// Checks out = before·[add] + Σ_t a(i, t)·b(t, j) element by element, and that nothing beside the columns changed.
///
/// Rounding `terms` products and sums of terms whose magnitudes add to `size` errs by at most `(terms + 2)·ε·size`.
fn check<T: Scalar>(
    what: &str,
    (before, after): (&Wide<T>, &Wide<T>),
    add: bool,
    terms: usize,
    (a, b): (impl Fn(usize, usize) -> f64, impl Fn(usize, usize) -> f64),
) {
    let (rows, cols, stride) = after.shape;
    for i in 0..rows {
        for j in 0..cols {
            let start = if add { before.at(i, j) } else { 0.0 };
            let (mut sum, mut size) = (start, start.abs());
            for t in 0..terms {
                sum += a(i, t) * b(t, j);
                size += (a(i, t) * b(t, j)).abs();
            }
            let bound = (terms + 2) as f64 * T::EPSILON.to_f64() * size;
            let found = after.at(i, j);
            assert!(
                (found - sum).abs() <= bound,
                "{what} {rows}x{cols}x{terms} at ({i}, {j}): {found}, expected {sum}"
            );
        }
        for j in cols..stride {
            assert_eq!(after.at(i, j), before.at(i, j), "{what}: column {j} beside the output was written");
        }
    }
}

fn all_products<T: Scalar>(m: usize, n: usize, k: usize, extra: usize) {
    let [x, w, dy] = [(m, k, 1), (n, k, 2), (m, n, 3)].map(|(r, c, seed)| Wide::<T>::new(r, c, extra, seed));
    for add in [false, true] {
        let accumulate = if add { Accumulate::Add } else { Accumulate::Overwrite };
        let (before, mut y) = (Wide::new(m, n, extra, 4), Wide::new(m, n, extra, 4));
        linear(x.view(), w.view(), y.view_mut(), accumulate);
        check("y", (&before, &y), add, k, (|i, t| x.at(i, t), |t, j| w.at(j, t)));
        let (before, mut dx) = (Wide::new(m, k, extra, 5), Wide::new(m, k, extra, 5));
        linear_dx(dy.view(), w.view(), dx.view_mut(), accumulate);
        check("dx", (&before, &dx), add, n, (|i, t| dy.at(i, t), |t, j| w.at(t, j)));
    }
    let (before, mut dw) = (Wide::new(n, k, extra, 6), Wide::new(n, k, extra, 6));
    let mut scratch = vec![T::from_f64(f64::NAN); linear_dw_scratch(m, n, k)];
    linear_dw(dy.view(), x.view(), dw.view_mut(), &mut scratch);
    check("dw", (&before, &dw), true, m, (|i, t| dy.at(t, i), |t, j| x.at(t, j)));
}

/// (tokens, outputs, inputs), each also with gaps between rows.
const SHAPES: [(usize, usize, usize); 17] = [
    (0, 5, 3),
    (5, 0, 3),
    (5, 3, 0),
    (1, 1, 1),
    (63, 63, 63),
    (16, 1, 16),
    (1, 16, 1),
    (4096, 4, 4),
    (4, 4096, 4),
    (4, 4, 4096),
    (7, 33, 129),
    (130, 40, 64),
    (257, 256, 8),
    (300, 80, 48),
    (65, 17, 600),
    (1, 512, 128),
    (2, 100, 70),
];

#[test]
fn products_equal_sums_in_f64_at_awkward_sizes() {
    for (m, n, k) in SHAPES {
        for extra in [0, 3] {
            all_products::<f32>(m, n, k, extra);
            all_products::<f64>(m, n, k, extra);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn products_equal_sums_in_f64_at_any_size(m in 0_usize..90, n in 0_usize..90, k in 0_usize..90, extra in 0_usize..20) {
        all_products::<f32>(m, n, k, extra);
    }
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let (m, n, k) = (1500, 70, 300);
    let [x, w, dy] = [(m, k, 1), (n, k, 2), (m, n, 3)].map(|(r, c, seed)| Wide::<f32>::new(r, c, 0, seed));
    same_bits_for_any_threads(|| {
        let [mut y, mut dx, mut dw] = [(m, n), (m, k), (n, k)].map(|(r, c)| Wide::<f32>::new(r, c, 0, 4));
        let mut scratch = vec![0.0; linear_dw_scratch(m, n, k)];
        linear(x.view(), w.view(), y.view_mut(), Accumulate::Add);
        linear_dx(dy.view(), w.view(), dx.view_mut(), Accumulate::Overwrite);
        linear_dw(dy.view(), x.view(), dw.view_mut(), &mut scratch);
        let (mut sums, mut scratch) = (vec![0.0; n], vec![0.0; sum_rows_scratch(m, n)]);
        sum_rows(dy.view(), &mut sums, &mut scratch);
        [y.data, dx.data, dw.data, sums].concat()
    });
}
