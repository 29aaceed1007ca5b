"""Seeds needed and exact power, against PASS (R4) and the protocol's table.

R1 ... R8 and "protocol": the plan of these statistics; its figures were published or computed apart from this code.
"""

import numpy as np
import pytest

from experiments.statistics.power import equivalence_power, pairs_for_difference, pairs_for_equivalence, tost_power


@pytest.mark.parametrize(("n", "power"), [(3, 0.0386), (8, 0.28871), (15, 0.69339), (30, 0.94326), (50, 0.99458)])
def test_the_power_of_two_groups_is_that_of_pass(n, power):
    found = tost_power(
        standard_error=18 * (2 / n) ** 0.5, degrees_of_freedom=2 * n - 2, margin=19.2, true_difference=-4
    )
    assert found == pytest.approx(power, abs=1e-4 if n == 3 else 1e-5)  # digits printed by PASS


@pytest.mark.parametrize(
    ("ratio", "for_80", "for_90", "quarter", "half"),
    [
        (0.25, 139, 175, 181, 398),
        (0.50, 36, 45, 47, 101),
        (0.75, 17, 21, 22, 46),
        (1.00, 11, 13, 13, 27),
        (1.50, 6, 7, 7, 13),
        (2.00, 4, 5, 5, 8),
    ],
)
def test_the_seeds_needed_are_those_of_the_protocols_table(ratio, for_80, for_90, quarter, half):
    plan = {"margin": ratio * 0.2, "sd": 0.2}
    assert pairs_for_equivalence(**plan) == for_80
    assert pairs_for_equivalence(**plan, power=0.9) == for_90
    assert pairs_for_equivalence(**plan, true_difference=ratio * 0.2 / 4) == quarter
    assert pairs_for_equivalence(**plan, true_difference=ratio * 0.2 / 2) == half


@pytest.mark.parametrize(("effect", "n", "strict"), [(0.2, 199, 296), (0.5, 34, 51), (0.8, 15, 22), (1.0, 10, 16)])
def test_the_seeds_that_a_difference_needs_are_those_of_other_programs(effect, n, strict):
    """G*Power 3.1, t test of matched pairs, two-tailed, level .05, power .8."""
    assert pairs_for_difference(difference=effect * 0.2, sd=0.2) == n
    assert pairs_for_difference(difference=-effect * 0.2, sd=0.2) == n
    assert pairs_for_difference(difference=effect, sd=1.0, alpha=0.01) == strict  # statsmodels 0.15.0, TTestPower


def test_a_difference_beyond_any_doubt_needs_the_fewest_seeds():
    assert pairs_for_difference(difference=1e9, sd=1e-9) == 3


def test_the_exact_count_is_one_above_the_normal_approximation():
    assert pairs_for_equivalence(margin=0.3, sd=1.0) == 97  # PASS: 96 by the approximation


def test_simulated_equivalence_tests_succeed_as_often_as_the_power_says():
    rng = np.random.default_rng(5)
    differences = rng.normal(0.25, 1.0, size=(20_000, 12))
    half_width = 1.795885 * differences.std(axis=1, ddof=1) / 12**0.5  # printed table: t(.95, 11)
    rate = np.mean(np.abs(differences.mean(axis=1)) + half_width < 1.0)
    exact = equivalence_power(12, margin=1.0, sd=1.0, true_difference=0.25)
    assert rate == pytest.approx(exact, abs=0.01)  # 3 standard errors


def test_more_claims_need_more_seeds():
    assert pairs_for_equivalence(margin=1, sd=1, alpha=0.01) > pairs_for_equivalence(margin=1, sd=1, alpha=0.05)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pairs_for_equivalence(margin=0.2, sd=1, true_difference=0.2), r"`\|true_difference\| < margin`"),
        (lambda: pairs_for_difference(difference=0.0, sd=1), r"`difference > 0` must hold, but got 0.0"),
        (lambda: pairs_for_equivalence(margin=0.2, sd=0.0), r"`sd > 0` must hold, but got 0.0"),
    ],
)
def test_a_plan_that_has_no_answer_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
