"""The published way to separate prototypes (Mettes et al., Hyperspherical prototype networks, 2019), in numpy.

    python benchmarks/prototypes/published.py CLASSES DIM [--momentum] [--rate 0.1] [--seed 0]

Prints the largest cosine and the seconds. Loss: the mean over prototypes of the largest cosine to another one. A step
of gradient descent with momentum 0.9, then unit length, 1,000 times. The published script makes its optimiser anew in
each step, so that the momentum never acts; with --momentum it does.
"""

import argparse
import time

import numpy as np
from numpy.typing import NDArray

STEPS = 1000
RATE = 0.1
MOMENTUM = 0.9


def separated(classes: int, dim: int, *, momentum: bool, rate: float = RATE, seed: int = 0) -> NDArray[np.float32]:
    """Prototypes [C, Q] after the last step."""
    p = np.random.default_rng(seed).normal(size=(classes, dim)).astype(np.float32)
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    speed = np.zeros_like(p)
    rows = np.arange(classes)
    for _ in range(STEPS):
        cosines = p @ p.T
        np.fill_diagonal(cosines, -1)
        other = cosines.argmax(axis=1)
        # The loss is Σ_i p_i·p_other(i) / C: a prototype gets the one that it is nearest to, and those nearest to it.
        gradient = p[other]
        np.add.at(gradient, other, p[rows])
        gradient /= classes
        speed = MOMENTUM * speed + gradient if momentum else gradient
        p = p - np.float32(rate) * speed
        p /= np.linalg.norm(p, axis=1, keepdims=True)
    return p


def main() -> None:
    """One arrangement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("classes", type=int)
    parser.add_argument("dim", type=int)
    parser.add_argument("--momentum", action="store_true")
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started = time.perf_counter()
    p = separated(given.classes, given.dim, momentum=given.momentum, rate=given.rate, seed=given.seed).astype(
        np.float64
    )
    seconds = time.perf_counter() - started
    cosines = p @ p.T
    np.fill_diagonal(cosines, -1)
    print(f"{cosines.max():.4f} in {seconds:.2f} s")


if __name__ == "__main__":
    main()
