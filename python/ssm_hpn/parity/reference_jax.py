"""Mamba-1 with every head in JAX, float64, differentiated by `jax.grad`: written from the formulas, for parity alone.

Glossary: B rows, T tokens, D d_model, I = E·D, N d_state, K d_conv, R dt_rank, C classes, Q prototype dimension.
Documents are given as a number per token (`document` [B, T], -1 where there is padding); convolution and state never
cross from one to the next.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ssm_hpn.parity.cases import Outcome
from ssm_hpn.targets import KINDS

jax.config.update("jax_enable_x64", val=True)  # type: ignore[no-untyped-call]

Params = dict[str, jax.Array]


def document_numbers(segments: np.ndarray, rows: int, length: int) -> np.ndarray:
    """Index of the document of each token, -1 for padding. Shape [B, T]."""
    out = np.full((rows, length), -1)
    for number, (row, start, end) in enumerate(segments.tolist()):
        out[row, start:end] = number
    return out


def rms_norm(x: jax.Array, weight: jax.Array, eps: float = 1e-5) -> jax.Array:
    """Root-mean-square norm over the last axis."""
    return x * lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + eps) * weight


def causal_conv(x: jax.Array, weight: jax.Array, bias: jax.Array, document: jax.Array) -> jax.Array:
    """Depthwise convolution [B, T, I]; the last tap is the current token, taps of other documents are absent."""
    taps = weight.shape[-1]
    out = jnp.broadcast_to(bias, x.shape)
    for k in range(taps):
        back = taps - 1 - k
        shifted = jnp.pad(x, ((0, 0), (back, 0), (0, 0)))[:, : x.shape[1]]
        theirs = jnp.pad(document, ((0, 0), (back, 0)), constant_values=-2)[:, : x.shape[1]]
        out = out + jnp.where((theirs == document)[..., None], shifted * weight[:, 0, k], 0.0)
    return out


def mixer(u: jax.Array, p: Params, block: dict[str, Any], document: jax.Array) -> jax.Array:
    """The Mamba-1 mixer, [B, T, D] to [B, T, D]."""
    n, r = block["d_state"], block["dt_rank"]
    x, z = jnp.split(u @ p["in_proj.weight"].T, 2, -1)
    x = jax.nn.silu(causal_conv(x, p["conv1d.weight"], p["conv1d.bias"], document))
    dt, b, c = jnp.split(x @ p["x_proj.weight"].T, [r, r + n], -1)
    delta = jax.nn.softplus(dt @ p["dt_proj.weight"].T + p["dt_proj.bias"])
    a = -jnp.exp(p["A_log"])
    start = jnp.concatenate([jnp.ones_like(document[:, :1], bool), document[:, 1:] != document[:, :-1]], 1)

    def token(h: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        x_t, d_t, b_t, c_t, first = now
        h = jnp.where(first[:, None, None], 0.0, h)
        h = jnp.exp(d_t[..., None] * a) * h + (d_t * x_t)[..., None] * b_t[:, None, :]
        return h, jnp.einsum("bin,bn->bi", h, c_t)

    moved = tuple(jnp.moveaxis(v, 1, 0) for v in (x, delta, b, c, start))
    _, y = lax.scan(token, jnp.zeros((u.shape[0], x.shape[-1], n)), moved)
    y = jnp.moveaxis(y, 0, 1) + p["D"] * x
    return (y * jax.nn.silu(z)) @ p["out_proj.weight"].T


def hidden_states(params: Params, model: dict[str, Any], arrays: dict[str, Any]) -> jax.Array:
    """Normalised last hidden states [B, T, D]."""
    if model["input"]["kind"] == "tokens":
        x = params["backbone.embedding.weight"][arrays["tokens"]]
    elif model["input"]["kind"] == "hidden":
        x = arrays["features"]
    else:
        x = arrays["features"] @ params["input.weight"].T + params["input.bias"]
    for layer in range(model["n_layers"]):
        prefix = f"backbone.layers.{layer}."
        inner = {k.removeprefix(prefix + "mixer."): v for k, v in params.items() if k.startswith(prefix + "mixer.")}
        x = x + mixer(rms_norm(x, params[prefix + "norm.weight"]), inner, model["block"], arrays["document"])
    return rms_norm(x, params["backbone.norm_f.weight"])


def pooled(hidden: jax.Array, model: dict[str, Any], segments: np.ndarray) -> jax.Array:
    """One feature per document [S, D]."""
    documents = [hidden[row, start:end] for row, start, end in segments.tolist()]
    match model["target"]["pooling"]:
        case "last":
            return jnp.stack([document[-1] for document in documents])
        case "mean":
            return jnp.stack([document.mean(0) for document in documents])
        case _:
            return jnp.stack([document.max(0) for document in documents])


def unit(z: jax.Array) -> jax.Array:
    """Rows scaled to length 1."""
    return z / jnp.maximum(jnp.linalg.norm(z, axis=-1, keepdims=True), 1e-8)


def scores(params: Params, model: dict[str, Any], features: jax.Array) -> jax.Array:
    """Logits, cosines or values of features [n, D]."""
    head = model["head"]
    if head["kind"] == "linear":
        weight = params["backbone.embedding.weight" if head["tied"] else "lm_head.weight"]
        logits: jax.Array = features @ weight.T
        return logits + params["lm_head.bias"] if head["bias"] else logits
    identity = head.get("projection") == "identity"
    z = features if identity else features @ params["head.projection.weight"].T + params["head.projection.bias"]
    number = None
    if head["loss"]["kind"] in ("regression", "joint"):
        low, high = float(head["loss"]["low"]), float(head["loss"]["high"])
        number = (unit(z)[:, :1] + 1) / 2 * (high - low) + low
        if head["loss"]["kind"] == "regression":
            return number
        z = z[:, 1:]  # the class has the other coordinates, with their own norm
    prototypes = params["head.prototypes"]
    cosines = unit(z) @ (unit(prototypes) if head.get("prototypes") == "learnable" else prototypes).T
    return cosines if number is None else jnp.concatenate([cosines, number], -1)


def losses(params: Params, model: dict[str, Any], features: jax.Array, target: jax.Array) -> jax.Array:
    """Loss of every feature [n]; `target` [n, K] holds classes (none negative), values, or a class and a number."""
    head, out = model["head"], scores(params, model, features)
    kind = head["loss"] if head["kind"] == "linear" else head["loss"]["kind"]
    rows, classes = jnp.arange(len(target)), target[:, 0].astype(int)
    if kind == "joint":
        weight, width = head["loss"]["weight"], head["loss"]["high"] - head["loss"]["low"]
        distance = 1 - out[rows, classes]
        both: jax.Array = (1 - weight) * (2 * (target[:, 1] - out[:, -1]) / width) ** 2 + weight * distance**2
        return both
    if kind == "squared":
        return jnp.mean((out - target) ** 2, -1)
    if kind == "regression":
        width = head["loss"]["high"] - head["loss"]["low"]
        squared: jax.Array = (2 * (target[:, 0] - out[:, 0]) / width) ** 2
        return squared
    if kind == "cosine":
        return (1 - out[rows, classes]) ** 2
    if kind == "margin":
        cosine, m = out[rows, classes], head["loss"]["margin"]
        moved = jnp.cos(jnp.arccos(jnp.clip(cosine, -1 + 1e-12, 1 - 1e-12)) + m)
        moved = jnp.where(cosine > -np.cos(m), moved, cosine - m * np.sin(m))
        out = out.at[rows, classes].set(moved) * head["loss"]["scale"]
    elif head["kind"] == "prototype":
        learned = head["loss"]["learn_scale"]
        out = out * (params["head.scale"][0] if learned else head["loss"]["scale"])
    logs = jax.nn.log_softmax(out, -1)
    settings = head if head["kind"] == "linear" else head["loss"]
    smoothing = settings.get("smoothing", 0.0)
    if smoothing == 0:
        return -logs[rows, classes]
    shared = jnp.full_like(logs, 1 / logs.shape[-1])
    if settings.get("smoothing_toward") == "near":
        others = params["head.prototypes"] @ params["head.prototypes"].T * head["loss"]["scale"]
        shared = jax.nn.softmax(jnp.fill_diagonal(others, -jnp.inf, inplace=False), -1)[classes]
    smoothed: jax.Array = -(1 - smoothing) * logs[rows, classes] - smoothing * jnp.sum(shared * logs, -1)
    return smoothed


def evaluate(params: dict[str, np.ndarray], model: dict[str, Any], arrays: dict[str, np.ndarray]) -> Outcome:
    """Results for parameters by public name and the arrays of a batch.

    Without a head the target is the gradient of the hidden states. A feature of which a class or value is missing, as
    in padding, has no loss.
    """
    rows, length = next(arrays[k] for k in ("tokens", "features") if k in arrays).shape[:2]
    kind = KINDS[model["target"]["kind"]]
    targets = [arrays[array.name] for array in kind.arrays]
    given: dict[str, Any] = {k: jnp.asarray(v, jnp.float64) if k == "features" else v for k, v in arrays.items()}
    given["document"] = jnp.asarray(document_numbers(arrays["segments"], rows, length))

    def loss_of(p: Params) -> tuple[jax.Array, tuple[jax.Array, jax.Array | None]]:
        hidden = hidden_states(p, model, given)
        if model["head"]["kind"] == "none":
            return jnp.sum(hidden * jnp.asarray(targets[0], jnp.float64)), (hidden, None)
        documents = pooled(hidden, model, arrays["segments"]) if kind.pooled else None
        features = hidden.reshape(rows * length, -1) if documents is None else documents
        columns = [each.reshape(len(features), -1) for each in targets]
        there = [each >= 0 if each.dtype.kind == "i" else ~np.isnan(each) for each in columns]
        chosen = np.nonzero(np.hstack(there).all(1))[0]
        target = jnp.asarray(np.hstack(columns)[chosen], jnp.float64)
        out = scores(p, model, hidden if documents is None else documents)
        return jnp.mean(losses(p, model, features[chosen], target)), (hidden, out)

    start = {k: jnp.asarray(v, jnp.float64) for k, v in params.items()}
    (loss, (hidden, out)), gradients = jax.jit(jax.value_and_grad(loss_of, has_aux=True))(start)
    return Outcome(
        loss=float(loss),
        hidden=np.asarray(hidden),
        scores=None if out is None else np.asarray(out),
        gradients={k: np.asarray(v) for k, v in gradients.items()},
    )
