"""Claims from stored predictions: new data instead of this test set, McNemar, and how often two models agree."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from experiments.statistics.checks import Array
from experiments.statistics.intervals import MINIMUM_RUNS, Estimate, wilson_interval

Answers = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class CrossedError:
    """Error of a mean difference in the share of right answers when seeds AND examples are samples."""

    mean_difference: float
    standard_error: float
    degrees_of_freedom: float
    n_seeds: int
    n_examples: int


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How two classifiers compare, example by example, on one test set."""

    n_examples: int
    n_both_right: int
    n_only_first_right: int
    n_only_second_right: int
    n_both_wrong: int
    same_answer: Estimate
    """Share of examples with the same predicted class, right or wrong; Wilson interval."""
    sampling_error: float
    """Standard error of the accuracy difference from the choice of examples: about sqrt(disagreement / N)."""
    p_mcnemar: float


def crossed_error(first_correct: npt.ArrayLike, second_correct: npt.ArrayLike) -> CrossedError:
    """Error of the mean accuracy difference over seeds and examples, both drawn at random.

    Var(d) = s_d^2 / n + s^2(D_i) / N - MS_int / (n N), with D_si = correct_A - correct_B, s_d over the seeds' means
    and D_i over the examples' means. A variance component estimated below zero counts as zero.

    Args:
        first_correct: 1 where arm A was right, shape (n_seeds, n_examples), rows in the order of the seeds.
        second_correct: The same for arm B, same seeds, same examples.

    Raises:
        ValueError: If shapes differ, there are fewer than 3 seeds or 2 examples, or a value is not 0 or 1.

    Source:
        Two-way random effects, Searle, Casella & McCulloch 1992, ch. 4; df by Satterthwaite 1946.
    """
    first, second = _right_answers(first_correct, "first_correct"), _right_answers(second_correct, "second_correct")
    if first.shape != second.shape or first.ndim != 2 or first.shape[0] < MINIMUM_RUNS or first.shape[1] < 2:
        raise ValueError(
            "`first_correct` and `second_correct` must have one shape (n_seeds >= 3, n_examples >= 2), "
            f"but got {first.shape} and {second.shape}"
        )
    difference = first - second
    n_seeds, n_examples = difference.shape
    seeds, examples, both = _mean_squares(difference)
    components = (both, max(0.0, seeds - both), max(0.0, examples - both))
    freedoms = (n_seeds - 1, n_examples - 1)
    weights = zip((seeds, examples, both), (*freedoms, freedoms[0] * freedoms[1]), strict=True)
    spread = math.fsum(square**2 / freedom for square, freedom in weights)
    return CrossedError(
        mean_difference=float(np.mean(difference)),
        standard_error=math.sqrt(math.fsum(components) / (n_seeds * n_examples)),
        degrees_of_freedom=max(1.0, math.fsum(components) ** 2 / spread) if spread > 0 else float(freedoms[0]),
        n_seeds=n_seeds,
        n_examples=n_examples,
    )


def mcnemar_p(n_only_first: int, n_only_second: int) -> float:
    """Exact two-sided p that two models are right equally often: binomial on the examples where one is right.

    Raises:
        ValueError: If a count is negative.

    Source:
        McNemar 1947, Psychometrika 12:153-157.
    """
    if min(n_only_first, n_only_second) < 0:
        raise ValueError(f"counts must not be negative, but got {n_only_first} and {n_only_second}")
    n_discordant = n_only_first + n_only_second
    if n_discordant == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(n_only_first, n_only_second), n_discordant, 0.5)))


def agreement(
    first_logits: npt.ArrayLike, second_logits: npt.ArrayLike, *, labels: npt.ArrayLike, level: float = 0.95
) -> Agreement:
    """Compare two models on the stored logits of one test set. One pair of runs: it says nothing about other seeds.

    Args:
        first_logits: Scores before softmax, shape (n_examples, n_classes).
        second_logits: The same for the other model, same examples in the same order.
        labels: True classes, integers, shape (n_examples,).
        level: Confidence level of the share of same answers.

    Raises:
        ValueError: If shapes do not match, or a logit is not finite.
    """
    first, second = np.asarray(first_logits, dtype=np.float64), np.asarray(second_logits, dtype=np.float64)
    truth = np.asarray(labels)
    if first.ndim != 2 or first.shape != second.shape or truth.shape != first.shape[:1]:
        raise ValueError(
            "logits must be (n_examples, n_classes) and labels (n_examples,), "
            f"but got {first.shape}, {second.shape} and {truth.shape}"
        )
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("logits must be finite, but got some that are not: a diverged run has no predictions")
    answers = first.argmax(axis=1), second.argmax(axis=1)
    return _count_agreement(answers[0] == truth, answers[1] == truth, same=answers[0] == answers[1], level=level)


def _count_agreement(first_right: Answers, second_right: Answers, *, same: Answers, level: float) -> Agreement:
    n, only_first = first_right.size, int(np.sum(first_right & ~second_right))
    only_second = int(np.sum(~first_right & second_right))
    difference = (only_first - only_second) / n
    return Agreement(
        n_examples=n,
        n_both_right=int(np.sum(first_right & second_right)),
        n_only_first_right=only_first,
        n_only_second_right=only_second,
        n_both_wrong=int(np.sum(~first_right & ~second_right)),
        same_answer=wilson_interval(int(np.sum(same)), n_runs=n, level=level),
        sampling_error=math.sqrt(((only_first + only_second) / n - difference**2) / n),
        p_mcnemar=mcnemar_p(only_first, only_second),
    )


def _mean_squares(difference: Array) -> tuple[float, float, float]:
    """Mean squares of the rows, of the columns and of what neither explains."""
    n_rows, n_columns = difference.shape
    rows = difference.mean(axis=1, keepdims=True)
    columns = difference.mean(axis=0, keepdims=True)
    rest = difference - rows - columns + difference.mean()
    return (
        float(n_columns * np.var(rows, ddof=1)),
        float(n_rows * np.var(columns, ddof=1)),
        float(np.sum(rest**2) / ((n_rows - 1) * (n_columns - 1))),
    )


def _right_answers(values: npt.ArrayLike, name: str) -> Array:
    answers = np.asarray(values, dtype=np.float64)
    if not np.isin(answers, (0.0, 1.0)).all():
        raise ValueError(f"`{name}` must hold 0 and 1 only, but got other values")
    return answers
