"""Where raw examples come from: a path the user gives, the cache, a download, what packages or the project ship.

A source is a word that `conf/data/*.yaml` may use: a class in `experiments/task/datasets.py`, a function that reads
it and a line in SOURCES. What is known of it before it is read stands here, so that a task which does not fit it is
refused without its reader, and without NumPy.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import Any

from experiments.data.spec import ExampleSpec, Source
from experiments.task.datasets import CustomData, FashionMnistData, ImdbData, MnistData, SunspotsData, SurnamesData

SHIPPED = Path(__file__).resolve().parent / "shipped"
FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGITS = tuple("0123456789")
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
VOWEL_FRAMES = 29
SURNAME_LETTERS = 20
PADDING, UNKNOWN, FIRST_TOKEN = 0, 1, 2
SUNSPOT_UNIT = 40.0  # about a standard deviation
RULES = "docs/custom-data.md says what it must hold"


@functools.cache
def names() -> tuple[tuple[str, str, str], ...]:
    """(surname, language, part) of every line."""
    with (SHIPPED / "surnames.csv").open(newline="", encoding="utf-8") as lines:
        return tuple((row["surname"], row["language"], row["split"]) for row in csv.DictReader(lines))


def languages() -> tuple[str, ...]:
    """The classes of surnames, in alphabetical order."""
    return tuple(sorted({language for _, language, _ in names()}))


def letters() -> dict[str, int]:
    """Letter -> token; letters of the training part only."""
    found = sorted({letter for name, _, part in names() if part == "train" for letter in name})
    return {letter: number for number, letter in enumerate(found, start=FIRST_TOKEN)}


def _images(shape: tuple[int, ...], class_names: tuple[str, ...], scale: float) -> ExampleSpec:
    return ExampleSpec(input_shape=shape, class_names=class_names, scale=scale)


def _vowels(_: object) -> ExampleSpec:
    return ExampleSpec(
        input_shape=(VOWEL_FRAMES, 12), class_names=tuple(f"speaker {number}" for number in range(1, 10))
    )


def _surnames(_: SurnamesData) -> ExampleSpec:
    vocabulary = FIRST_TOKEN + len(letters())
    return ExampleSpec(input_shape=(SURNAME_LETTERS,), class_names=languages(), vocabulary=vocabulary)


def _imdb(settings: ImdbData) -> ExampleSpec:
    return ExampleSpec(
        input_shape=(settings.length,), class_names=("negative", "positive"), vocabulary=settings.vocabulary
    )


def _sunspots(settings: SunspotsData) -> ExampleSpec:
    return ExampleSpec(input_shape=(settings.length, 1), n_values=1, target_scale=SUNSPOT_UNIT, reference="persistence")


def require_idx_folder(settings: MnistData | FashionMnistData) -> None:
    """Raise ValueError where `data.path` is stated and is no folder."""
    if settings.path is not None and not Path(settings.path).expanduser().is_dir():
        raise ValueError(
            f"`data.path` must be a folder of IDX files, but {settings.path!r} is none; give an existing folder"
        )


def require_path(settings: CustomData) -> None:
    """Refuse one's own data that are nowhere.

    Raises:
        ValueError: If `data.path` is not stated.
        FileNotFoundError: If there is nothing of that name.
    """
    if not settings.path:
        raise ValueError(
            f"`data.path` must be stated, but got {settings.path!r}; give data.path=FILE.npz or =FOLDER; {RULES}"
        )
    if not Path(settings.path).expanduser().exists():
        raise FileNotFoundError(f"`data.path` must exist, but there is no {settings.path!r}, seen from {Path.cwd()}")


SOURCES: dict[str, Source[Any]] = {
    "mnist": Source(
        title="MNIST",
        reader="images:mnist",
        spec=lambda _: _images((28, 28, 1), DIGITS, 255.0),
        check=require_idx_folder,
    ),
    "fashion_mnist": Source(
        title="Fashion-MNIST",
        reader="images:fashion_mnist",
        spec=lambda _: _images((28, 28, 1), FASHION_CLASSES, 255.0),
        check=require_idx_folder,
    ),
    "cifar10": Source(
        title="CIFAR-10", reader="images:cifar10", spec=lambda _: _images((32, 32, 3), CIFAR10_CLASSES, 255.0)
    ),
    "sklearn_digits": Source(
        title="digits", reader="images:sklearn_digits", spec=lambda _: _images((8, 8, 1), DIGITS, 16.0)
    ),
    "japanese_vowels": Source(title="Japanese Vowels", reader="sequences:japanese_vowels", spec=_vowels),
    "surnames": Source(title="surnames", reader="sequences:surnames", spec=_surnames),
    "imdb": Source(title="IMDB", reader="sequences:imdb", spec=_imdb),
    "sunspots": Source(title="sunspots", reader="sequences:sunspots", spec=_sunspots),
    "xor": Source(title="xor", reader="sequences:xor", spec=lambda _: ExampleSpec(input_shape=(2,), n_values=1)),
    "custom": Source(title="your data", reader="custom:examples", spec=None, check=require_path),
}
