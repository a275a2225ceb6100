//! The convolution against its formula, against differences, and against other instruction sets and ways to call it.

use proptest::prelude::*;

use super::filter::CHUNK;
use super::*;
use crate::kernels::Layout;
use crate::kernels::channels::BLOCK;
use crate::kernels::testing::{
    Shifted, assert_close, assert_close_to, central_differences, numbers, same_bits_for_any_threads,
};
use crate::kernels::{Columns, ColumnsMut};
use crate::numeric::Scalar;
use crate::simd::Isa;

/// One convolution: inputs, cotangent, and x as columns of rows of I + 3 numbers.
#[derive(Clone)]
struct Case<T> {
    rows: usize,
    length: usize,
    channels: usize,
    taps: usize,
    starts: Option<Vec<u8>>,
    x: Vec<T>,
    weight: Vec<T>,
    bias: Vec<T>,
    dy: Vec<T>,
    state: Option<Vec<T>>,
}

/// y, dx, dweight, dbias, state.
type Results<T> = [Vec<T>; 6];

impl<T: Scalar> Case<T> {
    fn random(rows: usize, length: usize, channels: usize, taps: usize) -> Self {
        let n = rows * length * channels;
        let (x, dy) = (numbers(n, 1), numbers(n, 2));
        let (weight, bias) = (numbers(channels * taps, 3), numbers(channels, 4));
        Self { rows, length, channels, taps, starts: None, x, weight, bias, dy, state: None }
    }

    fn dims(&self) -> Dims<'_> {
        let layout = Layout { rows: self.rows, length: self.length, starts: self.starts.as_deref() };
        Dims { layout, channels: self.channels, taps: self.taps }
    }

    fn run(&self, isa: Isa) -> Results<T> {
        let (i, dims, junk) = (self.channels, self.dims(), T::from_f64(f64::NAN));
        let mut wide: Vec<T> =
            self.x.chunks_exact(i).flat_map(|x| [[junk; 3].as_slice(), x].concat()).collect();
        let weights = Weights { weight: &self.weight, bias: &self.bias };
        let (mut y, mut state) = (vec![junk; self.x.len()], self.state.clone());
        forward_on(isa, &dims, &weights, Columns::new(&wide, 3, i + 3), state.as_deref_mut(), &mut y);
        let (mut dweight, mut dbias) = (vec![T::ONE; self.weight.len()], vec![T::ONE; i]);
        let mut scratch = vec![junk; dims.backward_scratch_len()];
        let mut dstate = self.dlast();
        let gradients =
            ConvGrads { dweight: Some(&mut dweight), dbias: Some(&mut dbias), dstate: dstate.as_deref_mut() };
        // Unaligned unless the number of channels is a multiple of four; x follows 3 columns of other numbers.
        let mut dy = Shifted::new(&self.dy, i % 4);
        let x = ColumnsMut::new(&mut wide, 3, i + 3);
        let in_place = ConvInPlace { x, dy: &mut dy, state: self.state.as_deref() };
        backward_on(isa, &dims, &weights, in_place, &mut scratch, gradients);
        assert_eq!(dy.to_vec(), y, "y in place of dy");
        let dx = wide.chunks_exact(i + 3).flat_map(|x| x[3..].to_vec()).collect();
        // Parameter gradients are added to these ones.
        let less_one = |x: Vec<T>| x.into_iter().map(|x| x - T::ONE).collect();
        [y, dx, less_one(dweight), less_one(dbias), state.unwrap_or_default(), dstate.unwrap_or_default()]
    }

    /// The gradient of the state after the last token.
    fn dlast(&self) -> Option<Vec<T>> {
        self.state.as_ref().map(|state| numbers(state.len(), 6))
    }

    /// The formula, token by token.
    fn by_hand(&self) -> Vec<f64> {
        let at =
            |row: usize, t: usize, i: usize| self.x[(row * self.length + t) * self.channels + i].to_f64();
        let mut y = Vec::new();
        for row in 0..self.rows {
            let mut age = if self.state.is_some() { self.taps } else { 0 };
            for t in 0..self.length {
                age =
                    if self.starts.as_ref().is_some_and(|s| s[row * self.length + t] == 1) { 0 } else { age };
                for i in 0..self.channels {
                    let mut s = self.bias[i].to_f64();
                    for back in 0..=age.min(self.taps - 1) {
                        let x = match &self.state {
                            _ if back <= t => at(row, t - back, i),
                            Some(state) => {
                                let slot = row * (self.taps - 1) + self.taps - 1 + t - back;
                                state[slot * self.channels + i].to_f64()
                            }
                            None => 0.0,
                        };
                        s += self.weight[i * self.taps + self.taps - 1 - back].to_f64() * x;
                    }
                    y.push(s / (1.0 + (-s).exp()));
                }
                age += 1;
            }
        }
        y
    }

    fn loss(&self) -> f64 {
        let [y, _, _, _, last, _] = &self.run(Isa::active());
        let dot = |x: &[T], y: &[T]| x.iter().zip(y).map(|(x, y)| x.to_f64() * y.to_f64()).sum::<f64>();
        dot(y, &self.dy) + dot(last, &self.dlast().unwrap_or_default())
    }
}

fn f64s<T: Scalar>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

/// Document starts close together, far apart, and at the start of a chunk.
fn packed(rows: usize, length: usize) -> Vec<u8> {
    let mut starts = vec![0; rows * length];
    for row in 0..rows {
        for t in [0, 2, 3, 9 + row, CHUNK - 1, CHUNK, CHUNK + 2 + row] {
            if t < length {
                starts[row * length + t] = 1;
            }
        }
    }
    starts
}

/// As [`packed`], but that the first token continues a document.
fn late(rows: usize, length: usize) -> Vec<u8> {
    let mut starts = packed(rows, length);
    starts.iter_mut().step_by(length).for_each(|start| *start = 0);
    starts
}

#[test]
fn equals_the_formula_for_any_number_of_taps() {
    for taps in [1, 2, 3, 4, 5, 7, MAX_TAPS] {
        for length in [1, 2, 5, CHUNK, 2 * CHUNK + 3] {
            for is_packed in [false, true] {
                for carried in [false, true] {
                    let mut case = Case::<f64>::random(2, length, 3, taps);
                    case.starts = is_packed.then(|| packed(2, length));
                    case.state = carried.then(|| numbers(case.dims().state_len(), 5));
                    let what = format!("{taps} taps over {length}");
                    assert_close(&what, &case.run(Isa::active())[0], &case.by_hand(), 1e-13);
                }
            }
        }
    }
}

#[test]
fn every_gradient_equals_differences() {
    for (taps, length) in [(1, CHUNK + 5), (3, CHUNK + 5), (4, CHUNK + 5), (6, CHUNK + 5), (4, 2), (6, 1)] {
        for (starts, carried) in
            [(None, false), (None, true), (Some(packed(2, length)), false), (Some(late(2, length)), true)]
        {
            let mut case = Case::<f64>::random(2, length, 2, taps);
            case.starts = starts;
            case.state = carried.then(|| numbers(case.dims().state_len(), 5));
            let [_, dx, dweight, dbias, _, dstate] = case.run(Isa::active());
            let with = |put: fn(&mut Case<f64>, Vec<f64>), x: &[f64]| {
                let mut case = case.clone();
                put(&mut case, x.to_vec());
                case.loss()
            };
            central_differences("x", &dx, &case.x, |x| with(|c, x| c.x = x, x));
            central_differences("weight", &dweight, &case.weight, |x| with(|c, x| c.weight = x, x));
            central_differences("bias", &dbias, &case.bias, |x| with(|c, x| c.bias = x, x));
            if let Some(state) = &case.state {
                central_differences("state", &dstate, state, |x| with(|c, x| c.state = Some(x), x));
            }
        }
    }
}

#[test]
fn every_instruction_set_equals_the_single_lane() {
    for channels in 1..=4 * 16 + 3 {
        let mut case = Case::<f32>::random(1, 5 + channels % 4, channels, 4 - channels % 2);
        case.starts = (channels % 3 == 0).then(|| packed(1, case.length));
        let expected = case.run(Isa::Scalar);
        for isa in Isa::available() {
            for (k, (found, expected)) in case.run(isa).iter().zip(&expected).enumerate() {
                let what = format!("result {k}, {channels} channels, {}", isa.name());
                assert_close(&what, &f64s(found), &f64s(expected), 1e-6);
            }
        }
    }
}

#[test]
fn a_carried_state_continues_the_whole() {
    for taps in [1, 2, 4, 9] {
        for is_packed in [false, true] {
            let length = CHUNK + 7;
            let mut whole = Case::<f64>::random(1, length, 3, taps);
            whole.starts = is_packed.then(|| packed(1, length));
            whole.state = Some(numbers(whole.dims().state_len(), 5));
            let expected = whole.run(Isa::active());
            for size in [1, 2, 3, 5, CHUNK] {
                let (mut y, mut state) = (Vec::new(), whole.state.clone());
                for from in (0..length).step_by(size) {
                    let to = (from + size).min(length);
                    let mut part = whole.clone();
                    part.length = to - from;
                    part.x = whole.x[from * 3..to * 3].to_vec();
                    part.dy = whole.dy[from * 3..to * 3].to_vec();
                    part.starts = whole.starts.as_ref().map(|s| s[from..to].to_vec());
                    part.state = state;
                    let [part_y, _, _, _, next, _] = part.run(Isa::active());
                    y.extend(part_y);
                    state = Some(next);
                }
                assert_close(&format!("{taps} taps in parts of {size}"), &y, &expected[0], 1e-15);
                assert_eq!(state.unwrap(), expected[4], "{taps} taps in parts of {size}");
            }
        }
    }
}

#[test]
fn packed_documents_equal_separate_ones() {
    let starts = packed(1, CHUNK + 9);
    let mut whole = Case::<f64>::random(1, starts.len(), 3, 4);
    whole.starts = Some(starts.clone());
    let expected = whole.run(Isa::active());
    let cuts: Vec<usize> = (0..starts.len()).filter(|&t| starts[t] == 1).chain([starts.len()]).collect();
    let mut found: Results<f64> = [vec![], vec![], vec![0.0; 12], vec![0.0; 3], vec![], vec![]];
    for pair in cuts.windows(2) {
        let mut document = Case::<f64>::random(1, pair[1] - pair[0], 3, 4);
        document.x = whole.x[pair[0] * 3..pair[1] * 3].to_vec();
        document.dy = whole.dy[pair[0] * 3..pair[1] * 3].to_vec();
        for (k, x) in document.run(Isa::active()).into_iter().enumerate() {
            if k < 2 {
                found[k].extend(x);
            } else {
                found[k].iter_mut().zip(&x).for_each(|(sum, x)| *sum += x);
            }
        }
    }
    for (k, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_close(&format!("result {k}"), found, expected, 1e-13);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    #[ignore = "takes some seconds"]
    fn any_shape_with_any_documents_equals_f64(
        rows in 1_usize..4,
        length in 1_usize..2 * CHUNK + 9,
        channels in 1_usize..BLOCK + 40,
        taps in 1_usize..=MAX_TAPS,
        starts in prop::collection::vec(prop::bool::weighted(0.1), 3 * (2 * CHUNK + 9)),
        is_packed in any::<bool>(),
        is_carried in any::<bool>(),
    ) {
        let mut case = Case::<f32>::random(rows, length, channels, taps);
        case.starts = is_packed.then(|| starts[..rows * length].iter().map(|&s| u8::from(s)).collect());
        case.state = is_carried.then(|| numbers(case.dims().state_len(), 5));
        let wide = Case {
            x: f64s(&case.x),
            weight: f64s(&case.weight),
            bias: f64s(&case.bias),
            dy: f64s(&case.dy),
            state: case.state.as_deref().map(f64s),
            starts: case.starts.clone(),
            ..Case::<f64>::random(rows, length, channels, taps)
        };
        let expected = wide.run(Isa::Scalar);
        for isa in Isa::available() {
            for (k, (found, expected)) in case.run(isa).iter().zip(&expected).enumerate() {
                let what = format!("result {k} on {}", isa.name());
                // Terms of y and dx are numbers below 1, dweight and dbias were added to ones.
                assert_close_to(&what, &f64s(found), expected, 1e-5, 1.0);
            }
        }
    }
}

#[test]
fn same_bits_with_any_number_of_threads() {
    let mut case = Case::<f32>::random(3, CHUNK + 3, BLOCK + 20, 4);
    case.starts = Some(packed(3, CHUNK + 3));
    same_bits_for_any_threads(|| case.run(Isa::active()).concat());
}
