"""README.md and docs/models.md: their Python and commands run on small data, their options and methods exist."""

import json
import re
import shlex
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.cli.parser import parse_train
from support import WORDS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODELS = (ROOT / "docs/models.md").read_text(encoding="utf-8")
CUT = {
    "--model.d_model": "16",
    "--train.steps": "4",
    "--train.batch_size": "4",
    "--train.threads": "1",
    "--data.length": "32",
    "--evaluation.batches": "2",
}
"""Small sizes that replace those of the page, so that a command takes about a second."""
RUN = "runs/NAME"
SWITCHES = {"--profile", "--dry-run"}
"""Options without a value."""
LONG = "(16, 128, 3)"
"""Shape of a batch of series on the page, replaced by a shorter one."""


def blocks(language, page=README):
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def spans(page=README):
    """The texts between single backticks, with line ends replaced by blanks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", page))]


def commands(page=README):
    """The words of every command of this package on a page, in order, without comments and the placeholder `COMMAND`.

    `…` stands for the rest of the options of the command that trains on the same data.
    """
    lines = [line for block in blocks("sh", page) for line in block.replace("\\\n", " ").splitlines()]
    lines = [line for line in [*lines, *spans(page)] if re.match(r"python -m ssm_hpn(?! COMMAND)", line)]
    found = [shlex.split(line, comments=True) for line in lines]
    found = [["train", *words[3:]] if words[2] == "ssm_hpn.train" else words[3:] for words in found]
    for words in found:
        if words[-1] == "…":
            whole = next(other for other in found if words[1] in other)
            words[-1:] = whole[whole.index(words[-2]) + 1 :]
    return found


def short(words, run):
    """A command with `run` for the placeholder of a run; `train` with the sizes of `CUT` and the name `run`."""
    words = [run if word == RUN else word for word in words]
    if words[0] != "train":
        return words
    kept = [word for before, word in zip(["", *words], words, strict=False) if word not in CUT and before not in CUT]
    return [*kept, *(part for pair in CUT.items() for part in pair), "--run.name", run]


def series_rows(n):
    """Lines of a table of series: machine, time, x, y, z, condition, hours."""
    rng = np.random.default_rng(0)
    for machine in range(n):
        for time in range(12):
            x, y, z = rng.normal(loc=machine % 2, size=3).round(3)
            yield f"m{machine},{time},{x},{y},{z},{'worn' if machine % 2 else 'new'},{90 - 40 * (machine % 2)}"


@pytest.fixture
def data(here):
    """The files that the commands of the page name."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(WORDS, 100)) for _ in range(30)]
    (here / "my_texts").mkdir()
    for number, text in enumerate(texts):
        (here / f"my_texts/{number:02d}.txt").write_text(text)
    lines = [json.dumps({"body": f"a text of some words, number {number}"}) + "\n" for number in range(60)]
    (here / "corpus.jsonl").write_text("".join(lines))
    for name, n in (("machines.csv", 40), ("new.csv", 3)):
        (here / name).write_text("\n".join(["machine,time,x,y,z,condition,hours", *series_rows(n)]) + "\n")
    return here


def run_in_order(page, folder, capsys):
    """Run the commands of a page in a folder; the names of those that ran, and what they printed."""
    run, done, printed = "", set(), ""
    for number, words in enumerate(commands(page)):
        name = f"run{number}" if words[0] == "train" else run
        code = main(short(words, name), prog="ssm-hpn")
        out = capsys.readouterr()
        assert code == 0, f"{words}: {out.err}"
        printed += out.out
        if words[0] == "train":
            run = next(map(str, folder.glob(f"runs/{name}-*")), run)  # --profile makes no run
        done.add(words[0])
    return done, printed


def test_the_commands_of_the_readme_run(data, capsys):
    done, _ = run_in_order(README, data, capsys)
    assert done == {"train", "generate", "evaluate", "predict", "inspect"}
    assert (data / "p.csv").read_text().startswith("machine,class,score,")


def test_the_commands_about_models_run(data, capsys):
    (settings,) = blocks("toml", MODELS)
    (data / re.match(r"# (\S+)", settings)[1]).write_text(settings)
    done, printed = run_in_order(MODELS, data, capsys)
    assert done == {"train", "predict"}
    answer = json.loads(printed.splitlines()[-1])
    assert set(answer["scores"]) == {"new", "worn"}
    assert set(answer["values"]) == {"hours"}
    configs = [file.read_text() for file in sorted(data.glob("runs/*/config.toml"))]
    for setting in ("mlp", "bidirectional", "sequential", "residual", "conv", "patch", "dropout = 0.1", "joint"):
        assert any(setting in config for config in configs), setting


def test_the_python_about_models_runs(here):
    (block,) = blocks("python", MODELS)
    names = {}
    exec(compile(block, "docs/models.md", "exec"), names)
    assert names["update"].applied
    assert names["answers"].shape == (8, 3)


def test_the_options_that_the_text_names_are_options_of_train(here):
    named = [shlex.split(span) for span in spans() if span.startswith("--")]
    assert len(named) > 8
    for file in ("labels.csv", "train.toml"):
        (here / file).touch()
    for option, *values in named:
        value = {"PATH": "labels.csv", "must|never|PATH": "must"}.get(*values[:1] or [""], " ".join(values))
        given = [option, value] if values else [option, *([] if option in SWITCHES else ["x"])]
        assert parse_train(["--data", "my_texts/", *given], "train").config.data.train


def test_the_methods_that_the_text_lists_exist():
    listed = {name for span in spans() for name in re.findall(r"^(?:Trainer)?\.(\w+)\(\)$", span)}
    assert len(listed) > 8
    assert {name for name in listed if not callable(getattr(Trainer, name, None))} == set()


def test_the_python_of_the_readme_runs(here):
    pandas = pytest.importorskip("pandas")
    estimators = pytest.importorskip("ssm_hpn.estimators")
    names = {}
    assert LONG in "".join(blocks("python"))
    for block in blocks("python"):
        exec(compile(block.replace(LONG, "(16, 12, 3)"), "README.md", "exec"), names)
    assert names["update"].accuracy > 0.9
    assert names["scores"].shape == (16, 5)
    assert names["model"].score(list(names["series"]), names["labels"]) > 0.9
    frame = pandas.DataFrame(
        {"machine": list("aabbccdd"), "time": [0, 1] * 4, "x": range(8), "condition": list("nnnnwwww")}
    )
    names |= {
        "frame": frame,
        "hours": np.arange(16.0),
        "lines": [f"line {n}" for n in range(16)],
        "SSMClassifier": partial(estimators.SSMClassifier, effort="fast"),
    }
    inline = [span for span in spans() if re.match(r"SSMClassifier\(|\.(fit|predict_values)\((?!\))", span)]
    assert len(inline) == 4
    for span in inline:
        exec(f"found = {'' if span.startswith('SSM') else 'model'}{span}", names)
        assert names["found"] is not None


def test_the_python_of_the_page_on_estimators_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pytest.importorskip("sklearn")
    pytest.importorskip("pandas")
    page, names = (ROOT / "docs/estimators.md").read_text(encoding="utf-8"), {}
    for block in blocks("python", page):
        exec(compile(block, "docs/estimators.md", "exec"), names)
    assert names["model"].score(names["series"], names["kind"]) == 1.0
    assert names["vectors"].shape == (40, 8)
    assert names["points"].shape == (40, 1)
    assert names["growing"].classes_.tolist() == ["calm", "odd", "wild"]
    assert (names["again"].predict(names["series"]) == names["growing"].predict(names["series"])).all()
