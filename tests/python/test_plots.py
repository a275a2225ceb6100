"""Figures for notebooks: what `plots.run` and `plots.runs` draw is what the rows of the runs say."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import Trainer, plots
from ssm_hpn.decisions import BINS, Bin
from ssm_hpn.errors import ConfigError, Error
from support import settings, text_data

RUN = {"train": {"steps": 8, "log_every": 2}, "evaluation": {"every": 4}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("plots")
    data = text_data(root)
    folders = []
    for seed in (1, 2):
        folders.append(root / f"seed-{seed}")
        changes = {**RUN, "train": RUN["train"] | {"seed": seed}}
        Trainer(settings(data, folders[-1], **changes)).fit()
    return folders


def rows_with(folder, name):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row[name]) for row in rows if row.get(name) is not None]


def drawn(axes):
    """The points of every line with more than one."""
    return [np.column_stack(line.get_data()) for line in axes.get_lines() if len(line.get_xdata()) > 1]


def has(axes, points):
    return any(np.shape(points) == line.shape and np.allclose(line, points) for line in drawn(axes))


def test_a_run_is_drawn_from_its_rows(runs, tmp_path):
    figure = plots.run(runs[0])
    texts = [text.get_text() for text in figure.texts]
    assert len(texts) == len(figure.axes) >= 3, "a caption for every panel"
    for name in ("train/loss", "train/lr", "train/grad_norm"):
        points = rows_with(runs[0], name)
        assert len(points) > 1
        assert any(has(axes, points) for axes in figure.axes), f"{name}: {points}"
    figure.savefig(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert figure._repr_png_().startswith(b"\x89PNG"), "what a notebook shows"


def test_runs_are_drawn_together_by_a_metric_and_an_axis(runs):
    figure = plots.runs(runs, metric="loss")
    [axes] = figure.axes
    for folder in runs:
        assert has(axes, rows_with(folder, "eval/loss"))
    names = [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []
    names += [text.get_text() for text in axes.texts]
    assert {"seed-1", "seed-2"} <= set(names)
    tokens = drawn(plots.runs(map(str, runs), metric="loss", along="tokens").axes[0])
    assert max(line[:, 0].max() for line in tokens) == rows_with(runs[0], "data/tokens_seen")[-1][1]


def test_what_cannot_be_drawn_is_one_line(runs, tmp_path):
    for asked, expected in (
        (lambda: plots.runs([]), "plots.runs, folders: expected at least one run, found none"),
        (lambda: plots.runs(runs, metric="auroc"), "found 'auroc'"),
        (lambda: plots.runs(runs, along="epochs"), "step | time | tokens"),
        (lambda: plots.runs(str(runs[0])), "plots.runs, folders"),
        (lambda: plots.run(tmp_path / "nothing"), "nothing"),
        (lambda: plots.run(Path(tmp_path)), str(tmp_path)),
        (lambda: plots.confusion([[1, 2]]), "plots.confusion, counts: expected [C, C], found shape [1, 2]"),
        (lambda: plots.confusion([["a"]]), "plots.confusion, counts"),
        (lambda: plots.confusion([[-1.0]]), "plots.confusion, counts"),
        (lambda: plots.confusion([[float("nan")]]), "plots.confusion, counts"),
        (lambda: plots.confusion([[1]], ["a", "b"]), "plots.confusion, names: expected 1 name, found 2"),
    ):
        with pytest.raises(Error) as caught:
            asked()
        assert expected in str(caught.value)
        assert "\n" not in str(caught.value)
    assert issubclass(ConfigError, Error)


def test_the_last_percentage_of_a_reliability_figure_is_not_cut():
    """Pages show it in a font that may be a fifth wider than that of the figure."""
    bins = [Bin(low=k / BINS, high=(k + 1) / BINS, count=1, probability=k / BINS, accuracy=1.0) for k in range(BINS)]
    figure = plots.reliability(bins)
    figure.canvas.draw()
    label = figure.axes[1].get_xticklabels()[-1]
    extent = label.get_window_extent()
    assert label.get_text() == "100 %"
    assert (extent.x0 + extent.x1) / 2 + 1.2 * extent.width / 2 < figure.bbox.width
