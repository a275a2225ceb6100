"""Statistics, classes and columns of the data, from which its contract is made before anything is written.

The first pass sees every document: keys for the split, labels, the largest id, the number of features. The second one,
where there are numbers or labels, sees the training part alone: statistics in double precision, and how often each
class occurs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn.classes import Classes, type_of
from ssm_hpn.columns import Column, Role, Scale, measured_columns
from ssm_hpn.config.data import PrepareOptions
from ssm_hpn.counts import counted
from ssm_hpn.errors import DataError
from ssm_hpn.moments import Moments, Running, vanishing_problem
from ssm_hpn.prepare.cells import too_many
from ssm_hpn.prepare.doubts import Sums
from ssm_hpn.prepare.ids import IdSpellings
from ssm_hpn.prepare.problems import config_error, data_error, listed
from ssm_hpn.prepare.reading import Sources
from ssm_hpn.prepare.records import Coded, Documents, Floats, Record, Texts, TooManyTextsError
from ssm_hpn.targets import COLUMNS, column_with


@dataclass
class Learned:
    """The results of the two passes."""

    options: PrepareOptions
    labels: Texts = field(default_factory=Texts)
    kind: str = ""
    """text, tokens or features."""
    targets: tuple[str, ...] = ()
    """Columns of `ssm_hpn.targets.COLUMNS` that the documents have."""
    largest_id: int = -1
    longest: int = 0
    """Time steps of the longest document, or of a piece of it."""
    n_features: int | None = None
    n_values: int | None = None
    label_name: str | None = None
    unlabelled: int = 0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Number of documents or units with each label in the training part."""
    features: Moments | None = None
    values: Moments | None = None
    _running: dict[str, Running] = field(default_factory=dict, init=False)
    """Of `features` and `values`, until all of the training part has been added."""
    first: Record | None = None
    ids: IdSpellings = field(default_factory=IdSpellings)
    sums: Sums = field(default_factory=Sums)
    first_unlabelled: str = ""
    """Name of the first document without a label."""

    # ---- the first pass

    def see(self, documents: Documents) -> NDArray[np.int32]:
        """Take in documents of either part; returns the numbers of their labels, -1 for none."""
        if self.first is None:
            self.first, self.kind = documents.record(0), documents.kind
            self.label_name, self.targets = documents.label_name, tuple(documents.targets)
        if documents.ids is not None:
            self.ids.see(documents.ids)
        self.sums.see(documents)
        if documents.kind == "tokens":
            self.largest_id = max(self.largest_id, int(documents.elements.max()))
        elif documents.kind == "features":
            self._check_features(documents)
        found = np.full(len(documents), -1, np.int32)
        for name, values in documents.targets.items():
            if not isinstance(values, Coded):
                self._check_values(documents, values)
            elif COLUMNS[name].per_token:
                self._codes(values, documents)
            else:
                found = self._codes(values, documents)
        return found

    @property
    def label_column(self) -> str | None:
        """The column of targets that has the labels."""
        return column_with("class", self.targets)

    @property
    def value_column(self) -> str | None:
        """The column of targets that has the numbers to predict."""
        return column_with("number", self.targets)

    @property
    def per_unit(self) -> bool:
        """Whether labels are those of tokens or steps."""
        return self.label_column is not None and COLUMNS[self.label_column].per_token

    @property
    def per_document(self) -> bool:
        """Whether a target belongs to a whole document."""
        return not all(COLUMNS[name].per_token for name in self.targets)

    def _codes(self, coded: Coded, documents: Documents) -> NDArray[np.int32]:
        try:
            return self.labels.codes(coded)
        except TooManyTextsError:
            raise too_many(documents.source, documents.label_name or "label") from None

    def _check_features(self, documents: Documents) -> None:
        width = documents.elements.shape[1]
        self.longest = max(self.longest, int(documents.lengths.max(initial=0)), int((~documents.begins).any()) * 2)
        self.n_features = self.n_features or width
        if width != self.n_features:
            raise data_error(
                documents.source.path,
                documents.record(0).at,
                expected=f"{counted(self.n_features, 'feature')} as in the documents before",
                found=width,
                advice="all documents need the same channels",
            )
        if self.options.missing == "refuse" and (absent := np.isnan(documents.elements)).any():
            unit, k = (int(i) for i in np.argwhere(absent)[0])
            entry = int(np.searchsorted(documents.offsets, unit, side="right") - 1)
            record, rows, source = documents.record(entry), documents.unit_rows, documents.source
            at = record.at if rows is None else source.row(int(rows[unit]))
            step = "" if rows is not None else f", step {unit - documents.offsets[entry]}"
            raise data_error(
                source.path,
                f"{at}{step}, {source.field(documents.channels[k])}",
                expected="a finite number",
                found="no number (NaN or an empty cell)",
                advice="fill it, or set data.missing to mask, forward or zero",
            )

    def _check_values(self, documents: Documents, values: Floats) -> None:
        width = values.shape[1]
        self.n_values = self.n_values or width
        if width != self.n_values:
            raise data_error(
                documents.source.path,
                documents.record(0).at,
                expected=counted(self.n_values, "number") + " to predict",
                found=width,
                advice="give every document as many",
            )

    def check_labels(self, documents: int) -> None:
        """Refuse labels that are measurements: nearly all of them different numbers with fractions."""
        texts = self.labels.texts
        if self.first is None or self.per_unit or 2 * len(texts) <= documents or type_of(texts) != "number":
            return
        fraction = next((text for text in texts if float(text) % 1), None)
        if fraction is not None:
            raise data_error(
                self.first.source.path,
                self.first.source.field(self.label_name or "label"),
                expected="classes",
                found=f"{counted(len(texts), 'different number')} with fractions, such as {fraction}",
                advice="numbers to predict go into --data.columns.values",
            )

    # ---- the second pass

    def measure(self, documents: Documents) -> None:
        """Take in documents of the training part."""
        if documents.kind == "features":
            running = self._running.setdefault("features", Running(documents.elements.shape[1]))
            running.add(np.asarray(documents.elements, np.float64))
        numbers = documents.targets.get(self.value_column or "")
        if isinstance(numbers, np.ndarray):
            running = self._running.setdefault("values", Running(numbers.shape[1]))
            running.add(numbers if COLUMNS[self.value_column or ""].per_token else numbers[documents.begins])
        coded = documents.targets.get(self.label_column or "")
        if isinstance(coded, Coded):
            codes = self.labels.codes(coded)
            codes = codes if self.per_unit else codes[documents.begins]
            if len(self.counts) < len(self.labels.texts):
                self.counts = np.pad(self.counts, (0, len(self.labels.texts) - len(self.counts)))
            there = codes[codes >= 0]
            if not self.per_unit and not self.first_unlabelled and len(there) < len(codes):
                first = int(np.flatnonzero(documents.begins)[np.flatnonzero(codes < 0)[0]])
                self.first_unlabelled = documents.name(first)
            self.counts[: len(self.labels.texts)] += np.bincount(there, minlength=len(self.counts))
            self.unlabelled += len(codes) - len(there)

    def measured(self) -> None:
        """All documents of the training part have been added."""
        for name, running in self._running.items():
            setattr(self, name, running.moments())
        if self.label_name and self.label_column in self.targets and not self.counts.any():
            raise self._without_labels(self.label_name)

    def _without_labels(self, name: str) -> DataError:
        """The error for a column of labels in which the training part has none."""
        assert self.first is not None
        source = self.first.source
        found = "none in the training part" if self.labels.texts else f"the {source.field_noun} empty in all rows"
        advice = f"fill it, name another one in data.columns.{self.label_column}, or leave it out"
        if self.options.labels:
            found = f"none in {self.options.labels} for the ids of the training part"
            advice = "see that the ids in it are those of the data"
        expected = "labels of the classes to learn"
        return data_error(source.path, source.field(name), expected=expected, found=found, advice=advice)

    @property
    def measures(self) -> bool:
        """Whether a second pass is needed."""
        return self.kind == "features" or bool(self.targets)

    # ---- the contents of the contract

    def classes(self) -> Classes | None:
        """The classes of the training part, None without labels."""
        counts = {text: int(n) for text, n in zip(self.labels.texts, self.counts.tolist(), strict=False) if n}
        if not counts or self.first is None:
            return None
        source = self.first.source
        at = source.field(self.label_name or "label")
        try:
            found = Classes.from_texts(counts)
        except DataError as error:
            raise DataError(f"{source.path}: {at}: {error}") from None
        return self._counted(found)

    def _counted(self, found: Classes) -> Classes:
        """The classes that `data.n_classes` asks for: whole numbers from 0 on, also those that do not occur."""
        asked = self.options.n_classes
        if asked is None or asked == len(found):
            return found
        if found.type == "integer" and all(0 <= int(value) < asked for value in found.values):
            count = dict(zip(found.values, found.counts, strict=True))
            return Classes(tuple(range(asked)), "integer", tuple(count.get(value, 0) for value in range(asked)))
        raise config_error(
            "data.n_classes",
            expected=f"{len(found)}, one for each of the labels {listed(found.names)}",
            found=asked,
            advice="drop --data.n_classes",
        )

    def scale(self) -> Scale | None:
        """The scale of the numbers to predict."""
        if self.values is None or self.first is None:
            return None
        self._check_any(self.values, getattr(self.options.columns, self.value_column or ""), "value")
        return Scale.of(self.values)

    def _id_type(self, declared: str) -> str:
        """The type of the ids: `declared`, the type of their column, or by their texts where it is empty."""
        return declared if declared in ("number", "text") else "integer" if self.ids.whole else "text"

    def columns(self, sources: Sources) -> tuple[Column, ...]:
        """Every column in use, with its statistics."""
        columns, types = sources.columns, {} if sources.reading is None else sources.reading.types
        found = [Column(columns.id, "id", self._id_type(types.get(columns.id, "")))] if columns.id else []
        if columns.order:
            kind = types.get(columns.order, "number")
            found.append(Column(columns.order, "order", kind, None if kind == "number" else "second"))
        if columns.text:
            found.append(Column(columns.text, "text", "text"))
        if columns.tokens:
            found.append(Column(columns.tokens, "tokens", "integer"))
        if self.features is not None and self.first is not None:
            found += self._measured(self.features, self.first.documents.channels, "feature")
        if self.label_name:
            classes = self.classes()
            role: Any = self.label_column
            found.append(Column(self.label_name, role, classes.type if classes else "text", missing=self.unlabelled))
        if self.values is not None:
            found += self._measured(self.values, getattr(columns, self.value_column or ""), "value")
        return tuple(found)

    def _measured(self, moments: Moments, names: tuple[str, ...], role: Role) -> tuple[Column, ...]:
        self._check_any(moments, names, role)
        width = len(moments.mean)
        if len(names) != width:
            stem = names[0] if names else role
            names = tuple(f"{stem}[{k}]" for k in range(width))
        return measured_columns(names, moments, role, self.options.missing if role == "feature" else "refuse")

    def notes(self) -> Iterator[str]:
        """Notes about ids, documents without a label or of one step each, and classes of one document."""
        yield from self.ids.notes()
        yield from self.sums.notes()
        if self.first_unlabelled and self.features is not None and self.counts.any():
            yield (
                f"{counted(self.unlabelled, 'document')} of the training part without a label (the first: "
                f"{self.first_unlabelled}): the mean and std of the features are taken over them too"
            )
        rows_are_steps = self.first is not None and self.first.documents.unit_rows is not None
        if rows_are_steps and self.longest == 1 and (self.n_features or 0) > 1:
            of = counted(self.n_features or 0, "feature")
            yield (
                f"every document has one time step of {of}; where the columns are the steps of one feature, make a "
                "list of them by a query: SELECT *, [a, b, c] AS series"
            )
        classes = self.classes()
        if classes is not None and len(classes) == 1:
            yield f"one class in the training part: {classes.names[0]!r}"
        elif classes is not None and not self.per_unit and classes.alone:
            yield (
                f"each of the {len(classes)} classes has one document in the training part, and none to be like it; "
                "numbers to predict go into --data.columns.values"
            )
        for doubt in [] if classes is None else classes.doubts():
            missing = "missing value" in doubt
            yield doubt + ("; if it is one, leave the cell empty, or in CSV name it in data.null" if missing else "")

    def _check_any(self, moments: Moments, names: tuple[str, ...], role: str) -> None:
        """Refuse a column without a number in the training part, or with differences that no double can square."""
        if self.first is None:
            return
        source = self.first.source

        def field(k: int) -> str:
            return source.field(names[k] if len(names) == len(moments.count) else f"{role} {k}")

        for k in np.flatnonzero(moments.count == 0).tolist():
            expected, advice = "a number in the training part", "leave the column out"
            raise data_error(source.path, field(k), expected=expected, found="none", advice=advice)
        for k in np.flatnonzero(moments.vanishing).tolist():
            place = f"{source.path}: {field(k)}"
            raise DataError(vanishing_problem(place, float(moments.minimum[k]), float(moments.maximum[k])))
