"""The report: made from the run's files alone, the same bytes every time, nothing from outside, nothing unescaped."""

import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.compare import Comparison
from ssm_hpn.config import Config, to_toml
from ssm_hpn.errors import ConfigError, DataError, StorageError
from ssm_hpn.report import read_run, render, write_report
from ssm_hpn.svg import Axis, Series, heat_map, line_chart, show, smooth, ticks

VOID = {"meta", "link", "br", "img"}


class Strict(HTMLParser):
    """Remembers text, tags and references, and insists on balanced tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def a_run(folder: Path, *, steps: int = 100, metrics: tuple[str, ...] = ("loss", "accuracy", "bits_per_token")) -> Path:
    """A folder as a finished run leaves it, with one update that was not finite."""
    folder.mkdir(parents=True)
    rows = []
    for step in range(0, steps + 1, 10):
        loss = 1 + 4 * math.exp(-step / 30)
        row: dict[str, Any] = {"schema": 1, "step": step, "epoch": step / 50, "time_s": step * 0.2, "nonfinite": 0}
        row |= {"skipped_steps": 0, "train/loss": None if step == 50 else loss, "train/accuracy": 1 / (1 + loss)}
        row |= {"train/lr": 3e-3, "train/grad_norm": loss**3, "train/update_norm": 0.1, "train/clipped": 0}
        row |= {f"eval/{name}": loss + 0.1 if step % 20 == 0 else None for name in metrics}
        row |= {"perf/tokens_per_second": 12_000.0 + step, "perf/step_ms": 170.0, "perf/data_ms": 0.1}
        row |= {"mem/rss_bytes": 10**8 + step, "data/tokens_seen": step * 2048}
        rows.append(row)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "config.toml").write_text(to_toml(Config()))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "build": {"target": "x86_64 <none>"}}))
    return folder


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(a_run(tmp_path / "one" / "run"))
    second = write_report(a_run(tmp_path / "two" / "run"))
    assert first.name == "report.html"
    assert first.read_bytes() == second.read_bytes()
    assert write_report(first.parent).read_bytes() == second.read_bytes()


def test_it_stands_alone(tmp_path: Path) -> None:
    page = Strict(write_report(a_run(tmp_path / "run")).read_text())
    assert not page.references
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert page.tags.count("svg") >= 9
    assert "url(" not in "".join(page.words)


def test_every_drawing_is_well_formed(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", metrics=("loss", "accuracy", "error", "f1"))
    confusion = [[5, 1], [0, 7]]
    cosines = [[1.0, -1.0], [-1.0, 1.0]]
    about = {"confusion": confusion, "prototype_cosines": cosines, "class_names": ["<idle>", "a & b"]}
    (run / "evaluation.json").write_text(json.dumps(about))
    text = write_report(run).read_text()
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    for drawing in drawings:
        ET.fromstring(drawing)
        assert "nan" not in drawing
    assert "&lt;idle&gt; → a &amp; b: 17" in text
    assert "<idle>" not in text


def test_what_is_shown(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    scores = [
        {"order": 1, "accuracy": 0.35, "bits_per_byte": 4.47},
        {"order": 4, "accuracy": 0.63, "bits_per_byte": 2.0},
    ]
    (run / "baselines.json").write_text(json.dumps({"scores": scores}))
    (run / "samples.jsonl").write_text(json.dumps({"step": 20, "prompt": "def ", "text": "f(<x>):\n"}) + "\n")
    words = " ".join(Strict(write_report(run).read_text()).words)
    for expected in (
        "unigram",
        "4-gram",
        "35.0 %",
        "f(<x>):",
        "12.06 k",
        "held-out bits per token",
        "x86_64 <none>",
        "d_model = 128",
        f"ended at update 100 of {Config().train.steps}",
    ):
        assert expected in words, expected


def test_a_run_that_has_just_begun(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", steps=0)
    for name in ("config.toml", "environment.json"):
        (run / name).unlink()
    Strict(render(read_run(run)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", "", r"metrics\.jsonl: expected at least one row, found none; train first"),
        ("config.toml", "a = ", r"config\.toml: expected TOML"),
        ("evaluation.json", "{", r"evaluation\.json: expected JSON"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    run = a_run(tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(DataError, match=message):
        write_report(run)


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot read"):
        write_report(tmp_path)


# ---- the drawings themselves


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 700, [0, 200, 400, 600]),
        (1.3, 6.2, [2, 3, 4, 5, 6]),
        (-0.2, 1, [-0.2, 0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.003, [0, 0.0005, 0.001, 0.0015, 0.002, 0.0025, 0.003]),
    ],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_logarithmic_ticks() -> None:
    assert ticks(0.3, 30, log=True) == pytest.approx([0.5, 1, 2, 5, 10, 20])
    assert ticks(1e-3, 1e3, log=True) == pytest.approx([1e-3, 1e-2, 1e-1, 1, 1e1, 1e2, 1e3])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.1, "0.1"),
        (1234, "1234"),
        (26_500, "26.5 k"),
        (1_434_000, "1.434 M"),
        (3.14159, "3.142"),
        (1e-5, "1.00e-05"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_numbers_for_people(value: float | None, expected: str) -> None:
    assert show(value) == expected


def test_gaps_constants_and_single_points_can_be_drawn() -> None:
    for values in ([None, 1.0, math.nan, 2.0], [3.0, 3.0, 3.0, 3.0], [0.0] * 4, [None, None, 5.0, None], [None] * 4):
        for log in (False, True):
            chart = line_chart([Series("a", range(4), values)], x=Axis("x"), y=Axis("y", log=log), title="t")
            ET.fromstring(chart)
            assert "nan" not in chart


def test_a_long_line_is_thinned() -> None:
    chart = line_chart(
        [Series("a", range(100_000), [1.0 * (n % 7) for n in range(100_000)])], x=Axis(""), y=Axis(""), title=""
    )
    assert len(chart) < 12_000


def test_a_large_map_has_no_numbers() -> None:
    chart = heat_map([[0.0] * 60] * 60, names=list(map(str, range(60))), title="", axes=("", ""), low=0, high=1)
    assert chart.count("<rect") == 3600
    assert chart.count("<text") == 1


def test_smoothing_keeps_constants_and_gaps() -> None:
    assert smooth([2.0, None, 2.0]) == [2.0, None, 2.0]
    assert smooth([1.0] * 300) == pytest.approx([1.0] * 300)


# ---- several runs


def test_runs_side_by_side(tmp_path: Path) -> None:
    folders = [
        a_run(tmp_path / "short", steps=40),
        a_run(tmp_path / "long"),
        a_run(tmp_path / "bare", metrics=("loss",)),
    ]
    comparison = Comparison(folders)
    assert comparison.metric == "loss"
    assert comparison.header()[:2] == ["run", "loss"]
    assert [row[0] for row in comparison.rows()] == ["short", "long", "bare"]
    assert comparison.winner() == 1
    page = Strict(comparison.render())
    assert page.tags.count("svg") == 1
    assert comparison.render() == Comparison(folders).render()
    for along in ("time", "tokens"):
        ET.fromstring(comparison.chart(along))
    assert Comparison(folders[:2], metric="accuracy").winner() == 0  # in these files larger by being worse


def test_a_metric_that_not_all_runs_have(tmp_path: Path) -> None:
    folders = [a_run(tmp_path / "one"), a_run(tmp_path / "two", metrics=("loss",))]
    with pytest.raises(ConfigError, match="--metric: expected loss, found 'accuracy'"):
        Comparison(folders, metric="accuracy")


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "run")
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()
    assert main(["compare", str(run), str(run), "--along", "time", "--out", str(tmp_path / "c.html")]) == 0
    assert "tokens/s" in capsys.readouterr().out
    assert (tmp_path / "c.html").is_file()
    assert main(["compare", str(run), "--along", "space"]) == 2
    assert main(["report", str(tmp_path)]) == 6
    capsys.readouterr()
    for words in (["compare", str(tmp_path / "none"), str(run)], ["report", str(tmp_path / "none")]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {tmp_path / 'none'}: expected a run folder, found no such folder; ")
