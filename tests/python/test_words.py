"""Error messages: one line for wrong input, and no advice that names a setting or option that does not exist."""

import argparse
import ast
import io
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ssm_hpn
from ssm_hpn.cli.main import COMMANDS, main
from ssm_hpn.cli.parser import OBSERVERS, Parser, _train_source, _TrainSettings, parse_train
from ssm_hpn.config import parse
from ssm_hpn.config.base import names_of, paths_of
from ssm_hpn.config.load import walk
from ssm_hpn.errors import ConfigError, nearest_setting, shown
from ssm_hpn.printable import printable
from support import SMALL, text_data, train

PACKAGE = Path(ssm_hpn.__file__).parent
REPOSITORY = Path(__file__).parents[2]
SETTINGS = {name for name, _, _ in walk()}
SECTIONS = {name.rpartition(".")[0] for name in SETTINGS} | {"model.head.loss", "model.target", "model.input"}
KINDS = {f"{section}.kind" for section in SECTIONS}
DOTTED = re.compile(
    r"(?<![\w./-])(?:model|data|optim|train|evaluation|early_stopping|checkpoint|run)(?:\.[a-z_0-9]+)+(?![\w/-])"
)
STYLES = {"page.py", "drawing.py"}
"""Modules in which `--name` is a variable of a style sheet, not an option."""
OF_THE_CORE = {"model.head.loss.weight", "data.missing"}
"""Settings of the Rust crate and of estimators that the command line does not have."""
FILES = {"evaluation.json", "model.safetensors", "train.toml", "data.toml"}


# ---- settings and options in advice


def texts_of_python(file):
    """String constants of a module without docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documentation = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value


def texts_of_rust(file):
    """String literals of a module without comments and tests."""
    code = file.read_text(encoding="utf-8").split("#[cfg(test)]")[0]
    code = re.sub(r"(?m)//.*$", "", code)
    return re.findall(r'"((?:[^"\\]|\\.)*)"', code)


def messages():
    for file in sorted(PACKAGE.rglob("*.py")):
        yield from ((file, text) for text in texts_of_python(file))
    for file in sorted((REPOSITORY / "rust").rglob("src/**/*.rs")):
        if "target" not in file.parts and "tests" not in file.parts and file.name != "tests.rs":
            yield from ((file, text) for text in texts_of_rust(file))


def options_of_commands():
    """Every option of every command, as its parser has it."""
    found = {"--traceback", "--version", "--help", "--data", "--dry-run", "--config", "--resume", "--profile", "--more"}
    original = Parser.add_argument

    def record(parser, *names, **settings):
        found.update(name for name in names if name.startswith("--"))
        return original(parser, *names, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "add_argument", record)
        patch.setattr("sys.stdout", io.StringIO())
        _train_source.cache_clear()  # its parser was laid out where the worker has run `train` before
        for command in COMMANDS:
            main([command.name, "--help"])
    observers = {f"--{name.replace('_', '-')}" for name in OBSERVERS}
    return found | observers | {f"--{name}" for name in SETTINGS}


def names_no_setting(text):
    """The dotted names in a text that are neither a setting nor a section nor the beginning of one."""
    for name in DOTTED.findall(text):
        known = name in SETTINGS | SECTIONS | KINDS | FILES or any(one.startswith(f"{name}.") for one in SETTINGS)
        if not known and not any(one.startswith(name) for one in SETTINGS if name.endswith(("_", "beta"))):
            yield name


def test_no_message_names_a_setting_that_does_not_exist():
    assert list(names_no_setting("raise data.truncate, or data.length")) == ["data.truncate"]
    unknown = {(str(file), name) for file, text in messages() for name in names_no_setting(text)}
    examples = {"train.lr", "train.step", "train.device"}  # in examples of docstrings
    assert {one for one in unknown if one[1] not in examples | OF_THE_CORE} == set()


def shortened(text):
    """Full names of settings that a text shortens behind another one: `data.columns.text, .tokens or .features`."""
    for chain in re.findall(
        r"(?:--)?((?:data|model|train|optim)(?:\.[a-z_]+)+(?: \([^)]*\))?(?:(?:,| or| and) \.[a-z_]+)+)", text
    ):
        first, *others = re.findall(r"[a-z_]*\.[a-z_.]*[a-z_]", re.sub(r" \([^)]*\)", "", chain))
        yield from (first.rpartition(".")[0] + other for other in others)


def test_a_shortened_name_is_that_of_a_setting():
    assert list(shortened("--data.columns.text (a), .tokens or .feature")) == [
        "data.columns.tokens",
        "data.columns.feature",
    ]
    found = {(str(file), name) for file, text in messages() for name in shortened(text)}
    assert len(found) > 5
    assert {one for one in found if one[1] not in SETTINGS} == set()


PAGES = [*sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_names_a_setting_that_does_not_exist(page):
    assert set(names_no_setting(page.read_text(encoding="utf-8"))) == set()


def test_estimators_advise_arguments_that_they_have():
    """A message sets parameters of estimators, arguments of `fit`, or those of a package that is named before them."""
    pytest.importorskip("sklearn")
    from ssm_hpn import estimators

    known = {
        "values",
        "classes",
        "add_classes",
        *(name for one in estimators.__all__ for name in getattr(estimators, one)().get_params()),
    }
    others = {"columns": ".drop(columns=", "axis": ".argmax(axis=", "drop": ".reset_index(drop="}
    found = set()
    files = [PACKAGE / f"{name}.py" for name in ("arrays", "series", "series_forms", "texts")]
    files += (PACKAGE / "estimators").glob("*.py")
    for file in files:
        for text in texts_of_python(file):
            found |= {one for one in re.findall(r"\b([a-z_]+)=", text) if others.get(one, "\0") not in text}
            assert not DOTTED.findall(text), "settings of files are none of an estimator"
    assert found
    assert found <= known


def test_no_message_names_an_option_that_does_not_exist():
    known = options_of_commands() | {f"--{name}" for name in SECTIONS} | {"--data.OPTION", "--dry_run"}
    unknown = {
        (str(file), option)
        for file, text in messages()
        if file.name not in STYLES
        for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", text)
        if option not in known
    }
    assert unknown == set()


NOUNS = (
    "bytes|channels|classes|columns|documents|entries|epochs|features|files|ids|labels|layers|numbers|parameters|rows|"
    "runs|shards|steps|targets|time steps|token ids|tokens|updates|values"
)
PLURAL = re.compile(rf" (?:(?:more|different|held-out|other|missing|rarer) )?(?:{NOUNS})\b(?!/)")


def test_a_count_of_one_has_a_noun_in_the_singular():
    """Behind a value in a text stands no plural: `counted` writes both."""
    found = set()
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for one, other in itertools.pairwise(node.values) if isinstance(node, ast.JoinedStr) else ():
                constant = isinstance(one, ast.FormattedValue) and re.fullmatch("[A-Z_]+", ast.unparse(one.value))
                if isinstance(other, ast.Constant) and not isinstance(one, ast.Constant) and not constant:
                    found |= {(file.name, ast.unparse(node))} if PLURAL.match(other.value) else set()
    never_one = {"classes has one series", "classes has one document", "its ending is not one of"}
    assert [text for _, text in found if not any(one in text for one in never_one)] == []


def test_every_option_of_train_is_a_setting():
    assert set(_TrainSettings.model_fields) >= {"more", "resume", "config"}
    assert issubclass(Parser, argparse.ArgumentParser)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--train.lr", "1"], "did you mean --optim.lr?"),
        (["--train.device", "cpu"], "there is no `train.device`; settings are in docs/config.md"),
        (["--zzz", "1"], "there is no `zzz`; see train --help"),
        (["--train.batchsize", "1"], "did you mean --train.batch_size?"),
        (["--optim.steps", "1"], "did you mean --train.steps?"),
        (["--modle.d_model", "1"], "did you mean --model.d_model?"),
        (["--model.gpu", "true"], "there is no `model.gpu`"),
    ],
)
def test_a_suggestion_is_made_where_a_name_is_near(words, expected):
    with pytest.raises(ConfigError) as caught:
        parse_train(words, "train")
    assert expected in str(caught.value)
    section, _, key = words[0].removeprefix("--").rpartition(".")
    if section:
        with pytest.raises(ConfigError) as caught:
            parse({section: {key: 1}})
        in_a_file = "did you mean model?" if section == "modle" else expected.replace("--", "")
        assert in_a_file in str(caught.value)


def test_the_nearest_setting_is_in_the_same_section_first():
    names = ["train.steps", "optim.schedule.total", "checkpoint.every", "evaluation.every", "data.train"]
    assert nearest_setting("evaluation.evry", names) == "evaluation.every"
    assert nearest_setting("checkpoint.every", names) == "checkpoint.every"
    assert nearest_setting("epochs", names) is None


# ---- input of any bytes and characters


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"[train]\nsteps = " + b"9" * 5000, "TOML in UTF-8"),
        (b"x = " + b"[" * 3000 + b"]" * 3000, "nested too deeply"),
        ("[run]\nname = 'größe'".encode("latin-1"), "TOML in UTF-8"),
        (b'[data]\ntrain = "a\\u0000b"', "text without NUL"),
        (b"[train]\nsteps = 99999999999999999999", "train.steps: expected"),
        (b"[train]\nsteps = 1e400", "train.steps"),
        (b"\0\0\0", "TOML in UTF-8"),
        (b"train = 3", "name a setting in it"),
    ],
)
def test_a_config_file_of_any_bytes_is_refused_in_one_line(here, capsys, content, expected):
    (here / "c.toml").write_bytes(content)
    assert train("--config", "c.toml") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert len(line) < 2100
    assert "bug" not in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--train.steps", "9" * 5000], "train.steps"),
        (["--train.steps", "9223372036854775808"], "train.steps: expected less than"),
        (["--train.batch_size", "100000000"], "train.batch_size"),
        (["--optim.lr", "1e999"], "optim.lr"),
        (["--data", "a\0b"], "text without NUL"),
        (["--data", "a\udcffb"], "text without NUL"),
        (["--data.columns.features", "[" * 3000], "data.columns.features"),
        (["--data.columns.features", '["a", 3]'], "JSON list of texts"),
        (["--evaluation.prompt", "\udc80"], "text without NUL"),
        (["--run.name", "a/b"], "run.name"),
    ],
)
def test_an_argument_of_any_characters_is_refused_in_one_line(here, capsys, words, expected):
    text_data(here, documents=8)
    code = train("--data", "data", *SMALL, *words)
    assert code in (2, 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert "bug" not in line


def test_a_manifest_of_any_bytes_is_refused_in_one_line(here, capsys):
    data = text_data(here, documents=8)
    manifest = data.train / "manifest.json"
    whole = manifest.read_bytes()
    for content in (
        b"[" * 3000,
        b"\xff\xfe",
        b"9" * 5000,
        whole.replace(b'"rows"', b'"ro\\ud800ws"', 1),
        b"null",
        b"\0",
    ):
        manifest.write_bytes(content)
        assert train("--data", str(data.folder), *SMALL) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert "manifest.json" in line
        assert "bug" not in line


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("deep.jsonl", b'{"text": "a"}\n' + b"[" * 3000 + b"]" * 3000, []),
        ("digits.jsonl", b'{"text": "a", "label": ' + b"9" * 5000 + b"}\n", ["--data.columns.label", "label"]),
        ("half.jsonl", b'{"text": "a \\ud800 b"}\n' * 30, []),
        ("latin.csv", b"id,x,y\n" + b"".join(b"%d,1.5,gr\xfcn\n" % n for n in range(30)), None),
        ("one.csv", b"id,x,y\n" + b"".join(b"%d,1.5,a\n" % n for n in range(30)), None),
    ],
)
def test_a_file_of_any_bytes_is_refused_in_one_line(here, capsys, name, content, columns):
    (here / name).write_bytes(content)
    table = ["--data.columns.id", "id", "--data.columns.features", "x", "--data.columns.label", "y"]
    assert train("--data", name, *(table if columns is None else columns), *SMALL, "--train.steps", "1") in (2, 3)
    (line,) = capsys.readouterr().err.splitlines()
    assert "bug" not in line


@pytest.mark.skipif(os.name != "posix", reason="file names of any bytes")
def test_a_file_name_that_is_no_text_is_refused_in_one_line(here, capsys):
    (here / "texts").mkdir()
    (here / "texts" / "a.txt").write_text("hello\n" * 200)
    try:
        Path(os.fsdecode(os.fsencode(here) + b"/texts/\xff.txt")).write_text("hello\n" * 200)
    except OSError:
        pytest.skip("this file system takes no such name")
    code = train("--data", "texts", *SMALL, "--train.steps", "1")
    errors = capsys.readouterr().err
    assert "bug" not in errors
    assert code == 0 or (code == 3 and len(errors.splitlines()) == 1)


def test_a_long_value_is_cut_and_a_control_character_shown():
    assert shown(10**5000) == "a number of 5001 digits"
    assert shown("a\x1b") == "'a\\x1b'"
    assert len(shown("x" * 10_000)) == 60


# ---- lists


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b", ("a", "b")),
        (" a , b ,", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ('["a, b"]', ("a, b",)),
        ('"a, b",c', ("a, b", "c")),
        ("x", ("x",)),
        ("[", ("[",)),
        ('["größe"]', ("größe",)),
    ],
)
def test_a_list_is_written_the_same_way_everywhere(text, expected, here):
    assert names_of(text) == expected
    assert parse_train(["--data.columns.features", text], "train").config.data.columns.features == expected
    assert parse({"data": {"columns": {"features": text}}}).data.columns.features == expected
    (here / "c.toml").write_text(f"[data.columns]\nfeatures = {json.dumps(text)}\n", encoding="utf-8")
    assert parse_train(["--config", "c.toml"], "train").config.data.columns.features == expected
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr("ssm_hpn.prepare.prepare", lambda options, *_, **__: seen.append(options) or 1 / 0)
        assert main(["prepare", "a.csv", f"--data.columns.features={text}", "--out", "p"]) == 1
        assert seen[0].columns.features == expected


def test_a_path_with_a_comma_is_one_path_where_the_file_exists(here):
    (here / "a,b.txt").write_text("x")
    assert paths_of("a,b.txt") == ("a,b.txt",)
    assert paths_of("c,d.txt") == ("c", "d.txt")
    assert parse_train(["--data", "a,b.txt"], "train").config.data.train == ("a,b.txt",)
    assert parse_train(["--data.validation", '["c,d.txt"]'], "train").config.data.validation == ("c,d.txt",)


def test_a_column_with_a_comma_in_its_name_is_trained_on(here, capsys):
    lines = ['id,"x, in mm",label', *(f"{n},{n % 3}.5,{'ab'[n % 2]}" for n in range(40))]
    (here / "a.csv").write_text("\n".join(lines) + "\n")
    columns = ["--data.columns.id", "id", "--data.columns.features", '["x, in mm"]', "--data.columns.label", "label"]
    assert main(["prepare", "a.csv", *columns, "--out", "p"]) == 0
    short = ["--train.steps", "1", "--run.folder", "run", "--train.batch_size", "4"]
    assert train("--data", "p", *short, *columns, "--model.d_model", "8", "--model.n_layers", "1") == 0


# ---- output


def test_control_characters_are_shown_as_escapes():
    assert printable("a\x1b[2Jb\x00\x7f\x9b\r\u202e\ud800") == "a\\x1b[2Jb\\x00\\x7f\\x9b\\r\\u202e\\ud800"
    assert printable("größe\t数据\n\u200d👩\u00a0") == "größe\t数据\n\u200d👩\u00a0"


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-16"])
def test_an_output_encoding_without_the_characters_ends_no_run(here, encoding):
    text = "".join(f"Satz {n}: größer als 数据 \x1b[31m\n" for n in range(200))
    (here / "größe.txt").write_text(text, encoding="utf-8")
    words = ["--data", "größe.txt", *SMALL, "--train.steps", "2", "--evaluation.every", "1", "--run.folder", "run"]
    env = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run(
        [sys.executable, "-m", "ssm_hpn.train", *words, "--evaluation.prompt", "数 →"],
        capture_output=True,
        env=env,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert b"\x1b" not in done.stdout
    assert (here / "run" / "checkpoints" / "latest").is_file()
    report = (here / "run" / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", report)


def test_version_prints_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ssm-hpn {ssm_hpn.__version__}\n"


def test_a_refused_file_leaves_no_folder(here, capsys):
    (here / "bad.csv").write_text("a,b\n1\n")
    assert train("--data", "bad.csv", "--data.columns.features", "a") == 3
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (
            ["--run", "r"],
            "run: expected a section, found the plain value 'r'; name a setting in it, such as --run.folder",
        ),
        (["--model=mamba"], "model: expected a section, found the plain value 'mamba'"),
        (["--data.columns", "x"], "data.columns: expected a section, found the plain value 'x'"),
        (["--model.head", "[1]"], "model.head: expected a section, found the plain value '[1]'"),
        (["--optim", '{"lr": 1'], "optim: expected a section, found the plain value "),
        (["--train"], "train: expected a section, found no value"),
    ],
)
def test_a_plain_value_for_a_section_is_refused(words, found, capsys):
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {found}")
    assert error.count("\n") == 1
