"""`action=parity`: certify what a command asks for, keep the certificates, show them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.contract import FrameworkSpec, Load
from experiments.errors import SettingsError
from experiments.execution.executor import on_all_cores
from experiments.execution.run import Run
from experiments.fingerprint import plain
from experiments.parity import certify
from experiments.parity.certificate import Certificate, as_markdown, cells, fingerprint, verdict
from experiments.sweep import Sweep
from experiments.tracking.protocol import CertificateStore


def carry_out(
    sweep: Sweep, *, frameworks: Mapping[str, FrameworkSpec], store: CertificateStore, load: Load, console: Console
) -> list[Certificate]:
    """A certificate for each task of the sweep and each two of its frameworks.

    Args:
        sweep: What `action=parity` was planned as.
        frameworks: Name -> what each can do; two are compared in the precisions that both have.
        store: Where the certificates are kept.
        load: `frameworks.load`.
        console: Where they are shown.

    Raises:
        SettingsError: If the sweep has fewer than two frameworks.
        ProbeFailed: If a worker does not bring its result, once the other frameworks' certificates are kept.
    """
    names = tuple(dict.fromkeys(run.framework for run in sweep.runs))
    if len(names) < 2:
        raise SettingsError(f"`action=parity` compares two frameworks, but got {', '.join(names)}; name two")
    precisions = {name: frameworks[name].precisions for name in names}
    experiment_id = store.experiment(sweep.name, description=sweep.description)
    certificates = []
    for run in _one_run_per_task(sweep.runs):
        began = time.monotonic()
        for certificate in certify.certify_pairs(
            run.task,
            frameworks=names,
            precisions=precisions,
            seed=run.seed,
            data_path=run.data_path,
            data_fingerprint=run.data_fingerprint,
            folder=sweep.folder,
            executor=on_all_cores(sweep.executor),
            load=load,
            console=console,
        ):
            certificates.append(certificate)
            store.log_certificate(
                experiment_id,
                name=f"certificate · {' · '.join(certificate.frameworks)}",
                fingerprint=certificate.fingerprint,
                passed=certificate.passed,
                content=certificate.as_dict(),
                text=as_markdown(certificate),
            )
            show(certificate, console=console)
            console.print(f"Kept in MLflow under {certificate.fingerprint}", style="dim")
        console.print(f"{time.monotonic() - began:.0f} s", style="dim")
    return certificates


def _one_run_per_task(runs: Sequence[Run]) -> list[Run]:
    """The first run of each task that needs certificates of its own."""
    by_name: dict[str, Run] = {}
    for run in runs:
        name = fingerprint(
            plain(run.task), data_fingerprint=run.data_fingerprint, frameworks=(), environment=run.environment
        )
        by_name.setdefault(name, run)
    return list(by_name.values())


def show(certificate: Certificate, *, console: Console) -> None:
    """The table and the sentence."""
    table = Table(
        title=escape(f"{certificate.task_name}: {' against '.join(certificate.frameworks)}"), title_justify="left"
    )
    for name in ("level", "precision", "what", "measured", "bound", ""):
        table.add_column(name, justify="right" if name in ("measured", "bound") else "left")
    for row in certificate.rows:
        table.add_row(*(escape(cell) for cell in cells(row.as_dict())))
    console.print(table)
    style = "green" if certificate.passed else "red"
    console.print(escape(verdict(certificate)), style=style, highlight=False, soft_wrap=True)
