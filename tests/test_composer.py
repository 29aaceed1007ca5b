"""Our composing of many jobs against Hydra's own command: the same configs, choices, texts and order, read once."""

import shlex
import sys

import hydra
import pytest
from cases import PROJECT
from hydra._internal import defaults_list
from hydra.core.hydra_config import HydraConfig
from hydra.plugins.sweeper import Sweeper
from omegaconf import OmegaConf

import frameworks
import run
from experiments import command_line, composer, composition, config_files, settings
from experiments.composer import Loader

CONF = PROJECT / "conf"
GROUPS = composition.groups_of([CONF])
OWN = """\
# @package _global_
defaults: [/experiment/digits_mlp, {override /optimizer: sgd}, {override /schedule: step}, _self_]
name: own
description: ${name} on ${data.source}
hydra: {sweeper: {params: {seed: "range(2)", regularization: "none,dropout"}}}
"""
LINES = (
    "experiment=xor",
    "experiment=own",
    "experiment=digits_mlp hydra.mode=RUN",
    "experiment=mnist_cnn comparison=optimizers seed=0 framework=keras optimizer=adam,muon",
    "experiment=own seed=1 regularization=none schedule=cosine,constant ++training.epochs=3,4",
    "experiment=own seed=1 regularization=none training.batch_size=${training.epochs} 'description=\"a ${seed}, b\"'",
    "experiment=xor seed=0 framework=keras +data.more=1,2 ++network.depth=2 ~regularization.clip ~tuning",
    "experiment=xor seed=0 framework=keras 'executor.environment={A: b}' '+executor.environment.C=d'",
    "experiment=xor seed=0 framework=keras 'network={width: 4}' optimizer.learning_rate=0.1,1e-3",
    "experiment=xor framework=keras optimizer=glob(adam*) 'seed=sort(2,1)'",
    "experiment=xor -m seed=7 framework=keras",
)


@pytest.fixture
def own(tmp_path, monkeypatch):
    path = tmp_path / "own" / "experiment" / "own.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(OWN)
    monkeypatch.chdir(tmp_path)
    config_files.check_what_hydra_reads(conf=CONF)
    return tmp_path / "own"


def read(typed, own):
    return command_line.read(["--config-dir", str(own), *shlex.split(typed)], vocabulary=run.vocabulary())


def by_hydra(line, own, patch):
    """What Hydra's own command gives to the function that it runs."""
    collected = []

    @hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")
    def collect(config):
        of_hydra = HydraConfig.get()
        typed = OmegaConf.to_container(of_hydra.overrides.task, resolve=False)
        collected.append((config, dict(of_hydra.runtime.choices), tuple(typed)))

    patch.setattr(sys, "argv", ["run.py", f"--config-dir={own}", *line.words])
    patch.setenv("HYDRA_FULL_ERROR", "1")
    patch.setattr(defaults_list, "_create_interpolation_map", composer.map_of_choices)
    patch.setattr(Sweeper, "validate_batch_is_legal", lambda *_: None)  # it composes every job once more
    collect()
    return collected


@pytest.mark.parametrize("typed", LINES)
def test_jobs_are_those_of_hydras_own_command(own, monkeypatch, typed):
    line = read(typed, own)
    jobs = list(composer.jobs(line, list(line.words), loader=Loader(conf=CONF, config_dir=own)))
    theirs = by_hydra(line, own, monkeypatch)
    ours = [(OmegaConf.to_yaml(job.config), job.choices, job.overrides) for job in jobs]
    assert ours == [(OmegaConf.to_yaml(config), *told) for config, *told in theirs]
    assert ours


@pytest.mark.parametrize(
    ("typed", "wrong"),
    [
        ("experiment=xor sed=1,2", "Could not override 'sed'"),
        ("experiment=xor optimizer=adam,adm", "Could not find 'optimizer/adm'"),
        ("experiment=xor seed=1 +seed=1,2", "An item is already at 'seed'"),
        ("experiment=xor network=cnn optimizer.kind.a=1,2", ".*optimizer.kind"),
    ],
)
def test_what_only_a_job_shows_is_refused_as_hydra_does(own, monkeypatch, typed, wrong):
    line = read(typed, own)
    with pytest.raises(Exception, match=wrong) as ours:
        list(composer.jobs(line, list(line.words), loader=Loader(conf=CONF, config_dir=own)))
    with pytest.raises(Exception, match=wrong) as theirs:
        by_hydra(line, own, monkeypatch)
    assert (type(ours.value), str(ours.value)) == (type(theirs.value), str(theirs.value))


def test_a_file_is_read_once_and_choices_are_composed_once_for_160_jobs(own, monkeypatch):
    read_files, composed = [], []
    load, compose = OmegaConf.load, Loader._compose_config_from_defaults_list

    def counted(file):
        read_files.append(getattr(file, "name", file))
        return load(file)

    monkeypatch.setattr(OmegaConf, "load", counted)
    monkeypatch.setattr(
        Loader,
        "_compose_config_from_defaults_list",
        lambda *given, **named: composed.append(given) or compose(*given, **named),
    )
    line = read(
        "experiment=own seed=range(20) regularization=none,dropout framework=keras training.epochs=1,2,3,4", own
    )
    jobs = list(composer.jobs(line, list(line.words), loader=Loader(conf=CONF, config_dir=own)))
    assert len(jobs) == 160
    assert len(composed) == 2
    assert len(read_files) == len(set(read_files)) > 10
    names = tuple(frameworks.FRAMEWORKS)
    assert len({settings.job_from(job.config, frameworks=names).seed for job in jobs}) == 20


def test_a_job_shares_nothing_with_another(own):
    line = read("experiment=own regularization=none training.epochs=1 framework=keras seed=0,1", own)
    first, second = composer.jobs(line, list(line.words), loader=Loader(conf=CONF, config_dir=own))
    first.config.network.depth = 77
    first.choices["network"] = "none"
    assert second.config.network.depth != 77
    assert second.choices["network"] != "none"


def test_help_lists_each_group_once(own, monkeypatch, capsys):
    asked = []
    listed = composer.ConfigLoaderImpl.get_group_options
    monkeypatch.setattr(
        composer.ConfigLoaderImpl, "get_group_options", lambda *given, **named: asked.append(given) or listed(*given)
    )
    line = read("--help experiment=xor", own)
    composer.print_what_is_asked_for(line, list(line.words), loader=Loader(conf=CONF, config_dir=own))
    told = capsys.readouterr().out.replace(",\n  ", ", ")
    assert all(
        f"\n{group}: {', '.join(choices)}\n" in told for group, choices in GROUPS.items() if group != "experiment"
    )
    assert asked == []
