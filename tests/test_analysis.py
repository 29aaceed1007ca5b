"""What a report says of records: which arms are compared, what a failed run counts as, and what is never said."""

import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from rich.console import Console

from experiments import statistics
from experiments.records import RunRecord, StudyRecord, SweepRecord, TrialRecord, TunedValue, merged
from experiments.report import page, screen, tables
from experiments.report.analysis import analyse
from experiments.report.arms import arms_of
from experiments.report.effects import dose_of, effects_of
from experiments.report.predictions import MISTAKES_PER_KIND, pictures_from, predictions_of, with_pictures
from experiments.report.studies import findings, sensitivity
from experiments.report.studies import tables as study_tables
from experiments.task import Margins
from experiments.task.search_space import Dimension

BETTER = ("A_better", "A_better_practical", "B_better", "B_better_practical")
FACTS = {"data": "d", "data_fingerprint": "d", "workers": "1", "host": "h", "cpu": "c", "threads": "2", "device": "cpu"}


METRICS = {"loss": "test/loss", "train": "train_eval/loss", "step": "time/steady_step"}


def run(framework, seed, accuracy=0.95, *, outcome="finished", labels=None, facts=None, **metrics):
    """A record; `labels` are the choices of its sweep, `metrics` are METRICS."""
    labels = labels or {}
    name = " · ".join([framework, *(f"{key} {value}" for key, value in labels.items()), f"seed {seed}"])
    scores = {"test/accuracy": accuracy, "test/loss": 1 - accuracy, "memory/peak_mib": 100.0}
    scores |= {METRICS[key]: value for key, value in metrics.items()}
    return RunRecord(
        run_id=name,
        name=name,
        fingerprint=name,
        framework=framework,
        seed=seed,
        outcome=outcome,
        reason="" if outcome == "finished" else "why",
        config={"framework": framework, "seed": seed, "choices": labels, "margins": {"accuracy": 0.01}},
        metrics={key: value for key, value in scores.items() if value is not None} if outcome == "finished" else {},
        curves={},
        facts=FACTS | (facts or {}),
        labels={"framework": framework} | labels,
    )


def sweep(runs, *, factor="framework", baseline=None, n_planned=None, seeds=None, **others):
    return SweepRecord(
        sweep_id="s",
        experiment="e",
        description="d",
        command="c",
        n_planned=len(runs) if n_planned is None else n_planned,
        seeds=tuple(sorted({run.seed for run in runs}) if seeds is None else seeds),
        margins={"accuracy": 0.01, "loss": 0.02, "time_ratio": 0.05},
        chance={"accuracy": 0.1, "loss": 2.3},
        runs=tuple(runs),
        comparison={"name": "x", "factor": factor, "baseline": baseline},
        **others,
    )


def grid(*, frameworks=("keras", "lightning"), seeds=range(3), **factors):
    """A run for every combination; `regularization_dropout=("0", "0.5")` is the factor regularization.dropout."""
    keys = [key.replace("_", ".") for key in factors]
    return [
        run(framework, seed, 0.9 + 0.001 * seed, labels=dict(zip(keys, values, strict=True)))
        for seed in seeds
        for framework in frameworks
        for values in itertools.product(*factors.values())
    ]


def compared(analysis):
    return [(pair.first.name, pair.second.name) for pair in analysis.pairs]


# Which arms are compared


def test_frameworks_are_compared_within_each_choice_of_the_other_factors():
    analysis = analyse(sweep(grid(optimizer=("adam", "sgd"), data=("digits", "mnist"))))
    assert compared(analysis) == [
        (f"keras · {data} · {optimizer}", f"lightning · {data} · {optimizer}")
        for data in ("digits", "mnist")
        for optimizer in ("adam", "sgd")
    ]
    assert {verdict.n_claims for verdict in analysis.verdicts} == {4}
    assert {title: len(found) for title, found in analysis.exploratory.items()} == {"Test loss": 4}


def test_accuracy_and_loss_of_a_few_pairs_are_one_family():
    analysis = analyse(sweep(grid(optimizer=("adam", "sgd"))))
    assert [(verdict.metric, verdict.n_claims) for verdict in analysis.verdicts] == [
        ("test accuracy", 4),
        ("test accuracy", 4),
        ("test loss", 4),
        ("test loss", 4),
    ]
    assert analysis.exploratory == {}


def test_a_claim_about_an_optimizer_is_one_claim_whatever_the_number_of_frameworks():
    analysis = analyse(sweep(grid(optimizer=("adam", "nadam", "sgd")), factor="optimizer", baseline="nadam"))
    assert compared(analysis) == [("adam", "nadam"), ("sgd", "nadam")]
    assert {title: [verdict.names for verdict in found] for title, found in analysis.exploratory.items()} == {
        "Frameworks where all else is equal": [
            (f"keras · {optimizer}", f"lightning · {optimizer}") for optimizer in ("adam", "nadam", "sgd")
        ],
        "In each framework": [
            (f"{framework} · {optimizer}", f"{framework} · nadam")
            for optimizer in ("adam", "sgd")
            for framework in ("keras", "lightning")
        ],
    }


def test_a_pooled_score_is_the_mean_over_frameworks_and_fails_with_either():
    scores = {("keras", "adam"): 0.9, ("lightning", "adam"): 0.92, ("keras", "sgd"): 0.8, ("lightning", "sgd"): 0.84}
    runs = [
        run(framework, seed, score, labels={"optimizer": optimizer})
        for (framework, optimizer), score in scores.items()
        for seed in range(3)
    ]
    runs[2] = replace(runs[2], outcome="diverged", metrics={})  # keras, adam, seed 2
    (pair,) = analyse(sweep(runs, factor="optimizer", baseline="sgd")).pairs
    assert pair.first.scores("test/accuracy") == pytest.approx({0: 0.91, 1: 0.91})
    assert pair.score.differences == pytest.approx((0.09, 0.09, 0.1 - 0.82))  # seed 2 at chance level
    assert pair.score.n_failed == 1


def test_without_a_baseline_each_is_compared_with_each():
    analysis = analyse(sweep(grid(frameworks=["keras"], optimizer=("a", "b", "c")), factor="optimizer"))
    assert compared(analysis) == [
        ("keras · a", "keras · b"),
        ("keras · a", "keras · c"),
        ("keras · b", "keras · c"),
    ]


def test_numbers_are_ordered_by_size_and_the_baseline_comes_second():
    runs = grid(frameworks=["keras"], regularization_dropout=("0", "0.1", "0.5"))
    analysis = analyse(sweep(runs, factor="regularization.dropout", baseline="0.1"))
    assert compared(analysis) == [
        ("keras · dropout 0", "keras · dropout 0.1"),
        ("keras · dropout 0.5", "keras · dropout 0.1"),
    ]


def test_a_factor_that_does_not_vary_is_said_and_frameworks_are_compared():
    analysis = analyse(sweep(grid(network_depth=("2",)), factor="network.depth", baseline="1"))
    assert compared(analysis) == [("keras", "lightning")]
    assert analysis.factor == "framework"
    said = "nothing varies network.depth, which this comparison is about: frameworks are compared"
    assert said in analysis.warnings


def test_one_framework_alone_is_compared_with_its_own_first_arm():
    analysis = analyse(sweep(grid(frameworks=["keras"], optimizer=("adam", "sgd", "nadam"))))
    assert compared(analysis) == [("keras · nadam", "keras · adam"), ("keras · sgd", "keras · adam")]
    assert all(pair.speed is None for pair in analysis.pairs)


def test_only_one_factor_at_a_time_may_differ():
    runs = [*grid(frameworks=["keras"], optimizer=("adam",)), *grid(frameworks=["lightning"], optimizer=("sgd",))]
    assert analyse(sweep(runs, factor="optimizer")).pairs == ()


def test_a_baseline_is_found_however_its_number_is_typed():
    runs = grid(frameworks=["keras"], regularization_dropout=("0.0", "0.5"))
    analysis = analyse(sweep(runs, factor="regularization.dropout", baseline="0"))
    assert compared(analysis) == [("keras · dropout 0.5", "keras · dropout 0.0")]


def test_a_baseline_that_was_not_run_is_said():
    analysis = analyse(sweep(grid(optimizer=("adam", "nadam")), factor="optimizer", baseline="sgd"))
    assert any("sgd" in warning for warning in analysis.warnings)


def test_arms_named_by_hyphens_keep_their_names_in_every_sentence():
    runs = [
        run("keras", seed, 0.9 + 0.01 * seed, train=0.01, labels={"optimizer": optimizer})
        for seed in range(3)
        for optimizer in ("my-sgd", "other-sgd")
    ]
    analysis = analyse(sweep(runs, factor="optimizer"))
    assert all("keras · my-sgd against keras · other-sgd" in sentence for sentence in analysis.sentences)


# What is said when there is nothing to find, and when there is


def normal_runs(rng, seeds, *, shift=0.0):
    """Two frameworks, accuracies of mean .85 and sd 2 pp, against a margin of 1 pp: equivalence is out of reach."""
    return [
        run(framework, seed, 0.85 + offset + 0.02 * rng.standard_normal(), loss=1 + 0.05 * rng.standard_normal())
        for seed in seeds
        for framework, offset in (("keras", shift), ("lightning", 0.0))
    ]


def share_of_controls_that_find_something(n):
    rng = np.random.default_rng(1)
    found = [analyse(sweep(normal_runs(rng, range(2000, 2020)), factor="seed")) for _ in range(n)]
    says_better = [any(verdict.id in BETTER for verdict in each.verdicts) for each in found]
    fails = [each.control == "repeat" for each in found]
    assert all(each.control in ("repeat", "passed") for each in found)
    return max(np.mean(says_better), np.mean(fails))


def share_of_reports_that_say_better(n):
    rng = np.random.default_rng(2)
    found = [analyse(sweep(normal_runs(rng, range(10)))) for _ in range(n)]
    return np.mean([any(verdict.id in BETTER for verdict in each.verdicts) for each in found])


def test_a_thousand_controls_find_something_in_about_one_per_cent():
    share = share_of_controls_that_find_something(1000)
    assert share <= 0.065  # statistics.md, section 7
    assert 0.001 <= share <= 0.02  # 1 % is nominal: about three standard errors


def test_a_thousand_reports_on_equal_frameworks_say_better_in_at_most_6_5_per_cent():
    share = share_of_reports_that_say_better(1000)
    assert 0.01 <= share <= 0.065  # accuracy or loss; far below 5 % would mean that nothing is ever found


def drifting(seeds, *, by):
    rng = np.random.default_rng(3)
    half = sorted(seeds)[len(seeds) // 2]
    return [run("keras", seed, 0.95 - by * (seed >= half) + 0.001 * rng.standard_normal()) for seed in seeds]


def test_a_control_finds_what_is_there_asks_for_one_repetition_and_then_condemns():
    runs = drifting(range(2000, 2020), by=0.02)
    first = analyse(sweep(runs, factor="seed"))
    assert first.control == "repeat"
    assert [verdict.id for verdict in first.verdicts] == ["A_better_practical"]
    assert compared(first) == [("keras · seeds 2000 to 2009", "keras · seeds 2010 to 2019")]
    assert analyse(sweep(runs, factor="seed", control="repeat")).control == "invalid"


def test_a_control_that_passes_clears_an_earlier_find():
    runs = drifting(range(3000, 3020), by=0.0)
    assert analyse(sweep(runs, factor="seed", control="repeat")).control == "passed"


def test_a_control_is_tested_at_one_per_cent_in_all():
    verdicts = analyse(sweep(normal_runs(np.random.default_rng(0), range(20)), factor="seed")).verdicts
    assert [verdict.difference_level for verdict in verdicts] == [1 - 0.01 / 2] * 2


def test_a_control_of_too_few_seeds_is_not_assessed():
    assert analyse(sweep(drifting(range(4), by=0.02), factor="seed")).control == "not assessed"
    assert analyse(sweep([run("keras", 0)], factor="seed")).control == "not assessed"


def test_a_control_with_a_killed_run_still_tests_the_other_framework():
    runs = normal_runs(np.random.default_rng(0), range(20))
    runs[0] = replace(runs[0], outcome="failed", metrics={}, facts=FACTS | {"killed": "yes"})
    assert compared(analyse(sweep(runs, factor="seed")))[-1] == (
        "lightning · seeds 0 to 9",
        "lightning · seeds 10 to 19",
    )


def test_a_planted_difference_is_found_and_its_side_is_named():
    analysis = analyse(sweep(normal_runs(np.random.default_rng(4), range(10), shift=0.08)))
    assert analysis.pairs[0].score.id == "A_better_practical"
    assert "keras is better by" in analysis.sentences[0]


# Failed runs


def five(**last):
    """Five seeds, keras 1 pp better; keras' last run as `last` says."""
    lightning = [run("lightning", seed, 0.90 + 0.001 * seed) for seed in range(5)]
    keras = [run("keras", seed, 0.91 + 0.001 * seed + 0.0001 * seed**2) for seed in range(4)]
    return [*lightning, *keras, run("keras", 4, **last)]


@pytest.mark.parametrize("outcome", ["diverged", "failed"])
def test_a_run_that_diverged_or_raised_stays_in_n_at_the_chance_level(outcome):
    analysis = analyse(sweep(five(outcome=outcome)))
    accuracy, loss = analysis.verdicts
    assert (accuracy.n, accuracy.n_runs, accuracy.n_failed, accuracy.failure_score) == (5, 10, 1, 0.1)
    assert accuracy.differences[-1] == pytest.approx(0.1 - 0.904)
    assert loss.differences[-1] == pytest.approx(-(2.3 - 0.096))  # oriented: a higher loss is worse
    assert accuracy.sentence.startswith("1/10 runs failed and are scored at chance level; ")
    assert f"keras · seed 4 {outcome}: why" in analysis.warnings


def test_a_killed_run_is_missing_and_no_failure_of_the_method():
    analysis = analyse(sweep(five(outcome="failed", facts={"killed": "yes"})))
    accuracy = analysis.verdicts[0]
    assert (accuracy.n, accuracy.n_runs, accuracy.n_failed, accuracy.n_unpaired) == (4, 9, 0, 1)
    assert accuracy.sentence.startswith("1 run has no partner of the same seed; ")
    assert "partial: 9 of 10 runs" in analysis.warnings


def test_without_a_chance_level_the_verdict_says_that_it_is_conditional_on_success():
    record = replace(sweep(five(outcome="diverged")), chance={"accuracy": None, "loss": 2.3})
    accuracy = analyse(record).verdicts[0]
    assert (accuracy.n, accuracy.n_failed, accuracy.failure_score) == (4, 1, None)
    assert "conditional on success" in accuracy.sentence


@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1.7976931348623157e308, -0.5])  # 1.8e308: infinity in MLflow
def test_a_run_with_a_score_that_cannot_be_counts_as_a_failed_one(wrong):
    """Its accuracy too: that of outputs which are NaN is the share of examples whose class is the first."""
    analysis = analyse(sweep(five(loss=wrong)))
    accuracy, loss = analysis.verdicts
    assert (accuracy.n_failed, loss.n_failed, loss.n) == (1, 1, 5)
    assert f"diverged: test/loss became {wrong:.6g} at the end" in " ".join(analysis.warnings)


# Nothing depends on the order of rows or sides


def noisy_grid(rng):
    return [
        run(
            framework,
            seed,
            0.9 + 0.01 * rng.standard_normal(),
            train=0.05 + 0.01 * rng.standard_normal(),
            step=rng.uniform(1, 2),
            labels={"regularization.dropout": dropout},
        )
        for seed in range(4)
        for framework in ("keras", "lightning")
        for dropout in ("0", "0.25", "0.5")
    ]


@pytest.mark.parametrize("factor", ["framework", "regularization.dropout", "seed"])
def test_shuffling_the_rows_changes_nothing(factor):
    rng = np.random.default_rng(5)
    runs = noisy_grid(rng)
    whole = analyse(sweep(runs, factor=factor))
    for _ in range(5):
        shuffled = analyse(sweep([runs[at] for at in rng.permutation(len(runs))], factor=factor))
        for name in ("sentences", "verdicts", "pairs", "exploratory", "gaps", "dose", "effects", "warnings", "facts"):
            assert getattr(shuffled, name) == getattr(whole, name), name


def test_swapping_the_sides_flips_signs_and_keeps_every_p():
    rng = np.random.default_rng(6)
    scores = [(0.9 + 0.01 * rng.standard_normal(), 0.9 + 0.01 * rng.standard_normal()) for _ in range(6)]
    sides = [
        analyse(sweep([run(name, seed, both[side]) for seed, both in enumerate(scores) for name, side in named]))
        for named in ((("a", 0), ("b", 1)), (("a", 1), ("b", 0)))
    ]
    for one, other in zip(sides[0].verdicts, sides[1].verdicts, strict=True):
        assert other.mean_difference == -one.mean_difference
        assert other.differences == tuple(-d for d in one.differences)
        assert other.ci95 == pytest.approx((-one.ci95[1], -one.ci95[0]), rel=1e-12)  # two sums of floats
        assert (other.p_difference, other.p_equivalence) == pytest.approx((one.p_difference, one.p_equivalence))


# Gaps, doses, effects


def test_the_gap_is_test_loss_minus_training_loss_and_is_told_with_the_accuracy():
    """By hand: gaps .3 .4 .5 (dropout 0) and .1 .1 .1; changes -.2 -.3 -.4, mean -.3, t(2) = 4.3027, sd .1."""
    runs = [
        run("keras", seed, 0.9 + gain, loss=1.0 + gap, train=1.0, labels={"regularization": name})
        for name, rows in (
            ("none", [(0.3, 0.00), (0.4, 0.01), (0.5, 0.02)]),
            ("dropout", [(0.1, 0.01), (0.1, 0.03), (0.1, 0.05)]),
        )
        for seed, (gap, gain) in enumerate(rows)
    ]
    gaps = {each.arm.rest: each for each in analyse(sweep(runs, factor="regularization", baseline="none")).gaps}
    half_width = 4.302652729911275 * 0.1 / 3**0.5
    assert gaps["none"].gap.value == pytest.approx(0.4)
    assert gaps["dropout"].change.value == pytest.approx(-0.3)
    assert gaps["dropout"].change.low == pytest.approx(-0.3 - half_width)
    assert gaps["dropout"].change.high == pytest.approx(-0.3 + half_width)
    assert gaps["dropout"].gain.value == pytest.approx(0.02)  # 1, 2 and 3 pp
    assert gaps["none"].sentence == ""
    sentence = gaps["dropout"].sentence
    assert sentence.startswith("keras · dropout against keras · none: narrowed the gap, by −0.3000 [−0.5484, −0.0516]")
    assert sentence.endswith("test accuracy +2.00 [−0.48, +4.48] pp.")


def test_a_gap_that_is_the_same_within_the_interval_is_not_called_changed():
    runs = [
        run("keras", seed, loss=1.0 + change * rate, train=0.9, labels={"regularization.dropout": f"{rate}"})
        for seed, change in enumerate((0.1, -0.1, 0.05))
        for rate in (0, 1)
    ]
    gaps = analyse(sweep(runs, factor="regularization.dropout", baseline="0")).gaps
    assert "gap +0.0167 [−0.2419, +0.2752], not shown to change" in gaps[1].sentence  # sd .10408, t(2) = 4.3027


def test_a_regression_tells_the_loss_beside_the_gap():
    runs = [
        run("keras", seed, loss=1 + 0.1 * seed * rate, train=0.9, labels={"data": f"{rate}"})
        for seed in range(3)
        for rate in (0, 1)
    ]
    for one in runs:
        del one.metrics["test/accuracy"]
    analysis = analyse(sweep(runs, factor="data", baseline="0"))
    assert analysis.metric == "test/loss"
    assert analysis.gaps[1].gain is None
    assert "test loss of this arm 1.10 ± 0.25" in analysis.gaps[1].sentence  # .1 * 4.3027 / sqrt(3)


def doses(rows, *, metric="accuracy", train=None):
    """Runs of keras; `rows` are seeds, columns are dropout 0, 0.1, 0.2."""
    return [
        run("keras", seed, labels={"regularization.dropout": f"{0.1 * column:g}"}, train=train, **{metric: value})
        for seed, row in enumerate(rows)
        for column, value in enumerate(row)
    ]


def dose_sentences(runs, **others):
    return analyse(sweep(runs, factor="regularization.dropout", baseline="0", **others)).dose.sentences


def test_the_best_dose_and_those_not_shown_worse():
    """By hand: .1 is best; 0 lies .05 below it, give or take .001; .2 lies .006 below, t(3) = -1.45, p = .24."""
    rows = [(0.850, 0.900, 0.888), (0.851, 0.900, 0.899), (0.849, 0.900, 0.887), (0.850, 0.900, 0.903)]
    best = dose_sentences(doses(rows))[0]
    assert (
        best == "keras: best test accuracy among those tried at dropout 0.1; not shown worse (Holm, 5 %): 0.1 or 0.2."
    )


def page_by_hand(rows):
    """L of the ranks within rows, and the share of all orders of all rows with an L at least as high."""
    ranks = [[sorted(row).index(value) + 1 for value in row] for row in rows]

    def weigh(rows):
        return sum((at + 1) * rank for row in rows for at, rank in enumerate(row))

    observed, orders = weigh(ranks), list(itertools.permutations(range(1, len(rows[0]) + 1)))
    every = [weigh(each) for each in itertools.product(orders, repeat=len(rows))]
    return observed, sum(each >= observed for each in every) / len(every)


@pytest.mark.parametrize(
    ("gaps", "found", "by_hand"),
    [
        ([(0.3, 0.2, 0.1), (0.5, 0.4, 0.2), (0.4, 0.3, 0.25)], "the gap falls", 42),  # 3 * (1 + 4 + 9)
        ([(0.3, 0.2, 0.1), (0.5, 0.4, 0.2), (0.1, 0.2, 0.3)], "not shown that the gap falls", 38),  # 14 + 14 + 10
    ],
)
def test_pages_trend_of_the_gap_is_that_of_counting_by_hand(gaps, found, by_hand):
    rows = [[1 + gap for gap in row] for row in gaps]
    statistic, p = page_by_hand([[-gap for gap in row] for row in gaps])
    assert statistic == by_hand
    said = f"keras: {found} as dropout rises: Page's L = {by_hand}, p = {p:.2g}, 3 seeds."
    assert dose_sentences(doses(rows, metric="loss", train=1.0))[1] == said


@pytest.mark.parametrize("levels", [("0", "0.5"), ("relu", "tanh", "gelu"), ("1", "2", "many")])
def test_a_dose_needs_three_levels_that_are_numbers(levels):
    runs = grid(frameworks=["keras"], network_depth=levels)
    assert analyse(sweep(runs, factor="network.depth")).dose is None


def test_each_framework_has_its_own_curve_and_one_without_all_levels_has_none():
    runs = grid(network_depth=("1", "2", "10"))
    dose = analyse(sweep(runs, factor="network.depth", baseline="1")).dose
    assert dose.levels == (1.0, 2.0, 10.0)
    assert [arm.name for arm in dose.curves["keras"]] == [f"keras · depth {level}" for level in (1, 2, 10)]
    without = [one for one in runs if one.framework == "keras" or one.labels["network.depth"] != "10"]
    assert list(analyse(sweep(without, factor="network.depth", baseline="1")).dose.curves) == ["keras"]


def test_an_arm_without_the_factor_is_no_dose():
    """Keras has three depths; lightning two and an arm for which no depth was typed."""
    runs = grid(frameworks=["keras"], network_depth=("1", "2", "3"))
    runs += [*grid(frameworks=["lightning"], network_depth=("1", "2")), *grid(frameworks=["lightning"])]
    assert list(analyse(sweep(runs, factor="network.depth", baseline="1")).dose.curves) == ["keras"]


def test_runs_that_state_what_their_source_does_not_take_set_no_arm_apart():
    """Earlier checkouts stated every source's settings; what the source takes still sets arms apart."""
    new = {"source": "sunspots", "length": 12, "validation_fraction": 0.1}
    old = {**new, "vocabulary": None, "image_size": None, "test_fraction": 0.2, "split_seed": 0}
    runs = [replace(run("keras", seed), config={"data": data}) for seed, data in enumerate((new, old))]
    (arm,) = arms_of(runs)
    assert dict(arm.settings) == {"data.source": "sunspots", "data.length": 12, "data.validation_fraction": 0.1}
    other = replace(run("keras", 2), config={"data": new | {"length": 6}})
    assert len(arms_of([*runs, other])) == 2


def test_a_dose_at_which_runs_diverge_is_not_best_for_its_one_lucky_run():
    """At dropout .2 one run of four ends at .99, the others diverge: .3225 with chance level .1, below .9."""
    runs = doses([(0.9, 0.89, 0.99)] * 4)
    lost = [one for one in runs if one.labels["regularization.dropout"] == "0.2"][1:]
    runs = [replace(one, outcome="diverged", metrics={}) if one in lost else one for one in runs]
    arms = arms_of(runs)
    given = {"factor": "regularization.dropout", "levels": ["0", "0.1", "0.2"], "metric": "test/accuracy"}
    counted = dose_of(arms, failure_score=0.1, **given).sentences[0]
    assert "best test accuracy among those tried at dropout 0;" in counted
    assert counted.endswith(" 3/12 runs failed and are scored at chance level.")
    assert dose_of(arms, **given).sentences[0].endswith(" 3/12 runs failed and are left out.")
    effects = effects_of(
        arms_of([*runs, *grid(frameworks=["lightning"], regularization_dropout=("0", "0.1", "0.2"))]),
        metric="test/accuracy",
        failure_score=0.1,
    )
    assert effects.main["regularization.dropout"]["0.2"] < 0


def test_a_report_counts_diverged_runs_in_its_best_dose():
    runs = doses([(0.9, 0.89, 0.99)] * 4)
    lost = [one for one in runs if one.labels["regularization.dropout"] == "0.2"][1:]
    runs = [replace(one, outcome="diverged", metrics={}) if one in lost else one for one in runs]
    assert "at dropout 0;" in dose_sentences(runs)[0]


def test_effects_are_the_planted_ones():
    """Framework -+.01, optimizer -+.02, seed -+.01, no interaction: shares 1, 4, 0 and 1 of 6."""
    runs = [
        run(
            framework,
            seed,
            0.9 + 0.01 * (2 * side - 1) + 0.02 * (2 * choice - 1) + 0.01 * (2 * seed - 1),
            labels={"optimizer": optimizer},
        )
        for side, framework in enumerate(("keras", "lightning"))
        for choice, optimizer in enumerate(("adam", "sgd"))
        for seed in range(2)
    ]
    effects = analyse(sweep(runs, factor="optimizer", baseline="sgd")).effects
    assert effects.main["framework"] == pytest.approx({"keras": -0.01, "lightning": 0.01})
    assert effects.main["optimizer"] == pytest.approx({"adam": -0.02, "sgd": 0.02})
    shares = {share.factors: share.share for share in effects.shares}
    expected = {("framework",): 1 / 6, ("optimizer",): 4 / 6, ("framework", "optimizer"): 0, (): 1 / 6}
    assert shares == pytest.approx(expected, abs=1e-9)  # a difference of sums of squares


def test_factors_that_always_change_together_have_no_effects_of_their_own():
    runs = [
        run("keras", seed, 0.9 + 0.01 * depth + 0.001 * seed, labels={"network.depth": f"{depth}", "data": f"d{depth}"})
        for depth in (1, 2, 3)
        for seed in range(2)
    ]
    effects = analyse(sweep(runs, factor="network.depth")).effects
    assert effects.main is None
    assert all(share.degrees_of_freedom == 0 for share in effects.shares if share.factors)


def test_one_factor_alone_has_no_table_of_effects():
    assert analyse(sweep(grid(optimizer=("adam", "sgd"), frameworks=["keras"]), factor="optimizer")).effects is None


# Edges


def test_no_run_at_all_is_an_analysis():
    for factor in ("framework", "optimizer", "seed"):
        analysis = analyse(sweep([], factor=factor, n_planned=4))
        assert (analysis.arms, analysis.pairs, analysis.verdicts, analysis.headline) == ((), (), (), "")
        assert "partial: 0 of 4 runs" in analysis.warnings


def test_a_single_seed_is_not_assessed():
    analysis = analyse(sweep(grid(seeds=[0])))
    few = "Not assessed: 1 paired run; at least 3 are needed for any interval, 1 is planned."
    assert analysis.sentences[0].endswith(few)
    assert {verdict.n_planned for verdict in analysis.verdicts} == {1}


def test_when_all_diverge_nothing_is_called_equal():
    runs = [replace(one, outcome="diverged", metrics={}) for one in grid(regularization_dropout=("0", "0.1", "0.2"))]
    for factor in ("framework", "regularization.dropout", "seed"):
        analysis = analyse(sweep(runs, factor=factor, baseline="0" if factor != "framework" else None))
        assert all("every run failed" in verdict.sentence for verdict in analysis.verdicts)
        assert {verdict.id for verdict in analysis.verdicts} == {"not_assessed"}
        assert (analysis.gaps, analysis.effects) == ((), None)


def test_runs_that_are_identical_are_called_so():
    analysis = analyse(sweep([run(name, seed, 0.95) for name in ("a", "b") for seed in range(5)]))
    assert all(verdict.sentence.endswith("Identical on all 5 seeds.") for verdict in analysis.verdicts)
    assert analysis.verdicts[0].p_difference is None


@pytest.mark.parametrize("accuracy", [1e-9, 0.06, 0.0999])
def test_any_margin_that_settings_allow_gives_a_report(accuracy):
    margins = Margins(accuracy=accuracy, loss=0.2, time_ratio=0.05)
    record = sweep([run(name, seed, 0.95 + 0.001 * seed) for name in ("a", "b") for seed in range(5)])
    for factor in ("framework", "seed"):
        analysis = analyse(replace(record, margins=vars(margins), comparison={"name": "x", "factor": factor}))
        assert {verdict.margin for verdict in analysis.verdicts} <= {accuracy, 0.2}


@pytest.mark.parametrize(
    ("group", "name", "value", "rule"),
    [
        ("margins", "accuracy", 0.2, "0 < margins.accuracy < 0.1"),
        ("margins", "accuracy", np.nan, "margins.accuracy is finite"),
        ("margins", "loss", -1.0, "margins.loss > 0"),
        ("margins", "time_ratio", 5.0, "0 < margins.time_ratio < 1"),
        ("chance", "accuracy", 10.0, "0 <= chance.accuracy < 1"),
        ("chance", "loss", np.inf, "chance.loss is finite"),
    ],
)
def test_a_kept_level_that_settings_refuse_today_is_left_out_of_the_report_and_said(group, name, value, rule):
    record = sweep(
        [run(framework, seed, 0.95 + 0.001 * seed, step=0.1) for framework in ("a", "b") for seed in range(6)]
    )
    for factor in ("framework", "seed"):
        old = replace(
            record, **{group: getattr(record, group) | {name: value}}, comparison={"name": "x", "factor": factor}
        )
        analysis = analyse(old)
        assert f"{group}.{name} is left out: `{rule}` must hold, but got {value!r}" in " ".join(analysis.warnings)
        for verdict in analysis.verdicts:
            if verdict.metric == f"test {name}":
                assert (verdict.margin if group == "margins" else verdict.failure_score) is None
    with pytest.raises(ValueError, match=r"half the observed range` must hold, but got 0.2 .*\(0.2 pp is 0.002\)"):
        statistics.verdict(
            [0.9, 0.91, 0.92], [0.9, 0.92, 0.91], margin=0.2, bounds=(0.0, 1.0), higher_is_better=True, n_planned=3
        )


def test_a_task_without_a_margin_on_accuracy_gets_no_claim_of_equivalence_in_it():
    runs = [run(name, seed, 0.95 + 0.001 * seed) for name in ("a", "b") for seed in range(5)]
    runs[0].metrics["test/accuracy"] = 0.951
    record = replace(sweep(runs), margins={"accuracy": None, "loss": 0.2, "time_ratio": 0.05})
    score = analyse(record).pairs[0].score
    assert (score.metric, score.margin, score.p_equivalence) == ("test accuracy", None, None)
    assert "No margin was declared for equivalence." in score.sentence


def test_a_partial_sweep_says_how_much_there_is():
    runs = [*grid(seeds=[0, 1]), replace(run("keras", 2), outcome="running", metrics={})]
    analysis = analyse(sweep(runs, n_planned=20, seeds=range(10)))
    assert "partial: 4 of 20 runs" in analysis.warnings
    few = "Not assessed: 2 paired runs; at least 3 are needed for any interval, 10 are planned."
    assert analysis.sentences[0].endswith(few)


def test_what_is_planned_is_the_seeds_of_each_arm_and_half_of_them_for_a_control():
    runs = [replace(one, metrics=one.metrics | {"time/steady_step": 0.1}) for one in grid(optimizer=("adam", "sgd"))]
    for factor, n in (("framework", 5), ("optimizer", 5), ("seed", 2)):
        analysis = analyse(sweep(runs[:8], factor=factor, n_planned=20, seeds=range(5)))
        assert {verdict.n_planned for verdict in analysis.verdicts} == {n}
    speeds = [pair.speed.sentence for pair in analyse(sweep(runs[:8], n_planned=20, seeds=range(5))).pairs]
    assert speeds == ["Not assessed: 2 interleaved process pairs; at least 3 are needed for any interval, 5 are "
                      "planned."] * 2  # fmt: skip
    parts = [sweep(runs[:8], seeds=range(2)), sweep(runs[8:], seeds=range(1, 4))]
    assert {verdict.n_planned for verdict in analyse(merged(parts, sweep_id="x")).verdicts} == {4}


def test_sweeps_that_are_joined_plan_for_each_arm_what_its_own_sweeps_planned():
    """Keras on seeds 0 to 4 and Lightning on 3 to 9 are two pairs, not ten."""
    keras = sweep([run("keras", seed, 0.9 + 0.01 * seed) for seed in range(4)], seeds=range(5), n_planned=5)
    lightning = sweep([run("lightning", seed, 0.9) for seed in range(3, 6)], seeds=range(3, 10), n_planned=7)
    both = merged([keras, lightning], sweep_id="x")
    assert (both.seeds, both.n_planned) == (tuple(range(10)), 12)
    assert {verdict.n_planned for verdict in analyse(both).verdicts} == {2}
    more = sweep([run("keras", 5, 0.9)], seeds=(5, 6))
    assert {verdict.n_planned for verdict in analyse(merged([keras, lightning, more], sweep_id="x")).verdicts} == {4}


def chosen(**values):
    known = {"group": "g", "labels": {"optimizer": "sgd"}, "key": "optimizer.learning_rate", "metric": "val/loss"}
    return TunedValue(**known, n_trials=16, low=1e-4, high=0.3, **values)


def test_what_a_search_could_not_settle_is_said():
    edge = chosen(value=0.3, score=1.0, at_edge=True)
    inside = chosen(value=0.01, score=1.0, at_edge=False)
    said = analyse(sweep(grid(), tuned_values=(edge,))).warnings
    assert any("lies at the edge of what was tried (0.0001 to 0.3)" in warning for warning in said)
    assert analyse(sweep(grid(), tuned_values=(inside,))).warnings == ()
    nothing = analyse(sweep(grid(), tuned_values=(chosen(value=None, score=None, at_edge=False),))).warnings
    assert any("nothing was chosen" in warning for warning in nothing)


def test_several_claims_are_counted_in_one_line():
    runs = [
        run(
            name,
            seed,
            0.9 + bonus * (name == "a") + 0.001 * seed + 0.0001 * (name == "a") * seed,
            labels={"data": data},
        )
        for seed in range(5)
        for name in ("a", "b")
        for data, bonus in (("x", 0.05), ("y", 0.0), ("z", 0.0))
    ]
    assert analyse(sweep(runs)).headline == (
        "3 comparisons of test accuracy: 2 equivalent, 1 in favour of the first arm."
    )


# Speed


def timed(*, ratio=1.1, **facts):
    """Ten pairs of processes; keras' steps take `ratio` times as long, give or take a per cent."""
    noise = np.random.default_rng(7).normal(0, 0.01, 10)
    return [
        run(name, seed, step=0.01 * (ratio * np.exp(noise[seed]) if name == "keras" else 1.0), facts=facts)
        for seed in range(10)
        for name in ("keras", "lightning")
    ]


def test_a_framework_that_takes_ten_per_cent_longer_is_called_slower():
    speed = analyse(sweep(timed())).pairs[0].speed
    assert speed.sentence.startswith("keras is ")
    assert "% slower" in speed.sentence
    assert "10 interleaved process pairs" in speed.sentence
    assert 1 / speed.ratio == pytest.approx(1.1, rel=0.01)  # second over first; sd of the mean log is .3 %
    assert 1 / speed.ci95[1] < 1.1 < 1 / speed.ci95[0]


def test_equal_times_are_called_the_same_speed():
    assert analyse(sweep(timed(ratio=1.0))).pairs[0].speed.sentence.startswith("Same speed per step within 5 %")


def test_runs_beside_each_other_give_no_verdict_on_speed():
    speed = analyse(sweep(timed(workers="2"))).pairs[0].speed
    assert speed.id == "not_assessed"
    assert speed.sentence.startswith("Not assessed: several runs shared the machine")
    assert speed.ratio is None


@pytest.mark.parametrize("fact", ["host", "cpu", "threads", "device"])
def test_runs_on_different_machines_give_no_verdict_on_speed(fact):
    runs = timed()
    runs[3] = replace(runs[3], facts=runs[3].facts | {fact: "another"})
    speed = analyse(sweep(runs)).pairs[0].speed
    assert speed.sentence.startswith("Not assessed: the runs were made on different machines")


# Answers, example by example

TARGETS = np.array([0, 1, 1, 0, 1])
RIGHT, WRONG = TARGETS.tolist(), (1 - TARGETS).tolist()


def logits_for(answers, *, sure=2.0):
    """Logits whose largest is that of `answers`, ahead by `sure`: probability 1 / (1 + exp(-sure))."""
    return sure * np.eye(2)[answers]


def answers(*wrong):
    """Seed -> right answers but for those examples: answers([1, 2], []) errs twice under seed 0."""
    return {
        seed: [bad if at in lost else good for at, (good, bad) in enumerate(zip(RIGHT, WRONG, strict=True))]
        for seed, lost in enumerate(wrong)
    }


def reads(first, second, *, targets=TARGETS):
    """Reads logits of keras (`first`) and lightning (`second`): seed -> answers."""
    kept = {f"keras · seed {seed}": given for seed, given in first.items()}
    kept |= {f"lightning · seed {seed}": given for seed, given in second.items()}
    return lambda run_id: (logits_for(kept[run_id]), targets)


def predicted(first, second, *, read=None, class_names=("a", "b")):
    runs = [
        run(framework, seed, float(np.mean(np.array(given) == TARGETS)))
        for framework, each in (("keras", first), ("lightning", second))
        for seed, given in each.items()
    ]
    return predictions_of(
        *arms_of(runs), class_names=class_names, margin=0.01, n_planned=3, read=read or reads(first, second)
    )


def test_answers_are_counted_by_true_class_and_averaged_over_seeds():
    """By hand, three seeds: keras takes example 1 (a b) for an a twice, lightning never errs."""
    found = predicted(answers([1], [1], []), answers([], [], []))
    assert found.confusion[0].tolist() == [[2, 0], [pytest.approx(2 / 3), pytest.approx(7 / 3)]]
    assert found.confusion[1].tolist() == [[2, 0], [0, 3]]
    assert (found.n_seeds, found.n_examples, found.seed) == (3, 5, 0)
    assert (found.agreement.n_both_right, found.agreement.n_only_second_right) == (4, 1)
    assert found.new_data.scope == "on new data from the same source"
    assert found.new_data.mean_difference == pytest.approx(-2 / 15)


def test_mistakes_are_those_of_both_of_the_first_and_of_the_second():
    """Example 1 beats both in most seeds, 2 keras alone, 4 lightning alone, 3 nobody in more than half of them."""
    found = predicted(answers([1, 2, 3], [1, 2], [2]), answers([1, 4], [1, 4], [4, 3]))
    kinds = [(each.index, each.kind, each.label, each.answers) for each in found.mistakes]
    assert kinds == [
        (1, "both wrong", "b", ("a", "a")),
        (2, "only keras wrong", "b", ("a", "b")),
        (4, "only lightning wrong", "b", ("b", "a")),
    ]
    sure = 1 / (1 + np.exp(-2))
    assert found.mistakes[1].probabilities == pytest.approx((sure, sure))
    assert found.mistakes[1].loss == pytest.approx(-(np.log(1 - sure) + np.log(sure)) / 2)
    assert found.mistakes[0].picture is None
    shown = with_pictures(found, {2: np.zeros((2, 2, 1))})
    assert [each.picture is None for each in shown.mistakes] == [True, False, True]


def test_of_each_kind_the_worst_few_are_kept():
    n = MISTAKES_PER_KIND + 3
    targets, given = np.zeros(n, dtype=int), np.ones(n, dtype=int)
    logits = logits_for(given) * (1 + np.arange(n))[:, None]  # the later the surer, and the more wrong
    arms = arms_of([run("keras", 0), run("lightning", 0)])
    found = predictions_of(
        *arms, class_names=("a", "b"), margin=0.01, n_planned=3, read=lambda run_id: (logits, targets)
    )
    assert [each.index for each in found.mistakes] == list(range(n - 1, 2, -1))


def test_two_seeds_say_nothing_of_new_data():
    assert predicted(answers([1], [2]), answers([], [1])).new_data is None


def test_where_examples_cannot_be_matched_there_are_no_predictions():
    right = answers([], [])
    values = TARGETS.astype(float)[:, None]
    assert predicted(right, right, read=reads(right, right, targets=values)) is None
    assert predicted(right, right, class_names=("a", "b", "c")) is None
    assert predicted(answers([]), {7: RIGHT}) is None  # no seed in common


def test_a_seed_counts_only_where_both_kept_their_logits():
    right = answers([], [])
    whole = reads(right, right)
    lost = {"keras · seed 0"}
    found = predicted(right, right, read=lambda run_id: None if run_id in lost else whole(run_id))
    assert (found.n_seeds, found.seed) == (1, 1)
    lost.add("lightning · seed 1")
    assert predicted(right, right, read=lambda run_id: None if run_id in lost else whole(run_id)) is None


def test_targets_that_differ_under_one_seed_are_not_compared():
    right = answers([])
    targets = {"keras · seed 0": TARGETS, "lightning · seed 0": 1 - TARGETS}
    assert predicted(right, right, read=lambda run_id: (logits_for(RIGHT), targets[run_id])) is None


def test_new_data_is_not_claimed_from_the_seeds_that_went_well():
    runs = [run(name, seed, 1.0) for name in ("keras", "lightning") for seed in range(5)]
    for lost in (0, 6):  # keras loses seed 0, lightning seed 1: equally many are left
        runs[lost] = replace(runs[lost], outcome="diverged", metrics={})
    arms, right = arms_of(runs), answers(*[[]] * 5)
    found = predictions_of(*arms, class_names=("a", "b"), margin=0.01, n_planned=3, read=reads(right, right))
    assert found.n_seeds == 3
    assert found.new_data is None


def test_logits_that_are_not_finite_do_not_end_the_report():
    broken = logits_for(RIGHT) * np.nan
    predicted(answers([]), answers([]), read=lambda run_id: (broken, TARGETS))


def test_pictures_are_stretched_to_bytes_each_by_itself():
    inputs = np.array([[[0.0], [1.0]], [[-1.0], [0.0]], [[5.0], [5.0]]]).reshape(3, 1, 2, 1)
    inputs = np.concatenate([inputs, [[[[0.0], [0.2]]]]])
    found = pictures_from(inputs, [1, 2, 3])
    assert {index: picture.ravel().tolist() for index, picture in found.items()} == {
        1: [0, 255],
        2: [0, 0],
        3: [0, 255],
    }
    assert all(picture.dtype == np.uint8 for picture in found.values())


@pytest.mark.parametrize("shape", [(3, 8), (3, 9, 5), (3, 4, 4, 2)])
def test_what_is_no_picture_is_not_shown(shape):
    assert pictures_from(np.zeros(shape), [0]) == {}


def test_a_difference_is_not_settled_where_a_search_ended_at_the_edge():
    runs = [
        run("keras", seed, score + 0.001 * seed * (score > 0.85), labels={"optimizer": optimizer})
        for optimizer, score in (("adam", 0.9), ("sgd", 0.8))
        for seed in range(5)
    ]
    record = sweep(runs, factor="optimizer", baseline="sgd")
    (pair,) = analyse(record).pairs
    assert pair.score.id == "A_better_practical"
    (pair,) = analyse(replace(record, tuned_values=(chosen(value=0.3, score=1.0, at_edge=True),))).pairs
    assert pair.score.id == "inconclusive"
    assert pair.score.sentence.startswith("Not settled: the search for keras · sgd ended at the edge of its space. ")


def test_a_loss_is_not_settled_either_where_a_search_ended_at_the_edge():
    runs = [
        run("keras", seed, score + 0.001 * seed * (score > 0.85), loss=1 - score + 0.001 * seed * (score > 0.85),
            labels={"optimizer": optimizer})
        for optimizer, score in (("adam", 0.9), ("sgd", 0.8))
        for seed in range(5)
    ]  # fmt: skip
    record = sweep(runs, factor="optimizer", baseline="sgd")
    assert analyse(record).pairs[0].loss.shows_difference_in_favour_of == "keras · adam"
    (pair,) = analyse(replace(record, tuned_values=(chosen(value=0.3, score=1.0, at_edge=True),))).pairs
    assert (pair.score.id, pair.loss.id) == ("inconclusive", "inconclusive")


LR_DEPTH = yaml.safe_load((Path(__file__).parents[1] / "conf/tuning/lr_depth.yaml").read_text())["tuning"]["space"]
DEPTH, RATE = LR_DEPTH["network"]["depth"], LR_DEPTH["optimizer"]["learning_rate"]  # 1..3; 1e-4..1e-1, log


@pytest.mark.parametrize(
    ("space", "value", "at_edge"),
    [
        (DEPTH, 3, True),
        (DEPTH, 2, False),
        (RATE, 0.09, True),
        (RATE, 0.01, False),
        ({"kind": "float", "low": 0.0, "high": 0.5}, 0.46, True),
        ({"kind": "float", "low": 0.0, "high": 0.5}, 0.44, False),
        ({"kind": "int", "low": 1, "high": 10, "step": 4}, 9, True),
        ({"kind": "int", "low": 1, "high": 10, "step": 4}, 5, False),
        ({"kind": "float", "low": 0.0, "high": 1.0, "step": 0.3}, 0.9, True),
        ({"kind": "float", "low": 0.0, "high": 1.0, "step": 0.3}, 0.6, False),
        ({"kind": "categorical", "choices": ("relu", "tanh")}, "relu", False),
    ],
)
def test_table_stamp_verdict_and_figure_agree_on_the_edge(space, value, at_edge):
    dimension = Dimension(**space)
    found = TunedValue(group="g", labels={"optimizer": "sgd"}, key="network.width", value=value, score=0.1,
                       metric="val/loss", n_trials=1, low=dimension.low or 0.0, high=dimension.highest,
                       at_edge=dimension.is_near_edge(value))  # fmt: skip
    trial = TrialRecord(number=0, state="COMPLETE", values={"network.width": value}, scores=(0.1,), reported=(),
                        began=0.0, ended=1.0, epochs=1, seconds=1.0, run_id="t", reason="")  # fmt: skip
    study = StudyRecord(name="s", arm="sgd", framework="keras", space={"network.width": json.loads(json.dumps(space))},
                        objectives=(("val/loss", "minimize"),), sampler="TPESampler", pruner="NopPruner",
                        trials=(trial,), importances={}, best=(0,))  # fmt: skip
    runs = [
        run("keras", seed, score + 0.001 * seed, labels={"optimizer": optimizer})
        for optimizer, score in (("adam", 0.9), ("sgd", 0.8))
        for seed in range(5)
    ]
    runs = [replace(one, config=one.config | {"network": {"width": value}}) for one in runs]
    runs[0].metrics["test/accuracy"] = 0.91  # so that differences vary
    record = sweep(runs, factor="optimizer", baseline="sgd", tuned_values=(found,), studies=(study,))
    analysis = analyse(record)
    searched = run("keras", 0, labels={"optimizer": "sgd", "network.width": str(value)})
    searched.metrics["val/loss"] = 0.1
    drawn = sensitivity.search_sensitivity([searched], [found], margin=None)
    said = {
        "table": study_tables.tuned_values(analysis).rows[0][-1] == "at the edge",
        "stamp": drawn is not None and [text.get_text() for text in drawn.axes[0].texts] == ["at the edge"],
        "verdict": analysis.pairs[0].score.id == "inconclusive",
        "warning": any("lies at the edge of what was tried" in warning for warning in analysis.warnings),
        "figure": findings.values(study).endswith(" (width at the edge of the space)"),
    }
    assert set(said.values()) == {at_edge}, said


def test_every_sweep_that_a_report_joins_was_a_look_and_divides_alpha():
    runs = [
        run(name, seed, 0.9 + 0.001 * seed + 0.002 * (name == "keras"))
        for name in ("keras", "lightning")
        for seed in range(6)
    ]
    halves = [sweep([one for one in runs if one.seed < 3]), sweep([one for one in runs if one.seed >= 3])]
    together = merged([replace(half, sweep_id=str(number)) for number, half in enumerate(halves)], sweep_id="x")
    assert {verdict.n_looks for verdict in analyse(together).verdicts} == {2}
    assert analyse(together).verdicts[0].difference_level == pytest.approx(1 - 0.05 / 2 / 2)  # two looks, two claims
    assert {verdict.n_looks for verdict in analyse(halves[0]).verdicts} == {1}


@pytest.mark.parametrize(("direction", "optimism"), [("minimize", "−0.0500"), ("maximize", "+0.0500")])
def test_optimism_is_by_how_much_the_trial_looked_better(direction, optimism):
    runs = [run("keras", seed, labels={"optimizer": "adam"}) for seed in (0, 1)]
    runs = [replace(one, metrics=one.metrics | {"val/score": 0.85}) for one in runs]
    study = StudyRecord(
        name="s", arm="keras", framework="keras", space={}, objectives=(("val/score", direction),),
        sampler="TPESampler", pruner="NopPruner", trials=(), importances={}, best=(),
    )  # fmt: skip
    choice = TunedValue(group="g", labels={"framework": "keras"}, key="choices.optimizer", value="adam", score=0.9,
                    metric="val/score", n_trials=4, low=0.0, high=0.0, at_edge=False)  # fmt: skip
    found = study_tables.tuned_values(analyse(replace(sweep(runs), tuned_values=(choice,), studies=(study,))))
    assert found.rows[0][found.head.index("optimism")] == optimism


# Further scores


def scored(framework, seed, **scores):
    """A run with these scores on the test set and no others."""
    plain = run(framework, seed, 0.9)
    return replace(
        plain, metrics={f"test/{name}": value for name, value in scores.items()} | {"time/steady_epoch": 1.0}
    )


def test_page_one_has_the_same_columns_for_every_sweep_of_a_task():
    """A macro-F1 unlike the accuracy, a time or memory that no run told: all were columns that came and went."""
    alike = [scored("keras", seed, accuracy=0.9, loss=0.1, macro_f1=0.895) for seed in range(3)]
    unlike = [scored("keras", seed, accuracy=0.9, loss=0.1, macro_f1=0.7) for seed in range(3)]
    failed = [replace(each, outcome="failed", metrics={}) for each in unlike]
    for runs in (alike, unlike, failed):
        analysis = analyse(sweep(runs))
        assert analysis.columns == ("test/accuracy", "test/loss", "time/steady_epoch", "memory/peak_mib")
        assert tables.results(analysis).head[3:] == ("accuracy, %", "loss", "s / epoch", "MiB *")
        head = next(line for line in shown(analysis).splitlines() if line.startswith("arm "))
        assert re.split(r"\s{2,}", head) == ["arm", "n", "accuracy, %", "loss", "s / epoch", "MiB *"]
    assert "macro-F1, %" in tables.scores(analyse(sweep(alike))).head


def test_a_regression_has_no_empty_column_of_accuracies():
    runs = [scored("keras", seed, loss=0.1, rmse=3.0, mae=2.0, skill=0.4 + seed / 100) for seed in range(3)]
    analysis = analyse(sweep(runs))
    assert analysis.columns == ("test/loss", "test/rmse", "test/r2", "test/skill")
    table = tables.scores(analysis)
    assert table.head == ("arm", "loss", "RMSE", "MAE", "skill")
    assert "accuracy, %" not in tables.results(analysis).head


FORECASTS = [
    scored(framework, seed, loss=0.1234, rmse=30 + seed, mae=20, r2=0.8 + seed / 100, skill=0.4 + seed / 100)
    for framework in ("keras", "lightning")
    for seed in range(3)
]


def test_a_forecast_is_told_by_loss_rmse_r2_and_skill():
    analysis = analyse(sweep(FORECASTS))
    assert analysis.columns == ("test/loss", "test/rmse", "test/r2", "test/skill")
    assert tables.results(analysis).head == ("arm", "n", "lost", "loss", "RMSE", "R²", "skill", "s / epoch")


def shown(analysis):
    """Page one on a terminal of 80 columns."""
    console = Console(width=80, file=io.StringIO())
    screen.show(
        analysis, console=console, report=Path("report.html"), store_uri="sqlite:///mlflow.db", page_of_sweep="p"
    )
    return console.file.getvalue()


def test_the_table_of_a_forecast_fits_a_terminal():
    text = shown(analyse(sweep(FORECASTS)))
    lines = text.splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("arm "))) :][:4]
    assert [line.split()[0].strip("─") for line in table] == ["arm", "", "keras", "lightning"]  # nothing is wrapped
    assert max(map(len, table)) <= 80
    assert "accuracy, %" not in text
    assert "resident memory" not in text
    assert "scores on the test set" in text


def test_skill_is_told_wherever_claims_are():
    analysis = analyse(sweep(FORECASTS))
    said = "lightning beats persistence: skill +0.41 [+0.39, +0.43], 95 % t interval over 3 seeds"  # t: 0.01 * 2.484
    assert said in " ".join(shown(analysis).split())
    assert said in page.note(analysis).replace("\\", "")
    assert said in page.html(analysis, [], model={})
    assert "1 − MSE / MSE of the reference forecast (persistence); exploratory" in " ".join(shown(analysis).split())


def test_a_skill_alone_is_no_comparison():
    claims = page.claims_of(analyse(sweep(FORECASTS[:3])))
    assert [claim.text.partition(":")[0] for claim in claims] == ["keras beats persistence", "Nothing to compare"]


def test_runs_that_a_skill_leaves_out_are_told():
    lost = run("keras", 3, outcome="diverged")
    ((_, sentence),) = analyse(sweep([*FORECASTS[:3], lost])).skills
    assert "over 3 seeds" in sentence
    assert "1/4 runs lost" in sentence


def test_the_note_holds_every_score():
    note = page.note(analyse(sweep(FORECASTS)))
    assert "| arm | loss | RMSE | MAE | R² | skill |" in note
    assert "All scores on the test set" in note


@pytest.mark.parametrize(
    ("skills", "said"),
    [
        ((0.40, 0.41, 0.42), "keras beats persistence: skill +0.41"),
        ((-0.40, -0.41, -0.42), "keras is worse than persistence: skill −0.41"),
        ((0.5, -0.4, 0.1), "keras is not shown to beat persistence: skill +0.07"),
        ((0.40, 0.41), r"keras against persistence: not assessed with 2 run(s); skill +0.41"),
    ],
)
def test_a_forecast_beats_persistence_only_where_its_interval_says_so(skills, said):
    runs = [scored("keras", seed, loss=0.1, skill=skill) for seed, skill in enumerate(skills)]
    ((_, sentence),) = analyse(sweep(runs)).skills
    assert sentence.startswith(said)


def test_tasks_without_further_scores_have_no_table_of_them():
    assert tables.scores(analyse(sweep(grid()))) is None
    assert analyse(sweep(grid())).skills == ()
