"""A store is where its database lies: moved, copied, with files missing; each thing that is missing is named."""

import json
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import quote

import mlflow
import pytest
from commands import command

from experiments.errors import Locked, NotKept
from experiments.execution import locks
from experiments.execution.locks import Owner
from experiments.tracking.store import Store

REFEREE = ("experiment=digits_mlp", "framework=numpy", "training.precision=float64", "training.epochs=1")
SEEDS = ("seed=0,1,2,3,4",)


@pytest.fixture(scope="module")
def project(local, cache, tmp_path_factory, empty_database):
    """A project with five runs, never changed: for copies."""
    folder = tmp_path_factory.mktemp("somewhere") / "project"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    done = command(*REFEREE, *SEEDS, cwd=folder, cache=cache)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def copy(project, tmp_path):
    """A copy of it, elsewhere."""
    return Path(shutil.copytree(project, tmp_path / "a copy of it"))


def opened(folder):
    return Store(f"sqlite:///{quote(str(folder))}/mlflow.db")


def files_of(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def run_ids(folder):
    """Identifiers of the runs by seed; opening the store mends it, as any command does."""
    client = opened(folder).client
    runs = client.search_runs([client.get_experiment_by_name("digits_mlp").experiment_id], "tags.`tandem.kind` = 'run'")
    return {int(run.data.params["seed"]): run.info.run_id for run in runs[::-1]}


def scores(folder):
    store = opened(folder)
    experiment_id = store.experiment("digits_mlp", description="")
    runs = store.reader.read_sweep(store.reader.find_sweep(experiment_id, "latest")).runs
    return {
        run.seed: {name: value for name, value in run.metrics.items() if not name.startswith(("time/", "memory/"))}
        for run in runs
    }


def artifacts(folder, run_id):
    return folder / "mlruns" / "digits-mlp" / run_id / "artifacts"


def test_a_project_that_was_moved_is_found_and_its_old_place_left_alone(project, copy, tmp_path, cache):
    moved = tmp_path / "moved"
    copy.rename(moved)
    before = files_of(project)
    again = command(*REFEREE, "action=report", cwd=moved, cache=cache)
    assert again.returncode == 0, again.stderr
    assert again.stderr == (
        f"This store was in {project} before; its files are looked for beside {moved / 'mlflow.db'} now.\n"
    )
    same = command(*REFEREE, *SEEDS, cwd=moved, cache=cache)
    assert (same.returncode, same.stderr) == (0, "")
    assert "5 of 5 runs are done already" in same.stdout
    more = command(*REFEREE, "seed=5", cwd=moved, cache=cache)
    assert more.returncode == 0, more.stderr
    # MLflow's own client, and so its page, finds what lies there.
    client = mlflow.MlflowClient(f"sqlite:///{moved}/mlflow.db")
    for run_id in run_ids(moved).values():
        found = client.download_artifacts(run_id, "config.yaml", str(tmp_path))
        assert Path(found).read_text() == (artifacts(moved, run_id) / "config.yaml").read_text()
    assert len(run_ids(moved)) == 6
    assert files_of(project) == before
    assert not copy.exists()


def test_a_copy_that_was_never_opened_writes_into_its_own_folder(project, copy, tmp_path):
    copy = copy.rename(tmp_path / "100%25 'its' own")
    before = files_of(project / "mlruns")
    run_id = run_ids(copy)[0]
    store = opened(copy)
    _point_back(copy, project)  # as a command leaves it that works in the other place, mounted here and there
    store.files.write(run_id, "note.txt", "written here")
    assert (artifacts(copy, run_id) / "note.txt").read_text() == "written here"
    assert store.files.path(run_id, "config.yaml") == artifacts(copy, run_id) / "config.yaml"
    assert files_of(project / "mlruns") == before


def run_ids_in(store):
    experiment = store.client.get_experiment_by_name("digits_mlp")
    return [
        run.info.run_id for run in store.client.search_runs([experiment.experiment_id], "tags.`tandem.kind` = 'run'")
    ]


def _point_back(copy, project):

    with sqlite3.connect(copy / "mlflow.db") as connection:
        for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
            connection.execute(
                f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (copy.as_uri(), project.as_uri())
            )


def test_what_is_missing_is_named_and_trained_again_by_the_same_command(project, copy, cache):
    ids = run_ids(copy)
    (artifacts(copy, ids[0]) / "config.yaml").unlink()
    (artifacts(copy, ids[1]) / "test_logits.npz").unlink()
    logits = artifacts(copy, ids[2]) / "test_logits.npz"
    content = bytearray(logits.read_bytes())
    content[len(content) // 2] ^= 1
    logits.write_bytes(content)
    opened(copy).client.delete_run(ids[3])
    lost = {
        0: f"(run {ids[0]}): config.yaml is missing from {artifacts(copy, ids[0])}",
        1: f"(run {ids[1]}): test_logits.npz is missing from {artifacts(copy, ids[1])}",
        2: f"(run {ids[2]}): test_logits.npz is not as kept in {artifacts(copy, ids[2])}",
        3: f"(run {ids[3]}): it was deleted; `mlflow runs restore --run-id {ids[3]}` brings it back",
    }

    report = command(*REFEREE, "action=report", cwd=copy, cache=cache)
    assert report.returncode == 1, report.stdout + report.stderr
    assert "partial: 3 of 5 runs" in report.stdout
    kinds = {0: "is lost", 1: "is not whole", 2: "is not whole", 3: "is lost"}
    for seed, what in lost.items():
        assert f"numpy · adam · seed {seed} {kinds[seed]} {what}" in report.stdout

    same = command(*REFEREE, *SEEDS, cwd=copy, cache=cache)
    assert same.returncode == 0, same.stderr
    for seed, what in lost.items():
        assert f"Trained again: numpy · adam · seed {seed} {what}" in same.stdout
    assert "1 of 5 runs is done already" in same.stdout
    assert "4/4" in same.stdout
    assert "is lost" not in same.stdout
    kept = {seed: run_id for seed, run_id in run_ids(copy).items() if ids[seed] == run_id}
    assert list(kept) == [4]
    assert len(scores(copy)) == 5
    assert scores(copy) == scores(project)

    shutil.rmtree(copy / "mlruns")
    report = command(*REFEREE, "action=report", cwd=copy, cache=cache)
    assert report.returncode == 2
    assert "sweep.json is missing from" in report.stderr
    assert f"{' '.join(REFEREE)}" in report.stderr  # the command that mends it
    same = command(*REFEREE, *SEEDS, cwd=copy, cache=cache)
    assert same.returncode == 0, same.stderr
    assert same.stdout.count("Trained again: ") == 5
    assert scores(copy) == scores(project)


def test_what_mlflow_removed_for_good_is_not_kept(store, tmp_path):
    experiment_id = store.experiment("e", description="")
    sweep_id = store.open_sweep(
        experiment_id, name="s", fingerprint="f", command="python run.py x", description="", reuse=True
    )
    run_id = store.start_run(experiment_id, parent_id=sweep_id, kind="run", name="a run", fingerprint="r",
                             config={"framework": "numpy", "seed": 0}, facts={},
                             dataset={"name": "n", "digest": "d", "origin": "o"})  # fmt: skip
    store.end_run(run_id, outcome="finished", reason="", metrics={}, step=1, folder=tmp_path / "run")
    entry = {"id": run_id, "name": "the run", "labels": {}, "overrides": []}
    manifest = {"n_planned": 1, "margins": {}, "chance": {}, "comparison": {}, "class_names": [], "choices": [],
                "studies": [], "runs": [entry], "trials": [entry]}  # fmt: skip
    store.write_sweep(sweep_id, manifest)
    store.client.delete_run(run_id)
    store.client._tracking_client.store._hard_delete_run(run_id)  # what `mlflow gc` does
    record = store.reader.read_sweep(sweep_id)
    assert (record.runs, record.trials, record.is_partial) == ((), (), True)
    assert record.lost == (f"the run is lost (run {run_id}): it is not in {store.uri} any more",) * 2
    assert store.reader.finished_run(run_id) is None
    (store.files.path(sweep_id, "sweep.json")).write_text(json.dumps(manifest)[:50])
    with pytest.raises(NotKept, match=r"sweep .*/sweep\.json is damaged: .*; `python run\.py x` trains what is lost"):
        store.reader.read_sweep(sweep_id)


def test_an_experiment_that_was_deleted_is_restored_in_a_sentence(store, capsys):
    experiment_id = store.experiment("e", description="")
    store.client.delete_experiment(experiment_id)
    assert store.experiment("e", description="") == experiment_id
    assert "The experiment e had been deleted in MLflow: it is restored, with its runs." in capsys.readouterr().err


def test_a_place_that_somebody_chose_is_left_alone(store, tmp_path):
    """Files of an experiment that lie on another disk, or belong to another program."""
    chosen = (tmp_path / "big disk" / "results").as_uri()
    others = (tmp_path / "elsewhere" / "mlruns" / "1").as_uri()
    mine = store.client.create_experiment("mine", artifact_location=chosen)
    theirs = store.client.create_experiment("theirs", artifact_location=others)
    run_ids = [store.client.create_run(each).info.run_id for each in (mine, theirs)]
    opened = Store(store.uri)
    places = [opened.client.get_run(run_id).info.artifact_uri for run_id in run_ids]
    assert places == [f"{chosen}/{run_ids[0]}/artifacts", f"{others}/{run_ids[1]}/artifacts"]
    opened.files.write(run_ids[0], "note.txt", "a note")
    assert (tmp_path / "big disk" / "results" / run_ids[0] / "artifacts" / "note.txt").exists()


def test_folders_that_link_one_database_share_its_locks_and_its_files(store, tmp_path, monkeypatch):
    links = [tmp_path / name / "mlflow.db" for name in ("one", "other")]
    for link in links:
        link.parent.mkdir()
        link.symlink_to("../mlflow.db")
    one, other = (f"sqlite:///{link}" for link in links)
    owner = Owner.this_process(one)
    assert owner.mark == Owner.this_process(other).mark != 0
    monkeypatch.setattr(locks, "LOCK_SECONDS", 0.2)
    with locks.creation_lock(one), pytest.raises(Locked), locks.creation_lock(other):
        pytest.fail("two hold one lock")
    opened = Store(one)
    run_id = opened.client.create_run(opened.experiment("e", description="")).info.run_id
    Store(other).files.write(run_id, "note.txt", "beside the database itself")
    assert (tmp_path / "mlruns" / "e" / run_id / "artifacts" / "note.txt").exists()
    assert [list(link.parent.iterdir()) for link in links] == [[link] for link in links]
