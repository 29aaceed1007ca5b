"""A command in this process, for `benchmarks.cost`: what its parts took, as JSON in the last line of what it prints.

python -m benchmarks.timed_command run WORDS        seconds of composing, training, drawing; memory of this process
python -m benchmarks.timed_command tracking WORDS   seconds of each run's training, its events kept or thrown away
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

import frameworks
import run
from experiments import preparation, recording, training
from experiments.data import download
from experiments.execution import estimate, executor, worker
from experiments.execution import run as events
from experiments.tracking.store import Store


def resident_mib() -> float:
    """Memory that this process holds now (Linux), MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


class Clock:
    """Adds up the wall seconds of calls, by name."""

    def __init__(self) -> None:
        """Begin with none."""
        self.seconds: dict[str, float] = {}

    def around(self, module: Any, name: str) -> None:
        """Have calls of a module's function, or a class's method, timed."""
        inner = getattr(module, name)

        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

        setattr(module, name, timed)


def carry_out(words: list[str]) -> dict[str, Any]:
    """The command as it is typed."""
    clock, memory, trained = Clock(), [], []
    began = time.perf_counter()
    from experiments import report  # what draws takes a while to import

    drawing = time.perf_counter() - began
    clock.around(run, "jobs_from")
    clock.around(training, "carry_out")
    clock.around(report, "publish")
    end: Callable[..., None] = recording.RunRecorder._end

    def ended(self: recording.RunRecorder, index: int) -> None:
        trained.append(self._active[index].metrics["time/total"])
        end(self, index)
        memory.append(resident_mib())

    recording.RunRecorder._end = ended  # type: ignore[method-assign]
    began = time.perf_counter()
    sys.argv = [run.__file__, *words]
    code = int(run.main())
    return {
        "code": code,
        "whole": time.perf_counter() - began,
        "composing": clock.seconds["jobs_from"],
        "carrying_out": clock.seconds.get("carry_out", 0.0),
        "drawing": drawing + clock.seconds["publish"],
        "trained": sum(trained),
        "memory": memory,
    }


def with_and_without_tracking(words: list[str]) -> dict[str, Any]:
    """Each run twice, one right after the other: its events kept in the store, and thrown away."""
    console = Console(file=sys.stderr)
    jobs = run.jobs_from([run.__file__, *words])
    sweep = preparation.prepare(
        jobs,
        frameworks=frameworks.FRAMEWORKS,
        cache=download.cache_folder(otherwise=Path("cache")),
        command="",
        console=console,
    )
    sweep.executor.warm_up()
    store = Store(jobs[0].tracking.uri)
    experiment_id = store.experiment(sweep.name, description="")
    sweep_id = store.open_sweep(experiment_id, name="s", fingerprint="", command="", description="", reuse=False)
    recorder = recording.RunRecorder(
        sweep=sweep, store=store, experiment_id=experiment_id, sweep_id=sweep_id, load=frameworks.load, console=console
    )
    seconds: dict[str, list[float]] = {"on": [], "off": []}

    def without(each: events.Run) -> dict[str, float]:
        item = executor.WorkItem(
            target=worker.train,
            arguments=(each, frameworks.load),
            log=each.folder / "worker.log",
            framework=each.framework,
        )
        emitted = [event for _, event in sweep.executor.run([item])]
        return next(event.metrics for event in emitted if isinstance(event, events.Finished))

    def recorded(each: events.Run) -> dict[str, float]:
        told: list[dict[str, float]] = []

        def note(index: int, event: object, active: recording.ActiveRun) -> bool:
            told.extend([event.metrics] if isinstance(event, events.Finished) else [])
            return False

        waiting = iter([(each, sweep_id)])
        recorder.train_each(
            lambda: next(waiting, None), executor=sweep.executor, arms=[estimate.arm_of(each)], on_event=note
        )
        return told[0]

    for number, (first, second) in enumerate(
        zip(training.named(sweep.runs, folder=Path("on")), training.named(sweep.runs, folder=Path("off")), strict=True)
    ):
        for arm in ("on", "off") if number % 2 else ("off", "on"):
            metrics = recorded(first) if arm == "on" else without(second)
            seconds[arm].append(metrics["time/total"] - metrics["time/import"] - metrics["time/build"])
    store.end_sweep(sweep_id, status="FINISHED")
    return seconds


if __name__ == "__main__":
    ways = {"run": carry_out, "tracking": with_and_without_tracking}
    found = ways[sys.argv[1]](sys.argv[2:])
    print(json.dumps(found))
