"""The page, one file that needs no network, and the note that MLflow shows beside the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from experiments.certificates import mark
from experiments.report import figures, numbers
from experiments.report.analysis import SCORES, Analysis
from experiments.report.names import clean, markdown

TEMPLATES = Path(__file__).parent
CURVES = {"val/loss": "Validation loss", "train/loss": "Training loss", "val/accuracy": "Validation accuracy"}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure with its name, which is stable from report to report, its title and its caption."""

    name: str
    title: str
    caption: str
    figure: Figure

    @property
    def svg(self) -> Markup:
        """The figure for the page; its texts were escaped by matplotlib."""
        return Markup(figures.to_svg(self.figure))


def html(analysis: Analysis, drawn: Sequence[Drawn]) -> str:
    """The page, figures and all."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = clean
    return environment.get_template("page.html.j2").render(
        analysis=analysis,
        record=analysis.record,
        scores=SCORES,
        titles=numbers.TITLES,
        memory_note=numbers.MEMORY_NOTE,
        interval=numbers.interval,
        figures=drawn,
        mark=mark,
    )


def draw(analysis: Analysis) -> list[Drawn]:
    """Every figure that has something to show."""
    found = []
    accuracy = [verdict for verdict in analysis.verdicts if verdict.metric == "test accuracy" and verdict.n]
    if accuracy:
        title = "Paired differences in test accuracy"
        found.append(
            Drawn(
                name="paired-differences",
                title=title,
                caption="A dot per seed; diamond: mean; thick bar: interval that decides on equivalence, thin bar: "
                "on a difference; shaded: the margin within which a difference does not matter. "
                "Right of zero: the first arm is better.",
                figure=figures.paired_differences(accuracy, title=title),
            )
        )
    for metric, title in CURVES.items():
        if any(run.curves.get(metric) for arm in analysis.arms for run in arm.runs):
            found.append(
                Drawn(
                    name=metric.replace("/", "-"),
                    title=title,
                    caption="Thin lines: seeds; thick line: mean; band: pointwise 95 % t interval (from 3 seeds on).",
                    figure=figures.learning_curves(analysis.arms, metric, title=title, unit=metric),
                )
            )
    return found


def note(analysis: Analysis) -> str:
    """The report's first page in Markdown."""
    record = analysis.record
    head = ["arm", "n", *(numbers.TITLES[metric] for metric in SCORES)]
    rows = [
        [markdown(arm.name), str(len(arm.runs)), *(numbers.interval(arm.interval(metric), metric) for metric in SCORES)]
        for arm in analysis.arms
    ]
    lines = [f"**{markdown(sentence)}**\n" for sentence in analysis.sentences]
    lines += [f"{markdown(certificate.sentence)}\n" for certificate in record.certificates]
    lines += [f"! {markdown(warning)}\n" for warning in analysis.warnings]
    table = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(
        [markdown(record.description), "", *lines, *table, "", numbers.MEMORY_NOTE.replace("*", "\\*"), "",
         f"Made by `{markdown(record.command)}`; the whole report is the artifact `report/report.html`."]
    )  # fmt: skip
