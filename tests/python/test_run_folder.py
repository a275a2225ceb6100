"""A run is used from its folder alone: copied, moved, read-only, beside other data, with a truncated file."""

import csv
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pa_parquet
import pytest

from ssm_hpn import Trainer
from ssm_hpn.checkpoints import find_checkpoint
from ssm_hpn.cli.main import main
from ssm_hpn.config import Config, load_config
from ssm_hpn.errors import CheckpointError, ConfigError, DataError, InUseError, exit_code
from ssm_hpn.run import Run, saved_config
from support import sensor_file, train

MODEL = ["--model.d_model", "8", "--model.n_layers", "1", "--train.threads", "1", "--train.batch_size", "8"]
COLUMNS = ["--data.columns.id", "id", "--data.columns.features", "a,b", "--data.columns.label", "label"]
SHORT = [*MODEL, "--evaluation.every", "100", "--train.steps", "12", "--optim.lr", "0.02"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run in `runs/`, with its prepared data in `runs/data` and the raw file beside it."""
    folder = tmp_path_factory.mktemp("trained")
    sensor_file(folder / "sensors.csv", documents=30)
    before = Path.cwd()
    os.chdir(folder)
    try:
        assert train("--data", "sensors.csv", *COLUMNS, *SHORT) == 0
    finally:
        os.chdir(before)
    (run,) = folder.glob("runs/sensors-*")
    return run


@pytest.fixture
def raw(trained):
    return trained.parents[1] / "sensors.csv"


def predicted(words, capsys):
    capsys.readouterr()
    assert main(["predict", *map(str, words)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def one_line(capsys):
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "bug" not in line
    return line


# ---- other folders


def test_a_copied_run_predicts_evaluates_and_reports_without_its_data(trained, raw, here, capsys):
    expected = predicted([trained, "--data", raw], capsys)
    assert {row["class"] for row in expected} <= {"fast", "medium", "slow"}
    shutil.copytree(trained, here / "copy")
    assert predicted(["copy", "--data", raw], capsys) == expected
    assert main(["report", "copy"]) == 0
    assert main(["evaluate", "copy", "--data", str(raw), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["targets"] == 30


def test_a_moved_run_finds_its_data_or_names_the_folder_searched(trained, here, capsys):
    assert main(["evaluate", str(trained), "--json"]) == 0
    expected = json.loads(capsys.readouterr().out)
    tree = here / "moved"
    shutil.copytree(trained.parents[1], tree)
    moved = tree / "runs" / trained.name
    (moved / "environment.json").unlink()  # it names the folder in which the run was started
    assert main(["evaluate", str(moved), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == expected
    shutil.rmtree(tree / "runs" / "data")
    (tree / "sensors.csv").unlink()
    assert main(["evaluate", str(moved)]) == 3
    line = one_line(capsys)
    assert str(tree / "runs/data") in line
    assert "bring it back, or give --data PATH" in line
    with pytest.raises(DataError, match="bring it back"):
        Trainer.load(moved).step()


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_a_read_only_run_predicts_and_evaluates(trained, raw, here, capsys):
    shutil.copytree(trained, here / "run")
    for path in [here / "run", *(here / "run").rglob("*")]:
        path.chmod(stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))
    try:
        assert len(predicted(["run", "--data", raw], capsys)) == 30
        assert main(["evaluate", "run", "--data", str(raw)]) == 0
    finally:
        for path in [here / "run", *(here / "run").rglob("*")]:
            path.chmod(stat.S_IRWXU)


def test_columns_come_from_the_run_where_it_was_trained_on_a_prepared_folder(raw, here, capsys):
    assert main(["prepare", str(raw), *COLUMNS, "--out", "prepared"]) == 0
    assert train("--data", "prepared", *SHORT, "--run.folder", "run") == 0
    rows = predicted(["run", "--data", raw], capsys)
    assert [row["id"] for row in rows] == list(range(30))


def test_other_data_under_the_path_of_the_training_data_is_refused(raw, here, capsys):
    assert main(["prepare", str(raw), *COLUMNS, "--out", "prepared"]) == 0
    assert train("--data", "prepared", *SHORT, "--run.folder", "run") == 0
    before = predicted(["run", "--data", raw], capsys)
    shutil.rmtree("prepared")
    text = raw.read_text().replace("slow", "ant").replace("fast", "bee")
    (here / "other.csv").write_text(text.replace("0.", "7."))
    assert main(["prepare", "other.csv", *COLUMNS, "--out", "prepared"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "run"]) == 3
    line = one_line(capsys)
    assert "other data, with the digest" in line
    assert predicted(["run", "--data", raw], capsys) == before  # by the contract in the checkpoint
    assert main(["predict", "run", "--data", "prepared/train"]) == 3
    assert "prepared/train: classes: expected" in one_line(capsys)
    assert main(["predict", "run", "--data", "prepared"]) == 3
    assert "prepared/train or prepared/validation" in one_line(capsys)


def test_shards_with_another_shift_are_refused(raw, here, trained, capsys):
    lines = raw.read_text().splitlines()
    (here / "half.csv").write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    assert main(["prepare", "half.csv", *COLUMNS, "--out", "half"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--data", "half/train"]) == 3
    assert "half/train: normalisation: expected the same" in one_line(capsys)


def test_a_loaded_trainer_has_its_class_names(trained, here):
    assert Trainer.load(trained).class_names == ["fast", "medium", "slow"]
    saved = Trainer.load(trained).save(here / "checkpoint")
    assert Trainer.load(saved).class_names == ["fast", "medium", "slow"]


def test_the_tokenizer_is_part_of_the_checkpoint(here, capsys):
    tokenizers = pytest.importorskip("tokenizers")
    words = {word: number for number, word in enumerate(["?", "a", "b", "c", "d"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save("tokenizer.json")
    (here / "t.txt").write_text("a b c d a b c d\n" * 60)
    words = ["--data", "t.txt", "--data.tokenizer", "tokenizer.json", *MODEL, "--train.steps", "3"]
    assert train(*words, "--data.length", "16", "--run.folder", "run") == 0
    shutil.move("run", "alone")
    shutil.rmtree("runs")
    (here / "tokenizer.json").unlink()
    capsys.readouterr()
    assert main(["generate", "alone", "--prompt", "a b", "--tokens", "2", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.startswith("a b")


# ---- names


@pytest.mark.parametrize(
    "name", ["größe.txt", "数据.txt", "Ａ ملف.txt", "हिन्दी.txt", "x" * 200 + ".txt", "gro\u0308ße.txt"]
)
def test_a_run_named_after_a_file_of_any_name_can_be_loaded_and_resumed(here, capsys, name):
    (here / name).write_text("the quick brown fox jumps over the lazy dog.\n" * 60)
    words = ["--data", name, *MODEL, "--train.steps", "2", "--data.length", "16"]
    assert train(*words) == 0
    (run,) = (path for path in here.glob("runs/*") if path.name != "data")
    assert len(run.name.encode()) < 200
    assert main(["generate", str(run), "--prompt", "the ", "--tokens", "3"]) == 0
    assert load_config(run / "config.toml").run.name == run.name.rpartition("-")[0]
    assert Trainer.load(run).session.step == 2
    capsys.readouterr()
    assert train(*words) == 0  # the same run
    assert "finished after 2 updates" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", ".hidden", "a\tb"])
def test_a_name_that_is_no_folder_is_refused(name):
    with pytest.raises(ConfigError, match=r"run\.name: expected"):
        Trainer({"run": {"name": name}, "model": {"input": {"kind": "tokens", "vocab_size": 4}, "d_model": 4}})


@pytest.mark.parametrize("command", ["generate", "predict", "evaluate", "report", "inspect", "compare"])
def test_a_folder_of_runs_names_the_runs(trained, capsys, command):
    words = ["--data", "x.csv"] if command == "predict" else []
    if command != "compare":  # which compares the runs of a folder
        assert main([command, str(trained.parent), *words]) in (2, 4)
        line = one_line(capsys)
        assert "a folder of 1 run; name one: " in line
        assert str(trained) in line
    assert main([command, str(trained)[:-2], *words]) in (2, 4)
    assert f"did you mean {trained}?" in one_line(capsys)


def test_compare_leaves_out_folders_that_are_no_run(trained, here, capsys):
    assert main(["compare", str(trained), str(trained.parent / "data"), "--out", "c.html"]) == 0
    shown = capsys.readouterr().out
    assert "data, which is no run" in shown
    assert trained.name in shown
    assert main(["compare", str(trained.parent / "data")]) == 2


# ---- files of predictions


def test_the_ending_decides_the_format_of_predictions(trained, raw, here, capsys):
    rows = predicted([trained, "--data", raw], capsys)
    for name in ("p.csv", "p.parquet", "p.jsonl"):
        assert main(["predict", str(trained), "--data", str(raw), "--out", name]) == 0
    assert [json.loads(line) for line in (here / "p.jsonl").read_text().splitlines()] == rows
    flat = [
        {key: r[key] for key in ("id", "class", "score", "confidence", "probability")}
        | {f"score {k}": v for k, v in r["scores"].items()}
        | {f"probability {k}": v for k, v in r["probabilities"].items()}
        for r in rows
    ]
    assert pa_parquet.read_table("p.parquet").to_pylist() == flat
    with (here / "p.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [{**row, "score": None} for row in found] == [
        {key: str(value) for key, value in row.items()} | {"score": None} for row in flat
    ]
    assert main(["predict", str(trained), "--data", str(raw), "--out", "p.xlsx"]) == 2
    assert "an ending of .jsonl, .ndjson, .csv, .parquet, found .xlsx" in one_line(capsys)
    assert sorted(path.name for path in here.iterdir()) == ["p.csv", "p.jsonl", "p.parquet"]


def test_ids_are_those_of_the_data_under_the_name_of_their_column(here, capsys):
    text = sensor_file(here / "s.csv", documents=20).read_text().replace("id,a", "machine,a")
    lines = text.splitlines()
    renamed = [lines[0], *(f"no.{line.partition(',')[0]}#ä,{line.partition(',')[2]}" for line in lines[1:])]
    (here / "a#b.csv").write_text("\n".join(renamed) + "\n")
    columns = ["--data.columns.id", "machine", *COLUMNS[2:]]
    assert train("--data", "a#b.csv", *columns, *SHORT, "--run.folder", "run") == 0
    rows = predicted(["run", "--data", "a#b.csv"], capsys)
    assert [row["machine"] for row in rows] == [f"no.{number}#ä" for number in range(20)]
    (prepared,) = here.glob("runs/data/*")
    of_shards = predicted(["run", "--data", prepared / "train"], capsys)
    assert {row["machine"] for row in of_shards} < {row["machine"] for row in rows}


def test_a_failed_prediction_keeps_the_earlier_file(trained, raw, here, capsys):
    (here / "p.csv").write_text("earlier")
    (here / "bad.csv").write_text(raw.read_text().replace("0.", "zero.", 1))
    assert main(["predict", str(trained), "--data", "bad.csv", "--out", "p.csv"]) == 3
    assert (here / "p.csv").read_text() == "earlier"
    assert sorted(path.name for path in here.iterdir()) == ["bad.csv", "p.csv"]


# ---- a table per class


def test_evaluate_shows_every_class_with_counts(trained, raw, capsys):
    assert main(["evaluate", str(trained), "--data", str(raw)]) == 0
    shown = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines() if line.strip()}
    assert rows["class"][:3] == ["targets", "predicted", "right"]
    assert [rows[name][0] for name in ("fast", "medium", "slow")] == ["10", "10", "10"]
    assert sum(int(rows[name][1]) for name in ("fast", "medium", "slow")) == 30
    right = sum(int(rows[name][2]) for name in ("fast", "medium", "slow"))
    assert rows["accuracy"] == [f"{right / 30:.3f}"]


def test_inspect_describes_the_data_of_a_run(trained, capsys):
    assert main(["inspect", str(trained)]) == 0
    shown = capsys.readouterr().out
    assert "target     label, 3 classes" in shown
    assert "column     a: feature" in shown


# ---- damaged and shared folders


@pytest.mark.parametrize("damage", [b"", b"[model]\nd_mod", b"\0" * 100, "cut"])
def test_a_truncated_config_is_restored_from_a_checkpoint(trained, here, capsys, damage):
    tree = here / "tree"
    shutil.copytree(trained.parents[1], tree)
    os.chdir(tree)
    file = tree / "runs" / trained.name / "config.toml"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 3] if damage == "cut" else damage)
    assert saved_config(file.parent).digest() == load_config(trained / "config.toml").digest()
    assert main(["report", str(file.parent)]) == 0
    assert "d_model = 8" in (file.parent / "report.html").read_text()
    words = ["--data", "sensors.csv", *COLUMNS, *SHORT]
    assert train(*words, "--more", "2") == 0
    assert load_config(file).digest() == load_config(trained / "config.toml").digest()


def test_a_truncated_config_without_a_checkpoint_is_replaced_and_another_file_kept(here):
    config = load_config_of(here)
    for text in ("", config_text(config)[:50]):
        (here / "run").mkdir(exist_ok=True)
        (here / "run" / "config.toml").write_text(text)
        Run(here / "run", config)
    (here / "run" / "config.toml").write_text("[not ours")
    with pytest.raises(ConfigError, match="cannot be read as such"):
        Run(here / "run", config)


def load_config_of(here):
    return Config.model_validate({"run": {"folder": str(here / "run")}})


def config_text(config):
    from ssm_hpn.config import to_toml

    return to_toml(config)


def test_a_folder_in_use_exits_7(trained, here, capsys):
    tree = here / "tree"
    shutil.copytree(trained.parents[1], tree)
    os.chdir(tree)
    run = tree / "runs" / trained.name
    code = f"from ssm_hpn._core import RunLock\nlock = RunLock({str(run)!r})\nprint('held', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        capsys.readouterr()
        assert train("--data", "sensors.csv", *COLUMNS, *SHORT, "--more", "1") == 7
        assert f"in use by process {holder.pid}" in one_line(capsys)
        holder.communicate("\n")
    assert exit_code(InUseError("")) == 7


# ---- more updates


def test_a_larger_number_of_steps_is_refused_with_the_option_that_continues(trained, here, capsys):
    tree = here / "tree"
    shutil.copytree(trained.parents[1], tree)
    os.chdir(tree)
    words = ["--data", "sensors.csv", *COLUMNS, *SHORT]
    longer = [*words, "--train.steps", "20"]
    capsys.readouterr()
    assert train(*longer) == 2
    line = one_line(capsys)
    assert f"runs/{trained.name} is the same but for the steps, 12 instead of 20" in line
    assert "--train.steps 12 --more 8" in line
    assert len(list(tree.glob("runs/sensors-*"))) == 1
    assert train(*words, "--more", "8") == 0
    shown = capsys.readouterr().out
    assert "going on at update 12" in shown
    assert "finished after 20 updates" in shown
    run = tree / "runs" / trained.name
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 10, 12, 20]
    assert Trainer.load(run).session.step == 20
    assert train(*words, "--more", "8") == 0  # the same command again
    assert "finished after 20 updates" in capsys.readouterr().out
    assert train(*longer, "--resume", "never") == 0
    assert len(list(tree.glob("runs/sensors-*"))) == 2


def test_more_updates_in_two_calls_have_the_bits_of_one_call(trained, here):
    digests = []
    for sittings in ([6], [2, 6]):
        tree = here / str(len(sittings))
        shutil.copytree(trained.parents[1], tree)
        os.chdir(tree)
        for more in sittings:
            assert train("--data", "sensors.csv", *COLUMNS, *SHORT, "--more", str(more)) == 0
        digests.append(Trainer.load(tree / "runs" / trained.name).session.digest())
    assert digests[0] == digests[1]


def test_more_that_is_reached_says_what_adds_to_it(trained, here, capsys):
    tree = here / "tree"
    shutil.copytree(trained.parents[1], tree)
    os.chdir(tree)
    words = ["--data", "sensors.csv", *COLUMNS, *SHORT]
    assert train(*words, "--more", "8") == 0
    assert "nothing to do" not in capsys.readouterr().out
    for command, more in ((words, 5), (["--resume", f"runs/{trained.name}"], 5), (words, 8)):
        assert train(*command, "--more", str(more)) == 0
        shown = capsys.readouterr().out
        advice = f"--more {8 + more} for {more} further ones"
        assert f"nothing to do: 20 updates are done, 12 + {more} were asked for; {advice}" in shown
        assert "finished after 20 updates" in shown
    assert train(*words) == 0
    assert "nothing to do" not in capsys.readouterr().out
    assert train(*words, "--more", "13") == 0
    assert "finished after 25 updates" in capsys.readouterr().out


def test_more_without_a_run_is_refused(raw, here, capsys):
    assert train("--data", str(raw), *COLUMNS, *SHORT, "--more", "5") == 4
    assert "--more: expected a run of these settings in runs/sensors-" in one_line(capsys)
    for value in ("0", "-1", "many", "9" * 5000):
        assert train("--data", str(raw), *COLUMNS, *SHORT, "--more", value) == 2
        assert "--more: expected a whole number" in one_line(capsys)


def test_more_continues_after_early_stopping(raw, here, capsys):
    stop = ["--early_stopping.patience", "1", "--early_stopping.min_change", "100", "--evaluation.every", "2"]
    words = ["--data", str(raw), *COLUMNS, *SHORT, *stop]
    assert train(*words) == 0
    assert "stopped early" in capsys.readouterr().out
    assert train(*words, "--more", "4") == 0
    assert "going on at update" in capsys.readouterr().out


def test_missing_checkpoints_folders_and_runs_have_different_errors(here):
    (here / "run").mkdir()
    (here / "run" / "metrics.jsonl").write_text("")
    with pytest.raises(CheckpointError, match="none in it yet"):
        find_checkpoint(here / "run")
    with pytest.raises(CheckpointError, match="no such file or folder"):
        find_checkpoint(here / "nowhere")
    (here / "empty").mkdir()
    with pytest.raises(CheckpointError, match="found no run in it"):
        find_checkpoint(here / "empty")


# ---- prepared folders are read with their digests checked


def test_a_flipped_bit_is_an_error_in_one_line_or_changes_no_number(trained, raw, here, capsys):
    (data,) = trained.parent.glob("data/sensors-*")
    shutil.copytree(data, here / "data")
    shard = here / "data" / "train" / "shard-00000.arrow"
    whole = shard.read_bytes()
    for command in ("evaluate", "predict"):
        assert main([command, str(trained), "--data", "data/train"]) == 0
    rng = np.random.default_rng(0)
    places = [0, 7, len(whole) - 1, *rng.integers(0, len(whole), 40).tolist()]
    capsys.readouterr()
    assert main(["predict", str(trained), "--data", "data/train"]) == 0
    expected = capsys.readouterr().out
    refused = 0
    for number, place in enumerate(places):
        content = bytearray(whole)
        content[place] ^= 1 << number % 8
        shard.write_bytes(content)
        code = main(["predict", str(trained), "--data", "data/train"])
        captured = capsys.readouterr()
        if code == 0:  # bytes that nothing is read from, such as those in front of the first record batch
            assert captured.out == expected
        else:
            assert code == 3
            (line,) = captured.err.splitlines()
            assert "shard-00000.arrow" in line
            refused += 1
    assert refused > 30
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        shard.write_bytes(whole[:size])
        assert main(["evaluate", str(trained), "--data", "data/train"]) == 3
        assert "shard-00000.arrow: size: expected" in one_line(capsys)


# ---- checkpoints whose state was made by something else


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"contract": {"kind": "audio"}}, "contract: expected the description of a data set, found the kind 'audio'"),
        ({"contract": 5}, "contract: expected the description of a data set, found "),
        ({"contract": {"kind": "features", "columns": 3}}, "contract: expected the description of a data set, found "),
        (
            {"contract": {"kind": "features", "colour": "red"}},
            "contract: expected the description of a data set, found",
        ),
        ({"config": {"optim": {"lr": "much"}}}, "config: expected settings, found what this release does not take"),
        ({"config": 3}, "expected the state of a trainer, found one with config 3"),
        ({"cursor": 3}, "expected the state of a trainer, found one with cursor 3"),
        ({"epoch": "one"}, "expected the state of a trainer, found one with epoch 'one'"),
        ({"tokens_seen": None}, "expected the state of a trainer, found one with tokens_seen None"),
    ],
)
def test_a_broken_state_advises_another_checkpoint(trained, raw, here, capsys, changes, expected):
    trainer = Trainer.load(trained)
    trainer.session.save(str(here), "broken", json.dumps(trainer.state() | {"extra": {}} | changes))
    for words in (["evaluate", "broken", "--data", str(raw)], ["predict", "broken", "--data", str(raw)]):
        assert main(words) == 4
        line = one_line(capsys)
        assert expected in line
        assert "broken" in line
        assert "load another checkpoint of the run, or copy this one again" in line
        assert "prepare" not in line
    if "config" not in changes:
        with pytest.raises(CheckpointError, match="load another checkpoint"):
            trainer.restore(here / "broken")


def test_changed_data_in_the_folder_of_a_run_is_named_as_such(raw, here, capsys):
    words = ["--data", "changed.csv", *COLUMNS, *SHORT, "--run.folder", "run"]
    text = raw.read_text()
    Path("changed.csv").write_text(text)
    assert train(*words) == 0
    Path("changed.csv").write_text(text.replace("0.", "7."))
    capsys.readouterr()
    assert train(*words) == 2
    line = one_line(capsys)
    assert "found another run (" in line
    assert "in run, of other data (digest " in line
    assert "; name the data and settings of that run, give another run.folder, or leave it out" in line
    assert train(*words[:-2], "--run.folder", "other") == 0


@pytest.mark.parametrize("more", [[], ["--more", "2"]])
def test_a_renamed_run_is_named_in_place_of_a_new_start(trained, here, capsys, more):
    tree = here / "tree"
    shutil.copytree(trained.parents[1], tree)
    os.chdir(tree)
    (tree / "runs" / trained.name).rename(tree / "runs" / "mine")
    words = ["--data", "sensors.csv", *COLUMNS, *SHORT]
    assert train(*words, *more) == 2
    line = one_line(capsys)
    assert f"expected the run of these settings in runs/{trained.name}, found one in runs/mine" in line
    assert "go on with that run by --resume runs/mine, or start anew by --resume never" in line
    assert train("--resume", "runs/mine", "--more", "2") == 0
    assert Trainer.load("runs/mine").session.step == 14
    assert train(*words, "--run.name", "other") == 0  # a run of another name is another one
    assert train(*words, "--run.folder", "own") == 0
    assert train(*words, "--resume", "never") == 0
    assert Trainer.load(f"runs/{trained.name}").session.step == 12


def test_the_digest_that_is_shown_is_the_one_of_the_run(trained, here, capsys):
    shutil.copytree(trained.parents[1], here / "tree")
    os.chdir(here / "tree")
    digest = load_config(trained / "config.toml").data.digest
    words = ["sensors.csv", *COLUMNS]
    assert main(["inspect", *words]) == 0
    assert f"digest     {digest}\n" in capsys.readouterr().out
    assert main(["prepare", *words, "--out", "p"]) == 0
    assert digest in capsys.readouterr().out
    assert train("--data", *words, *SHORT, "--dry-run") == 0
    assert f"digest {digest[:16]}, " in capsys.readouterr().out
