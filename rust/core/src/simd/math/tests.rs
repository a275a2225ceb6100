//! Values and derivatives of the functions over their whole range, on every instruction set.

use super::super::{Isa, Kernel, run_on};
use super::*;
use crate::kernels::testing::{central_differences, numbers};
use crate::numeric::Scalar;

/// An elementwise function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    /// e^x
    Exp,
    /// 1 / (1 + e^-x)
    Sigmoid,
    /// x / (1 + e^-x)
    Silu,
    /// ln(1 + e^x)
    Softplus,
    /// 2^x for x ≤ 0
    Exp2,
    /// x, or 0
    Flush,
}

impl Function {
    #[inline(always)]
    fn value<V: Vector>(self, v: V, x: V::V) -> V::V {
        match self {
            Self::Exp => exp(v, x),
            Self::Sigmoid => sigmoid(v, x),
            Self::Silu => silu(v, x),
            Self::Softplus => softplus(v, x),
            Self::Exp2 => exp2_nonpositive(v, x),
            Self::Flush => flush(v, x),
        }
    }

    #[inline(always)]
    fn derivative<V: Vector>(self, v: V, x: V::V) -> V::V {
        let one = v.splat(V::T::ONE);
        match self {
            Self::Exp => exp(v, x),
            Self::Sigmoid => {
                let s = sigmoid(v, x);
                v.mul(s, v.sub(one, s))
            }
            Self::Silu => silu_with_derivative(v, x).1,
            Self::Softplus => sigmoid(v, x),
            Self::Exp2 => v.mul(exp2_nonpositive(v, x), v.splat(V::T::from_f64(std::f64::consts::LN_2))),
            Self::Flush => one,
        }
    }
}

/// y = f(x).
fn forward_on<T: Scalar>(isa: Isa, function: Function, x: &[T], y: &mut [T]) {
    run_on(isa, Elementwise { function, x, dy: None, out: y });
}

/// dx = dy·f'(x).
fn backward_on<T: Scalar>(isa: Isa, function: Function, x: &[T], dy: &[T], dx: &mut [T]) {
    run_on(isa, Elementwise { function, x, dy: Some(dy), out: dx });
}

struct Elementwise<'a, T> {
    function: Function,
    x: &'a [T],
    dy: Option<&'a [T]>,
    out: &'a mut [T],
}

impl<T: Scalar> Kernel<T> for Elementwise<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector<T = T>>(self, v: V) {
        for (i, out) in self.out.chunks_mut(V::LANES).enumerate() {
            let x = v.load_partial(&self.x[i * V::LANES..]);
            let y = match self.dy {
                None => self.function.value(v, x),
                Some(dy) => v.mul(v.load_partial(&dy[i * V::LANES..]), self.function.derivative(v, x)),
            };
            v.store_partial(out, y);
        }
    }
}

const ALL: [Function; 4] = [Function::Exp, Function::Sigmoid, Function::Silu, Function::Softplus];

fn exact(function: Function, x: f64) -> f64 {
    let s = 1.0 / (1.0 + (-x).exp());
    match function {
        Function::Exp => x.exp(),
        Function::Sigmoid => s,
        Function::Silu => x * s,
        // ln_1p(e^x) is exact for small e^x and overflows for large.
        Function::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        Function::Exp2 => x.exp2(),
        Function::Flush => x,
    }
}

/// Every 4099th f32 from one number to another, of one sign.
fn floats(from: f32, to: f32) -> Vec<f32> {
    let (a, b) = (from.to_bits().min(to.to_bits()), from.to_bits().max(to.to_bits()));
    (a..=b).step_by(4099).chain([a, b]).map(f32::from_bits).collect()
}

#[test]
fn errors_are_as_stated_over_the_whole_range() {
    let both = |limit: f32| [floats(0.0, limit), floats(-0.0, -limit)].concat();
    let normal = f32::MIN_POSITIVE;
    for isa in Isa::available() {
        for (function, x, bound) in [
            (Function::Exp, [floats(0.0, 88.72), floats(-0.0, -87.0)].concat(), 2e-7),
            (Function::Sigmoid, both(87.0), 4e-7),
            (Function::Silu, both(87.0), 4e-7),
            (Function::Softplus, both(87.0), 4e-7),
            (Function::Exp2, floats(-0.0, -64.4), 2e-7),
            (Function::Flush, [floats(normal, f32::MAX), floats(-normal, f32::MIN)].concat(), 0.0),
        ] {
            let mut y = vec![0.0; x.len()];
            forward_on(isa, function, &x, &mut y);
            let mut worst = (0.0, 0.0);
            for (&x, &y) in x.iter().zip(&y) {
                let expected = exact(function, x.into());
                let error = (f64::from(y) - expected).abs();
                // The result itself may be subnormal (x·s(x) for the smallest x).
                let error = error / expected.abs().max(f64::from(f32::MIN_POSITIVE));
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            let name = isa.name();
            assert!(worst.0 <= bound, "{function:?} on {name}: error {:e} at {}", worst.0, worst.1);
        }
    }
}

#[test]
fn ends_of_the_range_saturate_and_nan_stays() {
    for isa in Isa::available() {
        let at = |function, x: f32| {
            let mut y = [0.0];
            forward_on(isa, function, &[x], &mut y);
            y[0]
        };
        assert!(at(Function::Exp, f32::MAX) > 3e38 && at(Function::Exp, f32::MIN) < 2e-38);
        assert_eq!(at(Function::Softplus, 1e30), 1e30);
        assert!(at(Function::Softplus, -1e30) < 2e-38);
        assert_eq!((at(Function::Sigmoid, 1e30), at(Function::Silu, 1e30)), (1.0, 1e30));
        for x in [-64.6, -100.0, -1e30, f32::NEG_INFINITY] {
            assert_eq!(at(Function::Exp2, x).to_bits(), 0, "2^{x} on {}", isa.name());
        }
        let normal = f32::MIN_POSITIVE;
        for x in [0.0, normal, -normal, f32::INFINITY, -1.5] {
            assert_eq!(at(Function::Flush, x), x, "on {}", isa.name());
        }
        for x in [normal.next_down(), -normal.next_down(), f32::from_bits(1)] {
            assert_eq!(at(Function::Flush, x), 0.0, "{x:e} on {}", isa.name());
        }
        for function in ALL.into_iter().chain([Function::Exp2, Function::Flush]) {
            assert!(at(function, f32::NAN).is_nan(), "{function:?} of NaN on {}", isa.name());
        }
    }
}

#[test]
fn derivatives_equal_differences() {
    for function in ALL {
        let x: Vec<f64> = numbers(40, 1).into_iter().map(|x: f64| 1.5 * x).collect();
        let dy: Vec<f64> = numbers(40, 2);
        let mut dx = vec![0.0; 40];
        backward_on(Isa::Scalar, function, &x, &dy, &mut dx);
        central_differences(&format!("{function:?}"), &dx, &x, |x| {
            let mut y = vec![0.0; 40];
            forward_on(Isa::Scalar, function, x, &mut y);
            y.iter().zip(&dy).map(|(y, dy)| y * dy).sum()
        });
    }
}

#[test]
fn every_length_and_start_equals_the_single_lane() {
    let (x, dy): (Vec<f32>, Vec<f32>) = (numbers(80, 3), numbers(80, 4));
    let x: Vec<f32> = x.into_iter().map(|x| 1.5 + x).collect();
    for isa in Isa::available() {
        for function in ALL {
            for n in 0..=4 * 16 + 3 {
                for start in [0, 1, 3] {
                    let (x, dy) = (&x[start..start + n], &dy[start..start + n]);
                    let (mut y, mut one) = (vec![0.0; n], vec![0.0; n]);
                    backward_on(isa, function, x, dy, &mut y);
                    backward_on(Isa::Scalar, function, x, dy, &mut one);
                    for (y, one) in y.iter().zip(&one) {
                        assert!((y - one).abs() <= 1e-6, "{function:?} {n} from {start}: {y} and {one}");
                    }
                }
            }
        }
    }
}
