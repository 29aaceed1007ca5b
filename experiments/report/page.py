"""report.html, one file that needs no network, and the note that MLflow shows beside the sweep."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from experiments.certificates import mark
from experiments.report import figures, numbers
from experiments.report.analysis import SCORES, Analysis
from experiments.report.names import clean, markdown

TEMPLATES = Path(__file__).parent
CURVES = {"val/loss": "Validation loss", "train/loss": "Training loss", "val/accuracy": "Validation accuracy"}


def write(analysis: Analysis, folder: Path) -> Path:
    """Write report.html into `folder`; a file under that name is always whole."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["clean"] = clean
    text = environment.get_template("page.html.j2").render(
        analysis=analysis,
        record=analysis.record,
        scores=SCORES,
        titles=numbers.TITLES,
        memory_note=numbers.MEMORY_NOTE,
        interval=numbers.interval,
        figures=drawn(analysis),
        mark=mark,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    partial = folder / ".report.html"
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    return path


def drawn(analysis: Analysis) -> list[dict[str, str | Markup]]:
    """Title, caption and SVG of each figure that has something to show."""
    found: list[dict[str, str | Markup]] = []
    accuracy = [verdict for verdict in analysis.verdicts if verdict.metric == "test accuracy" and verdict.n]
    if accuracy:
        found.append(
            {
                "title": "Paired differences in test accuracy",
                "caption": "A dot per seed; diamond: mean; thick bar: interval that decides on equivalence, thin bar: "
                "on a difference; shaded: the margin within which a difference does not matter. "
                "Right of zero: the first arm is better.",
                "svg": Markup(figures.paired_differences(accuracy, title="Paired differences in test accuracy")),
            }
        )
    if any(run.curves.get("val/loss") for arm in analysis.arms for run in arm.runs):
        for metric, title in CURVES.items():
            svg = figures.learning_curves(analysis.arms, metric, title=title, unit=metric)
            caption = "Thin lines: seeds; thick line: mean; band: pointwise 95 % t interval (from 3 seeds on)."
            found.append({"title": title, "caption": caption, "svg": Markup(svg)})
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
