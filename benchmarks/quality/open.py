"""Classes that were never seen: leaves each class out of training in turn, and asks which test series are of it.

    python -m quality open [--sets ...] [--within-training] [--out benchmarks/records/open.json]

Features are computed once for a set, of filters that were drawn and fitted on all of its training series without
labels; the heads are fitted anew to the series of the other classes. AUROC is the chance that a test series of a known
class has a higher confidence than one of the left-out class. A class is left out where the training part has two
others, and judged where the test part has one of its series.

    prototype     the head of `SSMClassifier`: its confidence (`ssm_hpn.closed_form.typicality`)
    cosine        the same head: the largest cosine to a prototype (lifted by the length, as `class_scores` has it)
    linear        softmax regression on the same standardised and weighed features: the largest logit
    softmax       the same: the largest probability
    mini_rocket   ridge on MiniRocket features, as in aeon: the largest decision value

Softmax regression is that of `linear_head`. The expected calibration error is that of the
prototype head fitted to all classes, over the test part, before and after its temperature (which is fitted to the
training part).

With --within-training a third of each class of the training part is judged instead, and no test part is opened.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import statistics
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quality.linear_head import SoftmaxRegression
from quality.reading import Floats, Labelled, close_tests, load
from quality.record import processor
from quality.run import ROOT
from quality.sets import named
from quality.systems import SYSTEMS, prepared

RECORD: Final = ROOT / "benchmarks" / "records" / "open.json"
WITHIN: Final = ROOT / "benchmarks" / "out" / "open-within-training.json"
SETS: Final = (
    *("CricketX", "DistalPhalanxTW", "ECG5000", "EOGHorizontalSignal", "FaceAll", "Fish"),
    *("AllGestureWiimoteX", "GesturePebbleZ1", "JapaneseVowels", "Digits"),
)
"""Of `sets.csv` those of 5 to 14 classes and 100 to 2,000 training series, of a family such as CricketX, Y and Z one.
FaceAll and FacesUCR are of one family."""
CHOSEN: Final = (
    "sets of 5 to 14 classes and 100 to 2,000 training series, of each family the first; the confidence was chosen "
    "inside training splits of 16 sets, these among them but JapaneseVowels"
)
Ints = NDArray[np.int64]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Part:
    """One set: features and classes of the series that are trained on, and of those that are judged."""

    name: str
    ours: tuple[Matrix, Matrix]
    views: Any
    theirs: tuple[Matrix, Matrix]
    labels: tuple[Ints, Ints]
    names: list[str]
    """Of the classes."""


@dataclass(frozen=True, slots=True)
class Row:
    """One system on one set without one class."""

    dataset: str
    left_out: str
    system: str
    auroc: float
    series: int
    """Judged series of the left-out class."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """The prototype head of all classes on one set."""

    dataset: str
    series: int
    accuracy: float
    before: float
    """Expected calibration error of the softmax of the inner products."""
    after: float


def read(name: str, *, within: bool, threads: int) -> Part:
    """Read a set and compute its features."""
    from aeon.transformations.collection.convolution_based import MiniRocket

    from ssm_hpn.state_features import StateFeatures

    data = named([name])[0]
    train = load(data, "train")
    first, second = halves(train) if within else (train, load(data, "test"))
    names, codes = np.unique(np.concatenate([first.labels, second.labels]), return_inverse=True)
    bank = StateFeatures.fit(first.series, seed=0, threads=threads)
    ours = tuple(bank.transform(part.series, threads=threads) for part in (first, second))
    rocket = MiniRocket(random_state=0, n_jobs=threads)
    x, y = prepared(SYSTEMS["mini_rocket"], first, second)
    x, y = (np.ascontiguousarray(part, np.float32) for part in (x, y))
    theirs = rocket.fit_transform(x), rocket.transform(y)
    theirs = tuple(np.asarray(part, np.float32) for part in theirs)
    count = len(first.labels)
    return Part(name, ours, bank.views, theirs, (codes[:count], codes[count:]), [str(one) for one in names])


def halves(train: Labelled) -> tuple[Labelled, Labelled]:
    """Two thirds of each class to train on and a third to judge; classes of fewer than three series are left out."""
    random = np.random.default_rng(0)
    judged = np.zeros(len(train.labels), bool)
    kept = np.zeros(len(train.labels), bool)
    for label in np.unique(train.labels):
        rows = random.permutation(np.flatnonzero(train.labels == label))
        if len(rows) >= 3:
            kept[rows], judged[rows[: len(rows) // 3]] = True, True
    parts = (np.flatnonzero(kept & ~judged), np.flatnonzero(kept & judged))
    first, second = (Labelled([train.series[i] for i in rows], train.labels[rows]) for rows in parts)
    return first, second


def left_out(part: Part, *, threads: int) -> list[Row]:
    """The rows of a set, class by class."""
    (train, test), rows = part.labels, []
    for code, name in enumerate(part.names):
        known = np.flatnonzero(train != code)
        strange = test == code
        if len(np.unique(train[known])) < 2 or not strange.any() or len(known) == len(train):
            continue
        judged = np.isin(test, np.unique(train[known])) | strange
        found = confidences(part, known, np.flatnonzero(judged), threads=threads)
        for system, confidence in found.items():
            area = auroc(confidence[~strange[judged]], confidence[strange[judged]])
            rows.append(Row(part.name, name, system, round(area, 6), int(strange.sum())))
    return rows


def auroc(known: Floats, strange: Floats) -> float:
    """Area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    labels = np.r_[np.ones(len(known)), np.zeros(len(strange))]
    return float(roc_auc_score(labels, np.concatenate([known, strange])))


def confidences(part: Part, known: Ints, judged: Ints, *, threads: int) -> dict[str, Floats]:
    """What each system says of the judged series when it is fitted to the known ones."""
    from ssm_hpn.closed_form.simplex import lifted_cosines

    _, codes = np.unique(part.labels[0][known], return_inverse=True)
    head = prototype_head(part, known, codes, threads=threads)
    z = head.scores([part.ours[1][judged]])
    found = {"prototype": head.confidence(z), "cosine": lifted_cosines(z, head.prototypes).max(axis=1)}
    logits = SoftmaxRegression(part.views).fit(part.ours[0][known], codes).logits(part.ours[1][judged])
    found["linear"] = logits.max(axis=1)
    shifted = logits - logits.max(axis=1, keepdims=True)
    found["softmax"] = -np.log(np.exp(shifted).sum(axis=1))  # the logarithm of the largest probability
    found["mini_rocket"] = ridge(part.theirs[0][known], codes, part.theirs[1][judged])
    return found


def prototype_head(part: Part, known: Ints, codes: Ints, *, threads: int) -> Any:
    """The head of `SSMClassifier` on these features."""
    from threadpoolctl import threadpool_limits

    from ssm_hpn.closed_form import ClassHead, RidgeSettings

    with threadpool_limits(threads):
        return ClassHead.fit(lambda rows: [part.ours[0][known[rows]]], codes, settings=RidgeSettings(views=part.views))


def ridge(x: Matrix, codes: Ints, y: Matrix) -> Floats:
    """The largest decision value of the classifier that aeon puts on MiniRocket."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(with_mean=False), RidgeClassifierCV(alphas=np.logspace(-3, 3, 10)))
    values = np.asarray(model.fit(x, codes).decision_function(y))
    return np.abs(values) if values.ndim == 1 else values.max(axis=1)


def calibrated(part: Part, *, threads: int) -> Calibrated:
    """The expected calibration error of all classes."""
    from ssm_hpn.closed_form.calibration import softmax
    from ssm_hpn.closed_form.simplex import inner_products
    from ssm_hpn.decisions import expected_calibration_error

    train, test = part.labels
    there = np.unique(train)
    rows = np.flatnonzero(np.isin(test, there))
    codes, truth = np.searchsorted(there, train), np.searchsorted(there, test[rows])
    head = prototype_head(part, np.arange(len(train)), codes, threads=threads)
    z = head.scores([part.ours[1][rows]])
    predicted = head.classes(z)
    before, after = softmax(inner_products(z, head.prototypes), 1.0), head.probabilities(z)
    errors = [round(expected_calibration_error(p, predicted, truth), 6) for p in (before, after)]
    return Calibrated(part.name, len(rows), round(float((predicted == truth).mean()), 6), *errors)


# ---- the record


def written(path: Path, rows: list[Row], errors: list[Calibrated], header: dict[str, Any]) -> None:
    """Write the record whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, second = (",\n".join("  " + json.dumps(asdict(one)) for one in part) for part in (rows, errors))
    text = f'{{"header": {json.dumps(header, indent=1)},\n"rows": [\n{first}\n],\n"calibration": [\n{second}\n]}}\n'
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def means(rows: list[Row]) -> dict[str, dict[str, float]]:
    """AUROC by set and system: the mean over the classes that were left out."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        found.setdefault(row.dataset, {}).setdefault(row.system, []).append(row.auroc)
    return {name: {system: statistics.fmean(some) for system, some in by.items()} for name, by in found.items()}


def table(rows: list[Row], errors: list[Calibrated]) -> list[str]:
    """Lines for a person: a set each, and the mean over sets."""
    by_set = means(rows)
    systems = list(next(iter(by_set.values())))
    lines = [f"{'':<22}" + "".join(f"{name:>12}" for name in (*systems, "ece before", "ece after"))]
    judged = {one.dataset: one for one in errors}
    for name, by in by_set.items():
        values = [by[system] for system in systems] + [judged[name].before, judged[name].after]
        lines.append(f"{name:<22}" + "".join(f"{value:12.3f}" for value in values))
    mean = [statistics.fmean(by[system] for by in by_set.values()) for system in systems]
    mean += [statistics.fmean(getattr(one, field) for one in errors) for field in ("before", "after")]
    return [*lines, f"{'mean':<22}" + "".join(f"{value:12.3f}" for value in mean)]


def main(arguments: list[str]) -> int:
    """Measure every set and write the record."""
    parser = argparse.ArgumentParser(
        prog="quality open", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="names of data sets")
    parser.add_argument("--within-training", action="store_true", help="judge a third of the training part")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    if args.within_training:
        close_tests()
    warnings.simplefilter("ignore")
    start, rows, errors = time.perf_counter(), list[Row](), list[Calibrated]()
    for name in args.sets:
        part = read(name, within=args.within_training, threads=args.threads)
        rows += left_out(part, threads=args.threads)
        errors.append(calibrated(part, threads=args.threads))
        print(f"{name}: {len(part.names)} classes, {time.perf_counter() - start:.0f} s", flush=True)
    header = {
        "processor": processor(),
        "threads": args.threads,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "seed": 0,
        "within_training": args.within_training,
        "sets": CHOSEN if tuple(args.sets) == SETS else "named",
        "versions": {name: SYSTEMS[name].version() for name in ("ssm_hpn", "mini_rocket")},
    }
    out = args.out or (WITHIN if args.within_training else RECORD)
    written(out, rows, errors, header)
    print("\n".join(table(rows, errors)))
    print(out)
    return 0
