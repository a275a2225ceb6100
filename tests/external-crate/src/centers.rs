//! A head that keeps a center per class and pulls the features of a class to it, away from the other centers.
//!
//! ```text
//! s_c = -|x - w_c|²/2      L = -v·log softmax(s)[target]    p = v·(softmax(s) - onehot)      v the feature's weight
//! dx  = Σ_c p_c·(w_c - x)  dw_c += p_c·(x - w_c)            scores s
//! ```

use serde::Deserialize;
use ssm_hpn::Scalar;
use ssm_hpn::head::{Head, HeadReport, Targets, Wanted, WeightedTargets};
use ssm_hpn::params::{Grads, Init, ParamSpec};
use ssm_hpn::pass::Pass;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    n_classes: usize,
}

pub struct Centers {
    classes: usize,
    width: usize,
}

impl Centers {
    pub fn new(settings: Settings, width: usize) -> Self {
        Self { classes: settings.n_classes, width }
    }

    /// Scores of one feature.
    fn compare<T: Scalar>(&self, x: &[T], centers: &[T], out: &mut [T]) {
        let half = T::from_f64(0.5);
        for (out, center) in out.iter_mut().zip(centers.chunks_exact(self.width)) {
            let squares = x.iter().zip(center).map(|(x, w)| (*x - *w) * (*x - *w));
            *out = -half * squares.sum();
        }
    }
}

impl<T: Scalar> Head<T> for Centers {
    fn params(&self) -> Vec<ParamSpec> {
        vec![
            ParamSpec::new("centers.weight", [self.classes, self.width], Init::Normal { std: 1.0 })
                .no_decay(),
        ]
    }

    fn scratch(&self, _: usize) -> usize {
        self.classes
    }

    fn n_scores(&self) -> usize {
        self.classes
    }

    fn forward_backward(
        &self,
        pass: Pass<T>,
        x: &[T],
        targets: WeightedTargets<T>,
        mut wanted: Wanted<T>,
        mut dx: Option<&mut [T]>,
        mut dparams: Option<&mut Grads<T>>,
    ) -> HeadReport {
        let WeightedTargets { targets, weights } = targets;
        let Targets::Classes(classes) = targets else { panic!("this head takes classes") };
        let (d, centers) = (self.width, pass.params.get(0));
        let mut report = HeadReport::default();
        if let Some(dx) = &mut dx {
            dx.fill(T::ZERO);
        }
        for (i, (x, class)) in x.chunks_exact(d).zip(classes).enumerate() {
            let p = &mut pass.scratch[..self.classes];
            self.compare(x, centers, p);
            let (scored, correct) = wanted.take_scores(self.classes, p, &[*class]);
            report.scored += scored;
            report.correct += correct;
            let Ok(class) = usize::try_from(*class) else { continue };
            let largest = p.iter().fold(p[0], |m, s| m.max(*s));
            let sum: T = p.iter().map(|s| (*s - largest).exp()).sum();
            let weight = weights.of(i);
            report.loss += (weight * (sum.ln() + largest - p[class])).to_f64();
            report.count += 1;
            for (c, p) in p.iter_mut().enumerate() {
                let onehot = if c == class { T::ONE } else { T::ZERO };
                *p = weight * ((*p - largest).exp() / sum - onehot);
                let center = &centers[c * d..][..d];
                if let Some(dx) = &mut dx {
                    for (dx, (w, x)) in dx[i * d..][..d].iter_mut().zip(center.iter().zip(x)) {
                        *dx += *p * (*w - *x);
                    }
                }
                if let Some(dw) = dparams.as_mut().and_then(|grads| grads.get(0)) {
                    for (dw, (w, x)) in dw[c * d..][..d].iter_mut().zip(center.iter().zip(x)) {
                        *dw += *p * (*x - *w);
                    }
                }
            }
        }
        report
    }

    fn scores(&self, pass: Pass<T>, x: &[T], out: &mut [T]) {
        for (x, out) in x.chunks_exact(self.width).zip(out.chunks_exact_mut(self.classes)) {
            self.compare(x, pass.params.get(0), out);
        }
    }
}
