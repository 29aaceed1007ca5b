"""What every statistic asks of its input, and the one way to subtract scores without floating-point noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Scores = Mapping[int, float] | Sequence[float] | Array

RELATIVE_RESOLUTION = 1e-12
"""Scores closer than this share of the largest score count as equal: .768 - .763 is .005, not .0050000000000000044."""

ROUNDING = 1e-6
"""Scores closer than this share of the largest are the same but for rounding: a mean of float32 has about 2**-24."""


def as_array(values: Sequence[float] | Array, *, name: str) -> Array:
    """Return `values` as a 1-D float64 array.

    Raises:
        ValueError: If `values` is not one-dimensional.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"`{name}` must be 1-D, but got shape {array.shape}")
    return array


def require_finite(minimum: int = 1, /, **named: Array) -> None:
    """Refuse arrays with fewer than `minimum` values, or with a value that is not finite.

    Raises:
        ValueError: Naming the array; a failed run is scored first (`score_failures`), never dropped here.
    """
    for name, array in named.items():
        if array.size < minimum:
            raise ValueError(f"`{name}` must hold at least {minimum} values, but got {array.size}")
        n_bad = int(np.sum(~np.isfinite(array)))
        if n_bad:
            raise ValueError(f"`{name}` must hold finite values only, but got {n_bad} not finite; see score_failures")


def require_open_share(**named: float) -> None:
    """Refuse a probability, level or share outside the open interval (0, 1).

    Raises:
        ValueError: Naming the argument and its value.
    """
    for name, value in named.items():
        if not 0 < value < 1:
            raise ValueError(f"`0 < {name} < 1` must hold, but got {value!r}")


def require_positive(**named: float) -> None:
    """Refuse a value that is not a positive finite number.

    Raises:
        ValueError: Naming the argument and its value.
    """
    for name, value in named.items():
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"`{name} > 0` must hold, but got {value!r}")


def without_noise(values: Array, *, magnitude: float) -> Array:
    """Round to `RELATIVE_RESOLUTION` of `magnitude`, so that values equal but for float noise become tied.

    Args:
        values: Scores or differences of scores, any shape; infinities stay.
        magnitude: Largest absolute score that took part, same unit; with 0 nothing is rounded.
    """
    if not magnitude > 0:
        return values
    decimals = -math.ceil(math.log10(magnitude) + math.log10(RELATIVE_RESOLUTION))
    return np.round(values, min(decimals, 300))  # beyond that 10**decimals overflows


def differences_of(first: Array, second: Array) -> Array:
    """Return `first - second`, free of float noise, so that ties are ties when ranked."""
    magnitude = max(np.max(np.abs(first), initial=0.0), np.max(np.abs(second), initial=0.0))
    return without_noise(first - second, magnitude=float(magnitude))


def are_equal_but_for_rounding(first: Array, second: Array) -> bool:
    """Whether no pair is further apart than `ROUNDING` of the largest score: the metric cannot show a difference."""
    magnitude = max(np.max(np.abs(first), initial=0.0), np.max(np.abs(second), initial=0.0))
    return bool(np.max(np.abs(first - second), initial=0.0) <= ROUNDING * magnitude)
