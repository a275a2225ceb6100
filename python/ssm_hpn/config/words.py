"""What a setting may be, in plain words: for the errors that pydantic finds, whose own words are those of its types."""

from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

ONE: Final[dict[object, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    dict: "a table",
}
MANY: Final[dict[object, str]] = {str: "texts", int: "whole numbers", float: "numbers", dict: "tables"}
"""What elements of lists are called."""
BY_ERROR: Final = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "a text",
    "tuple": "a list",
    "dict": "a table",
}
"""What was expected, by how pydantic's name of an error of type begins: for elements of lists."""
OF_TYPE: Final = ("_type", "_parsing", "_parsing_size", "_from_float", "literal_error")
"""How pydantic's names of errors end that say that a value is of another type."""


def expected(error: Mapping[str, Any], annotation: object | None) -> str:
    """What was expected by an error of pydantic: a row of its `errors()`.

    `annotation` is that of the setting; None for an element inside of it.
    """
    kind, about = error["type"], error.get("ctx", {})
    if kind.endswith(OF_TYPE):
        if annotation is not None:
            return words_of(annotation)
        if kind != "literal_error":
            return BY_ERROR[kind.partition("_")[0]]
    if kind == "string_too_short":
        return "a text that is not empty"
    if kind == "string_too_long":
        return "a text of one character" if about["max_length"] == 1 else f"at most {about['max_length']} characters"
    text: str = error["msg"]
    for start in ("Input should be ", "Value error, ", "expected "):
        text = text.removeprefix(start)
    return text


def allows(annotation: object, kind: type) -> bool:
    """Whether a value of a type is one that an annotation allows.

    >>> allows(bool | None, bool), allows(int, bool)
    (True, False)
    """
    return kind in _alternatives(annotation)


def words_of(annotation: object) -> str:
    """The values of a type in words; null, which a file cannot write, is left out.

    >>> words_of(tuple[str, ...]), words_of(int | Literal["all"] | None), words_of(bool)
    ('a list of texts', 'a whole number or all', 'true or false')
    """
    return " or ".join(dict.fromkeys(_one(part) for part in _alternatives(annotation)))


def _alternatives(annotation: object) -> Iterator[object]:
    """The types that an annotation allows, without null."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _alternatives(arguments[0])
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from _alternatives(one)
    elif annotation is not NoneType:
        yield annotation


def _one(annotation: object) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, arguments))
    if origin is tuple:
        return f"a list of {' or '.join(_many(part) for part in _alternatives(arguments[0]))}"
    return ONE[origin or annotation]


def _many(annotation: object) -> str:
    origin = get_origin(annotation)
    return ", ".join(map(str, get_args(annotation))) if origin is Literal else MANY[origin or annotation]
