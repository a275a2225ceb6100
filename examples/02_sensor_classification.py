"""Vibration of a rotating machine: six known conditions, and scores that are low for any other.

    python examples/02_sensor_classification.py

Three accelerometers, windows of 192 samples at 1.6 kHz, speed and load different in each window. The classifier learns
six conditions and is then tested with five unknown faults. What a window is rejected by is its confidence: how typical
of any class its point among the prototypes is (features of fixed filters), or what the head of a trained backbone reads
of it. A plain softmax layer on the same backbone is trained for comparison; it rejects by its largest probability.
"""

import time
from collections import Counter

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from ssm_hpn.estimators import SSMClassifier

RATE, SAMPLES = 1600.0, 192
KNOWN = ("healthy", "imbalance", "misalignment", "looseness", "outer race", "inner race")
UNKNOWN = ("cavitation", "gear mesh", "electrical", "rub", "loose sensor")

Window = NDArray[np.float64]


def tone(t: Window, frequency: float, random: np.random.Generator) -> Window:
    """A sine with a random phase."""
    return np.sin(2 * np.pi * frequency * t + random.uniform(0, 2 * np.pi))


def impacts(t: Window, rate: float, ring: float, random: np.random.Generator) -> Window:
    """Short blows, `rate` a second with a little slip, each ringing down at the housing's resonance."""
    signal = np.zeros_like(t)
    at = random.uniform(-1 / rate, 0)
    while at < t[-1]:
        after = t - at
        signal += np.where(after >= 0, np.exp(-after * 180) * np.sin(2 * np.pi * ring * after), 0)
        at += random.normal(1, 0.015) / rate
    return signal


def source(kind: str, t: Window, shaft: float, random: np.random.Generator) -> list[Window]:  # noqa: C901 - a catalogue
    """Radial, tangential and axial vibration of one condition; `shaft` is the speed in turns per second."""
    once, twice = tone(t, shaft, random), tone(t, 2 * shaft, random)
    quiet = np.zeros_like(t)
    match kind:
        case "healthy":
            return [quiet, quiet, quiet]
        case "imbalance":
            return [1.6 * once, 1.4 * tone(t, shaft, random), 0.2 * once]
        case "misalignment":
            return [0.5 * once + 0.7 * twice, 0.5 * twice, 1.1 * once + 1.2 * twice]
        case "looseness":
            harmonics = sum(tone(t, k * shaft / 2, random) / (1 + 0.15 * k) for k in range(1, 10))
            return [0.7 * harmonics, 0.3 * harmonics, 0.2 * harmonics]
        case "outer race":
            blows = impacts(t, 3.58 * shaft, 620, random)
            return [2.2 * blows, 1.2 * blows, 0.4 * blows]
        case "inner race":
            blows = impacts(t, 5.42 * shaft, 560, random) * (1 + 0.9 * tone(t, shaft, random))
            return [1.9 * blows, 1.5 * blows, 0.4 * blows]
        case "cavitation":
            bursts = random.normal(size=t.shape) * np.clip(tone(t, random.uniform(5, 12), random), 0, None) ** 2
            return [2 * bursts, 2 * bursts, 1.5 * bursts]
        case "gear mesh":
            mesh = tone(t, 17 * shaft, random) * (1 + 0.6 * once)
            return [1.1 * mesh, 0.8 * mesh, 0.6 * mesh]
        case "electrical":
            hum = tone(t, 100, random) * (1 + 0.4 * tone(t, 3.3, random))
            return [1.3 * hum, 1.3 * hum, 0.3 * hum]
        case "rub":
            cut = np.clip(1.8 * once, -0.4, None)
            return [cut + 0.6 * tone(t, shaft / 3, random), 0.5 * cut, 0.3 * cut]
        case _:
            drift = np.cumsum(random.normal(0, 0.12, t.shape))
            return [np.clip(drift + 2 * once, -1, 1), drift, np.round(drift)]


def window(kind: str, random: np.random.Generator) -> Window:
    """[T, 3] acceleration of one window."""
    shaft, load = random.uniform(22, 34), random.uniform(0.6, 1.4)
    t = np.arange(SAMPLES) / RATE
    common = 0.35 * tone(t, shaft, random) + 0.15 * tone(t, 2 * shaft, random)
    channels = [load * (common + part) for part in source(kind, t, shaft, random)]
    return np.stack(channels, axis=1) + random.normal(0, 0.3, (SAMPLES, 3))


def windows(kinds: tuple[str, ...], each: int, seed: int) -> tuple[Window, NDArray[np.str_]]:
    """X [N, T, 3] and y [N]."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.array(kinds), each)
    return np.stack([window(kind, random) for kind in labels]), labels


def auroc(known: Window, unknown: Window) -> float:
    """Chance that a known window scores higher than an unknown one."""
    both = np.concatenate([known, unknown])
    ranks = np.empty(len(both))
    ranks[both.argsort()] = np.arange(1, len(both) + 1)
    return float((ranks[: len(known)].sum() - len(known) * (len(known) + 1) / 2) / (len(known) * len(unknown)))


def main() -> None:
    """Fit three models, then score unknown conditions."""
    x, y = windows(KNOWN, 120, seed=0)
    x_test, y_test = windows(KNOWN, 60, seed=1)
    x_strange, kinds = windows(UNKNOWN, 60, seed=2)
    print(f"{len(x)} windows of {SAMPLES} samples x 3 sensors, {len(KNOWN)} known conditions, {len(UNKNOWN)} unknown\n")
    print(f"{'model':<20} {'accuracy':>8} {'AUROC unknown':>14} {'rejected at 95 % kept':>22} {'seconds':>8}")
    backbone = SSMClassifier(kind="backbone", d_model=48, n_layers=2, steps=300, batch_size=24, random_state=0)
    models = {
        "backbone, linear": clone(backbone).set_params(head="linear"),
        "backbone, prototype": backbone,
        "features": SSMClassifier(random_state=0),
    }
    for name, model in models.items():
        started = time.perf_counter()
        model.fit(x, y)
        seconds = time.perf_counter() - started
        column = "probability" if model.head == "linear" else "confidence"
        decision = model.decide(x_test)
        known, strange = vars(decision)[column], vars(model.decide(x_strange))[column]
        accuracy = (decision.label == y_test).mean()
        rejected = (strange < np.quantile(known, 0.05)).mean()
        print(f"{name:<20} {accuracy:8.3f} {auroc(known, strange):14.3f} {rejected:21.1%} {seconds:9.1f}")

    model.set_params(reject_below=model.reject_threshold(keep=0.95))
    kept = 1 - model.decide(x_test).rejected.mean()
    print("\nwhat the features answer to conditions that they have never seen, at the threshold that keeps 95 % of the")
    print(f"training windows, each left out ({kept:.1%} of the new windows of known conditions)")
    answers = model.predict(x_strange)
    for kind in UNKNOWN:
        counts = Counter(answers[kinds == kind].tolist()).most_common(3)
        print(f"  {kind:<14}" + ", ".join(f"{count} {label}" for label, count in counts))


if __name__ == "__main__":
    main()
