"""`ModelInUse`: a model with its settings, its data and its parameters; the base of a `Learner`."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn._core import Batch, FlatGuard, Session, check_config
from ssm_hpn.arrays import numbers, whole_number
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
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import data_shape, open_parts, read_manifest
from ssm_hpn.errors import ShapeError, nearest, problem
from ssm_hpn.feed import Fed, Feed, with_steps
from ssm_hpn.ranks import Ranks
from ssm_hpn.update import Pending

if TYPE_CHECKING:
    from ssm_hpn._core import ParameterRow

Floats = NDArray[np.float32] | NDArray[np.float64]
DType = Literal["float32", "float64"]
HEAD_WEIGHT = "lm_head.weight"
EMBEDDINGS = ("backbone.embedding.weight", "backbone.embeddings.weight", "embedding.weight")
"""Names under which the embedding is read."""


class ModelInUse(Fed):
    """What a `Learner` has: settings, data, parameters and their gradients, and the processes that it is shared by."""

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
        self.feed.share(rank=ranks.rank, ranks=ranks.size)
        if self._session is not None:
            self._share(self._session)

    def _share(self, session: Session) -> None:
        session.plan_virtual_ranks(micro_batches(self.config.train).virtual_ranks // self.ranks.size)
        if self.ranks.size > 1:
            session.share(self.ranks)

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

    def _with_model_of(self, session: Session) -> Config:
        """The configuration with the model of the session: loading and growing change it."""
        model = model_of_core(session.model_config, self.config.model)
        return self.config.model_copy(update={"model": model})
