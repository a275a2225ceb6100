"""The report: made from the run's files alone, the same bytes each time, no external references, all text escaped."""

import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.compare import by_task
from ssm_hpn.compare import render as render_comparisons
from ssm_hpn.config import Config, DataShape, parse, resolve, to_toml
from ssm_hpn.curves import Axis, Curve, beginning, show, smooth
from ssm_hpn.drawing import drawn
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.page import TEMPLATES, Tiles
from ssm_hpn.page import chart as page_chart
from ssm_hpn.plots import lines
from ssm_hpn.report import TASKS, render, write_report
from ssm_hpn.run_record import read_run

VOID = {"meta", "link", "br", "img"}


class Strict(HTMLParser):
    """Collects text, tags and references, and asserts balanced tags."""

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
        named = [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        self.references += [one for one in named if not one.startswith(("#", "data:image/png;base64,"))]
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


@pytest.mark.usefixtures("drawings")
def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    first = write_report(a_run(tmp_path / "one" / "run"))
    second = write_report(a_run(tmp_path / "two" / "run"))
    assert first.name == "report.html"
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.usefixtures("drawings")
def test_the_page_has_no_external_references(tmp_path: Path) -> None:
    page = Strict(write_report(a_run(tmp_path / "run")).read_text())
    assert not page.references
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert page.tags.count("svg") >= 9
    assert "url(" not in "".join(page.words)


@pytest.mark.usefixtures("drawings")
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
    assert "&lt;idle&gt; → a &amp; b: 1 of 6" in text
    assert "<idle>" not in text


def test_the_page_says_when_where_and_by_what_on_which_data_and_how_many(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", metrics=("loss", "accuracy"))
    about = {"began": "2026-11-28T03:30:00Z", "host": "bench<1>", "command": "python -m ssm_hpn.train --data 'a b'"}
    (run / "environment.json").write_text(json.dumps(about))
    (run / "evaluation.json").write_text(json.dumps({"step": 100, "targets": 512, "confusion": [[5, 1], [0, 7]]}))
    words = Strict(write_report(run).read_text()).words
    assert {*about.values(), "5", "7"} <= set(words)
    assert words.count("held out, 16 batches, n\u00a0=\u00a0512, update 100") == 2
    facts = {"step": 100, "targets": 70, "metrics": {"loss": 1.0, "accuracy": 0.5}}
    (run / "summary.json").write_text(json.dumps(facts))
    words = Strict(write_report(run).read_text()).words
    assert words.count("all held-out data, n\u00a0=\u00a070, update 100") == 3
    assert "Evaluations during training: held out, 16 batches, n\u00a0=\u00a0512." in words


@pytest.mark.usefixtures("drawings")
def test_the_page_shows_metrics_settings_and_machine(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    scores = [
        {"order": 1, "accuracy": 0.35, "bits_per_byte": 4.47},
        {"order": 4, "accuracy": 0.63, "bits_per_byte": 2.0},
        {"order": None, "accuracy": None, "bits_per_byte": 1.9, "name": "xz -9, all in one stream"},
    ]
    (run / "baselines.json").write_text(json.dumps({"scores": scores}))
    (run / "samples.jsonl").write_text(json.dumps({"step": 20, "prompt": "def ", "text": "f(<x>):\n"}) + "\n")
    words = " ".join(Strict(write_report(run).read_text()).words)
    for expected in (
        "unigram",
        "4-gram",
        "xz -9, all in one stream",
        "35.0 %",
        "f(<x>):",
        "12.06 k",
        "held-out bits per token",
        "x86_64 <none>",
        "d_model = 128",
        f"ended at update 100 of {Config().train.steps}",
    ):
        assert expected in words, expected


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"layers": ["mamba1", "mlp"]}, "2 Mamba-1 and MLP layers of width 128, 50 prototypes on the sphere"),
        ({"head": {"kind": "linear"}}, "4 Mamba-1 layers of width 128, a linear head"),
        ({"target": {"kind": "cotangent"}, "head": {"kind": "none"}}, "4 Mamba-1 layers of width 128, no head"),
    ],
)
def test_the_page_describes_the_model_in_the_words_of_the_core(tmp_path: Path, model: Any, expected: str) -> None:
    run = a_run(tmp_path / "run")
    (run / "config.toml").write_text(to_toml(resolve(parse({"model": model}), DataShape(vocab_size=50))))
    assert expected in " ".join(Strict(write_report(run).read_text()).words)


@pytest.mark.parametrize("count", range(1, 9))
def test_tiles_fill_their_rows_at_every_width(count: int) -> None:
    tiles, style = Tiles([("name", "1", "")] * count), (TEMPLATES / "page.css").read_text()
    half, last = tiles.half, tiles.last
    assert (count - 1 + last) % half == 0  # cells of all tiles, the last one widened, make whole rows
    assert last <= half
    assert (count - 1 + last) // half == (1 if count <= 2 else 2)
    assert {"all", "half", "last"} <= set(re.findall(r"var\(--(\w+)\)", style))
    assert re.search(r"max-width: 40rem[^@]*\.badge { display: block", style)


def test_a_run_without_updates_has_a_report(tmp_path: Path) -> None:
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
    with pytest.raises(ConfigError, match="expected a run, found no run in it"):
        write_report(tmp_path)


# ---- all values of a row are of one update


def diverging(folder: Path) -> Path:
    """A run whose loss is the smallest at update 40, its accuracy the largest at update 80, and that ends worse."""
    run = a_run(folder, metrics=("loss", "accuracy"))
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for row in rows:
        if row["eval/loss"] is not None:
            row["eval/loss"] = 1 + abs(row["step"] - 40) / 100
            row["eval/accuracy"] = 0.9 - abs(row["step"] - 80) / 1000
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_a_row_has_the_values_of_the_kept_update(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = diverging(tmp_path / "run")
    record = read_run(run)
    assert record.best_step == 40
    (comparison,) = by_task([run])
    cells = dict(zip(comparison.header(), comparison.rows()[0], strict=True))
    assert (cells["at update"], cells["loss"], cells["accuracy"], cells["updates"]) == ("40", "1", "86.0 %", "100")
    words = Strict(render(record)).words
    assert words.count("held out, 16 batches, update 40") == 2
    assert "update 40, kept" in words
    assert not any("update 80" in word for word in words)
    (run / "config.toml").write_text('[evaluation]\nmetric = "accuracy"\n')
    assert read_run(run).best_step == 80
    (run / "config.toml").write_text('[evaluation]\nmetric = "eval/accuracy"\ndirection = "min"\n')
    assert read_run(run).best_step == 20
    assert main(["compare", str(run)]) == 0
    assert "each row has the values of one update" in capsys.readouterr().out


def test_values_on_all_held_out_data_are_used_only_for_the_kept_update(tmp_path: Path) -> None:
    run, other = diverging(tmp_path / "run"), diverging(tmp_path / "other")
    facts = {"step": 40, "metrics": {"loss": 1.25, "accuracy": 0.75}}
    (run / "summary.json").write_text(json.dumps(facts))
    assert by_task([run])[0].rows()[0][1:4] == ["40", "1.25", "75.0 %"]
    assert "all held-out data, update 40" in Strict(render(read_run(run))).words
    assert [row[2] for row in by_task([run, other])[0].rows()] == ["1", "1"]  # the other has none
    (run / "summary.json").write_text(json.dumps(facts | {"step": 100}))  # an update other than the kept one
    assert not read_run(run).complete


def test_each_number_has_its_name_in_the_report(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", metrics=("loss", "mae"))
    means = {"mae": 3.0, "rmse": 4.0, "r2": None}
    numbers = [
        {"name": name, "mae": 0.5, "rmse": 0.75, "r2": 0.9875, "mean_predictor": means} for name in ("a<b", "price\n")
    ]
    facts = {"step": 100, "metrics": {"loss": 1.0, "mae": 0.5}, "per_number": numbers, "mean_predictor": means}
    (run / "summary.json").write_text(json.dumps(facts))
    words = Strict(render(read_run(run))).words
    assert {"a<b", "price\\n", "0.9875", "mean predictor: mae", "–"} <= set(words)


# ---- drawings


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
def test_numbers_are_shown_with_four_digits_and_a_unit_prefix(value: float | None, expected: str) -> None:
    assert show(value) == expected


def chart(values: Any, **axis: Any) -> str:
    """A line chart of values over their numbers."""
    curve = Curve("held out", range(len(values)), values)
    return drawn(lambda: lines([curve], x=Axis("updates"), y=Axis("y", **axis)), "a <title>")


@pytest.mark.usefixtures("drawings")
def test_gaps_constants_and_single_points_can_be_drawn() -> None:
    for values in ([None, 1.0, math.nan, 2.0], [3.0, 3.0, 3.0, 3.0], [0.0] * 4, [None, None, 5.0, None], [None] * 4):
        for log in (False, True):
            text = chart(values, log=log)
            ET.fromstring(text)
            assert "nan" not in text
            assert 'aria-label="a &lt;title&gt;"' in text


@pytest.mark.usefixtures("drawings")
def test_a_drawing_is_small_and_in_the_colours_of_the_page() -> None:
    text = chart([1.0 * (n % 7) for n in range(100_000)])
    assert len(text) < 16_000
    assert "var(--s1)" in text
    assert not re.search(r"#[0-9a-f]{6}|font-family|<metadata|<style", text)
    assert text == chart([1.0 * (n % 7) for n in range(100_000)])


@pytest.mark.usefixtures("drawings")
def test_a_first_value_does_not_squash_the_rest() -> None:
    values = [11.0, *(2 - 0.01 * n for n in range(99))]
    cut = beginning([Curve("loss", range(100), values)], Axis("loss"))
    assert cut is not None
    assert (cut.first, cut.low < 1.02, 2 < cut.high < 2.2) == (11.0, True, True)
    assert cut.remark(Axis("loss")) == "begins at 11, above the chart"
    for kept in ([2.9, *values[1:]], [11.0], [11.0, 2.0], [11.0, *[2.0] * 99]):
        assert beginning([Curve("loss", range(len(kept)), kept)], Axis("loss")) is None
    labels = re.findall(r">([\d.]+)</text>", chart(values))
    assert {"1", "2"} <= set(labels)
    assert not {"10", "11"} & set(labels)


def test_a_large_matrix_has_colours_alone(tmp_path: Path) -> None:
    run = a_run(tmp_path / "run")
    (run / "evaluation.json").write_text(json.dumps({"confusion": [[1] * 60] * 60}))
    text = write_report(run).read_text()
    assert text.count("--share:1.7%") == 3600
    assert "59 → 59: 1 of 60" in text
    assert 'class="matrix many"' in text


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
    (comparison,) = by_task(folders)
    assert comparison.metric == "loss"
    assert comparison.header()[:3] == ["run", "at update", "loss"]
    assert [row[0] for row in comparison.rows()] == ["short", "long", "bare"]
    assert comparison.winner() == 1
    page = Strict(render_comparisons([comparison]))
    assert page.tags.count("svg") == 1
    assert render_comparisons([comparison]) == render_comparisons(by_task(folders))
    for along in ("time", "tokens"):
        ET.fromstring(page_chart(comparison.chart(along)).svg)
    # "accuracy" is as large as the loss in these files, and the short run has the larger loss
    assert by_task(folders[:2], metric="accuracy")[0].winner() == 0


def test_a_metric_that_not_all_runs_have_is_refused(tmp_path: Path) -> None:
    folders = [a_run(tmp_path / "one"), a_run(tmp_path / "two", metrics=("loss",))]
    with pytest.raises(ConfigError, match="--metric: expected loss, found 'accuracy'"):
        by_task(folders, metric="accuracy")


def about(folder: Path, *, target: str, loss: str = "softmax", data: str = "0" * 64) -> Path:
    """The folder, with a configuration as a run leaves it."""
    head = f'[model.head]\nkind = "prototype"\n[model.head.loss]\nkind = "{loss}"\n'
    (folder / "config.toml").write_text(f'[model.target]\nkind = "{target}"\n{head}[data]\ndigest = "{data}"\n')
    return folder


def test_runs_of_different_tasks_are_compared_in_separate_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classes, numbers = ("loss", "accuracy", "error", "f1"), ("loss", "mse", "mae")
    folders = [
        about(a_run(tmp_path / "text"), target="next_token"),
        about(a_run(tmp_path / "sensors", metrics=classes), target="sequence_class"),
        about(a_run(tmp_path / "wear", metrics=numbers), target="sequence_values"),
        about(a_run(tmp_path / "prose", steps=40), target="next_token"),
    ]
    groups = by_task(folders, metric="f1")
    assert [[run.name for run in one.runs] for one in groups] == [["text", "prose"], ["sensors"], ["wear"]]
    assert [one.metric for one in groups] == ["loss", "f1", "loss"]
    assert [one.winner() for one in groups] == [0, 0, 0]
    with pytest.raises(ConfigError, match=r"expected loss .*, found 'acuracy'; did you mean accuracy\?"):
        by_task(folders, metric="acuracy")
    assert main(["compare", *map(str, folders)]) == 0
    shown = capsys.readouterr().out
    assert "3 different tasks: numbers compare inside a task only" in shown
    titles = [line for line in shown.splitlines() if line in TASKS.values()]
    assert titles == ["Language model", "One class per sequence", "Numbers per sequence"]
    page = Strict((tmp_path / "compare.html").read_text())
    assert page.tags.count("svg") == page.tags.count("table") == 3
    assert "numbers compare inside a task only" in " ".join(page.words)


def test_different_losses_and_different_data_inside_a_task_are_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = ("loss", "accuracy")
    alike = about(a_run(tmp_path / "a", metrics=metrics), target="sequence_class")
    cosine = about(a_run(tmp_path / "b", metrics=metrics), target="sequence_class", loss="cosine")
    moved = about(a_run(tmp_path / "c", metrics=metrics), target="sequence_class", data="1" * 64)
    (comparison,) = by_task([alike, cosine])
    assert comparison.metric == "accuracy"
    (remark,) = comparison.remarks()
    assert remark == "the losses do not compare, they are of different kinds: softmax in a, cosine in b"
    assert by_task([alike, cosine], metric="loss")[0].winner() is None
    (other,) = by_task([alike, moved])
    assert [other.metric, other.winner()] == ["loss", 0]
    assert "different data" in other.remarks()[0]
    assert not by_task([alike, alike])[0].remarks()
    assert main(["compare", str(alike), str(moved)]) == 0
    assert other.remarks()[0] in capsys.readouterr().out
    assert other.remarks()[0][1:] in (tmp_path / "compare.html").read_text()


def test_settings_that_differ_and_seeds_of_a_folder_of_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (lr, seed, bonus) in enumerate([(0.1, 0, 0.0), (0.1, 1, 0.2), (0.2, 0, 0.5), (0.2, 1, 0.9)]):
        run = a_run(tmp_path / "runs" / f"r{number}", metrics=("loss",))
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        rows[-1]["eval/loss"] = 1.0 - bonus
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        text = f'[optim]\nlr = {lr}\n[train]\nseed = {seed}\n[run]\nname = "r{number}"\n'
        (run / "config.toml").write_text(text + '[model.target]\nkind = "next_token"\n')
    (comparison,) = by_task(sorted((tmp_path / "runs").iterdir()))
    header, rows_of_settings = comparison.differing()
    assert header == ["run", "optim.lr", "train.seed"]
    assert rows_of_settings[3] == ["r3", "0.2", "1"]
    assert comparison.seeds()[1] == [["r0, r1", "2", "0.9 ± 0.1414"], ["r2, r3", "2", "0.3 ± 0.2828"]]
    (tmp_path / "runs" / "notes.txt").write_text("no run")
    assert main(["compare", str(tmp_path / "runs")]) == 0
    printed = capsys.readouterr().out
    for expected in (
        "settings that differ",
        "0.9 ± 0.1414",
        "optim.lr",
        f"page   {tmp_path / 'runs' / 'compare.html'}",
    ):
        assert expected in printed, expected
    words = Strict((tmp_path / "runs" / "compare.html").read_text()).words
    assert {"Over seeds", "Settings that differ", "0.9 ± 0.1414", "optim.lr"} <= set(words)
    assert main(["compare", str(tmp_path / "runs" / "r0"), str(tmp_path / "runs" / "r0")]) == 0
    assert "settings that differ" not in capsys.readouterr().out


def test_a_page_of_a_comparison_replaces_only_an_earlier_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, elsewhere = a_run(tmp_path / "runs" / "one"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    page = tmp_path / "runs" / "compare.html"
    for _ in range(2):
        assert main(["compare", str(run)]) == 0
        assert f"page   {page}" in capsys.readouterr().out
    assert not list(elsewhere.iterdir())
    assert sorted(file.name for file in page.parent.iterdir()) == ["compare.html", "one"]
    report = write_report(run)
    for out, content in ((page, "<html>mine</html>"), (report, report.read_text())):
        out.write_text(content)
        assert main(["compare", str(run), "--out", str(out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == (
            f"error: {out}: expected a new file, or a page that `compare` made, found another file; "
            "name another file with --out"
        )
        assert out.read_text() == content
    assert main(["compare", str(run), "--out", str(elsewhere)]) == 2
    assert "found a folder" in capsys.readouterr().err
    assert main(["compare", str(run), "--out", str(tmp_path / "none" / "c.html")]) == 6
    assert "c.html: expected a folder to write it into, found none" in capsys.readouterr().err


def test_a_missing_package_of_pages_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = a_run(tmp_path / "run")

    def without(_: object) -> str:
        raise ModuleNotFoundError("no matplotlib", name="matplotlib.figure")

    monkeypatch.setattr("ssm_hpn.drawing._saved", without)
    assert main(["report", str(run)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    expected = "matplotlib: expected the package, which reports are made with, found none; pip install matplotlib"
    assert line == f"error: {expected}"
    assert not (run / "report.html").exists()


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = a_run(tmp_path / "run")
    assert main(["report", str(run)]) == 0
    assert (run / "report.html").is_file()
    assert main(["compare", str(run), str(run), "--along", "time", "--out", str(tmp_path / "c.html")]) == 0
    assert "tokens/s" in capsys.readouterr().out
    assert (tmp_path / "c.html").is_file()
    assert main(["compare", str(run), "--along", "space"]) == 2
    assert main(["report", str(tmp_path)]) == 2
    capsys.readouterr()
    for words in (["compare", str(tmp_path / "none"), str(run)], ["report", str(tmp_path / "none")]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"error: {tmp_path / 'none'}: expected a run, found no such file or folder; ")


@pytest.mark.usefixtures("drawings")
@pytest.mark.parametrize(("low", "high"), [(0.981, 1.0), (0.0, 1.0), (0.9991, 0.9999), (0.3, 0.42)])
def test_percents_beside_an_axis_differ(low: float, high: float) -> None:
    labels = re.findall(r">([\d.]+ %)</text>", chart([low, high, low], percent=True))
    assert len(labels) > 2
    assert len(set(labels)) == len(labels)
