"""Signals that end a command: heeded wherever they come, but never in the middle of a write to a database."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from experiments.errors import ExitCode

LONGEST_WRITE_SECONDS = 3.0  # after which a signal is heeded all the same: the store may be silent


class Terminated(BaseException):
    """A signal asked the process to end: SIGTERM, as a scheduler sends it, or SIGHUP of a terminal that was closed."""

    def __init__(self, number: int = signal.SIGTERM) -> None:
        """Keep the signal's number."""
        super().__init__(signal.Signals(number).name)
        self.exit_code = ExitCode(128 + number)


@dataclass
class _Writes:
    """How many writes the main thread is within, the signal that waits for their end, and whether one was heeded."""

    depth: int = 0
    waiting: int | None = None
    is_stopping: bool = False


_writes = _Writes()


def is_stopping() -> bool:
    """Whether a signal has asked this command to end: it waits for nothing any more."""
    return _writes.is_stopping


def heed_signals() -> None:
    """Have SIGTERM and SIGHUP end the command as Ctrl-C does; what `nohup` has it ignore stays ignored."""
    _writes.is_stopping = False
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _heed)


def _heed(number: int, frame: object) -> None:
    """Raise at once, or at the end of the write that the main thread is within; a second signal is not kept waiting."""
    if _writes.depth and _writes.waiting is None:
        _writes.waiting = number
        _send_again(number, after=LONGEST_WRITE_SECONDS, only_if_waiting=True)
        return
    raise _taken(number)


def _send_again(number: int, *, after: float, only_if_waiting: bool = False) -> None:
    def send() -> None:
        if _writes.waiting is not None or not only_if_waiting:
            os.kill(os.getpid(), number)

    timer = threading.Timer(after, send)
    timer.daemon = True
    timer.start()


def _taken(number: int) -> BaseException:
    _writes.waiting, _writes.is_stopping = None, True
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)


@contextlib.contextmanager
def whole_write() -> Iterator[None]:
    """Heed a signal that comes meanwhile at the end.

    In the middle, it would leave a database locked for whoever closes the runs, or a run in it that nobody knows of.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _writes.depth += 1
    try:
        yield
    finally:
        _writes.depth -= 1
        if not _writes.depth and _writes.waiting is not None:
            raise _taken(_writes.waiting)


def send_lost_signals_again() -> None:
    """Have a signal heeded that came while a callback of a library ran: Python drops what is raised there.

    SQLAlchemy has many, for objects that are freed; one Ctrl-C of six was lost in them.
    """

    def tell(lost: sys.UnraisableHookArgs) -> None:
        if isinstance(lost.exc_value, KeyboardInterrupt | Terminated):
            number = lost.exc_value.exit_code - 128 if isinstance(lost.exc_value, Terminated) else signal.SIGINT
            _send_again(number, after=0.05)  # once the callback has returned
        else:
            sys.__unraisablehook__(lost)

    sys.unraisablehook = tell
