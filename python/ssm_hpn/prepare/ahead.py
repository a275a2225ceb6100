"""Reading the next batch of documents in a thread while the caller processes one."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ssm_hpn.prepare.records import Documents

Batch = TypeVar("Batch", bound=Documents)


def ahead(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same batches, one of them made ahead by a thread that ends with this iterator.

    The first one, for which the engine may sort for minutes, is made by the calling thread, which can be interrupted.
    """
    source = iter(batches)
    batch = next(source, None)
    with ThreadPoolExecutor(max_workers=1) as thread:
        while batch is not None:
            coming = thread.submit(next, source, None)
            yield batch
            batch = coming.result()
