use super::*;
use crate::kernels::testing::assert_close;
use crate::parallel::Threads;

fn cosine(rows: &[f64], dim: usize, i: usize, j: usize) -> f64 {
    rows[i * dim..][..dim].iter().zip(&rows[j * dim..][..dim]).map(|(a, b)| a * b).sum()
}

/// Largest cosine by its definition.
fn largest(rows: &[f64], dim: usize) -> f64 {
    let classes = rows.len() / dim;
    let pairs = (0..classes).flat_map(|i| (0..i).map(move |j| (i, j)));
    pairs.map(|(i, j)| cosine(rows, dim, i, j)).fold(-1.0, f64::max)
}

fn assert_unit(rows: &[f64], dim: usize) {
    for i in 0..rows.len() / dim {
        let square = cosine(rows, dim, i, i);
        assert!((square - 1.0).abs() < 1e-13, "row {i} has squared length {square}");
    }
}

#[test]
fn every_pair_of_a_simplex_has_the_same_cosine() {
    for (classes, dim) in [(2, 1), (2, 2), (3, 2), (9, 8), (9, 12), (257, 256)] {
        let rows = Construction::Simplex.build(classes, dim, 0, None);
        assert_unit(&rows, dim);
        let expected = -1.0 / (classes - 1) as f64;
        for i in 0..classes {
            for j in 0..i {
                let found = cosine(&rows, dim, i, j);
                // Sums of at most 256 terms, each rounded.
                assert!((found - expected).abs() < 1e-14, "{classes} classes, pair {i} {j}: {found}");
            }
        }
    }
}

#[test]
fn nine_classes_are_the_simplex_of_the_reference() {
    // The published recursion, whose columns are the prototypes: the same numbers, not only the same up to a rotation.
    let bytes = include_bytes!("../../../tests/fixtures/prototype_losses.safetensors");
    let file = safetensors::SafeTensors::deserialize(bytes).unwrap();
    let tensor = file.tensor("simplex_9").unwrap();
    assert_eq!(tensor.shape(), [9, 8]);
    let expected: Vec<f64> =
        tensor.data().as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
    // Each column has one more factor √(1-1/k²), of two or three roundings.
    assert_close("simplex", &simplex(9, 8), &expected, 8.0 * 3.0 * f64::EPSILON);
    let wider = simplex(9, 11);
    for (row, expected) in wider.chunks_exact(11).zip(expected.chunks_exact(8)) {
        assert_close("simplex with room", &row[..8], expected, 24.0 * f64::EPSILON);
        assert_eq!(row[8..], [0.0; 3]);
    }
}

#[test]
fn blocks_have_no_positive_cosine_up_to_the_orthoplex() {
    for (classes, dim) in [(5, 3), (10, 5), (10, 7), (10, 8), (100, 50), (101, 60)] {
        assert_eq!(Construction::choose(classes, dim), Construction::Blocks);
        let rows = Construction::Blocks.build(classes, dim, 0, None);
        assert_unit(&rows, dim);
        let found = largest(&rows, dim);
        assert!(found.abs() < 1e-15, "{classes} classes in {dim} dimensions: {found}");
    }
}

#[test]
fn near_orthogonal_rows_keep_their_bound() {
    for (classes, dim, degree) in [(44, 23, 1), (484, 22, 2), (2000, 27, 3)] {
        let (least, bound) = exact::least_degree(classes, dim).unwrap();
        assert_eq!(least, degree);
        let rows = near_orthogonal(classes, dim, degree);
        assert_unit(&rows, dim);
        let found = largest(&rows, dim);
        assert!(found < bound + 1e-12, "{classes} classes in {dim} dimensions: {found} over {bound}");
        assert!(found > 0.5 * bound, "the bound is far from what is reached: {found} of {bound}");
    }
}

#[test]
fn the_construction_is_chosen_by_the_sizes() {
    assert_eq!(Construction::choose(256, 255), Construction::Simplex);
    assert_eq!(Construction::choose(100, 50), Construction::Blocks);
    assert_eq!(Construction::choose(100, 49), Construction::Separated);
    assert_eq!(Construction::choose(1000, 100), Construction::Separated);
    assert_eq!(Construction::choose(50_000, 256), Construction::NearOrthogonal { degree: 2 });
    assert_eq!(Construction::choose(50_000, 10), Construction::Random);
}

#[test]
fn fifty_thousand_classes_are_nearly_orthogonal() {
    let (classes, dim) = (50_000, 256);
    let kind = Construction::choose(classes, dim);
    let rows: Vec<f32> = kind.build(classes, dim, 0, None).into_iter().map(|x| x as f32).collect();
    // p = 127: at most 1/√127 = 0.0887; independent random rows reach 0.4.
    let found = largest_cosine(&rows[..4096 * dim], dim);
    assert!(found < 0.0888, "{found}");
}

#[test]
fn the_largest_cosine_is_that_of_all_pairs_across_tiles() {
    let dim = 5;
    let mut rows = random(300, dim, 1);
    let found = largest_cosine(&rows, dim);
    assert!((found - largest(&rows, dim)).abs() < 1e-15);
    // Two equal rows in different tiles.
    rows.copy_within(3 * dim..4 * dim, 290 * dim);
    assert!((largest_cosine(&rows, dim) - 1.0).abs() < 1e-15);
    assert_eq!(largest_cosine(&rows[..dim], dim), -1.0);
}

/// Spread of the largest cosine between starts.
const SLACK: f64 = 0.002;

fn assert_reaches(classes: usize, dim: usize, seed: u64, reached: f64) {
    let rows = separate(classes, dim, seed);
    assert_unit(&rows, dim);
    let found = largest_cosine(&rows, dim);
    assert!(
        found <= reached + SLACK,
        "{classes} classes, {dim} dimensions, seed {seed}: {found} of {reached}"
    );
}

#[test]
fn optimised_prototypes_reach_the_known_cosines_for_any_seed() {
    for (classes, dim, reached) in [(100, 3, 0.9335), (100, 10, 0.3367), (100, 25, 0.1112), (10, 3, 0.4045)] {
        for seed in 0..2 {
            assert_reaches(classes, dim, seed, reached);
        }
    }
}

#[test]
fn optimisation_chosen_by_default_has_a_bounded_number_of_multiplications() {
    // A hundred classes: at 10^10 multiplications per second, half a second.
    for dim in 2..50 {
        let cost = separation::multiplications(100, dim);
        assert!(cost <= 5_200_000_000, "100 classes, {dim} dimensions: {cost}");
    }
    // More of them: what Construction::choose allows, a second start at most where it doubles little.
    for classes in (10..2 * SEPARATION_LIMIT).step_by(7) {
        for dim in (2..classes.div_ceil(2)).step_by(5) {
            if Construction::choose(classes, dim) == Construction::Separated {
                let cost = separation::multiplications(classes, dim);
                assert!(cost <= 600_000_000_000, "{classes} classes, {dim} dimensions: {cost}");
            }
        }
    }
}

#[test]
#[ignore = "takes half a minute"]
fn optimised_prototypes_reach_the_known_cosines_for_many_classes() {
    let table = [
        (200, 3, 0.9667),
        (200, 10, 0.4547),
        (200, 25, 0.1835),
        (200, 50, 0.0771),
        (1000, 3, 0.9936),
        (1000, 10, 0.6309),
        (1000, 25, 0.3321),
        (1000, 50, 0.1891),
        (1000, 100, 0.0981),
    ];
    for (classes, dim, reached) in table {
        let start = std::time::Instant::now();
        assert_reaches(classes, dim, 0, reached);
        // The largest takes five to ten seconds on two cores: this leaves room for a machine that does other things too.
        let seconds = start.elapsed().as_secs_f64();
        assert!(seconds < 120.0, "{classes} classes, {dim} dimensions: {seconds} s");
    }
}

#[test]
fn the_same_seed_gives_the_same_bits_for_any_number_of_threads() {
    let one = Threads::new(Some(1)).unwrap().install(|| separate(40, 6, 7)).unwrap();
    for threads in [2, 3, 8] {
        let many = Threads::new(Some(threads)).unwrap().install(|| separate(40, 6, 7)).unwrap();
        assert!(one == many, "{threads} threads");
    }
    assert_ne!(one, separate(40, 6, 8));
    assert_eq!(random(5, 4, 1), random(5, 4, 1));
    assert_ne!(random(5, 4, 1), random(5, 4, 2));
}

/// Largest cosine of the last of these rows to the others.
fn last_to_others(rows: &[f64], dim: usize) -> f64 {
    let last = rows.len() / dim - 1;
    (0..last).map(|j| cosine(rows, dim, last, j)).fold(-1.0, f64::max)
}

#[test]
fn a_prototype_is_placed_where_its_nearest_one_is_farthest() {
    // Rows, dimension, and the cosines of those that are placed one after the other: of the circle the middle of the widest
    // gap; of a simplex with a free coordinate its two ends, and then near the antipodes: with the coordinate t of
    // t = √(1-t²)/4, which is as far from an end as from the simplex.
    let (half, aside) = (0.5_f64.sqrt(), 1.0 / 17.0_f64.sqrt());
    for (start, dim, expected) in [
        (simplex(2, 2), 2, vec![0.0, 0.0, half, half]),
        (simplex(3, 2), 2, vec![0.5, 0.5, 0.5, 0.75_f64.sqrt()]),
        (simplex(5, 5), 5, vec![0.0, 0.0, aside, aside, aside, aside, aside]),
        (exact::blocks(8, 4), 4, vec![0.5]),
    ] {
        let (mut rows, more) = (start.clone(), placed(&start, dim, expected.len()));
        assert_unit(&more, dim);
        for (k, (row, expected)) in more.chunks_exact(dim).zip(expected).enumerate() {
            rows.extend_from_slice(row);
            let found = last_to_others(&rows, dim);
            // τ = 4000 and η = 3e-4 at the end.
            assert!((found - expected).abs() < 1e-3, "{dim} dimensions, {k}: {found} for {expected}");
        }
    }
}

#[test]
fn a_placed_prototype_is_no_nearer_than_the_best_of_many_directions() {
    for (classes, dim) in [(4, 3), (12, 3), (40, 3), (30, 4)] {
        let mut rows = random(classes, dim, 5);
        let tried = random(30_000, dim, 6);
        let best = tried.chunks_exact(dim).map(|x| nearest_cosine(&rows, x)).fold(1.0, f64::min);
        let more = placed(&rows, dim, 1);
        rows.extend(more);
        let found = last_to_others(&rows, dim);
        assert!(found < best + 1e-3, "{classes} in {dim} dimensions: {found}, of many directions {best}");
    }
}

#[test]
fn placing_in_parts_and_on_any_threads_gives_the_same_bits() {
    let rows = simplex(6, 6);
    let all = placed(&rows, 6, 4);
    let first = placed(&rows, 6, 1);
    let rest = placed(&[&rows[..], &first].concat(), 6, 3);
    assert_eq!([first, rest].concat(), all);
    for threads in [1, 3] {
        let found = Threads::new(Some(threads)).unwrap().install(|| placed(&rows, 6, 4)).unwrap();
        assert_eq!(found, all, "{threads} threads");
    }
}
