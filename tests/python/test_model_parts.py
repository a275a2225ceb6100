"""Stems, layers of several kinds and dropout through configuration, trainer and command line."""

import json
import re
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.config import Config, DataShape, core_model, parse, resolve, to_toml
from ssm_hpn.config.model import Head, ModelConfig
from ssm_hpn.errors import ConfigError
from ssm_hpn.parts import BLOCKS, HEADS

DOCS = Path(__file__).parents[2] / "docs"
SERIES = DataShape(n_features=3, n_classes=4, columns=frozenset({"label"}), longest_document=120)
TEXT = DataShape(vocab_size=50)
SMALL = {"d_model": 16, "input": {"kind": "features", "n_features": 3}, "target": {"kind": "sequence_class"}}
HEAD = {"kind": "linear", "n_outputs": 4}


def core(settings, data=SERIES):
    return json.loads(core_model(resolve(parse({"model": settings}), data).model))


def batch(seed=0, length=20):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, 8)
    return {"features": rng.normal(size=(8, length, 3)) + labels[:, None, None], "sequence_class": labels}


def trainer(**model):
    optim = {"lr": 1e-2, "schedule": {"kind": "constant", "warmup": 0}}
    train = {"seed": 3, "threads": 1}
    return Trainer({"model": SMALL | {"n_layers": 2, "head": HEAD} | model, "optim": optim, "train": train})


def test_stem_layers_and_dropout_appear_in_the_configuration_only_where_they_are_set():
    settings = core({})
    assert not {"stem", "layers", "dropout", "head_dropout"} & set(settings)
    new = [{"stem": {"kind": "patch"}}, {"layers": ["mlp"]}, {"dropout": 0.1}, {"head_dropout": 0.1}]
    digests = {parse({"model": model}).digest() for model in new}
    assert len(digests | {Config().digest()}) == 5
    # The JSON of the default configuration for the core
    assert "stem" not in json.loads(core_model(resolve(Config(), TEXT).model))


def test_layers_are_kinds_or_tables_and_are_repeated():
    layers = core({"layers": "mamba1, mlp", "n_layers": 6, "block": {"d_state": 4}})
    assert (layers["n_layers"], [block["kind"] for block in layers["layers"]]) == (6, ["mamba1", "mlp"])
    assert layers["layers"][0]["d_state"] == 4
    assert core({"layers": ["mlp", "mlp", {"kind": "mlp", "expand": 2}]})["n_layers"] == 3
    [both] = core({"layers": ["bidirectional"], "block": {"d_state": 4}})["layers"]
    assert both["block"]["d_state"] == 4
    config = resolve(parse({"model": {"layers": [{"kind": "mlp", "expand": 2}, "mamba1"], "dropout": 0.1}}), SERIES)
    assert parse(tomllib.loads(to_toml(config))) == config


def test_blocks_of_all_layers_are_counted_before_any_is_made():
    chain = {"kind": "sequential", "blocks": [{"kind": "mlp"}] * 15}
    nested = {"kind": "sequential", "blocks": [chain] * 15}
    assert len(core({"layers": [chain] * 4096})["layers"]) == 4096
    with pytest.raises(ConfigError, match=r"^model\.layers: expected at most 65536 blocks in .*, found 987136; lower"):
        core({"layers": [nested], "n_layers": 4096})


@pytest.mark.parametrize("kind", BLOCKS.values(), ids=lambda kind: kind.name)
def test_the_core_says_which_blocks_a_list_of_layers_may_name_alone(kind):
    if kind.alone:
        assert core({"layers": [kind.name]})["layers"][0]["kind"] == kind.name
    else:
        with pytest.raises(ConfigError, match=r"model\.layers"):
            core({"layers": [kind.name]})


def test_the_description_of_layers_names_every_block():
    described = ModelConfig.model_fields["layers"].description
    assert all(re.search(rf"\b{name}\b", described) for name in BLOCKS)


def test_every_head_of_the_core_has_a_section():
    sections = get_args(get_args(Head)[0])
    assert [get_args(section.model_fields["kind"].annotation)[0] for section in sections] == ["auto", *HEADS]


@pytest.mark.parametrize("kind", BLOCKS.values(), ids=lambda kind: kind.name)
def test_every_block_is_in_the_table_of_models_and_among_the_formulas(kind):
    assert f"\n| `{kind.name}` |" in (DOCS / "models.md").read_text(encoding="utf-8")
    formulas = (DOCS / "mathematics.md").read_text(encoding="utf-8").split("## 1.")[1].split("## 2.")[0]
    assert f"`{kind.name}`" in formulas


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"layers": ["mamba1", "mlp"], "n_layers": 3}, ["model.n_layers", "multiple of the 2 entries", "found 3"]),
        ({"layers": [{"kind": "mlp", "expand": 0}], "n_layers": 1}, ["model.layers.0.expand", "1 to 64"]),
        ({"layers": [{"kind": "mamba7"}], "n_layers": 1}, ["model.layers.0.kind", "mamba7"]),
        ({"layers": [{"expand": 2}], "n_layers": 1}, ["kind"]),
        ({"stem": {"kind": "conv", "kernel": 2, "stride": 3}}, ["model.stem.kernel", "from 3"]),
        ({"stem": {"kind": "patch"}, "target": {"kind": "token_class"}}, ["model.stem", "keeps the length"]),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_line(model, words):
    with pytest.raises(ConfigError) as caught:
        trainer(**model)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_dropout_is_at_least_0_and_below_1(rate):
    with pytest.raises(ConfigError, match=r"model\.dropout"):
        parse({"model": {"dropout": rate}})


def test_a_bidirectional_model_is_refused_for_the_next_token():
    model = {
        "input": {"kind": "tokens", "vocab_size": 9},
        "target": {"kind": "next_token"},
        "layers": ["bidirectional"],
    }
    with pytest.raises(ConfigError, match=r"model\.layers\.0\.kind: expected a causal block"):
        Trainer({"model": model | {"d_model": 8}})


@pytest.mark.parametrize(
    "model",
    [
        {"stem": {"kind": "conv", "kernel": 6, "stride": 4}},
        {"stem": {"kind": "patch", "size": 5}, "layers": ["bidirectional", "mlp"]},
        {"layers": [{"kind": "sequential", "blocks": [{"kind": "mamba1"}, {"kind": "mlp"}]}], "dropout": 0.1},
        {"dropout": 0.2, "head_dropout": 0.2, "activation_memory": "recompute"},
    ],
)
def test_every_part_learns_and_is_restored_to_the_same_bits(tmp_path, model):
    whole, first = trainer(**model), trainer(**model)
    losses = [whole.step(batch(seed)).loss for seed in range(30)]
    assert np.mean(losses[-3:]) < 0.7 * losses[0]
    for seed in range(15):
        first.step(batch(seed))
    saved = first.save(tmp_path / "step-00000015")
    second = Trainer.load(saved)
    assert second.config.model == first.config.model
    for seed in range(15, 30):
        second.step(batch(seed))
    assert second.session.digest() == whole.session.digest()
    assert second.predict({"features": batch()["features"]}).shape == (8, 4)
