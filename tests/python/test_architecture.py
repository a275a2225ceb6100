"""docs/architecture.md: what its tables name is in the tree, by that name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PLACES = [line for line in PAGE[PAGE.index("| to add |") :].splitlines()[2:] if line.startswith("|")]
FOLDERS = ("rust", "python", "tests", "docs", "scripts", "benchmarks", "examples")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`")


def missing(text):
    """What a text names and the tree has not: paths, the folder of a NAME, and words that are said to be in a file."""
    paths = [path for path in PATH.findall(text) if not (ROOT / path).exists() and "NAME" not in path]
    paths += [path for path in PATH.findall(text) if "NAME" in path and not (ROOT / path).parent.is_dir()]
    for word, path in re.findall(r"`(\w+)(?:\(\))?` in " + PATH.pattern, text):
        if path not in paths and not re.search(rf"\b{word}\b", (ROOT / path).read_text(encoding="utf-8")):
            paths.append(f"{word} in {path}")
    return paths


def test_the_table_says_where_every_part_is_added():
    added = [re.match(r"\| (?:a|an) ([\w ]+) \|", line)[1] for line in PLACES]
    assert added == ["block", "stem", "head", "target", "metric", "column role", "command"]


@pytest.mark.parametrize("row", PLACES, ids=lambda row: row.split("|")[1].strip())
def test_the_places_to_add_a_part_are_there(row):
    assert len(PATH.findall(row)) >= 3
    assert missing(row) == []


def test_every_path_on_the_page_is_there():
    assert missing(PAGE) == []


def test_a_path_and_a_word_that_are_not_there_are_named():
    text = "`rust/core/src/gone.rs`, `rust/gone/NAME.rs`, `Nowhere` in `docs/architecture.py`"
    assert missing(text) == ["rust/core/src/gone.rs", "docs/architecture.py", "rust/gone/NAME.rs"]
    assert missing("`NoSuchWord` in `docs/releasing.md`") == ["NoSuchWord in docs/releasing.md"]
