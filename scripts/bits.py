"""Digests of trained weights: the same configuration has to give the same bits before and after a change of structure.

    python scripts/bits.py > before.json         # weights after 50 updates, per model and instruction set
    python scripts/bits.py --check before.json    # exit status 1 and one line for each that differs

The models are the one of all defaults, a byte-level language model, and one small model for each kind of target, with
and without recomputation. The data is made here from a fixed seed, and no split has a part in it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

STEPS = 50
INSTRUCTION_SETS = ("scalar", "avx2", "avx512")
ROWS, LENGTH, FEATURES = 4, 48, 3
SMALL = {"d_model": 48, "n_layers": 3}


def targets() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Model settings and the arrays of a batch, by name of the target."""
    rng = np.random.default_rng(7)
    tokens = {"tokens": rng.integers(0, 50, (ROWS, LENGTH))}
    features = {"features": rng.standard_normal((ROWS, LENGTH, FEATURES))}
    halves = {"segments": [[row, start, start + 24] for row in range(ROWS) for start in (0, 24)]}
    text = {"input": {"kind": "tokens", "vocab_size": 50}, **SMALL}
    series = {"input": {"kind": "features", "n_features": FEATURES}, **SMALL}
    hidden = {"input": {"kind": "hidden"}, **SMALL}
    classes = {"kind": "prototype", "n_classes": 5, "prototypes": "simplex"}
    number = {"kind": "linear", "loss": "squared", "bias": True, "n_outputs": 2}
    pole = {"kind": "prototype", "loss": {"kind": "regression"}}
    return {
        "next_token": (
            text | {"target": {"kind": "next_token"}, "head": {"kind": "linear", "tied": True}},
            tokens | halves,
        ),
        "token_class": (
            text | {"target": {"kind": "token_class"}, "head": classes},
            tokens | {"token_class": rng.integers(-1, 5, (ROWS, LENGTH))},
        ),
        "sequence_class": (
            series
            | {"target": {"kind": "sequence_class", "pooling": "max"}, "head": classes | {"loss": {"kind": "margin"}}},
            features | halves | {"sequence_class": rng.integers(0, 5, 2 * ROWS)},
        ),
        "sequence_values": (
            series | {"target": {"kind": "sequence_values", "pooling": "mean", "n_values": 2}, "head": number},
            features | {"sequence_values": rng.standard_normal((ROWS, 2))},
        ),
        "pole": (
            series | {"target": {"kind": "sequence_values", "pooling": "last", "n_values": 1}, "head": pole},
            features | {"sequence_values": rng.uniform(-1, 1, (ROWS, 1))},
        ),
        "cotangent": (
            hidden | {"target": {"kind": "cotangent"}, "head": {"kind": "none"}},
            {
                "features": rng.standard_normal((ROWS, LENGTH, 48)),
                "cotangent": rng.standard_normal((ROWS, LENGTH, 48)) / 100,
            },
        ),
    }


def trained(settings: dict[str, Any], batch: dict[str, np.ndarray] | None) -> str:
    """Digest of the parameters after the updates, of the same batch each or of the training data."""
    from ssm_hpn import Trainer

    trainer = Trainer(settings | {"train": {**settings.get("train", {}), "seed": 3}})
    for _ in range(STEPS):
        trainer.step(batch)
    return trainer.session.digest()


def default_job(folder: str) -> str:
    """Digest of a model of all defaults after its first updates, on text made here of which nothing is held out."""
    from ssm_hpn.config import PrepareOptions
    from ssm_hpn.prepare import prepare

    rng = np.random.default_rng(3)
    words = ["".join(map(chr, rng.integers(97, 123, n))) for n in rng.integers(2, 9, 500)]
    text = Path(folder) / "text.txt"
    text.write_text("\n".join(" ".join(rng.choice(words, 12)) for _ in range(6000)), encoding="utf-8")
    made = prepare(PrepareOptions(train=(str(text),), validation_fraction=0), Path(folder) / "data")
    return trained({"data": {"train": [str(made.train)]}}, None)


def digests() -> dict[str, str]:
    """Digest by model, with the instruction set that the environment names."""
    found = {}
    for name, (model, batch) in targets().items():
        arrays = {key: np.asarray(value, _type(key)) for key, value in batch.items()}
        for memory in ("keep", "recompute"):
            found[f"{name}, {memory}"] = trained({"model": model | {"activation_memory": memory}}, arrays)
    with tempfile.TemporaryDirectory() as folder:
        found["defaults, text"] = default_job(folder)
    return found


def _type(name: str) -> type[np.generic]:
    if name in ("tokens", "segments"):
        return np.uint32
    return np.int32 if name.endswith("class") else np.float32


def every_instruction_set() -> dict[str, dict[str, str]]:
    """Digest by instruction set and model; an instruction set that this processor lacks is left out."""
    found = {}
    for name in INSTRUCTION_SETS:
        command = [sys.executable, __file__, "--one"]
        done = subprocess.run(
            command, env=os.environ | {"SSM_HPN_SIMD": name}, capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            found[name] = json.loads(done.stdout)
        elif "SSM_HPN_SIMD" not in done.stderr:
            sys.exit(done.stderr)
    return found


def main() -> int:
    """Print the digests, or compare them with those of a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", metavar="FILE", help="a file that this program printed before")
    parser.add_argument("--one", action="store_true", help="only the instruction set of the environment")
    options = parser.parse_args()
    found = digests() if options.one else every_instruction_set()
    if options.check is None:
        print(json.dumps(found, indent=1))
        return 0
    before = json.loads(Path(options.check).read_text(encoding="utf-8"))
    if options.one:
        before = {"": before[os.environ["SSM_HPN_SIMD"]]}
        found = {"": found}
    differing = [
        f"{name} {model}: expected {digest[:12]}, found {found[name][model][:12]}"
        for name, models in before.items()
        if name in found
        for model, digest in models.items()
        if found[name].get(model, digest) != digest
    ]
    compared = sum(model in found.get(name, {}) for name, models in before.items() for model in models)
    print("\n".join(differing) or f"equal: {compared} digests")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
