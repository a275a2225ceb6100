"""Sequences of any length in one batch: padded, or packed several to a row, with the same answers.

    python examples/03_variable_length_sequences.py

The task: which of four symbols occurs most often? Training sees 5 to 60 symbols, the test 5 to 240.
"""

import numpy as np
from numpy.typing import NDArray

from ssm_hpn import Trainer

SYMBOLS = 4
SETTINGS = {
    "model": {
        "input": {"kind": "tokens", "vocab_size": SYMBOLS},
        "d_model": 32,
        "n_layers": 2,
        "target": {"kind": "sequence_class", "pooling": "mean"},
        "head": {"kind": "prototype", "n_classes": SYMBOLS},
    },
    "optim": {"lr": 5e-3},
    "train": {"steps": 400, "seed": 1},
}


def sequences(
    count: int, longest: int, random: np.random.Generator
) -> tuple[list[NDArray[np.uint32]], NDArray[np.int32]]:
    """Sequences with one clear winner each."""
    found: list[NDArray[np.uint32]] = []
    labels = random.integers(0, SYMBOLS, count)
    for label in labels:
        chances = np.full(SYMBOLS, 0.2)
        chances[label] = 0.4
        while True:
            tokens = random.choice(SYMBOLS, random.integers(5, longest + 1), p=chances).astype(np.uint32)
            counts = np.bincount(tokens, minlength=SYMBOLS)
            if counts.argmax() == label and (counts == counts.max()).sum() == 1:
                found.append(tokens)
                break
    return found, labels.astype(np.int32)


def padded(found: list[NDArray[np.uint32]]) -> dict[str, NDArray[np.uint32]]:
    """One sequence per row; `segments` says where each ends, what follows is ignored."""
    tokens = np.zeros((len(found), max(map(len, found))), np.uint32)
    for row, one in enumerate(found):
        tokens[row, : len(one)] = one
    return {"tokens": tokens, "segments": np.array([[row, 0, len(one)] for row, one in enumerate(found)], np.uint32)}


def packed(found: list[NDArray[np.uint32]], length: int) -> dict[str, NDArray[np.uint32]]:
    """Several sequences to a row, one behind the other: no state flows from one into the next."""
    rows: list[list[NDArray[np.uint32]]] = [[]]
    segments = []
    for one in found:
        if sum(map(len, rows[-1])) + len(one) > length:
            rows.append([])
        start = sum(map(len, rows[-1]))
        segments.append([len(rows) - 1, start, start + len(one)])
        rows[-1].append(one)
    tokens = np.zeros((len(rows), length), np.uint32)
    for row, parts in enumerate(rows):
        joined = np.concatenate(parts)
        tokens[row, : len(joined)] = joined
    return {"tokens": tokens, "segments": np.array(segments, np.uint32)}


def main() -> None:
    """Train on short ones, test on long ones, packed and padded."""
    random = np.random.default_rng(0)
    trainer = Trainer(SETTINGS)
    for step in range(1, 401):
        found, labels = sequences(48, 60, random)
        update = trainer.step(packed(found, 256) | {"sequence_class": labels}, accuracy=step % 100 == 0)
        if step % 100 == 0:
            print(f"update {step}  loss {update.loss:.3f}  accuracy {update.accuracy:.2f}")

    print("\nlength      accuracy")
    for low, high in ((5, 60), (61, 120), (121, 240)):
        found, labels = sequences(1500, high, random)
        chosen = [i for i, one in enumerate(found) if len(one) >= low][:300]
        guesses = trainer.predict(padded([found[i] for i in chosen])).argmax(axis=1)
        print(f"{low:>3} to {high:>3}  {(guesses == labels[chosen]).mean():8.3f}")

    found, _ = sequences(40, 60, random)
    rows, dense = padded(found), packed(found, 256)
    difference = np.abs(trainer.predict(rows) - trainer.predict(dense)).max()
    sizes = f"padded: {rows['tokens'].size} positions, packed: {dense['tokens'].size}"
    print(f"\n{sizes}; largest difference of the scores {difference:.1e}")


if __name__ == "__main__":
    main()
