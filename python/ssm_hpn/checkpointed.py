"""`Checkpointed`: a model that is saved with its place in the data, and goes on from there."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssm_hpn._core import Session
from ssm_hpn.class_weights import weights_of_model
from ssm_hpn.closed_form.calibration import Temperature
from ssm_hpn.closed_form.feature_density import FeatureDensity
from ssm_hpn.config import core_optim
from ssm_hpn.contract import Contract
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.model_in_use import ModelInUse
from ssm_hpn.saved_state import STATE_SCHEMA, read_state, saved_contract
from ssm_hpn.update import Pending

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
PLACED_BY = (*(name for name in ORDERED_BY if name.startswith(("data.", "train."))), "data.weights", "data.mix")
"""Settings that a message names where a position in the data is not one of these settings."""


class Checkpointed(ModelInUse):
    """Saving and restoring of a `Learner`."""

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
        self.feed.seek(state["cursor"], state["epoch"], made=made, differing=self._placed_otherwise(state["config"]))
        self._session, self.tokens_seen, self.contract, self.config = session, state["tokens_seen"], contract, config
        self.temperature, self.density = temperature, density

    def _placed_otherwise(self, saved: Mapping[str, Any]) -> list[tuple[str, object, object]]:
        """The settings of the order of batches that differ: name, value of the checkpoint and of this trainer."""
        ours = self.config.model_dump(mode="json")
        rows = [(name, _setting(saved, name), _setting(ours, name)) for name in PLACED_BY]
        return [(name, theirs, own) for name, theirs, own in rows if theirs != own]

    def _reads_as(self, saved: Mapping[str, Any]) -> bool:
        """Whether saved settings read the same data in the same order as those of this trainer."""
        ours = self.config.model_dump(mode="json")
        pairs = [(_setting(ours, name), _setting(saved, name)) for name in ORDERED_BY]
        return self.config.data.digest is not None and all(one == other for one, other in pairs)


def _setting(settings: Mapping[str, Any], name: str) -> object:
    """A setting by its dotted name; None where there is none."""
    value: Any = settings
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value
