"""Several ranks that run one command: what they may run, who prepares the data, and how they end together."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ssm_hpn.cli.parser import TrainRequest
from ssm_hpn.errors import EXIT_KILLED, ConfigError, exit_code, problem
from ssm_hpn.printable import printable
from ssm_hpn.ranks import Ranks

_OTHERS: Final = 0.5
"""Seconds in which other ranks that fail too can say so, before all are ended."""


def check_together(request: TrainRequest, ranks: Ranks, *, of_features: bool = False) -> None:
    """Refuse what one process does alone."""
    if ranks.size == 1:
        return
    alone = "--dry-run" if request.dry_run else "--profile" if request.profile else None
    if alone is not None:
        found = f"{alone} on {ranks.size} ranks"
        raise ConfigError(problem(alone, "a process alone", found, "start it without mpirun"))
    if of_features:
        advice = "start it without mpirun, or set model.kind to backbone"
        raise ConfigError(problem("model.kind", f"backbone on {ranks.size} ranks", "features", advice))


@contextmanager
def leader_first(ranks: Ranks) -> Iterator[None]:
    """Let rank 0 run a block, and the others after it: they find what it has prepared."""
    if not ranks.leads:
        ranks.wait_for_leader()
    yield
    if ranks.leads:
        ranks.wait_for_leader()


@contextmanager
def failing_together(ranks: Ranks) -> Iterator[None]:
    """End all ranks where one fails, with its exit code and one line that names it."""
    if ranks.size == 1:
        yield
        return
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        killed = isinstance(error, KeyboardInterrupt)
        text = f"interrupted{error}" if killed else f"error: {printable(' '.join(str(error).split()))}"
        if not killed and exit_code(error) == 1:
            text = f"error: this is a bug: {type(error).__name__}: {text.removeprefix('error: ')}"
        print(f"{ranks.name()}: {text}", file=sys.stderr, flush=True)
        time.sleep(_OTHERS)
        ranks.abort(EXIT_KILLED if killed else exit_code(error))
        raise
