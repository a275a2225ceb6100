"""The batches of a trainer: training data one batch after the other from where it stopped, and the held-out ones.

Of several ranks each reads the batches that it computes, and passes over those of the others, so that all of them are
at the same position after an update.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, TypeVar

from ssm_hpn._core import Batch, Loader
from ssm_hpn.config import Config, core_loader, micro_batches
from ssm_hpn.config.mixture import whole_weights
from ssm_hpn.dataset import Parts, read_manifest
from ssm_hpn.errors import ConfigError, DataError, Error, problem
from ssm_hpn.foreign import from_json

Found = TypeVar("Found")
CUT_BY: Final = ("max_document", "shard_tokens")
"""Settings of preparation by which documents of the same contents are cut and grouped."""


class Order(NamedTuple):
    """How training batches are made."""

    packing: str
    utilisation: float
    """Share of the positions that hold tokens, by the first window."""
    windows: int
    """Windows of an epoch, within which documents are mixed; with one the whole set is."""
    tokens: int
    """Tokens of an epoch."""
    shares: tuple[float, ...]
    """Share of the rows of each of several sets; one set has all."""


class _Read(NamedTuple):
    """A batch, and the position in the data after it."""

    batch: Batch
    cursor: str
    epoch: float
    skipped: int


class Feed:
    """Batches of the prepared folders of a configuration, opened when they are first asked for."""

    def __init__(
        self,
        config: Config,
        train: Path | None,
        validation: Path | None,
        absent: str | None = None,
        mix: Sequence[Path] = (),
        *,
        remaking: str | None = None,
    ) -> None:
        self.train = train
        self.validation = validation
        self.absent = absent
        """The places in which the data of the configuration was searched, if it was not found."""
        self.remaking = remaking
        """The command that prepares data that was not found, where its source is there."""
        self.cursor: str | None = None
        """Position of the next training batch; None at the beginning."""
        self.epoch = 0.0
        """Passes over the training data so far, with fraction."""
        self.skipped = 0
        """Record batches left out so far for being damaged, in every epoch anew."""
        self.mix = tuple(mix)
        """The folders of `data.mix`, further training data."""
        self._config = config
        self._made: Mapping[str, Any] | None = None
        self._differing: Sequence[tuple[str, object, object]] = ()
        self._loader: Loader | None = None
        self._peeked: _Read | None = None
        self._own: dict[str, int] | None = None
        """The batches of an update that this rank reads; None for all."""
        self._number = 0
        """Batches since the reader of the training data was opened."""
        self._idle: list[tuple[Loader, str]] = []
        """Unused readers of the held-out data, each with the position of its first batch."""

    def next(self) -> Batch:
        """The next training batch."""
        read = self._peeked or self._read()
        self.cursor, self.epoch, self.skipped, self._peeked = read.cursor, read.epoch, read.skipped, None
        self._number += 1
        return read.batch

    def pass_over(self) -> int:
        """Go on behind the next training batch, which another rank reads; returns the number of its tokens."""
        loader = self._opened()
        tokens, self.cursor = self._found(loader.pass_over())
        self.epoch, self.skipped = loader.epoch, loader.skipped
        self._number += 1
        return tokens

    def peek(self) -> Batch:
        """The next training batch, without advancing the position."""
        if not self.reads(self._number):
            batch, _ = self._found(self._open(None).next())
            return batch
        if self._peeked is None:
            self._peeked = self._read()
        return self._peeked.batch

    def share(self, *, rank: int, ranks: int) -> None:
        """From now on several ranks read the data: each the batches of an update that it computes.

        >>> feed = Feed(Config.model_validate({"train": {"batch_size": 8, "virtual_ranks": 4}}), Path("data"), None)
        >>> feed.share(rank=1, ranks=2)
        >>> [number for number in range(4) if feed.reads(number)]
        [2, 3]
        """
        number = micro_batches(self._config.train).number
        first, end = (number * one // ranks for one in (rank, rank + 1))
        self._own = None if ranks == 1 else {"of": number, "first": first, "end": end}
        self._close()

    def reads(self, number: int) -> bool:
        """Whether this rank reads the batch with this number of an update."""
        return self._own is None or self._own["first"] <= number % self._own["of"] < self._own["end"]

    def begin_update(self) -> None:
        """The next batch is the first of an update, also where the one before was not read to its end."""
        if self._own is not None and self._number % self._own["of"]:
            self._close()

    def _close(self) -> None:
        """Let go of the reader of the training data; another one goes on at the position."""
        self._loader, self._peeked, self._number = None, None, 0

    def seek(
        self,
        cursor: str | None,
        epoch: float,
        *,
        made: Mapping[str, Any] | None = None,
        differing: Sequence[tuple[str, object, object]] = (),
    ) -> None:
        """Continue from another position in the training data.

        `differing` are the settings of the order that are others than where the position is from, each with its value
        there and here: the first is named where the position is refused. `made` are the settings of the preparation
        that the position is in, where its data has the digest of these and is read by the same settings: it is then
        the position in these, whatever differs in their files besides the contents, such as the names of documents.
        """
        self.cursor, self.epoch, self._made, self._differing = cursor, epoch, made, differing
        self.skipped = 0 if cursor is None else int(from_json(cursor).get("skipped", 0))
        self._close()

    def order(self) -> Order:
        """How training batches are made; it reads the window of the next batch, which then is in memory."""
        loader = self._opened()
        weights = whole_weights(self._config.data)
        shares = tuple(weight / sum(weights) for weight in weights)
        return Order(self._config.data.packing, loader.utilisation(), loader.n_windows, loader.n_tokens, shares)

    def damage(self) -> list[str]:
        """A line for each record batch that was left out for being damaged, since this process began."""
        return [] if self._loader is None else self._loader.damage()

    @property
    def carries(self) -> bool:
        """Whether the rows of a training batch go on from those of the batch before."""
        return self._config.data.packing == "carried"

    def held_out(self, batches: int | Literal["all"] | None = None) -> Iterator[Batch]:
        """The held-out batches, the same ones in the same order every time; null: as many as `evaluation.batches`.

        Batches without a target do not count, and are left out.

        Each caller has a reader of its own, so several threads may go through them at once.
        """
        wanted = batches or self._config.evaluation.batches
        try:
            loader, start = self._idle.pop()
        except IndexError:
            loader, start = self._open_held_out()
        loader.seek(start)
        try:
            labelled = (batch for batch, _ in iter(loader.next, None) if batch.n_targets)
            yield from islice(labelled, None if wanted == "all" else wanted)
        finally:
            self._idle.append((loader, start))

    def _open_held_out(self) -> tuple[Loader, str]:
        if self.validation is None:
            raise self._missing("data.validation", "hand batches to evaluate()")
        loader = Loader(core_loader(self._config, str(self.validation), evaluation=True))
        return loader, loader.cursor

    def _missing(self, key: str, otherwise: str) -> Error:
        """The error for data that is not there."""
        if self.absent is None:
            return ConfigError(problem(key, "a prepared folder", "none", f"set {key}, or {otherwise}"))
        digest = (self._config.data.digest or "")[:12]
        expected = f"the data of this model, with the digest {digest}"
        return DataError(problem(key, expected, f"none in {self.absent}", f"{self.bring_back}, or {otherwise}"))

    @property
    def bring_back(self) -> str:
        """What to do about data that was not found."""
        return "bring it back" if self.remaking is None else f"make it again with `{self.remaking}`"

    def _of_these(self, cursor: str, beginning: str) -> str:
        """A position as one in the present files, whose first position is `beginning`."""
        if self._made is None or self.train is None or self.mix:
            return cursor
        ours = (read_manifest(self.train).get("source") or {}).get("options") or {}
        if any(ours.get(key) != self._made.get(key) for key in CUT_BY):
            return cursor
        return json.dumps({**from_json(cursor), "data": from_json(beginning)["data"]})

    def _open(self, own: Mapping[str, int] | None) -> Loader:
        """A reader of the training data, at the next batch."""
        if self.train is None:
            raise self._missing("data.train", "hand a batch to step()")
        loader = Loader(core_loader(self._config, str(self.train), mix=list(map(str, self.mix)), own=own))
        if self.cursor is not None:
            self._seek(loader, self.cursor)
        return loader

    def _seek(self, loader: Loader, cursor: str) -> None:
        """Bring a reader to a position; where it is refused, name a setting by which batches come in another order."""
        try:
            loader.seek(self._of_these(cursor, loader.cursor))
        except ConfigError:
            if not self._differing:
                raise
            (name, *values), *further = self._differing
            theirs, ours = (one if isinstance(one, str) else json.dumps(one) for one in values)
            expected = f"{theirs}, as in the training whose place in the data is gone on from"
            all_of_them = " and ".join(["it", *(other for other, *_ in further)])
            advice = f"set {all_of_them} as there, or train from the start"
            raise ConfigError(problem(name, expected, ours, advice)) from None

    def _opened(self) -> Loader:
        """The reader of the training data, which is opened when it is first asked for."""
        if self._loader is None:
            self._loader = self._open(self._own)
        return self._loader

    def _read(self) -> _Read:
        loader = self._opened()
        return _Read(*self._found(loader.next()), loader.epoch, loader.skipped)

    def _found(self, found: Found | None) -> Found:
        if found is None:
            raise DataError(problem(self.train, "at least one batch", "none", "use more data or smaller batches"))
        return found


def with_steps(given: Config, resolved: Config, parts: Parts) -> Config:
    """A configuration whose length is a number of updates, where it is one of epochs or of tokens.

    `resolved` is the same with the sizes of the data, which is in `parts`. An update that begins within the length is
    whole, so the last one may have rows beyond it.
    """
    length = given.train
    if length.epochs is None and length.tokens is None:
        return given
    if parts.train is None:
        key = "train.epochs" if length.epochs is not None else "train.tokens"
        raise ConfigError(problem(key, "prepared data in data.train", "none", "set train.steps in its place"))
    loader = Loader(core_loader(resolved, str(parts.train), mix=list(map(str, parts.mix))))
    if length.epochs is not None:
        rows = loader.count_rows(length.epochs)
    else:
        rows = loader.count_rows_of_tokens(length.tokens or 0)
    steps = max(1, ceil(Fraction(rows, length.batch_size * length.accumulate)))
    return given.model_copy(
        update={"train": length.model_copy(update={"steps": steps, "epochs": None, "tokens": None})}
    )


class Fed:
    """Base of what learns from prepared folders.

    >>> fed = Fed()
    >>> fed.feed = Feed(Config(), Path("data/train"), None)
    >>> fed.train_folder.name, fed.validation_folder
    ('train', None)
    """

    feed: Feed

    @property
    def train_folder(self) -> Path | None:
        """The prepared training data."""
        return self.feed.train

    @property
    def validation_folder(self) -> Path | None:
        """The prepared held-out data."""
        return self.feed.validation
