"""One progress display for all runs: bars on a terminal, a line per run elsewhere; and how long the rest may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from experiments.execution.estimate import Arm, Estimate
from experiments.execution.run import Run
from experiments.records import Outcome
from experiments.words import duration

TYPICAL: tuple[Outcome, ...] = ("finished", "pruned", "diverged")  # others may end so, and take as long
BAR = 20  # columns: a name, the bar and a score fit into 80


class Display:
    """Shows how far a sweep is."""

    def __init__(
        self,
        console: Console,
        *,
        arms: Sequence[Arm],
        n_workers: int,
        metric: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a bar for all runs.

        Args:
            console: Where to draw.
            arms: That of each run that is to be trained.
            n_workers: How many are trained at a time.
            metric: What is shown of an epoch; "" for validation accuracy or, where there is none, loss.
            clock: Seconds since any moment.
        """
        self.console = console
        self.n_runs = len(arms)
        self.n_ended = 0
        self.metric = metric
        self.estimate = Estimate(arms, n_workers=n_workers, clock=clock)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=BAR),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_interactive,
        )
        self.all = self.progress.add_task("runs", total=self.n_runs, status="")
        self.bars: dict[int, TaskID] = {}
        self.frameworks = sorted({framework for framework, _ in arms})

    def __enter__(self) -> Display:
        """Start drawing."""
        if self.n_runs and not self.console.is_interactive:
            self.console.print(f"Starting {' and '.join(self.frameworks)} ...", style="dim", highlight=False)
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self.progress.stop()

    def handed_out(self, index: int, run: Run) -> None:
        """A worker has a run: it imports the framework and builds the network."""
        self.estimate.handed_out(index, run)
        self.bars[index] = self.progress.add_task(escape(run.name), total=run.task.training.epochs, status="starting")

    def started(self, index: int) -> None:
        """The network is built; the first epoch may compile it."""
        self.progress.update(self.bars[index], status="first epoch")

    def epoch_ended(self, index: int, metrics: Mapping[str, float]) -> None:
        """A run has ended an epoch and was scored."""
        self.estimate.epoch_ended(index)
        name = self.metric if self.metric in metrics else headline(metrics, "val")
        self.progress.update(self.bars[index], advance=1, status=score(metrics, name))
        self._tell_what_is_left()

    def ended(self, index: int, line: str, *, outcome: Outcome) -> None:
        """A run is over; a line about it, in rich's markup, stays on the screen."""
        self.estimate.ended(index, is_typical=outcome in TYPICAL)
        self.progress.remove_task(self.bars.pop(index))
        self.n_ended += 1
        self.progress.advance(self.all)
        left = self._tell_what_is_left()
        told = f"[dim], about {left} left[/dim]" if left and not self.console.is_interactive else ""
        self.console.print(
            f"[dim]{self.n_ended:>3}/{self.n_runs}[/dim] {line}{told}",
            highlight=False,
            soft_wrap=not self.console.is_terminal,
        )

    def _tell_what_is_left(self) -> str:
        """Put it beside the bar of all runs; return it, "" where nothing is left or known."""
        seconds = self.estimate.seconds_left() if self.n_ended < self.n_runs else None
        left = "" if seconds is None else duration(seconds)
        self.progress.update(self.all, status=left and f"~{left} left")
        return left


def line_of(run: Run, *, outcome: Outcome, reason: str, metrics: Mapping[str, float]) -> str:
    """What became of a run, in rich's markup.

    Args:
        run: What was trained; its folder holds the log.
        outcome: What it came to.
        reason: Why, where it did not finish.
        metrics: Its scores and times, where it did.
    """
    name = escape(run.name)
    if outcome == "finished":
        return f"{name}  {score(metrics, headline(metrics, 'test'))}  {metrics['time/total']:.1f} s"
    return f"[red]{name}  {outcome}: {escape(reason)}[/red] (log: {run.folder / 'worker.log'})"


def headline(metrics: Mapping[str, float], part: str) -> str:
    """The metric a person looks at first: accuracy where there is one, else the loss."""
    return f"{part}/accuracy" if f"{part}/accuracy" in metrics else f"{part}/loss"


def score(metrics: Mapping[str, float], name: str) -> str:
    """A metric with its value; "" where it is not told, as of the epochs of a bare loop."""
    if name not in metrics:
        return ""
    value = metrics[name]
    return f"{name} {value:.4f}" if value < 1e12 else f"{name} {value:.3g}"
