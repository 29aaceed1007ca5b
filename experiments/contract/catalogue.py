"""What a framework does where nothing is stated: what its module `catalogue` tells, read the same way in each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Catalogue = Mapping[str, Mapping[str, tuple[Any, str]]]  # word -> what it is of -> its value and where that was read
Row = tuple[str, str, Any, str]  # the same of one: word, what it is of, value, source


def stated(words: Mapping[str, Mapping[str, tuple[Any, str]]], *, name: Callable[[Any], str]) -> Iterator[Row]:
    """Arguments' defaults, from the installed signatures.

    Args:
        words: Word -> what it is of -> the class or function and its argument.
        name: What people call a class or function, with its package.
    """
    for word, items in words.items():
        for item, (kind, argument) in items.items():
            value = inspect.signature(kind).parameters[argument].default
            yield word, item, value, f"{name(kind)}({argument})"


def gathered(rows: Iterable[Row]) -> Catalogue:
    """The rows by word."""
    found: dict[str, dict[str, tuple[Any, str]]] = {}
    for word, item, value, source in rows:
        found.setdefault(word, {})[item] = (value, source)
    return found
