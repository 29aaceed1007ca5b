"""The report's files: one model, written as HTML, Markdown, JSON, CSV and pictures.

Same records, same bytes. A file under its final name is always whole.
"""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from experiments import metrics
from experiments.fingerprint import plain
from experiments.records import RunRecord
from experiments.report import answers, methods, page, settings, tables
from experiments.report.analysis import SCORES, Analysis
from experiments.report.arms import Arm
from experiments.report.effects import Gap
from experiments.report.figures import style
from experiments.report.figures.style import NO_COLOURS, Colours
from experiments.report.sanitize import without_paths
from experiments.report.sections import sections_of

SCHEMA_VERSION = 2
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def write(
    analysis: Analysis,
    folder: Path,
    *,
    colours: Colours = NO_COLOURS,
    links: Mapping[str, str] = MappingProxyType({}),
    as_png: bool = False,
) -> Path:
    """Write everything below `folder`; return report.html.

    Args:
        analysis: What is said.
        folder: Where to.
        colours: Of the frameworks that are known.
        links: Identifier of a run -> address of its page in MLflow; none where it has none.
        as_png: Whether figures are pictures too.
    """
    analysis = portable(analysis)
    sections = sections_of(analysis, colours=colours, links=links)
    content = model(analysis)
    _put(folder / "report.html", page.html(analysis, sections, model=content))
    _put(folder / "report.md", page.note(analysis) + "\n")
    _put(folder / "report.json", json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")
    _put(folder / "methods.txt", textwrap.fill(methods.paragraph(analysis), 100) + "\n")
    for name, rows in CSV_FILES.items():
        _put(folder / "tables" / f"{name}.csv", as_csv(rows(analysis)))
    for drawn in [each for section in sections for each in section.figures]:
        _put(folder / "figures" / f"{drawn.name}.svg", str(drawn.svg) + "\n")
        picture = folder / "figures" / f"{drawn.name}.png"
        if as_png:
            style.save_png(drawn.figure, picture)
        else:
            picture.unlink(missing_ok=True)  # of an earlier report in this folder
    return folder / "report.html"


def portable(analysis: Analysis) -> Analysis:
    """The same with … for the folders of every absolute path: files are read on other machines than the screen is."""
    record = analysis.record
    studies = [
        replace(study, trials=tuple(replace(each, reason=without_paths(each.reason)) for each in study.trials))
        for study in record.studies
    ]
    record = replace(
        record,
        command=without_paths(record.command),
        lost=tuple(map(without_paths, record.lost)),
        runs=tuple(map(_portable_run, record.runs)),
        trials=tuple(map(_portable_run, record.trials)),
        studies=tuple(studies),
        certificates=tuple(
            replace(each, arm=without_paths(each.arm), sentence=without_paths(each.sentence))
            for each in record.certificates
        ),
    )
    return replace(analysis, record=record, warnings=tuple(map(without_paths, analysis.warnings)))


def _portable_run(run: RunRecord) -> RunRecord:
    facts = {key: without_paths(value) for key, value in run.facts.items()}
    return replace(run, reason=without_paths(run.reason), facts=facts)


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def model(analysis: Analysis) -> dict[str, Any]:
    """The report as data. `schema_version` rises whenever a field changes its meaning."""
    record = analysis.record
    content: dict[str, Any] = _finite(
        {
            "schema_version": SCHEMA_VERSION,
            "experiment": record.experiment,
            "command": record.command,
            "comparison": record.comparison,
            "n_planned": record.n_planned,
            "is_partial": record.is_partial,
            "control": analysis.control,
            "margins": record.margins,
            "chance": record.chance,
            "warnings": list(analysis.warnings),
            "headline": analysis.headline,
            "findings": [
                {"word": each.word, "headline": each.headline, "texts": list(each.texts)}
                for each in answers.claims_of(analysis)
            ],
            "best": answers.best_of(analysis),
            "axes": [
                {
                    "factor": axis.factor,
                    "levels": [level.factors[axis.factor] for level in axis.levels],
                    "largest": axis.size,
                }
                for axis in analysis.axes
            ],
            "sentences": list(analysis.sentences),
            "claims": [plain(pair.score) for pair in analysis.pairs],
            "secondary": [plain(pair.loss) for pair in analysis.pairs if pair.loss is not None],
            "speed": [plain(pair.speed) for pair in analysis.pairs if pair.speed is not None],
            "loops": [
                {"arm": each.ours.name, "bare_loop": each.bare_loop} | {"share": plain(each.share)}
                for each in analysis.loops
            ],
            "bare_speeds": plain(analysis.bare_speeds),
            "exploratory": plain(analysis.exploratory),
            "gaps": [_gap(each) for each in analysis.gaps],
            "dose": _dose(analysis),
            "effects": plain(analysis.effects),
            "search": {
                "choices": plain(record.tuned_values),
                "studies": plain(record.studies),
                "trials": [_run(run) | {"labels": run.labels} for run in record.trials],
            },
            "answers": _answers(analysis),
            "certificates": plain(record.certificates),
            "arms": [
                {
                    "name": arm.name,
                    "factors": dict(arm.factors),
                    "settings": dict(arm.settings),
                    "n_parameters": settings.parameters_of(arm),
                    "n": len(arm.runs),
                    "lost": arm.n_lost,
                    "scores": {metric: arm.scores(metric) for metric in _known(arm)},
                    "estimates": {metric: plain(arm.interval(metric)) for metric in _known(arm)},
                }
                for arm in analysis.arms
            ],
            "runs": [_run(run) | {"command": tables.command(run.overrides)} for run in record.runs],
            "environment": analysis.facts,
            "methods": methods.paragraph(analysis),
        }
    )
    return content


def _known(arm: Arm) -> list[str]:
    """The four that every arm has a place for, and whatever else it was scored by."""
    return list(dict.fromkeys([*SCORES, *(metric for metric in metrics.in_tables() if arm.scores(metric))]))


def _run(run: RunRecord) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "name": run.name,
        "fingerprint": run.fingerprint,
        "seed": run.seed,
        "outcome": run.outcome,
        "reason": run.reason,
        "metrics": run.metrics,
    }


def _gap(each: Gap) -> dict[str, Any]:
    values = {name: plain(getattr(each, name)) for name in ("train", "test", "gap", "change", "gain")}
    return {"arm": each.arm.name, "against": each.against, "sentence": each.sentence} | values


def _dose(analysis: Analysis) -> dict[str, Any] | None:
    dose = analysis.dose
    if dose is None:
        return None
    return {"factor": dose.factor, "levels": list(dose.levels), "sentences": list(dose.sentences)}


def _answers(analysis: Analysis) -> dict[str, Any] | None:
    predictions = analysis.predictions
    if predictions is None:
        return None
    return {
        "names": list(predictions.names),
        "class_names": list(predictions.class_names),
        "confusion": [matrix.tolist() for matrix in predictions.confusion],
        "agreement": plain(predictions.agreement),
        "new_data": plain(predictions.new_data),
        "mistakes": [
            {key: value for key, value in vars(each).items() if key != "picture"} for each in predictions.mistakes
        ],
    }


def _finite(content: Any) -> Any:
    """JSON knows no NaN: what cannot be said is null."""
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


Row = Sequence[Any]


def results(analysis: Analysis) -> Iterable[Row]:
    """A line per arm and metric."""
    yield "arm", "metric", "n", "lost", "mean", "ci95_low", "ci95_high"
    for arm in analysis.arms:
        for metric in metrics.in_tables():
            estimate = arm.interval(metric)
            if estimate is not None:
                yield arm.name, metric, len(arm.runs), arm.n_lost, estimate.value, estimate.low, estimate.high


def runs(analysis: Analysis) -> Iterable[Row]:
    """A line per run and metric."""
    yield "run", "framework", "seed", "outcome", "metric", "value"
    for run in analysis.record.runs:
        for metric, value in sorted(run.metrics.items()):
            yield run.name, run.framework, run.seed, run.outcome, metric, value


def curves(analysis: Analysis) -> Iterable[Row]:
    """A line per run, metric and epoch."""
    yield "run", "framework", "seed", "metric", "epoch", "value"
    for run in analysis.record.runs:
        for metric, curve in sorted(run.curves.items()):
            for epoch, value in curve:
                yield run.name, run.framework, run.seed, metric, epoch, value


def verdicts(analysis: Analysis) -> Iterable[Row]:
    """A line per comparison, in the unit of the scores."""
    yield "first", "second", "metric", "verdict", "n", "difference", "low", "high", "level", "margin", "p", "p_tost"
    exploratory = [each for group in analysis.exploratory.values() for each in group]
    for each in (*analysis.verdicts, *exploratory):
        low, high = each.ci95 or (None, None)
        word = "exploratory" if each in exploratory else each.id
        yield (*each.names, each.metric, word, each.n, each.mean_difference, low, high, each.difference_level,
               each.margin, each.p_difference, each.p_equivalence)  # fmt: skip


def gaps(analysis: Analysis) -> Iterable[Row]:
    """A line per arm: losses in evaluation mode."""
    yield (
        "arm",
        "train_loss",
        "test_loss",
        "gap",
        "gap_low",
        "gap_high",
        "against",
        "change",
        "change_low",
        "change_high",
    )
    for each in analysis.gaps:
        change = (None, None, None) if each.change is None else (each.change.value, each.change.low, each.change.high)
        yield (each.arm.name, each.train.value, each.test.value, each.gap.value, each.gap.low, each.gap.high,
               each.against, *change)  # fmt: skip


def trials(analysis: Analysis) -> Iterable[Row]:
    """A line per trial of the search and metric."""
    yield "trial", "framework", "seed", "outcome", "metric", "value"
    for run in analysis.record.trials:
        for metric, value in sorted(run.metrics.items()):
            yield run.name, run.framework, run.seed, run.outcome, metric, value


CSV_FILES: dict[str, Callable[[Analysis], Iterable[Row]]] = {
    "results": results,
    "verdicts": verdicts,
    "runs": runs,
    "curves": curves,
    "gaps": gaps,
    "trials": trials,
}


def as_csv(rows: Iterable[Row]) -> str:
    """Comma-separated; a text that a spreadsheet would take for a formula gets an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow(
            [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_SIGNS) else cell for cell in row]
        )
    return buffer.getvalue()
