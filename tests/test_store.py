"""What a store promises, held against both: the one in MLflow, and the one in memory that stands in for it in tests."""

import contextlib
import dataclasses
import inspect
import os
import sqlite3
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from cases import PROJECT
from in_memory_store import InMemoryStore

from experiments import errors
from experiments.execution import locks
from experiments.fingerprint import plain
from experiments.records import StudyRecord, TrialRecord, TunedValue
from experiments.tracking import client as client_module
from experiments.tracking import database, protocol
from experiments.tracking import store as store_module
from experiments.tracking.reader import Reader
from experiments.tracking.store import Store

CONFIG = {"framework": "keras", "seed": 3, "network": {"kind": "mlp", "widths": [8, 4]}, "class_weights": None}
DATASET = {"name": "digits", "digest": "d", "origin": "somewhere"}


@pytest.fixture(params=["in MLflow", "in memory"])
def kept(request):
    """A store of each kind, empty."""
    return request.getfixturevalue("store" if request.param == "in MLflow" else "memory_store")


@pytest.fixture
def experiment_id(kept):
    return kept.experiment("e", description="about e")


@pytest.fixture
def folder(tmp_path):
    """A run's own folder: the store's database lies in `tmp_path`."""
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def opened(store, experiment_id, *, fingerprint="f", reuse=True, command="c"):
    return store.open_sweep(
        experiment_id, name="s", fingerprint=fingerprint, command=command, description="", reuse=reuse
    )


def started(store, experiment_id, parent_id, *, kind="run", fingerprint="f", **config):
    return store.start_run(
        experiment_id,
        parent_id=parent_id,
        kind=kind,
        name="a run",
        fingerprint=fingerprint,
        config=CONFIG | config,
        facts={"host": "here"},
        dataset=DATASET,
    )


def ended(store, run_id, folder, *, outcome="finished", reason="", **metrics):
    store.end_run(run_id, outcome=outcome, reason=reason, metrics=metrics, step=2, folder=folder, note="what became")


def entry(run_id, name="run 0"):
    return {"id": run_id, "name": name, "labels": {"a": "b"}, "overrides": ["c=d"]}


def manifest(*run_ids, **others):
    return {
        "n_planned": 2,
        "margins": {"accuracy": 0.01},
        "chance": {"accuracy": None},
        "comparison": {"name": "n"},
        "class_names": [],
        "choices": [],
        "studies": [],
        "runs": [entry(run_id, name=f"run {number}") for number, run_id in enumerate(run_ids)],
        "trials": [],
    } | others


def found(store, experiment_id, fingerprint, *, sweep_id):
    """The run that has its result under that fingerprint, and what is lost of it."""
    runs, lost = store.reader.find_finished(experiment_id, [fingerprint], sweep_id=sweep_id)
    return runs.get(fingerprint), " ".join(lost)


def read_back(store, sweep_id, *run_ids):
    """The runs as the sweep's record has them."""
    store.write_sweep(sweep_id, manifest(*run_ids))
    return store.reader.read_sweep(sweep_id).runs


@pytest.mark.parametrize("kind", [Store, InMemoryStore])
def test_a_store_has_the_methods_of_every_protocol(kind):
    asked = [each for each in vars(protocol).values() if inspect.isclass(each) and each.__module__ == protocol.__name__]
    assert len(asked) == 6
    n_methods = 0
    for each in asked:
        offered = Reader if each.__name__.endswith("Reader") and kind is Store else kind
        for name, method in inspect.getmembers(each, inspect.isfunction):
            if name.startswith("_"):
                continue
            n_methods += 1
            expected = inspect.signature(method).parameters
            own = inspect.signature(getattr(offered, name)).parameters
            assert [(each.name, each.kind) for each in own.values()] == [
                (each.name, each.kind) for each in expected.values()
            ], name
    assert n_methods >= 25


def test_an_experiment_is_made_once_and_keeps_its_description(kept, experiment_id):
    assert kept.experiment("e", description="another") == experiment_id
    assert kept.experiment("other", description="") != experiment_id
    sweep_id = opened(kept, experiment_id)
    kept.write_sweep(sweep_id, manifest())
    record = kept.reader.read_sweep(sweep_id)
    assert (record.experiment, record.description) == ("e", "about e")


def test_a_run_is_read_as_it_was_told(kept, experiment_id, folder):
    sweep_id = opened(kept, experiment_id)
    run_id = started(kept, experiment_id, sweep_id)
    for epoch, loss in ((1, 0.5), (2, float("nan"))):
        kept.log_epoch(run_id, {"val/loss": loss, "time/epoch": 0.25}, epoch=epoch, step=10 * epoch)
    kept.log_facts(run_id, {"n_parameters": "42"})
    ended(kept, run_id, folder, **{"test/accuracy": 0.75, "val/loss": 0.125})
    (run,) = read_back(kept, sweep_id, run_id)
    assert (run.run_id, run.name, run.labels, run.overrides) == (run_id, "run 0", {"a": "b"}, ("c=d",))
    assert (run.fingerprint, run.framework, run.seed, run.outcome, run.reason) == ("f", "keras", 3, "finished", "")
    assert run.config == CONFIG
    assert run.metrics == {"test/accuracy": 0.75, "val/loss": 0.125, "time/epoch": 0.25, "step": 20.0}
    assert run.curves["time/epoch"] == [(1, 0.25), (2, 0.25)]
    assert run.curves["step"] == [(1, 10.0), (2, 20.0)]
    assert [epoch for epoch, _ in run.curves["val/loss"]] == [1, 2, 2]
    assert set(run.curves) == {"val/loss", "time/epoch", "step"}
    owner = kept.owner.tag
    own = {"kind": "run", "fingerprint": "f", "outcome": "finished", "reason": "", "owner": owner}
    assert run.facts == own | {"host": "here", "n_parameters": "42"}


def test_a_diverged_loss_is_read_as_nan(kept, experiment_id, monkeypatch):
    monkeypatch.setattr(store_module, "WRITE_SECONDS", 0.0)
    sweep_id = opened(kept, experiment_id)
    run_id = started(kept, experiment_id, sweep_id)
    kept.log_epoch(run_id, {"train/loss": float("nan")}, epoch=1, step=1)
    (run,) = read_back(kept, sweep_id, run_id)
    assert np.isnan(run.metrics["train/loss"])
    assert np.isnan(run.curves["train/loss"][0][1])
    assert run.outcome == "running"
    assert run.was_killed


def test_what_was_handed_over_is_kept_and_not_shared(kept, experiment_id):
    sweep_id = opened(kept, experiment_id)
    config = {"network": {"widths": [8]}}
    run_id = started(kept, experiment_id, sweep_id, **config)
    content = manifest(run_id)
    kept.write_sweep(sweep_id, content)
    config["network"]["widths"].append(9)
    content["runs"].clear()
    (run,) = kept.reader.read_sweep(sweep_id).runs
    run.config["network"]["widths"].append(10)
    assert kept.reader.read_sweep(sweep_id).runs[0].config["network"] == {"widths": [8]}


def test_logits_are_those_of_the_folder(kept, experiment_id, folder):
    sweep_id = opened(kept, experiment_id)
    with_them, without = (started(kept, experiment_id, sweep_id) for _ in range(2))
    logits, targets = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([0, 1, 1])
    np.savez(folder / "test_logits.npz", logits=logits, targets=targets)
    ended(kept, with_them, folder)
    ended(kept, without, folder / "made if need be")
    assert (folder / "made if need be").is_dir()
    read = kept.reader.logits(with_them)
    np.testing.assert_array_equal(read[0], logits)
    np.testing.assert_array_equal(read[1], targets)
    assert read[0].dtype == np.float32
    assert kept.reader.logits(without) is None


@pytest.mark.parametrize("outcome", ["finished", "diverged", "pruned", "failed"])
def test_a_result_is_found_by_its_fingerprint_and_an_end_by_its_identifier(kept, experiment_id, folder, outcome):
    sweep_id = opened(kept, experiment_id)
    run_id = started(kept, experiment_id, sweep_id)
    assert found(kept, experiment_id, "f", sweep_id=sweep_id) == (None, "")
    assert kept.reader.finished_run(run_id) is None
    assert kept.reader.has_run(run_id)
    ended(kept, run_id, folder, outcome=outcome, reason="why")
    result = run_id if outcome in ("finished", "diverged") else None
    assert found(kept, experiment_id, "f", sweep_id=sweep_id) == (result, "")
    assert found(kept, experiment_id, "g", sweep_id=sweep_id) == (None, "")
    assert found(kept, kept.experiment("other", description=""), "f", sweep_id=sweep_id) == (None, "")
    run = kept.reader.finished_run(run_id)
    assert (run and (run.outcome, run.reason)) == ((outcome, "why") if outcome != "failed" else None)


def test_a_finished_run_is_preferred_to_a_diverged_one(kept, experiment_id, folder):
    sweep_id = opened(kept, experiment_id)
    finished, diverged = (started(kept, experiment_id, sweep_id) for _ in range(2))
    ended(kept, diverged, folder, outcome="diverged")
    ended(kept, finished, folder)
    assert found(kept, experiment_id, "f", sweep_id=sweep_id) == (finished, "")
    kept.write_sweep(sweep_id, manifest(diverged))
    assert found(kept, experiment_id, "f", sweep_id=sweep_id) == (finished, "")


def test_a_sweep_keeps_the_result_that_it_has_and_another_takes_the_newest(kept, experiment_id, folder):
    first, second = (opened(kept, experiment_id, fingerprint=name) for name in "gh")
    own = started(kept, experiment_id, first)
    ended(kept, own, folder)
    kept.write_sweep(first, manifest(own))
    time.sleep(0.002)  # MLflow's clock ticks in milliseconds
    newer = started(kept, experiment_id, second)
    ended(kept, newer, folder)
    assert found(kept, experiment_id, "f", sweep_id=first) == (own, "")
    assert found(kept, experiment_id, "f", sweep_id=second) == (newer, "")


def test_a_run_of_another_store_is_not_there(kept, experiment_id):
    unknown = "0123456789abcdef0123456789abcdef"
    assert not kept.reader.has_run(unknown)
    assert kept.reader.finished_run(unknown) is None


def test_the_same_sweep_goes_on_and_another_one_begins(kept, experiment_id):
    first = opened(kept, experiment_id, command="once")
    kept.write_sweep(first, manifest())
    kept.end_sweep(first, status="FINISHED")
    assert opened(kept, experiment_id, command="again") == first
    assert kept.reader.read_sweep(first).command == "again"
    assert len({first, opened(kept, experiment_id, fingerprint="g"), opened(kept, experiment_id, reuse=False)}) == 3


def test_a_sweep_that_is_open_elsewhere_is_refused(kept, experiment_id):
    opened(kept, experiment_id)
    with pytest.raises(errors.Locked, match=f"process {os.getpid()} on"):
        opened(kept, experiment_id)


def test_a_sweep_is_there_once_it_is_written_down(kept, experiment_id):
    sweep_id = opened(kept, experiment_id)
    assert not kept.reader.has_sweep(sweep_id)
    kept.write_sweep(sweep_id, manifest(n_planned=7))
    kept.write_sweep(sweep_id, manifest(n_planned=8))
    assert kept.reader.has_sweep(sweep_id)
    record = kept.reader.read_sweep(sweep_id)
    assert (record.sweep_id, record.n_planned, record.runs, record.pictures) == (sweep_id, 8, (), {})
    assert (record.margins, record.chance, record.comparison) == ({"accuracy": 0.01}, {"accuracy": None}, {"name": "n"})


def test_a_search_is_read_as_it_was_written_down(kept, experiment_id):
    trial = TrialRecord(number=0, state="COMPLETE", values={"optimizer.learning_rate": 0.1}, scores=(0.5,),
                        reported=((1, 0.75), (2, 0.5)), began=0.0, ended=None, epochs=2, seconds=1.5, run_id="r",
                        reason="")  # fmt: skip
    study = StudyRecord(name="n", arm="keras", framework="keras", space={"optimizer.learning_rate": {"kind": "float"}},
                        objectives=(("val/loss", "minimize"),), sampler="tpe", pruner="none", trials=(trial,),
                        importances={}, best=(0,))  # fmt: skip
    value = TunedValue(group="g", labels={"framework": "keras"}, key="optimizer.learning_rate", value=0.1, score=0.5,
                       metric="val/loss", n_trials=1, low=0.01, high=1.0, at_edge=False)  # fmt: skip
    sweep_id = opened(kept, experiment_id)
    run_id = started(kept, experiment_id, sweep_id, kind="trial")
    content = {"choices": plain([value]), "studies": plain([study]), "trials": [entry(run_id)]}
    kept.write_sweep(sweep_id, manifest(class_names=["a", "b"], **content))
    record = kept.reader.read_sweep(sweep_id)
    assert (record.studies, record.tuned_values, record.class_names) == ((study,), (value,), ("a", "b"))
    assert [(each.run_id, each.labels) for each in record.trials] == [(run_id, {"a": "b"})]


def test_a_sweep_is_found_by_its_identifier_or_as_the_latest(kept, experiment_id):
    with pytest.raises(errors.SettingsError, match="no sweep 'latest' of this experiment is kept"):
        kept.reader.find_sweep(experiment_id, "latest")
    first = opened(kept, experiment_id)
    time.sleep(0.002)  # MLflow orders by the millisecond
    second = opened(kept, experiment_id, fingerprint="g")
    study_id = kept.open_study(experiment_id, sweep_id=second, name="s")
    assert kept.reader.find_sweep(experiment_id, "latest") == second
    assert kept.reader.find_sweep(experiment_id, first) == first
    for which in ("nope", study_id):
        with pytest.raises(errors.SettingsError, match=f"sweep: no sweep '{which}' of this experiment is kept"):
            kept.reader.find_sweep(experiment_id, which)


def test_a_study_is_made_once_in_its_sweep(kept, experiment_id):
    first, second = (opened(kept, experiment_id, fingerprint=name) for name in "fg")
    study_id = kept.open_study(experiment_id, sweep_id=first, name="a 'study' · b")
    kept.end_study(study_id, metrics={"trials": 2.0}, values={"optimizer.learning_rate": 0.1})
    assert kept.open_study(experiment_id, sweep_id=first, name="a 'study' · b") == study_id
    assert len({study_id, kept.open_study(experiment_id, sweep_id=second, name="a 'study' · b")}) == 2
    assert len({study_id, kept.open_study(experiment_id, sweep_id=first, name="another")}) == 2


def test_orphans_of_a_dead_process_are_closed_and_those_of_a_living_one_are_not(kept, experiment_id):
    living = kept.owner
    sweep_id = opened(kept, experiment_id, fingerprint="mine")
    mine = started(kept, experiment_id, sweep_id)
    kept.owner = dataclasses.replace(living, pid=2**22 - 1, start="1", mark=1)
    dead_sweep = opened(kept, experiment_id, fingerprint="dead")
    study_id = kept.open_study(experiment_id, sweep_id=dead_sweep, name="s")
    dead = [started(kept, experiment_id, study_id, kind=kind) for kind in ("run", "trial")]
    kept.owner = living
    assert kept.close_orphans(experiment_id) == 4
    assert kept.close_orphans(experiment_id) == 0
    runs = read_back(kept, sweep_id, mine, *dead)
    assert [run.reason for run in runs] == ["", "its process died", "its process died"]
    assert [run.facts["kind"] for run in runs] == ["run", "run", "attempt"]
    assert all(run.was_killed for run in runs)
    with pytest.raises(errors.Locked):
        opened(kept, experiment_id, fingerprint="mine")
    assert opened(kept, experiment_id, fingerprint="dead") == dead_sweep
    assert locks.Owner.from_tag(kept.owner.tag) == living


def test_a_result_that_is_not_whole_is_none_and_what_is_missing_is_said(kept, experiment_id, folder):
    sweep_id = opened(kept, experiment_id)
    run_id = started(kept, experiment_id, sweep_id)
    ended(kept, run_id, folder)
    assert found(kept, experiment_id, "f", sweep_id=sweep_id) == (run_id, "")
    if isinstance(kept, Store):
        path = kept.files.path(run_id, "config.yaml")
        path.write_text(path.read_text().replace("seed: 3", "seed: 4"))  # of the same size
    else:
        kept.kept[run_id].lost = "config.yaml is not as kept"
    result, lost = found(kept, experiment_id, "f", sweep_id=sweep_id)
    assert result is None
    assert "config.yaml is not as kept" in lost
    whole = started(kept, experiment_id, sweep_id)
    ended(kept, whole, folder)
    assert found(kept, experiment_id, "f", sweep_id=sweep_id) == (whole, "")


def test_a_run_that_is_lost_is_named_and_the_others_are_read(kept, experiment_id, folder):
    sweep_id = opened(kept, experiment_id)
    there = started(kept, experiment_id, sweep_id)
    unknown = "0123456789abcdef0123456789abcdef"
    kept.write_sweep(sweep_id, manifest(there, unknown))
    record = kept.reader.read_sweep(sweep_id)
    assert [run.run_id for run in record.runs] == [there]
    assert record.is_partial
    (sentence,) = record.lost
    assert sentence.startswith(f"run 1 is lost (run {unknown}): it is not ")
    with pytest.raises(errors.NotKept, match="sweep "):
        kept.reader.read_sweep(opened(kept, experiment_id, fingerprint="never written down"))


def test_a_sweep_that_is_stopped_closes_its_own_runs_and_those_of_its_studies(kept, experiment_id, folder):
    sweep_id, other = (opened(kept, experiment_id, fingerprint=name) for name in "fg")
    study_id = kept.open_study(experiment_id, sweep_id=sweep_id, name="s")
    done = started(kept, experiment_id, sweep_id)
    ended(kept, done, folder)
    open_ones = [
        started(kept, experiment_id, sweep_id),
        started(kept, experiment_id, study_id, kind="trial"),
        started(kept, experiment_id, other),
    ]
    kept.kill_open_runs(experiment_id, sweep_id, "stopped by a test")
    runs = read_back(kept, sweep_id, done, *open_ones)
    assert [run.outcome for run in runs] == ["finished", "failed", "failed", "running"]
    assert [run.reason for run in runs] == ["", "stopped by a test", "stopped by a test", ""]
    assert [run.facts["kind"] for run in runs] == ["run", "run", "attempt", "run"]
    assert kept.reader.finished_run(open_ones[0]) is None


def test_a_trial_that_is_trained_again_was_an_attempt(kept, experiment_id):
    sweep_id = opened(kept, experiment_id)
    trial = started(kept, experiment_id, sweep_id, kind="trial")
    kept.mark_as_attempt(trial)
    (run,) = read_back(kept, sweep_id, trial)
    assert run.facts["kind"] == "attempt"


def test_the_newest_certificate_counts(kept, experiment_id):
    assert kept.reader.certificate(experiment_id, "f") is None
    for passed in (False, True):
        content = {"passed": passed, "rows": [{"level": "C0"}], "floor": None}
        arguments = {"name": "c", "fingerprint": "f", "passed": passed, "content": content, "text": "t"}
        kept.log_certificate(experiment_id, **arguments)
        time.sleep(0.002)  # MLflow orders by the millisecond
    assert kept.reader.certificate(experiment_id, "f") == content
    assert kept.reader.certificate(experiment_id, "g") is None
    assert kept.reader.certificate(kept.experiment("other", description=""), "f") is None


def test_pictures_are_kept_with_the_sweep(kept, experiment_id):
    sweep_id = opened(kept, experiment_id)
    kept.write_sweep(sweep_id, manifest())
    pictures = {7: np.full((2, 3, 1), 200, dtype=np.uint8), 4: np.zeros((2, 3, 1), dtype=np.uint8)}
    kept.log_pictures(sweep_id, pictures)
    read = kept.reader.read_sweep(sweep_id).pictures
    assert sorted(read) == [4, 7]
    np.testing.assert_array_equal(read[7], pictures[7])
    assert read[7].dtype == np.uint8


def test_a_control_counts_for_the_sweeps_after_it(kept, experiment_id, folder):
    ids = []
    for number, control in enumerate(("repeat", "not assessed", "", "passed")):
        ids.append(opened(kept, experiment_id, fingerprint=str(number)))
        kept.write_sweep(ids[-1], manifest())
        kept.log_report(
            ids[-1], folder, note="n", tags={"control": control} if control else {"winner": "nobody"}, metrics={}
        )
        time.sleep(0.002)  # MLflow's clock ticks in milliseconds
    assert [kept.reader.read_sweep(each).control for each in ids] == ["", "repeat", "repeat", "repeat"]


def test_a_report_over_several_sweeps_has_one_place(kept, experiment_id):
    first, second, third = (opened(kept, experiment_id, fingerprint=name) for name in "fgh")
    report_id = kept.open_report(experiment_id, [first, second])
    assert kept.open_report(experiment_id, [second, first]) == report_id
    assert len({report_id, kept.open_report(experiment_id, [first, third])}) == 2


@pytest.mark.parametrize(
    ("outcome", "status"),
    [("finished", "FINISHED"), ("pruned", "FINISHED"), ("diverged", "FAILED"), ("failed", "FAILED")],
)
def test_mlflow_shows_how_a_run_ended(store, folder, outcome, status):
    experiment_id = store.experiment("e", description="")
    run_id = started(store, experiment_id, opened(store, experiment_id))
    ended(store, run_id, folder, outcome=outcome)
    run = store.client.get_run(run_id)
    assert run.info.status == status
    assert run.data.tags["mlflow.note.content"] == "what became"


def test_what_a_run_ends_with_is_drawn_as_a_bar_and_what_each_epoch_tells_as_a_curve(store, folder):
    """MLflow draws a curve of one dot for a single value at another step than 0."""
    experiment_id = store.experiment("e", description="")
    run_id = started(store, experiment_id, opened(store, experiment_id))
    store.log_epoch(run_id, {"val/loss": 0.5}, epoch=1, step=10)
    store.end_run(
        run_id, outcome="finished", reason="", step=2, folder=folder, metrics={"test/loss": 0.4, "val/loss": 0.3}
    )
    (single,) = store.client.get_metric_history(run_id, "test/loss")
    assert (single.value, single.step) == (0.4, 0)
    assert [each.step for each in store.client.get_metric_history(run_id, "val/loss")] == [1, 2]


def test_a_sweep_lists_its_choices_and_its_arms_means(store, folder):
    experiment_id, asked = store.experiment("e", description=""), {"name": "s", "command": "c", "description": ""}
    sweep_id = store.open_sweep(experiment_id, fingerprint="f", reuse=True, params={"optimizer": "adam, sgd"}, **asked)
    store.end_sweep(sweep_id, status="FINISHED")
    again = store.open_sweep(experiment_id, fingerprint="f", reuse=True, params={"optimizer": "sgd, adam"}, **asked)
    assert again == sweep_id
    assert store.client.get_run(sweep_id).data.params == {"optimizer": "adam, sgd"}
    for value in (0.8, 0.9):  # the report is made again
        store.log_report(sweep_id, folder, note="n", tags={}, metrics={"test/accuracy/keras": value})
    assert store.client.get_run(sweep_id).data.metrics == {"test/accuracy/keras": 0.9}


def test_mlflow_shows_what_was_cut_short_as_killed_and_what_is_at_work_as_running(store):
    experiment_id, living = store.experiment("e", description=""), store.owner
    store.owner = dataclasses.replace(living, pid=2**22 - 1, start="1", mark=1)
    dead = started(store, experiment_id, opened(store, experiment_id, fingerprint="dead"))
    store.owner = living
    sweep_id, other = (opened(store, experiment_id, fingerprint=name) for name in "fg")
    stopped, running = started(store, experiment_id, sweep_id), started(store, experiment_id, other)
    assert store.close_orphans(experiment_id) == 2
    store.kill_open_runs(experiment_id, sweep_id, "stopped")
    statuses = [store.client.get_run(each).info.status for each in (dead, stopped, running, sweep_id, other)]
    assert statuses == ["KILLED", "KILLED", "RUNNING", "RUNNING", "RUNNING"]


@pytest.fixture
def elsewhere(store):
    """The owner of a sweep on a host that shares no lock with this one."""
    return dataclasses.replace(store.owner, host="elsewhere", boot="another", mark=1)


def test_a_sweep_of_another_host_goes_on_once_its_lease_has_run_out(store, elsewhere, monkeypatch, capsys):
    experiment_id, here, other = store.experiment("e", description=""), store.owner, Store(store.uri)
    other.owner = elsewhere
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", 0.05)
    before = set(threading.enumerate())
    sweep_id = opened(other, experiment_id)
    (renewing,) = set(threading.enumerate()) - before
    run_id = started(other, experiment_id, sweep_id)
    assert store.close_orphans(experiment_id) == 0
    with pytest.raises(errors.Locked, match=r"process \d+ on elsewhere is at work on this sweep"):
        opened(store, experiment_id)
    other._lease.end()  # it dies
    renewing.join()
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.4)
    assert opened(store, experiment_id) == sweep_id
    assert capsys.readouterr().err.count("Waiting for a sign of life") == 2
    assert store.client.get_run(run_id).info.status == "KILLED"
    assert store.client.get_run(sweep_id).data.tags["tandem.owner"] == here.tag


def test_who_was_taken_over_from_writes_nothing_more(store, elsewhere, monkeypatch):
    monkeypatch.setattr(locks, "RENEWAL_SECONDS", 0.05)
    experiment_id = store.experiment("e", description="")
    sweep_id = opened(store, experiment_id)
    mine = started(store, experiment_id, sweep_id)
    store.client.set_tag(sweep_id, "tandem.owner", elsewhere.tag)
    tags = {"tandem.owner": elsewhere.tag, "mlflow.parentRunId": sweep_id}
    theirs = store.client.create_run(experiment_id, tags=tags)
    deadline = time.monotonic() + 100
    while not store._lease._taken and time.monotonic() < deadline:
        time.sleep(0.01)  # until it has seen the other's name
    for write in (
        lambda: store.log_epoch(mine, {"val/loss": 1.0}, epoch=1, step=1),
        lambda: started(store, experiment_id, sweep_id),
        lambda: store.write_sweep(sweep_id, manifest()),
        lambda: store.end_sweep(sweep_id, status="FINISHED"),
    ):
        with pytest.raises(errors.Locked, match=r"process \d+ on elsewhere took over this sweep"):
            write()
    store.kill_open_runs(experiment_id, sweep_id, "taken over")
    statuses = [store.client.get_run(each).info.status for each in (mine, theirs.info.run_id, sweep_id)]
    assert statuses == ["KILLED", "RUNNING", "RUNNING"]


def test_an_owner_of_another_host_that_nobody_asks_for_is_closed_once_it_is_long_dead(store, elsewhere):
    experiment_id, here = store.experiment("e", description=""), store.owner
    store.owner = elsewhere
    sweep_id = opened(store, experiment_id)
    started(store, experiment_id, sweep_id)
    store.owner = here
    assert store.close_orphans(experiment_id) == 0
    store.client.set_tag(sweep_id, "tandem.heartbeat", str(time.time() - locks.CLOCKS_DIFFER_SECONDS - 60))
    assert store.close_orphans(experiment_id) == 2


@pytest.mark.parametrize("first", ["begins", "goes on"])
def test_of_several_that_open_a_sweep_at_once_one_has_it(store, first):
    experiment_id = store.experiment("e", description="")
    if first == "goes on":
        store.end_sweep(opened(store, experiment_id), status="KILLED")
    stores, barrier, said = [Store(store.uri) for _ in range(3)], threading.Barrier(3), []

    def open_one(each):
        barrier.wait()
        try:
            said.append(opened(each, experiment_id))
        except errors.Locked as error:
            said.append(error)

    threads = [threading.Thread(target=open_one, args=(each,)) for each in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(each, str) for each in said) == 1
    assert len(said) == 3


def test_of_two_that_began_at_once_on_a_server_the_first_goes_on(store):
    """Where no lock is shared, both may find nothing and begin."""
    experiment_id = store.experiment("e", description="")
    first = opened(store, experiment_id)
    time.sleep(0.002)  # MLflow's clock ticks in milliseconds
    second = opened(store, experiment_id, reuse=False)
    runs = [store.client.get_run(each) for each in (second, first)]
    store._require_first(first, runs)
    with pytest.raises(errors.Locked, match=f"run {first}"):
        store._require_first(second, runs)
    assert store.client.get_run(second).info.status == "KILLED"


def test_what_an_earlier_version_kept_is_read(store, folder):
    """Written with MLflow's own client, under the names of tags and files that stand in everybody's databases."""
    client, experiment_id = store.client, store.experiment("e", description="")
    known = {"tandem.kind": "sweep", "tandem.command": "typed", "tandem.sweep_fingerprint": "s"}
    sweep_id = client.create_run(experiment_id, tags=known).info.run_id
    tags = {"mlflow.parentRunId": sweep_id, "tandem.kind": "run", "tandem.fingerprint": "f",
            "tandem.outcome": "finished", "tandem.data_fingerprint": "d"}  # fmt: skip
    run_id = client.create_run(experiment_id, run_name="a run", tags=tags).info.run_id
    client.log_text(run_id, "framework: keras\nseed: 3\nnetwork:\n  kind: mlp\n", "config.yaml")
    for epoch, loss in ((1, 0.5), (2, 0.25)):
        client.log_metric(run_id, "val/loss", loss, step=epoch)
    np.savez(folder / "test_logits.npz", logits=np.zeros((2, 3)), targets=np.zeros(2))
    np.savez(folder / "pictures.npz", **{"4": np.zeros((2, 2, 1), np.uint8)})
    client.log_artifact(run_id, str(folder / "test_logits.npz"))
    client.log_artifact(sweep_id, str(folder / "pictures.npz"))
    client.log_dict(sweep_id, manifest(run_id), "sweep.json")
    certificate_id = client.create_run(experiment_id, tags={"tandem.certificate": "c"}).info.run_id
    client.log_dict(certificate_id, {"passed": True}, "certificate.json")

    record = store.reader.read_sweep(store.reader.find_sweep(experiment_id, "latest"))
    (run,) = record.runs
    assert (record.command, list(record.pictures)) == ("typed", [4])
    assert (run.framework, run.seed, run.outcome, run.config["network"]) == ("keras", 3, "finished", {"kind": "mlp"})
    assert run.curves == {"val/loss": [(1, 0.5), (2, 0.25)]}
    assert run.facts["data_fingerprint"] == "d"
    assert found(store, experiment_id, "f", sweep_id=sweep_id) == (run_id, "")
    assert store.reader.logits(run_id)[0].shape == (2, 3)
    assert store.reader.certificate(experiment_id, "c") == {"passed": True}
    assert opened(store, experiment_id, fingerprint="another") != sweep_id
    client.set_terminated(sweep_id, "FINISHED")
    assert opened(store, experiment_id, fingerprint="s") == sweep_id


def test_the_database_is_in_wal_mode(store):
    with sqlite3.connect(store.uri.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_two_processes_make_one_database(tmp_path):
    store = f"Store('sqlite:///{tmp_path}/mlflow.db', cache=pathlib.Path({str(tmp_path)!r}))"
    code = f"import pathlib; from experiments.tracking.store import Store; {store}; print('open')"
    running = [
        subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [process.communicate()[0].strip() for process in running] == [b"open"] * 2


def tables(path):
    """Every table's lines, sorted: the order of constraints is that of sets, another in every process."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        asked = "SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY name"
        made = [sorted(line.strip("\t ,") for line in (sql or "").split("\n")) for (sql,) in connection.execute(asked)]
        return made, connection.execute("SELECT * FROM alembic_version").fetchall()


def test_a_database_is_made_once_and_copied_for_every_other_place(tmp_path, store, monkeypatch):
    made, make = [], client_module.schema._initialize_tables
    monkeypatch.setattr(client_module.schema, "_initialize_tables", lambda engine: (made.append(1), make(engine)))
    paths = [tmp_path / "first.db", tmp_path / "second.db"]
    for path in paths:
        again = Store(f"sqlite:///{path}", cache=tmp_path / "cache")
        assert again.client.get_experiment(again.experiment("e", description="")).artifact_location
        assert tables(path) == tables(store.uri.removeprefix("sqlite:///"))  # which MLflow made itself
    assert len(made) == 1


def test_nothing_is_imported_with_the_store_that_it_can_do_without(tmp_path):
    """Garbage is looked for again once it is open, but not among what was imported."""
    found = "optional_packages.OPTIONAL & sys.modules.keys(), gc.isenabled(), gc.get_freeze_count() > 100_000"
    code = f"gc.disable(); run.open_store('sqlite:///{tmp_path}/mlflow.db', cache=None); print({found})"
    imports = "import gc, sys, run; from experiments.contract import optional_packages"
    done = subprocess.run([sys.executable, "-c", f"{imports}; {code}"], cwd=PROJECT, capture_output=True, text=True)
    assert done.stdout == "set() True True\n", done.stderr


def test_a_dead_server_is_said_within_seconds(monkeypatch):
    waited = []
    monkeypatch.setattr(time, "sleep", waited.append)
    with pytest.raises(errors.StoreUnavailable, match=r"the tracking store http://127\.0\.0\.1:9 cannot be opened"):
        Store("http://127.0.0.1:9")
    assert sum(waited) < 20  # MLflow's own defaults wait 246 s


@pytest.mark.parametrize(("outcome", "is_result"), [("finished", True), ("diverged", True), ("failed", False)])
def test_a_glance_into_the_file_tells_whether_all_results_are_there(store, folder, tmp_path, outcome, is_result):
    file = tmp_path / "mlflow.db"
    sweep_id = store.open_sweep(store.experiment("e", description=""), name="s", fingerprint="s", command="c",
                                description="", reuse=True)  # fmt: skip
    experiment_id = store.experiment("e", description="")
    for fingerprint, end in (("f", "finished"), ("g", outcome)):
        ended(store, started(store, experiment_id, sweep_id, fingerprint=fingerprint), folder, outcome=end)
    started(store, experiment_id, sweep_id, fingerprint="h")
    assert database.has_results(file, ["f"])
    assert database.has_results(file, ["f", "g"]) == is_result
    assert not database.has_results(file, ["f", "h"])
    assert not database.has_results(tmp_path / "none.db", ["f"])
    assert not (tmp_path / "none.db").exists()
    (tmp_path / "other.db").write_text("no database" * 1000)
    assert not database.has_results(tmp_path / "other.db", ["f"])
