"""Continuations drawn from the most probable tokens that together have a given probability ("top-p", the nucleus).

    P(i) ∝ exp(s·z_i / temperature)            of the `top_k` best tokens, or of all
    drawn from the smallest set of best tokens with Σ P ≥ p

    z   scores of the head, s its scale (1 for a linear head)

Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020, section 3.1.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.errors import ConfigError, problem

Floats = NDArray[np.float32] | NDArray[np.float64]


def nucleus(logits: Floats, *, top_p: float, top_k: int | None = None) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The tokens to draw from, the best one first, and their probabilities, which sum to 1.

    >>> tokens, chances = nucleus(np.log([0.1, 0.6, 0.3]), top_p=0.8)
    >>> tokens.tolist(), chances.round(3).tolist()
    ([1, 2], [0.667, 0.333])
    """
    order = np.argsort(-logits, kind="stable")[:top_k]
    chances = np.exp(logits[order].astype(np.float64) - float(logits[order[0]]))
    chances /= chances.sum()
    there = int(np.searchsorted(np.cumsum(chances), min(top_p, 1.0) - 1e-12)) + 1
    return order[:there], chances[:there] / chances[:there].sum()


def draw(
    read: Callable[[NDArray[np.uint32]], Floats],
    prompt: Sequence[int],
    n: int,
    *,
    sharpness: float,
    top_p: float,
    top_k: int | None,
    seed: int,
) -> list[int]:
    """Continue a prompt by n tokens.

    Parameters
    ----------
    read
        Scores [1, C] after tokens [1, T], each call after those of the calls before.
    sharpness
        What the scores are multiplied by: the scale of the head by the temperature.

    Raises `ConfigError` for a probability that is none.

    >>> after = {1: [[0.0, 5.0]], 0: [[5.0, 0.0]]}
    >>> draw(lambda x: np.array(after[int(x[0, -1])]), [0], 3, sharpness=1.0, top_p=0.5, top_k=None, seed=0)
    [0, 0, 0]
    """
    if not 0 < top_p <= 1:
        raise ConfigError(problem("generate, top_p", "a probability above 0 and up to 1", top_p, "0.9 is usual"))
    random, x, found = np.random.default_rng(seed), np.array([prompt], np.uint32), []
    for _ in range(n):
        tokens, chances = nucleus(read(x)[0] * sharpness, top_p=top_p, top_k=top_k)
        place = int(np.searchsorted(np.cumsum(chances), random.random(), "right"))
        found.append(int(tokens[min(place, len(tokens) - 1)]))
        x = np.array([found[-1:]], np.uint32)
    return found
