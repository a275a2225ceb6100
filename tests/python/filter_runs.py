"""Runs of features on small labelled series."""

import csv
import json

import numpy as np

from ssm_hpn.cli.main import main

FAST = ("--model.filters.effort", "fast", "--train.threads", "1")
LONG = ("--data.columns.id", "id", "--data.columns.order", "t", "--data.columns.features", "x,y")


def wave(kind, length, random):
    """Series [T, 2] whose first channel has the frequency of its kind."""
    t = np.arange(length)
    return np.stack([np.sin(t / (2 + 2 * kind) + random.uniform(0, 6)), random.normal(size=length)], axis=1)


def long_table(path, *, classes=("run", "walk", "sit"), count=30, gaps=False, unlabelled=0):
    """Rows are time steps: unequal lengths, two channels, a label and the number `speed` per series."""
    random = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "t", "x", "y", "label", "speed"])
        for number in range(count):
            kind = number % len(classes)
            series = wave(kind, 30 + number % 7, random)
            label = "" if number < unlabelled else classes[kind]
            speed = 100 * (kind + 1) + random.normal()
            for t, (x, y) in enumerate(series):
                shown = "" if gaps and (t + number) % 9 == 0 else f"{y:.4f}"
                rows.writerow([number, t, f"{x:.5f}", shown, label, f"{speed:.3f}"])
    return path


def run(*arguments):
    return main([str(one) for one in arguments])


def train(path, *arguments):
    return run("train", "--data", path, *FAST, *arguments)


def run_in(folder):
    """The only run below a folder."""
    (found,) = [path for path in (folder / "runs").iterdir() if path.name != "data"]
    return found


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]
