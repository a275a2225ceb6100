"""Grow a trained model without changing its outputs, and train only the new layers.

    python examples/05_growing_and_freezing.py

Task: repeat what came before. The alphabet's second half appears only after the model has grown.
"""

import numpy as np
from numpy.typing import NDArray

from ssm_hpn import Trainer

LETTERS, PERIOD = 16, 8
SETTINGS = {
    "model": {
        "input": {"kind": "tokens", "vocab_size": LETTERS},
        "d_model": 48,
        "n_layers": 2,
        "target": {"kind": "next_token"},
        "head": {"kind": "prototype", "n_classes": LETTERS},
    },
    "optim": {"lr": 5e-3, "schedule": {"kind": "constant", "warmup": 20}},
}


def repeats(letters: int, random: np.random.Generator) -> dict[str, NDArray[np.uint32]]:
    """Rows that repeat a random word of eight letters."""
    words = random.integers(0, letters, (16, PERIOD))
    return {"tokens": np.tile(words, (1, 8)).astype(np.uint32)}


def train(trainer: Trainer, updates: int, letters: int, random: np.random.Generator) -> None:
    """Run updates and print the last one."""
    for step in range(updates):
        update = trainer.step(repeats(letters, random), accuracy=step == updates - 1)
    print(f"  {letters} letters: loss {update.loss:.3f}, accuracy {update.accuracy:.2f} after {update.step} updates")


def main() -> None:
    """Train, grow, freeze, train on."""
    random = np.random.default_rng(0)
    trainer = Trainer(SETTINGS)
    print("two layers")
    train(trainer, 250, LETTERS // 2, random)

    batch = repeats(LETTERS // 2, random)
    before = trainer.predict(batch)
    positions = trainer.expand("append", count=2)
    same = np.array_equal(before, trainer.predict(batch))
    print(f"grown by layers {positions}: outputs {'identical to the bit' if same else 'CHANGED'}")

    frozen = trainer.freeze(first=2)
    kept = {name: trainer.parameter(name) for name in frozen}
    print(f"frozen: {len(frozen)} tensors; trained: {sum(row['trainable'] for row in trainer.parameter_table())}")
    train(trainer, 150, LETTERS, random)
    unchanged = all(np.array_equal(value, trainer.parameter(name)) for name, value in kept.items())
    print(f"frozen tensors: {'not one bit changed' if unchanged else 'CHANGED'}")

    trainer.freeze()
    print("everything trained again")
    train(trainer, 150, LETTERS, random)


if __name__ == "__main__":
    main()
