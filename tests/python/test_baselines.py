"""N-gram tables against the formula written out with dictionaries."""

import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import baselines
from ssm_hpn.baselines import ORDERS, Tables, compare, shard_bytes
from ssm_hpn.config import PrepareOptions
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import prepare


class Naive:
    """P_n(w|h) = (c(hw) + N(h)·P_{n-1}(w|h')) / (c(h) + N(h)), straight from the definition."""

    def __init__(self, documents: list[bytes]) -> None:
        self.counts: dict[bytes, Counter[int]] = defaultdict(Counter)
        for document in documents:
            for t, byte in enumerate(document):
                for n in range(min(t, max(ORDERS) - 1) + 1):
                    self.counts[document[t - n : t]][byte] += 1

    def probability(self, order: int, context: bytes, byte: int) -> float:
        if order == 0:
            return 1 / 256
        lower = self.probability(order - 1, context[1:], byte)
        if context not in self.counts:
            return lower
        seen = self.counts[context]
        return (seen[byte] + len(seen) * lower) / (seen.total() + len(seen))

    def score(self, order: int, documents: list[bytes]) -> tuple[float, float]:
        hits, bits, scored = 0, 0.0, 0
        known: dict[bytes, list[float]] = {}
        for document in documents:
            for t in range(1, len(document)):
                context = document[max(0, t - order + 1) : t]
                if context not in known:
                    known[context] = [self.probability(len(context) + 1, context, byte) for byte in range(256)]
                chances = known[context]
                hits += max(range(256), key=chances.__getitem__) == document[t]
                bits -= math.log2(chances[document[t]])
                scored += 1
        return hits / scored, bits / scored


def random_documents(seed: int, count: int) -> list[bytes]:
    """Short documents over few bytes, the highest included, with some structure."""
    rng = np.random.default_rng(seed)
    alphabet = np.array([0, 1, 97, 98, 254, 255], np.uint8)
    walks = [np.cumsum(rng.integers(0, 3, rng.integers(1, 40))) % len(alphabet) for _ in range(count)]
    return [alphabet[walk].tobytes() for walk in walks]


@pytest.mark.parametrize("chunk", [1 << 22, 50])
def test_tables_follow_the_formula(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(baselines, "CHUNK_BYTES", chunk)
    monkeypatch.setattr(baselines, "CONTEXTS_AT_ONCE", 7)
    train, held_out = random_documents(0, 60), [*random_documents(1, 20), b"\xff\xfe new \x07"]
    scores, naive = Tables.fit(train).evaluate(held_out), Naive(train)
    for score in scores:
        accuracy, bits = naive.score(score.order, held_out)
        assert score.accuracy == pytest.approx(accuracy, abs=1e-12)
        assert score.bits_per_byte == pytest.approx(bits, rel=1e-12)
        assert score.scored == sum(len(document) - 1 for document in held_out)


def test_every_distribution_sums_to_one() -> None:
    tables = Tables.fit(random_documents(2, 50))
    contexts = np.array([0, 1, 97 << 8 | 98, 255 << 16 | 255 << 8 | 255, 12345], np.uint32)
    for order in ORDERS:
        p = tables.distribution(order, contexts % np.uint32(256 ** (order - 1)))
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-13)
        assert (p > 0).all()


def prepared_bytes(tmp_path: Path) -> tuple[Path, Path]:
    for index, document in enumerate(random_documents(3, 60)):
        (tmp_path / f"{index}.bin").write_bytes(document)
    prepared = prepare(PrepareOptions(train=(f"{tmp_path}/*.bin",), encoder="bytes"), tmp_path / "out")
    assert prepared.validation is not None
    return prepared.train, prepared.validation


def test_scores_are_cached_beside_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, validation = prepared_bytes(tmp_path)
    scores = compare(train, validation)
    direct = Tables.fit(shard_bytes(train)).evaluate(shard_bytes(validation))
    assert scores == direct
    monkeypatch.setattr(Tables, "fit", None)
    assert compare(train, validation) == direct
    assert [score.name for score in scores] == ["unigram", "bigram", "trigram", "4-gram"]


def test_other_vocabularies_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text(" ".join(str(n % 300) for n in range(1000)))
    prepared = prepare(PrepareOptions(train=(str(tmp_path / "ids.txt"),)), tmp_path / "out")
    with pytest.raises(DataError, match=r"vocab_size: expected 256 \(bytes\), found 300"):
        next(shard_bytes(prepared.train))
