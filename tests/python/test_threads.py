"""A trained model used by several threads at once gives each of them the results of a single thread."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn._core import ContentDigests, Loader, RunLock, ShardReader, ShardWriter
from ssm_hpn.errors import LockedError
from ssm_hpn.estimators import SSMClassifier, SSMRegressor
from support import settings, text_data

SMALL = {"kind": "backbone", "d_model": 8, "n_layers": 1, "d_state": 2, "random_state": 0, "steps": 2}
X = np.random.default_rng(0).normal(size=(12, 60, 2)).astype(np.float32)
Y = np.arange(12) % 2
THREADS, CALLS = 4, 24


def from_threads(call):
    """The results of many calls, each with its number, from several threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, range(CALLS)))


@pytest.mark.parametrize("kind", [SSMClassifier, SSMRegressor])
def test_estimators(kind):
    model = kind(**SMALL).fit(X, Y)
    inputs = [X, [one[: 20 + 3 * index] for index, one in enumerate(X)], X[:3]]
    expected = [model.predict(x) for x in inputs]
    for number, found in enumerate(from_threads(lambda number: model.predict(inputs[number % 3]))):
        np.testing.assert_array_equal(found, expected[number % 3])


def test_scores_probabilities_and_rejection():
    model = SSMClassifier(**SMALL, reject_below=0.5).fit(X, Y)
    calls = [model.predict, model.predict_proba, model.class_scores, lambda x: model.score(x, Y)]
    expected = [call(X) for call in calls]
    for number, found in enumerate(from_threads(lambda number: calls[number % 4](X))):
        np.testing.assert_array_equal(found, expected[number % 4])


def test_a_trainer(tmp_path):
    trainer = Trainer(settings(text_data(tmp_path, documents=12), tmp_path / "run"))
    trainer.step()
    batches = [{"tokens": np.full((2, length), 97)} for length in (20, 3)]
    calls = [
        lambda: trainer.evaluate(trainer.held_out(3)).values["loss"],
        lambda: trainer.predict(batches[0]),
        lambda: trainer.hidden(batches[1]),
        lambda: trainer.evaluate(batches[1]).values["loss"],
        lambda: trainer.generate([97, 98], 5, seed=3),
        lambda: trainer.parameter("backbone.norm_f.weight"),
    ]
    expected = [call() for call in calls]
    for number, found in enumerate(from_threads(lambda number: calls[number % len(calls)]())):
        np.testing.assert_array_equal(found, expected[number % len(calls)])


def test_the_first_use_of_a_trainer_may_come_from_several_threads():
    model = {"input": {"kind": "tokens", "vocab_size": 11}, "d_model": 16, "n_layers": 2}
    trainer = Trainer(settings(model=model))
    batch = {"tokens": np.full((2, 20), 3)}
    first, *others = from_threads(lambda _: trainer.predict(batch))
    for found in others:
        np.testing.assert_array_equal(found, first)
    assert len({id(session) for session in from_threads(lambda _: trainer.session)}) == 1


def test_a_loader_gives_each_batch_to_one_of_several_threads(tmp_path):
    data = text_data(tmp_path, documents=20)
    config = {"path": str(data.train), "batch_size": 2, "length": 16, "packing": "pad", "target": "next_token"}
    text = json.dumps(config | {"shuffle": True, "seed": 3, "workers": 2, "epochs": 1})

    def all_of(loader):
        cursors = []
        while (found := loader.next()) is not None:
            cursors.append(found[1])
            assert loader.epoch >= 0
        return cursors

    expected, loader = all_of(Loader(text)), Loader(text)
    assert len(expected) > 50
    with ThreadPoolExecutor(4) as pool:
        found = [cursor for cursors in pool.map(lambda _: all_of(loader), range(4)) for cursor in cursors]
    assert sorted(found) == sorted(expected)


ROWS = {"kind": "features", "n_features": 2, "columns": ["features"], "batch_tokens": 20_000}


def append(writer, number):
    """One document whose elements are its number."""
    document = np.full((20_000, 2), number, np.float32)
    writer.append_many(offsets=np.array([0, len(document)], np.uint64), features=document)


def drained(reader):
    """The documents that one thread gets, by their number."""
    numbers = []
    while (found := reader.next()) is not None:
        for start, end in zip(found["boundaries"], found["boundaries"][1:], strict=False):
            numbers += set(found["features"][start:end].ravel().tolist())
    return numbers


def test_shards_are_written_and_read_by_several_threads(tmp_path):
    writer = ShardWriter(str(tmp_path / "part"), json.dumps(ROWS))
    from_threads(lambda number: append(writer, number))
    assert writer.close("{}")["rows"] == CALLS
    reader = ShardReader(str(tmp_path / "part"))
    with ThreadPoolExecutor(THREADS) as pool:
        found = [number for numbers in pool.map(lambda _: drained(reader), range(THREADS)) for number in numbers]
    assert sorted(found) == list(range(CALLS))


def test_a_writer_is_closed_by_one_of_several_threads(tmp_path):
    writer = ShardWriter(str(tmp_path / "part"), json.dumps(ROWS))
    append(writer, 0)

    def close(_):
        try:
            return writer.close("{}")["rows"]
        except ValueError as error:
            return str(error)

    closed = "shard writer: expected one that is open, found one that was closed"
    assert sorted(from_threads(close), key=str) == [1, *[closed] * (CALLS - 1)]


def test_digests_are_added_by_several_threads():
    digests, bytes_of = ContentDigests(), [np.full(2_000_000, number, np.uint8) for number in range(CALLS)]
    offsets, begins = np.array([0, 2_000_000], np.uint64), np.array([True])
    added = from_threads(lambda number: digests.add(bytes_of[number], offsets, begins))
    expected = [int(ContentDigests.of(data, offsets)[0]) for data in bytes_of]
    assert sorted([*map(int, np.concatenate(added)), digests.finish()]) == sorted(expected)


def test_a_run_is_let_go_of_by_several_threads(tmp_path):
    lock = RunLock(str(tmp_path))
    from_threads(lambda _: lock.release())
    RunLock(str(tmp_path)).release()


def test_flat_buffers_are_with_one_of_several_threads():
    session = Trainer(settings(model={"input": {"kind": "tokens", "vocab_size": 11}})).session
    with session.borrow_flat() as flat:
        expected = flat.parameters.copy()

    def read(_):
        try:
            with flat:
                np.testing.assert_array_equal(flat.parameters, expected)
                return flat.count
        except LockedError as error:
            return str(error)

    found = from_threads(read)
    assert 0 in found
    lent = (
        "cannot borrow the flat buffers again while the flat buffers are borrowed; leave the borrow_flat() block first"
    )
    assert set(found) <= {0, lent}
