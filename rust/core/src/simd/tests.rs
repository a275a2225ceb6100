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
