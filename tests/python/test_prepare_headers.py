"""Headers that are not in the first row, files of other formats than their ending says, and nested keys."""

import re

import pytest

from prepare_support import made, rows
from ssm_hpn.errors import DataError

COLUMNS = {"id": "id", "order": "t", "features": "x", "label": "c"}
TABLE = "".join(f"k{n // 4},{n % 4},{n / 8},{'ab'[n // 4 % 2]}\n" for n in range(64))
HEADER = "id,t,x,c\n"


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (
            "# Export of rig 7\n# made today\n" + HEADER + TABLE,
            COLUMNS,
            r"row 1 was taken for the header: '# Export of rig 7'; remove the lines before row 3, which names it",
        ),
        (
            "sep=,\n" + HEADER + TABLE,
            COLUMNS,
            r"row 1 was taken for the header: 'sep=,'; remove the lines before row 2",
        ),
        (" id , T , x , c \n" + TABLE, COLUMNS | {"id": " id "}, r"no such column; did you mean ' T '\?"),
        (HEADER + TABLE, COLUMNS | {"label": "klass"}, r"found no such column; there are 'id', 't', 'x', 'c'"),
        (HEADER + "k,s,bar,\n" + TABLE, COLUMNS, r"row 2, column 't': .*'s'; a second header row\? remove row 2"),
        (
            HEADER + "k0,0,bar,a\n" + TABLE,
            COLUMNS,
            r"row 2, column 'x': expected a number, found 'bar'; a second header row\? remove row 2",
        ),
        (
            HEADER + "k0,Monday,1,a\nk0,Tuesday,2,a\n",
            COLUMNS,
            r"row 2, column 't': .*'Monday'; write dates as",
        ),
        (HEADER + "k0,0,low,a\nk0,1,high,a\n", COLUMNS, r"row 2, column 'x': .*'low'; correct it, choose"),
        (HEADER + "k0,0,low,a\n", COLUMNS, r"row 2, column 'x': .*'low'; correct it, choose"),
        (HEADER + ",0,1,a\n" + TABLE, COLUMNS, r"row 2, column 'id': .*found 1 row without one; fill them"),
        (HEADER + "k0,0,False,a\n" + TABLE, COLUMNS, r"row 2, column 'x': .*'False'; write 1 for true and 0 for false"),
        (HEADER + ",,,\n" + TABLE, COLUMNS, r"row 2, column 'id': .*found 1 row without one; a second header row\?"),
        (HEADER + TABLE + HEADER + TABLE, COLUMNS, r"row 66, column 't': .*'t'; row 66 repeats the header: remove it"),
        (HEADER + TABLE + "k0,9,many,a\n", COLUMNS, r"row 66, column 'x': expected a number, found 'many'; correct it"),
        (
            "id,t,x,x,c\n,,east,north,\n" + TABLE.replace(",", ",1,", 1).replace("\nk", "\nk", 1),
            COLUMNS,
            r"'x' as columns 3 and 4; row 2 seems to be a second header row",
        ),
        ("id,t,x,x,c\nk0,0,1,2,a\nk0,1,1,2,a\n", COLUMNS, r"'x' as columns 3 and 4; rename one of them"),
    ],
)
@pytest.mark.parametrize("first", ["k0", "0_0"])
def test_a_wrong_header_is_refused_with_its_row(tmp_path, content, columns, message, first):
    """Where digits have an underscore between them somewhere, numbers are read as texts first."""
    (tmp_path / "d.csv").write_text(content.replace("k0", first))
    with pytest.raises(DataError, match=message):
        made(tmp_path, tmp_path / "d.csv", columns)


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.xlsx", b"PK\x03\x04" + bytes(80), {}, "found a spreadsheet; save it as CSV"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(80), {}, "found a spreadsheet; save it as CSV"),
        ("a.zip", b"PK\x03\x04" + bytes(80), {}, r"found a zip archive .*; unpack it"),
        ("a.csv", b"PK\x03\x04" + bytes(80), {}, r"found a zip archive .*; unpack it"),
        ("a.json", b' [{"text": "b"}]', {}, r"found one JSON array; write one object per line .*data.format jsonl"),
        ("a.json", b'{"text": "b"}\n{"text": "c"}\n', {}, r"found JSON; set --data.format jsonl if every line"),
    ],
)
def test_files_of_other_formats_are_refused_with_their_format(tmp_path, name, content, options, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        made(tmp_path, tmp_path / name, **options)


def test_data_format_jsonl_reads_json_lines_under_any_ending(tmp_path):
    (tmp_path / "a.json").write_text("".join(f'{{"text": "{n}"}}\n' for n in range(30)))
    for kind in ("jsonl", "text"):
        prepared = made(tmp_path / kind, tmp_path / "a.json", format=kind, validation_fraction=0)
        assert len(rows(prepared.train)) == (30 if kind == "jsonl" else 1)


def test_a_nested_key_is_answered_with_a_query_that_reads_it(tmp_path):
    (tmp_path / "d.jsonl").write_text("".join(f'{{"text": "a{n}", "meta": {{"label": "x"}}}}\n' for n in range(30)))
    with pytest.raises(DataError, match=r'sql:SELECT \*, meta\.label AS label FROM \'.*d\.jsonl\'"') as raised:
        made(tmp_path, tmp_path / "d.jsonl", {"text": "text", "label": "meta.label"})
    query = str(raised.value).partition('--data "')[2].partition('"')[0]
    prepared = made(tmp_path / "q", query, {"text": "text", "label": "label"})
    assert prepared.contract.classes.names == ["x"]


def test_a_list_in_place_of_a_number_inside_a_list_is_refused(tmp_path):
    table = "".join(f'{{"s": [1, {n}]}}\n' for n in range(30)) + '{"s": [1, [3, 4]]}\n'
    (tmp_path / "d.jsonl").write_text(table)
    with pytest.raises(
        DataError, match=r"line 31, key 's': expected a number in each place of the list, found \[3, 4\]"
    ):
        made(tmp_path, tmp_path / "d.jsonl", {"features": "s"})


@pytest.mark.parametrize(
    ("split", "held_out"),
    [("site=B ", "B "), ("site=B", "B"), ("site= C", "C"), ("site=A,B ", "AB "), ("site=A, B", "AB")],
)
def test_a_split_value_with_blanks_matches_a_cell_with_blanks_first(tmp_path, split, held_out):
    sites = ["A", "B", "B ", "C"]
    lines = [f"k{n // 4},{n / 8},{sites[n // 4 % 4]}\n" for n in range(64)]
    (tmp_path / "d.csv").write_text("id,x,site\n" + "".join(lines))
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x"}, split=split)
    found = "".join(
        sorted({sites[int(re.search("k([0-9]+)$", row["name"])[1]) % 4] for row in rows(prepared.validation)})
    )
    assert found == held_out
