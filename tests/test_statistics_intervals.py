"""Intervals, resampling and agreement against published figures (R5, R8) and counts by hand.

R1 ... R8 and "protocol": the plan of these statistics; its figures were published or computed apart from this code.
"""

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from experiments.statistics import agreement, budget_curve, crossed_error, holm, mean_interval, verdict
from experiments.statistics.aggregates import (
    interquartile_mean,
    normalized,
    optimality_gap,
    performance_profile,
    pooled_interval,
    probability_of_improvement,
    probability_of_improvement_interval,
    probability_of_superiority,
)
from experiments.statistics.agreement import mcnemar_p
from experiments.statistics.intervals import wilson_interval

DARWIN = np.array([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75.0])  # R5, eighths of an inch


def test_darwins_plants_have_their_known_interval():
    found = mean_interval(DARWIN)
    assert (found.low, found.high) == pytest.approx((0.0312, 41.8355), abs=1e-4)
    assert found.label == "95 % CI (t, n = 15)"


def test_two_runs_have_a_mean_but_no_interval():
    found = mean_interval([1.0, 3.0])
    assert (found.value, found.low, found.high, found.label) == (2.0, None, None, "no interval (n = 2)")


def test_a_diverged_run_is_refused_not_averaged():
    with pytest.raises(ValueError, match="`scores` .* 1 not finite; see score_failures"):
        mean_interval({0: 0.9, 1: 0.8, 2: float("nan")})


def test_five_seeds_are_covered_as_often_as_the_level_says():
    rng = np.random.default_rng(2)
    found = [mean_interval(scores) for scores in rng.normal(size=(3000, 5))]
    assert np.mean([f.low <= 0 <= f.high for f in found]) == pytest.approx(0.947, abs=0.012)  # protocol; 3 errors


def test_the_bootstrap_is_not_offered_for_the_seeds_of_one_task():
    with pytest.raises(ValueError, match=r"`runs x tasks >= 40` must hold for a bootstrap, but got 5; use mean_int"):
        pooled_interval(interquartile_mean, [np.arange(5.0)], rng=np.random.default_rng(0))


@pytest.mark.parametrize(("reached", "n"), [(10, 10), (0, 10), (3, 10), (150, 200)])
def test_the_wilson_interval_is_that_of_statsmodels(reached, n):
    found = wilson_interval(reached, n_runs=n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(reached, n, method="wilson"), abs=1e-12)


def test_ten_of_ten_leave_room_for_failure():
    assert wilson_interval(10, n_runs=10).low == pytest.approx(0.72, abs=0.005)  # protocol, two digits
    with pytest.raises(ValueError, match="but got 11 of 10"):
        wilson_interval(11, n_runs=10)


def test_holm_is_that_of_statsmodels_in_any_order():
    p = np.array([0.01572, 0.60841, 0.01917, 0.04, 0.5, 0.0001])
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-15)
    assert holm([0.6, 0.7]).tolist() == [1, 1]
    with pytest.raises(ValueError, match="`0 <= p <= 1` must hold"):
        holm([0.2, 1.2])


def test_scores_are_normalized_by_references_and_a_loss_turns_around():
    assert normalized(np.array([10.0, 55.0, 100.0]), reference_0=10, reference_1=100).tolist() == [0, 0.5, 1]
    assert normalized(np.array([2.3, 0.0]), reference_0=2.3, reference_1=0).tolist() == [0, 1]
    with pytest.raises(ValueError, match="`reference_0 != reference_1` must hold, but got 1 twice"):
        normalized(np.array([1.0]), reference_0=1, reference_1=1)


# --- aggregates over runs x tasks -----------------------------------------------------------------------------------

RLIABLE_FIRST = [np.array([1.0, 2, 1, 2]), np.array([2.0, 2, 1, 1])]  # R8, by task
RLIABLE_SECOND = [np.array([1.0, 2, 3]), np.array([1.0, 2, 3])]


def test_the_aggregates_of_rliable():
    assert interquartile_mean(np.concatenate(RLIABLE_FIRST)) == 1.5
    assert interquartile_mean(np.concatenate(RLIABLE_SECOND)) == 2
    assert probability_of_improvement(RLIABLE_FIRST, RLIABLE_SECOND) == pytest.approx(1 / 3, abs=1e-15)


def test_the_interquartile_mean_trims_whole_scores_as_scipy_does():
    # 7 scores: floor(7 / 4) = 1 from each side; the textbook takes 1.75 from each side: 16.5 / 3.5
    assert interquartile_mean(np.array([0.0, 0, 3, 6, 6, 6, 100])) == pytest.approx(21 / 5)


@pytest.mark.parametrize(
    ("first", "second", "by_hand"), [([2, 3], [0, 1], 1.0), ([1, 3], [2], 0.5), ([1], [1], 0.5), ([0, 1], [1, 1], 0.25)]
)
def test_superiority_matches_counting_by_hand(first, second, by_hand):
    assert probability_of_superiority(np.array(first), np.array(second)) == by_hand


def test_superiority_refuses_a_run_without_a_score():
    with pytest.raises(ValueError, match="`second` .* 1 not finite"):
        probability_of_superiority(np.array([0.9]), np.array([0.8, np.nan]))


def test_the_optimality_gap_is_the_mean_shortfall():
    assert optimality_gap(np.array([0.5, 1.0, 2.0, 0.9])) == pytest.approx(0.6 / 4)


def forty_cells(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(task, 0.1, 10) for task in (0.0, 1.0, 2.0, 3.0)]


def test_the_stratified_bootstrap_keeps_the_tasks_and_resamples_the_runs():
    tasks = forty_cells()
    found = pooled_interval(lambda cells: cells.mean(axis=-1), tasks, rng=np.random.default_rng(1))
    # known limit: variance of a mean of task means, with n instead of n - 1 inside each task
    error = np.sqrt(sum(np.var(task) / task.size for task in tasks)) / len(tasks)
    assert found.high - found.low == pytest.approx(2 * 1.959964 * error, rel=0.04)  # of 10 000 samples
    assert found.low < found.value < found.high
    assert "n = 40" in found.label


def test_the_bootstrap_is_reproducible_and_blind_to_the_order_of_runs():
    tasks = forty_cells()
    turned = [task[::-1] for task in tasks]
    found = [pooled_interval(interquartile_mean, t, rng=np.random.default_rng(1)) for t in (tasks, turned)]
    assert found[0] == found[1]
    other = pooled_interval(interquartile_mean, tasks, rng=np.random.default_rng(2))
    assert (other.low, other.high) != (found[0].low, found[0].high)


def test_the_interval_of_improvement_holds_its_estimate_and_covers_one_half_for_equals():
    first, second = forty_cells(0), forty_cells(1)
    found = probability_of_improvement_interval(first, second, rng=np.random.default_rng(3))
    assert found.value == probability_of_improvement(first, second)
    assert found.low < 0.5 < found.high
    far = probability_of_improvement_interval([t + 1 for t in first], second, rng=np.random.default_rng(3))
    assert (far.low, far.value, far.high) == (1, 1, 1)


def test_the_profile_is_the_share_of_cells_above_each_threshold():
    tasks = [np.array([0.1, 0.5, 0.9]), np.array([0.5, 0.7, 0.8])]
    found = performance_profile(tasks, thresholds=np.array([0.0, 0.5, 0.85]), rng=np.random.default_rng(0))
    assert found.share == pytest.approx([1, 3 / 6, 1 / 6])
    assert np.all(found.low <= found.share)
    assert np.all(found.share <= found.high)
    assert "pointwise" in found.label


# --- tuning budget --------------------------------------------------------------------------------------------------


def test_the_budget_curve_is_unbiased_where_dodges_is_low():
    curve = budget_curve(np.array([0.90, 0.92, 0.88, 0.95, 0.91]), higher_is_better=True)  # R8
    assert curve[[1, 4]] == pytest.approx([0.928, 0.950], abs=1e-12)
    dodge_at_2, dodge_at_5 = 0.9248, 0.939283  # with replacement, published
    assert curve[1] > dodge_at_2 + 0.003
    assert curve[4] > dodge_at_5 + 0.01


def test_the_budget_curve_starts_at_the_mean_and_turns_around_for_losses():
    losses = np.array([3.0, 1.0, 2.0])
    assert budget_curve(losses, higher_is_better=False) == pytest.approx([2, (1 + 1 + 2) / 3, 1])  # best of each pair


# --- stored predictions ---------------------------------------------------------------------------------------------


def test_mcnemar_has_the_published_p():
    assert mcnemar_p(121, 59) == pytest.approx(4.43445e-06, rel=1e-5)
    assert mcnemar_p(0, 0) == 1


def test_agreement_counts_by_hand():
    first = [[2, 1, 0], [0, 3, 1], [1, 0, 9], [5, 0, 0]]  # answers 0 1 2 0
    second = [[2, 1, 0], [4, 3, 1], [9, 0, 1], [0, 0, 5]]  # answers 0 0 0 2
    found = agreement(first, second, labels=[0, 1, 1, 2])
    counts = found.n_both_right, found.n_only_first_right, found.n_only_second_right, found.n_both_wrong
    assert counts == (1, 1, 1, 1)
    assert found.same_answer.value == 0.25
    assert found.sampling_error == pytest.approx(np.sqrt(0.5 / 4))
    assert found.p_mcnemar == 1


def test_five_percent_disagreement_on_ten_thousand_examples_is_a_fifth_of_a_point():
    right = np.eye(2)[np.ones(10_000, dtype=int)]
    first, second = right.copy(), right.copy()
    first[:250], second[250:500] = 1 - right[:250], 1 - right[250:500]
    found = agreement(first, second, labels=np.ones(10_000, dtype=int))
    assert found.sampling_error == pytest.approx(0.0022, abs=5e-5)  # protocol: 0.22 pp


def test_the_crossed_error_by_hand():
    first, second = np.array([[1, 0], [0, 0], [1, 1]]), np.zeros((3, 2))
    found = crossed_error(first, second)
    # s_d^2 = 1/4 over seeds, s^2(D_i) = 1/18 over examples, MS_int = 1/6: 1/12 + 1/36 - 1/36
    assert found.standard_error == pytest.approx(np.sqrt(1 / 12))
    assert found.mean_difference == 0.5


def test_only_the_crossed_interval_covers_the_difference_on_new_data():
    rng, crossed, seeds_only = np.random.default_rng(4), 0, 0
    for _ in range(400):
        hard = np.clip(rng.normal(0.15, 0.15, 250), 0, 1)  # chance that A errs on each example of this test set
        other = np.clip(hard + rng.normal(0.0, 0.15, 250), 0, 1)
        first, second = rng.random((6, 250)) > hard, rng.random((6, 250)) > other
        truth = TRUE_DIFFERENCE
        means, error = (first.mean(axis=1), second.mean(axis=1)), crossed_error(first, second)
        wide = verdict(*means, margin=None, higher_is_better=True, n_planned=6, new_data=error).ci95
        narrow = mean_interval(means[0] - means[1])
        crossed += wide[0] <= truth <= wide[1]
        seeds_only += narrow.low <= truth <= narrow.high
    assert crossed / 400 == pytest.approx(0.95, abs=0.035)  # 3 standard errors
    assert seeds_only / 400 < crossed / 400 - 0.04


def _true_difference():
    rng = np.random.default_rng(40)
    hard = np.clip(rng.normal(0.15, 0.15, 4_000_000), 0, 1)
    return float(np.mean(np.clip(hard + rng.normal(0.0, 0.15, hard.size), 0, 1) - hard))


TRUE_DIFFERENCE = _true_difference()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crossed_error(np.ones((2, 5)), np.ones((2, 5))), r"n_seeds >= 3.* but got \(2, 5\)"),
        (lambda: crossed_error(np.full((3, 5), 2), np.ones((3, 5))), "`first_correct` must hold 0 and 1 only"),
        (lambda: agreement([[1.0, np.nan]], [[1.0, 0.0]], labels=[0]), "logits must be finite"),
        (lambda: agreement([[1.0, 2.0]], [[1.0, 0.0]], labels=[0, 1]), r"labels \(n_examples,\), but got"),
        (lambda: mcnemar_p(-1, 2), "counts must not be negative, but got -1 and 2"),
    ],
)
def test_what_cannot_be_computed_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
