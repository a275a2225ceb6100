"""The prepared folder: written whole or not at all, reused for the same request, independent of where the data is."""

from pathlib import Path

import pytest

from prepare_support import corpus, made, written
from ssm_hpn.config import PrepareOptions
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.prepare import Prepared, is_prepared, prepare, untouched, verify, verify_part


def test_the_digest_depends_on_the_data_and_not_on_its_folder(tmp_path: Path) -> None:
    one = made(tmp_path / "a", corpus(tmp_path / "a" / "data"))
    two = made(tmp_path / "b", corpus(tmp_path / "b" / "data"))
    three = made(tmp_path / "c", corpus(tmp_path / "c" / "data", 41))
    assert one.digest == two.digest != three.digest


def test_a_second_preparation_with_the_same_options_reuses_the_folder(tmp_path: Path) -> None:
    data = corpus(tmp_path / "data")
    stages: list[str] = []
    options = PrepareOptions(train=(str(data),))
    first = prepare(options, tmp_path / "out", progress=lambda stage, *_: stages.append(stage))
    assert set(stages) == {"counting", "writing"}
    stages.clear()
    assert prepare(options, tmp_path / "out", progress=lambda stage, *_: stages.append(stage)).digest == first.digest
    assert not stages
    (data / "text00.txt").write_text("changed")
    with pytest.raises(ConfigError, match=r"out: expected a new or empty folder.*found .*out with other content"):
        prepare(options, tmp_path / "out")


def test_a_failed_preparation_leaves_no_folder(tmp_path: Path) -> None:
    written(tmp_path / "good.jsonl", [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(40)])
    written(tmp_path / "bad.jsonl", [{"text": f"other {n}", "label": "abc"[n % 3]} for n in range(40)])
    with pytest.raises(DataError, match="expected a class of the training data"):  # while shards are written
        made(tmp_path, tmp_path / "good.jsonl", {"label": "label"}, validation=(str(tmp_path / "bad.jsonl"),))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.jsonl", "good.jsonl"]
    assert not is_prepared(tmp_path / "out")


def test_folders_may_be_named_by_texts(tmp_path):
    (tmp_path / "t.txt").write_text("text\n" * 200)
    folder = str(tmp_path / "p")
    prepared = prepare(PrepareOptions(train=str(tmp_path / "t.txt")), folder)
    verify(folder, record=True)
    assert is_prepared(folder)
    assert untouched(folder)
    assert Prepared.load(folder).digest == prepared.digest
    assert verify_part(str(prepared.train))["tokens"] == prepared.parts["train"].tokens
