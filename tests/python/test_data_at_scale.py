"""Data larger than memory, documents longer than a row, and runs whose length is a number of epochs or of tokens."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn._core import Loader, ShardWriter
from ssm_hpn.errors import ConfigError
from ssm_hpn.feed import Feed
from support import train

READ = """
import json, sys, time
from ssm_hpn._core import Loader

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096 / 1e6

loader = Loader(sys.argv[1])
before, seen, places = resident(), [], 10
while loader.epoch < 3:
    loader.next()
    if loader.epoch * places > len(seen):
        seen.append(resident() - before)
print(json.dumps(seen))
"""


def write_features(folder, megabytes, *, n_features=6, seed=0):
    """Series of random numbers in record batches of different sizes; returns the number of time steps."""
    rng = np.random.default_rng(seed)
    columns = {"kind": "features", "n_features": n_features, "columns": ["features", "label"]}
    writer = ShardWriter(str(folder), json.dumps(columns))
    steps = 0
    while steps * 4 * n_features < megabytes * 1e6:
        lengths = rng.integers(20, 400, 200)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
        x = rng.normal(size=(int(offsets[-1]), n_features)).astype(np.float32)
        writer.append_many(offsets=offsets, features=x, label=rng.integers(0, 3, 200).astype(np.int32))
        steps += len(x)
    writer.close(json.dumps({"n_classes": 3}))
    return steps


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read as Linux tells it")
@pytest.mark.parametrize("packing", ["best_fit", "pad"])
def test_memory_is_flat_over_data_that_is_larger_than_it(tmp_path, packing):
    write_features(tmp_path / "data", 64)
    loader = {"path": str(tmp_path / "data"), "batch_size": 16, "length": 400, "packing": packing, "window": 1 << 16}
    command = [sys.executable, "-c", READ, json.dumps(loader | {"target": "sequence_class"})]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    # Two windows of 1.6 MB, those of batches under way, and no more after two further passes.
    assert max(seen) < 64 / 8, seen
    assert max(seen) - max(seen[: len(seen) // 3]) < 2.5, seen


def text_lines(folder, lengths, **settings):
    """A prepared folder of tokens that count on from document to document, and the tokens of each document."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.uint64)
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 20, int(offsets[-1]), dtype=np.uint32)
    settings = {"kind": "tokens", "vocab_size": 20, "columns": ["tokens"], **settings}
    writer = ShardWriter(str(folder), json.dumps(settings))
    writer.append_many(offsets=offsets, tokens=tokens)
    writer.close("{}")
    return np.split(tokens, offsets[1:-1].astype(int))


LONG = [100, 7, 33, 64, 5, 81, 16, 40, 12, 90, 3, 55]


def carrying(folder, **changes):
    """A trainer whose documents go on with their states; small, in double precision, without dropout."""
    model = {"d_model": 8, "n_layers": 2, "head": {"kind": "linear"}}
    settings = {"train": {"threads": 1, "batch_size": 3, "steps": 40}, "optim": {"lr": 0.01}}
    settings["data"] = {"train": str(folder), "length": 16, "packing": "carried"}
    for name, value in changes.items():
        section, _, key = name.partition("__")
        settings[section] = settings.get(section, {}) | {key: value}
    return Trainer({"model": model, **settings}, dtype="float64")


def test_documents_that_go_on_with_their_states_have_the_loss_of_the_whole(tmp_path):
    documents = text_lines(tmp_path / "data", LONG)
    trainer = carrying(tmp_path / "data")
    total = 0.0
    while trainer.feed.epoch < 1:
        batch = trainer.feed.next()
        assert batch.rows == 3
        total += trainer.session.forward_backward_carried(batch)["loss_sum"]
        trainer.zero_grad()
    whole = [{"tokens": one[None], "token_class": np.append(one[1:], -1)[None].astype(np.int32)} for one in documents]
    sums = [trainer.evaluate(one).totals for one in whole]
    expected = sum(one.loss for one in sums)
    assert total == pytest.approx(expected, rel=1e-12)


def test_a_run_with_carried_states_goes_on_to_the_same_bits_and_with_its_batch_size_alone(tmp_path):
    text_lines(tmp_path / "data", LONG)
    one = carrying(tmp_path / "data")
    for _ in range(5):
        one.step()
    saved = one.save(tmp_path / "step-00000005")
    for _ in range(4):
        one.step()
    again = Trainer.load(saved, dtype="float64")
    assert again.session.carried_rows == 3
    for _ in range(4):
        again.step()
    assert again.session.digest() == one.session.digest()
    with pytest.raises(ConfigError, match=r"train.batch_size: expected 3, as of the states that the checkpoint"):
        carrying(tmp_path / "data", train__batch_size=4).restore(saved)
    # Without their states, the same batches lead elsewhere.
    bare = Trainer.load(saved, dtype="float64")
    for _ in range(4):
        bare.forward_backward(bare.feed.next())
        bare.apply()
    assert bare.session.digest() != one.session.digest()


def rows_of(trainer, count):
    """The next rows of the training data, as the tokens of their documents."""
    found = []
    while len(found) < count:
        batch = trainer.feed.next()
        tokens = batch.tokens
        for row in range(batch.rows):
            own = [tokens[row, start:end] for r, start, end in batch.segments if r == row]
            found.append(tuple(np.concatenate(own).tolist()))
    return found[:count]


def test_a_run_goes_on_with_another_batch_size_at_the_next_row(tmp_path):
    text_lines(tmp_path / "data", LONG)
    settings = {"data__packing": "contiguous"}
    expected = rows_of(carrying(tmp_path / "data", **settings), 60)
    first = carrying(tmp_path / "data", **settings)
    for _ in range(4):
        first.step()
    saved = first.save(tmp_path / "step-00000004")
    for rows, workers in ((3, 2), (1, 0), (7, 1)):
        other = carrying(tmp_path / "data", **settings, train__batch_size=rows, data__workers=workers)
        other.restore(saved)
        assert rows_of(other, 40) == expected[12:52]


@pytest.mark.parametrize("packing", ["contiguous", "best_fit", "pad", "carried"])
def test_a_length_in_epochs_is_every_row_that_often(tmp_path, packing):
    text_lines(tmp_path / "data", LONG)
    trainer = carrying(tmp_path / "data", data__packing=packing, train__steps=3000, train__epochs=3)
    config = trainer.config.train
    assert (config.epochs, config.tokens) == (None, None)
    for _ in range(config.steps - 1):
        trainer.feed.next()
    assert trainer.feed.epoch < 3
    trainer.feed.next()
    assert 3 <= trainer.feed.epoch < 3.3
    assert trainer.config.optim.schedule.total == config.steps


def test_a_length_in_tokens_sees_as_many(tmp_path):
    documents = text_lines(tmp_path / "data", LONG)
    total = sum(map(len, documents))
    trainer = carrying(tmp_path / "data", data__packing="contiguous", train__steps=3000, train__tokens=2 * total)
    for _ in range(trainer.config.train.steps):
        trainer.step()
    assert 2 * total <= trainer.tokens_seen < 2 * total + 3 * 16


def test_lengths_that_contradict_each_other_and_lengths_without_data_are_refused(tmp_path, capsys):
    text_lines(tmp_path / "data", LONG)
    words = ["--data", str(tmp_path / "data"), "--run.folder", str(tmp_path / "run"), "--train.epochs", "2"]
    assert train(*words, "--train.steps", "5") == 2
    assert "train.epochs: expected neither train.steps nor train.tokens beside it" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"train.epochs: expected prepared data in data.train"):
        Trainer({"model": {"input": {"kind": "tokens", "vocab_size": 8}}, "train": {"epochs": 2}})


def test_the_order_is_told_with_how_full_rows_are(tmp_path, capsys):
    text_lines(tmp_path / "data", LONG)
    small = ["--model.d_model", "8", "--model.n_layers", "1", "--train.steps", "1", "--data.length", "16"]
    assert train("--data", str(tmp_path / "data"), "--run.folder", str(tmp_path / "run"), *small) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("order"))
    full = sum(LONG) / (-(-sum(LONG) // 16) * 16)
    assert line == (
        f"order      contiguous, {full:.1%} of the positions hold tokens; documents are mixed over the whole set"
    )
    loader = {"path": str(tmp_path / "data"), "batch_size": 2, "length": 16, "window": 100}
    assert Loader(json.dumps(loader)).n_windows == 1  # one record batch cannot be in two windows


def test_the_time_that_training_waits_for_data_is_in_its_rows(tmp_path, monkeypatch):
    text_lines(tmp_path / "data", LONG)
    read = Feed.next

    def slow(feed):
        time.sleep(0.05)
        return read(feed)

    monkeypatch.setattr(Feed, "next", slow)
    settings = {"data__packing": "contiguous", "train__steps": 4, "train__accumulate": 2, "train__log_every": 2}
    carrying(tmp_path / "data", **settings, run__folder=str(tmp_path / "run")).fit()
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    timed = [row for row in rows if row.get("perf/data_ms") is not None and row["step"] > 0]
    assert [row["step"] for row in timed] == [2, 4]
    for row in timed:  # of each update: two batches of 3 rows of 16 tokens
        assert row["perf/data_ms"] >= 100
        assert row["perf/tokens_per_second"] <= 2 * 3 * 16 / 0.1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data__packing": "best_fit"}, "data.packing: expected contiguous, as in .*, found best_fit; set it as there"),
        (
            {"data__window": 40},
            "data.window: expected null, as in .*, found 40; set it as there, or train from the start",
        ),
        ({"data__shuffle": False, "train__seed": 5}, "data.shuffle: .* found false; set it and train.seed as there"),
        ({"data__length": 7}, "data.length: expected 12, as in .*, found 7"),
    ],
)
def test_a_setting_that_changes_the_order_is_named_where_a_run_goes_on(tmp_path, changed, message):
    text_lines(tmp_path / "data", LONG, batch_tokens=40)
    given = {"data__packing": "contiguous", "data__window": None, "data__length": 12}
    first = carrying(tmp_path / "data", **given)
    first.step()
    saved = first.save(tmp_path / "step-00000001")
    other = carrying(tmp_path / "data", **given | changed)
    other.restore(saved)
    with pytest.raises(ConfigError, match=f"^{message}"):
        other.step()
