"""Arrow files and streams, folders of the package datasets, and documents that are there more than once."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pytest

from ssm_hpn._core import ShardReader
from ssm_hpn.config import PrepareOptions
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.prepare import prepare

TEXTS = [f"text number {n} of some" for n in range(40)]


def write_stream(path, columns, rows_at_once=7):
    """An Arrow stream, as `Dataset.save_to_disk` of the package datasets writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {}})})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, rows_at_once)


def dataset(folder, columns, shards=2):
    """A folder as the package datasets writes it."""
    rows = len(next(iter(columns.values())))
    for shard in range(shards):
        part = {name: values[shard * rows // shards : (shard + 1) * rows // shards] for name, values in columns.items()}
        write_stream(folder / f"data-{shard:05}-of-{shards:05}.arrow", part)
    (folder / "dataset_info.json").write_text("{}")
    (folder / "state.json").write_text("{}")


def texts_of(prepared):
    """All texts of both parts, sorted."""
    found = []
    for part in (prepared.train, prepared.validation):
        reader = ShardReader(str(part)) if part else None
        while reader and (group := reader.next()) is not None:
            places = group["boundaries"]
            tokens = group["tokens"].astype(np.uint8)
            found += [bytes(tokens[a:b]).decode() for a, b in itertools.pairwise(places)]
    return sorted(found)


def test_a_folder_of_the_package_datasets_is_read(tmp_path):
    dataset(tmp_path / "set", {"text": TEXTS, "other": list(range(40))})
    prepared = prepare(PrepareOptions(train=str(tmp_path / "set"), columns={"text": "text"}), tmp_path / "out")
    assert texts_of(prepared) == sorted(TEXTS)
    left_out = dict(prepared.contract.left_out)
    assert left_out == dict.fromkeys(("dataset_info.json", "state.json"), "describes the data set")


def test_an_arrow_file_and_a_stream_are_the_data_of_the_same_table_in_parquet(tmp_path):
    columns = {
        "id": [n // 10 for n in range(400)],
        "x": [n * 0.5 for n in range(400)],
        "y": [n % 7 for n in range(400)],
    }
    columns["label"] = [n // 10 % 3 for n in range(400)]
    table = pa.table(columns)
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "file.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, 33)
    write_stream(tmp_path / "stream.arrow", columns)
    roles = {"id": "id", "features": "x,y", "label": "label"}
    digests = {
        name: prepare(PrepareOptions(train=str(tmp_path / name), columns=roles), tmp_path / f"out-{name}").data_digest
        for name in ("a.parquet", "file.arrow", "stream.arrow")
    }
    assert len(set(digests.values())) == 1


def test_several_splits_and_damaged_files_are_refused(tmp_path):
    for split in ("train", "test"):
        dataset(tmp_path / "set" / split, {"text": TEXTS})
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    with pytest.raises(DataError, match=r"expected one split .*, found several: test, train; name .*train, and --data"):
        prepare(PrepareOptions(train=str(tmp_path / "set"), columns={"text": "text"}), tmp_path / "out")
    whole = next((tmp_path / "set" / "train").glob("*.arrow"))
    for cut in (0, 3, 100, whole.stat().st_size // 2):
        (tmp_path / "cut.arrow").write_bytes(whole.read_bytes()[:cut] or b"x")
        with pytest.raises((DataError, ConfigError), match=r"cut\.arrow"):
            prepare(PrepareOptions(train=str(tmp_path / "cut.arrow"), columns={"text": "text"}), tmp_path / "out")


def test_documents_that_are_there_more_than_once_are_left_out_on_request(tmp_path):
    lines = [*TEXTS, *TEXTS[:5], TEXTS[3], "another"]
    (tmp_path / "a.txt").write_text("".join(f"{line}\n" for line in lines))
    options = {"train": str(tmp_path / "a.txt"), "documents": "line", "validation_fraction": 0.2}
    every = prepare(PrepareOptions(**options), tmp_path / "every")
    assert sum(part.documents for part in every.contract.parts.values()) == len(lines)
    once = prepare(PrepareOptions(**options, unique=True), tmp_path / "once")
    assert texts_of(once) == sorted(set(texts_of(every)))
    assert once.contract.left_out == (("6 documents", "equal to an earlier one"),)
    other_order = [*reversed(TEXTS), "another", *TEXTS[7:9]]
    (tmp_path / "b.txt").write_text("".join(f"{line}\n" for line in other_order))
    again = prepare(PrepareOptions(**options | {"train": str(tmp_path / "b.txt")}, unique=True), tmp_path / "again")
    assert texts_of(again) == texts_of(once)


def test_a_column_that_cannot_be_kept_is_one_clear_error(tmp_path):
    columns = {"text": TEXTS, "span": pa.array([(1, 2, 3)] * len(TEXTS), pa.month_day_nano_interval())}
    write_stream(tmp_path / "set.arrow", columns)
    with pytest.raises(DataError, match=r"set\.arrow: file: expected columns of types that Parquet has"):
        prepare(PrepareOptions(train=str(tmp_path / "set.arrow"), columns={"text": "text"}), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["set.arrow"]
