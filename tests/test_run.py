"""The command is an application that is run from its checkout: from any folder, with files of one's own, as typed."""

import subprocess
import sys
import zipfile

import pytest
import yaml
from cases import PROJECT
from commands import command, refuse_to_start

import run
from experiments import composition
from experiments.execution.executor import LocalExecutor
from experiments.parity import action

TINY = """\
# @package _global_
defaults:
  - /experiment/digits_mlp
  - override /framework: numpy
  - _self_
name: tiny
training: {epochs: 1, precision: float64}
"""


@pytest.fixture
def own(tmp_path):
    """A folder of configs of one's own, with an experiment."""
    path = tmp_path / "my configs" / "experiment" / "tiny.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(TINY)
    return path.parents[1]


def test_an_experiment_of_ones_own_runs_from_ones_own_folder(own, tmp_path, cache, local):
    typed = ("--config-dir", str(own), "experiment=tiny", "seed=0", "framework=numpy")
    done = command(*typed, cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"mlflow.db", "mlruns", "outputs"}
    assert {path.name for path in (tmp_path / "outputs").iterdir()} >= {"tiny"}


def test_experiments_of_ones_own_are_named_beside_the_others(own, tmp_path, cache):
    done = command("--config-dir", str(own), "experiment=tinny", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "experiment: unknown 'tinny'; did you mean tiny? Available: cifar10_resnet, " in done.stderr


def test_settings_of_this_machine_win(own, tmp_path, cache):
    (own / "local").mkdir()
    (own / "local" / "default.yaml").write_text("executor: {workers: 2}\n")
    printed = [
        yaml.safe_load(command(*arguments, "experiment=digits_mlp", "--cfg", "job", cwd=tmp_path, cache=cache).stdout)
        for arguments in ((), ("--config-dir", str(own)))
    ]
    assert [config["executor"]["workers"] for config in printed] == [1, 2]


def test_the_certificate_of_a_ladders_task_is_made_without_its_steps(tmp_path, cache, monkeypatch):
    """A ladder of what is aligned is refused, and action=parity refuses what is not."""
    certified = []
    monkeypatch.setattr(action, "carry_out", lambda sweep, **_: certified.extend(sweep.runs) or [])
    monkeypatch.setattr(LocalExecutor, "warm_up", lambda self: None)
    monkeypatch.setattr(run, "open_store", lambda *_, **__: None)
    typed = ("experiment=digits_mlp", "comparison=defaults", "seed=0", "alignment=aligned")
    done = command(*typed, "action=parity", cwd=tmp_path, cache=cache)
    assert done.returncode == 0, done.stderr
    assert {(each.framework, each.task.alignment) for each in certified} == {
        ("lightning", "aligned"),
        ("keras", "aligned"),
    }
    assert command(*typed, cwd=tmp_path, cache=cache).returncode == 2


def test_git_ignores_the_settings_of_this_machine():
    asked = ["git", "check-ignore", "--quiet", "conf/local/default.yaml"]
    assert subprocess.run(asked, cwd=PROJECT, check=False).returncode == 0


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        (["+tuned=mine"], ["outputs"]),
        (["+tuned=mine", "output=elsewhere"], ["elsewhere"]),
        (["output=first", "output=last", "+tuned=mine"], ["last"]),
    ],
)
def test_a_tuned_setting_is_looked_for_below_output(tmp_path, cache, monkeypatch, typed, found):
    refuse_to_start(monkeypatch)
    done = command("experiment=digits_mlp", *typed, "--cfg", "job", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert f"+tuned=mine: `{found[0]}/tuned` must exist" in done.stderr
    path = tmp_path / found[0] / "tuned" / "tuned" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\noptimizer: {learning_rate: 0.125}\n")
    done = command("experiment=digits_mlp", *typed, "--cfg", "job", cwd=tmp_path, cache=cache)
    assert yaml.safe_load(done.stdout)["optimizer"]["learning_rate"] == 0.125
    other = [word.replace("mine", "mime") for word in typed]
    done = command("experiment=digits_mlp", *other, cwd=tmp_path, cache=cache)
    assert (done.returncode, done.stderr) == (2, "tuned: unknown 'mime'; did you mean mine? Available: mine\n")


def test_a_tuned_setting_of_ones_own_needs_no_search(own, tmp_path, cache):
    (own / "tuned").mkdir()
    (own / "tuned" / "mine.yaml").write_text("# @package _global_\noptimizer: {learning_rate: 0.125}\n")
    typed = ("--config-dir", str(own), "experiment=digits_mlp", "+tuned=mine", "-c", "job")
    done = command(*typed, cwd=tmp_path, cache=cache)
    assert yaml.safe_load(done.stdout)["optimizer"]["learning_rate"] == 0.125


@pytest.mark.parametrize("typed", [["++output=else where"], ["output='else where'"], []])
def test_a_tuned_setting_is_found_however_its_folder_is_said(own, tmp_path, cache, typed):
    if not typed:
        (own / "local").mkdir()
        (own / "local" / "default.yaml").write_text("output: else where\n")
        typed = ["--config-dir", str(own)]
    path = tmp_path / "else where" / "tuned" / "tuned" / "mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("# @package _global_\noptimizer: {learning_rate: 0.125}\n")
    done = command(*typed, "experiment=digits_mlp", "+tuned=mine", "--cfg", "job", cwd=tmp_path, cache=cache)
    assert yaml.safe_load(done.stdout)["optimizer"]["learning_rate"] == 0.125, done.stderr


@pytest.mark.parametrize("in_the_way", ["a file", "a dangling link"])
def test_an_output_that_is_no_folder_is_refused(tmp_path, cache, monkeypatch, in_the_way):
    refuse_to_start(monkeypatch)
    (tmp_path / "outputs").mkdir()
    place = tmp_path / "outputs" / "digits-mlp"
    place.write_text("") if in_the_way == "a file" else place.symlink_to(tmp_path / "nowhere")
    done = command("experiment=digits_mlp", "seed=0", cwd=tmp_path, cache=cache)
    assert done.returncode == 2
    assert "`output` must be a folder that can be written, but: " in done.stderr
    assert "digits-mlp" in done.stderr
    unwritable = command("experiment=digits_mlp", "output=/proc/nope", cwd=tmp_path, cache=cache)
    assert unwritable.returncode == 2
    assert "`output` must be a folder that can be written, but for '/proc/nope': " in unwritable.stderr


def test_tuned_settings_are_looked_for_where_the_config_leaves_them():
    assert yaml.safe_load((PROJECT / "conf" / "config.yaml").read_text())["output"] == composition.OUTPUT


@pytest.mark.slow
def test_an_installation_brings_no_package(tmp_path):
    wheel = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*wheel, str(PROJECT)], check=True, capture_output=True)
    (made,) = tmp_path.glob("*.whl")
    assert {name.split("/")[0] for name in zipfile.ZipFile(made).namelist()} == {"tandem-0.1.0.dist-info"}
