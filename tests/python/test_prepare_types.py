"""Columns of every type in every role: read for what they say, or refused in one line with words of this package."""

import datetime as dt
import decimal
import re
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, rows, written
from ssm_hpn.config import Columns, PrepareOptions
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.prepare import prepare

N = 12
BASE = {
    "id": [f"m{n // 2}" for n in range(N)],
    "o": list(range(N)),
    "x": [float(n) for n in range(N)],
    "y": ["ab"[n // 2 % 2] for n in range(N)],
    "v": [float(n // 2) for n in range(N)],
    "s": [f"text {n}" for n in range(N)],
}


def twice(values):
    """A value for every document, in both of its rows."""
    return [values[n // 2 % len(values)] for n in range(N)]


DAY = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - without a zone, as tables have them
TYPES = {
    "boolean": pa.array(twice([True, False])),
    "int8": pa.array(twice([1, 2, 3]), pa.int8()),
    "uint64": pa.array(twice([2**63, 2**63 + 1]), pa.uint64()),
    "float16": pa.array(twice([1.0, 0.5]), pa.float32()).cast(pa.float16()),
    "decimal": pa.array(twice([decimal.Decimal("1.50"), decimal.Decimal("2.25")])),
    "wide decimal": pa.array(twice([decimal.Decimal(10) ** 30, decimal.Decimal(1)]), pa.decimal128(38, 0)),
    "text": pa.array(twice(["1", "2.5"])),
    "words": pa.array(twice(["one", "two"])),
    "large text": pa.array(twice(["one", "two"]), pa.large_string()),
    "enum": pa.array(twice(["one", "two"])).dictionary_encode(),
    "bytes": pa.array(twice([b"one", b"\xff"])),
    "fixed bytes": pa.array(twice([b"ab", b"cd"]), pa.binary(2)),
    "date": pa.array(twice([DAY.date(), DAY.date() + dt.timedelta(1)])),
    "time": pa.array(twice([dt.time(9), dt.time(10)])),
    "timestamp": pa.array(twice([DAY, DAY + dt.timedelta(1)])),
    "timestamp with zone": pa.array(twice([DAY, DAY + dt.timedelta(1)]), pa.timestamp("us", "UTC")),
    "duration": pa.array(twice([dt.timedelta(1), dt.timedelta(2)])),
    "list of numbers": pa.array(twice([[1.0, 2.0], [3.0]])),
    "list of texts": pa.array(twice([["a", "b"], ["c"]])),
    "list of lists": pa.array(twice([[[1.0, 2.0]], [[3.0, 4.0]]])),
    "list of structs": pa.array(twice([[{"a": 1}]])),
    "struct": pa.array(twice([{"a": 1, "b": "x"}])),
    "map": pa.array(twice([[("a", 1)]]), pa.map_(pa.string(), pa.int32())),
    "null": pa.nulls(N),
    "all null numbers": pa.nulls(N, pa.float64()),
    "list of nulls": pa.array(twice([[None, None]]), pa.list_(pa.null())),
}
QUERIES = {
    "uuid": f"'{uuid.UUID(int=5)}'::UUID",
    "interval": "INTERVAL (n) MONTH",
    "hugeint": "(n + 170141183460469231731687303715884105000)::HUGEINT",
    "uhugeint": "n::UHUGEINT",
    "time with zone": "'12:00:00+02'::TIMETZ",
    "bit": "'1010'::BIT",
    "enum": "(CASE WHEN n > 4 THEN 'a' ELSE 'b' END)::ENUM('a', 'b')",
    "union": "union_value(k := n)",
    "infinite date": "'infinity'::DATE",
    "json": "'{\"a\": 1}'::JSON",
    "array": "[n, n]::DOUBLE[2]",
    "nested array": "[[n, n]]::DOUBLE[2][1]",
}
ROLES = {
    "id": {"id": "z", "features": "x"},
    "order": {"order": "z", "features": "x", "id": "id"},
    "feature": {"features": "z", "id": "id", "label": "y"},
    "features": {"features": ("x", "z")},
    "label": {"features": "x", "id": "id", "label": "z"},
    "labels": {"features": "x", "id": "id", "labels": "z"},
    "value": {"features": "x", "id": "id", "values": "z"},
    "text": {"text": "z"},
    "label of text": {"text": "s", "label": "z"},
    "id of text": {"text": "s", "id": "z"},
    "labels of text": {"text": "s", "labels": "z"},
    "tokens": {"tokens": "z"},
    "split": {"text": "s"},
}
ENGINE = re.compile(
    r"Binder|Conversion Error|Error:|VARCHAR|DOUBLE|BIGINT|BLOB|STRUCT|INTEGER|Could not|Unimplemented|Invalid Input|"
    r"Mismatch|Catalog|function|cast|Traceback|\bbug\b|explicit"
)


def attempt(tmp_path, table, role, **options):
    """What is said where the column `z` has a role; nothing where it is read."""
    columns = Columns(**ROLES[role])
    split = {"split": "z=1,one"} if role == "split" else {"validation_fraction": 0.0}
    options = PrepareOptions(columns=columns, max_document=64, **split, **options)
    try:
        prepare(options, tmp_path / "out", tables=[] if table is None else [table])
    except (DataError, ConfigError) as error:
        return str(error)
    return ""


def check(said):
    assert "\n" not in said
    if said:
        assert re.fullmatch(r".+?: .*expected .+, found .+; .+", said), said
        assert not ENGINE.search(said), said


@pytest.mark.parametrize("role", ROLES)
def test_arrow_columns_of_every_type(tmp_path, role):
    problems = []
    for name, column in TYPES.items():
        try:
            check(attempt(tmp_path / name, pa.table({**BASE, "z": column}), role))
        except Exception as error:  # noqa: BLE001 - all of the types, not the first that fails
            problems.append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize("role", ["id", "order", "feature", "label", "text", "labels of text", "tokens"])
def test_columns_of_queries_of_every_type(tmp_path, role):
    problems = []
    pq.write_table(pa.table({**BASE, "n": list(range(N))}), tmp_path / "base.parquet")
    for name, expression in QUERIES.items():
        query = f"sql:SELECT *, {expression} AS z FROM '{tmp_path}/base.parquet'"
        try:
            check(attempt(tmp_path / name, None, role, train=(query,)))
        except Exception as error:  # noqa: BLE001 - all of the types, not the first that fails
            problems.append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
    assert not problems, "\n" + "\n".join(problems)


# ---- one column in two roles


def shared(tmp_path, suffix, columns, **options):
    table = [{"id": n // 3, "t": n % 3 + 0.5, "y": n // 3 % 2, "s": f"{n}"} for n in range(18)]
    path = written(tmp_path / f"d.{suffix}", table)
    return made(tmp_path, path, columns, validation_fraction=0, normalize=False, **options)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("role", ["id", "order", "label", "labels", "values"])
def test_a_column_may_be_a_feature_too_where_it_is_named(tmp_path, suffix, role):
    name = {"order": "t", "label": "y", "labels": "y", "values": "y"}.get(role, "id")
    prepared = shared(tmp_path, suffix, {"id": "id", role: name, "features": ("t", name)})
    documents = rows(prepared.train)
    assert [row["name"].partition("#")[2] for row in documents] == ["0", "1", "2", "3", "4", "5"]
    column = 0 if name == "t" else 1
    expected = {"id": [[n] * 3 for n in range(6)], "t": [[0.5, 1.5, 2.5]] * 6, "y": [[n % 2] * 3 for n in range(6)]}
    assert [[step[column] for step in row["features"]] for row in documents] == expected[name]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_word_in_a_column_of_two_roles_is_refused_with_its_row(tmp_path, suffix):
    table = [{"id": "m0", "x": 1.0}, {"id": 2, "x": 1.0}]
    path = written(tmp_path / f"d.{suffix}", table)
    with pytest.raises(DataError, match=r"(row 2, column|line 1, key) 'id': expected a number, found 'm0'"):
        made(tmp_path, path, {"id": "id", "features": ("x", "id")})


def test_decimal_commas_in_a_column_of_two_roles(tmp_path):
    (tmp_path / "d.csv").write_text("t;x\n1,5;2,5\n0,5;3\n")
    prepared = made(
        tmp_path,
        tmp_path / "d.csv",
        {"order": "t", "features": ("t", "x")},
        decimal=",",
        normalize=False,
        validation_fraction=0,
    )
    assert rows(prepared.train)[0]["features"] == [[0.5, 3.0], [1.5, 2.5]]


def test_a_label_of_text_is_a_text_too_where_it_is_named(tmp_path):
    (tmp_path / "d.jsonl").write_text("".join(f'{{"s": "{n}"}}\n' for n in range(18)))
    prepared = made(tmp_path, tmp_path / "d.jsonl", {"text": "s", "label": "s"}, validation_fraction=0)
    assert len(prepared.contract.classes) == 18
