"""Examples that are taken as they stand, but look as if something else was meant: each in a line, with the fix.

Nothing here changes an example. What cannot be meant is refused where the file is read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import numpy as np

from experiments.contract.arrays import Array
from experiments.data.spec import Arrays, ExampleSpec

ENOUGH = 10  # examples below which a pattern may be chance
WHITE = 16  # float pictures that reach it are none of 0 to 1
DARK = 31  # bytes that stay below it are none of 0 to 255
MOST_CLASSES = 50  # different whole numbers that may be classes
MOST_NAMED = 5  # columns that a line names


def of_examples(arrays: Arrays, *, spec: ExampleSpec, in_order: bool) -> list[str]:
    """What looks odd in the training examples, in their canonical types, and in the names of their classes."""
    x, y = arrays["x_train"], arrays["y_train"]
    lines = _of_classes(y, names=spec.class_names) if spec.class_names else _of_values(y)
    lines += _of_ranges(arrays)
    if len(x) >= 2 and (x == x[:1]).all():
        return [*lines, "all examples of x_train are the same: nothing can be learned from them"]
    if spec.vocabulary:
        return lines + _of_tokens(x)
    if x.ndim == 4:
        return lines + _of_pictures(x)
    if windows := _of_windows(x):
        return lines if in_order else lines + windows
    if x.ndim == 2:
        return lines + _of_columns(x, y, in_order=in_order)
    real = x[x.any(axis=2)]
    lines += _constant((real == real[:1]).all(axis=0))
    if x.shape[1] == x.shape[2] and x.shape[1] > 4:
        size = f"(n, {x.shape[1]}, {x.shape[2]})"
        lines += [f"x_train of shape {size} is read as sequences; pictures need an axis: save x_train[..., np.newaxis]"]
    return lines


def is_channels_first(shape: Sequence[int]) -> bool:
    """Whether (n, ., ., .) looks like (n, channels, h, w)."""
    return len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] > 4 and shape[2] > 1


def _of_pictures(x: Array) -> list[str]:
    lines = []
    if is_channels_first(x.shape):
        _, height, width, channels = x.shape
        lines.append(
            f"x_train is read as pictures of {height}x{width} pixels with {channels} channels; "
            "if channels come first, save x_train.transpose(0, 2, 3, 1)"
        )
    largest = x.max()
    if x.dtype == np.uint8 and largest <= DARK:
        lines.append(
            f"the largest byte of x_train is {largest}, and bytes are divided by 255; "
            f"unless so dark is meant, save (x_train / {max(largest, 1)}).astype(np.float32)"
        )
    if x.dtype != np.uint8 and x.min() >= 0 and largest >= WHITE:
        fix = "save it as np.uint8, which is divided by 255" if largest <= 255 else f"save x_train / {largest:g}"
        lines.append(f"float pictures are fed as they are, and x_train reaches {largest:g}; for 0 to 1 {fix}")
    return lines


def _of_columns(x: Array, y: Array, *, in_order: bool) -> list[str]:
    """Features (n, features) that are constant, that number the examples, or that are the target."""
    constant = (x == x[:1]).all(axis=0)
    lines = _constant(constant)
    if len(x) < ENOUGH:
        return lines
    rises = np.diff(x, axis=0).min(axis=0) > 0
    if rises.any() and not in_order:
        fix = "leave it out, or, if it is a time, set data.in_order=true"
        lines.append(f"{_columns(rises)} of x_train rises from each example to the next; {fix}")
    counts = np.array([_is_id(column) for column in x.T]) & ~rises
    if counts.any():
        lines.append(f"{_columns(counts)} of x_train numbers the examples, as an id does; leave it out")
    target = y if y.ndim == 1 else y[:, 0] if y.shape[1] == 1 else None
    if target is not None and (same := (x == target[:, np.newaxis]).all(axis=0) & ~constant).any():
        lines.append(f"{_columns(same)} of x_train is y_train itself; leave it out")
    return lines


def _is_id(column: Array) -> bool:
    """Whether (n,) are n whole numbers in a row, in whatever order."""
    return bool(column.max() - column.min() == len(column) - 1 and (np.diff(np.sort(column)) == 1).all())


def _constant(chosen: Array) -> list[str]:
    return [f"{_columns(chosen)} of x_train never changes; leave it out"] if chosen.any() else []


def _of_ranges(arrays: Arrays) -> list[str]:
    """A test set in another unit than the training set."""
    train, test = (float(np.abs(arrays[f"x_{part}"]).max(initial=0)) for part in ("train", "test"))
    if arrays["x_train"].dtype.kind != "f" or len(arrays["x_test"]) < ENOUGH or train / 10 <= test <= train * 10:
        return []
    return [f"x_train reaches {train:g}, but x_test {test:g}; scale both by the same numbers"]


def _columns(chosen: Array) -> str:
    numbers = [str(number) for number in np.flatnonzero(chosen)]
    more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED else ""
    return f"column {', '.join(numbers[:MOST_NAMED])}{more}"


def _of_tokens(x: Array) -> list[str]:
    """Whole numbers (n, steps) whose columns have nothing in common, as those of a table."""
    varying = x[:, (x != x[:1]).any(axis=0)]
    if len(x) < ENOUGH or varying.shape[1] < 2 or varying.min(axis=0).max() <= varying.max(axis=0).min():
        return []
    return [
        "whole numbers are read as tokens, but columns of x_train share none of them; "
        "if it is a table of numbers, save x_train.astype(np.float32)"
    ]


def _of_windows(x: Array) -> list[str]:
    """Examples that go on where the one before has been: (n, steps, ...), each a few steps after the last."""
    first, n_steps = x[:ENOUGH], x.shape[1]
    for stride in range(1, n_steps // 2 + 1 if len(first) == ENOUGH else 1):
        if not (first[:-1, stride:] == first[1:, :-stride]).all() or (first == first[:1, :1]).all():
            continue
        if (x[:-1, stride:] == x[1:, :-stride]).all():
            return [
                f"each example of x_train is the one before, {stride} further: windows of one series, of which what is "
                "held out would be drawn from between the others; data.in_order=true holds out the last ones"
            ]
    return []


def _of_values(y: Array) -> list[str]:
    """Floats (n, values) that look like classes."""
    is_whole = bool((y == np.rint(y)).all()) and y.min() >= 0
    if is_whole and y.shape[1] > 1 and (y.sum(axis=1) == 1).all() and y.max() == 1:
        return ["floats are values, but y_train looks one-hot; for classes save y_train.argmax(axis=1)"]
    if is_whole and y.shape[1] == 1 and len(np.unique(y)) <= min(MOST_CLASSES, len(y) / 2):
        return [
            "floats are values, but y_train holds few whole numbers; for classes save y_train.ravel().astype(np.int64)"
        ]
    return []


def _of_classes(y: Array, *, names: Sequence[str]) -> list[str]:
    unused = sorted(set(range(len(names))) - set(y.tolist()))
    lines = [f"class {label} ({names[label]}) has no training example; do classes count from 0?" for label in unused]
    alike: dict[str, str] = {}
    for name in names:
        other = alike.setdefault(as_compared(name), name)
        if other != name:
            lines.append(f"classes {other!r} and {name!r} differ only by case or spaces; if they are one, join them")
    return lines


def as_compared(name: str) -> str:
    """A name of a class without case, without spaces around it, in one Unicode form."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def of_rounding(x: Array) -> list[str]:
    """Columns (..., features) of float64 whose values float32 does not tell apart; `x` as it was stored."""
    if x.dtype.itemsize <= 4 or x.dtype.kind != "f":
        return []
    columns = x.reshape(-1, x.shape[-1])
    low, high = columns.min(axis=0), columns.max(axis=0)
    lines = []
    for number in np.flatnonzero(high - low < 1e-4 * np.maximum(np.abs(low), np.abs(high))):
        values = np.unique(columns[:, number])
        n_left = len(np.unique(values.astype(np.float32)))
        if n_left < len(values):
            lines.append(
                f"column {number} of x_train has {len(values)} values, of which float32 tells {n_left} apart, the "
                f"first {values[0]!r}; subtract its mean before saving"
            )
    return lines[:MOST_NAMED]


def of_sixteen_bits(largest: int) -> list[str]:
    """Pictures of 16 bits whose largest number is no half of what 16 bits hold; 0 stands for pictures of 8 bits."""
    if not 0 < largest < 2**15:
        return []
    shift = max(largest.bit_length() - 8, 0)
    fix = f"save (pixels >> {shift}).astype(np.uint8)" if shift else "save pixels.astype(np.uint8)"
    return [
        f"pictures of 16 bits reach {largest} of 65535, of which rounding to 8 bits leaves {round(largest / 257) + 1} "
        f"grey levels; if they hold {largest.bit_length()} bits, {fix}"
    ]


def of_parts(parts: Arrays) -> list[str]:
    """Test examples that are trained on, byte by byte."""
    known = {example.tobytes() for example in parts["x_train"]}
    twice = [place for place, example in enumerate(parts["x_test"]) if example.tobytes() in known]
    if not twice:
        return []
    return [
        f"{len(twice):,} of {len(parts['x_test']):,} test examples are training examples too, the first x_test"
        f"[{twice[0]}]; scores on them say little about new ones"
    ]
