"""Queries may only read; a wrong one is refused in one line without the engine's own preamble."""

import pytest

from prepare_support import made
from ssm_hpn.errors import ConfigError, DataError

ROWS = "text,label\n" + "".join(f"text {n},b\n" for n in range(40))


@pytest.fixture
def refused(tmp_path, monkeypatch):
    """The error of a query, in a folder with the file d.csv."""
    (tmp_path / "d.csv").write_text(ROWS)
    monkeypatch.chdir(tmp_path)

    def call(query, **options):
        with pytest.raises((ConfigError, DataError)) as caught:
            made(tmp_path, f"sql:{query}", **options)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["d.csv"]
        return str(caught.value)

    return call


@pytest.mark.parametrize(
    "query",
    [
        *("INSTALL httpfs", "LOAD httpfs", "ATTACH 'x.db'", "DETACH x", "COPY (SELECT 1) TO 'x.csv'", "PRAGMA version"),
        *("SET threads = 4", "RESET threads", "CREATE TABLE a (b INT)", "INSERT INTO a VALUES (1)", "DROP TABLE a"),
        *(
            "-- a remark\nUPDATE a SET b = 1",
            "/* another */ DELETE FROM a",
            "export DATABASE 'x'",
            "IMPORT DATABASE 'x'",
        ),
        *("CHECKPOINT", "CALL pragma_version()", "USE x", "BEGIN", "EXPLAIN SELECT 1"),
    ],
)
def test_a_statement_other_than_select_is_refused_by_its_name(refused, query):
    word = next(line for line in query.replace("/* another */ ", "").splitlines() if "--" not in line).split()[0]
    found = refused(query)
    assert found == f"query: expected one SELECT after sql:, found {word.upper()}; only read in a query"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT 1; SELECT 2", "query: expected one SELECT after sql:, found SELECT and SELECT; only read in a query"),
        *(
            (
                nothing,
                "query: expected one SELECT after sql:, found nothing; write one, such as SELECT * FROM 'x.parquet'",
            )
            for nothing in ("", "  ", ";")
        ),
        (
            "SELECT * FROM 'd.csv' WHERE label = 'c'",
            "query: result: expected at least one row, found none; change what the query selects",
        ),
        (
            "SELECT * FROM 'other.csv'",
            (
                "query: expected a file that is there, found no 'other.csv'; check the spelling; a relative path "
                "begins at the working directory"
            ),
        ),
        (
            "SELECT * FROM other",
            (
                "query, line 1: expected a file or a table of the query, found no 'other'; name a file in quotes, with "
                "the ending of its format: FROM 'x.parquet'"
            ),
        ),
        (
            "SELECT * FROM 'https://example.org/x.parquet'",
            (
                "query: expected a file on this machine, found https://example.org/x.parquet; copy it here first: "
                "nothing is downloaded"
            ),
        ),
        (
            "SELECT\nlabels FROM 'd.csv'",
            "query, line 2: expected a column of what is read, found no 'labels'; there is \"label\"",
        ),
        (
            "SELEC text FROM 'd.csv'",
            (
                'query, line 1: expected a query that the engine can run, found syntax error at or near "SELEC"; '
                "correct the query"
            ),
        ),
        (
            "SELECT text\nFROM 'd.csv'\nWHER x",
            (
                'query, line 3: expected a query that the engine can run, found syntax error at or near "x"; correct '
                "the query"
            ),
        ),
        (
            "SELECT CAST(text AS INT) AS text FROM 'd.csv'",
            (
                'query: expected rows that can be read, found Error when converting column "text". Could not convert '
                "string \"text 0\" to 'INTEGER' in line 2 of a CSV file; correct the file, or how the query reads it"
            ),
        ),
    ],
)
def test_a_wrong_query_is_refused_in_one_line(refused, query, message):
    assert refused(query) == message


def test_a_query_for_labels_is_checked_like_any_other(tmp_path):
    (tmp_path / "d.csv").write_text("id,text\n" + "".join(f"{n},text {n}\n" for n in range(40)))
    with pytest.raises(ConfigError, match="query: expected one SELECT after sql:, found INSTALL"):
        made(tmp_path, tmp_path / "d.csv", {"id": "id", "label": "y"}, labels="sql:INSTALL httpfs")


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("SELECT text, text FROM 'd.csv'", "text"),
        ("SELECT text, label AS TEXT FROM 'd.csv'", "TEXT"),
        ("SELECT * FROM 'd.csv' a JOIN 'd.csv' b USING (label)", "text"),
        ("WITH a AS (SELECT text FROM 'd.csv') SELECT *, text FROM a", "text"),
    ],
)
def test_a_column_named_twice_is_refused(refused, query, name):
    said = refused(query)
    assert said.startswith(f"query: result: expected each column named once, found {name!r} as columns ")
    assert said.endswith("name one of them otherwise, with AS")


def test_digits_with_an_underscore_are_no_number_of_a_query(tmp_path):
    """The engine takes a column for numbers by its first 20,480 rows, and 3_0 for 30 behind them."""
    path = tmp_path / "d.csv"
    path.write_text("id,x\n" + "".join(f"{n},{n % 7}\n" for n in range(30_000)) + "3_0,1\n")
    columns = {"id": "id", "features": "x"}
    with pytest.raises(
        DataError, match=r"found '3_0' in column 'id' of .*d\.csv, .*; read it as text: read_csv"
    ) as caught:
        made(tmp_path, f"sql:SELECT * FROM '{path}'", columns)
    advised = str(caught.value).partition("as text: ")[2]
    prepared = made(tmp_path, f"sql:SELECT * FROM {advised}", columns, validation_fraction=0)
    assert prepared.parts["train"].documents == 30_001
    path.write_text("id,x\n" + "".join(f"{n}_0,{n % 7}\n" for n in range(40)))
    assert (
        made(tmp_path / "t", f"sql:SELECT * FROM '{path}'", columns, validation_fraction=0).parts["train"].documents
        == 40
    )
