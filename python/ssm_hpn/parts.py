"""The core's kinds of blocks and heads, read once.

>>> from ssm_hpn.parts import BLOCKS, HEADS
>>> BLOCKS["mamba1"].title, BLOCKS["mamba1"].alone, HEADS["linear"].title
('Mamba-1', True, 'a linear head')
"""

from dataclasses import dataclass
from typing import Final

from ssm_hpn._core import block_kinds, head_kinds


@dataclass(frozen=True, slots=True)
class BlockKind:
    """One kind of block.

    >>> from ssm_hpn.parts import BLOCKS
    >>> [name for name, kind in BLOCKS.items() if kind.alone]
    ['mamba1', 'mlp', 'bidirectional']
    """

    name: str
    """In configurations."""
    title: str
    """In reports."""
    alone: bool
    """Whether a list of layers may give the name without settings."""


@dataclass(frozen=True, slots=True)
class HeadKind:
    """One kind of head.

    >>> from ssm_hpn.parts import HEADS
    >>> list(HEADS)
    ['prototype', 'linear', 'none']
    """

    name: str
    """In configurations."""
    title: str
    """What reports say of a model that has it."""


BLOCKS: Final = {row["name"]: BlockKind(**row) for row in block_kinds()}
"""The kinds of block by name, in the order of the documentation."""
HEADS: Final = {row["name"]: HeadKind(**row) for row in head_kinds()}
"""The kinds of head by name, in the order of the documentation."""
