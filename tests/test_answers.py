"""The question that was asked is answered first: a typed grid axis by axis, in plain words, on any terminal."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from test_analysis import grid, run, sweep

from experiments import statistics
from experiments.parity.certificate import of_sweep
from experiments.report import answers, files, page, screen
from experiments.report.analysis import analyse
from experiments.report.arms import arms_of, pooled_by

NOISE = {"keras": (0.0, 0.002, -0.001), "lightning": (0.001, 0.001, -0.001)}  # by seed
SCORES = {("adam", "0"): 0.96, ("adam", "0.5"): 0.93, ("sgd", "0"): 0.75, ("sgd", "0.5"): 0.70}


def typed(runs, command="python run.py experiment=e optimizer=sgd,adam", **others):
    """A sweep of a command that names no comparison."""
    asked = {"name": "frameworks", "factor": "framework", "baseline": None}
    return replace(sweep(runs, **others), comparison=asked, command=command)


def two_by_two(scores=SCORES, frameworks=("keras", "lightning")):
    """Optimizer by dropout; settings shift every seed a little, as they do."""
    return [
        run(
            framework, seed, score + NOISE[framework][seed] + 0.003 * seed * (optimizer == "sgd")
            + 0.001 * seed * (dropout == "0") + 0.0004 * (seed - 1) * (optimizer == "momentum"),
            labels={"optimizer": optimizer, "regularization.dropout": dropout},
        )
        for seed in range(3)
        for framework in frameworks
        for (optimizer, dropout), score in scores.items()
    ]  # fmt: skip


def shown(analysis, width, *, terminal=True, encoding="utf-8"):
    """Page one on a terminal."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(width=width, file=file, force_terminal=terminal, color_system=None)
    screen.show(
        analysis, console=console, report=Path("report.html"), store_uri="sqlite:///mlflow.db", page_of_sweep="p"
    )
    file.seek(0)
    return file.read()


# What was asked


def test_a_typed_grid_is_answered_axis_by_axis_the_largest_effect_first_frameworks_last():
    analysis = analyse(typed(two_by_two()))
    assert [axis.factor for axis in analysis.axes] == ["optimizer", "regularization.dropout", "framework"]
    assert [claim.headline.split(" by ")[0] for claim in answers.claims_of(analysis)][:2] == [
        "adam beats sgd",
        "dropout 0 beats dropout 0.5",
    ]
    assert answers.claims_of(analysis)[2].headline == "keras and lightning score the same, within 1 point"
    assert answers.question(analysis) == "what do optimizer, dropout and framework change?"
    assert {verdict.n_claims for verdict in analysis.verdicts} == {6}  # three pairs, score and loss


def test_a_level_is_the_mean_over_all_other_choices_with_the_seeds_as_pairs():
    """adam - sgd: ((.96 + .93) - (.75 + .70)) / 2 = .22, less .003 a seed."""
    analysis = analyse(typed(two_by_two()))
    verdict = analysis.axes[0].pairs[0].score
    assert verdict.names == ("adam", "sgd")
    assert verdict.differences == pytest.approx((0.22, 0.217, 0.214))


def test_a_setting_that_was_not_run_with_every_level_is_left_out_of_an_axis():
    runs = [each for each in two_by_two() if each.labels != {"optimizer": "sgd", "regularization.dropout": "0.5"}]
    runs = [
        each for each in runs if (each.labels["optimizer"], each.labels["regularization.dropout"]) != ("sgd", "0.5")
    ]
    adam, sgd = pooled_by(arms_of(runs), "optimizer")
    assert adam.scores("test/accuracy")[0] == pytest.approx(0.9605)  # with dropout 0 alone; mean of the frameworks
    assert sgd.scores("test/accuracy")[0] == pytest.approx(0.7505)


def test_a_run_that_failed_counts_at_chance_in_the_mean_of_its_level():
    gone = "keras · optimizer sgd · regularization.dropout 0.5 · seed 0"
    runs = two_by_two(frameworks=("keras",))
    lost = [replace(each, outcome="diverged", metrics={}) if each.name == gone else each for each in runs]
    assert lost != runs
    analysis = analyse(typed(lost))
    assert analysis.axes[0].pairs[0].score.differences[0] == pytest.approx(0.945 - (0.75 + 0.1) / 2)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        (lambda found: replace(found, command="python run.py comparison=frameworks"), "it was asked for by name"),
        (lambda found: replace(found, comparison=found.comparison | {"name": "mine"}), "another was asked for"),
        (
            lambda found: replace(
                found,
                runs=tuple(
                    replace(each, facts=each.facts | {"data_fingerprint": each.labels["optimizer"]})
                    for each in found.runs
                ),
            ),
            "scores on different data have no mean",
        ),
    ],
)
def test_a_comparison_that_was_named_and_different_data_are_no_grid(changed, why):
    assert analyse(changed(typed(two_by_two()))).axes == (), why


def test_frameworks_alone_are_no_grid():
    assert analyse(typed(grid())).axes == ()


def test_of_three_levels_the_best_is_held_against_each_other_one():
    scores = {("adam", "0"): 0.96, ("momentum", "0"): 0.9601, ("sgd", "0"): 0.75}
    (claim, *_) = answers.claims_of(analyse(typed(two_by_two(scores))))
    assert claim.headline.startswith("momentum beats sgd by 20.7 points; scores the same as adam")
    assert len(claim.texts) == 3  # two verdicts, and the share of the variance
    analysis = analyse(typed(two_by_two(scores)))
    assert [len(axis.pairs) for axis in analysis.axes] == [3, 1]
    assert {verdict.n_claims for verdict in analysis.verdicts} == {4}  # with four pairs losses are exploratory


def test_the_best_arm_is_named_with_what_is_not_shown_to_be_worse():
    said = answers.best_of(analyse(typed(two_by_two())))
    assert said.startswith("Best of 4: adam · dropout 0, test accuracy 96.")
    assert said.endswith("exploratory, arm against arm, Holm over the others: all others are shown to be worse.")
    close = {("adam", "0"): 0.96, ("adam", "0.5"): 0.96, ("sgd", "0"): 0.75, ("sgd", "0.5"): 0.70}
    assert answers.best_of(analyse(typed(two_by_two(close)))).endswith("not shown worse: adam · dropout 0.5.")
    assert answers.best_of(analyse(typed(grid()))) == ""


def test_an_arm_with_the_same_scores_as_the_best_is_named_beside_it():
    tied = {("adam", "0"): 0.96, ("nadam", "0"): 0.96, ("momentum", "0"): 0.959, ("sgd", "0"): 0.75}
    said = answers.best_of(analyse(typed(two_by_two(tied))))
    assert said.endswith("; the same scores: nadam; not shown worse: momentum.")


def test_what_the_loss_shows_where_the_score_is_open_stands_in_the_headline():
    score, loss = verdict_of([0.2, 0.25, 0.17], n_claims=6), verdict_of([0.3, 0.31, 0.32], metric="test loss", unit="")
    assert answers._although(score, loss).startswith("; a beats b by 31")
    assert answers._although(loss, score) == answers._although(score, score) == answers._although(score, None) == ""


def test_of_one_axis_the_best_is_what_its_claims_say():
    """Three seeds and a simultaneous interval settle less than Holm's test over the others alone."""
    scores = {("adam", "0"): 0.960, ("momentum", "0"): 0.9592, ("sgd", "0"): 0.75}
    analysis = analyse(typed(two_by_two(scores)))
    (claim, *_) = answers.claims_of(analysis)
    said = answers.best_of(analysis)
    assert "momentum" in claim.headline.partition("beats sgd")[2]
    assert said.endswith("not shown worse: momentum.")


def test_the_answers_shown_are_of_the_frameworks_with_the_best_settings():
    first, second = analyse(typed(two_by_two())).shown
    assert (first.name, second.name) == ("keras · adam · dropout 0", "lightning · adam · dropout 0")


# In plain words


def verdict_of(differences, *, margin=0.01, metric="test accuracy", unit="pp", scale=100.0, level=0.9, n_claims=1):
    second = {seed: level + 0.001 * seed for seed in range(len(differences))}
    first = {seed: second[seed] + each for seed, each in enumerate(differences)}
    return statistics.verdict(
        first, second, margin=margin, higher_is_better=True, n_planned=3, names=("a", "b"), metric=metric, unit=unit,
        scale=scale, n_claims=n_claims,
    )  # fmt: skip


HEADLINES = {
    "a beats b by 5.0 points": verdict_of([0.05, 0.051, 0.049]),
    "b beats a by 5.0 points": verdict_of([-0.05, -0.051, -0.049]),
    "a beats b by 1.0 points; whether by more than 1 point is not settled": verdict_of([0.010, 0.011, 0.009]),
    "a and b score the same, within 1 point": verdict_of([0.001, -0.001, 0.0]),
    "a and b score the same, on every seed": verdict_of([0.0, 0.0, 0.0]),
    "a and b have the same loss, to rounding, on every seed": verdict_of(
        [6e-8, -1e-8, 3e-8], metric="test loss", unit="", scale=1.0
    ),
    "a and b differ by the same 5 points on every seed: check determinism": verdict_of([0.05, 0.05, 0.05]),
    "a and b: not assessed with 1 seed(s); add seeds: seed=range(10)": verdict_of([0.05]),
}


@pytest.mark.parametrize("said", HEADLINES)
def test_a_verdict_in_plain_words(said):
    assert statistics.headline_of(HEADLINES[said]) == said


def test_what_is_not_settled_says_how_many_seeds_would_tell():
    verdict = verdict_of([0.02, -0.02, 0.001])
    assert verdict.id == "inconclusive"
    remedy = f"(about {verdict.pairs_needed} seeds would show that there is none, if so)"
    assert statistics.headline_of(verdict) == f"a and b: no difference shown, nor that there is none {remedy}"


def test_what_would_matter_but_is_not_settled_says_who_is_ahead_and_how_many_seeds_would_show_it():
    """One seed more mostly shows 21 points that scatter by 4; "about 224 seeds would tell" of them misled."""
    verdict = verdict_of([0.2, 0.25, 0.17], n_claims=6)
    assert (verdict.id, verdict.pairs_needed) == ("inconclusive", 224)
    assert statistics.headline_of(verdict) == (
        "a is ahead of b by 21 points, which 3 seeds do not settle (about 4 would, if it is that large)"
    )
    swapped = verdict_of([-0.2, -0.25, -0.17], n_claims=6)
    assert statistics.headline_of(swapped).startswith("b is ahead of a by 21 points, which 3 seeds")


def test_a_difference_below_what_the_metric_can_show_is_none():
    """Losses of about 1 that differ by float32's rounding used to be called detected."""
    verdict = verdict_of([6e-8, 7e-8, 6e-8], metric="test loss", unit="", scale=1.0)
    assert (verdict.id, verdict.ci95, verdict.p_difference) == ("identical", None, None)
    assert verdict.sentence == "loss on this test set: Identical to rounding on all 3 seeds (at most 7e-08 apart)."
    assert verdict_of([6e-6, 7e-6, 6e-6], metric="test loss", unit="", scale=1.0).id == "equivalent_nonzero"


def test_what_is_not_assessed_comes_last():
    runs = [replace(each, metrics=each.metrics | {"time/steady_step": 0.01}) for each in two_by_two()]
    runs = [replace(each, facts=each.facts | {"workers": "2"}) for each in runs]
    words = [claim.word for claim in answers.claims_of(analyse(typed(runs)))]
    assert words == ["difference", "difference", "equivalent", "not assessed"]


def test_what_two_arms_share_is_said_once():
    runs = two_by_two({("adam", "0"): 0.9, ("sgd", "0"): 0.8})
    titles = [pair.title for pair in analyse(sweep(runs)).pairs]
    assert titles == ["adam: keras against lightning", "sgd: keras against lightning"]


# On the terminal


@pytest.mark.parametrize("width", [120, 80, 40, 30])
def test_no_word_is_broken_at_the_edge(width):
    analysis = analyse(typed(two_by_two()))
    text = shown(analysis, width)
    whole = shown(analysis, 10_000)
    assert max(len(line) for line in text.splitlines() if "http://" not in line) <= width
    wide, narrow = ({word.rstrip(":") for word in said.split() if "─" not in word} for said in (whole, text))
    assert wide - {"arm"} == narrow - {"arm"}


def test_a_file_gets_whole_sentences():
    analysis = analyse(typed(two_by_two()))
    lines = shown(analysis, 80, terminal=False).splitlines()
    assert any(line.strip() == answers.claims_of(analysis)[0].texts[0] for line in lines)


def test_a_terminal_of_ascii_is_shown_nothing_else():
    analysis = analyse(typed(two_by_two()))
    text = shown(analysis, 80, encoding="ascii")
    assert "* adam beats sgd by" in text
    assert "+/-" in text


def test_each_sign_is_explained_once():
    text = shown(analyse(typed(two_by_two())), 200)
    assert text.count("▲ a difference is shown; ≡ the same, within the margin") == 1
    assert "not settled" not in text.splitlines()[-4]


def test_the_page_and_the_note_say_it_in_the_same_order():
    analysis = analyse(typed(two_by_two()))
    said = [claim.headline for claim in answers.claims_of(analysis)] + [answers.best_of(analysis)]
    for text in (page.html(analysis, [], model={}), page.note(analysis).replace("\\", ""), shown(analysis, 10_000)):
        places = [text.index(each) for each in said]
        assert places == sorted(places)


@pytest.mark.parametrize(
    ("uri", "said"),
    {
        "sqlite:///mlflow.db": "mlflow ui\n           http://127.0.0.1:5000/#/experiments/1/runs/2?workflowType=machine_learning",
        "sqlite:///a/b.db": "mlflow ui --backend-store-uri sqlite:///a/b.db\n           http://127.0.0.1:5000/#/experiments",
        "https://host/x/": "https://host/x/#/experiments/1/runs/2?workflowType=machine_learning",
    }.items(),
)
def test_the_link_leads_to_the_sweep_itself_among_training_runs(uri, said):
    assert screen.dashboard(uri, "experiments/1/runs/2").startswith(said)


def test_a_list_of_sweeps_shows_each_arm_by_its_means():
    means = analyse(typed(two_by_two())).means
    assert means["test/accuracy/keras-adam-dropout-0"] == pytest.approx(0.96 + 0.001 / 3 + 0.001)
    assert len(means) == 8 * 2  # accuracy and loss; nothing was timed


def test_the_files_hold_the_findings(tmp_path):
    analysis = analyse(typed(two_by_two()))
    files.write(analysis, tmp_path)
    content = json.loads((tmp_path / "report.json").read_text())
    assert [each["headline"] for each in content["findings"]] == [each.headline for each in answers.claims_of(analysis)]
    assert content["best"].startswith("Best of 4: adam")
    assert [(axis["factor"], axis["levels"]) for axis in content["axes"]][:2] == [
        ("optimizer", ["adam", "sgd"]),
        ("regularization.dropout", ["0", "0.5"]),
    ]
    assert f"<h3>{content['findings'][0]['headline']}</h3>" in (tmp_path / "report.html").read_text()


# Certificates


def test_tasks_of_one_optimizer_are_told_apart_by_what_differs(memory_store):
    """After a search one output said Certified and Not certified of the same words."""
    config = {
        "network": {"kind": "mlp"}, "schedule": {"kind": "constant"}, "regularization": {"dropout": 0.0},
        "training": {"batch_size": 32, "loss": "cross_entropy"},
    }  # fmt: skip
    runs = [
        replace(run(name, 0), config=config | {"optimizer": {"kind": kind, "learning_rate": rate}})
        for name in ("keras", "lightning")
        for kind, rate in (("adam", 0.001), ("adam", 0.003), ("sgd", 0.1))
    ]
    found = of_sweep(sweep(runs), reader=memory_store, experiment_id=memory_store.experiment("e", description=""))
    assert [each.arm for each in found] == ["adam, learning_rate 0.001", "adam, learning_rate 0.003", "sgd"]
    one = of_sweep(sweep(runs[:1] + runs[3:4]), reader=memory_store, experiment_id="0")
    assert [each.arm for each in one] == ["adam"]
