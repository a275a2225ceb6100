"""Prototypes that are made from class vectors: files, arrays, what is refused, and runs that go on without them."""

import json

import numpy as np
import pytest

from ssm_hpn import Trainer
from ssm_hpn.class_vectors import ClassVectors, vectors_of_setting
from ssm_hpn.cli.main import main
from ssm_hpn.config import Config
from ssm_hpn.errors import ConfigError, DataError, ShapeError
from ssm_hpn.estimators import SSMClassifier
from support import sensor_file, settings, train

VECTORS = np.array([[1.0, 0.2, 0.0], [0.9, 0.5, 0.1], [-0.3, 0.1, 2.0]])
"""Of slow, medium and fast."""
NAMES = ["slow", "medium", "fast"]


def model(kind="given", **head):
    return {
        "input": {"kind": "features", "n_features": 2},
        "target": {"kind": "sequence_class"},
        "head": {"kind": "prototype", "n_classes": 3, "prototypes": kind, **head},
    }


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def csv_of(path, names=NAMES, rows=VECTORS, header="class,a,b,c\n"):
    path.write_text(
        header + "".join(f"{name},{','.join(map(str, row))}\n" for name, row in zip(names, rows, strict=True))
    )
    return path


def test_a_semantic_assignment_orders_the_prototypes_that_are_there(tmp_path):
    order = np.array([2, 4, 0, 3, 1])
    angle = 2 * np.pi * order / 5
    vectors = np.stack([np.cos(angle), np.sin(angle), np.full(5, 3.0)], axis=1)
    five = {"n_classes": 5, "dim": 2}
    plain = Trainer({"model": model("separated", **five)})
    trainer = Trainer({"model": model("separated", assignment="semantic", **five)}, class_vectors=vectors)
    before, after = (one.parameter("head.prototypes") for one in (plain, trainer))
    assert sorted(map(tuple, before.tolist())) == sorted(map(tuple, after.tolist()))
    cosines = after @ after.T
    near = np.isin((order[:, None] - order) % 5, (1, 4))
    assert cosines[near].min() > cosines[~near & ~np.eye(5, dtype=bool)].max()
    assert trainer.config.model.head.vectors_digest == ClassVectors.of(vectors, None).digest
    again = Trainer.load(trainer.save(tmp_path / "saved"))  # without the vectors
    np.testing.assert_array_equal(again.parameter("head.prototypes"), after)


@pytest.mark.parametrize(
    ("head", "vectors", "words"),
    [
        ({"kind": "separated", "dim": 2, "n_classes": 5}, None, "vectors of the classes for a semantic assignment"),
        ({"kind": "auto"}, VECTORS, '"given" for a simplex'),
        ({"kind": "semantic", "dim": 2}, VECTORS, '"given" for prototypes that are made from class vectors'),
        ({"kind": "given"}, VECTORS, '"given" for prototypes that are made from class vectors'),
        ({"kind": "separated", "dim": 2, "n_classes": 5}, VECTORS, "5 vectors, one for each class, found 3"),
        ({"kind": "separated", "dim": 2, "n_classes": 5, "spare": 1}, np.eye(5), "model.head.spare: expected 0"),
    ],
)
def test_a_semantic_assignment_that_cannot_be_is_refused_in_one_line(head, vectors, words):
    with pytest.raises(ConfigError) as refused:
        Trainer({"model": model(**head, assignment="semantic")}, class_vectors=vectors)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


# ---- files


def test_a_csv_is_read_by_the_names_of_the_classes(here):
    expected = VECTORS[[2, 0]]
    for header in ("class,a,b,c\n", "", "\n"):
        csv_of(here / "v.csv", header=header)
        np.testing.assert_array_equal(ClassVectors.read(here / "v.csv", ["fast", "slow"]).rows, expected)
    (here / "v.csv").write_text("slow;1;0.2\n'fast;0;1\n")
    assert ClassVectors.read(here / "v.csv", ["'fast", "slow"]).rows.tolist() == [[0, 1], [1, 0.2]]
    (here / "v.csv").write_text("\ufeff1,1,0\n0,0,1\n", encoding="utf-8")
    assert ClassVectors.read(here / "v.csv", None).rows.tolist() == [[0, 1], [1, 0]]


def test_json_and_npy_hold_the_same(here):
    (here / "v.json").write_text(json.dumps(dict(zip(NAMES, VECTORS.tolist(), strict=True))))
    np.testing.assert_array_equal(vectors_of_setting("v.json", ["fast", "slow"]).rows, VECTORS[[2, 0]])
    (here / "v.json").write_text(json.dumps(VECTORS.tolist()))
    np.save(here / "v.npy", VECTORS.astype(np.float32))
    for name in ("v.json", "v.npy"):
        np.testing.assert_allclose(vectors_of_setting(name, NAMES).rows, VECTORS, rtol=1e-7)


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("v.csv", "slow,1\nfast,x\n", "line 2: expected the name of a class, then numbers, found 'x'"),
        ("v.csv", "slow,1\nfast\n", "line 2: expected the name of a class, then numbers, found a name alone"),
        ("v.csv", "slow,1\nslow,2\n", "line 2: expected each class once, found 'slow' again"),
        ("v.csv", "slow,1\nfats,2\n", "none for 'fast'; is it 'fats'?"),
        ("v.csv", "slow,1,2\nfast,2\n", "expected 2 numbers for each class, as for 'slow', found [1] for 'fast'"),
        ("v.csv", "class,a\n", "found no vectors"),
        ("v.csv", b"\xff\xfe", "expected UTF-8"),
        ("v.json", "[1, 2", "expected JSON"),
        ("v.json", "3", "expected an object of vectors by class name"),
        ("v.json", '{"slow": [1], "fast": ["x"]}', "fast: expected a list of numbers, found ['x']"),
        ("v.json", '{"slow": [1], "fast": [[1]]}', "fast: expected a list of numbers"),
        ("v.npy", b"nonsense", "expected an array of numbers, found another file, a damaged one"),
        ("v.txt", "slow 1", "found a .txt"),
    ],
)
def test_files_that_hold_no_vectors_are_refused_in_one_line(here, name, content, part):
    (here / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        ClassVectors.read(here / name, ["slow", "fast"])
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_truncation_of_an_array_is_refused_without_advice_of_numpy(here):
    file = here / "v.npy"
    np.save(file, np.ones((2, 3)))
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(
            DataError, match="expected an array of numbers, found another file, a damaged one"
        ) as caught:
            ClassVectors.read(file, None)
        assert "allow_pickle" not in str(caught.value)


def test_arrays_of_other_shapes_are_refused(here):
    for array in (np.ones(3), np.ones((2, 3, 4)), np.array(["a"])):
        np.save(here / "v.npy", array)
        with pytest.raises(DataError, match="expected an array"):
            ClassVectors.read(here / "v.npy", None)
    with pytest.raises(ShapeError, match=r"class_vectors: expected \[classes, numbers\]"):
        Trainer(settings(model=model()), class_vectors=[1.0, 2.0, 3.0])


# ---- vectors


@pytest.mark.parametrize(
    ("rows", "part"),
    [
        (VECTORS[:2], "model.head.vectors: expected 3 vectors, one for each class, found 2"),
        ([[1, 0], [np.nan, 1], [0, 1]], "found NaN for class 1"),
        ([[1, 0], [0, 0], [0, 1]], "found zeros for class 1"),
        ([[1, 0], [0, 1], [2, 0]], "found one direction for class 0 and class 2"),
    ],
)
@pytest.mark.parametrize("kind", ["semantic", "given"])
def test_vectors_without_directions_of_their_own_are_refused(kind, rows, part):
    with pytest.raises(ConfigError) as caught:
        Trainer(settings(model=model(kind)), class_vectors=rows)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("head", "vectors", "part"),
    [
        (
            {"kind": "given"},
            None,
            "model.head.vectors: expected vectors of the classes for given prototypes, found none",
        ),
        ({"kind": "given", "vectors": "absent.csv"}, None, "found no file absent.csv"),
        ({"kind": "given", "dim": 7}, VECTORS, "model.head.dim: expected 3"),
        ({"kind": "given", "projection": "identity"}, VECTORS, "model.head.dim: expected 3"),
        ({"kind": "auto"}, VECTORS, "class_vectors: expected model.head.prototypes 'semantic' or 'given'"),
    ],
)
def test_settings_that_do_not_fit_the_vectors_are_refused(here, head, vectors, part):
    with pytest.raises(ConfigError) as caught:
        Trainer(settings(model=model(**head)), class_vectors=vectors)
    assert part in str(caught.value)


def test_given_prototypes_are_the_directions_and_bring_their_dimension():
    trainer = Trainer(settings(model=model()), dtype="float64", class_vectors=VECTORS)
    np.testing.assert_allclose(trainer.parameter("head.prototypes"), unit(VECTORS), rtol=1e-14)
    assert trainer.config.model.head.dim == 3
    by_name = Trainer(settings(model=model()), class_vectors={2: VECTORS[2], 0: VECTORS[0], 1: VECTORS[1]})
    np.testing.assert_array_equal(by_name.parameter("head.prototypes"), unit(VECTORS).astype(np.float32))


def test_the_digest_of_the_vectors_is_part_of_the_settings_and_their_path_is_not(here):
    for name in "vw":
        csv_of(here / f"{name}.csv", ["0", "1", "2"])
    one, other = (Trainer(settings(model=model(vectors=f"{name}.csv"))).config for name in "vw")
    assert one.digest() == other.digest()
    changed = Trainer(settings(model=model(vectors="v.csv")), class_vectors=2 * VECTORS + 1).config
    assert changed.digest() != one.digest()
    with pytest.raises(ConfigError, match=r"model.head.vectors: expected class vectors with the digest .*they changed"):
        Trainer(one, class_vectors=VECTORS + 1)
    plain = Config.model_validate({"model": model("auto")})
    assert "vectors" not in json.dumps(plain.differences(Config.model_validate({"model": model("random")})))


# ---- runs


@pytest.fixture
def run(here):
    """A run of three updates with given prototypes, and the file of their vectors."""
    csv_of(here / "v.csv", [*NAMES, "unused"], [*VECTORS, [9, 9, 9]])
    sensor_file(here / "sensors.csv")
    options = [
        *("--data", "sensors.csv", "--data.columns.id", "id", "--data.columns.features", "a,b"),
        *("--data.columns.label", "label", "--model.kind", "backbone", "--model.d_model", "8", "--model.n_layers", "1"),
        *("--model.head.kind", "prototype", "--model.head.prototypes", "given", "--model.head.vectors", "v.csv"),
        *("--train.steps", "3", "--train.threads", "1", "--checkpoint.every", "1", "--run.folder", "run"),
    ]
    assert train(*options) == 0
    return here


def test_a_run_needs_the_file_of_vectors_no_more(run, capsys):
    (run / "v.csv").unlink()
    trainer = Trainer.load(run / "run")
    classes = {"slow": 0, "medium": 1, "fast": 2}
    expected = unit(VECTORS)[[classes[name] for name in trainer.class_names]].astype(np.float32)
    np.testing.assert_array_equal(trainer.parameter("head.prototypes"), expected)
    for command in (["inspect", "run"], ["evaluate", "run"], ["predict", "run", "--data", "sensors.csv"]):
        assert main(command, prog="ssm_hpn") == 0, capsys.readouterr().err
    assert train("--resume", "run", "--more", "2") == 0, capsys.readouterr().err
    again = Trainer.load(run / "run")
    assert again.session.step == 5
    assert again.config.digest() == trainer.config.digest()
    np.testing.assert_array_equal(again.parameter("head.prototypes"), expected)
    assert again.config.model.head.vectors_digest == trainer.config.model.head.vectors_digest


def test_a_run_with_other_vectors_is_refused(run, capsys):
    csv_of(run / "v.csv", rows=VECTORS[::-1])
    capsys.readouterr()
    assert train("--resume", "run", "--more", "2") == 2
    assert "they changed since" in capsys.readouterr().err
    assert main(["evaluate", "run"], prog="ssm_hpn") == 0  # the prototypes are in the checkpoint


# ---- estimators


def test_a_classifier_takes_vectors_by_label(here):
    random = np.random.default_rng(0)
    labels = np.array(NAMES * 5)
    series = [np.sin((0.3 + 0.5 * NAMES.index(one)) * np.arange(30)) + 0.1 * random.normal(size=30) for one in labels]
    vectors = dict(zip(NAMES, VECTORS, strict=True))
    model = SSMClassifier(
        kind="backbone", d_model=8, n_layers=1, steps=3, prototypes="given", class_vectors=vectors, random_state=0
    ).fit(series, labels)
    expected = unit(np.array([vectors[name] for name in model.classes_]))
    np.testing.assert_allclose(model.prototypes_, expected, atol=1e-7)
    again = SSMClassifier.load(model.save("kept"))
    np.testing.assert_array_equal(again.class_scores(series), model.class_scores(series))


def test_a_classifier_assigns_prototypes_by_the_vectors(here):
    """Five classes on a circle, in another order than that of their labels."""
    order = np.array([2, 4, 0, 3, 1])
    vectors = np.stack([np.cos(2 * np.pi * order / 5), np.sin(2 * np.pi * order / 5)], axis=1)
    names = list("abcde")
    series = np.random.default_rng(0).normal(size=(10, 12))
    small = {"kind": "backbone", "d_model": 8, "n_layers": 1, "steps": 2, "prototype_dim": 2, "random_state": 0}
    by_label = dict(zip(names, vectors, strict=True))
    model = SSMClassifier(**small, assignment="semantic", class_vectors=by_label).fit(series, names * 2)
    plain = SSMClassifier(**small).fit(series, names * 2)
    assert sorted(map(tuple, model.prototypes_.tolist())) == sorted(map(tuple, plain.prototypes_.tolist()))
    cosines = model.prototypes_ @ model.prototypes_.T
    near = np.isin((order[:, None] - order) % 5, (1, 4))
    assert cosines[near].min() > cosines[~near & ~np.eye(5, dtype=bool)].max()
    again = SSMClassifier.load(model.save("kept"))
    np.testing.assert_array_equal(again.class_scores(series), model.class_scores(series))
    again.add_classes(["f"])
    np.testing.assert_array_equal(again.class_scores(series)[:, :5], model.class_scores(series))


def test_a_class_without_room_is_refused_with_the_parameter_that_gives_some():
    series = np.random.default_rng(0).normal(size=(20, 12))
    small = {"kind": "backbone", "d_model": 8, "n_layers": 1, "steps": 1, "prototype_dim": 2, "random_state": 0}
    model = SSMClassifier(**small).fit(series, np.arange(20) % 10)
    with pytest.raises(ConfigError, match=r"^add_classes: expected prototypes with room .* larger prototype_dim$"):
        model.add_classes([10])
    assert model.classes_.tolist() == list(range(10))


@pytest.mark.parametrize(
    ("parameters", "part"),
    [
        ({"prototypes": "given"}, "class_vectors beside prototypes='given': expected a vector for each class"),
        ({"class_vectors": VECTORS}, "class_vectors beside prototypes='auto': expected None, found some"),
        ({"assignment": "semantic"}, "class_vectors beside assignment='semantic': expected a vector for each class"),
        (
            {"assignment": "semantic", "class_vectors": VECTORS[:2]},
            "leave it out, or set prototype_dim below the number of classes less one",
        ),
        (
            {"assignment": "semantic", "prototypes": "given", "class_vectors": VECTORS[:2]},
            "assignment: expected 'given' beside prototypes='given', which are made from the class vectors",
        ),
        ({"assignment": "similar"}, "assignment: expected given | semantic, found 'similar'"),
        ({"assignment": "semantic", "head": "linear"}, "assignment: expected 'given' beside head='linear'"),
        ({"prototype_dim": 3, "head": "linear"}, "prototype_dim: expected None beside head='linear'"),
        ({"prototype_dim": 1}, "prototype_dim: expected a whole number from 2 to 2^63 - 1, found 1"),
        ({"prototype_dim": "x"}, "prototype_dim: expected a whole number from 2 to 2^63 - 1, found 'x'"),
        (
            {"prototypes": "given", "prototype_dim": 3, "class_vectors": VECTORS[:2, :2]},
            "prototype_dim: expected 2",
        ),
        ({"head": VECTORS}, "head: expected auto | prototype | linear"),
        ({"loss": "mse"}, "loss: expected cosine | softmax | margin, found 'mse'"),
        (
            {"kind": "features", "steps": 300, "class_vectors": VECTORS},
            "class_vectors: expected None, as kind='features'",
        ),
        (
            {"kind": "features", "steps": 300, "assignment": "semantic"},
            "assignment: expected 'given', as kind='features'",
        ),
        ({"prototypes": "semantic", "class_vectors": {"a": [1, 0]}}, "none for 'b'"),
        ({"prototypes": "given", "class_vectors": [[1, 0], [2, 0]]}, "one direction for 'a' and 'b'"),
        ({"prototypes": "random", "head": "linear"}, "prototypes: expected 'auto' beside head='linear'"),
        ({"prototypes": "learnable"}, "prototypes: expected auto | simplex"),
        ({"prototypes": VECTORS, "class_vectors": VECTORS}, "prototypes: expected auto | simplex"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(parameters, part):
    series, labels = np.random.default_rng(0).normal(size=(8, 20)), ["a", "b"] * 4
    with pytest.raises((ConfigError, DataError)) as caught:
        SSMClassifier(**{"kind": "backbone", "steps": 1} | parameters).fit(series, labels)
    assert part in str(caught.value)
    assert "model." not in str(caught.value)
    assert "\n" not in str(caught.value)
