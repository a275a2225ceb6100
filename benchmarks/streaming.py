"""Microseconds per step and series of a classifier that is read step by step.

    python benchmarks/streaming.py [--steps 2000]

One row per effort, number of classes and number of series side by side: the step of the filters, the scores, and the
whole `SequenceStream.step` with its label; medians. Of one series it is processor time, in which other work counts
less.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from ssm_hpn.estimators import SSMClassifier

TRAINING, LENGTH = 4, 200
"""Series of a class, and their steps."""
REPEATED = 20
"""Steps that are measured together."""


def microseconds(call: Callable[[int], object], steps: int, rows: int) -> float:
    """Median time of a call per row, over groups of calls."""
    clock = time.process_time if rows == 1 else time.perf_counter
    found = []
    for first in range(0, steps, REPEATED):
        start = clock()
        for step in range(first, first + REPEATED):
            call(step)
        found.append((clock() - start) / REPEATED / rows)
    return 1e6 * statistics.median(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    steps = parser.parse_args().steps
    random = np.random.default_rng(0)
    print("| effort | classes | series side by side | filters | scores | step with its label |")
    print("|---|---|---|---|---|---|")
    for effort in ("fast", "default"):
        for classes in (2, 10, 50):
            labels = np.repeat(np.arange(classes), TRAINING)
            scale = np.linspace(1, 3, classes)[labels][:, None, None]
            training = random.normal(size=(len(labels), LENGTH, 1)) * scale
            model = SSMClassifier(effort=effort, causal=True, random_state=0).fit(training, labels)
            for rows in (1, 16):
                x = random.normal(size=(steps, rows, 1))
                stream = model.stream(rows)
                source = stream._source  # the parts of a step  # noqa: SLF001
                filters = microseconds(lambda t, x=x, source=source: source.read(x[t][:, None]), steps, rows)
                scores = microseconds(lambda _, source=source: source.class_scores(), steps, rows)
                whole = microseconds(lambda t, x=x, stream=stream: stream.step(x[t]), steps, rows)
                print(f"| {effort} | {classes} | {rows} | {filters:.1f} | {scores:.1f} | {whole:.1f} |", flush=True)


if __name__ == "__main__":
    main()
