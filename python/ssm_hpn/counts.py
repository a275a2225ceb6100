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

    >>> counted(1, "feature"), counted(0, "feature"), counted(2, "class", "classes")
    ('1 feature', '0 features', '2 classes')
    """
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"
