"""Whole files: what Python writes with a rename."""

import pytest

from ssm_hpn.errors import StorageError
from ssm_hpn.storage import write_whole


def test_text_and_bytes_replace_what_was_there(tmp_path):
    file = tmp_path / "größe.txt"
    write_whole(file, "zehn µm\n")
    assert file.read_bytes() == "zehn µm\n".encode()
    write_whole(str(file), b"\x00\xff")
    assert file.read_bytes() == b"\x00\xff"
    assert [found.name for found in tmp_path.iterdir()] == [file.name]


def test_a_failure_names_the_file_and_leaves_the_old_one(tmp_path):
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "kept").write_text("x", encoding="ascii")
    with pytest.raises(StorageError, match=r"taken: cannot rename into place: .+"):
        write_whole(folder, "text")
    assert (folder / "kept").read_text(encoding="ascii") == "x"
    assert [found.name for found in tmp_path.iterdir()] == ["taken"]
    with pytest.raises(StorageError, match=r"missing.file\.txt: cannot create the file: .+"):
        write_whole(tmp_path / "missing" / "file.txt", "text")
