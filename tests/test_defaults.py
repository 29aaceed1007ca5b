"""conf/defaults.yaml against the classes that are installed."""

import pytest
import yaml
from worker_calls import catalogue_of

from benchmarks import defaults
from experiments.task.alignment import DEFAULTS

CONTENT = yaml.safe_load(defaults.FILE.read_text(encoding="utf-8"))
CHANGED = {
    "lightning": ("optim.Adam", "eps", 1e-3),
    "keras": ("layers.BatchNormalization", "epsilon", 1e-5),
}


def stated(name):
    return {
        word: {item: [told[name]["value"], told[name]["source"]] for item, told in items.items()}
        for word, items in CONTENT.items()
    }


@pytest.mark.parametrize("name", defaults.NAMES)
def test_the_file_says_what_the_installed_classes_do(name, in_worker):
    """If it is red: `python -m benchmarks.defaults > conf/defaults.yaml`, then --table > docs/defaults.md."""
    assert in_worker(catalogue_of, name, None) == stated(name)


@pytest.mark.parametrize("name", defaults.NAMES)
def test_a_default_that_changes_is_seen(name, in_worker):
    found = in_worker(catalogue_of, name, CHANGED[name])
    changed = [
        (word, item) for word, items in found.items() for item, told in items.items()
        if told != stated(name)[word][item]
    ]  # fmt: skip
    assert changed == {
        "lightning": [("optimizer_epsilon", "Adam")], "keras": [("batch_norm_epsilon", "BatchNorm")],
    }[name]  # fmt: skip


def test_the_file_is_about_every_word_and_the_table_is_made_of_it():
    assert set(CONTENT) == set(DEFAULTS)
    assert (defaults.FILE.parents[1] / "docs" / "defaults.md").read_text(encoding="utf-8") == defaults.table(CONTENT)


def test_frameworks_that_tell_of_different_things_are_refused():
    one = {"gelu": {"GELU": (False, "here")}}
    with pytest.raises(ValueError, match="each framework must tell of the same defaults, but got"):
        defaults.merged({"lightning": one, "keras": {}})
    assert defaults.merged({"lightning": one, "keras": one})["gelu"]["GELU"]["differs"] is False
