"""The pictures of docs/classification.md, from the report of the run that examples/06_decisions_from_a_table.py trains.

python examples/06_decisions_from_a_table.py pumps
python scripts/decision_pictures.py pumps/runs/pumps docs/pictures
"""

import json
import re
import sys
from pathlib import Path

from ssm_hpn import plots
from ssm_hpn.drawing import drawn
from ssm_hpn.page import TEMPLATES

PICTURES = {"calibration": ("Calibration", ""), "rejection": ("Accuracy of the answers", "accuracy of the answers")}
"""The caption in the report of each file, and the title of its upright axis, which in the report is the caption."""
CLASSES = {"evidence": "cavitation"}
"""Files by the class that a typical series is of."""


def standalone(svg: str, upright: str = "") -> str:
    """A drawing of a page as a file: with the style of the page, on the ground of a card.

    `upright` is the title of the upright axis where the drawing has none, as its caption says it in a page.
    """
    start, style = svg.index(">") + 1, (TEMPLATES / "page.css").read_text(encoding="utf-8")
    title = f'<text class="quiet" x="10" y="15" style="font-size: 12.5px">{upright}</text>' if upright else ""
    return f"{svg[:start]}<style>{style}svg {{ background: var(--card); }}</style>{title}{svg[start:]}\n"


def main() -> None:
    """Write the pictures."""
    run, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    text = (run / "report.html").read_text(encoding="utf-8")
    figures = re.findall(r"<figure><figcaption>(.*?)</figcaption>(<svg.*?</svg>)", text, re.DOTALL)
    for name, (caption, upright) in PICTURES.items():
        svg = next(svg for found, svg in figures if found.startswith(caption))
        (out / f"{name}.svg").write_text(standalone(svg, upright), encoding="utf-8")
    found = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    confusion = drawn(lambda: plots.confusion(found["confusion"], found["class_names"]), "confusion")
    (out / "confusion.svg").write_text(standalone(confusion), encoding="utf-8")
    typical = text[text.index("<h2>Typical series</h2>") :]
    for name, label in CLASSES.items():
        svg = next(svg for found, svg in figures if f"<span>{label} (" in found and svg in typical)
        (out / f"{name}.svg").write_text(standalone(svg), encoding="utf-8")


if __name__ == "__main__":
    main()
