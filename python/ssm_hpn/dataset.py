"""What the manifest of a prepared folder says about its data, and numpy arrays as batches."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn._core import Batch
from ssm_hpn.config import DataConfig, DataShape, ModelConfig
from ssm_hpn.errors import DataError, ShapeError, nearest, problem

MANIFEST: Final = "manifest.json"

Arrays = Mapping[str, ArrayLike]
_TYPES: Final[dict[str, type[np.generic]]] = {
    "tokens": np.uint32,
    "features": np.float32,
    "segments": np.uint32,
    "mask": np.bool_,
    "token_class": np.int32,
    "sequence_class": np.int32,
    "sequence_values": np.float32,
    "cotangent": np.float32,
}


def is_prepared(path: Path | str) -> bool:
    """Whether a path is a folder of shards with its manifest."""
    return (Path(path) / MANIFEST).is_file()


def read_manifest(path: Path | str) -> dict[str, Any]:
    """The manifest of a prepared folder. The core checks it in full when it opens the folder."""
    file = Path(path) / MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        advice = "make one with `python -m ssm_hpn prepare`"
        raise DataError(problem(path, "a prepared folder", f"no {MANIFEST} in it", advice)) from None
    except (OSError, ValueError) as error:
        raise DataError(problem(file, "a readable manifest", error, "prepare the data again")) from None
    if not isinstance(manifest, dict):
        raise DataError(problem(file, "a JSON object", type(manifest).__name__, "prepare the data again"))
    return manifest


def data_shape(*manifests: Mapping[str, Any]) -> DataShape:
    """The shape of a data set from the manifests of its parts; the first one decides the sizes."""
    first = manifests[0]
    columns = first.get("columns", [])
    has_classes = "label" in columns or "labels" in columns
    return DataShape(
        vocab_size=first.get("vocab_size"),
        n_features=first.get("n_features"),
        n_classes=first.get("n_classes") if has_classes else None,
        n_values=first.get("n_values"),
        per_token_labels="labels" in columns,
        longest_document=first.get("longest"),
        digest=data_digest(*manifests),
    )


def data_digest(*manifests: Mapping[str, Any]) -> str:
    """64 hexadecimal digits over contents and encoding, wherever the folders lie."""
    parts = [
        {
            "documents": (manifest.get("source") or {}).get("digest")
            or [shard.get("sha256") for shard in manifest.get("shards", [])],
            **{key: manifest.get(key) for key in ("kind", "vocab_size", "n_features", "n_classes", "class_names")},
        }
        for manifest in manifests
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def as_batch(batch: Batch | Arrays, model: ModelConfig) -> Batch:
    """A batch from numpy arrays under the names that `Batch` has.

    Parameters
    ----------
    batch
        `tokens` [B,T] or `features` [B,T,F], optional `segments` [S,3] and `mask` [B,T], and the target: `token_class`
        [B,T] (-1 for none), `sequence_class` [S] (-1), `sequence_values` [S,K] (NaN) or `cotangent` [B,T,D]. Where the
        mask is false, a position is read but neither pooled nor compared with a class. For next-token models the target
        is made from the tokens where it is missing; a masked token is then not predicted either.
    model
        The resolved model.
    """
    if isinstance(batch, Batch):
        return batch
    for name in batch:
        if name not in _TYPES:
            close = nearest(name, _TYPES)
            advice = f"did you mean {close}?" if close else f"known are {', '.join(_TYPES)}"
            raise ShapeError(problem("batch", "a known array", repr(name), advice))
    arrays: dict[str, Any] = {name: _as(name, value) for name, value in batch.items()}
    if model.target.kind == "next_token" and "token_class" not in arrays and "tokens" in arrays:
        arrays["token_class"] = next_tokens(arrays["tokens"], arrays.get("segments"), arrays.get("mask"))
    return Batch(**arrays)


def next_tokens(
    tokens: NDArray[np.uint32],
    segments: NDArray[np.uint32] | None = None,
    mask: NDArray[np.bool_] | None = None,
) -> NDArray[np.int32]:
    """The token that follows each position of its document, -1 at a document's end and outside of documents.

    Under a mask also -1 where either of the two is masked.
    """
    following = np.full(tokens.shape, -1, np.int32)
    if tokens.ndim == 2 and segments is None:
        following[:, :-1] = tokens[:, 1:]
    elif segments is not None and _inside(segments, tokens.shape):
        for row, start, end in segments.tolist():
            following[row, start : end - 1] = tokens[row, start + 1 : end]
    if mask is not None and tokens.ndim == 2 and mask.shape == tokens.shape:
        following[~mask] = -1
        following[:, :-1][~mask[:, 1:]] = -1
    return following


def _inside(segments: NDArray[np.uint32], shape: tuple[int, ...]) -> bool:
    """Whether segments can index an array; what is wrong with them otherwise, the core says."""
    if len(shape) != 2 or segments.ndim != 2 or segments.shape[1] != 3:
        return False
    return not segments.size or bool(segments[:, 0].max() < shape[0] and segments[:, 2].max() <= shape[1])


def _as(name: str, value: ArrayLike) -> NDArray[Any]:
    """The array in the type that the core takes, if no number changes its meaning on the way."""
    array, wanted = np.asarray(value), np.dtype(_TYPES[name])
    if array.dtype != wanted:
        if wanted.kind == "b":
            raise ShapeError(problem(name, "true and false", array.dtype, f"convert it: {name} != 0"))
        if wanted.kind in "iu":
            if array.dtype.kind not in "iu":
                raise ShapeError(problem(name, "whole numbers", array.dtype, f"convert it to {wanted}"))
            limits = np.iinfo(wanted)
            if array.size and (array.min() < limits.min or array.max() > limits.max):
                found = f"{array.min()} to {array.max()}"
                raise ShapeError(problem(name, f"{limits.min} to {limits.max}", found, "correct the values"))
        elif array.dtype.kind not in "fiu":
            raise ShapeError(problem(name, "numbers", array.dtype, f"convert it to {wanted}"))
    return np.ascontiguousarray(array, dtype=wanted)


def locate(data: DataConfig) -> tuple[Path | None, Path | None]:
    """The prepared folders for training and validation; a folder that holds both by these names stands for both."""
    train = _prepared("data.train", data.train)
    validation = _prepared("data.validation", data.validation)
    if train is not None and not is_prepared(train) and is_prepared(train / "train"):
        both = train
        train = both / "train"
        if validation is None and is_prepared(both / "validation"):
            validation = both / "validation"
    return train, validation


def _prepared(key: str, paths: tuple[str, ...]) -> Path | None:
    if len(paths) > 1:
        advice = "make one with `python -m ssm_hpn prepare`"
        raise DataError(problem(key, "one prepared folder", f"{len(paths)} paths", advice))
    return Path(paths[0]) if paths else None
