"""What a part of the benchmarks is: rows that measure pairs, and the figures that the pairs come to.

A pair is what is compared, measured one right after the other. Every pair is a line of FOLDER/PART.jsonl, written when
it is whole, so that whatever stopped between two is done anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from experiments.errors import SettingsError

Pair = Mapping[str, Any]  # arm -> its numbers
SMALLEST_N = 6  # the fewest whose smallest and largest cover the median with 95 %


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A line of the page.

    Attributes:
        what: Is measured.
        values: Of each pair, which `at_most` is for.
        unit: Of the values, "" for a ratio.
        at_most: What their median must not exceed; None: nothing is required.
        beside: Further cells under their titles.
        digits: After the point.
        note: What is said of it where nothing is required.
    """

    what: str
    values: Sequence[float]
    unit: str = ""
    at_most: float | None = None
    beside: Mapping[str, str] = field(default_factory=dict)
    digits: int = 2
    note: str = ""

    @property
    def is_missed(self) -> bool:
        """Whether the median exceeds what it must not, or is no number."""
        return self.at_most is not None and bool(self.values) and not float(np.median(self.values)) <= self.at_most


@dataclass(frozen=True, kw_only=True)
class Row:
    """Something to measure.

    Attributes:
        name: As it is typed after the part's: PART/NAME.
        pairs: How many, where nothing is said.
        seconds: What a pair takes on two slow cores, about.
        measure: Turn 0, 1, ... -> the numbers of a pair, as JSON can hold them.
        figures: The pairs -> lines of the page.
    """

    name: str
    pairs: int
    seconds: float
    measure: Callable[[int], Pair]
    figures: Callable[[Sequence[Pair]], Sequence[Figure]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Rows that are told together.

    Attributes:
        title: Of the section.
        text: How they are measured.
        rows: `rows(folder, epochs)`; epochs=None: each its own.
        why: What profiles showed of the lines that miss, or hardly meet, what they must.
    """

    title: str
    text: str
    rows: Callable[[Path, int | None], Sequence[Row]]
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """FOLDER/PART.jsonl: first what it was measured on, then a line for each pair."""

    path: Path

    def conditions(self) -> Mapping[str, str]:
        """What it was measured on; empty where nothing is kept."""
        lines = self._lines()
        return lines[0]["conditions"] if lines else {}

    def pairs(self, row: str) -> list[Pair]:
        """Those of a row, in the order of their turns."""
        return [each["pair"] for each in self._lines()[1:] if each["row"] == row]

    def last_date(self) -> str:
        """The day of the last pair; "" before there is one."""
        lines = self._lines()
        return lines[-1].get("date", "") if lines else ""

    def require(self, conditions: Mapping[str, str]) -> None:
        """Begin the file, or see that what it holds was measured under the same conditions.

        Raises:
            SettingsError: If it was not: such pairs cannot be counted together.
        """
        kept = self.conditions()
        if not kept:
            self._write({"conditions": conditions}, mode="w")
        differing = [name for name in conditions if kept and kept.get(name) != conditions[name]]
        if differing:
            told = "; ".join(f"{name} was {kept.get(name)}, is {conditions[name]}" for name in differing)
            raise SettingsError(f"{self.path} was measured under other conditions ({told}); delete it to measure anew")

    def add(self, row: str, pair: Pair) -> None:
        """Keep a pair."""
        whole = self.path.read_text()
        if not whole.endswith("\n"):  # this process, or its machine, died while it wrote
            self.path.write_text(whole[: whole.rfind("\n") + 1])
        self._write({"row": row, "date": f"{datetime.now(UTC):%Y-%m-%d}", "pair": pair}, mode="a")

    def _lines(self) -> list[Any]:
        whole, _, _ = self.path.read_text().rpartition("\n") if self.path.is_file() else ("", "", "")
        return [json.loads(line) for line in whole.splitlines()]

    def _write(self, content: Mapping[str, Any], *, mode: str) -> None:
        with self.path.open(mode) as file:
            file.write(json.dumps(content) + "\n")


def in_turn(arms: Mapping[str, Callable[[], Mapping[str, Any]]], turn: int) -> dict[str, Any]:
    """Measure each arm, one right after the other; who is first changes from turn to turn."""
    names = list(arms)
    first = turn % len(names)
    return {name: arms[name]() for name in [*names[first:], *names[:first]]}


def ratios(pairs: Sequence[Pair], of: str, *, arm: str, base: str) -> list[float]:
    """A number of an arm over that of the base, in each pair."""
    return [pair[arm][of] / pair[base][of] for pair in pairs]


def medians(pairs: Sequence[Pair], of: str, *, titles: Mapping[str, str], shown: str) -> dict[str, str]:
    """A cell for each arm: `titles` has its title, `shown` says how the median is written."""
    return {
        title: shown.format(float(np.median([pair[arm][of] for pair in pairs]))) if pairs else ""
        for arm, title in titles.items()
    }


def missing(rows: Sequence[Row], *, kept: Kept, pairs: int | None) -> list[Row]:
    """A row for each pair that is yet to be measured, every row's first before any row's second."""
    turns = [
        (turn, place, row)
        for place, row in enumerate(rows)
        for turn in range(len(kept.pairs(row.name)), row.pairs if pairs is None else pairs)
    ]
    return [row for _, _, row in sorted(turns, key=lambda each: each[:2])]


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The order statistics that cover the median with at least 95 %; None where there are too few for any.

    Source:
        Conover 1999, Practical Nonparametric Statistics, section 3.2 (binomial).
    """
    n = len(values)
    if n < SMALLEST_N:
        return None
    rank = int(stats.binom.ppf(0.025, n, 0.5))  # from 1: at most 2.5 % have fewer than that below the median
    ordered = np.sort(values)
    return float(ordered[rank - 1]), float(ordered[n - rank])
