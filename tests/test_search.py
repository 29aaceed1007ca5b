"""The whole way of a search with real workers and real stores: MLflow and Optuna agree, whatever was killed."""

import contextlib
import dataclasses
import os
import re
import shutil
import signal
import sqlite3
import time
from pathlib import Path

import cases
import mlflow
import optuna
import pytest
from cases import change
from commands import command, started
from rich.console import Console
from test_space import rates, search, words
from worker_calls import broken_load

import frameworks
from experiments import errors, job, preparation, report, training
from experiments.errors import Locked
from experiments.execution.environment import process_start
from experiments.execution.executor import LocalExecutor
from experiments.execution.locks import Owner
from experiments.execution.run import EpochEnded, Started
from experiments.records import SweepRecord
from experiments.task.search_space import Objective, Pruner
from experiments.tracking.store import Store
from experiments.tuning import search as searches
from experiments.tuning.best import tuned_values
from experiments.tuning.checks import OF_EVERY_TRIAL
from experiments.tuning.search import executor_for
from experiments.tuning.tuner import Tuner, open_tuner

RATE = "optimizer.learning_rate"
EPOCHS = 3
OUTCOMES = {"COMPLETE": {"finished"}, "PRUNED": {"pruned"}, "FAIL": {"diverged", "failed", "finished"}}
WORSE = {RATE: rates(low=1e-6, high=1e-3)}  # whatever is tried after the config's own 1e-3 is worse, and is pruned
EAGER = Pruner(name="MedianPruner", options={"n_startup_trials": 1})
ALONE = job.ExecutorSettings(workers=1, threads=1, device="cpu", start_method="forkserver", time_limit_seconds=120)


@pytest.fixture(scope="module")
def small(task):
    return change(task, training={"epochs": EPOCHS, "precision": "float64"}, network={"depth": 1, "width": 16})


def jobs(task, folder, asked, *, names=("numpy",), seeds=(0,)):
    tuning = dataclasses.replace(asked, storage=f"sqlite:///{folder}/optuna.db", workers=asked.workers or 1)
    return cases.jobs(task, folder / "elsewhere", names=names, seeds=seeds, executor=ALONE, tuning=tuning)


@dataclasses.dataclass(kw_only=True)
class Laboratory:
    """A folder with both stores, in which the same search can be carried out again and again."""

    folder: object
    cache: object
    store: Store

    @property
    def screen(self):
        return (self.folder / "screen.txt").read_text()

    def plan(self, all_jobs):
        with (self.folder / "screen.txt").open("a") as file:
            return preparation.prepare(
                all_jobs,
                frameworks=frameworks.FRAMEWORKS,
                cache=self.cache,
                command="a test",
                console=Console(file=file, width=120),
            )

    def carry_out(self, all_jobs, *, load=frameworks.load) -> SweepRecord:
        with (self.folder / "screen.txt").open("a") as file, contextlib.chdir(self.folder):
            console = Console(file=file, width=120)
            return training.carry_out(self.plan(all_jobs), store=self.store, load=load, console=console)


def laboratory_in(folder, cache, empty_database):
    shutil.copy(empty_database, folder / "mlflow.db")
    return Laboratory(folder=folder, cache=cache, store=Store(f"sqlite:///{folder / 'mlflow.db'}"))


@pytest.fixture
def laboratory(local, tmp_path, cache, empty_database):
    return laboratory_in(tmp_path, cache, empty_database)


@pytest.fixture
def memory_laboratory(local, tmp_path, cache, memory_store):
    """For what Optuna and the records say, whatever keeps the runs."""
    return Laboratory(folder=tmp_path, cache=cache, store=memory_store)


def all_runs(client, query=""):
    return client.search_runs([each.experiment_id for each in client.search_experiments()], query, max_results=1000)


def optuna_studies(folder):
    storage = f"sqlite:///{folder}/optuna.db"
    names = optuna.get_all_study_names(storage)
    return [optuna.load_study(study_name=name, storage=storage) for name in names]


def assert_agreement(folder, client):
    """Number, state, values, epochs, scores and costs, trial by trial; nothing twice, nothing left open."""
    studies = optuna_studies(folder)
    assert studies
    assert not all_runs(client, "attributes.status = 'RUNNING'")
    kept = all_runs(client, "tags.`tandem.kind` = 'trial'")
    by_place = {(run.data.tags["tandem.study_name"], int(run.data.tags["tandem.trial_number"])): run for run in kept}
    assert len(by_place) == len(kept)  # none twice
    in_optuna = {(study.study_name, trial.number): trial for study in studies for trial in study.trials}
    assert set(by_place) == set(in_optuna)
    for place, trial in in_optuna.items():
        run = by_place[place]
        tags, state = run.data.tags, trial.state.name
        assert trial.user_attrs["mlflow_run_id"] == run.info.run_id
        assert tags["tandem.trial_state"] == state
        assert tags["tandem.outcome"] in OUTCOMES[state]
        assert {key: run.data.params[key] for key in trial.params} == {key: str(x) for key, x in trial.params.items()}
        curve = {each.step: each.value for each in client.get_metric_history(run.info.run_id, "val/loss")}
        assert curve == trial.intermediate_values
        assert len(curve) == trial.user_attrs["epochs"] == int(tags["tandem.trial_epochs"])
        if state == "COMPLETE":
            assert run.data.metrics["val/loss"] == trial.value
        else:
            assert trial.user_attrs["reason"] == tags["tandem.reason"] != ""
        study_run = client.get_run(tags["mlflow.parentRunId"])
        assert study_run.data.tags["tandem.kind"] == "study"
        assert study_run.data.tags["optuna.study_name"] == place[0]
    return {name: [trial.state.name for trial in study.trials] for study in studies for name in [study.study_name]}


def states_of(lab):
    """The states of the trials of the only study, after both stores were found to agree."""
    (states,) = assert_agreement(lab.folder, lab.store.client).values()
    return states


# The whole way, once


@pytest.fixture(scope="module")
def whole(local, small, tmp_path_factory, cache, empty_database):
    """Both frameworks, 3 trials each, the config's own setting and the best on one report seed; and the report."""
    lab = laboratory_in(tmp_path_factory.mktemp("whole"), cache, empty_database)
    asked = search(trials=3, space=WORSE, pruner=EAGER)
    all_jobs = jobs(small, lab.folder, asked, names=("lightning", "keras"))
    record = lab.carry_out(all_jobs)
    console = Console(file=(lab.folder / "report.txt").open("w"), width=120)
    report.publish(record, store=lab.store, folder=lab.folder / "report", console=console, colours={})
    return lab, all_jobs, record


def test_mlflow_and_optuna_agree_trial_by_trial(whole):
    lab, _, _ = whole
    states = assert_agreement(lab.folder, lab.store.client)
    assert list(states.values()) == [["COMPLETE", "PRUNED", "PRUNED"]] * 2


def test_a_trial_is_no_result(whole):
    """No test set, no model, no report's seed, no place among the runs."""
    lab, _, record = whole
    trials = all_runs(lab.store.client, "tags.`tandem.kind` = 'trial'")
    assert len(trials) == len(record.trials) == 6
    for run in trials:
        assert not [name for name in run.data.metrics if name.startswith(("test/", "train_eval/"))]
        assert run.data.params["seed"] == "1000"
        artifacts = {artifact.path for artifact in lab.store.client.list_artifacts(run.info.run_id)}
        assert artifacts == {"config.yaml", "worker.log"}
    complete = [run.data.metrics for run in trials if run.data.tags["tandem.trial_state"] == "COMPLETE"]
    assert len(complete) == 2
    assert all(set(OF_EVERY_TRIAL) <= set(metrics) for metrics in complete)  # any of them can be the objective
    assert {run.run_id for run in record.runs}.isdisjoint(run.info.run_id for run in trials)
    assert all("test/loss" in run.metrics for run in record.runs)


def test_a_pruned_trial_stopped_where_optuna_says(whole):
    lab, _, _ = whole
    pruned = all_runs(lab.store.client, "tags.`tandem.trial_state` = 'PRUNED'")
    assert len(pruned) == 4
    for run in pruned:
        epochs = int(run.data.tags["tandem.trial_epochs"])
        assert 1 <= epochs < EPOCHS
        assert run.data.tags["tandem.reason"] == f"pruned after epoch {epochs}"
        assert run.info.status == "FINISHED"


def test_the_report_compares_the_best_with_the_configs_own(whole):
    """Here the config's own setting is the best: it is trained once."""
    _, _, record = whole
    assert record.comparison["factor"] == "setting"
    assert [(run.framework, run.labels["setting"]) for run in record.runs] == [
        ("lightning", "default"),
        ("keras", "default"),
    ]
    assert not any("tuning" in each for run in record.runs for each in run.overrides)


def test_studies_trials_and_tuned_values_are_read_back_from_the_store_as_they_were(whole):
    lab, all_jobs, record = whole
    asked = all_jobs[0].tuning
    tuner = open_tuner(asked, lab.plan(all_jobs).runs, experiment=record.experiment)
    again = lab.store.reader.read_sweep(record.sweep_id)
    assert list(again.studies) == list(record.studies) == tuner.records()
    assert list(again.tuned_values) == list(record.tuned_values) == tuned_values(tuner)
    assert [(trial.run_id, trial.name) for trial in again.trials] == [
        (trial.run_id, f"{study.arm} · trial {trial.number}") for study in again.studies for trial in study.trials
    ]
    assert [(each.value, each.at_edge) for each in record.tuned_values] == [(1e-3, True)] * 2


def test_the_study_is_a_run_with_its_budget_and_its_best(whole):
    lab, _, record = whole
    studies = all_runs(lab.store.client, "tags.`tandem.kind` = 'study'")
    assert len(studies) == 2
    for run in studies:
        kept = next(study for study in record.studies if study.name == run.data.tags["optuna.study_name"])
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == record.sweep_id
        assert run.data.metrics["trials"] == 3
        assert run.data.metrics["epochs"] == sum(trial.epochs for trial in kept.trials) < 3 * EPOCHS
        assert run.data.metrics["seconds"] == pytest.approx(sum(trial.seconds for trial in kept.trials))
        assert run.data.metrics["best/val/loss"] == kept.trials[0].scores[0]
        assert run.data.tags[f"best.{RATE}"] == "0.001"
        told = f"{kept.arm}, best of 3 trials: learning_rate 0.001: val/loss {kept.trials[0].scores[0]:.4g}."
        assert run.data.tags["mlflow.note.content"] == told


def test_the_budget_is_printed_and_the_report_is_written(whole):
    lab, _, record = whole
    assert "Search: 2 studies of 3 trials, at most 3 epochs each (TPESampler, MedianPruner)" in lab.screen
    assert re.search(
        r"^  [12]/6 trial 0 keras: learning_rate 0\.001: val/loss [\d.]+ \(the best so far\)", lab.screen, re.M
    )
    assert lab.screen.count(": pruned after epoch ") == 4
    for study in record.studies:
        epochs = sum(trial.epochs for trial in study.trials)
        assert f"{study.arm}: 3 trials (1 complete, 2 pruned, 0 fail), {epochs} epochs, " in lab.screen
        assert f"+tuned=digits_mlp-{study.arm} uses it" in lab.screen
        assert (lab.folder / f"elsewhere/outputs/tuned/tuned/digits_mlp-{study.arm}.yaml").is_file()
    assert "val/loss" in (lab.folder / "report" / "report.html").read_text()
    paths = {artifact.path for artifact in lab.store.client.list_artifacts(record.sweep_id, "report")}
    assert {"report/report.html", "report/report.json"} <= paths


def test_the_same_search_again_trains_nothing(whole):
    lab, all_jobs, record = whole
    before = {run.info.run_id for run in all_runs(lab.store.client)}
    again = lab.carry_out(all_jobs)
    assert {run.info.run_id for run in all_runs(lab.store.client)} == before
    assert (again.sweep_id, again.studies, again.tuned_values) == (record.sweep_id, record.studies, record.tuned_values)
    assert "2 of 2 runs are done already" in lab.screen


# Faults


def when(monkeypatch, do):
    """Call `do(index, event)` after the parent has dealt with an event, before it hears the next one."""
    original = LocalExecutor.run_lazily

    def run_lazily(self, next_work):
        for index, event in original(self, next_work):
            yield index, event
            do(index, event)

    monkeypatch.setattr(LocalExecutor, "run_lazily", run_lazily)


def kill_workers(monkeypatch, *indices, epoch):
    """SIGKILL the workers of these pieces of work once they have told that epoch (0: that they began)."""
    pids, left = {}, set(indices)  # the report's runs count from 0 again

    def do(index, event):
        if isinstance(event, Started):
            pids[index] = event.pid
        is_now = isinstance(event, Started) if epoch == 0 else isinstance(event, EpochEnded) and event.epoch == epoch
        if is_now and index in left:
            left.remove(index)
            os.kill(pids[index], signal.SIGKILL)

    when(monkeypatch, do)


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_trial_whose_worker_is_killed_is_trained_once_more_under_its_number(laboratory, small, monkeypatch, epoch):
    kill_workers(monkeypatch, 1, epoch=epoch)
    record = laboratory.carry_out(jobs(small, laboratory.folder, search(trials=3)))
    assert states_of(laboratory) == ["COMPLETE"] * 3
    (attempt,) = all_runs(laboratory.store.client, "tags.`tandem.kind` = 'attempt'")
    assert attempt.data.tags["tandem.trial_number"] == "1"
    assert "killed by SIGKILL" in attempt.data.tags["tandem.reason"]
    assert len(record.trials) == 3
    assert not record.is_partial


def test_a_trial_whose_worker_is_killed_twice_fails_and_the_study_goes_on(laboratory, small, monkeypatch):
    kill_workers(monkeypatch, 1, 2, epoch=1)
    record = laboratory.carry_out(jobs(small, laboratory.folder, search(trials=3)))
    assert states_of(laboratory) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "killed by SIGKILL" in record.studies[0].trials[1].reason


def test_a_trial_that_diverges_fails_with_its_reason_once(laboratory, small):
    sampler = dataclasses.replace(search().sampler, name="GridSampler")
    wild = search(trials=3, space={RATE: words(1e-3, 1e-2, 1e300)}, sampler=sampler)
    record = laboratory.carry_out(jobs(small, laboratory.folder, wild))
    assert sorted(states_of(laboratory)) == ["COMPLETE", "COMPLETE", "FAIL"]
    for trial in record.studies[0].trials:
        assert (trial.state == "FAIL") == (trial.values[RATE] == 1e300)
        assert "not finite" in trial.reason or "became" in trial.reason or trial.state == "COMPLETE"


def test_what_fails_before_it_begins_is_a_failed_trial_in_both_stores(laboratory, small):
    """There is no Keras here: its study fails, the other one and its report do not."""
    all_jobs = jobs(small, laboratory.folder, search(trials=2), names=("numpy", "keras"))
    record = laboratory.carry_out(all_jobs, load=broken_load)
    states = assert_agreement(laboratory.folder, laboratory.store.client)
    assert sorted(map(tuple, states.values())) == [("COMPLETE", "COMPLETE"), ("FAIL", "FAIL")]
    assert {trial.reason for study in record.studies for trial in study.trials} == {"", "KeyError: 'kreas'"}
    assert not all_runs(laboratory.store.client, "tags.`tandem.kind` = 'attempt'")
    assert "keras: 2 trials (0 complete, 0 pruned, 2 fail), 0 epochs" in laboratory.screen
    assert {run.framework for run in record.runs if run.outcome == "finished"} == {"numpy"}


def interrupted_in_mid_trial(monkeypatch):
    def do(index, event):
        if index == 2 and isinstance(event, EpochEnded) and event.epoch == 2:
            raise KeyboardInterrupt

    when(monkeypatch, do)


def interrupt_the_third(monkeypatch, owner, name, *, matters=lambda *arguments, **keywords: True):
    """The parent dies at the third call that matters, before it has any effect."""
    original, calls = getattr(owner, name), []

    def call(*arguments, **keywords):
        if matters(*arguments, **keywords):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
        return original(*arguments, **keywords)

    monkeypatch.setattr(owner, name, call)


def interrupted_between_point_and_run(monkeypatch):
    interrupt_the_third(monkeypatch, Store, "start_run", matters=lambda *_, kind, **__: kind == "trial")


def interrupted_between_run_and_optuna(monkeypatch):
    interrupt_the_third(monkeypatch, Tuner, "start")


def interrupted_between_mlflow_and_optuna(monkeypatch):
    interrupt_the_third(monkeypatch, Tuner, "tell")


def interrupted_between_optuna_and_mlflow(monkeypatch):
    interrupt_the_third(monkeypatch, Store, "log_facts", matters=lambda store, run_id, facts: "trial_state" in facts)


def interrupted_before_the_report(monkeypatch):
    def write_best(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(searches, "write_best", write_best)


@pytest.mark.parametrize(
    "interrupt",
    [
        interrupted_in_mid_trial,
        interrupted_between_point_and_run,
        interrupted_between_run_and_optuna,
        interrupted_between_mlflow_and_optuna,
        interrupted_between_optuna_and_mlflow,
        interrupted_before_the_report,
    ],
)
def test_wherever_it_was_stopped_the_same_search_goes_on(laboratory, small, interrupt):
    all_jobs = jobs(small, laboratory.folder, search(trials=4))
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupt(monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            laboratory.carry_out(all_jobs)
    assert not all_runs(laboratory.store.client, "attributes.status = 'RUNNING' and tags.`tandem.kind` = 'trial'")
    (before,) = optuna_studies(laboratory.folder)
    points = [trial.params for trial in before.trials if trial.params]
    record = laboratory.carry_out(all_jobs)
    assert states_of(laboratory) == ["COMPLETE"] * 4
    after = [trial.values for trial in record.studies[0].trials]
    assert after[: len(points)] == points
    assert len({values[RATE] for values in after}) == 4
    assert len({trial.run_id for trial in record.trials}) == 4
    assert not record.is_partial


def test_what_an_earlier_attempt_knew_is_not_replaced_by_nothing(memory_laboratory, small):
    all_jobs = jobs(small, memory_laboratory.folder, search(trials=2))
    record = memory_laboratory.carry_out(all_jobs)
    init = Owner(host=Owner.this_process().host, boot=Owner.this_process().boot, pid=1, start=process_start(1))
    (study,) = optuna_studies(memory_laboratory.folder)
    study.set_user_attr("owner", init.tag)  # a living process
    with pytest.raises(Locked, match="process 1 on"):
        memory_laboratory.carry_out(all_jobs)
    kept = memory_laboratory.store.reader.read_sweep(record.sweep_id)
    assert (kept.runs, kept.trials, kept.tuned_values) == (record.runs, record.trials, record.tuned_values)
    assert kept.runs


def test_a_search_that_never_came_to_a_run_has_a_report_to_make(memory_laboratory, small):
    with pytest.MonkeyPatch.context() as monkeypatch:
        interrupted_in_mid_trial(monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            memory_laboratory.carry_out(jobs(small, memory_laboratory.folder, search(trials=4)))
    reader = memory_laboratory.store.reader
    record = reader.read_sweep(reader.find_sweep("digits_mlp", "latest"))
    assert (record.runs, record.is_partial) == ((), True)


def test_trials_share_the_machine_unless_their_time_is_what_is_sought(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.execution.devices.available_cores", lambda: 6)
    executor = LocalExecutor(settings=ALONE, device="cpu", frameworks={}, folder=tmp_path)
    timed = search(objectives=(Objective(metric="time/fit", direction="minimize"),))
    assert executor_for(search(), executor).settings.workers == 6
    assert executor_for(timed, executor).settings.workers == 1
    assert executor_for(search(workers=3), executor).settings.workers == 3
    with pytest.raises(errors.SettingsError, match=r"<= 6 cores` must hold, but got 7 \* 1"):
        executor_for(search(workers=7), executor)


def test_two_workers_try_the_same_points_as_one(memory_laboratory, small, monkeypatch):
    monkeypatch.setattr("experiments.execution.devices.available_cores", lambda: 2)
    sampler = dataclasses.replace(search().sampler, name="QMCSampler")
    found = []
    for workers in (1, 2):
        asked = search(trials=5, sampler=sampler, workers=workers, study=f"with {workers}")
        record = memory_laboratory.carry_out(jobs(small, memory_laboratory.folder, asked))
        found.append([(trial.number, trial.values, trial.scores) for trial in record.studies[0].trials])
    assert found[0] == found[1]


# The command itself


N_TRIALS = 4  # of each of two studies
COMMAND = (
    "experiment=digits_mlp",
    "tuning=lr_depth",
    f"tuning.trials={N_TRIALS}",
    "framework=lightning,keras",
    "seed=0",
    "training.epochs=4",
    "comparison.baseline=null",
)


AT_WORK = "select * from trials where state = 'RUNNING'"


def query(folder, text):
    """Rows of optuna.db as it is now; none while it is being made."""
    with (
        contextlib.suppress(sqlite3.OperationalError),
        contextlib.closing(sqlite3.connect(f"file:{folder}/optuna.db?mode=ro", uri=True, timeout=5)) as connection,
    ):
        return connection.execute(text).fetchall()
    return []


def wait_until(condition, running, *, seconds=600):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.05)
    assert found, "the command ended before its time" if running.poll() is not None else "too late"
    return found


def stopped(running, *, when):
    """What `when()` finds in the command's stores, the command stopped there; it goes on where that is nothing."""
    running.send_signal(signal.SIGSTOP)
    found = when()
    if not found:
        running.send_signal(signal.SIGCONT)
    return found


def assert_whole_and_right(folder, cache, client):
    done = command(*COMMAND, cwd=folder, cache=cache)
    assert done.returncode == 0, done.stderr
    states = assert_agreement(folder, client)
    assert [len(each) for each in states.values()] == [N_TRIALS] * 2
    assert {state for each in states.values() for state in each} <= {"COMPLETE", "PRUNED"}
    assert not query(folder, "select * from trials where state in ('RUNNING', 'WAITING')")
    (parent,) = all_runs(client, "tags.`tandem.kind` = 'sweep'")
    assert parent.info.status == "FINISHED"
    kept = Store(f"sqlite:///{folder}/mlflow.db").reader.read_sweep(parent.info.run_id)
    assert [len(study.trials) for study in kept.studies] == [N_TRIALS] * 2
    assert f"{N_TRIALS} trials (" in done.stdout
    return states


@pytest.mark.slow
def test_a_search_that_is_killed_at_half_goes_on_where_it_stopped(local, tmp_path, cache, empty_database):
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    finished = "select * from trials where state in ('COMPLETE', 'PRUNED')"
    with started(*COMMAND, cwd=tmp_path, cache=cache) as running:
        wait_until(lambda: len(query(tmp_path, finished)) >= N_TRIALS, running)
        wait_until(lambda: stopped(running, when=lambda: query(tmp_path, AT_WORK)), running)
        running.kill()
        running.communicate(timeout=300)
    assert running.returncode == -signal.SIGKILL
    before = {study.study_name: [trial.params for trial in study.trials] for study in optuna_studies(tmp_path)}
    assert query(tmp_path, AT_WORK)  # it was killed in mid-trial
    assert_whole_and_right(tmp_path, cache, client)
    for study in optuna_studies(tmp_path):
        for trial, asked in zip(study.trials, before[study.study_name], strict=False):
            # The kill may have come between two keys of a point: what had been asked stands, the rest is added.
            assert {key: trial.params[key] for key in asked} == asked
    settled = {run.info.run_id for run in all_runs(client)}
    assert_whole_and_right(tmp_path, cache, client)
    assert {run.info.run_id for run in all_runs(client)} == settled  # the third time trains nothing


@pytest.mark.slow
def test_a_search_whose_worker_is_killed_in_mid_trial_needs_no_second_command(local, tmp_path, cache, empty_database):
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")

    def victim():
        """A trial at work, whose worker waits for the command's reply: number, study, process."""
        open_ones = all_runs(client, "tags.`tandem.kind` = 'trial' and attributes.status = 'RUNNING'")
        for run in open_ones:
            tags = run.data.tags
            if "tandem.worker_pid" in tags and int(tags.get("tandem.trial_number", 0)) >= 1:
                pid = int(tags["tandem.worker_pid"])
                if Path(f"/proc/{pid}").exists():
                    return tags["tandem.study_name"], tags["tandem.trial_number"], pid
        return None

    with started(*COMMAND, cwd=tmp_path, cache=cache) as running:
        study_name, number, pid = wait_until(lambda: stopped(running, when=victim), running)
        os.kill(pid, signal.SIGKILL)
        running.send_signal(signal.SIGCONT)
        _, complained = running.communicate(timeout=300)
    assert running.returncode == 0, complained
    states = assert_whole_and_right(tmp_path, cache, client)
    assert states[study_name][int(number)] in ("COMPLETE", "PRUNED")
    attempts = all_runs(client, "tags.`tandem.kind` = 'attempt'")
    assert [(run.data.tags["tandem.study_name"], run.data.tags["tandem.trial_number"]) for run in attempts] == [
        (study_name, number)
    ]
