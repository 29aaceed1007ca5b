"""Sequences: speech, names, reviews, a time series; and the four points of xor.

Padding stands at the end: steps whose features are all 0, or token 0.
"""

from __future__ import annotations

import csv
import functools
import gzip
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.data import download
from experiments.data.spec import ExampleSpec, RawData, Source, without_test_set
from experiments.task.datasets import ImdbData, JapaneseVowelsData, SunspotsData, SurnamesData, XorData

DATA = Path(__file__).resolve().parent / "shipped"
VOWEL_FRAMES = 29
SURNAME_LETTERS = 20
PADDING, UNKNOWN, FIRST_TOKEN = 0, 1, 2
IMDB_URL = "https://ai.stanford.edu/~amaas/data/sentiment/"
IMDB_FILES = {"aclImdb_v1.tar.gz": "md5:7c2ac02c03563afcf9b574c7e56c153a"}  # the only hash that is published
IMDB_REVIEW = re.compile(r"(?:^|/)(train|test)/(neg|pos)/[^/]+\.txt$")
SUNSPOT_TEST_YEARS = 60
# Standard deviations from about the mean; the centre lies between two possible values: no year looks like padding.
SUNSPOT_CENTRE, SUNSPOT_UNIT = 49.75, 40.0


def _japanese_vowels(settings: JapaneseVowelsData, cache: Path) -> RawData:
    """Utterances of 7 to 29 frames, padded with zeros at the end to 29."""
    arrays: dict[str, NDArray[Any]] = {}
    with np.load(DATA / "japanese_vowels.npz") as stored:
        for part in ("train", "test"):
            lengths, values = stored[f"{part}_lengths"], stored[f"{part}_values"]
            inside = np.arange(VOWEL_FRAMES) < lengths[:, np.newaxis]
            padded = np.zeros((len(lengths), VOWEL_FRAMES, values.shape[1]), np.float32)
            padded[inside] = values
            arrays |= {f"x_{part}": padded, f"y_{part}": stored[f"{part}_labels"]}
    return RawData(arrays=arrays, origin="Japanese Vowels, 640 utterances of 9 speakers, shipped in data/")


def tokens_of(texts: Iterable[Sequence[str]], *, numbers: dict[str, int], length: int) -> NDArray[np.int64]:
    """Words or letters as numbers, cut or padded at the end: (n, length); unknown ones are 1, padding is 0."""
    rows = [[numbers.get(each, UNKNOWN) for each in text[:length]] for text in texts]
    padded = np.full((len(rows), length), PADDING, np.int64)
    for row, tokens in zip(padded, rows, strict=True):
        row[: len(tokens)] = tokens
    return padded


@functools.cache
def _names() -> tuple[tuple[str, str, str], ...]:
    """(surname, language, part) of every line."""
    with (DATA / "surnames.csv").open(newline="", encoding="utf-8") as lines:
        return tuple((row["surname"], row["language"], row["split"]) for row in csv.DictReader(lines))


def _languages() -> tuple[str, ...]:
    return tuple(sorted({language for _, language, _ in _names()}))


def _letters() -> dict[str, int]:
    """Letter -> token; letters of the training part only."""
    letters = sorted({letter for name, _, part in _names() if part == "train" for letter in name})
    return {letter: number for number, letter in enumerate(letters, start=FIRST_TOKEN)}


def _surnames(settings: SurnamesData, cache: Path) -> RawData:
    arrays: dict[str, NDArray[Any]] = {}
    for part in ("train", "test"):
        rows = [(name, language) for name, language, where in _names() if where == part]
        arrays[f"x_{part}"] = tokens_of((name for name, _ in rows), numbers=_letters(), length=SURNAME_LETTERS)
        arrays[f"y_{part}"] = np.array([_languages().index(language) for _, language in rows], np.int64)
    return RawData(
        arrays=arrays, origin=f"{len(_names()):,} surnames of {len(_languages())} languages, shipped in data/"
    )


def _surnames_spec(_: SurnamesData) -> ExampleSpec:
    vocabulary = FIRST_TOKEN + len(_letters())
    return ExampleSpec(input_shape=(SURNAME_LETTERS,), class_names=_languages(), vocabulary=vocabulary)


def words_of(review: str) -> list[str]:
    """Lower-case words and numbers; HTML's line breaks and punctuation are left out."""
    return re.findall(r"[a-z0-9']+", review.lower().replace("<br />", " "))


def _imdb(settings: ImdbData, cache: Path) -> RawData:
    path = download.archive(
        "IMDB", url=IMDB_URL, files=IMDB_FILES, folder=cache / "imdb", path=settings.path,
        may_download=settings.download,
    )  # fmt: skip
    reviews = read_imdb(path)
    counts = Counter(word for words, _ in reviews["train"] for word in words)
    # Ties in alphabetical order: the same words whatever the order of the archive.
    frequent = sorted(counts, key=lambda word: (-counts[word], word))[: settings.vocabulary - FIRST_TOKEN]
    numbers = {word: number for number, word in enumerate(frequent, start=FIRST_TOKEN)}
    arrays: dict[str, NDArray[Any]] = {}
    for part, examples in reviews.items():
        arrays[f"x_{part}"] = tokens_of((words for words, _ in examples), numbers=numbers, length=settings.length)
        arrays[f"y_{part}"] = np.array([label for _, label in examples], np.int64)
    n_reviews = sum(map(len, reviews.values()))
    return RawData(arrays=arrays, origin=f"IMDB, {n_reviews:,} reviews, from {path.name}")


def read_imdb(path: Path, /) -> dict[str, list[tuple[list[str], int]]]:
    """Words and label (0 negative, 1 positive) of each review, by part and in the order of their file names.

    Raises:
        ValueError: If the archive is cut short, or a part has no reviews of a kind, or a review has no word.

    Source:
        Maas et al. 2011, "Learning Word Vectors for Sentiment Analysis"; the archive's own README.
    """
    found: dict[str, dict[str, tuple[list[str], int]]] = {"train": {}, "test": {}}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:  # nothing is unpacked: names in the archive touch no file
                place = IMDB_REVIEW.search(member.name)
                stream = archive.extractfile(member) if place and member.isfile() else None
                if place and stream is not None:
                    words = words_of(stream.read().decode("utf-8", errors="replace"))
                    if not words:
                        raise ValueError(f"every review must hold a word, but {member.name} in {path} does not")
                    found[place[1]][member.name] = (words, int(place[2] == "pos"))
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is no complete tar.gz archive ({error}); fetch it again") from error
    for part, reviews in found.items():
        for label, name in enumerate(("neg", "pos")):
            if not any(each == label for _, each in reviews.values()):
                raise ValueError(f"{path} must hold reviews {part}/{name}/*.txt, but holds none")
    return {part: [reviews[name] for name in sorted(reviews)] for part, reviews in found.items()}


def _imdb_spec(settings: ImdbData) -> ExampleSpec:
    return ExampleSpec(
        input_shape=(settings.length,), class_names=("negative", "positive"), vocabulary=settings.vocabulary
    )


def _sunspots(settings: SunspotsData, cache: Path) -> RawData:
    """Windows of `data.length` years and the year after; the last 60 years are the test."""
    numbers = np.genfromtxt(DATA / "sunspots.csv", delimiter=",", skip_header=1)[:, 1]
    values = ((numbers - SUNSPOT_CENTRE) / SUNSPOT_UNIT).astype(np.float32)
    if settings.length > len(values) // 2:
        raise ValueError(
            f"`data.length <= {len(values) // 2}` must hold, but got {settings.length}: of {len(values)} years"
        )
    windows = np.lib.stride_tricks.sliding_window_view(values, settings.length + 1)
    x, y = windows[:, :-1, np.newaxis], windows[:, -1:]
    first_test = len(windows) - SUNSPOT_TEST_YEARS
    arrays = {"x_train": x[:first_test], "y_train": y[:first_test], "x_test": x[first_test:], "y_test": y[first_test:]}
    return RawData(arrays=arrays, origin="yearly sunspot numbers, 1700 to 2008, shipped in data/")


def _sunspots_spec(settings: SunspotsData) -> ExampleSpec:
    return ExampleSpec(input_shape=(settings.length, 1), n_values=1, target_scale=SUNSPOT_UNIT, reference="persistence")


def _xor(settings: XorData, cache: Path) -> RawData:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return RawData(
        arrays=without_test_set(x, np.array([[0], [1], [1], [0]], np.float32)), origin="the four points of xor"
    )


SOURCES: dict[str, Source[Any]] = {
    "japanese_vowels": Source(
        title="Japanese Vowels",
        read=_japanese_vowels,
        spec=lambda _: ExampleSpec(
            input_shape=(VOWEL_FRAMES, 12), class_names=tuple(f"speaker {number}" for number in range(1, 10))
        ),
    ),
    "surnames": Source(title="surnames", read=_surnames, spec=_surnames_spec),
    "imdb": Source(title="IMDB", read=_imdb, spec=_imdb_spec),
    "sunspots": Source(title="sunspots", read=_sunspots, spec=_sunspots_spec),
    "xor": Source(title="xor", read=_xor, spec=lambda _: ExampleSpec(input_shape=(2,), n_values=1)),
}
