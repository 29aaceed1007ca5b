"""Anybody's own examples: arrays of an .npz file, or a folder of pictures by class. The rules: docs/custom-data.md."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from experiments.contract.arrays import Array
from experiments.data import suspicions
from experiments.data.catalog import RULES, require_path
from experiments.data.checks import SMALLEST, first_wrong, require_text, too_small
from experiments.data.pictures import read_folder
from experiments.data.spec import Arrays, ExampleSpec, RawData
from experiments.errors import unknown_name
from experiments.task.checks import require
from experiments.task.datasets import CustomData

Inputs = Literal["images", "features", "sequences", "tokens"]

ARRAYS = ("x_train", "y_train", "x_test", "y_test", "lengths_train", "lengths_test", "class_names")
# All that NumPy and zipfile raise on a file that is cut short, overwritten in places or encrypted.
DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)
LARGEST_NUMBER = 2**31 - 1  # of tokens and classes; no table of embeddings is larger


def examples(settings: CustomData, cache: Path) -> RawData:
    """What `data.path` names: an .npz file of arrays, or a folder of pictures.

    Raises:
        ValueError: If they break a rule of docs/custom-data.md.
        FileNotFoundError: If there is nothing of that name.
    """
    require_path(settings)
    path = Path(str(settings.path)).expanduser()
    what = "pictures" if path.is_dir() else "arrays"
    if path.is_dir():
        fix = "its pictures come class by class; leave it out"
        require(not settings.in_order, "data.in_order is false for a folder", settings.in_order, fix)
        arrays, spec, lines = read_folder(path, size=settings.image_size)
    else:
        arrays, spec, lines = read_npz(path, settings=settings)
    if spec.targets == "classes":
        _check_classes(arrays, class_names=spec.class_names, settings=settings)
    lines = [*lines, *suspicions.of_examples(arrays, spec=spec, in_order=settings.in_order)]
    n_examples = len(arrays["y_train"]) + len(arrays["y_test"])
    origin = f"your own {what} from {path.resolve().name}, {n_examples:,} examples"
    return RawData(arrays=arrays, origin=origin, spec=spec, suspicions=tuple(lines))


def _check_classes(arrays: Arrays, *, class_names: tuple[str, ...], settings: CustomData) -> None:
    """Refuse classes that cannot be learned, or not be split: two examples each, one of them left to train on."""
    train, test = (np.bincount(arrays[f"y_{part}"], minlength=len(class_names)) for part in ("train", "test"))
    if settings.in_order:
        _check_classes_in_order(arrays, class_names=class_names, settings=settings)
        return
    used = np.flatnonzero(train)
    require(len(used) >= 2, "y_train has 2 classes or more", [class_names[each] for each in used], "add another class")
    for label in np.flatnonzero(test & (train == 0)):
        raise ValueError(
            f"every class of y_test must be in y_train, but class {label} ({class_names[label]}) is not; "
            "move examples of it to the training part"
        )
    for label in used:
        count = int(train[label])
        name = f"class {label} ({class_names[label]})"
        require(count >= 2, f"y_train has 2 examples or more of {name}", count, "add some, or leave the class out")
        left = count if test.any() else count - round(settings.test_fraction * count)
        left -= round(settings.validation_fraction * left)
        fix = f"of {count} the others are held out; add some, or lower data.test_fraction or data.validation_fraction"
        require(left >= 1, f"1 example or more of {name} is left to train on", left, fix)


def _check_classes_in_order(arrays: Arrays, *, class_names: tuple[str, ...], settings: CustomData) -> None:
    """Of a time series, refuse classes that only come after its training part, and a training part of one class."""
    y = arrays["y_train"]
    rest = len(y) if len(arrays["y_test"]) else len(y) - round(settings.test_fraction * len(y))
    n_train = rest - round(settings.validation_fraction * rest)
    learned = set(y[:n_train].tolist())
    fix = "the last examples are held out; lower data.test_fraction or data.validation_fraction"
    require(len(learned) >= 2, f"the first {n_train} examples have 2 classes or more", len(learned), fix)
    for label in sorted({*y.tolist(), *arrays["y_test"].tolist()} - learned):
        raise ValueError(
            f"every class must be in the first {n_train} examples, which are for training with data.in_order=true, but "
            f"class {label} ({class_names[label]}) is not; {fix}"
        )


def read_npz(path: Path, /, *, settings: CustomData) -> tuple[Arrays, ExampleSpec, list[str]]:
    """Read x_train, y_train and what else there may be, in canonical types.

    Returns:
        x as uint8 images (n, h, w, channels), float32, or int64 tokens (n, steps); y as int64 (n,) or float32
        (n, n_values); `x_test` and `y_test` are empty where the file has none. What one example looks like. And what
        of the file may have been meant otherwise.

    Raises:
        ValueError: If the file is damaged or an array breaks a rule: the array, the place and the value are named.
    """
    require(
        settings.image_size is None, "data.image_size is null for an .npz", settings.image_size, "resize x yourself"
    )
    stored = _stored(path)
    parts = ("train", "test") if "x_test" in stored else ("train",)
    _check_parts(stored, parts=parts)
    kind = _kind_of_inputs(stored["x_train"], name="x_train")
    has_values = _has_values(stored["y_train"], name="y_train")
    arrays: Arrays = {}
    for part in parts:
        x, y = stored[f"x_{part}"], stored[f"y_{part}"]
        _check_examples(x, y, part=part)
        arrays[f"x_{part}"] = _inputs(x, lengths=stored.get(f"lengths_{part}"), kind=kind, part=part)
        arrays[f"y_{part}"] = (
            _values(y, name=f"y_{part}")
            if has_values
            else _whole_numbers(y, name=f"y_{part}", fix="count classes from 0, np.unique(y, return_inverse=True)[1]")
        )
    arrays = {f"{axis}_test": arrays[f"{axis}_train"][:0] for axis in "xy"} | arrays
    x = arrays["x_train"]
    tokens = [int(arrays[f"x_{part}"].max()) for part in parts] if kind == "tokens" else [-1]
    spec = ExampleSpec(
        input_shape=x.shape[1:],
        class_names=_class_names(stored.get("class_names"), arrays, has_values=has_values),
        n_values=arrays["y_train"].shape[1] if has_values else 0,
        scale=255.0 if x.dtype == np.uint8 else 1.0,
        vocabulary=max(tokens) + 1,
    )
    return arrays, spec, suspicions.of_rounding(stored["x_train"])


def _stored(path: Path) -> Arrays:
    """The arrays of a file, by name; nothing in it is unpickled."""
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"`data.path` must be a whole .npz file, but {path.name} is none, or is cut short; "
            "make it with np.savez(FILE, x_train=..., y_train=...)"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            _check_names(stored.files, path=path)
            return {name: _array(stored, name, path=path) for name in stored.files}
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path.name} must be a whole .npz file, but is damaged ({error}); save it again") from error


def _check_names(names: Iterable[str], *, path: Path) -> None:
    for name in names:
        if name not in ARRAYS:
            raise ValueError(f"arrays of {path.name}: {unknown_name(name, ARRAYS)}")
    for name in ("x_train", "y_train"):
        if name not in names:
            raise ValueError(f"{path.name} must hold {name}, but holds {', '.join(names) or 'nothing'}; {RULES}")


def _array(stored: Any, name: str, *, path: Path) -> Array:
    try:
        array = stored[name]
    except MemoryError as error:
        raise ValueError(f"`{name}` must fit into memory, but does not; save fewer or smaller examples") from error
    except DAMAGES as error:
        if "Object arrays" in str(error):  # NumPy's words where an array holds Python objects
            raise ValueError(
                f"`{name}` must hold numbers, but is an object array, which only unpickling could read; save "
                f"np.stack(...) of equally long rows, or np.array(..., dtype=np.float32) (class_names: dtype=str)"
            ) from error
        raise ValueError(
            f"`{name}` of {path.name} must be readable, but is damaged ({error}); save it again"
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"`{name}` of {path.name} must be an array, but is another file; make it with np.savez")
    return array


def _check_parts(stored: Arrays, *, parts: tuple[str, ...]) -> None:
    """A test set is whole or not there; so are lengths."""
    for one, other in (("x_test", "y_test"), ("y_test", "x_test")):
        if one in stored and other not in stored:
            raise ValueError(f"`{other}` must be there too, but there is only {one}; give both or none of them")
    with_lengths = [part for part in ("train", "test") if f"lengths_{part}" in stored]
    if with_lengths and with_lengths != list(parts):
        given = ", ".join(f"lengths_{part}" for part in with_lengths)
        wanted = ", ".join(f"lengths_{part}" for part in parts)
        raise ValueError(
            f"lengths must be given for each part or for none: {wanted}, but got {given}; np.full(n, steps) is whole"
        )
    for part in parts[1:]:
        for axis in "xy":
            train, test = stored[f"{axis}_train"], stored[f"{axis}_{part}"]
            mine, others = (f"{array.dtype} of shape (n, {str(array.shape[1:])[1:]}" for array in (test, train))
            is_alike = test.shape[1:] == train.shape[1:] and test.ndim == train.ndim
            has_same_type = _type_of(test) == _type_of(train)
            if not (is_alike and has_same_type):
                raise ValueError(f"`{axis}_{part}` must be like {axis}_train, {others}, but is {mine}")


def _type_of(array: Array) -> str:
    """What decides how an array is taken: bytes, other whole numbers, or its kind."""
    return "bytes" if array.dtype == np.uint8 else "whole" if array.dtype.kind in "iu" else array.dtype.kind


def _kind_of_inputs(x: Array, *, name: str) -> Inputs:
    """What examples are taken for, by type and rank."""
    _require_numbers(x, name=name, fix=f"save {name}.astype(np.float32)")
    rank, type_ = x.ndim, _type_of(x)
    fix = f"one feature? save {name}[:, np.newaxis]" if rank < 2 else "one example has 1 to 3 axes, channels last"
    require(2 <= rank <= 4, f"{name} has rank 2, 3 or 4", f"shape {x.shape}", fix)
    kinds: dict[tuple[str, int], Inputs] = {
        ("bytes", 3): "images", ("bytes", 4): "images", ("f", 2): "features", ("f", 3): "sequences", ("f", 4): "images",
        ("whole", 2): "tokens",
    }  # fmt: skip
    if (type_, rank) not in kinds:
        rule = (
            "float (features) or int64 (tokens)" if rank == 2
            else "uint8 (images) or float (sequences)" if rank == 3
            else "uint8 or float (images)"
        )  # fmt: skip
        raise ValueError(f"`{name}` of rank {rank} must be {rule}, but is {x.dtype}; save {name}.astype(...)")
    if type_ == "bytes" and suspicions.is_channels_first(x.shape):
        rule = f"{name} of bytes has its channels last"
        require(False, rule, f"shape {x.shape}", f"save {name}.transpose(0, 2, 3, 1)")  # noqa: FBT003
    return kinds[type_, rank]


def _has_values(y: Array, *, name: str) -> bool:
    """Whether targets are values rather than classes, by type and rank."""
    names = "np.unique(labels, return_inverse=True) gives class_names and numbers"
    truth = f"save {name}.astype(np.int64)" if y.ndim < 2 or y.shape[1] == 1 else f"one-hot? save {name}.argmax(axis=1)"
    _require_numbers(y, name=name, fix=truth if y.dtype.kind == "b" else names)
    if y.dtype.kind == "f":
        require(y.ndim in (1, 2), f"{name} of values has rank 1 or 2", f"shape {y.shape}", "one row per example")
        return True
    meant = f"one-hot? give class numbers, {name}.argmax(axis=1)"
    if y.ndim != 2 or y.shape[1] == 1 or not set(np.unique(y).tolist()) <= {0, 1}:
        meant = f"class numbers? save {name}.ravel()"
    fix = f"{meant}; values? save {name}.astype(np.float32)"
    require(y.ndim == 1, f"{name} of classes has rank 1", f"shape {y.shape}", fix)
    return False


def _require_numbers(array: Array, *, name: str, fix: str) -> None:
    if array.dtype.names:
        fix = f"save np.stack([{name}[column] for column in {name}.dtype.names], axis=1) as one type"
    if array.dtype.kind not in "fiu":
        raise ValueError(f"`{name}` must hold whole numbers or floats, but has type {array.dtype}; {fix}")


def _check_examples(x: Array, y: Array, *, part: str) -> None:
    require(len(x) > 0, f"x_{part} holds examples", f"shape {x.shape}", "a test set can be left out, x_test and y_test")
    require(0 not in x.shape, f"examples of x_{part} hold numbers", f"shape {x.shape}", "no axis has length 0")
    require(0 not in y.shape[1:], f"y_{part} has a column", f"shape {y.shape}", "give at least one value per example")
    fix = f"save np.moveaxis(x_{part}, -1, 0)" if x.shape[-1] == len(y) else "one target per example"
    require(len(x) == len(y), f"len(x_{part}) == len(y_{part})", (len(x), len(y)), fix)


def _inputs(x: Array, *, lengths: Array | None, kind: Inputs, part: str) -> Array:
    """Inputs in their canonical type, padded after `lengths`."""
    name = f"x_{part}"
    inside = None
    if lengths is not None:
        inside = _inside(lengths, x, kind=kind, part=part)
        x = np.where(inside if kind == "tokens" else inside[..., np.newaxis], x, x.dtype.type(0))
    if kind == "tokens":
        fix = f"count tokens from 1, 0 is padding; a table of numbers? save {name}.astype(np.float32)"
        x = _whole_numbers(x, name=name, fix=fix)
    elif x.dtype == np.uint8:
        x = x if x.ndim == 4 else x[..., np.newaxis]
    else:
        x = _values(x, name=name)
    if inside is not None:
        _check_real_steps(x, inside=inside, part=part)
    return x


def _inside(lengths: Array, x: Array, *, kind: Inputs, part: str) -> NDArray[np.bool_]:
    """Which steps are real: (n, steps)."""
    name, steps = f"lengths_{part}", x.shape[1]
    if kind not in ("sequences", "tokens"):
        raise ValueError(f"`{name}` must belong to sequences, but x_{part} holds {kind}; leave it out")
    require(lengths.dtype.kind in "iu", f"{name} holds integers", str(lengths.dtype), f"save {name}.astype(np.int64)")
    require(lengths.shape == (len(x),), f"{name} has shape ({len(x)},)", lengths.shape, "one length per sequence")
    bad = (lengths < 1) | (lengths > steps)
    _refuse_where(bad, lengths, name=name, rule=f"1 <= {name} <= {steps}", fix=f"x_{part} has {steps} steps")
    found: NDArray[np.bool_] = np.arange(steps) < lengths.astype(np.int64)[:, np.newaxis]
    return found


def _check_real_steps(x: Array, *, inside: NDArray[np.bool_], part: str) -> None:
    """A step within the length that is all 0 would be taken for padding."""
    size = np.abs(x).max(axis=2) if x.ndim == 3 else x
    rule = f"no step of x_{part} within lengths_{part} is all 0, as padding is"
    fix = "shift the features by a constant" if x.ndim == 3 else "count tokens from 1"
    _refuse_where(inside & (size == 0), size, name=f"x_{part}", rule=rule, fix=fix)


def _values(array: Array, *, name: str) -> NDArray[np.float32]:
    """Floats as float32, finite and not lost there; targets of rank 1 as one column."""
    with np.errstate(over="ignore", under="ignore"):
        small = array.astype(np.float32)
    fix = "replace the value, or leave the example out"
    _refuse_where(~np.isfinite(small), array, name=name, rule=f"{name} is finite in float32", fix=fix)
    rule = f"{name} is 0 or at least {SMALLEST:g} in size"
    fix = f"frameworks disagree on what is 0; save np.where(abs({name}) < {SMALLEST:g}, 0, {name}), or scale it"
    _refuse_where(too_small(array), array, name=name, rule=rule, fix=fix)
    return small if small.ndim > 1 else small[:, np.newaxis]


def _whole_numbers(array: Array, *, name: str, fix: str) -> NDArray[np.int64]:
    """Numbers of classes and tokens as int64; they count from 0."""
    _refuse_where(array < 0, array, name=name, rule=f"{name} >= 0", fix=fix)
    _refuse_where(array > LARGEST_NUMBER, array, name=name, rule=f"{name} <= {LARGEST_NUMBER}", fix=fix)
    return array.astype(np.int64)


def _refuse_where(bad: NDArray[np.bool_], array: Array, *, name: str, rule: str, fix: str) -> None:
    """Raise ValueError "`rule` must hold, but name[place] is value; fix" if it is bad anywhere."""
    if found := first_wrong(bad, array, name=name):
        raise ValueError(f"`{rule}` must hold, but {found}; {fix}")


def _class_names(stated: Array | None, arrays: Arrays, *, has_values: bool) -> tuple[str, ...]:
    """The names that the file states, one per class; else the classes' numbers, none of which may be left out."""
    if has_values:
        if stated is not None:
            raise ValueError("`class_names` must belong to classes, but y_train holds values; classes are integers")
        return ()
    used = np.unique(np.concatenate([arrays["y_train"], arrays["y_test"]]))
    n_classes = int(used[-1]) + 1
    if stated is None:
        if len(used) < n_classes:
            unused = int(np.flatnonzero(used != np.arange(len(used)))[0])
            counts_from_1 = np.array_equal(used, np.arange(1, n_classes))
            fix = "classes count from 0, save y - 1" if counts_from_1 else "number the classes without gaps"
            rule = f"every class from 0 to {n_classes - 1} must be used"
            raise ValueError(f"{rule}, but {unused} never is; {fix}, or state class_names")
        return tuple(str(number) for number in range(n_classes))
    return _stated_names(stated, n_classes=n_classes)


def _stated_names(stated: Array, *, n_classes: int) -> tuple[str, ...]:
    is_text = stated.dtype.kind == "U" and stated.ndim == 1
    require(
        is_text, "class_names is text of rank 1", f"{stated.dtype}, shape {stated.shape}", "np.array([...], dtype=str)"
    )
    names = tuple(str(name) for name in stated)
    for name in names:
        require_text(name, what="every name of class_names")
    fix = f"the largest class is {n_classes - 1}, and classes count from 0"
    require(len(names) == n_classes, f"len(class_names) == {n_classes}", len(names), fix)
    for label, name in enumerate(names):
        if not name.strip() or names.index(name) != label:
            raise ValueError(
                f"`class_names` must all differ and not be empty, but class_names[{label}] is {name!r}"
                + (f", as class_names[{names.index(name)}]" if names.index(name) != label else "")
            )
    return names
