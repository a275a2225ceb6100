"""Continuations of a prompt: shown at evaluations during training, and printed by `generate`."""

import json
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn.cli.main import main
from ssm_hpn.cli.prompts import beginning
from support import SMALL, text_data, train


def test_a_language_model_continues_its_prompt(here, capsys):
    data = text_data(here, documents=30)
    words = [
        *SMALL,
        "--train.steps",
        "12",
        "--evaluation.every",
        "6",
        "--evaluation.prompt",
        "def ",
        "--run.folder",
        "run",
    ]
    assert train("--data", str(data.folder), *words) == 0
    shown = capsys.readouterr().out
    for word in (
        "unigram",
        "4-gram",
        "zstd -19, each",
        "xz -9, all",
        "this model",
        "bits per byte",
        "| def ",
        "--data PATH",
        "report.html",
    ):
        assert word in shown
    samples = [json.loads(line) for line in Path("run/samples.jsonl").read_text().splitlines()]
    assert [sample["step"] for sample in samples] == [0, 6, 12]
    tables = json.loads(Path("run/baselines.json").read_text())["scores"]
    assert [row["order"] for row in tables] == [1, 2, 3, 4, None, None, None, None]
    assert all(0 < row["bits_per_byte"] < 8 for row in tables)
    assert main(["generate", "run", "--prompt", "self", "--tokens", "20", "--seed", "3"]) == 0
    first = capsys.readouterr().out
    assert first.startswith("self")
    assert main(["generate", "run", "--prompt", "self", "--tokens", "20", "--seed", "3"]) == 0
    assert capsys.readouterr().out == first
    assert main(["evaluate", "run", "--data", str(here / "text"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_token"] > 0
    assert main(["predict", "run", "--data", str(here / "text")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 30


def samples(folder):
    file = folder / "samples.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def test_without_a_prompt_the_beginning_of_a_held_out_text_is_continued(here, capsys):
    data = text_data(here, documents=30)
    words = ["--data", str(data.folder), *SMALL, "--train.steps", "2", "--evaluation.every", "1"]
    assert train(*words, "--run.folder", "run") == 0
    found = samples(here / "run")
    assert [sample["step"] for sample in found] == [0, 1, 2]
    (prompt,) = {sample["prompt"] for sample in found}
    texts = [(here / "text" / f"{number:03d}.txt").read_text() for number in range(30)]
    assert 4 < len(prompt) <= 32
    assert any(text.startswith(prompt) for text in texts)
    assert f"| {prompt}".replace("\n", "\n  | ") in capsys.readouterr().out
    assert main(["generate", "run", "--tokens", "4"]) == 0
    assert capsys.readouterr().out.startswith(prompt)
    assert main(["generate", "run", "--prompt", ""]) == 2
    assert "--prompt: expected a text with at least one token" in capsys.readouterr().err
    assert train(*words, "--evaluation.continuation", "0", "--run.folder", "off") == 0
    assert "  | " not in capsys.readouterr().out
    assert samples(here / "off") == []
    assert train(*words, "--evaluation.prompt", "") == 2
    assert "evaluation.prompt: expected a text that is not empty, found ''" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("Once upon a time there was a small model in the woods.", "Once upon a time there was"),
        ("\n\n  Title\n\nof a longer text", "Title\n\nof"),
        ("ACGT" * 20, "ACGT" * 8),
        ("kurz", "ku"),
        ("x", None),
        ("", None),
        ("\ufffdPNG\r\n and so on", None),
        ("a\x00b c\x01d e\x02f", None),
    ],
)
def test_the_default_prompt_is_the_beginning_of_a_readable_text(text, prompt):
    assert beginning(text) == prompt


def test_data_that_is_no_text_is_trained_on_without_samples(here):
    rng = np.random.default_rng(0)
    (here / "ids.txt").write_text(" ".join(map(str, rng.integers(0, 50, 4000))))
    (here / "raw.dat").write_bytes(rng.integers(0, 256, 4000).astype(np.uint8).tobytes())
    for name, words in (("ids.txt", []), ("raw.dat", ["--data.encoder", "bytes"])):
        assert train("--data", name, *SMALL, *words, "--train.steps", "1", "--run.folder", f"run-{name}") == 0
        assert samples(here / f"run-{name}") == []
        assert main(["evaluate", f"run-{name}", "--data", name, "--json"]) == 0
        assert main(["predict", f"run-{name}", "--data", name]) == 0
