"""Making the next of some items in a thread while the caller works on one, and how many threads read a file."""

import contextvars
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

T = TypeVar("T")
WORKERS: Final = contextvars.ContextVar("workers", default=2)
"""Threads that parse one file; what is prepared does not depend on it."""


def for_workers(megabytes: int) -> int:
    """The memory that the engine may have, where two threads get this much.

    >>> for_workers(64)
    64
    """
    return megabytes * max(2, WORKERS.get()) // 2


def prefetched(items: Iterable[T]) -> Iterator[T]:
    """The items of an iterator, the next one made in a thread, which ends with this iterator; none of them is None.

    The first one, for which the engine may read for minutes, is made by the calling thread, which can be interrupted.

    >>> list(prefetched(number * number for number in range(4)))
    [0, 1, 4, 9]
    """
    source = iter(items)
    item = next(source, None)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(max_workers=1) as thread:
        while item is not None:
            following = thread.submit(context.run, lambda: next(source, None))
            yield item
            item = following.result()
