"""Records -> verdicts, tables, figures, pages. Everything is made from what the store holds, never from memory."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments import certificates
from experiments.records import SweepRecord
from experiments.report import files, page, screen
from experiments.report.analysis import analyse


def publish(record: SweepRecord, *, store: Any, folder: Path, console: Console) -> Path:
    """Write the report into `folder`, keep it in the store under the sweep, show its first page; return report.html."""
    known = certificates.of_sweep(
        record, store=store, experiment_id=store.experiment(record.experiment, description="")
    )
    analysis = analyse(dataclasses.replace(record, certificates=known))
    path = files.write(analysis, folder)
    store.log_report(record.sweep_id, folder, note=page.note(analysis), tags=analysis.tags)
    screen.show(analysis, console=console, report=path, store_uri=store.uri)
    return path
