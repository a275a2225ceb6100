"""Vectors of the classes in a file or from the caller, in the order of the classes: `model.head.vectors`.

| file | content |
|---|---|
| `.csv` | a row for each class: its name, then numbers; a first row without numbers is a header |
| `.json` | an object of the numbers by class name, or a list of rows in the order of the classes |
| `.npy` | [C, numbers], in the order of the classes |

By name, vectors of further classes may be there too. Whether prototypes can be made from the numbers is the core's to
say.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssm_hpn.arrays import numbers
from ssm_hpn.config.model import MADE_FROM_VECTORS, PrototypeHead
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, DataError, ShapeError, nearest, problem, shown
from ssm_hpn.foreign import from_json

Floats = NDArray[np.float64]

SETTING: Final = "model.head.vectors"
FORMS: Final = "a .csv with the name of a class and its numbers in each row, a .json of the same, or a .npy"
DELIMITERS: Final = ",;\t"


@dataclass(frozen=True, eq=False)
class ClassVectors:
    """Vectors [C, numbers] in the order of the classes.

    >>> made = ClassVectors.of({"b": [0, 1], "a": [1, 0], "c": [1, 1]}, names=["a", "b"])
    >>> made.rows.tolist(), len(made.digest)
    ([[1.0, 0.0], [0.0, 1.0]], 64)
    """

    rows: Floats
    names: tuple[str, ...] | None
    """The names of the classes; None where they have none."""

    @classmethod
    def of(cls, given: ArrayLike | Mapping[Any, ArrayLike], names: Sequence[str] | None) -> "ClassVectors":
        """Vectors of the caller: by class name, or [C, numbers] in the order of the classes."""
        if isinstance(given, Mapping):
            known = {
                str(name): np.asarray(numbers(one, f"vector of {name}"), np.float64) for name, one in given.items()
            }
            return cls(_in_order(known, names, "class_vectors"), _tuple(names))
        found = np.ascontiguousarray(numbers(given, "class_vectors"), np.float64)
        if found.ndim != 2:
            raise ShapeError(
                problem("class_vectors", "[classes, numbers]", list(found.shape), "pass a row for each class")
            )
        return cls(found, _tuple(names))

    @classmethod
    def read(cls, path: Path, names: Sequence[str] | None) -> "ClassVectors":
        """Vectors of a file, see the head of this module.

        Raises `DataError` for a file of another kind, a class without a vector, and a cell that is no number.
        """
        readers = {".csv": _of_csv, ".json": _of_json, ".npy": _of_npy}
        reader = readers.get(path.suffix.lower())
        if reader is None:
            raise DataError(problem(path, FORMS, f"a {path.suffix or 'file without an ending'}", "convert it"))
        found = reader(path)
        if isinstance(found, Mapping):
            return cls(_in_order(found, names, str(path)), _tuple(names))
        return cls(found, _tuple(names))

    def settings(self, head: object) -> dict[str, str | int]:
        """What a configuration has of them: their digest, and the dimension of given prototypes where it names none."""
        if not isinstance(head, PrototypeHead) or head.prototypes != "given" or head.dim is not None:
            return {"vectors_digest": self.digest}
        if head.projection == "identity":
            return {"vectors_digest": self.digest}
        return {"vectors_digest": self.digest, "dim": self.rows.shape[1] + (head.loss.kind == "joint")}

    @property
    def digest(self) -> str:
        """SHA-256 of the numbers, in hexadecimal."""
        shape = json.dumps(self.rows.shape).encode()
        return hashlib.sha256(shape + self.rows.astype("<f8").tobytes()).hexdigest()


def vectors_of_setting(setting: str, names: Sequence[str] | None) -> ClassVectors:
    r"""The vectors of the file that `model.head.vectors` names.

    >>> from pathlib import Path
    >>> size = Path("kinds.csv").write_text("kind,x,y\nwild,1,0\ncalm,0,1\n")
    >>> vectors_of_setting("kinds.csv", ["calm", "wild"]).rows.tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    path = Path(setting).expanduser()
    if not path.is_file():
        raise ConfigError(problem(SETTING, FORMS, f"no file {setting}", "correct the path"))
    return ClassVectors.read(path, names)


def needs_vectors(head: PrototypeHead) -> bool:
    """Whether prototypes are made, or assigned, from class vectors.

    >>> from ssm_hpn.config.model import PrototypeHead
    >>> needs_vectors(PrototypeHead(assignment="semantic")), needs_vectors(PrototypeHead())
    (True, False)
    """
    return head.prototypes in MADE_FROM_VECTORS or head.assignment == "semantic"


def awaits_checkpoint(head: object) -> bool:
    """Whether the prototypes of a head are made from class vectors whose file is gone: a checkpoint has them.

    >>> from ssm_hpn.config.model import PrototypeHead
    >>> awaits_checkpoint(PrototypeHead(prototypes="given", vectors="gone.csv", vectors_digest="ab"))
    True
    """
    if not isinstance(head, PrototypeHead) or not needs_vectors(head):
        return False
    there = head.vectors is not None and Path(head.vectors).expanduser().is_file()
    return head.vectors_digest is not None and not there


def vectors_of_head(
    head: object, given: "ClassVectors | ArrayLike | Mapping[Any, ArrayLike] | None", names: Sequence[str] | None
) -> ClassVectors | None:
    """The class vectors from which a head makes its prototypes: those of the caller, else of its file.

    None for a head without such prototypes, and where the file is gone and its digest is known: then prototypes come
    from a checkpoint. Raises `ConfigError` where there are none, or where they are not those of the digest.

    >>> from ssm_hpn.config.model import PrototypeHead
    >>> vectors_of_head(PrototypeHead(prototypes="given"), [[1, 0], [0, 1]], None).rows.shape
    (2, 2)
    """
    kind = getattr(head, "prototypes", None)
    if not isinstance(head, PrototypeHead) or not needs_vectors(head):
        if given is None:
            return None
        found = f"{'prototypes' if kind else 'head'} {kind or getattr(head, 'kind', 'auto')!r}"
        expected = "model.head.prototypes 'semantic' or 'given', or model.head.assignment 'semantic'"
        raise ConfigError(problem("class_vectors", expected, found, "set it, or leave the vectors out"))
    if given is not None:
        vectors = given if isinstance(given, ClassVectors) else ClassVectors.of(given, names)
    elif awaits_checkpoint(head):
        return None
    elif head.vectors is not None:
        vectors = vectors_of_setting(head.vectors, names)
    else:
        advice = "name a file of them, or pass class_vectors to Trainer"
        use = f"{kind} prototypes" if kind in MADE_FROM_VECTORS else "a semantic assignment"
        raise ConfigError(problem(SETTING, f"vectors of the classes for {use}", "none", advice))
    if head.vectors_digest not in (None, vectors.digest):
        expected = f"class vectors with the digest {head.vectors_digest[:12]}"
        advice = "they changed since; restore them, or start another run without model.head.vectors_digest"
        raise ConfigError(problem(SETTING, expected, vectors.digest[:12], advice))
    return vectors


def _tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _in_order(known: Mapping[str, Floats], names: Sequence[str] | None, where: str) -> Floats:
    """The vectors [C, numbers] of these classes; classes without names are called 0, 1, 2 and so on."""
    wanted = [str(number) for number in range(len(known))] if names is None else list(names)
    missing = [name for name in wanted if name not in known]
    if missing:
        close = nearest(missing[0], known)
        advice = f"is it {close!r}?" if close else "add it"
        if names is None:
            advice = "the classes have no names here: call them 0, 1, 2 …"
        rest = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        expected = f"a vector for each of {counted(len(wanted), 'class', 'classes')}"
        raise DataError(problem(where, expected, f"none for {missing[0]!r}{rest}", advice))
    first = known[wanted[0]]
    for name in wanted:
        if known[name].ndim != 1 or len(known[name]) != len(first):
            expected = f"{counted(len(first), 'number')} for each class, as for {wanted[0]!r}"
            found = f"{list(known[name].shape)} for {name!r}"
            raise DataError(problem(where, expected, found, "give all vectors the same length"))
    return np.stack([known[name] for name in wanted])


def _of_csv(path: Path) -> Mapping[str, Floats]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(problem(path, "UTF-8", f"other bytes at {error.start}", "save it as UTF-8")) from None
    first = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=first.count)
    found: dict[str, Floats] = {}
    rows = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        name, cells = row[0].strip(), row[1:]
        values = [_number(cell) for cell in cells]
        wrong = next((cell for cell, value in zip(cells, values, strict=True) if value is None), None)
        if wrong is not None and not found and all(value is None for value in values):
            continue  # the header
        place = f"{path}: line {rows.line_num}"
        if wrong is not None or not cells:
            expected = "the name of a class, then numbers"
            raise DataError(problem(place, expected, shown(wrong) if cells else "a name alone", "correct the line"))
        if name in found:
            raise DataError(problem(place, "each class once", f"{name!r} again", "remove one of the two lines"))
        found[name] = np.array(values, np.float64)
    if not found:
        raise DataError(problem(path, FORMS, "no vectors", "check the file"))
    return found


def _number(cell: str) -> float | None:
    """The number in a cell, NaN for an empty one; None for anything else."""
    try:
        return float(cell) if cell.strip() else float("nan")
    except ValueError:
        return None


def _of_json(path: Path) -> Mapping[str, Floats] | Floats:
    try:
        content = from_json(path.read_bytes())
    except ValueError as error:
        raise DataError(problem(path, "JSON", f"damage ({error})", "check the file")) from None
    if isinstance(content, dict) and content:
        return {name: _row(one, f"{path}: {name}") for name, one in content.items()}
    if isinstance(content, list) and content:
        rows = {str(place): _row(one, f"{path}: row {place}") for place, one in enumerate(content)}
        return _in_order(rows, None, str(path))
    raise DataError(
        problem(path, "an object of vectors by class name, or a list of them", shown(content), "convert it")
    )


def _row(value: object, where: str) -> Floats:
    is_row = isinstance(value, list) and all(
        one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in value
    )
    if not is_row:
        raise DataError(problem(where, "a list of numbers", shown(value), "correct it"))
    return np.array(value, np.float64)  # null is NaN


def _of_npy(path: Path) -> Floats:
    try:
        found = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(problem(path, "a readable file", error.strerror or error, "restore it")) from None
    except (ValueError, EOFError):  # their texts name arguments of numpy.load
        found_here = "another file, a damaged one, or one of objects"
        raise DataError(problem(path, "an array of numbers", found_here, "save the array by numpy.save")) from None
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind not in "biuf":
        shape = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else "an archive"
        advice = "save one row of real numbers for each class"
        raise DataError(problem(path, "an array [classes, numbers]", shape, advice))
    return np.ascontiguousarray(found, np.float64)
