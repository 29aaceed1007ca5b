"""The figures of studies as sections of a report: their findings, captions and how to read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from experiments.records import StudyRecord
from experiments.report.figures.style import NO_COLOURS, Colours
from experiments.report.section import Drawn
from experiments.report.studies import findings
from experiments.report.studies.facts import FEWEST_TRIALS
from experiments.report.studies.figures import budget_curve, history, importances, intermediate, pareto, timeline
from experiments.report.studies.marks import CROWD
from experiments.report.studies.selection import (
    Studies,
    has_complete,
    has_front,
    has_importances,
    has_reports,
    has_times,
    has_trials,
    has_tried,
    studies_with,
    studies_with_plane,
)
from experiments.report.studies.space_figures import SLICE_KEYS, pair_map, parallel_coordinates, slices
from experiments.report.studies.tables import studies_table, trials_table
from experiments.report.tables import Table

STATES = "Dot: complete; open triangle: pruned, at its last report; red cross: failed, or a score that is not finite. "
STRIP = "Grey strip: trials without a score on this scale. "
PRUNED_NOTE = "A pruned trial's score is from before its end: compare it with others at the same epoch only."


@dataclass(frozen=True, kw_only=True)
class StudyFigure:
    """A figure of studies with its words.

    Attributes:
        draw: The figure of some studies in the colours of their frameworks, or None.
        finding: What it shows of one study, in words.
        shown: Those of the studies that it shows anything of.
        table: What stands below it.
    """

    name: str
    draw: Callable[[Studies, Colours], Figure | None]
    finding: findings.Finding
    shown: Callable[[Studies], list[StudyRecord]]
    caption: str
    how: str
    table: Callable[[Studies], Table] | None = None


FIGURES = (
    StudyFigure(
        name="history",
        draw=history,
        finding=findings.best,
        shown=lambda studies: studies_with(studies, has_trials),
        caption=f"Score of each trial against its number, counted from 0. {STATES}Line: best complete trial so far. "
        f"{STRIP}Colour: framework.",
        how="A line that still falls (or rises, where more is better) at the end says that more trials may pay. "
        + PRUNED_NOTE,
        table=studies_table,
    ),
    StudyFigure(
        name="importances",
        draw=importances,
        finding=findings.importance,
        shown=lambda studies: studies_with(studies, has_importances),
        caption="Bars: share of each key in the importance, adding up to 100 %, as Optuna's evaluator finds it in the "
        f"complete trials of one study; below {FEWEST_TRIALS} of them it is mostly noise.",
        how="A long bar says that the score varied with the key within the searched range. It is neither a cause nor "
        "a statement about other ranges.",
    ),
    StudyFigure(
        name="slices",
        draw=slices,
        finding=findings.values,
        shown=lambda studies: studies_with(studies, has_tried),
        caption=f"Score against the value tried, for the up to {SLICE_KEYS} most important keys; axes span the "
        f"searched range. {STATES}Ring: best. Colour: trial number, later is brighter. {STRIP}A trial without a key "
        "is left out of its panel.",
        how="A best trial at the end of an axis says that the range was too narrow. Bright dots that gather say where "
        "the sampler came to search.",
        table=trials_table,
    ),
    StudyFigure(
        name="parallel-coordinates",
        draw=parallel_coordinates,
        finding=findings.top,
        shown=lambda studies: studies_with(studies, has_tried),
        caption="A line for each trial, over the values it tried to its score; colour: score, darker is better; thick: "
        "best. Dashed grey: pruned, dotted red: failed; both end before the score. Below an axis: key not set. A score "
        "beyond the scale stands at its end.",
        how="Where dark lines cross an axis close together, that key decides. Where they spread, it hardly matters.",
    ),
    StudyFigure(
        name="pair-map",
        draw=pair_map,
        finding=findings.values,
        shown=studies_with_plane,
        caption="Trials over the two most important numeric keys that varied. Dot: complete, darker is better; open "
        "triangle: pruned; red cross: failed or not finite; ring: best. Axes span the searched range; a trial that "
        "lacks one of the keys is left out.",
        how="Dark dots along a slope say that the two keys depend on each other. Empty areas were not searched.",
    ),
    StudyFigure(
        name="intermediate",
        draw=intermediate,
        finding=findings.pruning,
        shown=lambda studies: studies_with(studies, has_reports),
        caption="What each trial reported after its epochs. Solid: complete; dashed, ending in an open triangle: "
        "pruned; dotted red, ending in a cross: failed; thick black: best. Lines that leave the panel go on beyond it.",
        how="A pruned line that lies among the others where it ends may have been cut too early. Lines that cross late "
        "say that early reports tell little about the end.",
    ),
    StudyFigure(
        name="budget",
        draw=budget_curve,
        finding=findings.budget,
        shown=lambda studies: studies_with(studies, has_complete),
        caption="Rests on the scores of complete trials only. Random and quasi-random samplers and grids: expected "
        "best of b trials drawn from those that were run, without replacement. Other samplers, such as TPE: the best "
        "so far, one observed path, no expectation. Conditional on these studies.",
        how="Compare arms at the same number of trials, not at their ends. A flat end says that more trials of this "
        "kind would hardly help.",
    ),
    StudyFigure(
        name="timeline",
        draw=timeline,
        finding=findings.time,
        shown=lambda studies: studies_with(studies, has_times),
        caption="A bar for each trial from its beginning to its end. Full colour: complete; pale, with a triangle "
        f"at its end where there are at most {CROWD} trials: pruned; red with a cross: failed; empty and dashed: still "
        "running when this was written.",
        how="Bars above each other ran at the same time. Gaps are time in which no trial of this study ran.",
    ),
    StudyFigure(
        name="pareto",
        draw=pareto,
        finding=findings.front,
        shown=lambda studies: studies_with(studies, has_front),
        caption=f"Complete trials over both objectives. Ring: no other trial is better in both; line: their front. "
        f"{STRIP}",
        how="Along the front, one objective is paid for with the other. A trial off the front is beaten in both.",
    ),
)


def sections_of_studies(studies: Studies, colours: Colours = NO_COLOURS) -> list[Drawn]:
    """Every figure that has something to show, with its finding, its marks and how to read it."""
    drawn = []
    for each in FIGURES:
        figure = each.draw(studies, colours)
        if figure is None:
            continue
        shown = each.shown(studies)
        drawn.append(
            Drawn(
                name=f"study-{each.name}",
                title=findings.sentences(shown, each.finding),
                caption=each.caption,
                figure=figure,
                description=f"{findings.sentences(shown, each.finding, most=10)}. {each.caption}",
                how_to_read=each.how,
                table=each.table(studies) if each.table is not None else None,
            )
        )
    return drawn
