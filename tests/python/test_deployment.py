"""docs/deployment.md: every block parses, and its commands, options and exit codes are those of the command line."""

import configparser
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

from ssm_hpn import errors
from ssm_hpn.cli.main import COMMANDS
from ssm_hpn.cli.parser import parse_train

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/deployment.md"
AGAIN = {7, 75}
"""Exit codes after which the same command is run again."""


def blocks(language):
    """The fenced blocks of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def codes():
    """The exit codes that the package has."""
    found = {errors.EXIT_DONE, errors.EXIT_INTERRUPTED, errors.EXIT_KILLED}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Error)]
    return found | {errors.exit_code(kind("x")) for kind in kinds if kind is not errors.Error}


def test_the_table_has_every_exit_code():
    table = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)}
    assert table == codes()


def test_the_image_runs_an_existing_command(here):
    (text,) = blocks("dockerfile")
    lines = dict(line.split(maxsplit=1) for line in text.splitlines())
    assert lines["ENTRYPOINT"] == '["python", "-m", "ssm_hpn.train"]'
    assert (ROOT / "python/ssm_hpn/train.py").is_file()
    version = lines["FROM"].partition("python:")[2].partition("-")[0]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert tuple(map(int, version.split("."))) >= tuple(map(int, project["requires-python"].strip(">=").split(".")))
    assert "dist/*.whl" in lines["COPY"]
    assert re.search(r"^wheel:.*\n\t.*--out dist$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    command = next(line for block in blocks("sh") for line in block.splitlines() if line.startswith("docker run"))
    words = shlex.split(command)
    assert f"{lines['WORKDIR']}/runs" in command
    request = parse_train(words[words.index("ssm-hpn") + 1 :], "train")
    mounts = [word.split(":")[1] for word in words if word.count(":") and word.startswith("$PWD")]
    assert any(request.config.data.train[0].startswith(f"{mount}/") for mount in mounts)


def test_the_job_mounts_the_paths_of_its_arguments(here, tmp_path):
    (text,) = blocks("yaml")
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert {mount["name"] for mount in mounts.values()} == {volume["name"] for volume in spec["volumes"]}
    (image,) = blocks("dockerfile")
    assert f"{re.search(r'WORKDIR (.+)', image)[1]}/runs" in mounts
    config = container["args"][container["args"].index("--config") + 1]
    assert str(Path(config).parent) in mounts
    (tmp_path / "train.toml").write_text("train.steps = 5\n")
    words = [str(tmp_path / "train.toml") if word == config else word for word in container["args"]]
    request = parse_train(words, "train")
    assert any(request.config.data.train[0].startswith(f"{path}/") for path in mounts)
    assert mounts["/data"]["readOnly"]
    rules = {rule["action"]: rule["onExitCodes"] for rule in job["spec"]["podFailurePolicy"]["rules"]}
    assert {rule["containerName"] for rule in rules.values()} == {container["name"]}
    assert set(rules["Ignore"]["values"]) == AGAIN
    assert set(rules["FailJob"]["values"]) <= codes() - AGAIN - {errors.EXIT_DONE}
    assert spec["restartPolicy"] == "Never"  # without it there is no podFailurePolicy
    assert spec["terminationGracePeriodSeconds"] >= 30


def test_the_unit_and_the_script_try_again_after_the_same_codes(here):
    (unit,) = blocks("ini")
    parser = configparser.ConfigParser(strict=True, interpolation=None)
    parser.optionxform = str
    parser.read_string(unit)
    service = parser["Service"]
    assert set(map(int, service["RestartForceExitStatus"].split())) == AGAIN
    assert "-m ssm_hpn.train --config" in service["ExecStart"]
    (script,) = blocks("bash")
    assert set(map(int, re.findall(r'"\$code" -eq (\d+)', script))) == AGAIN
    assert "-m ssm_hpn.train --config" in script


@pytest.mark.parametrize(
    "page", ["README.md", "docs/models.md", "docs/deployment.md", "docs/reproducibility.md", "MIGRATION.md"]
)
def test_every_command_named_on_a_page_exists(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:python -m ssm_hpn|`ssm-hpn) ([a-z][a-z-]+)\b", text))
    assert named - {"train"} <= {command.name for command in COMMANDS}
    targets = set(re.findall(r"(?:`|^)make ([a-z][a-z-]+)\b", text, re.MULTILINE))
    known = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert targets <= known


def commands(page):
    """The command lines of a page's blocks, without their comments, as words."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines())


def test_the_options_in_the_readme_are_known(here):
    lines = [words for words in commands("README.md") if words[:2] == ["python", "-m"]]
    trained = [words[3:] for words in lines if words[2] == "ssm_hpn.train"]
    others = [words[3:] for words in lines if words[2] == "ssm_hpn"]
    assert len(trained) >= 4
    assert len(others) >= 4
    for words in trained:
        assert parse_train(words, "train").config.data.train
    for name, *words in others:
        helped = {command.name: command for command in COMMANDS}[name]
        with pytest.raises((errors.Error, SystemExit)) as caught:  # the page's files do not exist here
            helped.load()(words, name)
        assert not isinstance(caught.value, errors.ConfigError) or "option" not in str(caught.value)
        assert "there is no `" not in str(caught.value)
