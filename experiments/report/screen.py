"""The report's first page on the terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from experiments.report import formatting, page
from experiments.report.analysis import Analysis


def show(analysis: Analysis, *, console: Console, report: Path, store_uri: str) -> None:
    """Print table, verdict sentences, warnings, and where the rest is.

    Args:
        analysis: What is said.
        console: Where to.
        report: The page, already written.
        store_uri: Where the runs are kept, for the command that shows them.
    """
    table = Table(
        title=escape(f"{analysis.record.experiment}: mean ± half-width of the 95 % interval"), title_justify="left"
    )
    table.add_column("arm")
    table.add_column("n", justify="right")
    for metric in analysis.columns:
        table.add_column(formatting.head_of(metric), justify="right")
    for arm in analysis.arms:
        lost = f" ({arm.n_lost} lost)" if arm.n_lost else ""
        cells = [formatting.interval(arm.interval(metric), metric) for metric in analysis.columns]
        table.add_row(escape(arm.name), f"{len(arm.runs)}{lost}", *cells)
    console.print()
    console.print(table)
    console.print(formatting.footnote(analysis.columns), style="dim", highlight=False)
    console.print()
    if analysis.headline:
        console.print(escape(analysis.headline), style="bold", highlight=False, soft_wrap=True)
    for claim in page.claims_of(analysis):
        console.print(escape(f"{claim.icon} {claim.text}"), highlight=False, soft_wrap=True)
    for certificate in analysis.record.certificates:
        if certificate.passed:
            console.print(escape(certificate.sentence), style="green", highlight=False, soft_wrap=True)
    for stamp in page.stamps_of(analysis):
        console.print(f"[yellow]! {escape(stamp)}[/yellow]", highlight=False, soft_wrap=True)
    console.print()
    console.print(f"Report:    {report}", highlight=False, soft_wrap=True)
    dashboard = f"mlflow ui --backend-store-uri {store_uri}"
    if store_uri == "sqlite:///mlflow.db":
        dashboard = "mlflow ui"
    elif store_uri.startswith("http"):
        dashboard = store_uri
    console.print(f"Dashboard: {dashboard}", highlight=False, soft_wrap=True)
