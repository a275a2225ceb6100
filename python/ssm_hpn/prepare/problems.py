"""Errors and notes about input: which file, where in it, expected, found, what to do."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ssm_hpn.counts import counted
from ssm_hpn.errors import ConfigError, DataError, problem
from ssm_hpn.errors import nearest as closest
from ssm_hpn.errors import shown as any_shown


def data_error(path: Path | str, at: str, *, expected: str, found: object, advice: str) -> DataError:
    """Build (not raise) the error for one place of one file."""
    return DataError(problem(f"{path}: {at}", expected, found, advice))


def config_error(key: str, *, expected: str, found: object, advice: str) -> ConfigError:
    """Build (not raise) the error for one setting, by its dotted name."""
    return ConfigError(problem(key, expected, found, advice))


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice that names the closest known spelling, or lists what there is."""
    names = list(known)
    close = closest(name, names) or next((n for n in names if n.lower() == name.lower()), None)
    return f"did you mean {close!r}?" if close else f"there are {listed(names)}"


def listed(names: list[str], limit: int = 12) -> str:
    """The first names, quoted."""
    return ", ".join(map(repr, names[:limit])) + (", …" if len(names) > limit else "")


def shown(value: object, limit: int = 40) -> str:
    """A value for a message: quoted, and cut when long."""
    return any_shown(value, limit)


class Notes:
    """Notes on what was guessed and on what is unusual: every sentence once, in the order it was added."""

    def __init__(self) -> None:
        """Start without notes."""
        self._texts: dict[str, None] = {}
        self._of_files: dict[str, tuple[str, dict[str, None]]] = {}

    def add(self, *texts: str) -> None:
        """Add notes that are not there yet."""
        self._texts |= dict.fromkeys(texts)

    def add_of_file(self, file: str, about: str, text: str) -> None:
        """Add a note on a file; of further files with a note `about` the same only the number is given."""
        self._of_files.setdefault(about, (f"{file}: {text}", {}))[1][file] = None

    def __iter__(self) -> Iterator[str]:
        """Every note: those on no single file first."""
        yield from self._texts
        for text, files in self._of_files.values():
            more = len(files) - 1
            yield text + (f" (and {counted(more, 'more file')} like it)" if more else "")


def spelled_twice(
    texts: Iterable[str],
    known: Callable[[Iterable[str]], Iterable[bool]],
    bare: Callable[[str], str] = str.strip,
) -> list[tuple[str, str]]:
    """Texts of which `bare` takes something away, such as blanks, each with the same text written otherwise.

    `known` answers for each of some bare texts whether it is there.

    >>> spelled_twice(["a ", "b "], lambda bare: [one == "a" for one in bare])
    [('a ', 'a')]
    """
    spaced = [one for one in texts if one != bare(one)]
    pairs, first = [], dict[str, str]()
    for one, plain in zip(spaced, known([bare(one) for one in spaced]), strict=True):
        other = bare(one) if plain else first.setdefault(bare(one), one)
        if other != one:
            pairs.append((one, other))
    return pairs
