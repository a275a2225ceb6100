"""A prepared folder as the trainer sees it."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

from ssm_hpn._core import verify_shards
from ssm_hpn.contract import Contract
from ssm_hpn.dataset import data_digest, read_manifest
from ssm_hpn.errors import DataError, StorageError
from ssm_hpn.prepare.encode import Encoder, encoder_of
from ssm_hpn.prepare.problems import config_error, data_error
from ssm_hpn.prepare.tokenizer import check_tokenizer
from ssm_hpn.prepare.trained import contents_of
from ssm_hpn.storage import write_whole
from ssm_hpn.targets import COLUMNS, kind_of_columns

SUMMARY = "prepared.json"
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PartSummary:
    """One part in numbers."""

    documents: int
    tokens: int
    """Token ids or time steps."""
    bytes: int
    """Size of the shard files."""
    lengths: dict[str, int] | None = None
    """Quantiles of the lengths of the documents as they are written, by their shares; None in older folders."""


@dataclass(frozen=True)
class Prepared:
    """Where the shards lie, and what a model has to know about them.

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from ssm_hpn.config import PrepareOptions
    >>> from ssm_hpn.prepare import Prepared, prepare
    >>> np.savez("series.npz", features=np.arange(120.0).reshape(20, 6, 1), label=np.arange(20) % 2)
    >>> prepared = prepare(PrepareOptions(train="series.npz"), Path("prepared"))
    >>> prepared.target, prepared.contract.classes.values, prepared.n_features
    ('sequence_class', (0, 1), 1)
    >>> Prepared.load(prepared.folder) == prepared
    True
    """

    folder: Path
    train: Path
    validation: Path | None
    kind: Literal["tokens", "features"]
    """What a token is."""
    vocab_size: int | None
    """Number of token ids."""
    n_features: int | None
    """Numbers per time step."""
    n_classes: int | None
    """Number of classes, with labels."""
    class_names: list[str] | None
    """Name of each class, if they have names."""
    n_values: int | None
    """Numbers to predict, per document or time step."""
    parts: dict[str, PartSummary]
    digest: str
    """SHA-256 over all documents of all parts: equal data, equal digest, wherever it lies."""
    manifest: dict[str, Any]
    """Manifest of the training part."""
    paths: list[str]
    """Paths of the files and queries it was made from."""

    @property
    def target(self) -> str | None:
        """What can be predicted; None for features without any target."""
        columns = set(COLUMNS).intersection(self.manifest["columns"])
        return kind_of_columns(columns) if columns or self.kind == "tokens" else None

    @cached_property
    def data_digest(self) -> str:
        """The digest that a run on this data has in its settings (`data.digest`), and that messages name."""
        held_out = () if self.validation is None else (read_manifest(self.validation),)
        return data_digest(self.manifest, *held_out)

    @cached_property
    def encoder(self) -> Encoder | None:
        """Text to ids and back; None for features."""
        return encoder_of(self.manifest, self.train)

    @cached_property
    def contract(self) -> Contract:
        """What the data means."""
        return Contract.from_manifest(self.manifest, self.train)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Open a prepared folder; the shards themselves are checked by their reader."""
        folder = Path(folder)
        summary = _read(folder / SUMMARY)
        manifest = read_manifest(folder / "train")
        parts = {
            name: PartSummary(p["documents"], p["tokens"], p["bytes"], p.get("lengths"))
            for name, p in summary["parts"].items()
        }
        return cls(
            folder=folder,
            train=folder / "train",
            validation=folder / "validation" if "validation" in parts else None,
            **{key: manifest[key] for key in ("kind", "vocab_size", "n_features", "n_classes", "class_names")},
            n_values=manifest["n_values"],
            parts=parts,
            digest=summary["digest"],
            manifest=manifest,
            paths=summary.get("paths", []),
        )


def is_prepared(folder: Path | str) -> bool:
    """Whether a folder was made by `prepare`.

    >>> from pathlib import Path
    >>> from ssm_hpn.prepare import is_prepared
    >>> is_prepared(Path("no such folder"))
    False
    """
    return (Path(folder) / SUMMARY).is_file()


class CacheKeys(NamedTuple):
    """What a prepared folder was made from, as digests; one that is equal is enough."""

    key: str
    """By the places of the files."""
    moved: str
    """By the files themselves, which a moved folder keeps."""

    def fit(self, summary: Mapping[str, Any]) -> bool:
        """Whether a prepared folder was made from the same."""
        return self.key == summary.get("key") or self.moved == summary.get("moved")


def moved_here(parent: Path, keys: CacheKeys) -> Path | None:
    """A preparation in `parent` of the same files, when they lay elsewhere."""
    for summary in sorted(parent.glob(f"*/{SUMMARY}")):
        with suppress(DataError):
            if keys.fit(_read(summary)):
                return summary.parent
    return None


def cached(folder: Path, keys: CacheKeys) -> Prepared | None:
    """The folder if it was made from the same sources and options; an error if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if is_prepared(folder) and keys.fit(_read(folder / SUMMARY)):
        return Prepared.load(folder)
    raise config_error(
        "out",
        expected="a new or empty folder, or one made from the same data and options",
        found=f"{folder} with other content",
        advice="choose another folder or remove this one",
    )


def older(parent: Path, paths: list[str], *, but: Path | None = None) -> list[Path]:
    """Preparations in `parent` that were made from the same paths, but for one."""
    found = sorted(summary.parent for summary in parent.glob(f"*/{SUMMARY}"))
    return [folder for folder in found if folder != but and paths and _paths(folder) == paths]


def _paths(folder: Path) -> object:
    try:
        return _read(folder / SUMMARY).get("paths")
    except DataError:
        return None


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write `prepared.json`, with size and time of change of every file of the parts; whole or as it was before."""
    full = {"schema": 1, **summary, "files": _stamps(folder, summary)}
    write_whole(folder / SUMMARY, json.dumps(full, indent=2) + "\n")


def untouched(folder: Path | str) -> bool:
    """Whether every file of a prepared folder still has the size and the time of change that were recorded of it.

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from ssm_hpn.config import PrepareOptions
    >>> from ssm_hpn.prepare import prepare, untouched
    >>> np.savez("series.npz", features=np.arange(120.0).reshape(20, 6, 1), label=np.arange(20) % 2)
    >>> prepared = prepare(PrepareOptions(train="series.npz"), Path("untouched"))
    >>> untouched(prepared.folder)
    True
    >>> (prepared.train / "manifest.json").touch()
    >>> untouched(prepared.folder)
    False
    """
    folder = Path(folder)
    summary = _read(folder / SUMMARY)
    return bool(summary.get("files") == _stamps(folder, summary))


def verify(folder: Path | str, *, record: bool) -> None:
    """Check every file of a prepared folder against its digest, which takes as long as reading all of it.

    Raises `DataError` at the first difference. With `record`, the present times are what `untouched` compares with.

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from ssm_hpn.config import PrepareOptions
    >>> from ssm_hpn.prepare import prepare, untouched, verify
    >>> np.savez("series.npz", features=np.arange(120.0).reshape(20, 6, 1), label=np.arange(20) % 2)
    >>> prepared = prepare(PrepareOptions(train="series.npz"), Path("verified"))
    >>> (prepared.train / "manifest.json").touch()
    >>> verify(prepared.folder, record=True)
    >>> untouched(prepared.folder)
    True
    """
    folder = Path(folder)
    summary = _read(folder / SUMMARY)
    for part in summary["parts"]:
        verify_part(folder / part)
    if record:
        with suppress(OSError, StorageError):  # a folder that cannot be written to is checked again the next time
            write_summary(folder, summary)


def verify_part(folder: Path | str) -> dict[str, Any]:
    """Check the files of one part against their digests; returns what the reader of the shards counted.

    >>> from pathlib import Path
    >>> import numpy as np
    >>> from ssm_hpn.config import PrepareOptions
    >>> from ssm_hpn.prepare import prepare, verify_part
    >>> np.savez("series.npz", features=np.arange(120.0).reshape(20, 6, 1), label=np.arange(20) % 2)
    >>> prepared = prepare(PrepareOptions(train="series.npz"), Path("part"))
    >>> verify_part(prepared.train)["tokens"] == prepared.parts["train"].tokens
    True
    """
    folder = Path(folder)
    report = verify_shards(str(folder))
    manifest = read_manifest(folder)
    contents_of(folder, manifest)
    encoder = manifest.get("encoder") or {}
    if encoder.get("kind") == "tokenizer":
        check_tokenizer(folder / encoder["file"], encoder["sha256"])
    return report


def _stamps(folder: Path, summary: dict[str, Any]) -> dict[str, list[int]]:
    """Bytes and time of change (ns) of every file of the parts, by its name below the folder."""
    files = sorted(file for part in summary["parts"] for file in (folder / part).iterdir())
    stats = {file.relative_to(folder).as_posix(): file.stat() for file in files}
    return {name: [stat.st_size, stat.st_mtime_ns] for name, stat in stats.items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError) as error:
        raise data_error(
            path, "file", expected="what `prepare` wrote", found=str(error), advice="prepare the data again"
        ) from None
    except OSError as error:
        raise StorageError(f"{path}: cannot read: {error.strerror}") from None
    return dict(value)
