"""Data that several tests train on, prepared once."""

import shutil
from pathlib import Path

import pytest

from filter_runs import LONG, long_table, run_in, train
from ssm_hpn.prepare import Prepared
from support import text_data


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Pseudo code as bytes, with a held-out part."""
    return text_data(tmp_path_factory.mktemp("text"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `long.csv` and a run of features on it."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        long_table(Path("long.csv"), gaps=True)
        assert train("long.csv", *LONG, "--data.columns.label", "label") == 0
    return folder


@pytest.fixture
def copied(fitted: Path, here: Path) -> Path:
    """A run of features in an empty working directory, with its data."""
    shutil.copytree(fitted, here, dirs_exist_ok=True)
    return run_in(here)
