"""Settings of the optimiser, loop, evaluation, stopping, checkpoints and the run's folder."""

import unicodedata
from collections.abc import Mapping
from math import inf, nan
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from ssm_hpn.config.applies import ONE_OF_THEM, Applies, Is
from ssm_hpn.config.base import Section, names_of
from ssm_hpn.config.bounds import bounds
from ssm_hpn.config.model import Count
from ssm_hpn.targets import KINDS, language_model

Unit = Literal["steps", "epochs", "seconds"]
LONGEST_NAME: Final = 160
"""Most bytes of a run's name: file systems allow 255, and a digest is appended."""
HELD_OUT: Final = Applies(
    "held-out data", {"task.evaluates": True}, advice="name some in data.validation, or leave it out"
)
LANGUAGE_MODEL: Final = Applies(f"target {language_model()}, a language model", {"task.target": language_model()})
CLASSES: Final = Applies(
    "a target with classes that are labels",
    {"task.target": tuple(kind.name for kind in KINDS.values() if kind.has("class") and not kind.from_tokens)},
)
BALANCED: Final = "balanced"
"""In `train.class_weights`: weights in inverse proportion to how often classes occur."""


class _Schedule(Section):
    """Settings of all schedules; the formulas are in docs/mathematics.md, section 3."""

    warmup: Annotated[int, Field(ge=0)] | None = Field(
        None, description="updates of linear warm-up; null: a twentieth of the run, at most 200"
    )


class ConstantSchedule(_Schedule):
    """Warm-up, then the full rate."""

    kind: Literal["constant"] = Field("constant", description="warm-up, then the full rate")


class _DecayingSchedule(_Schedule):
    """A schedule that ends at its smallest rate."""

    total: Count | None = Field(None, description="updates until the smallest rate; null: train.steps")
    min_ratio: float = Field(
        0.1, description="smallest rate as a share of the full one", **bounds("optim.schedule.min_ratio")
    )


class CosineSchedule(_DecayingSchedule):
    """Warm-up, then half a cosine down."""

    kind: Literal["cosine"] = Field("cosine", description="warm-up, then half a cosine down to min_ratio")


class LinearSchedule(_DecayingSchedule):
    """Warm-up, then a straight line down."""

    kind: Literal["linear"] = Field("linear", description="warm-up, then a straight line down to min_ratio")


class WsdSchedule(_DecayingSchedule):
    """Warm-up, full rate, then a straight line down at the end."""

    kind: Literal["wsd"] = Field("wsd", description="warm-up, the full rate, then a line down over the last updates")
    decay: Count | None = Field(None, description="updates of the final decay; null: a fifth of total")


Schedule = Annotated[
    CosineSchedule | LinearSchedule | ConstantSchedule | WsdSchedule,
    Field(discriminator="kind"),
]


class OptimConfig(Section):
    """AdamW with decoupled decay, clipping by the global norm, and a guard against values that are not finite.

    The formulas are in docs/mathematics.md, section 3.
    """

    lr: float = Field(3e-3, description="full learning rate", **bounds("optim.lr"))
    beta1: float = Field(0.9, description="decay of the first moment", **bounds("optim.beta1"))
    beta2: float = Field(0.95, description="decay of the second moment", **bounds("optim.beta2"))
    eps: float = Field(1e-8, description="added to the root of the second moment", **bounds("optim.eps"))
    weight_decay: float = Field(0.1, description="decoupled decay, of matrices only", **bounds("optim.weight_decay"))
    clip_norm: float = Field(1.0, ge=0, description="largest global norm of the gradient; 0: no clipping")
    max_skipped: int = Field(
        10, description="non-finite updates in a row that end the run", **bounds("optim.max_skipped")
    )
    schedule: Schedule = Field(default_factory=CosineSchedule, description="learning rate over the run")


def _of_classes(value: object) -> object:
    """Weights of classes as texts NAME=WEIGHT: from a table, a list, or one text."""
    if isinstance(value, Mapping):
        return tuple(sorted(f"{name}={weight}" for name, weight in value.items()))
    return names_of(value) if isinstance(value, str) else value


def _check_class_weights(entries: tuple[str, ...]) -> tuple[str, ...]:
    class_weights_of(entries)
    return entries


def class_weights_of(entries: tuple[str, ...]) -> dict[str, float] | None:
    """The weights in `train.class_weights` by name of the class; None for `balanced`.

    >>> class_weights_of(("fault=5", "x=1=0.5")), class_weights_of(("balanced",))
    ({'fault': 5.0, 'x=1': 0.5}, None)
    """
    if entries == (BALANCED,):
        return None
    found: dict[str, float] = {}
    for entry in entries:
        name, equals, number = entry.rpartition("=")
        try:
            weight = float(number) if equals else nan
        except ValueError:
            weight = nan
        if not (0 < weight < inf):
            raise ValueError(
                "balanced, or NAME=WEIGHT for some classes, each weight a number above 0, one whose name has a comma "
                "as '[\"a, b=5\"]'"
            )
        if name in found:
            raise ValueError(f"each class once, and {name} is there twice")
        found[name] = weight
    return found


def _check_virtual_ranks(number: int | None) -> int | None:
    if number is not None and number & (number - 1):
        raise ValueError("a power of two")
    return number


class TrainConfig(Section):
    """The loop."""

    steps: Count = Field(3000, description="number of updates")
    epochs: Annotated[
        Count | None,
        Applies(
            "neither train.steps nor train.tokens beside it",
            {"train.epochs": Is.EMPTY},
            {"train.steps": 3000, "train.tokens": Is.EMPTY},
            advice=ONE_OF_THEM,
        ),
    ] = Field(None, description="passes over the training data, in place of train.steps, which it is turned into")
    tokens: Annotated[
        Count | None,
        Applies("no train.steps beside it", {"train.tokens": Is.EMPTY}, {"train.steps": 3000}, advice=ONE_OF_THEM),
    ] = Field(None, description="tokens to train on, in place of train.steps, which it is turned into")
    batch_size: int = Field(8, description="rows of a micro-batch B", **bounds("train.batch_size"))
    accumulate: Count = Field(1, description="micro-batches of one update")
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(0, description="of initial weights and data order")
    virtual_ranks: Annotated[int | None, AfterValidator(_check_virtual_ranks)] = Field(
        None,
        ge=1,
        le=1024,
        description="parts of an update whose sums are joined as a tree, a power of two that divides its rows: every "
        "number of ranks up to it gives the same bits; null: 1, and on several ranks the largest up to 8",
    )
    threads: Count | None = Field(None, description="threads; null: SSM_HPN_THREADS, or all cores")
    precision: Literal["f32", "bf16"] = Field(
        "f32",
        description="of the factors of products in training; bf16: rounded once per use, sums and all else in f32",
    )
    class_weights: Annotated[
        tuple[str, ...], BeforeValidator(_of_classes), AfterValidator(_check_class_weights), CLASSES
    ] = Field(
        (),
        description="how much each class counts in training. balanced: in inverse proportion to how often it occurs; "
        "or NAME=WEIGHT for some classes (in a file a table of them), 1 for the others",
    )
    log_every: Count = Field(10, description="updates between two rows of metrics.jsonl")
    on_divergence: Literal["stop", "rollback"] = Field(
        "stop",
        description="after optim.max_skipped updates in a row that were not finite: stop, or go back to the last "
        "checkpoint and on with a smaller learning rate, at most three times",
    )
    rollback_rate: Annotated[
        float,
        Applies(
            "train.on_divergence rollback",
            {"train.on_divergence": "rollback"},
            advice="set that, or leave the rate out",
        ),
    ] = Field(0.5, gt=0, lt=1, description="what the learning rate is multiplied by at such a return")


class EvaluationConfig(Section):
    """When held-out data is evaluated, and which value is better."""

    every: Annotated[float, HELD_OUT] = Field(150.0, gt=0, description="distance of two evaluations, in units")
    unit: Annotated[Unit, HELD_OUT] = Field("steps", description="unit of every")
    batches: Annotated[Count | Literal["all"], HELD_OUT] = Field(
        16, description="held-out batches, always the same ones; all: the whole set"
    )
    metric: Annotated[str, HELD_OUT] = Field(
        "loss", description="metric that decides the best checkpoint and early stopping"
    )
    direction: Annotated[Literal["auto", "min", "max"], HELD_OUT] = Field(
        "auto", description="better is smaller or larger; auto: by metric"
    )
    prompt: Annotated[str | None, LANGUAGE_MODEL, HELD_OUT] = Field(
        None,
        min_length=1,
        description="text to continue at every evaluation of a language model; null: the beginning of a held-out text",
    )
    continuation: Annotated[int, Field(ge=0), LANGUAGE_MODEL, HELD_OUT] = Field(
        96, description="tokens of such a continuation; 0: none is shown"
    )
    temperature: Annotated[float, LANGUAGE_MODEL, HELD_OUT] = Field(
        0.7, ge=0, description="of such a continuation; 0: the best token each time"
    )


class EarlyStoppingConfig(Section):
    """When a run that no longer improves ends."""

    patience: Annotated[Count | None, HELD_OUT] = Field(
        None, description="evaluations without improvement until the run ends; null: off"
    )
    min_change: Annotated[float, HELD_OUT] = Field(
        0.0, ge=0, description="smallest change of the metric that counts as improvement"
    )


class CheckpointConfig(Section):
    """When the state is saved, and how many are kept."""

    every: float = Field(300.0, gt=0, description="distance of two checkpoints, in units")
    unit: Unit = Field("steps", description="unit of every")
    keep: Annotated[int, Field(ge=2)] = Field(3, description="newest checkpoints kept, besides the best one")
    keep_best: Annotated[int, Field(ge=1), HELD_OUT] = Field(1, description="best checkpoints kept")
    keep_every: Count | None = Field(
        None, description="updates of an interval of which one checkpoint is kept for ever; null: none"
    )
    background: bool = Field(
        False, description="whether a copy is written while training goes on; it takes three times the parameters"
    )
    on_save_error: Literal["stop", "warn"] = Field(
        "stop", description="when a checkpoint cannot be written: stop, or say so and go on; the last one always stops"
    )


def safe_name(text: str) -> str:
    """A text in letters and digits of any script, `.`, `_` and `-`, as every file system takes it; it may be empty.

    >>> safe_name("größe.txt"), safe_name("数据"), safe_name("my texts/")
    ('größe.txt', '数据', 'my-texts')
    """
    composed = unicodedata.normalize("NFC", text)
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" or c in "._-" else "-" for c in composed).strip("._-")
    return kept.encode()[:LONGEST_NAME].decode(errors="ignore").rstrip("._-")


def _check_name(name: str | None) -> str | None:
    if name is not None and (not name or safe_name(name) != unicodedata.normalize("NFC", name)):
        raise ValueError(f"letters, digits, '.', '_' and '-', at most {LONGEST_NAME} bytes, none of '._-' at the ends")
    return name


class RunConfig(Section):
    """The folder of the results."""

    folder: str | None = Field(None, description="folder of the run; null: runs/NAME-DIGEST")
    name: Annotated[
        str | None,
        AfterValidator(_check_name),
        Applies(
            "no run.folder, which is the name already",
            {"data.digest": Is.GIVEN},  # the settings were written by a run, as only those have a digest
            {"run.folder": Is.EMPTY},
            advice=ONE_OF_THEM,
        ),
    ] = Field(None, description="name of the run; null: that of the data")
