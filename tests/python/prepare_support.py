"""Raw data of every kind for the tests of data preparation, and readers of the prepared folder."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ssm_hpn.config import Columns, PrepareOptions
from ssm_hpn.prepare import Prepared, prepare


def made(tmp_path: Path, data: str | Path, /, columns: dict[str, Any] | None = None, **options: Any) -> Prepared:
    """Prepare `data` into a folder of its own."""
    settings = {"train": (str(data),), "columns": Columns(**(columns or {})), **options}
    return prepare(PrepareOptions(**settings), tmp_path / "out")


def rows(part: Path | None) -> list[dict[str, Any]]:
    """All documents of a part, read with pyarrow alone: shards are readable without this package."""
    assert part is not None
    manifest = json.loads((part / "manifest.json").read_text())
    tables = [pa.ipc.open_file(part / shard["file"]).read_all() for shard in manifest["shards"]]
    return pa.concat_tables(tables).to_pylist()


def text_of(part: Path | None) -> dict[str, str]:
    """Name → text of byte documents."""
    texts: dict[str, str] = {}
    for row in rows(part):
        texts[row["name"]] = texts.get(row["name"], "") + bytes(row["tokens"]).decode()
    return texts


def corpus(folder: Path, count: int = 40) -> Path:
    """A folder of small texts, some of them below another folder."""
    for index in range(count):
        file = folder / ("deep" if index % 3 else "") / f"text{index:02}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"file {index}\n" * (index + 1))
    return folder


def series(count: int = 30, steps: int = 8, seed: int = 0) -> list[dict[str, Any]]:
    """Time steps of some series, interleaved, with a class and two numbers per series."""
    rng = np.random.default_rng(seed)
    names = ["hum", "knock", "whistle"]
    table = [
        {
            "time": t,
            "machine": f"m{n}",
            "x": float(rng.normal(3, 2)),
            "y": float(rng.normal(-1, 9)),
            "flat": 4.0,
            "kind": names[n % 3],
            "load": n / 10,
            "wear": n * 2.0,
        }
        for t in range(steps)
        for n in range(count)
    ]
    rng.shuffle(table)
    return table


def written(path: Path, table: list[dict[str, Any]]) -> Path:
    """Write the rows in the format of the file's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(table), path)
    elif path.suffix == ".csv":
        lines = [",".join(table[0]), *(",".join(map(str, row.values())) for row in table)]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return path


def lines(*content: str) -> Callable[[Path], Path]:
    """A function that writes these lines into a file."""

    def make(path: Path) -> Path:
        path.write_text("\n".join(content) + "\n")
        return path

    return make


def arrays(**content: Any) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        np.savez(path, **content)
        return path

    return make


def cut_parquet(path: Path) -> Path:
    pq.write_table(pa.table({"text": ["abc"] * 1000}), path)
    path.write_bytes(path.read_bytes()[:-20])
    return path


def cut_arrays(path: Path) -> Path:
    np.save(path, np.arange(1000))
    path.write_bytes(path.read_bytes()[:-100])
    return path


def binaries(path: Path) -> Path:
    """A folder of files that are no text."""
    path.mkdir()
    for number in range(3):
        (path / f"{number}.bin").write_bytes(bytes(range(256)) * 8)
    return path


def cut_gzip(path: Path) -> Path:
    content = np.random.default_rng(0).integers(97, 123, 100_000).astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content)[:-50])
    return path


def raw(content: bytes) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return make
