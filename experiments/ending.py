"""How a command ends that something ended: in a sentence and with an exit code; a traceback only where asked for."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import time
import traceback
from pathlib import Path

from experiments.errors import GOES_ON, DiskFull, ExitCode, TandemError, is_no_room, notice
from experiments.execution import temporary
from experiments.interruption import Terminated
from experiments.uris import without_password

PROJECT = Path(__file__).resolve().parents[1]
FOLDERS = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP,
           errno.ENAMETOOLONG, errno.ENOTEMPTY)  # fmt: skip


def end(error: BaseException, *, output: Path | None, debug: bool) -> ExitCode:
    """Say what ended the command; return what it leaves with.

    Args:
        error: What was raised.
        output: Where the traceback of a fault of this program is kept; None before that is known.
        debug: Whether the traceback is shown.
    """
    if debug:
        notice(without_password("".join(traceback.format_exception(error)).rstrip()))
    if isinstance(error, KeyboardInterrupt | Terminated):
        notice(f"\nStopped. {GOES_ON[0].upper()}{GOES_ON[1:]}.")
        return error.exit_code if isinstance(error, Terminated) else ExitCode.INTERRUPTED
    code, sentence = _sentence(error, output=output)
    notice(without_password(sentence))
    return code


def _sentence(error: BaseException, *, output: Path | None) -> tuple[ExitCode, str]:
    if isinstance(error, TandemError):
        return error.exit_code, str(error)
    if is_no_room(error):
        place = getattr(error, "filename", None) or output or "a file"
        return ExitCode.SERVICE_MISSING, str(DiskFull.because_of(error, place=place))
    if isinstance(error, MemoryError):
        return ExitCode.SERVICE_MISSING, f"There is not enough memory; free some, or ask for less, and {GOES_ON}."
    if isinstance(error, OSError) and error.errno is not None:
        where = f" {error.filename!r}" if error.filename is not None else ""
        code = ExitCode.BAD_INPUT if error.errno in FOLDERS else ExitCode.SERVICE_MISSING
        return code, f"The system refused{where}: {error.strerror}; mend that, and {GOES_ON}."
    return ExitCode.SOME_FAILED, _fault(error, output=output)


def _fault(error: BaseException, *, output: Path | None) -> str:
    """A sentence for a fault of this program, whose traceback is kept in a file: the next try may take hours."""
    lines = [(Path(each.filename), each.lineno) for each in traceback.extract_tb(error.__traceback__)]
    ours = [f"{path.relative_to(PROJECT)}, line {line}" for path, line in lines if _is_ours(path)]
    reason = (str(error).strip().splitlines() or [""])[0]
    told = f"This is a fault of Tandem, not of what you asked for: {type(error).__name__}: {reason}"
    told += f" in {ours[-1]}" if ours else ""
    text = without_password("".join(traceback.format_exception(error)))
    name = f"fault-{time.strftime('%Y%m%d-%H%M%S')}-"
    for folder in (output, temporary.outlasting()):
        with contextlib.suppress(OSError):
            if folder is not None:
                number, path = tempfile.mkstemp(dir=folder, prefix=name, suffix=".txt")
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    file.write(text)
                return f"{told}. The traceback is in {path}; what has ended is kept."
    return f"{told}. TANDEM_DEBUG=1 shows the traceback; what has ended is kept."


def _is_ours(path: Path) -> bool:
    inside = path.relative_to(PROJECT).parts if path.is_relative_to(PROJECT) else ("",)
    return inside[0] in ("run.py", "experiments", "frameworks")
