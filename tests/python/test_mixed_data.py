"""Several prepared sets mixed by weight, and damaged record batches that are left out by choice, in runs."""

import json

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn._core import ShardWriter
from ssm_hpn.config import DataConfig
from ssm_hpn.config.mixture import whole_weights
from ssm_hpn.errors import ConfigError, DataError
from support import train


def write_ids(folder, first, *, documents=30, vocab_size=40, seed=0, batch_tokens=60):
    """Documents of ids `first` to `first` + 9."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 20, documents)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    tokens = rng.integers(first, first + 10, int(offsets[-1]), dtype=np.uint32)
    declared = {"kind": "tokens", "vocab_size": vocab_size, "columns": ["tokens"], "batch_tokens": batch_tokens}
    writer = ShardWriter(str(folder), json.dumps(declared))
    writer.append_many(offsets=offsets, tokens=tokens)
    writer.close("{}")


def settings(tmp_path, **data):
    """A small language model on the set `a` and others."""
    return {
        "model": {"d_model": 8, "n_layers": 1, "head": {"kind": "linear"}},
        "data": {"train": str(tmp_path / "a"), "length": 8, "window": 100} | data,
        "train": {"batch_size": 5, "steps": 6, "threads": 1},
    }


def mixed(tmp_path, **data):
    """The settings with two further sets."""
    for place, first in (("a", 0), ("b", 10), ("c", 20)):
        if not (tmp_path / place).exists():
            write_ids(tmp_path / place, first)
    mix = [str(tmp_path / "b"), str(tmp_path / "c")]
    return settings(tmp_path, mix=mix, weights=[0.5, 0.3, 0.2], **data)


def test_rows_of_each_set_are_counted_and_a_checkpoint_goes_on_with_the_next(tmp_path):
    trainer = Trainer(mixed(tmp_path))
    order = trainer.feed.order()
    assert order.shares == (0.5, 0.3, 0.2)
    sources = [int(row[0]) // 10 for _ in range(8) for row in trainer.feed.next().tokens]
    assert [sources.count(one) for one in range(3)] == [20, 12, 8]
    again = Trainer(mixed(tmp_path) | {"train": {"batch_size": 5, "steps": 6, "threads": 1}})
    for _ in range(3):
        again.step()
    saved = again.save(tmp_path / "step-00000003")
    loaded = Trainer.load(saved)
    for _ in range(2):
        again.step()
        loaded.step()
    assert loaded.session.digest() == again.session.digest()
    assert json.loads(loaded.feed.cursor) == json.loads(again.feed.cursor)


def test_lengths_of_a_run_on_a_mixture_are_those_of_all_sets(tmp_path):
    epochs = mixed(tmp_path)
    del epochs["train"]["steps"]
    epochs["train"]["epochs"] = 2
    trainer = Trainer(epochs)
    for _ in range(trainer.config.train.steps - 1):
        trainer.feed.next()
    assert trainer.feed.epoch < 2
    trainer.feed.next()
    assert trainer.feed.epoch >= 2


def test_weights_are_whole_numbers_of_the_proportions_that_were_written():
    assert whole_weights(DataConfig(mix=("b",), weights=(0.333333, 0.666667))) == [333333, 666667]
    assert whole_weights(DataConfig(mix=("b", "c"), weights=(2, 1, 1))) == [2, 1, 1]
    for weights, found in (((1,), "found 1 weight"), ((1, 0), "expected numbers above 0"), ((), "found 0 weights")):
        with pytest.raises(ConfigError, match=rf"data.weights: .*{found}"):
            whole_weights(DataConfig(mix=("b",), weights=weights))
    with pytest.raises(ConfigError, match=r"expected none without data\.mix"):
        whole_weights(DataConfig(weights=(0.5, 0.5)))


def test_a_set_whose_ids_mean_something_else_is_refused(tmp_path):
    mixed(tmp_path)
    write_ids(tmp_path / "other", 0, vocab_size=41)
    with pytest.raises(
        DataError, match=r"other: vocab_size: expected 40, as in .*a, found 41; prepare both in the same"
    ):
        Trainer(settings(tmp_path, mix=[str(tmp_path / "other")], weights=[1, 1]))
    with pytest.raises(DataError, match="nothing there"):
        Trainer(settings(tmp_path, mix=[str(tmp_path / "absent")], weights=[1, 1]))
    with pytest.raises(ConfigError, match=r"expected contiguous, best_fit or pad beside data\.mix"):
        Trainer(settings(tmp_path, mix=[str(tmp_path / "b")], weights=[1, 1], packing="carried")).step()


def damage(folder, batch):
    """Flip a bit of a record batch; returns its offset."""
    manifest = json.loads((folder / "manifest.json").read_text())
    shard = manifest["shards"][0]
    place = shard["batches"][batch]["offset"]
    content = bytearray((folder / shard["file"]).read_bytes())
    content[place + shard["batches"][batch]["bytes"] // 2] ^= 1
    (folder / shard["file"]).write_bytes(content)
    return place


def test_a_damaged_record_batch_ends_a_run_or_is_left_out_counted_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_ids(tmp_path / "a", 0)
    write_ids(tmp_path / "held-out", 0, seed=1)
    place = damage(tmp_path / "a", 2)
    common = ["--data", "a", "--data.validation", "held-out", "--data.length", "8", "--data.window", "100"]
    common += ["--model.d_model", "8", "--model.n_layers", "1", "--train.batch_size", "5", "--train.threads", "1"]
    common += ["--train.epochs", "2", "--train.log_every", "1", "--evaluation.batches", "2"]
    assert train(*common, "--data.on_corrupt", "stop", "--run.folder", "stopped") == 3
    error = capsys.readouterr().err
    assert f"shard-00000.arrow: record batch 2 at byte {place}: expected xxh3" in error
    assert train(*common, "--data.on_corrupt", "skip", "--run.folder", "run") == 0
    out = capsys.readouterr().out.replace("\n", " ")
    assert f"left out, as data.on_corrupt is skip: a/shard-00000.arrow: record batch 2 at byte {place}" in out
    assert "damaged record batches were left out of training" in out
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    counts = [row["data/damaged"] for row in rows]
    assert counts == sorted(counts)
    assert counts[-1] in (2, 3), "one in each of two passes, and perhaps one of the next"
    assert json.loads((tmp_path / "run/summary.json").read_text())["damaged"] == counts[-1]
    # Held-out data is never read without a part of it: that would be another metric.
    damage(tmp_path / "held-out", 1)
    assert train(*common, "--data.on_corrupt", "skip", "--run.folder", "other") == 3
    assert "held-out/shard-00000.arrow: record batch 1" in capsys.readouterr().err


def test_the_window_that_describes_the_order_is_read_once(tmp_path):
    write_ids(tmp_path / "a", 0)
    trainer = Trainer(settings(tmp_path))
    expected = Trainer(settings(tmp_path)).feed.next()
    trainer.feed.order()
    damage(tmp_path / "a", 0)
    found = trainer.feed.next()
    assert np.array_equal(found.tokens, expected.tokens)
