"""How settings refuse a value: the rule in code font, the value, the fix."""

from __future__ import annotations

import math
from typing import Any


def require(holds: bool, rule: str, value: Any, fix: str = "") -> None:  # noqa: FBT001
    """Raise ValueError "`rule` must hold, but got value; fix" unless the rule holds.

    Args:
        holds: Whether it does.
        rule: What must hold, as code: "depth >= 1".
        value: What was given.
        fix: What to do about it; empty where the rule says it.
    """
    if not holds:
        raise ValueError(f"`{rule}` must hold, but got {value!r}" + (f"; {fix}" if fix else ""))


def require_half_open_share(*, fix: str = "", **shares: float) -> None:
    """Refuse what is not in [0, 1)."""
    for name, share in shares.items():
        require(0 <= share < 1, f"0 <= {name} < 1", share, fix)


def require_positive(*, fix: str = "", **values: float) -> None:
    """Refuse what is not a finite number above 0."""
    for name, value in values.items():
        require(0 < value < math.inf, f"{name} > 0", value, fix)
