"""Mamba-1 language model in PyTorch, float64, differentiated by autograd: a second reference where it is installed.

Next-token models with the linear head only; the JAX reference covers the rest. Symbols as in `reference_jax`.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the usual name

from ssm_hpn.parity.cases import Outcome
from ssm_hpn.parity.reference_jax import document_numbers


def supports(model: dict[str, Any]) -> bool:
    """Whether this reference can compute the model."""
    return bool(model["target"]["kind"] == "next_token" and model["head"]["kind"] == "linear")


def _norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def _mixer(u: torch.Tensor, p: dict[str, torch.Tensor], block: dict[str, Any], start: torch.Tensor) -> torch.Tensor:
    n, r, taps = block["d_state"], block["dt_rank"], block["d_conv"]
    x, z = (u @ p["in_proj.weight"].T).chunk(2, -1)
    convolved = []
    for row in range(len(u)):
        # each document is padded and convolved on its own
        cuts = [*torch.nonzero(start[row]).ravel().tolist(), u.shape[1]]
        parts = [F.pad(x[row, a:b].T[None], (taps - 1, 0)) for a, b in itertools.pairwise(cuts)]
        weight, bias = p["conv1d.weight"], p["conv1d.bias"]
        convolved.append(torch.cat([F.conv1d(part, weight, bias, groups=len(bias))[0].T for part in parts]))
    x = F.silu(torch.stack(convolved))
    dt, b, c = (x @ p["x_proj.weight"].T).split([r, n, n], -1)
    delta, a = F.softplus(dt @ p["dt_proj.weight"].T + p["dt_proj.bias"]), -torch.exp(p["A_log"])
    h, out = torch.zeros(len(u), x.shape[-1], n, dtype=u.dtype), []
    for t in range(u.shape[1]):
        h = torch.where(start[:, t, None, None], 0.0, h)
        h = torch.exp(delta[:, t, :, None] * a) * h + (delta[:, t] * x[:, t])[..., None] * b[:, t, None, :]
        out.append((h * c[:, t, None, :]).sum(-1))
    return ((torch.stack(out, 1) + p["D"] * x) * F.silu(z)) @ p["out_proj.weight"].T


def evaluate(params: dict[str, np.ndarray], model: dict[str, Any], arrays: dict[str, np.ndarray]) -> Outcome:
    """Results for parameters by public name and the arrays of a batch."""
    p = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in params.items()}
    rows, length = arrays["tokens"].shape
    document = document_numbers(arrays["segments"], rows, length)
    start = torch.tensor(np.concatenate([np.ones((rows, 1), bool), document[:, 1:] != document[:, :-1]], 1))
    x = p["backbone.embedding.weight"][torch.tensor(arrays["tokens"].astype(np.int64))]
    for layer in range(model["n_layers"]):
        prefix = f"backbone.layers.{layer}."
        inner = {k.removeprefix(prefix + "mixer."): v for k, v in p.items() if k.startswith(prefix + "mixer.")}
        x = x + _mixer(_norm(x, p[prefix + "norm.weight"]), inner, model["block"], start)
    hidden = _norm(x, p["backbone.norm_f.weight"])
    head = model["head"]
    logits = hidden @ p["backbone.embedding.weight" if head["tied"] else "lm_head.weight"].T
    if head["bias"]:
        logits = logits + p["lm_head.bias"]
    target = torch.tensor(arrays["token_class"].astype(np.int64)).ravel()
    smoothing = head.get("smoothing", 0.0)
    loss = F.cross_entropy(logits.reshape(rows * length, -1), target, ignore_index=-1, label_smoothing=smoothing)
    loss.backward()
    gradients = {k: v.grad.numpy() for k, v in p.items() if v.grad is not None}
    return Outcome(loss.item(), hidden.detach().numpy(), logits.detach().numpy(), gradients)
