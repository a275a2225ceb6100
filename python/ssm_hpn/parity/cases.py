"""Random model configurations with a batch for each, on which parity is measured.

Every case is a pure function of (seed, index). The first cases walk through all kinds of input, target and head; the
sizes are small and odd on purpose, so that no dimension is a multiple of a vector width.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ssm_hpn.targets import KINDS, TargetArray, TargetKind

# input, target, head; each appears once before any repeats
COMBINATIONS = (
    ("tokens", "next_token", "softmax"),
    ("tokens", "next_token", "linear"),
    ("tokens", "next_token", "tied"),
    ("features", "sequence_class", "cosine"),
    ("features", "sequence_class", "margin"),
    ("features", "sequence_values", "regression"),
    ("features", "sequence_values", "squared"),
    ("tokens", "token_class", "cosine"),
    ("features", "token_class", "softmax"),
    ("tokens", "sequence_class", "linear"),
    ("hidden", "cotangent", "none"),
    ("tokens", "next_token", "learnable softmax"),
    ("hidden", "sequence_class", "learnable margin"),
    ("hidden", "token_class", "identity cosine"),
    ("features", "sequence_class", "identity softmax"),
    ("features", "joint", "joint"),
    ("features", "token_class", "smoothed softmax"),
    ("features", "sequence_class", "near margin"),
    ("tokens", "next_token", "smoothed linear"),
)
POOLING = ("mean", "last", "max")
Shape = tuple[int, int]
"""Rows and tokens of a row."""


@dataclass(frozen=True)
class Case:
    """A model configuration (as the core reads it) and one batch."""

    name: str
    model: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(repr=False)
    """Arguments of `_core.Batch`: tokens or features, segments, and the target."""

    @property
    def target(self) -> TargetKind:
        """The core's description of its target."""
        return KINDS[self.model["target"]["kind"]]


@dataclass(frozen=True)
class Outcome:
    """Results of the core, or of a reference, for a case."""

    loss: float
    """Mean over the targets."""
    hidden: np.ndarray
    """Last hidden states after the final norm [B, T, D]; undefined in padding."""
    scores: np.ndarray | None
    """Logits, cosines or numbers: [B, T, C] for a target per token, else [S, C]; None for a model without a head."""
    gradients: dict[str, np.ndarray]
    """Gradients of the mean loss, by public name."""


def make_case(seed: int, index: int) -> Case:
    """Case number `index` of a seed."""
    rng = np.random.default_rng([seed, index])
    source, target, head = COMBINATIONS[index % len(COMBINATIONS)]
    kind = KINDS[target]
    rows, length = int(rng.integers(1, 4)), int(rng.integers(5, 38))
    d_model, classes = int(rng.integers(5, 30)), int(rng.integers(3, 12))
    segments = _segments(rng, rows, length, packed=bool(index % 2))
    arrays: dict[str, np.ndarray] = {"segments": segments}
    if source == "tokens":
        vocab = classes if kind.from_tokens else int(rng.integers(5, 40))
        model_input: dict[str, Any] = {"kind": "tokens", "vocab_size": vocab}
        arrays["tokens"] = rng.integers(0, vocab, (rows, length)).astype(np.uint32)
    else:
        n_features = d_model if source == "hidden" else int(rng.integers(1, 6))
        model_input = {"kind": "hidden"} if source == "hidden" else {"kind": "features", "n_features": n_features}
        arrays["features"] = rng.normal(size=(rows, length, n_features)).astype(np.float32)
    widths = {"class": classes, "number": 3 if head == "squared" else 1, "gradient": d_model}
    for array in kind.arrays:
        arrays[array.name] = _target_array(rng, array, kind, widths[array.element], segments, (rows, length))
    model = {
        "input": model_input,
        "d_model": d_model,
        "n_layers": int(rng.integers(1, 4)),
        "block": {
            "kind": "mamba1",
            "d_state": int(rng.choice([1, 3, 5, 8, 16])),
            "d_conv": int(rng.choice([2, 3, 4])),
            "expand": int(rng.integers(1, 3)),
            "dt_rank": int(rng.integers(1, 5)),
        },
        "target": _target(kind, index, widths["number"]),
        "head": _head(rng, head, classes, d_model, kind),
    }
    return Case(name=f"{index:02d} {source} {target} {head}", model=model, arrays=arrays)


def _segments(rng: np.random.Generator, rows: int, length: int, *, packed: bool) -> np.ndarray:
    """Documents as (row, start, end): several a row when packed, else one that may end early."""
    out = []
    for row in range(rows):
        if packed:
            inner = rng.choice(np.arange(1, length), size=min(3, length - 1), replace=False)
            cuts = [0, *sorted(inner.tolist()), length]
        else:
            cuts = [0, int(rng.integers(max(1, length // 2), length + 1))]
        out += [(row, a, b) for a, b in itertools.pairwise(cuts)]
    return np.array(out, dtype=np.uint32)


def _target(kind: TargetKind, index: int, n_values: int) -> dict[str, Any]:
    """The configuration of a target."""
    target: dict[str, Any] = {"kind": kind.name}
    if kind.pooled:
        target["pooling"] = POOLING[index % len(POOLING)]
    if kind.has("number"):
        target["n_values"] = n_values
    return target


def _target_array(
    rng: np.random.Generator, array: TargetArray, kind: TargetKind, width: int, segments: np.ndarray, shape: Shape
) -> np.ndarray:
    """One array of a target; padding has none. `width`: number of classes, of values, or of hidden units."""
    entries = (len(segments),) if kind.pooled else shape
    if array.element == "class" and kind.pooled:
        return rng.integers(0, width, entries).astype(np.int32)
    if array.element == "class":
        labels = np.full(shape, -1, dtype=np.int32)
        for row, start, end in segments.tolist():
            stop = end - kind.from_tokens  # the last token of a document has no next token
            labels[row, start:stop] = rng.integers(0, width, stop - start)
        labels[0, 0] = -1
        return labels
    numbers = array.element == "number"
    out = rng.uniform(-2, 5, (*entries, width)) if numbers else rng.normal(size=(*entries, width))
    if not kind.pooled:
        out[~inside(segments, shape)] = np.nan if numbers else 0
    return out.astype(np.float32)


def inside(segments: np.ndarray, shape: Shape) -> np.ndarray:
    """True where a token belongs to a document; padding is not compared. Shape [B, T]."""
    mask = np.zeros(shape, dtype=bool)
    for row, start, end in segments.tolist():
        mask[row, start:end] = True
    return mask


def _head(rng: np.random.Generator, kind: str, classes: int, d_model: int, target: TargetKind) -> dict[str, Any]:
    if kind == "none":
        return {"kind": "none"}
    if kind in ("linear", "tied", "smoothed linear"):
        smoothing = {"smoothing": 0.2} if kind.startswith("smoothed") else {}
        return smoothing | {
            "kind": "linear",
            "n_outputs": classes,
            "loss": "softmax",
            "tied": kind == "tied",
            "bias": kind == "linear",
        }
    if kind == "squared":
        return {"kind": "linear", "n_outputs": 3, "loss": "squared", "tied": False, "bias": True}
    losses: dict[str, dict[str, Any]] = {
        "softmax": {"kind": "softmax", "scale": 9.0, "learn_scale": True},
        "cosine": {"kind": "cosine"},
        "margin": {"kind": "margin", "scale": 9.0, "margin": 0.3},
        "regression": {"kind": "regression", "low": -2.0, "high": 5.0},
        "joint": {"kind": "joint", "low": -2.0, "high": 5.0, "weight": 0.3},
    }
    *variant, loss = kind.split()
    n_classes = classes if target.has("class") else 2
    head = {"kind": "prototype", "n_classes": n_classes, "loss": losses[loss]}
    if variant == ["identity"]:
        return {**head, "projection": "identity", "dim": d_model}
    if variant == ["near"]:  # prototypes whose pairs differ
        head["dim"] = max(2, n_classes // 2)
        head["loss"] = losses[loss] | {"smoothing": 0.2, "smoothing_toward": "near"}
        return head
    head["dim"] = int(rng.integers(n_classes, n_classes + 4)) + (loss == "joint")
    if variant == ["smoothed"]:
        head["loss"] = losses[loss] | {"smoothing": 0.2}
    if variant == ["learnable"]:
        head["prototypes"] = "learnable"
        if loss == "softmax":
            head["loss"] = {"kind": "softmax", "scale": 9.0, "learn_scale": False}
    return head
