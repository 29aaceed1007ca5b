"""The command a person types: in this process, or as a process of its own.

Both do the same: `run.main` with the arguments, in a folder, with the data in `TANDEM_CACHE`. In this process nothing
is imported again, and workers are forks of the session's forkserver (the fixture `local`). What only a process shows is
tested in one: signals, and the chatter of libraries on its streams.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cases import PROJECT

import run
from experiments.execution.executor import LocalExecutor

RUN = str(PROJECT / "run.py")


@dataclass(frozen=True)
class Done:
    """What a command left: as subprocess.run says it."""

    returncode: int
    stdout: str
    stderr: str


def command(*arguments: str, cwd: Path, cache: Path) -> Done:
    """Carry the command out in this process, with the database in `cwd` that it would have without a word."""
    out, err = io.StringIO(), io.StringIO()
    terminate = signal.getsignal(signal.SIGTERM)
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.chdir(cwd),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        patch.setattr(sys, "argv", [RUN, *_with_database(arguments, cwd)])
        patch.setenv("TANDEM_CACHE", str(cache))
        # Hydra's logging closes all handlers there are, and absl's, once TensorBoard is imported, pytest's capture.
        patch.setattr(logging, "shutdown", lambda *_: None)
        try:
            code = run.main()
        except SystemExit as left:  # --help, --cfg job
            code = int(left.code or 0)
        finally:
            signal.signal(signal.SIGTERM, terminate)
    return Done(code, out.getvalue(), err.getvalue())


def _with_database(arguments: Sequence[str], cwd: Path) -> list[str]:
    """MLflow keeps what it has opened by its URI, so that a relative one would stay in the first folder."""
    words = list(arguments)
    overrides = [place for place, word in enumerate(words) if "=" in word and not word.startswith("-")]
    if overrides:
        words.insert(overrides[0], f"tracking.uri=sqlite:///{cwd}/mlflow.db")
    return words


def refuse_to_start(patch: pytest.MonkeyPatch) -> None:
    """From here on, a command that is to end before any worker starts fails the test if it starts one."""
    for name in ("warm_up", "run_lazily"):
        patch.setattr(LocalExecutor, name, lambda self, *_: pytest.fail("a worker was to be started"))


def started(*arguments: str, cwd: Path, cache: Path) -> subprocess.Popen:
    """Start the command as a process of its own."""
    return subprocess.Popen(
        [sys.executable, RUN, *arguments],
        cwd=cwd,
        env=os.environ | {"TANDEM_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,
    )


def _heed_interrupts() -> None:
    """A shell starts what it puts in the background deaf to Ctrl-C, and these tests may be in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def in_a_process(*arguments: str, cwd: Path, cache: Path) -> Done:
    """Carry the command out in a process of its own, to its end."""
    with started(*arguments, cwd=cwd, cache=cache) as running:
        out, err = running.communicate(timeout=600)
    return Done(running.returncode, out, err)
