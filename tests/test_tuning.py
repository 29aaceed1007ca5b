"""Studies without training: what is asked, what is told, what survives a fault, and what is refused."""

import contextlib
import dataclasses
import itertools
import math
import os
import shutil
import sqlite3
import sys
from pathlib import Path

import cases
import numpy as np
import optuna
import pytest
import yaml
from cases import change
from commands import command, refuse_to_start
from rich.text import Text
from test_space import rates, search, whole, words

import frameworks
from experiments import data, settings
from experiments.data.spec import ExampleSpec
from experiments.errors import Locked, SettingsError, StoreUnavailable
from experiments.execution import locks
from experiments.execution.environment import process_start
from experiments.execution.locks import Owner
from experiments.execution.run import Finished, Run
from experiments.execution.worker import train as train_run
from experiments.task import keys
from experiments.task.search_space import INDEPENDENT, Dimension, Objective, Pruner, Sampler
from experiments.tuning import search as searching
from experiments.tuning import studies
from experiments.tuning.best import tuned_values, with_best_values, write_best
from experiments.tuning.checks import check_search
from experiments.tuning.tuner import open_tuner
from experiments.tuning.wording import line_of_trial, values_in_words

RATE, DEPTH, ACTIVATION = "optimizer.learning_rate", "network.depth", "network.activation"
EPOCHS = 4
BOTH = {RATE: rates(), DEPTH: whole()}


@pytest.fixture(scope="module")
def task():
    settled = cases.task("experiment=digits_mlp", precision="float32")
    return change(settled, training={"epochs": EPOCHS}, network={"depth": 2})


def run_of(task, framework="keras", seed=0, *, labels=None, overrides=()):
    return Run(
        task=task,
        framework=framework,
        seed=seed,
        device="cpu",
        data_fingerprint="d",
        data_path=Path(),
        folder=Path(),
        labels={"framework": framework} | (labels or {}),
        overrides=overrides or (f"framework={framework}", f"seed={seed}", "tuning=lr_depth", "tuning.trials=4"),
    )


@pytest.fixture
def runs(task):
    return [run_of(task, framework, seed) for seed in (0, 1) for framework in ("keras", "lightning")]


@pytest.fixture
def opened(runs, monkeypatch):
    """`opened(trials=8)`: the studies of such a search, kept in memory; again: as after a fault."""
    kept = optuna.storages.InMemoryStorage()
    monkeypatch.setattr(studies, "_open_storage", lambda url: kept)

    def open_them(*, runs=runs, **changes):
        return open_tuner(search(**({"storage": "memory:"} | changes)), runs, experiment="digits_mlp")

    return open_them


@pytest.fixture(scope="session")
def empty_storage(tmp_path_factory):
    """An empty database of Optuna's: making one takes a second, copying it does not."""
    path = tmp_path_factory.mktemp("template") / "optuna.db"
    optuna.storages.RDBStorage(f"sqlite:///{path}")
    return path


@pytest.fixture
def opened_file(runs, tmp_path, empty_storage):
    """As `opened`, in a file: a fault leaves nothing but what is written there."""
    shutil.copy(empty_storage, tmp_path / "optuna.db")

    def open_them(*, runs=runs, **changes):
        asked = search(storage=f"sqlite:///{tmp_path}/optuna.db", **changes)
        return open_tuner(asked, runs, experiment="digits_mlp")

    return open_them


def loss(active):
    """Best at a rate of 3e-3 and a depth of 2."""
    found = active.run.task
    return abs(math.log10(found.optimizer.learning_rate / 3e-3)) + 0.1 * abs(found.network.depth - 2)


def begin(tuner, *, epochs=0, score=loss):
    """A trial that has reported some epochs; None at the end."""
    active = tuner.ask()
    if active is not None:
        tuner.start(active, f"run {active.study.arm} {active.number}")
        for epoch in range(1, epochs + 1):
            assert not tuner.report(active, epoch, {"val/loss": score(active) + 1 / epoch})
    return active


def train(tuner, active, *, score=loss, seconds=1.0):
    """What a worker would tell of a trial that has begun; its state."""
    for epoch in range(1, active.run.task.training.epochs + 1):
        metrics = {"val/loss": score(active) + 1 / epoch, "time/fit": 2.0**active.run.task.network.depth}
        if tuner.report(active, epoch, metrics):
            return tuner.tell(active, outcome="pruned", reason=f"after {epoch}", metrics={}, seconds=seconds)
    return tuner.tell(active, outcome="finished", reason="", metrics=metrics, seconds=seconds)


def train_all(tuner, **keywords):
    """Every trial that is left, one after another; how many there were."""
    for count in itertools.count():
        if (active := begin(tuner)) is None:
            return count
        train(tuner, active, **keywords)
    raise AssertionError("count never ends")


def trials_of(tuner, at=0):
    return tuner.studies[at].study.get_trials()


def points(tuner, at=0):
    return [trial.params for trial in trials_of(tuner, at)]


def states(tuner, at=0):
    return [trial.state.name for trial in trials_of(tuner, at)]


def as_set(found):
    return {tuple(sorted(point.items())) for point in found}


# Points


@pytest.mark.parametrize("name", ["TPESampler", "RandomSampler", "QMCSampler"])
def test_trial_0_has_the_configs_own_values(opened, name):
    tuner = opened(space=BOTH, sampler=Sampler(name=name, seed=0))
    train_all(tuner)
    assert points(tuner)[0] == points(tuner, 1)[0] == {RATE: 1e-3, DEPTH: 2}
    assert len(as_set(points(tuner))) == 4


@pytest.mark.parametrize("space", [{RATE: rates(low=1e-2)}, {DEPTH: whole(low=1, high=3, step=2), RATE: rates()}])
def test_trial_0_is_drawn_where_the_configs_own_values_lie_outside(opened, space):
    tuner = opened(space=space)
    train_all(tuner)
    assert len(points(tuner)) == 4
    assert all(space[key].holds(value) for point in points(tuner) for key, value in point.items())


@pytest.mark.parametrize("name", INDEPENDENT)
def test_a_sampler_that_looks_at_no_score_gives_both_frameworks_the_same_points(opened, name):
    tuner = opened(trials=9, space=BOTH, sampler=Sampler(name=name, seed=3))
    scores = iter(np.random.default_rng(0).random(100))
    train_all(tuner, score=lambda active: next(scores))
    assert points(tuner) == points(tuner, 1)
    assert len(as_set(points(tuner))) == 9


def test_points_that_are_shared_are_one_sequence_of_optunas_own(opened):
    """Not the first point of nine sequences."""
    tuner = opened(trials=9, space=BOTH, sampler=Sampler(name="QMCSampler", seed=3, options={"scramble": True}))
    train_all(tuner)
    study = optuna.create_study(sampler=optuna.samplers.QMCSampler(seed=3, scramble=True))
    by_optuna = []
    for _ in range(9):
        trial = study.ask()
        by_optuna.append({RATE: trial.suggest_float(RATE, 1e-4, 1e-1, log=True), DEPTH: trial.suggest_int(DEPTH, 1, 3)})
        study.tell(trial, 0.0)
    assert points(tuner)[1:] == by_optuna[1:]  # trial 0 is the config's own


@pytest.mark.parametrize("name", ["RandomSampler", "QMCSampler"])
def test_more_trials_of_the_same_search_go_on_where_it_ended(opened, name):
    sampler = Sampler(name=name, seed=3)
    train_all(opened(trials=4, sampler=sampler))
    more = opened(trials=7, sampler=sampler)
    assert train_all(more) == 2 * 3
    at_once = opened(trials=7, sampler=sampler, study="another")
    train_all(at_once)
    assert points(more) == points(at_once)


def test_a_grid_is_tried_once_whole_and_then_ends(opened):
    space = {RATE: rates(points=3), DEPTH: whole()}
    tuner = opened(trials=50, space=space, sampler=Sampler(name="GridSampler", seed=0))
    assert train_all(tuner) == 2 * 9
    asked = {(point[DEPTH], round(math.log10(point[RATE]), 9)) for point in points(tuner)}
    assert asked == set(itertools.product((1, 2, 3), (-4.0, -2.5, -1.0)))


def test_a_grid_with_a_condition_is_tried_whole_too(opened):
    """5 of the 9 points of the full grid are different: depth 1 and 3 keep the config's width."""
    space = {DEPTH: whole(), "network.width": words(16, 32, 48, when={DEPTH: 2})}
    tuner = opened(trials=50, space=space, sampler=Sampler(name="GridSampler", seed=0))
    train_all(tuner)
    by_hand = [{DEPTH: 1}, {DEPTH: 3}] + [{DEPTH: 2, "network.width": width} for width in (16, 32, 48)]
    assert len(points(tuner)) == 5
    assert as_set(points(tuner)) == as_set(by_hand)


def test_a_key_is_tried_only_where_its_condition_holds(opened):
    space = {DEPTH: whole(), "network.width": whole(low=16, high=48, when={DEPTH: [2, 3]})}
    tuner = opened(trials=12, space=space)
    widths = {}
    while (active := begin(tuner)) is not None:
        widths[active.study.arm, active.number] = active.run.task.network.width
        train(tuner, active)
    assert {point[DEPTH] for point in points(tuner)} == {1, 2, 3}
    for number, point in enumerate(points(tuner)):
        assert ("network.width" in point) == (point[DEPTH] > 1)
        assert widths["keras", number] == point.get("network.width", 64)  # 64: the config's own


def test_a_condition_may_name_a_key_that_is_not_searched(opened, task):
    space = {RATE: rates(when={ACTIVATION: "tanh"}), DEPTH: whole()}
    tuner = opened(space=space)
    train_all(tuner)
    assert all(set(point) == {DEPTH} for point in points(tuner))  # the config's activation is relu


def test_words_are_tried_as_words(opened):
    space = {ACTIVATION: words("relu", "tanh", "gelu"), RATE: rates()}
    tuner = opened(trials=12, space=space)
    tried = {begin(tuner).run.task.network.activation for _ in range(24)}
    assert tried == {"relu", "tanh", "gelu"}
    assert points(tuner)[0][ACTIVATION] == "relu"


def test_a_trial_is_the_reports_run_but_for_its_values_and_seed(opened, runs):
    tuner = opened(space=BOTH)
    train(tuner, begin(tuner))
    active = next(each for each in iter(lambda: begin(tuner), None) if each.number == 1)
    values = trials_of(tuner, tuner.studies.index(active.study))[1].params
    assert active.run.task == settings.with_values(runs[0].task, values)
    assert (active.run.seed, active.run.is_trial) == (1000, True)
    framework = active.run.framework
    typed = [f"{key}={keys.format_value(value)}" for key, value in values.items()]
    assert list(active.run.overrides) == [f"framework={framework}", "seed=1000", *typed]
    assert active.run.labels[DEPTH] == str(values[DEPTH])


def test_the_seeds_of_the_report_do_not_change_the_study(opened, task):
    train_all(opened())
    more_seeds = [run_of(task, framework, seed) for seed in range(5) for framework in ("keras", "lightning")]
    assert train_all(opened(runs=more_seeds)) == 0


def test_each_optimizer_is_an_arm_of_its_own(opened, task):
    sgd = cases.task("experiment=digits_mlp", "optimizer=sgd", precision="float32")
    runs = [
        run_of(each, framework, labels={"optimizer": each.optimizer.kind})
        for each in (task, sgd)
        for framework in ("keras", "lightning")
    ]
    tuner = opened(runs=runs, trials=2)
    assert [study.arm for study in tuner.studies] == [
        "keras · adam",
        "lightning · adam",
        "keras · sgd",
        "lightning · sgd",
    ]
    assert train_all(tuner) == 4 * 2


# Faults


def kill_after_the_question(tuner):
    """The parent dies between a trial's number and its point."""
    tuner.studies[0].study.ask()


def kill_before_the_trial(tuner):
    """The parent dies between a point and its trial."""
    tuner.studies[0].study.enqueue_trial({RATE: 0.0123})


def kill_before_the_first_epoch(tuner):
    tuner.ask()


def kill_in_mid_trial(tuner):
    begin(tuner, epochs=2)


def kill_two_at_a_time(tuner):
    begin(tuner, epochs=1)
    begin(tuner, epochs=2)


KILLS = (
    kill_after_the_question,
    kill_before_the_trial,
    kill_before_the_first_epoch,
    kill_in_mid_trial,
    kill_two_at_a_time,
)


@pytest.mark.parametrize(("name", "storage"), [("TPESampler", "opened_file"), ("RandomSampler", "opened")])
@pytest.mark.parametrize("kill", KILLS)
@pytest.mark.parametrize("n_before", [0, 3])
def test_whatever_was_killed_the_number_of_trials_is_right_and_no_point_comes_twice(
    request, kill, n_before, name, storage
):
    opened = request.getfixturevalue(storage)
    sampler = Sampler(name=name, seed=0, options={"n_startup_trials": 3} if name == "TPESampler" else {})
    first = opened(trials=4, sampler=sampler)
    for _ in range(n_before):
        train(first, begin(first))
    kill(first)
    before = {trial.number: trial.params for trial in trials_of(first) if trial.params}
    again = opened(trials=4, sampler=sampler)
    train_all(again)
    for at in (0, 1):
        assert states(again, at) == ["COMPLETE"] * 4
        assert [trial.number for trial in trials_of(again, at)] == list(range(4))
        assert len(as_set(points(again, at))) == 4
    assert {number: points(again)[number] for number in before} == before


def test_a_trial_that_had_no_point_yet_gets_one_of_its_own(opened):
    space = {RATE: rates(low=1e-2)}  # trial 0 is drawn too, and nothing else may be drawn alike
    first = opened(trials=5, space=space)
    for _ in range(4):
        train(first, begin(first))
    kill_after_the_question(first)
    again = opened(trials=5, space=space)
    train_all(again)
    assert [len(as_set(points(again, at))) for at in (0, 1)] == [5, 5]


def test_tpe_repeats_no_point_after_any_number_of_kills(opened_file):
    opened = opened_file
    sampler = Sampler(name="TPESampler", seed=0, options={"n_startup_trials": 4})
    for _ in range(8):
        tuner = opened(trials=8, sampler=sampler, space={RATE: rates(low=1e-2)})  # trial 0 is drawn too
        for _ in range(2):
            train(tuner, begin(tuner))
    assert train_all(opened(trials=8, sampler=sampler, space={RATE: rates(low=1e-2)})) == 0
    assert [len(as_set(points(tuner, at))) for at in (0, 1)] == [8, 8]


def test_an_orphan_is_trained_again_first_under_its_number_with_its_point(opened_file):
    opened = opened_file
    first = opened(trials=3)
    train(first, begin(first))
    orphan = begin(first, epochs=2)
    again = opened(trials=3)
    adopted = again.ask()
    assert (adopted.study.arm, adopted.number) == (orphan.study.arm, orphan.number) == ("lightning", 0)
    assert adopted.run == orphan.run
    assert adopted.earlier_run_id == f"run lightning {orphan.number}"
    assert train(again, adopted) == "COMPLETE"
    assert again.studies[1].to_retry == again.studies[0].to_retry  # nothing left of either


def test_a_trial_that_is_trained_again_is_not_pruned_for_what_it_reported_before(opened, task):
    """Optuna judges by the last epoch reported; until the second try is there, it would judge the first try."""
    pruner = Pruner(name="MedianPruner", options={"n_startup_trials": 2})
    tuner = opened(trials=4, pruner=pruner, runs=[run_of(task)])
    cut_short = begin(tuner, epochs=3, score=lambda _: 9.0)
    for _ in range(2):
        train(tuner, begin(tuner), score=lambda _: 1.0)
    again = opened(trials=4, pruner=pruner, runs=[run_of(task)])
    adopted = begin(again)
    assert adopted.number == cut_short.number
    assert [again.report(adopted, epoch, {"val/loss": 9.0}) for epoch in (1, 2, 3)] == [False, False, True]


def test_a_trial_whose_worker_was_killed_is_trained_once_more_under_its_number(opened):
    tuner = opened(trials=3)
    active = begin(tuner, epochs=2)
    assert tuner.tell(active, outcome="killed", reason="SIGKILL", metrics={}, seconds=1.0) == ""
    second = begin(tuner)
    assert (second.number, second.tries, second.run) == (active.number, 2, active.run)
    assert train(tuner, second) == "COMPLETE"
    train_all(tuner)
    assert [len(states(tuner, at)) for at in (0, 1)] == [3, 3]


@pytest.mark.parametrize("is_new_process", [False, True])
def test_a_trial_whose_worker_is_killed_twice_fails_with_its_reason(opened, is_new_process):
    tuner = opened(trials=3)
    first = begin(tuner)
    assert tuner.tell(first, outcome="killed", reason="SIGKILL", metrics={}, seconds=1.0) == ""
    tuner = opened(trials=3) if is_new_process else tuner
    second = begin(tuner)
    assert tuner.tell(second, outcome="killed", reason="SIGKILL again", metrics={}, seconds=1.0) == "FAIL"
    train_all(tuner)
    assert states(tuner) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert tuner.records()[0].trials[0].reason == "SIGKILL again"


@pytest.mark.parametrize(
    ("outcome", "reason", "metrics", "kept"),
    [
        ("diverged", "the training loss became nan at step 3", {}, "the training loss became nan at step 3"),
        ("failed", "out of memory", {}, "out of memory"),
        ("finished", "", {"val/loss": math.nan}, "val/loss is nan"),
        ("finished", "", {"val/loss": math.inf}, "val/loss is inf"),
        ("finished", "", {"val/loss": 1.7976931348623157e308}, "val/loss is 1.7976931348623157e+308"),
        ("finished", "", {"val/loss": -1.0}, "val/loss is -1.0"),
        ("finished", "", {"val/accuracy": 0.5}, "val/loss is not among its metrics"),
    ],
)
def test_what_fails_by_itself_fails_once_with_its_reason_and_the_study_goes_on(opened, outcome, reason, metrics, kept):
    tuner = opened(trials=4)
    bad = begin(tuner)
    assert not tuner.report(bad, 1, {"val/loss": math.nan})
    assert tuner.tell(bad, outcome=outcome, reason=reason, metrics=metrics, seconds=2.0) == "FAIL"
    train_all(tuner)
    assert states(tuner) == ["FAIL", "COMPLETE", "COMPLETE", "COMPLETE"]
    first = tuner.records()[0].trials[0]
    assert (first.reason, first.scores, first.epochs, first.seconds) == (kept, (), 1, 2.0)


def test_values_that_cannot_be_together_are_one_failed_trial(opened):
    """5 epochs of warm-up fit into 8 epochs of training, but not into 2."""
    space = {"training.epochs": words(2, 8), "schedule.warmup_epochs": words(0.0, 5.0)}
    tuner = opened(trials=9, space=space, sampler=Sampler(name="GridSampler", seed=0))
    assert train_all(tuner) == 2 * 3
    failed = [trial for trial in tuner.records()[0].trials if trial.state == "FAIL"]
    assert [trial.values for trial in failed] == [{"training.epochs": 2, "schedule.warmup_epochs": 5.0}]
    assert "`schedule.warmup_epochs < 2 epochs` must hold" in failed[0].reason


# Pruning and budget


def test_the_median_pruner_prunes_what_is_worse_and_never_at_the_last_epoch(opened, task):
    pruner = Pruner(name="MedianPruner", options={"n_startup_trials": 2, "n_warmup_steps": 2})
    tuner = opened(runs=[run_of(task)], trials=6, pruner=pruner)
    for _ in range(3):
        assert train(tuner, begin(tuner), score=lambda _: 1.0) == "COMPLETE"
    bad = begin(tuner)
    told = [tuner.report(bad, epoch, {"val/loss": 9.0}) for epoch in range(1, EPOCHS + 1)]
    assert told == [False, True, True, False]  # pruned from epoch 2 on, but not where nothing is saved any more
    assert tuner.tell(bad, outcome="finished", reason="", metrics={"val/loss": 9.0}, seconds=1.0) == "COMPLETE"
    assert train(tuner, begin(tuner), score=lambda _: 5.0) == "PRUNED"
    pruned = tuner.records()[0].trials[4]
    assert (pruned.state, pruned.epochs, pruned.scores) == ("PRUNED", 2, ())
    assert pruned.reported == ((1, 6.0), (2, 5.5))


def test_the_last_epoch_is_the_trials_own(opened, task):
    """Where the number of epochs is searched, each trial ends at its own."""
    pruner = Pruner(name="MedianPruner", options={"n_startup_trials": 1})
    tuner = opened(runs=[run_of(task)], trials=6, pruner=pruner, space={"training.epochs": whole(low=2, high=4)})
    train(tuner, begin(tuner), score=lambda _: 1.0)
    while (active := begin(tuner)) is not None:
        own = active.run.task.training.epochs
        told = [tuner.report(active, epoch, {"val/loss": 9.0}) for epoch in range(1, own + 1)]
        assert told == [True] * (own - 1) + [False]
        tuner.tell(active, outcome="pruned", reason="", metrics={}, seconds=1.0)


def test_no_new_trial_begins_once_the_seconds_are_spent_not_even_after_a_fault(opened):
    budget = {"trials": 10, "timeout_seconds": 25.0}
    assert train_all(opened(**budget), seconds=10.0) == 2 * 3  # after the third 30 s are spent
    assert train_all(opened(**budget), seconds=10.0) == 0


def test_all_arms_get_their_trials_in_turn(opened):
    tuner = opened(trials=3)
    order = [(active.study.arm, active.number) for active in iter(lambda: begin(tuner), None)]
    assert order == [(arm, number) for number in range(3) for arm in ("keras", "lightning")]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("TPESampler", {"n_startup_trials": 1, "multivariate": True}),
        ("RandomSampler", {}),
        ("QMCSampler", {"qmc_type": "halton"}),
        ("GPSampler", {"n_startup_trials": 1}),
        ("GridSampler", {}),
        ("CmaEsSampler", {"n_startup_trials": 1}),
    ],
)
def test_every_sampler_works(opened, task, name, options):
    if name == "CmaEsSampler":
        pytest.importorskip("cmaes", reason="the extra cmaes is not installed")
    sampler = Sampler(name=name, seed=0, options=options)
    tuner = opened(runs=[run_of(task)], trials=4, space=BOTH, sampler=sampler)
    check_search(tuner.settings, [run_of(task)])
    train_all(tuner)
    assert states(tuner) == ["COMPLETE"] * 4
    assert len(as_set(points(tuner))) == 4


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("NopPruner", {}),
        ("MedianPruner", {"n_startup_trials": 1}),
        ("PercentilePruner", {"percentile": 25.0, "n_startup_trials": 1}),
        ("SuccessiveHalvingPruner", {"min_resource": 1, "reduction_factor": 2}),
        ("HyperbandPruner", {"min_resource": 1, "max_resource": EPOCHS, "reduction_factor": 2}),
    ],
)
def test_every_pruner_works(opened, task, name, options):
    tuner = opened(runs=[run_of(task)], trials=12, pruner=Pruner(name=name, options=options))
    check_search(tuner.settings, [run_of(task)])
    scores = itertools.count(1)
    train_all(tuner, score=lambda active: float(next(scores)))  # ever worse
    assert set(states(tuner)) == {"COMPLETE"} if name == "NopPruner" else {"COMPLETE", "PRUNED"}
    assert len(states(tuner)) == 12


# Studies in their storage


def test_another_space_under_the_same_name_is_refused_and_without_a_name_is_another_study(opened):
    train_all(opened(study="mine"))
    message = r"tuning\.study: 'mine · keras' in memory: was made by another search .*give this one another name"
    for changes in (
        {"space": {RATE: rates(high=1.0)}},
        {"seed": 1001},
        {"sampler": Sampler(name="TPESampler", seed=1)},
    ):
        with pytest.raises(SettingsError, match=message):
            opened(study="mine", **changes)
    assert train_all(opened(study="mine", trials=5)) == 2  # more trials are the same search
    one, other = opened(), opened(space={RATE: rates(high=1.0)})
    assert {study.name for study in one.studies}.isdisjoint(study.name for study in other.studies)
    assert all(study.name.startswith("digits_mlp · test · ") for study in one.studies)


def test_other_data_and_another_task_are_other_studies(opened, task):
    names = {opened(runs=[run_of(each)]).studies[0].name for each in (task, change(task, network={"width": 65}))}
    assert len(names) == 2


def test_optunas_own_loader_finds_study_scores_and_metric_names(opened_file):
    tuner = opened_file(study="mine")
    train_all(tuner)
    loaded = optuna.load_study(study_name="mine · keras", storage=tuner.settings.storage)
    assert loaded.best_value == min(trial.values[0] for trial in loaded.trials)
    assert loaded.metric_names == ["val/loss"]


@pytest.mark.parametrize("url", ["nonsense://x", "sqlite:////proc/no/such.db", "mysql://nobody@127.0.0.1:9/x"])
def test_a_storage_that_cannot_be_opened_is_said(runs, url):
    with pytest.raises(StoreUnavailable, match=r"tuning\.storage: .* cannot be opened or used: "):
        open_tuner(search(storage=url), runs, experiment="x")


def test_a_storage_that_fails_in_mid_search_is_said(opened_file, tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "PATIENCE_SECONDS", 0.1)
    tuner = opened_file()

    def ask_while_it_is_locked(*_):
        with contextlib.closing(sqlite3.connect(tmp_path / "optuna.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            tuner.ask()

    monkeypatch.setattr(searching, "_search", ask_while_it_is_locked)
    with pytest.raises(StoreUnavailable, match=r"cannot be opened or used: .*database is locked.*same command"):
        searching.run_search(None, tuner.settings)
    assert tuner.ask() is not None


# What was found


def test_two_objectives_give_a_front(opened, task):
    objectives = tuple(Objective(metric=metric, direction="minimize") for metric in ("val/loss", "time/fit"))
    tuner = opened(runs=[run_of(task)], trials=10, space=BOTH, objectives=objectives)
    train_all(tuner, score=lambda active: 3.0 - active.run.task.network.depth + loss(active))
    record = tuner.records()[0]
    scores = {trial.number: trial.scores for trial in record.trials}
    front = {
        a
        for a, one in scores.items()
        if not any(
            all(x <= y for x, y in zip(scores[b], one, strict=True)) and scores[b] != one for b in scores if b != a
        )
    }
    assert set(record.best) == front
    assert 2 <= len(front) < 10
    assert [scores[number][0] for number in record.best] == sorted(scores[number][0] for number in front)
    assert tuned_values(tuner)[0].score == scores[record.best[0]][0]


@pytest.mark.parametrize(("best", "at_edge"), [(1e-4, True), (3e-3, False), (1e-1, True)])
def test_a_tuned_value_says_whether_it_lies_at_the_edge(opened, best, at_edge):
    sampler = Sampler(name="GridSampler", seed=0)
    tuner = opened(trials=8, sampler=sampler)
    train_all(tuner, score=lambda active: abs(math.log(active.run.task.optimizer.learning_rate / best)))
    tuned = tuned_values(tuner)[0]
    assert (tuned.key, tuned.metric, tuned.n_trials, tuned.low, tuned.high) == (RATE, "val/loss", 8, 1e-4, 1e-1)
    assert tuned.value == min(tuner.settings.space[RATE].grid(), key=lambda rate: abs(math.log(rate / best)))
    assert tuned.at_edge is at_edge


def test_a_study_without_a_result_chooses_nothing(opened, runs, tmp_path):
    tuner = opened(trials=2)
    while (active := begin(tuner)) is not None:
        tuner.tell(active, outcome="failed", reason="no", metrics={}, seconds=1.0)
    assert [(each.value, each.score) for each in tuned_values(tuner)] == [(None, None)] * 2
    assert [run.labels["setting"] for run in with_best_values(tuner, runs)] == ["default"] * 4
    assert write_best(tuner, folder=tmp_path, experiment="x") == {}
    assert [record.best for record in tuner.records()] == [(), ()]
    alone = opened(trials=2, default=False)
    assert with_best_values(alone, runs) == []


def test_the_report_gets_the_best_beside_the_configs_own(opened, runs):
    tuner = opened(trials=8, space=BOTH)
    train_all(tuner)
    best = {study.template.framework: study.study.best_params for study in tuner.studies}
    found = with_best_values(tuner, runs)
    asked = [(run.framework, run.seed, run.labels["setting"]) for run in found]
    assert asked == [(run.framework, run.seed, each) for run in runs for each in ("default", "tuned")]
    for default, tuned in zip(found[::2], found[1::2], strict=True):
        assert default.task == runs[0].task
        assert tuned.task == settings.with_values(runs[0].task, best[tuned.framework])
        typed = [f"{key}={keys.format_value(value)}" for key, value in best[tuned.framework].items()]
        assert list(tuned.overrides) == [f"framework={tuned.framework}", f"seed={tuned.seed}", *typed]
        assert list(default.overrides) == [f"framework={tuned.framework}", f"seed={tuned.seed}"]  # searches nothing
        assert not tuned.is_trial


def test_without_default_the_best_alone_is_trained(opened, runs):
    tuner = opened(trials=8, default=False)
    train_all(tuner)
    found = with_best_values(tuner, runs)
    assert [(run.framework, run.seed) for run in found] == [(run.framework, run.seed) for run in runs]
    assert all("setting" not in run.labels for run in found)
    assert found[0].task.optimizer.learning_rate == tuner.studies[0].study.best_params[RATE]


def test_nothing_is_trained_twice_where_the_configs_own_setting_is_the_best(opened, runs):
    tuner = opened(trials=4)
    train_all(tuner, score=lambda active: float(active.number))
    found = with_best_values(tuner, runs)
    assert [(run.framework, run.seed, run.labels["setting"]) for run in found] == [
        (run.framework, run.seed, "default") for run in runs
    ]
    assert len({run.fingerprint for run in found}) == 4


def test_a_record_holds_what_happened(opened, task):
    pruner = Pruner(name="MedianPruner", options={"n_startup_trials": 2})
    tuner = opened(runs=[run_of(task)], trials=6, space=BOTH, pruner=pruner)
    for score in (3.0, 1.0, 2.0, 9.0):
        train(tuner, begin(tuner), score=lambda _, score=score: score, seconds=score)
    bad = begin(tuner)
    tuner.tell(bad, outcome="diverged", reason="weights became not finite: a", metrics={}, seconds=0.5)
    begin(tuner, epochs=1)
    record = tuner.records()[0]
    assert [trial.state for trial in record.trials] == ["COMPLETE"] * 3 + ["PRUNED", "FAIL", "RUNNING"]
    assert [trial.number for trial in record.trials] == list(range(6))
    assert [trial.scores for trial in record.trials] == [(3.25,), (1.25,), (2.25,), (), (), ()]
    assert [trial.epochs for trial in record.trials] == [4, 4, 4, 1, 0, 0]
    assert [trial.seconds for trial in record.trials] == [3.0, 1.0, 2.0, 9.0, 0.5, 0.0]
    assert record.trials[1].reported == ((1, 2.0), (2, 1.5), (3, pytest.approx(4 / 3)), (4, 1.25))
    assert record.trials[4].reason == "weights became not finite: a"
    assert [trial.run_id for trial in record.trials] == [f"run keras {number}" for number in range(6)]
    assert record.best == (1,)
    assert (record.arm, record.framework, record.sampler, record.pruner) == (
        "keras",
        "keras",
        "TPESampler",
        "MedianPruner",
    )
    assert record.objectives == (("val/loss", "minimize"),)
    assert (record.space[RATE]["low"], record.space[RATE]["log"], record.space[DEPTH]["high"]) == (1e-4, True, 3)
    times = [(trial.began, trial.ended) for trial in record.trials[:5]]
    assert times[0][0] == 0.0
    assert all(before <= after for before, after in itertools.pairwise(itertools.chain(*times)))
    assert record.trials[5].ended is None
    assert record.importances == {}  # three scores are too few


def test_importances_add_up_to_1_and_favour_what_matters(opened, task):
    tuner = opened(runs=[run_of(task)], trials=24, space=BOTH, sampler=Sampler(name="RandomSampler", seed=0))
    train_all(tuner, score=lambda active: abs(math.log10(active.run.task.optimizer.learning_rate / 3e-3)))
    found = tuner.records()[0].importances
    assert sum(found.values()) == pytest.approx(1.0)
    assert found[RATE] > 0.7


def test_the_best_is_written_where_the_command_finds_it(opened, tmp_path, cache, runs):
    space = BOTH | {ACTIVATION: words("relu", "tanh")}
    tuner = opened(trials=8, space=space)
    train_all(tuner)
    names = write_best(tuner, folder=tmp_path / "elsewhere" / "tuned", experiment="digits_mlp")
    assert list(names.values()) == ["digits_mlp-keras", "digits_mlp-lightning"]
    arguments = ("experiment=digits_mlp", "output=elsewhere", "+tuned=digits_mlp-keras", "--cfg", "job")
    done = command(*arguments, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    composed = yaml.safe_load(done.stdout)
    best = tuner.studies[0].study.best_params
    assert composed["optimizer"]["learning_rate"] == best[RATE]
    assert (composed["network"]["depth"], composed["network"]["activation"]) == (best[DEPTH], best[ACTIVATION])
    assert composed["network"]["width"] == 64  # what was not searched is as it was
    own = keys.flatten(composed)
    assert settings.with_values(runs[0].task, {key: own[key] for key in best}) == with_best_values(tuner, runs)[1].task


def test_what_served_an_optimizer_is_trained_with_that_optimizer(opened, tmp_path, cache, task):
    sgd = cases.task("experiment=digits_mlp", "optimizer=sgd", "network.width=16", precision="float32")
    labels = {"optimizer": "sgd", "network": "mlp", "network.width": "16"}
    tuner = opened(runs=[run_of(sgd, "keras", 0, labels=labels)], trials=1, space={RATE: rates()})
    train_all(tuner)
    (name,) = write_best(tuner, folder=tmp_path / "outputs" / "tuned", experiment="digits_mlp").values()
    (path,) = tmp_path.rglob(f"{name}.yaml")
    assert path.read_text().splitlines()[1].startswith("# The best of 1 trial of the study ")
    done = command("experiment=digits_mlp", f"+tuned={name}", "--cfg", "job", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    composed = yaml.safe_load(done.stdout)
    assert composed["optimizer"]["kind"] == "sgd"
    assert composed["optimizer"]["learning_rate"] == tuner.studies[0].study.best_params[RATE]
    assert composed["network"]["width"] == 16


def test_a_metric_that_no_trial_tells_is_refused(runs):
    asked = search(objectives=(Objective(metric="val/acuracy", direction="maximize"),))
    with pytest.raises(
        SettingsError, match=r"objectives\[0\]\.metric: unknown 'val/acuracy'; did you mean val/accuracy"
    ):
        check_search(asked, runs)


def test_a_study_that_has_spent_more_than_the_budget_is_refused(opened):
    train_all(opened(trials=4))
    with pytest.raises(SettingsError, match=r"holds 4 trials already, more than 3, so arms would have unequal budgets"):
        opened(trials=3)


# Refusals


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"optimizer.learnin_rate": rates()},
            r"tuning\.space: unknown 'optimizer\.learnin_rate'; did you mean optimizer\.learning_rate\? Available: ",
        ),
        (
            {"optimizer.momentum": rates()},
            r"tuning\.space: unknown 'optimizer\.momentum'.* optimizer\.kind, optimizer\.learning_rate, ",
        ),
        (
            {RATE: rates(when={"network.deepth": 2})},
            r"tuning\.space\.optimizer\.learning_rate\.when: unknown 'network\.deepth'; did you mean network\.depth\?",
        ),
        ({DEPTH: whole(low=0)}, r"tuning\.space\.network\.depth: 0 is tried, but .*`depth >= 1` must hold, but got 0"),
        (
            {DEPTH: rates(low=1.0, high=3.0)},
            r"tuning\.space\.network\.depth: kind: float tries fractions, but it is a whole number, here 2; say",
        ),
        (
            {ACTIVATION: words("relu", "tahn")},
            r"tuning\.space\.network\.activation: 'tahn' is tried, but .*unknown 'tahn'; did you mean tanh\?",
        ),
        (
            {"regularization.dropout": rates(low=0.0, high=1.0, log=False)},
            r"tuning\.space\.regularization\.dropout: 1\.0 is tried, but .*`0 <= dropout < 1` must hold, but got 1\.0",
        ),
    ],
)
def test_a_space_that_cannot_be_is_refused_with_key_value_and_fix(runs, space, message):
    with pytest.raises(SettingsError, match=message):
        check_search(search(space=space), runs)


def test_a_network_that_the_data_is_too_small_for_is_refused():
    images = ExampleSpec(input_shape=(28, 28, 1), class_names=tuple("0123456789"))
    cnn = dataclasses.replace(run_of(cases.task("experiment=mnist_cnn", precision="float32")), spec=images)
    with pytest.raises(SettingsError, match=r"network\.depth: 9 is tried, but `network\.depth <= 3` must hold"):
        check_search(search(space={DEPTH: whole(high=9)}), [cnn])


def test_a_key_that_is_missing_in_one_arm_is_refused(task):
    sgd = cases.task("experiment=digits_mlp", "optimizer=sgd", precision="float32")
    with pytest.raises(SettingsError, match=r"tuning\.space: unknown 'optimizer\.beta1'"):
        check_search(search(space={"optimizer.beta1": rates(low=0.5, high=0.9)}), [run_of(task), run_of(sgd)])


def test_a_seed_of_the_report_is_refused(runs):
    with pytest.raises(SettingsError, match=r"tuning\.seed: 1 is a seed of the report too; .*; give another"):
        check_search(search(seed=1), runs)


def test_a_key_that_was_typed_too_is_refused(task):
    typed = [run_of(task, labels={RATE: "0.1"})]
    message = r"tuning\.space\.optimizer\.learning_rate: cannot be typed and searched at once; leave it out"
    with pytest.raises(SettingsError, match=message):
        check_search(search(), typed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sampler": Sampler(name="TPESampler", seed=0, options={"n_startup_trails": 3})},
            r"tuning\.sampler\.options of TPESampler: unknown 'n_startup_trails'; did you mean n_startup_trials\?",
        ),
        (
            {"sampler": Sampler(name="RandomSampler", seed=0, options={"n_startup_trials": 3})},
            r"options of RandomSampler: unknown 'n_startup_trials'\. Available: none; ~tuning\.sampler\.options drops",
        ),
        (
            {"sampler": Sampler(name="QMCSampler", seed=0, options={"seed": 3})},
            r"options of QMCSampler: unknown 'seed'",
        ),
        (
            {"pruner": Pruner(name="MedianPruner", options={"warmup": 1})},
            r"tuning\.pruner\.options of MedianPruner: unknown 'warmup'.* Available: .*n_warmup_steps; ~tuning",
        ),
        (
            {"pruner": Pruner(name="PercentilePruner")},
            r"tuning\.pruner: PercentilePruner cannot be made with options \{\}: .*percentile",
        ),
        (
            {"pruner": Pruner(name="SuccessiveHalvingPruner", options={"reduction_factor": 1})},
            r"tuning\.pruner: SuccessiveHalvingPruner cannot be made .*reduction_factor",
        ),
    ],
)
def test_an_option_that_optuna_does_not_have_is_refused(runs, changes, message):
    with pytest.raises(SettingsError, match=message):
        check_search(search(**changes), runs)


def test_cma_es_without_its_package_says_what_to_install(runs, monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(SettingsError, match=r'tuning\.sampler: CmaEsSampler needs .* pip install "\.\[cmaes\]"'):
        check_search(search(sampler=Sampler(name="CmaEsSampler", seed=0)), runs)


def test_all_problems_are_told_at_once(runs):
    with pytest.raises(SettingsError) as told:
        check_search(search(seed=0, space={DEPTH: whole(low=0), "nobody": whole()}), runs)
    assert len(str(told.value).splitlines()) == 3


def test_a_search_that_can_be_is_not_refused(runs):
    width = Dimension(kind="int", low=16, high=64, step=16, when={DEPTH: [2, 3]})
    space = BOTH | {"network.width": width, ACTIVATION: words("relu", "tanh")}
    check_search(search(space=space, pruner=Pruner(name="HyperbandPruner")), runs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["tuning.space.network.depth.low=9"],
            "tuning.space.network.depth: `low < high` must hold, but got '9 and 3'; swap them",
        ),
        (["tuning.seed=2", "seed=1,2"], "tuning.seed: 2 is a seed of the report too"),
    ],
)
def test_the_command_refuses_with_exit_code_2_before_any_worker_starts(
    tmp_path, cache, monkeypatch, arguments, message
):
    monkeypatch.setenv("PATH", "")
    refuse_to_start(monkeypatch)
    done = command("experiment=digits_mlp", "tuning=lr_depth", *arguments, cwd=tmp_path, cache=cache)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr
    assert not [*tmp_path.glob("*.db*"), *tmp_path.rglob("preload.log"), *tmp_path.rglob("worker.log")]


# A planted optimum


@pytest.fixture(scope="module")
def loss_at(cache):
    """Validation loss of a small perceptron on the digits, as the referee trains it, by learning rate."""
    overrides = ("experiment=digits_mlp", "optimizer=momentum", "network.depth=1", "network.width=16")
    small = change(
        cases.task(*overrides, precision="float64"), training={"epochs": 3, "evaluate_every": 3, "batch_size": 128}
    )
    path = data.write(data.load(small.data, cache=cache), cache / "prepared")

    def loss_at(rate):
        run = dataclasses.replace(run_of(change(small, optimizer={"learning_rate": rate})), data_path=path)
        told = []
        train_run(dataclasses.replace(run, framework="numpy", is_trial=True), frameworks.load, told.append)
        return told[-1].metrics["val/loss"] if isinstance(told[-1], Finished) else math.inf

    return loss_at


def test_tpe_with_25_trials_finds_a_planted_learning_rate_in_9_of_10_searches(opened, task, loss_at):
    grid = np.geomspace(1e-5, 10.0, 60)
    best = grid[np.argmin([loss_at(rate) for rate in grid])]
    assert grid[5] < best < grid[-6]  # or there would be nothing to find
    found = []
    for seed in range(10):
        sampler = Sampler(name="TPESampler", seed=seed)
        tuner = opened(runs=[run_of(task)], trials=25, space={RATE: rates(low=1e-5, high=10.0)}, sampler=sampler)
        while (active := begin(tuner)) is not None:
            metrics = {"val/loss": loss_at(active.run.task.optimizer.learning_rate)}
            tuner.tell(active, outcome="finished", reason="", metrics=metrics, seconds=1.0)
        assert len(points(tuner)) == 25
        found.append(tuned_values(tuner)[0].value)
    assert sum(best / 3 <= value <= best * 3 for value in found) >= 9, (best, found)


def test_a_study_that_a_living_process_has_is_locked_and_one_of_the_dead_is_taken_over(opened, monkeypatch):
    tuner = opened()
    (study, *_) = tuner.studies
    init = Owner(host=Owner.this_process().host, boot=Owner.this_process().boot, pid=1, start=process_start(1))
    study.study.set_user_attr("owner", init.tag)
    with pytest.raises(Locked, match=r"process 1 on .* is at work on the study"):
        opened()
    study.study.set_user_attr("owner", dataclasses.replace(init, pid=2**22 - 1, start="1").tag)
    assert [each.name for each in opened().studies] == [each.name for each in tuner.studies]
    opened().release()
    assert {Owner.from_tag(each.study.user_attrs["owner"]).pid for each in opened().studies} == {os.getpid()}


def test_a_study_of_another_host_is_known_by_its_lease(opened, monkeypatch):
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.3)
    (study, *_) = opened().studies
    elsewhere = dataclasses.replace(Owner.this_process(), host="elsewhere", boot="another", mark=1)
    study.study.set_user_attr("owner", elsewhere.tag)
    beats = iter(range(100))
    monkeypatch.setattr(locks, "is_long_ago", lambda renewed: study.study.set_user_attr("heartbeat", str(next(beats))))
    with pytest.raises(Locked, match="on elsewhere is at work on the study"):
        opened()
    monkeypatch.setattr(locks, "is_long_ago", lambda renewed: False)
    assert opened().studies[0].name == study.name


# What the screen says


def told(tuner, active, *, outcome, reason="", **metrics):
    """The line about a trial that ends so, without colours."""
    scores = {name.replace("_", "/"): value for name, value in metrics.items()}
    tuner.tell(active, outcome=outcome, reason=reason, metrics=scores, seconds=1.0)
    line = line_of_trial(
        active.study,
        active.number,
        settings=tuner.settings,
        outcome=outcome if outcome != "killed" else "failed",
        reason=reason,
        log=Path("[1]/worker.log"),
    )
    return Text.from_markup(line).plain


def test_a_trial_is_told_by_its_number_values_objective_and_the_best_so_far(opened, runs):
    tuner = opened(trials=6, space=BOTH, runs=runs[:1])
    first = told(tuner, begin(tuner), outcome="finished", val_loss=0.41234567, val_accuracy=0.9)
    assert first == "trial 0 keras: learning_rate 0.001, depth 2: val/loss 0.4123 (the best so far)"
    tried = begin(tuner)
    rate, depth = tried.run.task.optimizer.learning_rate, tried.run.task.network.depth
    second = told(tuner, tried, outcome="finished", val_loss=0.5)
    assert second == f"trial 1 keras: learning_rate {rate:.4g}, depth {depth}: val/loss 0.5 (best 0.4123, trial 0)"
    pruned = told(tuner, begin(tuner), outcome="pruned", reason="pruned after epoch 2")
    assert pruned.endswith(": pruned after epoch 2 (best 0.4123, trial 0)")
    diverged = told(tuner, begin(tuner), outcome="diverged", reason="the loss became nan at step 3")
    assert diverged.endswith(": diverged: the loss became nan at step 3 (best 0.4123, trial 0) (log: [1]/worker.log)")
    impossible = told(tuner, begin(tuner), outcome="finished", val_loss=math.inf)
    assert ": failed: val/loss is inf (best 0.4123, trial 0)" in impossible
    killed = begin(tuner)
    assert ": failed: SIGKILL; it is trained again (best" in told(tuner, killed, outcome="killed", reason="SIGKILL")


def test_a_trial_of_several_scores_is_told_with_those_that_no_other_beats(opened, runs):
    both = (Objective(metric="val/loss", direction="minimize"), Objective(metric="time/fit", direction="minimize"))
    tuner = opened(trials=3, objectives=both, runs=runs[:1])
    first = told(tuner, begin(tuner), outcome="finished", val_loss=0.4, time_fit=3.0)
    assert first.endswith(": val/loss 0.4, time/fit 3 (unbeaten: trial 0)")
    assert told(tuner, begin(tuner), outcome="finished", val_loss=0.5, time_fit=2.0).endswith("(unbeaten: trials 0, 1)")


def test_values_whose_keys_end_alike_are_told_by_the_whole_key():
    values = {"optimizer.learning_rate": 0.00321987, "network.width": 8, "embedding.width": 4, "optimizer.kind": "adam"}
    assert values_in_words(values) == ("learning_rate 0.00322, network.width 8, embedding.width 4, optimizer adam")
