"""Whether features are fitted or a backbone is trained: by the data, and by the settings that are given."""

import tomllib

import pytest

from filter_runs import LONG, long_table, run, run_in, train
from ssm_hpn import Trainer
from ssm_hpn.config import Config, DataShape, load_config, parse, resolve, to_toml
from ssm_hpn.config.kinds import chosen_kind
from ssm_hpn.config.resolve import resolve_filters
from ssm_hpn.errors import ConfigError
from support import text_data

SERIES = DataShape(n_features=2, n_classes=3, columns=frozenset({"features", "label"}), digest="d" * 64)


def test_labelled_series_are_fitted_by_features_unless_a_setting_of_a_backbone_is_given():
    assert chosen_kind(Config(), "sequence_class", series=True) == ("features", None)
    for settings, name in (
        ({"train": {"steps": 3000}}, "train.steps"),
        ({"model": {"target": {"pooling": "max"}}}, "model.target.pooling"),
        ({"data": {"length": 64}}, "data.length"),
        ({"evaluation": {"metric": "accuracy"}}, "evaluation.metric"),
        ({"model": {"head": {"kind": "linear"}}}, "model.head.kind"),
        ({"optim": {"lr": 0.1}}, "optim.lr"),
        ({"checkpoint": {"keep": 3}}, "checkpoint.keep"),
    ):
        assert chosen_kind(parse(settings), "sequence_class", series=True) == ("backbone", name)
    for settings in (
        {"train": {"seed": 3, "threads": 2}},
        {"run": {"name": "a"}},
        {"data": {"missing": "zero", "split": "name"}},
        {"model": {"target": {"kind": "sequence_values"}, "filters": {"effort": "best"}}},
    ):
        assert chosen_kind(parse(settings), "sequence_values", series=True).kind == "features"


@pytest.mark.parametrize("target", ["next_token", "token_class", "cotangent"])
def test_features_need_series_with_a_target_each(target):
    assert chosen_kind(Config(), target, series=True) == ("backbone", None)
    asked = parse({"model": {"kind": "features"}})
    with pytest.raises(ConfigError, match=r"^model\.kind: expected backbone: .*; leave it out$"):
        chosen_kind(asked, target, series=True)
    with pytest.raises(ConfigError, match=r"found features for tokens with the target sequence_class"):
        chosen_kind(asked, "sequence_class", series=False)


def test_the_kind_leaves_the_digest_of_a_backbone_alone():
    resolved = resolve(Config(), SERIES)
    assert resolved.model.kind == "backbone"
    before = resolved.model_copy(update={"model": resolved.model.model_copy(update={"kind": "auto"})})
    assert before.digest() == resolved.digest()
    text = to_toml(resolved)
    assert tomllib.loads(text)["model"]["kind"] == "backbone"
    older = text.replace('kind = "backbone"\n', "", 1)  # as a version without the setting wrote it
    assert "filters" not in older
    again = parse(tomllib.loads(older))
    assert again.digest() == resolved.digest()
    assert chosen_kind(again, "sequence_class", series=True) == ("backbone", None)


def test_the_digest_of_features_has_their_settings_alone():
    config = resolve_filters(Config(), SERIES)
    more = {"optim": config.optim.model_copy(update={"lr": 1.0}), "run": config.run.model_copy(update={"name": "a"})}
    assert config.model_copy(update=more).digest() == config.digest() != resolve(Config(), SERIES).digest()
    assert parse(tomllib.loads(to_toml(config))).digest() == config.digest()
    for settings in ({"model": {"filters": {"causal": True}}}, {"train": {"seed": 1}}, {"data": {"missing": "zero"}}):
        assert resolve_filters(parse(settings), SERIES).digest() != config.digest()
    assert set(config.differences(resolve_filters(parse({"train": {"seed": 1}}), SERIES))) == {"train.seed"}


def test_a_trainer_trains_backbones():
    with pytest.raises(ConfigError, match=r"^model\.kind: expected backbone, .*found features; leave it out"):
        Trainer({"model": {"kind": "features"}})


def test_a_backbone_is_trained_where_one_of_its_settings_is_given_with_a_note(here, capsys):
    long_table(here / "long.csv")
    small = ("--train.steps", "2", "--model.d_model", "16", "--model.n_layers", "1", "--train.batch_size", "4")
    assert run("train", "--data", "long.csv", *LONG, "--data.columns.label", "label", *small) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "model.d_model is a setting of a backbone, so one is trained" in out
    assert load_config(run_in(here) / "config.toml").model.kind == "backbone"
    assert run("train", "--resume", run_in(here)) == 0
    assert "is a setting of a backbone" not in capsys.readouterr().out
    assert train("long.csv", *LONG, "--data.columns.label", "label") == 0
    runs = sorted(str(path) for path in (here / "runs").iterdir() if path.name != "data")
    assert run("compare", *runs) == 0
    out = capsys.readouterr().out
    assert "the losses do not compare" not in out
    results, _, settings = out.partition("settings that differ")
    updates, kinds = (
        sorted(line.split()[1] for line in table.splitlines() if line.strip().startswith("long-"))
        for table in (results, settings)
    )
    assert (updates, kinds) == (["2", "–"], ["backbone", "features"])
    assert "best, on all held-out data; features are fitted without updates" in out


def test_a_backbone_of_a_version_without_the_setting_goes_on(here, capsys):
    long_table(here / "long.csv")
    small = ("--train.steps", "2", "--model.d_model", "16", "--model.n_layers", "1", "--train.batch_size", "4")
    labelled = (*LONG, "--data.columns.label", "label")
    assert run("train", "--data", "long.csv", *labelled, *small, "--model.kind", "backbone") == 0
    file = run_in(here) / "config.toml"
    file.write_text(file.read_text().replace('kind = "backbone"\n', "", 1))
    assert run("train", "--resume", run_in(here), "--more", "1") == 0
    assert "finished after 3 updates" in capsys.readouterr().out


def test_text_with_labels_trains_a_backbone(here):
    with (here / "a.csv").open("w") as file:
        file.write("text,label\n" + "".join(f"{'good' if i % 2 else 'bad'} words {i},{i % 2}\n" for i in range(30)))
    small = ("--train.steps", "1", "--model.d_model", "16", "--model.n_layers", "1")
    assert run("train", "--data", "a.csv", "--data.columns.text", "text", "--data.columns.label", "label", *small) == 0
    assert load_config(run_in(here) / "config.toml").model.target.kind == "sequence_class"
    assert load_config(run_in(here) / "config.toml").model.kind == "backbone"


def test_text_data_gives_no_features(tmp_path):
    data = text_data(tmp_path)
    with pytest.raises(ConfigError, match=r"model\.kind"):
        chosen_kind(parse({"model": {"kind": "features"}}), "next_token", series=False)
    assert data.train.is_dir()
