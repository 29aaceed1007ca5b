"""Sequences: speech, names, reviews, a time series; and the four points of xor.

Padding stands at the end: steps whose features are all 0, or token 0.
"""

from __future__ import annotations

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
from experiments.data.catalog import (
    FIRST_TOKEN,
    PADDING,
    SHIPPED,
    SUNSPOT_UNIT,
    SURNAME_LETTERS,
    UNKNOWN,
    VOWEL_FRAMES,
    languages,
    letters,
    names,
)
from experiments.data.spec import RawData, without_test_set
from experiments.task.datasets import ImdbData, JapaneseVowelsData, SunspotsData, SurnamesData, XorData

IMDB_URL = "https://ai.stanford.edu/~amaas/data/sentiment/"
IMDB_FILES = {"aclImdb_v1.tar.gz": "md5:7c2ac02c03563afcf9b574c7e56c153a"}  # the only hash that is published
IMDB_REVIEW = re.compile(r"(?:^|/)(train|test)/(neg|pos)/[^/]+\.txt$")
SUNSPOT_TEST_YEARS = 60
# Of SUNSPOT_UNIT, about the mean; the centre lies between two possible values: no year looks like padding.
SUNSPOT_CENTRE = 49.75


def japanese_vowels(settings: JapaneseVowelsData, cache: Path) -> RawData:
    """Utterances of 7 to 29 frames, padded with zeros at the end to 29."""
    arrays: dict[str, NDArray[Any]] = {}
    with np.load(SHIPPED / "japanese_vowels.npz") as stored:
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


def surnames(settings: SurnamesData, cache: Path) -> RawData:
    """Names as letters, cut or padded at the end to 20."""
    arrays: dict[str, NDArray[Any]] = {}
    for part in ("train", "test"):
        rows = [(name, language) for name, language, where in names() if where == part]
        arrays[f"x_{part}"] = tokens_of((name for name, _ in rows), numbers=letters(), length=SURNAME_LETTERS)
        arrays[f"y_{part}"] = np.array([languages().index(language) for _, language in rows], np.int64)
    return RawData(arrays=arrays, origin=f"{len(names()):,} surnames of {len(languages())} languages, shipped in data/")


def words_of(review: str) -> list[str]:
    """Lower-case words and numbers; HTML's line breaks and punctuation are left out."""
    return re.findall(r"[a-z0-9']+", review.lower().replace("<br />", " "))


def imdb(settings: ImdbData, cache: Path) -> RawData:
    """Reviews as their most frequent words.

    Raises:
        ValueError: If the archive is nowhere, or not what its authors published.
    """
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


def sunspots(settings: SunspotsData, cache: Path) -> RawData:
    """Windows of `data.length` years and the year after; the last 60 years are the test."""
    numbers = np.genfromtxt(SHIPPED / "sunspots.csv", delimiter=",", skip_header=1)[:, 1]
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


def xor(settings: XorData, cache: Path) -> RawData:
    """Two inputs, and whether they differ."""
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    return RawData(
        arrays=without_test_set(x, np.array([[0], [1], [1], [0]], np.float32)), origin="the four points of xor"
    )
