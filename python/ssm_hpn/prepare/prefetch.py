"""Making the next of some items in a thread while the caller works on one."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetched(items: Iterable[T]) -> Iterator[T]:
    """The items of an iterator, the next one made in a thread, which ends with this iterator; none of them is None.

    The first one, for which the engine may read for minutes, is made by the calling thread, which can be interrupted.

    >>> list(prefetched(number * number for number in range(4)))
    [0, 1, 4, 9]
    """
    source = iter(items)
    item = next(source, None)
    with ThreadPoolExecutor(max_workers=1) as thread:
        while item is not None:
            following = thread.submit(next, source, None)
            yield item
            item = following.result()
