"""Types of the compiled module, which does all work per token.

Shapes: B rows, T tokens of a row, F features, S documents (segments), C classes, K numbers per document, D model width.
Configurations and cursors are passed as JSON text, arrays as C-contiguous numpy arrays; returned arrays are copies.
Every method releases the interpreter while it computes. All exceptions are those of `ssm_hpn.errors`.
"""

from collections.abc import Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Literal, NotRequired, Protocol, Self, TypeAlias, TypedDict, final, type_check_only

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Batch",
    "ContentDigests",
    "FeatureBlocks",
    "FeatureStream",
    "FlatGuard",
    "Loader",
    "Readout",
    "RowSorter",
    "RunLock",
    "Session",
    "SessionCopy",
    "ShardReader",
    "ShardWriter",
    "StateFilters",
    "Stream",
    "TextNumbers",
    "__version__",
    "available_bf16_units",
    "available_simd",
    "best_checkpoint",
    "bf16_unit",
    "block_kinds",
    "build_info",
    "check_config",
    "check_optim",
    "head_kinds",
    "largest_cosine",
    "list_checkpoints",
    "load_arrays",
    "mark_best",
    "order_kept",
    "place_prototypes",
    "prune_checkpoints",
    "resolve_model",
    "save_arrays",
    "setting_bounds",
    "simd",
    "target_kinds",
    "upgrade_checkpoint",
    "verify_checkpoint",
    "verify_shards",
    "write_whole",
]
__version__: str

_Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]

def target_kinds() -> list[TargetKindRow]:
    """Every kind of target, in the order of the documentation."""

def block_kinds() -> list[BlockKindRow]:
    """Every kind of block, in the order of the documentation."""

def head_kinds() -> list[HeadKindRow]:
    """Every kind of head, in the order of the documentation."""

def simd() -> str:
    """Instruction set in use: `scalar`, `avx2`, `avx512` or `neon`."""

def available_simd() -> list[str]:
    """Instruction sets of this machine that the library can use."""

def bf16_unit() -> str:
    """Unit of products in bf16: `amx`, `avx512_bf16` or `emulated`."""

def available_bf16_units() -> list[str]:
    """Units of products in bf16 that the library can use here."""

def build_info() -> dict[str, str]:
    """Versions, target and features of the compiled module."""

def write_whole(path: str | PathLike[str], content: bytes) -> None:
    """Write or replace one file: readers see the old one or the new one, also after the power has failed."""

def check_config(
    model: str,
    optim: str,
    *,
    vectors: NDArray[np.float64] | None = None,
    class_names: Sequence[str] | None = None,
) -> None:
    """Refuse a model or an optimiser that contradicts itself (`ConfigError`); no parameters are made.

    vectors: of the classes, [C, numbers], for prototypes that are made from them; class_names: for messages about them.
    """

def place_prototypes(
    classes: int,
    dim: int,
    kind: str = "auto",
    *,
    seed: int = 0,
    vectors: NDArray[np.float64] | None = None,
    threads: int | None = None,
) -> tuple[NDArray[np.float64], str]:
    """Prototypes [classes, dim], as a head of these settings has them, and the name of their construction.

    Raises `ConfigError` for sizes or class vectors that the kind cannot have.
    """

def largest_cosine(prototypes: NDArray[np.float64]) -> float:
    """Largest cosine of two rows of any length; above 8,192 rows, among that many at even distances."""

def order_kept(prototypes: NDArray[np.float64], vectors: NDArray[np.float64]) -> float:
    """Share of triples i, j, k whose order of cosines (i and j against i and k) is that of the class vectors."""

def setting_bounds() -> dict[str, dict[str, float]]:
    """The numbers that settings may have, by dotted name: ends by the names ge, gt, le and lt."""

def resolve_model(model: str) -> str:
    """A model's configuration (JSON) with every setting of its blocks written out.

    Raises `ConfigError` for settings that are out of bounds or contradict each other.
    """

def check_optim(optim: str) -> None:
    """Refuse settings of the optimiser (JSON) that are out of bounds or contradict each other; raises `ConfigError`."""

def verify_shards(path: str) -> dict[str, Any]:
    """Check every shard of a prepared folder against its manifest; raises `DataError` at the first difference.

    Returns `shards`, `rows`, `tokens`, `bytes`.
    """

def verify_checkpoint(path: str) -> dict[str, Any]:
    """Check one checkpoint folder against its manifest without loading it; raises `CheckpointError`.

    Returns `step`, `schema`, `bytes`.
    """

def list_checkpoints(root: str) -> list[tuple[int, str]]:
    """Checkpoints of a folder as (step, path), whether or not they verify."""

def upgrade_checkpoint(path: str) -> int:
    """Rewrite a checkpoint of an older schema in its place; returns the schema that it had."""

def mark_best(root: str, step: int) -> None:
    """Make the checkpoint of a step the `best` of its folder."""

def best_checkpoint(root: str) -> int | None:
    """The step of the checkpoint that is marked as best."""

def prune_checkpoints(root: str, keep: int, spared: Sequence[int] = ...) -> list[str]:
    """Remove all but the newest `keep`, the best and the steps `spared`, never the two newest that verify.

    What interrupted writers left is removed, too. Returns the checkpoints that were removed.
    """

def save_arrays(root: str, name: str, step: int, kind: str, arrays: dict[str, NDArray[Any]], extra: str) -> None:
    """Write the checkpoint folder root/name of a model that is named arrays (float32, float64, int64) and JSON.

    It is whole or absent also after a power cut, and named in root/latest. `kind` is that of the model.
    """

def load_arrays(path: str, kind: str) -> tuple[str, int, dict[str, NDArray[Any]], str, list[str]]:
    """Load what `save_arrays` wrote for a model of this kind: a folder, or the newest of several that verifies.

    Returns its folder, step, arrays and JSON, and why newer checkpoints were passed over. Raises `CheckpointError` for
    a damaged checkpoint, and for one of another kind.
    """

@final
class RunLock:
    """A run folder locked by this process; the lock ends with the process."""

    def __new__(cls, folder: str) -> Self:
        """Create the folder if need be and take its lock; raises `InUseError` if another process has it."""
    def release(self) -> None:
        """Release the lock."""

@final
class Batch:
    """Inputs, documents and targets of one pass. Exactly one input; at most one target.

    >>> import numpy as np
    >>> from ssm_hpn import Batch
    >>> features = np.zeros((2, 5, 3), np.float32)
    >>> segments = np.array([[0, 0, 2], [0, 2, 5], [1, 0, 4]], np.uint32)  # row, start, end of three documents
    >>> batch = Batch(features=features, segments=segments, sequence_class=np.array([0, 1, -1], np.int32))
    >>> batch.rows, batch.length, batch.n_tokens
    (2, 5, 9)
    """

    def __new__(
        cls,
        tokens: NDArray[np.uint32] | None = None,
        features: NDArray[np.float32] | None = None,
        *,
        segments: NDArray[np.uint32] | None = None,
        mask: NDArray[np.bool_] | None = None,
        weights: NDArray[np.float32] | None = None,
        **target: NDArray[np.int32] | NDArray[np.float32] | None,
    ) -> Self:
        """tokens [B,T] or features [B,T,F]; segments [S,3] = row, start, end (default: one document per row).

        target: the arrays of one kind in `target_kinds`, by name: token_class [B,T] (-1: none; the next token is one of
        these), sequence_class [S] (-1: none), sequence_values [S,K] (NaN: none), the last two together, or
        cotangent [B,T,D].
        mask [B,T]: false where a position is read, but neither pooled nor compared with a class. A document without a
        true one must not have a target; a cotangent is not masked but zero.
        weights [S]: factor of the loss of each document in training, by which the mean is divided too (default: 1); a
        document of weight 0 has no target. None in an evaluation.
        """
    @property
    def rows(self) -> int:
        """B."""
    @property
    def length(self) -> int:
        """T."""
    @property
    def continued(self) -> list[bool] | None:
        """Rows that go on from those of the batch before; None where no state is carried on."""
    @property
    def n_tokens(self) -> int:
        """Positions inside a document, masked ones too, padding not counted."""
    @property
    def n_targets(self) -> int:
        """Positions or documents that have a target, whatever their weight."""
    @property
    def segments(self) -> NDArray[np.uint32]:
        """[S,3]: row, start, end of each document."""
    @property
    def tokens(self) -> NDArray[np.uint32] | None:
        """[B,T], or None for float features."""
    @property
    def features(self) -> NDArray[np.float32] | None:
        """[B,T,F], or None for tokens."""

@type_check_only
class TargetArrayRow(TypedDict):
    """One array of a target: its name in a batch, what an entry belongs to and means, its column in the shards."""

    name: str
    about: str
    per: Literal["token", "document"]
    element: Literal["class", "number", "gradient"]
    column: str | None

@type_check_only
class BlockKindRow(TypedDict):
    """One kind of block, as `ssm_hpn.parts` describes it."""

    name: str
    title: str
    alone: bool

@type_check_only
class HeadKindRow(TypedDict):
    """One kind of head, as `ssm_hpn.parts` describes it."""

    name: str
    title: str

@type_check_only
class TargetKindRow(TypedDict):
    """One kind of target, as `ssm_hpn.targets` describes it; `default_head` is JSON."""

    name: str
    about: str
    arrays: list[TargetArrayRow]
    pooled: bool
    from_tokens: bool
    metrics: list[str]
    default_head: str

@type_check_only
class StepReport(TypedDict):
    """Sums over the targets of one forward_backward; `loss` is `loss_sum / weight`, their mean (0 without targets).

    Each of several numbers per document is a target of its own.
    """

    loss: float
    loss_sum: float
    count: int
    weight: float
    scored: int
    correct: int
    squared_error: float
    absolute_error: float

@type_check_only
class EvalReport(StepReport):
    """Sums of one evaluated batch, and the targets with their predictions: classes one per target, numbers [m,K].

    A row is a document with at least one number; one that was not measured is NaN in `expected_values`.
    """

    predicted: NotRequired[NDArray[np.int64]]
    expected: NotRequired[NDArray[np.int64]]
    predicted_values: NotRequired[NDArray[np.float64]]
    expected_values: NotRequired[NDArray[np.float64]]

@type_check_only
class ApplyReport(TypedDict):
    """One update. `applied` is False when it was skipped because of a value that is not finite, first in `fault`."""

    step: int
    applied: bool
    lr: float
    grad_norm: float
    update_norm: float
    clipped: bool
    skipped: int
    loss: float
    count: int
    scored: int
    correct: int
    fault: str | None

@type_check_only
class ParameterRow(TypedDict):
    """One tensor of the table; `name` is the public checkpoint name."""

    id: str
    name: str
    shape: list[int]
    decay: bool
    trainable: bool
    group: str

@type_check_only
class PhaseRow(TypedDict):
    """Measurements of one phase: entries, time without the phases inside it, operations of its products."""

    calls: int
    seconds: float
    flops: int

@final
class FlatGuard:
    """The buffers themselves, as writable 1-d views, while the block is open. Calls that use them are refused.

    A view must not be used after the block: take a copy of what you want to keep.
    """

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
    def release(self) -> None:
        """Return the buffers once the views that outlived the block are gone."""
    @property
    def parameters(self) -> _Floats:
        """All parameters in the private order of the arena."""
    @property
    def gradients(self) -> _Floats:
        """Gradients of the SUM of losses since the last update, same order."""
    @property
    def count(self) -> int:
        """Number of targets of the gradients."""
    @property
    def weight(self) -> float:
        """Sum of their weights, as much as `count` without weights: divide the gradients by it for the mean."""

@final
class Stream:
    """Recurrent inference over B rows: constant memory and time per token, equal to the whole-sequence pass."""

    def step(self, x: NDArray[np.uint32] | NDArray[np.float32], /) -> _Floats:
        """One token [B] or feature vector [B,F] per row; scores [B,C]."""
    def prefill(self, x: NDArray[np.uint32] | NDArray[np.float32], /) -> _Floats:
        """Tokens [B,T] or features [B,T,F]; scores after the last one, [B,C]."""
    def features(self) -> _Floats:
        """What the head made the scores of after the last token, [B,D]; pooled where a target is a document's."""
    def reset(self) -> None:
        """Reset the state to that before the first token."""

@final
class SessionCopy:
    """What a checkpoint of a session holds, at one moment."""

    def save(self, root: str, step_dir: str) -> None:
        """Write the folder root/step_dir: the bytes that `Session.save` would have written."""

@type_check_only
class Exchange(Protocol):
    """How ranks exchange bytes. No buffer may be kept behind the call."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...
    def all_to_all(self, send: memoryview, cuts: Sequence[int], receive: memoryview) -> None:
        """Send `cuts[i]:cuts[i + 1]` to rank i; receive the parts for this rank in the order of the ranks."""
    def all_gather(self, buffer: memoryview, cuts: Sequence[int]) -> None:
        """Fill `cuts[i]:cuts[i + 1]` with those bytes of rank i, which has them there."""

@final
class Session:
    """Model, gradients and optimiser state in one arena."""

    def __new__(
        cls,
        model: str,
        optim: str,
        *,
        seed: int = 0,
        dtype: Literal["float32", "float64"] = "float32",
        threads: int | None = None,
        vectors: NDArray[np.float64] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> Self:
        """model, optim: configuration as JSON. float64 is slow, and the reference for float32.

        vectors, class_names: as in `check_config`.
        """
    @staticmethod
    def load(
        path: str,
        *,
        optim: str | None = None,
        threads: int | None = None,
        dtype: Literal["float32", "float64"] = "float32",
    ) -> tuple[Session, str, list[str]]:
        """Load and verify a checkpoint: its folder, or of a run or folder of checkpoints the newest that verifies.

        optim: settings that replace the saved ones, as JSON; moments and counters stay.
        Returns the session, the JSON given to `save` as extra, and why newer checkpoints were passed over.
        """
    def _panic(self, text: str, changing: bool) -> None:
        """Panic in a call that changes the session or only reads it; for tests."""
    def save(self, root: str, step_dir: str, extra: str) -> None:
        """Write the folder root/step_dir, whole or absent also after a power cut, and name it in root/latest.

        extra: JSON kept in state.json.
        """
    def copied(self, extra: str) -> SessionCopy:
        """A copy of what `save` writes, to be written while training goes on; three times the parameters."""
    def set_activation_memory(self, memory: str, limit_mb: int | None = None) -> None:
        """Keep other activations from now on: keep, recompute or auto, as `model.activation_memory`."""
    def plan_virtual_ranks(self, count: int) -> None:
        """Count on updates of so many virtual ranks of this process in the plan of memory."""
    def forward_backward(self, batch: Batch, *, accuracy: bool = False) -> StepReport:
        """Add the gradients of one micro-batch. Without accuracy, `scored` and `correct` may stay 0."""
    def forward_backward_carried(self, batch: Batch, *, accuracy: bool = False) -> StepReport:
        """Like `forward_backward` for the next batch of a stream, with the states of the rows that it goes on from.

        Rows go on where `batch.continued` says so. The session keeps the states, and so does a checkpoint. Raises
        `ConfigError` for another number of rows than the batch before.
        """
    def apply(self) -> ApplyReport:
        """One update from the gradients added so far: guard, clip, AdamW; then they are zero."""
    def number_next_micro_batch(self, number: int) -> None:
        """The next micro-batch is this one of its update, and draws the random numbers of it."""
    def last_micro_batch(self) -> None:
        """The next micro-batch is the last of an update: ranks exchange its gradients during its backward pass."""
    def next_virtual_rank(self) -> None:
        """The micro-batches so far are those of complete virtual ranks; their sums are joined as a tree."""
    def share(self, exchange: Exchange) -> None:
        """Train together with other ranks: from now on `apply` and `save` are calls that all of them make at once."""
    def grad_norm(self) -> float:
        """Global norm that the next update would clip, from the gradients added so far."""
    def zero_grad(self) -> None:
        """Set the gradients added so far to zero."""
    def set_class_weights(self, weights: Sequence[float]) -> None:
        """Let the targets of each class count by its weight in training; empty: 1 each. Checkpoints have none."""
    def set_precision(self, precision: str) -> None:
        """Round the factors of products of training to this precision, `f32` or `bf16`. Checkpoints have none."""
    def evaluate(self, batch: Batch) -> EvalReport:
        """Loss and predictions; changes nothing."""
    def predict(self, batch: Batch) -> _Floats:
        """Scores: [B,T,C] for a target per token, [S,C] or [S,K] for one per document."""
    def predict_with_features(self, batch: Batch) -> tuple[_Floats, _Floats]:
        """Scores as `predict`, and the features that the head made them of: [B,T,D], or pooled [S,D]."""
    def embed(self, batch: Batch) -> _Floats:
        """Points on the unit sphere of the prototypes, [B,T,Q] or [S,Q]; their products with these are the scores."""
    def hidden(self, batch: Batch) -> _Floats:
        """Last hidden states after the final norm, [B,T,D]."""
    def stream(self, rows: int = 1) -> Stream:
        """A recurrent state for this model's present parameters."""
    def generate(
        self,
        prompt: Sequence[int],
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int = 0,
    ) -> list[int]:
        """Continue a prompt by n tokens; temperature 0 takes the best one each time."""
    def expand(self, plan: str) -> list[int]:
        """Insert layers whose output starts at zero; returns their final positions.

        plan: JSON `{"kind": "append"|"prepend"|"insert"|"final", "count": n, "at": i, "positions": [..], "seed": s}`.
        """
    def add_classes(self, count: int) -> list[int]:
        """Add classes behind those of a prototype head; returns their indices. Scores among the others stay."""
    def freeze(self, spec: str) -> list[str]:
        """Set what stays fixed (a new call replaces the last); returns the frozen ids.

        spec: JSON `{"first": n, "layers": [..], "embedding": bool, "head": bool, "patterns": ["glob"]}`.
        """
    def parameter_names(self) -> list[str]:
        """Public names in table order."""
    def parameter_table(self) -> list[ParameterRow]:
        """Every tensor with its shape, decay group and whether it is trained."""
    def parameter(self, name: str) -> _Floats:
        """A copy, by id or public name."""
    def gradient(self, name: str) -> _Floats:
        """A copy of the gradient of the mean loss, by id or public name."""
    def set_parameter(self, name: str, value: _Floats) -> str:
        """Overwrite one tensor by id, public name or the other libraries' spelling of it; returns the public name."""
    def borrow_flat(self) -> FlatGuard:
        """Lend the buffers for the duration of a with block."""
    def predicted_peak_bytes(self, rows: int, length: int) -> int:
        """Bytes of a training step on batches of this size: parameters, gradients, moments, activations and copies."""
    def profile_start(self) -> None:
        """Start timing gradients and updates by phase; no bit of them changes."""
    def profile_take(self) -> dict[str, PhaseRow]:
        """Stop, and return the measurements since `profile_start` by the name of the phase."""
    def product_peak(self) -> tuple[float, int]:
        """Operations per second of a product of square matrices on all threads, best of some; and their side."""
    def digest(self) -> str:
        """Digest of all parameters: equal if and only if every bit is."""
    @property
    def step(self) -> int:
        """Updates applied so far."""
    @property
    def carried_rows(self) -> int | None:
        """Rows of the states that `forward_backward_carried` goes on from; None where there are none."""
    @property
    def waited_for_ranks(self) -> float:
        """Seconds that the last micro-batch waited, after its pass, for gradients that were exchanged during it."""
    @property
    def skipped(self) -> int:
        """Updates skipped so far for a value that is not finite."""
    @property
    def next_lr(self) -> float:
        """Learning rate of the next update."""
    @property
    def n_parameters(self) -> int:
        """Numbers in all tensors, shared ones once."""
    @property
    def model_config(self) -> str:
        """The present configuration of the model as JSON, with nulls resolved and grown layers counted."""
    @property
    def optim_config(self) -> str:
        """The optimiser as JSON."""
    @property
    def max_prototype_cosine(self) -> float | None:
        """Largest cosine between two prototypes; None for a head without any."""

@final
class Loader:
    """Batches of a prepared folder in an order of seed and epoch alone; each goes to one of the threads that ask."""

    def __new__(cls, config: str) -> Self:
        """config: JSON with path, batch_size, length, packing, seed, workers, prefetch, epochs, target, mix and own."""
    def next(self) -> tuple[Batch, str] | None:
        """The next batch and the cursor that follows it; None after the last epoch."""
    def pass_over(self) -> tuple[int, str] | None:
        """Pass over the next batch, which another loader may make: its tokens, and the cursor that follows it."""
    def seek(self, cursor: str) -> None:
        """Continue at a cursor that was returned before."""
    def count_rows(self, epochs: int) -> int:
        """Rows of the first epochs: of contiguous packing by the manifest, else all documents are read for it."""
    def count_rows_of_tokens(self, tokens: int) -> int:
        """Rows that have this many tokens, by the mean of the first epoch."""
    def damage(self) -> list[str]:
        """A line for each record batch that was left out for being damaged: file, record batch, offset."""
    def utilisation(self) -> float:
        """Share of the positions of batches that hold tokens, by the window that comes next, which is kept for it."""
    @property
    def n_windows(self) -> int:
        """Windows of an epoch; documents are mixed within one, and over the whole folder where it is the only one."""
    @property
    def cursor(self) -> str:
        """Cursor of the next batch, as JSON."""
    @property
    def epoch(self) -> float:
        """Epochs returned so far, with fraction; of several sources those of the one that has had the fewest."""
    @property
    def epochs(self) -> list[float]:
        """The same of each source."""
    @property
    def skipped(self) -> int:
        """Record batches left out so far for being damaged, in every epoch anew."""
    @property
    def n_documents(self) -> int:
        """Documents of the folder."""
    @property
    def n_tokens(self) -> int:
        """Tokens of the folder."""

@type_check_only
class Columns(TypedDict):
    """Some documents, one after the other: document d is [boundaries[d]:boundaries[d + 1]] of what is per token."""

    boundaries: NDArray[np.uint64]
    tokens: NotRequired[NDArray[np.uint32]]
    features: NotRequired[NDArray[np.float32]]
    targets: dict[str, NDArray[np.int32] | NDArray[np.float32]]
    name: NotRequired[list[str]]

@final
class ShardReader:
    """The documents of a prepared folder in the order they were written, checked as they are read.

    Each record batch goes to one of the threads that ask.
    """

    def __new__(cls, path: str) -> Self:
        """Open a folder; raises `DataError` for a manifest that is wrong, and for a shard that is missing or cut."""
    def next(self) -> Columns | None:
        """The next documents with all their columns; None after the last one.

        Raises `DataError` where bytes or values are not what the manifest says.
        """

@final
class ShardWriter:
    """Writes a prepared folder: Arrow IPC shards and, on close, the manifest. Threads wait for each other."""

    def __new__(cls, path: str, config: str) -> Self:
        """config: JSON with the kind of input, vocab_size or n_features, the columns and the size of a shard."""
    def append_many(
        self,
        *,
        offsets: NDArray[np.uint64],
        tokens: NDArray[np.uint8] | NDArray[np.uint32] | None = None,
        features: NDArray[np.float32] | None = None,
        names: list[str] | None = None,
        **targets: NDArray[np.int32] | NDArray[np.float32] | None,
    ) -> None:
        """Add N documents; document i is tokens or features `offsets[i]..offsets[i + 1]`, offsets [N+1] from 0.

        tokens [T] (bytes are ids) or features [T,F] of all of them.
        targets: the columns of `target_kinds`, by name: classes [T] or [N] (-1: none), numbers [T,K] or [N,K] (NaN:
        none).
        """
    def close(self, extra: str) -> dict[str, Any]:
        """Finish the last shard and write the manifest; extra: JSON merged into it. Returns the manifest."""

@final
class ContentDigests:
    """Digest of 64 bits (XXH3) of the content of each document, independent of how it is cut into pieces."""

    def __new__(cls) -> Self:
        """Start before the first document."""
    def add(
        self, data: NDArray[np.uint8], offsets: NDArray[np.uint64], begins: NDArray[np.bool_]
    ) -> NDArray[np.uint64]:
        """Take bytes `offsets[i]..offsets[i + 1]` as piece i, offsets [N+1], begins [N]: whether it begins a document.

        Returns the digests of the documents that are whole by now: all but the last, which may go on.
        """
    def finish(self) -> int | None:
        """The digest of the last document; None if there is none."""
    @staticmethod
    def of(data: NDArray[np.uint8], offsets: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """The digests [N] of bytes `offsets[i]..offsets[i + 1]`, offsets [N+1]."""

@final
class RowSorter:
    """Rows sorted by some of their columns, on disk where they do not fit into memory.

    Texts go by their length in bytes and then byte by byte, bytes byte by byte, numbers by size. Rows that are equal in
    all keys stay in the order in which they came.
    """

    def __new__(
        cls,
        folder: str,
        fields: list[tuple[str, int, int]],
        keys: list[int],
        *,
        run_bytes: int,
        pieces_bytes: int,
    ) -> Self:
        """Start without a row. Files are made in `folder`, and are left there.

        A field is what its cells hold (`text`, `bytes`, `signed`, `unsigned`, `float`, `other`), their size in bytes
        and their number; `keys` are places of fields of one cell, the first of them first. A run of rows that is sorted
        in memory has `run_bytes`; while runs are merged, `pieces_bytes` of all are held.
        """
    def add(self, columns: list[NDArray[np.uint8] | tuple[NDArray[np.uint8], NDArray[np.int32]]]) -> None:
        """Take in rows: for each cell of each field a column, as the bytes of all its cells.

        Of text or bytes: these one after the other, and where each of them begins and ends [N+1].
        """
    def next(
        self, size: int
    ) -> list[NDArray[np.uint8] | tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int64]]] | None:
        """The next rows in their order, at most `size`, by field; None at the end. No row can be added any more.

        Of text or bytes: numbers [N] of words, which rise by one wherever the word is not that of the row before; the
        words one after the other, and where each of them begins and ends.
        """

@final
class TextNumbers:
    """Different texts, numbered from 0 on in the order in which they were met."""

    def __new__(cls) -> Self:
        """Start without a text."""
    def number(self, data: NDArray[np.uint8], offsets: NDArray[np.int32]) -> NDArray[np.int32]:
        """Numbers [N] of texts, bytes `offsets[i]..offsets[i + 1]`, offsets [N+1]; a new one gets the next number."""
    def texts(self, first: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The bytes of the texts from number `first` on, and where each of them begins and ends in these [N+1]."""
    def __len__(self) -> int:
        """How many different texts there are."""

@final
class StateFilters:
    """Random fixed state space filters with their biases: features of series of any length (crate: `features::Bank`).

    `values` f64 [steps of all series, channels], NaN for a missing number; series i is `starts[i]..starts[i + 1]` of
    the steps, `starts` i64 [series + 1]. `config` is JSON: filters, competition (none, narrow, both), causal, seed.
    """

    @staticmethod
    def fit(
        config: str, values: NDArray[np.float64], starts: NDArray[np.int64], *, threads: int | None = None
    ) -> StateFilters:
        """Draw filters, and fit their gains and biases to training series."""
    @staticmethod
    def from_arrays(config: str, channels: int, arrays: dict[str, NDArray[Any]]) -> StateFilters:
        """The filters whose numbers these are."""
    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Its numbers: modes, biases, mixtures (f32), standards (f64)."""
    @property
    def config(self) -> str:
        """Its settings as JSON."""
    @property
    def channels(self) -> int:
        """Channels of a series."""
    @property
    def blocks(self) -> int:
        """Number of blocks of filters."""
    @property
    def block_features(self) -> int:
        """Features of a block."""
    @property
    def readings(self) -> list[tuple[str, bool, bool]]:
        """Of each block: its view (series, difference or magnitude), whether backwards, whether by shared standards."""
    def transform(
        self,
        values: NDArray[np.float64],
        starts: NDArray[np.int64],
        *,
        first: int = 0,
        count: int | None = None,
        threads: int | None = None,
    ) -> NDArray[np.float32]:
        """Features f32 [series, count × block_features] of the blocks from `first` on."""
    def evidence(
        self, values: NDArray[np.float64], weights: NDArray[np.float64], *, threads: int | None = None
    ) -> NDArray[np.float64]:
        """What each step of a series contributes to scores with the weights [features, K]: [steps, K].

        Over all steps it is the sum of weights × features. A step whose channels are all missing has none.
        """
    def transform_blocks(
        self, values: NDArray[np.float64], starts: NDArray[np.int64], *, threads: int | None = None
    ) -> FeatureBlocks:
        """The same features of all blocks in parts of columns, which are computed one after the other."""
    def stream(self, rows: int = 1, *, threads: int | None = None) -> FeatureStream:
        """Features of prefixes, for causal filters; `ConfigError` for others. `threads` share rows."""
    def readout(
        self,
        mean: NDArray[np.float32],
        factor: NDArray[np.float32],
        weights: NDArray[np.float32],
        intercept: NDArray[np.float64],
        *,
        clip: float,
    ) -> Readout:
        """Scores [K] of features x: intercept + weightsᵀ·clip((x - mean)·factor), weights [features, K]."""

@final
class FeatureBlocks:
    """Features of series, f32 [series, columns] of some blocks at a time."""

    def __iter__(self) -> Self:
        """Itself."""
    def __next__(self) -> NDArray[np.float32]:
        """The next columns."""

@final
class FeatureStream:
    """Rows of series that are read step by step in constant memory; what it answers is that of the steps so far."""

    @property
    def rows(self) -> int:
        """Number of series."""
    def step(self, x: NDArray[np.float64], /) -> None:
        """Read a step [rows, F] of each series; NaN is a missing number."""
    def prefill(self, x: NDArray[np.float64], /) -> None:
        """Read several steps [rows, T, F] of each series."""
    def features(self) -> NDArray[np.float32]:
        """Features f32 [rows, features], as `StateFilters.transform` gives them."""
    def scores(self, readout: Readout, /) -> NDArray[np.float64]:
        """Scores f64 [rows, K]."""
    def reset(self) -> None:
        """Go back to before the first step."""

@final
class Readout:
    """Scores that are linear in standardised features (crate: `features::Readout`)."""
