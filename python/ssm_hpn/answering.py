"""`Answering`: what a model answers, and how good its answers are. Nothing here changes it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal

from ssm_hpn._core import Batch, Stream
from ssm_hpn.arrays import LARGEST_SEED, whole_number, whole_numbers
from ssm_hpn.dataset import Arrays, as_batch
from ssm_hpn.errors import DataError, ShapeError, problem
from ssm_hpn.evaluation import Evaluation, evaluate
from ssm_hpn.model_in_use import Floats, ModelInUse
from ssm_hpn.scaled import ScaledStream, unscaled


class Answering(ModelInUse):
    """Evaluation, scores, points of an embedding, hidden states, streams and generated tokens of a `Learner`."""

    def evaluate(
        self,
        batches: Iterable[Batch | Arrays] | Batch | Arrays | Literal["all"] | None = None,
        *,
        watch: Callable[[], None] | None = None,
    ) -> Evaluation:
        """Metrics on the given batch or batches, or on the held-out ones, as `held_out` takes it; nothing changes.

        `watch` is called before each batch, and may raise to end the evaluation.
        """
        chosen: Iterable[Batch | Arrays]
        size, of_held_out = None, batches is None or isinstance(batches, str)
        if batches is None or isinstance(batches, str):
            chosen, size = self.held_out(batches), self.bytes_per_token
        else:
            chosen = [batches] if isinstance(batches, Mapping | Batch) else batches

        def watched() -> Iterator[Batch]:
            for one in chosen:
                if watch is not None:
                    watch()
                yield as_batch(one, self.config.model)

        result = evaluate(self.session, self.config.model, watched(), bytes_per_token=size)
        if of_held_out:
            self._check_targets(result)
        return result

    def evaluate_together(self, watch: Callable[[], None]) -> Evaluation:
        """As `evaluate` on the held-out batches, each rank a part of them: all ranks call it at once.

        `watch` is called by all ranks at once, before each of them evaluates a batch.

        >>> from pathlib import Path
        >>> from ssm_hpn import Trainer
        >>> from ssm_hpn.config import PrepareOptions
        >>> from ssm_hpn.prepare import prepare
        >>> size = Path("a.txt").write_text("some text " * 400)
        >>> data = prepare(PrepareOptions(train="a.txt", validation_fraction=0.2), Path("data"))
        >>> folders = {"train": str(data.train), "validation": str(data.validation), "length": 16}
        >>> model = {"d_model": 16, "n_layers": 1}
        >>> trainer = Trainer({"model": model, "data": folders, "train": {"batch_size": 2, "threads": 1}})
        >>> watched = []
        >>> together = trainer.evaluate_together(lambda: watched.append(1))
        >>> together.values["loss"] == trainer.evaluate().values["loss"], len(watched) > 0
        (True, True)
        """
        batches, size = self.held_out(), self.bytes_per_token
        model, ranks = self.config.model, self.ranks
        result = evaluate(self.session, model, batches, bytes_per_token=size, ranks=ranks, watch=watch)
        self._check_targets(result)
        return result

    def _check_targets(self, evaluation: Evaluation) -> None:
        if evaluation.totals.count == 0:
            advice = "label some of the held-out documents, or hold out others"
            raise DataError(problem(self.validation_folder, "at least one target", "none", advice))

    def predict(self, batch: Batch | Arrays) -> Floats:
        """Scores: [B,T,C] for a target per token, [S,C], [S,K] or [S,C+K] for one per document.

        Cosines or logits of classes, then numbers in the user's units (in double precision where they have a scale).
        """
        return unscaled(self.session.predict(as_batch(batch, self.config.model)), self.config.model.scale)

    def predict_with_features(self, batch: Batch | Arrays) -> tuple[Floats, Floats]:
        """Scores as of `predict`, and the features [B,T,D] or, pooled, [S,D] that the head made them of."""
        scores, features = self.session.predict_with_features(as_batch(batch, self.config.model))
        return unscaled(scores, self.config.model.scale), features

    def embed(self, batch: Batch | Arrays) -> Floats:
        """Points on the unit sphere of the prototypes, [B,T,Q] or [S,Q], whose products with these are the scores.

        Raises `ConfigError` for another head; `ssm_hpn.prototypes.nearest` finds the nearest of many prototypes.
        """
        return self.session.embed(as_batch(batch, self.config.model))

    def hidden(self, batch: Batch | Arrays) -> Floats:
        """Last hidden states after the final norm, [B,T,D]."""
        return self.session.hidden(as_batch(batch, self.config.model))

    def stream(self, rows: int = 1) -> Stream | ScaledStream:
        """Recurrent inference, token by token, in constant memory: equal to the whole-sequence pass."""
        stream = self.session.stream(whole_number(rows, "stream, rows", least=1))
        scale = self.config.model.scale
        return stream if scale is None else ScaledStream(stream, scale)

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
        """Continue a prompt of token ids by n more; temperature 0 takes the best each time.

        `top_k` draws from the k best tokens, `top_p` from the best ones that have this probability together.
        """
        n = whole_number(n, "generate, n (tokens)")
        seed = whole_number(seed, "generate, seed", most=LARGEST_SEED)
        top_k = None if top_k is None else whole_number(top_k, "generate, top_k", least=1)
        ids = whole_numbers(prompt, "prompt")
        if ids.ndim != 1 or (ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < 1 << 32):
            found = list(ids.shape) if ids.ndim != 1 else f"{ids.min()} to {ids.max()}"
            raise ShapeError(problem("prompt", "a list of token ids from 0", found, "pass the ids of one text"))
        return self.session.generate(ids.tolist(), n, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
