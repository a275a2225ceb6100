"""Settings without effect are refused: every entry of the table, and the command line with real files."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.config import Config, DataShape, PrepareOptions, load_config, merge, parse, resolve, to_toml
from ssm_hpn.config.applicable import RawData, Task, about_task, check_raw, check_task, declared, given
from ssm_hpn.config.load import walk
from ssm_hpn.config.resolve import target_kind
from ssm_hpn.dataset import check_made, read_manifest
from ssm_hpn.errors import ConfigError
from ssm_hpn.prepare import Prepared, prepare
from ssm_hpn.prepare.look import look
from ssm_hpn.prepare.sources import find
from support import sensor_file, text_data

TEXT = RawData("a.txt", "text", "text", folder=True)
FILE = RawData("a.txt", "text", "text")
IDS = RawData("a.txt", "integers", "tokens")
STEPS = RawData("a.csv", "csv", "features", steps=True, targets=frozenset({"label"}))
LISTS = RawData("a.parquet", "parquet", "features")
LINES = RawData("a.jsonl", "jsonl", "text")
LABELS = RawData("a.npz", "npz", "features", targets=frozenset({"label", "labels"}))
ARRAYS = RawData("a.npz", "npz", "features", targets=frozenset({"values"}))
ARRAY = RawData("a.npy", "npy", "features")

LANGUAGE = Task("next_token", evaluates=True)
CLASSIFIER = Task("sequence_class", evaluates=True, columns=True)
NUMBERS = Task("sequence_values", evaluates=True, columns=True)
PER_STEP = Task("token_class", evaluates=True, columns=True)
BLIND = Task("next_token", evaluates=False)
FILTERS = Task("sequence_class", evaluates=True, model="features")


class Case(NamedTuple):
    """Settings, the raw data or task for which they have an effect (`fits`), and for which they have none (`unfit`).

    `also` are settings that the second one needs besides.
    """

    settings: dict[str, Any]
    fits: RawData | Task
    unfit: RawData | Task
    also: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default


def columns(**names: Any) -> dict[str, Any]:
    return {"data": {"columns": names}}


def split_by_time(**names: Any) -> dict[str, Any]:
    return {"data": {"split": "time", "columns": names}}


def smoothed(kind: str) -> dict[str, Any]:
    return {"model": {"head": {"loss": {"kind": kind, "smoothing": 0.1, "smoothing_toward": "near"}}}}


# Per entry of the tables: a setting may have several, which are told apart by their order.
CASES: dict[tuple[str, int], Case] = {
    ("data.validation_fraction", 0): Case(
        {"data": {"validation_fraction": 0.2}}, TEXT, TEXT, {"data": {"validation": "b.txt"}}
    ),
    ("data.test_fraction", 0): Case({"data": {"test_fraction": 0.1}}, TEXT, TEXT, {"data": {"validation": "b.txt"}}),
    ("data.split", 0): Case({"data": {"split": "tail"}}, TEXT, TEXT, {"data": {"validation_fraction": 0}}),
    ("data.split", 1): Case(split_by_time(order="t"), STEPS, LINES),
    ("data.split", 2): Case(split_by_time(order="t"), STEPS, STEPS, columns(order=None)),
    ("data.include", 0): Case({"data": {"include": "*.txt"}}, TEXT, FILE),
    ("data.documents", 0): Case({"data": {"documents": "line"}}, IDS, STEPS),
    ("data.tokenizer", 0): Case({"data": {"tokenizer": "t.json"}}, LINES, STEPS),
    ("data.tokenizer", 1): Case({"data": {"tokenizer": "t.json"}}, TEXT, TEXT, {"data": {"encoder": "bytes"}}),
    ("data.vocab_size", 0): Case({"data": {"vocab_size": 9}}, IDS, TEXT),
    ("data.n_classes", 0): Case({"data": {"n_classes": 3}}, STEPS, TEXT),
    ("data.normalize", 0): Case({"data": {"normalize": False}}, STEPS, TEXT),
    ("data.columns.text", 0): Case(columns(text="t"), LINES, TEXT),
    ("data.columns.text", 1): Case(columns(text="t"), LINES, LINES, columns(features="a")),
    ("data.columns.tokens", 0): Case(columns(tokens="t"), ARRAYS, TEXT),
    ("data.columns.tokens", 1): Case(columns(tokens="t"), ARRAYS, ARRAYS, columns(features="a")),
    ("data.columns.features", 0): Case(columns(features="a,b"), STEPS, ARRAY),
    ("data.columns.features", 1): Case(columns(features="a"), ARRAYS, ARRAYS, columns(features="a,b")),
    ("data.labels", 0): Case({"data": {"labels": "y.csv"}}, STEPS, TEXT),
    ("data.duplicates", 0): Case(
        {"data": {"duplicates": "keep", "validation": "b.txt"}}, TEXT, TEXT, {"data": {"validation": []}}
    ),
    ("data.missing", 0): Case({"data": {"missing": "zero"}}, STEPS, TEXT),
    ("data.delimiter", 0): Case({"data": {"delimiter": ";"}}, STEPS, LINES),
    ("data.decimal", 0): Case({"data": {"decimal": ","}}, STEPS, LINES),
    ("data.null", 0): Case({"data": {"null": "NA"}}, STEPS, LINES),
    ("data.encoding", 0): Case({"data": {"encoding": "latin-1"}}, TEXT, LISTS),
    ("data.date_format", 0): Case(
        {"data": {"date_format": "%d.%m.", "columns": {"order": "t"}}},
        STEPS,
        STEPS,
        {"data": {"columns": {"order": None}}},
    ),
    ("data.columns.id", 0): Case(columns(id="id"), STEPS, TEXT),
    ("data.columns.order", 0): Case(columns(order="t"), STEPS, LINES),
    ("data.columns.label", 0): Case(columns(label="y"), STEPS, TEXT),
    ("data.columns.label", 1): Case(columns(label="y"), STEPS, LABELS),
    ("data.columns.labels", 0): Case(columns(labels="y"), LINES, ARRAY),
    ("data.columns.values", 0): Case(columns(values="y,z"), STEPS, IDS),
    ("data.columns.values", 1): Case(columns(values="y"), ARRAYS, ARRAYS, columns(values="y,z")),
    ("data.columns.lengths", 0): Case(columns(lengths="n"), ARRAYS, STEPS),
}
TASK_CASES: dict[tuple[str, int], Case] = {
    ("data.columns.label", 0): Case(columns(label="y"), CLASSIFIER, NUMBERS),
    ("data.columns.labels", 0): Case(columns(labels="y"), PER_STEP, CLASSIFIER),
    ("data.columns.values", 0): Case(columns(values="y"), NUMBERS, CLASSIFIER),
    ("model.target.pooling", 0): Case({"model": {"target": {"pooling": "max"}}}, CLASSIFIER, LANGUAGE),
    ("model.head.n_classes", 0): Case(
        {"model": {"head": {"n_classes": 3}}}, CLASSIFIER, NUMBERS, {"model": {"head": {"loss": {"low": -2.0}}}}
    ),
    ("model.head.smoothing", 0): Case(
        {"model": {"head": {"kind": "linear", "smoothing": 0.1}}},
        CLASSIFIER,
        CLASSIFIER,
        {"model": {"head": {"kind": "linear", "loss": "squared"}}},
    ),
    ("model.head.vectors", 0): Case(
        {"model": {"head": {"vectors": "v.csv", "prototypes": "given"}}},
        CLASSIFIER,
        CLASSIFIER,
        {"model": {"head": {"prototypes": "random"}}},
    ),
    ("model.head.vectors_digest", 0): Case(
        {"model": {"head": {"vectors_digest": "ab", "prototypes": "semantic"}}},
        CLASSIFIER,
        CLASSIFIER,
        {"model": {"head": {"prototypes": "random"}}},
    ),
    ("model.head.assignment_after", 0): Case(
        {"model": {"head": {"assignment": "similar", "assignment_after": 5}}},
        CLASSIFIER,
        CLASSIFIER,
        {"model": {"head": {"assignment": "given"}}},
    ),
    ("model.head.loss.smoothing_toward", 0): Case(
        smoothed("softmax"), CLASSIFIER, CLASSIFIER, {"model": {"head": {"loss": {"smoothing": 0}}}}
    ),
    ("model.head.loss.smoothing_toward", 1): Case(
        smoothed("margin"), CLASSIFIER, CLASSIFIER, {"model": {"head": {"loss": {"smoothing": 0}}}}
    ),
    ("train.class_weights", 0): Case({"train": {"class_weights": "balanced"}}, CLASSIFIER, NUMBERS),
    ("train.epochs", 0): Case({"train": {"epochs": 2}}, LANGUAGE, LANGUAGE, {"train": {"steps": 9}}),
    ("train.tokens", 0): Case({"train": {"tokens": 2}}, LANGUAGE, LANGUAGE, {"train": {"steps": 9}}),
    ("model.memory_limit_mb", 0): Case(
        {"model": {"memory_limit_mb": 9, "activation_memory": "auto"}},
        LANGUAGE,
        LANGUAGE,
        {"model": {"activation_memory": "recompute"}},
    ),
    ("evaluation.prompt", 0): Case({"evaluation": {"prompt": "a"}}, LANGUAGE, CLASSIFIER),
    ("evaluation.prompt", 1): Case({"evaluation": {"prompt": "a"}}, LANGUAGE, BLIND),
    ("evaluation.continuation", 0): Case({"evaluation": {"continuation": 9}}, LANGUAGE, CLASSIFIER),
    ("evaluation.continuation", 1): Case({"evaluation": {"continuation": 9}}, LANGUAGE, BLIND),
    ("evaluation.temperature", 0): Case({"evaluation": {"temperature": 0.1}}, LANGUAGE, CLASSIFIER),
    ("evaluation.temperature", 1): Case({"evaluation": {"temperature": 0.1}}, LANGUAGE, BLIND),
    ("evaluation.every", 0): Case({"evaluation": {"every": 9}}, LANGUAGE, BLIND),
    ("evaluation.unit", 0): Case({"evaluation": {"unit": "epochs"}}, LANGUAGE, BLIND),
    ("evaluation.batches", 0): Case({"evaluation": {"batches": "all"}}, LANGUAGE, BLIND),
    ("evaluation.metric", 0): Case({"evaluation": {"metric": "accuracy"}}, LANGUAGE, BLIND),
    ("evaluation.direction", 0): Case({"evaluation": {"direction": "max"}}, LANGUAGE, BLIND),
    ("early_stopping.patience", 0): Case({"early_stopping": {"patience": 2}}, LANGUAGE, BLIND),
    ("early_stopping.min_change", 0): Case({"early_stopping": {"min_change": 0.1}}, LANGUAGE, BLIND),
    ("train.rollback_rate", 0): Case(
        {"train": {"rollback_rate": 0.1, "on_divergence": "rollback"}},
        LANGUAGE,
        LANGUAGE,
        {"train": {"on_divergence": "stop"}},
    ),
    ("checkpoint.keep_best", 0): Case({"checkpoint": {"keep_best": 2}}, LANGUAGE, BLIND),
    ("model.filters.effort", 0): Case({"model": {"filters": {"effort": "best"}}}, FILTERS, CLASSIFIER),
    ("model.filters.causal", 0): Case({"model": {"filters": {"causal": True}}}, FILTERS, CLASSIFIER),
    ("run.name", 0): Case({"run": {"name": "a"}}, LANGUAGE, LANGUAGE, {"run": {"folder": "runs/b"}}),
}


def declarations(*, task):
    """The declarations about a task, or about raw files; the key is (setting, index among its declarations)."""
    seen: dict[str, int] = {}
    for name, section, field in walk():
        for applies in declared(section.model_fields[field]):
            if about_task(name, applies) == task:
                number = seen[name] = seen.get(name, -1) + 1
                yield (name, number), applies


def check(settings, place):
    config = parse(settings)
    if isinstance(place, RawData):
        check_raw(config.data, place)
    else:
        check_task(config, place)


ENTRIES = [
    (key, applies, cases)
    for task, cases in ((False, CASES), (True, TASK_CASES))
    for key, applies in declarations(task=task)
]


@pytest.mark.parametrize(
    ("key", "applies", "cases"),
    ENTRIES,
    ids=[f"{'data' if cases is CASES else 'task'}-{key[0]}-{key[1]}" for key, _, cases in ENTRIES],
)
def test_a_setting_is_taken_where_it_has_an_effect_and_refused_elsewhere(key, applies, cases):
    case, setting = cases[key], key[0]
    check(case.settings, case.fits)
    with pytest.raises(ConfigError) as caught:
        check(merge(case.settings, case.also), case.unfit)
    message = str(caught.value)
    assert message.startswith(f"{setting}: expected {applies.words}, found ")
    assert message.endswith(f"; {applies.advice}")
    assert "\n" not in message
    if setting not in dict(given(parse(case.also))):
        check(case.also, case.unfit)  # without the setting there is no refusal


def test_every_declaration_has_its_case():
    assert set(CASES) == {key for key, _ in declarations(task=False)}
    assert set(TASK_CASES) == {key for key, _ in declarations(task=True)}


def test_every_fact_is_a_setting_or_an_attribute_of_files_or_run():
    known = {name for name, _, _ in walk()}
    known |= {f"raw.{name}" for name in dir(FILE)} | {f"task.{name}" for name in dir(BLIND)}
    for _, applies, _ in ENTRIES:
        assert applies.where
        assert applies.facts <= known


def test_a_setting_at_its_default_counts_as_not_given():
    settings = {"data": {"encoder": "auto", "include": "", "tokenizer": None, "documents": "line", "train": "a"}}
    config = parse(settings)
    assert dict(given(config)) == {"data.train": ("a",), "data.documents": "line"}
    assert dict(given(config.data.prepare_options())) == {"train": ("a",), "documents": "line"}
    # also where a file names every setting, defaults included
    written_out = parse(tomllib.loads(to_toml(config)))
    assert written_out.model.target.model_fields_set
    assert dict(given(written_out)) == dict(given(config))


@pytest.mark.parametrize("present", [set(), {"label"}, {"labels"}, {"values"}, {"label", "values"}])
def test_the_target_predicted_from_columns_is_the_one_of_the_prepared_data(present):
    classes = 3 if present & {"label", "labels"} else None
    shape = DataShape(
        vocab_size=9,
        n_classes=classes,
        n_values=1 if "values" in present else None,
        columns=frozenset(present),
    )
    assert target_kind(Config(), frozenset(present)) == resolve(Config(), shape).model.target.kind
    asked = parse({"model": {"target": {"kind": "sequence_values"}}})
    assert target_kind(asked, frozenset(present)) == "sequence_values"


# ---- what files hold


def saved(path, **arrays):
    np.savez(path, **arrays)
    return path


def lines_of(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def table_of(path, **values):
    pa_parquet.write_table(pa.table(values), path)
    return path


def written(path, text):
    path.write_text(text)
    return path


X = np.zeros((4, 5, 2), np.float32)


@pytest.mark.parametrize(
    ("make", "names", "expected"),
    [
        (lambda f: written(f / "a.txt", "some text\n"), {}, FILE),
        (lambda f: written(f / "a.txt", "1 2 3 4 5 6 7 8 9\n"), {}, IDS),
        (lambda f: sensor_file(f / "a.csv"), {"features": ("a", "b"), "id": "id", "label": "label"}, STEPS),
        (lambda f: table_of(f / "a.parquet", x=[[1.0, 2.0]]), {"features": ("x",)}, LISTS),
        (lambda f: lines_of(f / "a.jsonl", {"t": "hi"}), {"text": "t"}, LINES),
        (lambda f: saved(f / "a.npz", X=X, y=np.arange(4), labels=np.zeros((4, 5), int)), {}, LABELS),
        (lambda f: saved(f / "a.npz", q=X, v=np.ones((4, 2))), {"features": ("q",), "values": ("v",)}, ARRAYS),
        (lambda f: (np.save(f / "a.npy", X), f / "a.npy")[1], {}, ARRAY),
    ],
)
def test_the_facts_about_raw_files(make, names, expected, tmp_path):
    options = PrepareOptions(train=(str(make(tmp_path)),), columns=names)
    assert look(find(options.train, options, key="data.train"), options) == expected


def test_the_facts_about_a_folder(tmp_path):
    written(tmp_path / "a.txt", "some text\n")
    options = PrepareOptions(train=(str(tmp_path),))
    assert look(find(options.train, options, key="data.train"), options) == TEXT


# ---- prepared folders

OTHER: dict[str, Any] = {
    "validation_fraction": 0.3,
    "test_fraction": 0.1,
    "split": "tail",
    "format": "csv",
    "include": "*.py",
    "documents": "line",
    "encoder": "ids",
    "tokenizer": "none.json",
    "vocab_size": 256,
    "n_classes": 2,
    "normalize": False,
    "missing": "zero",
    "labels": "x.csv",
    "duplicates": "keep",
    "unique": True,
    "delimiter": ";",
    "decimal": ",",
    "null": "NA",
    "encoding": "latin-1",
    "date_format": "%d.%m.",
    "max_document": 512,
    "shard_tokens": 2048,
    **{f"columns.{name}": "x" for name in ("text", "tokens", "features", "id", "order")},
    **{f"columns.{name}": "x" for name in ("label", "labels", "values", "lengths")},
}


def test_every_setting_of_preparation_is_tried():
    assert set(OTHER) == {name for name, _, _ in walk(PrepareOptions)} - {"train", "validation"}


@pytest.mark.parametrize("name", OTHER)
def test_a_prepared_folder_refuses_settings_that_it_was_not_made_with(name, text: Prepared):
    data: dict[str, Any] = {"train": str(text.train), "validation": str(text.validation), "length": 32}
    section, _, key = name.rpartition(".")
    data |= {section: {key: OTHER[name]}} if section else {key: OTHER[name]}
    with pytest.raises(
        ConfigError, match=rf"^data\.{re.escape(name)}: expected .*, as the prepared folder .* was made"
    ):
        Trainer({"data": data})


def test_a_prepared_folder_takes_the_settings_that_it_was_made_with(tmp_path):
    csv = sensor_file(tmp_path / "a.csv")
    names = {"features": "a,b", "id": "id", "label": "label"}
    data = {"n_classes": 3, "columns": names, "split": "name", "shard_tokens": 4096}
    prepared = prepare(parse({"data": data | {"train": str(csv)}}).data.prepare_options(), tmp_path / "out")
    came_out = {"format": "csv", "encoder": "features", "normalize": True}
    for again in (data, came_out, data | came_out):
        Trainer({"data": again | {"train": str(prepared.folder)}})


def test_a_tokenizer_is_compared_by_its_content_not_its_path(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"a": 0, "b": 1, "?": 2}, unk_token="?")
    tokenizers.Tokenizer(model).save(str(tmp_path / "t.json"))
    (tmp_path / "moved.json").write_bytes((tmp_path / "t.json").read_bytes())
    (tmp_path / "other.json").write_text((tmp_path / "t.json").read_text() + "\n")
    (tmp_path / "a.txt").write_text("a\n" * 400)
    options = PrepareOptions(train=(str(tmp_path / "a.txt"),), tokenizer=str(tmp_path / "t.json"))
    manifest = read_manifest(prepare(options, tmp_path / "out").train)
    check_made(options, manifest, what="it")
    check_made(PrepareOptions(tokenizer=str(tmp_path / "moved.json")), manifest, what="it")
    for other in ("other.json", "none.json"):
        with pytest.raises(ConfigError, match=r"data\.tokenizer: expected .*t\.json, as it was made, found .*" + other):
            check_made(PrepareOptions(tokenizer=str(tmp_path / other)), manifest, what="it")


# ---- the command line

SMALL = [
    *("--model.d_model", "16", "--model.n_layers", "1", "--model.block.d_state", "4", "--train.steps", "2"),
    *("--train.batch_size", "2", "--train.threads", "1", "--data.length", "32"),
]
SENSORS = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Text, a table, and text that is prepared."""
    folder = tmp_path_factory.mktemp("place")
    text_data(folder, documents=8)
    sensor_file(folder / "a.csv")
    return folder


@pytest.mark.parametrize(
    ("words", "setting"),
    [
        (["train", "--data", "text", "--data.columns.features", "x,y"], "data.columns.features"),
        (["train", "--data", "text", "--data.n_classes", "3"], "data.n_classes"),
        (["train", "--data", "text", "--data.tokenizer", "none.json"], "data.tokenizer"),
        (["train", "--data", "text", "--data.validation_fraction", "0", "--evaluation.every", "3"], "evaluation.every"),
        (["train", "--data", "a.csv", *SENSORS, "--data.tokenizer", "none.json"], "data.tokenizer"),
        (["train", "--data", "a.csv", *SENSORS, "--evaluation.prompt", "hello"], "evaluation.prompt"),
        (["train", "--data", "data", "--data.tokenizer", "none.json"], "data.tokenizer"),
        (["train", "--data", "data", "--data.max_document", "512"], "data.max_document"),
        (["train", "--data", "data", "--model.target.pooling", "max"], "model.target.pooling"),
        (["train", "--data", "data", "--dry-run", "--resume", "must"], "--resume"),
        (["train", "--data.encoder", "tokenizer"], "data.encoder"),
        (["train", "--data.validation", "text"], "data.validation"),
        (["prepare", "text", "--out", "new", "--data.columns.label", "x"], "data.columns.label"),
        (["prepare", "--out", "new", "--data.documents", "line"], "data.documents"),
    ],
)
def test_the_command_line_refuses_and_writes_nothing(words, setting, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    assert main([*words, *(SMALL if words[0] == "train" else [])]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {setting}: expected ")
    assert len(error.splitlines()) == 1
    assert sorted(place.rglob("*")) == before


def test_a_refused_setting_is_refused_also_after_the_data_was_prepared(place, capsys, monkeypatch, tmp_path):
    (tmp_path / "a.csv").write_bytes((place / "a.csv").read_bytes())
    monkeypatch.chdir(tmp_path)
    words = ["train", "--data", "a.csv", *SENSORS, *SMALL]
    assert main(words) == 0
    before = sorted(tmp_path.rglob("*"))
    assert main([*words, "--data.documents", "line"]) == 2
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "words",
    [
        ["--data", "a.csv", *SENSORS, "--data.n_classes", "3", "--data.normalize", "false"],
        ["--data", "text", "--data.documents", "line", "--evaluation.prompt", "def", "--run.folder", "run"],
    ],
)
def test_a_second_run_with_the_same_settings_is_accepted(words, place, capsys, monkeypatch, tmp_path):
    (tmp_path / "a.csv").write_bytes((place / "a.csv").read_bytes())
    (tmp_path / "text").symlink_to(place / "text")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["train", *words, *SMALL]) == 0
    (config,) = [*Path().glob("runs/*/config.toml"), *Path().glob("run/config.toml")]
    folder = config.parent.as_posix()
    assert load_config(config).data.digest
    assert main(["train", "--config", str(config)]) == 0
    assert folder in capsys.readouterr().out
    assert len([*Path().glob("runs/*/config.toml"), *Path().glob("run/config.toml")]) == 1


@pytest.mark.parametrize(
    ("columns", "target"),
    [
        ({"features": "sqft,price", "values": "price"}, "values"),
        ({"features": "price", "labels": "price"}, "labels"),
        ({"features": "sqft,price", "label": "price", "id": "city"}, "label"),
    ],
)
@pytest.mark.parametrize("query", [False, True])
def test_a_column_is_not_feature_and_target_at_once(tmp_path, columns, target, query):
    file = tmp_path / "a.csv"
    file.write_text("sqft,price,city\n" + "".join(f"{n},{n % 3},c{n % 2}\n" for n in range(30)))
    train = f"sql:SELECT * FROM '{file}'" if query else str(file)
    expected = "data.columns.features: expected columns other than the targets, found 'price', which is in "
    expected += f"data.columns.{target} too; take it out of one of them"
    with pytest.raises(ConfigError) as refused:
        prepare(PrepareOptions(train=train, columns=columns), tmp_path / "out")
    assert str(refused.value) == expected


def test_a_pattern_and_a_table_of_labels_leave_the_target_out_of_the_features(tmp_path):
    file, table = tmp_path / "a.csv", tmp_path / "y.csv"
    file.write_text("id,x,price\n" + "".join(f"{n},{n},{n % 3}\n" for n in range(30)))
    table.write_text("id,price\n" + "".join(f"{n},{n % 5}\n" for n in range(30)))
    whole = {"id": "id", "features": "[xp]*", "values": "price"}
    made = prepare(PrepareOptions(train=str(file), columns=whole), tmp_path / "pattern")
    assert [column.name for column in made.contract.features] == ["x"]
    both = {"id": "id", "features": "x,price", "values": "price"}
    made = prepare(PrepareOptions(train=str(file), columns=both, labels=str(table)), tmp_path / "table")
    assert [column.name for column in made.contract.features] == ["x", "price"]
