"""The data of a run that is resumed: named anew, found where it lies now, or prepared again from its source.

Whichever it is, its digest has to be that of the data that the run was trained on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ssm_hpn.cli.console import shown_path
from ssm_hpn.cli.data import names_prepared, prepare_default, prepare_raw
from ssm_hpn.config import Config, DataConfig, PrepareOptions, merge
from ssm_hpn.config.applicable import given, shown
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import data_digest, is_prepared, locate, read_manifest
from ssm_hpn.errors import ConfigError, DataError, problem
from ssm_hpn.origin import Origin
from ssm_hpn.run import RUNS, contract_in, places_of, run_of
from ssm_hpn.run_data import PREPARED, Located, find_again, find_source, is_there, listed, source_places

if TYPE_CHECKING:
    from rich.console import Console

    from ssm_hpn.prepare import Prepared


BESIDE: Final = frozenset({"labels", "tokenizer"})
"""Settings of `data` that are paths."""


class RunData(NamedTuple):
    """Where the data of a run lies."""

    located: Located
    recorded: Mapping[str, tuple[str, ...]]
    """`train` and `validation` as the run is to have them in its files: from there a moved folder is found again."""
    origin: Origin | None
    """What it is made from, where that is another place than the run knew."""
    described: bool
    """Whether it was just prepared, and described on the way."""


class RunToResume:
    """A run, and the data that it goes on with."""

    def __init__(self, path: Path, checkpoint: Path, saved: Config, console: "Console") -> None:
        self.path, self.saved, self.console = path, saved, console
        self.run = run_of(checkpoint)
        self.places = places_of(checkpoint)
        self.contract: Contract | None = contract_in(self.run, checkpoint)
        self.origin = None if self.contract is None else self.contract.origin

    @property
    def settings(self) -> Mapping[str, Any]:
        """The settings of preparation that made the data of the run."""
        if self.origin is not None:
            return self.origin.settings
        made = self.saved.data.model_dump(mode="json") if self.contract is None else self.contract.options
        known = set(PrepareOptions.model_fields) - {"train", "validation"}
        return {key: value for key, value in made.items() if key in known}

    def named(self, named: DataConfig, settings: Mapping[str, Any]) -> RunData:
        """The data that a command names, raw or prepared; `settings` are those of `data` that it gives beside it."""
        if names_prepared(named.train):
            located = self._with_sibling(named)
            recorded = {"train": (str(located.train),), "validation": _paths(located.validation)}
            origin, described = None, False
        else:
            prepared, origin = self._prepared(named, settings)
            located, recorded, described = Located(prepared.train, prepared.validation), _recorded(prepared), True
        self._check(located)
        return RunData(located, recorded, origin, described)

    def _prepared(self, named: DataConfig, settings: Mapping[str, Any]) -> "tuple[Prepared, Origin]":
        """The named files, prepared as the data of the run was; what is not named is looked for where it was."""
        from ssm_hpn.prepare.pipeline import absolute, origin_of  # imports pyarrow

        own = {key: value for key, value in settings.items() if key in PrepareOptions.model_fields}
        made = PrepareOptions.model_validate(merge(self.settings, own))
        held_out = named.validation or (self.origin.validation if self.origin else ())
        options = made.model_copy(update={"train": named.train, "validation": held_out})
        parent = self._home(Path.cwd()) / PREPARED
        tables = {key: self.settings.get(key) for key in BESIDE - own.keys()}
        beside = Origin((), () if named.validation else held_out, tables)
        place = find_source(beside, source_places(self.saved.data, self.places))
        if place is None or place.resolve() == Path.cwd():
            return prepare_raw(options, self.console, parent=parent), origin_of(options)
        here: dict[str, Any] = {"train": absolute(named.train), "validation": absolute(named.validation) or held_out}
        here |= {key: absolute([own[key]])[0] for key in BESIDE & own.keys() if own[key]}
        options = PrepareOptions.model_validate({**options.model_dump(exclude_unset=True), **here})
        return prepare_raw(options, self.console, parent=parent, place=place), origin_of(options)

    def _with_sibling(self, named: DataConfig) -> Located:
        """The prepared folders that are named, with the held-out part beside the training part if the run had it."""
        train, validation = locate(named)
        if train is not None and validation is None and data_digest(read_manifest(train)) != self.saved.data.digest:
            beside = train.with_name("validation")
            validation = beside if is_prepared(beside) else None
        return Located(train, validation)

    def found(self) -> RunData:
        """The data of the run where it lies now, prepared again where it is lost.

        Raises `DataError` where neither the data nor its source is there, or where the source has changed.
        """
        located = find_again(self.saved.data, self.places)
        recorded = {key: getattr(self.saved.data, key) for key in ("train", "validation")}
        if located.train is not None:
            return RunData(located, recorded, None, described=False)
        places = source_places(self.saved.data, self.places)
        place = None if self.origin is None else find_source(self.origin, places)
        if place is None:
            raise self._nowhere(located, places)
        prepared = self._again(place)
        located = Located(prepared.train, prepared.validation)
        self._check(located, "its source has changed since: restore it, or train on it as it is by --resume never")
        return RunData(located, _recorded(prepared), None, described=True)

    def _again(self, place: Path) -> "Prepared":
        """The data, prepared again from its source, whose relative paths begin at `place`."""
        assert self.origin is not None
        where = "" if place.resolve() == Path.cwd() else f" in {place}"
        source = f"{listed(self.origin.train)}{where}" if self.origin.train else "the source text of Python"
        lost = f"the prepared data of {shown_path(self.path)} is not there: it is prepared again from {source}"
        self.console.print(f"note       {lost}", markup=False, soft_wrap=True)
        parent = self._home(place) / PREPARED
        if not self.origin.train:
            return prepare_default(self.console, parent=parent)
        paths = {"train": self.origin.train, "validation": self.origin.validation}
        options = PrepareOptions.model_validate({**self.origin.settings, **paths})
        return prepare_raw(options, self.console, parent=parent, place=place)

    def _home(self, otherwise: Path) -> Path:
        """The folder whose `runs` the run lies in; `otherwise` for a run of another place."""
        above = self.run.resolve().parent
        return above.parent if above.name == RUNS else otherwise.resolve()

    def _check(self, located: Located, advice: str | None = None) -> None:
        """Refuse other data than that of the run."""
        parts = [part for part in (located.train, located.validation) if part is not None]
        ours, theirs = data_digest(*map(read_manifest, parts)), self.saved.data.digest
        if theirs and ours != theirs:
            expected = f"the data of {self.path}, with the digest {theirs[:16]}"
            advice = advice or "name the data of that run, or train on these from the start by --resume never"
            raise ConfigError(problem("data.train", expected, f"other data, with the digest {ours[:16]}", advice))

    def _nowhere(self, located: Located, places: list[Path]) -> DataError:
        """The error where neither the data nor its source is there, with the places that were searched."""
        expected = f"the data of {self.path}, with the digest {(self.saved.data.digest or '')[:12]}"
        found = f"none in {located.absent}"
        if self.origin is not None:
            missing = [path for path in self.origin.paths if not is_there(path, places[0])]
            searched = dict.fromkeys(Path.cwd() if place == Path() else place for place in places)
            found += f", and not all of its source ({listed(missing)}) in one of {listed(list(searched))}"
        advice = "bring it back, or name it, raw or prepared, with --data PATH"
        return DataError(problem("data.train", expected, found, advice))


def check_shaping(path: Path, made: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse settings of `data` by which the data would be another than that of a run, before anything is read."""
    own = {key: value for key, value in settings.items() if key in PrepareOptions.model_fields}
    before = PrepareOptions.model_validate(made)
    for name, value in given(PrepareOptions.model_validate(merge(made, own)), ("data",)):
        theirs: Any = before
        for key in name.split(".")[1:]:
            theirs = getattr(theirs, key)
        if value != theirs:
            told = shown(theirs) if theirs not in (None, ()) else "none"
            advice = "leave it out, or train on other data by --resume never"
            raise ConfigError(problem(name, f"{told}, as the data of {path} was made", shown(value), advice))


def _paths(folder: Path | None) -> tuple[str, ...]:
    return () if folder is None else (str(folder),)


def _recorded(prepared: "Prepared") -> dict[str, tuple[str, ...]]:
    """The usual place of prepared data, which is found below the folder of any `runs`."""
    usual = PREPARED / prepared.folder.name
    held_out = None if prepared.validation is None else usual / "validation"
    return {"train": (str(usual / "train"),), "validation": _paths(held_out)}
