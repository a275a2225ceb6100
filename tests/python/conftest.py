"""Data that several tests train on, prepared once; the faults that tests inject, and their record."""

import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

import faults
from filter_runs import LONG, long_table, run_in, train
from forks import Forks
from ssm_hpn import Trainer, drawing
from ssm_hpn.config import PrepareOptions
from ssm_hpn.prepare import Prepared, prepare
from support import sensor_file, settings, text_data


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Pseudo code as bytes, with a held-out part."""
    return text_data(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="session")
def sensor_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run of a backbone on sensors of three classes, and the file of its data."""
    folder = tmp_path_factory.mktemp("sensors")
    source = sensor_file(folder / "sensors.csv")
    columns = {"id": "id", "features": ["a", "b"], "label": "label"}
    data = prepare(PrepareOptions(train=str(source), columns=columns, validation_fraction=0.2), folder / "data")
    Trainer(settings(data, folder / "run", model={"kind": "backbone"})).fit()
    return folder / "run", source


DRAW = drawing._saved


@pytest.fixture
def drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test whose pages have their drawings; those of all others are left empty (`quick_drawings`)."""
    monkeypatch.setattr("ssm_hpn.drawing._saved", DRAW)


@pytest.fixture(scope="session", autouse=True)
def quick_drawings() -> Iterator[None]:
    """Leave the charts of pages empty: importing matplotlib and drawing takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ssm_hpn.drawing._saved", lambda _: '<svg xmlns="http://www.w3.org/2000/svg"></svg>')
        yield


@pytest.fixture
def forks() -> Iterator[Forks]:
    """A process that starts commands at once."""
    found = Forks()
    yield found
    found.close()


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: syncing a disk takes most of the time of a short run."""
    parent = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def handlers_of_signals() -> Iterator[None]:
    """A test leaves the handlers of signals as it found them.

    One of Python that is left makes a forked process hang at times: a signal that arrives just before it waits for a
    lock is handled after it has the lock.
    """
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    after = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == before


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `long.csv` and a run of features on it."""
    folder = tmp_path_factory.mktemp("fitted")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        long_table(Path("long.csv"), gaps=True)
        assert train("long.csv", *LONG, "--data.columns.label", "label") == 0
    return folder


@pytest.fixture
def copied(fitted: Path, here: Path) -> Path:
    """A run of features in an empty working directory, with its data."""
    shutil.copytree(fitted, here, dirs_exist_ok=True)
    return run_in(here)


# ---- faults

TALLIES = pytest.StashKey[list[faults.Tally]]()
PROPERTY = "fault"
"""What a test injects is a property of its report, which a process of pytest-xdist sends to the one that asked."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option of `make test-faults`."""
    parser.addoption(faults.ALL, action="store_true", help="inject all faults, and write their record")


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count."""
    config.stash[TALLIES] = []
    faults.inject_all(config.getoption(faults.ALL))
    config.pluginmanager.register(_Sum(config.stash[TALLIES]))


class _Sum:
    """Adds what the reports of tests say."""

    def __init__(self, tallies: list[faults.Tally]) -> None:
        self._tallies = tallies

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test ended with its teardown."""
        if report.when == "teardown":
            for name, found in report.user_properties:
                if name == PROPERTY:
                    faults.include(self._tallies, faults.Tally(**dict(found)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave long tests out, or every test that injects no fault."""
    every = config.getoption(faults.ALL)
    left_out = [one for one in items if (one.get_closest_marker("fault" if every else "long") is None) == every]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [one for one in items if one not in left_out]


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[faults.Tally]:
    """What the test injects. All of it is to be survived."""
    marker = request.node.get_closest_marker("fault")
    found = faults.Tally(marker.args[0])
    yield found
    request.node.user_properties.append((PROPERTY, asdict(found)))
    assert found.injected > 0, "the test counts what it injects"
    assert found.survived == found.injected


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
    """Print the table of faults, and write the record where all were survived."""
    tallies = config.stash[TALLIES]
    if config.getoption(faults.ALL) and tallies and not hasattr(config, "workerinput"):
        if exitstatus == pytest.ExitCode.OK:
            faults.write(tallies)
        terminalreporter.write_line(faults.table(tallies))
