"""Groups of features that belong together, such as those of one view of a series."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Views:
    """Which features belong together.

    >>> views = Views.of([3, 2], [("level", "own"), ("change", "own")])
    >>> views.columns.tolist(), views.together
    ([0, 0, 0, 1, 1], ((0,), (1,)))
    """

    columns: NDArray[np.intp]
    """[d] number of the group of each feature."""
    together: tuple[tuple[int, ...], ...]
    """Groups whose weight is changed together, each alone among them."""

    @classmethod
    def of(cls, widths: Sequence[int], names: Sequence[tuple[str, ...]]) -> "Views":
        """Of blocks of features: their widths, and their names, in several respects.

        Blocks of equal names are a group. Groups with an equal name in one respect are also changed together, but not
        all groups at once.
        """
        groups = list(dict.fromkeys(names))
        columns = np.repeat([groups.index(name) for name in names], widths)
        respects = ({name[k]: None for name in groups} for k in range(len(groups[0])))
        shared = [
            tuple(g for g, name in enumerate(groups) if name[k] == one)
            for k, some in enumerate(respects)
            for one in some
        ]
        alone = [(g,) for g in range(len(groups))]
        together = dict.fromkeys(one for one in [*alone, *shared] if len(one) < len(groups))
        return cls(columns.astype(np.intp), tuple(together))

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self.columns.max()) + 1
