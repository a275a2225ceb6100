"""How the rows of an update are cut into virtual ranks and micro-batches.

    rows of an update      n = batch_size · accumulate
    of a virtual rank      n / V
    of a micro-batch       the largest divisor of n / V up to batch_size

So a virtual rank is a whole number of micro-batches, one after the other in the order of the data, and with V = 1 a
micro-batch has `batch_size` rows.
"""

from typing import Final, NamedTuple

from ssm_hpn.config.training import TrainConfig
from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, problem

MOST_BY_DEFAULT: Final = 8
"""Most virtual ranks that are chosen where the configuration names none."""


class MicroBatches(NamedTuple):
    """The micro-batches of an update.

    >>> MicroBatches(rows=2, number=8, virtual_ranks=4).per_virtual_rank
    2
    """

    rows: int
    """Of each of them."""
    number: int
    """Of an update."""
    virtual_ranks: int

    @property
    def per_virtual_rank(self) -> int:
        """Of each virtual rank."""
        return self.number // self.virtual_ranks


def micro_batches(train: TrainConfig) -> MicroBatches:
    """The micro-batches of an update. Raises `ConfigError` for rows that cannot be shared out.

    >>> micro_batches(TrainConfig(batch_size=8, accumulate=3))
    MicroBatches(rows=8, number=3, virtual_ranks=1)
    >>> micro_batches(TrainConfig(batch_size=4, accumulate=3, virtual_ranks=2))
    MicroBatches(rows=3, number=4, virtual_ranks=2)
    >>> micro_batches(TrainConfig(batch_size=8, virtual_ranks=8)).rows
    1
    """
    virtual_ranks, rows = train.virtual_ranks or 1, train.batch_size * train.accumulate
    if rows % virtual_ranks:
        advice = "set a power of two that divides them, or change train.batch_size"
        expected = f"a divisor of the {counted(rows, 'row')} of an update"
        raise ConfigError(problem("train.virtual_ranks", expected, virtual_ranks, advice))
    share = rows // virtual_ranks
    of_one = next(size for size in range(min(share, train.batch_size), 0, -1) if share % size == 0)
    return MicroBatches(of_one, rows // of_one, virtual_ranks)


def for_ranks(train: TrainConfig, ranks: int) -> TrainConfig:
    """The settings with a number of virtual ranks, where several ranks train and none is named.

    >>> for_ranks(TrainConfig(batch_size=12), ranks=2).virtual_ranks, for_ranks(TrainConfig(), ranks=1).virtual_ranks
    (4, None)
    """
    if ranks == 1 or train.virtual_ranks is not None:
        return train
    rows, virtual_ranks = train.batch_size * train.accumulate, 1
    while virtual_ranks < MOST_BY_DEFAULT and rows % (2 * virtual_ranks) == 0:
        virtual_ranks *= 2
    return train.model_copy(update={"virtual_ranks": virtual_ranks})


def check_ranks(train: TrainConfig, ranks: int) -> None:
    """Refuse more ranks than virtual ranks, or a number of them that is no power of two.

    >>> check_ranks(TrainConfig(virtual_ranks=4), ranks=4)
    """
    virtual_ranks = train.virtual_ranks or 1
    if virtual_ranks % ranks:
        rows = train.batch_size * train.accumulate
        advice = f"start 1, 2, 4, … ranks up to it, or set a higher power of two that divides {counted(rows, 'row')}"
        raise ConfigError(problem("train.virtual_ranks", f"a multiple of the {ranks} ranks", virtual_ranks, advice))
