"""A classifier in service meets a fault that it does not know, rejects it, is told its name, and knows it from then on.

    python examples/07_a_new_fault.py

Vibration of a motor, windows of 160 samples of two sensors. The model knows three conditions. Its threshold is set on
windows that it was not trained on, so that 19 of 20 known ones get an answer. A bearing then fails, which it has never
seen. A new class gets a place of its own among the prototypes: until windows of it are learned, all scores of the other
conditions stay as they were, to the bit.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.estimators import SSMClassifier

KNOWN = ("healthy", "imbalance", "loose")
NEW = "bearing"
SAMPLES = 160

Windows = NDArray[np.float64]
Labels = NDArray[np.str_]


def window(condition: str, random: np.random.Generator) -> Windows:
    """[T, 2] acceleration, radial and axial."""
    turn = np.arange(SAMPLES) / random.uniform(14, 18) + random.uniform()
    radial, axial = 0.5 * np.sin(2 * np.pi * turn), 0.3 * np.cos(2 * np.pi * turn)
    if condition == "imbalance":  # once a turn
        radial = 3.0 * radial
    elif condition == "loose":  # many harmonics, in both directions
        harmonics = sum(np.sin(2 * np.pi * k * turn + random.uniform(0, 6)) / k for k in range(2, 9))
        radial, axial = radial + 0.8 * harmonics, axial + 0.8 * harmonics
    elif condition == NEW:  # short blows that ring, a little more than three a turn
        blow = np.mod(3.6 * turn, 1.0)
        radial = radial + 2.5 * np.exp(-12 * blow) * np.sin(2 * np.pi * 9 * blow)
    size = random.uniform(0.7, 1.3)
    return size * np.stack([radial, axial], axis=1) + random.normal(0, 0.25, (SAMPLES, 2))


def windows(conditions: tuple[str, ...], each: int, seed: int) -> tuple[Windows, Labels]:
    """X [N, T, 2] and y [N]."""
    random, labels = np.random.default_rng(seed), np.repeat(conditions, each)
    return np.stack([window(one, random) for one in labels]), labels


def told(model: SSMClassifier, x: Windows, y: Labels) -> str:
    """How many windows got an answer, and how many the right one; of one condition the most frequent answer."""
    answers = model.predict(x)
    mostly = Counter(answers.tolist()).most_common(1)[0][0]
    found = f"{(answers != 'unknown').sum():3d} of {len(x)} answered, {(answers == y).sum():3d} right"
    return found if len(set(y.tolist())) > 1 else f"{found}: mostly {mostly}"


def with_threshold(model: SSMClassifier, x: Windows) -> SSMClassifier:
    """Reject what scores below 95 % of known windows."""
    return model.set_params(reject_below=model.reject_threshold(keep=0.95, X=x))


def main() -> None:
    """In service, a fault that is new, and after it is learned."""
    x, y = windows(KNOWN, 60, seed=0)
    x_held, _ = windows(KNOWN, 40, seed=1)
    x_known, y_known = windows(KNOWN, 20, seed=2)
    x_fault, y_fault = windows((NEW,), 65, seed=3)

    model = with_threshold(SSMClassifier(effort="fast", random_state=0).fit(x, y), x_held)
    print(f"three conditions      {told(model, x_known, y_known)}")
    print(f"a bearing fails       {told(model, x_fault, y_fault)}")

    before = model.class_scores(x_known)
    model.add_classes([NEW])
    places = np.searchsorted(model.classes_, KNOWN)
    same = bool((model.class_scores(x_known)[:, places] == before).all())
    print(f"it gets its name      classes {', '.join(model.classes_)}; scores of the old ones are the same: {same}")

    model.partial_fit(x_fault[:25], y_fault[:25])
    x_held = np.concatenate([x_held, windows((NEW,), 40, seed=4)[0]])
    with_threshold(model, x_held)
    print(f"25 windows of it      {told(model, x_fault[25:], y_fault[25:])}")
    print(f"the old conditions    {told(model, x_known, y_known)}")


if __name__ == "__main__":
    main()
