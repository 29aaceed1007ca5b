"""What a factor does: generalization gaps, dose and response, main effects and interactions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experiments import metrics, statistics
from experiments.report import formatting
from experiments.report.arms import Arm, as_number, in_order
from experiments.statistics import Estimate, VarianceShare

MINIMUM_DOSES = 3
EXACT_DOSES = 8  # Page's exact test
TREND_ALPHA = 0.05


@dataclass(frozen=True, kw_only=True)
class Gap:
    """An arm's generalization gap: loss on the test set minus loss on training examples, both in evaluation mode.

    `change` is the gap minus that of the arm it is compared with, paired by seed (negative: narrower); `gain` the test
    accuracy minus that arm's (None where there is no accuracy), `against` its name. All with 95 % t intervals, over the
    runs that finished.
    """

    arm: Arm
    train: Estimate
    test: Estimate
    gap: Estimate
    against: str
    change: Estimate | None
    gain: Estimate | None

    @property
    def sentence(self) -> str:
        """Gap and score in one sentence: a gap that shrinks because training got worse is no improvement."""
        if self.change is None or self.change.low is None or self.change.high is None:
            return ""
        size = formatting.bounds(self.change)
        if self.change.high < 0:
            change = f"narrowed the gap, by {size}"
        elif self.change.low > 0:
            change = f"widened the gap, by {size}"
        else:
            change = f"gap {size}, not shown to change"
        if self.gain is None:
            score = f"test loss of this arm {formatting.interval(self.test, metrics.LOSS)}"
        else:
            score = f"{formatting.in_words(metrics.ACCURACY)} {formatting.difference(self.gain, metrics.ACCURACY)}"
        return f"{self.arm.name} against {self.against}: {change}; {score}."


def gaps_of(arms: Sequence[Arm], *, pairs: Sequence[tuple[Arm, Arm]]) -> tuple[Gap, ...]:
    """The gap of every arm that has one; each is compared with the arm that `pairs` compares it with."""
    gaps = []
    for arm in arms:
        gap = _gap(arm)
        if not gap:
            continue
        other = next((second for first, second in pairs if first is arm), None)
        base = _gap(other) if other is not None else {}
        gaps.append(
            Gap(
                arm=arm,
                train=statistics.mean_interval(arm.scores(metrics.TRAINING_LOSS)),
                test=statistics.mean_interval(arm.scores(metrics.LOSS)),
                gap=statistics.mean_interval(gap),
                against=other.name if other is not None else "",
                change=_paired(gap, base),
                gain=None if other is None else _paired(arm.scores(metrics.ACCURACY), other.scores(metrics.ACCURACY)),
            )
        )
    return tuple(gaps)


def _gap(arm: Arm) -> dict[int, float]:
    train, test = arm.scores(metrics.TRAINING_LOSS), arm.scores(metrics.LOSS)
    return {seed: test[seed] - train[seed] for seed in test if seed in train}


def _paired(first: dict[int, float], second: dict[int, float]) -> Estimate | None:
    differences = {seed: first[seed] - second[seed] for seed in first if seed in second}
    return statistics.mean_interval(differences) if differences else None


@dataclass(frozen=True, kw_only=True)
class Dose:
    """A factor with at least three numbers for values: dose and response.

    Attributes:
        factor: The key.
        levels: Its values, rising.
        curves: Name of the other choices -> the arms at each level.
        sentences: Best level and plausible range for each curve, and Page's trend of the gap.
    """

    factor: str
    levels: tuple[float, ...]
    curves: dict[str, tuple[Arm, ...]]
    sentences: tuple[str, ...]


def dose_of(
    arms: Sequence[Arm], *, factor: str, levels: Sequence[str], metric: str, failure_score: float | None = None
) -> Dose | None:
    """Dose and response along `factor`, if its levels are numbers and every other choice has them all.

    Args:
        arms: What was run.
        factor: Key of the dose.
        levels: Its choices as they were typed, rising.
        metric: What the best level is best by.
        failure_score: What a run that failed counts as, its chance level; without one it is left out, and it is said.
    """
    doses = [number for level in levels if (number := as_number(level)) is not None]
    if len(levels) < MINIMUM_DOSES or len(doses) < len(levels):
        return None
    curves: dict[str, list[Arm]] = {}
    for arm in (arm for arm in arms if factor in arm.factors):
        rest = " · ".join(value for key, value in arm.factors.items() if key != factor)
        curves.setdefault(rest, []).append(arm)
    whole = {
        name: tuple(sorted(members, key=lambda arm: as_number(arm.factors[factor]) or 0.0))
        for name, members in curves.items()
        if len(members) == len(levels)
    }
    if not whole:
        return None
    leaf = factor.rpartition(".")[2]
    sentences = [
        _best(name, members, metric=metric, factor=factor, leaf=leaf, failure_score=failure_score)
        for name, members in whole.items()
    ]
    sentences += [_trend(name, members, leaf=leaf) for name, members in whole.items()]
    return Dose(factor=factor, levels=tuple(doses), curves=whole, sentences=tuple(filter(None, sentences)))


def _best(name: str, arms: Sequence[Arm], *, metric: str, factor: str, leaf: str, failure_score: float | None) -> str:
    """The best level, and all that are not shown worse than it."""
    found = best_and_plausible(arms, metric, failure_score=failure_score)
    if found is None:
        return ""
    best, plausible = found
    shown = in_order(arm.factors[factor] for arm in plausible)
    reach = shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} or {shown[-1]}"
    return (
        f"{name}: best {formatting.in_words(metric)} among those tried at {leaf} {best.factors[factor]}; "
        f"not shown worse (Holm, 5 %): {reach}.{_lost(arms, metric, failure_score=failure_score)}"
    )


def best_and_plausible(
    arms: Sequence[Arm], metric: str, *, failure_score: float | None
) -> tuple[Arm, list[Arm]] | None:
    """The arm of the best mean, and all that are not shown worse (paired, Holm at 5 % over the others), it first.

    None where no run has a score.
    """
    sign = 1.0 if metrics.metric_of(metric).higher_is_better else -1.0
    scores = [_scored(arm, metric, failure_score=failure_score) for arm in arms]
    scored = [(arm, by_seed) for arm, by_seed in zip(arms, scores, strict=True) if by_seed]
    if not any(arm.scores(metric) for arm in arms):
        return None
    best, highest = max(scored, key=lambda each: sign * math.fsum(each[1].values()) / len(each[1]))
    others = [arm for arm, _ in scored if arm is not best]
    verdicts = [
        statistics.verdict(by_seed, highest, margin=None, higher_is_better=sign > 0, n_planned=len(highest))
        for arm, by_seed in scored
        if arm is not best
    ]
    known = [_p_of(verdict) for verdict in verdicts]
    adjusted = statistics.holm(known) if known else np.array([])
    return best, [best, *(arm for arm, p in zip(others, adjusted, strict=True) if p > 0.05)]


def _p_of(verdict: statistics.Verdict) -> float:
    """That of a difference; the same difference on every seed has none, and is one."""
    if verdict.p_difference is None:
        return 0.0 if verdict.id == "constant_difference" else 1.0
    return verdict.p_difference


def _scored(arm: Arm, metric: str, *, failure_score: float | None) -> dict[int, float]:
    """Seed -> score, a failed run at chance level; without such a level only runs that finished."""
    if failure_score is None:
        return arm.scores(metric)
    return statistics.score_failures(arm.counted(metric), chance_level=failure_score)


def _lost(arms: Sequence[Arm], metric: str, *, failure_score: float | None) -> str:
    counted = [score for arm in arms for score in arm.counted(metric).values()]
    n_failed = sum(not math.isfinite(score) for score in counted)
    if not n_failed:
        return ""
    what = "are left out" if failure_score is None else "are scored at chance level"
    return f" {n_failed}/{len(counted)} runs failed and {what}."


def _trend(name: str, arms: Sequence[Arm], *, leaf: str) -> str:
    """Page's test that the gap falls as the dose rises; seeds are rows."""
    gaps = [_gap(arm) for arm in arms]
    seeds = sorted(set.intersection(*(set(gap) for gap in gaps)))
    if len(seeds) < 2:
        return ""
    rows = -np.array([[gap[seed] for gap in gaps] for seed in seeds])
    statistic, p = statistics.page_trend(rows, method="exact" if len(arms) <= EXACT_DOSES else "asymptotic")
    trend = "the gap falls" if p <= TREND_ALPHA else "not shown that the gap falls"
    return f"{name}: {trend} as {leaf} rises: Page's L = {statistic:g}, p = {p:.2g}, {len(seeds)} seeds."


@dataclass(frozen=True, kw_only=True)
class Effects:
    """Main effects and interactions in a grid of at least two factors.

    `main` is factor -> level -> effect on the metric (its unit; the effects of a factor add up to 0), None where the
    grid cannot tell factors apart; `shares` are of the variance of all runs, the residual (seeds) last.
    """

    metric: str
    main: dict[str, dict[str, float]] | None
    shares: tuple[VarianceShare, ...]


def effects_of(arms: Sequence[Arm], *, metric: str, failure_score: float | None = None) -> Effects | None:
    """Effects of all factors that vary; None with fewer than two factors or runs.

    A run that failed counts as `failure_score`, its chance level; without one it is left out.
    """
    keys = [key for key in dict.fromkeys(key for arm in arms for key in arm.factors)]
    keys = [key for key in keys if len({arm.factors.get(key) for arm in arms}) > 1]
    if not any(arm.scores(metric) for arm in arms):
        return None
    scored = [(arm, _scored(arm, metric, failure_score=failure_score)) for arm in arms]
    scored = [(arm, scores) for arm, scores in scored if scores]
    if len(keys) < 2 or len(scored) < 3 or any(key not in arm.factors for arm, _ in scored for key in keys):
        return None
    rows = [{key: arm.factors[key] for key in keys} for arm, each in scored for _ in each]
    scores = [score for _, each in scored for score in each.values()]
    if any(len({row[key] for row in rows}) < 2 for key in keys):
        return None
    try:
        main = {
            factor: {str(level): effect for level, effect in levels.items()}
            for factor, levels in statistics.main_effects(rows, scores).items()
        }
    except ValueError:
        main = None  # two factors are confounded: said in the page
    return Effects(metric=metric, main=main, shares=tuple(statistics.variance_shares(rows, scores)))
