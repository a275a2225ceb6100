//! Products against sums in f64, with error bounds derived from the number of terms.

use super::precision::Multiplier;
use super::step::Dots;
use super::tile::{Factor, Tile, with_packed};
use super::*;
use crate::kernels::Accumulate;
use crate::kernels::testing::{numbers, same_bits_for_any_threads};
use crate::numeric::Scalar;
use crate::simd::{Bf16Unit, Isa, run_on};
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

/// Checks out = Σ_t a(i, t)·b(t, j), plus `before` with `add`, element by element, and that nothing outside the columns
/// changed.
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
            assert_eq!(after.at(i, j), before.at(i, j), "{what}: column {j} outside the output was written");
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
        let (before, mut y) = (Wide::new(m, n, extra, 4), Wide::new(m, n, extra, 4));
        linear_step(x.view(), w.view(), y.view_mut(), accumulate);
        check("step", (&before, &y), add, k, (|i, t| x.at(i, t), |t, j| w.at(j, t)));
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
const SHAPES: [(usize, usize, usize); 20] = [
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
    (70, 900, 40),
    (1100, 20, 30),
    (2100, 70, 50),
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

/// c = a·b as one tile on an instruction set, with each factor in both directions and unaligned starts.
fn one_tile(isa: Isa, rows: usize, cols: usize, depth: usize, across: [bool; 2]) {
    let a =
        Wide::<f32>::new(if across[0] { depth } else { rows }, if across[0] { rows } else { depth }, 1, 1);
    let b =
        Wide::<f32>::new(if across[1] { cols } else { depth }, if across[1] { depth } else { cols }, 1, 2);
    let shifted = |m: &Wide<f32>| [&[f32::NAN], &m.data[..]].concat();
    let (a_data, b_data) = (shifted(&a), shifted(&b));
    let view = |data, m: &Wide<f32>| {
        let (rows, cols, stride) = m.shape;
        MatRef::with_stride(data, rows, cols, stride)
    };
    let (a_view, b_view) = (view(&a_data[1..], &a), view(&b_data[1..], &b));
    let factor_a = if across[0] { Factor::along_output(a_view) } else { Factor::along_depth(a_view) };
    let factor_b = if across[1] { Factor::along_depth(b_view) } else { Factor::along_output(b_view) };
    let (before, mut c) = (Wide::new(rows, cols, 5, 3), Wide::new(rows, cols, 5, 3));
    with_packed(cols, |packed| {
        let (start, stride) = (c.data.as_mut_ptr(), c.shape.2);
        let ranges = [0..rows, 0..cols, 0..depth];
        // SAFETY: c has these rows and columns and is ours.
        let tile = unsafe { Tile::new((factor_a, factor_b), ranges, start, stride, Accumulate::Add, packed) };
        run_on(isa, tile);
    });
    let at_a = |i, t| if across[0] { a.at(t, i) } else { a.at(i, t) };
    let at_b = |t, j| if across[1] { b.at(j, t) } else { b.at(t, j) };
    check(&format!("{} {across:?}", isa.name()), (&before, &c), true, depth, (at_a, at_b));
}

#[test]
fn every_instruction_set_agrees_with_f64_at_all_widths() {
    for isa in Isa::available() {
        for across in [[false, false], [false, true], [true, false], [true, true]] {
            for cols in 0..4 * 16 + 4 {
                one_tile(isa, 1 + cols % 19, cols, 1 + cols % 7, across);
            }
            one_tile(isa, 37, 100, 300, across);
        }
        for k in 0..4 * 16 + 4 {
            let (x, w) = (Wide::<f32>::new(1, k + 1, 0, 1), Wide::<f32>::new(7, k + 1, 0, 2));
            let (before, mut y) = (Wide::new(1, 7, 0, 3), Wide::new(1, 7, 0, 3));
            let accumulate = Accumulate::Add;
            run_on(isa, Dots { x: &x.data[1..], w: w.view().columns(1, k), y: &mut y.data, accumulate });
            check(isa.name(), (&before, &y), true, k, (|_, t| x.at(0, t + 1), |t, j| w.at(j, t + 1)));
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_in_a_batch() {
    let (m, n, k) = (300, 70, 600);
    let [x, w, dy] = [(m, k, 1), (n, k, 2), (m, n, 3)].map(|(r, c, seed)| Wide::<f32>::new(r, c, 0, seed));
    let [mut y, mut dx] = [(m, n), (m, k)].map(|(r, c)| Wide::<f32>::new(r, c, 0, 4));
    linear(x.view(), w.view(), y.view_mut(), Accumulate::Overwrite);
    linear_dx(dy.view(), w.view(), dx.view_mut(), Accumulate::Overwrite);
    for row in [0, 7, 150, 299] {
        let [mut y_row, mut dx_row] = [n, k].map(|c| Wide::<f32>::new(1, c, 0, 4));
        let alone =
            |m: &Wide<f32>| Wide { data: m.view().row(row).to_vec(), shape: (1, m.shape.1, m.shape.1) };
        linear(alone(&x).view(), w.view(), y_row.view_mut(), Accumulate::Overwrite);
        linear_dx(alone(&dy).view(), w.view(), dx_row.view_mut(), Accumulate::Overwrite);
        assert_eq!(y_row.data, y.view().row(row));
        assert_eq!(dx_row.data, dx.view().row(row));
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

/// What computes products of rounded factors here: the emulation, and the units that the processor has.
fn units() -> impl Iterator<Item = (&'static str, Multiplier)> {
    let units =
        Bf16Unit::ALL.into_iter().filter(|&unit| unit == Bf16Unit::Emulated || unit.blocks().is_some());
    units.map(|unit| (unit.name(), Multiplier::of_unit(unit)))
}

/// The products of factors rounded to bf16 against sums in f64 of the rounded numbers, as those of f32, and of the numbers
/// themselves: each rounding errs by at most 2⁻⁸ of its number.
fn rounded_products<T: Scalar>(name: &str, by: Multiplier, (m, n, k): (usize, usize, usize), extra: usize) {
    let [x, w, dy] = [(m, k, 1), (n, k, 2), (m, n, 3)].map(|(r, c, seed)| Wide::<T>::new(r, c, extra, seed));
    let near = |of: &Wide<T>, i, j| T::from_f64(of.at(i, j)).to_bf16().to_f64();
    for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
        let add = accumulate == Accumulate::Add;
        let (before, mut y) = (Wide::new(m, n, extra, 4), Wide::new(m, n, extra, 4));
        by.linear(x.view(), w.view(), y.view_mut(), accumulate);
        check(&format!("{name} y"), (&before, &y), add, k, (|i, t| near(&x, i, t), |t, j| near(&w, j, t)));
        for i in 0..m {
            for j in 0..n {
                let terms = || (0..k).map(|t| x.at(i, t) * w.at(j, t));
                let start = if add { before.at(i, j) } else { 0.0 };
                let size = start.abs() + terms().map(f64::abs).sum::<f64>();
                let bound =
                    (2.0_f64.powi(-7) + 2.0_f64.powi(-16) + (k + 2) as f64 * T::EPSILON.to_f64()) * size;
                let error = (y.at(i, j) - start - terms().sum::<f64>()).abs();
                assert!(
                    error <= bound,
                    "{name} y {m}x{n}x{k} at ({i}, {j}): off by {error}, at most {bound}"
                );
            }
        }
        let (before, mut dx) = (Wide::new(m, k, extra, 5), Wide::new(m, k, extra, 5));
        by.linear_dx(dy.view(), w.view(), dx.view_mut(), accumulate);
        check(&format!("{name} dx"), (&before, &dx), add, n, (|i, t| near(&dy, i, t), |t, j| near(&w, t, j)));
    }
    let (before, mut dw) = (Wide::new(n, k, extra, 6), Wide::new(n, k, extra, 6));
    let mut scratch = vec![T::from_f64(f64::NAN); linear_dw_scratch(m, n, k)];
    by.linear_dw(dy.view(), x.view(), dw.view_mut(), &mut scratch);
    check(&format!("{name} dw"), (&before, &dw), true, m, (|i, t| near(&dy, t, i), |t, j| near(&x, t, j)));
}

#[test]
fn rounded_products_equal_sums_of_rounded_factors_in_f64() {
    for (name, by) in units() {
        for shape in SHAPES {
            rounded_products::<f32>(name, by, shape, 3);
        }
        // Tasks of several strips, several chunks of the depth, and f64, whose factors are rounded too.
        rounded_products::<f32>(name, by, (70, 90, 2100), 0);
        rounded_products::<f32>(name, by, (40, 330, 70), 0);
        rounded_products::<f64>(name, by, (33, 17, 70), 3);
    }
}

#[test]
fn rounded_products_have_the_same_bits_alone_in_a_batch_and_for_any_number_of_threads() {
    let (m, n, k) = (1030, 70, 300);
    let [x, w, dy] = [(m, k, 1), (n, k, 2), (m, n, 3)].map(|(r, c, seed)| Wide::<f32>::new(r, c, 0, seed));
    for (name, by) in units() {
        let all = || {
            let [mut y, mut dx, mut dw] = [(m, n), (m, k), (n, k)].map(|(r, c)| Wide::<f32>::new(r, c, 0, 4));
            let mut scratch = vec![0.0; linear_dw_scratch(m, n, k)];
            by.linear(x.view(), w.view(), y.view_mut(), Accumulate::Add);
            by.linear_dx(dy.view(), w.view(), dx.view_mut(), Accumulate::Overwrite);
            by.linear_dw(dy.view(), x.view(), dw.view_mut(), &mut scratch);
            [y.data, dx.data, dw.data].concat()
        };
        same_bits_for_any_threads(all);
        let whole = all();
        for row in [0, 500, m - 1] {
            let mut alone =
                Wide { data: Wide::<f32>::new(m, n, 0, 4).view().row(row).to_vec(), shape: (1, n, n) };
            let x = Wide { data: x.view().row(row).to_vec(), shape: (1, k, k) };
            by.linear(x.view(), w.view(), alone.view_mut(), Accumulate::Add);
            assert_eq!(alone.data, whole[row * n..][..n], "{name}, row {row}");
        }
    }
}
