use super::*;
use crate::kernels::testing::{assert_close, numbers};

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(a: &[f64], [x, y]: [f64; 2], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| x * a + y * b).collect()
}

/// Pairs of gradients at many angles and ratios of their lengths, in six dimensions.
fn pairs() -> Vec<[Vec<f64>; 2]> {
    let (a, b): (Vec<f64>, Vec<f64>) = (numbers(6, 1), numbers(6, 2));
    let (a, b) = (sum(&a, [1.0 / dot(&a, &a).sqrt(), 0.0], &a), b);
    let along = dot(&a, &b);
    let across = sum(&b, [1.0, -along], &a);
    let across = sum(&across, [1.0 / dot(&across, &across).sqrt(), 0.0], &across);
    let angles = (0..=16).map(|i| f64::from(i) * std::f64::consts::PI / 16.0);
    angles
        .flat_map(|angle| [1e-3, 0.3, 1.0, 7.0].map(|length| (angle, length)))
        .map(|(angle, length)| [a.clone(), sum(&a, [length * angle.cos(), length * angle.sin()], &across)])
        .collect()
}

#[test]
fn conflicting_gradients_are_projected_onto_the_normal_plane_of_each_other() {
    for [a, b] in pairs() {
        let (both, factors) = (dot(&a, &b), pcgrad(Gram::new(&a, &b)));
        let expected = if both < 0.0 {
            // As the algorithm has it: of each gradient its part along the other is taken away, then both are added.
            let first = sum(&a, [1.0, -both / dot(&b, &b)], &b);
            let second = sum(&b, [1.0, -both / dot(&a, &a)], &a);
            assert!(dot(&first, &b).abs() < 1e-12 && dot(&second, &a).abs() < 1e-12);
            sum(&first, [1.0, 1.0], &second)
        } else {
            sum(&a, [1.0, 1.0], &b)
        };
        let mut found = a.clone();
        combine(&mut found, &b, factors);
        // Of opposed gradients nothing is left but roundings.
        let scale = dot(&a, &a).sqrt() + dot(&b, &b).sqrt();
        let errors: Vec<f64> = sum(&found, [1.0 / scale, -1.0 / scale], &expected);
        assert_close("projected", &sum(&errors, [1.0, 1.0], &[1.0; 6]), &[1.0; 6], 1e-12);
    }
}

/// The least of the two gains under a gradient.
fn least_gain(d: &[f64], [a, b]: &[Vec<f64>; 2]) -> f64 {
    dot(d, a).min(dot(d, b))
}

#[test]
fn the_conflict_averse_gradient_is_the_best_of_its_ball() {
    for pair in pairs() {
        let [a, b] = &pair;
        let mean = sum(a, [0.5, 0.5], b);
        let length = dot(&mean, &mean).sqrt();
        for c in [0.0, 0.1, 0.5, 0.9] {
            let mut found = a.clone();
            combine(&mut found, b, cagrad(Gram::new(a, b), c));
            let d = sum(&found, [0.5, 0.0], &found);
            let away = sum(&d, [1.0, -1.0], &mean);
            let bound = 1e-9 * (dot(a, a) + dot(b, b));
            assert!(dot(&away, &away).sqrt() <= c * length + bound.sqrt(), "outside of the ball at c {c}");
            // No other λ gives a better one, by a search of the plane that the two gradients span.
            let best = least_gain(&d, &pair);
            for i in 0..=2000 {
                let lambda = f64::from(i) / 2000.0;
                let toward = sum(a, [lambda, 1.0 - lambda], b);
                let norm = dot(&toward, &toward).sqrt();
                if norm > 1e-9 {
                    let other = sum(&mean, [1.0, c * length / norm], &toward);
                    let gain = least_gain(&other, &pair);
                    assert!(gain <= best + bound, "c {c}: λ {lambda} gains {gain}, found {best}");
                }
            }
            if c == 0.0 {
                assert_eq!(found, sum(a, [1.0, 1.0], b));
            }
        }
    }
}

#[test]
fn a_task_without_a_gradient_leaves_the_other_as_it_is_and_numbers_that_are_not_finite_stay_so() {
    let (a, zero) = (vec![1.0, -2.0], vec![0.0, 0.0]);
    for gram in [Gram::new(&a, &zero), Gram::new(&zero, &a), Gram::new(&zero, &zero)] {
        assert_eq!((pcgrad(gram), cagrad(gram, 0.5)), ([1.0, 1.0], [1.0, 1.0]));
    }
    let opposed = vec![-1.0, 2.0];
    let opposed = Gram::new(&a, &opposed);
    assert_eq!((pcgrad(opposed), cagrad(opposed, 0.5)), ([2.0, 2.0], [1.0, 1.0]));
    let equal = cagrad(Gram::new(&a, &a), 0.5);
    assert_close("equal", &equal, &[1.5, 1.5], 1e-12);
    for bad in [f64::NAN, f64::INFINITY] {
        for at in [0, 1] {
            let mut b = vec![0.5, 0.5];
            b[at] = bad;
            let gram = Gram::new(&a, &b);
            for factors in [pcgrad(gram), cagrad(gram, 0.5)] {
                let mut mixed = a.clone();
                combine(&mut mixed, &b, factors);
                assert!(mixed.iter().any(|x| !x.is_finite()), "{bad}: {factors:?}");
            }
        }
    }
}

#[test]
fn weights_of_tasks_bring_their_gradients_to_the_same_length_and_stay_positive() {
    let balance = GradNorm { alpha: 0.0, rate: 0.05 };
    let mut kept = [0.0; GradNorm::STATISTICS];
    // Without weights one gradient is nine times as long as the other.
    for _ in 0..400 {
        let [first, second] = GradNorm::weights(&kept);
        let gram = Gram { first: (9.0 * first).powi(2), both: 0.0, second: second.powi(2) };
        let mut gathered = [0.0; GradNorm::STATISTICS];
        balance.gather(&kept, &mut gathered, gram, [2.0, 3.0], 1.0);
        balance.step(&mut kept, &gathered);
    }
    let [first, second] = GradNorm::weights(&kept);
    assert_eq!(first + second, 2.0);
    // Around the goal they go up and down by a step of both.
    assert!((9.0 * first / second).ln().abs() < 0.11, "{first} {second}");
    assert_eq!(kept[1..3], [2.0, 3.0], "losses of the first update");
}

#[test]
fn a_task_that_has_learned_less_gets_the_longer_gradient() {
    let balance = GradNorm { alpha: 1.5, rate: 0.01 };
    let mut kept = [0.0; GradNorm::STATISTICS];
    let mut once = |losses: [f64; 2]| {
        let [first, second] = GradNorm::weights(&kept);
        let gram = Gram { first: first.powi(2), both: 0.0, second: second.powi(2) };
        let mut gathered = [0.0; GradNorm::STATISTICS];
        balance.gather(&kept, &mut gathered, gram, losses, 1.0);
        balance.step(&mut kept, &gathered);
        GradNorm::weights(&kept)
    };
    assert_eq!(once([1.0, 1.0]), [1.0, 1.0], "equal norms, no loss to compare with");
    let weights = (0..100).fold([1.0, 1.0], |_, _| once([0.9, 0.3]));
    // r is 1.5 and 0.5: the goals are 1.5^1.5 and 0.5^1.5 of Ḡ = 1, which are not 2 together. Between v_1 at its goal and v_2
    // at its own the sum of the distances is the same.
    let (high, low) = (1.5_f64.powf(1.5), 2.0 - 0.5_f64.powf(1.5));
    assert!((low - 0.05..=high + 0.05).contains(&weights[0]), "{weights:?}");
}
