"""`Learner`: a model, its optimiser and its data, and everything that can be done with them except a whole run.

One update is `forward_backward` for each micro-batch, then `apply`; the bases have the rest. Nothing here needs a run
folder. The training loop and the callbacks are written against this class; `Trainer` in `trainer.py` adds `fit`, which
runs the loop.
"""

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from ssm_hpn._core import Batch
from ssm_hpn.answering import Answering
from ssm_hpn.cadence import Progress
from ssm_hpn.checkpointed import Checkpointed
from ssm_hpn.config import micro_batches
from ssm_hpn.dataset import Arrays, as_batch
from ssm_hpn.errors import LockedError, ShapeError
from ssm_hpn.growing import Growing
from ssm_hpn.update import Pending, Update

if TYPE_CHECKING:
    from ssm_hpn._core import StepReport


class Learner(Answering, Growing, Checkpointed):
    """One model in training or use. Make one as a `Trainer`, which describes the parameters.

    >>> import numpy as np
    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    >>> learner = Trainer({"model": model | {"n_layers": 1}, "train": {"threads": 1}})
    >>> batch = {"tokens": np.arange(32).reshape(2, 16) % 8}
    >>> learner.hidden(batch).shape
    (2, 16, 16)
    >>> scores, features = learner.predict_with_features(batch)
    >>> scores.shape, features.shape
    ((2, 16, 8), (2, 16, 16))

    Points on the sphere of the prototypes:

    >>> points, prototypes = learner.embed(batch), learner.parameter("head.prototypes")
    >>> bool(np.allclose(points @ prototypes.T, learner.predict(batch), atol=1e-6))
    True

    Gradients by name, one update from them, and where it leaves training:

    >>> report = learner.forward_backward(batch)
    >>> weight = "backbone.norm_f.weight"
    >>> learner.gradient(weight).shape, learner.parameter(weight).shape
    ((16,), (16,))
    >>> update = learner.apply()
    >>> learner.progress(seconds=1.5)
    Progress(step=1, epoch=0.0, seconds=1.5)

    All parameters, as copies by name or as one flat array:

    >>> learner.load_tensors(learner.parameters())
    >>> with learner.borrow_flat() as flat:
    ...     flat.parameters.size == flat.gradients.size
    True

    Token by token, in constant memory:

    >>> learner.stream(rows=2).step(np.array([1, 2], np.uint32)).shape
    (2, 8)

    A new layer, which changes no output yet, and everything else frozen:

    >>> learner.expand("append", count=1)
    [1]
    >>> any(name.startswith("layers.1.") for name in learner.freeze(first=1, embedding=True))
    False

    Checkpoints:

    >>> learner.save_into("checkpoints", "one", extra={"note": "a"})
    >>> state, notes = learner.restore("checkpoints/one")
    >>> state["extra"], learner.state()["tokens_seen"]
    ({'note': 'a'}, 32)
    """

    def step(self, batch: Batch | Arrays | None = None, *, accuracy: bool = False) -> Update:
        """One update: from the given batch, or from the next batches of the training data, `train.accumulate` of them.

        A batch is a `Batch` or numpy arrays by name, see `dataset.as_batch`. A step that fails or is interrupted
        leaves no gradients behind: the next one starts from none.
        """
        began_without = self._pending == Pending()
        try:
            if batch is not None:
                self.forward_backward(batch, accuracy=accuracy)
            else:
                self._micro_batches(accuracy=accuracy)
            return self.apply()
        except BaseException:
            if began_without:
                with suppress(LockedError):  # the buffers are lent, and nothing was added to them
                    self.zero_grad()
            raise

    def _micro_batches(self, *, accuracy: bool) -> None:
        """Read the micro-batches of an update that are this rank's, and add their gradients."""
        plan, own = micro_batches(self.config.train), 0
        self.feed.begin_update()
        for number in range(plan.number):
            started = time.perf_counter()
            if not self.feed.reads(number):
                self._pending.tokens += self.feed.pass_over()
                self._pending.data_seconds += time.perf_counter() - started
                continue
            batch = self.feed.next()
            self._pending.data_seconds += time.perf_counter() - started
            if own > 0 and number % plan.per_virtual_rank == 0:
                self.session.next_virtual_rank()
            own += 1
            is_last = number + 1 == plan.number or not self.feed.reads(number + 1)
            if is_last and self.ranks.overlaps:
                self.session.last_micro_batch()
            self.session.number_next_micro_batch(number)
            self._add(batch, accuracy=accuracy, carried=self.feed.carries)

    def forward_backward(self, batch: Batch | Arrays, *, accuracy: bool = False) -> "StepReport":
        """Add the gradients of one micro-batch; the parameters stay. `loss` in the report is the mean over targets.

        A signal may come after they were added: then they stay, as `apply` counts them, until `zero_grad`.
        """
        return self._add(as_batch(batch, self.config.model), accuracy=accuracy)

    def _add(self, micro: Batch, *, accuracy: bool, carried: bool = False) -> "StepReport":
        """Add the gradients of one micro-batch, which goes on from the states of the one before it or not."""
        started, pending, sent = time.perf_counter(), self._pending, self.ranks.sent_bytes
        add = self.session.forward_backward_carried if carried else self.session.forward_backward
        try:
            report = add(micro, accuracy=accuracy)
        except BaseException:
            with suppress(LockedError, ShapeError), self.session.borrow_flat() as flat:
                pending.tokens += micro.n_tokens if flat.count > pending.count else 0
                pending.count = flat.count
            raise
        pending.compute_seconds += time.perf_counter() - started
        pending.comm_seconds += self.session.waited_for_ranks
        pending.comm_bytes += self.ranks.sent_bytes - sent
        pending.count += report["count"]
        pending.scored += report["scored"]
        pending.correct += report["correct"]
        pending.tokens += micro.n_tokens
        return report

    def apply(self) -> Update:
        """Update the parameters from the gradients added so far: guard, clip, AdamW.

        Raises `DivergedError` after `optim.max_skipped` updates in a row that were not finite.
        """
        pending, self._pending = self._pending, Pending()
        started, before = time.perf_counter(), self._updates()
        spent, sent = self.ranks.seconds, self.ranks.sent_bytes
        try:
            report = self.session.apply()
        except BaseException:  # a signal may come after the update as well as before it
            if self._updates() == before:
                self._pending = pending
            else:
                self.tokens_seen += pending.tokens
            raise
        self.tokens_seen += pending.tokens
        self.temperature = self.density = None
        return Update(
            step=report["step"],
            applied=report["applied"],
            loss=report["loss"],
            accuracy=report["correct"] / report["scored"] if report["scored"] else None,
            count=report["count"],
            tokens=pending.tokens,
            lr=report["lr"],
            grad_norm=report["grad_norm"],
            update_norm=report["update_norm"],
            clipped=report["clipped"],
            skipped=self.session.skipped,
            data_seconds=pending.data_seconds,
            compute_seconds=pending.compute_seconds + time.perf_counter() - started,
            comm_seconds=pending.comm_seconds + self.ranks.seconds - spent,
            comm_bytes=pending.comm_bytes + self.ranks.sent_bytes - sent,
        )

    def _updates(self) -> int:
        return self.session.step + self.session.skipped

    def zero_grad(self) -> None:
        """Set the gradients added so far to zero."""
        self._pending = Pending()
        self.session.zero_grad()

    def request_stop(self) -> None:
        """Ask the running `fit`, or the next one, to save and return after an update; safe in a signal handler.

        >>> from ssm_hpn import Trainer
        >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}}
        >>> trainer = Trainer({"model": model})
        >>> trainer.request_stop()  # in a callback or a signal handler
        >>> trainer.stop_requested
        True
        """
        self.stop_requested = True

    def progress(self, seconds: float) -> Progress:
        """Progress after `seconds` of training."""
        return Progress(self.session.step, self.feed.epoch, seconds)
