"""Compressors on held-out bytes: the sizes are those of the programs, and of both ways to read the documents."""

import lzma
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import compressors
from ssm_hpn.compressors import compare, missing, scores
from ssm_hpn.config import PrepareOptions
from ssm_hpn.prepare import prepare

TEXT = (Path(__file__).read_bytes() * 3)[:9000]
NAMES = [f"{name}, {way}" for name in ("zstd -19", "xz -9") for way in ("each file by itself", "all in one stream")]


def test_documents_are_compressed_by_themselves_and_in_one_stream() -> None:
    documents = [TEXT[:4000], TEXT[2000:], b"x"]
    found = {score.name: score for score in scores(documents)}
    assert list(found) == NAMES
    alone = sum(len(lzma.compress(document, preset=9)) for document in documents)
    together = len(lzma.compress(b"".join(documents), preset=9))
    total = sum(map(len, documents))
    assert found["xz -9, each file by itself"].bits_per_byte == 8 * alone / total
    assert found["xz -9, all in one stream"].bits_per_byte == 8 * together / total
    assert {score.scored for score in found.values()} == {total}


@pytest.mark.skipif(shutil.which("zstd") is None, reason="the program zstd is not installed")
def test_zstd_gives_what_the_program_gives(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    done = subprocess.run(["zstd", "-19", "--stdout", tmp_path / "text"], capture_output=True, check=True)
    (found,) = [score for score in scores([TEXT]) if score.name == "zstd -19, all in one stream"]
    assert found.bits_per_byte == pytest.approx(8 * len(done.stdout) / len(TEXT), rel=0.01)  # releases differ by bytes


def test_only_the_first_bytes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressors, "MOST_BYTES", 1000)
    noise = np.random.default_rng(0).bytes(5000)
    assert {score.scored for score in scores([noise[:700], noise[700:]])} == {1000}
    assert scores([noise[:700], noise[700:]]) == scores([noise[:700], noise[700:1000], b"never read"])
    assert scores([]) == []


def test_without_zstd_its_rows_are_missing_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing() == ""

    def absent(name: str) -> object:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(compressors, "import_module", absent)
    assert [score.name for score in scores([TEXT])] == NAMES[2:]
    assert missing() == "zstd -19 needs Python 3.14, or: pip install backports.zstd"


def test_scores_are_cached_beside_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    for number in range(20):
        (tmp_path / "a" / f"{number}.py").write_bytes(TEXT[100 * number : 400 + 100 * number])
    prepared = prepare(PrepareOptions(train=(str(tmp_path / "a"),), validation_fraction=0.4), tmp_path / "out")
    assert prepared.validation is not None
    found = compare(prepared.validation)
    assert [score.name for score in found] == NAMES
    monkeypatch.setattr(compressors, "scores", None)
    assert compare(prepared.validation) == found
