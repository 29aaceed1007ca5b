"""Counts, times and commands as people say and type them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def count(number: int, one: str, many: str = "") -> str:
    """1 run, 2 runs; `many` where it is not `one` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def of_all(number: int, of: int) -> str:
    """How many of two or more: 2 of the 3, all 3, both."""
    if number < of:
        return f"{number} of the {of}"
    return "both" if of == 2 else f"all {of}"


def duration(seconds: float) -> str:
    """A time that is known roughly: 3 s, 40 s, 2 min, 1 h 20 min."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 57:
        return f"{5 * round(seconds / 5)} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, tens = divmod(round(minutes / 10), 6)
    return f"{hours} h {10 * tens} min" if tens else f"{hours} h"


def command(overrides: Sequence[str]) -> str:
    """What a person types to train one run, its experiment first; "" where it is not known."""
    first = sorted(overrides, key=lambda each: not each.startswith("experiment="))
    return shlex.join(["python", "run.py", *first]) if overrides else ""
