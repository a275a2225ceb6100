//! A whole training run in Rust alone: files → shards → loader → session → checkpoint → text.
//!
//! ```sh
//! cargo run --release --example train             # learns the sources of this crate, a few seconds
//! cargo run --release --example train -- FOLDER   # learns the files of a folder
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example program prints its results")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;
use ssm_hpn::checkpoint::folder_name;
use ssm_hpn::data::Kind;
use ssm_hpn::data::{
    Batch, Cursor, DocumentColumns, Elements, Extra, Loader, LoaderConfig, ShardWriter, WriterConfig,
};
use ssm_hpn::head::Accuracy;
use ssm_hpn::model::ModelConfig;
use ssm_hpn::optim::OptimConfig;
use ssm_hpn::session::{Sampling, Session};
use ssm_hpn::{Error, Result, Threads};

const STEPS: u64 = 500;
const ROWS: usize = 8;
const LENGTH: usize = 128;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code() as u8)
        }
    }
}

fn run() -> Result<()> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let source = std::env::args().nth(1).map_or(default, PathBuf::from);
    let work = std::env::temp_dir().join(format!("ssm-hpn-example-{}", std::process::id()));

    // Every tenth file is held out.
    let files = text_files(&source)?;
    let (held_out, training): (Vec<_>, Vec<_>) =
        files.into_iter().enumerate().partition(|(i, _)| i % 10 == 9);
    write_shards(&work.join("train"), training)?;
    write_shards(&work.join("held-out"), held_out)?;
    let mut loader = Loader::open(LoaderConfig::new(work.join("train"), ROWS, LENGTH))?;
    let held_out = evaluation_batches(&work.join("held-out"))?;
    println!(
        "{} documents, {} bytes of text in {}",
        loader.n_documents(),
        loader.n_tokens(),
        source.display()
    );

    let mut session = Session::<f32>::new(model()?, optim()?, 0, Threads::new(None)?)?;
    println!("{} parameters, {} threads", session.n_parameters(), session.threads().count());
    let (start, mut cursor) = (Instant::now(), Cursor::default());
    while session.step() < STEPS {
        let Some((batch, next)) = loader.next()? else { break };
        cursor = next;
        session.forward_backward(&batch, Accuracy::Skip)?;
        let update = session.apply()?;
        if update.step % 100 == 0 {
            let (bits, accuracy) = evaluate(&mut session, &held_out)?;
            let rate = (update.step as usize * ROWS * LENGTH) as f64 / start.elapsed().as_secs_f64();
            println!(
                "update {:4}  loss {:.3}  held out {bits:.3} bits per byte, accuracy {accuracy:.3}  {rate:.0} tokens/s",
                update.step, update.loss
            );
        }
    }

    // A checkpoint holds everything that training needs to continue, the loader's position included.
    let folder = session.save(&work.join(folder_name(session.step())), json!({"cursor": cursor}))?;
    let (resumed, extra) = Session::<f32>::load(&folder, session.threads().clone())?;
    loader.seek(Cursor::from_json(&extra["cursor"].to_string())?)?;
    println!(
        "saved and loaded: same parameters {}, next batch {}",
        resumed.digest()? == session.digest()?,
        cursor.batches
    );

    let prompt = "/// Returns the ";
    let ids: Vec<u32> = prompt.bytes().map(u32::from).collect();
    let sampling = Sampling { temperature: 0.5, top_k: Some(40), top_p: None, seed: 0 };
    let text: Vec<u8> = resumed.generate(&ids, 200, &sampling)?.into_iter().map(|id| id as u8).collect();
    println!("{prompt}{}", String::from_utf8_lossy(&text));
    fs::remove_dir_all(&work).map_err(|e| Error::storage(&work, "remove", e))
}

/// A small Mamba over bytes, with a prototype of every byte on the hypersphere.
fn model() -> Result<ModelConfig> {
    let config = json!({
        "input": {"kind": "tokens", "vocab_size": 256}, "d_model": 64, "n_layers": 2,
        "block": {"kind": "mamba1", "d_state": 16}, "target": {"kind": "next_token"},
        "head": {"kind": "prototype", "n_classes": 256, "loss": {"kind": "softmax", "scale": 16.0, "learn_scale": true}},
    });
    ModelConfig::from_json(&config.to_string())
}

fn optim() -> Result<OptimConfig> {
    let schedule = json!({"kind": "cosine", "warmup": 20, "total": STEPS, "min_ratio": 0.1});
    OptimConfig::from_json(&json!({"lr": 1e-2, "schedule": schedule}).to_string())
}

/// Mean loss in bits and accuracy over the held-out batches.
fn evaluate(session: &mut Session<f32>, batches: &[Batch]) -> Result<(f64, f64)> {
    let (mut loss, mut count, mut correct) = (0.0, 0, 0);
    for batch in batches {
        let sums = session.evaluate(batch)?.sums;
        loss += sums.loss_sum;
        count += sums.count;
        correct += sums.correct;
    }
    let count = count.max(1) as f64;
    Ok((loss / count / std::f64::consts::LN_2, correct as f64 / count))
}

/// A fixed set of batches, in the order of the files.
fn evaluation_batches(folder: &Path) -> Result<Vec<Batch>> {
    let config = LoaderConfig {
        shuffle: false,
        epochs: Some(1),
        max_batches: Some(8),
        ..LoaderConfig::new(folder, ROWS, LENGTH)
    };
    let mut loader = Loader::open(config)?;
    let mut batches = Vec::new();
    while let Some((batch, _)) = loader.next()? {
        batches.push(batch);
    }
    Ok(batches)
}

/// One document per file, bytes as tokens.
fn write_shards(folder: &Path, files: Vec<(usize, Vec<u8>)>) -> Result<()> {
    let config = WriterConfig { vocab_size: Some(256), ..WriterConfig::new(Kind::Tokens, &["tokens"]) };
    let mut writer = ShardWriter::create(folder, config)?;
    for (_, text) in files {
        let (elements, offsets) = (Elements::U8(&text), [0, text.len() as u64]);
        writer.append(&DocumentColumns { elements, offsets: &offsets, targets: &[], names: None })?;
    }
    writer.close(Extra::default()).map(drop)
}

/// The contents of all files under a folder that are not empty, in the order of their paths.
fn text_files(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let failed = |e| Error::storage(folder, "read", e);
    let entries =
        fs::read_dir(folder).map_err(failed)?.collect::<std::io::Result<Vec<_>>>().map_err(failed)?;
    let mut paths: Vec<_> = entries.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(text_files(&path)?);
        } else {
            files.push(fs::read(&path).map_err(|e| Error::storage(&path, "read", e))?);
        }
    }
    files.retain(|text| !text.is_empty());
    Ok(files)
}
