"""`migrate` and `inspect --verify` on a run, checkpoints and prepared folders, whole and damaged."""

import json
import shutil
from pathlib import Path

import pytest

from damage import sign
from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.errors import StorageError
from ssm_hpn.metrics_schema import check_rows, upgrade_rows
from support import settings

GOLDEN = Path(__file__).parents[1] / "golden"
SHARDS = Path(__file__).parents[2] / "rust/core/tests/golden/shards-v1"


@pytest.fixture(scope="module")
def trained(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("migrate") / "run"
    Trainer(settings(text, folder)).fit()
    return folder


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "run")


def bytes_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_has_the_present_schema_stays_byte_for_byte(run, capsys):
    before = bytes_of(run)
    assert main(["migrate", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(list((run / "checkpoints").glob("step-*")))
    assert all(line.endswith(": schema 1, the present one") for line in lines)
    assert bytes_of(run) | {Path(".lock"): b""} == before | {Path(".lock"): b""}


@pytest.mark.parametrize("path", [GOLDEN / "checkpoint-v1/step-00000003", GOLDEN / "checkpoint-v1", SHARDS])
def test_golden_files_migrate_in_place_and_verify(path, tmp_path, capsys):
    copy = shutil.copytree(path, tmp_path / path.name)
    assert main(["migrate", str(copy)]) == 0
    assert "schema 1" in capsys.readouterr().out
    if path == SHARDS:  # its encoder is not one of a prepared folder
        return
    assert main(["inspect", "--verify", str(copy)]) == 0
    assert "1 part, 0 damaged" in capsys.readouterr().out


def test_rows_of_an_older_schema_are_rewritten_and_newer_ones_refused(tmp_path):
    file = tmp_path / "metrics.jsonl"
    shutil.copy(GOLDEN / "metrics-v1.jsonl", file)
    rows = check_rows(file)
    assert rows > 1
    chain = [lambda row: row | {"cores": None}, lambda row: {**row, "cores": 2}]
    assert upgrade_rows(file, chain=chain) == 1
    found = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(row["schema"], row["cores"]) for row in found] == [(3, 2)] * rows
    assert upgrade_rows(file, chain=chain) == 3
    with pytest.raises(StorageError, match=r"metrics\.jsonl:1: expected metrics of schema 1 or older, found 3"):
        check_rows(file)


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("x", "a row of metrics, found b'x"),
        ("[]", "a row of metrics"),
        ("{}", "a row of metrics"),
        ('{"schema": "1", "step": 0}', "a row of metrics"),
        ('{"schema": 2, "step": 0, "host": "of a later release"}', "schema 1 or older, found 2"),
        ('{"schema": 0}', "schema 1 or older, found 0"),
        ('{"step": 0}', "a row of metrics"),
        ('{"schema": 1, "step": 0, "more": 0}', r"the keys of row 1, found others \(more\)"),
        ("[" * 100_000, "a row of metrics"),
    ],
)
def test_lines_that_are_no_rows_are_named(line, match, tmp_path):
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"schema": 1, "step": 0}\n' + line + "\n")
    with pytest.raises(StorageError, match=rf"metrics\.jsonl:2: expected .*{match}") as raised:
        check_rows(file)
    assert "\n" not in str(raised.value)


def test_verify_goes_over_all_of_a_run_and_its_data(run, capsys):
    assert main(["inspect", "--verify", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"{len(lines) - 1} parts, 0 damaged"
    found = "\n".join(lines)
    for part in ("step-00000010", "metrics.jsonl", "config.toml", "train", "validation"):
        assert part in found


@pytest.mark.parametrize(
    ("name", "code"), [("checkpoints/step-00000012/model.safetensors", 4), ("metrics.jsonl", 6), ("config.toml", 2)]
)
def test_verify_names_what_is_damaged_and_looks_at_the_rest(name, code, run, capsys):
    file = run / name
    content = bytearray(file.read_bytes())
    content[0] ^= 0x80
    file.write_bytes(content)
    assert main(["inspect", "--verify", "--json", str(run)]) == code
    parts = json.loads(capsys.readouterr().out)
    assert [part["whole"] for part in parts].count(False) == 1
    (damaged,) = [part for part in parts if not part["whole"]]
    assert Path(name).name in damaged["found"] or damaged["part"] == Path(name).name
    assert len(parts) > 3 or name == "config.toml"


def test_verify_names_file_batch_and_offset_of_damaged_data(text, tmp_path, capsys):
    data = shutil.copytree(text.train.parent, tmp_path / "data")
    (shard,) = (data / "train").glob("*.arrow")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert main(["inspect", "--verify", str(data)]) == 3
    out = capsys.readouterr().out
    assert "2 parts, 1 damaged" in out
    assert "whole file: expected SHA-256" in out


@pytest.mark.parametrize("command", [["migrate"], ["inspect", "--verify"]])
def test_a_path_without_anything_is_refused(command, tmp_path, capsys):
    assert main([*command, str(tmp_path)]) == 4
    assert "expected a run, a checkpoint or a prepared folder" in capsys.readouterr().err


def test_a_signed_checkpoint_verifies(run):
    (newest,) = (run / "checkpoints").glob("step-00000012")
    (newest / "state.json").write_bytes((newest / "state.json").read_bytes() + b"\n")
    assert main(["inspect", "--verify", str(run)]) == 4
    sign(newest)
    assert main(["inspect", "--verify", str(run)]) == 0
