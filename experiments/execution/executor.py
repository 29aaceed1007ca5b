"""Processes on this machine: a fresh one for each work item, with a pipe, a log, pinned threads and a time limit.

A work item that raises, is killed or hangs is one `Failed`, and nothing else is lost; a full disk ends them all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gc
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from experiments.contract import FrameworkSpec
from experiments.errors import DiskFull, is_no_room
from experiments.execution import devices, forkservers, temporary
from experiments.execution.preload_log import PRELOAD_LOG
from experiments.execution.worker_environment import WorkerEnvironment, worker_environment
from experiments.job import ExecutorSettings

# What every worker needs of ours, beside a framework; the log first, and this module, which is found by name.
OWN_PRELOAD = ("experiments.execution.preload_log", __name__, "experiments.execution.worker")


@dataclass(frozen=True, kw_only=True)
class WorkItem:
    """`target(*arguments, emit)` in a process of its own; whatever it emits arrives at the parent.

    Where it awaits a reply, `emit` returns once the parent has dealt with the event, and says whether to stop.
    `framework` names the one that it loads, if it does: the process gets what that one must find.
    """

    target: Callable[..., None]
    arguments: tuple[Any, ...]
    log: Path
    framework: str = ""
    awaits_reply: bool = False


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A work item that did not come to its end, and why; `killed` where its process was, false for an exception."""

    reason: str
    killed: bool


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A work item that came to its end."""


@dataclass(kw_only=True)
class _Process:
    index: int
    process: Any
    connection: Connection
    gpu: str | None
    deadline: float
    awaits_reply: bool
    ended: bool = False
    failure: Failed | None = None


@dataclass(kw_only=True)
class LocalExecutor:
    """Runs work items in at most `settings.workers` processes at a time.

    Attributes:
        settings: How many, how many threads each, how long.
        device: "cpu" or "gpu", from `choose_device`.
        frameworks: Those that work items load: a forkserver imports them once, so that each fork starts with them.
        folder: Where the forkserver's own log goes.
        inherited: The variables that the command was started with, unless they are this process's.
        environment: The variables that workers have, made of few of this process's.
    """

    settings: ExecutorSettings
    device: str
    frameworks: Mapping[str, FrameworkSpec]
    folder: Path
    inherited: Mapping[str, str] | None = None
    environment: WorkerEnvironment = field(init=False)
    _context: Any = field(init=False)
    _to_stop: set[int] = field(init=False, default_factory=set)

    def __post_init__(self) -> None:
        """Make the environment of workers, and choose how they are started."""
        inherited = dict(os.environ if self.inherited is None else self.inherited)
        self.environment = worker_environment(
            inherited | {name: os.environ[name] for name in ("TMPDIR",) if name in os.environ},  # this process's own
            threads=self.settings.threads,
            device=self.device,
            stated=self.settings.environment,
            told=[prefix for spec in self.frameworks.values() for prefix in spec.variables],
        )
        method = self.settings.start_method
        if method == "auto":
            fork_is_safe = self.device == "cpu" and sys.platform == "linux"
            method = "forkserver" if fork_is_safe else "spawn"
        self._context = multiprocessing.get_context(method)

    @property
    def start_method(self) -> str:
        """How processes are made: forkserver or spawn."""
        return str(self._context.get_start_method())

    def warm_up(self) -> None:
        """Start the forkserver, which imports the frameworks while the caller does something else.

        There is another one for each framework whose variables contradict those of the others.
        """
        if self.start_method == "forkserver":
            temporary.make_folder_for_sockets()
            log = {PRELOAD_LOG: str((self.folder / "preload.log").resolve())}
            in_force = functools.partial(self.environment.in_force, **log)
            for group in forkservers.groups(self.frameworks.values()):
                forkservers.start(group, preload=OWN_PRELOAD, in_force=in_force)

    def run(self, items: Iterable[WorkItem]) -> Iterator[tuple[int, Any]]:
        """Do all of them; yield (index of the item, its event), and for each a last `Completed` or `Failed`."""
        waiting = iter(items)
        return self.run_lazily(lambda: next(waiting, None))

    def stop(self, index: int) -> None:
        """Reply "stop" to the event that the item just emitted; it must await replies."""
        self._to_stop.add(index)

    def run_lazily(self, next_item: Callable[[], WorkItem | None]) -> Iterator[tuple[int, Any]]:
        """As `run`, with items that are made when there is a worker for them: None means none now.

        It is called again whenever an item has ended; the end is None while nothing is under way. The index counts
        from 0 in the order of `next_item`.
        """
        indices = itertools.count()
        on_gpu = self.device == "gpu"
        free_gpus = deque(devices.gpu_groups(self.settings.devices) if on_gpu else [None] * self.settings.workers)
        active: list[_Process] = []
        try:
            while True:
                while free_gpus and len(active) < self.settings.workers and (item := next_item()) is not None:
                    active.append(self._start(next(indices), item, free_gpus.popleft()))
                if not active:
                    return
                yield from self._listen(active)
                for process in [process for process in active if process.ended]:
                    active.remove(process)
                    free_gpus.append(process.gpu)
                    yield process.index, process.failure or Completed()
        finally:
            for process in active:
                process.process.kill()
                process.process.join()

    def _start(self, index: int, item: WorkItem, gpu: str | None) -> _Process:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_worker_main, args=(item, theirs, gpu), daemon=True)
        spec = self.frameworks.get(item.framework)
        variables = {} if spec is None else spec.environment
        self.warm_up()
        with self.environment.in_force(**variables), self._forking(variables):
            process.start()
        theirs.close()
        deadline = time.monotonic() + self.settings.time_limit_seconds
        return _Process(
            index=index, process=process, connection=ours, gpu=gpu, deadline=deadline, awaits_reply=item.awaits_reply
        )

    def _forking(self, variables: Mapping[str, str]) -> contextlib.AbstractContextManager[None]:
        return forkservers.serving(variables) if self.start_method == "forkserver" else contextlib.nullcontext()

    def _reply(self, process: _Process) -> None:
        if process.awaits_reply:
            with contextlib.suppress(OSError):  # it may just have been killed: its end is dealt with next
                process.connection.send(process.index in self._to_stop)
            self._to_stop.discard(process.index)

    def _listen(self, active: list[_Process]) -> Iterator[tuple[int, Any]]:
        """Wait until a process emits something, ends or is late; yield what was emitted."""
        patience = max(0.0, min(process.deadline for process in active) - time.monotonic())
        ready = wait([process.connection for process in active], timeout=min(patience, 1.0))
        for process in active:
            if process.connection in ready:
                try:
                    event = process.connection.recv()
                except (EOFError, OSError):
                    _reap(process)
                    continue
                if isinstance(event, DiskFull):
                    raise event
                if isinstance(event, Failed):
                    process.failure = event
                else:
                    yield process.index, event
                    self._reply(process)
            elif time.monotonic() > process.deadline:
                process.process.kill()
                limit = self.settings.time_limit_seconds
                process.failure = Failed(reason=f"stopped at executor.time_limit_seconds={limit:g}", killed=False)


def on_all_cores(executor: LocalExecutor) -> LocalExecutor:
    """The same with as many workers as there are cores: for work that is not timed."""
    workers = max(1, devices.available_cores() // (executor.settings.threads * executor.settings.devices))
    return dataclasses.replace(executor, settings=dataclasses.replace(executor.settings, workers=workers))


def _reap(process: _Process) -> None:
    """Its pipe is closed: it has ended, or was killed."""
    process.process.join()
    process.connection.close()
    process.ended = True
    code = process.process.exitcode
    if code and process.failure is None:
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        hint = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
        process.failure = Failed(reason=f"the worker was killed by {name}{hint}", killed=True)


def _worker_main(item: WorkItem, connection: Connection, gpu: str | None) -> None:
    """In the worker: streams to the log, Ctrl-C to the parent, exceptions to a `Failed` or `DiskFull`."""
    gc.freeze()  # what the forkserver imported
    gc.enable()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _die)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu

    def emit(event: object) -> bool:
        connection.send(event)
        return bool(connection.recv()) if item.awaits_reply else False

    try:
        _log_into(item.log)
        item.target(*item.arguments, emit)
    except (BrokenPipeError, EOFError, ConnectionResetError):
        os._exit(1)  # the parent is gone: nobody is left to report to
    except BaseException as error:
        with contextlib.suppress(OSError):  # the log's disk may be full
            traceback.print_exc()
        connection.send(_as_event(error, folder=item.log.parent))
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        connection.close()


def _end_with_parent() -> None:
    """Nobody is left to report to, nor to keep the time limit; what both had put down for a while goes too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    temporary.remove_if_dead(Path(tempfile.gettempdir()))
    os._exit(1)


def _die(number: int, frame: object) -> None:
    """Of the signal itself, so that the parent sees it: a framework that keeps handlers calls this after its own."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _log_into(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def _as_event(error: BaseException, *, folder: Path) -> Failed | DiskFull:
    """What ends a work item; a full disk ends the others too, and what a library makes of it may not say so."""
    with contextlib.suppress(OSError):
        if is_no_room(error) or shutil.disk_usage(folder).free < 2**16:
            return DiskFull.because_of(error, place=folder)
    if not (folder.exists() or os.fstat(1).st_nlink):  # the log that was made in it has no name any more
        return Failed(reason=f"its folder {folder} was removed ({_in_one_line(error)})", killed=True)
    return Failed(reason=_in_one_line(error), killed=False)


def _in_one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
