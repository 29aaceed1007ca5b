"""Claims about tasks like these: tasks are the replicates, so seeds are averaged before anything is ranked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.statistics.checks import Array, Scores, require_open_share
from experiments.statistics.multiplicity import holm
from experiments.statistics.pairing import by_seed, mean
from experiments.statistics.ranks import Friedman, friedman, oriented, ranks_of, signed_rank


@dataclass(frozen=True, kw_only=True)
class PairwiseRank:
    """Two methods compared over tasks, p adjusted by Holm over all pairs."""

    first: str
    second: str
    p: float
    p_holm: float
    better: str | None
    """The method shown to be better over tasks, or None if neither is."""


@dataclass(frozen=True, kw_only=True)
class TooFewTasks:
    """Why no claim about other tasks is made; print `sentence` in the diagram's place."""

    n_tasks: int
    n_tasks_needed: int
    sentence: str


@dataclass(frozen=True, kw_only=True)
class RankComparison:
    """Several methods over enough tasks: mean ranks (1 is best), Friedman, all pairs, groups of a diagram."""

    methods: tuple[str, ...]
    tasks: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    friedman: Friedman
    pairs: tuple[PairwiseRank, ...]
    cliques: tuple[tuple[str, ...], ...]
    """Groups, best first, within which no pair was told apart; bars of the critical-difference diagram."""


def task_means(runs: Mapping[str, Mapping[str, Scores]]) -> Array:
    """Average the seeds: task -> method -> scores becomes (n_tasks, n_methods), NaN where a run diverged.

    Raises:
        ValueError: If a task lacks a method, or there is no task.
    """
    if not runs:
        raise ValueError("`runs` must hold at least 1 task, but got 0")
    methods = list(next(iter(runs.values())))
    for task, by_method in runs.items():
        if set(by_method) != set(methods):
            raise ValueError(f"every task must hold {sorted(methods)}, but {task!r} holds {sorted(by_method)}")
    return np.array([[_seed_mean(by_method[method]) for method in methods] for by_method in runs.values()])


def tasks_needed(n_methods: int, *, alpha: float = 0.05) -> int:
    """Fewest tasks with which all-pairs Wilcoxon with Holm can ever decide: k (k - 1) / 2 * 2^(1 - m) <= alpha.

    Raises:
        ValueError: If `n_methods >= 2` does not hold, or alpha is not in (0, 1).
    """
    require_open_share(alpha=alpha)
    if n_methods < 2:
        raise ValueError(f"`n_methods >= 2` must hold, but got {n_methods!r}")
    return math.ceil(1 + math.log2(n_methods * (n_methods - 1) / 2 / alpha))


def compare_over_tasks(
    scores: Array, *, tasks: Sequence[str], methods: Sequence[str], higher_is_better: bool, alpha: float = 0.05
) -> RankComparison | TooFewTasks:
    """Compare methods on tasks like these, or say that there are too few tasks.

    Args:
        scores: Seed-averaged scores, shape (n_tasks, n_methods), from `task_means`; NaN where a method diverged.
        tasks: One name for each row; a repeated name means that seeds were not averaged, and is refused.
        methods: One name for each column.
        higher_is_better: False for losses and times.
        alpha: Level of the family of all pairs.

    Raises:
        ValueError: If names repeat or do not fit the shape.

    Source:
        Demsar 2006; Benavoli, Corani & Mangili 2016, J. Mach. Learn. Res. 17(5):1-10 (pairwise tests after Friedman).
    """
    _require_names(scores, tasks=tasks, methods=methods)
    n_tasks, needed = len(tasks), tasks_needed(len(methods), alpha=alpha)
    if n_tasks < needed:
        return _too_few_tasks(n_tasks, needed)
    mean_ranks = ranks_of(scores, higher_is_better=higher_is_better).mean(axis=0)
    pairs = _all_pairs(oriented(scores, higher_is_better=higher_is_better), methods=methods, alpha=alpha)
    order = [methods[column] for column in np.argsort(mean_ranks, kind="stable")]
    return RankComparison(
        methods=tuple(methods),
        tasks=tuple(tasks),
        mean_ranks=tuple(float(rank) for rank in mean_ranks),
        friedman=friedman(mean_ranks, n_tasks=n_tasks),
        pairs=pairs,
        cliques=cliques(order, decided={frozenset((p.first, p.second)) for p in pairs if p.better is not None}),
    )


def cliques(order: Sequence[str], *, decided: set[frozenset[str]]) -> tuple[tuple[str, ...], ...]:
    """Largest runs of neighbours in `order` (best first) of which no pair was decided; single methods are left out."""
    spans: list[tuple[int, int]] = []
    for start in range(len(order)):
        end = start + 1
        while end < len(order) and all(frozenset((order[end], other)) not in decided for other in order[start:end]):
            end += 1
        if end - start > 1 and (not spans or end > spans[-1][1]):
            spans.append((start, end))
    return tuple(tuple(order[start:end]) for start, end in spans)


def _seed_mean(scores: Scores) -> float:
    values = list(by_seed(scores).values())
    return mean(values) if values and all(math.isfinite(value) for value in values) else math.nan


def _all_pairs(scores: Array, *, methods: Sequence[str], alpha: float) -> tuple[PairwiseRank, ...]:
    columns = list(itertools.combinations(range(len(methods)), 2))
    tests = [signed_rank(scores[:, a], scores[:, b]) for a, b in columns]
    adjusted = holm([test.p for test in tests])
    return tuple(
        PairwiseRank(
            first=methods[a],
            second=methods[b],
            p=test.p,
            p_holm=float(p),
            better=None if p > alpha else methods[a] if test.rank_sum_plus > test.rank_sum_minus else methods[b],
        )
        for (a, b), test, p in zip(columns, tests, adjusted, strict=True)
    )


def _too_few_tasks(n_tasks: int, needed: int) -> TooFewTasks:
    tasks, these = ("1 task", "this 1") if n_tasks == 1 else (f"{n_tasks} tasks", f"these {n_tasks}")
    return TooFewTasks(
        n_tasks=n_tasks,
        n_tasks_needed=needed,
        sentence=f"{tasks} cannot support a claim about new tasks; shown: evidence on {these}. "
        f"At least {needed} tasks would be needed.",
    )


def _require_names(scores: Array, *, tasks: Sequence[str], methods: Sequence[str]) -> None:
    if scores.shape != (len(tasks), len(methods)):
        raise ValueError(f"`scores` must be ({len(tasks)} tasks, {len(methods)} methods), but got {scores.shape}")
    for kind, names in (("tasks", tasks), ("methods", methods)):
        repeated = sorted({name for name in names if list(names).count(name) > 1})
        if repeated:
            raise ValueError(f"`{kind}` must be distinct, but got {repeated} twice: average the seeds of a task first")
