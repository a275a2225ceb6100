"""No held-out document is a training document; splits by class, id, content, column, time or file."""

import json
from pathlib import Path

import numpy as np
import pytest

from prepare_support import made, rows, text_of
from ssm_hpn.config import parse
from ssm_hpn.errors import ConfigError, DataError
from ssm_hpn.prepare import split
from ssm_hpn.prepare.keys import ContentKeys
from ssm_hpn.prepare.records import Documents, within
from ssm_hpn.prepare.source import Source

COLUMNS = {"id": "id", "features": "x", "label": "y"}


def csv(path, series, steps=3):
    """series: (id, label, first value) each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{name},{value + t},{label}" for name, label, value in series for t in range(steps)]
    path.write_text("\n".join(["id,x,y", *lines]) + "\n")
    return path


def ids(part):
    return {row["name"].partition("#")[2] for row in rows(part)}


def test_held_out_files_inside_the_training_folder_are_held_out(tmp_path):
    data = tmp_path / "data"
    csv(data / "a.csv", [(f"a{n}", "uv"[n % 2], n) for n in range(20)])
    csv(data / "b.csv", [(f"b{n}", "uv"[n % 2], n + 50) for n in range(20)])
    (tmp_path / "link.csv").symlink_to(data / "b.csv")
    for held_out in (data / "b.csv", tmp_path / "link.csv"):
        prepared = made(tmp_path / f"to-{held_out.stem}", data, COLUMNS, validation=(str(held_out),))
        assert ids(prepared.train) == {f"a{n}" for n in range(20)}
        assert ids(prepared.validation) == {f"b{n}" for n in range(20)}
        assert ("b.csv", "held out by data.validation") in prepared.contract.left_out


def test_copies_of_held_out_documents_are_refused_or_kept_on_demand(tmp_path):
    series = [(f"s{n}", "uv"[n % 2], n) for n in range(20)]
    csv(tmp_path / "a.csv", series)
    csv(tmp_path / "copy.csv", series[:3])
    with pytest.raises(
        ConfigError, match=r"data\.validation: expected documents that are not in data\.train, found 3 of 20"
    ):
        made(tmp_path, tmp_path / "a.csv", COLUMNS, validation=(str(tmp_path / "copy.csv"),))
    prepared = made(tmp_path, tmp_path / "a.csv", COLUMNS, validation=(str(tmp_path / "copy.csv"),), duplicates="keep")
    assert any("3 documents" in note for note in prepared.contract.notes)


def test_equal_documents_are_all_held_out_or_none(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for n in range(40):
        for copy in "ab":
            (data / f"{copy}{n}.txt").write_text(f"the text number {n}\n" * 20)
    prepared = made(tmp_path, data)
    train, validation = text_of(prepared.train), text_of(prepared.validation)
    assert not set(train.values()) & set(validation.values())
    assert len(train) + len(validation) == 80


def test_renaming_a_file_changes_no_split(tmp_path):
    for place, name in (("one", "x.txt"), ("two", "renamed.txt")):
        for n in range(60):
            file = tmp_path / place / (name if n == 7 else f"{n}.txt")
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"text {n}\n" * 9)
    held_out = [set(text_of(made(tmp_path / p / "out", tmp_path / p).validation).values()) for p in ("one", "two")]
    assert held_out[0] == held_out[1]


def test_a_class_of_two_documents_has_one_in_each_part(tmp_path):
    series = [(f"s{n}", "common", n) for n in range(60)] + [(f"r{n}", "rare", 100 + n) for n in range(2)]
    series.append(("alone", "single", 500))
    prepared = made(tmp_path, csv(tmp_path / "d.csv", series), COLUMNS)
    rare = prepared.contract.classes.index("rare")
    sides = [[row["label"] for row in rows(part)].count(rare) for part in (prepared.train, prepared.validation)]
    assert sides == [1, 1]
    assert "alone" in ids(prepared.train)
    assert any("classes with one document" in note and "single" in note for note in prepared.contract.notes)


def test_every_class_has_the_same_share_held_out(tmp_path):
    series = [(f"s{n}", "abc"[n % 3], n) for n in range(300)]
    prepared = made(tmp_path, csv(tmp_path / "d.csv", series), COLUMNS, validation_fraction=0.2)
    assert np.bincount([row["label"] for row in rows(prepared.validation)]).tolist() == [20, 20, 20]


def test_documents_of_one_id_in_two_files_stay_in_one_part(tmp_path):
    data = tmp_path / "data"
    csv(data / "a.csv", [(f"s{n}", "uv"[n % 2], n) for n in range(40)])
    csv(data / "b.csv", [(f"s{n}", "uv"[n % 2], 1000 + n) for n in range(40)])
    prepared = made(tmp_path, data, COLUMNS)
    assert not ids(prepared.train) & ids(prepared.validation)


def test_a_split_by_the_values_of_a_column(tmp_path):
    lines = ["id,x,y,fold", *(f"s{n},{n},{'uv'[n % 2]},{['train', 'dev', 'test'][n % 3]}" for n in range(30))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    prepared = made(tmp_path, tmp_path / "d.csv", COLUMNS, split="fold=dev,test")
    assert ids(prepared.train) == {f"s{n}" for n in range(0, 30, 3)}
    with pytest.raises(DataError, match=r"data\.split: expected a column 'folds', .*did you mean 'fold'"):
        made(tmp_path / "b", tmp_path / "d.csv", COLUMNS, split="folds=dev")
    with pytest.raises(
        ConfigError, match=r"data\.split: expected values of the column 'fold', found 'tst'; did you mean 'test'"
    ):
        made(tmp_path / "c", tmp_path / "d.csv", COLUMNS, split="fold=dev,tst")
    with pytest.raises(ConfigError, match=r"data\.split: expected documents on both sides, found 30 of 30"):
        made(tmp_path / "d", tmp_path / "d.csv", COLUMNS, split="fold=dev,test,train")


def test_documents_without_a_value_of_the_column_are_trained_on_and_counted(tmp_path):
    lines = ["id,x,fold", *(f"s{n},{n},{['a', 'b', ''][n % 3]}" for n in range(30))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x"}, split="fold=b")
    assert ids(prepared.validation) == {f"s{n}" for n in range(1, 30, 3)}
    assert prepared.contract.held_out == "10 of 30 documents, where fold is b"
    assert "10 documents without a value of 'fold' are trained on" in prepared.contract.notes


@pytest.mark.parametrize("steps", [3, 40_000])
def test_a_split_by_a_column_that_changes_inside_a_document_is_refused(tmp_path, steps):
    lines = ["id,x,fold", *(f"s{n},{n},{'ab'[t == steps - 1]}" for n in range(3) for t in range(steps))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"column 'fold': expected 'a' as in the other rows of the document, found 'b'"):
        made(tmp_path, tmp_path / "d.csv", {"id": "id", "features": "x"}, split="fold=b")


def test_a_split_by_time_and_by_file(tmp_path):
    lines = ["id,t,x", *(f"s{n},2024-01-{1 + n:02},{n}" for n in range(20))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    columns = {"id": "id", "features": "x", "order": "t"}
    prepared = made(tmp_path, tmp_path / "d.csv", columns, split="time", validation_fraction=0.25)
    assert ids(prepared.validation) == {f"s{n}" for n in range(15, 20)}
    data = tmp_path / "files"
    for k in range(12):
        csv(data / f"{k}.csv", [(f"{k}-{n}", "uv"[n % 2], 10 * k + n) for n in range(10)])
    prepared = made(tmp_path / "f", data, COLUMNS, split="file")
    files = [{row["name"].partition("#")[0] for row in rows(part)} for part in (prepared.train, prepared.validation)]
    assert not files[0] & files[1]
    assert files[1]


def test_whole_files_are_held_out_whatever_classes_come_first_in_them(tmp_path):
    for name, first in (("a", 0), ("b", 1)):
        csv(
            tmp_path / "data" / f"{name}.csv",
            [(f"{name}{n}", "uv"[(n + first) % 2], n + 50 * first) for n in range(20)],
        )
    prepared = made(tmp_path, tmp_path / "data", COLUMNS, split="file")
    assert {len(ids(prepared.train)), len(ids(prepared.validation))} == {20}
    assert len({name[0] for name in ids(prepared.validation)}) == 1
    assert prepared.contract.held_out == "20 of 40 documents, by a hash of the names of their files"
    with pytest.raises(ConfigError, match=r"data\.split: expected two files or more for file, found one file"):
        made(tmp_path / "one", tmp_path / "data" / "a.csv", COLUMNS, split="file")


def texts(folder, count, text="text number {n}, which is a little longer\n"):
    folder.mkdir(parents=True)
    for n in range(count):
        (folder / f"{n}.txt").write_text(text.format(n=n) * 5)
    return folder


@pytest.mark.parametrize(
    ("data", "options", "rule"),
    [
        (
            lambda p: texts(p / "few", 3),
            {},
            "the last 10 % of each of 3 documents, as there are fewer than 20 (whole ones with --data.split documents)",
        ),
        (lambda p: texts(p / "one", 1), {"split": "tail"}, "the last 10 % of the document"),
        (lambda p: texts(p / "many", 40), {}, "{count} of 40 documents, by a hash of their contents"),
        (lambda p: texts(p / "named", 40), {"split": "name"}, "{count} of 40 documents, by a hash of their names"),
        (lambda p: texts(p / "none", 3), {"validation_fraction": 0}, "nothing"),
    ],
)
def test_the_contract_names_the_rule_by_which_documents_are_held_out(tmp_path, data, options, rule):
    prepared = made(tmp_path, data(tmp_path), **options)
    count = len(rows(prepared.validation)) if prepared.validation else 0
    assert prepared.contract.held_out == rule.format(count=count)
    assert prepared.contract.summary()[0].endswith(f"; held out: {prepared.contract.held_out}")
    assert json.loads((prepared.train / "manifest.json").read_text())["contract"]["held_out"]


def test_the_contract_names_ids_and_classes_as_the_rule(tmp_path):
    series = [(f"s{n}", "abc"[n % 3], n) for n in range(30)]
    prepared = made(tmp_path, csv(tmp_path / "d.csv", series), COLUMNS)
    assert prepared.contract.held_out == "3 of 30 documents, by a hash of their ids, the same share of every class"
    given = made(
        tmp_path / "v", tmp_path / "d.csv", COLUMNS, validation=(str(csv(tmp_path / "v.csv", [("t", "a", 99)])),)
    )
    assert given.contract.held_out == "the files of data.validation"


def test_an_unknown_split_is_refused_with_the_known_forms():
    with pytest.raises(
        ConfigError, match=r"data\.split: expected auto, .*, tail, time, or COLUMN=VALUE,VALUE, found 'bogus'"
    ):
        parse({"data": {"split": "bogus"}})


def test_of_equal_documents_the_last_are_held_out_with_a_note(tmp_path):
    equal = made(tmp_path / "a", texts(tmp_path / "equal", 30, "the same\n")).contract
    assert (equal.parts["train"].documents, equal.parts["validation"].documents) == (27, 3)
    assert equal.held_out == "3 of 30 documents, the last ones, as all are equal"
    assert equal.notes == ("all 30 documents are equal: held out are the last, and the like of them are trained on",)
    for n in range(3):
        csv(tmp_path / "ids" / f"{n}.csv", [("the one", "u", n)])
    one_id = made(tmp_path / "b", tmp_path / "ids", COLUMNS).contract
    assert (one_id.parts["train"].documents, one_id.parts["validation"].documents) == (2, 1)
    assert any(note.startswith("all 3 documents have one id: held out are the last") for note in one_id.notes)
    prepared = made(tmp_path / "c", tmp_path / "ids", COLUMNS, split="name")
    assert any("held-out document with the id of a training one" in note for note in prepared.contract.notes)
    alone = csv(tmp_path / "alone.csv", [(f"s{n}", "uvw"[n], n) for n in range(3)])
    with pytest.raises(
        ConfigError, match=r"a class of two documents, found 3 classes of one document each, such as 'u'"
    ):
        made(tmp_path / "d", alone, COLUMNS)


def test_ids_in_several_files_are_counted(tmp_path):
    csv(tmp_path / "data" / "a.csv", [(f"s{n}", "uv"[n % 2], n) for n in range(25)])
    csv(tmp_path / "data" / "b.csv", [(f"s{n}", "uv"[n % 2], 100 + n) for n in range(5, 30)])
    prepared = made(tmp_path, tmp_path / "data", COLUMNS)
    told = "20 ids are in several files, a document of its own in each; those of one id are held out together or not"
    assert any(note.startswith(told) for note in prepared.contract.notes)
    held_out = made(
        tmp_path / "v", tmp_path / "data" / "a.csv", COLUMNS, validation=(str(tmp_path / "data" / "b.csv"),)
    )
    assert "20 documents of the training part have the id of a held-out one" in held_out.contract.notes


def test_the_tail_of_documents_with_one_name(tmp_path):
    content = [f'{{"id": "{name}", "text": "{letter * 100}"}}' for name, letter in zip("aba", "xyz", strict=True)]
    (tmp_path / "d.jsonl").write_text("\n".join(content) + "\n")
    prepared = made(tmp_path, tmp_path / "d.jsonl", {"id": "id"}, split="tail")
    assert [bytes(row["tokens"]).decode() for row in rows(prepared.validation)] == ["x" * 10, "y" * 10, "z" * 10]


def test_above_the_limit_of_ranking_documents_are_held_out_by_their_keys(tmp_path, monkeypatch):
    series = csv(tmp_path / "d.csv", [(f"s{n}", "abc"[n % 3], n) for n in range(60)], steps=1)
    few = made(tmp_path / "few", series, {"id": "id", "features": "x"}, validation_fraction=0.3)
    monkeypatch.setattr(split, "MOST_RANKED", 30)
    many = made(tmp_path / "many", series, {"id": "id", "features": "x"}, validation_fraction=0.3)
    assert ids(many.validation) == ids(few.validation)
    assert f"{len(ids(many.validation))} of 60 documents, by a hash of their ids" in many.contract.held_out


def test_equal_documents_on_both_sides_of_a_split_by_file_are_counted(tmp_path):
    for name in "ab":
        csv(tmp_path / "data" / f"{name}.csv", [(f"{name}{n}", "uv"[n % 2], n) for n in range(20)])
    prepared = made(tmp_path, tmp_path / "data", COLUMNS, split="file")
    assert "20 held-out documents equal to a training one" in prepared.contract.notes


def test_a_pattern_for_features_leaves_out_columns_with_another_role(tmp_path):
    lines = ["id,t,x_a,x_b,x_y", *(f"s{n},{n},{n},1,{'uv'[n % 2]}" for n in range(20))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    prepared = made(tmp_path, tmp_path / "d.csv", {"id": "id", "order": "t", "features": "x_*", "label": "x_y"})
    assert [column.name for column in prepared.contract.features] == ["x_a", "x_b"]
    prepared = made(
        tmp_path / "all", tmp_path / "d.csv", {"id": "id", "features": "x_a,t", "order": "t", "label": "x_y"}
    )
    assert [column.name for column in prepared.contract.features] == ["x_a", "t"]


@pytest.mark.parametrize("kind", ["text", "tokens", "features"])
def test_keys_of_documents_do_not_depend_on_how_they_are_cut(kind):
    rng = np.random.default_rng(0)
    lengths = [5, 1, 40, 7, 7, 3]
    total = sum(lengths)
    elements = {
        "text": rng.integers(0, 256, total).astype(np.uint8),
        "tokens": rng.integers(0, 1 << 20, total),
        "features": rng.normal(size=(total, 2)),
    }[kind]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    elements[offsets[4] : offsets[5]] = elements[offsets[3] : offsets[4]]
    source = Source(Path("d"), "d", "text")
    whole = Documents(source, np.arange(6), elements, offsets)

    def keys(batches):
        found = ContentKeys()
        return np.concatenate([*(found.add(batch) for batch in batches), found.rest()])

    expected = keys([whole])
    assert expected[3] == expected[4]
    assert len(set(expected.tolist())) == 5
    assert keys([whole.take(np.array([n])) for n in range(6)]).tolist() == expected.tolist()
    pieces = within(whole, 4)
    assert keys([pieces]).tolist() == expected.tolist()
    assert keys([pieces.take(np.array([n])) for n in range(len(pieces))]).tolist() == expected.tolist()


@pytest.mark.parametrize("order", [{}, {"order": "when"}])
def test_a_document_per_row_is_not_split_by_time_and_one_message_ends_it(tmp_path, order):
    (tmp_path / "d.csv").write_text("text,when\n" + "".join(f"text {n},2024-01-{n + 1:02}\n" for n in range(28)))
    columns = {"text": "text", **order}
    expected = r"data\.split: expected rows that are time steps .*for time, found d\.csv \(csv, text\); hold out by"
    with pytest.raises(ConfigError, match=expected) as caught:
        made(tmp_path, tmp_path / "d.csv", columns, split="time")
    assert "data.columns.order" not in str(caught.value)


def test_time_without_an_order_is_refused_before_anything_is_read(tmp_path):
    csv(tmp_path / "d.csv", [(f"s{n}", "uv"[n % 2], n) for n in range(25)])
    columns = {name: one for name, one in COLUMNS.items() if name != "order"}
    with pytest.raises(ConfigError, match=r"data\.split: expected data\.columns\.order beside time.*; name the column"):
        made(tmp_path, tmp_path / "d.csv", columns, split="time")


@pytest.mark.parametrize("labelled", [True, False])
def test_equal_documents_go_to_one_side_whatever_their_ids(tmp_path, labelled):
    """30 documents, each there twice under two ids."""
    lines = [f"s{n},{t},{n % 30 + t}.5,{'ab'[n % 2]}" for n in range(60) for t in range(3)]
    (tmp_path / "t.csv").write_text("id,t,x,y\n" + "\n".join(lines) + "\n")
    used = {"id": "id", "order": "t", "features": ["x"]} | ({"label": "y"} if labelled else {})
    prepared = made(tmp_path, tmp_path / "t.csv", used)
    sides = [
        {int(row["name"].rpartition("#s")[2]) % 30 for row in rows(part)}
        for part in (prepared.train, prepared.validation)
    ]
    assert sides[0].isdisjoint(sides[1])
    assert len(sides[1]) >= 2
    assert "30 documents equal to one of another id go with it" in prepared.contract.notes


def test_copies_of_training_documents_under_other_ids_are_refused_as_validation(tmp_path):
    for name, first in (("train", 0), ("other", 100)):
        lines = [f"{first + n},text number {n},{'ab'[n % 2]}" for n in range(30 if name == "train" else 5)]
        (tmp_path / f"{name}.csv").write_text("id,text,label\n" + "\n".join(lines) + "\n")
    used = {"id": "id", "text": "text", "label": "label"}
    options = {"validation": (str(tmp_path / "other.csv"),)}
    with pytest.raises(ConfigError, match=r"data\.validation: .* found 5 of 30 documents of the training part held"):
        made(tmp_path, tmp_path / "train.csv", used, **options)
    made(tmp_path, tmp_path / "train.csv", used, **options, duplicates="keep")


def test_documents_of_a_class_that_are_all_equal_are_on_both_sides_with_a_note(tmp_path):
    lines = [f"s{n},{t},{0 if n % 2 else n + t}.5,{'ab'[n % 2]}" for n in range(40) for t in range(3)]
    (tmp_path / "t.csv").write_text("id,t,x,y\n" + "\n".join(lines) + "\n")
    used = {"id": "id", "order": "t", "features": ["x"], "label": "y"}
    prepared = made(tmp_path, tmp_path / "t.csv", used)
    assert [row["label"] for row in rows(prepared.validation)].count(1) == 2
    note = "all documents of 'b' are equal: some are held out, and the like of them are trained on"
    assert note in prepared.contract.notes


@pytest.mark.parametrize("label", [None, "kind"])
def test_equal_documents_are_held_out_as_often_as_others(tmp_path: Path, label: str | None) -> None:
    """400 documents alone and 40 groups of ten equal ones: about a tenth of each, not the groups first."""
    lines = ["machine,x,kind"]
    for group in range(40):
        lines += [f"g{group}-{one},{1000 + group},{'ab'[group % 2]}" for one in range(10)]
    lines += [f"s{one},{one},{'ab'[one % 2]}" for one in range(400)]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    columns = {"id": "machine", "features": ("x",), "label": label}
    prepared = made(tmp_path, tmp_path / "d.csv", columns, split="documents")
    held = [row["name"].partition("#")[2] for row in rows(prepared.validation)]
    groups = {name.partition("-")[0] for name in held if name.startswith("g")}
    assert 1 <= len(groups) <= 9, groups
    assert 20 <= sum(name.startswith("s") for name in held) <= 60


def test_classes_that_share_their_documents_are_not_said_to_have_one_each(tmp_path: Path) -> None:
    lines = ["machine,x,kind", *(f"s{one},{(one // 2 + one) % 2},{'ab'[one % 2]}" for one in range(40))]
    (tmp_path / "d.csv").write_text("\n".join(lines) + "\n")
    columns = {"id": "machine", "features": ("x",), "label": "kind"}
    with pytest.raises(
        ConfigError, match="documents that differ, of different ids, found only 2 such among 40 documents"
    ):
        made(tmp_path, tmp_path / "d.csv", columns)
