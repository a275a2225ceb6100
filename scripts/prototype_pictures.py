"""The pictures of docs/prototypes.md.

python scripts/prototype_pictures.py docs/pictures
"""

import sys
from pathlib import Path

import numpy as np
from decision_pictures import standalone
from numpy.typing import NDArray

from ssm_hpn import plots
from ssm_hpn.curves import Axis, Curve
from ssm_hpn.drawing import drawn
from ssm_hpn.prototypes import Kind, place

Floats = NDArray[np.float64]

SIDE, RADIUS = 170, 74
CLASSES, DIM = 100, 10
GROUPS, EACH = 3, 4
BINS = np.linspace(-1, 1, 101)
SHARE = "share of the pairs"
TURNED = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
"""A view of the sphere from which no point hides another."""


def ball(rows: Floats, centre: float, caption: str) -> str:
    """Points of the circle or the sphere, seen along the last axis; those behind are faint."""
    middle = RADIUS + 18
    parts = [
        f'<circle cx="{centre:.1f}" cy="{middle}" r="{RADIUS}" fill="none" stroke="var(--line)"/>',
        f'<text class="quiet" x="{centre:.1f}" y="{2 * RADIUS + 50}" text-anchor="middle">{caption}</text>',
    ]
    rows = rows @ TURNED if rows.shape[1] == 3 else rows
    depth = rows[:, 2] if rows.shape[1] > 2 else np.ones(len(rows))
    for row, near in sorted(zip(rows.tolist(), depth.tolist(), strict=True), key=lambda one: one[1]):
        x, y = centre + RADIUS * row[0], middle - RADIUS * row[1]
        faint = "" if near >= 0 else ' opacity="0.3"'
        if rows.shape[1] == 2:
            parts.append(f'<path d="M{centre:.1f} {middle}L{x:.1f} {y:.1f}" stroke="var(--grid)"/>')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="var(--s1)"{faint}/>')
    return "".join(parts)


def balls(dim: int, shown: list[tuple[int, Kind]], title: str) -> str:
    """Several arrangements side by side."""
    parts = [
        ball(
            place(classes, dim, kind).prototypes,
            SIDE * (0.5 + at),
            f"{classes} {'at random' if kind == 'random' else 'apart'}",
        )
        for at, (classes, kind) in enumerate(shown)
    ]
    box = f"0 0 {SIDE * len(shown)} {2 * RADIUS + 62}"
    return f'<svg viewBox="{box}" role="img" aria-label="{title}" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'


def off_diagonal(rows: Floats) -> Floats:
    """The cosines of all pairs."""
    return (rows @ rows.T)[np.triu_indices(len(rows), 1)]


def cosines() -> str:
    """Shares of the pairs by their cosine."""
    curves = []
    for colour, (name, kind) in enumerate((("apart", "auto"), ("at random", "random")), start=1):
        counts, _ = np.histogram(off_diagonal(place(CLASSES, DIM, kind).prototypes), BINS)  # type: ignore[arg-type]
        middles = (BINS[1:] + BINS[:-1]) / 2
        curves.append(Curve(name, middles.tolist(), (counts / counts.sum()).tolist(), colour))
    title = f"cosines of all pairs of {CLASSES} prototypes in {DIM} dimensions"
    y = Axis(SHARE, zero=True, percent=True)
    return drawn(lambda: plots.lines(curves, x=Axis("cosine"), y=y), title)


def cosine_map(rows: Floats, names: list[str], title: str) -> str:
    """The cosines of all pairs as shades."""
    values = (rows @ rows.T).tolist()
    texts = [[f"{value:.2f}".replace("0.", ".").replace("1.00", "1") for value in line] for line in values]
    shades = (np.array(values) + 0.3) / 1.3
    return drawn(lambda: plots.matrix(shades, names, texts, axes=("class", "class")), title)


def main() -> None:
    """Write the pictures."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    vectors = np.repeat(random.normal(size=(GROUPS, 50)), EACH, axis=0) + random.normal(size=(GROUPS * EACH, 50))
    names = [f"{group}{number}" for group in "abcd"[:GROUPS] for number in range(1, EACH + 1)]
    count = GROUPS * EACH
    pictures = {
        "circle": balls(2, [(3, "auto"), (8, "auto"), (8, "random")], "prototypes on the circle"),
        "sphere": balls(3, [(4, "auto"), (30, "auto"), (30, "random")], "prototypes on the sphere"),
        "cosines": cosines(),
        "class_vectors": cosine_map(place(count, 50, "given", vectors=vectors).prototypes, names, "cosines of vectors"),
        "semantic": cosine_map(
            place(count, count, "semantic", vectors=vectors).prototypes, names, "cosines of semantic prototypes"
        ),
    }
    for name, drawing in pictures.items():
        upright = SHARE if name == "cosines" else ""
        (out / f"{name}.svg").write_text(standalone(drawing, upright), encoding="utf-8")


if __name__ == "__main__":
    main()
