//! A stem that turns a token id into waves of fixed frequencies, with an amplitude and an offset for each channel.
//!
//! ```text
//! x_c = a_c·cos(id·(c + 1)) + b_c      da_c += Σ dx_c·cos(id·(c + 1))      db_c += Σ dx_c
//! ```

use ssm_hpn::Scalar;
use ssm_hpn::data::{Input, InputLimit};
use ssm_hpn::params::{Grads, Init, ParamSpec};
use ssm_hpn::pass::Pass;
use ssm_hpn::stem::{StemBatch, Stem, StemSizes};

pub struct Waves {
    pub vocab_size: usize,
    pub width: usize,
}

fn wave<T: Scalar>(id: u32, channel: usize) -> T {
    T::from_f64((f64::from(id) * (channel + 1) as f64).cos())
}

fn ids<'a>(batch: &StemBatch<'a>) -> &'a [u32] {
    let Input::Tokens(ids) = batch.input else { unreachable!("batches are checked against `reads`") };
    ids
}

impl<T: Scalar> Stem<T> for Waves {
    fn params(&self) -> Vec<ParamSpec> {
        vec![
            ParamSpec::new("waves.amplitude", [self.width], Init::Ones).no_decay(),
            ParamSpec::new("waves.offset", [self.width], Init::Zeros).no_decay(),
        ]
    }

    fn reads(&self) -> InputLimit {
        InputLimit::Tokens { vocab_size: self.vocab_size }
    }

    fn sizes(&self, _: usize) -> StemSizes {
        StemSizes::default()
    }

    fn forward(&self, pass: Pass<T>, batch: &StemBatch, y: &mut [T]) {
        let (amplitude, offset) = (pass.params.get(0), pass.params.get(1));
        for (y, id) in y.chunks_exact_mut(self.width).zip(ids(batch)) {
            for (c, y) in y.iter_mut().enumerate() {
                *y = amplitude[c] * wave(*id, c) + offset[c];
            }
        }
    }

    fn backward(&self, _: Pass<T>, batch: &StemBatch, dy: &[T], dparams: &mut Grads<T>) {
        let [mut da, mut db] = dparams.get_many([0, 1]);
        for (dy, id) in dy.chunks_exact(self.width).zip(ids(batch)) {
            for (c, dy) in dy.iter().enumerate() {
                if let Some(da) = &mut da {
                    da[c] += *dy * wave(*id, c);
                }
                if let Some(db) = &mut db {
                    db[c] += *dy;
                }
            }
        }
    }
}
