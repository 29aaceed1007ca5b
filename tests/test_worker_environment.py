"""What stands in the shell or in the current folder changes no number."""

import ast
import dataclasses
import inspect
import json
import platform
import sys

import numpy as np
import pytest
from cases import PROJECT
from commands import command, in_a_process
from conftest import EXECUTOR
from worker_calls import environment, pages_of_memory_used_again, trained_after_another_config

import frameworks
from experiments.execution.executor import LocalExecutor, WorkItem
from experiments.execution.run import Run
from experiments.execution.worker_environment import KEPT, KEPT_BYTES, RECORDED, THREAD_VARIABLES, worker_environment

HOSTILE = {
    "KERAS_MAX_EPOCHS": "1",
    "KERAS_MAX_STEPS_PER_EPOCH": "1",
    "KERAS_BACKEND": "jax",
    "PL_TRAINER_FAST_DEV_RUN": "1",
    "PL_TRAINER_MAX_STEPS": "5",
    "PL_TRAINER_GRADIENT_CLIP_VAL": "0.001",
    "SLURM_NTASKS": "4",
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
    "XLA_FLAGS": "--no_such_flag",
    "TF_USE_LEGACY_KERAS": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "OMP_NUM_THREADS": "7",
    "CUDA_VISIBLE_DEVICES": "0",
}
# Without these nothing starts, or other kernels are chosen, alike for all.
NEEDED = {"PATH", "TMPDIR", "TEMP", "TMP", "LC_ALL", "LC_CTYPE", "LANG", "TANDEM_DEBUG", *RECORDED}
TOLD = [prefix for spec in frameworks.FRAMEWORKS.values() for prefix in spec.variables]
MODULES = {"random.py": "raise SystemExit\n", "keras.py": "", "torch.py": "", "experiments/__init__.py": ""}


def scores_of(folder):
    (path,) = folder.glob("outputs/*/*/report/report.json")
    runs = json.loads(path.read_text())["runs"]
    assert len(runs) == 2
    return {
        run["name"]: {name: value for name, value in run["metrics"].items() if not name.startswith(("time/", "mem"))}
        for run in runs
    }


def test_neither_the_shells_variables_nor_the_current_folder_change_a_number(tmp_path, cache, local, monkeypatch):
    typed = ("experiment=digits_mlp", "training.epochs=2", "seed=0")
    clean, hostile = tmp_path / "clean", tmp_path / "hostile"
    clean.mkdir()
    assert command(*typed, cwd=clean, cache=cache).returncode == 0
    for name, text in MODULES.items():
        (hostile / name).parent.mkdir(parents=True, exist_ok=True)
        (hostile / name).write_text(text)
    home = hostile / "home"
    (home / ".keras").mkdir(parents=True)
    (home / ".keras" / "keras.json").write_text('{"floatx": "float16", "epsilon": 0.1, "backend": "jax"}')
    kept = {name: str(tmp_path / "nowhere") for name in KEPT if name not in NEEDED} | {"HOME": str(home)}
    for name, value in (kept | HOSTILE | {"TANDEM_CACHE": str(cache)}).items():
        monkeypatch.setenv(name, value)
    done = in_a_process(*typed, cwd=hostile, cache=cache)
    assert done.returncode == 0, done.stdout + done.stderr
    assert scores_of(hostile) == scores_of(clean)
    told = "Left out of the environment: KERAS_BACKEND, KERAS_MAX_EPOCHS, KERAS_MAX_STEPS_PER_EPOCH, "
    assert told in done.stdout
    assert done.stdout.count("SLURM_PROCID") == 1


def test_a_worker_has_a_short_list_and_what_is_stated():
    shell = HOSTILE | {"PATH": "/bin", "LC_ALL": "C", "TANDEM_CACHE": "/c", "GIT_EDITOR": "vi", "PYTHONPATH": "."}
    made = worker_environment(shell, threads=2, device="cpu", stated={"XLA_FLAGS": "--stated"}, told=TOLD)
    fixed = dict.fromkeys(THREAD_VARIABLES, "2") | {"TF_NUM_INTEROP_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    path = {"PYTHONPATH": str(PROJECT), "PYTHONSAFEPATH": "1"}
    fixed |= dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), KEPT_BYTES)
    given = {"PATH": "/bin", "LC_ALL": "C", "TANDEM_CACHE": "/c", "XLA_FLAGS": "--stated"}
    assert made.variables == fixed | path | given
    silent = {"OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "XLA_FLAGS"}  # set here or stated: nothing to say
    assert set(made.left_out) == {*HOSTILE, "PYTHONPATH"} - silent


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have other variables")
def test_freed_memory_stays_with_a_worker(in_worker):
    """Of its own glibc maps what is larger than 32 MiB anew each time."""
    assert in_worker(pages_of_memory_used_again) < 100


def test_what_is_recorded_of_it_is_what_was_stated_and_what_was_left_out():
    shell = {"OPENBLAS_CORETYPE": "Haswell", "KERAS_HOME": "/k", "PATH": "/bin"}
    made = worker_environment(shell, threads=1, device="cpu", stated={"XLA_FLAGS": "--x"}, told=TOLD)
    assert made.facts() == {
        "inherited.OPENBLAS_CORETYPE": "Haswell",
        "environment.XLA_FLAGS": "--x",
        "environment_left_out": "KERAS_HOME",
    }
    assert worker_environment({}, threads=1, device="cpu", stated={}).facts() == {}


def test_a_stated_module_path_comes_after_the_projects():
    made = worker_environment({"PYTHONPATH": "/shell"}, threads=1, device="cpu", stated={"PYTHONPATH": "/stated"})
    assert made.variables["PYTHONPATH"] == f"{PROJECT}:/stated"
    before = list(sys.path)
    with made.in_force():
        assert sys.path[-1] == "/stated"
    assert sys.path == before


def test_what_is_stated_reaches_workers_and_the_names_of_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_MAX_EPOCHS", "1")
    settings = dataclasses.replace(EXECUTOR, start_method="spawn", environment={"MY_FLAG": "on"})
    spawning = LocalExecutor(settings=settings, device="cpu", frameworks={}, folder=tmp_path)
    (_, seen), _ = spawning.run([WorkItem(target=environment, arguments=(), log=tmp_path / "0.log")])
    assert seen["MY_FLAG"] == "on"
    assert "KERAS_MAX_EPOCHS" not in seen


def test_stated_variables_are_part_of_a_runs_name(task, digits, tmp_path):
    run = Run(
        task=task, framework="numpy", seed=0, device="cpu", data_fingerprint=digits.fingerprint,
        data_path=tmp_path, folder=tmp_path,
    )  # fmt: skip
    other = dataclasses.replace(run, environment={"MY_FLAG": "on"})
    assert run.fingerprint != other.fingerprint == dataclasses.replace(other).fingerprint


def test_every_argument_of_the_trainer_is_stated():
    """What is not, Lightning takes from PL_TRAINER_* variables."""
    import pytorch_lightning as pl

    tree = ast.parse((PROJECT / "frameworks" / "lightning" / "training.py").read_text())
    (call,) = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "pl.Trainer"]
    assert {keyword.arg for keyword in call.keywords} == set(inspect.signature(pl.Trainer).parameters)


def test_every_argument_of_compile_is_stated_and_those_of_fit_that_count():
    tree = ast.parse((PROJECT / "frameworks" / "keras" / "training.py").read_text())
    stated = {
        node.func.attr: {keyword.arg for keyword in node.keywords}
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("trained.compile", "trained.fit")
    }
    assert stated["compile"] == {
        "optimizer", "loss", "loss_weights", "metrics", "weighted_metrics", "run_eagerly", "steps_per_execution",
        "jit_compile", "auto_scale_loss",
    }  # fmt: skip
    assert {"epochs", "initial_epoch", "steps_per_epoch", "shuffle", "class_weight"} <= stated["fit"]


def test_keras_trains_alike_whatever_a_keras_json_said(in_worker, task, digits_path):
    clean, otherwise = in_worker(trained_after_another_config, frameworks.load, task, digits_path)
    assert clean["n_steps"] == otherwise["n_steps"] == 82
    for name, weight in clean["after"].items():
        np.testing.assert_array_equal(weight, otherwise["after"][name])
