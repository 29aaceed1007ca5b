"""Arrays that would train to nonsense are refused: with the array, the first place where it is wrong, and the value."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from experiments.contract.arrays import Array
from experiments.data.spec import ExampleSpec

SMALLEST = 1e-30  # in size; less, times a weight, is below float32's normal numbers, which TensorFlow takes for 0


def first_wrong(wrong: NDArray[np.bool_], array: Array, *, name: str) -> str:
    """The first place of `array` that is wrong, and its value: "x_train[1, 0] is nan"; empty where none is.

    `wrong` has the shape of `array`.
    """
    if not wrong.any():
        return ""
    place = tuple(int(index) for index in np.argwhere(wrong)[0])
    return f"{name}[{', '.join(map(str, place))}] is {array[place]}"


def too_small(array: Array) -> NDArray[np.bool_]:
    """Where a number is not 0, but so near that some arithmetic takes it, or it times a weight, for 0."""
    found: NDArray[np.bool_] = (array != 0) & (np.abs(array) < SMALLEST)
    return found


def require_text(name: str, *, what: str) -> None:
    """Refuse a name that no file can hold: one of bytes that are no UTF-8.

    Raises:
        ValueError: Names it.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"`{what} is UTF-8` must hold, but got {name!a}; rename it") from error


def check(arrays: dict[str, Array], *, spec: ExampleSpec, title: str) -> None:
    """Refuse arrays that would train to nonsense: sizes, shapes, values, tokens and labels.

    Raises:
        ValueError: Names the array, the index and the value.
    """
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(x) != len(y):
            raise ValueError(f"`len(x_{part}) == len(y_{part})` must hold, but got {len(x)} and {len(y)}")
        if np.prod(x.shape[1:]) != np.prod(spec.input_shape):
            raise ValueError(
                f"`x_{part}` of {title} must hold examples of shape {spec.input_shape}, but got {x.shape[1:]}"
            )
        _check_finite(x, name=f"x_{part}")
        if spec.vocabulary:
            _check_range(x, name=f"x_{part}", end=spec.vocabulary)
        if spec.vocabulary or len(spec.input_shape) == 2:
            _check_padding(x, name=f"x_{part}")
        if spec.n_values:
            _check_finite(y, name=f"y_{part}")
        else:
            _check_range(y, name=f"y_{part}", end=len(spec.class_names))
    if len(arrays["y_train"]) == 0:
        raise ValueError("`x_train` must hold examples, but it is empty")


def _check_range(numbers: Array, *, name: str, end: int) -> None:
    """Classes and tokens count from 0."""
    if found := first_wrong((numbers < 0) | (numbers >= end), numbers, name=name):
        raise ValueError(f"`0 <= {name} < {end}` must hold, but {found}")


def _check_finite(array: Array, *, name: str) -> None:
    if not np.issubdtype(array.dtype, np.floating):
        return
    if found := first_wrong(~np.isfinite(array), array, name=name):
        raise ValueError(f"`{name}` must be finite, but {found}")
    if found := first_wrong(too_small(array), array, name=name):
        raise ValueError(
            f"`{name}` must be 0 or at least {SMALLEST:g} in size, but {found}: frameworks disagree on whether that is "
            f"0; set it to 0, np.where(abs(x) < {SMALLEST:g}, 0, x), or multiply all by a constant"
        )


def _check_padding(sequences: Array, *, name: str) -> None:
    """A step whose features are all 0, or token 0, is padding, which stands at the end, after at least one step."""
    inside = (sequences != 0).any(axis=2) if sequences.ndim == 3 else sequences != 0
    lengths = inside.sum(axis=1)
    steps = np.arange(inside.shape[1])
    bad = np.flatnonzero((inside != (steps < lengths[:, np.newaxis])).any(axis=1) | (lengths == 0))
    if bad.size:
        what, zero = ("tokens", "0") if sequences.ndim == 2 else ("steps", "all 0")
        images = "images need an axis of channels"
        fix = (
            "count tokens from 1, or save a table of numbers as np.float32"
            if sequences.ndim == 2
            else f"shift the features by a constant ({images})"
        )
        if (inside[bad] == (steps >= len(steps) - lengths[bad, np.newaxis])).all() and lengths[bad].all():
            fixes = [fix, 'pad at the end, padding="post"']
            fix = ", or ".join(fixes if lengths[bad].min() == len(steps) - 1 else reversed(fixes))
        raise ValueError(
            f"{what} of `{name}` that are {zero} are padding and must stand at the end, after at least one other, "
            f"but {name}[{bad[0]}] has them elsewhere, the first at step {int(np.argmin(inside[bad[0]]))}; {fix}"
        )
