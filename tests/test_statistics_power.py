"""Seeds needed and exact power, against PASS (R4), the protocol's tables and Noether's formula (R8).

R1 ... R8 and "protocol": the plan of these statistics; its figures were published or computed apart from this code.
"""

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from experiments.statistics import (
    difference_power,
    equivalence_power,
    pairs_for_difference,
    pairs_for_equivalence,
    runs_for_outperforming,
    smallest_provable_margin,
    tost_power,
)


@pytest.mark.parametrize(("n", "power"), [(3, 0.0386), (8, 0.28871), (15, 0.69339), (30, 0.94326), (50, 0.99458)])
def test_the_power_of_two_groups_is_that_of_pass(n, power):
    found = tost_power(
        standard_error=18 * (2 / n) ** 0.5, degrees_of_freedom=2 * n - 2, margin=19.2, true_difference=-4
    )
    assert found == pytest.approx(power, abs=1e-4 if n == 3 else 1e-5)  # digits printed by PASS


@pytest.mark.parametrize(
    ("ratio", "for_80", "for_90", "quarter", "half", "difference"),
    [
        (0.25, 139, 175, 181, 398, 128),
        (0.50, 36, 45, 47, 101, 34),
        (0.75, 17, 21, 22, 46, 16),
        (1.00, 11, 13, 13, 27, 10),
        (1.50, 6, 7, 7, 13, 6),
        (2.00, 4, 5, 5, 8, 5),
    ],
)
def test_the_seeds_needed_are_those_of_the_protocols_table(ratio, for_80, for_90, quarter, half, difference):
    plan = {"margin": ratio * 0.2, "sd": 0.2}
    assert pairs_for_equivalence(**plan) == for_80
    assert pairs_for_equivalence(**plan, power=0.9) == for_90
    assert pairs_for_equivalence(**plan, true_difference=ratio * 0.2 / 4) == quarter
    assert pairs_for_equivalence(**plan, true_difference=ratio * 0.2 / 2) == half
    assert pairs_for_difference(difference=ratio * 0.2, sd=0.2) == difference


def test_the_exact_count_is_one_above_the_normal_approximation():
    assert pairs_for_equivalence(margin=0.3, sd=1.0) == 97  # PASS: 96 by the approximation


@pytest.mark.parametrize(
    ("n", "ratio"), [(3, 2.66), (5, 1.61), (8, 1.16), (10, 1.01), (15, 0.80), (20, 0.68), (30, 0.55)]
)
def test_the_smallest_provable_margin_is_that_of_the_protocol(n, ratio):
    found = smallest_provable_margin(n, sd=0.2) / 0.2
    assert ratio - 0.01 < found <= ratio  # printed rounded up to two digits
    assert equivalence_power(n, margin=found, sd=1.0) == pytest.approx(0.8, abs=1e-9)  # what the root finder leaves


@pytest.mark.parametrize("n", [3, 10, 40])
@pytest.mark.parametrize("effect", [0.2, 0.6, 1.0])
def test_the_power_to_see_a_difference_is_that_of_statsmodels(n, effect):
    outside = TTestPower().power(effect_size=effect, nobs=n, alpha=0.05)
    assert difference_power(n, difference=-effect, sd=1.0) == pytest.approx(outside, abs=1e-8)


def test_simulated_equivalence_tests_succeed_as_often_as_the_power_says():
    rng = np.random.default_rng(5)
    differences = rng.normal(0.25, 1.0, size=(20_000, 12))
    half_width = 1.795885 * differences.std(axis=1, ddof=1) / 12**0.5  # printed table: t(.95, 11)
    rate = np.mean(np.abs(differences.mean(axis=1)) + half_width < 1.0)
    exact = equivalence_power(12, margin=1.0, sd=1.0, true_difference=0.25)
    assert rate == pytest.approx(exact, abs=0.01)  # 3 standard errors


@pytest.mark.parametrize(("probability", "n"), [(0.7, 46), (0.75, 29), (0.8, 21)])
def test_the_runs_for_outperforming_are_those_of_noether(probability, n):
    assert runs_for_outperforming(probability=probability) == n


def test_more_claims_need_more_seeds():
    assert pairs_for_equivalence(margin=1, sd=1, alpha=0.01) > pairs_for_equivalence(margin=1, sd=1, alpha=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairs_for_equivalence(margin=0.2, sd=1, true_difference=0.2), r"`\|true_difference\| < margin`"),
        (lambda: pairs_for_equivalence(margin=0.2, sd=0.0), r"`sd > 0` must hold, but got 0.0"),
        (lambda: pairs_for_difference(difference=0.0, sd=1.0), r"`absolute_difference > 0` must hold, but got 0.0"),
        (lambda: smallest_provable_margin(2, sd=1.0), r"`n_pairs_minus_2 > 0` must hold, but got 0"),
        (lambda: runs_for_outperforming(probability=0.5), r"`distance_from_one_half > 0` must hold"),
    ],
)
def test_a_plan_that_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
