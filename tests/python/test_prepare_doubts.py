"""Notes about cells and rows that may mean something else than they are read as."""

import pytest

from prepare_support import made, written

COLUMNS = {"id": "id", "order": "t", "features": "x", "label": "c"}


def notes_of(folder, rows, columns=None, separator=",", **options):
    """The notes about a table with the columns id, t, x and c."""
    folder.mkdir(exist_ok=True)
    lines = ["id,t,x,c".replace(",", separator), *(separator.join(map(str, row)) for row in rows), ""]
    (folder / "d.csv").write_text("\n".join(lines))
    return made(folder, folder / "d.csv", columns or COLUMNS, **options).contract.notes


def steps(order=lambda s: s, x=lambda n, s: n + s / 7):
    """20 documents of 6 steps."""
    return [[f"k{n}", order(s), x(n, s), "ab"[n % 2]] for n in range(20) for s in range(6)]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["29.01", "30.01", "31.01", "01.02", "02.02", "03.02"], True),
        (["01.01", "02.01", "03.01", "04.01", "05.01", "06.01"], False),
        (["29.01", "30.01", "31.01", "32.01", "33.02", "34.02"], False),
        (["29.1", "30.1", "31.1", "1.2", "2.2", "3.2"], False),
    ],
)
def test_numbers_that_may_be_days_and_months_are_noted(tmp_path, texts, said):
    notes = notes_of(tmp_path, steps(order=lambda s: texts[s]))
    doubts = [note for note in notes if "days and months" in note]
    advice = "order 't' is read as numbers, though 31.01 and all others could be days and months; "
    assert doubts == ([f"{advice}if they are, say --data.date_format %d.%m"] if said else [])
    if said:
        asked = notes_of(tmp_path / "asked", steps(order=lambda s: texts[s]), date_format="%d.%m")
        assert not any("days and months" in note for note in asked)


@pytest.mark.parametrize("mark", [".", ","])
@pytest.mark.parametrize(("cells", "said"), [("1{}034 904", True), ("1{}034 9", False), ("1{}03 904 1{}034", False)])
def test_fractions_that_may_be_thousands_are_noted(tmp_path, mark, cells, said):
    texts = cells.format(mark, mark).split()
    rows = steps(x=lambda n, s: texts[(n + s) % len(texts)])
    notes = notes_of(tmp_path, rows, separator=";", decimal=mark)
    doubts = [note for note in notes if "thousands" in note]
    assert len(doubts) == said
    assert all(
        note.startswith(f"d.csv: column 'x': '1{mark}034' is read as a fraction, though '904'") for note in doubts
    )


@pytest.mark.parametrize(("last", "said"), [("1.034", True), ("1.03", False), ("0.034", False), ("1034", False)])
@pytest.mark.parametrize("role", ["features", "values"])
def test_every_row_counts_for_a_note_about_thousands(tmp_path, last, said, role):
    """Cells with a mark come behind 30,000 rows without one."""
    cells = [*(str(k % 999) for k in range(30_000)), "nan", "", "2.500", last, "904", "2.500"]
    rows = [f"k{n // (1 if role == 'values' else 6)},{n},{cell},{n % 7}" for n, cell in enumerate(cells)]
    columns = {"id": "id", "features": "c", "values": "x"} if role == "values" else {"id": "id", "features": "x"}
    path = tmp_path / "d.csv"
    path.write_text("\n".join(["id,t,x,c", *rows, ""]))
    notes = made(tmp_path, path, columns, validation_fraction=0).contract.notes
    expected = "d.csv: column 'x': '1.034' is read as a fraction, though '100' is in the same column and no fraction"
    assert [note[: len(expected)] for note in notes if "thousands" in note] == ([expected] if said else [])


@pytest.mark.parametrize(("cell", "said"), [("1.034", True), ("1.03", False)])
def test_thousands_in_a_table_of_labels_are_noted(tmp_path, cell, said):
    data = written(tmp_path / "d.csv", [{"id": n, "x": n % 7} for n in range(40)])
    labels = written(tmp_path / "y.csv", [{"id": n, "y": cell if n % 2 else "904"} for n in range(40)])
    columns = {"id": "id", "features": "x", "values": "y"}
    notes = made(tmp_path, data, columns, labels=str(labels)).contract.notes
    assert any(note.startswith("y.csv: column 'y': '1.034' is read as a fraction") for note in notes) == said


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("kind", [str, float])
def test_texts_of_other_files_that_may_be_thousands_are_noted_and_numbers_are_not(tmp_path, suffix, kind):
    cells = ["1.034", "904"]
    rows = [{"id": f"k{n // 6}", "x": kind(cells[n % 2]), "c": "ab"[n // 6 % 2]} for n in range(120)]
    columns = {"id": "id", "features": "x", "label": "c"}
    notes = made(tmp_path, written(tmp_path / f"d.{suffix}", rows), columns).contract.notes
    doubts = [note for note in notes if "thousands" in note]
    assert len(doubts) == (kind is str)
    assert all(note.endswith("if '.' separates thousands, write them without a mark") for note in doubts)


@pytest.mark.parametrize("word", ["TOTAL:", " Grand Total ", "Subtotal", "Insgesamt", "** Summe **", "Σ", "Total 2023"])
def test_sums_are_known_by_many_words(tmp_path, word):
    columns = {"id": "id", "features": "x", "label": "c"}
    notes = notes_of(tmp_path, [*steps(), [word, "", 99, "a"]], columns, validation_fraction=0)
    assert any(f"the id {word!r} reads like a sum over other rows" in note for note in notes)


@pytest.mark.parametrize("word", ["totally", "summer", "sum 4a", "total recall", "2023"])
def test_names_that_begin_like_sums_are_names(tmp_path, word):
    columns = {"id": "id", "features": "x", "label": "c"}
    notes = notes_of(tmp_path, [*steps(), [word, "", 99, "a"]], columns, validation_fraction=0)
    assert not any("reads like a sum" in note for note in notes)


def test_a_row_that_may_be_a_sum_of_others_is_noted(tmp_path):
    columns = {"id": "id", "features": "x", "label": "c"}
    notes = notes_of(tmp_path, [*steps(), ["Total", "", 99, ""]], columns, validation_fraction=0)
    said = "d.csv: row 122: the id 'Total' reads like a sum over other rows, and is a document like the others, "
    assert f"{said}without a label; if it is a sum, remove it" in notes
    unlabelled = "1 document of the training part without a label (the first: d.csv#Total)"
    assert any(note.startswith(unlabelled) for note in notes)
    plain = notes_of(tmp_path / "p", steps(), columns)
    assert not any("sum" in note or "without a label" in note for note in plain)


@pytest.mark.parametrize("word", ["Total", "Summe", "gesamt", " TOTAL: "])
@pytest.mark.parametrize(("column", "what"), [("c", "label"), ("t", "split value"), ("labels", "label"), ("x", "text")])
def test_a_cell_in_use_that_reads_like_a_sum_is_noted(tmp_path, word, column, what):
    rows = [[f"k{n}", "pq"[n // 2 % 2], f"words {n}", "ab"[n % 2]] for n in range(200)]
    columns = {"text": "x", "label": "c"}
    options = {"split": "t=q"} if column == "t" else {"validation_fraction": 0}
    if column == "labels":
        rows = [[f"k{n // 4}", n, n, "ab"[n % 2]] for n in range(400)]
        columns = {"id": "id", "order": "t", "features": "x", "labels": "c"}
    row = {"id": "k7", "t": "999", "x": "99", "c": "a", {"labels": "c"}.get(column, column): word.strip()}
    notes = notes_of(tmp_path, [*rows, [row[name] for name in ("id", "t", "x", "c")]], columns, **options)
    doubts = [note for note in notes if "reads like a sum" in note]
    assert len(doubts) == 1, notes
    assert f"the {what} {word.strip()!r} reads like a sum over other rows" in doubts[0]


def test_a_class_of_that_name_is_no_sum(tmp_path):
    rows = [[f"k{n}", n, f"words {n}", ("partial", "total")[n % 2]] for n in range(60)]
    notes = notes_of(tmp_path, rows, {"text": "x", "label": "c"})
    assert not any("reads like a sum" in note for note in notes)


def test_repeated_rows_are_counted(tmp_path):
    rows = steps()
    notes = notes_of(tmp_path, [*rows, *rows[:15]])
    said = "15 rows are equal to another of the same document and order in all columns in use, and kept"
    assert f"d.csv: {said}" in notes
    other = [[*row[:2], row[2] + 1, row[3]] for row in rows[:15]]
    assert not any("equal to another" in note for note in notes_of(tmp_path / "o", [*rows, *other]))


def test_repeated_rows_are_counted_across_batches(tmp_path, monkeypatch):
    monkeypatch.setattr("ssm_hpn.prepare.engine.BATCH_BYTES", 1)
    monkeypatch.setattr("ssm_hpn.prepare.tables.ROWS_AT_ONCE", 1024)
    long = [["k0", t // 2, t // 2, "a"] for t in range(1, 4100)]  # all but the first row in pairs
    notes = notes_of(tmp_path, [*long, *([f"k{n}", 0, n, "ab"[n % 2]] for n in range(1, 9))])
    assert any(note.startswith("d.csv: 2,049 rows are equal to another") for note in notes)
