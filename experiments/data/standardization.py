"""Features brought to mean 0 and standard deviation 1, by numbers of the training part alone.

A network's first weights are drawn for inputs of about 1: features that reach a thousand drown the others, and those
that reach a thousandth are not seen. Padding stays 0, and counts in no mean.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from experiments.contract.arrays import Array
from experiments.data.checks import SMALLEST, first_wrong
from experiments.data.spec import Arrays, ExampleSpec, Standardization
from experiments.task.checks import require

# Times that a feature may reach as far as another, or as 1: more is another unit, not another spread. What a feature
# reaches says so where its deviation would not: of years (2000 ± 10) it is small, of a rare 1 among zeros too.
FAR_APART = 100.0


def standardize(
    parts: Arrays, *, spec: ExampleSpec, wanted: Literal["auto", True, False]
) -> tuple[Standardization | None, list[str]]:
    """Standardize the inputs of all parts in place, where that is wanted, or needed and left open.

    Args:
        parts: x_train, x_validation and x_test as float32: features (n, features) or sequences (n, steps, features).
        spec: What an example looks like; images and tokens have no features.
        wanted: `data.standardize`.

    Returns:
        What was done, None for nothing; and what a person is to know of it, in lines.

    Raises:
        ValueError: If it is wanted of images or tokens, a number leaves float32, or a real step becomes padding.
    """
    if spec.vocabulary or len(spec.input_shape) > 2:
        what = "tokens" if spec.vocabulary else "pictures"
        require(wanted is not True, f"data.standardize is auto or false for {what}", wanted, "leave it out")
        return None, []
    features = _features(parts["x_train"])
    reaches = _far_apart(features)
    if wanted is False or (wanted == "auto" and not reaches):
        fix = "a network learns little from that; data.standardize=true brings them to one scale"
        return None, [f"{reaches}, and data.standardize is false: {fix}"] if reaches else []
    done = _fit(features)
    for part in ("train", "validation", "test"):
        parts[f"x_{part}"] = _applied(parts[f"x_{part}"], done, name=f"x_{part}")
    keeps = "data.standardize=false keeps them as they are"
    return done, [f"features were standardized, for {reaches}; {keeps}"] if wanted == "auto" else []


def _features(x: Array) -> Array:
    """A row per example, or per step that is no padding: (n, features)."""
    return x if x.ndim == 2 else x[x.any(axis=2)]


def _far_apart(features: Array) -> str:
    """From where to where they reach, in words, where that is too far; else empty. What is 0 throughout is passed."""
    reaches = np.abs(features).max(axis=0).astype(np.float64)
    reaches = reaches[reaches > 0]
    low, high = reaches.min(initial=1.0), reaches.max(initial=1.0)
    if high <= FAR_APART * low:
        return ""
    low, high = reaches.min(), reaches.max()
    return f"columns of x_train reach from {low:g} to {high:g} in size" if low < high else f"x_train reaches {low:g}"


def _fit(features: Array) -> Standardization:
    """Mean and standard deviation of each column; 1 for one that never changes."""
    never = features.max(axis=0) == features.min(axis=0)
    deviations = np.where(never, 1.0, features.std(axis=0, dtype=np.float64))
    return Standardization(
        means=tuple(features.mean(axis=0, dtype=np.float64).tolist()), deviations=tuple(deviations.tolist())
    )


def _applied(x: Array, done: Standardization, *, name: str) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        exact = (x - np.array(done.means)) / np.array(done.deviations)
        exact[np.abs(exact) < SMALLEST] = 0
        if x.ndim == 3:
            exact[~x.any(axis=2)] = 0
        standardized: Array = exact.astype(np.float32)
    fix = "leave the example out, or set data.standardize=false"
    if found := first_wrong(~np.isfinite(standardized), standardized, name=name):
        raise ValueError(f"`standardized {name} is finite in float32` must hold, but {found}; {fix}")
    if x.ndim == 3:
        vanished = np.logical_and(x.any(axis=2), ~standardized.any(axis=2))
        if found := first_wrong(vanished, x[..., 0], name=name):
            rule = f"no step of {name} has the mean of all its features, which standardized is padding"
            raise ValueError(f"`{rule}` must hold, but {found}; {fix}")
    return standardized
