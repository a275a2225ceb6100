"""Columns of every type in every role: read, or refused in one line without the engine's own error text."""

import contextlib
import datetime as dt
import decimal
import itertools
import json
import re
import uuid

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, rows, written
from ssm_hpn.config import Columns, PrepareOptions
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.prepare import prepare, roles
from ssm_hpn.prepare.engine import engine
from ssm_hpn.prepare.learn import Learned
from ssm_hpn.prepare.pipeline import Raw
from ssm_hpn.prepare.reading import Sources
from ssm_hpn.prepare.split import Census

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
    """[N] values: the same for the two rows of each document."""
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


@pytest.fixture
def one_engine(monkeypatch):
    """One engine for all tables of a test: opening it takes longer than reading a small table."""
    with engine(None) as connection:

        @contextlib.contextmanager
        def again(work, *, long_lines=False, size=0):
            yield connection

        monkeypatch.setattr(roles, "engine", again)
        yield


def options_for(role, **options):
    """Column `z` in a role."""
    split = {"split": "z=1,one"} if role == "split" else {"validation_fraction": 0.0}
    return PrepareOptions(columns=Columns(**ROLES[role]), max_document=64, **split, **options)


def learn(options, handed):
    """Read all documents and settle what they mean, without writing shards."""
    sources, learned = Sources(Raw.find(options, handed).train, options), Learned(options)
    census = Census(options)
    for documents in sources:
        census.add(documents, learned.see(documents))
        learned.measure(documents)
    census.end()
    if options.split != "auto":
        census.choose(per_document=learned.per_document, names=learned.labels.texts)
    learned.columns(sources)
    learned.scale()


def said(action, *arguments):
    """The error of an action, empty where there is none."""
    try:
        action(*arguments)
    except (DataError, ConfigError) as error:
        return str(error)
    return ""


def check(message):
    assert "\n" not in message
    if message:
        assert re.fullmatch(r".+?: .*expected .+, found .+; .+", message), message
        assert not ENGINE.search(message), message


def problems_of(attempts):
    """The first line of every failed attempt, with its name."""
    problems = []
    for name, attempt in attempts.items():
        try:
            check(said(*attempt))
        except Exception as error:  # noqa: BLE001 - any exception is a failure
            problems.append(f"{name}: {type(error).__name__}: {error}".splitlines()[0])
    return problems


def query_of(tmp_path, expression):
    path = tmp_path / "base.parquet"
    if not path.exists():
        pq.write_table(pa.table({**BASE, "n": list(range(N))}), path)
    return f"sql:SELECT *, {expression} AS z FROM '{path}'"


@pytest.mark.parametrize("role", ROLES)
def test_arrow_columns_of_every_type(one_engine, role):
    handed = {name: [pa.table({**BASE, "z": column})] for name, column in TYPES.items()}
    problems = problems_of({name: (learn, options_for(role), one) for name, one in handed.items()})
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.parametrize("role", ["id", "order", "feature", "label", "text", "labels of text", "tokens"])
def test_columns_of_queries_of_every_type(one_engine, tmp_path, role):
    queries = {name: query_of(tmp_path, expression) for name, expression in QUERIES.items()}
    problems = problems_of({name: (learn, options_for(role, train=(one,)), ()) for name, one in queries.items()})
    assert not problems, "\n" + "\n".join(problems)


def test_columns_of_some_types_are_prepared_to_shards(tmp_path):
    roles = itertools.cycle(ROLES)
    attempts = {}
    for name, column in list(TYPES.items())[::3]:
        handed, role = [pa.table({**BASE, "z": column})], next(roles)
        attempts[f"{name} as {role}"] = (write, options_for(role), tmp_path / f"type {name}", handed)
    for name, expression in list(QUERIES.items())[::4]:
        role = next(roles)
        options = options_for(role, train=(query_of(tmp_path, expression),))
        attempts[f"query {name} as {role}"] = (write, options, tmp_path / f"query {name}", ())
    problems = problems_of(attempts)
    assert not problems, "\n" + "\n".join(problems)


def write(options, out, handed):
    prepare(options, out, tables=handed)


# ---- one column in two roles


def shared(tmp_path, suffix, columns, **options):
    table = [{"id": n // 3, "t": n % 3 + 0.5, "y": n // 3 % 2, "s": f"{n}"} for n in range(18)]
    path = written(tmp_path / f"d.{suffix}", table)
    return made(tmp_path, path, columns, validation_fraction=0, normalize=False, **options)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("role", ["id", "order"])
def test_a_key_may_be_a_feature_too_where_it_is_named(tmp_path, suffix, role):
    name = {"order": "t"}.get(role, "id")
    prepared = shared(tmp_path, suffix, {"id": "id", role: name, "features": ("t", name)})
    documents = rows(prepared.train)
    assert [row["name"].partition("#")[2] for row in documents] == ["0", "1", "2", "3", "4", "5"]
    column = 0 if name == "t" else 1
    expected = {"id": [[n] * 3 for n in range(6)], "t": [[0.5, 1.5, 2.5]] * 6}
    assert [[step[column] for step in row["features"]] for row in documents] == expected[name]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_text_in_a_column_of_two_roles_is_refused_with_its_row(tmp_path, suffix):
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


def truth():
    """Rows of 24 series of 4 steps with a column of true, false and missing cells."""
    made_of = [{"id": f"s{n // 4}", "t": n % 4, "x": n / 8, "b": [True, False, None][n % 3]} for n in range(96)]
    return [row | {"label": "ab"[k // 4 % 2]} for k, row in enumerate(made_of)]


FLAGGED = {"id": "id", "order": "t", "features": "x,b", "label": "label"}


def written_as(path, table, words, *, quote=""):
    """A CSV file in which true, false and missing cells are written as `words`."""
    shown = {True: f"{quote}{words[0]}{quote}", False: words[1], None: words[2]}
    lines = [",".join(str(shown[v] if k == "b" else v) for k, v in row.items()) for row in table]
    path.write_text("\n".join([",".join(table[0]), *lines, ""]))
    return path


@pytest.mark.parametrize("words", [("true", "false", ""), ("True", "False", "NA"), ("TRUE", " FALSE ", "")])
def test_true_and_false_are_the_same_numbers_in_any_format(tmp_path, words):
    table, null = truth(), [word for word in words[2:] if word]
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "d.parquet")
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in table))
    written_as(tmp_path / "d.csv", table, words, quote='"')
    written_as(tmp_path / "numbers.csv", table, ("1", "0", words[2]))
    found = {
        name: made(
            tmp_path / f"of {name}", tmp_path / name, FLAGGED, **({"null": null} if name.endswith("csv") else {})
        )
        for name in ("d.csv", "numbers.csv", "d.parquet", "d.jsonl")
    }
    assert len({one.digest for one in found.values()}) == 1, {name: one.digest for name, one in found.items()}
    noted = {name: [note for note in one.contract.notes if "true and false" in note] for name, one in found.items()}
    assert noted.pop("d.csv") == ["d.csv: column 'b': true and false are read as 1 and 0"]
    assert not any(noted.values())


def test_true_and_false_to_predict_are_numbers(tmp_path):
    table = [row | {"b": bool(int(row["id"][1:]) % 2)} for row in truth()]
    columns = FLAGGED | {"features": "x", "label": None, "values": "b"}
    pq.write_table(pa.Table.from_pylist(table), tmp_path / "d.parquet")
    written_as(tmp_path / "d.csv", table, ("True", "False", ""))
    digests = [made(tmp_path / f"of {name}", tmp_path / name, columns).digest for name in ("d.csv", "d.parquet")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("last", ["1", "maybe", "0.5"])
def test_true_and_false_beside_others_are_refused(tmp_path, last):
    table = truth()
    written_as(tmp_path / "d.csv", table, ("true", "false", last))
    with pytest.raises(DataError, match=r"row [23], column 'b': expected a number, found '(true|false)'; write 1 for"):
        made(tmp_path, tmp_path / "d.csv", FLAGGED)


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([2**62, -(2**62), 0], "integer"),
        ([10**18, 9_199_999_999_999_999_999], "integer"),
        ([2**63, 1], "text"),
        (["1234567890123456789", "007"], "text"),
    ],
)
def test_ids_of_whole_numbers_of_64_bits_are_numbers(tmp_path, ids, kind):
    lines = ["id,x", *(f"{one},{n}" for n, one in enumerate([*ids, *range(100, 130)]))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": ("x",)})
    assert next(one.type for one in prepared.contract.columns if one.role == "id") == kind
