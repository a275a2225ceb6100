"""Published accuracies, in per cent on the default split: `published.csv`, with gaps where a paper has none.

Source: the table of results per data set of arXiv 2604.15174 (MambaSL), which quotes ROCKET, HIVE-COTE 2, Hydra and
MultiRocket+Hydra beside its own. The rows of the sets kept for judging are left out.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

TITLES: Final = {
    "rocket": "ROCKET",
    "hive_cote_2": "HIVE-COTE 2",
    "hydra": "Hydra",
    "multi_rocket_hydra": "MultiRocket+Hydra",
    "mamba_sl": "MambaSL",
}
"""Columns of the table, and what they are called."""


def published() -> dict[str, dict[str, float]]:
    """Accuracies from 0 to 1, by column and data set; gaps are left out."""
    table: dict[str, dict[str, float]] = {name: {} for name in TITLES}
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for name, found in table.items():
                if row[name]:
                    found[row["dataset"]] = round(float(row[name]) / 100, 6)
    return table
