"""README.md: its Python runs, its commands run on small data, and what it names is there."""

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
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
CUT = {
    "--model.d_model": "16",
    "--model.n_layers": "1",
    "--train.steps": "4",
    "--train.batch_size": "4",
    "--train.threads": "1",
    "--data.length": "32",
    "--evaluation.batches": "2",
}
"""In place of the page's own sizes, so that a command takes a moment."""
RUN = "runs/NAME"
SWITCHES = {"--profile", "--dry-run"}
"""Options without a value."""
LONG = "(16, 128, 3)"
"""Shape of a batch of series on the page; shorter ones are learned as well, and faster."""


def blocks(language):
    """The fenced blocks of the page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def spans():
    """What stands between single backticks, line ends as blanks."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"(?ms)^```.*?^```", "", TEXT))]


def commands():
    """The words of every command of this package on the page, in its order, without comments and `COMMAND`.

    `…` stands for the rest of the options of the command that trains on the same data.
    """
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    lines = [line for line in [*lines, *spans()] if re.match(r"python -m ssm_hpn(?! COMMAND)", line)]
    found = [shlex.split(line, comments=True) for line in lines]
    found = [["train", *words[3:]] if words[2] == "ssm_hpn.train" else words[3:] for words in found]
    for words in found:
        if words[-1] == "…":
            whole = next(other for other in found if words[1] in other)
            words[-1:] = whole[whole.index(words[-2]) + 1 :]
    return found


def short(words, run):
    """A command with the sizes of `CUT` and the newest run; a training one with a run of its own."""
    words = [run if word == RUN else word for word in words]
    if words[0] != "train":
        return words
    kept = [word for before, word in zip(["", *words], words, strict=False) if word not in CUT and before not in CUT]
    return [*kept, *(part for pair in CUT.items() for part in pair), "--run.name", run]


def series_rows(n):
    """Lines of a table of series: machine, time, x, y, z, condition."""
    rng = np.random.default_rng(0)
    for machine in range(n):
        for time in range(12):
            x, y, z = rng.normal(loc=machine % 2, size=3).round(3)
            yield f"m{machine},{time},{x},{y},{z},{'worn' if machine % 2 else 'new'}"


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
        (here / name).write_text("\n".join(["machine,time,x,y,z,condition", *series_rows(n)]) + "\n")
    return here


def test_the_commands_run_in_the_order_of_the_page(data, capsys):
    run, done = "", set()
    for number, words in enumerate(commands()):
        name = f"run{number}" if words[0] == "train" else run
        code = main(short(words, name), prog="ssm-hpn")
        assert code == 0, f"{words}: {capsys.readouterr().err}"
        if words[0] == "train":
            run = next(map(str, data.glob(f"runs/{name}-*")), run)  # none with --profile
        done.add(words[0])
    assert done == {"train", "generate", "evaluate", "predict", "inspect"}
    assert (data / "p.csv").read_text().startswith("machine,class,score,")


def test_the_options_that_the_text_names_are_options_of_train(here):
    named = [shlex.split(span) for span in spans() if span.startswith("--")]
    assert len(named) > 8
    for file in ("labels.csv", "train.toml"):
        (here / file).touch()
    for option, *values in named:
        value = {"PATH": "labels.csv", "must|never|PATH": "must"}.get(*values[:1] or [""], " ".join(values))
        given = [option, value] if values else [option, *([] if option in SWITCHES else ["x"])]
        assert parse_train(["--data", "my_texts/", *given], "train").config.data.train


def test_what_the_text_lists_is_a_method():
    listed = {name for span in spans() for name in re.findall(r"^(?:Trainer)?\.(\w+)\(\)$", span)}
    assert len(listed) > 8
    assert {name for name in listed if not callable(getattr(Trainer, name, None))} == set()


def test_the_python_of_the_page_runs(here):
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
        {"machine": list("aaabbb"), "time": [0, 1, 2] * 2, "x": range(6), "condition": list("nnnwww")}
    )
    names |= {"frame": frame, "hours": np.arange(16.0), "SSMClassifier": partial(estimators.SSMClassifier, steps=2)}
    inline = [span for span in spans() if re.match(r"SSMClassifier\(|\.(fit|predict_values)\((?!\))", span)]
    assert len(inline) == 3
    for span in inline:
        exec(f"found = {'' if span.startswith('SSM') else 'model'}{span}", names)
        assert names["found"] is not None
