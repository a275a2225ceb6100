"""Measures one system in a process of its own: python -m quality.worker SYSTEM THREADS.

Compiles what has to be compiled on made-up data, then answers on standard output: a line {"ready"} with the version,
then for each line {"dataset", "seed"} on standard input one line {"value", "fit_seconds", "predict_seconds"} or
{"error"}.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import warnings
from typing import Any

import numpy as np

from quality.reading import Labelled, load
from quality.sets import DataSet, named
from quality.systems import SYSTEMS, Make, System, prepared


def measured(
    make: Make, seed: int, threads: int, data: tuple[Any, Any, Labelled, Labelled]
) -> tuple[Any, float, float]:
    """Predictions for the test part, seconds of fit, seconds of predict."""
    x_train, x_test, train, _ = data
    model = make(seed, threads)
    start = time.perf_counter()
    model.fit(x_train, train.labels)
    between = time.perf_counter()
    answers = model.predict(x_test)
    return answers, between - start, time.perf_counter() - between


def score(metric: str, answers: Any, labels: Any) -> float:
    """Share of right labels, or root of the mean squared error."""
    if metric == "rmse":
        return float(np.sqrt(np.mean((np.asarray(answers, float) - labels) ** 2)))
    return float(np.mean(np.asarray(answers) == labels))


def warm_up(system: System, threads: int) -> None:
    """Fit and predict made-up data of one and of two channels, so that nothing is compiled while time is measured."""
    random = np.random.default_rng(0)
    for metric in ("accuracy", "rmse"):
        make = system.maker(metric)
        for channels in (1, 2) if make is not None else ():
            labels = np.arange(12) % 2 if metric == "accuracy" else random.normal(size=12)
            part = Labelled(list(random.normal(size=(12, 40, channels))), labels)
            assert make is not None
            measured(make, 0, threads, (*prepared(system, part, part), part, part))


def answer(system: System, threads: int, data: DataSet, seed: int) -> dict[str, Any]:
    """The line for one data set and seed."""
    make = system.maker(data.metric)
    if make is None:
        return {"error": f"{system.name} does not measure {data.metric}"}
    train, test = load(data, "train"), load(data, "test")
    x_train, x_test = prepared(system, train, test)
    gc.collect()
    try:
        answers, fit, predict = measured(make, seed, threads, (x_train, x_test, train, test))
    except Exception as error:  # noqa: BLE001 - what a system cannot do is a result
        return {"error": f"{type(error).__name__}: {error}"[:300]}
    value = score(data.metric, answers, test.labels)
    return {"value": value, "fit_seconds": fit, "predict_seconds": predict}


def main() -> int:
    """Answer the lines on standard input; whatever else is printed goes to standard error."""
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    system, threads = SYSTEMS[sys.argv[1]], int(sys.argv[2])
    warm_up(system, threads)
    print(json.dumps({"ready": system.version()}), file=lines, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(answer(system, threads, named([asked["dataset"]])[0], asked["seed"])), file=lines, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
