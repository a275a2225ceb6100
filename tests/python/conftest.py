"""Data that several tests train on, prepared once."""

from pathlib import Path

import pytest

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
