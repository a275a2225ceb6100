"""How many of what: a count and its noun, for everything that is printed."""


def counted(count: int, noun: str, nouns: str | None = None) -> str:
    """A count with its noun in the singular or the plural.

    Parameters
    ----------
    count
        How many.
    noun
        Of one.
    nouns
        Of several; the noun with an s at its end where it is left out.

    >>> counted(1, "feature"), counted(0, "feature"), counted(2000, "class", "classes")
    ('1 feature', '0 features', '2,000 classes')
    """
    return f"{count:,} {noun_for(count, noun, nouns)}"


def noun_for(count: float, noun: str, nouns: str | None = None) -> str:
    """The noun alone, for a count that is shown in a way of its own.

    >>> noun_for(1, "epoch"), noun_for(1.5, "epoch")
    ('epoch', 'epochs')
    """
    return noun if count == 1 else nouns or f"{noun}s"
