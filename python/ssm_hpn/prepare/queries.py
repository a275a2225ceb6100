"""Queries of the user: refusals before they run, and the engine's errors in one line."""

import re
from typing import Final

import duckdb

from ssm_hpn.errors import DataError, problem
from ssm_hpn.prepare.problems import config_error
from ssm_hpn.prepare.source import Source

FIRST_WORD: Final = re.compile(r"(?:\s|--[^\n]*\n?|/\*.*?\*/)*([A-Za-z_]+)", re.DOTALL)
REMOTE: Final = re.compile(r"File (\S+://\S+) requires the extension")


def checked_query(text: str) -> str:
    """The query, if it is one SELECT. Raises `ConfigError` for anything else, and `DataError` for what is no SQL."""
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise query_error(error) from None
    if not statements:
        advice = "write one, such as SELECT * FROM 'x.parquet'"
        raise config_error("query", expected="one SELECT after sql:", found="nothing", advice=advice)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        words = [found[1].upper() if (found := FIRST_WORD.match(one.query)) else "?" for one in statements]
        raise config_error(
            "query", expected="one SELECT after sql:", found=" and ".join(words), advice="only read in a query"
        )
    return str(statements[0].query).rstrip().rstrip(";")


def in_query(name: str) -> str:
    """A column's name as it is written in a query: in quotes only where it needs them.

    >>> in_query("v"), in_query("two v"), in_query("select")
    ('v', '"two v"', '"select"')
    """
    tokens = duckdb.tokenize(name)
    plain = len(tokens) == 1 and tokens[0][1] == duckdb.token_type.identifier and '"' not in name
    return name if plain else '"' + name.replace('"', '""') + '"'


def advised(source: Source, columns: str) -> str:
    r"""The words by which a query over a source is handed over in a shell, to be put into an advice.

    >>> from pathlib import Path
    >>> print(advised(Source(Path("d.csv"), "d.csv", "csv"), 'a, "two v"'))
    --data "sql:SELECT a, \"two v\" FROM 'd.csv'"
    >>> print(advised(Source(Path("query"), "query", "sql", "SELECT 1"), "a"))
    SELECT a in the query
    """
    if source.format not in ("csv", "jsonl", "parquet"):
        return f"SELECT {columns} in the query" if source.format == "sql" else f"a query, SELECT {columns}"
    file = str(source.path).replace("'", "''")
    query = f"sql:SELECT {columns} FROM '{file}'"  # noqa: S608 - for the reader
    for mark in ("\\", '"', "$", "`"):
        query = query.replace(mark, "\\" + mark)
    return f'--data "{query}"'


def check_result(names: list[str]) -> None:
    """Refuse a result with a column named twice, in whatever case: the engine takes `x` and `X` for one name.

    >>> check_result(["a", "b"])
    """
    seen: dict[str, int] = {}
    for place, name in enumerate(names, start=1):
        first = seen.setdefault(name.casefold(), place)
        if first != place:
            found, advice = f"{name!r} as columns {first} and {place}", "name one of them otherwise, with AS"
            raise DataError(problem("query: result", "each column named once", found, advice))


def query_error(error: duckdb.Error) -> DataError:
    """The engine's error for a query, in one line."""
    text = str(error)
    line = re.search(r"\nLINE (\d+): ", text)
    at = f"query, line {line[1]}" if line else "query"
    lines = [one.strip() for one in text.splitlines() if one.strip()]
    first = lines[0].partition(": ")[2] or lines[0]
    advice = "correct the query"
    if remote := REMOTE.search(text):
        advice = "copy it here first: nothing is downloaded"
        return DataError(problem(at, "a file on this machine", remote[1], advice))
    if file := re.search(r'No files found that match the pattern "(.*?)"', text, re.DOTALL):
        advice = "check the spelling; a relative path begins at the working directory"
        return DataError(problem(at, "a file that is there", f"no {file[1]!r}", advice))
    if table := re.search(r"Table with name (.*) does not exist", first):
        advice = "name a file in quotes, with the ending of its format: FROM 'x.parquet'"
        return DataError(problem(at, "a file or a table of the query", f"no {table[1]!r}", advice))
    if column := re.search(r'Referenced column "(.*)" (?:was )?not found', first):
        there = re.search(r"Candidate bindings: (.*)", text)
        advice = f"there is {there[1]}" if there else advice
        return DataError(problem(at, "a column of what is read", f"no {column[1]!r}", advice))
    cell = re.search(r"CSV Error on Line: (\d+)", text)
    why = re.search(r"(?:Could not convert string|Expected Number of Columns|Error when converting)[^\n]*", text)
    if cell:
        found = f"{why[0].rstrip('.') if why else lines[-1]} in line {cell[1]} of a CSV file"
        return DataError(problem(at, "rows that can be read", found, "correct the file, or how the query reads it"))
    return DataError(problem(at, "a query that the engine can run", first.rstrip(".!"), advice))
