"""Small models, small data and short runs that the tests share."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.cli.main import main
from ssm_hpn.config import PrepareOptions
from ssm_hpn.prepare import Prepared, prepare

WORDS = ["def ", "return ", "self", "(", ")", ":\n", "    ", "x", " = ", "1", "for ", "in ", "if ", "\n"]

SMALL = [
    *("--model.d_model", "16", "--model.n_layers", "1", "--model.block.d_state", "4"),
    *("--train.batch_size", "4", "--train.threads", "1", "--data.length", "32"),
    *("--evaluation.batches", "2"),
]
"""Options of a model that trains in a moment."""


def train(*words: str) -> int:
    """The exit code of `train` with these options."""
    return main([*words], command="train", prog="train")


def text_data(folder: Path, *, documents: int = 40, seed: int = 0) -> Prepared:
    """Documents of pseudo code with a structure that a small model learns quickly, prepared as bytes."""
    source = folder / "text"
    source.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(documents):
        words = [WORDS[0]]
        while sum(map(len, words)) < 400:
            words.append(WORDS[(WORDS.index(words[-1]) * 3 + int(rng.integers(0, 3))) % len(WORDS)])
        (source / f"{number:03d}.txt").write_text("".join(words))
    return prepare(PrepareOptions(train=(str(source),), validation_fraction=0.2), folder / "data")


def sensor_file(path: Path, *, documents: int = 60, seed: int = 0) -> Path:
    """Series of two sensors whose class is the frequency; a CSV with the columns id, a, b, label."""
    rng = np.random.default_rng(seed)
    lines = ["id,a,b,label"]
    for number in range(documents):
        label = number % 3
        phase = rng.uniform(0, 6)
        for t in range(int(rng.integers(20, 33))):
            a = np.sin((0.3 + 0.5 * label) * t + phase) + 0.1 * rng.normal()
            b = np.cos((0.3 + 0.5 * label) * t + phase) + 0.1 * rng.normal()
            lines.append(f"{number},{a:.5f},{b:.5f},{['slow', 'medium', 'fast'][label]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def settings(data: Prepared | None = None, folder: Path | None = None, /, **changes: Any) -> dict[str, Any]:
    """Settings of a model that trains in a moment; `changes` are sections."""
    base: dict[str, Any] = {
        "model": {"d_model": 16, "n_layers": 2, "block": {"d_state": 4}},
        "data": {"length": 32},
        "optim": {"lr": 1e-2},
        "train": {"steps": 12, "batch_size": 4, "log_every": 2, "threads": 1},
        "evaluation": {"every": 4, "batches": 3},
        "checkpoint": {"every": 5},
    }
    if data is not None:
        base["data"] |= {"train": str(data.train), "validation": str(data.validation)}
    if folder is not None:
        base["run"] = {"folder": str(folder)}
    for section, values in changes.items():
        base[section] = base.get(section, {}) | values
    return base


def token_settings(**changes: Any) -> dict[str, Any]:
    """A language model over 11 tokens, without any data."""
    return settings(model={"input": {"kind": "tokens", "vocab_size": 11}, "d_model": 16, "n_layers": 2}, **changes)


def tokens(rows: int = 3, length: int = 10, seed: int = 0) -> NDArray[np.uint32]:
    """Random tokens below 11."""
    return np.random.default_rng(seed).integers(0, 11, (rows, length)).astype(np.uint32)


def metric_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics file, without what depends on the clock and the machine."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if not _by_the_clock(key)} for row in rows]


def _by_the_clock(key: str) -> bool:
    return key.startswith(("perf/", "mem/")) or key in ("time_s", "timestamp")
