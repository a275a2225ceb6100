"""The ranks of a training: processes that train one model together. One process alone is rank 0 of 1.

Every rank makes the same calls in the same order. What carries the bytes is a subclass: `distributed.MpiRanks`.
"""

import io
import os
import socket
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ssm_hpn.errors import StorageError

Result = TypeVar("Result")


class Ranks:
    """One process alone, and the base of what carries bytes between several.

    >>> ranks = Ranks()
    >>> ranks.rank, ranks.size, ranks.leads, ranks.gather(b"abc"), ranks.agree(stop=False, seconds=1.5)
    (0, 1, True, [b'abc'], (False, 1.5))
    """

    rank = 0
    size = 1
    overlaps = True
    """Whether `all_to_all` may be called by another thread, one call at a time: during a backward pass then."""

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self.seconds = 0.0
        """Time spent in exchanges."""
        self.sent_bytes = 0
        """Bytes that this rank has sent."""

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def name(self) -> str:
        """For messages."""
        return f"rank {self.rank} on {self.host}"

    # ---- of the subclass

    def all_to_all(self, send: memoryview, cuts: Sequence[int], receive: memoryview) -> None:
        """Send `cuts[i]:cuts[i + 1]` to rank i; receive the parts for this rank in the order of the ranks."""
        del cuts
        receive[:] = send

    def all_gather(self, buffer: memoryview, cuts: Sequence[int]) -> None:
        """Fill `cuts[i]:cuts[i + 1]` with those bytes of rank i, which has them there."""

    def leader_is_ready(self) -> None:
        """Tell the other ranks, which wait for this one, to go on."""

    def wait_for_leader(self) -> None:
        """Wait for rank 0, however long that takes."""

    def end(self, code: int, text: str) -> tuple[int, str | None]:
        """Tell the other ranks that this one ends, and why; returns the exit code of all, and a line to print or None.

        Where all end for the same reason, one of them prints it.
        """
        return code, text

    def leave(self) -> None:
        """Leave after `end`."""

    # ---- made of these

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """Let rank 0 run a block, and the others after it: they find what it has prepared."""
        if not self.leads:
            self.wait_for_leader()
        yield
        if self.leads:
            self.leader_is_ready()

    def together(self, action: Callable[[], Result]) -> Result:
        """Do something on every rank that fails on all where one cannot read or write.

        >>> Ranks().together(lambda: 3)
        3
        """
        if self.size == 1:
            return action()
        error: OSError | None = None
        try:
            result = action()
        except OSError as found:
            error = found
        texts = self.gather(b"" if error is None else f"{self.name()}: {error}".encode())
        if error is not None:
            raise error
        if failed := next((text for text in texts if text), None):
            raise StorageError(failed.decode())
        return result

    def gather(self, payload: bytes) -> list[bytes]:
        """The bytes of every rank, which may have any length, in the order of the ranks."""
        if self.size == 1:
            return [payload]
        lengths = bytearray(8 * self.size)
        lengths[8 * self.rank : 8 * self.rank + 8] = len(payload).to_bytes(8, "little")
        self.all_gather(memoryview(lengths), range(0, 8 * self.size + 1, 8))
        cuts = [0]
        for rank in range(self.size):
            cuts.append(cuts[-1] + int.from_bytes(lengths[8 * rank : 8 * rank + 8], "little"))
        buffer = bytearray(cuts[-1])
        buffer[cuts[self.rank] : cuts[self.rank + 1]] = payload
        self.all_gather(memoryview(buffer), cuts)
        return [bytes(buffer[start:end]) for start, end in pairwise(cuts)]

    def of_leader(self, path: Path) -> Path:
        """The path of rank 0, for all of them.

        >>> Ranks().of_leader(Path("runs/a")).name
        'a'
        """
        return Path(os.fsdecode(self.gather(os.fsencode(path))[0]))

    def agree(self, *, stop: bool, seconds: float) -> tuple[bool, float]:
        """Whether any rank was asked to stop, and the time of rank 0."""
        if self.size == 1:
            return stop, seconds
        found = self.gather(struct.pack("<?d", stop, seconds))
        of_ranks = [struct.unpack("<?d", one) for one in found]
        return any(stop for stop, _ in of_ranks), of_ranks[0][1]


def packed(report: Mapping[str, Any]) -> bytes:
    """Numbers and arrays by name, as bytes for other ranks.

    >>> unpacked(packed({"count": 3, "loss": 0.1, "predicted": np.array([1, 2])}))
    {'count': 3, 'loss': 0.1, 'predicted': array([1, 2])}
    """
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{name: np.asarray(value) for name, value in report.items()})
    return file.getvalue()


def unpacked(payload: bytes) -> dict[str, Any]:
    """What `packed` made bytes of."""
    with np.load(io.BytesIO(payload), allow_pickle=False) as file:
        return {name: file[name] if file[name].ndim else file[name].item() for name in file.files}
