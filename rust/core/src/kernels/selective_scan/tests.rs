//! The scan against reference numbers, against differences, and against other instruction sets and ways to call it.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::kernels::channels::BLOCK;
use crate::kernels::testing::{
    Shifted, assert_close, assert_close_to, central_differences, every_isa_equals_scalar, numbers,
    same_bits_for_any_threads,
};
use crate::numeric::Scalar;
use crate::simd::Isa;

/// One scan with every input, every output and every gradient, by name.
#[derive(Clone)]
struct Case<T> {
    rows: usize,
    length: usize,
    channels: usize,
    states: usize,
    starts: Option<Vec<u8>>,
    tensors: HashMap<&'static str, Vec<T>>,
}

const INPUTS: [&str; 9] = ["u", "delta", "z", "b", "c", "a_log", "d", "delta_bias", "first"];
const OUTPUTS: [&str; 2] = ["y", "last"];
const GRADIENTS: [&str; 9] = ["du", "ddelta", "dz", "db", "dc", "da_log", "dd", "ddelta_bias", "dfirst"];

impl<T: Scalar> Case<T> {
    fn len(&self, name: &str) -> usize {
        let tokens = self.rows * self.length;
        match name {
            "b" | "c" => tokens * self.states,
            "a_log" => self.channels * self.states,
            "d" | "delta_bias" => self.channels,
            "first" | "dlast" => self.rows * self.channels * self.states,
            _ => tokens * self.channels,
        }
    }

    fn random(rows: usize, length: usize, channels: usize, states: usize, starts: Option<Vec<u8>>) -> Self {
        let mut case = Self { rows, length, channels, states, starts, tensors: HashMap::new() };
        for (seed, name) in INPUTS.into_iter().chain(["dy", "dlast"]).enumerate() {
            case.tensors.insert(name, numbers(case.len(name), seed as u64 + 1));
        }
        case
    }

    fn dims(&self) -> Dims<'_> {
        let layout = Layout { rows: self.rows, length: self.length, starts: self.starts.as_deref() };
        Dims { layout, channels: self.channels, states: self.states }
    }

    /// z as the second half of rows of 2I + 3 numbers, B and C after 2 columns of other numbers.
    fn wide(&self) -> (Vec<T>, Vec<T>) {
        let (i, n) = (self.channels, self.states);
        let junk = T::from_f64(f64::NAN);
        let (mut xz, mut dbc) = (Vec::new(), Vec::new());
        for token in 0..self.rows * self.length {
            xz.extend(vec![junk; i + 3]);
            xz.extend(&self.tensors["z"][token * i..][..i]);
            dbc.extend([junk; 2]);
            dbc.extend(&self.tensors["b"][token * n..][..n]);
            dbc.extend(&self.tensors["c"][token * n..][..n]);
        }
        (xz, dbc)
    }

    /// Runs forward and backward; every output and gradient by name.
    fn run(&self) -> HashMap<&'static str, Vec<T>> {
        self.run_on(Isa::active())
    }

    fn run_on(&self, isa: Isa) -> HashMap<&'static str, Vec<T>> {
        let (i, n) = (self.channels, self.states);
        let dims = self.dims();
        let (mut xz, dbc) = self.wide();
        // Unaligned unless the number of channels is a multiple of four.
        let [mut u, mut delta, mut dy] =
            ["u", "delta", "dy"].map(|name| Shifted::new(&self.tensors[name], i % 4));
        let system = self.system(&dbc);
        let inputs = Inputs { u: &u, delta: &delta, z: Columns::new(&xz, i + 3, 2 * i + 3) };
        let junk = T::from_f64(f64::NAN);
        let mut state = self.tensors["first"].clone();
        let mut y = vec![junk; self.len("y")];
        let mut chunk_states = vec![junk; dims.chunk_states_len()];
        let mut scratch = vec![junk; dims.forward_scratch_len().max(dims.backward_scratch_len())];
        let outputs = ScanOutputs { y: &mut y, chunk_states: &mut chunk_states, state: Some(&mut state) };
        forward_on(isa, &dims, &system, &inputs, outputs, &mut scratch);
        let mut ddbc = vec![junk; dbc.len()];
        // Parameter gradients are added to these ones.
        let (mut da_log, mut dd, mut dbias) = (vec![T::ONE; i * n], vec![T::ONE; i], vec![T::ONE; i]);
        // The gradient of the last state; the pass replaces it by that of the first.
        let mut dfirst = self.tensors.get("dlast").cloned().unwrap_or_else(|| vec![T::ZERO; state.len()]);
        let z = ColumnsMut::new(&mut xz, i + 3, 2 * i + 3);
        let in_place = ScanInPlace { u: &mut u, delta: &mut delta, z, dy: &mut dy };
        let gradients = ScanGrads {
            dbc: ColumnsMut::new(&mut ddbc, 2, 2 * n + 2),
            da_log: Some(&mut da_log),
            dd: Some(&mut dd),
            ddelta_bias: Some(&mut dbias),
            dstate: Some(&mut dfirst),
        };
        backward_on(isa, &dims, &system, &chunk_states, in_place, &mut scratch, gradients);
        let columns = |x: &[T], stride: usize, from: usize, width: usize| -> Vec<T> {
            x.chunks_exact(stride).flat_map(|row| row[from..from + width].to_vec()).collect()
        };
        let mut out = HashMap::from([("y", y), ("last", state)]);
        out.insert("dz", columns(&xz, 2 * i + 3, i + 3, i));
        out.insert("db", columns(&ddbc, 2 * n + 2, 2, n));
        out.insert("dc", columns(&ddbc, 2 * n + 2, 2 + n, n));
        let less_one = |x: Vec<T>| x.into_iter().map(|x| x - T::ONE).collect();
        out.extend([("da_log", less_one(da_log)), ("dd", less_one(dd)), ("ddelta_bias", less_one(dbias))]);
        out.insert("y again", dy.to_vec());
        out.extend([("du", u.to_vec()), ("ddelta", delta.to_vec()), ("dfirst", dfirst)]);
        out
    }

    /// The system of the case, with B and C in the matrix of [`Case::wide`].
    fn system<'a>(&'a self, dbc: &'a [T]) -> System<'a, T> {
        System {
            bc: Columns::new(dbc, 2, 2 * self.states + 2),
            a_log: &self.tensors["a_log"],
            d: &self.tensors["d"],
            delta_bias: &self.tensors["delta_bias"],
        }
    }

    /// Σ y·dy + Σ last·dlast with one input replaced.
    fn loss(&self, name: &'static str, value: &[T]) -> f64 {
        let mut case = self.clone();
        case.tensors.insert(name, value.to_vec());
        let out = case.run();
        let dot = |x: &[T], y: &[T]| x.iter().zip(y).map(|(x, y)| x.to_f64() * y.to_f64()).sum::<f64>();
        dot(&out["y"], &self.tensors["dy"]) + dot(&out["last"], &self.tensors["dlast"])
    }
}

fn f64s<T: Scalar>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.to_f64()).collect()
}

/// The case of a reference file and what it expects, states as `[B, N, I]`.
fn fixture<T: Scalar>(file: &str) -> (Case<T>, HashMap<&'static str, Vec<f64>>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let raw = |name: &str| -> Vec<f64> {
        let (chunks, rest) = file.tensor(name).unwrap().data().as_chunks::<8>();
        assert!(rest.is_empty());
        chunks.iter().map(|b| f64::from_le_bytes(*b)).collect()
    };
    let shape = file.tensor("x").unwrap().shape().to_vec();
    let (rows, length, channels) = (shape[0], shape[1], shape[2]);
    let states = file.tensor("A").unwrap().shape()[1];
    let transposed = |x: Vec<f64>| -> Vec<f64> {
        let at = |b: usize, n: usize, i: usize| x[(b * channels + i) * states + n];
        (0..x.len()).map(|j| at(j / (states * channels), j / channels % states, j % channels)).collect()
    };
    let starts = file.tensor("reset").ok().map(|t| {
        t.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u8).collect::<Vec<_>>()
    });
    let a = raw("A");
    let mut case = Case { rows, length, channels, states, starts, tensors: HashMap::new() };
    let mut put = |name, x: Vec<f64>| case.tensors.insert(name, x.into_iter().map(T::from_f64).collect());
    for (name, theirs) in [("u", "x"), ("delta", "delta"), ("z", "z"), ("b", "B"), ("c", "C"), ("d", "D")] {
        put(name, raw(theirs));
    }
    put("delta_bias", raw("bias"));
    put("a_log", a.iter().map(|a| (-a).ln()).collect());
    put("first", vec![0.0; rows * channels * states]);
    put("dy", raw("cotangent/y"));
    put("dlast", transposed(raw("cotangent/last_state")));
    let mut expected = HashMap::from([("y", raw("y")), ("last", transposed(raw("last_state")))]);
    for (name, theirs) in [
        ("du", "x"),
        ("ddelta", "delta"),
        ("dz", "z"),
        ("db", "B"),
        ("dc", "C"),
        ("dd", "D"),
        ("ddelta_bias", "bias"),
    ] {
        expected.insert(name, raw(&format!("grad/{theirs}")));
    }
    // A = -exp(A_log): the gradient of A_log is that of A times A.
    expected.insert("da_log", raw("grad/A").iter().zip(&a).map(|(g, a)| g * a).collect());
    (case, expected)
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

fn against_fixture<T: Scalar>(file: &str, outputs: f64, gradients: f64) {
    let (case, expected) = fixture::<T>(file);
    let found = case.run();
    assert_eq!(expected.len(), 10);
    for (name, expected) in &expected {
        let found = f64s(&found[name]);
        let error = norm(found.iter().zip(expected).map(|(f, e)| f - e)) / norm(expected.iter().copied());
        let bound = if OUTPUTS.contains(name) { outputs } else { gradients };
        assert!(error <= bound, "{file}, {name}: error {error:e} of the norm, bound {bound:e}");
    }
}

#[test]
fn equals_the_reference_numbers() {
    for file in ["selective_scan.safetensors", "selective_scan_packed.safetensors"] {
        against_fixture::<f64>(file, 1e-9, 1e-9);
        against_fixture::<f32>(file, 2e-5, 2e-4);
    }
}

/// Document starts inside both rows, two of them next to each other and one at the start of a chunk.
fn packed(rows: usize, length: usize) -> Vec<u8> {
    let mut starts = vec![0; rows * length];
    for row in 0..rows {
        for t in [0, 3, 4, 9 + row, CHUNK, CHUNK + 2 + row] {
            if t < length {
                starts[row * length + t] = 1;
            }
        }
    }
    starts
}

#[test]
fn every_gradient_equals_differences() {
    for starts in [None, Some(packed(2, CHUNK + 5))] {
        let case = Case::<f64>::random(2, CHUNK + 5, 3, 5, starts);
        let found = case.run();
        for (input, gradient) in INPUTS.into_iter().zip(GRADIENTS) {
            central_differences(input, &found[gradient], &case.tensors[input], |x| case.loss(input, x));
        }
    }
}

#[test]
fn every_instruction_set_equals_the_single_lane() {
    for channels in 1..=4 * 16 + 3 {
        let (length, states) = (CHUNK + 1 + channels % 3, 1 + channels % 6);
        let starts = (channels % 2 == 0).then(|| packed(1, length));
        let case = Case::<f32>::random(1, length, channels, states, starts);
        let expected = case.run_on(Isa::Scalar);
        for isa in Isa::available() {
            for (name, found) in case.run_on(isa) {
                let what = format!("{name}, {channels} channels, {}", isa.name());
                assert_close(&what, &f64s(&found), &f64s(&expected[name]), 5e-6);
            }
        }
    }
}

#[test]
fn a_very_large_step_changes_no_bit_before_it_and_nan_stays() {
    let case = Case::<f32>::random(1, CHUNK, 5, 6, None);
    let (last, width) = (CHUNK - 1, case.channels);
    for isa in Isa::available() {
        let expected = case.run_on(isa);
        for delta in [40.0, 1e4, 1e30] {
            let mut large = case.clone();
            large.tensors.get_mut("delta").unwrap()[last * width..].fill(delta);
            let found = large.run_on(isa);
            assert_eq!(found["y"][..last * width], expected["y"][..last * width], "{}", isa.name());
            if delta < 1e9 {
                let mut wide = Case::<f64>::random(1, CHUNK, 5, 6, None);
                wide.tensors.extend(large.tensors.iter().map(|(&name, x)| (name, f64s(x))));
                for (name, expected) in wide.run() {
                    assert_close(name, &f64s(&found[name]), &expected, 1e-5);
                }
            }
        }
        for input in ["u", "delta"] {
            let mut broken = case.clone();
            broken.tensors.get_mut(input).unwrap()[last * width] = f32::NAN;
            assert!(broken.run_on(isa)["y"][last * width].is_nan(), "{input} on {}", isa.name());
        }
    }
}

#[test]
fn parameter_gradients_are_summed_over_blocks_and_groups_of_rows() {
    // 17 rows: one group has two; 130 channels: two blocks, the second almost empty.
    let case = Case::<f32>::random(17, 3, BLOCK + 2, 3, None);
    let mut wide = Case::<f64>::random(17, 3, BLOCK + 2, 3, None);
    for (name, x) in &mut wide.tensors {
        *x = f64s(&case.tensors[name]);
    }
    let expected = wide.run();
    let mut by_hand = vec![0.0; BLOCK + 2];
    for (at, g) in expected["ddelta"].iter().enumerate() {
        by_hand[at % (BLOCK + 2)] += g;
    }
    assert_close("ddelta_bias", &expected["ddelta_bias"], &by_hand, 1e-12);
    for (name, found) in case.run() {
        assert_close(name, &f64s(&found), &expected[name], 5e-6);
    }
}

#[test]
fn several_blocks_of_channels_write_disjoint_columns() {
    // Two blocks and a group of four states: each task writes single columns of rows that belong to both.
    let case = Case::<f32>::random(2, CHUNK + 1, BLOCK + 2, 5, None);
    let mut wide = Case::<f64>::random(2, CHUNK + 1, BLOCK + 2, 5, None);
    for (name, x) in &mut wide.tensors {
        *x = f64s(&case.tensors[name]);
    }
    let expected = wide.run();
    for (name, found) in case.run() {
        assert_close(name, &f64s(&found), &expected[name], 5e-6);
    }
}

/// The tokens `range` of every row as a case of their own, from the given state.
fn part<T: Scalar>(case: &Case<T>, range: Range<usize>, first: &[T], dlast: &[T]) -> Case<T> {
    let mut part = case.clone();
    part.length = range.len();
    for (name, x) in &mut part.tensors {
        if !matches!(*name, "a_log" | "d" | "delta_bias" | "first" | "dlast") {
            let width = x.len() / (case.rows * case.length);
            let rows = x.chunks_exact(case.length * width);
            *x = rows.flat_map(|row| row[range.start * width..range.end * width].to_vec()).collect();
        }
    }
    let rows = case.starts.as_ref().map(|s| s.chunks_exact(case.length));
    part.starts = rows.map(|rows| rows.flat_map(|row| row[range.clone()].to_vec()).collect());
    part.tensors.insert("first", first.to_vec());
    part.tensors.insert("dlast", dlast.to_vec());
    part
}

#[test]
fn a_carried_state_continues_the_whole() {
    for starts in [None, Some(packed(2, 3 * CHUNK))] {
        let whole = Case::<f64>::random(2, 3 * CHUNK, 5, 6, starts);
        let expected = whole.run();
        for cut in [1, 7, CHUNK, 2 * CHUNK + 3] {
            let (first, dlast) = (&whole.tensors["first"], &whole.tensors["dlast"]);
            let state = part(&whole, 0..cut, first, dlast).run()["last"].clone();
            let right = part(&whole, cut..whole.length, &state, dlast).run();
            let left = part(&whole, 0..cut, first, &right["dfirst"]).run();
            assert_close("last", &right["last"], &expected["last"], 1e-13);
            assert_close("dfirst", &left["dfirst"], &expected["dfirst"], 1e-13);
            for name in ["y", "du", "ddelta", "dz", "db", "dc"] {
                let both = |row: usize| {
                    let rows = |x: &[f64]| x[row * x.len() / 2..(row + 1) * x.len() / 2].to_vec();
                    [rows(&left[name]), rows(&right[name])].concat()
                };
                assert_close(name, &[both(0), both(1)].concat(), &expected[name], 1e-12);
            }
            for name in ["da_log", "dd", "ddelta_bias"] {
                let sum: Vec<f64> = left[name].iter().zip(&right[name]).map(|(l, r)| l + r).collect();
                assert_close(name, &sum, &expected[name], 1e-12);
            }
        }
    }
}

#[test]
fn the_backward_pass_leaves_y_in_place_of_dy() {
    for channels in [3, BLOCK + 5] {
        let case = Case::<f64>::random(2, 2 * CHUNK + 3, channels, 6, Some(packed(2, 2 * CHUNK + 3)));
        let out = case.run();
        // The recomputation rounds a product in another place.
        assert_close("y", &out["y again"], &out["y"], 1e-14);
    }
}

#[test]
fn packed_documents_equal_separate_ones() {
    let starts = packed(1, 2 * CHUNK + 3);
    let mut whole = Case::<f64>::random(1, starts.len(), 5, 6, Some(starts.clone()));
    let zeros = vec![0.0; whole.len("first")];
    whole.tensors.insert("dlast", zeros.clone());
    let expected = whole.run();
    // The first token starts a document, so that the carried state has no effect.
    assert!(expected["dfirst"].iter().all(|&x| x == 0.0));
    let mut found: HashMap<&str, Vec<f64>> = HashMap::new();
    let cuts: Vec<usize> = (0..starts.len()).filter(|&t| starts[t] == 1).chain([starts.len()]).collect();
    for pair in cuts.windows(2) {
        let mut document = part(&whole, pair[0]..pair[1], &zeros, &zeros);
        document.starts = None;
        for (name, x) in document.run() {
            let all = found.entry(name).or_default();
            if matches!(name, "da_log" | "dd" | "ddelta_bias") && !all.is_empty() {
                all.iter_mut().zip(&x).for_each(|(sum, x)| *sum += x);
            } else {
                all.extend(x);
            }
        }
    }
    for name in ["y", "du", "ddelta", "dz", "db", "dc", "da_log", "dd", "ddelta_bias"] {
        assert_close(name, &found[name], &expected[name], 1e-12);
    }
}

/// How many numbers are subnormal, in the name that holds most.
fn subnormal(found: &HashMap<&'static str, Vec<f32>>) -> usize {
    found.values().map(|x| x.iter().filter(|x| x.is_subnormal()).count()).max().unwrap_or(0)
}

/// A case whose first chunk alone has inputs, and whose last token alone has a gradient.
fn fading(delta: f32) -> Case<f32> {
    let mut case = Case::<f32>::random(1, 40 * CHUNK, 20, 4, None);
    let (inputs, last) = (CHUNK * case.channels, (case.length - 1) * case.channels);
    for (name, kept) in [("u", 0..inputs), ("dy", last..case.len("dy"))] {
        let x = case.tensors.get_mut(name).unwrap();
        x.iter_mut().enumerate().filter(|(at, _)| !kept.contains(at)).for_each(|(_, x)| *x = 0.0);
    }
    for (name, value) in [("delta", delta), ("delta_bias", 0.0), ("a_log", 0.0), ("dlast", 0.0)] {
        case.tensors.get_mut(name).unwrap().fill(value);
    }
    case
}

#[test]
fn what_fades_over_many_tokens_ends_at_zero() {
    // A state loses a tenth or half of itself with every token: without an end it would stay at the smallest number.
    for delta in [-2.2, 0.0] {
        let case = fading(delta);
        for isa in Isa::available() {
            let found = case.run_on(isa);
            // While it passes through the subnormal numbers, to the end of the chunk.
            assert!(subnormal(&found) <= 2 * CHUNK * case.channels, "{}", isa.name());
            for name in ["last", "dfirst"] {
                assert!(found[name].iter().all(|&x| x == 0.0), "{name} on {}", isa.name());
            }
            assert!(found["y"][0] != 0.0 && found["du"].last() != Some(&0.0), "{}", isa.name());
        }
    }
}

#[test]
fn a_state_that_is_forgotten_in_one_step_leaves_nothing() {
    // exp(-δ) of 2^-60 to 2^-200: states and gradients of usual size times it would be subnormal from 2^-120 on.
    let mut case = Case::<f32>::random(2, 2 * CHUNK + 3, 20, 4, None);
    let deltas = (0..case.len("delta")).map(|at| 42.0 + (at % 97) as f32).collect();
    case.tensors.insert("delta", deltas);
    case.tensors.get_mut("a_log").unwrap().fill(0.0);
    let mut wide = Case::<f64>::random(case.rows, case.length, case.channels, case.states, None);
    wide.tensors.extend(case.tensors.iter().map(|(&name, x)| (name, f64s(x))));
    let expected = wide.run();
    for isa in Isa::available() {
        let found = case.run_on(isa);
        assert_eq!(subnormal(&found), 0, "{}", isa.name());
        for (name, x) in &found {
            assert_close_to(&format!("{name} on {}", isa.name()), &f64s(x), &expected[name], 1e-5, 1.0);
        }
    }
}

#[test]
fn the_state_of_steps_without_input_ends_at_zero() {
    let case = fading(0.0);
    let mut state = case.tensors["first"].clone();
    let first = part(&case, case.length - 1..case.length, &state, &state);
    for _ in 0..200 {
        let (xz, dbc) = first.wide();
        let inputs = Inputs {
            u: &first.tensors["u"],
            delta: &first.tensors["delta"],
            z: Columns::new(&xz, case.channels + 3, 2 * case.channels + 3),
        };
        let (dims, mut y) = (first.dims(), vec![0.0; case.channels]);
        let mut scratch = vec![0.0; dims.forward_scratch_len()];
        step(&dims, &first.system(&dbc), &inputs, &mut state, &mut scratch, &mut y);
        assert!(!state.iter().any(|x| x.is_subnormal()));
    }
    assert!(state.iter().all(|&x| x == 0.0));
}

#[test]
fn steps_equal_the_forward_pass() {
    let case = Case::<f32>::random(2, 9, 37, 7, None);
    let expected = case.run();
    let mut state = case.tensors["first"].clone();
    let mut y = vec![0.0; case.rows * case.channels];
    for t in 0..case.length {
        let token = part(&case, t..t + 1, &state, &state);
        let (xz, dbc) = token.wide();
        let dims = token.dims();
        let inputs = Inputs {
            u: &token.tensors["u"],
            delta: &token.tensors["delta"],
            z: Columns::new(&xz, case.channels + 3, 2 * case.channels + 3),
        };
        step(
            &dims,
            &token.system(&dbc),
            &inputs,
            &mut state,
            &mut vec![0.0; dims.forward_scratch_len()],
            &mut y,
        );
        for (row, y) in y.chunks_exact(case.channels).enumerate() {
            let whole = &expected["y"][(row * case.length + t) * case.channels..][..case.channels];
            assert_close("y", &f64s(y), &f64s(whole), 1e-6);
        }
    }
    assert_close("last", &f64s(&state), &f64s(&expected["last"]), 1e-6);
}

#[test]
fn a_step_equals_the_single_lane_on_every_instruction_set() {
    every_isa_equals_scalar("y and the state of a step", 1, |isa, channels, shift| {
        let case = Case::<f32>::random(2, 1, channels, 1 + channels % 6, None);
        let (xz, dbc) = case.wide();
        let [u, delta, mut state] =
            ["u", "delta", "first"].map(|name| Shifted::new(&case.tensors[name], shift));
        let inputs = Inputs { u: &u, delta: &delta, z: Columns::new(&xz, channels + 3, 2 * channels + 3) };
        let mut y = Shifted::new(&vec![f32::NAN; u.len()], shift);
        let mut scratch = vec![f32::NAN; case.dims().forward_scratch_len()];
        step::step_on(isa, &case.dims(), &case.system(&dbc), &inputs, &mut state, &mut scratch, &mut y);
        [&*y, &state].concat()
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    #[ignore = "takes some seconds"]
    fn any_shape_with_any_documents_equals_f64(
        rows in 1_usize..4,
        length in 1_usize..3 * CHUNK,
        channels in 1_usize..BLOCK + 40,
        states in 1_usize..20,
        starts in prop::collection::vec(prop::bool::weighted(0.1), 3 * 3 * CHUNK),
        is_packed in any::<bool>(),
    ) {
        let starts = is_packed.then(|| starts[..rows * length].iter().map(|&s| u8::from(s)).collect());
        let case = Case::<f32>::random(rows, length, channels, states, starts.clone());
        let mut wide = Case::<f64>::random(rows, length, channels, states, starts);
        wide.tensors.extend(case.tensors.iter().map(|(&name, x)| (name, f64s(x))));
        let expected = wide.run();
        for isa in Isa::available() {
            for (name, found) in case.run_on(isa) {
                let what = format!("{name} on {}", isa.name());
                // Every sum has terms of about 1, such as the ones that parameter gradients are added to.
                assert_close_to(&what, &f64s(&found), &expected[name], 1e-5, 1.0);
            }
        }
    }
}

#[test]
fn same_bits_with_any_number_of_threads() {
    let case = Case::<f32>::random(3, 2 * CHUNK + 1, BLOCK + 20, 5, Some(packed(3, 2 * CHUNK + 1)));
    same_bits_for_any_threads(|| {
        let out = case.run();
        OUTPUTS.iter().chain(&GRADIENTS).flat_map(|name| out[name].clone()).collect()
    });
}

#[test]
fn frozen_parameters_are_left_out() {
    let case = Case::<f32>::random(1, 4, 3, 2, None);
    let dims = case.dims();
    let (mut xz, dbc) = case.wide();
    let system = case.system(&dbc);
    let inputs = Inputs { u: &case.tensors["u"], delta: &case.tensors["delta"], z: Columns::new(&xz, 6, 9) };
    let mut chunk_states = vec![0.0; dims.chunk_states_len()];
    let mut scratch = vec![0.0; dims.backward_scratch_len()];
    let (mut y, mut ddbc) = (vec![0.0; 12], vec![0.0; 16]);
    let outputs = ScanOutputs { y: &mut y, chunk_states: &mut chunk_states, state: None };
    forward(&dims, &system, &inputs, outputs, &mut scratch);
    let [mut u, mut delta, mut dy] = ["u", "delta", "dy"].map(|name| case.tensors[name].clone());
    let z = ColumnsMut::new(&mut xz, 6, 9);
    let in_place = ScanInPlace { u: &mut u, delta: &mut delta, z, dy: &mut dy };
    let gradients = ScanGrads {
        dbc: ColumnsMut::new(&mut ddbc, 0, 4),
        da_log: None,
        dd: None,
        ddelta_bias: None,
        dstate: None,
    };
    backward(&dims, &system, &chunk_states, in_place, &mut scratch, gradients);
    let mut whole = case.clone();
    for name in ["first", "dlast"] {
        whole.tensors.insert(name, vec![0.0; case.len(name)]);
    }
    assert_eq!(u, whole.run()["du"]);
}
