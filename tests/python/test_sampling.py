"""Continuations by top-p, several samples, prompts from files."""

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.errors import ConfigError
from support import SMALL, text_data, token_settings, train


def logits(trainer, prompt):
    """Of a linear head, whose scores they are."""
    return trainer.session.stream(1).prefill(np.array([prompt], np.uint32))[0].astype(np.float64)


def linear():
    settings = token_settings()
    settings["model"]["head"] = {"kind": "linear"}
    return Trainer(settings)


def test_top_p_draws_from_the_smallest_set_of_best_tokens():
    trainer = linear()
    z = logits(trainer, [4])
    order = np.argsort(-z, kind="stable")
    chances = np.exp(z[order] - z.max())
    together = np.cumsum(chances / chances.sum())
    for count in (1, 2, len(z) // 2):
        top_p = float(together[count - 1]) - 1e-6
        draws = {trainer.generate([4], 1, top_p=top_p, seed=seed)[0] for seed in range(400)}
        assert draws == set(order[:count].tolist())


def test_all_probability_draws_what_no_limit_draws():
    trainer = Trainer(token_settings())
    for seed in range(9):
        assert trainer.generate([1, 2, 3], 9, top_p=1.0, seed=seed) == trainer.generate([1, 2, 3], 9, seed=seed)
    assert trainer.generate([4], 5, top_p=0.5, temperature=0) == trainer.generate([4], 5, temperature=0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("wrong", [0.0, -1.0, 1.5, float("nan")])
def test_a_probability_that_is_none_is_refused(wrong, temperature):
    with pytest.raises(ConfigError, match="top_p: expected a probability above 0 and up to 1"):
        Trainer(token_settings()).generate([4], 1, top_p=wrong, temperature=temperature)


def test_several_samples_and_a_prompt_from_a_file(here, capsys):
    data = text_data(here, documents=8)
    assert train("--data", str(data.folder), *SMALL, "--train.steps", "2", "--run.folder", "run") == 0
    (here / "prompt.txt").write_text("def self\n")
    (here / "bad.txt").write_bytes(b"\xff")
    capsys.readouterr()
    words = ["generate", "run", "--tokens", "6"]
    assert main([*words, "--prompt-file", "prompt.txt", "--samples", "3", "--seed", "5"]) == 0
    parts = capsys.readouterr().out.split("--- sample ")[1:]
    assert [part.split("\n", 1)[0] for part in parts] == ["0, seed 5", "1, seed 6", "2, seed 7"]
    assert main([*words, "--prompt", "def self", "--seed", "6"]) == 0
    assert capsys.readouterr().out == parts[1].split("\n", 1)[1]
    assert main([*words, "--prompt", "a", "--top-p", "0.9"]) == 0
    capsys.readouterr()
    assert main(["generate", "prompt.txt"]) in (3, 4)
    assert "found a file; name the folder of a run" in capsys.readouterr().err
    for more, said in (
        (["--prompt-file", "none.txt"], "none.txt"),
        (["--prompt-file", "bad.txt"], "text in UTF-8"),
        (["--prompt-file", "prompt.txt", "--prompt", "a"], "at most one prompt"),
        (["--samples", "0"], "--samples: expected a whole number from 1 on"),
        (["--prompt", "a", "--top-p", "2"], "top_p: expected a probability"),
        (["--prompt", "a", "--top-p", "2", "--temperature", "0"], "top_p: expected a probability"),
        (["--prompt", "a", "--temperature", "-1"], "temperature: expected a number from 0 on, found -1"),
        (["--prompt", "a", "--temperature", "nan"], "temperature: expected a number from 0 on, found NaN"),
    ):
        assert main([*words, *more]) in (2, 3, 6)
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
