"""The verdict: its ten outcomes, the reference cases R3, R8 of the protocol, its traps, and its error rates.

R1 ... R8 and "protocol": the plan of these statistics; its figures were published or computed apart from this code.
"""

import dataclasses
import json
import math

import numpy as np
import pytest

from experiments.statistics import control_outcome, crossed_error, details_of, score_failures, verdict, with_holm
from experiments.statistics.multiplicity import simultaneous_levels
from experiments.statistics.outcome import decide
from experiments.statistics.pairing import pair_by_seed

FIRST = np.array([98.12, 98.05, 98.20, 97.98, 98.11, 98.09, 98.15, 98.02, 98.18, 98.07])  # R8, percent
SECOND = np.array([98.08, 98.10, 98.12, 98.01, 98.05, 98.11, 98.09, 98.06, 98.12, 98.03])
BANNED = ("significant", "proves", "wins", "no difference between", "the same")


def points(first=FIRST, second=SECOND, **settings):
    given = {"margin": 0.2, "higher_is_better": True, "n_planned": 10, "unit": "pp", "metric": "accuracy"} | settings
    return verdict(first, second, **given)


def with_figures(*, mean, sd, n, seed=0):
    """Differences with exactly this mean and standard deviation, added to common scores."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    second = rng.normal(90, 1, size=n)
    return second + mean + sd * noise, second


def half_width_to_sd(half_width, *, n, t):
    return half_width * math.sqrt(n) / t


# t quantiles from printed tables: t(.975, 9) = 2.262157, t(.975, 4) = 2.776445
SD_10, SD_5 = half_width_to_sd(0.20, n=10, t=2.262157), half_width_to_sd(0.30, n=5, t=2.776445)


def statement(found):
    return found.sentence.split(": ", maxsplit=1)[1]


def test_the_demonstration_of_the_protocol_is_equivalent_with_its_printed_figures():
    found = points()
    assert found.id == "equivalent"
    assert found.mean_difference == pytest.approx(0.02, abs=1e-12)
    assert found.sd == pytest.approx(0.0492161, abs=1e-7)  # printed digits, as below
    assert found.ci95 == pytest.approx((-0.015207, 0.055207), abs=1e-6)
    assert found.ci90 == pytest.approx((-0.008530, 0.048530), abs=1e-6)
    assert found.correlation == pytest.approx(0.72953, abs=1e-5)
    assert found.p_equivalence == pytest.approx(5.2675e-07, rel=1e-4)
    assert statement(found) == (
        "Equivalent within ±0.2 pp (TOST p = 5e-07); difference +0.02 pp [90 % CI −0.01, +0.05]."
    )


def test_the_demonstration_shifted_by_thirty_points_is_better_beyond_the_margin():
    found = points(second=SECOND - 0.30)
    assert found.id == "A_better_practical"
    assert found.ci95 == pytest.approx((0.284793, 0.355207), abs=1e-6)
    assert statement(found) == (
        "A is better by 0.32 pp [0.28, 0.36] (95 % CI, 10 paired seeds); the whole interval exceeds the 0.2 pp margin."
    )


def test_the_toster_case_has_its_published_p_values_and_intervals():
    n, margin = 65, 0.350782  # R3: means 5.83 and 5.75, sd 1.17 and 1.29, r = .75
    sd = math.sqrt(1.17**2 + 1.29**2 - 2 * 0.75 * 1.17 * 1.29)
    found = verdict(*with_figures(mean=0.08, sd=sd, n=n), margin=margin, higher_is_better=True, n_planned=n)
    assert found.p_equivalence == pytest.approx(0.00770235, abs=1e-4)
    assert found.ci90 == pytest.approx((-0.1015433, 0.2615433), abs=1e-4)
    assert found.ci95 == pytest.approx((-0.1372988, 0.2972988), abs=1e-4)
    assert found.id == "equivalent"
    assert (found.mean_difference + margin) / found.standard_error == pytest.approx(3.960381, abs=1e-4)
    assert (found.mean_difference - margin) / found.standard_error == pytest.approx(-2.489426, abs=1e-4)


@pytest.mark.parametrize(
    ("mean", "sd", "n", "outcome", "said"),
    [
        (0.25, SD_10, 10, "A_better", "A is better by 0.25 pp [0.05, 0.45] (95 % CI, 10 paired seeds); whether by more "
         "than the 0.2 pp margin is not settled."),
        (-0.25, SD_10, 10, "B_better", "B is better by 0.25 pp [0.05, 0.45] (95 % CI, 10 paired seeds); whether by "
         "more than the 0.2 pp margin is not settled."),
        (-0.60, SD_10, 10, "B_better_practical", "B is better by 0.60 pp [0.40, 0.80] (95 % CI, 10 paired seeds); the "
         "whole interval exceeds the 0.2 pp margin."),
        (0.06, 0.05, 10, "equivalent_nonzero", "Equivalent within ±0.2 pp; a difference of 0.06 pp was detected but is "
         "smaller than the margin."),
        (0.10, SD_5, 5, "inconclusive", "No difference shown, and equivalence not shown either: +0.10 pp [95 % CI "
         "−0.20, +0.40]; n = 5. About 14 pairs would be needed to show equivalence at this spread if there is truly "
         "no difference."),
    ],
)  # fmt: skip
def test_every_row_of_the_table_prints_its_sentence(mean, sd, n, outcome, said):
    found = points(*with_figures(mean=mean, sd=sd, n=n))
    assert (found.id, statement(found)) == (outcome, said)


@pytest.mark.parametrize(
    ("difference", "equivalence", "outcome"),
    [
        ((0.21, 0.30), (0.22, 0.29), "A_better_practical"),
        ((-0.30, -0.21), (-0.29, -0.22), "B_better_practical"),
        ((0.20, 0.30), (0.21, 0.29), "A_better"),  # touching the margin is not beyond it
        ((-0.30, -0.01), (-0.29, -0.02), "B_better"),
        ((0.00, 0.10), (0.01, 0.09), "equivalent"),  # touching zero is not beyond it
        ((0.01, 0.10), (0.02, 0.09), "equivalent_nonzero"),
        ((-0.25, 0.15), (-0.20, 0.10), "inconclusive"),  # touching the margin is not inside it
        ((-0.15, 0.25), (-0.10, 0.20), "inconclusive"),
    ],
)
def test_the_outcome_is_read_off_the_two_intervals(difference, equivalence, outcome):
    assert decide(difference, equivalence, margin=0.2) == outcome


def test_two_pairs_are_refused_an_interval_and_three_are_not():
    found = points(FIRST[:2], SECOND[:2])
    assert (found.id, found.ci95, found.p_difference) == ("not_assessed", None, None)
    assert statement(found) == ("Not assessed: 2 paired runs; at least 3 are needed for any interval, 10 are planned.")
    assert points(FIRST[:1], SECOND[:1], n_planned=1).sentence == (
        "accuracy on this test set: Not assessed: 1 paired run; at least 3 are needed for any interval, 1 is planned."
    )
    assert points(FIRST[:3], SECOND[:3]).ci95 is not None


def test_identical_runs_get_no_p_value():
    found = points(FIRST, FIRST)
    assert (found.id, found.p_difference, found.p_equivalence) == ("identical", None, None)
    assert statement(found) == "Identical on all 10 seeds."


def test_a_constant_difference_is_printed_with_a_doubt_and_no_p_value():
    found = points(FIRST - 0.3, FIRST)
    assert (found.id, found.p_difference) == ("constant_difference", None)
    assert statement(found) == (
        "B is better by exactly 0.3 pp on all 10 seeds; a constant difference gets no p-value: check determinism."
    )


def test_without_a_margin_no_equivalence_is_claimed():
    close, apart = points(margin=None), points(second=SECOND - 0.3, margin=None)
    assert (close.id, close.p_equivalence, close.pairs_needed) == ("inconclusive", None, None)
    assert "No margin was declared" in close.sentence
    assert apart.id == "A_better"
    assert "no margin was declared" in apart.sentence


def test_a_fraction_shown_in_points_prints_as_points_do():
    fraction = points(FIRST / 100, SECOND / 100, margin=0.002, scale=100)
    assert fraction.sentence == points().sentence
    assert fraction.mean_difference == pytest.approx(0.0002, abs=1e-12)  # in the unit of the scores


def test_a_loss_prints_without_a_unit_and_lower_is_better():
    found = verdict(
        {0: 0.50, 1: 0.52, 2: 0.51, 3: 0.49},
        {0: 0.70, 1: 0.73, 2: 0.70, 3: 0.69},
        margin=0.05,
        higher_is_better=False,
        n_planned=4,
        names=("Lightning", "Keras"),
        metric="test loss",
    )
    assert found.id == "A_better_practical"
    assert found.mean_difference == pytest.approx(0.2, abs=1e-12)  # (.20 + .21 + .19 + .20) / 4
    assert found.sentence == (
        "loss on this test set: Lightning is better by 0.200 [0.187, 0.213] (95 % CI, 4 paired seeds); "
        "the whole interval exceeds the 0.05 margin."
    )  # .2 +- t(.975, 3) = 3.182446 * .00816497 / 2 = .2 +- .012992


def test_the_pairs_needed_are_those_of_the_power_table():
    scores = with_figures(mean=0.5, sd=1.0, n=10)
    assert points(*scores, margin=1.0).pairs_needed == 11  # margin / sd = 1, 80 % power


def test_an_inconclusive_verdict_with_enough_pairs_does_not_ask_for_fewer():
    found = points(*with_figures(mean=0.12, sd=0.2, n=14))
    assert (found.id, found.pairs_needed) == ("A_better", None)
    found = points(*with_figures(mean=0.11, sd=0.2, n=13), n_claims=1)
    assert (found.id, found.pairs_needed) == ("inconclusive", 11)
    assert "a true difference remains plausible" in found.sentence
    assert "would be needed" not in found.sentence


def test_a_rounded_bound_never_lands_on_zero_or_on_the_margin():
    found = points(*with_figures(mean=0.1503, sd=half_width_to_sd(0.15, n=10, t=2.262157), n=10))
    assert found.id == "A_better"
    assert "[0.0003, 0.3003] (" in found.sentence  # not [0.00, 0.30], which would contradict the words


def test_what_stands_beside_a_verdict_names_all_that_must_be_printed():
    text = details_of(points(names=("Lightning", "Keras")))
    for part in ("n = 10 paired seeds", "unit: pp", "margin: ±0.2 pp", "0/20 runs failed", "1 claim, no correction",
                 "pairing r = 0.73", "on this test set", "positive = Lightning better"):  # fmt: skip
        assert part in text
    assert "simultaneous over 4 claims, alpha divided by 3 looks" in details_of(points(n_claims=4, n_looks=3))


def test_pairing_that_brought_nothing_is_said():
    assert "pairing brought nothing" in details_of(points(second=SECOND[::-1]))
    assert "pairing brought nothing" not in details_of(points())


def test_every_sentence_is_free_of_the_banned_words():
    rng, seen = np.random.default_rng(7), set()
    for _ in range(600):
        n, shift, sd = int(rng.integers(2, 12)), rng.normal(0, 0.3), rng.choice([0.0, 0.05, 0.2, 0.6])
        first = rng.normal(90, 1, n)
        found = points(first, first + rng.choice([0.0, shift]) + rng.normal(0, sd, n))
        seen.add(found.id)
        assert not any(word in found.sentence.lower() for word in BANNED), found.sentence
    assert len(seen) == 10  # all outcomes took part


# --- traps of section 8 ---------------------------------------------------------------------------------------------


def test_float_noise_does_not_make_a_constant_difference_vary():
    first, second = np.array([0.3, 0.2, 0.9]), np.array([0.2, 0.1, 0.8])
    assert len(set(first - second)) > 1  # the trap is there
    assert verdict(first, second, margin=None, higher_is_better=True, n_planned=3).id == "constant_difference"


def test_a_margin_in_points_for_accuracies_as_fractions_is_refused():
    with pytest.raises(ValueError, match=r"half the observed range` must hold, but got 0.2 .*\(0.2 pp is 0.002\)"):
        points(FIRST / 100, SECOND / 100, bounds=(0, 1), scale=100)
    assert points(FIRST / 100, SECOND / 100, margin=0.002, bounds=(0, 1), scale=100).id == "equivalent"
    assert points(bounds=(0, 100)).id == "equivalent"  # 0.2 of 100, although the range of these scores is 0.22


def test_scores_outside_the_declared_bounds_are_refused():
    with pytest.raises(ValueError, match=r"must lie within `bounds` \(0, 1\), but got 97.98 to 98.2"):
        points(bounds=(0, 1))


def test_lower_is_better_is_the_mirror_of_higher_is_better():
    up, down = points(second=SECOND - 0.3), points(-FIRST, 0.3 - SECOND, higher_is_better=False)
    assert (down.id, down.ci95, down.p_difference) == (up.id, up.ci95, up.p_difference)


@pytest.mark.parametrize("n_claims", [1, 2, 5, 20])
def test_interval_sentence_and_p_values_agree_for_any_number_of_claims(n_claims):
    rng, seen = np.random.default_rng(n_claims), set()
    for _ in range(150):
        first = rng.normal(90, 1, 8)
        found = points(first, first + rng.normal(rng.choice([0, 0.1, 0.2, 0.5]), 0.12, 8), n_claims=n_claims)
        low, high = found.ci95
        seen.add(found.id)
        assert (low > 0.2, high < -0.2) == (found.id == "A_better_practical", found.id == "B_better_practical")
        assert (found.p_difference <= 0.05 / n_claims) == (low > 0 or high < 0)
        assert (found.p_equivalence <= 0.05 / n_claims) == (found.ci90[0] > -0.2 and found.ci90[1] < 0.2)
        assert found.id.startswith("equivalent") == (found.ci90[0] > -0.2 and found.ci90[1] < 0.2)
    assert len(seen) >= 4  # many outcomes took part


def test_more_claims_widen_both_intervals_to_simultaneous_levels():
    levels = simultaneous_levels(0.05, n_claims=5)
    assert (levels.difference, levels.equivalence) == pytest.approx((0.99, 0.98))
    half = points(n_claims=5).ci95[1] - 0.02
    assert half == pytest.approx(3.249836 * 0.0155635, abs=1e-6)  # printed table: t(.995, 9) = 3.249836
    assert "(99 % CI, simultaneous over 5 claims, 10 paired seeds)" in points(second=SECOND - 1, n_claims=5).sentence


def test_a_look_costs_as_much_as_a_claim():
    assert points(n_looks=3).ci95 == points(n_claims=3).ci95


def test_difference_and_equivalence_are_two_families_of_holm():
    verdicts = [points(second=SECOND - shift, n_claims=3) for shift in (0.0, 0.03, 0.3)]
    family = with_holm(verdicts)
    p = sorted(v.p_difference for v in family)
    assert [v.p_difference for v in family] == p[::-1]
    assert [v.p_difference_holm for v in family] == pytest.approx([p[2], 2 * p[1], 3 * p[0]])
    q = [v.p_equivalence for v in family]
    assert [v.p_equivalence_holm for v in family] == pytest.approx([3 * q[0], 2 * q[1], q[2]])


def test_holm_refuses_verdicts_made_for_another_family():
    with pytest.raises(ValueError, match=r"`n_claims == len\(family\)` must hold, but got \[1\] for 2"):
        with_holm([points(), points()])


def test_a_claim_without_p_keeps_its_place_in_the_family():
    family = with_holm([points(n_claims=2), points(FIRST, FIRST, n_claims=2)])
    assert family[0].p_equivalence_holm == pytest.approx(2 * family[0].p_equivalence)
    assert family[1].p_difference_holm is None


def test_a_missing_partner_does_not_shift_the_pairing():
    first = dict(enumerate(FIRST))
    second = {seed: score for seed, score in enumerate(SECOND) if seed != 3}
    found, kept = points(first, second), [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert found.seeds == tuple(kept)
    assert found.mean_difference == pytest.approx((0.2 + 0.03) / 9)  # sum of all ten is .2, that of seed 3 is -.03
    assert found.n_unpaired == 1
    assert found.sentence.startswith("1 run has no partner of the same seed; accuracy")


def test_arrays_of_different_length_are_not_paired():
    with pytest.raises(ValueError, match=r"`len\(first\) == len\(second\)` must hold, but got 10 and 9"):
        points(FIRST, SECOND[1:])


def test_failed_runs_stay_in_n_and_are_said_first():
    first = FIRST.copy()
    first[4] = np.nan
    scored, conditional = points(first, failure_score=10.0), points(first)
    assert (scored.n, scored.n_failed, scored.n_runs) == (10, 1, 20)
    assert scored.differences[4] == pytest.approx(10 - 98.05)
    assert scored.sentence.startswith("1/20 runs failed and are scored at chance level; ")
    assert (conditional.n, conditional.n_failed, conditional.n_runs) == (9, 1, 20)
    assert conditional.sentence.startswith("1/20 runs failed, so this is conditional on success; ")


def test_a_diverged_loss_counts_as_failed_too():
    scored = score_failures({0: 0.4, 1: math.inf, 2: math.nan}, chance_level=2.3)
    assert scored == {0: 0.4, 1: 2.3, 2: 2.3}


def test_arms_of_which_every_run_failed_are_not_called_equal():
    found = points([math.nan] * 4, [math.nan] * 4, failure_score=10.0)
    assert found.id == "not_assessed"
    assert statement(found) == "Not assessed: every run failed."


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"margin": 0.0}, r"`margin > 0` must hold, but got 0.0"),
        ({"alpha": 0.6}, r"`0 < twice_alpha < 1` must hold, but got 1.2"),
        ({"scale": -1.0}, r"`scale > 0` must hold, but got -1.0"),
        ({"n_claims": 0}, r"`n_claims > 0` must hold, but got 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        points(**settings)


def test_a_mapping_and_an_array_are_not_paired():
    with pytest.raises(ValueError, match="both map seeds to scores"):
        pair_by_seed(dict(enumerate(FIRST)), SECOND)


def test_a_verdict_is_plain_json_without_nan():
    for found in (points(), points(FIRST, FIRST), points(FIRST[:2], SECOND[:2])):
        text = json.dumps(dataclasses.asdict(found), allow_nan=False)
        assert json.loads(text)["id"] == found.id


# --- claims over several verdicts -----------------------------------------------------------------------------------


def test_the_control_is_repeated_once_and_then_condemns_the_report():
    good, bad = points(alpha=0.01), points(second=SECOND - 1, alpha=0.01)
    assert control_outcome([good]) == "passed"
    assert control_outcome([bad]) == "repeat"
    assert control_outcome([bad, good]) == "passed"
    assert control_outcome([bad, bad]) == "invalid"
    assert control_outcome([points(FIRST[:2], SECOND[:2], alpha=0.01)]) == "not_assessed"
    with pytest.raises(ValueError, match=r"`alpha <= 0.01` must hold, but got \[0.05\]"):
        control_outcome([points()])


def test_a_claim_about_new_data_is_wider_and_says_so():
    rng = np.random.default_rng(3)
    first, second = rng.random((10, 400)) < 0.93, rng.random((10, 400)) < 0.90
    error = crossed_error(first, second)
    here = points(first.mean(axis=1), second.mean(axis=1), margin=0.002, scale=100)
    there = points(first.mean(axis=1), second.mean(axis=1), margin=0.002, scale=100, new_data=error)
    assert there.standard_error == error.standard_error
    assert there.scope == "on new data from the same source"
    assert there.scope in there.sentence
    assert "10 paired seeds x 400 examples" in there.sentence
    assert there.mean_difference == here.mean_difference


def test_a_crossed_error_of_other_runs_is_refused():
    rng = np.random.default_rng(3)
    error = crossed_error(rng.random((10, 400)) < 0.9, rng.random((10, 400)) < 0.5)
    with pytest.raises(ValueError, match="must come from the same runs"):
        points(new_data=error)


# --- behaviour, simulated with fixed seeds --------------------------------------------------------------------------


def outcomes(n_reports, *, n, seed, shift=0.0, sd=1.0, correlation=0.0, **settings):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n_reports, n)) * math.sqrt(correlation)
    own = rng.normal(size=(2, n_reports, n)) * math.sqrt(1 - correlation)
    first, second = sd * (shared + own) + np.array([shift, 0.0])[:, np.newaxis, np.newaxis]
    given = {"margin": None, "higher_is_better": True, "n_planned": n} | settings
    return [verdict(a, b, **given) for a, b in zip(first, second, strict=True)]


def test_arms_that_do_not_differ_are_called_better_in_about_one_of_twenty():
    found = outcomes(5000, n=10, seed=11)
    rate = np.mean([v.shows_difference_in_favour_of is not None for v in found])
    assert 0.04 < rate <= 0.065  # 5 % +- 3 standard errors of .31 %; .065 is the protocol's bound


def test_a_true_difference_of_the_margin_is_called_equivalent_in_about_one_of_twenty():
    found = outcomes(4000, n=10, seed=12, shift=2.0, sd=math.sqrt(0.5), margin=2.0)  # margin = 2 sd of the differences
    rate = np.mean([v.id.startswith("equivalent") for v in found])
    assert 0.035 < rate < 0.065  # bounds of the protocol


def test_a_thousand_reports_of_an_arm_against_itself_seldom_say_better():
    found = outcomes(1000, n=10, seed=13, sd=0.2, correlation=0.5, margin=0.2)
    detected = [v.id not in ("equivalent", "inconclusive") for v in found]
    better = [v.shows_difference_in_favour_of is not None for v in found]
    assert np.mean(better) <= np.mean(detected) <= 0.065
    assert np.mean(detected) >= 0.03  # the test can see a difference at all
    control = outcomes(1000, n=10, seed=13, sd=0.2, correlation=0.5, margin=0.2, alpha=0.01)
    assert np.mean([control_outcome([v]) != "passed" for v in control]) <= 0.02


def test_ten_seeds_show_equivalence_as_often_as_was_measured_for_the_protocol():
    found = outcomes(1500, n=10, seed=14, sd=0.2 / math.sqrt(2), margin=0.2)  # sd of the differences = margin = .2
    assert np.mean([v.id.startswith("equivalent") for v in found]) == pytest.approx(0.79, abs=0.03)  # 3 standard errors


@pytest.mark.parametrize("seed", range(8))
def test_swapping_the_arms_flips_signs_and_keeps_p(seed):
    rng = np.random.default_rng(seed)
    first = rng.normal(90, 0.3, 7)
    second = first + rng.normal(0.1 * seed, 0.2, 7)
    there, back = points(first, second), points(second, first)
    assert back.mean_difference == -there.mean_difference
    assert back.ci95 == tuple(-bound for bound in reversed(there.ci95))
    assert back.ci90 == tuple(-bound for bound in reversed(there.ci90))
    assert (back.p_difference, back.p_equivalence) == (there.p_difference, there.p_equivalence)
    assert back.id.translate(str.maketrans("AB", "BA")) == there.id
    assert back.correlation == there.correlation


@pytest.mark.parametrize("seed", range(8))
def test_the_order_of_the_rows_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    scores = rng.normal(90, 0.3, (2, 9))
    order = rng.permutation(9)
    straight, rows = points(*scores), points(*scores[:, order])
    assert (rows.ci95, rows.ci90, rows.p_difference, rows.p_equivalence, rows.correlation, rows.sentence) == (
        straight.ci95, straight.ci90, straight.p_difference, straight.p_equivalence, straight.correlation,
        straight.sentence)  # fmt: skip
    by_seed = [{int(seed): arm[seed] for seed in order} for arm in scores]
    assert points(*by_seed) == straight
