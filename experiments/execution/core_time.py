"""How long the threads of this process were ready to compute and waited for a core, which other programs had."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

THREADS = Path("/proc/self/task")
Times = Mapping[str, tuple[int, int]]


def by_thread() -> Times:
    """Thread -> nanoseconds on a core, nanoseconds ready without one; empty where the system does not tell.

    Source:
        Linux, Documentation/scheduler/sched-stats.rst, /proc/<pid>/schedstat.
    """
    times = {}
    for thread in THREADS.glob("*/schedstat"):
        try:
            ran, waited, _ = map(int, thread.read_text().split())
        except (OSError, ValueError):  # it has ended
            continue
        times[thread.parent.name] = (ran, waited)
    return times


def waited_share(before: Times) -> float | None:
    """Of the time that threads were ready since `before`, the share that they waited; None where nothing tells."""
    ran, waited = (
        sum(now[which] - before.get(thread, (0, 0))[which] for thread, now in by_thread().items()) for which in (0, 1)
    )
    return waited / (ran + waited) if ran > 0 else None
