"""Jobs become a sweep: what needs no data is refused before any are read, and nothing is done once per job."""

import os
import subprocess
import sys

import pytest
from cases import PROJECT
from commands import command, refuse_to_start

from experiments import data
from experiments.data import fit
from experiments.errors import SettingsError

TWELVE = ("experiment=digits_mlp", "optimizer=adam,sgd", "seed=0,1,2", "framework=lightning,keras")


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("training.precision=mixed_float16", "mixed_float16 needs a GPU"),
        ("framework=numpy", "`training.precision` must be float64 for framework=numpy"),
        ("executor.devices=100", "`executor.workers * executor.threads * executor.devices <= "),
        ("executor.workers=1000", "cores` must hold"),
        ("executor.device=gpu", "needs a GPU, but none is visible"),
        ("executor.threads=1,2", "`executor` must be the same for all runs"),
        ("name=a output=/proc/nope", "`output` must be a folder that can be written"),
        ("tracking.uri=foo", "`tracking.uri` must begin with"),
    ],
)
def test_what_needs_no_data_is_refused_before_any_are_read(tmp_path, cache, monkeypatch, typed, sentence):
    refuse_to_start(monkeypatch)
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("data were read"))
    monkeypatch.setattr("experiments.execution.devices.visible_gpus", list)
    done = command("experiment=digits_mlp", "seed=0", *typed.split(), cwd=tmp_path, cache=cache)
    assert (done.returncode, sentence in done.stderr) == (2, True), done.stderr


def test_data_are_read_and_tasks_are_checked_once_for_all_their_jobs(tmp_path, cache, monkeypatch):
    refuse_to_start(monkeypatch)
    loaded, checked, load, check = [], [], data.load, fit.check_examples
    monkeypatch.setattr(data, "load", lambda *given, **named: loaded.append(given) or load(*given, **named))
    monkeypatch.setattr(
        fit, "check_examples", lambda task, dataset: checked.append(task.optimizer.kind) or check(task, dataset)
    )

    def stop(_):
        raise SettingsError("here it would start")

    monkeypatch.setattr("experiments.preparation._new_folder", stop)
    assert command(*TWELVE, cwd=tmp_path, cache=cache).stderr == "here it would start\n"
    assert (len(loaded), checked) == (1, ["adam", "sgd"])


REFUSE = """
import shlex, sys
import run
heavy = {
    "numpy", "rich", "mlflow", "matplotlib", "scipy", "pandas", "sklearn", "optuna", "mlxtend", "pooch", "torch",
    "keras",
}
for line in sys.stdin.read().splitlines():
    sys.argv = ["run.py", *shlex.split(line)]
    try:
        code = run.main()
    except SystemExit as left:
        code = left.code
    print(line, int(code), sorted(heavy & set(sys.modules)), sep=" -> ")
"""
ENDS_EARLY = {
    "--help": 0,
    "experiment=digits_mlp --cfg job": 0,
    "experiment=nope": 2,
    "experiment=digits_mlp sed=1": 2,
    "experiment=digits_mlp optimizer.learning_rate=-1": 2,
    "experiment=digits_mlp executor.workers=1000": 2,
    "experiment=digits_mlp seed=0 framework=numpy": 2,
    "experiment=digits_mlp seed=0 training.precision=mixed_float16 executor.device=cpu": 2,
    "experiment=digits_mlp seed=0 executor.threads=1,2": 2,
    "experiment=digits_mlp seed=0 network=lstm": 2,
    "experiment=digits_mlp seed=0 tracking.uri=foo": 2,
    "experiment=digits_mlp seed=0 comparison.factor=nothing": 2,
    "experiment=mnist_cnn seed=0 data.path=nowhere": 2,
    "experiment=custom seed=0 data.path=nowhere.npz": 2,
    "experiment=surnames_lstm seed=0 network=cnn": 2,
    "experiment=digits_mlp 'seed=range('": 2,
    "--hlep": 2,
    "action=report": 2,
    "--version": 0,
    "--experiment digits_mlp": 2,
    "experiment digits_mlp": 2,
    "experiment=digits_mlp framework=torch": 2,
}


def test_what_ends_before_data_and_store_imports_nothing_heavy(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", REFUSE], input="\n".join(ENDS_EARLY), cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "TANDEM_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    told = [line for line in done.stdout.splitlines() if " -> " in line]
    assert told == [f"{line} -> {code} -> []" for line, code in ENDS_EARLY.items()], done.stderr
