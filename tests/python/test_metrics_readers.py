"""The metrics file of real runs, read by pandas, polars, DuckDB, pyarrow and jq.

Three runs: a whole one, one that was interrupted and resumed, and one with updates that were not finite.
"""

import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ssm_hpn import Callback, Trainer
from ssm_hpn.targets import KINDS
from support import settings

# Every key that these runs write, by its type; a key of another type (bool) would fail as one that is in neither.
NUMBER = {
    *("epoch", "time_s", "train/loss", "train/accuracy", "train/lr", "train/grad_norm", "train/update_norm"),
    *(f"eval/{name}" for name in KINDS["next_token"].metrics),
    "head/max_prototype_cosine",
    *("perf/tokens_per_second", "perf/step_ms", "perf/data_ms"),
}
TEXT = {"timestamp"}
WHOLE = {"schema", "step", "nonfinite", "skipped_steps", "train/clipped", "mem/rss_bytes", "data/tokens_seen"}


class Stop(Callback):
    """Interrupts a run after an update."""

    name = "stop"

    def updated(self, event):
        if event.progress.step == 5:
            event.trainer.request_stop()


class Poison(Callback):
    """Makes one update overflow."""

    name = "poison"

    def updated(self, event):
        name, session = "backbone.norm_f.weight", event.trainer.session
        if event.progress.step == 5 and event.update.applied:
            self.clean = session.parameter(name)
            poisoned = self.clean.copy()
            poisoned[0] = 3e38
            session.set_parameter(name, poisoned)
        elif not event.update.applied:
            session.set_parameter(name, self.clean)


def whole(text, folder):
    Trainer(settings(text, folder)).fit()


def resumed(text, folder):
    assert Trainer(settings(text, folder)).fit(callbacks=[Stop()]).reason == "interrupted"
    assert Trainer(settings(text, folder)).fit(callbacks=[]).reason == "finished"


def with_faults(text, folder):
    Trainer(settings(text, folder)).fit(callbacks=[Poison()])


@pytest.fixture(scope="module", params=[whole, resumed, with_faults], ids=lambda run: run.__name__)
def metrics(request, text, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    request.param(text, folder)
    return folder / "metrics.jsonl"


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows by the json module, which the other readers are compared with."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]], *, types: bool = True) -> None:
    """Assert equal values of equal types; a null may be read as None or NaN."""
    assert len(found) == len(expected)
    for ours, truth in zip(found, expected, strict=True):
        assert list(ours) == list(truth)
        for key, value in truth.items():
            got = ours[key]
            if key in TEXT:  # some readers make a time of it
                assert str(got)[:10] == value[:10]
            elif value is None:
                assert got is None or math.isnan(got), key
            else:
                assert got == value, key
                assert not types or type(got) is type(value), key


def check_types(types: dict[str, str], number: set[str], whole: set[str]) -> None:
    """Assert that each column has one of the types `number` or `whole`."""
    assert {key: type_ for key, type_ in types.items() if key in NUMBER and type_ not in number} == {}
    assert {key: type_ for key, type_ in types.items() if key in WHOLE and type_ not in whole} == {}
    assert set(types) == NUMBER | WHOLE | TEXT


def test_rows_have_all_keys_ascending_steps_and_fixed_types(metrics):
    table = rows(metrics)
    assert len({tuple(row) for row in table}) == 1
    assert table[0]["step"] == 0
    assert all(table[0][key] is not None for key in table[0])
    steps = [row["step"] for row in table if not row["nonfinite"]]
    assert steps == sorted(set(steps))
    for row in table:
        assert set(row) == NUMBER | WHOLE | TEXT
        assert all(type(row[key]) is float for key in NUMBER if row[key] is not None)
        assert all(type(row[key]) is int for key in WHOLE)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["timestamp"])


def test_rows_of_every_released_schema_are_still_written_alike(metrics):
    """Keys may be added, never renamed or given another type, so that a reader of old files reads new ones too."""
    golden = sorted((Path(__file__).resolve().parents[1] / "golden").glob("metrics-v*.jsonl"))
    assert golden
    for path in golden:
        for old in rows(path):
            assert path.stem == f"metrics-v{old['schema']}"
            new = rows(metrics)[0]
            assert set(old) <= set(new)
            for key, value in old.items():
                assert value is None or type(new[key]) is type(value), key


def test_pandas(metrics):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_json(metrics, lines=True, precise_float=True)
    check_types({key: str(type_) for key, type_ in table.dtypes.items()}, {"float64"}, {"int64"})
    same(table.to_dict("records"), rows(metrics))


def test_polars(metrics):
    polars = pytest.importorskip("polars")
    table = polars.read_ndjson(metrics)
    check_types({key: str(type_) for key, type_ in table.schema.items()}, {"Float64"}, {"Int64"})
    same(table.to_dicts(), rows(metrics))


def test_duckdb(metrics):
    duckdb = pytest.importorskip("duckdb")
    table = duckdb.sql(f"select * from read_json('{metrics}', format = 'newline_delimited')")
    types = dict(zip(table.columns, map(str, table.types), strict=True))
    check_types(types, {"DOUBLE"}, {"BIGINT", "UBIGINT"})
    same([dict(zip(table.columns, row, strict=True)) for row in table.fetchall()], rows(metrics))


def test_pyarrow(metrics):
    pyarrow_json = pytest.importorskip("pyarrow.json")
    table = pyarrow_json.read_json(metrics)
    check_types({field.name: str(field.type) for field in table.schema}, {"double"}, {"int64"})
    same(table.to_pylist(), rows(metrics))


def test_jq(metrics):
    if shutil.which("jq") is None:
        assert "CI" not in os.environ, "jq is not installed: continuous integration has to have it"
        pytest.skip("jq is not installed")

    def jq(program):
        command = ["jq", "-c", program, str(metrics)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        return [json.loads(line) for line in lines]

    # jq prints up to 17 digits, enough for a double; it has one type of number and may print 1.0 as 1
    same(jq("."), rows(metrics), types=False)
    assert jq("map_values(type)")[0] == dict.fromkeys(rows(metrics)[0], "number") | {"timestamp": "string"}
    for kinds in jq("map_values(type)"):
        assert {kinds[key] for key in WHOLE} == {"number"}
        assert {kinds[key] for key in NUMBER} <= {"number", "null"}
