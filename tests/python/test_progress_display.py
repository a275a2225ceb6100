"""The lines that `train` shows while it goes on: held-out metrics, accuracy, speed, where it resumed."""

import re
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from ssm_hpn import Trainer
from ssm_hpn.cadence import Progress
from ssm_hpn.callbacks import Event
from ssm_hpn.cli.progress import ProgressDisplay
from ssm_hpn.evaluation import Evaluation
from ssm_hpn.metrics import empty_totals, metrics_of
from ssm_hpn.update import Update
from support import SMALL, settings, text_data, train


@pytest.mark.parametrize(("lr", "best"), [("0.01", True), ("2", False)])
def test_only_an_evaluation_better_than_the_untrained_model_is_called_best(here, capsys, lr, best):
    data = text_data(here, documents=12)
    steps = ["--train.steps", "4", "--evaluation.every", "4", "--optim.lr", lr, "--model.head.kind", "linear"]
    assert train("--data", str(data.folder), *SMALL, *steps) == 0
    shown = capsys.readouterr().out
    values = [float(value) for value in re.findall(r"\[held out\] step \d  loss ([\d.]+)", shown)]
    assert (values[1] < values[0]) is best, shown
    assert ("(best so far)" in shown) is best
    assert "of the evaluations after training began, " in shown
    assert "over all held-out data; evaluations during training used 2 of its batches at most" in shown


def test_a_resumed_run_keeps_the_loss_of_the_untrained_model(text):
    console = Mock()
    display = ProgressDisplay(console)
    display.restore({"at_first": 1.0})
    display.restore(display.state())
    trainer = Trainer(settings(text))
    values = {metric.name: 2.0 for metric in metrics_of(trainer.config.model)}
    for loss, said in ((2.0, False), (0.5, True)):
        evaluation = Evaluation(4, values | {"loss": loss}, empty_totals(trainer.config.model))
        event = Event(trainer, Path(), trainer.progress(0.0), evaluation=evaluation, improved=True)
        display.evaluated(event)
        assert ("(best so far)" in console.print.call_args.args[0]) is said


def test_accuracy_is_the_mean_since_the_last_line(text, monkeypatch):
    clock = Mock(return_value=100.0)
    monkeypatch.setattr("ssm_hpn.cli.progress.time.monotonic", clock)
    trainer = Trainer(settings(text, train={"steps": 9}))
    console = Mock(is_terminal=False)
    display = ProgressDisplay(console)
    seen = [(1, None, 10), (2, 0.5, 10), (3, None, 10), (4, 0.1, 30), (5, None, 10), (6, 0.9, 10), (9, None, 10)]
    lines_after, said = {1: 6.0, 4: 6.0, 5: 6.0, 6: 6.0}, {}
    for step, accuracy, count in seen:
        clock.return_value += lines_after.get(step, 0.0)
        given = dict.fromkeys(("tokens", "lr", "grad_norm", "update_norm", "skipped", "data_seconds"), 1)
        update = Update(
            step=step,
            applied=True,
            loss=1.0,
            accuracy=accuracy,
            count=count,
            clipped=False,
            compute_seconds=1.0,
            **given,
        )
        progress = Progress(step, 0.0, 0.0)
        display.updated(Event(trainer, Path(), progress, update=update))
        if console.print.called:
            said[step] = re.findall(r"accuracy ([\d.]+)", console.print.call_args.args[0])
            console.print.reset_mock()
    assert said == {1: [], 4: ["0.200"], 5: ["0.200"], 6: ["0.900"], 9: ["0.900"]}


def test_the_speed_shown_leaves_out_evaluation(text):
    """Each update takes 0.1 s for 500 tokens, whatever the elapsed time; later ones take 0.2 s."""
    console = Mock(is_terminal=False)
    display = ProgressDisplay(console)
    trainer = Trainer(settings(text, train={"steps": 100}))
    display.started(Event(trainer, Path(), trainer.progress(0.0)))

    def shown(step, compute_seconds):
        update = Update(
            step=step,
            applied=True,
            loss=2.0,
            accuracy=None,
            count=500,
            tokens=500,
            lr=0.1,
            grad_norm=1.0,
            update_norm=0.1,
            clipped=False,
            skipped=0,
            data_seconds=0.04,
            compute_seconds=compute_seconds,
        )
        event = Event(trainer, Path(), Progress(step, 0.0, 0.0), update=update)
        display.updated(event)
        return int(re.search(r"([\d,]+) tokens/s", display._text(event)).group(1).replace(",", ""))

    assert shown(1, 0.06) == 5000
    assert shown(2, 0.06) == 5000
    display._began -= 1000.0  # an evaluation
    assert shown(3, 0.06) == 5000
    slower = [shown(step, 0.16) for step in range(4, 60)]
    assert slower == sorted(slower, reverse=True)
    assert 2500 < slower[0] < 5000
    assert slower[-1] == pytest.approx(2500, rel=0.01)


def test_the_update_resumed_from_is_printed_before_the_first_step(here, capsys, monkeypatch):
    monkeypatch.setattr("ssm_hpn.cli.train.summary", lambda *_: "")
    data = text_data(here, documents=12)
    words = ["--data", str(data.folder), *SMALL, "--checkpoint.every", "2"]
    assert train(*words, "--train.steps", "4", "--run.folder", "first") == 0
    shown = capsys.readouterr().out
    assert shown.index("training   4 updates") < shown.index("[held out] step 0")
    assert shown.count("training   ") == 1
    assert "going on" not in shown
    shutil.rmtree(here / "first" / "checkpoints" / "step-00000004")
    assert train(*words, "--train.steps", "4", "--run.folder", "first") == 0
    shown = capsys.readouterr().out
    said = shown.index("going on at update 2 of first, from step-00000002\n")
    assert shown.index("training   4 updates") < said < shown.index("step 4/4")
