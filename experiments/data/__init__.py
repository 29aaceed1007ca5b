"""Arrays, splits and fingerprints: made once in the parent, read by every worker from the same file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.data.catalog import SOURCES
from experiments.data.spec import ExampleSpec, Standardization, write_npz
from experiments.fingerprint import fingerprint_of_arrays, plain
from experiments.task import Data
from experiments.task.datasets import CustomData, Drawn, DrawnTwice, HeldOut

if TYPE_CHECKING:  # what is known of a source is told without NumPy, which is imported where there are arrays
    import numpy as np

    from experiments.contract.arrays import Array

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Examples, split in three. Inputs are float32, channels last, or int64 tokens; targets int64 (n,) or float32.

    `spec` says what one example looks like, `origin` in one line where they came from; `fingerprint` is the hash of
    their bytes and split. `suspicions` are lines for a person: what may have been meant otherwise. `standardization`
    is what was done to the inputs, None where they are as they came.
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
    suspicions: tuple[str, ...] = ()
    standardization: Standardization | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """Number of examples in each part."""
        return {part: len(getattr(self, f"y_{part}")) for part in PARTS}

    def describe(self) -> str:
        """The one line that a person reads."""
        sizes = ", ".join(f"{size:,} {part}" for part, size in self.sizes.items())
        standardized = ", standardized" if self.standardization else ""
        return f"{self.origin}{standardized}: {sizes}; fingerprint {self.fingerprint}"


def load(settings: Data, *, cache: Path) -> Dataset:
    """Read the source, check it, split it by the settings' seed.

    Raises:
        ValueError: If arrays are wrong: the place and the value are named.
        FileNotFoundError: If a file is missing.
    """
    import numpy as np

    from experiments.data.checks import check
    from experiments.data.standardization import standardize
    from experiments.data.suspicions import of_parts

    source = SOURCES[settings.source]
    raw = source.read(settings, cache)
    spec = raw.spec or (source.spec(settings) if source.spec else None)
    assert spec is not None, "a source states its spec before or after it is read"
    check(raw.arrays, spec=spec, title=source.title)
    parts = split(raw.arrays, settings=settings) if isinstance(settings, HeldOut) else _everywhere(raw.arrays)
    for part in PARTS:
        x = parts[f"x_{part}"]
        shaped = x.reshape(len(x), *spec.input_shape)
        parts[f"x_{part}"] = (
            shaped.astype(np.int64, order="C")
            if spec.vocabulary
            else shaped.astype(np.float32, order="C") / np.float32(spec.scale)
        )
        parts[f"y_{part}"] = parts[f"y_{part}"].astype(np.float32 if spec.n_values else np.int64, order="C")
    suspicions, standardization = raw.suspicions, None
    if isinstance(settings, CustomData):
        suspicions += tuple(of_parts(parts))
        standardization, said = standardize(parts, spec=spec, wanted=settings.standardize)
        suspicions += tuple(said)
    return Dataset(
        **parts,
        spec=spec,
        origin=raw.origin,
        fingerprint=fingerprint_of_arrays(parts),
        suspicions=suspicions,
        standardization=standardization,
    )


def _everywhere(arrays: dict[str, Array]) -> dict[str, Array]:
    """The same examples in every part: there are no others."""
    return {f"{axis}_{part}": arrays[f"{axis}_train"] for axis in "xy" for part in PARTS}


def split(arrays: dict[str, Array], *, settings: HeldOut) -> dict[str, Array]:
    """Disjoint parts, stratified by class, drawn by Philox from `split_seed`.

    A source's own test set is kept; without one, `test_fraction` of each class is held out first. Then
    `validation_fraction` of each class of what is left. Of a time series, which has no seed or is `in_order`, the last
    examples are held out: drawing them would let the training part see what comes after.

    Raises:
        ValueError: If a part would be empty.
    """
    import numpy as np

    rng = None
    if isinstance(settings, Drawn) and not (isinstance(settings, CustomData) and settings.in_order):
        rng = np.random.Generator(np.random.Philox(key=settings.split_seed))
    x, y = arrays["x_train"], arrays["y_train"]
    rest = np.arange(len(y))
    parts = {"x_test": arrays["x_test"], "y_test": arrays["y_test"]}
    fractions = {"validation_fraction": settings.validation_fraction}
    if isinstance(settings, DrawnTwice) and len(arrays["y_test"]) == 0:
        fractions = {"test_fraction": settings.test_fraction} | fractions
        test, rest = _hold_out(rest, labels=y, fraction=settings.test_fraction, rng=rng)
        parts = {"x_test": x[test], "y_test": y[test]}
    validation, train = _hold_out(rest, labels=y, fraction=settings.validation_fraction, rng=rng)
    parts |= {"x_validation": x[validation], "y_validation": y[validation], "x_train": x[train], "y_train": y[train]}
    for part in PARTS:
        if len(parts[f"y_{part}"]) == 0:
            stated = ", ".join(f"{name}={fraction}" for name, fraction in fractions.items())
            raise ValueError(
                f"the {part} part must hold examples, but is empty for {len(y)} examples, {stated}; "
                f"{'lower' if part == 'train' else 'raise'} {' or '.join(f'data.{name}' for name in fractions)}, "
                "or add examples"
            )
    return parts


def _hold_out(
    indices: Array, *, labels: Array, fraction: float, rng: np.random.Generator | None
) -> tuple[Array, Array]:
    """Two disjoint, sorted index arrays: held out (`fraction` of each class, or of all values) and the rest.

    Without `rng` the last ones are held out.
    """
    import numpy as np

    if rng is None:
        n_kept = len(indices) - round(fraction * len(indices))
        return indices[n_kept:], indices[:n_kept]
    if not np.issubdtype(labels.dtype, np.integer):
        labels = np.zeros(len(labels), np.int64)  # values have no classes to keep in proportion
    held = []
    for label in np.unique(labels[indices]):
        members = rng.permutation(indices[labels[indices] == label])
        held.append(members[: round(fraction * len(members))])
    held_out = np.sort(np.concatenate([indices[:0], *held]))
    return held_out, np.setdiff1d(indices, held_out)


def write(dataset: Dataset, folder: Path, /) -> Path:
    """Put a dataset where workers can read it; return its path. Same fingerprint, same file."""
    import numpy as np

    path = folder / f"{dataset.fingerprint}.npz"
    # "form" is what other checkouts that share the cache read
    facts = {"form": plain(dataset.spec), "origin": dataset.origin, "fingerprint": dataset.fingerprint}
    if dataset.standardization:
        facts["standardization"] = plain(dataset.standardization)
    arrays = {f"{axis}_{part}": getattr(dataset, f"{axis}_{part}") for axis in "xy" for part in PARTS}
    folder.mkdir(parents=True, exist_ok=True)
    write_npz(path, arrays | {"facts": np.array(json.dumps(facts))})
    return path


def write_standardization(dataset: Dataset, folder: Path, /) -> None:
    """Write standardization.json, which new inputs of a kept model want, where inputs were standardized."""
    if dataset.standardization:
        (folder / "standardization.json").write_text(json.dumps(plain(dataset.standardization)))


def read(path: Path, /) -> Dataset:
    """Read what `write` wrote."""
    import numpy as np

    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files if name != "facts"}
        facts = json.loads(str(stored["facts"]))
    spec, numbers = facts["form"], facts.get("standardization")
    for name in ("input_shape", "class_names"):  # JSON knows no tuples
        spec[name] = tuple(spec[name])
    return Dataset(
        **arrays,
        spec=ExampleSpec(**spec),
        origin=facts["origin"],
        fingerprint=facts["fingerprint"],
        standardization=numbers and Standardization(**{name: tuple(each) for name, each in numbers.items()}),
    )
