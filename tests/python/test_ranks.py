"""Ranks that are threads of this process train one model: the same bits, the same decisions, one record."""

import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from ssm_hpn import Callback, Trainer
from ssm_hpn.config import for_ranks, micro_batches, parse
from ssm_hpn.config.training import TrainConfig
from ssm_hpn.distributed import TIMEOUT, timeout_of
from ssm_hpn.errors import ConfigError, DataError, RankError, StorageError, exit_code
from ssm_hpn.ranks import Ranks
from ssm_hpn.run import same_but_virtual_ranks
from ssm_hpn.same_start import check_same_start
from support import SMALL, metric_rows, settings, train

PATIENCE = 30.0


class Threads(Ranks):
    """One of several ranks that are threads."""

    def __init__(self, rank, places, barrier):
        super().__init__()
        self.rank, self.size = rank, len(places)
        self._places, self._barrier = places, barrier
        self.callers = []
        """The threads that called `all_to_all`."""

    @classmethod
    def of(cls, size):
        places, barrier = [b""] * size, threading.Barrier(size, timeout=PATIENCE)
        return [cls(rank, places, barrier) for rank in range(size)]

    def _all(self, payload):
        self._places[self.rank] = bytes(payload)
        self._barrier.wait()
        found = list(self._places)
        self._barrier.wait()
        return found

    def all_to_all(self, send, cuts, receive):
        self.callers.append(threading.get_ident())
        start, end = cuts[self.rank], cuts[self.rank + 1]
        receive[:] = b"".join(one[start:end] for one in self._all(send))
        self.sent_bytes += len(send) - (end - start)

    def all_gather(self, buffer, cuts):
        found = self._all(buffer[cuts[self.rank] : cuts[self.rank + 1]])
        for part, (start, end) in zip(found, pairwise(cuts), strict=True):
            buffer[start:end] = part

    def leader_is_ready(self):
        self._barrier.wait()

    def wait_for_leader(self):
        self._barrier.wait()


def on_ranks(size, action):
    """Run `action(ranks)` on every rank; returns the results, or raises the first error of a rank."""
    with ThreadPoolExecutor(size) as pool:
        return [one.result() for one in [pool.submit(action, ranks) for ranks in Threads.of(size)]]


@pytest.fixture
def small(text, tmp_path):
    def made(name, **changes):
        loop = {"train": {}, **changes}
        loop["train"] = {"steps": 6, "batch_size": 4, "log_every": 1, "threads": 1, "virtual_ranks": 4} | loop["train"]
        return settings(text, tmp_path / name, **loop)

    return made


def fit(config, *, size, watch=None):
    """Train on ranks; returns their trainers, and the result of rank 0."""

    def of_rank(ranks):
        trainer = Trainer(config)
        trainer.share(ranks)
        return trainer, trainer.fit(callbacks=[] if watch is None else [watch])

    found = on_ranks(size, of_rank)
    return [trainer for trainer, _ in found], found[0][1]


def rows_of(folder):
    return [{k: v for k, v in row.items() if not k.startswith("perf/comm")} for row in metric_rows(folder)]


def files_of(folder, step):
    names = ("model.safetensors", "optimizer.safetensors")
    return [(folder / f"checkpoints/step-{step:08d}" / name).read_bytes() for name in names]


def test_ranks_end_in_the_bits_of_one_process_and_share_evaluation_moments_and_data(small, tmp_path):
    alone = Trainer(small("one"))
    alone.fit()
    trainers, result = fit(small("two"), size=2)
    assert result.step == 6
    assert {trainer.session.digest() for trainer in trainers} == {alone.session.digest()}
    assert rows_of(tmp_path / "two") == rows_of(tmp_path / "one"), "one record, by rank 0"
    assert files_of(tmp_path / "two", 6) == files_of(tmp_path / "one", 6), "whole tensors"
    assert result.evaluation.values == alone.evaluate().values
    assert any(trainer.ranks.sent_bytes > 0 for trainer in trainers)
    # One rank goes on from the checkpoint of two.
    for ranks, name in ((2, "two"), (1, "one")):
        again = Trainer(small(name))
        assert (again.fit(more=2).step, ranks) == (8, ranks)
    assert files_of(tmp_path / "two", 8) == files_of(tmp_path / "one", 8)


def batches_of(config, ranks, *, updates):
    """The training batches that a rank reads, the position after them, and the tokens that it counts."""
    trainer = Trainer(config)
    trainer.share(ranks)
    first = trainer.feed.peek().tokens.tobytes()
    read, following = [], trainer.feed.next

    def noted():
        batch = following()
        read.append(batch.tokens.tobytes())
        return batch

    trainer.feed.next = noted
    for _ in range(updates):
        trainer.step()
    return first, read, (trainer.feed.cursor, trainer.tokens_seen)


@pytest.mark.parametrize("data", [{}, {"packing": "best_fit"}, {"workers": 0, "window": 64}])
def test_each_batch_of_the_one_order_is_read_by_one_rank(small, data):
    config, updates = small("run", data=data), 3
    [(first, order, after)] = on_ranks(1, lambda ranks: batches_of(config, ranks, updates=updates))
    assert len(order) == 4 * updates
    assert order[0] == first
    for size in (2, 4):
        found = on_ranks(size, lambda ranks: batches_of(config, ranks, updates=updates))
        share = 4 // size
        by_update = [read[share * n : share * (n + 1)] for n in range(updates) for _, read, _ in found]
        assert [batch for some in by_update for batch in some] == order
        assert all(len(read) == share * updates for _, read, _ in found), "none reads the batches of others"
        assert all((one, there) == (first, after) for one, _, there in found), "all are at the same position"


def test_an_update_that_was_left_half_read_begins_again_at_the_position(small):
    trainer = Trainer(small("run"))
    trainer.feed.share(rank=1, ranks=2)
    trainer.feed.pass_over()
    trainer.feed.begin_update()
    there = trainer.feed.cursor
    assert [trainer.feed.pass_over() > 0 for _ in range(2)] == [True, True]
    whole = Trainer(small("run"))
    whole.feed.seek(there, 0.0)
    expected = [whole.feed.next().tokens.tobytes() for _ in range(4)][2:]
    assert [trainer.feed.next().tokens.tobytes() for _ in range(2)] == expected


def test_gradients_are_exchanged_during_the_backward_pass_where_another_thread_may_do_that(text, tmp_path):
    model = {"d_model": 256, "n_layers": 3, "block": {"d_state": 16}}
    train = {"virtual_ranks": 4, "batch_size": 4, "threads": 1}
    config = settings(text, tmp_path / "run", model=model, train=train, data={"length": 8})

    def of_rank(ranks, *, overlaps=True):
        ranks.overlaps = overlaps
        trainer = Trainer(config)
        trainer.share(ranks)
        updates = [trainer.step() for _ in range(2)]
        own = [caller == threading.get_ident() for caller in ranks.callers]
        return trainer.session.digest(), own, [update.comm_bytes for update in updates]

    [(alone, _, _)] = on_ranks(1, of_rank)
    overlapped = on_ranks(2, of_rank)
    after = on_ranks(2, lambda ranks: of_rank(ranks, overlaps=False))
    assert {digest for digest, *_ in overlapped + after} == {alone}
    for (_, own, counted), (_, own_after, counted_after) in zip(overlapped, after, strict=True):
        assert all(own_after)
        assert len(own) == len(own_after)
        half = len(own) // 2
        assert own[:half] == own[half:] == [False] * (half - 1) + [True], "but for the round of the lowest layer"
        assert counted == counted_after, "the bytes of an update, whoever sends them"
        assert all(count > 0 for count in counted)


class StopAt(Callback):
    def __init__(self, step):
        self.step = step

    def updated(self, event):
        if event.progress.step == self.step:
            event.trainer.request_stop()


def test_a_stop_asked_of_one_rank_ends_all_after_the_same_update_and_all_go_on(small, tmp_path):
    whole = Trainer(small("whole"))
    whole.fit()
    trainers, result = fit(small("run"), size=2, watch=StopAt(3))
    assert (result.reason, [trainer.session.step for trainer in trainers]) == ("interrupted", [4, 4])
    trainers, result = fit(small("run"), size=4)
    assert (result.reason, result.resumed_at) == ("finished", 4)
    assert files_of(tmp_path / "run", 6) == files_of(tmp_path / "whole", 6)


def test_where_rank_0_cannot_save_all_go_on_or_all_end(small, tmp_path, monkeypatch):
    save = Trainer.save_into
    whole = Trainer(small("whole"))
    whole.fit()

    def refused(self, root, name, *, extra):
        if self.ranks.leads and name.endswith("2"):
            (tmp_path / "run/checkpoints" / name).write_text("in the way")  # a file where a folder has to be
        save(self, root, name, extra=extra)

    monkeypatch.setattr(Trainer, "save_into", refused)
    often = {"every": 2, "on_save_error": "warn"}
    trainers, result = fit(small("run", checkpoint=often), size=2)
    assert (result.reason, result.step) == ("finished", 6)
    assert {trainer.session.digest() for trainer in trainers} == {whole.session.digest()}

    def end(ranks):
        trainer = Trainer(small("end", checkpoint={"every": 2}))
        trainer.share(ranks)
        with pytest.raises(StorageError):
            trainer.fit(resume="never")
        return exit_code(StorageError(""))

    monkeypatch.setattr(Trainer, "save_into", lambda *_, **__: (_ for _ in ()).throw(StorageError("no space")))
    assert on_ranks(2, end) == [6, 6]


def test_ranks_return_to_the_same_checkpoint_where_training_diverges(small, tmp_path):
    optim = {"max_skipped": 2, "lr": 4e-3, "schedule": {"kind": "constant", "warmup": 0}}
    changes = {"optim": optim, "checkpoint": {"every": 2}, "train": {"on_divergence": "rollback", "virtual_ranks": 2}}

    class Spoil(Trainer):
        """Has gradients that are not finite at updates 4 and 5, once, on every rank."""

        spoiled = 0

        def apply(self):
            if self.session.step == 4 and self.spoiled < 2:
                self.spoiled += 1
                with self.session.borrow_flat() as flat:
                    flat.gradients[0] = float("nan")
            return super().apply()

    def of_rank(ranks):
        trainer = Spoil(small("run", **changes))
        trainer.share(ranks)
        return trainer.fit(), trainer.session.digest()

    found = on_ranks(2, of_rank)
    assert [result.step for result, _ in found] == [6, 6]
    assert found[0][1] == found[1][1]
    assert [row["train/lr"] for row in metric_rows(tmp_path / "run")][-1] == pytest.approx(2e-3)


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"train": {"seed": 1}}, ConfigError, "settings"),
        ({"data": {"digest": "0" * 64}}, DataError, "data.digest"),
    ],
)
def test_a_rank_that_begins_otherwise_is_named_on_every_rank(small, change, error, word):
    def of_rank(ranks):
        trainer = Trainer(small("run"))
        if ranks.rank == 1:
            section, values = next(iter(change.items()))
            part = getattr(trainer.config, section).model_copy(update=values)
            trainer.config = trainer.config.model_copy(update={section: part})
        trainer.share(ranks)
        with pytest.raises(error, match=f"rank 1 on .*: {word}"):
            check_same_start(trainer)
        return True

    assert on_ranks(2, of_rank) == [True, True]


def test_the_number_of_virtual_ranks_is_chosen_and_checked(small, text, tmp_path):
    assert micro_batches(TrainConfig(batch_size=8, accumulate=3)) == (8, 3, 1)
    assert micro_batches(TrainConfig(batch_size=6, accumulate=2, virtual_ranks=4)) == (3, 4, 4)
    assert [for_ranks(TrainConfig(batch_size=rows), ranks=2).virtual_ranks for rows in (6, 8, 48)] == [2, 8, 8]
    with pytest.raises(ConfigError, match=r"train.virtual_ranks: expected a divisor of the 4 rows"):
        Trainer(small("run", train={"virtual_ranks": 8}))
    with pytest.raises(ConfigError, match=r"train.virtual_ranks: expected a multiple of the 8 ranks, found 4"):
        Trainer(small("run")).share(Threads.of(8)[0])
    with pytest.raises(ConfigError, match=r"data.packing: expected another one with 4 virtual ranks"):
        Trainer(small("run", data={"packing": "carried"}))
    one, four = (parse(settings(text, tmp_path / "a", train={"virtual_ranks": v})) for v in (1, 4))
    none = parse(settings(text, tmp_path / "a", train={"virtual_ranks": None}))
    assert one.digest() == none.digest() != four.digest()
    Trainer(small("run")).fit()
    other = Trainer(small("run", train={"virtual_ranks": 2})).config
    run, saved = same_but_virtual_ranks(other, among=[tmp_path / "run"])
    assert (run, saved.train.virtual_ranks) == (tmp_path / "run", 4)
    assert same_but_virtual_ranks(Trainer(small("run")).config, among=[run]) is None


SMALL_RUN = ("--evaluation.every", "99", "--train.steps", "2", "--train.log_every", "1")


@pytest.fixture
def launch(text, tmp_path, monkeypatch, capsys):
    """Train by the command line as rank 0 of several: what is refused, is refused before anything is exchanged."""
    monkeypatch.chdir(tmp_path)

    def launched(ranks, *words):
        several = Ranks()
        several.size = ranks
        monkeypatch.setattr("ssm_hpn.cli.train.mpi_ranks", lambda: several)
        data = ("--data.train", str(text.train), "--data.validation", str(text.validation))
        capsys.readouterr()
        try:
            code = train(*data, *SMALL, *SMALL_RUN, *words)
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().err

    return launched


@pytest.mark.parametrize("folder", [(), ("--run.folder", "run")])
def test_a_run_of_one_process_is_refused_on_several_ranks_with_the_number_to_give(launch, folder):
    assert launch(1, *folder)[0] == 0
    code, error = launch(2, *folder)
    assert (code, error.count("\n")) == (2, 1), error
    assert "train.virtual_ranks" in error
    assert "1 instead of 4" in error
    assert "--train.virtual_ranks 1, on 1 rank," in error, error


@pytest.mark.parametrize("folder", [(), ("--run.folder", "run")])
def test_a_run_of_several_ranks_is_refused_on_one_with_the_number_to_give(launch, folder):
    assert launch(1, "--train.virtual_ranks", "4", *folder)[0] == 0
    code, error = launch(1, *folder)
    assert (code, error.count("\n")) == (2, 1), error
    assert "4 instead of 1; go on by --train.virtual_ranks 4, on 4 ranks or fewer" in error, error
    # Taken as the line says.
    assert launch(1, "--train.virtual_ranks", "4", *folder)[0] == 0


def test_more_ranks_than_virtual_ranks_are_refused_also_where_a_run_goes_on(launch):
    code, error = launch(4, "--train.virtual_ranks", "2")
    assert (code, error.count("\n")) == (2, 1), error
    assert "train.virtual_ranks: expected a multiple of the 4 ranks, found 2; start 1, 2, 4, … ranks up to it" in error
    code, error = launch(2, "--train.virtual_ranks", "8")
    assert code == 2
    assert "train.virtual_ranks: expected a divisor of the 4 rows" in error
    assert launch(1, "--run.folder", "run")[0] == 0
    code, error = launch(2, "--resume", "run")
    assert (code, error.count("\n")) == (2, 1), error
    assert "train.virtual_ranks: expected a multiple of the 2 ranks, found 1" in error


def test_the_timeout_is_a_number_of_seconds():
    assert exit_code(RankError("")) == 6
    for text in ("0", "-1", "soon", "inf", "nan"):
        with pytest.raises(ConfigError, match=TIMEOUT):
            timeout_of(text)
