"""Arrays, splits and fingerprints: made once in the parent, read by every worker from the same file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.contract.arrays import Array
from experiments.data.catalog import SOURCES
from experiments.data.spec import ExampleSpec, write_npz
from experiments.fingerprint import fingerprint_of_arrays, plain
from experiments.task import DataSettings

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Examples, split in three. Inputs are float32, channels last, or int64 tokens; targets int64 (n,) or float32.

    `spec` says what one example looks like, `origin` in one line where they came from; `fingerprint` is the hash of
    their bytes and split.
    """

    x_train: Array
    y_train: Array
    x_validation: Array
    y_validation: Array
    x_test: Array
    y_test: Array
    spec: ExampleSpec
    origin: str
    fingerprint: str

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
        FileNotFoundError: If a file is missing.
    """
    source = SOURCES[settings.source]
    raw = source.read(settings, cache)
    spec = raw.spec or (source.spec(settings) if source.spec else None)
    assert spec is not None, "a source states its spec before or after it is read"
    check(raw.arrays, spec=spec, title=source.title)
    parts = (
        _everywhere(raw.arrays)
        if source.is_unsplit
        else split(raw.arrays, settings=settings, in_order=source.is_in_order)
    )
    for part in PARTS:
        x = parts[f"x_{part}"]
        shaped = x.reshape(len(x), *spec.input_shape)
        parts[f"x_{part}"] = (
            shaped.astype(np.int64) if spec.vocabulary else shaped.astype(np.float32) / np.float32(spec.scale)
        )
        parts[f"y_{part}"] = parts[f"y_{part}"].astype(np.float32 if spec.n_values else np.int64)
    return Dataset(**parts, spec=spec, origin=raw.origin, fingerprint=fingerprint_of_arrays(parts))


def _everywhere(arrays: dict[str, Array]) -> dict[str, Array]:
    return {f"{axis}_{part}": arrays[f"{axis}_train"] for axis in "xy" for part in PARTS}


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


def _check_range(whole: Array, *, name: str, end: int) -> None:
    """Classes and tokens count from 0."""
    outside = np.argwhere((whole < 0) | (whole >= end))
    if len(outside):
        place = tuple(int(index) for index in outside[0])
        raise ValueError(f"`0 <= {name} < {end}` must hold, but {name}[{', '.join(map(str, place))}] is {whole[place]}")


def _check_padding(sequences: Array, *, name: str) -> None:
    """A step whose features are all 0, or token 0, is padding, which stands at the end, after at least one step."""
    inside = (sequences != 0).any(axis=2) if sequences.ndim == 3 else sequences != 0
    lengths = inside.sum(axis=1)
    bad = np.flatnonzero((inside != (np.arange(inside.shape[1]) < lengths[:, np.newaxis])).any(axis=1) | (lengths == 0))
    if bad.size:
        what, zero = ("tokens", "0") if sequences.ndim == 2 else ("steps", "all 0")
        images = "images need an axis of channels"
        fix = "count tokens from 1" if sequences.ndim == 2 else f"shift the features by a constant ({images})"
        raise ValueError(
            f"{what} of `{name}` that are {zero} are padding and must stand at the end, after at least one other, "
            f"but {name}[{bad[0]}] has them elsewhere, the first at step {int(np.argmin(inside[bad[0]]))}; {fix}"
        )


def _check_finite(x: Array, *, name: str) -> None:
    if not np.issubdtype(x.dtype, np.floating):
        return
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        place = tuple(int(index) for index in bad[0])
        raise ValueError(f"`{name}` must be finite, but {name}[{', '.join(map(str, place))}] is {x[place]}")


def split(arrays: dict[str, Array], *, settings: DataSettings, in_order: bool = False) -> dict[str, Array]:
    """Disjoint parts, stratified by class, drawn by Philox from `split_seed`.

    A source's own test set is kept; without one, `test_fraction` of each class is held out first. Then
    `validation_fraction` of each class of what is left. Of a time series the last examples are held out: drawing them
    would let the training part see what comes after.

    Raises:
        ValueError: If a part would be empty.
    """
    rng = None if in_order else np.random.Generator(np.random.Philox(key=settings.split_seed))
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
                f"test_fraction={settings.test_fraction}, validation_fraction={settings.validation_fraction}; "
                "raise data.validation_fraction or data.test_fraction, or add examples"
            )
    return parts


def _hold_out(
    indices: Array, *, labels: Array, fraction: float, rng: np.random.Generator | None
) -> tuple[Array, Array]:
    """Two disjoint, sorted index arrays: held out (`fraction` of each class, or of all values) and the rest.

    Without `rng` the last ones are held out.
    """
    if rng is None:
        n_kept = len(indices) - round(fraction * len(indices))
        return indices[n_kept:], indices[:n_kept]
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
    facts = {"form": plain(dataset.spec), "origin": dataset.origin, "fingerprint": dataset.fingerprint}
    arrays = {f"{axis}_{part}": getattr(dataset, f"{axis}_{part}") for axis in "xy" for part in PARTS}
    folder.mkdir(parents=True, exist_ok=True)
    write_npz(path, arrays | {"facts": np.array(json.dumps(facts))})
    return path


def read(path: Path, /) -> Dataset:
    """Read what `write` wrote."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "facts"}
        facts = json.loads(str(stored["facts"]))
    spec = facts["form"]
    for name in ("input_shape", "class_names"):  # JSON knows no tuples
        spec[name] = tuple(spec[name])
    return Dataset(**arrays, spec=ExampleSpec(**spec), origin=facts["origin"], fingerprint=facts["fingerprint"])
