"""Classes that come later: scikit-learn's digits as series of 64 steps, five classes and then five more, one pass each.

    python benchmarks/incremental.py               # writes benchmarks/records/incremental.md and .json
    python benchmarks/incremental.py --choose      # settings on an inner split of the training series; prints only

A digit is its 8 x 8 pixels, row by row. Three quarters of the digits are trained on, by seed and of each class alike. A
system first sees the digits 0 to 4 of these once, and then 5 to 9 once; `at once` it sees all of them once. Of the
other quarter: accuracy on the old classes, on the new ones and on all, where any of the ten may be answered.

The backbones are one model with two heads, patches of eight steps under one or two layers; its settings were chosen on
an inner split of the training series, for each head by what training on all ten at once reaches there. With replay, 20
series a class of the first pass stand beside the new ones, each class as often as a new one. After each pass a
backbone, with either head, has the mean of the parameters of its last updates (`ssm_hpn.tail_mean`), as `partial_fit`
does it; in the rows with `last parameters` it has those of the last update. Features are
`SSMClassifier(effort="fast")`, which has no passes.
"""

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from quality.record import processor
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from ssm_hpn import Trainer, __version__
from ssm_hpn.estimators import SSMClassifier
from ssm_hpn.replay import CLASS, Replay, shared_out
from ssm_hpn.tail_mean import TailMean

Digits = tuple[NDArray[np.float32], NDArray[np.int32]]
Head = Literal["prototypes", "softmax"]

OLD: Final = 5
"""Classes that come first: those below."""
CLASSES: Final = 10
REPLAY: Final = 20
RECORDS: Final = Path(__file__).parent / "records"
SETTINGS: Final[dict[Head, dict[str, Any]]] = {
    "prototypes": {"batch_size": 2, "lr": 2e-3, "n_layers": 2},
    "softmax": {"batch_size": 4, "lr": 4e-3, "n_layers": 2},
}
CHOICES: Final = {"batch_size": (2, 4), "lr": (2e-3, 4e-3), "n_layers": (1, 2)}


@dataclass(frozen=True)
class Row:
    """One system with one seed: shares of right answers."""

    system: str
    seed: int
    old: float
    new: float
    all: float
    seconds: float


def digits() -> Digits:
    """Series [1797, 64, 1] and their classes."""
    pixels, labels = load_digits(return_X_y=True)
    return pixels.reshape(-1, 64, 1).astype(np.float32), labels.astype(np.int32)


def some(data: Digits, there: NDArray[np.bool_]) -> Digits:
    """Some of the series."""
    return data[0][there], data[1][there]


def parts(data: Digits, seed: int) -> tuple[Digits, Digits]:
    """Three quarters and a quarter, of each class alike."""
    rows = np.arange(len(data[1]))
    first, second = train_test_split(rows, test_size=0.25, stratify=data[1], random_state=seed)
    return (data[0][first], data[1][first]), (data[0][second], data[1][second])


def made(head: Head, classes: int, *, seed: int, batch_size: int, lr: float, n_layers: int, spare: int = 0) -> Trainer:
    """An untrained backbone."""
    heads = {
        "prototypes": {"kind": "prototype", "n_classes": classes, "loss": {"kind": "cosine"}, "spare": spare},
        "softmax": {"kind": "linear", "n_outputs": classes, "bias": True},
    }
    model = {
        "input": {"kind": "features", "n_features": 1},
        "stem": {"kind": "patch", "size": 8},
        "d_model": 64,
        "n_layers": n_layers,
        "target": {"kind": "sequence_class", "pooling": "mean"},
        "head": heads[head],
    }
    optim = {"lr": lr, "weight_decay": 0.01, "schedule": {"kind": "constant"}}
    return Trainer({"model": model, "optim": optim, "train": {"steps": 1, "batch_size": batch_size, "seed": seed}})


def one_pass(trainer: Trainer, data: Digits, memory: Replay, *, averaged: bool) -> None:
    """An update for each batch of the series, and its share of what the memory draws, which takes them then."""
    series, codes = data
    train, step = trainer.config.train, trainer.session.step
    drawn, targets = memory.draw(codes, seed=step)
    memory.add(list(series), {CLASS: codes})
    order = np.random.default_rng([train.seed, step]).permutation(len(codes))
    if drawn:
        series, codes = np.concatenate([series, drawn]), np.concatenate([codes, targets[CLASS]])
    lots = shared_out(order, len(drawn), train.batch_size)
    mean = TailMean(len(lots)) if averaged else None
    for rows in lots:
        trainer.step({"features": series[rows], CLASS: codes[rows]})
        if mean is not None:
            mean.updated(trainer)


def with_rows(trainer: Trainer, settings: dict[str, Any], seed: int) -> Trainer:
    """A softmax layer with new rows as a new model has them; its optimiser begins anew."""
    wide = made("softmax", CLASSES, seed=seed, **settings)
    tensors = wide.parameters()
    for name, values in trainer.parameters().items():
        tensors[name][: len(values)] = values
    wide.load_tensors(tensors)
    return wide


def trained(
    head: Head,
    train: Digits,
    *,
    later: bool,
    replay: int,
    seed: int,
    settings: dict[str, Any],
    averaged: bool = True,
) -> Trainer:
    """A backbone after one pass over all classes, or over the old ones and then over the `later` ones."""
    memory = Replay(replay, seed)
    if not later:
        trainer = made(head, CLASSES, seed=seed, **settings)
        one_pass(trainer, train, memory, averaged=averaged)
        return trainer
    old = train[1] < OLD
    trainer = made(head, OLD, seed=seed, **settings)
    one_pass(trainer, some(train, old), memory, averaged=averaged)
    if head == "prototypes":
        trainer.add_classes(CLASSES - OLD)
    else:
        trainer = with_rows(trainer, settings, seed)
    one_pass(trainer, some(train, ~old), memory, averaged=averaged)
    return trainer


SYSTEMS: Final[dict[str, dict[str, Any]]] = {
    "prototypes, all at once": {"head": "prototypes", "later": False, "replay": 0},
    "prototypes, spare ones taken, replay": {"head": "prototypes", "later": True, "replay": REPLAY, "spare": 5},
    "prototypes, others placed, replay": {"head": "prototypes", "later": True, "replay": REPLAY},
    "prototypes, spare ones taken": {"head": "prototypes", "later": True, "replay": 0, "spare": 5},
    "softmax, all at once": {"head": "softmax", "later": False, "replay": 0},
    "softmax, rows added, replay": {"head": "softmax", "later": True, "replay": REPLAY},
    "softmax, rows added": {"head": "softmax", "later": True, "replay": 0},
    "prototypes, all at once, last parameters": {
        "head": "prototypes",
        "later": False,
        "replay": 0,
        "averaged": False,
    },
    "prototypes, spare ones taken, replay, last parameters": {
        "head": "prototypes",
        "later": True,
        "replay": REPLAY,
        "spare": 5,
        "averaged": False,
    },
    "softmax, all at once, last parameters": {"head": "softmax", "later": False, "replay": 0, "averaged": False},
    "softmax, rows added, replay, last parameters": {
        "head": "softmax",
        "later": True,
        "replay": REPLAY,
        "averaged": False,
    },
    "features, all at once": {"later": False},
    "features, classes added": {"later": True},
}


def answers(name: str, train: Digits, test: NDArray[np.float32], seed: int, **changed: Any) -> NDArray[np.int64]:
    """What a system answers for the series of the test."""
    system = dict(SYSTEMS[name])
    spare = {"spare": system.pop("spare", 0)}
    mean, std = train[0].mean(), train[0].std()
    if "head" in system:
        settings = SETTINGS[system["head"]] | spare | changed
        scaled = (train[0] - mean) / std, train[1]
        trainer = trained(**system, train=scaled, seed=seed, settings=settings)
        return np.asarray(trainer.predict({"features": (test - mean) / std}).argmax(axis=1))
    model, old = SSMClassifier(effort="fast", random_state=seed), train[1] < OLD
    if not system["later"]:
        return np.asarray(model.partial_fit(*train).predict(test))
    model.partial_fit(*some(train, old)).add_classes(range(OLD, CLASSES))
    return np.asarray(model.partial_fit(*some(train, ~old)).predict(test))


def measured(name: str, train: Digits, test: Digits, seed: int, **changed: Any) -> Row:
    """One system, trained and scored."""
    started = time.perf_counter()
    right, old = answers(name, train, test[0], seed, **changed) == test[1], test[1] < OLD
    shares = (round(float(part.mean()), 4) for part in (right[old], right[~old], right))
    return Row(name, seed, *shares, round(time.perf_counter() - started, 1))


def choose() -> None:
    """Print what each choice of settings reaches on a quarter of the training series, mean of three such splits."""
    train, _ = parts(digits(), 0)
    names = [name for name, system in SYSTEMS.items() if "head" in system and (system["replay"] or not system["later"])]
    for values in product(*CHOICES.values()):
        changed = dict(zip(CHOICES, values, strict=True))
        rows = {name: [measured(name, *parts(train, seed), seed, **changed) for seed in range(3)] for name in names}
        found = {name: [row.all for row in of] for name, of in rows.items()}
        print(changed, "  ".join(f"{name}: {fmean(shares):.3f}" for name, shares in found.items()), flush=True)


def table(rows: list[Row]) -> list[str]:
    """Means over the seeds, and the least and the largest share of all classes."""
    lines = ["| system | old classes | new classes | all | from, to | seconds |", "|---|---|---|---|---|---|"]
    for name in SYSTEMS:
        of = [row for row in rows if row.system == name]
        means = [fmean(getattr(row, key) for row in of) for key in ("old", "new", "all", "seconds")]
        ends = f"{min(row.all for row in of):.3f}, {max(row.all for row in of):.3f}"
        shares = " | ".join(f"{mean:.3f}" for mean in means[:3])
        lines.append(f"| {name} | {shares} | {ends} | {means[3]:.1f} |")
    return lines


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--choose", action="store_true", help="compare settings inside the training series")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RECORDS, help="folder of the record")
    arguments = parser.parse_args()
    if arguments.choose:
        choose()
        return
    rows = []
    for name, seed in product(SYSTEMS, range(arguments.seeds)):
        rows.append(measured(name, *parts(digits(), seed), seed))
        print(rows[-1], flush=True)
    machine = f"{processor()}, Python {platform.python_version()}, ssm-hpn {__version__}"
    head = [
        "# Classes that come later",
        "",
        "`make incremental`: scikit-learn's digits as series of 64 steps, classes 0 to 4 and then 5 to 9, one pass",
        f"each; replay of {REPLAY} series a class. Accuracy on the quarter that is not trained on, means of",
        f"{arguments.seeds} seeds, and the least and the largest over all classes; the seconds are rough.",
        f"{machine}.",
        "",
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "incremental.md").write_text("\n".join([*head, *table(rows), ""]), encoding="utf-8")
    about = {"machine": machine, "replay": REPLAY, "settings": SETTINGS, "rows": [asdict(row) for row in rows]}
    (arguments.out / "incremental.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
