"""Certificates on a device without a process for each probe: one warm process per framework does its probes in turn.

On a GPU a fresh process takes longer to start than a probe takes; that fresh ones agree is what the doctor asks.
"""

from __future__ import annotations

import multiprocessing
import sys
import traceback
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
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
        context = multiprocessing.get_context("spawn")
        self._pipes: dict[str, Connection] = {}
        self._processes = []
        for name, spec in local.frameworks.items():
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True)
            with local.environment.in_force(**spec.environment):
                process.start()
            theirs.close()
            self._pipes[name] = ours
            self._processes.append(process)

    def run(self, items: Iterable[WorkItem]) -> Iterator[tuple[int, Any]]:
        """As `LocalExecutor.run`: each item's events, then its end."""
        waiting = 0
        queues: dict[str, list[tuple[int, WorkItem]]] = {name: [] for name in self._pipes}
        for index, item in enumerate(items):
            queues[item.framework].append((index, item))
        for name, queue in queues.items():
            waiting += self._hand_out(name, queue)
        while waiting:
            ready = wait(list(self._pipes.values()))
            for name in [each for each, pipe in self._pipes.items() if pipe in ready]:
                index, events = self._pipes[name].recv()
                yield from ((index, event) for event in events)
                yield index, Completed()
                waiting += self._hand_out(name, queues[name]) - 1

    def _hand_out(self, name: str, queue: list[tuple[int, WorkItem]]) -> int:
        if not queue:
            return 0
        index, item = queue.pop(0)
        self._pipes[name].send((index, item.target, item.arguments))
        return 1

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.kill()
            process.join()


def _serve(pipe: Connection) -> None:
    """In the process: do what comes, one after the other."""
    while True:
        index, target, arguments = pipe.recv()
        events: list[Any] = []
        try:
            target(*arguments, events.append)
        except Exception as error:
            traceback.print_exc()
            events = [Failed(reason=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}", killed=False)]
        pipe.send((index, events))
