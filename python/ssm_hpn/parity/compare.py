"""Compares the core with a reference: per case and tensor the drift, its bound, and whether it is kept.

Drift is ‖ours - reference‖ / ‖reference‖ over a whole tensor. docs/parity.md gives the reason of each bound.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np

from ssm_hpn import _core
from ssm_hpn.parity.cases import COMBINATIONS, Case, Outcome, inside, make_case

DType = Literal["float32", "float64"]
BOUNDS: dict[DType, dict[str, float]] = {
    "float64": {"loss": 1e-9, "hidden": 1e-9, "scores": 1e-9, "gradient": 1e-9},
    "float32": {"loss": 2e-5, "hidden": 2e-5, "scores": 2e-5, "gradient": 2e-4},
}
"""Largest relative drift allowed, by number type and kind of tensor."""

OPTIM = json.dumps({"lr": 1e-3})
CASES = len(COMBINATIONS)
"""Cases that are measured when no number is given: every combination once."""
Evaluate = Callable[[dict[str, np.ndarray], dict[str, Any], dict[str, np.ndarray]], Outcome]


@dataclass(frozen=True)
class Row:
    """One tensor of one case against one reference."""

    case: str
    reference: str
    dtype: str
    tensor: str
    drift: float
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the drift is within its bound. A drift that is not a number is not."""
        return self.drift <= self.bound


def run(cases: int = CASES, *, seed: int = 0) -> Iterator[Row]:
    """Rows of all cases against every reference that is installed; JAX is required, PyTorch optional."""
    from ssm_hpn.parity import reference_jax

    references: list[tuple[str, Evaluate, Callable[[dict[str, Any]], bool]]] = [
        ("jax", reference_jax.evaluate, lambda _: True)
    ]
    if find_spec("torch") is not None:
        from ssm_hpn.parity import reference_torch

        references.append(("torch", reference_torch.evaluate, reference_torch.supports))
    for index in range(cases):
        case = make_case(seed, index)
        params = random_parameters(case, np.random.default_rng([seed, index, 1]))
        ours = {dtype: evaluate_core(case, params, dtype) for dtype in BOUNDS}
        for name, evaluate, supports in references:
            if supports(case.model):
                theirs = evaluate(params, case.model, case.arrays)
                for dtype, mine in ours.items():
                    yield from compare(case, name, dtype, mine, theirs)


def random_parameters(case: Case, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random values by public name, chosen so that no gradient is negligible; fixed tensors keep their values."""
    session = _core.Session(json.dumps(case.model), OPTIM, dtype="float64")
    out: dict[str, np.ndarray] = {}
    for entry in session.parameter_table():
        name, shape = entry["name"], tuple(entry["shape"])
        noise = rng.normal(size=shape)
        if name == "head.scale" or not entry["trainable"]:
            out[name] = session.parameter(name)
        elif name.endswith("A_log"):
            out[name] = np.log(np.arange(1, shape[-1] + 1)) + 0.1 * noise
        elif name.endswith("dt_proj.bias"):
            out[name] = -3 + 0.5 * noise
        elif name.endswith((".D", "norm.weight", "norm_f.weight")):
            out[name] = 1 + 0.1 * noise
        else:
            out[name] = noise / np.sqrt(shape[-1]) if len(shape) > 1 else 0.1 * noise
    # float32 values exactly, so that core and reference start from equal numbers
    return {name: value.astype(np.float32).astype(np.float64) for name, value in out.items()}


def evaluate_core(case: Case, params: dict[str, np.ndarray], dtype: DType) -> Outcome:
    """Results of the core for a case."""
    session = _core.Session(json.dumps(case.model), OPTIM, dtype=dtype)
    for name, value in params.items():
        session.set_parameter(name, value)
    batch = _core.Batch(**case.arrays)
    loss = session.forward_backward(batch)["loss"]
    trained = [entry["name"] for entry in session.parameter_table() if entry["trainable"]]
    return Outcome(
        loss=loss,
        hidden=session.hidden(batch),
        scores=None if case.model["head"]["kind"] == "none" else session.predict(batch),
        gradients={name: session.gradient(name) for name in trained},
    )


def batch_shape(case: Case) -> tuple[int, int]:
    """Rows and tokens of a row."""
    source = case.arrays["tokens"] if "tokens" in case.arrays else case.arrays["features"]
    return source.shape[0], source.shape[1]


def compare(case: Case, reference: str, dtype: DType, mine: Outcome, theirs: Outcome) -> Iterator[Row]:
    """One row per tensor; of tensors per token only positions inside documents."""
    bounds = BOUNDS[dtype]
    mask = inside(case.arrays["segments"], batch_shape(case))

    def row(tensor: str, bound: str, distance: float) -> Row:
        return Row(case.name, reference, dtype, tensor, distance, bounds[bound])

    size = None
    if "cotangent" in case.arrays:  # the only loss with terms of both signs, whose sum may be nearly zero
        size = float(np.linalg.norm(theirs.hidden * case.arrays["cotangent"]))
    yield row("loss", "loss", drift(np.array(mine.loss), np.array(theirs.loss), size=size))
    yield row("hidden states", "hidden", drift(mine.hidden[mask], theirs.hidden[mask]))
    if mine.scores is not None and theirs.scores is not None:
        pooled = case.target.pooled
        a, b = (mine.scores, theirs.scores) if pooled else (mine.scores[mask], theirs.scores[mask])
        yield row("scores", "scores", drift(a, b))
    for name, gradient in mine.gradients.items():
        yield row(f"gradient {name}", "gradient", drift(gradient, theirs.gradients[name]))


def drift(ours: np.ndarray, reference: np.ndarray, *, size: float | None = None) -> float:
    """‖ours - reference‖ / size, by default ‖reference‖; absolute where that is zero. Infinite if the shapes differ."""
    if ours.shape != reference.shape:
        return float("inf")
    scale = (float(np.linalg.norm(reference)) if size is None else size) or 1.0
    return float(np.linalg.norm(ours.astype(np.float64) - reference)) / scale


def to_json(rows: list[Row], *, seed: int) -> str:
    """The report as JSON: settings, the worst row of each kind, every row."""
    record = {
        "schema": 1,
        "seed": seed,
        "simd": _core.simd(),
        "bounds": BOUNDS,
        "passed": all(row.ok for row in rows),
        "rows": [{**asdict(row), "ok": row.ok} for row in rows],
    }
    return json.dumps(record, indent=1) + "\n"


def to_markdown(rows: list[Row]) -> str:
    """The report as a table: per reference, number type and tensor kind the worst drift, its case and its bound."""
    worst: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (row.reference, row.dtype, _kind(row.tensor))
        if key not in worst or not row.drift <= worst[key].drift:
            worst[key] = row
    lines = ["| reference | number | tensor | worst drift | bound | case | |", "|---|---|---|---|---|---|---|"]
    for (reference, dtype, kind), row in sorted(worst.items()):
        verdict = "ok" if row.ok else "OVER"
        lines.append(f"| {reference} | {dtype} | {kind} | {row.drift:.1e} | {row.bound:.0e} | {row.case} | {verdict} |")
    return "\n".join(lines) + "\n"


def _kind(tensor: str) -> str:
    """The tensor's name without the number of its layer."""
    return ".".join("*" if part.isdigit() else part for part in tensor.split("."))
