"""`Trainer` on arrays: an update, names, weights from outside, growing, freezing, streams, the flat guard."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssm_hpn import Batch, Trainer
from ssm_hpn.dataset import next_tokens
from ssm_hpn.errors import ConfigError, DataError, DivergedError, Error, LockedError, ShapeError
from ssm_hpn.targets import KINDS
from support import settings, token_settings, tokens
from test_arrays import Tensor


@pytest.fixture
def trainer():
    return Trainer(token_settings())


def test_a_step_is_forward_backward_and_apply(trainer):
    other = Trainer(token_settings())
    batch = {"tokens": tokens()}
    update = trainer.step(batch, accuracy=True)
    report = other.forward_backward(batch, accuracy=True)
    same = other.apply()
    assert update.loss == report["loss"] == same.loss
    assert (update.step, update.applied, update.count, update.tokens) == (1, True, 27, 30)
    assert update.accuracy == report["correct"] / report["scored"]
    assert trainer.session.digest() == other.session.digest()
    assert trainer.tokens_seen == 30


def test_the_loss_falls_on_one_batch(trainer):
    batch = {"tokens": tokens()}
    losses = [trainer.step(batch).loss for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]


def test_micro_batches_add_up_to_the_batch():
    """The mean is over all targets of the update, whatever micro-batch they came in."""
    whole, parts = Trainer(token_settings()), Trainer(token_settings())
    x = tokens(4, 12)
    x_short = x[2:, :7]
    whole.forward_backward({"tokens": x[:2]})
    first = {name: whole.gradient(name) * (2 * 11) for name in whole.session.parameter_names()[:3]}
    whole.zero_grad()
    whole.forward_backward({"tokens": x_short})
    second = {name: whole.gradient(name) * (2 * 6) for name in first}
    parts.forward_backward({"tokens": x[:2]})
    parts.forward_backward({"tokens": x_short})
    for name, gradient in first.items():
        np.testing.assert_allclose(parts.gradient(name), (gradient + second[name]) / 34, rtol=2e-5, atol=1e-7)
    update = parts.apply()
    assert update.count == 34


def test_zero_grad_discards_gradients_completely(trainer):
    other = Trainer(token_settings())
    trainer.forward_backward({"tokens": tokens(seed=5)})
    trainer.zero_grad()
    assert trainer.step({"tokens": tokens()}).loss == other.step({"tokens": tokens()}).loss
    assert trainer.session.digest() == other.session.digest()


def test_next_tokens_stay_inside_their_document():
    x = np.array([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]], np.uint32)
    assert next_tokens(x).tolist() == [[2, 3, 4, 5, -1], [7, 8, 0, 0, -1]]
    segments = np.array([[0, 0, 2], [0, 2, 5], [1, 0, 3]], np.uint32)
    assert next_tokens(x, segments).tolist() == [[2, -1, 4, 5, -1], [7, 8, -1, -1, -1]]
    mask = np.array([[1, 1, 1, 0, 1], [0, 1, 1, 0, 0]], bool)
    assert next_tokens(x, mask=mask).tolist() == [[2, 3, -1, -1, -1], [-1, 8, -1, -1, -1]]
    assert next_tokens(x, segments, mask).tolist() == [[2, -1, -1, -1, -1], [-1, 8, -1, -1, -1]]


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ({"token": tokens()}, ["'token'", "did you mean tokens?"]),
        ({"tokens": tokens().astype(float)}, ["tokens", "whole numbers", "float64"]),
        ({"tokens": tokens().astype(int) - 5}, ["tokens", "0 to 4294967295", "-5"]),
        ({"tokens": np.full((2, 4), 11)}, ["11"]),
        ({"tokens": tokens()[0]}, []),
        ({}, []),
        ({"features": np.zeros((2, 3, 4))}, []),
        ({"tokens": tokens(), "token_class": np.full((3, 10), 11)}, ["11"]),
        ({"tokens": tokens(), "segments": np.array([[0, 0, 99]])}, ["99"]),
        ({"tokens": tokens(), "sequence_class": np.zeros(3, int)}, []),
        ({"tokens": tokens(), "mask": np.ones((3, 9), bool)}, ["mask: expected [3, 10]", "found [3, 9]"]),
        ({"tokens": tokens(), "mask": np.ones((10, 3), bool)}, ["mask: expected [3, 10]", "found [10, 3]"]),
        ({"tokens": tokens(), "mask": np.ones((3, 10))}, ["mask: expected true and false", "float64", "mask != 0"]),
    ],
)
def test_arrays_that_do_not_fit_are_refused_and_nothing_changes(trainer, batch, words):
    before = trainer.session.digest()
    with pytest.raises((ShapeError, DataError, TypeError)) as caught:
        trainer.step(batch)
    for word in words:
        assert word in str(caught.value)
    assert trainer.session.digest() == before
    trainer.zero_grad()
    assert trainer.step({"tokens": tokens()}).applied


def test_parameters_and_gradients_are_copies_by_name(trainer):
    trainer.forward_backward({"tokens": tokens()})
    names = trainer.session.parameter_names()
    assert "backbone.embedding.weight" in names
    assert "backbone.layers.0.mixer.A_log" in names
    copy = trainer.parameter("backbone.embedding.weight")
    assert copy.shape == (11, 16)
    assert copy.dtype == np.float32
    copy += 1
    assert not np.array_equal(copy, trainer.parameter("backbone.embedding.weight"))
    assert set(trainer.gradients()) <= set(trainer.parameters())
    assert "head.prototypes" not in trainer.gradients()
    with pytest.raises(ShapeError, match="no_such"):
        trainer.parameter("no_such")


def test_from_tensors_takes_weights_under_their_public_names(trainer):
    trainer.step({"tokens": tokens()})
    weights = trainer.parameters()
    weights["backbone.embeddings.weight"] = weights.pop("backbone.embedding.weight")
    twin = Trainer.from_tensors(token_settings(), weights)
    assert twin.session.digest() == trainer.session.digest()
    batch = {"tokens": tokens(seed=3)}
    np.testing.assert_array_equal(twin.predict(batch), trainer.predict(batch))

    exact = Trainer.from_tensors(token_settings(), weights, dtype="float64")
    assert exact.parameter("backbone.norm_f.weight").dtype == np.float64
    np.testing.assert_allclose(exact.predict(batch), trainer.predict(batch), atol=2e-5)


def test_weights_that_do_not_fit_are_refused(trainer):
    weights = trainer.parameters()
    with pytest.raises(ShapeError, match=r"no backbone\.norm_f\.weight"):
        Trainer.from_tensors(token_settings(), {k: v for k, v in weights.items() if k != "backbone.norm_f.weight"})
    with pytest.raises(ShapeError, match=r"backbone\.norm_f\.weight"):
        Trainer.from_tensors(token_settings(), weights | {"backbone.norm_f.weight": np.ones(5)})
    with pytest.raises(ShapeError, match=r"backbone\.nothing"):
        Trainer.from_tensors(token_settings(), weights | {"backbone.nothing": np.ones(5)})


def test_float64_is_deterministic_and_close_to_float32():
    exact, fast = Trainer(token_settings(), dtype="float64"), Trainer(token_settings())
    exact.load_tensors(fast.parameters())
    for seed in range(5):
        batch = {"tokens": tokens(seed=seed)}
        assert exact.step(batch).loss == pytest.approx(fast.step(batch).loss, rel=1e-4)


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads():
    digests = set()
    for threads in (1, 2, 3):
        trainer = Trainer(token_settings(train={"threads": threads}))
        for seed in range(3):
            trainer.step({"tokens": tokens(5, 40, seed)})
        digests.add(trainer.session.digest())
    assert len(digests) == 1


def test_grown_layers_change_no_output_and_then_learn(trainer):
    batch = {"tokens": tokens()}
    trainer.step(batch)
    before = trainer.predict(batch)
    assert trainer.expand(count=1) == [2]
    assert trainer.expand("prepend", count=1, seed=1) == [0]
    assert trainer.expand("insert", count=1, at=2, seed=2) == [2]
    assert trainer.config.model.n_layers == 5
    np.testing.assert_array_equal(trainer.predict(batch), before)
    start = trainer.parameters()
    for _ in range(5):
        trainer.step(batch)
    for name, value in trainer.parameters().items():
        if ".layers.2." in name:
            assert not np.array_equal(value, start[name]), name


def test_frozen_tensors_keep_every_bit(trainer):
    frozen = trainer.freeze(first=1, embedding=True, patterns=["norm_f*"])
    assert "embedding.weight" in frozen
    before = trainer.parameters()
    for seed in range(3):
        trainer.step({"tokens": tokens(seed=seed)})
    after = trainer.parameters()
    public = {row["id"]: row["name"] for row in trainer.parameter_table()}
    for name in before:
        same = np.array_equal(before[name], after[name])
        if name in {public[one] for one in frozen}:
            assert same, name
    assert not np.array_equal(before["backbone.layers.1.mixer.D"], after["backbone.layers.1.mixer.D"])
    assert trainer.freeze() == []


def test_a_stream_has_the_scores_of_the_whole_sequence(trainer):
    x = tokens(2, 9)
    whole = trainer.predict({"tokens": x})
    stream = trainer.stream(rows=2)
    for t in range(9):
        np.testing.assert_allclose(stream.step(x[:, t]), whole[:, t], atol=2e-5)
    stream.reset()
    np.testing.assert_allclose(stream.prefill(x[:, :5]), whole[:, 4], atol=2e-5)
    np.testing.assert_allclose(stream.prefill(x[:, 5:]), whole[:, 8], atol=2e-5)


def test_generation_is_repeatable_and_greedy_at_temperature_zero(trainer):
    first = trainer.generate([1, 2], 8, temperature=0.9, seed=4)
    assert first == trainer.generate([1, 2], 8, temperature=0.9, seed=4)
    assert len(first) == 8
    assert max(first) < 11
    best = trainer.generate([1, 2], 1, temperature=0)[0]
    scores = trainer.predict({"tokens": np.array([[1, 2]], np.uint32)})
    assert best == int(scores[0, -1].argmax())


@pytest.mark.parametrize(
    ("n", "words", "text"),
    [
        (-1, {}, "generate, n (tokens): expected a whole number from 0 to 2^63 - 1, found -1; "),
        (1, {"seed": -1}, "generate, seed: expected a whole number from 0 to 2^64 - 1, found -1; "),
        (
            1,
            {"seed": 1 << 64},
            "generate, seed: expected a whole number from 0 to 2^64 - 1, found 18446744073709551616; ",
        ),
        (1, {"top_k": 0}, "generate, top_k: expected a whole number from 1 to 2^63 - 1, found 0; "),
    ],
)
def test_arguments_of_generate_out_of_range_are_refused(trainer, n, words, text):
    with pytest.raises(ConfigError, match=re.escape(text)):
        trainer.generate([1, 2], n, **words)


def test_an_unavailable_instruction_set_is_refused_by_a_trainer():
    program = (
        "from ssm_hpn import Trainer\n"
        "from ssm_hpn.errors import ConfigError\n"
        "from support import token_settings\n"
        "try:\n    Trainer(token_settings()).step({'tokens': [[1, 2]]})\n"
        "except ConfigError as error:\n    print(error)\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"SSM_HPN_SIMD": "avx9", "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("SSM_HPN_SIMD: expected one of scalar"), done.stdout
    assert '"avx9"' in done.stdout


def test_the_gradients_of_virtual_ranks_are_in_the_memory_that_is_announced_and_limited():
    def trainer(number, **memory):
        wanted = token_settings(train={"batch_size": 8, "virtual_ranks": number, "threads": 1})
        wanted["model"] |= {"d_model": 128, "activation_memory": "recompute"} | memory
        return Trainer(wanted)

    alone, of_eight = (trainer(number).session for number in (1, 8))
    least = alone.predicted_peak_bytes(1, 10)
    more = of_eight.predicted_peak_bytes(1, 10) - least
    assert 3 * 4 * alone.n_parameters <= more < 3 * 5 * alone.n_parameters
    assert more > 10**6
    assert of_eight.predicted_peak_bytes(2**40, 2**40) == 2**64 - 1
    limit = {"activation_memory": "auto", "memory_limit_mb": -(-least // 10**6)}
    batch = {"tokens": tokens(rows=1)}
    assert trainer(1, **limit).step(batch).applied
    with pytest.raises(
        ConfigError, match=r"memory_limit_mb: expected \d+ MB or more .* data\.length or train\.virtual_r"
    ):
        trainer(8, **limit).forward_backward(batch)


def test_a_memory_limit_below_the_least_possible_is_refused_with_it():
    def trainer(limit):
        wide = token_settings()
        wide["model"] |= {"d_model": 64, "activation_memory": "auto", "memory_limit_mb": limit}
        return Trainer(wide)

    batch = {"tokens": np.ones((8, 200), np.uint32)}
    with pytest.raises(ConfigError, match=r"memory_limit_mb: expected (\d+) MB or more .* 8 x 200 tokens") as refused:
        trainer(1).step(batch)
    least = int(str(refused.value).split("expected ")[1].split(" MB")[0])
    assert trainer(least).step(batch).applied
    with pytest.raises(ConfigError):
        trainer(least - 1).step(batch)


def test_while_the_flat_buffers_are_lent_every_other_call_is_refused(trainer):
    trainer.forward_backward({"tokens": tokens()})
    with trainer.borrow_flat() as flat:
        assert flat.count == 27
        assert flat.parameters.shape == flat.gradients.shape
        flat.gradients[:] = 0
        batch = {"tokens": tokens()}
        writes = (trainer.apply, trainer.expand, lambda: trainer.step(batch))
        reads = (
            trainer.session.digest,
            trainer.parameters,
            lambda: trainer.evaluate(batch),
            lambda: trainer.predict(batch),
        )
        for forbidden in (*writes, *reads):
            with pytest.raises(LockedError):
                forbidden()
    before = trainer.parameter("backbone.layers.0.mixer.D")
    trainer.apply()
    np.testing.assert_array_equal(trainer.parameter("backbone.layers.0.mixer.D"), before)


def test_a_view_behind_the_with_block_keeps_the_buffers_lent_until_it_is_gone(trainer):
    flat = trainer.borrow_flat()
    with flat:
        slice_of_it = flat.parameters[2:4]
        with pytest.raises(LockedError, match="no view of them behind the with block"):
            flat.release()
        with pytest.raises(LockedError):
            trainer.step({"tokens": tokens()})
        slice_of_it[:] = 0.5
        del slice_of_it
    assert trainer.step({"tokens": tokens()}).applied


def test_values_that_are_not_finite_are_skipped_and_then_end_training():
    trainer = Trainer(token_settings(optim={"lr": 1e-2, "max_skipped": 3}))
    weights = trainer.parameters()
    before = trainer.session.digest()
    poisoned = weights["backbone.norm_f.weight"].copy()
    poisoned[0] = 3e38  # finite, but its losses overflow
    trainer.session.set_parameter("backbone.norm_f.weight", poisoned)
    for skipped in (1, 2):
        update = trainer.step({"tokens": tokens()})
        assert (update.applied, update.skipped, update.step) == (False, skipped, 0)
    with pytest.raises(DivergedError, match="3 updates in a row"):
        trainer.step({"tokens": tokens()})
    trainer.session.set_parameter("backbone.norm_f.weight", weights["backbone.norm_f.weight"])
    assert trainer.session.digest() == before


def test_without_data_a_step_needs_a_batch(trainer):
    with pytest.raises(ConfigError, match=r"data\.train"):
        trainer.step()
    with pytest.raises(ConfigError, match=r"data\.validation"):
        trainer.evaluate()


def test_evaluation_of_arrays_changes_nothing(trainer):
    before = trainer.session.digest()
    found = trainer.evaluate([{"tokens": tokens()}, {"tokens": tokens(seed=1)}])
    assert found.totals.count == 54
    assert tuple(found.values) == KINDS["next_token"].metrics
    assert trainer.session.digest() == before
    assert trainer.forward_backward({"tokens": tokens()})["loss"] == pytest.approx(
        trainer.evaluate([{"tokens": tokens()}]).values["loss"], rel=1e-6
    )


def test_every_kind_of_target_trains():
    features = np.random.default_rng(0).normal(size=(4, 9, 3)).astype(np.float32)
    base = {"input": {"kind": "features", "n_features": 3}, "d_model": 16, "n_layers": 1}
    heads = {
        "sequence_class": ({"kind": "prototype", "n_classes": 3}, np.array([0, 1, 2, 0])),
        "sequence_values": ({"kind": "linear", "n_outputs": 2, "loss": "squared"}, np.ones((4, 2))),
        "token_class": ({"kind": "prototype", "n_classes": 3, "loss": {"kind": "cosine"}}, np.ones((4, 9), int)),
    }
    for kind, (head, target) in heads.items():
        chosen = {"kind": kind} | ({"n_values": 2} if kind == "sequence_values" else {})
        trainer = Trainer(settings(model={**base, "target": chosen, "head": head}))
        batch = {"features": features, kind: target}
        losses = [trainer.step(batch).loss for _ in range(30)]
        assert losses[-1] < losses[0], kind
    hidden = {"input": {"kind": "hidden"}, "d_model": 16, "n_layers": 1, "target": {"kind": "cotangent"}}
    trainer = Trainer(settings(model=hidden))
    x = np.random.default_rng(1).normal(size=(2, 5, 16)).astype(np.float32)
    assert trainer.step(Batch(features=x, cotangent=np.ones((2, 5, 16), np.float32))).applied
    assert trainer.hidden({"features": x}).shape == (2, 5, 16)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"head": {"prototypes": "learnable", "loss": {"kind": "cosine"}}}, ["learnable"]),
        ({"head": {"projection": "identity", "dim": 12}}, ["projection", "identity"]),
        ({"head": {"prototypes": "simplex", "dim": 3}}, ["simplex"]),
        ({"target": {"kind": "cotangent"}, "head": {"kind": "linear"}}, ["head"]),
        ({"activation_memory": "auto"}, ["memory_limit_mb"]),
        (
            {
                "target": {"kind": "sequence_values", "n_values": 2},
                "head": {"kind": "linear", "n_outputs": 3, "loss": "squared"},
            },
            ["model.head.n_outputs"],
        ),
        (
            {"target": {"kind": "sequence_class"}, "head": {"kind": "linear", "n_outputs": 3, "loss": "squared"}},
            ["model.head.loss"],
        ),
    ],
)
def test_models_that_contradict_themselves_are_refused(model, words):
    with pytest.raises(ConfigError) as caught:
        Trainer(settings(model={"input": {"kind": "tokens", "vocab_size": 11}, "d_model": 16} | model))
    for word in words:
        assert word in str(caught.value)


def pooled_settings(kind, pooling, numbers=2, **changes):
    """A model of series of 3 features with a target per series."""
    target = {"kind": kind, "pooling": pooling}
    head = {"kind": "linear", "n_outputs": 4}
    if kind == "sequence_values":
        target["n_values"] = numbers
        head = {"kind": "linear", "n_outputs": numbers, "loss": "squared", "bias": True}
    model = {"input": {"kind": "features", "n_features": 3}, "d_model": 16, "n_layers": 2}
    return settings(model=model | {"target": target, "head": head}, **changes)


def series(rows=3, length=10):
    """Random series [rows, length, 3]."""
    return np.random.default_rng(7).normal(size=(rows, length, 3)).astype(np.float32)


ENDS = np.array([10, 1, 6])
PREFIX = np.arange(10) < ENDS[:, None]
SHORTER = np.stack([np.arange(3), np.zeros(3, int), ENDS], axis=1)


@pytest.mark.parametrize(
    ("config", "batch"),
    [
        (token_settings(), {"tokens": tokens()}),
        *(
            (pooled_settings(kind, pooling), {"features": series(), kind: target})
            for pooling in ("last", "mean", "max")
            for kind, target in (
                ("sequence_class", np.array([3, 0, 1])),
                ("sequence_values", np.array([[0.5, np.nan], [1, -1], [2, 0]])),
            )
        ),
    ],
)
def test_a_mask_that_cuts_off_the_ends_gives_the_bits_of_shorter_documents(config, batch):
    masked, shorter = Trainer(config), Trainer(config)
    for _ in range(3):
        found = masked.step(batch | {"mask": PREFIX}, accuracy=True)
        expected = shorter.step(batch | {"segments": SHORTER}, accuracy=True)
        assert (found.loss, found.count, found.accuracy) == (expected.loss, expected.count, expected.accuracy)
        assert found.count > 0
    assert masked.session.digest() == shorter.session.digest()
    found, expected = masked.evaluate([batch | {"mask": PREFIX}]), shorter.evaluate([batch | {"segments": SHORTER}])
    assert found.values == expected.values
    if "features" in batch:
        found = masked.predict({"features": batch["features"], "mask": PREFIX})
        np.testing.assert_array_equal(found, shorter.predict({"features": batch["features"], "segments": SHORTER}))


def test_masked_positions_are_read_but_not_pooled():
    mask = np.ones((3, 10), bool)
    mask[:, 4:6] = mask[0, 9] = False
    x = series()
    for pooling in ("last", "mean", "max"):
        trainer = Trainer(pooled_settings("sequence_class", pooling))
        scores = trainer.predict({"features": x, "mask": mask})
        hidden = trainer.hidden({"features": x, "mask": mask})
        np.testing.assert_array_equal(hidden, trainer.hidden({"features": x}))
        ways = {"last": lambda h: h[-1], "mean": lambda h: h.mean(0), "max": lambda h: h.max(0)}
        feature = np.stack([ways[pooling](row[kept]) for row, kept in zip(hidden, mask, strict=True)])
        np.testing.assert_allclose(scores, feature @ trainer.parameter("lm_head.weight").T, rtol=1e-5, atol=1e-6)


def test_a_target_for_a_document_without_a_position_is_refused():
    trainer = Trainer(pooled_settings("sequence_class", "mean"))
    mask = np.ones((3, 10), bool)
    mask[1] = False
    batch = {"features": series(), "mask": mask}
    with pytest.raises(ShapeError, match=r"mask of segment 1 \(row 1, tokens 0 to 10\)"):
        trainer.forward_backward(batch | {"sequence_class": np.array([0, 1, 2])})
    assert trainer.forward_backward(batch | {"sequence_class": np.array([0, -1, 2])})["count"] == 2


def test_a_missing_number_has_no_part_in_loss_gradients_and_metrics():
    trainer = Trainer(pooled_settings("sequence_values", "mean"))
    numbers = np.array([[1, np.nan], [np.nan, np.nan], [-1, 2]])
    batch = {"features": series(), "sequence_values": numbers}
    errors = (trainer.predict({"features": series()}) - numbers)[~np.isnan(numbers)]
    found = trainer.evaluate([batch])
    assert found.totals.count == 3
    assert found.totals.numbers.squared.sum() == pytest.approx(np.sum(errors**2), rel=1e-5)
    assert found.totals.numbers.absolute.sum() == pytest.approx(np.sum(np.abs(errors)), rel=1e-5)
    # The loss squares errors in float32, the sums in double precision.
    assert found.values["loss"] == pytest.approx(np.mean(errors**2), rel=1e-6)
    assert trainer.step(batch).count == 3
    idle = trainer.step(batch | {"sequence_values": np.full((3, 2), np.nan)})
    assert (idle.applied, idle.count, idle.loss) == (False, 0, 0)
    with pytest.raises(ShapeError, match="sequence values 5: expected a finite number, or NaN for none, found inf"):
        trainer.step(batch | {"sequence_values": np.where(numbers == 2, np.inf, numbers)})


def test_settings_without_effect_on_a_model_are_refused_when_it_is_made():
    for model, message in (
        ({"memory_limit_mb": 500}, "model.memory_limit_mb: expected model.activation_memory auto, found .* keep"),
        (
            {"memory_limit_mb": 500, "activation_memory": "recompute"},
            "model.memory_limit_mb: expected model.activation_memory auto",
        ),
    ):
        wrong = token_settings()
        wrong["model"] |= model
        with pytest.raises(ConfigError, match=message):
            Trainer(wrong)


def test_weights_of_any_package_and_type():
    trainer = Trainer(token_settings())
    given = {name: Tensor(values, follows=True) for name, values in trainer.parameters().items()}
    loaded = Trainer.from_tensors(token_settings(), given)
    assert loaded.session.digest() == trainer.session.digest()
    name = "backbone.norm_f.weight"
    for wrong, message in ((["a"] * 16, "expected numbers, found texts"), (np.ones(16) + 1j, "expected real numbers")):
        with pytest.raises(ShapeError, match=f"{name}: {message}"):
            Trainer.from_tensors(token_settings(), given | {name: wrong})


@pytest.mark.parametrize("prompt", [[1, 2], (1, 2), np.array([1, 2], ">u2"), np.array([1.0, 2.0]), Tensor([1, 2])])
def test_a_prompt_may_be_anything_array_like(prompt):
    trainer = Trainer(token_settings())
    assert trainer.generate(prompt, 4, temperature=0) == trainer.generate([1, 2], 4, temperature=0)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ([1.5], r"prompt\[0\]: expected a whole number, found 1\.5"),
        ([-1], "prompt: expected a list of token ids from 0, found -1 to -1"),
        ([2**40], "prompt: expected a list of token ids"),
        ([[1, 2]], r"prompt: expected a list of token ids from 0, found \[1, 2\]"),
        ("ab", "prompt: expected an array, found the text 'ab'"),
        ([], "prompt|empty|one token"),
        ([99], "99"),
    ],
)
def test_a_wrong_prompt_is_refused_in_one_line(prompt, message):
    with pytest.raises(Error, match=message):
        Trainer(token_settings()).generate(prompt, 1)


def test_the_number_of_tokens_to_generate_is_a_whole_number():
    with pytest.raises(ConfigError, match=r"generate, n \(tokens\): expected a whole number from 0"):
        Trainer(token_settings()).generate([1], 2.5)


def test_raw_data_is_refused_with_the_command_that_prepares_it(here):
    Path("my data.csv").write_text("x\n1\n")
    Path("raw").mkdir()
    for paths, found, words in (
        (["my data.csv"], "a file", "'my data.csv'"),
        (["raw"], "no manifest.json in it", "raw"),
        (["gone"], "nothing there", "PATH"),
        (["raw", "my data.csv"], "2 paths", "raw 'my data.csv'"),
    ):
        with pytest.raises(DataError) as caught:
            Trainer(token_settings() | {"data": {"train": paths}})
        (line,) = str(caught.value).splitlines()
        assert f"prepared folder, found {found}; make one of raw data with" in line
        assert line.endswith(f"`python -m ssm_hpn prepare {words} --out DIR`, and name DIR")
