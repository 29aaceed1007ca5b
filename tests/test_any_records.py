"""A report is made of any records: what a store may hold, and what nobody thought of."""

import csv
import html.parser
import io
import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest
from any_records import MLFLOWS_INFINITY, SENSIBLE, plain_run, plain_study, plain_sweep, sweeps
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from in_memory_store import InMemoryStore
from rich.console import Console

from experiments import report
from experiments.report import files, methods, page, tables
from experiments.report.analysis import analyse


class StoreWithLogits(InMemoryStore):
    """Every run left the outputs that its identifier draws, on so many test examples."""

    def __init__(self, *, n_examples, n_classes):
        super().__init__()
        self.shape = n_examples, n_classes

    def logits(self, run_id):
        rng = np.random.default_rng(int(run_id, 16))
        if not self.shape[1]:
            return None
        targets = np.random.default_rng(0).integers(0, self.shape[1], self.shape[0])
        return rng.standard_normal(self.shape), targets

    def log_report(self, sweep_id, folder, *, note, tags, metrics):
        assert all(isinstance(value, str) for value in tags.values())

    def log_pictures(self, sweep_id, pictures):
        pass


VOID = {"meta", "br", "hr", "img", "link", "input", "col", "wbr"}


class Tags(html.parser.HTMLParser):
    """Whether every element that begins ends, in order; and the text that is read."""

    def __init__(self):
        super().__init__()
        self.open, self.texts = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            is_number = name in ("d", "x", "y", "points", "transform", "width", "height", "cx", "cy")
            assert not (is_number and re.search(r"nan|inf\b", str(value))), (tag, name, value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if "script" not in self.open and "style" not in self.open:
            self.texts.append(text.strip())


def require_words(texts):
    """A number that is shown is finite, and no wall of digits."""
    for number, text in enumerate(texts):
        around = texts[max(0, number - 12) : number + 2]
        assert text.lower() not in ("nan", "inf", "-inf", "+inf", "−inf", "nan s", "± nan"), around
        assert not re.search(r"\b(nan|inf)\b", re.sub("(became|got) -?(nan|inf)", "", text)), text
        assert not re.search(r"\d{20}", text.replace(",", "")), text


def require_json(text):
    def refuse(word):
        pytest.fail(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def require_csv(text):
    for row in csv.reader(io.StringIO(text)):
        assert not {"nan", "inf", "-inf"} & set(row), row


def require_report(folder):
    tags = Tags()
    tags.feed((folder / "report.html").read_text())
    assert tags.open == []
    require_words(tags.texts)
    require_json((folder / "report.json").read_text())
    for path in (folder / "tables").iterdir():
        require_csv(path.read_text())


def publish(record, folder, *, n_examples):
    screen = io.StringIO()
    store = StoreWithLogits(n_examples=n_examples, n_classes=len(record.class_names))
    path = report.publish(
        record, store=store, folder=folder, console=Console(file=screen, width=100), colours={"keras": "#D55E00"}
    )
    require_report(path.parent)
    require_words(screen.getvalue().splitlines())


QUICK = settings(
    max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)  # fmt: skip
SLOW = settings(QUICK, max_examples=150)
ANY = sweeps() | sweeps(scores=SENSIBLE)


def require_sayable(record):
    analysis = analyse(record)
    require_json(json.dumps(files.model(analysis), allow_nan=False))
    require_words([*analysis.sentences, analysis.headline, page.note(analysis), methods.paragraph(analysis)])
    for rows in files.CSV_FILES.values():
        require_csv(files.as_csv(rows(analysis)))
    return analysis


@QUICK
@given(record=ANY)
def test_any_records_are_analysed_and_said(record):
    require_sayable(record)


@settings(QUICK, max_examples=2)
@given(record=ANY.filter(lambda record: len(record.runs) <= 8), n_examples=st.sampled_from([1, 2, 40]))
def test_any_records_are_a_report(tmp_path_factory, record, n_examples):
    publish(record, tmp_path_factory.mktemp("report"), n_examples=n_examples)


@pytest.mark.slow
@SLOW
@given(record=ANY)
def test_many_more_records_are_analysed_and_said(record):
    require_sayable(record)


@pytest.mark.slow
@settings(QUICK, max_examples=7)
@given(record=ANY, n_examples=st.sampled_from([1, 2, 40]))
def test_many_more_records_are_a_report(tmp_path_factory, record, n_examples):
    publish(record, tmp_path_factory.mktemp("report"), n_examples=n_examples)


def pairs_of_runs(n_seeds, **values):
    """Both frameworks on every seed, each score that of the framework."""
    return [
        plain_run(framework, seed, **{name: of[place] for name, of in values.items()})
        for seed in range(n_seeds)
        for place, framework in enumerate(("keras", "lightning"))
    ]


@pytest.mark.parametrize("n_examples", [1, 2])
def test_a_test_set_of_one_example_is_a_report(tmp_path, n_examples):
    runs = pairs_of_runs(3, accuracy=(1.0, 0.0), loss=(0.1, 0.9))
    publish(plain_sweep(runs, class_names=("a", "b")), tmp_path, n_examples=n_examples)
    answers = require_json((tmp_path / "report.json").read_text())["answers"]
    assert answers["agreement"]["n_examples"] == n_examples
    assert (answers["new_data"] is None) is (n_examples == 1)


@pytest.mark.parametrize("n_classes", [1, pytest.param(300, marks=pytest.mark.slow)])
def test_one_class_and_hundreds_are_a_report(tmp_path, n_classes):
    names = tuple(f"class {number}" for number in range(n_classes))
    publish(plain_sweep(pairs_of_runs(3, accuracy=(0.9, 0.8), loss=(0.1, 0.9)), class_names=names), tmp_path,
            n_examples=40)  # fmt: skip
    (one, other) = require_json((tmp_path / "report.json").read_text())["answers"]["confusion"]
    assert np.shape(one) == np.shape(other) == (n_classes, n_classes)


@pytest.mark.parametrize("value", [MLFLOWS_INFINITY, 1e80, math.nan, math.inf, -1e30])
def test_arms_at_an_absurd_value_are_not_called_identical(value):
    analysis = require_sayable(plain_sweep(pairs_of_runs(3, loss=(value, value))))
    assert [verdict.id for verdict in analysis.verdicts] == ["not_assessed"] * len(analysis.verdicts)
    assert all("every run failed" in verdict.sentence for verdict in analysis.verdicts)
    assert len(analysis.warnings) >= 6


def test_what_is_too_small_to_square_is_still_a_difference():
    """Losses of 1e-200 are what a perfect fit in float64 leaves."""
    runs = [plain_run(name, seed, loss=(1 + seed) * (1 + place) * 1e-200)
            for seed in range(4) for place, name in enumerate(("keras", "lightning"))]  # fmt: skip
    (verdict,) = require_sayable(replace(plain_sweep(runs), chance={"accuracy": None, "loss": 2.3})).verdicts
    assert verdict.differences == pytest.approx([(1 + seed) * 1e-200 for seed in range(4)])
    assert verdict.sd == pytest.approx(np.std([1, 2, 3, 4], ddof=1) * 1e-200)
    assert verdict.correlation == pytest.approx(1)
    assert verdict.id == "equivalent_nonzero"


@pytest.mark.slow
def test_two_hundred_arms_are_a_report(tmp_path):
    runs = [
        plain_run(framework, seed, labels={"network.depth": str(depth)}, accuracy=0.9, loss=0.1 + seed)
        for framework in ("keras", "lightning")
        for depth in range(100)
        for seed in range(2)
    ]
    publish(plain_sweep(runs, class_names=("a", "b")), tmp_path, n_examples=4)


def test_a_seed_that_was_trained_twice_counts_once_and_it_is_said():
    runs = pairs_of_runs(3, accuracy=(0.9, 0.9), loss=(0.1, 0.2))
    again = replace(runs[0], run_id="f" * 20)
    analysis = require_sayable(plain_sweep([*runs, again]))
    assert [len(arm.runs) for arm in analysis.arms] == [3, 3]
    assert analysis.verdicts[0].n == 3
    assert "1 run(s) repeat a seed of their arm: of each seed the first one counts" in analysis.warnings


@pytest.mark.parametrize("wrong", [MLFLOWS_INFINITY, -1.0, math.nan])
def test_a_kept_trial_with_a_score_that_cannot_be_has_failed(wrong):
    """The lowest loss of a minimizing study was -1; a scale of the figures ended at 1.8e308."""
    study = plain_study([wrong, 0.5])
    told = analyse(replace(plain_sweep([]), studies=(study,))).record.studies[0]
    assert [(trial.state, trial.scores) for trial in told.trials] == [("FAIL", ()), ("COMPLETE", (0.5,))]
    assert told.trials[0].reason.startswith(f"val/loss became {wrong:.6g} at the end")
    assert told.best == (1,)
    assert told.trials[0].reported == ()


def test_a_number_of_thirty_digits_is_a_power_of_ten():
    runs = [plain_run(name, seed, loss=(1 + place * (1 + 0.01 * seed) + 0.1 * seed) * 1e30)
            for seed in range(3) for place, name in enumerate(("keras", "lightning"))]  # fmt: skip
    analysis = require_sayable(plain_sweep(runs))
    assert "| 1.1e+30 ± " in page.note(analysis)
    assert "keras is better by 1.01e+30 [9.85e+29, 1.03e+30]" in analysis.sentences[0]
    assert [row[2] for row in tables.ledger(analysis).rows][:3] == ["1e+30", "1.1e+30", "1.2e+30"]
