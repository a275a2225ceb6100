"""`Learner`: a model, its optimiser and its data, and everything that can be done with them except a whole run.

One update is `forward_backward` for each micro-batch, then `apply`. Nothing here needs a run folder. The training loop
and the callbacks are written against this class; `Trainer` in `trainer.py` adds `fit`, which runs the loop.
"""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn._core import Batch, FlatGuard, Session, Stream, check_config
from ssm_hpn.arrays import LARGEST_SEED, numbers, whole_number, whole_numbers, whole_numbers_of
from ssm_hpn.cadence import Progress
from ssm_hpn.class_vectors import ClassVectors, vectors_of_head
from ssm_hpn.class_weights import weights_of_model
from ssm_hpn.closed_form.calibration import Temperature
from ssm_hpn.closed_form.feature_density import FeatureDensity
from ssm_hpn.config import (
    Config,
    as_config,
    check_ranks,
    core_model,
    core_optim,
    micro_batches,
    model_of_core,
    resolve,
    with_vectors,
)
from ssm_hpn.config.applicable import check_model
from ssm_hpn.config.bounds import bounds
from ssm_hpn.config.model import PrototypeHead
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import Arrays, as_batch, data_shape, open_parts, read_manifest
from ssm_hpn.errors import ConfigError, DataError, LockedError, ShapeError, nearest, problem, shown
from ssm_hpn.evaluation import Evaluation, evaluate
from ssm_hpn.feed import Fed, Feed, with_steps
from ssm_hpn.ranks import Ranks
from ssm_hpn.saved_state import STATE_SCHEMA, read_state, saved_contract
from ssm_hpn.scaled import ScaledStream, unscaled
from ssm_hpn.update import Pending, Update

if TYPE_CHECKING:
    from ssm_hpn._core import ParameterRow, StepReport

Floats = NDArray[np.float32] | NDArray[np.float64]
DType = Literal["float32", "float64"]
ORDERED_BY = (
    "data.digest",
    "data.length",
    "data.packing",
    "data.window",
    "data.shuffle",
    "train.seed",
    "model.target.kind",
)
"""Settings on which the order of training batches depends."""
MOST_LAYERS: int = bounds("model.n_layers")["le"]
MOST_CLASSES: int = bounds("model.head.n_classes")["le"]
HEAD_WEIGHT = "lm_head.weight"
EMBEDDINGS = ("backbone.embedding.weight", "backbone.embeddings.weight", "embedding.weight")
"""Names under which the embedding is read."""


class Learner(Fed):
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

    def __init__(
        self,
        config: Config | Mapping[str, Any] | Path | str,
        *,
        dtype: DType = "float32",
        class_vectors: ClassVectors | ArrayLike | Mapping[Any, ArrayLike] | None = None,
    ) -> None:
        given = as_config(config)
        parts = open_parts(given.data)
        shape = data_shape(*parts.manifests) if parts.manifests else None
        resolved = resolve(given, shape)
        lasting = with_steps(given, resolved, parts)
        self.config = resolved if lasting is given else resolve(lasting, shape)
        """The configuration with every kind and size resolved."""
        check_model(given.model, self.config.model.target.kind)
        self.contract: Contract | None = parts.contract
        """The contract of the data, part of every checkpoint. None without prepared data."""
        self._vectors: dict[str, Any] = {}
        if (found := vectors_of_head(self.config.model.head, class_vectors, self.class_names)) is not None:
            self.config = with_vectors(self.config, **found.settings(self.config.model.head))
            self._vectors = {"vectors": found.rows, "class_names": found.names}
        check_config(core_model(self.config.model), core_optim(self.config.optim), **self._vectors)
        self.dtype: DType = dtype
        self.feed = Feed(self.config, parts.train, parts.validation, mix=parts.mix)
        """The batches of `data.train` and `data.validation`."""
        self.tokens_seen = 0
        self.temperature: Temperature | None = None
        """The map from scores of classes to probabilities, once it is fitted to held-out series; an update ends it."""
        self.density: FeatureDensity | None = None
        """That of the features of training series, once it is fitted: the confidence; an update ends it."""
        self.stop_requested = False
        self.ranks = Ranks()
        """The processes that train this model together."""
        self._session: Session | None = None
        self._making = threading.Lock()
        self._pending = Pending()

    @property
    def class_names(self) -> list[str] | None:
        """The classes as texts, in the order of the scores; None without prepared data or without classes."""
        classes = None if self.contract is None else self.contract.classes
        return None if classes is None else classes.names

    # ---- given weights

    def load_tensors(self, tensors: Mapping[str, ArrayLike]) -> None:
        """Overwrite all parameters. Only fixed prototypes that the configuration makes may be missing.

        A tied checkpoint may have its weight under both names, as public ones do.

        Raises `ShapeError` for a name that is unknown or missing and for a shape that differs.
        """
        table = self.parameter_table()
        tensors = self._without_tied(tensors)
        self.temperature = self.density = None
        known = {row["name"] for row in table} | {row["id"] for row in table}
        given = {self.session.set_parameter(name, self._floats(name, value)) for name, value in tensors.items()}
        every = getattr(self.config.model.head, "assignment", "given") != "given"  # a training assigned them
        missing = sorted(row["name"] for row in table if (row["trainable"] or every) and row["name"] not in given)
        if missing:
            close = nearest(missing[0], set(tensors) - known)
            advice = f"is it {close}?" if close else "add it"
            raise ShapeError(problem("tensors", f"all {len(table)} of the model", f"no {missing[0]}", advice))

    def _without_tied(self, tensors: Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
        """The tensors without the second copy of a weight that the head shares with the embedding."""
        rest = dict(tensors)
        names = {row["name"] for row in self.parameter_table()}
        if HEAD_WEIGHT not in rest or HEAD_WEIGHT in names or not getattr(self.config.model.head, "tied", False):
            return rest
        weight = np.asarray(rest.pop(HEAD_WEIGHT))
        embedding = next((np.asarray(rest[name]) for name in EMBEDDINGS if name in rest), None)
        if embedding is not None and not np.array_equal(weight, embedding):
            advice = "set model.head.tied to false, or leave the tensor out"
            raise ShapeError(problem(HEAD_WEIGHT, "the embedding, as the head is tied", "another tensor", advice))
        return rest if embedding is not None else rest | {EMBEDDINGS[0]: weight}

    def _floats(self, name: str, value: ArrayLike) -> Floats:
        with np.errstate(over="ignore"):  # the core refuses what is not finite
            return np.ascontiguousarray(numbers(value, name), dtype=self.dtype)

    # ---- one update

    @property
    def session(self) -> Session:
        """The compiled model, gradients and optimiser state."""
        with self._making:
            if self._session is None:
                session = Session(
                    core_model(self.config.model),
                    core_optim(self.config.optim),
                    seed=self.config.train.seed,
                    dtype=self.dtype,
                    threads=self.config.train.threads,
                    **self._vectors,
                )
                session.set_class_weights(weights_of_model(self.config, self.contract))
                session.set_precision(self.config.train.precision)
                self._share(session)
                self._session = session
            return self._session

    def share(self, ranks: Ranks) -> None:
        """From now on several processes train this model: each makes the same calls, and reads its part of the data.

        Raises `ConfigError` unless the number of ranks divides `train.virtual_ranks`.

        >>> from ssm_hpn import Trainer
        >>> from ssm_hpn.ranks import Ranks
        >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
        >>> learner = Trainer({"model": model})
        >>> learner.share(Ranks())  # a process alone; several: ssm_hpn.distributed
        >>> learner.ranks.size
        1
        """
        check_ranks(self.config.train, ranks.size)
        self.ranks = ranks
        if self._session is not None:
            self._share(self._session)

    def _share(self, session: Session) -> None:
        if self.ranks.size > 1:
            session.share(self.ranks)

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
        """Read the micro-batches of an update, and add the gradients of this rank's."""
        plan, ranks = micro_batches(self.config.train), self.ranks
        first, end = (plan.number * rank // ranks.size for rank in (ranks.rank, ranks.rank + 1))
        for number in range(plan.number):
            started = time.perf_counter()
            batch = self.feed.next()
            self._pending.data_seconds += time.perf_counter() - started
            if not first <= number < end:
                self._pending.tokens += batch.n_tokens
                continue
            if number > first and number % plan.per_virtual_rank == 0:
                self.session.next_virtual_rank()
            self.session.number_next_micro_batch(number)
            self._add(batch, accuracy=accuracy, carried=self.feed.carries)

    def forward_backward(self, batch: Batch | Arrays, *, accuracy: bool = False) -> "StepReport":
        """Add the gradients of one micro-batch; the parameters stay. `loss` in the report is the mean over targets.

        A signal may come after they were added: then they stay, as `apply` counts them, until `zero_grad`.
        """
        return self._add(as_batch(batch, self.config.model), accuracy=accuracy)

    def _add(self, micro: Batch, *, accuracy: bool, carried: bool = False) -> "StepReport":
        """Add the gradients of one micro-batch, which goes on from the states of the one before it or not."""
        started, pending = time.perf_counter(), self._pending
        add = self.session.forward_backward_carried if carried else self.session.forward_backward
        try:
            report = add(micro, accuracy=accuracy)
        except BaseException:
            with suppress(LockedError, ShapeError), self.session.borrow_flat() as flat:
                pending.tokens += micro.n_tokens if flat.count > pending.count else 0
                pending.count = flat.count
            raise
        pending.compute_seconds += time.perf_counter() - started
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
            comm_seconds=self.ranks.seconds - spent,
            comm_bytes=self.ranks.sent_bytes - sent,
        )

    def _updates(self) -> int:
        return self.session.step + self.session.skipped

    def zero_grad(self) -> None:
        """Set the gradients added so far to zero."""
        self._pending = Pending()
        self.session.zero_grad()

    # ---- data

    @property
    def bytes_per_token(self) -> float | None:
        """Mean bytes of text of a held-out token, where a tokenizer made them; None where that is not known."""
        folder = self.validation_folder
        part = None if folder is None else Contract.from_manifest(read_manifest(folder), folder).parts.get("validation")
        return None if part is None else part.bytes_per_token

    def held_out(self, batches: int | Literal["all"] | None = None) -> Iterator[Batch]:
        """The held-out batches, the same ones in the same order every time; null: as many as `evaluation.batches`.

        >>> from pathlib import Path
        >>> from ssm_hpn import Trainer
        >>> from ssm_hpn.config import PrepareOptions
        >>> from ssm_hpn.prepare import prepare
        >>> for number in range(10):
        ...     size = Path(f"held_out_{number}.txt").write_text(f"text {number} " * 20)
        >>> data = prepare(PrepareOptions(train="held_out_*.txt", validation_fraction=0.3), Path("held_out_data"))
        >>> settings = {"train": str(data.train), "validation": str(data.validation), "length": 32}
        >>> trainer = Trainer({"model": {"d_model": 16, "n_layers": 1}, "data": settings, "train": {"batch_size": 2}})
        >>> next(trainer.held_out()).rows
        2
        """
        whole = batches is None or (isinstance(batches, str) and batches == "all")
        return self.feed.held_out(batches if whole else whole_number(batches, "held_out, batches", least=1))

    # ---- evaluation and prediction

    def evaluate(
        self,
        batches: Iterable[Batch | Arrays] | Batch | Arrays | Literal["all"] | None = None,
        *,
        watch: Callable[[], None] | None = None,
    ) -> Evaluation:
        """Metrics on the given batch or batches, or on the held-out ones, as `held_out` takes it; nothing changes.

        `watch` is called before each batch, and may raise to end the evaluation.
        """
        chosen: Iterable[Batch | Arrays]
        size, of_held_out = None, batches is None or isinstance(batches, str)
        if batches is None or isinstance(batches, str):
            chosen, size = self.held_out(batches), self.bytes_per_token
        else:
            chosen = [batches] if isinstance(batches, Mapping | Batch) else batches

        def watched() -> Iterator[Batch]:
            for one in chosen:
                if watch is not None:
                    watch()
                yield as_batch(one, self.config.model)

        result = evaluate(self.session, self.config.model, watched(), bytes_per_token=size)
        if of_held_out:
            self._check_targets(result)
        return result

    def evaluate_together(self, watch: Callable[[], None]) -> Evaluation:
        """As `evaluate` on the held-out batches, each rank a part of them: all ranks call it at once.

        `watch` is called by all ranks at once, before each of them evaluates a batch.

        >>> from pathlib import Path
        >>> from ssm_hpn import Trainer
        >>> from ssm_hpn.config import PrepareOptions
        >>> from ssm_hpn.prepare import prepare
        >>> size = Path("a.txt").write_text("some text " * 400)
        >>> data = prepare(PrepareOptions(train="a.txt", validation_fraction=0.2), Path("data"))
        >>> folders = {"train": str(data.train), "validation": str(data.validation), "length": 16}
        >>> model = {"d_model": 16, "n_layers": 1}
        >>> trainer = Trainer({"model": model, "data": folders, "train": {"batch_size": 2, "threads": 1}})
        >>> watched = []
        >>> together = trainer.evaluate_together(lambda: watched.append(1))
        >>> together.values["loss"] == trainer.evaluate().values["loss"], len(watched) > 0
        (True, True)
        """
        batches, size = self.held_out(), self.bytes_per_token
        model, ranks = self.config.model, self.ranks
        result = evaluate(self.session, model, batches, bytes_per_token=size, ranks=ranks, watch=watch)
        self._check_targets(result)
        return result

    def _check_targets(self, evaluation: Evaluation) -> None:
        if evaluation.totals.count == 0:
            advice = "label some of the held-out documents, or hold out others"
            raise DataError(problem(self.validation_folder, "at least one target", "none", advice))

    def predict(self, batch: Batch | Arrays) -> Floats:
        """Scores: [B,T,C] for a target per token, [S,C], [S,K] or [S,C+K] for one per document.

        Cosines or logits of classes, then numbers in the user's units (in double precision where they have a scale).
        """
        return unscaled(self.session.predict(as_batch(batch, self.config.model)), self.config.model.scale)

    def predict_with_features(self, batch: Batch | Arrays) -> tuple[Floats, Floats]:
        """Scores as of `predict`, and the features [B,T,D] or, pooled, [S,D] that the head made them of."""
        scores, features = self.session.predict_with_features(as_batch(batch, self.config.model))
        return unscaled(scores, self.config.model.scale), features

    def embed(self, batch: Batch | Arrays) -> Floats:
        """Points on the unit sphere of the prototypes, [B,T,Q] or [S,Q], whose products with these are the scores.

        Raises `ConfigError` for another head; `ssm_hpn.prototypes.nearest` finds the nearest of many prototypes.
        """
        return self.session.embed(as_batch(batch, self.config.model))

    def hidden(self, batch: Batch | Arrays) -> Floats:
        """Last hidden states after the final norm, [B,T,D]."""
        return self.session.hidden(as_batch(batch, self.config.model))

    def stream(self, rows: int = 1) -> Stream | ScaledStream:
        """Recurrent inference, token by token, in constant memory: equal to the whole-sequence pass."""
        stream = self.session.stream(whole_number(rows, "stream, rows", least=1))
        scale = self.config.model.scale
        return stream if scale is None else ScaledStream(stream, scale)

    def generate(
        self,
        prompt: Sequence[int],
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> list[int]:
        """Continue a prompt of token ids by n more; temperature 0 takes the best each time.

        `top_k` draws from the k best tokens, `top_p` from the best ones that have this probability together.
        """
        n = whole_number(n, "generate, n (tokens)")
        seed = whole_number(seed, "generate, seed", most=LARGEST_SEED)
        top_k = None if top_k is None else whole_number(top_k, "generate, top_k", least=1)
        ids = whole_numbers(prompt, "prompt")
        if ids.ndim != 1 or (ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < 1 << 32):
            found = list(ids.shape) if ids.ndim != 1 else f"{ids.min()} to {ids.max()}"
            raise ShapeError(problem("prompt", "a list of token ids from 0", found, "pass the ids of one text"))
        return self.session.generate(ids.tolist(), n, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)

    # ---- parameters

    def parameter_table(self) -> "list[ParameterRow]":
        """Every tensor: id, public name, shape, decay group, whether it is trained."""
        return self.session.parameter_table()

    def parameters(self) -> dict[str, Floats]:
        """Copies of all parameters by public name."""
        return {name: self.session.parameter(name) for name in self.session.parameter_names()}

    def gradients(self) -> dict[str, Floats]:
        """Copies of the gradients of the mean loss, of the tensors that are trained, by public name."""
        rows = self.parameter_table()
        return {row["name"]: self.session.gradient(row["name"]) for row in rows if row["trainable"]}

    def parameter(self, name: str) -> Floats:
        """A copy of one parameter, by public name or id."""
        return self.session.parameter(name)

    def gradient(self, name: str) -> Floats:
        """A copy of one gradient of the mean loss, by public name or id."""
        return self.session.gradient(name)

    def borrow_flat(self) -> FlatGuard:
        """Flat views of parameters and gradients inside a with block, in which every call that uses them is refused."""
        return self.session.borrow_flat()

    # ---- growing and freezing

    def expand(
        self,
        kind: Literal["append", "prepend", "insert", "final"] = "append",
        *,
        count: int = 1,
        at: int | None = None,
        positions: Sequence[int] | None = None,
        seed: int = 0,
    ) -> list[int]:
        """Insert layers that change no output yet and learn from the next update on; returns their positions.

        `insert` puts `count` layers before layer `at`; `final` puts new layers at these positions of the grown model.
        """
        plan: dict[str, Any] = {"kind": kind, "seed": whole_number(seed, "expand, seed", most=LARGEST_SEED)}
        if kind == "final":
            plan["positions"] = whole_numbers_of(positions or (), "expand, positions", most=MOST_LAYERS)
        else:
            plan["count"] = whole_number(count, "expand, count", least=1, most=MOST_LAYERS)
        if kind == "insert":
            plan["at"] = whole_number(at, "expand, at", most=MOST_LAYERS)
        new = self.session.expand(json.dumps(plan))
        self.config = self._with_model_of(self.session)
        return new

    def freeze(
        self,
        *,
        first: int = 0,
        layers: Sequence[int] = (),
        embedding: bool = False,
        head: bool = False,
        patterns: Sequence[str] = (),
    ) -> list[str]:
        """Freeze tensors by layer, part or pattern of names; returns the frozen ids.

        A new call replaces the last one; without arguments everything is trained again.
        """
        spec = {
            "first": whole_number(first, "freeze, first", most=MOST_LAYERS),
            "layers": whole_numbers_of(layers, "freeze, layers", most=MOST_LAYERS),
            "embedding": embedding,
            "head": head,
            "patterns": list(patterns),
        }
        return self.session.freeze(json.dumps(spec))

    def add_classes(self, names: Sequence[Any] | int) -> list[int]:
        """Add classes behind those of a prototype head; returns their places among the scores.

        `names` are written as the labels of the data are; where the model has no names of its classes, as without
        prepared data, it is their number. Prototypes that are there stay, and all scores among old classes with them,
        to the bit, until training goes on. Spare prototypes are used first (`model.head.spare`), others are placed
        where the nearest one is farthest. Moments and counts of updates stay; learnable prototypes lose
        theirs.

        Raises `DataError` for names that are no new classes, `ConfigError` for another head, for a regression, for a
        language model, and where there is no room for a further prototype.

        >>> from ssm_hpn import Trainer
        >>> model = {"input": {"kind": "features", "n_features": 1}, "target": {"kind": "sequence_class"}, "d_model": 8}
        >>> trainer = Trainer({"model": model | {"n_layers": 1, "head": {"kind": "prototype", "n_classes": 2}}})
        >>> batch = {"features": [[[0.5], [1.0]]]}
        >>> before = trainer.predict(batch)
        >>> trainer.add_classes(1), bool((trainer.predict(batch)[:, :2] == before).all())
        ([2], True)
        """
        classes = None if self.contract is None else self.contract.classes
        if classes is None:
            count, unused = _number_of_classes(names), 0
        else:
            grown = classes.with_added(names)  # type: ignore[arg-type]
            count, unused = len(grown) - len(classes), self._unused(len(classes))
        if count <= unused:
            new = list(range(len(grown) - count, len(grown)))
        else:
            last = self.session.add_classes(count - unused)[-1]
            new = list(range(last + 1 - count, last + 1))
        if self.contract is not None and classes is not None:
            self.contract = replace(self.contract, classes=grown)
        if self.temperature is not None:
            there = np.arange(len(self.temperature.frequencies))
            self.temperature = self.temperature.with_classes(there, new[-1] + 1)
        self.config = self._with_model_of(self.session)
        return new

    def _unused(self, classes: int) -> int:
        """Classes of the prototype head beyond those of the data, where it was made with more."""
        head = self.config.model.head
        return head.n_classes - classes if isinstance(head, PrototypeHead) and head.n_classes is not None else 0

    # ---- saving and loading

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

    def save(self, folder: Path | str, *, extra: Mapping[str, Any] | None = None) -> Path:
        """Write a checkpoint folder, whole or not at all; `extra` is JSON that `restore` returns."""
        folder = Path(folder)
        self.save_into(str(folder.parent), folder.name, extra=extra or {})
        return folder

    def save_into(self, root: str, name: str, *, extra: Mapping[str, Any]) -> None:
        """Write the checkpoint folder root/name."""
        self.session.save(root, name, self._state_text(extra))

    def copied(self, *, extra: Mapping[str, Any]) -> Callable[[str, str], None]:
        """A copy of what `save_into` writes; the function writes it to root/name while training goes on.

        >>> from ssm_hpn import Trainer
        >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}}
        >>> trainer = Trainer({"model": model})
        >>> write = trainer.copied(extra={"note": "before"})
        >>> full_name = trainer.session.set_parameter("norm_f.weight", 2 * trainer.session.parameter("norm_f.weight"))
        >>> write(".", "copied-00000000")  # what it was before
        """
        return self.session.copied(self._state_text(extra)).save

    def _state_text(self, extra: Mapping[str, Any]) -> str:
        return json.dumps(self.state() | {"extra": dict(extra)})

    def state(self) -> dict[str, Any]:
        """The state in a checkpoint besides parameters, moments and counters."""
        return {
            "schema": STATE_SCHEMA,
            "config": self.config.model_dump(mode="json"),
            "config_digest": self.config.digest(),
            "cursor": self.feed.cursor,
            "epoch": self.feed.epoch,
            "tokens_seen": self.tokens_seen,
            "contract": None if self.contract is None else self.contract.to_json(),
            **({} if self.temperature is None else {"temperature": self.temperature.to_json()}),
            **({} if self.density is None else {"density": self.density.to_json()}),
        }

    def restore(self, folder: Path, *, rate: float = 1.0) -> tuple[dict[str, Any], list[str]]:
        """Take over parameters, moments, counters and place in the data from a checkpoint, or the newest of several.

        `rate` multiplies the configured learning rate from there on. Returns the saved state, and why newer ones were
        passed over. Where it fails nothing has changed.
        """
        optim = core_optim(self.config.optim.model_copy(update={"lr": rate * self.config.optim.lr}))
        session, text, notes = Session.load(
            str(folder), optim=optim, threads=self.config.train.threads, dtype=self.dtype
        )
        state = read_state(folder, text)
        self._take(session, state, saved_contract(folder, state))
        self._pending = Pending()
        return state, notes

    def _take(self, session: Session, state: Mapping[str, Any], contract: Contract | None) -> None:
        """Take over a session, the state that was saved with it, and its contract. What can fail comes first."""
        same_data = contract is not None and self._reads_as(state["config"])
        made = contract.options if contract is not None and same_data else None
        if contract is not None and same_data and self.contract is not None and self.contract.origin is not None:
            options = {**contract.options, "labels": self.contract.options.get("labels")}
            contract = replace(contract, origin=self.contract.origin, options=options)
        contract = contract or self.contract
        session.set_activation_memory(self.config.model.activation_memory, self.config.model.memory_limit_mb)
        config, temperature = self._with_model_of(session), Temperature.saved(state)
        density = FeatureDensity.saved(state, config.model.d_model)
        rows = session.carried_rows
        if rows is not None and self.feed.carries and rows != self.config.train.batch_size:
            expected, advice = f"{rows}, as of the states that the checkpoint carries on", "go on with that number"
            raise ConfigError(problem("train.batch_size", expected, self.config.train.batch_size, advice))
        session.set_class_weights(weights_of_model(config, contract))
        session.set_precision(config.train.precision)
        self._share(session)
        self.feed.seek(state["cursor"], state["epoch"], made=made)
        self._session, self.tokens_seen, self.contract, self.config = session, state["tokens_seen"], contract, config
        self.temperature, self.density = temperature, density

    def _reads_as(self, saved: Mapping[str, Any]) -> bool:
        """Whether saved settings read the same data in the same order as those of this trainer."""
        ours = self.config.model_dump(mode="json")
        pairs = [(_setting(ours, name), _setting(saved, name)) for name in ORDERED_BY]
        return self.config.data.digest is not None and all(one == other for one, other in pairs)

    def _with_model_of(self, session: Session) -> Config:
        """The configuration with the model of the session: loading and growing change it."""
        model = model_of_core(session.model_config, self.config.model)
        return self.config.model_copy(update={"model": model})

    def progress(self, seconds: float) -> Progress:
        """Progress after `seconds` of training."""
        return Progress(self.session.step, self.feed.epoch, seconds)


def _setting(settings: Mapping[str, Any], name: str) -> object:
    """A setting by its dotted name; None where there is none."""
    value: Any = settings
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _number_of_classes(given: object) -> int:
    """How many classes there are to add where they have no names."""
    if not isinstance(given, int | np.integer):
        expected, advice = "a number of classes, as this model has no names of them", "give how many to add"
        raise ConfigError(problem("add_classes, names", expected, shown(given), advice))
    return whole_number(given, "add_classes, names", least=1, most=MOST_CLASSES)
