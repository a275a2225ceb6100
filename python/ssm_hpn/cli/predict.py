"""`predict`: one JSON object per document, as JSON lines.

sequence_class   {"name", "class", "score", "scores"}    class null where no score reaches --reject-below;
                                                         scores by the name of the class, or its number as text
token_class      {"name", "classes"}
sequence_values  {"name", "values"}
next_token       {"name", "next", "score"}               what follows the document
"""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.cli.checkpoint import checkpoint_parser, load_trainer
from ssm_hpn.cli.documents import Document, Reader, batches
from ssm_hpn.errors import EXIT_DONE
from ssm_hpn.trainer import Trainer

INPUTS = ("tokens", "features", "segments")
AT_ONCE = 4096


def run(arguments: Sequence[str], prog: str) -> int:
    """Predict; returns the exit code."""
    parser = checkpoint_parser(prog, "Predictions for raw files or a prepared folder, as JSON lines.")
    parser.add_argument("--data", type=Path, required=True, help="raw files, or a prepared folder")
    parser.add_argument("--out", type=Path, help="file to write (default: standard output)")
    parser.add_argument("--reject-below", type=float, metavar="X", help="no class where the best score is below X")
    options = parser.parse_args(arguments)
    trainer = load_trainer(options)
    with nullcontext(sys.stdout) if options.out is None else options.out.open("w", encoding="utf-8") as file:
        for row in predictions(trainer, options.data, options.reject_below):
            file.write(json.dumps(row) + "\n")
    return EXIT_DONE


def predictions(trainer: Trainer, path: Path, reject_below: float | None = None) -> Iterator[dict[str, Any]]:
    """One row per document, in the order of the data."""
    reader = Reader(trainer)
    if reader.target == "next_token":
        yield from _continuations(trainer, reader, path)
        return
    for group, arrays in batches(reader.documents(path, targets=False), reader.target, trainer.config.train.batch_size):
        scores = trainer.predict({name: array for name, array in arrays.items() if name in INPUTS})
        for document, row in zip(group, scores, strict=True):
            yield {"name": document.name, **_answer(reader, document, row, reject_below)}


def _answer(reader: Reader, document: Document, scores: NDArray[Any], reject_below: float | None) -> dict[str, Any]:
    if reader.target == "sequence_values":
        return {"values": _rounded(scores)}
    if reader.target == "token_class":
        classes = scores[: len(document.x)].argmax(axis=1).tolist()
        return {"classes": [_named(reader, index) for index in classes]}
    best = int(scores.argmax())
    score = float(scores[best])
    by_class = {str(_named(reader, index)): value for index, value in enumerate(_rounded(scores))}
    rejected = reject_below is not None and score < reject_below
    return {"class": None if rejected else _named(reader, best), "score": score, "scores": by_class}


def _continuations(trainer: Trainer, reader: Reader, path: Path) -> Iterator[dict[str, Any]]:
    """What follows each document, read through once in constant memory."""
    stream = trainer.stream()
    for document in reader.documents(path, targets=False):
        stream.reset()
        for start in range(0, len(document.x), AT_ONCE):
            scores = stream.prefill(document.x[None, start : start + AT_ONCE])[0]
        best = int(scores.argmax())
        following = reader.encoder.decode([best]) if reader.encoder else best
        yield {"name": document.name, "next": following, "score": float(scores[best])}


def _named(reader: Reader, index: int) -> str | int:
    names = reader.class_names or []
    return names[index] if index < len(names) else index


def _rounded(values: NDArray[Any]) -> list[float]:
    return [float(f"{value:.6g}") for value in np.asarray(values, np.float64).ravel()]
