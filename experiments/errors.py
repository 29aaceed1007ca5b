"""What can go wrong outside this program's control, as a family; each member knows its exit code.

TandemError
├── SettingsError      2  what was asked for cannot be done; also a ValueError
├── StoreUnavailable   3  the tracking store cannot be reached or opened
├── Locked             4  another living process works on the same sweep or study
└── ProbeFailed        1  a worker did not bring its part of a certificate

The message is a whole sentence: the rule, the value, the fix. `run.py` prints it and leaves with the code.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """What a command leaves with."""

    ALL_GOOD = 0
    SOME_FAILED = 1
    BAD_INPUT = 2
    SERVICE_MISSING = 3
    LOCKED = 4
    INTERRUPTED = 130
    TERMINATED = 143


class TandemError(Exception):
    """Ends the command with a sentence instead of a traceback."""

    exit_code: ClassVar[ExitCode]


class SettingsError(TandemError, ValueError):
    """What a person asked for cannot be done; the message says the rule, the value and the fix."""

    exit_code = ExitCode.BAD_INPUT


class StoreUnavailable(TandemError):
    """The tracking store cannot be reached or opened."""

    exit_code = ExitCode.SERVICE_MISSING


class Locked(TandemError):
    """Another living process works on the same sweep or study."""

    exit_code = ExitCode.LOCKED


class ProbeFailed(TandemError):
    """A worker did not bring its result."""

    exit_code = ExitCode.SOME_FAILED
