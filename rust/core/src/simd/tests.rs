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
