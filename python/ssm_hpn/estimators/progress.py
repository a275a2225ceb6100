"""What a fit is doing, told on stderr where `verbose` asks for it: a bar in a terminal, a line per tenth elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ssm_hpn.counts import counted

Advance = Callable[[int, str], None]
"""How much is done, and a word about it."""

TENTHS = 10
"""Lines about one piece of work where stderr is no terminal."""
QUIET_SECONDS = 5.0
"""Between two lines about one stage of a fit of filters."""


class Progress:
    """Tells of the stages of one fit; nothing where `verbose` is 0.

    >>> progress = Progress(0, "SSMClassifier")
    >>> progress.stage("512 filters")
    >>> with progress.bar("update", 300) as advance:
    ...     advance(10, "loss 0.5")
    """

    def __init__(self, verbose: int, who: str) -> None:
        self._verbose, self._who = verbose, who
        self._began = self._told = time.perf_counter()
        self._stage, self._blocks = "", 0

    def stage(self, text: str) -> None:
        """A line with the seconds since the fit began."""
        if self._verbose:
            self._line(f"{text} ({time.perf_counter() - self._began:.1f} s)")

    def watch(self, stage: str) -> None:
        """The stages of a fit of filters: a line for each, and further ones while it takes long (`FilterModel.fit`)."""
        now = time.perf_counter()
        if stage != self._stage:
            self._stage, self._blocks, self._told = stage, 0, now
            self.stage(f"fitting {stage}")
            return
        self._blocks += 1
        if now - self._told > QUIET_SECONDS:
            self._told = now
            self.stage(f"fitting {stage}, {counted(self._blocks, 'block')} of features read")

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Advance]:
        """Progress of `total` pieces of one kind."""
        if not self._verbose:
            yield _silent
        elif sys.stderr.isatty():
            yield from self._drawn(what, total)
        else:
            yield self._lines(what, total)

    def _drawn(self, what: str, total: int) -> Iterator[Advance]:
        # slow to import, and needed only here
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = TextColumn("{task.fields[name]}"), BarColumn(30), MofNCompleteColumn(), TimeRemainingColumn()
        with Bar(*columns, TextColumn("{task.description}"), console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=total, name=f"{self._who}: {what}")
            yield lambda done, words: bar.update(task, completed=done, description=words)

    def _lines(self, what: str, total: int) -> Advance:
        told = 0

        def advance(done: int, words: str) -> None:
            nonlocal told
            tenths = done * TENTHS // total
            if tenths > told:
                told = tenths
                self.stage(f"{what} {done} of {total}" + f", {words}" * bool(words))

        return advance

    def _line(self, text: str) -> None:
        sys.stderr.write(f"{self._who}: {text}\n")
        sys.stderr.flush()


def _silent(_done: int, _words: str) -> None:
    """Tells nothing."""
