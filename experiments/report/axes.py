"""The axes of a grid: what each choice does, over all the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice

from experiments import metrics
from experiments.records import SweepRecord
from experiments.report.arms import Arm, pooled_by
from experiments.report.pairs import Pair, compare, pairs_of_arms
from experiments.task.keys import short_key

FRAMEWORK = "framework"
UNASKED = "frameworks"  # the comparison of a command that names none


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A factor that varies, and its levels held against each other, each the mean over all other choices.

    Attributes:
        factor: Its key, as it is typed.
        levels: Pooled arms, in order.
        pairs: Each level with each; claims of one family with those of the other axes.
    """

    factor: str
    levels: tuple[Arm, ...]
    pairs: tuple[Pair, ...]

    @property
    def name(self) -> str:
        """As a person says it: "optimizer", "dropout"."""
        return short_key(self.factor).replace("_", " ")

    @property
    def size(self) -> float:
        """The largest difference between two of its levels, in the unit of the score."""
        return max((abs(pair.score.mean_difference or 0.0) for pair in self.pairs), default=0.0)


def is_grid(arms: Sequence[Arm], record: SweepRecord) -> bool:
    """Whether choices beside the framework vary, all on the same data, and no comparison was asked for by name.

    Never over what is as shipped: its mean with what is aligned would be about nothing.
    """
    varying = {key for arm in arms for key in arm.factors} - {FRAMEWORK}
    asked = record.comparison.get("name") != UNASKED or "comparison=" in record.command
    return bool(varying) and not asked and "alignment" not in varying and len({arm.data for arm in arms}) == 1


def axes_of(arms: Sequence[Arm], record: SweepRecord, *, metric: str) -> tuple[Axis, ...]:
    """The axes that can be told apart, the largest effect first, the framework last.

    Args:
        arms: All arms of the sweep.
        record: The sweep.
        metric: Whole name of the score, such as test/accuracy.
    """
    factors = list(dict.fromkeys(key for arm in arms for key in arm.factors))
    levels = {factor: pooled_by(arms, factor) for factor in factors}
    compared = {factor: pairs_of_arms(found, factor=factor) for factor, found in levels.items() if len(found) > 1}
    n_pairs = sum(map(len, compared.values()))
    axes = [
        Axis(
            factor=factor,
            levels=levels[factor],
            pairs=tuple(compare(*pair, record, metric=metric, n_pairs=n_pairs) for pair in pairs),
        )
        for factor, pairs in compared.items()
    ]
    return tuple(sorted(axes, key=lambda axis: (axis.factor == FRAMEWORK, -axis.size)))


def with_pairs(axes: Sequence[Axis], pairs: Sequence[Pair]) -> tuple[Axis, ...]:
    """The axes with these pairs, all of them in their order, instead of their own."""
    rest = iter(pairs)
    return tuple(replace(axis, pairs=tuple(islice(rest, len(axis.pairs)))) for axis in axes)


def best_first(axis: Axis, *, metric: str) -> list[Arm]:
    """Levels from the best mean score to the worst; those without a score are last."""
    sign = -1.0 if metrics.metric_of(metric).higher_is_better else 1.0
    scored = [(level.interval(metric), level) for level in axis.levels]
    known = sorted(((sign * found.value, place) for place, (found, _) in enumerate(scored) if found is not None))
    order = [place for _, place in known]
    return [scored[place][1] for place in [*order, *(set(range(len(scored))) - set(order))]]
