//! Virtual ranks: their sums are joined in the order of a tree, and 1, 2, 4 and 8 ranks, here threads, give the same bits.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};

use crate::common::{CLASSES, batch, bits, config, language_model, threads};
use serde_json::json;
use ssm_hpn::checkpoint::folder_name;
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::{ExpandPlan, InputConfig, ModelConfig};
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::{Error, Exchange, Result};

/// Ranks that are threads of this process, each with a place for what it sends.
pub(crate) struct InProcess {
    rank: usize,
    places: Arc<Vec<Mutex<Vec<u8>>>>,
    barrier: Arc<Barrier>,
}

impl InProcess {
    pub(crate) fn of(ranks: usize) -> Vec<Self> {
        let places: Arc<Vec<_>> = Arc::new((0..ranks).map(|_| Mutex::default()).collect());
        let barrier = Arc::new(Barrier::new(ranks));
        (0..ranks).map(|rank| Self { rank, places: places.clone(), barrier: barrier.clone() }).collect()
    }

    /// Hands out this rank's bytes, and reads those of all ranks before any of them goes on.
    fn exchange(&self, send: &[u8], mut read: impl FnMut(usize, &[u8])) {
        *self.places[self.rank].lock().unwrap() = send.to_vec();
        self.barrier.wait();
        self.places.iter().enumerate().for_each(|(rank, bytes)| read(rank, &bytes.lock().unwrap()));
        self.barrier.wait();
    }
}

impl Exchange for InProcess {
    fn rank(&self) -> usize {
        self.rank
    }

    fn ranks(&self) -> usize {
        self.places.len()
    }

    fn all_to_all(&self, send: &[u8], cuts: &[usize], receive: &mut [u8]) -> Result<()> {
        let part = cuts[self.rank]..cuts[self.rank + 1];
        self.exchange(send, |rank, bytes| {
            receive[rank * part.len()..][..part.len()].copy_from_slice(&bytes[part.clone()]);
        });
        Ok(())
    }

    fn all_gather(&self, buffer: &mut [u8], cuts: &[usize]) -> Result<()> {
        let own = buffer[cuts[self.rank]..cuts[self.rank + 1]].to_vec();
        self.exchange(&own, |rank, bytes| buffer[cuts[rank]..cuts[rank + 1]].copy_from_slice(bytes));
        Ok(())
    }
}

const VIRTUAL_RANKS: u64 = 8;
/// Micro-batches of an update.
const MICRO_BATCHES: u64 = 16;
/// The update whose gradients are not finite.
const SPOILED: u64 = 2;
/// The update that has no target.
const IDLE: u64 = 4;

pub(crate) fn optim() -> OptimConfig {
    let schedule = json!({"kind": "cosine", "warmup": 2, "total": 8, "min_ratio": 0.1});
    OptimConfig::from_json(&json!({"lr": 5e-3, "schedule": schedule}).to_string()).unwrap()
}

/// The micro-batches of one rank for the updates `range`; returns the reports of the updates.
fn update(session: &mut Session<f32>, (rank, ranks): (u64, u64), range: std::ops::Range<u64>) -> Vec<String> {
    let config = session.model().config().clone();
    let (first, end) = (rank * MICRO_BATCHES / ranks, (rank + 1) * MICRO_BATCHES / ranks);
    let reports = range.map(|step| {
        for n in first..end {
            if n > first && n % (MICRO_BATCHES / VIRTUAL_RANKS) == 0 {
                session.next_virtual_rank().unwrap();
            }
            let mut batch = batch(&config, 2, 10, None, 100 * step + n);
            if step == IDLE {
                batch.target = ssm_hpn::target::Target::token_class(vec![-1; 20]);
            }
            session.number_next_micro_batch(n).unwrap();
            session.forward_backward(&batch, Accuracy::Count).unwrap();
        }
        if step == SPOILED && rank + 1 == ranks {
            session.join_virtual_ranks().unwrap();
            session.lend_flat().unwrap()[1][3] = f32::NAN;
            session.return_flat();
        }
        format!("{:?}", session.apply().unwrap())
    });
    reports.collect()
}

/// One rank of `ranks`: from the start, or from the checkpoints in a folder, to `end`; saves there.
fn trained(
    (config, exchange): (&ModelConfig, Option<InProcess>),
    folder: &Path,
    (count, end): (usize, u64),
) -> (Vec<String>, Vec<u64>, String) {
    let (mut session, begin) = if folder.join(folder_name(3)).exists() {
        let (session, extra) = Session::<f32>::load(folder, threads(count)).unwrap();
        (session, extra["next"].as_u64().unwrap())
    } else {
        (Session::new(config.clone(), optim(), 2, threads(count)).unwrap(), 0)
    };
    let place = exchange.as_ref().map_or((0, 1), |e| (e.rank() as u64, e.ranks() as u64));
    if let Some(exchange) = exchange {
        session.share(Box::new(exchange)).unwrap();
    }
    let reports = update(&mut session, place, begin..end);
    let path = folder.join(folder_name(session.step()));
    session.save(&path, json!({"next": end})).unwrap();
    (reports, bits(&session), session.digest().unwrap())
}

/// All ranks of a training; their results, which have to be equal.
fn together(config: &ModelConfig, ranks: usize, folder: &Path, end: u64) -> (Vec<String>, Vec<u64>, String) {
    if ranks == 1 {
        return trained((config, None), folder, (2, end));
    }
    let results: Vec<_> = std::thread::scope(|scope| {
        let started = InProcess::of(ranks).into_iter().map(|exchange| {
            let count = 1 + exchange.rank() % 2;
            scope.spawn(move || trained((config, Some(exchange)), folder, (count, end)))
        });
        let started: Vec<_> = started.collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(results.iter().all(|result| *result == results[0]), "ranks differ: {results:?}");
    results.into_iter().next().unwrap()
}

fn models() -> Vec<ModelConfig> {
    let dropping = ModelConfig { head_dropout: 0.2, ..language_model() };
    // Larger than a block of the optimiser, so that every one of two ranks owns some.
    let head = json!({"kind": "prototype", "n_classes": CLASSES, "prototypes": "learnable", "dim": 2600});
    vec![dropping, config("features", json!({"kind": "token_class"}), head)]
}

#[test]
fn the_same_virtual_ranks_give_the_same_bits_on_1_2_4_and_8_ranks() {
    for config in models() {
        let folders = tempfile::tempdir().unwrap();
        let expected = together(&config, 1, &folders.path().join("alone"), 6);
        for ranks in [2, 4, 8] {
            let folder = folders.path().join(ranks.to_string());
            let found = together(&config, ranks, &folder, 6);
            assert!(found == expected, "{ranks} ranks: {:?} for {:?}", found.0, expected.0);
            for name in ["model.safetensors", "optimizer.safetensors", "state.json"] {
                let file = |root: &Path| std::fs::read(root.join(folder_name(4)).join(name)).unwrap();
                assert!(file(&folder) == file(&folders.path().join("alone")), "{name} of {ranks} ranks");
            }
        }
    }
}

/// A model whose moments are exchanged in several rounds, and whose largest tensor is written in several parts.
fn wide() -> ModelConfig {
    let head = json!({"kind": "linear", "n_outputs": CLASSES});
    let model = config("tokens", json!({"kind": "token_class"}), head);
    ModelConfig { input: InputConfig::Tokens { vocab_size: 130_000 }, ..model }
}

#[test]
fn checkpoints_have_whole_tensors_though_no_rank_has_the_moments_of_all() {
    let config = wide();
    let folders = tempfile::tempdir().unwrap();
    let alone = folders.path().join("alone");
    together(&config, 1, &alone, 1);
    for ranks in [2, 4] {
        let folder = folders.path().join(ranks.to_string());
        together(&config, ranks, &folder, 1);
        for name in ["model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"] {
            let file = |root: &Path| std::fs::read(root.join(folder_name(1)).join(name)).unwrap();
            assert!(file(&folder) == file(&alone), "{name} of {ranks} ranks");
        }
    }
}

#[test]
fn ranks_keep_equal_parts_of_the_moments_and_a_save_that_fails_fails_on_all() {
    let config = wide();
    let new = || Session::<f32>::new(config.clone(), optim(), 2, threads(1)).unwrap();
    let whole = new().moment_bytes();
    let folders = tempfile::tempdir().unwrap();
    let in_the_way = folders.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let of_rank = |exchange: InProcess| {
        let mut session = new();
        session.share(Box::new(exchange)).unwrap();
        // Every rank makes both calls, whatever the first one gives: none waits for another for ever.
        let failed = session.save(&in_the_way.join(folder_name(0)), json!(null));
        session.save(&folders.path().join(folder_name(0)), json!(null)).unwrap();
        (failed, session.moment_bytes())
    };
    let found: Vec<(Result<PathBuf>, usize)> = std::thread::scope(|scope| {
        let started: Vec<_> =
            InProcess::of(4).into_iter().map(|exchange| scope.spawn(move || of_rank(exchange))).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (failed, _) in &found {
        assert!(matches!(failed, Err(Error::Storage { .. })), "{failed:?}");
    }
    let found: Vec<usize> = found.into_iter().map(|(_, bytes)| bytes).collect();
    assert_eq!(found.iter().sum::<usize>(), whole);
    assert!(found.iter().all(|bytes| bytes.abs_diff(whole / 4) < whole / 20), "{found:?} of {whole}");
    let (saved, _) = Session::<f32>::load(folders.path(), threads(1)).unwrap();
    assert_eq!(saved.digest().unwrap(), new().digest().unwrap());
}

#[test]
fn another_number_of_ranks_goes_on_to_the_same_bits() {
    let config = models().remove(0);
    let folders = tempfile::tempdir().unwrap();
    let mut expected = together(&config, 1, &folders.path().join("alone"), 6);
    expected.0.drain(..4);
    for (first, second) in [(2, 4), (8, 1), (1, 2)] {
        let folder = folders.path().join(format!("{first}-{second}"));
        together(&config, first, &folder, 4);
        assert_eq!(together(&config, second, &folder, 6), expected, "{first} ranks, then {second}");
    }
}

#[test]
fn what_the_head_gathers_is_joined_as_gradients_are() {
    let loss =
        json!({"kind": "joint", "weight": 0.9, "surgery": {"kind": "gradnorm", "alpha": 1.5, "rate": 0.2}});
    let head = json!({"kind": "prototype", "n_classes": CLASSES, "loss": loss});
    let config = config("features", json!({"kind": "joint", "pooling": "mean"}), head);
    let folders = tempfile::tempdir().unwrap();
    let run = |ranks: usize| together(&config, ranks, &folders.path().join(ranks.to_string()), IDLE);
    let expected = run(1);
    assert!([2, 4].iter().all(|ranks| run(*ranks) == expected));
}

#[test]
fn gradients_are_joined_in_the_order_of_a_binary_tree() {
    let config = language_model();
    let micro = |n: u64| batch(&config, 2, 10, None, n);
    let gradients = |session: &mut Session<f32>| {
        session.join_virtual_ranks().unwrap();
        session.flat_gradients().to_vec()
    };
    let mut session = Session::<f32>::new(config.clone(), optim(), 2, threads(2)).unwrap();
    let alone: Vec<Vec<f32>> = (0..5)
        .map(|n| {
            session.zero_grad().unwrap();
            session.forward_backward(&micro(n), Accuracy::Skip).unwrap();
            gradients(&mut session)
        })
        .collect();
    session.zero_grad().unwrap();
    for n in 0..5 {
        if n > 0 {
            session.next_virtual_rank().unwrap();
        }
        session.forward_backward(&micro(n), Accuracy::Skip).unwrap();
    }
    assert!(matches!(session.gradient("norm_f.weight"), Err(Error::Shape { .. })));
    assert!(matches!(session.save(Path::new("x"), json!(null)), Err(Error::Config { .. })));
    let found = gradients(&mut session);
    let sum = |i: usize| ((alone[0][i] + alone[1][i]) + (alone[2][i] + alone[3][i])) + alone[4][i];
    assert!(found.iter().enumerate().all(|(i, g)| g.to_bits() == sum(i).to_bits()));
    // Dropped and begun again: nothing is left of the update before.
    session.next_virtual_rank().unwrap();
    session.zero_grad().unwrap();
    assert_eq!(session.count(), 0);
    session.forward_backward(&micro(1), Accuracy::Skip).unwrap();
    assert_eq!(gradients(&mut session), alone[1]);
}

#[test]
fn a_number_of_ranks_that_is_no_power_of_two_is_refused_and_so_is_growing_a_shared_model() {
    let new = || Session::<f32>::new(language_model(), optim(), 2, threads(1)).unwrap();
    let of = |ranks: usize| Box::new(InProcess::of(ranks).remove(0));
    let message = new().share(of(3)).unwrap_err().to_string();
    assert!(message.contains("rank 0 of 3"), "{message}");
    // States of rows that go on are those of one process.
    let carried = |session: &mut Session<f32>| {
        session.forward_backward_carried(&batch(&language_model(), 2, 10, None, 0), Accuracy::Skip)
    };
    let mut session = new();
    carried(&mut session).unwrap();
    session.zero_grad().unwrap();
    assert!(matches!(session.share(of(2)), Err(Error::Config { key, .. }) if key == "share"));
    let mut session = new();
    session.share(of(2)).unwrap();
    assert!(matches!(carried(&mut session), Err(Error::Config { key, .. }) if key == "carried states"));
    let mut session = new();
    session.share(of(1)).unwrap();
    session.expand(&ExpandPlan::Append { count: 1, seed: 0 }).unwrap();
    session.share(of(2)).unwrap();
    assert!(matches!(
        session.expand(&ExpandPlan::Append { count: 1, seed: 0 }),
        Err(Error::Config { key, .. }) if key == "expand"
    ));
}
