"""Arrays, splits and fingerprints: made once in the parent, read by every worker from the same file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.fingerprint import fingerprint_of_arrays
from experiments.sources import SOURCES, Source, write_npz
from experiments.task import DataSettings

Array = NDArray[Any]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Examples, split in three. Inputs are float32, channels last; targets int64 (n,) or float32 (n, n_outputs).

    `origin` says in one line where they came from; `fingerprint` is the hash of their bytes and split.
    """

    x_train: Array
    y_train: Array
    x_validation: Array
    y_validation: Array
    x_test: Array
    y_test: Array
    class_names: tuple[str, ...]
    n_outputs: int
    origin: str
    fingerprint: str

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, channels last."""
        return self.x_train.shape[1:]

    @property
    def sizes(self) -> dict[str, int]:
        """Number of examples in each part."""
        return {part: len(getattr(self, f"y_{part}")) for part in PARTS}

    def describe(self) -> str:
        """The one line that a person reads."""
        sizes = ", ".join(f"{size:,} {part}" for part, size in self.sizes.items())
        return f"{self.origin}: {sizes}; fingerprint {self.fingerprint}"


def load(settings: DataSettings, *, cache: Path) -> Dataset:
    """Read the source, check it, split it by the settings' seed.

    Raises:
        ValueError: If the source is unknown, or arrays are wrong: the place and the value are named.
    """
    source = SOURCES[settings.source]
    raw = source.read(settings, cache)
    check(raw.arrays, source=source)
    parts = _everywhere(raw.arrays) if source.whole else split(raw.arrays, settings=settings)
    for part in PARTS:
        x = parts[f"x_{part}"]
        shaped = x.reshape(len(x), *source.input_shape)
        parts[f"x_{part}"] = shaped.astype(np.int64) if source.tokens else shaped.astype(np.float32) / source.scale
        parts[f"y_{part}"] = parts[f"y_{part}"].astype(np.int64 if source.targets == "classes" else np.float32)
    return Dataset(
        **parts,
        class_names=source.class_names,
        n_outputs=source.n_outputs,
        origin=raw.origin,
        fingerprint=fingerprint_of_arrays(parts),
    )


def _everywhere(arrays: dict[str, Array]) -> dict[str, Array]:
    return {f"{axis}_{part}": arrays[f"{axis}_train"] for axis in "xy" for part in PARTS}


def check(arrays: dict[str, Array], *, source: Source) -> None:
    """Refuse arrays that would train to nonsense: sizes, shapes, values and labels.

    Raises:
        ValueError: Names the array, the index and the value.
    """
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if len(x) != len(y):
            raise ValueError(f"`len(x_{part}) == len(y_{part})` must hold, but got {len(x)} and {len(y)}")
        if np.prod(x.shape[1:]) != np.prod(source.input_shape):
            raise ValueError(
                f"`x_{part}` of {source.title} must hold examples of shape {source.input_shape}, but got {x.shape[1:]}"
            )
        _check_finite(x, name=f"x_{part}")
        if len(source.input_shape) == 2:
            _check_padding(x, name=f"x_{part}")
        if source.targets == "values":
            _check_finite(y, name=f"y_{part}")
            continue
        outside = np.flatnonzero((y < 0) | (y >= len(source.class_names)))
        if outside.size:
            place = outside[0]
            raise ValueError(
                f"`0 <= y_{part} < {len(source.class_names)}` must hold, but y_{part}[{place}] is {y[place]}"
            )
    if len(arrays["y_train"]) == 0:
        raise ValueError("`x_train` must hold examples, but it is empty")


def _check_padding(sequences: Array, *, name: str) -> None:
    """A step whose features are all 0 is padding, which stands at the end and leaves at least one step."""
    inside = (sequences != 0).any(axis=2)
    lengths = inside.sum(axis=1)
    bad = np.flatnonzero((inside != (np.arange(inside.shape[1]) < lengths[:, np.newaxis])).any(axis=1) | (lengths == 0))
    if bad.size:
        raise ValueError(
            f"steps of `{name}` that are all 0 are padding and must stand at the end, after at least one other, "
            f"but {name}[{bad[0]}] has them elsewhere; shift the features by a constant"
        )


def _check_finite(x: Array, *, name: str) -> None:
    if not np.issubdtype(x.dtype, np.floating):
        return
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        place = tuple(int(index) for index in bad[0])
        raise ValueError(f"`{name}` must be finite, but {name}[{', '.join(map(str, place))}] is {x[place]}")


def split(arrays: dict[str, Array], *, settings: DataSettings) -> dict[str, Array]:
    """Disjoint parts, stratified by class, drawn by Philox from `split_seed`.

    A source's own test set is kept; without one, `test_fraction` of each class is held out first. Then
    `validation_fraction` of each class of what is left.

    Raises:
        ValueError: If a part would be empty.
    """
    rng = np.random.Generator(np.random.Philox(key=settings.split_seed))
    x, y = arrays["x_train"], arrays["y_train"]
    rest = np.arange(len(y))
    parts = {"x_test": arrays["x_test"], "y_test": arrays["y_test"]}
    if len(arrays["y_test"]) == 0:
        test, rest = _hold_out(rest, labels=y, fraction=settings.test_fraction, rng=rng)
        parts = {"x_test": x[test], "y_test": y[test]}
    validation, train = _hold_out(rest, labels=y, fraction=settings.validation_fraction, rng=rng)
    parts |= {"x_validation": x[validation], "y_validation": y[validation], "x_train": x[train], "y_train": y[train]}
    for part in PARTS:
        if len(parts[f"y_{part}"]) == 0:
            raise ValueError(
                f"the {part} part must hold examples, but is empty for {len(y)} examples, "
                f"test_fraction={settings.test_fraction}, validation_fraction={settings.validation_fraction}"
            )
    return parts


def _hold_out(indices: Array, *, labels: Array, fraction: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Two disjoint, sorted index arrays: held out (`fraction` of each class, or of all values) and the rest."""
    if not np.issubdtype(labels.dtype, np.integer):
        labels = np.zeros(len(labels), np.int64)  # values have no classes to keep in proportion
    held = []
    for label in np.unique(labels[indices]):
        members = rng.permutation(indices[labels[indices] == label])
        held.append(members[: round(fraction * len(members))])
    held_out = np.sort(np.concatenate(held))
    return held_out, np.setdiff1d(indices, held_out)


def write(dataset: Dataset, folder: Path, /) -> Path:
    """Put a dataset where workers can read it; return its path. Same fingerprint, same file."""
    path = folder / f"{dataset.fingerprint}.npz"
    facts = {name: getattr(dataset, name) for name in ("class_names", "n_outputs", "origin", "fingerprint")}
    arrays = {f"{axis}_{part}": getattr(dataset, f"{axis}_{part}") for axis in "xy" for part in PARTS}
    folder.mkdir(parents=True, exist_ok=True)
    write_npz(path, arrays | {"facts": np.array(json.dumps(facts))})
    return path


def read(path: Path, /) -> Dataset:
    """Read what `write` wrote."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "facts"}
        facts = json.loads(str(stored["facts"]))
    return Dataset(**arrays, class_names=tuple(facts.pop("class_names")), **facts)
