"""The whole way with real workers: recorded, resumed, partial; with MLflow where it is what is looked into."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import time
from pathlib import Path
from types import SimpleNamespace

import cases
import mlflow
import numpy as np
import pytest
from cases import change
from commands import command, in_a_process, started
from rich.console import Console

import frameworks
from experiments import job, preparation, recording, report, training
from experiments.errors import SettingsError
from experiments.execution import core_time
from experiments.execution.executor import LocalExecutor
from experiments.execution.run import EpochEnded, Started
from experiments.fingerprint import slug
from experiments.job import TrackingSettings
from experiments.tracking import store as tracking


@pytest.fixture
def console(tmp_path):
    return Console(file=(tmp_path / "screen.txt").open("w"), width=120)


TWO_AT_A_TIME = job.ExecutorSettings(
    workers=2, threads=1, device="cpu", start_method="forkserver", time_limit_seconds=120
)


def jobs(task, tmp_path, *, names=("lightning", "keras"), seeds=(0, 1), executor=TWO_AT_A_TIME):
    return cases.jobs(task, tmp_path, names=names, seeds=seeds, executor=executor)


def prepare(all_jobs, cache, console):
    return preparation.prepare(
        all_jobs, frameworks=frameworks.FRAMEWORKS, cache=cache, command="a test", console=console
    )


def carried_out(all_jobs, *, cache, store, console):
    return training.carry_out(prepare(all_jobs, cache, console), store=store, load=frameworks.load, console=console)


@pytest.fixture(scope="module")
def quick(task):
    return change(task, training={"epochs": 2})


@pytest.fixture(scope="module")
def recorded(local, quick, cache, empty_database, tmp_path_factory):
    """Both frameworks on two seeds, for all who read it or carry it on: a store, its folder and what is kept."""
    folder = tmp_path_factory.mktemp("recorded")
    shutil.copy(empty_database, folder / "mlflow.db")
    kept = tracking.Store(f"sqlite:///{folder / 'mlflow.db'}")
    return kept, folder, carried_out(jobs(quick, folder), cache=cache, store=kept, console=Console(quiet=True))


def test_a_sweep_is_recorded_the_same_way_for_both_frameworks(recorded):
    _, _, record = recorded
    assert not record.is_partial
    assert [(run.framework, run.seed) for run in record.runs] == [
        ("lightning", 0),
        ("keras", 0),
        ("keras", 1),
        ("lightning", 1),
    ]
    first, second = record.runs[:2]
    assert set(first.metrics) == set(second.metrics)
    assert {"train/loss", "val/loss", "val/accuracy", "test/loss", "test/accuracy", "memory/peak_mib"} <= set(
        first.metrics
    )
    assert [epoch for epoch, _ in first.curves["val/loss"]] == [1, 2]
    assert first.metrics["train/first_batch_loss"] > 0
    assert first.facts["threads"] == "1"
    assert "version.torch" in first.facts
    assert "version.tensorflow" in second.facts
    assert first.metrics["time/total"] > first.metrics["time/fit"] > first.metrics["time/steady_step"] > 0


def test_the_store_holds_what_mlflow_users_expect(recorded):
    store, _, record = recorded
    run = store.client.get_run(record.runs[0].run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["mlflow.parentRunId"] == record.sweep_id
    assert run.info.run_name == "lightning · adam · seed 0"
    assert run.data.tags["mlflow.source.name"] == "run.py"
    assert run.data.params["framework"] == "lightning"
    assert run.data.params["optimizer.learning_rate"] == "0.001"
    assert run.inputs.dataset_inputs[0].dataset.digest == record.runs[0].facts["data"].rpartition(" ")[2]
    score = record.runs[0].metrics["test/accuracy"]
    told = f"digits_mlp, lightning · adam · seed 0: test/accuracy {score:.4f}."
    assert run.data.tags["mlflow.note.content"] == told
    paths = {artifact.path for artifact in store.client.list_artifacts(record.runs[0].run_id)}
    assert {"config.yaml", "model", "test_logits.npz", "worker.log"} <= paths
    logits = np.load(store.client.download_artifacts(record.runs[0].run_id, "test_logits.npz"))
    share = np.mean(logits["logits"].argmax(axis=1) == logits["targets"])
    assert share == pytest.approx(record.runs[0].metrics["test/accuracy"], abs=1e-12)


@pytest.mark.parametrize(
    ("outcome", "is_trial", "became"),
    [("finished", False, "test/accuracy 0.5000"), ("finished", True, "val/loss 0.2500"),
     ("diverged", False, "diverged: a loss of nan")],
)  # fmt: skip
def test_a_run_is_described_by_what_became_of_it_and_the_command_that_trains_it_alone(outcome, is_trial, became):
    made = SimpleNamespace(name="keras · seed 0", overrides=("seed=0", "experiment=xor"), is_trial=is_trial)
    metrics = {"val/loss": 0.25} if is_trial else {"test/accuracy": 0.5, "test/loss": 1.0}
    reason = "" if outcome == "finished" else "a loss of nan"
    active = recording.ActiveRun(run=made, parent_id="", outcome=outcome, reason=reason, metrics=metrics)
    alone = "`python run.py experiment=xor seed=0` trains it alone"
    assert recording._note(active, task="xor") == f"xor, keras · seed 0: {became}; {alone}."


def test_the_same_command_again_trains_nothing_and_another_seed_only_itself(recorded, quick, cache):
    store, folder, first = recorded
    quiet = Console(quiet=True)
    again = carried_out(jobs(quick, folder), cache=cache, store=store, console=quiet)
    more = carried_out(
        jobs(quick, folder, names=("lightning",), seeds=(0, 1, 2)), cache=cache, store=store, console=quiet
    )
    ids = [{run.run_id for run in record.runs} for record in (first, again, more)]
    assert ids[0] == ids[1]
    assert again.sweep_id == first.sweep_id
    assert len(ids[2]) == 3
    assert ids[2] & ids[0] == {run.run_id for run in first.runs if run.framework == "lightning"}


def test_reuse_false_trains_again(local, quick, tmp_path, cache, memory_store, console):
    once = jobs(quick, tmp_path, seeds=(0,), names=("lightning",))
    anew = [
        dataclasses.replace(job, tracking=TrackingSettings(uri="unused", reuse=False, tensorboard=False))
        for job in once
    ]
    first = carried_out(once, cache=cache, store=memory_store, console=console)
    second = carried_out(anew, cache=cache, store=memory_store, console=console)
    assert first.runs[0].run_id != second.runs[0].run_id
    assert first.runs[0].metrics["test/loss"] == second.runs[0].metrics["test/loss"]


def test_a_killed_worker_is_a_failed_run_and_the_same_command_mends_it(local, quick, tmp_path, cache, store, console):
    """It waits for a reply to what it tells, so that it is killed in mid-run on a machine however busy."""
    both = {"names": ("lightning",), "seeds": (0, 1)}
    alone = job.ExecutorSettings(workers=1, threads=1, device="cpu", start_method="forkserver", time_limit_seconds=120)
    made = prepare(jobs(quick, tmp_path, executor=alone, **both), cache, console)
    events, pids = made.executor.run_lazily, []

    def run_and_kill_the_first(next_item):
        def answered():
            item = next_item()
            return item and dataclasses.replace(item, awaits_reply=True)

        for index, event in events(answered):
            yield index, event
            if isinstance(event, Started):
                pids.append(event.pid)
            if index == 0 and isinstance(event, EpochEnded) and event.epoch == 1:
                os.kill(pids[0], signal.SIGKILL)

    made.executor.run_lazily = run_and_kill_the_first
    record = training.carry_out(made, store=store, load=frameworks.load, console=console)
    assert [run.outcome for run in record.runs] == ["failed", "finished"]
    assert "killed by SIGKILL" in record.runs[0].reason
    assert store.client.get_run(record.runs[0].run_id).info.status == "FAILED"
    assert record.is_partial
    html = report.files.write(report.analyse(record), tmp_path / "report").read_text()
    assert "partial: 1 of 2 runs" in html

    mended = carried_out(jobs(quick, tmp_path, executor=alone, **both), cache=cache, store=store, console=console)
    assert [run.outcome for run in mended.runs] == ["finished", "finished"]
    assert mended.sweep_id == record.sweep_id
    assert mended.runs[1].run_id == record.runs[1].run_id


def test_a_diverged_run_is_stopped_and_stays_in_the_sweep(local, quick, tmp_path, cache, memory_store, console):
    wild = change(quick, optimizer={"learning_rate": 1e30})
    record = carried_out(jobs(wild, tmp_path, seeds=(0,)), cache=cache, store=memory_store, console=console)
    assert [run.outcome for run in record.runs] == ["diverged", "diverged"]
    assert all("not finite" in run.reason or "became" in run.reason for run in record.runs)
    assert not record.is_partial
    again = carried_out(jobs(wild, tmp_path, seeds=(0,)), cache=cache, store=memory_store, console=console)
    assert [run.run_id for run in again.runs] == [run.run_id for run in record.runs]


def test_runs_on_different_data_have_different_names(quick, tmp_path, cache, console):
    other = change(quick, data={"split_seed": 5})
    names = {
        run.fingerprint for settled in (quick, other) for run in prepare(jobs(settled, tmp_path), cache, console).runs
    }
    assert len(names) == 8


@pytest.mark.parametrize(
    "parts",
    [
        {"optimizer": {"epsilon": 1e-7}},
        {"training": {"batch_size": 64}},
        {"regularization": {"dropout": 0.5}},
        {"network": {"width": 65}},
    ],
)
def test_whatever_moves_numbers_changes_the_name(quick, tmp_path, cache, console, parts):
    same = prepare(jobs(quick, tmp_path), cache, console).runs[0].fingerprint
    margins = prepare(jobs(change(quick, margins={"accuracy": 0.02}), tmp_path), cache, console).runs[0].fingerprint
    other = prepare(jobs(change(quick, **parts), tmp_path), cache, console).runs[0].fingerprint
    assert same == margins
    assert same != other


def test_settings_of_the_whole_command_must_agree(quick, tmp_path, cache, console):
    first, second = jobs(quick, tmp_path)[:2]
    with pytest.raises(SettingsError, match="`output` must be the same for all runs"):
        preparation.prepare(
            [first, dataclasses.replace(second, output="elsewhere")],
            frameworks=frameworks.FRAMEWORKS,
            cache=cache,
            command="a test",
            console=console,
        )


def test_the_command_from_config_to_verdict(local, tmp_path, cache, empty_database):
    """4 runs, exit code 0, a table, a sentence, a report; no framework's chatter; hydra.mode=RUN makes one run."""
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    sweep_of_4 = ("experiment=digits_mlp", "framework=keras", "seed=5,6", "regularization.dropout=0,0.5")
    done = in_a_process(*sweep_of_4, "training.epochs=1", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "4/4" in done.stdout
    assert "dropout 0.5" in done.stdout
    assert "dropout 0 against dropout 0.5: accuracy on this test set: " in done.stdout
    assert done.stderr == ""
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment_by_name("digits_mlp")
    runs = client.search_runs([experiment.experiment_id], "tags.`tandem.kind` = 'run'")
    assert sorted((run.data.params["seed"], run.data.params["regularization.dropout"]) for run in runs) == [
        ("5", "0.0"),
        ("5", "0.5"),
        ("6", "0.0"),
        ("6", "0.5"),
    ]
    if core_time.by_thread():  # where the system tells
        assert all(0 <= run.data.metrics["time/waited"] < 1 for run in runs)
    parent = client.get_run(runs[0].data.tags["mlflow.parentRunId"])
    assert parent.info.status == "FINISHED"
    assert "accuracy" in parent.data.tags["mlflow.note.content"]
    assert {"report", "sweep.json"} <= {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}

    again = command("experiment=digits_mlp", "action=report", cwd=tmp_path, cache=cache)
    assert again.returncode == 0, again.stderr
    kept = client.download_artifacts(parent.info.run_id, "report/report.json")
    assert Path(kept).read_bytes() == (tmp_path / f"outputs/reports/{parent.info.run_id}/report.json").read_bytes()
    nowhere = command("experiment=digits_mlp", "action=report", "sweep=nope", cwd=tmp_path, cache=cache)
    assert nowhere.returncode == 2
    assert "sweep: no sweep 'nope' of this experiment is kept" in nowhere.stderr

    one = command("experiment=digits_mlp", "hydra.mode=RUN", "training.epochs=1", cwd=tmp_path, cache=cache)
    assert one.returncode == 0, one.stderr
    assert len(client.search_runs([experiment.experiment_id], "tags.`tandem.kind` = 'run'")) == 5


def n_begun(database):
    """How many runs there are, asked of the file: MLflow takes about as long to tell as a run does."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=60)) as connection:
        return connection.execute("SELECT count(*) FROM runs WHERE name LIKE 'lightning%'").fetchone()[0]


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_command_goes_on_where_it_stopped(local, tmp_path, cache, empty_database, stop, code):
    (tmp_path / "mlflow.db").write_bytes(empty_database.read_bytes())
    arguments = ("experiment=digits_mlp", "framework=lightning", "seed=0,1", "training.epochs=30")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")

    def runs(query="tags.`tandem.kind` = 'run'"):
        experiment = client.get_experiment_by_name("digits_mlp")
        return client.search_runs([experiment.experiment_id], query) if experiment else []

    with started(*arguments, cwd=tmp_path, cache=cache) as running:
        deadline = time.monotonic() + 600
        while n_begun(tmp_path / "mlflow.db") < 2:
            assert running.poll() is None, "it ended before its time"
            assert time.monotonic() < deadline, "too late"
            time.sleep(0.02)
        running.send_signal(stop)
        _, said = running.communicate(timeout=300)
    assert running.returncode == code, said
    if stop != signal.SIGKILL:
        assert "The same command goes on where it stopped" in said
        assert {run.info.status for run in runs()} == {"FINISHED", "KILLED"}
    finished = {run.info.run_id for run in runs("tags.`tandem.outcome` = 'finished'")}
    assert len(finished) == 1

    report_of_it = command("experiment=digits_mlp", "action=report", cwd=tmp_path, cache=cache)
    assert (report_of_it.returncode, report_of_it.stderr) == (1, "")
    assert "partial: " in report_of_it.stdout

    done = command(*arguments, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 runs is done already" in done.stdout
    after = runs("tags.`tandem.outcome` = 'finished'")
    assert len(after) == 2
    assert finished < {run.info.run_id for run in after}
    assert not runs("attributes.status = 'RUNNING'")
    assert len(runs("tags.`tandem.kind` = 'sweep'")) == 1
    sweep_json = store_json(client, after[0].data.tags["mlflow.parentRunId"])
    assert len(sweep_json["runs"]) == 2
    assert sweep_json["seeds"] == [0, 1]


def store_json(client, run_id):
    return json.loads(Path(client.download_artifacts(run_id, "sweep.json")).read_text())


def test_names_fit_file_systems():
    assert slug("../../x\x00‮ é" + "y" * 200) == "x-" + "y" * 78
    assert slug("…") == "unnamed"


def test_a_local_executor_starts_methods_by_device(tmp_path):
    for device, method in (("cpu", "forkserver"), ("gpu", "spawn")):
        auto = job.ExecutorSettings(workers=1, threads=1, device="auto", start_method="auto", time_limit_seconds=1)
        assert LocalExecutor(settings=auto, device=device, frameworks={}, folder=tmp_path).start_method == method


def test_a_database_elsewhere_keeps_its_files_beside_it(
    local, quick, tmp_path, cache, empty_database, console, monkeypatch
):
    away, here = tmp_path / "away", tmp_path / "here"
    away.mkdir()
    here.mkdir()
    (away / "mlflow.db").write_bytes(empty_database.read_bytes())
    monkeypatch.chdir(here)
    store = tracking.Store(f"sqlite:///{away / 'mlflow.db'}")
    carried_out(jobs(quick, tmp_path, seeds=(0,), names=("lightning",)), cache=cache, store=store, console=console)
    assert len(list((away / "mlruns").rglob("test_logits.npz"))) == 1
    assert list(here.iterdir()) == []
