"""What a run costs beside its training, counted: statements to the database, what is imported and remembered."""

import contextlib
import sys
from multiprocessing import spawn
from types import ModuleType, SimpleNamespace

import cases
import pytest
import yaml
from cases import PROJECT
from conftest import EXECUTOR
from sqlalchemy import Engine, event

from experiments.errors import SettingsError
from experiments.execution import run as run_module
from experiments.execution.executor import LocalExecutor
from experiments.execution.run import Run
from experiments.fingerprint import plain
from experiments.tracking import store as store_module
from experiments.tracking.store import Store

DATASET = {"name": "digits", "digest": "d", "origin": "somewhere"}


@contextlib.contextmanager
def counted():
    """How many statements, and commits, go to a database meanwhile."""
    count = SimpleNamespace(statements=0, commits=0)

    def on_statement(*_):
        count.statements += 1

    def on_commit(*_):
        count.commits += 1

    event.listen(Engine, "before_cursor_execute", on_statement)
    event.listen(Engine, "commit", on_commit)
    yield count
    event.remove(Engine, "before_cursor_execute", on_statement)
    event.remove(Engine, "commit", on_commit)


@pytest.fixture(scope="module")
def config():
    return {"framework": "keras", "seed": 3, "device": "cpu", **plain(cases.task("experiment=digits_mlp"))}


@pytest.fixture
def lab(store, config, tmp_path):
    """A real store with an open sweep, and `train(*fingerprints)`, which records a run of two epochs for each."""
    experiment_id = store.experiment("e", description="")
    sweep_id = opened(store, experiment_id, "s")

    def train(*fingerprints, parent_id=sweep_id):
        run_ids = []
        for fingerprint in fingerprints:
            folder = tmp_path / f"run-{fingerprint}"
            folder.mkdir(exist_ok=True)
            run_ids.append(started(store, experiment_id, parent_id, fingerprint, config))
            for epoch in (1, 2):
                store.log_epoch(run_ids[-1], {"val/loss": 0.5, "train/loss": 0.25}, epoch=epoch, step=epoch)
            ended(store, run_ids[-1], folder)
        return run_ids

    return SimpleNamespace(store=store, experiment_id=experiment_id, sweep_id=sweep_id, train=train)


def opened(store, experiment_id, fingerprint):
    return store.open_sweep(experiment_id, name="s", fingerprint=fingerprint, command="", description="", reuse=True)


def started(store, experiment_id, parent_id, fingerprint, config):
    facts = {"host": "here", "n_parameters": "42"}
    return store.start_run(
        experiment_id, parent_id=parent_id, kind="run", name="a run", fingerprint=fingerprint, config=config,
        facts=facts, dataset=DATASET,
    )  # fmt: skip


def ended(store, run_id, folder):
    store.end_run(run_id, outcome="finished", reason="", metrics={"test/loss": 0.125}, step=2, folder=folder)


def manifest(*run_ids):
    entries = [{"id": run_id, "name": "a run", "labels": {}, "overrides": []} for run_id in run_ids]
    others = {"n_planned": 2, "margins": {}, "chance": {}, "comparison": {}, "class_names": [], "choices": []}
    return others | {"studies": [], "runs": entries, "trials": []}


def test_each_run_costs_as_many_statements_and_commits_as_the_one_before(lab):
    lab.train("first")
    with counted() as one:
        lab.train("a")
    with counted() as four:
        lab.train("b", "c", "d", "e")
    assert (four.statements, four.commits) == (4 * one.statements, 4 * one.commits)
    assert one.commits <= 11  # MLflow's own eleven for five calls: run, parameters, dataset, metrics with tags, end
    assert one.statements <= 70


def test_epochs_that_are_shorter_than_their_writing_are_written_together(lab, config, tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "WRITE_SECONDS", 600.0)  # of a machine however slow
    store = lab.store
    run_id = started(store, lab.experiment_id, lab.sweep_id, "f", config)
    with counted() as meanwhile:
        for epoch in range(1, 501):
            store.log_epoch(run_id, {"val/loss": 1 / epoch, "train/loss": 0.5}, epoch=epoch, step=3 * epoch)
    assert meanwhile.commits <= 2
    ended(store, run_id, tmp_path / "run")
    store.write_sweep(lab.sweep_id, manifest(run_id))
    (run,) = store.reader.read_sweep(lab.sweep_id).runs
    assert run.curves["val/loss"] == [(epoch, 1 / epoch) for epoch in range(1, 501)]
    assert run.curves["step"] == [(epoch, 3.0 * epoch) for epoch in range(1, 501)]


def test_epochs_that_take_their_time_are_written_at_once(lab, config, monkeypatch):
    monkeypatch.setattr(store_module, "WRITE_SECONDS", 0.0)
    run_id = started(lab.store, lab.experiment_id, lab.sweep_id, "f", config)
    lab.store.log_epoch(run_id, {"val/loss": 0.5}, epoch=1, step=1)
    assert Store(lab.store.uri).client.get_run(run_id).data.metrics["val/loss"] == 0.5


def test_what_was_not_yet_written_of_a_run_that_is_stopped_is_kept(lab, config):
    run_id = started(lab.store, lab.experiment_id, lab.sweep_id, "f", config)
    lab.store.log_epoch(run_id, {"val/loss": 0.5}, epoch=1, step=1)
    lab.store.kill_open_runs(lab.experiment_id, lab.sweep_id, "stopped")
    assert lab.store.client.get_run(run_id).data.metrics["val/loss"] == 0.5


@pytest.mark.parametrize("asked", ["read_sweep", "find_finished"])
def test_a_sweeps_runs_are_asked_for_all_at_once_whatever_else_is_kept(lab, asked):
    reader, counts = lab.store.reader, []
    names = [f"f{number}" for number in range(8)]
    run_ids = lab.train(*names)
    for n_runs, n_others in ((2, 0), (8, 0), (8, 6)):
        lab.train(*(f"other {number}" for number in range(n_others)))
        lab.store.write_sweep(lab.sweep_id, manifest(*run_ids[:n_runs]))
        with counted() as count:
            if asked == "read_sweep":
                assert len(reader.read_sweep(lab.sweep_id).runs) == n_runs
            else:
                found, _ = reader.find_finished(lab.experiment_id, names[:n_runs], sweep_id=lab.sweep_id)
                assert found == dict(zip(names[:n_runs], run_ids, strict=False))
        counts.append(count.statements)
    assert counts[0] > 0
    assert counts[1:] == counts[:1] * 2


def test_runs_that_were_found_done_are_not_fetched_again(lab):
    run_ids = lab.train("f", "g")
    lab.store.write_sweep(lab.sweep_id, manifest(*run_ids))
    with counted() as afresh:
        read = lab.store.reader.read_sweep(lab.sweep_id)
    lab.store.reader.find_finished(lab.experiment_id, ["f", "g"], sweep_id=lab.sweep_id)
    with counted() as once_found:
        assert lab.store.reader.read_sweep(lab.sweep_id) == read
    assert once_found.statements < afresh.statements
    lab.store.reader.find_finished(lab.experiment_id, ["f", "g"], sweep_id=lab.sweep_id)
    lab.store.files.path(run_ids[0], "config.yaml").unlink()  # what is lost meanwhile is missed all the same
    assert len(lab.store.reader.read_sweep(lab.sweep_id).lost) == 1


def test_more_runs_than_are_asked_for_at_once_are_all_found(lab, monkeypatch):
    monkeypatch.setattr("experiments.tracking.client.PAGE", 3)
    run_ids = lab.train(*(f"f{number}" for number in range(7)))
    lab.store.write_sweep(lab.sweep_id, manifest(*run_ids))
    runs = lab.store.reader.read_sweep(lab.sweep_id).runs
    assert [run.run_id for run in runs] == run_ids
    assert all(run.curves["val/loss"] == [(1, 0.5), (2, 0.5)] for run in runs)


def test_the_oldest_of_more_sweeps_than_are_asked_for_at_once_is_found(lab, monkeypatch):
    monkeypatch.setattr("experiments.tracking.client.PAGE", 2)
    later = [opened(lab.store, lab.experiment_id, f"s{number}") for number in range(4)]
    find = lab.store.reader.find_sweep
    assert [find(lab.experiment_id, each) for each in (lab.sweep_id, *later)] == [lab.sweep_id, *later]
    with pytest.raises(SettingsError, match="no sweep 'unknown'") as refused:
        find(lab.experiment_id, "unknown")
    assert [each for each in (lab.sweep_id, *later) if each not in str(refused.value)] == []


def test_nothing_of_a_run_that_has_ended_is_remembered(lab):
    (run_id,) = lab.train("f")
    assert run_id not in lab.store.files._known
    assert run_id not in lab.store._open


def test_a_worker_is_not_made_to_run_the_command_again(tmp_path, monkeypatch):
    """Its own module imports Hydra, which takes longer than a small run."""
    command = ModuleType("__main__")
    command.__file__ = str(PROJECT / "run.py")
    monkeypatch.setitem(sys.modules, "__main__", command)
    made = LocalExecutor(settings=EXECUTOR, device="cpu", frameworks={}, folder=tmp_path)
    assert "init_main_from_path" in spawn.get_preparation_data("worker")
    with made.environment.in_force():
        assert [each for each in spawn.get_preparation_data("worker") if each.startswith("init_main")] == []
    assert sys.modules["__main__"] is command


def test_a_runs_name_is_reckoned_once(task, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(run_module, "fingerprint_of", lambda content: asked.append(content) or "f")
    run = Run(task=task, framework="numpy", seed=0, device="cpu", data_fingerprint="d",
              data_path=tmp_path, folder=tmp_path)  # fmt: skip
    assert [run.fingerprint for _ in range(3)] == ["f"] * 3
    assert len(asked) == 1


def test_a_configuration_is_read_alike_with_and_without_the_c_library(config):
    from experiments.tracking import reader

    text = yaml.safe_dump(config, sort_keys=False)
    assert yaml.load(text, Loader=reader.LOADER) == yaml.safe_load(text) == config
