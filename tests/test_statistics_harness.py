"""Beside a bare loop: which epochs are steady, what the harness takes beyond a bare loop, and what that forbids."""

import numpy as np
import pytest

from experiments.statistics import compare_speed, harness_share
from experiments.statistics.harness import warm_up_epochs

T_975_4 = 2.776445  # printed tables of Student's t, 4 degrees of freedom: 95 %
T_95_4 = 2.131847  # 90 %


@pytest.mark.parametrize(
    ("epochs", "left_out"),
    [
        ([3.0, 1.0], 1),
        ([1.0, 3.0, 1.0], 1),  # at most half
        ([10.0, 5, 1, 1, 1, 1], 2),  # sums of squares over (n - d)^2: 12.8 / 25, 0, 0
        ([9.0, 4, 2, 2.2, 1.8, 2], 2),  # 3.28 / 25, .08 / 16, .08 / 9
        ([9.0, 2, 2.2, 1.8, 2.2, 1.8], 1),  # .16 / 25, .16 / 16, .1067 / 9
        ([9.0, 6, 4, 2, 2, 2], 3),
        ([5.0, 5, 5, 5], 1),
    ],
)
def test_the_warm_up_is_what_the_rule_gives_by_hand(epochs, left_out):
    assert warm_up_epochs(np.array([epochs])) == left_out


def test_one_disturbed_run_does_not_move_the_warm_up():
    quiet = np.array([[9.0, 2, 2.2, 1.8, 2.2, 1.8]] * 5)
    disturbed = quiet.copy()
    disturbed[3, 1:3] = 40.0
    assert warm_up_epochs(disturbed) == warm_up_epochs(quiet) == 1


def pairs(ratios, *, bare=3.0, steps=10):
    """Five pairs of processes with 1 + 4 epochs of `steps` steps; `bare` ms a step and ours longer by `ratios`."""
    ours = 1e-3 * bare * np.array(ratios)
    alike = np.array([5.0, 1, 1, 1, 1]) * steps
    return {"bare_epochs": np.outer(np.full(5, 1e-3 * bare), alike), "our_epochs": np.outer(ours, alike)}


def shared(ratios, **settings):
    known = {"steps_per_epoch": 10, "margin": 0.05, "n_planned": 5, "name": "a", "conditions": "CPU, 1 thread"}
    return harness_share(**pairs(ratios), **known | settings)


def logs(center, sd):
    """Five ratios whose logarithms have that mean and standard deviation."""
    shape = np.array([-2.0, -1, 0, 1, 2]) / np.sqrt(2.5)
    return np.exp(center + sd * shape)


def test_a_slower_run_is_said_as_a_ratio_and_as_milliseconds():
    ratios = logs(np.log(1.4), 0.01)
    found = shared(ratios)
    half = T_975_4 * 0.01 / np.sqrt(5)
    assert found.comparison.ratio == pytest.approx(1.4)
    assert found.comparison.ci95 == pytest.approx((1.4 * np.exp(-half), 1.4 * np.exp(half)), rel=1e-6)
    milliseconds = 3 * (ratios - 1)
    spread = T_975_4 * milliseconds.std(ddof=1) / np.sqrt(5)
    assert 1e3 * found.share.value == pytest.approx(milliseconds.mean())
    assert 1e3 * found.share.high == pytest.approx(milliseconds.mean() + spread, rel=1e-6)
    assert (found.warm_up, found.n_epochs) == (1, 5)
    assert found.sentence == (
        "a against its bare loop: 1.40 [1.38, 1.42] of its 3.00 ms per step (95 % CI, 5 interleaved process pairs, "
        "CPU, 1 thread), so that the harness' share is +1.20 ms [+1.15, +1.25]."
    )


def test_a_faster_run_has_a_share_below_0():
    found = shared(logs(np.log(0.9), 0.01))
    assert found.comparison.id == "B_better_practical"
    assert found.sentence.startswith("a against its bare loop: 0.90 [0.89, 0.91] of its 3.00 ms per step (")
    assert found.sentence.endswith("so that the harness' share is −0.30 ms [−0.33, −0.27].")


def test_the_same_speed_is_shown_by_its_own_interval():
    found = shared(logs(0.0, 0.01))
    half = T_95_4 * 0.01 / np.sqrt(5)
    assert found.comparison.ci90 == pytest.approx((np.exp(-half), np.exp(half)), rel=1e-6)
    assert found.sentence.startswith("a against its bare loop: same speed per step within 5 % (TOST p = ")
    assert "1.00 [90 % CI 0.99, 1.01] of its 3.00 ms (5 interleaved process pairs" in found.sentence


def test_what_is_not_shown_is_said_to_be_open():
    found = shared(logs(0.03, 0.1))
    assert found.comparison.id == "inconclusive"
    assert "no speed difference shown, and same speed within 5 % not shown either: 1.03 [0.91, 1.17]" in found.sentence


def test_the_warm_up_of_the_slower_to_settle_counts_for_both():
    given = pairs(logs(np.log(1.4), 0.01))
    given["our_epochs"][:, 1] *= 3
    found = harness_share(**given, steps_per_epoch=10, margin=0.05, n_planned=5)
    assert found.warm_up == 2
    assert found.comparison.ratio == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"disturbance": "several runs shared the machine"}, "Not assessed: several runs shared the machine"),
        ({"disturbance": ""}, "Not assessed: step times vary by 99 % within a block, above 30 %"),
    ],
)
def test_a_disturbed_machine_gives_no_share(settings, words):
    given = pairs(logs(0.3, 0.01))
    given["bare_epochs"][2, [2, 4]] *= 5  # of 1, 5, 1, 5 the median is 3, and each is 2 from it
    found = harness_share(**given, steps_per_epoch=10, margin=0.05, n_planned=5, **settings)
    assert found.comparison.id == "not_assessed"
    assert words in found.sentence


def test_one_disturbed_epoch_forbids_nothing():
    given = pairs(logs(0.3, 0.01))
    given["bare_epochs"][2, 4] *= 5
    found = harness_share(**given, steps_per_epoch=10, margin=0.05, n_planned=5)
    assert found.comparison.ratio == pytest.approx(np.exp(0.3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given | {"our_epochs": np.ones((5, 4))}, r"one shape, but got \(5, 5\) and \(5, 4\)"),
        (lambda given: {key: value[:, :1] for key, value in given.items()}, r"at least 2 epochs\), but got \(5, 1\)"),
        (lambda given: given | {"our_epochs": np.zeros((5, 5))}, "`seconds > 0` must hold"),
        (lambda given: given | {"our_epochs": np.full((5, 5), np.nan)}, "finite values only, but got 25 not finite"),
    ],
)
def test_epochs_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        harness_share(**change(pairs([1.0] * 5)), steps_per_epoch=10, margin=0.05, n_planned=5)


# What the harness' share forbids a claim between frameworks


def compared(center, harness, *, remark=""):
    first = np.full(5, 0.010)
    second = first * logs(np.log(center), 0.004)
    return compare_speed(first, second, margin=0.05, n_planned=5, names=("a", "b"), harness=harness, remark=remark)


@pytest.mark.parametrize(
    ("center", "harness", "is_assessed"),
    [
        (1.4, None, True),
        (1.4, (0.001, 0.0013), True),  # apart by 0.3 ms of 4 ms
        (1.4, (0.001, 0.0015), False),  # by 0.5 ms of 4 ms
        (1.4, (0.002, 0.002), True),  # in both alike
        (1.4, (0.0002, -0.0003), False),  # one saves, the other costs
        (1.0, (0.001, 0.00104), True),  # 0.04 ms of the margin's 0.5 ms
        (1.0, (0.001, 0.00106), False),
    ],
)
def test_a_claim_of_which_the_harness_has_more_than_a_tenth_is_not_assessed(center, harness, is_assessed):
    found = compared(center, harness)
    assert (found.id != "not_assessed") == is_assessed
    assert (found.ratio is not None) == is_assessed


def test_the_reason_is_said_in_words():
    assert compared(1.4, (0.001, -0.0005)).sentence == (
        "Not assessed: the harness' share of a step is +1.000 ms for a and −0.500 ms for b, apart by 37 % of the "
        "difference between their steps, above 10 %, so times per step cannot be compared."
    )
    assert "apart by 300 % of the 5 % margin, above 10 %" in compared(1.0, (0.0, 0.0015)).sentence


def test_a_remark_follows_a_claim_and_no_refusal():
    assert compared(1.4, None, remark="It includes the harness.").sentence.endswith(" margin. It includes the harness.")
    assert "includes" not in compared(1.4, (0.001, 0.002), remark="It includes the harness.").sentence
