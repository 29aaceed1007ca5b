"""`action=parity`: certify what a command asks for, keep the certificates, show them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.errors import SettingsError
from experiments.execution.executor import on_all_cores
from experiments.execution.run import Run
from experiments.fingerprint import plain
from experiments.parity import certify
from experiments.parity.certify import Certificate
from experiments.parity.levels import Row
from experiments.records import CertificateRecord, SweepRecord
from experiments.sweep import Load, Sweep
from experiments.tracking.store import Store


def carry_out(sweep: Sweep, *, store: Store, load: Load, console: Console) -> list[Certificate]:
    """A certificate for each task of the sweep, its first two frameworks compared.

    Raises:
        SettingsError: If the sweep has fewer than two frameworks.
        ProbeFailed: If a worker does not bring its result.
    """
    frameworks = tuple(dict.fromkeys(run.framework for run in sweep.runs))
    if len(frameworks) < 2:
        raise SettingsError(f"`action=parity` compares two frameworks, but got {', '.join(frameworks)}; name two")
    experiment_id = store.experiment(sweep.name, description=sweep.description)
    tasks: dict[str, tuple[Run, tuple[str, str]]] = {}
    for run in sweep.runs:
        pair = (frameworks[0], frameworks[1])
        name = certify.fingerprint(plain(run.task), data_fingerprint=run.data_fingerprint, frameworks=pair)
        tasks.setdefault(name, (run, pair))
    certificates = []
    for run, pair in tasks.values():
        began = time.monotonic()
        certificate = certify.certify(
            run.task,
            frameworks=pair,
            seed=run.seed,
            data_path=run.data_path,
            data_fingerprint=run.data_fingerprint,
            folder=sweep.folder,
            executor=on_all_cores(sweep.executor),
            load=load,
            precisions=("float64",) if "numpy" in pair else None,
        )
        store.log_certificate(
            experiment_id,
            name=f"certificate · {' · '.join(pair)}",
            fingerprint=certificate.fingerprint,
            passed=certificate.passed,
            content=certificate.as_dict(),
            text=as_markdown(certificate),
        )
        show(certificate, console=console)
        console.print(f"{time.monotonic() - began:.0f} s; kept in MLflow under {certificate.fingerprint}", style="dim")
        certificates.append(certificate)
    return certificates


def verdict(certificate: Certificate) -> str:
    """One sentence."""
    pair = " and ".join(certificate.frameworks)
    if certificate.passed:
        return f"Certified: {pair} train {certificate.task_name} identically."
    failed = [row for row in certificate.rows if row.gates and not row.passed]
    where = f" ({failed[0].where})" if failed[0].where else ""
    return f"NOT certified: {pair} differ at {failed[0].level}, {failed[0].what}{where}."


def show(certificate: Certificate, *, console: Console) -> None:
    """The table and the sentence."""
    table = Table(
        title=escape(f"{certificate.task_name}: {' against '.join(certificate.frameworks)}"), title_justify="left"
    )
    for name in ("level", "precision", "what", "measured", "bound", ""):
        table.add_column(name, justify="right" if name in ("measured", "bound") else "left")
    for row in certificate.rows:
        table.add_row(row.level, row.precision, escape(row.what), f"{row.measured:.1e}", f"{row.bound:.0e}", mark(row))
    console.print(table)
    style = "green" if certificate.passed else "red"
    console.print(escape(verdict(certificate)), style=style, highlight=False, soft_wrap=True)


def mark(row: Row | Mapping[str, object]) -> str:
    """How a row came out, in a word."""
    fields = row if isinstance(row, Mapping) else {name: getattr(row, name) for name in ("passed", "gates", "where")}
    if fields["passed"]:
        return "pass" if fields["gates"] else "as expected"
    return ("FAIL" if fields["gates"] else "beyond") + (f": {fields['where']}" if fields["where"] else "")


def as_markdown(certificate: Certificate) -> str:
    """The same table for MLflow and for docs/."""
    head = "| level | precision | what | measured | bound | |\n|---|---|---|---|---|---|\n"
    lines = [
        f"| {row.level} | {row.precision} | {row.what} | {row.measured:.1e} | {row.bound:.0e} | {mark(row)} |"
        for row in certificate.rows
    ]
    return f"{verdict(certificate)}\n\n{head}" + "\n".join(lines) + "\n"


def of_sweep(record: SweepRecord, *, store: Store, experiment_id: str) -> tuple[CertificateRecord, ...]:
    """For each task of a sweep and its first two frameworks: its certificate, or why there is none."""
    frameworks = sorted({run.framework for run in record.runs})
    if len(frameworks) < 2:
        return ()
    pair = (frameworks[0], frameworks[1])
    found: dict[str, CertificateRecord] = {}
    for run in record.runs:
        name = certify.fingerprint(run.config, data_fingerprint=run.facts.get("data_fingerprint", ""), frameworks=pair)
        if name not in found:
            kept = store.certificate(experiment_id, name)
            found[name] = _record(kept, pair=pair, record=record, arm=str(run.config["optimizer"]["kind"]))
    return tuple(found.values())


def _record(
    kept: Mapping[str, Any] | None, *, pair: tuple[str, str], record: SweepRecord, arm: str
) -> CertificateRecord:
    if kept is None:
        sentence = f"Not certified: nobody has run `action=parity` on this task ({record.experiment}, {arm}) yet."
        return CertificateRecord(arm=arm, frameworks=pair, passed=False, sentence=sentence, rows=())
    versions = {
        key.removeprefix("version."): value
        for run in record.runs
        if run.framework in pair
        for key, value in run.facts.items()
        if key.startswith("version.")
    }
    changed = [name for name, version in kept["versions"].items() if versions.get(name, version) != version]
    levels = sorted({row["level"] for row in kept["rows"] if row["gates"]})
    passed = bool(kept["passed"]) and not changed
    if changed:
        sentence = (
            f"Not certified: the certificate was made with another {', '.join(changed)}; run action=parity again."
        )
    elif passed:
        sentence = (
            f"Certified: {' and '.join(pair)} train this task ({arm}) identically in float64 ({', '.join(levels)})."
        )
    else:
        failed = next(row for row in kept["rows"] if row["gates"] and not row["passed"])
        sentence = f"NOT certified: {' and '.join(pair)} differ at {failed['level']} ({failed['what']}); see below."
    return CertificateRecord(arm=arm, frameworks=pair, passed=passed, sentence=sentence, rows=tuple(kept["rows"]))
