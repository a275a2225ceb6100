"""A fit as plain arrays and JSON, for a checkpoint."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.closed_form.columns import Standardisation
from ssm_hpn.closed_form.linear import Fit, LinearScores
from ssm_hpn.errors import CheckpointError, problem, shown

Arrays = dict[str, NDArray[Any]]

VERSION: Final = 1
NAMES: Final = ("mean", "factor", "weights", "intercept", "strength", "rows", "left_out")


def arrays_of(fit: Fit) -> tuple[Arrays, dict[str, Any]]:
    """Arrays by name, and what is JSON."""
    linear = fit.linear
    columns = linear.standardisation
    found = (columns.mean, columns.factor, linear.weights, linear.intercept, fit.strength, fit.rows, fit.left_out)
    values = {"version": VERSION, "clip": columns.clip, "landmarks": fit.landmarks}
    return dict(zip(NAMES, found, strict=True)), values


def fit_of(
    arrays: Mapping[str, NDArray[Any]],
    values: Mapping[str, Any],
    *,
    kind: str,
    per_row: tuple[str, ...] = (),
    numbers: tuple[str, ...] = (),
) -> Fit:
    """The fit of a head of this kind, whose further arrays `per_row` have an entry for each series that was left out.

    Raises `CheckpointError` where something is missing, `numbers` of the JSON included, or does not fit.
    """
    if values.get("version") != VERSION or values.get("kind") != kind:
        found = f"version {values.get('version')} of {values.get('kind')}"
        raise CheckpointError(problem("head", f"version {VERSION} of {kind}", found, "use another checkpoint"))
    for name in (*NAMES, *per_row, "clip", "landmarks", *numbers):
        if name not in arrays and not isinstance(values.get(name), int | float):
            raise CheckpointError(problem("head", name, "nothing of this name", "use another checkpoint"))
    mean, factor, weights, intercept, strength, rows, left_out = (np.asarray(arrays[name]) for name in NAMES)
    d, k = weights.shape if weights.ndim == 2 else (-1, -1)
    shapes: dict[str, tuple[int, ...]] = {"mean": (d,), "factor": (d,), "intercept": (k,), "strength": (k,)}
    shapes |= {"left_out": (len(rows), k), **dict.fromkeys(per_row, (len(rows),))}
    for name, shape in shapes.items():
        found_shape = np.shape(arrays[name])
        if found_shape != shape:
            raise CheckpointError(problem(name, f"shape {shape}", f"shape {found_shape}", "use another checkpoint"))
    if not 0 < values["clip"] <= float(np.finfo(np.float32).max):
        found, expected = shown(values["clip"]), "a number above 0 in single precision"
        raise CheckpointError(problem("clip", expected, found, "use another checkpoint"))
    linear = LinearScores(Standardisation(mean, factor, float(values["clip"])), weights, intercept)
    return Fit(linear, strength, rows, left_out, int(values["landmarks"]))
