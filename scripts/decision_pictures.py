"""The pictures of docs/classification.md, from the report of the run that examples/06_decisions_from_a_table.py trains.

python examples/06_decisions_from_a_table.py pumps
python scripts/decision_pictures.py pumps/runs/pumps docs/pictures
"""

import re
import sys
from pathlib import Path

from ssm_hpn import page

PICTURES = {"confusion": "Confusion", "calibration": "Calibration", "rejection": "Accuracy of the answers"}
"""Files by the captions of the report."""
CLASSES = {"evidence": "cavitation"}
"""Files by the class that a typical series is of."""


def standalone(svg: str) -> str:
    """A drawing of a page as a file: with the style of the page, on the ground of a card."""
    start = svg.index(">") + 1
    return f"{svg[:start]}<style>{page.STYLE}svg {{ background: var(--card); }}</style>{svg[start:]}\n"


def main() -> None:
    """Write the pictures."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    text = (run / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r"<figure><figcaption>(.*?)</figcaption>(<svg.*?</svg>)</figure>", text, re.DOTALL)
    for name, caption in PICTURES.items():
        svg = next(svg for found, svg in figures if found.startswith(caption))
        (out / f"{name}.svg").write_text(standalone(svg), encoding="utf-8")
    typical = text[text.index("<h2>Typical series</h2>") :]
    for name, label in CLASSES.items():
        svg = next(svg for found, svg in figures if f"<span>{label} (" in found and svg in typical)
        (out / f"{name}.svg").write_text(standalone(svg), encoding="utf-8")


if __name__ == "__main__":
    main()
