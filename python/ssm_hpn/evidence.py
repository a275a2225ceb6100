"""Where in a sequence a trained model's scores of classes come from.

The head reads one vector f per sequence, pooled from the last hidden states h of its n tokens, and its scores before
they are divided by a length are linear in f. So f is written as a sum of one vector per token:

    mean    f = Σ_t h_t/n              token t: h_t/n
    max     f_d = max_t h_td           token t: h_td where d is taken from it (of equal ones the first)
    last    f = h_last                 token t: h_t - h_(t-1), h_0 = 0: what the answer changed by when it was read

A bias belongs to all tokens alike, a token of several steps to each of them alike. A hidden state knows the tokens
before it (and behind it, where blocks read both ways): evidence says at which step the model had it.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.config import ModelConfig
from ssm_hpn.dataset import padded
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.learner import Learner
from ssm_hpn.targets import KINDS

Floats = NDArray[np.float64]

SHORTEST: Final = 1e-8
"""Least length that a vector is divided by, as in the head."""


def step_evidence(learner: Learner, sequences: Sequence[NDArray[Any]]) -> list[Floats]:
    """What each step contributes to the score of each class, [T, C] for each sequence; over the steps it sums to them.

    `sequences` are channels f32 [T, F] or tokens [T], as the model reads them. The scores are those of `predict`:
    cosines, or logits of a linear head.

    Raises `ConfigError` for a model without a class per sequence, and for one that reads the last hidden state of
    blocks that read both ways, whose change from token to token says nothing.

    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "features", "n_features": 2}, "d_model": 16, "n_layers": 1}
    >>> model |= {"target": {"kind": "sequence_class", "pooling": "mean"}, "head": {"n_classes": 3}}
    >>> trainer = Trainer({"model": model})
    >>> series = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    >>> evidence = step_evidence(trainer, [series])[0]
    >>> evidence.shape, bool(np.allclose(evidence.sum(axis=0), trainer.predict({"features": series[None]})[0]))
    ((40, 3), True)
    """
    model = learner.config.model
    kind = KINDS[model.target.kind]
    if not (kind.pooled and kind.has("class")):
        advice = "train one of sequence_class or joint"
        raise ConfigError(problem("evidence", "a model of a class per sequence", model.target.kind, advice))
    if (reason := untold(model)) is not None:
        advice = "train with model.target.pooling = mean or max"
        raise ConfigError(problem("evidence", "pooling = mean or max, or causal blocks", reason, advice))
    pooling = _pooling(model)
    name = "tokens" if model.input.kind == "tokens" else "features"
    weights, bias, normalised = _readout(learner)
    stride = int(getattr(model.stem, "stride", getattr(model.stem, "size", 1)))
    found = []
    for one in sequences:
        hidden = learner.hidden(padded([one], name))[0].astype(np.float64)
        parts = pooled_parts(hidden, pooling)
        z = parts @ weights.T + bias / len(hidden)
        if normalised is not None:
            z = z @ normalised.T / max(float(np.linalg.norm(z.sum(axis=0))), SHORTEST)
        found.append(_of_steps(z, len(one), stride))
    return found


def untold(model: ModelConfig) -> str | None:
    """Why the evidence of a model of a class per sequence cannot be told; None where it can."""
    both = _pooling(model) == "last" and _reads_both_ways(model)
    return "pooling = last with blocks that read both ways" if both else None


def _pooling(model: ModelConfig) -> str:
    return str(getattr(model.target, "pooling", "last"))


def pooled_parts(hidden: Floats, pooling: str) -> Floats:
    """One vector per token [n, D] of hidden states [n, D], which sum to what the head reads.

    >>> hidden = np.array([[1.0, 5.0], [3.0, 2.0]])
    >>> {pooling: pooled_parts(hidden, pooling).tolist() for pooling in ("mean", "max", "last")}
    {'mean': [[0.5, 2.5], [1.5, 1.0]], 'max': [[0.0, 5.0], [3.0, 0.0]], 'last': [[1.0, 5.0], [2.0, -3.0]]}
    """
    if pooling == "mean":
        return hidden / len(hidden)
    if pooling == "last":
        return np.diff(hidden, axis=0, prepend=0.0)
    parts, coordinates = np.zeros_like(hidden), np.arange(hidden.shape[1])
    first = hidden.argmax(axis=0)
    parts[first, coordinates] = hidden[first, coordinates]
    return parts


def _readout(learner: Learner) -> tuple[Floats, Floats, Floats | None]:
    """W [Q, D] and b [Q] of the part of the head that is linear, and unit prototypes [C, Q] where it has some."""
    there = {row["id"] for row in learner.parameter_table()}

    def parameter(name: str) -> Floats:
        return learner.parameter(name).astype(np.float64)

    if "head.prototypes" not in there:
        weights = parameter("lm_head.weight")
        bias = parameter("lm_head.bias") if "lm_head.bias" in there else np.zeros(len(weights))
        return weights, bias, None
    spare = getattr(learner.config.model.head, "spare", 0)
    prototypes = parameter("head.prototypes")
    prototypes = prototypes[: len(prototypes) - spare]
    prototypes /= np.maximum(np.linalg.norm(prototypes, axis=1, keepdims=True), SHORTEST)
    if "head.projection.weight" in there:
        weights, bias = parameter("head.projection.weight"), parameter("head.projection.bias")
    else:
        weights, bias = np.eye(learner.config.model.d_model), np.zeros(learner.config.model.d_model)
    pole = len(weights) - prototypes.shape[1]  # the first coordinate of the joint loss is the number's
    return weights[pole:], bias[pole:], prototypes


def _reads_both_ways(model: ModelConfig) -> bool:
    """Whether a block of the model reads its tokens backwards too."""

    def kinds(value: Any) -> bool:  # noqa: ANN401 - settings of any shape
        if isinstance(value, dict):
            return value.get("kind") == "bidirectional" or any(map(kinds, value.values()))
        if isinstance(value, list | tuple):
            return any(map(kinds, value))
        return bool(value == "bidirectional")

    return kinds(model.model_dump(mode="json", include={"block", "layers"}))


def _of_steps(z: Floats, steps: int, stride: int) -> Floats:
    """Evidence of steps [T, C] from that of tokens [n, C], of which each is `stride` steps; the last may be fewer."""
    token = np.arange(steps) // stride
    return z[token] / np.bincount(token)[token][:, None]
