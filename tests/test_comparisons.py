"""Every file of conf/comparison is about an axis that it sweeps, and all it asks for can be trained."""

import subprocess
import sys
from functools import cache as remember

import pytest
from cases import PROJECT
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import open_dict

import frameworks
from experiments import search, settings
from experiments.settings import labels_from

CONF = PROJECT / "conf"
COMPARISONS = sorted(path.stem for path in (CONF / "comparison").glob("*.yaml"))
EXPERIMENTS = ("digits_mlp", "mnist_cnn")
NO_AXIS = ("framework", "seed")  # compared in every sweep, whatever else varies


@remember
def composed(*overrides):
    """The config and Hydra's part of it."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    with open_dict(config):
        hydra = config.pop("hydra")
    return config, hydra


def job(*overrides):
    config, hydra = composed(*overrides)
    choices = dict(hydra.runtime.choices)
    return settings.job_from(config, frameworks=tuple(frameworks.MODULES), choices=choices, overrides=overrides)


def axes(experiment, comparison):
    """Key -> its values as Hydra's own sweeper expands them."""
    _, hydra = composed(f"experiment={experiment}", f"comparison={comparison}")
    parser = OverridesParser.create()
    found = [parser.parse_override(f"{key}={value}") for key, value in hydra.sweeper.params.items()]
    return {
        each.get_key_element(): list(each.sweep_string_iterator()) if each.is_sweep_override() else [each.value()]
        for each in found
    }


def test_there_are_comparisons():
    assert {"frameworks", "optimizers", "regularization", "dropout", "control"} <= set(COMPARISONS)


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_comparison_is_named_like_its_file_and_sweeps_its_factor(experiment, comparison):
    asked = job(f"experiment={experiment}", f"comparison={comparison}").comparison
    found = axes(experiment, comparison)
    assert asked.name == comparison
    assert len(found["seed"]) >= 3  # fewer give no interval
    assert found["framework"] == ["lightning", "keras"]
    if asked.factor not in NO_AXIS:
        assert len(found[asked.factor]) >= 2
    if asked.baseline is not None:
        assert asked.baseline in found[asked.factor]


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_value_of_a_comparison_is_a_valid_job_that_is_named_by_it(experiment, comparison):
    factor = job(f"experiment={experiment}", f"comparison={comparison}").comparison.factor
    values = axes(experiment, comparison)[factor]
    values = values[:2] if factor == "seed" else values  # one seed is like another
    jobs = [job(f"experiment={experiment}", f"comparison={comparison}", f"{factor}={value}") for value in values]
    assert len({(str(each.task), each.framework, each.seed) for each in jobs}) == len(values)  # each asks for its own
    if factor != "seed":
        assert [each.labels[factor] for each in jobs] == values


@pytest.mark.parametrize("comparison", COMPARISONS)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_search_has_seeds_of_its_own_and_a_key_in_every_task(experiment, comparison):
    asked = job(f"experiment={experiment}", f"comparison={comparison}").comparison
    if asked.search is None:
        return
    found = axes(experiment, comparison)
    assert not {str(seed) for seed in asked.search.seeds} & set(found["seed"])
    for value in found[asked.factor]:
        task = job(f"experiment={experiment}", f"comparison={comparison}", f"{asked.factor}={value}").task
        for number in asked.search.values:
            assert settings.with_values(task, {asked.search.key: number}) is not None


def test_some_comparison_searches():
    assert any(job("experiment=digits_mlp", f"comparison={each}").comparison.search for each in COMPARISONS)


def test_every_optimizers_usual_rate_lies_inside_the_search():
    """A search that stops short of a usual rate would find its edge."""
    asked = job("experiment=digits_mlp", "comparison=optimizers").comparison
    low, high = min(asked.search.values), max(asked.search.values)
    for name in axes("digits_mlp", "optimizers")["optimizer"]:
        usual = job("experiment=digits_mlp", "comparison=optimizers", f"optimizer={name}").task.optimizer.learning_rate
        assert not search.is_near_edge(usual, low=low, high=high), name


def test_the_seeds_of_control_search_and_reports_are_three_disjoint_sets():
    """statistics.md, section 0."""
    reports, controls, searches = set(), set(), set()
    for comparison in COMPARISONS:
        asked = job("experiment=digits_mlp", f"comparison={comparison}").comparison
        seeds = {int(seed) for seed in axes("digits_mlp", comparison)["seed"]}
        (controls if asked.factor == "seed" else reports).update(seeds)
        searches.update(asked.search.seeds if asked.search else ())
    assert min(map(len, (reports, controls, searches))) > 0
    assert len(reports | controls | searches) == len(reports) + len(controls) + len(searches)


def test_a_range_of_seeds_is_what_hydra_says_it_is():
    assert axes("digits_mlp", "dropout")["seed"] == [str(seed) for seed in range(10)]
    assert axes("digits_mlp", "control")["seed"] == [str(seed) for seed in range(2000, 2020)]  # an even number: halves


def test_a_plain_command_compares_frameworks():
    asked = job("experiment=digits_mlp").comparison
    assert (asked.name, asked.factor, asked.baseline, asked.search) == ("frameworks", "framework", None, None)


def test_a_factor_may_be_any_key_but_a_comparison_says_all_of_itself():
    with pytest.raises(settings.SettingsError, match=r"comparison\.factor: must be text, but got None"):
        job("experiment=digits_mlp", "comparison.factor=null")
    with pytest.raises(settings.SettingsError, match=r"comparison\.unknown 'basline'; did you mean baseline\?"):
        job("experiment=digits_mlp", "+comparison.basline=x")


@pytest.mark.parametrize(
    ("search_part", "message"),
    [
        ("{key:optimizer.learning_rate,values:[0.1],seeds:[1],metric:val/loss}", r"at least 2 search\.values"),
        ("{key:optimizer.learning_rate,values:[0.1,0.2],seeds:[],metric:val/loss}", r"at least 1 of search\.seeds"),
        ("{key:optimizer.learning_rate,values:[0.1,x],seeds:[1],metric:val/loss}", r"search\.values\[1\]: must be a"),
        (
            "{key:optimizer.learning_rate,values:[0.1,0.2],seeds:[1],metric:test/loss}",
            r"search\.metric: unknown 'test/loss'.* Available: train/loss, val/loss",
        ),
    ],
)
def test_a_search_that_says_too_little_or_looks_at_the_test_set_is_refused(search_part, message):
    with pytest.raises(settings.SettingsError, match=message):
        job("experiment=digits_mlp", "comparison=optimizers", f"comparison.search={search_part}")


def test_a_person_can_keep_comparisons_in_a_folder_of_their_own(tmp_path):
    (tmp_path / "conf" / "comparison").mkdir(parents=True)
    text = (CONF / "comparison" / "dropout.yaml").read_text().replace("name: dropout", "name: mine")
    (tmp_path / "conf" / "comparison" / "mine.yaml").write_text(text)
    done = subprocess.run(
        [sys.executable, str(PROJECT / "run.py"), "--config-dir", str(tmp_path / "conf")]
        + ["experiment=digits_mlp", "comparison=mine", "--cfg", "job"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "name: mine" in done.stdout
    assert "factor: regularization.dropout" in done.stdout


@pytest.mark.parametrize(
    ("overrides", "labels"),
    [
        ([], {}),
        (["optimizer=nesterov"], {"optimizer": "nesterov"}),
        (["regularization.dropout=0.3", "network.depth=2"], {"regularization.dropout": "0.3", "network.depth": "2"}),
        (["+optimizer.foo=1", "++network.width=8"], {"optimizer.foo": "1", "network.width": "8"}),
        (["network.embedding={vocabulary:20,width:5}"], {"network.embedding": "{vocabulary:20,width:5}"}),
        (["seed=3", "output=x", "comparison=dropout", "comparison.baseline=0", "sweep=a", "action=report"], {}),
        (["executor.workers=1", "tracking.uri=x", "hydra.mode=RUN", "experiment=xor", "hydra/launcher=basic"], {}),
        (["margins.accuracy=0.01"], {"margins.accuracy": "0.01"}),
    ],
)
def test_labels_are_what_was_typed_about_the_task(overrides, labels):
    assert labels_from({}, overrides) == labels


def test_labels_hold_the_file_of_every_group_that_sets_runs_apart():
    found = job("experiment=digits_mlp", "optimizer=sgd", "framework=keras").labels
    assert found == {
        "data": "digits",
        "network": "mlp",
        "optimizer": "sgd",
        "schedule": "constant",
        "regularization": "none",
        "framework": "keras",
    }
    assert labels_from({"optimizer": None, "network": "cnn", "executor": "local"}, []) == {"network": "cnn"}
