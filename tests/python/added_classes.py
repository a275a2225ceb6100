"""What tests of classes that are added to a model share: a small model, and series of a class that it has not."""

from pathlib import Path

import numpy as np

MODEL = {
    "input": {"kind": "features", "n_features": 2},
    "target": {"kind": "sequence_class", "pooling": "mean"},
    "head": {"kind": "prototype", "n_classes": 3},
}
"""A model of three classes without names."""
COLUMNS = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label"]
"""Options by which commands read the files of `sensor_file` and of this module."""


def stuck_sensors(path: Path, count: int = 12) -> Path:
    """Sensors of a class, `stuck`, that `sensor_file` has not: they stay where they are."""
    rng = np.random.default_rng(5)
    lines = ["id,a,b,label"]
    for number in range(count):
        level = rng.normal(0, 0.05, 2) + 1
        lines += [f"s{number},{level[0]:.4f},{level[1]:.4f},stuck" for _ in range(int(rng.integers(20, 33)))]
    path.write_text("\n".join(lines) + "\n")
    return path
