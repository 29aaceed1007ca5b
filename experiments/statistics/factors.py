"""Which factor of a grid moves the score: effects of levels, and shares of the variance."""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.statistics.checks import Array, as_array, require_finite

Row = Mapping[str, Hashable]


@dataclass(frozen=True, kw_only=True)
class VarianceShare:
    """What a factor, a pair of factors, or the rest explains of the total sum of squares."""

    factors: tuple[str, ...]
    """One factor, two for an interaction, none for the residual."""
    degrees_of_freedom: int
    sum_of_squares: float
    share: float
    """Of the total sum of squares, in [0, 1]; in an unbalanced grid the shares need not add up to 1."""


def main_effects(rows: Sequence[Row], scores: Sequence[float] | Array) -> dict[str, dict[Hashable, float]]:
    """Effect of each level: how far it lies from the mean of its factor's levels, other factors held equal.

    Args:
        rows: For each run its {factor: level}, all with the same factors.
        scores: Final scores, shape (n_runs,), unit of the metric; score failed runs first.

    Returns:
        {factor: {level: effect}}, unit of the metric, each factor's effects adding up to 0; from the additive
        least-squares fit, which in a balanced grid is the level's mean minus the grand mean.

    Raises:
        ValueError: If rows and scores do not match, a score is not finite, or two factors cannot be told apart.
    """
    levels, values = _checked(rows, scores)
    blocks = {factor: _effect_coding(rows, factor, levels[factor]) for factor in levels}
    design = np.column_stack([np.ones(values.size), *blocks.values()])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(f"factors must not be confounded, but {sorted(levels)} cannot be told apart in these rows")
    weights = np.linalg.lstsq(design, values, rcond=None)[0][1:]
    effects: dict[str, dict[Hashable, float]] = {}
    for factor, block in blocks.items():
        own, weights = weights[: block.shape[1]], weights[block.shape[1] :]
        effects[factor] = dict(zip(levels[factor], [*map(float, own), -float(np.sum(own))], strict=True))
    return effects


def variance_shares(
    rows: Sequence[Row], scores: Sequence[float] | Array, *, interactions: bool = True
) -> list[VarianceShare]:
    """Shares of the variance from type II sums of squares: each term given all terms that do not contain it.

    SS(A) = RSS(terms without A) - RSS(those and A); in a balanced grid these are the plain sums of squares.

    Args:
        rows: For each run its {factor: level}, all with the same factors; a full grid or an unbalanced one.
        scores: Final scores, shape (n_runs,), unit of the metric; score failed runs first.
        interactions: Whether to fit all two-way interactions; higher ones go to the residual.

    Returns:
        One share for each factor, each pair of factors and the residual (last). A term that the rows cannot tell
        apart from others has 0 degrees of freedom. Without variance every share is 0.

    Raises:
        ValueError: If rows and scores do not match, or a score is not finite.

    Source:
        Langsrud 2003, Stat. Comput. 13:163-167 (type II rather than type III).
    """
    levels, values = _checked(rows, scores)
    blocks = _blocks(rows, levels, interactions=interactions)
    total = float(np.sum((values - values.mean()) ** 2))
    floor = 1e-12 * float(np.sum(values**2))
    shares = []
    for term in blocks:
        others = [block for other, block in blocks.items() if not set(term) <= set(other)]
        rank_before, rest_before = _residual(values, others)
        rank_after, rest_after = _residual(values, [*others, blocks[term]])
        explained = max(0.0, rest_before - rest_after) if rank_after > rank_before else 0.0
        shares.append(_share(term, rank_after - rank_before, explained, total=total, floor=floor))
    rank, rest = _residual(values, list(blocks.values()))
    return [*shares, _share((), values.size - rank, rest, total=total, floor=floor)]


def _share(term: tuple[str, ...], freedom: int, explained: float, *, total: float, floor: float) -> VarianceShare:
    explained = explained if explained > floor else 0.0
    share = min(1.0, explained / total) if total > floor else 0.0
    return VarianceShare(factors=term, degrees_of_freedom=freedom, sum_of_squares=explained, share=share)


def _blocks(
    rows: Sequence[Row], levels: Mapping[str, list[Hashable]], *, interactions: bool
) -> dict[tuple[str, ...], Array]:
    """Columns of each term; those of an interaction are products of the columns of its factors."""
    blocks: dict[tuple[str, ...], Array] = {(f,): _effect_coding(rows, f, levels[f]) for f in levels}
    if interactions:
        for first, second in itertools.combinations(levels, 2):
            products = blocks[first,][:, :, np.newaxis] * blocks[second,][:, np.newaxis, :]
            blocks[first, second] = products.reshape(len(rows), -1)
    return blocks


def _effect_coding(rows: Sequence[Row], factor: str, levels: Sequence[Hashable]) -> Array:
    """One column for each level but the last, which is -1 in all: (n_runs, n_levels - 1)."""
    position = {level: index for index, level in enumerate(levels)}
    coding = np.vstack([np.eye(len(levels) - 1), -np.ones(len(levels) - 1)])
    return coding[[position[row[factor]] for row in rows]]


def _residual(values: Array, blocks: Sequence[Array]) -> tuple[int, float]:
    """Rank of the design with an intercept, and the sum of squares it leaves."""
    design = np.column_stack([np.ones(values.size), *blocks])
    fit, _, rank, _ = np.linalg.lstsq(design, values, rcond=1e-10)
    return int(rank), float(np.sum((values - design @ fit) ** 2))


def _checked(rows: Sequence[Row], scores: Sequence[float] | Array) -> tuple[dict[str, list[Hashable]], Array]:
    values = as_array(scores, name="scores")
    require_finite(2, scores=values)
    if len(rows) != values.size:
        raise ValueError(f"`len(rows) == len(scores)` must hold, but got {len(rows)} and {values.size}")
    factors = list(rows[0])
    if any(set(row) != set(factors) for row in rows):
        raise ValueError(f"every row must hold the factors {factors}, but got others")
    levels = {factor: sorted({row[factor] for row in rows}, key=_in_order) for factor in factors}
    return levels, values


def _in_order(level: Hashable) -> tuple[bool, float, str]:
    """Numbers by size, then everything else by its text."""
    if isinstance(level, int | float):
        return False, float(level), ""
    return True, 0.0, str(level)
