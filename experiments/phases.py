"""What the command is doing, named while it lasts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.text import Text

SPINNER = "line"  # of signs that every terminal has


@contextlib.contextmanager
def phase(name: str, /, *, console: Console) -> Iterator[Callable[[str], None]]:
    """Name what takes a while: on a terminal by a line that goes when it is over, elsewhere by one that stays.

    Phases may be within each other and beside a live display; each ends however what is in it ends.

    Args:
        name: "Drawing the report".
        console: Where it is said.

    Yields:
        What takes a word on how far it is. Only a terminal shows it: elsewhere each would be a line.
    """
    if not console.is_interactive:
        console.print(f"{name} ...", style="dim", highlight=False, markup=False, soft_wrap=True)
        yield lambda detail: None
        return
    status = console.status(_line(f"{name} ...", console), spinner=SPINNER, refresh_per_second=4)
    try:
        status.start()
        yield lambda detail: status.update(_line(f"{name}: {detail} ...", console))
    finally:
        status.stop()


def _line(text: str, console: Console) -> Text:
    """One line, however narrow the terminal is: the spinner and a space stand before it."""
    line = Text(text)
    line.truncate(console.width - 2)
    return line
