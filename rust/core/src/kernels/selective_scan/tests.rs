//! The scan against the reference numbers, against differences, and against itself.

use std::collections::HashMap;
use std::path::Path;

use super::*;
use crate::kernels::testing::{assert_close, central_differences, numbers, same_bits_for_any_threads};
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

    /// z as the second half of rows of 2I + 3 numbers, B and C behind 2 columns of something else.
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
        let (i, n) = (self.channels, self.states);
        let dims = self.dims();
        let (xz, dbc) = self.wide();
        let inputs = Inputs {
            u: &self.tensors["u"],
            delta: &self.tensors["delta"],
            z: Columns::new(&xz, i + 3, 2 * i + 3),
            bc: Columns::new(&dbc, 2, 2 * n + 2),
            a_log: &self.tensors["a_log"],
            d: &self.tensors["d"],
            delta_bias: &self.tensors["delta_bias"],
        };
        let junk = T::from_f64(f64::NAN);
        let mut state = self.tensors["first"].clone();
        let mut y = vec![junk; self.len("y")];
        let mut kept = vec![junk; dims.kept_len()];
        let mut scratch = vec![junk; dims.forward_scratch_len().max(dims.backward_scratch_len())];
        forward(&dims, &inputs, Some(&mut state), &mut kept, &mut scratch, &mut y);
        let mut out = HashMap::from([("y", y), ("last", state)]);
        let mut g: HashMap<_, _> =
            GRADIENTS.iter().map(|&name| (name, vec![junk; self.len(&name[1..])])).collect();
        let (mut dxz, mut ddbc) = (vec![junk; xz.len()], vec![junk; dbc.len()]);
        // Parameter gradients are added to what is there.
        let (mut da_log, mut dd, mut dbias) = (vec![T::ONE; i * n], vec![T::ONE; i], vec![T::ONE; i]);
        let (mut du, mut ddelta) = (g["du"].clone(), g["ddelta"].clone());
        let mut dfirst = g["dfirst"].clone();
        let gradients = Gradients {
            du: &mut du,
            ddelta: &mut ddelta,
            dz: ColumnsMut::new(&mut dxz, i + 3, 2 * i + 3),
            dbc: ColumnsMut::new(&mut ddbc, 2, 2 * n + 2),
            da_log: Some(&mut da_log),
            dd: Some(&mut dd),
            ddelta_bias: Some(&mut dbias),
            dfirst: Some(&mut dfirst),
        };
        let dlast = self.tensors.get("dlast").map(Vec::as_slice);
        backward(&dims, &inputs, &kept, &self.tensors["dy"], dlast, &mut scratch, gradients);
        let columns = |x: &[T], stride: usize, from: usize, width: usize| -> Vec<T> {
            x.chunks_exact(stride).flat_map(|row| row[from..from + width].to_vec()).collect()
        };
        g.insert("dz", columns(&dxz, 2 * i + 3, i + 3, i));
        g.insert("db", columns(&ddbc, 2 * n + 2, 2, n));
        g.insert("dc", columns(&ddbc, 2 * n + 2, 2 + n, n));
        let less_one = |x: Vec<T>| x.into_iter().map(|x| x - T::ONE).collect();
        g.extend([("da_log", less_one(da_log)), ("dd", less_one(dd)), ("ddelta_bias", less_one(dbias))]);
        g.extend([("du", du), ("ddelta", ddelta), ("dfirst", dfirst)]);
        out.extend(g);
        out
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
