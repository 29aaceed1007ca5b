"""The report's files: one model, written as HTML, Markdown, JSON, CSV and pictures.

Same records, same bytes. A file under its final name is always whole.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiments.fingerprint import plain
from experiments.report import figures, page
from experiments.report.analysis import SCORES, Analysis, Arm

SCHEMA_VERSION = 1
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r")


def write(analysis: Analysis, folder: Path) -> Path:
    """Write everything below `folder`; return report.html."""
    drawn = page.draw(analysis)
    _put(folder / "report.html", page.html(analysis, drawn))
    _put(folder / "report.md", page.note(analysis))
    _put(folder / "report.json", json.dumps(model(analysis), indent=1, sort_keys=True, allow_nan=False) + "\n")
    _put(folder / "tables" / "results.csv", as_csv(results(analysis.arms)))
    _put(folder / "tables" / "runs.csv", as_csv(runs(analysis)))
    _put(folder / "tables" / "curves.csv", as_csv(curves(analysis)))
    for figure in drawn:
        _put(folder / "figures" / f"{figure.name}.svg", str(figure.svg))
        figures.save_png(figure.figure, folder / "figures" / f"{figure.name}.png")
    return folder / "report.html"


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
            "n_planned": record.n_planned,
            "is_partial": record.is_partial,
            "warnings": list(analysis.warnings),
            "sentences": list(analysis.sentences),
            "verdicts": plain(analysis.verdicts),
            "certificates": plain(record.certificates),
            "arms": [
                {
                    "name": arm.name,
                    "settings": dict(arm.settings),
                    "n": len(arm.runs),
                    "lost": arm.n_lost,
                    "scores": {metric: arm.scores(metric) for metric in SCORES},
                    "estimates": {metric: plain(arm.interval(metric)) for metric in SCORES},
                }
                for arm in analysis.arms
            ],
            "runs": [
                {
                    "id": run.run_id,
                    "name": run.name,
                    "fingerprint": run.fingerprint,
                    "seed": run.seed,
                    "outcome": run.outcome,
                    "reason": run.reason,
                    "metrics": run.metrics,
                }
                for run in record.runs
            ],
            "environment": analysis.facts,
        }
    )
    return content


def _finite(content: Any) -> Any:
    """JSON knows no NaN: what cannot be said is null."""
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


Row = Sequence[Any]


def results(arms: Sequence[Arm]) -> Iterable[Row]:
    """A line per arm and metric."""
    yield "arm", "metric", "n", "lost", "mean", "ci95_low", "ci95_high"
    for arm in arms:
        for metric in SCORES:
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


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_SIGNS) else cell


def as_csv(rows: Iterable[Row]) -> str:
    """Comma-separated; a text that a spreadsheet would take for a formula gets an apostrophe."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow(
            [f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_SIGNS) else cell for cell in row]
        )
    return buffer.getvalue()
