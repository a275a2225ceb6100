"""The bounded memory of series: a uniform sample of each class, what is drawn from it, and damaged ones."""

import numpy as np
import pytest

from ssm_hpn.errors import CheckpointError
from ssm_hpn.replay import CLASS, Replay


def numbered(codes):
    return [np.full((2, 1), float(n)) for n in range(len(codes))], {CLASS: np.asarray(codes, np.int32)}


def test_a_memory_is_a_uniform_sample_of_each_class():
    codes = np.where(np.arange(400) % 4 == 0, 1, 0)
    counts = np.zeros(400)
    for seed in range(60):
        memory = Replay(20, seed)
        for part in np.split(np.arange(400), 8):  # in parts as in one
            memory.add([np.full((1, 1), float(n)) for n in part], {CLASS: codes[part]})
        assert {code: len(kept) for code, kept in memory.kept.items()} == {0: 20, 1: 20}
        assert memory.seen == {0: 300, 1: 100}
        for kept in memory.kept.values():
            counts[[int(one.series[0, 0]) for one in kept]] += 1
    for code, expected in ((0, 60 * 20 / 5), (1, 60 * 20 / 5)):
        found = np.array([part.sum() for part in np.array_split(counts[codes == code], 5)])
        # Five fifths of a class, each with 240 ± 14 by chance.
        assert (np.abs(found - expected) < 4 * np.sqrt(expected)).all(), found


def test_what_is_drawn_makes_each_class_as_frequent_as_an_average_one():
    memory = Replay(5, 0)
    memory.add(*numbered([0] * 30 + [1] * 3 + [-1] * 4))
    drawn, targets = memory.draw(np.array([2] * 12 + [0] * 4), seed=3)
    # Twelve and four: eight on average, of which class 0 has four and class 1 none.
    assert np.bincount(targets[CLASS]).tolist() == [4, 8]
    assert {float(one[0, 0]) for one, code in zip(drawn, targets[CLASS], strict=True) if code == 1} == {
        30.0,
        31.0,
        32.0,
    }
    assert memory.draw(np.array([0, 1, 2] * 5), seed=3) == ([], {})
    assert memory.draw(np.array([-1, -1]), seed=3) == ([], {})
    nothing = Replay(0, 0)
    nothing.add(*numbered([0, 1, 1]))
    assert nothing.draw(np.array([2, 2]), seed=0) == ([], {})
    many = Replay(5, 0)
    many.add(*numbered(np.arange(40)))
    drawn, _ = many.draw(np.full(10, 40), seed=0)
    assert 35 <= len(drawn) <= 45  # at most four for each of the part


def test_a_damaged_memory_is_refused():
    memory = Replay(2, 0)
    memory.add(*numbered([0, 1, 1, 1]))
    text = memory.to_json()
    assert Replay.from_json(text).seen == {0: 1, 1: 3}
    assert Replay.from_json(Replay(2, 0).to_json()).kept == {}
    for damaged in (text | {"series": text["series"][:-40]}, text | {"seen": None}, {"series": ""}):
        with pytest.raises(CheckpointError, match="replay: expected the series of a memory, found"):
            Replay.from_json(damaged)
