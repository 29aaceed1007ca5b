"""The steps between as shipped and aligned, of each metric: what a default adds to the frameworks' difference."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments import metrics, statistics
from experiments.records import RunRecord, SweepRecord
from experiments.report import formatting
from experiments.report.arms import Arm
from experiments.statistics import Ladder
from experiments.statistics.ladder import Step
from experiments.task.alignment import ALIGNED, AND, AS_SHIPPED, OTHERS, title_of

FACTOR = "alignment"
STEPS = "steps to the target"
MOST_NAMED = 3  # steps that a sentence names
Key = tuple[str, frozenset[str]]  # framework, words that are as shipped


@dataclass(frozen=True, kw_only=True)
class MetricLadder:
    """A ladder in one metric; `scale` and `unit` are for reading, `titles` name the words.

    Of the `n_seeds` that were trained it is over those of which every run came to its end.
    """

    what: str
    unit: str
    scale: float
    decimals: int
    margin: float | None
    names: tuple[str, str]
    titles: Mapping[str, str]
    ladder: Ladder
    n_seeds: int

    @property
    def sentence(self) -> str:
        """What may be said of this gap, and of how many seeds it is said."""
        lost = self.n_seeds - self.ladder.n
        if not lost:
            return self._finding()
        return f"{self._finding()} On {self.ladder.n} of {self.n_seeds} seeds: of {lost} a run failed or diverged."

    @property
    def headline(self) -> str:
        """The same in a few words."""
        if not self.ladder.is_shown:
            return f"The gap in {self.what} is not shown to come from defaults"
        if not self._causes():
            return f"No default alone is shown to explain the gap in {self.what}"
        return f"{self._explained(self._causes())} of the gap in {self.what}"

    @property
    def names_a_cause(self) -> bool:
        """Whether a default is shown to explain a part that matters."""
        return self.ladder.is_shown and bool(self._causes())

    def _causes(self) -> list[Step]:
        large = [each for each in self.ladder.steps if each.is_shown and not self.is_harmless(each)]
        return sorted(large, key=lambda step: -abs(step.part.value))

    def _explained(self, causes: Sequence[Step]) -> str:
        told = " and ".join(f"{self.titles[each.word]} explains {percent(each)}" for each in causes[:MOST_NAMED])
        return f"{told[0].upper()}{told[1:]}"

    def _finding(self) -> str:
        ladder, (first, second) = self.ladder, self.names
        gap = f"the gap in {self.what}, {first} minus {second} as shipped, {self.size(ladder.shipped)}"
        if not ladder.is_shown:
            return f"{gap[0].upper()}{gap[1:]}, is not shown to come from defaults{self._harmless()}."
        shown = self._causes()
        if not shown:
            return f"No default alone is shown to explain {gap}{self._harmless()}."
        rest = "" if all(each.is_shown for each in ladder.steps) else "; the rest is not shown"
        more = f"; {len(shown) - MOST_NAMED} more shown" if len(shown) > MOST_NAMED else ""
        whole = f"what the defaults make of the gap in {self.what}, {first} minus {second}, as shipped less aligned: "
        return f"{self._explained(shown)} of {whole}{self.size(ladder.whole)}{more}{rest}{self._harmless()}."

    def is_harmless(self, step: Step) -> bool:
        """Whether a default is shown to matter less than the margin."""
        return self.margin is not None and step.is_within(self.margin)

    def size(self, estimate: statistics.Estimate) -> str:
        """An estimate as it is read, with its interval."""
        parts = [self._number(value, self.decimals) for value in (estimate.value, estimate.low, estimate.high)]
        return f"{parts[0]}{self.unit}" + (f" [{parts[1]}, {parts[2]}]" if estimate.low is not None else "")

    def _number(self, value: float | None, decimals: int) -> str:
        return "–" if value is None else f"{self.scale * value:+.{decimals}f}".replace("-", "−")

    def _harmless(self) -> str:
        small = [self.titles[each.word] for each in self.ladder.steps if self.is_harmless(each)]
        return f"; less than the margin: {', '.join(small)}" if small else ""


def percent(step: Step) -> str:
    """Its share of the gap, with the interval."""
    share = step.share
    if share is None or share.low is None or share.high is None:
        return "a part that has no interval"
    low, middle, high = (f"{100 * value:.0f}".replace("-", "−") for value in (share.low, share.value, share.high))
    return f"{middle} % [{low}, {high}]"


def is_rung_of(arm: Arm, record: SweepRecord) -> bool:
    """Whether it stands between as shipped and aligned: no arm of that report, but a step of its ladder."""
    effective = record.comparison.get("ladder") or {}
    alignment = str(arm.settings.get(FACTOR, ALIGNED))
    return (
        arm.framework in effective
        and alignment not in (ALIGNED, AS_SHIPPED)
        and set(alignment.split(AND)) < set(effective[arm.framework])
    )


def ladders_of(arms: Sequence[Arm], record: SweepRecord) -> tuple[MetricLadder, ...]:
    """A ladder for accuracy, loss and steps to a target, where every run of a seed is there."""
    effective = record.comparison.get("ladder") or {}
    names = sorted(effective)
    words = tuple(dict.fromkeys(word for name in names for word in effective[name]))  # with the others
    if len(names) != 2 or not words or not arms:
        return ()
    ours = sorted((arm for arm in arms if arm.framework in names), key=lambda arm: FACTOR not in arm.settings)
    by_key = {_key(arm, effective): arm for arm in ours}  # where nothing can matter, aligned and as shipped are one
    optimizer = str(arms[0].settings.get("optimizer.kind", ""))
    titles = {word: title_of(word, optimizer=optimizer) for word in words}
    found = []
    for metric in (metrics.ACCURACY, metrics.LOSS, STEPS):
        scores = _scores(by_key, metric)
        taken = _ladder(scores, effective, names=names, words=words)
        if taken is None:
            continue
        is_share = metric == metrics.ACCURACY
        found.append(
            MetricLadder(
                what=STEPS if metric == STEPS else formatting.in_words(metric),
                unit=" pp" if is_share else "",
                scale=100 if is_share else 1,
                decimals=0 if metric == STEPS else 2 if is_share else 4,
                margin=None if metric == STEPS else record.margins.get(metrics.base_name(metric)),
                names=(names[0], names[1]),
                titles=titles,
                ladder=taken,
                n_seeds=len({run.seed for arm in ours for run in arm.runs}),
            )
        )
    return tuple(found)


def _key(arm: Arm, effective: Mapping[str, Sequence[str]]) -> Key:
    alignment = str(arm.settings.get(FACTOR, ALIGNED))
    known = effective[arm.framework]
    if alignment == ALIGNED:
        return arm.framework, frozenset()
    words = frozenset(alignment.split(AND))
    return arm.framework, words if words <= set(known) else frozenset(known)  # else all, with what no step shows


def _scores(by_key: Mapping[Key, Arm], metric: str) -> dict[Key, dict[int, float]]:
    if metric != STEPS:
        return {key: arm.scores(metric) for key, arm in by_key.items()}
    runs = [run for arm in by_key.values() for run in arm.finished]
    if not all(run.curves.get("val/loss") for run in runs):
        return {}
    targets: dict[int, float] = {}  # of each seed, the lowest validation loss that all its runs reach
    for run in runs:
        best = min(loss for _, loss in run.curves["val/loss"])
        targets[run.seed] = max(best, targets.get(run.seed, best))
    return {key: {run.seed: _steps_to(run, targets[run.seed]) for run in arm.finished} for key, arm in by_key.items()}


def _steps_to(run: RunRecord, target: float) -> float:
    """Optimizer steps until the epoch that first reaches the target."""
    steps = dict(run.curves.get("step", []))
    return next((steps.get(epoch, math.nan) for epoch, loss in run.curves["val/loss"] if loss <= target), math.nan)


def _ladder(
    scores: Mapping[Key, Mapping[int, float]],
    effective: Mapping[str, Sequence[str]],
    *,
    names: Sequence[str],
    words: Sequence[str],
) -> Ladder | None:
    """The ladder over the seeds of which every run came to its end; None without one."""
    every, words = frozenset(words), [word for word in words if word != OTHERS]
    points = [frozenset(words[k:]) for k in range(len(words) + 1)]  # as shipped ... aligned
    back = [frozenset(words[:k]) for k in range(len(words) + 1)]
    needed = {(name, chosen & set(effective[name])) for name in names for chosen in (every, *points, *back)}
    if not all(key in scores for key in needed):
        return None
    shared = set.intersection(*(set(scores[key]) for key in needed))
    seeds = sorted(seed for seed in shared if all(math.isfinite(scores[key][seed]) for key in needed))
    if not seeds:
        return None

    def gap(chosen: frozenset[str], seed: int) -> float:
        first, second = (scores[name, chosen & set(effective[name])][seed] for name in names)
        return first - second

    paths: list[Callable[[int], list[float]]] = [
        lambda seed: [gap(chosen, seed) for chosen in points],
        lambda seed: [gap(chosen, seed) for chosen in back],
    ]
    down, up = (np.array([path(seed) for seed in seeds]).T for path in paths)
    top = np.array([gap(every, seed) for seed in seeds]) if OTHERS in every else None
    return statistics.ladder(down, up, words=words, top=top, others=OTHERS)
