"""Figures of studies: what they show is what was tried, and no state, space, name or number of trials breaks them."""

from __future__ import annotations

import functools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from experiments.records import StudyRecord, TrialRecord
from experiments.report.figures import style
from experiments.report.studies import figures, findings, space_figures
from experiments.report.studies import sections as study_sections
from experiments.report.studies import tables as study_tables
from experiments.report.studies.selection import STATE_WORDS

RATE, DEPTH = "optimizer.learning_rate", "network.depth"
SPACE = {
    RATE: {"kind": "float", "low": 1e-5, "high": 1e-1, "log": True, "step": None},
    DEPTH: {"kind": "int", "low": 1, "high": 4, "log": False, "step": 1},
}
LOSS = (("val/loss", "minimize"),)
DRAWS = {
    "history": figures.history,
    "importances": figures.importances,
    "slices": space_figures.slices,
    "parallel-coordinates": space_figures.parallel_coordinates,
    "pair-map": space_figures.pair_map,
    "intermediate": figures.intermediate,
    "budget": figures.budget_curve,
    "timeline": figures.timeline,
    "pareto": figures.pareto,
}


def trial(number, state="COMPLETE", *, seed=0, n_epochs=8, **changes):
    """A trial whose loss is best at a rate of 1e-3 and grows with depth; all follows from the arguments."""
    rng = np.random.default_rng([number, seed])
    values = {RATE: float(10 ** rng.uniform(-5, -1)), DEPTH: int(rng.integers(1, 5))}
    final = 0.08 + 0.06 * abs(math.log10(values[RATE]) + 3) + 0.01 * values[DEPTH]
    n = {"COMPLETE": n_epochs, "PRUNED": 2 + number % 3, "FAIL": 1}.get(state, 3)
    reported = tuple((epoch, final + math.exp(-epoch / 2)) for epoch in range(1, n + 1))
    is_done = state == "COMPLETE"
    began = 11.0 * (number // 2)
    return replace(
        TrialRecord(
            number=number,
            state=state,
            values=values,
            scores=(reported[-1][1],) if is_done else (),
            reported=reported,
            began=began,
            ended=None if state == "RUNNING" else began + 2.0 * n,
            epochs=n,
            seconds=2.0 * n,
            run_id=f"run {number}",
            reason="the training loss became nan" if state == "FAIL" else "",
        ),
        **changes,
    )


def mixed(n=20, *, seed=0):
    """Two in five pruned, every seventh failed."""
    states = ["FAIL" if number % 7 == 6 else "PRUNED" if number % 5 in (1, 3) else "COMPLETE" for number in range(n)]
    return [trial(number, state, seed=seed) for number, state in enumerate(states)]


def study(trials, framework="keras", **changes):
    """A study of these trials, with its best as Optuna would have it."""
    objectives = changes.get("objectives", LOSS)
    sign = -1 if objectives[0][1] == "maximize" else 1
    done = sorted(
        (t for t in trials if t.state == "COMPLETE" and t.scores), key=lambda t: (sign * t.scores[0], t.number)
    )
    record = StudyRecord(
        name=f"study of {framework}",
        arm=framework,
        framework=framework,
        space=SPACE,
        objectives=objectives,
        sampler="TPESampler",
        pruner="MedianPruner",
        trials=tuple(trials),
        importances={RATE: 0.72, DEPTH: 0.28} if len(done) > 1 else {},
        best=tuple(t.number for t in done[:1]),
    )
    return replace(record, **changes)


def normal(n=20):
    return [study(mixed(n)), study(mixed(n, seed=1), "lightning")]


def two_objectives(n=15, directions=("minimize", "minimize")):
    """Loss and seconds; the front is found by comparing every pair."""
    rng = np.random.default_rng(3)
    trials = [trial(k, "FAIL" if k == 4 else "COMPLETE", reported=()) for k in range(n)]
    trials = [
        replace(t, scores=tuple(map(float, rng.uniform(0.1, 1.0, 2)))) if t.state != "FAIL" else t for t in trials
    ]
    signs = [-1 if each == "maximize" else 1 for each in directions]
    costs = {t.number: np.multiply(signs, t.scores) for t in trials if t.scores}
    front = tuple(a for a in costs if not any((costs[b] < costs[a]).all() for b in costs))
    objectives = (("val/loss", directions[0]), ("time/total", directions[1]))
    return study(trials, objectives=objectives, best=front, sampler="NSGAIISampler", pruner="NopPruner")


def categorical():
    """A categorical key, and a key that only one of its choices has."""
    kinds = ["adam", "sgd", "muon"]
    trials = [
        replace(
            each,
            values={RATE: each.values[RATE], "optimizer.kind": kinds[each.number % 3]}
            | ({"optimizer.momentum": each.number / 20} if each.number % 3 == 1 else {}),
        )
        for each in mixed()
    ]
    space = {
        RATE: SPACE[RATE],
        "optimizer.kind": {"kind": "categorical", "choices": kinds},
        "optimizer.momentum": {"kind": "float", "low": 0.0, "high": 1.0, "log": False},
    }
    importances = {RATE: 0.5, "optimizer.kind": 0.4, "optimizer.momentum": 0.1}
    return study(trials, space=space, importances=importances)


def maximized():
    trials = [
        replace(t, scores=tuple(1 - s / 3 for s in t.scores), reported=tuple((e, 1 - v / 3) for e, v in t.reported))
        for t in mixed()
    ]
    return study(trials, objectives=(("val/accuracy", "maximize"),), sampler="RandomSampler")


EVIL = "\x00\ud800\ufffe\u202e</script>" + "y" * 300 + "\na$\\frac{$训🔥\uffff"


def hostile():
    """The same text wherever a user's text may stand."""
    trials = [
        replace(
            each,
            values={EVIL + "k": each.values[RATE], "c." + EVIL: f"{EVIL}{each.number % 2}", "n": each.values[DEPTH]},
            reason=EVIL,
        )
        for each in mixed()
    ]
    space = {EVIL + "k": SPACE[RATE], "c." + EVIL: {"kind": "categorical", "choices": [EVIL + "0"]}}
    names = {"name": EVIL, "arm": f"{EVIL} · {EVIL}", "framework": EVIL, "sampler": EVIL, "pruner": EVIL}
    importances = {EVIL + "k": 0.5, "c." + EVIL: 0.3, "n": 0.2}
    objectives = ((EVIL, "minimize"), ("b" + EVIL, "maximize"))
    several = [replace(each, scores=each.scores * 2) for each in trials]
    return [
        study(trials, space=space, importances=importances, objectives=((EVIL, "minimize"),), **names),
        study(several, space=space, importances=importances, objectives=objectives, **names),
    ]


def odd():
    """Studies that each lack something."""
    infinite = [trial(1, scores=(math.inf,)), trial(2, scores=(math.nan,)), trial(3, reported=((1, math.nan),))]
    return [
        study([trial(number, "FAIL", reported=(), began=None, ended=None) for number in range(3)]),
        study([trial(number, "PRUNED") for number in range(6)], arm="pruned"),
        study([trial(0, ended=30.0), trial(1, "RUNNING"), trial(2, "WAITING", values={}, began=None)], arm="running"),
        study([], arm="empty"),
        study([trial(0), *(replace(each, seconds=math.nan) for each in infinite)], arm="infinite"),
        study([trial(number, scores=(0.25,), values={RATE: 1e-3}) for number in range(3)], arm="equal"),
        study(mixed(), space={}, importances={}, arm="no space"),
        replace(maximized(), arm="other objective"),
    ]


def twelve():
    return [
        study(mixed(12, seed=seed), framework, arm=f"{framework} · optimizer {seed}", name=f"{framework} {seed}")
        for seed in range(6)
        for framework in ("keras", "lightning")
    ]


CASES = {
    "normal": normal,
    "one trial": lambda: [study([trial(0)])],
    "failed": lambda: [study([trial(number, "FAIL") for number in range(6)])],
    "no trials": lambda: [study([])],
    "no studies": list,
    "odd": odd,
    "categorical": lambda: [categorical()],
    "maximize": lambda: [maximized()],
    "two objectives": lambda: [two_objectives()],
    "hostile": hostile,
    "200 trials": lambda: [study(mixed(200))],
}
CASES_OF_ONE_FIGURE = {
    "two other objectives": lambda: [two_objectives(directions=("maximize", "minimize"))],
    "running": lambda: odd()[2:3],
    "infinite": lambda: odd()[4:5],
    "far": lambda: [study([*mixed(), trial(20, scores=(5e4,)), trial(21, scores=(9e9,))])],
    "samplers": lambda: [study(mixed(), sampler="RandomSampler"), study(mixed(seed=1), "lightning")],
    "twelve": twelve,
}


@functools.cache
def sections(case):
    return study_sections.sections_of_studies(CASES[case]())


@functools.cache
def texts(case):
    return {each.name: str(each.svg) for each in sections(case)}


@functools.cache
def figure_of(case, name):
    if case in CASES:
        return next(each for each in sections(case) if each.name == f"study-{name}").figure
    return DRAWS[name](CASES_OF_ONE_FIGURE[case]())


def lines(figure, label, panel=0):
    return [line for line in figure.axes[panel].lines if line.get_label() == label]


def points(figure, state, panel=0):
    """Where the symbols of a state stand, whether drawn as one line or as a scatter."""
    found = [xy for line in lines(figure, f"_{state}", panel) for xy in zip(*line.get_data(), strict=True)]
    clouds = [cloud for cloud in figure.axes[panel].collections if cloud.get_label() == f"_{state}"]
    return found + [tuple(xy) for cloud in clouds for xy in cloud.get_offsets()]


@pytest.mark.parametrize("case", CASES)
def test_every_figure_is_well_formed_and_says_what_it_shows(case):
    for drawn in sections(case):
        text = texts(case)[drawn.name]
        ET.fromstring(text)
        assert "<script" not in text.lower()
        assert "mathdefault" not in text
        assert not re.search("[\x00\u202e\ud800-\udfff\ufffe\uffff]", text + drawn.title + drawn.caption)
        assert drawn.title
        assert "nan" not in drawn.title.split()
        assert drawn.how_to_read.count(". ") >= 1
        assert drawn.figure.get_size_inches()[0] == style.WIDTH
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", text)]
        assert sizes
        assert min(sizes) >= style.SMALL


def test_two_studies_have_every_figure_but_the_front():
    assert [drawn.name for drawn in sections("normal")] == [f"study-{name}" for name in list(DRAWS)[:-1]]
    tables = {drawn.name: drawn.table is not None for drawn in sections("normal")}
    assert [name for name, has_table in tables.items() if has_table] == ["study-history", "study-slices"]


@pytest.mark.parametrize("case", ["no trials", "no studies"])
def test_nothing_to_show_is_no_figure(case):
    assert all(draw(CASES[case]()) is None for draw in DRAWS.values())
    assert sections(case) == []


def test_the_same_trials_in_another_order_give_the_same_bytes():
    again = [replace(each, trials=each.trials[::-1]) for each in hostile()]
    assert len(texts("hostile")) == len(DRAWS)
    assert {each.name: str(each.svg) for each in study_sections.sections_of_studies(again)} == texts("hostile")


def test_the_title_says_what_was_found():
    titles = {drawn.name: drawn.title for drawn in sections("normal")}
    trials = mixed()
    best = min((t for t in trials if t.state == "COMPLETE"), key=lambda t: t.scores)
    said = f"keras: best {best.scores[0]:.4g} at trial {best.number} of 20; 6 pruned, 2 failed; lightning: best "
    assert titles["study-history"].startswith(said)
    assert titles["study-importances"].startswith("keras: learning rate has 72 % of the importance (few trials")
    assert titles["study-intermediate"].startswith("keras: 6 of 20 trials pruned, at epochs 2 to 4; lightning")
    assert "none of 6 trials complete; 6 failed" in sections("failed")[0].title
    assert findings.sentences(twelve(), findings.best).endswith("; 9 more studies")


def test_the_line_of_the_history_is_the_best_so_far():
    (line,) = lines(figure_of("normal", "history"), "_best")
    done = [t for t in mixed() if t.state == "COMPLETE"]
    best = [min(t.scores[0] for t in done[: n + 1]) for n in range(len(done))]
    assert list(line.get_xdata()) == [*(t.number for t in done), 19]
    assert list(line.get_ydata()) == [*best, best[-1]]
    (line,) = lines(figure_of("maximize", "history"), "_best")
    assert list(line.get_ydata()) == sorted(line.get_ydata())


@pytest.mark.parametrize("name", ["history", "slices", "pair-map"])
def test_each_trial_stands_once_with_the_symbol_of_its_state(name):
    states = [t.state for t in mixed()]
    for state in ("COMPLETE", "PRUNED", "FAIL"):
        assert len(points(figure_of("normal", name), state)) == states.count(state) > 0


def test_a_pruned_trial_stands_at_its_last_report_and_a_failed_one_beyond_the_scores():
    figure = figure_of("normal", "history")
    (strip,) = [patch for patch in figure.axes[0].patches if patch.get_label() == "_strip"]
    reported = [(t.number, t.reported[-1][1]) for t in mixed() if t.state == "PRUNED"]
    assert [xy for xy in points(figure, "PRUNED") if xy[1] < strip.get_y()] == [xy for xy in reported if xy[1] < 0.37]
    assert all(y < strip.get_y() for _, y in points(figure, "COMPLETE"))
    assert all(y > strip.get_y() for _, y in points(figure, "FAIL"))
    assert max(figure.axes[0].get_yticks()) < strip.get_y()


def test_failed_trials_stand_below_where_more_is_better():
    figure = figure_of("maximize", "history")
    assert max(y for _, y in points(figure, "FAIL")) < min(y for _, y in points(figure, "COMPLETE"))


def test_scores_that_lie_far_out_do_not_squeeze_the_others():
    low, high = figure_of("far", "history").axes[0].get_ylim()
    assert high < 10 * max(t.scores[0] for t in mixed() if t.scores)
    assert len(points(figure_of("far", "history"), "COMPLETE")) == 14
    assert all(low < y < high for _, y in points(figure_of("far", "history"), "COMPLETE"))


def test_infinity_wins_nothing():
    figure = figure_of("infinite", "history")
    assert [x for x, _ in points(figure, "FAIL")] == [1, 2]
    assert findings.best(odd()[4]).startswith("best 0.1612 at trial 0 of 4; 2 failed")


def test_axes_of_slices_span_the_searched_range_and_logarithms_are_logarithmic():
    rate, depth, *_ = figure_of("normal", "slices").axes
    assert (rate.get_xscale(), depth.get_xscale()) == ("log", "linear")
    assert rate.get_xlim()[0] < 1e-5 < 1e-1 < rate.get_xlim()[1]
    assert depth.get_xlim()[0] < 1 < 4 < depth.get_xlim()[1]
    best = min((t for t in mixed() if t.scores), key=lambda t: t.scores)
    (ring,) = lines(figure_of("normal", "slices"), "_ring")
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (best.values[RATE], best.scores[0])


def test_a_key_that_some_trials_lack_is_shown_where_it_was_tried():
    figure = figure_of("categorical", "slices")
    labels = [axes.get_xlabel() for axes in figure.axes]
    assert labels[:3] == ["learning rate", "optimizer", "momentum"]
    tried = [t for t in categorical().trials if "optimizer.momentum" in t.values]
    assert sum(len(points(figure, state, labels.index("momentum"))) for state in STATE_WORDS) == len(tried) == 7
    choices = figure.axes[labels.index("optimizer")].get_xticklabels()
    assert [label.get_text() for label in choices] == ["adam", "sgd", "muon"]
    assert "not set" in texts("categorical")["study-parallel-coordinates"]


def test_lines_of_parallel_coordinates_end_at_the_score_only_where_there_is_one():
    figure = figure_of("normal", "parallel-coordinates")
    assert {len(line.get_xdata()) for label in ("_trial", "_best") for line in lines(figure, label)} == {3}
    assert {len(line.get_xdata()) for label in ("_pruned", "_failed") for line in lines(figure, label)} == {2}
    (best,) = lines(figure, "_best")
    values = min((t for t in mixed() if t.scores), key=lambda t: t.scores).values
    assert best.get_ydata()[:2] == pytest.approx([(math.log10(values[RATE]) + 5) / 4, (values[DEPTH] - 1) / 3])
    assert best.get_ydata()[2] == min(line.get_ydata()[2] for line in lines(figure, "_trial") + [best])


def test_reports_are_drawn_as_they_came():
    figure = figure_of("normal", "intermediate")
    pruned = [line for line in lines(figure, "_PRUNED") if line.get_linestyle() == "--"]
    assert [len(line.get_xdata()) for line in pruned] == [t.epochs for t in mixed() if t.state == "PRUNED"]
    (best,) = lines(figure, "_best")
    assert best.get_linewidth() > 2 * pruned[0].get_linewidth()


def test_only_random_search_has_an_expectation():
    figure = figure_of("maximize", "budget")
    scores = [t.scores[0] for t in maximized().trials if t.scores]
    ends = figure.axes[0].lines[0].get_ydata()[[0, -1]]
    assert ends == pytest.approx([np.mean(scores), max(scores)])  # of one trial: the mean; of all: the best
    assert figure.get_suptitle() == "Expected best score after b trials"
    assert "one observed path" in figure_of("normal", "budget").get_suptitle()
    first, second = figure_of("samplers", "budget").axes[0].lines
    assert first.get_label() == "keras, expected"
    assert second.get_label() == "lightning, one observed path"
    assert "complete trials" in figure.axes[0].get_xlabel()


def test_the_timeline_has_a_bar_for_each_trial():
    bars = figure_of("normal", "timeline").axes[0].patches
    assert [(bar.get_x(), bar.get_width()) for bar in bars] == [(t.began, t.ended - t.began) for t in mixed()]
    running = figure_of("running", "timeline").axes[0].patches[1]
    assert running.get_x() + running.get_width() == 30.0  # the last moment known: the end of trial 0


@pytest.mark.parametrize("case", ["two objectives", "two other objectives"])
def test_the_front_is_ringed_and_connected(case):
    (record,) = (CASES | CASES_OF_ONE_FIGURE)[case]()
    figure = figure_of(case, "pareto")
    front = sorted(t.scores for t in record.trials if t.number in record.best)
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines(figure, "_ring")] == front
    (line,) = lines(figure, "_front")
    assert list(zip(*line.get_data(), strict=True)) == front
    assert len(points(figure, "COMPLETE")) == 14


def test_the_stair_of_the_front_passes_no_trial():
    """A trial above and right of the stair is beaten; with more x better the stair turns before, not after, a step."""
    styles = [lines(figure_of(case, "pareto"), "_front")[0].get_drawstyle()
              for case in ("two objectives", "two other objectives")]  # fmt: skip
    assert styles == ["steps-post", "steps-pre"]


def test_twelve_studies_stand_in_eight_panels():
    assert figure_of("twelve", "history").get_suptitle() == "Score of every trial (first 8 of 12)"
    assert len(figure_of("twelve", "history").axes) == 8
    assert len(figure_of("twelve", "budget").axes) == 6  # one for each optimizer, both frameworks in it
    for name in ("history", "budget"):
        ET.fromstring(style.to_svg(figure_of("twelve", name)))
    title = "Values and score of every trial (first 4 of 12)"
    assert figure_of("twelve", "parallel-coordinates").get_suptitle() == title


def test_importances_of_few_trials_bear_a_warning():
    assert "few trials, read with care" in figure_of("normal", "importances").get_suptitle()
    assert figure_of("200 trials", "importances").get_suptitle() == "Importance of the keys"
    widths = [bar.get_width() for bar in figure_of("normal", "importances").axes[0].patches]
    assert widths == pytest.approx([72, 28])


def test_the_table_of_studies_counts_trials_and_what_they_cost():
    table = study_tables.studies_table(normal())
    row = dict(zip(table.head, table.rows[0], strict=True))
    trials = mixed()
    assert [row[name] for name in ("arm", "trials", "complete", "pruned", "failed")] == ["keras", "20", "12", "6", "2"]
    assert row["epochs"] == str(sum(t.epochs for t in trials))
    assert row["seconds"] == f"{sum(t.seconds for t in trials):.1f}"
    assert row["best score"] == f"{min(t.scores[0] for t in trials if t.scores):.4g}"
    assert study_tables.studies_table([study([])]).rows[0][-1] == "–"


def test_the_table_of_trials_has_them_all_with_their_reasons():
    rows = study_tables.trials_table(normal()).rows
    assert len(rows) == 40
    assert rows[6][:3] == ("keras", "6", "fail")
    assert rows[6][-1] == "the training loss became nan"
    assert rows[1][4] == f"{mixed()[1].reported[-1][1]:.4g}"


def test_studies_of_one_arm_bear_their_names():
    several = [study(mixed(seed=seed), name=f"study {seed}") for seed in range(3)]
    titles = [axes.get_title(loc="left") for axes in figures.history(several).axes]
    assert titles[:3] == [f"keras · study {seed}" for seed in range(3)]
