"""Sizes that files and callers name are compared with what is there before memory is asked for."""

import hashlib
import io
import json
import shutil
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from ssm_hpn._core import Batch
from ssm_hpn.config import PrepareOptions
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import read_manifest
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import prepare
from ssm_hpn.prepare.trained import contents_of


def header(shape, descr="<f8", numbers=3):
    """An array file whose header says another shape than it has numbers."""
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": descr})
    file.write(bytes(8 * numbers))
    return file.getvalue()


@pytest.mark.parametrize("suffix", ["npy", "npz"])
@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((1, 10**12), "expected 8,000,000,000,000 more bytes, found 24"),
        ((2**33, 2**33), "expected 590,295,810,358,705,651,712 more bytes, found 24"),  # 0 in 64 bits
        ((-1, 3), r"expected a numpy array, found shape \[-1, 3\]"),
    ],
)
def test_an_array_that_is_shorter_than_its_header_says_is_refused(tmp_path, suffix, shape, found):
    path = tmp_path / f"x.{suffix}"
    if suffix == "npy":
        path.write_bytes(header(shape))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", header(shape))
    with pytest.raises(DataError, match=found):
        prepare(PrepareOptions(train=(str(path),)), tmp_path / "data")


@pytest.mark.parametrize("key", ["n_features", "n_values", "n_classes", "vocab_size"])
def test_sizes_of_a_manifest_are_bounded_before_anything_is_made_of_them(text, tmp_path, key):
    shutil.copytree(text.train, tmp_path / "train")
    manifest = tmp_path / "train/manifest.json"
    described = json.loads(manifest.read_text())
    del described["contract"]  # as of an earlier release, whose contract is made of these numbers
    for number in (10**12, -1):
        manifest.write_text(json.dumps(described | {key: number}))
        with pytest.raises(DataError, match=rf"manifest\.json: {key}: expected 0 to \d+, found {number}; prepare"):
            Contract.from_manifest(read_manifest(tmp_path / "train"), tmp_path / "train")


@pytest.mark.parametrize("content", [header((10**12,), "<u8"), header((3,), "<f8"), header((1, 3), "<u8"), b"keys"])
def test_keys_that_are_not_as_many_as_their_header_says_are_refused(text, tmp_path, content):
    shutil.copytree(text.train, tmp_path / "train")
    (tmp_path / "train/contents.npy").write_bytes(content)
    described = read_manifest(tmp_path / "train")
    assert len(contents_of(text.train, described)) > 3
    described["source"]["contents"]["sha256"] = hashlib.sha256(content).hexdigest()
    with pytest.raises(DataError, match=r"contents\.npy: file: expected keys, found something else"):
        contents_of(tmp_path / "train", described)


def test_a_document_that_ends_before_it_starts_has_no_tokens():
    crossed = np.array([[0, 5, 2]], np.uint32)
    assert Batch(tokens=np.zeros((1, 8), np.uint32), segments=crossed).n_tokens == 0
