"""The report's first page on the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from experiments.report import addresses, answers, baselines, formatting, page
from experiments.report.analysis import Analysis
from experiments.report.pairs import LONGEST_WAIT, longest_wait

# What a terminal of ASCII alone shows instead of each sign.
ASCII = str.maketrans({"▲": "*", "≡": "~", "–": "-", "−": "-", "±": "+/-", "·": "-", "²": "2", "×": "x", "≥": ">="})
INDENT = "  "


def show(analysis: Analysis, *, console: Console, report: Path, store_uri: str, page_of_sweep: str) -> None:
    """Print table, answers, warnings, and where the rest is, no word broken at the edge of the terminal.

    Args:
        analysis: What is said.
        console: Where to.
        report: The page, already written.
        store_uri: Where the runs are kept, for the command that shows them.
        page_of_sweep: The sweep's page in MLflow: "experiments/ID/runs/ID".
    """
    say = _Speaker(console)
    console.print()
    _show_table(analysis, say)
    if said := baselines.sentence(analysis.record, metric=analysis.metric):
        say.line(said, style="dim")
    console.print()
    if analysis.headline:
        say.line(analysis.headline, style="bold")
    claims = answers.claims_of(analysis)
    for claim in claims:
        if claim.headline:
            say.line(f"{claim.icon} {claim.headline}", style="bold", indent=INDENT)
            for text in claim.texts:
                say.line(f"{INDENT}{text}", style="dim", indent=INDENT)
        else:
            say.line(f"{claim.icon} {claim.text}", indent=INDENT)
    if not claims:
        say.line(answers.nothing(analysis))
    if best := answers.best_of(analysis):
        say.line(best, style="bold")
    for sentence in page.certified_of(analysis):
        say.line(sentence, style="green")
    for stamp in page.stamps_of(analysis):
        say.line(f"! {stamp}", style="yellow", indent=INDENT)
    if words := list(dict.fromkeys(claim.word for claim in claims)):
        signs = [f"{answers.ICONS[word]} {answers.MEANINGS[word]}" for word in words]
        say.line("; ".join([*signs, "+ in a difference: the first is better"]), style="dim")
    console.print()
    say.path(f"Report:    {report}")
    say.path(f"Dashboard: {dashboard(store_uri, page_of_sweep)}")


def dashboard(store_uri: str, page_of_sweep: str) -> str:
    """How to see the sweep in MLflow; of a store that is a file, the command that serves it comes first."""
    address = addresses.in_mlflow(page_of_sweep, store_uri=store_uri)
    if addresses.is_server(store_uri):
        return address
    command = "mlflow ui" if store_uri == "sqlite:///mlflow.db" else f"mlflow ui --backend-store-uri {store_uri}"
    return f"{command}\n           {address}"


class _Speaker:
    """Prints sentences of words as wide as the terminal, with the signs that it has."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.is_ascii = not console.encoding.lower().startswith("utf")

    def shown(self, text: str) -> str:
        """The text in signs of the terminal."""
        return text.translate(ASCII) if self.is_ascii else text

    def line(self, text: str, *, style: str = "", indent: str = "") -> None:
        """A sentence, wrapped between words; whole where no terminal would show it."""
        lines = [self.shown(text)] if not self.console.is_terminal else textwrap.wrap(
            self.shown(text), self.console.width, break_long_words=False, break_on_hyphens=False,
            subsequent_indent=indent,
        )  # fmt: skip
        for each in lines:
            self.console.print(Text(each, style=style), soft_wrap=True)

    def path(self, text: str) -> None:
        """A line to be copied, whole."""
        self.console.print(Text(text), soft_wrap=True)


def _show_table(analysis: Analysis, say: _Speaker) -> None:
    """A row for each arm; where the terminal is too narrow for it, a block for each arm."""
    title = f"{analysis.record.experiment}: mean ± half-width of the 95 % interval"
    head = ["arm", "n", *(formatting.head_of(metric) for metric in analysis.columns)]
    rows = []
    for arm in analysis.arms:
        lost = f" ({arm.n_lost} lost)" if arm.n_lost else ""
        cells = [formatting.interval(arm.interval(metric), metric) for metric in analysis.columns]
        rows.append([arm.name, f"{len(arm.runs)}{lost}", *cells])
    table = _table([say.shown(name) for name in head], [[say.shown(cell) for cell in row] for row in rows])
    console = say.console
    say.line(title, style="italic")
    if Measurement.get(console, console.options.update(max_width=1000), table).maximum <= console.width:
        console.print(table)
    else:
        for name, *cells in rows:
            say.line(name, style="bold")
            for what, cell in zip(head[1:], cells, strict=True):
                say.line(f"{INDENT}{what}: {cell}")
    busy = longest_wait([run for arm in analysis.arms for run in arm.runs]) > LONGEST_WAIT
    note = formatting.footnote(analysis.columns) + (formatting.DISTURBED_NOTE if busy else "")
    say.line(note, style="dim")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False)
    for place, name in enumerate(head):
        table.add_column(Text(name), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
