"""One progress display for all runs: bars on a terminal, a line per run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from experiments.execution.run import Run
from experiments.records import Outcome


class Display:
    """Shows how far a sweep is."""

    def __init__(self, console: Console, *, n_runs: int) -> None:
        """Prepare a bar for all runs."""
        self.console = console
        self.n_runs = n_runs
        self.n_ended = 0
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.all = self.progress.add_task("runs", total=n_runs, status="")
        self.bars: dict[int, TaskID] = {}

    def __enter__(self) -> Display:
        """Start drawing."""
        self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self.progress.stop()

    def started(self, index: int, name: str, n_epochs: int) -> None:
        """A run has begun."""
        self.bars[index] = self.progress.add_task(name, total=n_epochs, status="")

    def epoch_ended(self, index: int, metrics: Mapping[str, float]) -> None:
        """A run has ended an epoch and was scored."""
        self.progress.update(self.bars[index], advance=1, status=_headline(metrics, "val"))

    def ended(self, index: int, run: Run, *, outcome: Outcome, reason: str, metrics: Mapping[str, float]) -> None:
        """A run is over; a line about it stays on the screen.

        Args:
            index: Of the run among those that are trained now.
            run: What was trained; its folder holds the log.
            outcome: What it came to.
            reason: Why, where it did not finish.
            metrics: Its scores and times, where it did.
        """
        if index in self.bars:
            self.progress.remove_task(self.bars.pop(index))
        self.n_ended += 1
        self.progress.advance(self.all)
        name = escape(run.name)
        if outcome == "finished":
            scores = _headline(metrics, "val" if run.is_trial else "test")
            line = f"{name}  {scores}  {metrics['time/total']:.1f} s"
        elif outcome == "pruned":
            line = f"[dim]{name}  {escape(reason)}[/dim]"
        else:
            line = f"[red]{name}  {outcome}: {escape(reason)}[/red] (log: {run.folder / 'worker.log'})"
        self.console.print(f"[dim]{self.n_ended:>3}/{self.n_runs}[/dim] {line}", highlight=False, soft_wrap=True)


def _headline(metrics: Mapping[str, float], part: str) -> str:
    """The metric a person looks at first: accuracy where there is one, else the loss."""
    name = f"{part}/accuracy" if f"{part}/accuracy" in metrics else f"{part}/loss"
    if name not in metrics:  # a bare loop's epochs are not scored
        return ""
    value = metrics[name]
    return f"{name} {value:.4f}" if value < 1e12 else f"{name} {value:.3g}"
