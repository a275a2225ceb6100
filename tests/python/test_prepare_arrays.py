"""Numpy files to documents: the roles of arrays, lengths, ids and single series."""

import json
from pathlib import Path

import numpy as np
import pytest

from prepare_support import made, rows
from ssm_hpn.config import Columns, PrepareOptions
from ssm_hpn.prepare import prepare


def test_arrays_with_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(50, 6, 3)), rng.integers(0, 4, 50)
    lengths = rng.integers(1, 7, 50)
    np.savez(tmp_path / "d.npz", x=x, y=y, lengths=lengths, values=np.arange(50.0))
    prepared = made(tmp_path, tmp_path / "d.npz", normalize=False)
    found = rows(prepared.train) + rows(prepared.validation)
    assert len(found) == 50
    for row in found:
        n = int(row["name"].partition("#")[2])
        np.testing.assert_array_equal(row["features"], x[n, : lengths[n]].astype(np.float32))
        assert row["label"] == y[n]
        np.testing.assert_allclose(prepared.contract.unscale_values(row["values"]), [float(n)], atol=1e-5)


@pytest.mark.parametrize(("shape", "documents"), [((30, 9), 30), ((500,), 2)])
def test_arrays_of_ids(tmp_path: Path, shape: tuple[int, ...], documents: int) -> None:
    ids = np.arange(np.prod(shape)).reshape(shape) % 77
    np.save(tmp_path / "d.npy", ids)
    prepared = made(tmp_path, tmp_path / "d.npy")
    found = rows(prepared.train) + rows(prepared.validation)
    assert len(found) == documents
    assert prepared.vocab_size == 77
    assert sorted(t for row in found for t in row["tokens"]) == sorted(ids.ravel().tolist())


def test_an_array_named_for_one_role_is_not_taken_for_another(tmp_path: Path) -> None:
    y = np.linspace(-3, 3, 40, dtype=np.float32)
    np.savez(tmp_path / "a.npz", x=np.arange(400.0).reshape(40, 5, 2), y=y)
    columns = Columns(values=("y",))
    done = prepare(PrepareOptions(train=(str(tmp_path / "a.npz"),), columns=columns), tmp_path / "out")
    manifest = json.loads((done.train / "manifest.json").read_text())
    assert "values" in manifest["columns"]
    assert "label" not in manifest["columns"]


def test_a_matrix_without_targets_is_one_series(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", np.arange(300, dtype=np.float32).reshape(100, 3))
    prepared = made(tmp_path, tmp_path / "d.npy", normalize=False)
    assert np.concatenate([r["features"] for r in rows(prepared.train) + rows(prepared.validation)]).shape == (100, 3)
    assert prepared.n_features == 3
