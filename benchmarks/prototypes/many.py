"""What 50,000 prototypes of 256 numbers cost: an update's loss and gradient, and the nearest prototype.

    OPENBLAS_NUM_THREADS=1 python benchmarks/prototypes/many.py [--classes 50000] [--dim 256] [--samples 256]

The head alone is trained, over features that are given through one frozen layer, whose forward pass is a row of its
own: a training pass with the squared cosine touches the prototype of the target, one with the scaled softmax all of
them. Beside them the products of the projection by numpy: forward, and the gradient of the weight. `cargo bench --bench
heads` times the head without any layer. The least time of several calls, on one thread.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from ssm_hpn import Trainer
from ssm_hpn.prototypes import largest_cosine, nearest, place


def milliseconds(call: Callable[[], object], repeated: int) -> float:
    """Least time of a call."""
    call()
    found = []
    for _ in range(repeated):
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return 1e3 * min(found)


def head_pass(loss: str, classes: int, dim: int, samples: int, width: int) -> tuple[float, float]:
    """Milliseconds of loss and gradients of `samples` features, and of the frozen layer alone."""
    head = {"kind": "prototype", "n_classes": classes, "dim": dim, "loss": {"kind": loss}}
    block = {"kind": "mlp", "expand": 1}
    model = {"input": {"kind": "hidden"}, "d_model": width, "n_layers": 1, "layers": [block], "head": head}
    trainer = Trainer({"model": model | {"target": {"kind": "token_class"}}, "train": {"threads": 1}})
    trainer.freeze(layers=[0], patterns=["norm_f.weight"])
    random = np.random.default_rng(0)
    hidden = random.normal(size=(1, samples, width)).astype(np.float32)
    labels = random.integers(0, classes, size=(1, samples)).astype(np.int32)
    batch = {"features": hidden, "token_class": labels}
    repeated = 41 if loss == "cosine" else 7
    found = milliseconds(lambda: trainer.forward_backward(batch), repeated)
    return found, milliseconds(lambda: trainer.hidden(batch), repeated)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for name, default in (("classes", 50_000), ("dim", 256), ("samples", 256), ("width", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    random = np.random.default_rng(0)
    x = random.normal(size=(given.samples, given.width)).astype(np.float32)
    weight = random.normal(size=(given.dim, given.width)).astype(np.float32)
    z = x @ weight.T
    projection = milliseconds(lambda: (x @ weight.T, z.T @ x), 15)
    started = time.perf_counter()
    placed = place(given.classes, given.dim)
    seconds = time.perf_counter() - started
    rows = placed.prototypes.astype(np.float32)
    points = z / np.linalg.norm(z, axis=1, keepdims=True)
    print(f"{given.classes:,} prototypes of {given.dim} numbers, {given.samples} samples of {given.width}, one thread")
    print("| | milliseconds |\n|---|---:|")
    print(f"| {placed.construction} prototypes, largest cosine {largest_cosine(rows):.4f} | {1e3 * seconds:.0f} |")
    print(f"| the projection by numpy | {projection:.2f} |")
    for loss in ("cosine", "softmax"):
        for classes in (10, given.classes):
            found, layer = head_pass(loss, classes, given.dim, given.samples, given.width)
            what = f"loss and gradients, {loss}, {classes:,} classes"
            print(f"| {what} | {found:.2f}, the layer {layer:.2f} of it |", flush=True)
    print(f"| one product of points and prototypes | {milliseconds(lambda: points @ rows.T, 5):.2f} |")
    print(f"| nearest | {milliseconds(lambda: nearest(points, rows), 5):.2f} |")


if __name__ == "__main__":
    main()
