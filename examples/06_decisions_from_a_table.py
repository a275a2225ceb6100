"""From a CSV to decisions: pumps in five conditions, a model of them, and answers to new readings.

    python examples/06_decisions_from_a_table.py [FOLDER]

Makes pumps.csv and new.csv in FOLDER (default: a temporary one) and runs the commands of docs/classification.md there,
each printed before its output. Two of the new pumps have a fault that no pump of the training data had.
"""

import csv
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

CONDITIONS = ("normal", "leak", "blocked filter", "cavitation", "air lock")
EACH = 48
COLUMNS = ("pump", "second", "pressure", "flow")
TABLE = ("--data.columns.id", "pump", "--data.columns.order", "second", "--data.columns.features", "pressure,flow")

Series = NDArray[np.float64]


def reading(condition: str, random: np.random.Generator) -> Series:
    """[T, 2] pressure in bar and flow in litres per second, once a second."""
    steps = int(random.integers(120, 200))
    t, load = np.arange(steps), random.uniform(0.8, 1.2)
    wave = np.sin(2 * np.pi * t / random.uniform(18, 26) + random.uniform(0, 6))
    pressure = 4.0 * load + 0.10 * wave + random.normal(0, 0.06, steps)
    flow = 12.0 * load + 0.25 * wave + random.normal(0, 0.25, steps)
    at, size = int(random.integers(20, steps - 40)), random.uniform(0.35, 1.3)
    if condition == "leak":  # pressure falls slowly from some second on
        pressure -= 0.5 * size * np.clip((t - at) / 60, 0, 1)
    elif condition == "blocked filter":  # flow falls, and pulses with the pump
        flow += size * (0.8 * np.sin(2 * np.pi * t / 7) - 0.5) * np.clip((t - at) / 40, 0, 1)
    elif condition == "cavitation":  # bursts of noise in the pressure
        burst = (np.sin(2 * np.pi * t / 31 + at) > 0.55) * size
        pressure += burst * random.normal(0, 0.16, steps)
    elif condition == "air lock":  # a few seconds without flow
        flow[at : at + int(random.integers(4, 9))] *= 1 - 0.22 * size
    elif condition == "runaway":  # the fault that is not in the training data: both rise
        pressure += t / 60
        flow += t / 20
    return np.stack([pressure, flow], axis=1)


def write(path: Path, names: list[str], conditions: list[str], *, labels: bool, seed: int) -> None:
    """A row per second; some readings are missing."""
    random = np.random.default_rng(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow((*COLUMNS, "condition") if labels else COLUMNS)
        for name, condition in zip(names, conditions, strict=True):
            for second, values in enumerate(reading(condition, random)):
                told = ["" if random.random() < 0.01 else f"{value:.3f}" for value in values]
                rows.writerow((name, second, *told, condition) if labels else (name, second, *told))


def command(folder: Path, *arguments: str) -> None:
    """Run one command in the folder, and show it and what it prints."""
    print(f"\n$ python -m ssm_hpn {shlex.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", "ssm_hpn", *arguments], cwd=folder, check=True)  # noqa: S603 - our own


def main() -> None:
    """Work in the folder that is named, or in one that is removed at the end."""
    if len(sys.argv) > 1:
        Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
        decide(Path(sys.argv[1]))
        return
    with TemporaryDirectory() as folder:
        decide(Path(folder))


def decide(folder: Path) -> None:
    """Make the tables, train, look, predict."""
    conditions = [condition for condition in CONDITIONS for _ in range(EACH)]
    write(folder / "pumps.csv", [f"P{k:03d}" for k in range(len(conditions))], conditions, labels=True, seed=0)
    new = ["normal", "leak", "air lock", "cavitation", "runaway", "runaway"]
    write(folder / "new.csv", [f"N{k}" for k in range(len(new))], new, labels=False, seed=1)
    command(
        folder, "train", "--data", "pumps.csv", *TABLE, "--data.columns.label", "condition",
        "--data.validation_fraction", "0.3", "--run.folder", "runs/pumps",
    )  # fmt: skip
    command(folder, "inspect", "runs/pumps")
    command(folder, "evaluate", "runs/pumps", "--keep", "0.95")
    command(folder, "predict", "runs/pumps", "--data", "new.csv", "--out", "answers.csv")
    print((folder / "answers.csv").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
