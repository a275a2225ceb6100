"""Tables as other programs write them: read, or refused in one line with the place."""

# ruff: noqa: ARG005 - a value by series and step may need one of the two alone

import datetime as dt
import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made
from prepare_support import rows as documents_of
from ssm_hpn.cli.main import main
from ssm_hpn.errors import DataError
from ssm_hpn.prepare import copies
from ssm_hpn.prepare.source import Source, longest_row
from support import SMALL, train

NAMES = ["id", "t", "x", "label"]
ROLES = [
    word
    for name, role in zip(NAMES, ["id", "order", "features", "label"], strict=True)
    for word in (f"--data.columns.{role}", name)
]


def rows(**change):
    """12 series of 6 steps, interleaved; `change` gives a value by (series, step)."""
    made = {
        "id": lambda i, s: f"m{i}",
        "t": lambda i, s: s,
        "x": lambda i, s: i + s / 8,
        "label": lambda i, s: "ab"[i % 2],
    }
    made |= change
    return [{name: made[name](i, s) for name in NAMES} for s in range(6) for i in range(12)]


def csv(table, *, separator=",", header=None, end="\n"):
    lines = [separator.join(header or NAMES)]
    return end.join([*lines, *(separator.join(map(str, row.values())) for row in table), ""])


def prepared(folder, name, content, *words):
    """Exit code of preparing a file."""
    file = folder / name
    if isinstance(content, pa.Table):
        pq.write_table(content, file, row_group_size=7)
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return main(["prepare", str(file), "--out", str(folder / "out"), *ROLES, *words])


def manifest(folder):
    return json.loads((folder / "out/train/manifest.json").read_text())


@pytest.mark.parametrize(
    ("content", "classes"),
    [
        (csv(rows(), end="\r\n"), ["a", "b"]),
        (csv(rows(), separator=";"), ["a", "b"]),
        (csv(rows(), separator="\t"), ["a", "b"]),
        ("\ufeff" + csv(rows()), ["a", "b"]),
        (csv(rows()).replace("\n", "\n\n"), ["a", "b"]),
        (csv(rows(label=lambda i, s: ["007", "008"][i % 2])), ["007", "008"]),
        (csv(rows(label=lambda i, s: [-1, 1][i % 2])), ["-1", "1"]),
        (csv(rows(label=lambda i, s: ["True", "FALSE"][i % 2])), ["false", "true"]),
        (csv(rows(label=lambda i, s: ["yes", "no"][i % 2])), ["no", "yes"]),
        (csv(rows(label=lambda i, s: ["None", "NA", "b"][i % 3])), ["NA", "None", "b"]),
        (csv(rows(t=lambda i, s: f"{9 + s}:05")), ["a", "b"]),
        (csv(rows(t=lambda i, s: f"2024-01-{9 + s:02}")), ["a", "b"]),
        (csv(rows(t=lambda i, s: f'"{5 * s}"')), ["a", "b"]),
        (csv(rows(t=lambda i, s: f"2024-01-01T0{s}:00:00Z")), ["a", "b"]),
        (csv(rows(id=lambda i, s: 9007199254740993 + i)), ["a", "b"]),
    ],
)
def test_unusual_csv_files_are_read(tmp_path, content, classes):
    assert prepared(tmp_path, "d.csv", content) == 0
    found = manifest(tmp_path)
    assert found["class_names"] == classes
    assert found["longest"] == 6


def test_times_of_day_are_sorted_as_times(tmp_path):
    assert (
        prepared(
            tmp_path, "d.csv", csv(rows(t=lambda i, s: f"{9 + s}:05", x=lambda i, s: s)), "--data.normalize", "false"
        )
        == 0
    )
    (shard,) = (tmp_path / "out/train").glob("*.arrow")
    for steps in pa.ipc.open_file(shard).read_all()["features"].to_pylist():
        assert [step[0] for step in steps] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (csv(rows()) + "m1,7\n", r"row 74: expected 4 columns, found 2"),
        (csv(rows()) + "m1,7,1,a,5\n", r"row 74: expected 4 columns, found 5"),
        (csv(rows(), header=["id", "t", "x", "x"]), r"'x' as columns 3 and 4"),
        (
            csv(rows(id=lambda i, s: "" if i == 3 else f"m{i}")),
            r"column 'id': expected an id in every row, found 6 rows",
        ),
        (csv(rows(t=lambda i, s: "" if s == 3 else s)), r"column 't': .*found 12 rows without one"),
        (csv(rows(t=lambda i, s: f"step {s}")), r"column 't': expected numbers, times of day or dates .*'step 0'"),
        (csv(rows(x=lambda i, s: "NA" if s == 2 else s)), r"column 'x': expected a number, found 'NA'.*data\.null"),
        (csv(rows(x=lambda i, s: "inf" if s == 2 else s)), r"column 'x': expected a finite number, found inf"),
        (csv(rows(x=lambda i, s: f"{s}%")), r"column 'x': expected a number, found '0%'"),
        (csv(rows(x=lambda i, s: hex(s))), r"column 'x': expected a number, found '0x0'"),
        (csv(rows(label=lambda i, s: ["007", "7"][i % 2])), r"each class written one way, found '007' and '7'"),
        (csv(rows(label=lambda i, s: ["a ", "a"][i % 2])), r"each class written one way, found 'a' and 'a '"),
        (csv(rows(label=lambda i, s: "ab"[(i + s) % 2])), r"column 'label': expected '[ab]' as in the other rows"),
        (csv([]), r"expected at least one row, found a header only"),
        ("", r"found"),
        (csv(rows()).encode("utf-16"), r"found UTF-16"),
        (csv(rows(label=lambda i, s: "ö")).encode("latin-1"), r"expected text in UTF-8"),
        (csv(rows()) + 'm1,7,"1,a\n' + "m2,7,1,a\n" * 50, r"row 74"),
    ],
)
def test_a_csv_file_that_is_refused_names_the_place(tmp_path, capsys, content, message):
    assert prepared(tmp_path, "d.csv", content) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "this is a bug" not in line
    assert "d.csv" in line

    assert re.search(message, line), line
    assert not (tmp_path / "out").exists()


def jsonl(table, **options):
    return "".join((row if isinstance(row, str) else json.dumps(row, **options)) + "\n" for row in table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (jsonl([*rows()[:20], '{"id": "m1", "t": 3, "x": ', *rows()[20:]]), r"line 21"),
        (
            jsonl([*rows(), '{"a":' + "[" * 3000 + "]" * 3000 + "}"]),
            r"line 73: expected values inside at most 128 others, found 3001; write them flatter",
        ),
        (jsonl([*rows(), "", '{"b":"[[","a":' + '{"c":' * 200 + "1" + "}" * 201]), r"line 74: .*, found 201; write"),
        (
            jsonl(rows(x=lambda i, s: f"{i}_{s}")),
            r"line 1, key 'x': expected a number, found '0_0'; write it as a JSON number",
        ),
        (
            jsonl([*rows()[:40], *rows(x=lambda i, s: f"{i},{s}")[40:]]),
            r"line 41, key 'x': expected a number, found '4,3'; ",
        ),
        (
            jsonl([*rows(), '{"id":"m1","t":9,"x":1,"label":"\\\\ud800 \\ud83d\\ude00 \\ude00"}']),
            r"line 73: expected escapes of whole characters, found \\ude00, half of a pair; replace this escape",
        ),
        (jsonl([*rows(), '{"id":"m1","t":9,"x":' + "9" * 5000 + ',"label":"a"}']), r"line 73, key 'x'"),
        (jsonl(["[1, 2]", *rows()]), r"line 1: expected a JSON object"),
        (
            jsonl(['{"id":"m1","t":1,"x":1,"x":2,"label":"a"}', *rows()]),
            r"line 1: expected each key once, found 'x' twice",
        ),
        (jsonl(rows(label=lambda i, s: "\ud800")), r"line 1: expected escapes of whole .*found \\ud800, half"),
    ],
)
def test_json_lines_that_are_refused_name_the_line(tmp_path, capsys, content, message):

    assert prepared(tmp_path, "d.jsonl", content) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"d\.jsonl: .*" + message, line), line
    assert "this is a bug" not in line


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_rows_are_counted_by_any_line_end(tmp_path, capsys, monkeypatch, end, encoding):
    monkeypatch.setattr(copies, "LINES", 20)
    monkeypatch.setattr(copies, "BLOCK", 64)
    table = rows()
    table[30]["x"] = "six"
    content = csv(table, end=end).replace(f"{end}m4", f"{end}{end}m4", 1).encode(encoding)
    assert prepared(tmp_path, "d.csv", content, "--data.encoding", encoding) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "row 33, column 'x': expected a number, found 'six'" in line


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_texts_and_integers_by_any_line_end(tmp_path, monkeypatch, end):
    (tmp_path / "d.txt").write_bytes(end.join(map(str, range(100, 180))).encode())
    for k, kind in enumerate(("text", "integers")):
        out = made(tmp_path / str(k), tmp_path / "d.txt", format=kind, documents="line")
        assert len(documents_of(out.train)) + len(documents_of(out.validation)) == 80
    (tmp_path / "d.txt").write_bytes(end.join([*map(str, range(100, 180)), "x"]).encode())
    for documents in ("line", "file"):
        with pytest.raises(DataError, match=r"line 81: expected a token id"):
            made(tmp_path / documents, tmp_path / "d.txt", format="integers", documents=documents)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_longest_row_of_a_table_by_any_line_end(tmp_path, end):
    (tmp_path / "d.csv").write_bytes(end.join(["id,x", "a,1", 'b,"2' + end + end + '3"', "c,4", ""]).encode())
    source = Source(tmp_path / "d.csv", "d.csv", "csv")
    assert longest_row(source) == (3, len('b,"23"') + 3 * len(end))


def test_whole_numbers_first_and_fractions_later(tmp_path):
    table = rows(x=lambda i, s: s if s < 4 else s + 0.5)
    assert prepared(tmp_path, "d.jsonl", jsonl(table), "--data.normalize", "false") == 0
    (shard,) = (tmp_path / "out/train").glob("*.arrow")
    for steps in pa.ipc.open_file(shard).read_all()["features"].to_pylist():
        assert [step[0] for step in steps] == [0, 1, 2, 3, 4.5, 5.5]


TABLE = pa.Table.from_pylist(rows())
START = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - without a zone, as tables have them


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("label", TABLE["label"].combine_chunks().dictionary_encode()),
        ("label", TABLE["label"].cast(pa.binary())),
        ("label", TABLE["label"].cast(pa.large_string())),
        ("t", pa.array([START + dt.timedelta(hours=row["t"]) for row in rows()])),
        ("t", pa.array([dt.time(9 + row["t"], 5) for row in rows()])),
        ("t", pa.array([dt.date(2024, 1, 9 + row["t"]) for row in rows()])),
        ("x", TABLE["t"].cast(pa.int8())),
        ("x", TABLE["x"].cast(pa.decimal128(10, 3))),
        ("x", pa.array([row["x"] if row["t"] else None for row in rows()])),
        ("id", pa.array([2**63 + int(row["id"][1:]) for row in rows()], pa.uint64())),
    ],
)
def test_columns_of_every_type_in_parquet(tmp_path, name, column):
    table = TABLE.set_column(NAMES.index(name), name, column)
    assert prepared(tmp_path, "d.parquet", table) == 0
    found = manifest(tmp_path)
    assert found["class_names"] == ["a", "b"]
    assert found["longest"] == 6
    assert found["n_features"] == (3 if column.null_count and name == "x" else 1)


@pytest.mark.parametrize("label", ["a", "1", "true"])
def test_labels_of_a_single_class_are_refused(here, capsys, label):
    (here / "d.csv").write_text(csv(rows(label=lambda i, s: label)))
    words = ["--data", "d.csv", *ROLES, *SMALL[:-2]]
    assert train(*[word for word in words if word not in ("--data.length", "32")], "--train.steps", "1") == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "expected labels of at least two classes, found one class in the data" in line
