"""The trainer inside a program of your own, with its own arrays and loop.

    python examples/04_embedding_trainer_step.py

A noisy pendulum is watched through two sensors; the model tells at every step in which quarter of its swing it is.
"""

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssm_hpn import Trainer

SETTINGS = {
    "model": {
        "input": {"kind": "features", "n_features": 2},
        "d_model": 32,
        "n_layers": 2,
        "target": {"kind": "token_class"},
        "head": {"kind": "prototype", "n_classes": 4},
    },
    "optim": {"lr": 5e-3, "schedule": {"kind": "constant", "warmup": 20}},
    "train": {"seed": 7},
}


def swings(rows: int, length: int, random: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """features [B, T, 2] and a class per step [B, T]."""
    speed = random.uniform(0.03, 0.07, (rows, 1))
    phase = speed * np.arange(length) + random.uniform(0, 1, (rows, 1))
    seen = np.stack([np.cos(2 * np.pi * phase), np.sin(2 * np.pi * phase)], axis=2)
    noisy = seen + random.normal(0, 0.7, seen.shape)
    return {"features": noisy.astype(np.float32), "token_class": (4 * (phase % 1)).astype(np.int32)}


def main() -> None:
    """Train with single calls, read gradients, save, load, continue, and read a stream."""
    random = np.random.default_rng(0)
    trainer = Trainer(SETTINGS)

    for step in range(1, 201):  # one call, one update
        update = trainer.step(swings(8, 128, random), accuracy=step % 50 == 0)
        if step % 50 == 0:
            print(f"update {update.step}  loss {update.loss:.3f}  accuracy {update.accuracy:.2f}  rate {update.lr:.4f}")

    for _ in range(4):  # the same in two halves: gradients of four micro-batches, then one update
        trainer.forward_backward(swings(8, 128, random))
    norm = np.linalg.norm(trainer.gradient("head.projection.weight"))
    update = trainer.apply()
    print(f"{update.count} targets in one update, gradient norm {update.grad_norm:.3f}, of the head alone {norm:.3f}")

    with tempfile.TemporaryDirectory() as folder:
        again = Trainer.load(trainer.save(Path(folder) / "pendulum"))
    batch = swings(8, 128, random)
    assert trainer.step(batch).loss == again.step(batch).loss
    assert trainer.session.digest() == again.session.digest()
    print("saved, loaded, trained on: the same bits")

    test = swings(1, 64, random)
    stream = again.stream()
    live = [int(stream.step(values[None])[0].argmax()) for values in test["features"][0]]
    whole = again.predict({"features": test["features"]})[0].argmax(axis=1)
    print(f"step by step as whole: {np.mean(live == whole):.0%}, right: {np.mean(live == test['token_class'][0]):.0%}")


if __name__ == "__main__":
    main()
