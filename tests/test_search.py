"""A search before the comparison: an equal budget for all, seeds of its own, and nothing reported but what it chose."""

import math
from pathlib import Path

import cases
import pytest
from cases import change

from experiments import search
from experiments.run import Run
from experiments.settings import GridSearch, SettingsError

RATE = "optimizer.learning_rate"


def grid(*, key=RATE, values=(0.001, 0.01, 0.1), seeds=(1000, 1001)):
    return GridSearch(key=key, values=values, seeds=seeds, metric="val/loss")


def run(task, framework, seed, *, labels=None, overrides=()):
    return Run(
        task=task,
        framework=framework,
        seed=seed,
        device="cpu",
        data_fingerprint="d",
        data_path=Path(),
        folder=Path(),
        labels={"framework": framework} | (labels or {"optimizer": task.optimizer.kind}),
        overrides=overrides or (f"framework={framework}", f"seed={seed}", "comparison=optimizers"),
    )


@pytest.fixture(scope="module")
def sgd():
    return cases.task("experiment=digits_mlp", "optimizer=sgd", precision="float32")


@pytest.fixture(scope="module")
def adam():
    return cases.task("experiment=digits_mlp", "optimizer=adam", precision="float32")


@pytest.fixture(scope="module")
def runs(sgd, adam):
    """2 optimizers x 2 frameworks x 3 seeds."""
    return [
        run(task, framework, seed) for seed in range(3) for task in (sgd, adam) for framework in ("keras", "lightning")
    ]


def scores_of(trials, score):
    return {trial.fingerprint: score(trial) for trial in trials}


def rate(trial):
    return trial.task.optimizer.learning_rate


def test_every_optimizer_gets_every_value_with_every_seed_in_every_framework(runs):
    trials = search.trials_of(grid(), runs)
    asked = [(trial.task.optimizer.kind, trial.framework, rate(trial), trial.seed) for trial in trials]
    assert sorted(asked) == sorted(
        (kind, framework, value, seed)
        for kind in ("sgd", "adam")
        for framework in ("keras", "lightning")
        for value in (0.001, 0.01, 0.1)
        for seed in (1000, 1001)
    )
    assert len({trial.fingerprint for trial in trials}) == 24


def test_a_trial_is_the_reports_run_but_for_value_and_seed(runs):
    trial = search.trials_of(grid(values=(0.5, 0.25), seeds=(77,)), runs)[0]
    assert trial.task == change(runs[0].task, optimizer={"learning_rate": 0.5})
    assert trial.labels == {"framework": "keras", "optimizer": "sgd", RATE: "0.5"}
    assert trial.overrides == ("framework=keras", "seed=77", "optimizer.learning_rate=0.5")


def test_the_number_of_trials_does_not_depend_on_the_seeds_of_the_report(runs):
    one_seed = [each for each in runs if each.seed == 0]
    names = [{trial.fingerprint for trial in search.trials_of(grid(), some)} for some in (runs, one_seed)]
    assert names[0] == names[1]


def test_seeds_of_the_report_are_refused(runs):
    message = r"`comparison\.search\.seeds` must not be seeds of the report, but both hold \[1, 2\]"
    with pytest.raises(SettingsError, match=message):
        search.check(grid(seeds=(1, 2, 1000)), runs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"key": "optimizer.rate"}, r"optimizer\.rate: there is no such setting of the task"),
        ({"key": "optimiser.learning_rate"}, r"optimiser\.learning_rate: there is no such setting"),
        ({"key": "learning_rate"}, r"learning_rate: there is no such setting"),
        ({"key": "optimizer.learning_rate.x"}, r"optimizer\.learning_rate\.x: there is no such setting"),
        ({"values": (0.1, -1.0)}, r"`learning_rate > 0` must hold, but got -1\.0"),
        ({"values": (0.1, math.nan)}, r"optimizer\.learning_rate: must be a finite number, but got nan"),
        ({"key": "regularization.dropout", "values": (0.5, 1.0)}, r"`0 <= dropout < 1` must hold, but got 1\.0"),
        ({"key": "optimizer.momentum", "values": (0.5, 0.9)}, r"optimizer\.momentum: there is no such setting"),  # adam
    ],
)
def test_a_search_that_cannot_be_is_refused_before_anything_is_trained(runs, wrong, message):
    with pytest.raises(SettingsError, match=message):
        search.check(grid(**wrong), runs)


def test_a_search_that_can_be_is_not_refused(runs):
    search.check(grid(), runs)
    search.check(grid(key="regularization.dropout", values=(0.0, 0.5)), runs)


def test_a_value_that_was_typed_is_not_silently_replaced_by_the_searchs(sgd):
    typed = [run(sgd, "keras", 0, labels={RATE: "0.1"})]
    with pytest.raises(SettingsError, match=r"`optimizer\.learning_rate` must not be set beside `comparison\.search`"):
        search.check(grid(), typed)


def test_a_count_can_be_searched(runs):
    search.check(grid(key="training.batch_size", values=(16.0, 32.0)), runs)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"values": (0.1,)}, r"at least 2 search\.values"),
        ({"values": (0.1, 0.2, 0.1)}, r"search\.values without repetition"),
        ({"seeds": ()}, r"at least 1 of search\.seeds"),
    ],
)
def test_a_search_needs_something_to_choose_from(wrong, message):
    with pytest.raises(ValueError, match=message):
        grid(**wrong)


def test_the_value_with_the_lowest_mean_is_chosen_for_each_optimizer(runs):
    """Means over frameworks and seeds; for sgd .1 has the best single trial but .01 the best mean."""
    by_hand = {("sgd", 0.001): 5.0, ("sgd", 0.01): 2.0, ("sgd", 0.1): 3.0}
    by_hand |= {("adam", 0.001): 1.0, ("adam", 0.01): 4.0, ("adam", 0.1): 9.0}

    def score(trial):
        lucky = trial.task.optimizer.kind == "sgd" and rate(trial) == 0.1 and trial.seed == 1000
        spread = -2.0 if lucky else 2.0 if rate(trial) == 0.1 and trial.task.optimizer.kind == "sgd" else 0.0
        return by_hand[trial.task.optimizer.kind, rate(trial)] + spread

    choices = search.choose(grid(), runs, scores=scores_of(search.trials_of(grid(), runs), score))
    assert [(choice.labels["optimizer"], choice.value, choice.score) for choice in choices] == [
        ("sgd", 0.01, 2.0),
        ("adam", 0.001, 1.0),
    ]
    assert [choice.at_edge for choice in choices] == [False, True]
    assert {(each.key, each.metric, each.n_trials, each.low, each.high) for each in choices} == {
        (RATE, "val/loss", 12, 0.001, 0.1)  # 3 values x 2 seeds x 2 frameworks
    }


@pytest.mark.parametrize("lost", [math.inf, math.nan, None])
def test_a_value_with_one_failed_trial_is_not_chosen(runs, lost):
    trials = search.trials_of(grid(), runs)
    scores = scores_of(trials, rate)  # the lower the rate, the better
    victim = next(trial for trial in trials if rate(trial) == 0.001 and trial.task.optimizer.kind == "sgd")
    scores[victim.fingerprint] = lost
    if lost is None:
        del scores[victim.fingerprint]
    assert [choice.value for choice in search.choose(grid(), runs, scores=scores)] == [0.01, 0.001]


def test_where_no_value_came_through_nothing_is_chosen_and_its_runs_are_left_out(runs):
    trials = search.trials_of(grid(), runs)
    scores = scores_of(trials, lambda trial: math.inf if trial.task.optimizer.kind == "sgd" else 1.0)
    choices = search.choose(grid(), runs, scores=scores)
    assert [(choice.value, choice.score, choice.at_edge) for choice in choices] == [
        (None, None, False),
        (0.001, 1.0, True),
    ]
    assert {each.task.optimizer.kind for each in search.with_choices(runs, choices)} == {"adam"}
    assert {choice.value for choice in search.choose(grid(), runs, scores={})} == {None}


def test_both_frameworks_get_the_same_value_and_keep_the_reports_seeds(runs):
    trials = search.trials_of(grid(), runs)
    scores = scores_of(trials, lambda trial: abs(rate(trial) - (0.1 if trial.framework == "keras" else 0.01)))
    settled = search.with_choices(runs, search.choose(grid(), runs, scores=scores))
    assert [(each.framework, each.seed) for each in settled] == [(each.framework, each.seed) for each in runs]
    assert [each.labels for each in settled] == [each.labels for each in runs]
    assert {rate(each) for each in settled} == {0.01}  # means: .0495 at .001, .045 at .01 and at .1; the first wins
    assert settled[0].overrides == ("framework=keras", "seed=0", "optimizer.learning_rate=0.01")
    assert not {each.fingerprint for each in settled} & {trial.fingerprint for trial in trials}


@pytest.mark.parametrize(
    ("value", "low", "high", "near"),
    [
        (1e-4, 1e-4, 1e-1, True),
        (1e-1, 1e-4, 1e-1, True),
        (1.5e-4, 1e-4, 1e-1, True),  # log10(1.5) / 3 = .059
        (1e-3, 1e-4, 1e-1, False),  # a third of the way on the log scale, 1 % of it on the linear one
        (0.0, 0.0, 0.6, True),
        (0.1, 0.0, 0.6, False),  # a sixth; 0 has no logarithm
        (0.57, 0.0, 0.6, True),
    ],
)
def test_the_edge_is_the_outer_tenth_on_the_log_scale_where_there_is_one(value, low, high, near):
    assert search.is_near_edge(value, low=low, high=high) is near


def test_the_command_of_a_run_loses_the_search_and_gets_its_value(sgd):
    typed = ("comparison=optimizers", "comparison.search.seeds=[7]", "+optimizer.learning_rate=3", "optimizer=sgd",
             "seed=4", "optimizer.learning_rate_decay=1")  # fmt: skip
    told = search.overrides_with(run(sgd, "keras", 4, overrides=typed), RATE, 1e-4, seed=5)
    assert told == ("optimizer=sgd", "optimizer.learning_rate_decay=1", "seed=5", "optimizer.learning_rate=0.0001")


@pytest.mark.parametrize("value", [1e-4, 3e-4, 0.1, 3.0, 1e-5, 0.1 + 0.2, 1 / 3, 1e20, 0.0])
def test_a_value_is_written_so_that_reading_it_gives_it_back(value):
    assert float(search.written(value)) == value


def test_values_that_differ_in_the_seventh_digit_are_not_mixed_up(runs):
    near = grid(values=(0.1234567, 0.1234568))
    scores = scores_of(search.trials_of(near, runs), rate)
    assert {choice.value for choice in search.choose(near, runs, scores=scores)} == {0.1234567}


def test_what_a_person_calls_a_run_moves_it_to_no_other_group(sgd):
    same = [run(sgd, "keras", 0), run(sgd, "lightning", 9, labels={"optimizer": "mine"})]
    assert search.group_of(same[0]) == search.group_of(same[1])
    assert search.group_of(run(change(sgd, training={"epochs": 3}), "keras", 0)) != search.group_of(same[0])
