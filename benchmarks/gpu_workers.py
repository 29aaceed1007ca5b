"""Certificates on a device without a process for each probe: one warm process per framework does its probes in turn.

On a GPU a fresh process takes longer to start than a probe takes; that fresh ones agree is what the doctor asks.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import frameworks
from experiments.contract import Framework, Model
from experiments.execution.executor import Completed, Failed, LocalExecutor, WorkItem


class WithTf32:
    """A framework whose networks multiply float32 by TensorFloat-32 where a GPU has it."""

    def __init__(self, framework: Framework) -> None:
        """Wrap an imported framework."""
        self._framework = framework

    def build(self, *arguments: Any, **named: Any) -> Model:
        """As the framework builds it, exact products undone."""
        model = self._framework.build(*arguments, **named)
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_default_matmul_precision", "tensorfloat32")
        if "torch" in sys.modules:
            backends = sys.modules["torch"].backends
            backends.cuda.matmul.allow_tf32 = backends.cudnn.allow_tf32 = True
        return model

    def versions(self) -> dict[str, str]:
        """Those of the framework."""
        return self._framework.versions()


def load_with_tf32(name: str) -> Framework:
    """As `frameworks.load`, with TF32."""
    return WithTf32(frameworks.load(name))


class WarmExecutor:
    """Does what certificates ask of a `LocalExecutor`, in one process per framework that lives as long as this."""

    def __init__(self, local: LocalExecutor) -> None:
        """Start a process for each framework of `local`, in its workers' environment."""
        self.settings, self.environment = local.settings, local.environment
        self._specs = local.frameworks
        self._pipes: dict[str, Connection] = {}
        self._processes: dict[str, BaseProcess] = {}
        for name in local.frameworks:
            self._start(name)

    def _start(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        with self.environment.in_force(**self._specs[name].environment):
            process.start()
        theirs.close()
        self._pipes[name], self._processes[name] = ours, process

    def run(self, items: Iterable[WorkItem]) -> Iterator[tuple[int, Any]]:
        """As `LocalExecutor.run`: each item's events, then its end; a process that is killed fails its item alone."""
        queues: dict[str, deque[tuple[int, WorkItem]]] = {name: deque() for name in self._pipes}
        for index, item in enumerate(items):
            queues[item.framework].append((index, item))
        at_work: dict[str, int] = {}
        while at_work or any(queues.values()):
            for name in [name for name, queue in queues.items() if queue and name not in at_work]:
                at_work[name], item = queues[name].popleft()
                self._pipes[name].send((item.target, item.arguments))
            ready = wait([self._pipes[name] for name in at_work])
            for name in [name for name in at_work if self._pipes[name] in ready]:
                index = at_work.pop(name)
                for event in self._events(name):
                    yield index, event

    def _events(self, name: str) -> list[Any]:
        """What its process answers; where there is none any more, another one is started."""
        try:
            events: list[Any] = self._pipes[name].recv()
        except (EOFError, ConnectionResetError):
            self._processes[name].join()
            reason = f"the process was killed (exit code {self._processes[name].exitcode})"
            self._start(name)
            events = [Failed(reason=reason, killed=True)]
        return events

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():
            process.kill()
            process.join()


def seen_by(framework: str, probe: str, emit: Callable[[Any], Any]) -> None:
    """In a worker: which GPU it was told to use, and the devices that its framework sees then.

    Args:
        framework: Its name.
        probe: The module that is its `Probe`; "" where it has none.
        emit: Gets both.
    """
    frameworks.load(framework)
    sees = importlib.import_module(probe).devices() if probe else []
    emit({"told": os.environ.get("CUDA_VISIBLE_DEVICES"), "sees": sees})


def _serve(pipe: Connection) -> None:
    """In the process: do what comes, one after the other."""
    while True:
        target, arguments = pipe.recv()
        events: list[Any] = []
        try:
            target(*arguments, events.append)
            events.append(Completed())
        except Exception as error:
            traceback.print_exc()
            events = [Failed(reason=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", killed=False)]
        pipe.send(events)
