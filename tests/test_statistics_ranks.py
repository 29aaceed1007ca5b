"""Rank tests over tasks, against Demsar 2006 (R1, R2), scipy, and the rule that seeds are no tasks.

R1 ... R8 and "protocol": the plan of these statistics; its figures were published or computed apart from this code.
"""

import numpy as np
import pytest
from scipy import stats

from experiments.statistics import holm, page_trend
from experiments.statistics.over_tasks import (
    RankComparison,
    TooFewTasks,
    cliques,
    compare_over_tasks,
    task_means,
    tasks_needed,
)
from experiments.statistics.ranks import (
    friedman,
    nemenyi_critical_difference,
    rank_difference_error,
    ranks_of,
    signed_rank,
)

# Demsar 2006, Table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets
DEMSAR = np.array(
    [.763, .768, .771, .798, .599, .591, .590, .569, .954, .971, .968, .967, .628, .661, .654, .657,
     .882, .888, .886, .898, .936, .931, .916, .931, .661, .668, .609, .685, .583, .583, .563, .625,
     .775, .838, .866, .875, 1, 1, 1, 1, .940, .962, .965, .962, .619, .666, .614, .669,
     .972, .981, .975, .975, .957, .978, .946, .970]
).reshape(14, 4)  # fmt: skip
PUBLISHED_RANKS = np.array([3.143, 2.000, 2.893, 1.964])
METHODS = ("C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf")


def test_the_published_ranks_give_the_published_tests():
    exact_ranks = np.array([44, 28, 40.5, 27.5]) / 14  # 3.143 2.000 2.893 1.964, unrounded
    assert exact_ranks == pytest.approx(PUBLISHED_RANKS, abs=5e-4)
    found = friedman(exact_ranks, n_tasks=14)
    assert (found.chi_square, found.p_chi_square) == pytest.approx((9.2786, 0.025807), abs=5e-5)
    assert (found.f_statistic, found.p) == pytest.approx((3.6863, 0.019823), abs=5e-5)


def test_the_printed_table_gives_other_ranks_as_it_was_rounded():
    ranks = ranks_of(DEMSAR, higher_is_better=True).mean(axis=0)
    assert ranks == pytest.approx([3.1429, 2.0000, 2.9286, 1.9286], abs=5e-5)
    found = friedman(ranks, n_tasks=14)
    assert (found.chi_square, found.f_statistic) == pytest.approx((9.8571, 3.9867), abs=5e-5)


def test_the_tie_correction_alone_separates_us_from_scipy():
    ranks = ranks_of(DEMSAR, higher_is_better=True)
    ties = sum(np.sum(counts**3 - counts) for counts in (np.unique(row, return_counts=True)[1] for row in ranks))
    corrected = friedman(ranks.mean(axis=0), n_tasks=14).chi_square / (1 - ties / (14 * 4 * 15))
    assert corrected == pytest.approx(10.9524, abs=5e-5)  # R1
    assert corrected == pytest.approx(stats.friedmanchisquare(*DEMSAR.T).statistic, abs=1e-9)


def test_the_critical_differences_of_nemenyi():
    assert nemenyi_critical_difference(4, n_tasks=14) == pytest.approx(1.25356, abs=5e-6)
    assert nemenyi_critical_difference(4, n_tasks=14, alpha=0.10) == pytest.approx(1.11806, abs=5e-6)
    assert nemenyi_critical_difference(5, n_tasks=4) == pytest.approx(3.05, abs=5e-3)
    assert nemenyi_critical_difference(5, n_tasks=8) == pytest.approx(2.16, abs=5e-3)


def test_bonferroni_dunn_and_nemenyis_p_follow_from_the_rank_error():
    error = rank_difference_error(4, n_tasks=14)
    assert stats.norm.ppf(1 - 0.05 / 6) * error == pytest.approx(1.1681, abs=5e-5)
    p = stats.studentized_range.sf((44 - 28) / 14 / error * np.sqrt(2), 4, np.inf)
    assert p == pytest.approx(0.0887, abs=5e-5)


def test_holm_against_the_control_rejects_the_first_two():
    z = (44 - np.array([27.5, 28, 40.5])) / 14 / rank_difference_error(4, n_tasks=14)
    assert z == pytest.approx([2.4154, 2.3422, 0.5123], abs=5e-5)
    p = 2 * stats.norm.sf(z)
    assert p == pytest.approx([0.01572, 0.01917, 0.60841], abs=5e-6)
    assert holm(p) == pytest.approx([0.04716, 0.04716, 0.60841], abs=5e-6)


def test_the_signed_ranks_of_demsar_with_split_zeros():
    found = signed_rank(DEMSAR[:, 1], DEMSAR[:, 0], method="asymptotic")
    assert (found.rank_sum_plus, found.rank_sum_minus, found.statistic) == (93, 12, 12)
    assert found.p == pytest.approx(0.010968, abs=5e-7)


def test_float_noise_does_not_break_ties():
    assert 0.3 - 0.2 != 0.2 - 0.1  # the trap is there
    found = signed_rank(np.array([0.3, 0.1, 0.9]), np.array([0.2, 0.2, 0.1]))
    assert (found.rank_sum_plus, found.rank_sum_minus) == (4.5, 1.5)
    rows = np.array([[0.1 + 0.2, 0.3, 0.5]])
    assert ranks_of(rows, higher_is_better=True).tolist() == [[2.5, 2.5, 1]]


def test_darwins_plants_have_the_exact_p_of_scipys_documentation():
    darwin = np.array([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75.0])
    found = signed_rank(darwin, np.zeros(15))
    assert (found.statistic, found.p) == (24, 0.041259765625)


@pytest.mark.parametrize("n", [6, 12, 30, 60])  # scipy's automatic choice switches within this range
def test_the_exact_p_is_exact_at_any_n(n):
    rng = np.random.default_rng(n)
    first, second = rng.normal(0.3, 1, n), rng.normal(size=n)
    assert signed_rank(first, second).p == pytest.approx(stats.wilcoxon(first, second, method="exact").pvalue, rel=1e-9)


def test_the_exact_p_with_ties_counts_sign_patterns():
    found = signed_rank(np.array([1.0, 1, 1, 1, 1, 0]), np.zeros(6))  # 5 equal differences and a zero
    assert found.p == 2 * 1 / 2**5
    many_zeros = signed_rank(np.array([0.0] * 5 + [1, 2, 3, 4, 5, 6]), np.zeros(11))
    assert many_zeros.p == 2 * 1 / 2**6


def test_a_diverged_method_is_ranked_last_and_loses_its_pair():
    scores = np.array([[0.9, np.nan, 0.8], [np.nan, 0.7, np.nan]])
    assert ranks_of(scores, higher_is_better=True).tolist() == [[1, 3, 2], [2.5, 1, 2.5]]
    assert ranks_of(scores, higher_is_better=False).tolist() == [[2, 3, 1], [2.5, 1, 2.5]]
    found = signed_rank(np.array([0.9, np.nan, 0.5]), np.array([np.nan, np.nan, 0.6]))
    assert (found.rank_sum_plus, found.rank_sum_minus) == (3.5, 2.5)  # inf, 0 split, -.1


@pytest.mark.parametrize(("methods", "tasks"), [(2, 6), (3, 7), (4, 8), (5, 9), (6, 10), (8, 11)])
def test_fewer_tasks_than_can_ever_decide_are_suppressed(methods, tasks):
    assert tasks_needed(methods) == tasks
    scores = np.random.default_rng(0).normal(size=(tasks, methods))
    names = [f"m{i}" for i in range(methods)], [f"t{i}" for i in range(tasks)]
    enough = compare_over_tasks(scores, methods=names[0], tasks=names[1], higher_is_better=True)
    few = compare_over_tasks(scores[1:], methods=names[0], tasks=names[1][1:], higher_is_better=True)
    assert isinstance(enough, RankComparison)
    assert isinstance(few, TooFewTasks)
    assert few.n_tasks_needed == tasks


def test_four_tasks_say_what_they_cannot_support():
    found = compare_over_tasks(DEMSAR[:4], methods=METHODS, tasks="abcd", higher_is_better=True)
    assert found.sentence == (
        "4 tasks cannot support a claim about new tasks; shown: evidence on these 4. At least 8 tasks would be needed."
    )


def test_rows_of_seeds_cannot_pose_as_tasks():
    with pytest.raises(ValueError, match=r"`tasks` must be distinct, but got \['mnist'\] twice: average the seeds"):
        compare_over_tasks(DEMSAR[:3], methods=METHODS, tasks=["mnist", "digits", "mnist"], higher_is_better=True)


def test_rows_of_seeds_raise_false_alarms_and_rows_of_tasks_do_not():
    rng = np.random.default_rng(1)
    effects = rng.normal(size=(300, 4, 1, 5))  # reports, tasks, 1, methods: which is best depends on the task
    runs = effects + 0.5 * rng.normal(size=(300, 4, 10, 5))
    as_rows = [friedman(ranks_of(r.reshape(40, 5), higher_is_better=True).mean(axis=0), n_tasks=40).p for r in runs]
    as_tasks = [friedman(ranks_of(r.mean(axis=1), higher_is_better=True).mean(axis=0), n_tasks=4).p for r in runs]
    assert np.mean(np.array(as_rows) < 0.05) > 0.7  # protocol: 84 %
    assert np.mean(np.array(as_tasks) < 0.05) < 0.09  # protocol: 4 %; 3 standard errors above 5 %


def test_seeds_are_averaged_and_a_diverged_one_marks_its_method():
    runs = {"mnist": {"sgd": [1.0, 3.0], "adam": {0: 4.0, 1: 6.0}}, "digits": {"adam": [1.0], "sgd": [2.0, np.nan]}}
    found = task_means(runs)
    assert found[0].tolist() == [2, 5]
    assert np.isnan(found[1, 0])
    assert found[1, 1] == 1
    with pytest.raises(ValueError, match=r"must hold \['a'\], but 'y' holds \['b'\]"):
        task_means({"x": {"a": [1.0]}, "y": {"b": [1.0]}})


def test_a_method_better_on_every_task_is_told_apart_and_leaves_the_clique():
    rng = np.random.default_rng(2)
    scores = np.column_stack([rng.normal(0, 1, 9), rng.normal(0, 1, 9), rng.normal(10, 1, 9)])
    found = compare_over_tasks(scores, methods=["sgd", "adam", "best"], tasks="abcdefghi", higher_is_better=True)
    assert [(p.first, p.second, p.better) for p in found.pairs] == [
        ("sgd", "adam", None), ("sgd", "best", "best"), ("adam", "best", "best")]  # fmt: skip
    assert found.pairs[1].p == 2**-8
    assert found.pairs[1].p_holm == 3 * 2**-8
    assert [set(clique) for clique in found.cliques] == [{"sgd", "adam"}]
    turned = compare_over_tasks(-scores, methods=["sgd", "adam", "best"], tasks="abcdefghi", higher_is_better=False)
    assert turned == found


def test_cliques_are_the_longest_runs_without_a_decision():
    decided = {frozenset("ac"), frozenset("ad"), frozenset("bd")}
    assert cliques("abcd", decided=decided) == (("a", "b"), ("b", "c"), ("c", "d"))
    assert cliques("abcd", decided=set()) == (("a", "b", "c", "d"),)
    assert cliques("ab", decided={frozenset("ab")}) == ()


def test_complete_agreement_has_a_finite_p():
    found = friedman([1, 2, 3], n_tasks=5)
    assert (found.f_statistic, found.p) == (np.inf, 6.0**-4)


def test_pages_trend_is_that_of_scipys_documentation():
    ratings = [[3, 4, 3], [2, 2, 4], [3, 3, 5], [1, 3, 2], [2, 3, 2], [2, 4, 5], [1, 2, 4], [3, 4, 4], [2, 4, 5],
               [1, 3, 4]]  # fmt: skip
    assert page_trend(np.array(ratings, dtype=float)) == pytest.approx((133.5, 0.00181912), abs=5e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: friedman([1.0, 1.0, 1.0], n_tasks=5), r"ranks that sum to k \(k \+ 1\) / 2 must hold"),
        (lambda: page_trend(np.ones((1, 3))), r"n_seeds >= 2, n_doses >= 3\), but got shape \(1, 3\)"),
        (lambda: signed_rank(np.ones(3), np.ones(4)), r"but got \(3,\) and \(4,\)"),
        (lambda: ranks_of(np.ones(3), higher_is_better=True), r"but got shape \(3,\)"),
        (lambda: tasks_needed(1), "`n_methods >= 2` must hold, but got 1"),
    ],
)
def test_input_of_another_shape_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
