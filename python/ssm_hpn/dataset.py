"""Manifests of prepared folders, and numpy arrays as batches."""

import hashlib
import json
import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn._core import Batch
from ssm_hpn.arrays import describe, numbers, to_array, whole_numbers
from ssm_hpn.columns import Scale
from ssm_hpn.config import DataConfig, DataShape, ModelConfig, PrepareOptions
from ssm_hpn.config.applicable import given, shown
from ssm_hpn.config.data import FILE_OPTIONS
from ssm_hpn.contract import Contract
from ssm_hpn.errors import ConfigError, DataError, ShapeError, StorageError, nearest, problem
from ssm_hpn.foreign import from_json
from ssm_hpn.targets import ARRAYS, KINDS, target_columns

MANIFEST: Final = "manifest.json"
Arrays = Mapping[str, ArrayLike]
_TYPES: Final[dict[str, type[np.generic]]] = {
    "tokens": np.uint32,
    "features": np.float32,
    "segments": np.uint32,
    "mask": np.bool_,
    "weights": np.float32,
    **{name: np.int32 if array.element == "class" else np.float32 for name, array in ARRAYS.items()},
}
_AXES: Final[dict[str, str]] = {
    "tokens": "BT",
    "features": "BTF",
    "segments": "S3",
    "mask": "BT",
    "weights": "S",
    **{name: array.axes for name, array in ARRAYS.items()},
}
"""B rows, T positions, F features, S documents, K numbers per document, D width of the model."""
LONGEST_SHOWN: Final = 80
"""Most characters of a value of a manifest that a message shows."""
_CLASSES: Final = frozenset(name for name, array in ARRAYS.items() if array.element == "class")


def is_prepared(path: Path | str) -> bool:
    """Whether a path is a folder of shards with its manifest; a query, of any length, is none."""
    return os.path.isfile(os.path.join(path, MANIFEST))  # noqa: PTH113, PTH118 - Path raises for names that are too long


PARTS: Final = ("train", "validation")
"""The folders of the parts of a prepared data set, as `prepare` names them."""


def parts_below(path: Path) -> list[Path]:
    """The prepared folders that a path is or has: itself, and the parts of a split."""
    return [folder for folder in (path, *(path / name for name in PARTS)) if is_prepared(folder)]


OF_MANIFEST: Final[Mapping[str, type]] = {
    "kind": str,
    "columns": list,
    "shards": list,
    "rows": int,
    "tokens": int,
    "longest": int,
    "source": dict,
    "encoder": dict,
    "vocab_size": int,
    "n_features": int,
    "n_values": int,
    "n_classes": int,
    "class_names": list,
    "feature_names": list,
    "normalisation": dict,
}
"""The types of what is read of a manifest before the core has checked it; what is not there is null or left out."""
LARGEST: Final[Mapping[str, int]] = {
    "n_features": 1 << 20,
    "n_values": 1 << 20,
    "n_classes": 1 << 24,
    "vocab_size": 2**31 - 1,
}
"""The most that sizes may be: what is made of them is bounded before the core has checked the manifest."""
NEVER_NULL: Final = frozenset({"kind", "columns", "shards", "rows", "tokens", "longest", "files", "digest"})
OF_PARTS: Final[Mapping[str, Mapping[str, type]]] = {
    "source": {"files": int, "digest": str, "options": dict},
    "encoder": {"kind": str, "file": str, "sha256": str},
}
"""The types of what a manifest says of where its documents are from and how they were encoded."""


def read_manifest(path: Path | str) -> dict[str, Any]:
    """The manifest of a prepared folder. The core checks the rest when it opens the folder."""
    file = Path(path) / MANIFEST
    try:
        manifest = from_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        there = Path(path).exists()
        found = "nothing there" if not there else "a file" if Path(path).is_file() else f"no {MANIFEST} in it"
        words = shlex.quote(str(path)) if there else "PATH"
        advice = f"make one of raw data with `python -m ssm_hpn prepare {words} --out DIR`, and name DIR"
        raise DataError(problem(path, "a prepared folder", found, advice)) from None
    except OSError as error:
        raise StorageError(f"{file}: cannot read: {error.strerror}") from None
    except ValueError as error:
        raise DataError(problem(file, "a readable manifest", error, "prepare the data again")) from None
    if not isinstance(manifest, dict):
        raise DataError(problem(file, "a JSON object", type(manifest).__name__, "prepare the data again"))
    _check_types(file, "", manifest, OF_MANIFEST)
    for key, most in LARGEST.items():
        if not 0 <= (manifest.get(key) or 0) <= most:
            raise DataError(problem(f"{file}: {key}", f"0 to {most}", manifest[key], "prepare the data again"))
    for part, kinds in OF_PARTS.items():
        _check_types(file, f"{part}.", manifest.get(part) or {}, kinds)
    return manifest


def _check_types(file: Path, within: str, values: Mapping[str, Any], kinds: Mapping[str, type]) -> None:
    """Refuse a value of a manifest that is of another type than `prepare` writes."""
    for key, kind in kinds.items():
        value = values.get(key, ...)
        if value is ... or type(value) is kind or (value is None and key not in NEVER_NULL):
            continue
        found = "null" if value is None else type(value).__name__
        raise DataError(problem(f"{file}: {within}{key}", kind.__name__, found, "prepare the data again"))


def data_shape(*manifests: Mapping[str, Any]) -> DataShape:
    """The shape of a data set from the manifests of its parts; the first one decides the sizes."""
    first = manifests[0]
    columns = frozenset(first.get("columns", []))
    has_classes = not target_columns("class").isdisjoint(columns)
    stored = first.get("contract")
    contract = Contract.from_json(stored) if stored else None
    scale = contract.scale if contract else None
    ends = [(c.minimum, c.maximum) for c in contract.columns if c.role == "value"] if contract else []
    low, high = ends[0] if ends else (None, None)
    labels = [c for c in contract.columns if c.role in target_columns("class")] if contract else []
    value_range = (low, high) if low is not None and high is not None and low < high else None
    return DataShape(
        vocab_size=first.get("vocab_size"),
        n_features=first.get("n_features"),
        n_classes=first.get("n_classes") if has_classes else None,
        n_values=first.get("n_values"),
        columns=columns,
        longest_document=max((manifest.get("longest") or 0 for manifest in manifests), default=0) or None,
        scale=scale,
        value_range=value_range,
        digest=data_digest(*manifests),
        unlabelled=labels[0] if labels and contract and contract.classes is None else None,
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


def check_made(
    options: PrepareOptions,
    manifest: Mapping[str, Any],
    *,
    what: str,
    validation: bool = False,
    same_data: Collection[str] = (),
) -> None:
    """Refuse settings that contradict how shards were made.

    `what` was made is for messages; `validation` tells whether the held-out part was made with it, and so cannot be
    another one. `same_data` are settings of how and where files were written, which may differ where the
    digest is the same.
    """
    shaping = set(PrepareOptions.model_fields) - ({"train"} if validation else {"train", "validation"})
    for setting, value in given(options, ("data",)):
        if setting.split(".")[1] not in shaping:
            continue
        if setting in same_data:
            continue
        known = made_with(manifest, setting.removeprefix("data."))
        if value not in known and not (setting == "data.tokenizer" and _same_tokenizer(str(value), manifest)):
            made = next((shown(one) for one in known if one not in (None, "auto", ())), "nothing")
            advice = "leave it out, or name raw files in data.train for it to act on"
            raise ConfigError(problem(setting, f"{made}, as {what} was made", shown(value), advice))


def made_with(manifest: Mapping[str, Any], setting: str) -> list[object]:
    """The values of a setting of `PrepareOptions`: as given, and as resolved."""
    source = manifest.get("source") or {}
    given_then: Any = source.get("options") or {}
    for key in setting.split("."):
        given_then = given_then.get(key) if isinstance(given_then, Mapping) else None
    encoder = (manifest.get("encoder") or {}).get("kind")
    came_out: dict[str, object] = {
        "format": source.get("format"),
        "encoder": encoder,
        "vocab_size": manifest.get("vocab_size") if encoder in ("ids", "tokenizer") else None,
        "n_classes": manifest.get("n_classes"),
        "normalize": bool(manifest.get("normalisation")) if manifest.get("kind") == "features" else None,
    }
    return [came_out.get(setting), tuple(given_then) if isinstance(given_then, list) else given_then]


def _same_tokenizer(path: str, manifest: Mapping[str, Any]) -> bool:
    """Whether a file has the content of the tokenizer that was used, under any path."""
    file = Path(path).expanduser()
    digest = (manifest.get("encoder") or {}).get("sha256")
    return digest is not None and file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == digest


def as_batch(batch: Batch | Arrays, model: ModelConfig) -> Batch:
    """A batch from arrays under the names that `Batch` has; anything array-like is taken (`ssm_hpn.arrays`).

    Parameters
    ----------
    batch
        `tokens` [B,T] or `features` [B,T,F], optional `segments` [S,3], `mask` [B,T] and `weights` [S] (of each
        document's loss in training), and the target: `token_class` [B,T] (-1 or NaN for none), `sequence_class` [S]
        (the same), `sequence_values` [S,K] (in the user's units; NaN), the last two together, or `cotangent` [B,T,D].
        Where the mask is false, a position is read but neither pooled
        nor compared with a class. For next-token models the target is made from the tokens where it is missing; a
        masked token is then not predicted either. An axis of size 1 at the end may be left out or added.
    model
        The resolved model.

    Raises `ShapeError` for an array of another shape or of values that the core does not take.
    """
    if isinstance(batch, Batch):
        return batch
    if not isinstance(batch, Mapping):
        source = "tokens" if model.input.kind == "tokens" else "features"
        advice = f"pass {{{source!r}: array}}, with the target beside it"
        raise ShapeError(problem("batch", "a dictionary of arrays by name", describe(batch), advice))
    for name in batch:
        if name not in _TYPES:
            close = nearest(str(name), _TYPES)
            advice = f"did you mean {close}?" if close else f"known are {', '.join(_TYPES)}"
            raise ShapeError(problem("batch", "a known array", repr(name), advice))
    sizes = _sizes(model)
    arrays: dict[str, Any] = {name: _fitted(name, batch[name], sizes, model.scale) for name in _TYPES if name in batch}
    kind = KINDS[model.target.kind]
    if kind.from_tokens and kind.arrays[0].name not in arrays and "tokens" in arrays:
        following = next_tokens(arrays["tokens"], arrays.get("segments"), arrays.get("mask"))
        arrays[kind.arrays[0].name] = following
    return Batch(**arrays)


def padded(rows: Sequence[NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """Arrays [T] or [T, F] as the rows of one batch, padded at the end: the array of this name, and `segments`.

    >>> batch = padded([np.ones((3, 1)), np.ones((2, 1))], "features")
    >>> batch["features"].shape, batch["segments"].tolist()
    ((2, 3, 1), [[0, 0, 3], [1, 0, 2]])
    """
    length = max(map(len, rows))
    x = np.zeros((len(rows), length, *rows[0].shape[1:]), rows[0].dtype)
    segments = np.zeros((len(rows), 3), np.uint32)
    for row, one in enumerate(rows):
        x[row, : len(one)] = one
        segments[row] = row, 0, len(one)
    return {name: x, "segments": segments}


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
    """Whether segments can index an array; the core reports any other error in them."""
    if len(shape) != 2 or segments.ndim != 2 or segments.shape[1] != 3:
        return False
    return not segments.size or bool(segments[:, 0].max() < shape[0] and segments[:, 2].max() <= shape[1])


def _sizes(model: ModelConfig) -> dict[str, int]:
    """Sizes of axes that a model decides; rows, positions and documents follow from the arrays."""
    width = model.d_model if model.input.kind == "hidden" else getattr(model.input, "n_features", None)
    sizes = {"3": 3, "D": model.d_model, "F": width, "K": getattr(model.target, "n_values", None)}
    return {axis: size for axis, size in sizes.items() if size is not None}


def _fitted(name: str, value: object, sizes: dict[str, int], scale: Scale | None) -> NDArray[Any]:
    """An array in the type and shape that the core takes; the axes of the first ones decide those of the others.

    The names come in the order of `_TYPES`: inputs, then documents, then targets.
    """
    scaled = scale is not None and name in ARRAYS and ARRAYS[name].element == "number"
    array = np.asarray(numbers(value, name), np.float64) if scaled else _typed(name, value)
    axes = _AXES[name]
    if array.ndim == len(axes) + 1 and array.shape[-1] == 1:
        array = array[..., 0]
    elif array.ndim == len(axes) - 1 and sizes.get(axes[-1]) == 1:
        array = array[..., None]
    if "S" in axes and "S" not in sizes and name != "segments":
        sizes["S"] = sizes.get("B", len(array) if array.ndim else 0)
    if array.ndim != len(axes) or any(sizes.get(a, n) != n for a, n in zip(axes, array.shape, strict=True)):
        expected = f"[{', '.join(str(sizes.get(axis, axis)) for axis in axes)}]"
        raise ShapeError(problem(name, expected, list(array.shape), _advice(name, array, axes)))
    sizes.update({axis: size for axis, size in zip(axes, array.shape, strict=True) if axis in "BTS"})
    if scale is not None and scaled:
        with np.errstate(over="ignore"):  # the core names the place of a number that float32 does not hold
            array = scale.scaled(array).astype(np.float32)
    return np.ascontiguousarray(array)


def _advice(name: str, array: NDArray[Any], axes: str) -> str:
    if name in _CLASSES and array.ndim == len(axes) + 1:
        return f"give the index of the class; of one-hot rows it is {name}.argmax(-1)"
    if array.ndim == len(axes) - 1 and "B" in axes:
        return f"a single row is {name}[None]"
    return "B rows, T positions, F features, S documents (rows, or those of `segments`), K numbers, D = model.d_model"


def _typed(name: str, value: object) -> NDArray[Any]:
    """The array in the type that the core takes, if no number changes its meaning on the way."""
    wanted = np.dtype(_TYPES[name])
    if wanted.kind == "b":
        array = to_array(value, name)
        if array.dtype != wanted:
            raise ShapeError(problem(name, "true and false", array.dtype, f"convert it: {name} != 0"))
        return array
    if wanted.kind == "f":
        with np.errstate(over="ignore"):  # the core names the place of a number that float32 does not hold
            return numbers(value, name).astype(wanted, copy=False)
    array = to_array(value, name)
    if name in _CLASSES:
        array = whole_numbers(array, name, missing=-1)
    elif array.dtype.kind not in "iu":
        raise ShapeError(problem(name, "whole numbers", array.dtype, f"convert it to {wanted}"))
    limits = np.iinfo(wanted)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        found = f"{array.min()} to {array.max()}"
        raise ShapeError(problem(name, f"{limits.min} to {limits.max}", found, "correct the values"))
    return array.astype(wanted, copy=False)


class Parts(NamedTuple):
    """The prepared folders of a configuration, and their manifests."""

    train: Path | None
    validation: Path | None
    manifests: list[dict[str, Any]]
    """Of those two that there are, the training part first."""
    mix: tuple[Path, ...] = ()
    """The folders of `data.mix`."""

    @property
    def contract(self) -> Contract | None:
        """The contract of the data; None without a training part."""
        return None if self.train is None else Contract.from_manifest(self.manifests[0], self.train)


def open_parts(data: DataConfig) -> Parts:
    """The prepared folders. Raises `ConfigError` for settings that they were not made with.

    >>> open_parts(DataConfig()).contract is None
    True
    """
    train, validation = locate(data)
    mix = tuple(map(mixed_in, data.mix))
    manifests = [read_manifest(folder) for folder in (train, validation) if folder is not None]
    if train is not None:
        same = data.digest == data_digest(*manifests)
        moved = ("data.tokenizer", *(f"data.{name}" for name in FILE_OPTIONS)) if same else ()
        check_made(data, manifests[0], what=f"the prepared folder {train}", same_data=moved)
        check_mix(mix, train, manifests[0])
    return Parts(train, validation, manifests, mix)


ALIKE: Final = ("kind", "vocab_size", "n_features", "n_values", "n_classes", "class_names", "feature_names")
"""Entries of manifests that are the same in all folders of a mixture, beside encoder and normalisation."""


def mixed_in(path: str) -> Path:
    """The folder of a further set: the path, or the training part below it."""
    folder = Path(path).expanduser()
    return folder / PARTS[0] if not is_prepared(folder) and is_prepared(folder / PARTS[0]) else folder


def check_mix(mix: Sequence[Path], train: Path, first: Mapping[str, Any]) -> None:
    """Refuse folders whose numbers mean something else than those of the first one, whose contract the model gets."""
    for folder in mix:
        other = read_manifest(folder)
        for key, expected, found in (*((key, first.get(key), other.get(key)) for key in ALIKE), *_scales(first, other)):
            if expected != found:
                advice = "prepare both in the same way, features with --data.normalize false"
                place = f"{folder}: {key}"
                raise DataError(problem(place, f"{_brief(expected)}, as in {train}", _brief(found), advice))


def _scales(first: Mapping[str, Any], other: Mapping[str, Any]) -> list[tuple[str, object, object]]:
    """What numbers and ids of two manifests stand for: name, and the value of each."""

    def encoder(manifest: Mapping[str, Any]) -> object:
        return {key: value for key, value in (manifest.get("encoder") or {}).items() if key != "file"}

    def scale(manifest: Mapping[str, Any]) -> object:
        return Contract.from_json(manifest["contract"]).scale if manifest.get("contract") else None

    return [
        ("encoder", encoder(first), encoder(other)),
        ("normalisation", first.get("normalisation"), other.get("normalisation")),
        ("scale of the numbers to predict", scale(first), scale(other)),
    ]


def _brief(value: object) -> str:
    """A value for a message, shortened."""
    text = "none" if value is None else json.dumps(value, default=str)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


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
        words = shlex.join(paths)
        advice = f"make one of raw data with `python -m ssm_hpn prepare {words} --out DIR`, and name DIR"
        raise DataError(problem(key, "one prepared folder", f"{len(paths)} paths", advice))
    return Path(paths[0]).expanduser() if paths else None
