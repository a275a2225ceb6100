"""Where the data of a run lies now: its prepared folders, or else the source that they can be prepared from again.

A run may be opened from another folder, and a whole tree may have been moved or copied to another machine. So paths
that are not absolute are looked for in several places (`run.places_of`), and prepared data under the usual name
`runs/data/…` in each of them by its digest.
"""

import glob
import re
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple

from ssm_hpn.config import DataConfig
from ssm_hpn.config.base import QUERY
from ssm_hpn.dataset import data_digest, is_prepared, locate, mixed_in, read_manifest
from ssm_hpn.errors import DataError
from ssm_hpn.origin import Origin
from ssm_hpn.run import RUNS

PREPARED: Final = Path(RUNS) / "data"
"""The usual place of prepared data."""
MOST_TOLD: Final = 4
"""Most places that a message names; of further ones the number."""
STORED: Final = "s3://"
"""Prefix of a path in a store."""
_NAMED: Final = re.compile(r"'([^']+)'|\"([^\"]+)\"")
"""A name in a query, which may be that of a file."""


class Located(NamedTuple):
    """Paths of the prepared data of a run."""

    train: Path | None = None
    validation: Path | None = None
    absent: str | None = None
    """The error where the data was not found: the places searched, and what they contain."""
    mix: tuple[Path, ...] = ()
    """The folders of `data.mix`."""


def find_again(data: DataConfig, places: Sequence[Path]) -> Located:
    """The prepared folders that a saved configuration names, in the first of several places that has the same data.

    Parameters
    ----------
    data
        Of a run, with the digest of its data; paths that are not absolute may lie in any of the places.
    places
        Folders, in the order in which they are looked into.

    A folder of this name with other data is passed over: its class names and normalisation are not those of the model.
    Where none has the data, all folders in the usual place are compared by their digests.
    """
    if not data.train:
        return Located()
    looked: dict[Path, str] = {}
    for place in places:
        moved = {key: tuple(map(str, _below(place, getattr(data, key)))) for key in ("train", "validation")}
        train, validation = locate(data.model_copy(update=moved))
        parts = [folder for folder in (train, validation) if folder is not None]
        if train is None or train.resolve() in looked:
            continue
        absent = next((folder for folder in parts if not is_prepared(folder)), None)
        if absent is not None:
            looked[train.resolve()] = f"{absent} (nothing prepared)"
            continue
        found = data_digest(*map(read_manifest, parts))
        if data.digest in (None, found):
            return Located(train, validation, mix=_mixed(data, places))
        looked[train.resolve()] = f"{train} (other data, with the digest {found[:12]})"
    known = _by_digest(data.digest, places)
    if known is not None:
        return known._replace(mix=_mixed(data, places))
    told = sorted(looked.values(), key=lambda text: "(other data" not in text)
    return Located(absent=listed(told))


def _mixed(data: DataConfig, places: Sequence[Path]) -> tuple[Path, ...]:
    """The folders of `data.mix` in the first place that has each, else as they are named: a reader refuses these."""

    def found(path: str) -> Path:
        candidates = [mixed_in(str(one)) for place in places for one in _below(place, (path,))]
        return next(filter(is_prepared, candidates), mixed_in(path))

    return tuple(map(found, data.mix))


def _by_digest(digest: str | None, places: Iterable[Path]) -> Located | None:
    """The prepared folder with a digest in the usual place below one of several folders."""
    for place in places if digest else ():
        for train in sorted((place / PREPARED).glob("*/train")):
            validation = train.with_name("validation")
            for parts in ((train, validation), (train,)):
                if all(map(is_prepared, parts)) and _digest(parts) == digest:
                    return Located(train, validation if validation in parts else None)
    return None


def _digest(parts: Iterable[Path]) -> str | None:
    """The digest of prepared folders; None where one cannot be read."""
    try:
        return data_digest(*map(read_manifest, parts))
    except DataError:
        return None


def source_places(data: DataConfig, places: Sequence[Path]) -> list[Path]:
    """Folders that the relative paths of an origin may start from: `places`, and all above the prepared folder."""
    above = (folder for place in places[:2] for out in _below(place, data.train) for folder in out.absolute().parents)
    return list(dict.fromkeys([*places, *above]))


def find_source(origin: Origin, places: Iterable[Path]) -> Path | None:
    """The first of several folders from which all that a data set was made from is there; None if there is none."""
    return next((place for place in places if all(is_there(path, place) for path in origin.paths)), None)


def is_there(path: str, place: Path) -> bool:
    """Whether a file, a folder or a file of a pattern is there, or one that a query names."""
    if path.startswith(STORED):
        return True  # a store is asked when it is read
    if path.startswith(QUERY):
        named = [one or other for one, other in _NAMED.findall(path)]
        return not named or any(_matches(name, place) for name in named)
    return _matches(path, place)


def _matches(path: str, place: Path) -> bool:
    """Whether there is a file of this name; folders are not searched for one of a pattern with `**`."""
    file = place / Path(path).expanduser()
    try:
        if file.exists():
            return True
        fixed = _fixed(path)
        if "**" in path and fixed:
            return (place / fixed).is_dir()
        patterns = [str(file), str(file).replace("**/", "")]
        return any(next(glob.iglob(one), None) is not None for one in patterns)  # noqa: PTH207
    except OSError:  # a name that is too long for a file
        return False


def _fixed(pattern: str) -> str:
    """The folder in front of the first wildcard."""
    parts = Path(pattern).expanduser().parts
    return str(Path(*takewhile(lambda part: not glob.has_magic(part), parts))) if not glob.has_magic(parts[0]) else ""


def remaking(origin: Origin | None, data: DataConfig, places: Sequence[Path]) -> str | None:
    """The command that makes lost prepared data again where a run looks for it; None where its source is not there."""
    place = None if origin is None else find_source(origin, source_places(data, places))
    if origin is None or place is None:
        return None
    out = Path(data.train[0])
    out = out.parent if out.name == "train" else out
    home = place if place in places else places[0]
    if (home / out).is_dir() and any((home / out).iterdir()):
        out = PREPARED / f"{out.name}-again"
    elsewhere = None if place.resolve() == Path.cwd() else place
    return origin.command(out if home == place else (home / out).absolute(), place=elsewhere)


def _below(place: Path, paths: Iterable[str]) -> list[Path]:
    return [place / Path(path).expanduser() for path in paths]


def listed(places: Sequence[object]) -> str:
    """The first of some places, and how many more there are."""
    more = f" and {len(places) - MOST_TOLD} more" if len(places) > MOST_TOLD else ""
    return ", ".join(map(str, places[:MOST_TOLD])) + more
