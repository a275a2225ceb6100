"""Making the next of some things in a thread while the caller works on one."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(things: Iterable[T]) -> Iterator[T]:
    """The same things, none of them None, one of them made ahead by a thread that ends with this iterator.

    The first one, for which the engine may read for minutes, is made by the calling thread, which can be interrupted.

    >>> list(ahead(number * number for number in range(4)))
    [0, 1, 4, 9]
    """
    source = iter(things)
    thing = next(source, None)
    with ThreadPoolExecutor(max_workers=1) as thread:
        while thing is not None:
            coming = thread.submit(next, source, None)
            yield thing
            thing = coming.result()
