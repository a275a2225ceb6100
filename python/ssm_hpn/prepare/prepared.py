"""A prepared folder as the trainer sees it."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from ssm_hpn.prepare.encode import Encoder, Normalization, encoder_of, normalization_of
from ssm_hpn.prepare.problems import config_error, data_error

SUMMARY = "prepared.json"
MANIFEST = "manifest.json"

TargetKind = Literal["next_token", "token_class", "sequence_class", "sequence_values"]


@dataclass(frozen=True)
class PartSummary:
    """One part in numbers."""

    documents: int
    tokens: int
    """Token ids or time steps."""
    bytes: int
    """Of the shard files."""


@dataclass(frozen=True)
class Prepared:
    """Where the shards lie, and what a model has to know about them."""

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
    """Numbers to predict per document."""
    parts: dict[str, PartSummary]
    digest: str
    """SHA-256 over all documents of all parts: equal data, equal digest, wherever it lies."""
    manifest: dict[str, Any]
    """Of the training part."""

    @property
    def target(self) -> TargetKind | None:
        """What can be predicted; None for features without any target."""
        columns = self.manifest["columns"]
        if "labels" in columns:
            return "token_class"
        if "label" in columns:
            return "sequence_class"
        if "values" in columns:
            return "sequence_values"
        return "next_token" if self.kind == "tokens" else None

    @cached_property
    def encoder(self) -> Encoder | None:
        """Text to ids and back; None for features."""
        return encoder_of(self.manifest, self.train)

    @cached_property
    def normalization(self) -> Normalization | None:
        """What new features have to go through before the model sees them."""
        return normalization_of(self.manifest)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open a prepared folder; the shards themselves are checked by their reader."""
        summary = _read(folder / SUMMARY)
        manifest = _read(folder / "train" / MANIFEST)
        parts = {name: PartSummary(p["documents"], p["tokens"], p["bytes"]) for name, p in summary["parts"].items()}
        return cls(
            folder=folder,
            train=folder / "train",
            validation=folder / "validation" if "validation" in parts else None,
            **{key: manifest[key] for key in ("kind", "vocab_size", "n_features", "n_classes", "class_names")},
            n_values=manifest["n_values"],
            parts=parts,
            digest=summary["digest"],
            manifest=manifest,
        )


def is_prepared(folder: Path) -> bool:
    """Whether a folder was made by `prepare`."""
    return (folder / SUMMARY).is_file()


def cached(folder: Path, key: str) -> Prepared | None:
    """The folder if it was made from the same sources and options; an error if it holds anything else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if is_prepared(folder) and _read(folder / SUMMARY)["key"] == key:
        return Prepared.load(folder)
    raise config_error(
        "out",
        expected="a new or empty folder, or one made from the same data and options",
        found=f"{folder} with other content",
        advice="choose another folder or remove this one",
    )


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write `prepared.json`."""
    (folder / SUMMARY).write_text(json.dumps({"schema": 1, **summary}, indent=2) + "\n", encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise data_error(
            path, "file", expected="what `prepare` wrote", found=str(error), advice="prepare the data again"
        ) from None
    return dict(value)
