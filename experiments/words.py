"""Counts and times as people say them."""

from __future__ import annotations


def count(number: int, one: str, many: str = "") -> str:
    """1 run, 2 runs; `many` where it is not `one` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"


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
