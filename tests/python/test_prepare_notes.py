"""Notes about guesses and about doubtful data: in the contract, and printed by `inspect` and `train`."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prepare_support import made, series, written
from ssm_hpn.cli.main import main
from ssm_hpn.errors import DataError


def notes_of(tmp_path, path, columns=None, **options):
    """The notes of a preparation."""
    return made(tmp_path, path, columns, **options).contract.notes


def test_constant_features_and_a_single_class_are_noted(tmp_path):
    table = [row | {"kind": "hum"} for row in series()]
    columns = {"id": "machine", "features": ("x", "flat"), "label": "kind"}
    notes = notes_of(tmp_path, written(tmp_path / "d.csv", table), columns)
    assert "constant in the training part: flat (4)" in notes
    assert "one class in the training part: 'hum'" in notes
    varied = notes_of(tmp_path / "v", written(tmp_path / "v.csv", series()), columns | {"features": "x"})
    assert not any("in the training part" in note for note in varied)


def test_features_constant_in_the_training_part_are_noted_eight_by_name(tmp_path):
    table = [{**{f"x{k}": 1.5 if k < 10 else n % 7 for k in range(11)}, "s": n >= 30, "m": n} for n in range(40)]
    table = [row | {"x10": 3 if row["m"] < 30 else row["m"]} for row in table]
    options = {"split": "s=True"}
    notes = notes_of(tmp_path, written(tmp_path / "d.csv", table), {"id": "m", "features": "x*"}, **options)
    said = next(note for note in notes if note.startswith("constant"))
    assert said.startswith("constant in the training part: x0 (1.5), x1 (1.5)")
    assert said.endswith("x7 (1.5) and 3 more")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("x,x", "features named more than once are read once: 'x'"),
        ("x*,*,y", "features named more than once are read once: 'x', 'y'"),
        ("x,y", None),
    ],
)
def test_features_named_twice_are_read_once(tmp_path, suffix, features, said):
    table = [{"m": n // 4, "x": n * 0.5, "y": n % 3} for n in range(80)]
    prepared = made(tmp_path, written(tmp_path / f"d.{suffix}", table), {"id": "m", "features": features})
    assert prepared.manifest["feature_names"] == (["x"] if features == "x,x" else ["x", "y"])
    assert [note for note in prepared.contract.notes if "named more" in note] == ([said] if said else [])


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_texts_that_are_all_json_are_noted(tmp_path, suffix):
    noun = "key" if suffix == "jsonl" else "column"
    said = f"{noun} 't': its cells are JSON objects or arrays, which are read as their text"
    path = tmp_path / f"d.{suffix}"
    cells = [{"a": n, "b": [n]} for n in range(20)]
    if suffix == "csv":
        quote = '"'
        path.write_text("t\n" + "".join(f'"{json.dumps(cell).replace(quote, 2 * quote)}"\n' for cell in cells))
    else:
        written(path, [{"t": cell} for cell in cells])
    assert said in notes_of(tmp_path, path, {"text": "t"})
    plain = written(tmp_path / f"p.{suffix}", [{"t": f"[{n}] {{text}}"} for n in range(20)])
    assert said not in notes_of(tmp_path / "p", plain, {"text": "t"})


def test_texts_of_which_only_some_are_json_are_not_noted(tmp_path):
    pq.write_table(pa.table({"t": ['{"a": 1}', " ", None, "text"] * 20}), tmp_path / "d.parquet")
    assert not any("JSON" in note for note in notes_of(tmp_path, tmp_path / "d.parquet", {"text": "t"}))
    pq.write_table(pa.table({"t": ['{"a": 1}', " ", None, "[2]"] * 20}), tmp_path / "e.parquet")
    assert any("JSON" in note for note in notes_of(tmp_path / "e", tmp_path / "e.parquet", {"text": "t"}))


ROWS = [{"id": f"k{n % 38}", "text": f"text {n} of many", "label": "uv"[n % 2]} for n in range(40)]


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet", "sql"])
def test_ids_of_several_rows_that_are_documents_are_noted(tmp_path, source):
    path = written(tmp_path / f"d.{source.replace('sql', 'parquet')}", ROWS)
    data = f"sql:SELECT * FROM '{path}'" if source == "sql" else path
    name = "query" if source == "sql" else path.name
    prepared = made(tmp_path, data, {"id": "id", "text": "text"})
    said = f"{name}: 2 ids are in several rows, such as 'k0', and each row is a document of its own"
    assert said in prepared.contract.notes
    assert sum(part.documents for part in prepared.parts.values()) == 40


def test_the_ids_of_rows_are_compared_as_far_as_memory_goes(tmp_path, monkeypatch):
    monkeypatch.setattr("ssm_hpn.prepare.ids.MOST_COMPARED", 10)
    rows = [row | {"id": "k3" if n == 9 else f"k{n}"} for n, row in enumerate(ROWS)]
    path = written(tmp_path / "d.csv", rows)
    notes = notes_of(tmp_path, path, {"id": "id", "text": "text"})
    assert "d.csv: 1 id is in several rows, such as 'k3', and each row is a document of its own" in notes
    assert "d.csv: only the first 10 rows were searched for an id that is in several rows" in notes


@pytest.mark.parametrize(
    ("suffix", "name"), [("csv", ""), ("csv", "Unnamed: 0"), ("jsonl", "Unnamed: 0"), ("parquet", "__index_level_0__")]
)
def test_a_row_index_is_no_feature_by_a_pattern_and_noted(tmp_path, suffix, name):
    table = [{name: n, **row} for n, row in enumerate(series())]
    path = written(tmp_path / f"d.{suffix}", [{key: row[key] for key in (name, "machine", "x", "y")} for row in table])
    prepared = made(tmp_path, path, {"id": "machine", "features": "*"})
    assert prepared.manifest["feature_names"] == ["x", "y"]
    noun = "key" if suffix == "jsonl" else "column"
    said = f"{noun} {name!r} is a row index by its name and no feature: rename it to use it"
    assert said in prepared.contract.notes
    if name:
        named = made(tmp_path / "n", path, {"id": "machine", "features": (name, "x")})
        assert named.manifest["feature_names"] == [name, "x"]


@pytest.mark.parametrize(("features", "steps", "said"), [("x,y", 1, True), ("x", 1, False), ("x,y", 2, False)])
def test_documents_of_one_time_step_are_noted(tmp_path, features, steps, said):
    table = [{"id": n // steps, "x": n * 0.5, "y": n % 7} for n in range(80)]
    notes = notes_of(tmp_path, written(tmp_path / "d.csv", table), {"id": "id", "features": features})
    assert any("every document has one time step of 2 features; where the columns" in note for note in notes) == said


def test_ids_of_one_row_each_and_of_time_steps_are_not_noted(tmp_path):
    path = written(tmp_path / "d.csv", ROWS[:38])
    assert not any("several rows" in note for note in notes_of(tmp_path, path, {"id": "id", "text": "text"}))
    steps = written(tmp_path / "s.csv", series())
    notes = notes_of(tmp_path / "s", steps, {"id": "machine", "features": "x"})
    assert not any("several rows" in note for note in notes)


FLOATS = np.random.default_rng(0).normal(size=(30, 12))
ONE = "[30, 12] is taken for one document of 30 steps of 12 features; for 30 documents of 12 steps store [30, 12, 1]"
MANY = (
    "[30, 12] is taken for 30 documents of 12 steps of 1 feature; "
    "for 30 documents of 1 step of 12 features store [30, 1, 12]"
)
TOKENS = "[30, 12] is taken for 30 documents of 12 token ids; for numbers store floats [N, T, F]"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"x": FLOATS}, f"a.npz: array 'x' {ONE}"),
        ({"x": FLOATS, "y": np.arange(30) % 2}, f"a.npz: array 'x' {MANY}"),
        (
            {"tokens": np.arange(360).reshape(30, 12)},
            f"a.npz: array 'tokens' {TOKENS}",
        ),
        ({"x": FLOATS[:, :, None], "y": np.arange(30) % 2}, None),
        ({"x": FLOATS[:, None, :], "y": np.arange(30) % 2}, None),
    ],
)
def test_the_meaning_given_to_an_array_of_two_axes_is_noted(tmp_path, content, said):
    np.savez(tmp_path / "a.npz", **content)
    notes = [note for note in notes_of(tmp_path, tmp_path / "a.npz") if "taken for" in note]
    assert notes == ([said] if said else [])


@pytest.mark.parametrize("command", ["inspect", "train"])
def test_an_array_of_whole_numbers_of_one_axis_is_noted_as_token_ids(tmp_path, command, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.arange(400) % 7)
    words = ["a.npy"] if command == "inspect" else ["--data", "a.npy", "--train.steps", "1", "--model.d_model", "8"]
    assert main([command, *words]) == 0
    said = "array 'a' [400] is taken for one document of 400 token ids; for numbers store floats [N, T, F]"
    assert f"note       a.npy: {said}" in capsys.readouterr().out


def test_an_array_of_one_axis_whose_role_is_known_is_not_guessed(tmp_path):
    np.save(tmp_path / "floats.npy", np.arange(400.0))
    np.savez(tmp_path / "named.npz", tokens=np.arange(400) % 7)
    np.savez(tmp_path / "whole.npz", x=np.arange(400))
    for name in ("floats.npy", "named.npz", "whole.npz"):
        assert notes_of(tmp_path / name.partition(".")[0], tmp_path / name) == ()


def test_files_with_the_same_note_are_counted(tmp_path):
    for name in ("a", "b", "c"):
        np.save(tmp_path / f"{name}.npy", FLOATS + len(name))
    (tmp_path / "h").mkdir()
    np.save(tmp_path / "h" / "d.npy", FLOATS * 2)
    held_out = {"validation": (str(tmp_path / "h" / "d.npy"),)}
    notes = [note for note in notes_of(tmp_path, tmp_path, duplicates="keep", **held_out) if "taken for" in note]
    assert notes == [f"a.npy: array 'a' {ONE} (and 3 more files like it)"]


def test_ids_that_differ_in_blanks_around_them_are_noted(tmp_path):
    table = [{"id": f"m{n // 4}", "x": n, "y": "a" if n % 8 < 4 else "b"} for n in range(80)]
    columns = {"id": "id", "features": "x", "label": "y"}
    assert not any("blanks" in note for note in notes_of(tmp_path, written(tmp_path / "d.csv", table), columns))
    table += [{"id": " m3", "x": 1, "y": "a"}, {"id": " m4", "x": 1, "y": "a"}, {"id": " alone", "x": 1, "y": "a"}]
    notes = notes_of(tmp_path / "s", written(tmp_path / "s.csv", table), columns)
    assert "ids ' m3' and 'm3' differ in blanks around them alone and are two (and 1 more pair)" in notes


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_ids_that_differ_in_blanks_are_noted_above_the_limit_of_ranking_too(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("ssm_hpn.prepare.split.MOST_RANKED", 8)
    ids = [f"m{n}" for n in range(30)] + [" m3", "007", "07", "9", "0009"]
    steps = [{"id": one, "x": n} for n, one in enumerate(ids)]
    texts = [{"id": one, "text": f"text {n}"} for n, one in enumerate(ids)]
    for role, table in (("features", steps), ("text", texts)):
        folder, columns = tmp_path / role, {"id": "id", role: list(table[0])[1]}
        notes = notes_of(folder, written(folder / f"d.{suffix}", table), columns)
        assert "ids ' m3' and 'm3' differ in blanks around them alone and are two" in notes
        pair = ("'007'", "'07'") if role == "features" else ("'07'", "'007'")  # time steps come sorted by their ids
        assert f"ids {' and '.join(pair)} differ in leading zeros alone and are two (and 1 more pair)" in notes


@pytest.mark.parametrize("held_out", ["nothing", "a file"])
def test_classes_of_one_document_each_are_noted(tmp_path, held_out):
    table = [{"id": f"m{n // 4}", "x": n, "y": f"c{n // 4}"} for n in range(80)]
    columns, data = {"id": "id", "features": "x", "label": "y"}, written(tmp_path / "d.csv", table)
    options = {"validation_fraction": 0.0}
    if held_out == "a file":
        other = written(tmp_path / "v.csv", [{"id": "v", "x": 1.5, "y": "c0"}, {"id": "w", "x": 2.5, "y": "c1"}])
        options = {"validation": (str(other),)}
    said = "each of the 20 classes has one document in the training part, and none to be like it"
    assert [note for note in notes_of(tmp_path, data, columns, **options) if "class" in note] == [
        f"{said}; numbers to predict go into --data.columns.values"
    ]
    table[4:8] = [row | {"y": "c0"} for row in table[4:8]]
    notes = notes_of(tmp_path / "b", written(tmp_path / "e.csv", table), columns, validation_fraction=0.0)
    assert not any("each of the" in note for note in notes)


def test_labels_that_differ_in_blanks_around_them_are_refused(tmp_path):
    table = [{"id": f"m{n // 4}", "x": n, "y": "a" if n < 60 else "a "} for n in range(80)]
    with pytest.raises(DataError, match=r"column 'y': .*expected each class written one way, found 'a' and 'a '"):
        made(tmp_path, written(tmp_path / "d.csv", table), {"id": "id", "features": "x", "label": "y"})


@pytest.mark.parametrize("command", ["inspect", "train"])
def test_notes_are_printed(tmp_path, command, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "a.npz", x=FLOATS, y=np.array(["a"] * 30))
    arguments = ["inspect", "a.npz"] if command == "inspect" else ["train", "--data", "a.npz", "--train.steps", "1"]
    main(arguments)
    printed = capsys.readouterr()
    assert MANY in printed.out
    assert "one class in the training part: 'a'" in printed.out


def test_documents_of_one_content_and_two_classes_are_noted(tmp_path):
    lines = [f"text {n % 30},{'ab'[n // 30]}" for n in range(36)]
    (tmp_path / "t.csv").write_text("text,label\n" + "\n".join(lines) + "\n")
    notes = made(tmp_path, tmp_path / "t.csv", {"text": "text", "label": "label"}).contract.notes
    assert "12 documents with another class than one with the same content" in notes


def test_rows_of_one_id_and_order_with_other_values_are_noted(tmp_path):
    lines = [f"{n},{t // 2 if n < 5 else t},{n + t}.5" for n in range(40) for t in range(6)]
    (tmp_path / "t.csv").write_text("id,t,x\n" + "\n".join(lines) + "\n")
    used = {"id": "id", "order": "t", "features": ["x"]}
    (note,) = [one for one in made(tmp_path, tmp_path / "t.csv", used).contract.notes if "another row" in one]
    assert note.startswith("t.csv: 15 rows have the 't' of another row of the same document and other values")


def test_values_of_a_key_of_texts_that_are_none_are_noted(tmp_path):
    values = [*(f"text {n}" for n in range(30)), {"a": 1}, [1], 7, True]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"text": one}) + "\n" for one in values))
    notes = made(tmp_path, tmp_path / "t.jsonl").contract.notes
    assert "key 'text': some of its values are no texts, and are read as they are written in JSON" in notes
