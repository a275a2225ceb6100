"""`Trainer`: a `Learner` that can be made from a checkpoint or from tensors and that trains a whole run.

`fit` repeats updates, evaluates, decides and writes a run folder (`training.py` has the loop).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from numpy.typing import ArrayLike

from ssm_hpn._core import Session
from ssm_hpn.arrays import whole_number
from ssm_hpn.calibrated import RunCalibration
from ssm_hpn.callbacks import Callback
from ssm_hpn.checkpoints import Which, find_checkpoint
from ssm_hpn.closed_form.feature_density import FeatureDensity
from ssm_hpn.config import Config, with_vectors
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import read_manifest
from ssm_hpn.errors import CheckpointError, problem
from ssm_hpn.feed import Feed
from ssm_hpn.learner import Learner
from ssm_hpn.model_in_use import DType
from ssm_hpn.run import fits_features, places_of, run_of
from ssm_hpn.run_data import find_again, remaking
from ssm_hpn.saved_state import read_state, saved_contract, saved_settings
from ssm_hpn.training import Result, Training


class Trainer(Learner):
    """Trains one model.

    Parameters
    ----------
    config
        A `Config`, a nested dictionary of settings, or the path of a TOML file. Kinds `auto` and null sizes are taken
        from the prepared data that `data.train` names.
    dtype
        float64 is slow and exact; it exists to judge float32.
    class_vectors
        For `model.head.prototypes` "semantic" or "given", in place of a file in `model.head.vectors`: [C, numbers] in
        the order of the classes, or by class name. A checkpoint has the prototypes, and needs them no more.

    Raises
    ------
    ConfigError
        If settings contradict each other or the data.
    DataError
        If the prepared data cannot be read.

    Examples
    --------
    A small language model on one batch; a whole run on prepared data is `Trainer("config.toml").fit()`.

    >>> import numpy as np
    >>> from ssm_hpn import Trainer
    >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
    >>> trainer = Trainer({"model": model, "optim": {"lr": 0.03}, "train": {"steps": 30, "threads": 1}})
    >>> batch = {"tokens": np.arange(64).reshape(4, 16) % 8}
    >>> before = trainer.evaluate(batch).values["loss"]
    >>> for _ in range(30):
    ...     update = trainer.step(batch)
    >>> update.step, trainer.evaluate(batch).values["loss"] < before
    (30, True)
    >>> trainer.predict(batch).shape
    (4, 16, 8)
    >>> trainer.generate([0, 1, 2], 4, temperature=0)
    [3, 4, 5, 6]

    Gradients without an update, and the way back from a checkpoint:

    >>> report = trainer.forward_backward(batch)
    >>> sorted(trainer.gradients()) == sorted(row["name"] for row in trainer.parameter_table() if row["trainable"])
    True
    >>> trainer.zero_grad()
    >>> again = Trainer.load(trainer.save("checkpoint"))
    >>> bool((again.predict(batch) == trainer.predict(batch)).all())
    True
    """

    # ---- from checkpoints and tensors

    @classmethod
    def load(cls, path: Path | str, *, which: Which = "latest", dtype: DType = "float32") -> Self:
        """A trainer from a checkpoint: its folder, or a run folder and which of its checkpoints.

        `latest` is the newest that verifies. Raises `CheckpointError` if there is none. Class names, normalisation,
        tokenizer and columns come with it as `contract`; the prepared data is needed for training on alone. It is
        looked for from the present folder, from that in which the run began, and from those above the run, under the
        name that it had, and in `runs/data` by its digest.
        """
        folder = find_checkpoint(Path(path), which)
        if fits_features(folder):
            advice = "load it with ssm_hpn.filter_learner.FilterLearner.load"
            raise CheckpointError(problem(folder, "a backbone", "a model of features", advice))
        session, text, _ = Session.load(str(folder), dtype=dtype)
        state = read_state(folder, text)
        saved, contract = saved_settings(folder, state), saved_contract(folder, state)
        without_data = saved.data.model_copy(update={"train": (), "validation": ()})
        trainer = cls(with_vectors(saved.model_copy(update={"data": without_data}), vectors=None), dtype=dtype)
        trainer.config = saved
        places = places_of(folder)
        located = find_again(saved.data, places)
        origin = None if contract is None or located.absent is None else contract.origin
        trainer.feed = Feed(saved, *located, remaking=remaking(origin, saved.data, places))
        trainer._take(session, state, contract)
        if trainer.contract is None and located.train is not None:
            trainer.contract = Contract.from_manifest(read_manifest(located.train), located.train)
        entry = RunCalibration(run_of(folder)).entry(session.step)
        if entry is not None and entry.temperature is not None:
            trainer.temperature = entry.temperature
        if entry is not None and entry.density is not None:
            trainer.density = FeatureDensity.from_json(entry.density.model_dump()).of_width(saved.model.d_model)
        return trainer

    @classmethod
    def from_tensors(
        cls, config: Config | Mapping[str, Any], tensors: Mapping[str, ArrayLike], *, dtype: DType = "float32"
    ) -> Self:
        """A trainer that starts from given weights, under the public checkpoint names.

        >>> from ssm_hpn import Trainer
        >>> model = {"input": {"kind": "tokens", "vocab_size": 8}, "target": {"kind": "next_token"}, "d_model": 16}
        >>> trainer = Trainer({"model": model})
        >>> again = Trainer.from_tensors({"model": model}, trainer.parameters())
        >>> bool((again.predict({"tokens": [[1, 2]]}) == trainer.predict({"tokens": [[1, 2]]})).all())
        True
        """
        trainer = cls(config, dtype=dtype)
        trainer.load_tensors(tensors)
        return trainer

    # ---- the whole run

    def fit(self, *, resume: str = "auto", more: int = 0, callbacks: Sequence[Callback] = ()) -> Result:
        """Train to the end in the run's folder, evaluating, logging and saving on the way.

        Parameters
        ----------
        resume
            auto: go on from the run's newest checkpoint if there is one; must: it is an error if there is none; never:
            start anew, in a folder of its own; or the path of a checkpoint or run to start from.
        more
            Updates beyond `train.steps`, to go on with a run that has ended; the learning rate stays at its last value.
        callbacks
            Observers, called in order.

        >>> from pathlib import Path
        >>> from ssm_hpn import Trainer
        >>> from ssm_hpn.config import PrepareOptions
        >>> from ssm_hpn.prepare import prepare
        >>> for number in range(10):
        ...     size = Path(f"{number}.txt").write_text(f"text {number} " * 20)
        >>> data = prepare(PrepareOptions(train="*.txt", validation_fraction=0.3), Path("data"))
        >>> settings = {
        ...     "model": {"d_model": 16, "n_layers": 1},
        ...     "data": {"train": str(data.train), "validation": str(data.validation), "length": 32},
        ...     "train": {"steps": 4, "batch_size": 2, "threads": 1},
        ... }
        >>> result = Trainer(settings).fit()
        >>> result.reason, result.step, (result.folder / "metrics.jsonl").is_file()
        ('finished', 4, True)
        """
        return Training(self, resume=resume, more=whole_number(more, "fit, more"), callbacks=callbacks).run()
