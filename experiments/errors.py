"""What can go wrong outside this program's control, as a family; each member knows its exit code.

TandemError
├── SettingsError      2  what was asked for cannot be done; also a ValueError
│   └── NotKept        2  what was kept is not there any more
├── StoreUnavailable   3  the tracking store or a study's storage cannot be reached or opened
├── DiskFull           3  there is no room for what is to be written
├── Locked             4  another living process works on the same sweep or study
└── ProbeFailed        1  a worker did not bring its part of a certificate

The message is a whole sentence: the rule, the value, the fix. `ending.py` prints it and leaves with the code.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, ClassVar

from experiments.synonyms import either, nearest

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ROOM_IN_WORDS = (*(os.strerror(number) for number in NO_ROOM), "disk is full")  # the last is SQLite's
GOES_ON = "the same command goes on where it stopped"


class ExitCode(IntEnum):
    """What a command leaves with."""

    ALL_GOOD = 0
    SOME_FAILED = 1
    BAD_INPUT = 2
    SERVICE_MISSING = 3
    LOCKED = 4
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


class TandemError(Exception):
    """Ends the command with a sentence instead of a traceback."""

    exit_code: ClassVar[ExitCode]


class SettingsError(TandemError, ValueError):
    """What a person asked for cannot be done; the message says the rule, the value and the fix."""

    exit_code = ExitCode.BAD_INPUT


class NotKept(SettingsError):
    """A file or run that was kept is not there any more; the message names it."""


class StoreUnavailable(TandemError):
    """The tracking store or a study's storage cannot be reached or opened."""

    exit_code = ExitCode.SERVICE_MISSING


class DiskFull(TandemError):
    """There is no room for what is to be written."""

    exit_code = ExitCode.SERVICE_MISSING

    @classmethod
    def because_of(cls, error: BaseException, *, place: object) -> DiskFull:
        """The sentence for a write in `place` that failed with `error`."""
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return cls(f"There is no room left to write in {place} ({reason}); make some, and {GOES_ON}.")


class Locked(TandemError):
    """Another living process works on the same sweep or study."""

    exit_code = ExitCode.LOCKED


class ProbeFailed(TandemError):
    """A worker did not bring its result."""

    exit_code = ExitCode.SOME_FAILED


def is_no_room(error: BaseException) -> bool:
    """Whether it, or what it came from, is a disk, a quota or a limit that is full; C++ libraries only say it."""
    chain: BaseException | None = error
    while chain is not None:
        if getattr(chain, "errno", None) in NO_ROOM or any(words in str(chain) for words in NO_ROOM_IN_WORDS):
            return True
        chain = chain.__cause__ or chain.__context__
    return False


def notice(text: str) -> None:
    """A line on stderr, if there is one: it may be closed, or its reader gone."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def unknown_name(name: Any, known: Iterable[str], *, of: str = "", also: Mapping[str, str] | None = None) -> str:
    """Say that a name is unknown, to whom, which one may have been meant, and which there are.

    Args:
        name: As it was typed.
        known: Those that there are.
        of: What it would be a name of.
        also: Other words for them, beside those of synonyms.py.
    """
    known = sorted(known)
    near = nearest(name, known, also=also)
    guess = f"; did you mean {either(near)}?" if near else "."
    return f"unknown {name!r}{of and f' of {of}'}{guess} Available: {', '.join(known) or 'none'}"
