//! States that are given and returned in training: pieces of a sequence have the gradients of the whole, states have
//! gradients of their own, and refusals.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use crate::common::{batch, documents, language_model, numbers, relative, threads};
use crate::invariants::gradients;
use crate::parts::{blocks, is_recurrent, mamba, trained, with};
use serde_json::json;
use ssm_hpn::checkpoint::Scope;
use ssm_hpn::data::{Batch, Input, Segment};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ActivationMemory, Carried, ModelConfig, States};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::Target;

fn rows<V: Copy>(x: &[V], length: usize, from: usize, to: usize) -> Vec<V> {
    x.chunks(length).flat_map(|row| row[from..to].to_vec()).collect()
}

/// Tokens `from..to` of every row, with their targets.
fn piece(whole: &Batch, from: usize, to: usize) -> Batch {
    let (Input::Tokens(ids), Some((_, classes))) = (&whole.input, whole.target.classes()) else {
        panic!("tokens with classes")
    };
    let length = whole.length;
    let (input, target) = (rows(ids, length, from, to), rows(classes, length, from, to));
    Batch::whole(whole.rows, to - from, Input::Tokens(input), Target::token_class(target))
}

fn recurrent_models() -> Vec<ModelConfig> {
    let model = |block| with(&language_model(), json!({"n_layers": 2, "layers": [block, mamba()]}));
    blocks().into_iter().filter(is_recurrent).map(model).collect()
}

#[test]
fn a_sequence_in_pieces_with_states_has_the_gradients_of_the_whole() {
    for mut config in recurrent_models() {
        for way in [ActivationMemory::Keep, ActivationMemory::Recompute] {
            config.activation_memory = way;
            let (length, cuts) = (70, [0, 1, 3, 40, 70]);
            let mut session = trained::<f64>(&config);
            let whole = batch(&config, 2, length, None, 9);
            let loss = session.evaluate(&whole).unwrap().sums.loss_sum;
            let expected = gradients(&mut session, std::slice::from_ref(&whole));
            // Forward over the pieces for their first states, then backward from the last piece with the gradient of
            // its states.
            session.zero_grad().unwrap();
            let (mut states, mut befores, mut sum) = (session.states(2).unwrap(), Vec::new(), 0.0);
            for cut in cuts.windows(2) {
                befores.push(states.clone());
                let carried = Carried { states: &mut states, gradient: None };
                let part = piece(&whole, cut[0], cut[1]);
                sum += session.forward_backward_from(&part, Accuracy::Skip, carried).unwrap().loss_sum;
            }
            assert!((sum - loss).abs() <= 1e-12 * loss);
            session.zero_grad().unwrap();
            let mut gradient = session.states(2).unwrap();
            for (cut, before) in cuts.windows(2).zip(&mut befores).rev() {
                let carried = Carried { states: before, gradient: Some(&mut gradient) };
                session
                    .forward_backward_from(&piece(&whole, cut[0], cut[1]), Accuracy::Skip, carried)
                    .unwrap();
            }
            let found: Vec<f64> = session.flat_gradients().to_vec();
            let error = relative(&found, &expected);
            assert!(error <= 1e-12, "{way:?}, {:?}: {error:e}", config.layers.len());
        }
    }
}

/// Sum of the losses plus the inner product of the last states with `last`.
fn loss_with_states(
    session: &mut Session<f64>,
    batch: &Batch,
    states: &States<f64>,
    last: &States<f64>,
) -> f64 {
    session.zero_grad().unwrap();
    let mut states = states.clone();
    let carried = Carried { states: &mut states, gradient: None };
    let loss = session.forward_backward_from(batch, Accuracy::Skip, carried).unwrap().loss_sum;
    let dot = |(x, y): (&[f64], &[f64])| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    loss + states.layers().zip(last.layers()).map(dot).sum::<f64>()
}

/// States drawn from a normal distribution.
fn random_states(session: &Session<f64>, rows: usize, seed: u64) -> States<f64> {
    let mut states = session.states(rows).unwrap();
    for layer in 0..states.layers().count() {
        let numbers = numbers(states.layer_mut(layer).len(), seed + layer as u64);
        states.layer_mut(layer).copy_from_slice(&numbers);
    }
    states
}

#[test]
fn gradients_of_first_states_and_parameters_given_those_of_last_states_agree_with_differences() {
    for config in recurrent_models() {
        for (length, packed) in [(9, false), (9, true), (1, false)] {
            let mut session = trained::<f64>(&config);
            let mut data = batch(&config, 2, length, None, 9);
            if packed {
                data.segments = documents(2, length);
            }
            let (first, last) = (random_states(&session, 2, 10), random_states(&session, 2, 20));
            session.zero_grad().unwrap();
            let (mut states, mut gradient) = (first.clone(), last.clone());
            let carried = Carried { states: &mut states, gradient: Some(&mut gradient) };
            session.forward_backward_from(&data, Accuracy::Skip, carried).unwrap();
            let count = session.count() as f64;
            let parameters: Vec<_> = session
                .parameter_table()
                .into_iter()
                .map(|row| (session.gradient(&row.id).unwrap().1, row))
                .collect();
            let h = 1e-4;
            let fourth = |at: &mut dyn FnMut(f64) -> f64| {
                let near = at(h) - at(-h);
                (8.0 * near - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h)
            };
            for layer in 0..gradient.layers().count() {
                let d = gradient.layer_mut(layer).to_vec();
                let direction = numbers(d.len(), 30 + layer as u64);
                let difference = fourth(&mut |step| {
                    let mut moved = first.clone();
                    moved.layer_mut(layer).iter_mut().zip(&direction).for_each(|(x, d)| *x += step * d);
                    loss_with_states(&mut session, &data, &moved, &last)
                });
                let expected: f64 = d.iter().zip(&direction).map(|(g, d)| g * d).sum();
                let size = d.iter().map(|g| g * g).sum::<f64>().sqrt().max(1e-3);
                assert!((difference - expected).abs() <= 1e-6 * size, "{layer}: {difference} {expected}");
            }
            for (seed, (gradient, row)) in parameters.into_iter().enumerate() {
                let start = session.parameter(&row.id).unwrap().1.to_vec();
                let direction = numbers(start.len(), seed as u64);
                let difference = fourth(&mut |step| {
                    let moved: Vec<f64> = start.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
                    session.set_parameter(&row.id, &row.shape, &moved).unwrap();
                    loss_with_states(&mut session, &data, &first, &last)
                });
                session.set_parameter(&row.id, &row.shape, &start).unwrap();
                let expected =
                    count.max(1.0) * gradient.iter().zip(&direction).map(|(g, d)| g * d).sum::<f64>();
                let size = count.max(1.0) * gradient.iter().map(|g| g * g).sum::<f64>().sqrt().max(1e-3);
                assert!((difference - expected).abs() <= 1e-6 * size, "{}: {difference} {expected}", row.id);
            }
        }
    }
}

/// Parts of documents in a row (document, first token, end), and whether the row goes on from the batch before.
type Row<'a> = (&'a [(usize, usize, usize)], bool);

/// Documents in rows of successive batches.
fn lanes(whole: &[Batch], batches: &[[Row<'_>; 2]], length: usize) -> Vec<Batch> {
    let ids = |document: usize| match (&whole[document].input, whole[document].target.classes()) {
        (Input::Tokens(ids), Some((_, classes))) => (ids.clone(), classes.to_vec()),
        _ => panic!("tokens with classes"),
    };
    let of_batch = |rows: &[Row<'_>; 2]| {
        let (mut input, mut target) = (vec![0; 2 * length], vec![-1; 2 * length]);
        let mut segments = Vec::new();
        for (row, (pieces, _)) in rows.iter().enumerate() {
            let mut at = 0;
            for &(document, start, end) in *pieces {
                let (ids, classes) = ids(document);
                let place = row * length + at..row * length + at + end - start;
                input[place.clone()].copy_from_slice(&ids[start..end]);
                target[place].copy_from_slice(&classes[start..end]);
                segments.push(Segment { row: row as u32, start: at as u32, end: (at + end - start) as u32 });
                at += end - start;
            }
        }
        let continued = Some(rows.iter().map(|(_, goes_on)| *goes_on).collect());
        let batch = Batch::whole(2, length, Input::Tokens(input), Target::token_class(target));
        Batch { segments, continued, ..batch }
    };
    batches.iter().map(of_batch).collect()
}

#[test]
fn documents_longer_than_a_row_have_the_loss_of_the_whole_and_a_checkpoint_goes_on_with_them() {
    for config in recurrent_models() {
        let mut session = trained::<f64>(&config);
        let whole: Vec<Batch> = [11, 6, 3, 5].map(|length| batch(&config, 1, length, None, 9)).into();
        let expected: f64 = whole.iter().map(|one| session.evaluate(one).unwrap().sums.loss_sum).sum();
        let batches = lanes(
            &whole,
            &[
                [(&[(0, 0, 4)], false), (&[(1, 0, 4)], false)],
                [(&[(0, 4, 8)], true), (&[(1, 4, 6), (2, 0, 2)], true)],
                [(&[(0, 8, 11)], true), (&[(2, 2, 3), (3, 0, 3)], true)],
                [(&[], false), (&[(3, 3, 5)], true)],
            ],
            4,
        );
        let folder = tempfile::tempdir().unwrap();
        session.zero_grad().unwrap();
        let mut sum = 0.0;
        for (i, one) in batches.iter().enumerate() {
            sum += session.forward_backward_carried(one, Accuracy::Skip).unwrap().loss_sum;
            session.zero_grad().unwrap();
            // Through a checkpoint, bit for bit.
            let saved = session.save(&folder.path().join(format!("step-{i:08}")), json!({})).unwrap();
            let copy = session.copied(json!({})).unwrap().save(&folder.path().join("copy")).unwrap();
            let manifest = |path: &std::path::Path| std::fs::read(path.join("MANIFEST.json")).unwrap();
            assert_eq!(manifest(&copy), manifest(&saved), "with the digests of all files");
            let (again, _) = Session::<f64>::load(&saved, threads(1)).unwrap();
            assert_eq!(again.carried(), session.carried());
            session = again;
        }
        assert!((sum - expected).abs() <= 1e-12 * expected, "{sum} {expected}");
        // A second epoch begins at zero by the flags alone.
        let first = session.forward_backward_carried(&batches[0], Accuracy::Skip).unwrap().loss_sum;
        let plain = session.evaluate(&batches[0]).unwrap().sums.loss_sum;
        assert!((first - plain).abs() <= 1e-12 * plain);
        session.zero_grad().unwrap();
        let one_row = batch(&config, 1, 4, None, 9);
        let message = session.forward_backward_carried(&one_row, Accuracy::Skip).unwrap_err().to_string();
        assert!(message.starts_with("train.batch_size: expected 2"), "{message}");
        assert_eq!(session.carried().unwrap().rows(), 2);
        session.load_weights(&folder.path().join("step-00000003"), Scope::Whole).unwrap();
        assert!(session.carried().is_none());
    }
}

#[test]
fn states_of_another_model_or_batch_are_refused() {
    let mut session = trained::<f32>(&language_model());
    let data = batch(&language_model(), 2, 9, None, 1);
    let mut states = session.states(3).unwrap();
    let carried = Carried { states: &mut states, gradient: None };
    let message = session.forward_backward_from(&data, Accuracy::Skip, carried).unwrap_err().to_string();
    assert!(message.starts_with("states: expected those of 2 rows of this model"), "{message}");
}

#[test]
fn rows_and_states_that_no_memory_holds_are_refused_in_one_line() {
    // 2^20 rows of 512 channels with 4,096 states each: terabytes.
    let many = json!({"kind": "mamba1", "d_state": 4096, "expand": 8, "dt_rank": 1});
    let config = with(&language_model(), json!({"d_model": 64, "n_layers": 2, "block": many}));
    let session = Session::<f32>::new(config, OptimConfig::default(), 1, threads(1)).unwrap();
    for error in [session.states(1 << 20).unwrap_err(), session.stream(1 << 20).unwrap_err()] {
        let message = error.to_string();
        assert!(
            message.starts_with("memory: ") && message.contains(" MB that the states of a "),
            "{message}"
        );
    }
    for rows in [0, usize::MAX] {
        let message = session.states(rows).unwrap_err().to_string();
        assert!(message.starts_with("rows of states: expected 1 to 1048576"), "{message}");
    }
}
