"""The sections of the model: input, stem, blocks, target and head.

These sections mirror the JSON that the core reads, field by field. The kind `auto`, and null where a field says so,
exist here alone: `config.resolve` replaces them by what the data has.
"""

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self, Union

from pydantic import BeforeValidator, Field, create_model, model_validator

from ssm_hpn.columns import Scale
from ssm_hpn.config.applies import ONE_OF_THEM, Applies, Is, Not
from ssm_hpn.config.base import Numbers, Section
from ssm_hpn.config.bounds import bounds
from ssm_hpn.parts import BLOCKS
from ssm_hpn.targets import KINDS, TargetKind

MOST_LAYERS: Final[int] = bounds("model.n_layers")["le"]


def _as_blocks(value: object) -> object:
    """Kinds separated by commas, or a list of kinds and tables; no more than there may be layers."""
    blocks = [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value
    if isinstance(blocks, list | tuple) and len(blocks) > MOST_LAYERS:
        raise ValueError(f"at most {MOST_LAYERS} blocks, and not {len(blocks)}: there are no more layers")
    return blocks


if TYPE_CHECKING:
    BlockName = str
else:
    BlockName = Literal[tuple(kind.name for kind in BLOCKS.values() if kind.alone)]
Layers = Annotated[tuple[BlockName | dict[str, Any], ...], BeforeValidator(_as_blocks)]
Pooling = Literal["last", "mean", "max"]
Count = Annotated[int, Field(ge=1, lt=2**63)]
Effort = Literal["fast", "default", "best"]
MADE_FROM_VECTORS: Final = ("semantic", "given")
"""Prototypes that are made from class vectors."""
FROM_VECTORS: Final = (
    {"model.head.prototypes": MADE_FROM_VECTORS},
    {"model.head.assignment": "semantic"},
)
"""Where a prototype head needs class vectors."""
WITH_VECTORS: Final = "prototypes semantic or given, or assignment semantic"
LOW: Final = "number that maps to cosine -1; null: the smallest of the training data, without data -1"
HIGH: Final = "number that maps to cosine 1; null: the largest of the training data, without data 1"


class AutoInput(Section):
    """Tokens or features, as in the data."""

    kind: Literal["auto"] = Field("auto", description="taken from the data")


class TokensInput(Section):
    """Token ids through an embedding [V, D]."""

    kind: Literal["tokens"] = Field("tokens", description="token ids through an embedding")
    vocab_size: int | None = Field(
        None, description="number of token ids V; null: as in the data", **bounds("model.input.vocab_size")
    )


class FeaturesInput(Section):
    """Float features [T, F] through a linear map."""

    kind: Literal["features"] = Field("features", description="float features through a linear map")
    n_features: int | None = Field(
        None, description="features per time step F; null: as in the data", **bounds("model.input.n_features")
    )


class HiddenInput(Section):
    """Vectors of width d_model, used unchanged."""

    kind: Literal["hidden"] = Field("hidden", description="vectors of width d_model, taken as they are")


class Mamba1Block(Section):
    """Selective state space block (S6), arXiv 2312.00752."""

    kind: Literal["mamba1"] = Field("mamba1", description="selective state space block (S6)")
    d_state: int = Field(16, description="state size N per channel", **bounds("model.block.d_state"))
    d_conv: int = Field(4, description="taps K of the causal convolution", **bounds("model.block.d_conv"))
    expand: int = Field(2, description="inner width as a multiple of d_model", **bounds("model.block.expand"))
    dt_rank: int | None = Field(
        None,
        description="rank R of the step size; null: d_model / 16, rounded up",
        **bounds("model.block.dt_rank"),
    )


class AutoStem(Section):
    """The usual stem of the input: an embedding for tokens, a linear map for features."""

    kind: Literal["auto"] = Field("auto", description="an embedding for tokens, a linear map for features")


class ConvStem(Section):
    """A strided convolution over the steps of a feature series (docs/mathematics.md, section 1)."""

    kind: Literal["conv"] = Field("conv", description="strided convolution of features, for a target per sequence")
    kernel: int = Field(8, description="steps of a window, at least stride", **bounds("model.stem.kernel"))
    stride: int = Field(
        4, description="steps from one window to the next, which become one token", **bounds("model.stem.stride")
    )


class PatchStem(Section):
    """A linear map of consecutive patches of a feature series (docs/mathematics.md, section 1)."""

    kind: Literal["patch"] = Field("patch", description="patches of features, for a target per sequence")
    size: int = Field(8, description="steps of a patch, which becomes one token", **bounds("model.stem.size"))


class FiltersStem(Section):
    """Fixed random state space filters with a trained linear map on top (docs/mathematics.md, section 1)."""

    kind: Literal["filters"] = Field(
        "filters", description="random state space filters, of which a linear map is trained"
    )
    filters: int = Field(256, description="filters, rounded up to blocks of 128", **bounds("model.stem.filters"))
    longest: int = Field(256, description="largest time scale of a filter, in steps", **bounds("model.stem.longest"))
    stride: int = Field(
        4,
        description="steps from one token to the next, over which responses are averaged; 1 for a target per token",
        **bounds("model.stem.stride"),
    )
    seed: int = Field(0, description="of the filters", **bounds("model.stem.seed"))


class AutoTarget(Section):
    """As in the data: labels or values where there are any, else the next token."""

    kind: Literal["auto"] = Field("auto", description="taken from the data")
    pooling: Annotated[
        Pooling, Applies("a target per sequence", {"task.target": tuple(k.name for k in KINDS.values() if k.pooled)})
    ] = Field("mean", description="how a sequence becomes one vector, if the target is per sequence")


class TargetScale(Section):
    """Numbers to predict are learned as (y - mean) / std, in double precision; metrics and predictions are in y."""

    mean: Numbers = Field((), description="mean of each number over the training data")
    std: Numbers = Field((), description="deviation of each number, above 0")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if len(self.mean) != len(self.std) or not all(value > 0 for value in self.std):
            raise ValueError("expected a mean and a deviation above 0 for each number")
        return self


class TargetSection(Section):
    """The target: one of the kinds that the core describes (`ssm_hpn.targets`)."""

    kind: str

    @property
    def described(self) -> TargetKind:
        """The core's description."""
        return KINDS[self.kind]


def _target_section(kind: TargetKind) -> type[TargetSection]:
    """The settings of one kind: how a sequence is pooled, and how many numbers there are."""
    fields: dict[str, Any] = {"kind": (Literal[kind.name], Field(kind.name, description=kind.about))}
    if kind.pooled:
        fields["pooling"] = (Pooling, Field("mean", description="how a sequence becomes one vector"))
    if kind.has("number"):
        fields["n_values"] = (
            int | None,
            Field(
                None,
                description=f"numbers per {'sequence' if kind.pooled else 'token'} K; null: as in the data",
                **bounds("model.target.n_values"),
            ),
        )
        fields["scale"] = (
            TargetScale | None,
            Field(None, description="mean and deviation of the numbers; null: as in the data, without data none"),
        )
    name = kind.name.title().replace("_", "") + "Target"
    return create_model(name, __base__=TargetSection, __doc__=f"Predict {kind.about}.", __module__=__name__, **fields)


TARGETS: Final = {kind.name: _target_section(kind) for kind in KINDS.values()}
"""The section of every kind of target, by name."""
globals().update({section.__name__: section for section in TARGETS.values()})  # pickle finds classes by module and name


SMOOTHING: Final = Applies("a smoothing above 0", {"model.head.loss.smoothing": Is.GIVEN})
Toward = Literal["all", "near"]
"""Classes that a smoothed target goes to."""
SMOOTHING_IS: Final = "share of the target that other classes get"
TOWARD_IS: Final = (
    "classes that get it; all: each the same, near: the others by the cosines of their prototypes (in a simplex all "
    "are equally near)"
)


class SoftmaxLoss(Section):
    """Cross entropy of scaled cosines (docs/mathematics.md, section 2)."""

    kind: Literal["softmax"] = Field("softmax", description="cross entropy of scaled cosines")
    scale: float = Field(
        16.0,
        description="factor s on the cosines (at the start, if it is learned)",
        **bounds("model.head.loss.scale"),
    )
    learn_scale: bool = Field(True, description="whether the scale is trained")
    smoothing: float = Field(0.0, description=SMOOTHING_IS, **bounds("model.head.loss.smoothing"))
    smoothing_toward: Annotated[Toward, SMOOTHING] = Field("all", description=TOWARD_IS)


class CosineLoss(Section):
    """Squared cosine distance: costs nothing per class, expresses no likelihood (docs/mathematics.md, section 2)."""

    kind: Literal["cosine"] = Field("cosine", description="squared cosine distance to the class's prototype")


class MarginLoss(Section):
    """Cross entropy of scaled cosines with an angular margin on the target (docs/mathematics.md, section 2)."""

    kind: Literal["margin"] = Field("margin", description="scaled softmax with an angular margin on the target")
    scale: float = Field(16.0, description="factor s on the cosines", **bounds("model.head.loss.scale"))
    margin: float = Field(0.3, description="angle m added to the target's, radians", **bounds("model.head.loss.margin"))
    smoothing: float = Field(0.0, description=SMOOTHING_IS, **bounds("model.head.loss.smoothing"))
    smoothing_toward: Annotated[Toward, SMOOTHING] = Field("all", description=TOWARD_IS)


class RegressionLoss(Section):
    """One number as the cosine to a pole (docs/mathematics.md, section 2)."""

    kind: Literal["regression"] = Field("regression", description="one number as the cosine to a pole")
    low: float | None = Field(None, description=LOW)
    high: float | None = Field(None, description=HIGH)


class NoSurgery(Section):
    """The gradients of class and number add up."""

    kind: Literal["none"] = Field("none", description="the gradients of class and number add up")


class PcgradSurgery(Section):
    """Projected conflicting gradients, arXiv 2001.06782 (docs/mathematics.md, section 2)."""

    kind: Literal["pcgrad"] = Field(
        "pcgrad", description="where they conflict, each gives up its part along the other (PCGrad)"
    )


class CagradSurgery(Section):
    """Conflict-averse gradients, arXiv 2110.14048 (docs/mathematics.md, section 2)."""

    kind: Literal["cagrad"] = Field(
        "cagrad", description="near their mean, the one under which the task that gains least gains most (CAGrad)"
    )
    distance: float = Field(
        0.5,
        description="largest distance c from the mean, as a share of its length",
        **bounds("model.head.loss.surgery.distance"),
    )


class GradnormSurgery(Section):
    """Gradient normalisation, arXiv 1711.02257 (docs/mathematics.md, section 2)."""

    kind: Literal["gradnorm"] = Field(
        "gradnorm", description="weights of the two by which they learn at the same rate (GradNorm)"
    )
    alpha: float = Field(
        1.5,
        description="how strongly the one that has learned less is preferred",
        **bounds("model.head.loss.surgery.alpha"),
    )
    rate: float = Field(0.025, description="step of the weights at an update", **bounds("model.head.loss.surgery.rate"))


class JointLoss(Section):
    """One class and one number together (docs/mathematics.md, section 2)."""

    kind: Literal["joint"] = Field("joint", description="one number as the cosine to a pole, and one class beside it")
    low: float | None = Field(None, description=LOW)
    high: float | None = Field(None, description=HIGH)
    weight: float = Field(
        0.5, description="weight of the class; the number has the rest", **bounds("model.head.loss.weight")
    )
    surgery: Annotated[NoSurgery | PcgradSurgery | CagradSurgery | GradnormSurgery, Field(discriminator="kind")] = (
        Field(
            default_factory=NoSurgery,
            description="how the gradients of class and number with respect to the head's features become one",
        )
    )


class AutoHead(Section):
    """Prototypes with scaled softmax for classes, least squares for numbers."""

    kind: Literal["auto"] = Field("auto", description="prototype for classes, linear least squares for numbers")


class PrototypeHead(Section):
    """Fixed unit prototypes, well separated; a feature is compared with them by its cosine."""

    kind: Literal["prototype"] = Field("prototype", description="unit prototypes, compared by cosine")
    n_classes: Annotated[
        int | None,
        Applies("a loss over classes", {"model.head.loss.kind": Not("regression")}, advice=ONE_OF_THEM),
    ] = Field(None, description="classes C; null: as in the data", **bounds("model.head.n_classes"))
    dim: int | None = Field(
        None,
        description="dimension Q; null: C up to d_model classes, C - 1 up to 4 d_model (and 4,096), else d_model",
        **bounds("model.head.dim"),
    )
    prototypes: Literal["auto", "simplex", "separated", "random", "learnable", "semantic", "given"] = Field(
        "auto",
        description="how they are placed; auto: simplex where it fits, separated or random otherwise; semantic: in the "
        "order of the cosines of class vectors; given: the directions of these (docs/prototypes.md)",
    )
    vectors: Annotated[str | None, Applies(WITH_VECTORS, *FROM_VECTORS)] = Field(
        None,
        description="file of class vectors: a .csv with the name of a class and its numbers in each row, a .json of "
        "the same, or a .npy in the order of the classes",
    )
    vectors_digest: Annotated[str | None, Applies(WITH_VECTORS, *FROM_VECTORS)] = Field(
        None, description="SHA-256 of the class vectors; filled in by the run, and checked where it goes on"
    )
    assignment: Literal["given", "similar", "semantic"] = Field(
        "given",
        description="which class gets which; similar: after some updates, once, classes with similar features get "
        "similar prototypes; semantic: from the start, those with similar class vectors (of a simplex all are equally "
        "similar)",
    )
    assignment_after: Annotated[int, Applies("model.head.assignment similar", {"model.head.assignment": "similar"})] = (
        Field(100, description="updates before that", **bounds("model.head.assignment_after"))
    )
    projection: Literal["linear", "identity"] = Field(
        "linear", description="map from d_model to Q; identity needs Q = d_model"
    )
    spare: int = Field(
        0,
        description="prototypes beside those of the classes, for classes that are added later",
        **bounds("model.head.spare"),
    )
    placed: int = Field(
        0,
        description="how many of the last prototypes were placed beside the others; adding classes sets it",
        **bounds("model.head.placed"),
    )
    loss: Annotated[SoftmaxLoss | CosineLoss | MarginLoss | RegressionLoss | JointLoss, Field(discriminator="kind")] = (
        Field(default_factory=SoftmaxLoss, description="what is minimised")
    )


class LinearHead(Section):
    """A plain linear head, the baseline; its losses are in docs/mathematics.md, section 1."""

    kind: Literal["linear"] = Field("linear", description="plain linear head, the baseline")
    n_outputs: int | None = Field(
        None, description="classes or numbers; null: as in the data", **bounds("model.head.n_outputs")
    )
    loss: Literal["softmax", "squared"] = Field("softmax", description="cross entropy, or least squares")
    tied: bool = Field(False, description="share the weight with the embedding")
    bias: bool = Field(False, description="whether there is a bias")
    smoothing: Annotated[float, Applies("the loss softmax", {"model.head.loss": "softmax"})] = Field(
        0.0, description="share of the target that all classes get alike", **bounds("model.head.smoothing")
    )


class NoHead(Section):
    """No head: for the cotangent target."""

    kind: Literal["none"] = Field("none", description="no head, for the cotangent target")


Input = Annotated[AutoInput | TokensInput | FeaturesInput | HiddenInput, Field(discriminator="kind")]
Stem = Annotated[AutoStem | ConvStem | PatchStem | FiltersStem, Field(discriminator="kind")]
if TYPE_CHECKING:
    Target = AutoTarget | TargetSection
else:
    Target = Annotated[Union[(AutoTarget, *TARGETS.values())], Field(discriminator="kind")]
Head = Annotated[AutoHead | PrototypeHead | LinearHead | NoHead, Field(discriminator="kind")]


def _layers_described() -> str:
    """What a list of layers holds, with the names of all blocks."""
    usual = Mamba1Block().kind
    names = [kind.name + " (as model.block has it)" * (kind.name == usual) for kind in BLOCKS.values() if kind.alone]
    tables = [kind.name for kind in BLOCKS.values() if not kind.alone]
    return (
        f"blocks from the first layer on, repeated: {', '.join(names)}, or a table {{kind = ..., ...}}, also of "
        f"{' and '.join(tables)}; empty: every layer is a model.block"
    )


FILTERS: Final = Applies("model.kind features", {"task.model": "features"})


class FiltersConfig(Section):
    """Fixed state space filters and heads in closed form (docs/mathematics.md, section 6)."""

    effort: Annotated[Effort, FILTERS] = Field(
        "default", description="how many filters there are and which of their groups compete: time for accuracy"
    )
    causal: Annotated[bool, FILTERS] = Field(
        False, description="whether all filters read forwards, so that a series can be read step by step"
    )


class ModelConfig(Section):
    """The model."""

    kind: Literal["auto", "features", "backbone"] = Field(
        "auto",
        description="features: fixed state space filters and a head in closed form; backbone: a selective state space "
        "model that is trained; auto: features for series of numbers with a class or numbers each where no setting of "
        "a backbone is given, else a backbone",
    )
    filters: FiltersConfig = Field(default_factory=FiltersConfig, description="the filters of model.kind features")
    input: Input = Field(default_factory=AutoInput, description="what the model reads")
    stem: Stem = Field(default_factory=AutoStem, description="from the input to the first layer")
    d_model: int = Field(128, description="width D of the residual stream", **bounds("model.d_model"))
    n_layers: int = Field(
        4,
        description="number of layers; with model.layers: a multiple of its entries, as many as those if not given",
        **bounds("model.n_layers"),
    )
    norm_eps: float = Field(1e-5, description="added to the mean square in every RMSNorm", **bounds("model.norm_eps"))
    block: Mamba1Block = Field(default_factory=Mamba1Block, description="the block of every layer that names no other")
    layers: Layers = Field(
        (),
        description=_layers_described(),
    )
    dropout: float = Field(
        0.0,
        description="share of what every layer adds that is set to zero in training",
        **bounds("model.dropout"),
    )
    head_dropout: float = Field(
        0.0,
        description="share of the head's features that is set to zero in training",
        **bounds("model.head_dropout"),
    )
    target: Target = Field(default_factory=AutoTarget, description="what is predicted")
    head: Head = Field(default_factory=AutoHead, description="from hidden states to an answer and its loss")
    activation_memory: Literal["keep", "recompute", "auto"] = Field(
        "keep",
        description="keep what the backward pass needs, recompute it, or keep it for as many layers as memory_limit_mb "
        "allows",
    )
    memory_limit_mb: Annotated[
        Count | None,
        Applies(
            "model.activation_memory auto",
            {"model.activation_memory": "auto"},
            advice="set that, or leave the limit out",
        ),
    ] = Field(None, description="for activation_memory auto: limit of one step, in MB")

    @property
    def block_kinds(self) -> tuple[str, ...]:
        """The kinds of block that the layers have, each once, in their order.

        >>> ModelConfig(layers=["mamba1", "mlp", "mamba1"]).block_kinds
        ('mamba1', 'mlp')
        """
        kinds = (entry if isinstance(entry, str) else str(entry.get("kind")) for entry in self.layers)
        return tuple(dict.fromkeys(kinds)) or (self.block.kind,)

    @property
    def scale(self) -> Scale | None:
        """Scale of the numbers to predict; None where they are not scaled."""
        found: TargetScale | None = getattr(self.target, "scale", None)
        return None if found is None else Scale(found.mean, found.std)
