"""Sources of examples: what of each can be chosen. How they are read stands in `experiments/data/`.

A source without a test set of its own takes `test_fraction`; one whose examples may be drawn takes `split_seed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args

from experiments.task.checks import require

LARGEST_PICTURE = 10**8  # pixels; what Pillow would read without a warning is a little less


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """`validation_fraction` of the training examples is for validation: the last ones, unless they are drawn."""

    validation_fraction: float

    def __post_init__(self) -> None:
        """Check the fraction."""
        _require_fraction(validation_fraction=self.validation_fraction)


@dataclass(frozen=True, kw_only=True)
class Drawn(HeldOut):
    """What is held out is drawn by `split_seed`, of each class its share."""

    split_seed: int

    def __post_init__(self) -> None:
        """Check fraction and seed."""
        super().__post_init__()
        require(self.split_seed >= 0, "split_seed >= 0", self.split_seed)


@dataclass(frozen=True, kw_only=True)
class DrawnTwice(Drawn):
    """Before that, `test_fraction` of each class becomes the test set where the examples come without one."""

    test_fraction: float

    def __post_init__(self) -> None:
        """Check fractions and seed."""
        super().__post_init__()
        _require_fraction(test_fraction=self.test_fraction)


@dataclass(frozen=True, kw_only=True)
class _Fetched:
    """`path` is where the files lie; null: in the cache, or `download` says whether to try the network.

    They say where to look; what was found is in the data's fingerprint.
    """

    path: str | None
    download: bool


def _require_fraction(**fractions: float) -> None:
    for name, fraction in fractions.items():
        require(0 < fraction < 1, f"0 < {name} < 1", fraction, "state the share that is held out, such as 0.1")


def _require_steps(length: int) -> None:
    require(length >= 1, "length >= 1", length)


@dataclass(frozen=True, kw_only=True)
class XorData:
    """Four points, each in the training, the validation and the test part."""

    source: ClassVar[str] = "xor"


@dataclass(frozen=True, kw_only=True)
class SunspotsData(HeldOut):
    """Yearly sunspot numbers: the next one from the `length` before; the last 60 years are the test."""

    source: ClassVar[str] = "sunspots"
    length: int

    def __post_init__(self) -> None:
        """Check fraction and length."""
        super().__post_init__()
        _require_steps(self.length)


@dataclass(frozen=True, kw_only=True)
class JapaneseVowelsData(Drawn):
    """Nine speakers told apart by two vowels."""

    source: ClassVar[str] = "japanese_vowels"


@dataclass(frozen=True, kw_only=True)
class SurnamesData(Drawn):
    """Surnames of eleven languages, a letter a token."""

    source: ClassVar[str] = "surnames"


@dataclass(frozen=True, kw_only=True)
class ImdbData(_Fetched, Drawn):
    """Film reviews: the first `length` words, the commonest `vocabulary` of them told apart, two of which are taken.

    Those are token 0, padding, and token 1, any other word.
    """

    source: ClassVar[str] = "imdb"
    length: int
    vocabulary: int

    def __post_init__(self) -> None:
        """Check fraction, seed, length and vocabulary."""
        super().__post_init__()
        _require_steps(self.length)
        require(self.vocabulary >= 3, "vocabulary >= 3", self.vocabulary, "two are taken")


@dataclass(frozen=True, kw_only=True)
class DigitsData(DrawnTwice):
    """The handwritten digits of 8x8 pixels that scikit-learn ships."""

    source: ClassVar[str] = "sklearn_digits"


@dataclass(frozen=True, kw_only=True)
class MnistData(_Fetched, DrawnTwice):
    """Handwritten digits of 28x28 pixels."""

    source: ClassVar[str] = "mnist"


@dataclass(frozen=True, kw_only=True)
class FashionMnistData(_Fetched, Drawn):
    """Pictures of clothes of 28x28 pixels."""

    source: ClassVar[str] = "fashion_mnist"


@dataclass(frozen=True, kw_only=True)
class Cifar10Data(_Fetched, Drawn):
    """Small photographs of 32x32 pixels in colour."""

    source: ClassVar[str] = "cifar10"


@dataclass(frozen=True, kw_only=True)
class CustomData(DrawnTwice):
    """Anybody's own: an .npz file or a folder of pictures, brought to `image_size`, (height, width) in pixels.

    `in_order`: the examples are a time series, of which nothing is drawn: training comes before validation, and that
    before test. `standardize`: whether features and sequences are brought to mean 0 and standard deviation 1; "auto":
    where they are so large, small or far apart in size that networks learn little. The rules: docs/custom-data.md.
    """

    source: ClassVar[str] = "custom"
    path: str | None
    image_size: tuple[int, ...] | None
    in_order: bool = False
    standardize: Literal["auto", True, False] = "auto"

    def __post_init__(self) -> None:
        """Check fractions, seed, size and word."""
        super().__post_init__()
        require(self.standardize in ("auto", True, False), "standardize is auto, true or false", self.standardize)
        size = self.image_size
        require(size is None or (len(size) == 2 and min(size) >= 1), "image_size is [height, width]", size)
        require(size is None or size[0] * size[1] <= LARGEST_PICTURE, f"image_size <= {LARGEST_PICTURE:,} pixels", size)


Data = (
    XorData
    | SunspotsData
    | JapaneseVowelsData
    | SurnamesData
    | ImdbData
    | DigitsData
    | MnistData
    | FashionMnistData
    | Cifar10Data
    | CustomData
)
DATASETS: dict[str, type[Data]] = {each.source: each for each in get_args(Data)}

# What every source stated once, whatever it took of it. Runs that were kept then still say it, and names of studies are
# hashes of it, so that a search that was begun then goes on.
ONCE_STATED_BY_ALL = {
    "path": None, "download": False, "length": None, "vocabulary": None, "image_size": None,
    "test_fraction": 0.2, "validation_fraction": 0.1, "split_seed": 0,
}  # fmt: skip
# What a source takes since: left out of names and comparisons where it changes nothing, as in runs that were kept then.
TAKEN_SINCE = {"in_order": False, "standardize": "auto"}


def as_once_stated(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a source with all that every source stated once: what names of studies are hashes of."""
    return {**ONCE_STATED_BY_ALL, "download": stated["source"] == DigitsData.source, **_without_later(stated)}


def as_taken(stated: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as a kept run states them, without those that its source does not take."""
    kind = DATASETS.get(stated["source"])
    taken = {"source", *(field.name for field in fields(kind))} if kind else set(stated)
    return {name: value for name, value in _without_later(stated).items() if name in taken}


def _without_later(stated: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stated.items() if name not in TAKEN_SINCE or value != TAKEN_SINCE[name]}
