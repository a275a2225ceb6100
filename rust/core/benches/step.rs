//! A whole training step (forward, backward, clip, AdamW) at the sizes S and M of the peers' benchmarks, M also with
//! recomputed activations, and one recurrent step of a small backbone.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use ssm_hpn::Threads;
use ssm_hpn::data::{Batch, Input};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::ModelConfig;
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::Session;
use ssm_hpn::target::Target;

fn session(
    input: Value,
    width: usize,
    layers: usize,
    target: &str,
    head: Value,
    memory: &str,
) -> Session<f32> {
    let config = json!({
        "input": input, "d_model": width, "n_layers": layers, "block": {"kind": "mamba1"},
        "target": {"kind": target}, "head": head, "activation_memory": memory,
    });
    let config = ModelConfig::from_json(&config.to_string()).expect("a model");
    let threads = Threads::new(None).expect("a pool");
    Session::new(config, OptimConfig::default(), 0, threads).expect("a session")
}

fn train(
    c: &mut Criterion,
    name: &str,
    (width, layers): (usize, usize),
    (rows, length): (usize, usize),
    memory: &str,
) {
    let (input, head) =
        (json!({"kind": "tokens", "vocab_size": 256}), json!({"kind": "linear", "n_outputs": 256}));
    let mut session = session(input, width, layers, "next_token", head, memory);
    let tokens: Vec<u32> = (0..rows * length).map(|i| (i as u32).wrapping_mul(2_654_435_761) >> 24).collect();
    let classes = tokens.iter().map(|id| *id as i32).collect();
    let batch = Batch::whole(rows, length, Input::Tokens(tokens), Target::token_class(classes));
    let mut group = c.benchmark_group("step");
    group.throughput(Throughput::Elements((rows * length) as u64)).sample_size(10);
    group.bench_function(name, |b| {
        b.iter(|| {
            session.forward_backward(&batch, Accuracy::Skip).expect("a batch that fits");
            session.apply().expect("finite numbers")
        });
    });
    group.finish();
}

fn training(c: &mut Criterion) {
    train(c, "S", (128, 4), (8, 256), "keep");
    train(c, "M", (256, 6), (8, 512), "keep");
    train(c, "M, recomputed", (256, 6), (8, 512), "recompute");
}

fn recurrent(c: &mut Criterion) {
    let session = session(json!({"kind": "hidden"}), 128, 3, "cotangent", json!({"kind": "none"}), "keep");
    let mut stream = session.stream(1).expect("a stream");
    let x = Input::Features(vec![0.1; 128]);
    c.bench_function("recurrent step, backbone, D 128, 3 layers", |b| {
        session
            .threads()
            .install(|| {
                b.iter(|| {
                    session.read(&mut stream, &x, 1).expect("one token");
                });
            })
            .expect("no fork");
    });
}

criterion_group!(benches, training, recurrent);
criterion_main!(benches);
