"""Figures: what they show is what was computed, and no name, gap or number of arms breaks them."""

from __future__ import annotations

import functools
import itertools
import math
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from experiments.records import RunRecord, SweepRecord, TunedValue
from experiments.report import files, sections, tables
from experiments.report.analysis import analyse
from experiments.report.arms import arms_of
from experiments.report.figures import confusion, curves, effects, paired, speed, style
from experiments.report.predictions import predictions_of, with_pictures
from experiments.report.studies import sensitivity

FRAMEWORKS = ("keras", "lightning")
N_EPOCHS = 6


def run(framework, seed, *, labels=None, shift=0.0, n_epochs=N_EPOCHS, outcome="finished", noise=0.01, note=""):
    """A run that learns exponentially; all its numbers follow from the arguments."""
    rng = np.random.default_rng([seed, len(framework), *map(ord, repr(labels))])
    jitter = noise * rng.normal()
    loss = [math.exp(-epoch / 2) + 0.1 + shift + jitter for epoch in range(1, n_epochs + 1)]
    ended = outcome == "finished"
    seconds = 0.5 + 0.3 * (framework == "keras") + abs(jitter)
    chosen = labels or {}
    metrics = {
        "test/accuracy": 0.95 - shift / 10 + jitter / 10,
        "test/loss": loss[-1] + 0.05,
        "train_eval/loss": loss[-1] / 2,
        "memory/peak_mib": 300.0 + 50 * (framework == "keras") + 100 * jitter,
        "time/steady_epoch": seconds,
        "val/loss": loss[-1],
    } | {metric: seconds * size for metric, size in TIMES.items()}
    return RunRecord(
        run_id=f"{framework} {seed} {labels}",
        name=f"{framework} {chosen} {seed}",
        fingerprint="f",
        framework=framework,
        seed=seed,
        outcome=outcome,
        reason="" if ended else "the training loss became nan",
        config={"framework": framework, "seed": seed, "note": note, **chosen},
        metrics=metrics if ended else {},
        curves={
            "val/loss": [(epoch, value) for epoch, value in enumerate(loss, start=1)],
            "val/accuracy": [(epoch, 1 - value / 2) for epoch, value in enumerate(loss, start=1)],
            "step": [(epoch, 45.0 * epoch) for epoch in range(1, n_epochs + 1)],
            "time/trained": [(epoch, epoch * seconds + 2.0) for epoch in range(1, n_epochs + 1)],
        },
        facts={"workers": "1", "data": "d"},
        labels=chosen,
    )


TIMES = {
    "time/import": 4.0,
    "time/build": 0.1,
    "time/first_step": 1.0,
    "time/steady_step": 0.004,
    "time/evaluation": 0.4,
    "time/checkpoint": 0.02,
    "time/total": 12.0,
}


def sweep(*runs, factor="framework", **changes):
    return SweepRecord(
        sweep_id="s",
        experiment="e",
        description="d",
        command="c",
        n_planned=len(runs),
        seeds=tuple(sorted({run.seed for run in runs})),
        margins={"accuracy": 0.01, "loss": 0.02, "time_ratio": 0.05},
        runs=runs,
        comparison={"name": "n", "factor": factor},
        **changes,
    )


def runs_of(n_seeds=4, *, labels=(None,), **settings):
    return [
        run(framework, seed, labels=each, shift=0.02 * number, **settings)
        for number, each in enumerate(labels)
        for framework in FRAMEWORKS
        for seed in range(n_seeds)
    ]


def optimizers(n):
    names = ["adam", "adamw", "lion", "momentum", "muon", "nesterov", "rmsprop", "sgd", "adagrad", "adadelta"]
    return [{"optimizer": name} for name in names[:n]]


def doses(*levels):
    return [{"regularization.dropout": f"{level:g}"} for level in levels]


def search(*, key="optimizer.learning_rate", groups=None, values=(1e-4, 1e-3, 1e-2, 1e-1), metric="val/loss"):
    """Trials with the best value 1e-3; the largest one diverges, and one score lies far out."""
    trials, choices = [], []
    for number, group in enumerate(groups or optimizers(2)):
        for framework, seed, value in itertools.product(FRAMEWORKS, (100, 101), values):
            trial = run(framework, seed, labels=group | {key: f"{value:g}"}, shift=abs(math.log10(value) + 3) / 5)
            if value == values[-1]:
                trial = replace(trial, outcome="diverged", metrics={})
            if value == values[-2] and seed == 101:
                trial = replace(trial, metrics={metric: 500.0})
            trials.append(trial)
        choices.append(
            TunedValue(
                group=str(number),
                labels=group | {"framework": "keras"},
                key=key,
                value=values[(1, 0)[number == 1]],
                score=0.1,
                metric=metric,
                n_trials=16,
                low=values[0],
                high=values[-1],
                at_edge=number == 1,
            )
        )
    return trials, choices


def predicted(n_classes, *, n=200, n_seeds=3, channels=1, names=None):
    """Two arms' predictions, about one in five wrong, with pictures of noise."""
    rng = np.random.default_rng(n_classes)
    targets = rng.integers(n_classes, size=n)
    first, second = arms_of(runs_of(n_seeds))
    shared, logits = rng.normal(size=(n, n_classes)), {}
    shared[np.arange(n), targets] += 2.5
    for one in (*first.runs, *second.runs):
        logits[one.run_id] = (shared + 0.3 * rng.normal(size=shared.shape), targets)
    class_names = names or [f"class {number}" for number in range(n_classes)]
    found = predictions_of(first, second, class_names=class_names, margin=0.01, n_planned=3, read=logits.get)
    pictures = {index: rng.integers(256, size=(28, 28, channels)).astype(np.uint8) for index in range(n)}
    return with_pictures(found, pictures)


def drawn(note=""):
    """Every figure, by name; `note` stands wherever a user's text may stand."""
    n_seeds = 3
    analysis = analyse(sweep(*runs_of(n_seeds, labels=[{"optimizer": note}, {"optimizer": "sgd"}])))
    trials, choices = search(groups=[{"optimizer": note or "adam"}])
    levels = [each | {"optimizer": note or "adam"} for each in doses(0, 0.1, 0.3)]
    dosed = analyse(sweep(*runs_of(n_seeds, labels=levels), factor="regularization.dropout"))
    scores = [pair.score for pair in analysis.pairs]
    answered = predicted(3, n=30, n_seeds=n_seeds, names=[note or "a", "b", "c"])
    return {
        "paired": paired.paired_differences(scores, title=note or "t"),
        "curves": curves.learning_curves(analysis.arms, "val/loss", title=note or "t", unit=note or "u"),
        "search": sensitivity.search_sensitivity(trials, choices, margin=0.02),
        "speed": speed.speed(analysis.pairs, analysis.arms),
        "gaps": effects.gaps(analysis.gaps, factor=note or "framework"),
        "dose": effects.dose_response(dosed.dose, dosed.gaps, metric="test/accuracy"),
        "effects": effects.effects(analysis.effects),
        "confusion": confusion.confusion(replace(answered, names=(note or "a", "b"))),
        "pictures": confusion.pictures(replace(answered, names=(note or "a", "b"))),
    }


HOSTILE = [
    "</script><script>alert(1)</script>",
    "a$\\frac{$",
    "\x00\x1b[31m\u202eevil",
    "half \ud83d of a pair, no letters \ufffe\uffff",
    "y" * 3000,
    "训练 🔥 ثقة",
]


MIXED = "\x00\u202e</script><script>" + "y" * 3000 + "a$\\frac{$训🔥"  # names are cut in the middle


@functools.cache
def texts(note):
    """Every figure as SVG; kept, as drawing takes seconds."""
    return {name: style.to_svg(figure, name=name, title=note, description=note) for name, figure in drawn(note).items()}


def test_hostile_names_leave_every_figure_well_formed():
    assert len(texts(MIXED)) == 9
    for text in texts(MIXED).values():
        require_harmless(text)


@pytest.mark.parametrize("note", HOSTILE)
def test_hostile_titles_and_names_of_arms_are_drawn_as_svg_and_png(tmp_path, note):
    verdict = replace(analyse(sweep(*runs_of(3))).pairs[0].score, names=(note, "lightning"))
    figure = paired.paired_differences([verdict], title=note)
    require_harmless(style.to_svg(figure, name=note, title=note, description=note))
    style.save_png(figure, tmp_path / "a.png")


def require_harmless(text):
    ET.fromstring(text)
    assert "<script" not in text
    assert not any(control in text for control in "\x00\x1b\u202e\ud83d\ufffe\uffff")


def test_ids_and_what_refers_to_them_bear_the_name_of_the_figure():
    arms = arms_of(runs_of())
    figure = curves.learning_curves(arms, "val/loss", title="t", unit="u")
    text = style.to_svg(figure, name="val-loss", title="A & B", description="said")
    root = ET.fromstring(text)
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) > 20
    assert all(each.startswith("val-loss-") for each in ids)
    references = re.findall(r'(?:href="#|url\(#)([^")]+)', text)
    assert references
    assert set(references) <= set(ids)
    said = [(element.tag.rpartition("}")[2], element.attrib["id"], element.text) for element in list(root)[:2]]
    assert said == [("title", "val-loss-title", "A & B"), ("desc", "val-loss-desc", "said")]


def test_a_text_that_looks_like_an_id_is_left_alone():
    verdicts = [pair.score for pair in analyse(sweep(*runs_of())).pairs]
    text = style.to_svg(paired.paired_differences(verdicts, title=' id="x"'), name="n")
    assert ' id="x"' in ET.fromstring(text).itertext().__iter__() or ' id="x"' in "".join(
        ET.fromstring(text).itertext()
    )


def test_the_same_input_gives_the_same_bytes():
    assert texts.__wrapped__(MIXED) == texts(MIXED)


def test_a_figure_is_the_same_however_often_it_is_drawn(tmp_path):
    figure = curves.learning_curves(arms_of(runs_of()), "val/loss", title="t", unit="u")
    text = style.to_svg(figure)
    for file in ("a.png", "b.png"):
        style.save_png(figure, tmp_path / file)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert style.to_svg(figure) == text


def test_the_order_of_runs_and_trials_changes_nothing():
    runs = runs_of(labels=optimizers(2))
    trials, choices = search()
    texts = [
        [
            style.to_svg(curves.learning_curves(analyse(sweep(*order)).arms, "val/loss", title="t", unit="u")),
            style.to_svg(sensitivity.search_sensitivity(searched, choices, margin=0.02)),
        ]
        for order, searched in ((runs, trials), (runs[::-1], trials[::-1]))
    ]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("settings", [{"n_seeds": 1}, {"n_seeds": 3, "noise": 0.0}])
def test_one_seed_or_no_spread_is_drawn(settings):
    analysis = analyse(sweep(*runs_of(**settings)))
    assert paired.paired_differences([pair.score for pair in analysis.pairs], title="t")
    assert speed.speed(analysis.pairs, analysis.arms)
    assert effects.gaps(analysis.gaps, factor="framework")
    figure = curves.learning_curves(analysis.arms, "val/loss", title="t", unit="u")
    assert len(lines(figure, "_seed")) == 2 * settings["n_seeds"]


def lines(figure, label, *, panel=0):
    return [line for line in figure.axes[panel].lines if str(line.get_label()).startswith(label)]


def test_the_intervals_drawn_are_those_of_the_verdict():
    verdict = analyse(sweep(*runs_of())).pairs[0].score
    figure = paired.paired_differences([verdict], title="t")
    for label, interval in (("difference", verdict.ci95), ("equivalence", verdict.ci90)):
        assert lines(figure, label)[0].get_xdata() == pytest.approx(np.multiply(interval, 100))
    assert lines(figure, "mean")[0].get_xdata() == pytest.approx([100 * verdict.mean_difference])
    assert lines(figure, "seeds")[0].get_xdata() == pytest.approx(np.multiply(verdict.differences, 100))
    band = figure.axes[0].collections[0].get_datalim(figure.axes[0].transData)
    assert band.intervalx == pytest.approx([-1.0, 1.0])  # the margin, pp


@pytest.mark.parametrize("scale", [0.0, 1e6])
def test_limits_hold_margin_and_differences_whatever_their_size(scale):
    verdict = analyse(sweep(*runs_of())).pairs[0].score
    wide = replace(
        verdict,
        differences=tuple(scale * each for each in verdict.differences),
        ci95=tuple(scale * each for each in verdict.ci95),
    )
    low, high = paired.paired_differences([wide], title="t").axes[0].get_xlim()
    reach = [100 * each for each in (*wide.differences, *wide.ci95, -verdict.margin, verdict.margin)]
    assert low < min(reach)
    assert high > max(reach)


def test_sixty_rows_keep_their_distance():
    verdict = analyse(sweep(*runs_of())).pairs[0].score
    rows = [replace(verdict, names=(f"keras · optimizer {row}", "lightning · x")) for row in range(60)]
    figure = paired.paired_differences(rows, title="t")
    axes = figure.axes[0]
    assert len(axes.get_yticklabels()) == 60
    assert axes.get_position().height * figure.get_figheight() / 60 > 0.3  # inches: two lines of 8 points


def test_a_comparison_without_pairs_says_so():
    verdict = replace(
        analyse(sweep(*runs_of())).pairs[0].score, differences=(), n=0, ci95=None, ci90=None, mean_difference=None
    )
    assert "no pair of runs" in style.to_svg(paired.paired_differences([verdict], title="t"))


def test_the_mean_stops_where_a_curve_of_the_arm_stops():
    stopped = [run("keras", seed, n_epochs=N_EPOCHS if seed else 2, noise=0.0) for seed in range(3)]
    figure = curves.learning_curves(analyse(sweep(*stopped)).arms, "val/loss", title="t", unit="u")
    (mean,) = lines(figure, "keras")
    assert list(mean.get_xdata()) == [45, 90]
    assert mean.get_ydata() == pytest.approx([math.exp(-0.5) + 0.1, math.exp(-1) + 0.1])
    (end,) = lines(figure, "_ended early")
    assert (end.get_marker(), end.get_xdata()) == ("s", [90])


def test_the_band_is_the_interval_of_the_mean():
    arm = analyse(sweep(*[run("keras", seed) for seed in range(4)])).arms[0]
    figure = curves.learning_curves([arm], "val/loss", title="t", unit="u")
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    at_end = [y for x, y in band if x == 45 * N_EPOCHS]
    estimate = arm.interval("val/loss")
    assert [min(at_end), max(at_end)] == pytest.approx([estimate.low, estimate.high])


def test_two_seeds_have_no_band():
    arms = analyse(sweep(*runs_of(2))).arms
    assert not curves.learning_curves(arms, "val/loss", title="t", unit="u").axes[0].collections


def test_on_the_clock_the_last_value_stands_and_nothing_is_interpolated():
    fast, slow = run("keras", 0, noise=0.0, n_epochs=3), run("keras", 1, noise=0.0, n_epochs=3)
    clocks = ([(1, 1.0), (2, 2.0), (3, 3.0)], [(1, 2.0), (2, 4.0), (3, 6.0)])
    values = ([(1, 9.0), (2, 5.0), (3, 1.0)], [(1, 8.0), (2, 4.0), (3, 2.0)])
    runs = [
        replace(each, curves={"val/loss": value, "time/trained": clock})
        for each, clock, value in zip((fast, slow), clocks, values, strict=True)
    ]
    figure = curves.learning_curves(analyse(sweep(*runs)).arms, "val/loss", title="t", unit="u")
    (mean,) = lines(figure, "keras", panel=1)
    # By hand: at 2 s the fast run's second value stands beside the slow run's first; at 4 and 6 s its third.
    assert list(zip(mean.get_xdata(), mean.get_ydata(), strict=True)) == [(2, 6.5), (4, 2.5), (6, 1.5)]
    assert mean.get_drawstyle() == "steps-post"
    assert figure.axes[0].get_xlabel() == "epoch"


def test_a_run_that_diverged_carries_no_value_forward():
    seconds = [np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0])]
    assert list(curves.common_grid(seconds, whole=True)) == [1, 2, 3]
    assert list(curves.common_grid(seconds, whole=False)) == [1, 2]


def test_without_a_clock_there_is_no_panel_for_it():
    bare = replace(run("keras", 0), curves={"val/loss": [(5, 1.0), (10, 0.5)], "time/trained": [(5, 2.0)]})
    assert len(curves.learning_curves(analyse(sweep(bare)).arms, "val/loss", title="t", unit="u").axes) == 1


def test_values_that_are_not_finite_are_left_out_and_only_they():
    broken = replace(run("keras", 3, outcome="diverged"), curves={"val/loss": [(1, 0.5), (2, math.nan), (3, math.inf)]})
    figure = curves.learning_curves(analyse(sweep(*runs_of(3), broken)).arms, "val/loss", title="t", unit="u")
    assert len(lines(figure, "_seed")) == 7
    ET.fromstring(style.to_svg(figure))
    only = analyse(sweep(replace(broken, curves={"val/loss": [(1, math.nan)]})))
    assert curves.learning_curves(only.arms, "val/loss", title="t", unit="u") is None


@pytest.mark.parametrize(
    ("metric", "values", "scale"),
    [("val/loss", [10, 0.1], "log"), ("val/loss", [10, 1], "linear"), ("val/accuracy", [10, 0.1], "linear"),
     ("val/loss", [10, 0], "linear")],
)  # fmt: skip
def test_a_loss_that_falls_far_has_a_log_axis_without_formulas(metric, values, scale):
    one = replace(run("keras", 0), curves={metric: list(enumerate(map(float, values), start=1))})
    figure = curves.learning_curves(analyse(sweep(one)).arms, metric, title="t", unit="u")
    assert figure.axes[0].get_yscale() == scale
    assert "mathdefault" not in style.to_svg(figure)


def test_runs_without_times_have_no_clock_panel():
    runs = [replace(each, curves={"val/loss": each.curves["val/loss"]}) for each in runs_of()]
    figure = curves.learning_curves(analyse(sweep(*runs)).arms, "val/loss", title="t", unit="u")
    assert [axes.get_xlabel() for axes in figure.axes] == ["epoch"]


def test_ten_choices_stand_in_rows_and_the_title_says_what_is_left_out():
    arms = arms_of(runs_of(1, labels=optimizers(10)))
    figure = curves.learning_curves(arms, "val/loss", title="Loss", unit="u")
    assert len(figure.axes) == 16
    assert figure.get_suptitle() == "Loss (first 8 of 10)"
    colours = {line.get_color() for axes in figure.axes for line in axes.lines}
    assert colours == set(style.colours_of(["keras", "lightning"]).values())
    assert len(colours) == 2


def test_long_curves_keep_their_extremes_and_their_end():
    values = np.sin(np.arange(10_000.0))
    values[[1234, 8765]] = 7, -7
    kept = curves.decimated(values)
    assert len(kept) <= 400
    assert {0, 1234, 8765, 9999} <= set(kept)


def test_identical_arms_are_both_seen():
    figure = curves.learning_curves(analyse(sweep(*runs_of(noise=0.0))).arms, "val/loss", title="t", unit="u")
    below, above = lines(figure, "keras")[0], lines(figure, "lightning")[0]
    assert list(below.get_ydata()) == pytest.approx(list(above.get_ydata()))
    assert below.get_linewidth() > above.get_linewidth() + 1


def test_the_colour_is_the_framework_and_the_dash_the_rest():
    looks = style.looks(analyse(sweep(*runs_of(1, labels=optimizers(2)))).arms)
    assert looks["keras · adam"]["color"] == looks["keras · adamw"]["color"] != looks["lightning · adam"]["color"]
    assert looks["keras · adam"]["linestyle"] == looks["lightning · adam"]["linestyle"]
    assert looks["keras · adam"]["linestyle"] != looks["keras · adamw"]["linestyle"]


def test_a_known_colour_is_kept_and_others_are_free_ones_in_order():
    first, second, third, *_ = style.COLOURS
    assert style.colours_of(["b", "a", "b"]) == {"b": first, "a": second}
    assert style.colours_of(["c", "b", "a"], {"a": first}) == {"c": second, "b": third, "a": first}
    many = style.colours_of(map(str, range(20)), {"0": "#123456"})
    assert many["0"] == "#123456"
    assert set(many.values()) == {"#123456", *style.COLOURS}


def test_a_report_paints_a_framework_in_its_colour_wherever_it_stands(tmp_path):
    runs = [replace(each, framework={"keras": "b", "lightning": "a"}[each.framework]) for each in runs_of(3)]
    files.write(analyse(sweep(*runs)), tmp_path, colours={"b": "#123456"})
    drawn = {path.stem: path.read_text() for path in (tmp_path / "figures").glob("*.svg")}
    for name in ("val-loss", "speed", "gaps"):
        assert "#123456" in drawn[name], name
        assert style.COLOURS[0].lower() in drawn[name], name  # the first that is free: a's
    trials, choices = search()
    figure = sensitivity.search_sensitivity(trials, choices, margin=0.02, colours={"keras": "#123456"})
    assert {line.get_color() for line in lines(figure, "trials keras")} == {"#123456"}


def points(figure, marker, panel=0):
    return [x for line in figure.axes[panel].lines if line.get_marker() == marker for x in line.get_xdata()]


def test_every_trial_is_shown_the_lost_and_the_far_ones_at_the_edge():
    trials, choices = search()
    figure = sensitivity.search_sensitivity(trials, choices, margin=0.02)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["adam", "adamw"]
    assert points(figure, "x") == [0.1] * 4
    assert points(figure, "^") == [0.01] * 2
    assert len(points(figure, "o")) == 10
    assert figure.axes[0].get_ylim()[1] < 1  # the score of 500 does not squeeze the others
    assert figure.axes[0].get_xscale() == "log"
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [[], ["at the edge"]]


def test_a_pruned_trial_is_not_drawn_as_lost():
    trials, choices = search()
    pruned = [replace(each, outcome="pruned") if each.outcome == "diverged" else each for each in trials]
    assert points(sensitivity.search_sensitivity(pruned, choices, margin=0.02), "x") == []


def test_the_shaded_range_ends_where_a_value_is_worse_than_the_margin():
    trials, choices = search()
    for margin, inside in ((0.02, [1e-3]), (0.5, [1e-4, 1e-3])):
        axes = sensitivity.search_sensitivity(trials, choices, margin=margin).axes[0]
        (span,) = [patch for patch in axes.patches if patch.get_label() == "good"]
        low, high = span.get_x(), span.get_x() + span.get_width()
        assert [value for value in (1e-4, 1e-3, 1e-2) if low < 1.001 * value < 1.002 * high] == inside
    assert not sensitivity.search_sensitivity(trials, choices, margin=None).axes[0].patches


def test_a_search_of_which_nothing_came_to_its_end_is_shown():
    trials, choices = search()
    lost = [replace(trial, outcome="failed", metrics={}) for trial in trials]
    unknown = [replace(each, value=None, score=None, at_edge=False) for each in choices]
    figure = sensitivity.search_sensitivity(lost, unknown, margin=0.02)
    assert len(points(figure, "x")) == 16
    ET.fromstring(style.to_svg(figure))


def test_bars_stand_on_zero_and_bear_their_units():
    analysis = analyse(sweep(*runs_of()))
    figure = speed.speed(analysis.pairs, analysis.arms)
    titles = {axes.get_title(): axes for axes in figure.axes}
    assert {"import, s", "steady step, ms", "peak memory, MiB"} <= set(titles)
    assert all(axes.get_ylim()[0] == 0 for axes in figure.axes)
    step = titles["steady step, ms"]
    estimate = analysis.arms[0].interval("time/steady_step")
    assert step.patches[0].get_height() == pytest.approx(1000 * estimate.value)
    assert list(step.lines[0].get_ydata()) == pytest.approx([1000 * estimate.low, 1000 * estimate.high])


def pointed_at(figure, name):
    """(what, panel, key) -> marks as a page's script reads them back from the SVG: (x, y) in the unit of the data."""
    panels, root = style.panels_of(figure), ET.fromstring(style.to_svg(figure, name=name))
    found = {}
    for group in root.iter("{http://www.w3.org/2000/svg}g"):
        what, *numbers = group.attrib.get("id", "").removeprefix(f"{name}-").split("-")
        if what not in ("mean", "mark") or len(numbers) != 3:
            continue
        panel, key, _ = map(int, numbers)
        (left, top, right, bottom), x, y = (panels[panel][each] for each in ("box", "x", "y"))
        values = [math.log(each) for each in y] if panels[panel]["log"] else y
        marks = []
        for use in group.iter("{http://www.w3.org/2000/svg}use"):
            height = np.interp(-float(use.attrib["y"]), [-bottom, -top], values)
            marks.append((np.interp(float(use.attrib["x"]), [left, right], x),
                          math.exp(height) if panels[panel]["log"] else height))  # fmt: skip
        found[what, panel, key] = marks
    return found


@pytest.mark.parametrize(("power", "is_log"), [(1, False), (3, True)])
def test_a_page_can_read_back_the_values_that_were_drawn(power, is_log):
    runs = [
        replace(each, curves=each.curves | {"val/loss": [(epoch, value**power) for epoch, value in loss]})
        for each in runs_of(3)
        for loss in [each.curves["val/loss"]]
    ]
    figure = curves.learning_curves(arms_of(runs), "val/loss", title="t", unit="u")
    assert {panel["log"] for panel in style.panels_of(figure)} == {is_log}
    found = pointed_at(figure, "val-loss")
    assert sorted(found) == [("mean", panel, key) for panel in (0, 1) for key in (0, 1)]
    for key, name in enumerate(FRAMEWORKS):
        for panel in (0, 1):
            (drawn_line,) = lines(figure, name, panel=panel)
            expected = list(zip(drawn_line.get_xdata(), drawn_line.get_ydata(), strict=True))
            # boxes are told to 4 decimals of a point; a panel is about 200 points wide, 150 high
            assert np.array(found["mean", panel, key]) == pytest.approx(np.array(expected), rel=1e-4, abs=1e-5)
    assert [panel["across"] for panel in style.panels_of(figure)] == ["optimizer step", "training time, s"]


def test_the_dots_of_a_paired_figure_are_named_in_their_order():
    verdicts = [pair.score for pair in analyse(sweep(*runs_of(labels=optimizers(2)))).pairs]
    found = pointed_at(paired.paired_differences(verdicts, title="t"), "p")
    names = paired.marks_of(verdicts)
    assert len(found) == len(names) == len(verdicts) == 2
    for key, verdict in enumerate(reversed(verdicts)):
        assert names[key] == [f"seed {seed}" for seed in verdict.seeds]
        marks = [x for x, _ in found["mark", 0, key]]
        assert marks == pytest.approx([100 * value for value in verdict.differences], abs=1e-5)


def test_what_belongs_to_an_arm_bears_its_key_in_the_legend():
    figure = curves.learning_curves(arms_of(runs_of(3, labels=optimizers(4))), "val/loss", title="t", unit="u")
    ids = re.findall(r'<g id="n-((?:mean|part|band|key)[^"]*)"', style.to_svg(figure, name="n"))
    assert len(ids) == len(set(ids))
    keys = {each.split("-")[1] for each in ids if each.startswith("key")}
    assert keys == {"0", "1"}  # rows tell the optimizer, keys the framework
    for key in keys:
        kinds = [each.split("-")[0] for each in ids if not each.startswith("key") and each.split("-")[2] == key]
        assert {kind: kinds.count(kind) for kind in kinds} == {"part": 3 * 8, "mean": 8, "band": 8}
    assert style.panels_of(effects.gaps(analyse(sweep(*runs_of())).gaps, factor="framework")) == []


def test_curves_of_many_arms_are_low_and_all_but_the_first_are_folded():
    for n_optimizers, folded in ((2, [False, False]), (3, [False, True])):
        analysis = analyse(sweep(*runs_of(1, labels=optimizers(n_optimizers))))
        (shown,) = [each for each in sections.sections_of(analysis) if each.name == "curves"]
        assert [each.folded for each in shown.figures] == folded
    figure = curves.learning_curves(arms_of(runs_of(1, labels=optimizers(10))), "val/loss", title="t", unit="u")
    # a page shows it 56 rem wide; 1.5 screens of 1000 pixels
    assert figure.get_figheight() / figure.get_figwidth() * 56 * 16 < 1500


def test_an_import_that_was_done_before_is_no_time():
    def imported(seconds):
        runs = [replace(one, metrics=one.metrics | {"time/import": seconds[one.framework]}) for one in runs_of(3)]
        analysis = analyse(sweep(*runs))
        figure = speed.speed(analysis.pairs, analysis.arms)
        bars = {axes.get_title(): [label.get_text() for label in axes.get_xticklabels()] for axes in figure.axes}
        table = tables.speed(analysis)
        column = table.head.index("import")
        return bars, [row[column] for row in table.rows]

    bars, cells = imported({"keras": 1.1e-5, "lightning": 9e-3})
    assert not [title for title in bars if title.startswith("import")]
    assert cells == ["imported before"] * 2
    bars, cells = imported({"keras": 4.0, "lightning": 1.1e-5})
    assert bars["import, s"] == ["4", "–"]
    assert cells == ["4 ± 0 s", "imported before"]


def test_gaps_have_a_row_for_each_arm_up_to_forty():
    gaps = analyse(sweep(*runs_of(1, labels=optimizers(10)))).gaps
    assert len(effects.gaps(gaps, factor="optimizer").axes[0].get_yticklabels()) == 20
    figure = effects.gaps(gaps * 3, factor="optimizer")
    assert len(figure.axes[0].get_yticklabels()) == 40
    assert figure.get_suptitle() == "Generalization gap by optimizer (first 40 of 60)"


def test_a_dose_has_four_panels_and_its_numbers():
    analysis = analyse(sweep(*runs_of(labels=doses(0, 0.1, 0.3)), factor="regularization.dropout"))
    figure = effects.dose_response(analysis.dose, analysis.gaps, metric="test/accuracy")
    assert len(figure.axes) == 4
    arm = analysis.dose.curves["keras"][0]
    assert lines(figure, "keras")[0].get_ydata()[0] == pytest.approx(100 * arm.interval("test/accuracy").value)
    assert figure.axes[0].get_xscale() == "linear"
    assert len(effects.dose_response(analysis.dose, (), metric="test/loss").axes) == 1


def test_a_dose_over_magnitudes_is_logarithmic_and_a_lost_level_a_hole():
    runs = [
        replace(each, outcome="diverged", metrics={}) if each.labels["optimizer.weight_decay"] == "0.01" else each
        for each in runs_of(labels=[{"optimizer.weight_decay": f"{level:g}"} for level in (0.001, 0.01, 0.1)])
    ]
    analysis = analyse(sweep(*runs, factor="optimizer.weight_decay"))
    figure = effects.dose_response(analysis.dose, analysis.gaps, metric="test/accuracy")
    assert figure.axes[-1].get_xscale() == "log"
    assert [label.get_text() for label in figure.axes[-1].get_xticklabels()] == ["0.001", "0.01", "0.1"]
    assert list(np.isnan(lines(figure, "keras")[0].get_ydata())) == [False, True, False]
    ET.fromstring(style.to_svg(figure))


def test_effects_add_up_and_the_rest_comes_last():
    labels = [first | second for first in optimizers(2) for second in doses(0, 0.3)]
    found = analyse(sweep(*runs_of(labels=labels))).effects
    figure = effects.effects(found)
    *main, shares = figure.axes
    assert [round(sum(patch.get_height() for patch in axes.patches), 9) for axes in main] == [0, 0, 0]
    assert shares.get_yticklabels()[-1].get_text() == "seeds and rest"
    assert [patch.get_width() for patch in shares.patches] == pytest.approx([100 * each.share for each in found.shares])
    assert len(effects.effects(replace(found, main=None)).axes) == 1


@pytest.mark.parametrize(("n_classes", "n_texts"), [(3, 27), (12, 432), (13, 0)])
def test_confusion_has_three_maps_two_scales_and_counts_for_few_classes(n_classes, n_texts):
    figure = confusion.confusion(predicted(n_classes))
    images = [image for axes in figure.axes for image in axes.images]
    assert len(images) == 3
    assert sum(len(axes.texts) for axes in figure.axes) == n_texts


def test_confusion_of_many_classes_is_left_to_a_table():
    assert confusion.confusion(predicted(31)) is None


@pytest.mark.parametrize(("count", "sign", "written"), [(1135, "", "1.1k"), (98.33, "", "98"), (0.33, "", "0.3"),
                         (0.0, "+", "0"), (-1.5, "+", "−1.5"), (12.0, "+", "+12")])  # fmt: skip
def test_counts_fit_their_cells(count, sign, written):
    assert confusion._count_text(count, sign) == written


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_stand_with_what_both_arms_say(channels):
    found = predicted(10, channels=channels)
    shown = [each for each in found.mistakes if each.picture is not None]
    figure = confusion.pictures(found)
    assert sum(len(axes.images) for axes in figure.axes) == len(shown) > 0
    first = shown[0]
    assert figure.axes[0].get_xlabel().splitlines()[:2] == [
        f"label {first.label}",
        f"A: {first.answers[0]} ({first.probabilities[0]:.2f})",
    ]


def test_nothing_to_show_is_no_figure():
    trials, choices = search()
    arms = analyse(sweep(*runs_of())).arms
    assert curves.learning_curves([], "val/loss", title="t", unit="u") is None
    assert curves.learning_curves(arms, "val/unknown", title="t", unit="u") is None
    assert sensitivity.search_sensitivity([], choices, margin=None) is None
    assert sensitivity.search_sensitivity(trials, [], margin=None) is None
    assert speed.speed([], []) is None
    assert effects.gaps([], factor="framework") is None
    assert confusion.pictures(with_pictures(predicted(3), {})) is None
