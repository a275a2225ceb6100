"""docs/architecture.md: every path and name in it exists in the repository."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
TARGETS = ("target on arrays and columns that exist", "target with an array or column of its own")
PLACES = [line for line in PAGE[PAGE.index("| to add |") :].splitlines()[2:] if line.startswith("|")]
FOLDERS = ("rust", "python", "tests", "docs", "scripts", "benchmarks", "examples")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`")


def missing(text):
    """Paths, folders of paths with NAME, and words of files that a text names and the repository lacks."""
    paths = [path for path in PATH.findall(text) if not (ROOT / path).exists() and "NAME" not in path]
    paths += [path for path in PATH.findall(text) if "NAME" in path and not (ROOT / path).parent.is_dir()]
    for word, path in re.findall(r"`(\w+)(?:\(\))?` in " + PATH.pattern, text):
        if path not in paths and not re.search(rf"\b{word}\b", (ROOT / path).read_text(encoding="utf-8")):
            paths.append(f"{word} in {path}")
    return paths


def test_the_table_has_a_row_for_every_kind_of_part():
    added = [re.match(r"\| (?:a|an) ([\w ]+) \|", line)[1] for line in PLACES]
    assert added == ["block", "stem", "head", "loss of an existing head", *TARGETS, "metric", "column role", "command"]


@pytest.mark.parametrize("row", PLACES, ids=lambda row: row.split("|")[1].strip())
def test_the_files_to_touch_for_a_part_exist(row):
    assert len(PATH.findall(row)) >= 3
    assert missing(row) == []


def test_every_path_on_the_page_exists():
    assert missing(PAGE) == []


def test_a_missing_path_and_a_missing_word_are_reported():
    text = "`rust/core/src/gone.rs`, `rust/gone/NAME.rs`, `Nowhere` in `docs/architecture.py`"
    assert missing(text) == ["rust/core/src/gone.rs", "docs/architecture.py", "rust/gone/NAME.rs"]
    assert missing("`NoSuchWord` in `docs/releasing.md`") == ["NoSuchWord in docs/releasing.md"]
