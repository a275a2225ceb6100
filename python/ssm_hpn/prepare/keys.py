"""Keys of documents, 64 bits of an id or a content, and what follows from them alone: groups, ranks, overlaps."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssm_hpn._core import ContentDigests
from ssm_hpn.prepare.records import Documents

Keys = NDArray[np.uint64]


def text_keys(texts: Sequence[str]) -> Keys:
    """64 bits of each text, which depend on it alone."""
    words = [text.encode(errors="surrogatepass") for text in texts]
    offsets = np.cumsum([0, *map(len, words)], dtype=np.uint64)
    return ContentDigests.of(np.frombuffer(b"".join(words), np.uint8), offsets)


class ContentKeys:
    """Keys of documents by their content, which may come in pieces."""

    def __init__(self) -> None:
        self._digests = ContentDigests()

    def add(self, documents: Documents) -> Keys:
        """Keys of the documents that are known to be whole now: the last one may go on."""
        elements: NDArray[Any] = documents.elements
        if elements.dtype.kind == "f":
            elements = elements + 0.0  # one zero, not two
        content = np.ascontiguousarray(elements).reshape(-1).view(np.uint8)
        unit = elements.nbytes // max(1, len(elements))
        offsets = (documents.offsets * unit).astype(np.uint64)
        return self._digests.add(content, offsets, np.ascontiguousarray(documents.begins))

    def rest(self) -> Keys:
        """The key of the last document."""
        last = self._digests.finish()
        return np.array([] if last is None else [last], np.uint64)


def fractions(keys: Keys) -> NDArray[np.float64]:
    """Keys as numbers from 0 to 1."""
    return np.asarray((keys >> np.uint64(11)).astype(np.float64) / 2**53)


def of_several_ids(keys: Keys, ids: Keys) -> bool:
    """Whether documents of several ids have one key."""
    return bool((keys == keys[0]).all() and (ids != ids[0]).any())


def joined(ids: Keys, content: Keys) -> Keys:
    """One key for all documents that share an id or a content with each other, the smallest of their ids.

    >>> import numpy as np
    >>> joined(np.array([5, 5, 3, 9], np.uint64), np.array([1, 2, 2, 7], np.uint64)).tolist()
    [3, 3, 3, 9]
    """
    groups = [np.unique(keys, return_inverse=True)[1] for keys in (content, ids)]
    found = ids
    while True:
        before = found
        for group in groups:
            least = np.full(group.max() + 1, np.iinfo(np.uint64).max, np.uint64)
            np.minimum.at(least, group, found)
            found = least[group]
        if (found == before).all():
            return found


def by_content(keys: Keys, ids: Keys, content: Keys) -> Keys:
    """Instead of a key that several ids share, the smallest of their contents.

    The smallest of several ids lies below the share that is held out more often than one id does.

    >>> import numpy as np
    >>> shared, ids, content = np.array([[3, 3, 3, 9], [5, 5, 3, 9], [1, 2, 2, 7]], np.uint64)
    >>> by_content(shared, ids, content).tolist()
    [1, 1, 1, 9]
    """
    groups, inverse = np.unique(keys, return_inverse=True)
    least = np.full(len(groups), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(least, inverse, content)
    several = np.zeros(len(groups), bool)
    several[inverse[ids != keys]] = True
    return np.where(several[inverse], least[inverse], keys)


def ranked(keys: Keys, classes: NDArray[np.int32], share: float) -> tuple[NDArray[np.bool_], list[int]]:
    """Which documents are held out: in every class those with the smallest keys, at least one and not all.

    Documents with one key are one group, in the class of its first document. Returns the mask and the classes with one
    group, which stays in training.
    """
    groups, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    group_class = classes[first]
    order = np.lexsort((groups, group_class))
    kinds, starts, counts = np.unique(group_class[order], return_index=True, return_counts=True)
    wanted = np.rint(share * counts)
    if kinds[0] == -1:
        wanted[0] = int((fractions(groups[order[: counts[0]]]) < share).sum())
    wanted = np.clip(wanted, 1, counts - 1).astype(np.int64)
    rank = np.arange(len(order)) - np.repeat(starts, counts)
    held = np.empty(len(order), bool)
    held[order] = rank < np.repeat(wanted, counts)
    return held[inverse], kinds[(counts == 1) & (kinds >= 0)].tolist()


def overlap(these: Keys, others: Keys) -> int:
    """How many of some documents are equal to one of others."""
    return int(np.isin(these, others).sum())
