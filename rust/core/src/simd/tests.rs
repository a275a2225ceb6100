use super::*;

struct Sum<'a>(&'a [f32]);

impl Kernel<f32> for Sum<'_> {
    type Output = f32;
    fn run<V: Vector<T = f32>>(self, v: V) -> f32 {
        let chunks = self.0.chunks_exact(V::LANES);
        let tail = v.load_partial(chunks.remainder());
        v.sum(chunks.fold(tail, |sum, x| v.add(sum, v.load(x))))
    }
}

#[test]
fn every_instruction_set_sums_every_length() {
    for isa in Isa::available() {
        for n in 0..70 {
            let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
            assert_eq!(run_on(isa, Sum(&x)), (0..n).sum::<i32>() as f32, "{} over {n}", isa.name());
        }
    }
}

/// 2^(d·a), with the lower bound for products and without.
struct Powers<'a>(&'a [(f32, f32)]);

impl Kernel<f32> for Powers<'_> {
    type Output = Vec<[f32; 2]>;
    fn run<V: Vector<T = f32>>(self, v: V) -> Vec<[f32; 2]> {
        let one = |(d, a): (f32, f32)| {
            let (d, a) = (v.splat(d), v.splat(a));
            let careful = math::exp2_of_product::<V, false>(v, d, a);
            [careful, math::exp2_of_product::<V, true>(v, d, a)].map(|x| v.max_lane(x))
        };
        self.0.iter().map(|&pair| one(pair)).collect()
    }
}

#[test]
fn every_instruction_set_raises_two_to_a_product() {
    let pairs = |k: u32| (1.0 + (k * 7 % 1000) as f32 / 999.0, -(k as f32) / 200.0);
    let pairs: Vec<_> = (0..40_000).map(pairs).chain([(0.0, -1e30), (1e-30, -1.0)]).collect();
    for isa in Isa::available() {
        for (&(d, a), [careful, bounded]) in pairs.iter().zip(run_on(isa, Powers(&pairs))) {
            let x = f64::from(d) * f64::from(a);
            if x < math::EXP2_BOUND - 0.51 {
                assert_eq!(careful.to_bits(), 0, "2^({d}·{a}) on {}", isa.name());
            } else if x > math::EXP2_BOUND - 0.49 {
                let error = (f64::from(careful) / x.exp2() - 1.0).abs();
                let rounding = if isa == Isa::Scalar { 1e-7 * x.abs() } else { 0.0 };
                assert!(error <= 2e-7 + rounding, "2^({d}·{a}) on {}: error {error:e}", isa.name());
            }
            if x > math::EXP2_BOUND {
                assert_eq!(careful.to_bits(), bounded.to_bits(), "2^({d}·{a}) on {}", isa.name());
            }
        }
        let [[exactly, _], [nearly, _]]: [[f32; 2]; 2] =
            run_on(isa, Powers(&[(0.0, -3.0), (1e-9, -1.0)])).try_into().unwrap();
        assert_eq!((exactly, nearly), (1.0, 1.0), "a state that does not decay does not grow either");
        for pair in [(1e30, -1e30), (f32::INFINITY, -1.0)] {
            assert_eq!(run_on(isa, Powers(&[pair]))[0][0], 0.0);
        }
        assert!(run_on(isa, Powers(&[(f32::INFINITY, 0.0)]))[0][0].is_nan());
    }
}

struct SumEach<'a>(&'a [f32], &'a mut [f32]);

impl Kernel<f32> for SumEach<'_> {
    type Output = ();
    fn run<V: Vector<T = f32>>(self, v: V) {
        let Self(x, out) = self;
        v.sum_each(&x[..out.len() * V::LANES], out);
        for (j, &sum) in out.iter().enumerate() {
            let expected: f32 = x[j * V::LANES..(j + 1) * V::LANES].iter().sum();
            assert_eq!(sum, expected, "{j} of {} with {} lanes", out.len(), V::LANES);
        }
    }
}

#[test]
fn every_instruction_set_sums_any_number_of_vectors() {
    // Whole numbers: every order of summation gives the same.
    let x: Vec<f32> = (0..40 * 16).map(|i| (i * i % 97) as f32).collect();
    for isa in Isa::available() {
        for n in 0..=40 {
            run_on(isa, SumEach(&x, &mut vec![0.0; n]));
        }
    }
}
