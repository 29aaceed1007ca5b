"""Times: to the target with censoring (R6, R8), and the ratios of interleaved processes.

R1 ... R8 and "protocol": the plan of these statistics; its figures were published or computed apart from this code.
"""

import numpy as np
import pytest
from scipy import stats

from experiments.statistics import compare_speed
from experiments.statistics.survival import (
    TargetTimes,
    algoperf_scores,
    dolan_more_profile,
    kaplan_meier,
    log_rank,
    median_best,
    restricted_mean,
    restricted_mean_difference,
    time_ratios,
    time_to_target,
)


def arm(text):
    """Freireich's notation: '6+' is a time at which observation ended."""
    entries = text.split(",")
    return TargetTimes(
        np.array([float(e.rstrip("+")) for e in entries]), np.array([not e.endswith("+") for e in entries])
    )


TREATED = arm("6,6,6,6+,7,9+,10,10+,11+,13,16,17+,19+,20+,22,23,25+,32+,32+,34+,35+")  # R6
PLACEBO = arm("1,1,2,2,3,4,4,5,5,8,8,8,8,11,11,12,12,15,17,22,23")


def test_the_survival_curve_of_freireich():
    found = kaplan_meier(TREATED)
    assert found.times.tolist() == [6, 7, 10, 13, 16, 22, 23]
    published = [0.857143, 0.806723, 0.752941, 0.690196, 0.627451, 0.537815, 0.448179]
    assert found.survival == pytest.approx(published, abs=5e-7)
    assert found.median == 23


def test_the_band_of_the_curve_is_that_of_scipy():
    data = stats.CensoredData.right_censored(TREATED.times, ~TREATED.reached)
    outside = stats.ecdf(data).sf.confidence_interval(method="log-log")
    found = kaplan_meier(TREATED)
    assert found.low == pytest.approx(outside.low.evaluate(found.times), abs=1e-9)
    assert found.high == pytest.approx(outside.high.evaluate(found.times), abs=1e-9)


def test_a_curve_that_reaches_zero_has_no_nan():
    found = kaplan_meier(PLACEBO)
    assert found.survival[-1] == 0
    assert np.isfinite(found.low).all()
    assert np.isfinite(found.high).all()


def test_a_median_that_was_not_reached_is_none():
    assert kaplan_meier(arm("1,5+,5+,5+")).median is None
    assert kaplan_meier(arm("5+,5+")).survival.size == 0


def test_the_log_rank_test_of_freireich():
    assert log_rank(TREATED, PLACEBO) == pytest.approx((16.792941, 4.1688e-05), rel=1e-5)
    assert log_rank(arm("5+,5+"), arm("5+,5+")) is None


def test_the_restricted_means_of_freireich():
    difference = restricted_mean_difference(TREATED, PLACEBO, horizon=20)
    assert restricted_mean(TREATED, horizon=20).value == pytest.approx(16.1165, abs=5e-5)
    assert restricted_mean(PLACEBO, horizon=20).value == pytest.approx(8.4286, abs=5e-5)
    assert (difference.value, difference.low, difference.high) == pytest.approx((7.688, 4.196, 11.180), abs=5e-4)
    assert restricted_mean(TREATED, horizon=23).value == pytest.approx(17.9092, abs=5e-5)
    assert restricted_mean(PLACEBO, horizon=23).value == pytest.approx(8.6667, abs=5e-5)


def test_without_censoring_the_restricted_mean_is_the_mean():
    found = restricted_mean(arm("1,2,3,6"), horizon=10)
    assert found.value == 3
    assert (found.high - found.value) / 1.959964 == pytest.approx(np.sqrt(14 / 4) / 2, abs=1e-5)  # sd (n) / sqrt(n)


def test_a_horizon_beyond_the_censored_runs_is_refused():
    with pytest.raises(ValueError, match="`horizon <= last observed time` must hold with censored runs, but got 40"):
        restricted_mean(TREATED, horizon=40)


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        ([0.5, 0.9, 0.92, 0.93], (20.0, True)),
        ([0.9, 0.5, 0.9, 0.9], (30.0, True)),  # the first time was not confirmed
        ([0.5, 0.6, 0.7, 0.95], (40.0, False)),  # nothing comes after the last evaluation
        ([0.5, np.nan, 0.9, np.nan], (40.0, False)),
    ],
)
def test_the_target_counts_once_the_next_evaluation_confirms_it(scores, found):
    times = np.array([10.0, 20, 30, 40])
    assert time_to_target(times, np.array(scores), target=0.9, higher_is_better=True, budget=40) == found
    mirrored = time_to_target(times, -np.array(scores), target=-0.9, higher_is_better=False, budget=40)
    assert mirrored == found


# --- several tasks --------------------------------------------------------------------------------------------------

TIMES = np.array([[100, 200, 300, np.inf], [120, 160, np.inf, 80], [250, 900, 310, 400]])  # R8


def test_the_algoperf_scores():
    assert algoperf_scores(TIMES) == pytest.approx([0.729167, 0.733333, 0.372222], abs=5e-7)


def test_the_score_is_the_area_under_the_profile():
    ratios = np.linspace(1, 4, 300_001)
    profile = dolan_more_profile(TIMES, ratios=ratios)
    area = np.trapezoid(profile, ratios, axis=1) / 3
    assert algoperf_scores(TIMES) == pytest.approx(area, abs=1e-4)  # steps of 1e-5
    assert dolan_more_profile(TIMES, ratios=np.array([1.0]))[:, 0].tolist() == [0.5, 0.5, 0]


def test_a_task_that_nobody_solved_counts_against_all():
    assert time_ratios(np.array([[np.inf], [np.inf]])).tolist() == [[np.inf], [np.inf]]
    assert algoperf_scores(np.array([[np.inf], [np.inf]])).tolist() == [0, 0]


def test_a_miss_takes_part_in_the_median_over_studies():
    assert median_best([[3.0, 2.0], [np.inf, np.inf], [4.0, 9.0]]) == 4
    assert median_best([[1.0], [np.inf], [np.inf]]) == np.inf
    assert median_best([[1.0], [2.0]]) == 1.5


# --- ratios ---------------------------------------------------------------------------------------------------------


def blocks(logs):
    """Times of A, and of B with these logs of ratios."""
    first = np.random.default_rng(9).uniform(0.01, 0.02, len(logs))
    return first, first * np.exp(logs)


def compared(first, second, **settings):
    return compare_speed(first, second, **{"margin": 0.05, "n_planned": 10} | settings)


def spread(center, half_width, n=10):
    noise = np.random.default_rng(1).normal(size=n)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    return center + noise * half_width * np.sqrt(n) / 2.262157  # printed table: t(.975, 9)


def test_the_speed_sentence_of_the_protocol():
    logs = spread(np.log(1.102), np.log(1.115 / 1.102))
    found = compared(*blocks(logs), names=("Lightning", "Keras"), conditions="CPU 2 threads")
    assert found.id == "A_better_practical"
    assert found.ratio == pytest.approx(1.102)
    assert found.sentence == (
        "Keras is 10.2 % slower per step [8.9, 11.5] (95 % CI, 10 interleaved process pairs, CPU 2 threads); "
        "the whole interval exceeds the 5 % margin."
    )


def test_swapping_the_arms_inverts_the_ratio_and_names_the_same_slower_arm():
    first, second = blocks(spread(np.log(1.102), np.log(1.115 / 1.102)))
    there, back = compared(first, second), compared(second, first, names=("B", "A"))
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert back.p_difference == pytest.approx(there.p_difference)
    assert back.sentence == there.sentence
    assert (there.id, back.id) == ("A_better_practical", "B_better_practical")


@pytest.mark.parametrize(
    ("center", "half_width", "outcome", "words"),
    [
        (0.001, 0.01, "equivalent", "Same speed per step within 5 % (TOST p ="),
        (0.02, 0.01, "equivalent_nonzero", "Same speed per step within 5 %"),
        (0.06, 0.03, "A_better", "B is 6.2 % slower per step [3.0, 9.4] (95 % CI"),
        (0.02, 0.20, "inconclusive", "No speed difference shown per step, and same speed within 5 % not shown either"),
    ],
)
def test_every_outcome_of_speed_has_its_sentence(center, half_width, outcome, words):
    found = compared(*blocks(spread(center, half_width)))
    assert found.id == outcome
    assert words in found.sentence


def test_the_margin_is_one_on_the_log_scale():
    # 1 / 1.05 = .9524, so that swapping the arms cannot change the verdict; 1 - .05 would be .95
    assert compared(*blocks(spread(np.log(0.9535), 0.0005))).id == "equivalent_nonzero"
    assert compared(*blocks(spread(np.log(0.9512), 0.0005))).id == "B_better_practical"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"disturbance": "the machine lost CPU time to others"}, "lost CPU time"),
        ({"largest_cv": 0.31}, "step times vary by 31 % within a block, above 30 %"),
        ({"largest_cv": float("nan")}, "step times vary"),
    ],
)
def test_a_disturbed_machine_gets_no_verdict(settings, words):
    found = compared(*blocks(spread(0.1, 0.01)), **settings)
    assert (found.id, found.ratio) == ("not_assessed", None)
    assert words in found.sentence


def test_two_blocks_get_no_verdict_and_equal_ratios_a_doubt():
    assert compared(*blocks([0.1, 0.2]), n_planned=4).sentence == (
        "Not assessed: 2 interleaved process pairs; at least 3 are needed for any interval, 4 are planned."
    )
    found = compared(np.ones(5), np.full(5, 1.5))
    assert (found.id, found.p_difference) == ("constant_difference", None)
    assert "check the clock" in found.sentence


def test_process_pairs_cover_and_steps_of_one_process_do_not():
    rng, by_process, by_step = np.random.default_rng(6), 0, 0
    for _ in range(400):  # process sd 3 %, step sd 5 %: the truth is a ratio of 1
        process = np.exp(rng.normal(0, 0.03, (2, 10)))
        found = compared(process[0], process[1])
        by_process += found.ci95[0] <= 1 <= found.ci95[1]
        logs = np.log(process[1, 0] / process[0, 0]) + rng.normal(0, 0.05 * np.sqrt(2), 500)
        by_step += abs(logs.mean()) < 1.96 * logs.std(ddof=1) / np.sqrt(500)
    assert by_process / 400 == pytest.approx(0.95, abs=0.033)  # 3 standard errors
    assert by_step / 400 < 0.2  # protocol: 12 %


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compared(np.ones(3), np.ones(4)), r"1-D of one length, but got \(3,\) and \(4,\)"),
        (lambda: compared(np.ones(3), np.zeros(3)), "`seconds > 0` must hold"),
        (lambda: time_ratios(np.array([[0.0, 1.0]])), r"all > 0, but got shape \(1, 2\)"),
        (lambda: median_best([[]]), r"at least 1 trial each, but got \[0\]"),
        (lambda: TargetTimes(np.array([1.0]), np.array([True, False])), r"one length, times >= 0, but got"),
        (
            lambda: time_to_target(np.array([2.0, 1.0]), np.ones(2), target=1, higher_is_better=True, budget=3),
            "`times` must rise",
        ),
    ],
)
def test_times_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
