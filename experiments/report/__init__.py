"""Records -> verdicts, tables, figures, pages. Everything is made from what the store holds, never from memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from rich.console import Console

from experiments import metrics
from experiments.parity import certificate
from experiments.phases import phase
from experiments.records import SweepRecord
from experiments.report import addresses, files, page, predictions, screen
from experiments.report.analysis import Analysis, analyse
from experiments.report.pairs import n_planned_pairs
from experiments.report.sanitize import without_paths
from experiments.tracking.protocol import ReportStore


def publish(
    record: SweepRecord,
    *,
    store: ReportStore,
    folder: Path,
    console: Console,
    colours: Mapping[str, str],
    as_png: bool = False,
    inputs: Mapping[str, NDArray[Any]] | None = None,
) -> Path:
    """Write the report into `folder`, keep it in the store under the sweep, show its first page; return report.html.

    Args:
        record: The sweep as the store has it.
        store: Where logits are read from and the report is kept.
        folder: Where the files go.
        console: Where the first page goes.
        colours: Framework -> its colour, "#rrggbb"; one that is not named gets a colour that is free.
        as_png: Whether the figures are pictures too.
        inputs: Fingerprint of a dataset -> its test inputs, where they are at hand; the pictures of the worst
            mistakes are taken from them and kept, so that later reports need no data.
    """
    with phase("Drawing the report", console=console):
        experiment_id = store.experiment(record.experiment, description="")
        certificates = certificate.of_sweep(record, reader=store.reader, experiment_id=experiment_id)
        command = without_paths(record.command)  # as a claim on times quotes it
        analysis = analyse(dataclasses.replace(record, certificates=certificates, command=command))
        analysis = _with_predictions(analysis, store=store, inputs=inputs or {})
        runs = f"experiments/{experiment_id}/runs"
        links = {run.run_id: addresses.in_mlflow(f"{runs}/{run.run_id}", store_uri=store.uri) for run in record.runs}
        path = files.write(analysis, folder, colours=colours, links=links, as_png=as_png)
    with phase("Keeping the report in the store", console=console):
        note = page.note(files.portable(analysis))
        store.log_report(record.sweep_id, folder, note=note, tags=analysis.tags, metrics=analysis.means)
    page_of_sweep = f"{runs}/{record.sweep_id}"
    screen.show(analysis, console=console, report=path, store_uri=store.uri, page_of_sweep=page_of_sweep)
    return path


def _with_predictions(analysis: Analysis, *, store: ReportStore, inputs: Mapping[str, NDArray[Any]]) -> Analysis:
    """The first pair's answers, with the pictures that are at hand or were kept."""
    record = analysis.record
    if analysis.shown is None or analysis.metric != metrics.ACCURACY:
        return analysis
    first, second = analysis.shown
    predicted = predictions.predictions_of(
        first,
        second,
        class_names=record.class_names,
        margin=record.margins[metrics.base_name(analysis.metric)],
        n_planned=n_planned_pairs(first, second, record),
        read=store.reader.logits,
    )
    if predicted is None:
        return analysis
    pictures = record.pictures
    data = next(iter(first.data))
    missing = [each.index for each in predicted.mistakes if each.index not in pictures]
    if missing and data in inputs:
        pictures = predictions.pictures_from(inputs[data], [each.index for each in predicted.mistakes])
        if pictures:
            store.log_pictures(record.sweep_id, pictures)
    return dataclasses.replace(analysis, predictions=predictions.with_pictures(predicted, pictures))
