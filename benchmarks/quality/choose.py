"""Compares variants of an estimator by cross-validation inside training splits; no process of it can open a test part.

    python -m quality choose VARIANTS.toml [--folds 5] [--per-class 8] [--sets ...] [--out benchmarks/out/choices.json]

VARIANTS.toml has a table per variant, the settings of its estimator; the first is what the others are compared with.
`estimator = "module:Class"` in a table names another one than `ssm_hpn.estimators:SSMClassifier`; it needs `fit`,
`predict_proba` and `classes_`.

    [default]
    [softmax]
    loss = "softmax"

Folds are stratified. A class with fewer series than folds is trained on in each of them and never judged. Every variant
is judged on the same folds. Log loss is that of probabilities of at least a millionth. Results are kept fold by fold:
an interrupted comparison goes on, and a variant is not computed again while its settings and the code are the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import inspect
import json
import multiprocessing
import os
import statistics
import time
import tomllib
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quality.fingerprint import fingerprint
from quality.reading import Labelled, close_tests, load, package_folder
from quality.run import ROOT, THREAD_COUNTS, TUNING
from quality.sets import CHOICES, named
from quality.systems import SYSTEMS

OUT: Final = ROOT / "benchmarks" / "out" / "choices.json"
ESTIMATOR: Final = "ssm_hpn.estimators:SSMClassifier"
LEAST_SERIES: Final = 60
LEAST_PROBABILITY: Final = 1e-6
Settings = dict[str, Any]
Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Task:
    """One fold of one set for one variant."""

    settings: str
    """JSON of a variant's table."""
    code: str
    """Fingerprint of the code of its estimator."""
    dataset: str
    fold: int
    folds: int
    seed: int
    per_class: int | None
    """At most so many series of a class are trained on."""

    @property
    def key(self) -> str:
        """What a result is kept under."""
        return json.dumps(list(asdict(self).values()))


@dataclass(frozen=True, slots=True)
class Judged:
    """Sums over the judged series of a fold."""

    series: int
    right: int
    loss: float
    seconds: float


# ---- folds


def folds(labels: NDArray[Any], count: int, seed: int = 0) -> list[tuple[Indices, Indices]]:
    """Training and judged series of each fold; classes of fewer series than folds are only trained on."""
    from sklearn.model_selection import StratifiedKFold

    names, inverse, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if (sizes < count).all():
        raise SystemExit(f"none of the {len(names)} classes has {count} series: choose fewer folds")
    judged = np.flatnonzero(sizes[inverse] >= count)
    always = np.flatnonzero(sizes[inverse] < count)
    splitter = StratifiedKFold(count, shuffle=True, random_state=seed)
    parts = splitter.split(judged, inverse[judged])
    return [(np.sort(np.concatenate([judged[train], always])), judged[test]) for train, test in parts]


def at_most(chosen: Indices, labels: NDArray[Any], most: int | None, seed: int) -> Indices:
    """At most so many series of each class, drawn by a seed."""
    if most is None:
        return chosen
    mixed = np.random.default_rng(seed).permutation(chosen)
    kept = [mixed[labels[mixed] == name][:most] for name in np.unique(labels[chosen])]
    return np.sort(np.concatenate(kept))


# ---- one fold, in a process of its own


def start_worker() -> None:
    """Close the test parts of this process for good."""
    close_tests()
    warnings.simplefilter("ignore")


def judge(task: Task) -> Judged:
    """Train on one part of a training split, judge on the other."""
    data = load(named([task.dataset])[0], "train")
    train, test = folds(data.labels, task.folds)[task.fold]
    train = at_most(train, data.labels, task.per_class, task.fold)
    settings = json.loads(task.settings)
    module, name = estimator_of(settings)
    del settings["estimator"]
    model = getattr(importlib.import_module(module), name)(**settings, **_of_one_thread(module, name, task.seed))
    start = time.perf_counter()
    model.fit(_part(data, train), data.labels[train])
    probabilities = model.predict_proba(_part(data, test))
    seconds = time.perf_counter() - start
    columns = np.searchsorted(model.classes_, data.labels[test])
    given = np.clip(probabilities[np.arange(len(test)), columns], LEAST_PROBABILITY, 1.0)
    right = int((probabilities.argmax(axis=1) == columns).sum())
    return Judged(len(test), right, float(-np.log(given).sum()), seconds)


def _part(data: Labelled, chosen: Indices) -> Any:
    return Labelled([data.series[i] for i in chosen], data.labels[chosen]).inputs()


def _of_one_thread(module: str, name: str, seed: int) -> Settings:
    """The settings of seed and threads, as far as the estimator has them."""
    known = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    wanted = {"random_state": seed, "threads": 1, "n_jobs": 1}
    return {key: value for key, value in wanted.items() if key in known}


# ---- all of them


def usable(names: list[str]) -> list[str]:
    """The sets of classes with enough series in their training split; names those that are left out."""
    found = []
    for data in named(names):
        if data.metric != "accuracy":
            raise SystemExit(f"{data.name}: numbers are predicted there, no classes")
        count = len(load(data, "train").labels)
        if count < LEAST_SERIES:
            print(f"{data.name} is left out: {count} series, fewer than {LEAST_SERIES}")
        else:
            found.append(data.name)
    return found


def read_variants(path: Path) -> dict[str, str]:
    """Settings as JSON by the name of the variant."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SystemExit(f"{path}: expected a TOML file with a table per variant, found: {error}") from None
    if not content or not all(isinstance(one, dict) for one in content.values()):
        raise SystemExit(f"{path}: expected a table per variant, as [default]")
    for name, settings in content.items():
        if given := sorted({"random_state", "threads", "n_jobs"} & set(settings)):
            raise SystemExit(
                f"{path}, [{name}]: {given[0]} is set by the comparison (--seeds, one thread); leave it out"
            )
    full = {name: {"estimator": ESTIMATOR} | settings for name, settings in content.items()}
    return {name: json.dumps(settings, sort_keys=True) for name, settings in full.items()}


def estimator_of(settings: Settings) -> tuple[str, str]:
    """Module and class of a variant's estimator."""
    module, _, name = settings["estimator"].partition(":")
    return module, name


def code_of(settings: Settings) -> str:
    """Fingerprint of this package's code, and of a module outside of it; the version of a peer."""
    module, _ = estimator_of(settings)
    if module == "quality.adapters":
        if settings.get("system") not in SYSTEMS:
            raise SystemExit(f"{module}: expected `system`, one of {', '.join(SYSTEMS)}")
        return SYSTEMS[settings["system"]].version()
    own = fingerprint(package_folder("ssm_hpn"))
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{module}: no such module, named by `estimator`")
    return own if module.startswith("ssm_hpn.") else f"{own} {fingerprint(Path(spec.origin))}"


def compute(tasks: list[Task], out: Path, jobs: int) -> dict[str, Judged]:
    """The results of all tasks, by key; those in the file are not computed again."""
    known = {key: Judged(**one) for key, one in _stored(out).items()}
    missing = [task for task in tasks if task.key not in known]
    if not missing:
        return known
    for name in THREAD_COUNTS:
        os.environ[name] = "1"
    for name in TUNING:
        os.environ.pop(name, None)
    context = multiprocessing.get_context("spawn")
    start = time.perf_counter()
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=start_worker) as pool:
        running = {pool.submit(judge, task): task for task in missing}
        for done, future in enumerate(as_completed(running), 1):
            task = running[future]
            known[task.key] = future.result()
            _store(out, known)
            print(f"\r{done} of {len(missing)} folds, {time.perf_counter() - start:.0f} s", end="", flush=True)
    print()
    return known


def _stored(out: Path) -> dict[str, dict[str, Any]]:
    return dict(json.loads(out.read_text(encoding="utf-8"))) if out.exists() else {}


def _store(out: Path, known: dict[str, Judged]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({key: asdict(one) for key, one in known.items()}, indent=0), encoding="utf-8")
    unfinished.replace(out)


@dataclass(frozen=True, slots=True)
class OnSet:
    """A variant on a set, over all folds and seeds."""

    accuracy: float
    loss: float
    seconds: float


def pooled(results: list[Judged]) -> OnSet:
    """Shares over all judged series, seconds per fold."""
    series = sum(one.series for one in results)
    accuracy = sum(one.right for one in results) / series
    loss = sum(one.loss for one in results) / series
    return OnSet(accuracy, loss, statistics.fmean(one.seconds for one in results))


def lines(table: dict[str, dict[str, OnSet]]) -> Iterator[str]:
    """A line per variant: means over sets, and how they differ from the first one's, with the standard error."""
    width = max(map(len, table))
    yield f"{'':<{width}}  accuracy  log loss  s/fold   minus the first's, ± standard error over sets"
    first = next(iter(table.values()))
    for name, by_set in table.items():
        ones = list(by_set.values())
        means = [statistics.fmean(getattr(one, field) for one in ones) for field in ("accuracy", "loss", "seconds")]
        line = f"{name:<{width}}  {100 * means[0]:8.2f}  {means[1]:8.4f}  {means[2]:6.2f}"
        if by_set is not first:
            accuracy = [100 * (one.accuracy - other.accuracy) for one, other in zip(ones, first.values(), strict=True)]
            loss = [one.loss - other.loss for one, other in zip(ones, first.values(), strict=True)]
            line += f"   {_difference(accuracy, 2)}   {_difference(loss, 4)}"
        yield line


def _difference(values: list[float], decimals: int) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{statistics.fmean(values):+.{decimals}f} ± {error:.{decimals}f}"


def main(arguments: list[str]) -> int:
    """Compute what is missing and print the comparison."""
    close_tests()
    parser = argparse.ArgumentParser(
        prog="quality choose", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("variants", type=Path)
    parser.add_argument("--sets", nargs="+", default=list(CHOICES), help="default: the sets of sets.CHOICES")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="random_state of the estimator")
    parser.add_argument("--per-class", type=int, help="train on at most so many series of a class")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes, of one thread each")
    parser.add_argument("--each", action="store_true", help="also print every set")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(arguments)
    variants, names = read_variants(args.variants), usable(args.sets)
    code = {text: code_of(json.loads(text)) for text in variants.values()}
    places = [(seed, fold) for seed in args.seeds for fold in range(args.folds)]
    tasks = {
        (variant, name): [Task(text, code[text], name, fold, args.folds, seed, args.per_class) for seed, fold in places]
        for name in names
        for variant, text in variants.items()
    }
    known = compute([task for some in tasks.values() for task in some], args.out, args.jobs)
    table = {v: {name: pooled([known[task.key] for task in tasks[v, name]]) for name in names} for v in variants}
    print(f"{len(names)} training splits, {args.folds} folds: {', '.join(names)}")
    print("\n".join(lines(table)))
    for name in names if args.each else ():
        print(
            f"{name}: " + "  ".join(f"{v} {100 * by[name].accuracy:.2f} {by[name].loss:.4f}" for v, by in table.items())
        )
    return 0
