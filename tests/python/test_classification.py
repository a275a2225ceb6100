"""docs/classification.md: its commands and its Python run on smaller tables of the same example."""

import importlib.util
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from ssm_hpn.cli.main import main
from test_readme import blocks

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/classification.md").read_text(encoding="utf-8")
NEW = ["normal", "leak", "air lock", "cavitation", "runaway", "runaway"]


@pytest.fixture
def example():
    """examples/06_decisions_from_a_table.py as a module."""
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples/06_decisions_from_a_table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands():
    """The words of the commands of the page, in order."""
    lines = [line for block in blocks("sh", PAGE) for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"`(python -m ssm_hpn (?!.*\*)[^`]+)`", PAGE)
    return [shlex.split(line)[3:] for line in lines]


def test_the_commands_and_programs_of_the_page_run(example, here, capsys):
    conditions = [condition for condition in example.CONDITIONS for _ in range(10)]
    names = [f"P{k:03d}" for k in range(len(conditions))]
    example.write(here / "pumps.csv", names, conditions, labels=True, seed=0)
    example.write(here / "new.csv", [f"N{k}" for k in range(len(NEW))], NEW, labels=False, seed=1)
    found = commands()
    assert [words[0] for words in found] == ["train", "evaluate", "predict", "inspect"]
    for words in found:
        assert main([*words, *(["--model.filters.effort", "fast"] if words[0] == "train" else [])]) == 0
    answers = pd.read_csv(here / "answers.csv")
    assert answers["pump"].tolist() == [f"N{k}" for k in range(6)]
    assert {"class", "score", "probability"} <= set(answers.columns)
    causal = ["--model.filters.causal", "true", "--run.folder", "runs/causal", "--model.filters.effort", "fast"]
    assert main([*found[0][:-2], *causal]) == 0
    frame = pd.read_csv(here / "new.csv")
    readings = frame.loc[frame["pump"] == "N0", ["pressure", "flow"]].to_numpy()[:20]
    space = {"frame": frame, "readings": readings}
    for block in blocks("python", PAGE):
        exec(compile(block, "docs/classification.md", "exec"), space)
    assert space["answers"].shape == (6, 5)
    assert space["chances"].shape == (1, 5)
    capsys.readouterr()


def test_the_pictures_of_the_page_are_there():
    for name in re.findall(r"!\[[^]]*]\(([^)]+)\)", PAGE):
        assert (ROOT / "docs" / name).read_text(encoding="utf-8").startswith("<svg")
