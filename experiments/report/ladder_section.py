"""What each default costs: the section of a report, made of its ladders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from experiments.report.figures.ladder import waterfall
from experiments.report.ladder import MetricLadder, percent
from experiments.report.section import Drawn, Section
from experiments.report.tables import Table, table_of
from experiments.statistics.ladder import Step

DEFAULTS = Path(__file__).parents[2] / "conf" / "defaults.yaml"
CAPTION = (
    "What is left of the gap after each default has been aligned; line: interval of what that default adds, "
    "simultaneous over the defaults (95 %, t over seeds, Bonferroni); shaded: the margin. Coloured: shown."
)
HOW = "The bar of a default begins at the gap before it is aligned and ends at the gap after it."
NOTE = (
    "A part is the mean over an order of the defaults and its reverse, so that the parts of each seed add up to the "
    "gap as shipped less the gap aligned (Shapley 1953; Mitchell et al. 2022). Shares: Fieller 1954, each alone. The "
    "target is the lowest validation loss that all runs of a seed reach. "
    "Defaults that do not change the first steps of a framework in "
    "float64 are one step together; docs/defaults.md lists them all."
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
    tables = [*(table(each) for each in ladders), defaults([step.word for step in ladders[0].ladder.steps])]
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
    head = ("default", f"{each.what}, {each.names[0]} minus {each.names[1]}", "share of as shipped less aligned", "")
    return table_of(f"What each default adds to the gap in {each.what}", head, rows, texts=(0, 3))


def defaults(words: Sequence[str]) -> Table:
    """What each framework does where a task leaves these words to it, as conf/defaults.yaml has it."""
    text = DEFAULTS.read_text()
    known = {word: items for word, items in yaml.safe_load(text).items() if word in words}
    names = [name for item in next(iter(known.values()), {}).values() for name in item if name != "differs"]
    names = list(dict.fromkeys(names))
    rows = [
        [word, item, *(str(sides[name]["value"]) for name in names), "yes" if sides["differs"] else ""]
        for word, items in known.items()
        for item, sides in items.items()
    ]
    versions = text.partition(":")[0].removeprefix("# Defaults of ")
    title = f"What each framework does by itself ({versions})"
    return table_of(title, ("word of alignment", "of", *names, "differs"), rows, texts=range(3 + len(names)))


def _word(step: Step, each: MetricLadder) -> str:
    if each.is_harmless(step):
        return "does not matter"
    return "shown" if step.is_shown else "not shown"
