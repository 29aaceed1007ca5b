"""What each default costs: the section of a report, made of its ladders."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.report.figures.ladder import waterfall
from experiments.report.ladder import MetricLadder, percent
from experiments.report.section import Drawn, Section
from experiments.report.tables import Table, table_of
from experiments.statistics.ladder import Step

CAPTION = (
    "What is left of the gap after each default has been aligned; line: interval of what that default adds, "
    "simultaneous over the defaults (95 %, t over seeds, Bonferroni); shaded: the margin. Coloured: shown."
)
HOW = "The bar of a default begins at the gap before it is aligned and ends at the gap after it."
NOTE = (
    "A part is the mean over an order of the defaults and its reverse, so that the parts of each seed add up to the "
    "gap as shipped less the gap aligned (Shapley 1953; Mitchell et al. 2022). Shares: Fieller 1954, each alone. The "
    "target is the "
    "lowest validation loss that every run reaches. Defaults that do not change the first steps of a framework in "
    "float64 are left out; docs/defaults.md lists them all."
)


def section(ladders: Sequence[MetricLadder]) -> Section | None:
    """Sentences, one figure, a table per metric; None without a ladder."""
    figure = waterfall(ladders)
    if figure is None:
        return None
    title = "From as shipped to aligned, one default at a time"
    sentences = [each.sentence for each in ladders]
    drawn = Drawn(
        name="ladder", title=title, caption=CAPTION, figure=figure, description=" ".join(sentences), how_to_read=HOW
    )
    tables = [table(each) for each in ladders]
    return Section(
        name="defaults", title="What each default costs", texts=sentences, figures=[drawn], tables=tables, notes=[NOTE]
    )


def table(each: MetricLadder) -> Table:
    """A row per step between the gap as shipped and the gap aligned."""
    rows = [
        ["as shipped", each.size(each.ladder.shipped), "", ""],
        *(
            [each.titles[step.word], each.size(step.part), percent(step) if step.share else "–", _word(step, each)]
            for step in each.ladder.steps
        ),
        ["aligned", each.size(each.ladder.aligned), "", ""],
    ]
    head = ("default", f"{each.what}, {each.names[0]} minus {each.names[1]}", "share of the gap", "")
    return table_of(f"What each default adds to the gap in {each.what}", head, rows, texts=(0, 3))


def _word(step: Step, each: MetricLadder) -> str:
    if step.is_shown:
        return "shown"
    return "does not matter" if each.margin is not None and step.is_within(each.margin) else "not shown"
