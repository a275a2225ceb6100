"""Settings: defaults, TOML, merging, kinds, one-line errors, the digest, and sizes taken from the data."""

import datetime as dt
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssm_hpn._core import setting_bounds
from ssm_hpn.cli.main import main
from ssm_hpn.cli.parser import parse_train
from ssm_hpn.config import (
    Config,
    DataShape,
    core_loader,
    core_model,
    core_optim,
    load_config,
    merge,
    parse,
    resolve,
    to_toml,
)
from ssm_hpn.config.load import walk
from ssm_hpn.errors import ConfigError

BYTES = DataShape(vocab_size=256, digest="a" * 64)
SENSORS = DataShape(n_features=6, n_classes=4, columns=frozenset({"label"}), longest_document=120)


def complaint(settings, data=None):
    with pytest.raises(ConfigError) as caught:
        resolve(parse(settings), data) if data else parse(settings)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_every_setting_has_a_description_and_every_default_is_valid():
    for name, section, field in walk():
        assert section.model_fields[field].description, name
    assert parse({}) == Config()


def test_a_configuration_survives_its_toml():
    config = parse(
        {
            "model": {"head": {"loss": {"kind": "margin", "margin": 0.25}}, "d_model": 64},
            "optim": {"lr": 1e-4, "schedule": {"kind": "wsd", "decay": 7}},
            "data": {"train": ['odd "name"\t\\ ä.txt', "b"], "columns": {"features": "x, y"}},
            "evaluation": {"batches": "all", "prompt": "line\nbreak \x7f"},
            "early_stopping": {"patience": 3},
        }
    )
    assert parse(tomllib.loads(to_toml(config))) == config
    assert config.data.columns.features == ("x", "y")


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@given(TEXT, st.floats(allow_nan=False, allow_infinity=False, min_value=1e-300), st.integers(0, 2**62))
def test_any_text_and_number_survives_toml(text, lr, seed):
    config = parse({"data": {"columns": {"text": text}}, "optim": {"lr": lr}, "train": {"seed": seed}})
    assert parse(tomllib.loads(to_toml(config))) == config


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": {"d_modle": 3}}, ["model.d_modle", "unknown", "did you mean model.d_model?"]),
        ({"d_model": 3}, ["d_model", "did you mean model.d_model?"]),
        ({"model": {"d_model": "wide"}}, ["model.d_model", "whole number", "'wide'", "residual"]),
        ({"optim": {"lr": -1}}, ["optim.lr", "greater than 0", "-1"]),
        ({"optim": {"lr": float("nan")}}, ["optim.lr", "finite"]),
        ({"model": 3}, ["model", "a section", "3"]),
        ({"model": {"head": {"kind": "prototpye"}}}, ["model.head.kind", "'prototpye'", "did you mean prototype?"]),
        ({"model": {"head": {"loss": {"kind": "margin", "margin": 9}}}}, ["model.head.loss.margin:", "less than", "9"]),
        (
            {"model": {"head": {"kind": "prototype", "loss": {"kind": "cosine", "margin": 1}}}},
            ["model.head.loss.margin", "kind cosine", "model.head.loss.kind = margin"],
        ),
        (
            {"model": {"head": {"loss": {"kind": "softmax", "surgery": {"kind": "pcgrad"}}}}},
            ["model.head.loss.surgery", "kind softmax", "model.head.loss.kind = joint"],
        ),
        ({"train": {"steps": 0}}, ["train.steps", "greater than or equal to 1"]),
        ({"evaluation": {"batches": 0}}, ["evaluation.batches:", "greater than or equal to 1"]),
        ({"evaluation": {"batches": 2**64}}, ["evaluation.batches:", f"less than {2**63}", "all: the whole set"]),
        ({"evaluation": {"batches": "many"}}, ["evaluation.batches:", "whole number", "all: the whole set"]),
    ],
)
def test_a_wrong_setting_is_one_line(settings, words):
    text = complaint(settings)
    for word in words:
        assert word in text, text


PYDANTIC = re.compile(
    "Input should|should be a valid|valid (tuple|string|integer|number|boolean|dict|list|set)|String should|"
    "should have|instance of|unable to|Field required|not permitted|Value error|expected expected|[a-z]+_type|tuple|"
    "dictionary|keyword"
)
"""Words of pydantic, and of Python's types."""
STRANGE = [*("", "abc", "12,x", "1e5"), 3, -1, 1.5, 10**30, True, [1], ["a"], [[1.0]], [None], [{}], {}, {"a": 1}]
STRANGE += [dt.date(2026, 1, 1), dt.time(12), float("inf"), [True]]


def refusal(function, *arguments):
    """The text of the error with which a call is refused; empty where it is not."""
    try:
        function(*arguments)
    except ConfigError as error:
        return str(error)
    return ""


def nested(name, value):
    for part in reversed(name.split(".")):
        value = {part: value}
    return value


@pytest.mark.parametrize("name", sorted({name for name, _, _ in walk()}))
def test_a_value_of_another_type_is_refused_in_plain_words(name):
    refused = 0
    for value in STRANGE:
        text = refusal(parse, nested(name, value))
        if text:
            refused += 1
            assert name in text or text.startswith("model.target.scale: expected a mean and a deviation"), text
            assert PYDANTIC.search(text.partition(", found")[0]) is None, text
            assert "\n" not in text
    assert refused >= 3, "hardly any of these values is refused"
    for text in ("abc", "[1, 2"):
        assert PYDANTIC.search(refusal(parse_train, [f"--{name}", text], "train").partition(", found")[0]) is None


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"data": {"train": 3}}, "data.train: expected a list of texts, found 3"),
        ({"data": {"train": ["a", 3]}}, "data.train.1: expected a text, found 3"),
        ({"data": {"columns": {"text": 3}}}, "data.columns.text: expected a text, found 3"),
        (
            {"model": {"target": {"kind": "sequence_values", "scale": {"mean": "x"}}}},
            "scale.mean: expected a list of numbers",
        ),
        ({"model": {"layers": [3]}}, "model.layers.0: expected "),
        ({"model": {"layers": 3}}, "model.layers: expected a list of "),
        (
            {"model": {"layers": ["mlp"] * 4097}},
            "model.layers: expected at most 4096 blocks, and not 4097: there are no",
        ),
        ({"model": {"layers": ",".join(["mlp"] * 4097)}}, "model.layers: expected at most 4096 blocks, and not 4097"),
        ({"evaluation": {"batches": "many"}}, "evaluation.batches: expected a whole number or all, found 'many'"),
        ({"data": {"shuffle": "perhaps"}}, "data.shuffle: expected true or false, found 'perhaps'"),
        ({"data": {"delimiter": "ab"}}, "data.delimiter: expected a text of one character, found 'ab'"),
        ({"data": {"encoding": "klingon"}}, "data.encoding: expected an encoding, such as utf-8"),
        ({"data": {"format": "xml"}}, "data.format: expected auto | text | integers"),
        ({"train": {"steps": 1.5}}, "train.steps: expected a whole number, found 1.5"),
    ],
)
def test_what_a_setting_may_be_is_said_in_words(settings, expected):
    assert expected in complaint(settings)


def outside(bounds):
    """The numbers just outside the bounds of a setting."""
    step = 1 if all(isinstance(end, int) for end in bounds.values()) else 1e-6
    beyond = {"ge": -step, "gt": 0, "le": step, "lt": 0}
    return [end + beyond[kind] for kind, end in bounds.items()]


BOUNDED = {name: ends for name, ends in setting_bounds().items() if name in {known for known, _, _ in walk()}}


@pytest.mark.parametrize("name", BOUNDED)
def test_the_bounds_of_the_core_hold_where_settings_are_read(name):
    for value in outside(BOUNDED[name]):
        if (name, value) == ("optim.clip_norm", 0):
            continue  # 0 means no clipping here; the core takes null for that
        settings = value
        for part in reversed(name.split(".")):
            settings = {part: settings}
        assert complaint(settings).startswith(f"{name}: expected ")


def test_the_core_bounds_every_number_of_a_model_and_of_the_optimiser():
    assert "model.n_layers" in BOUNDED
    numbers = {
        name
        for name, section, field in walk()
        if name.startswith(("model.", "optim.")) and section.model_fields[field].annotation in (int, float)
    }
    assert numbers - set(BOUNDED) == set()


OF_DATA = ["data.length", "data.workers", "data.prefetch", "train.batch_size", "data.max_document", "data.shard_tokens"]


@pytest.mark.parametrize("name", OF_DATA)
def test_the_core_bounds_the_numbers_of_loader_and_writer(name, capsys):
    highest = BOUNDED[name]["le"]
    default = next(section.model_fields[field].default for known, section, field in walk() if known == name)
    assert default is None or BOUNDED[name]["ge"] <= default <= highest
    assert main(["train", "--dry-run", f"--{name}", str(highest + 1)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name}: expected less than or equal to {highest}, found '{highest + 1}'"), line


@pytest.mark.parametrize(("width", "rank"), [(128, 8), (100, 7)])
def test_the_core_resolves_the_open_settings_of_a_block(width, rank):
    config = resolve(parse({"model": {"d_model": width}}), BYTES)
    assert config.model.block.dt_rank == rank
    assert resolve(config, BYTES) == config


def test_contradictions_that_the_core_knows_are_found_when_a_configuration_is_resolved():
    settings = {"model": {"activation_memory": "auto"}}
    assert complaint(settings, BYTES).startswith("model.memory_limit_mb: expected ")
    settings = {"optim": {"lr": 20, "weight_decay": 0.1}}
    assert complaint(settings, BYTES).startswith("optim.weight_decay: expected ")


def test_without_a_kind_the_first_one_with_the_given_settings_is_taken():
    assert parse({"model": {"head": {"loss": {"kind": "cosine"}}}}).model.head.kind == "prototype"
    assert parse({"model": {"head": {"tied": True}}}).model.head.kind == "linear"
    assert parse({"model": {"head": {"loss": {"margin": 0.2}}}}).model.head.loss.kind == "margin"
    assert parse({"model": {"target": {"pooling": "max"}}}).model.target.kind == "auto"
    assert parse({"optim": {"schedule": {"decay": 3}}}).optim.schedule.kind == "wsd"
    assert parse({"optim": {"schedule": {"warmup": 3}}}).optim.schedule.kind == "cosine"


def test_merge_replaces_settings_and_a_new_kind_drops_those_of_the_old():
    below = {"a": 1, "s": {"kind": "x", "p": 1, "q": 2}}
    assert merge(below, {"s": {"p": 3}}) == {"a": 1, "s": {"kind": "x", "p": 3, "q": 2}}
    assert merge(below, {"s": {"kind": "y", "r": 3}}) == {"a": 1, "s": {"kind": "y", "r": 3}}
    assert below["s"]["p"] == 1


def test_errors_in_a_file_begin_with_its_name(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("[model]\nd_modle = 3\n")
    with pytest.raises(ConfigError, match=r"c\.toml: model\.d_modle"):
        load_config(file)
    file.write_text("[model\n")
    with pytest.raises(ConfigError, match="valid TOML"):
        load_config(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="valid TOML"):
        load_config(file)
    with pytest.raises(ConfigError, match="no such file"):
        load_config(tmp_path / "none.toml")


def test_the_digest_changes_with_settings_that_change_results_and_no_others():
    base = Config().digest()
    assert base == Config().digest()
    assert len(base) == 64
    for settings in (
        {"model": {"d_model": 64}},
        {"optim": {"lr": 1e-4}},
        {"train": {"seed": 1}},
        {"train": {"steps": 5}},
        {"evaluation": {"every": 5}},
        {"early_stopping": {"patience": 5}},
        {"data": {"digest": "b" * 64}},
        {"data": {"length": 64}},
    ):
        assert parse(settings).digest() != base, settings
    for settings in (
        {"train": {"threads": 2}},
        {"train": {"log_every": 1}},
        {"checkpoint": {"every": 1}},
        {"run": {"folder": "x", "name": "y"}},
        {"data": {"workers": 3, "prefetch": 9, "train": "elsewhere"}},
    ):
        assert parse(settings).digest() == base, settings


def test_open_sizes_are_taken_from_the_data():
    config = resolve(Config(), BYTES)
    model = config.model
    assert (model.input.kind, model.input.vocab_size) == ("tokens", 256)
    assert model.target.kind == "next_token"
    assert (model.head.kind, model.head.n_classes, model.head.loss.kind) == ("prototype", 256, "softmax")
    assert (config.data.length, config.data.packing, config.data.digest) == (256, "contiguous", "a" * 64)
    assert (config.optim.schedule.total, config.optim.schedule.warmup) == (config.train.steps, config.train.steps // 20)
    assert resolve(config, BYTES) == config, "nothing is open any more"
    assert "auto" not in core_model(model).replace('"prototypes":"auto"', "")

    config = resolve(parse({"model": {"target": {"pooling": "max"}}}), SENSORS)
    assert (config.model.input.n_features, config.model.target.kind, config.model.target.pooling) == (
        6,
        "sequence_class",
        "max",
    )
    assert (config.data.length, config.data.packing, config.model.head.n_classes) == (120, "best_fit", 4)

    config = resolve(Config(), DataShape(n_features=2, n_values=3, columns=frozenset({"values"})))
    assert (config.model.target.n_values, config.model.head.kind, config.model.head.loss) == (3, "linear", "squared")
    assert config.model.head.n_outputs == 3
    config = resolve(Config(), DataShape(vocab_size=9, n_classes=3, columns=frozenset({"tokens", "labels"})))
    assert config.model.target.kind == "token_class"
    config = resolve(parse({"model": {"input": {"kind": "hidden"}, "target": {"kind": "cotangent"}}}), None)
    assert config.model.head.kind == "none"


@pytest.mark.parametrize(
    ("settings", "data", "words"),
    [
        ({}, DataShape(), ["model.input.vocab_size", "no data"]),
        ({"model": {"input": {"n_features": 4}}}, SENSORS, ["model.input.n_features", "6", "4"]),
        ({"model": {"input": {"kind": "tokens"}}}, SENSORS, ["model.input.kind", "features"]),
        ({"model": {"head": {"n_classes": 3}}}, SENSORS, ["model.head.n_classes", "at least 4", "3"]),
        ({"optim": {"schedule": {"warmup": 3900}}}, BYTES, ["optim.schedule.warmup", "at most total = 3000", "3900"]),
        ({"data": {"digest": "c" * 64}}, BYTES, ["data.digest", "cccccccccccc", "aaaaaaaaaaaa"]),
    ],
)
def test_contradictions_with_the_data_are_refused(settings, data, words):
    text = complaint(settings, data)
    for word in words:
        assert word in text, text


def test_more_classes_and_ids_than_the_data_has_are_allowed():
    shape = DataShape(vocab_size=256, n_classes=4, columns=frozenset({"label"}))
    config = resolve(parse({"model": {"head": {"n_classes": 9}, "input": {"vocab_size": 300}}}), shape)
    assert (config.model.head.n_classes, config.model.input.vocab_size) == (9, 300)


def test_the_json_for_the_core():
    config = resolve(parse({"optim": {"clip_norm": 0}, "evaluation": {"batches": "all"}}), BYTES)
    assert '"clip_norm": null' in core_optim(config.optim)
    assert '"shuffle": true' in core_loader(config, "p")
    held_out = core_loader(config, "p", evaluation=True)
    assert '"shuffle": false' in held_out
    assert '"epochs": 1' in held_out
