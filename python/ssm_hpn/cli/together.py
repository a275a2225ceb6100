"""Several ranks that run one command: what they may run, and how they end together."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ssm_hpn.cli.endings import ending
from ssm_hpn.cli.parser import TrainRequest
from ssm_hpn.errors import ConfigError, problem
from ssm_hpn.ranks import Ranks


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
def ending_together(ranks: Ranks) -> Iterator[None]:
    """End all ranks where one fails, with its exit code and one line."""
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        if ranks.size == 1:
            raise
        code, line = ranks.end(*ending(error))
        if line is not None:
            print(line, file=sys.stderr, flush=True)
        ranks.leave()
        raise SystemExit(code) from error
