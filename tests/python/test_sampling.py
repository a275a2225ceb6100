"""Continuations by top-p, several samples, prompts from files."""

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.cli.main import main
from ssm_hpn.errors import ConfigError
from ssm_hpn.sampling import nucleus
from support import SMALL, text_data, token_settings, train


@pytest.mark.parametrize("head", [{"kind": "linear"}, {"kind": "prototype"}])
def test_the_whole_nucleus_has_the_frequencies_of_the_softmax(head):
    trainer = Trainer(token_settings())
    if head["kind"] == "linear":
        settings = token_settings()
        settings["model"]["head"] = head
        trainer = Trainer(settings)
    scores = trainer.session.stream(1).prefill(np.array([[1, 2, 3]], np.uint32))[0].astype(np.float64)
    logits = scores * trainer._logit_scale()
    chances = np.exp(logits - logits.max())
    chances /= chances.sum()
    draws = [trainer.generate([1, 2, 3], 1, top_p=1.0, seed=seed)[0] for seed in range(600)]
    theirs = [trainer.generate([1, 2, 3], 1, seed=seed)[0] for seed in range(600)]
    for found in (draws, theirs):
        shares = np.bincount(found, minlength=len(chances)) / len(found)
        assert np.abs(shares - chances).max() < 0.06  # three deviations of the largest share


def test_top_p_draws_from_the_best_tokens_alone():
    trainer = Trainer(token_settings())
    scores = trainer.session.stream(1).prefill(np.array([[4]], np.uint32))[0]
    kept, chances = nucleus(scores * trainer._logit_scale(), top_p=0.3)
    assert 0 < len(kept) < len(scores)
    assert chances.sum() == pytest.approx(1)
    draws = {trainer.generate([4], 1, top_p=0.3, seed=seed)[0] for seed in range(200)}
    assert draws == set(kept.tolist())
    assert {trainer.generate([4], 1, top_p=1.0, top_k=1, seed=seed)[0] for seed in range(9)} == {int(scores.argmax())}
    assert trainer.generate([4], 5, top_p=0.5, temperature=0) == trainer.generate([4], 5, temperature=0)
    assert trainer.generate([4], 9, top_p=0.9, seed=3) == trainer.generate([4], 9, top_p=0.9, seed=3)
    for wrong in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(ConfigError, match="top_p: expected a probability above 0 and up to 1"):
            trainer.generate([4], 1, top_p=wrong)


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
    for more, said in (
        (["--prompt-file", "none.txt"], "none.txt"),
        (["--prompt-file", "bad.txt"], "text in UTF-8"),
        (["--prompt-file", "prompt.txt", "--prompt", "a"], "at most one prompt"),
        (["--samples", "0"], "--samples: expected a whole number from 1 on"),
        (["--prompt", "a", "--top-p", "2"], "top_p: expected a probability"),
    ):
        assert main([*words, *more]) in (2, 3, 6)
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
