"""One progress display for all runs: bars on a terminal, a line per run elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


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

    def epoch(self, index: int, status: str) -> None:
        """A run has ended an epoch."""
        self.progress.update(self.bars[index], advance=1, status=status)

    def ended(self, index: int, line: str) -> None:
        """A run is over; `line` stays on the screen."""
        if index in self.bars:
            self.progress.remove_task(self.bars.pop(index))
        self.n_ended += 1
        self.progress.advance(self.all)
        self.console.print(f"[dim]{self.n_ended:>3}/{self.n_runs}[/dim] {line}", highlight=False, soft_wrap=True)
