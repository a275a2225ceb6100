"""Every bit of a small checkpoint and of a small data set is flipped, and every length of each file is tried.

Damage is found when the file is read, before anything is made of it; a run goes on from the checkpoint before, and says
so.
"""

import random
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

import faults
from ssm_hpn._core import ShardReader, load_arrays, save_arrays, verify_shards
from ssm_hpn.errors import CheckpointError, DataError

SHARDS = Path(__file__).parents[2] / "rust/core/tests/golden/shards-v1"
MOST_MEMORY = 16 << 20
"""Bytes by which the peak of this process may rise: files of a few kB ask for no more than their size."""


def damages(folder, few):
    """Every file of a folder with one bit flipped, or cut: (file, text, content); a part without --all-faults."""
    every = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        size = file.stat().st_size
        every += [(file, "bit", place) for place in range(8 * size)] + [(file, "length", n) for n in range(size)]
    random.Random(0).shuffle(every)
    for file, how, place in every[: faults.rounds(few, of=len(every))]:
        content = bytearray(file.read_bytes())
        if how == "bit":
            content[place // 8] ^= 1 << place % 8
        else:
            del content[place:]
        yield file, f"{file.name}, {how} {place}", bytes(content)


def put(file, content):
    """Replace the bytes of a file in place."""
    with file.open("r+b") as opened:
        opened.write(content)
        opened.truncate(len(content))


@pytest.fixture
def peak():
    """The peak of resident memory rises by little."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) < MOST_MEMORY


@pytest.mark.fault("a bit of a checkpoint is flipped, or a file of it is cut")
@pytest.mark.usefixtures("peak")
def test_a_damaged_checkpoint_is_found_and_the_one_before_is_taken(tmp_path, tally):
    root = tmp_path / "checkpoints"
    root.mkdir()
    for step in (1, 2):
        array = {"weights": np.full((2, 3), step, np.float32)}
        save_arrays(str(root), f"step-0000000{step}", step, "small", array, '{"note": "é"}')
    newest = root / "step-00000002"
    for file, what, content in damages(newest, 400):
        whole = file.read_bytes()
        put(file, content)
        place, step, arrays, _, notes = load_arrays(str(root), "small")
        assert (Path(place).name, step, float(arrays["weights"][0, 0])) == ("step-00000001", 1, 1.0), what
        (note,) = notes
        assert "\n" not in note, what
        assert "step-00000002" in note, what
        with pytest.raises(CheckpointError):
            load_arrays(str(newest), "small")
        put(file, whole)
        tally.add(worst="the checkpoint before is taken")
    assert load_arrays(str(root), "small")[1] == 2


@pytest.mark.fault("a bit of a shard or manifest is flipped, or a file is cut")
@pytest.mark.usefixtures("peak")
def test_damaged_data_are_found_by_verify_and_never_read_as_other_data(tmp_path, tally):
    def read(folder):
        reader = ShardReader(str(folder))
        groups = list(iter(reader.next, None))
        return [{**{k: v for k, v in one.items() if k != "targets"}, **one["targets"]} for one in groups]

    data = shutil.copytree(SHARDS, tmp_path / "data")
    right = read(data)
    for file, what, content in damages(data, 400):
        whole = file.read_bytes()
        put(file, content)
        with pytest.raises(DataError) as found:
            verify_shards(str(data))
        assert "\n" not in str(found.value), what
        try:
            groups, told = read(data), ""
        except DataError as error:
            groups, told = None, str(error)
        assert "\n" not in told, what
        if (
            groups is not None
        ):  # bytes that no document is made of: padding, the digests beside, or a field that is only for people
            assert len(groups) == len(right), what
            for one, other in zip(groups, right, strict=True):
                assert one.keys() == other.keys(), what
                for key in one:
                    np.testing.assert_array_equal(one[key], other[key], err_msg=what)
        put(file, whole)
        tally.add(worst="the data set is refused")
    verify_shards(str(data))
