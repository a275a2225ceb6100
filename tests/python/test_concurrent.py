"""A session called from several threads, and calls that a signal interrupts."""

import gc
import json
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ssm_hpn import Batch, Trainer
from ssm_hpn.dataset import next_tokens
from ssm_hpn.errors import CheckpointError, Error, ShapeError
from support import token_settings, tokens


@pytest.fixture
def trainer():
    return Trainer(token_settings())


def test_predictions_from_twenty_threads_are_those_of_one(trainer):
    batches = [{"tokens": tokens(seed=seed)} for seed in range(20)]

    def answers(batch):
        metrics = trainer.evaluate(batch).values
        return trainer.predict(batch), trainer.hidden(batch), metrics, trainer.generate([1, 2], 3, temperature=0)

    alone = [answers(batch) for batch in batches]
    with ThreadPoolExecutor(20) as pool:
        together = list(pool.map(answers, batches))
    for (scores, hidden, *rest), (expected_scores, expected_hidden, *expected) in zip(together, alone, strict=True):
        np.testing.assert_array_equal(scores, expected_scores)
        np.testing.assert_array_equal(hidden, expected_hidden)
        assert rest == expected


def test_a_first_prediction_may_come_from_several_threads(trainer):
    with ThreadPoolExecutor(8) as pool:
        sessions = list(pool.map(lambda _: trainer.session, range(8)))
    assert all(session is sessions[0] for session in sessions)


def test_training_goes_on_while_other_threads_predict(trainer):
    alone = Trainer(token_settings())
    for seed in range(10):
        alone.step({"tokens": tokens(seed=seed)})
    batch, done = {"tokens": tokens(seed=50)}, threading.Event()

    def predict(_):
        count = 0
        while not done.is_set() or not count:
            assert np.isfinite(trainer.predict(batch)).all()
            assert trainer.session.step <= 10
            count += 1
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = [pool.submit(predict, number) for number in range(4)]
        for seed in range(10):
            trainer.step({"tokens": tokens(seed=seed)})
        done.set()
        assert all(count.result() for count in counts)
    assert trainer.session.digest() == alone.session.digest()


def test_reads_of_one_stream_by_several_threads_take_turns(trainer):
    stream = trainer.stream(2)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: stream.step(np.full(2, 3, np.uint32)), range(16)))
    expected = trainer.stream(2)
    after = [expected.step(np.full(2, 3, np.uint32)) for _ in range(17)][-1]
    np.testing.assert_array_equal(stream.step(np.full(2, 3, np.uint32)), after)


@pytest.fixture
def no_collection():
    """No collection of garbage: tools of tests run Python code in it, in which a signal would be lost."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collection")
@pytest.mark.skipif(sys.platform == "win32", reason="a process cannot send itself Ctrl-C there")
def test_a_signal_drops_no_result_of_a_finished_call(trainer):
    """No Python code runs between the calls, so a lost result would be lost by the compiled module."""
    x = tokens(seed=1)
    batch = Batch(x, token_class=next_tokens(x))
    found = []

    def interrupt():
        while not found:
            time.sleep(1e-4)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        found.extend(map(trainer.session.evaluate, [batch] * 3000))
        sender.join()
        time.sleep(1)
    assert len(found) == 3000


class Interrupted:
    """A session whose `apply` is followed, or preceded, by Ctrl-C once."""

    def __init__(self, session, *, after):
        self._session, self._after, self._left = session, after, 1

    def __getattr__(self, name):
        return getattr(self._session, name)

    def apply(self):
        self._left -= 1
        if self._left < 0:
            return self._session.apply()
        if self._after:
            self._session.apply()
        raise KeyboardInterrupt


@pytest.mark.parametrize("after", [False, True])
def test_a_step_interrupted_at_apply_leaves_no_gradients_and_counts_an_applied_update(trainer, after):
    other = Trainer(token_settings())
    trainer._session = Interrupted(trainer.session, after=after)
    with pytest.raises(KeyboardInterrupt):
        trainer.step({"tokens": tokens()})
    if after:
        other.step({"tokens": tokens()})
    assert (trainer.tokens_seen, trainer.session.step) == (other.tokens_seen, other.session.step)
    for one in (trainer, other):
        assert one.step({"tokens": tokens(seed=1)}).applied
    assert trainer.tokens_seen == other.tokens_seen
    assert trainer.session.digest() == other.session.digest()


class InterruptedGradients:
    """A session whose first `forward_backward` is followed by Ctrl-C."""

    def __init__(self, session):
        self._session, self._left = session, 1

    def __getattr__(self, name):
        return getattr(self._session, name)

    def forward_backward(self, batch, **settings):
        report = self._session.forward_backward(batch, **settings)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return report


def test_a_step_interrupted_after_its_gradients_is_repeated_without_merging_both(trainer):
    other = Trainer(token_settings())
    trainer._session = InterruptedGradients(trainer.session)
    with pytest.raises(KeyboardInterrupt):
        trainer.step({"tokens": tokens()})
    repeated, alone = (one.step({"tokens": tokens()}) for one in (trainer, other))
    assert (repeated.count, repeated.tokens, trainer.tokens_seen) == (alone.count, alone.tokens, other.tokens_seen)
    assert trainer.session.digest() == other.session.digest()


def test_gradients_that_an_interrupted_call_added_are_counted_with_their_tokens(trainer):
    other = Trainer(token_settings())
    trainer._session = InterruptedGradients(trainer.session)
    with pytest.raises(KeyboardInterrupt):
        trainer.forward_backward({"tokens": tokens()})
    other.forward_backward({"tokens": tokens()})
    for one in (trainer, other):
        one.forward_backward({"tokens": tokens(seed=1)})
    update, expected = trainer.apply(), other.apply()
    assert (update.count, update.tokens, trainer.tokens_seen) == (expected.count, expected.tokens, other.tokens_seen)
    assert trainer.session.digest() == other.session.digest()


def test_a_step_adds_to_gradients_that_were_there_and_keeps_them_where_it_fails(trainer):
    other = Trainer(token_settings())
    for one in (trainer, other):
        one.forward_backward({"tokens": tokens()})
    with pytest.raises(ShapeError):
        trainer.step({"tokens": np.full((2, 4), 11)})
    for one in (trainer, other):
        one.apply()
    assert trainer.session.digest() == other.session.digest()


def test_an_interrupted_update_that_was_not_made_is_made_later_and_counted(trainer):
    other = Trainer(token_settings())
    for one in (trainer, other):
        one.forward_backward({"tokens": tokens()})
    trainer._session = Interrupted(trainer.session, after=False)
    with pytest.raises(KeyboardInterrupt):
        trainer.apply()
    update, expected = trainer.apply(), other.apply()
    assert (update.count, update.tokens, trainer.tokens_seen) == (expected.count, expected.tokens, other.tokens_seen)
    assert trainer.session.digest() == other.session.digest()


def state_of(trainer):
    """Everything of a trainer that restoring takes over."""
    progress = (trainer.session.step, trainer.tokens_seen, trainer.feed.cursor, trainer.feed.epoch)
    return (trainer.session.digest(), *progress, trainer.contract, trainer.config)


SAVED = {"schema": 1, "config": {}, "config_digest": "", "cursor": None, "epoch": 2.0, "tokens_seen": 7}


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"not": "a trainer's"}, "the state of a trainer"),
        ({key: value for key, value in SAVED.items() if key != "cursor"}, "without cursor"),
        (SAVED | {"contract": {"kind": 3, "colour": "red"}}, "the description of a data set"),
    ],
)
def test_a_restore_that_fails_leaves_the_trainer_as_it_was(trainer, saved, words, tmp_path):
    trainer.step({"tokens": tokens()})
    trainer.session.save(str(tmp_path), "foreign", json.dumps(saved))
    trainer.step({"tokens": tokens(seed=1)})
    trainer.forward_backward({"tokens": tokens(seed=2)})
    before = state_of(trainer)
    with pytest.raises(CheckpointError, match="expected a checkpoint"):
        trainer.restore(tmp_path / "missing")
    with pytest.raises(Error, match=words):
        trainer.restore(tmp_path / "foreign")
    assert state_of(trainer) == before
    assert (trainer.apply().tokens, trainer.session.step) == (30, 3)


def test_restoring_drops_gradients_that_wait_for_an_update(trainer, tmp_path):
    other = Trainer(token_settings())
    folder = other.save(tmp_path / "saved")
    trainer.forward_backward({"tokens": tokens()})
    trainer.restore(folder)
    update, expected = (one.step({"tokens": tokens(seed=1)}) for one in (trainer, other))
    assert (update.count, update.tokens, trainer.tokens_seen) == (expected.count, expected.tokens, other.tokens_seen)
    assert trainer.session.digest() == other.session.digest()
