"""`Applies`: where a setting has an effect, declared in the annotation of its field.

    tokenizer: Annotated[str | None, Applies("text", {"raw.content": "text"})]

The first argument says it in words, for messages. Each further one is a set of facts, all of which have to hold, and
one such set is enough. Facts are the attributes of `RawData` (`raw.format`) and of `Task` (`task.target`), and other
settings by their dotted names (`data.encoder`). `config.applicable` looks them up and refuses what has no effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

LEAVE_OUT: Final = "leave it out"
ONE_OF_THEM: Final = "leave one of the two out"


class Is(Enum):
    """Conditions on a fact other than equality with a value."""

    EMPTY = "null, 0 or an empty list"
    GIVEN = "neither null nor 0 nor an empty list"
    SINGLE = "a list of one"


@dataclass(frozen=True, slots=True)
class Not:
    """Any value but this one."""

    value: object


Facts = Mapping[str, object]
"""Values by the names of facts: a value, a tuple of possible values, `Is` or `Not`."""


@dataclass(frozen=True, slots=True, init=False)
class Applies:
    """The conditions under which a setting has an effect."""

    words: str
    """The condition in words, as a message has it after "expected"."""
    where: tuple[Facts, ...]
    """Sets of facts; the setting has an effect where all facts of one set hold."""
    advice: str
    """Advice where it has none."""

    def __init__(self, words: str, *where: Facts, advice: str = LEAVE_OUT) -> None:
        for name, value in (("words", words), ("where", where), ("advice", advice)):
            object.__setattr__(self, name, value)

    @property
    def facts(self) -> frozenset[str]:
        """The names of all facts that it depends on."""
        return frozenset(name for facts in self.where for name in facts)


def holds(value: object, wanted: object) -> bool:
    """Whether a fact meets its condition."""
    match wanted:
        case Is.EMPTY:
            return not value
        case Is.GIVEN:
            return bool(value)
        case Is.SINGLE:
            return isinstance(value, tuple) and len(value) == 1
        case Not(value=refused):
            return value != refused
        case tuple():
            return value in wanted
        case _:
            return value == wanted
