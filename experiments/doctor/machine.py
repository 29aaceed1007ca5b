"""Cores, memory, disks and caches: what this process may use of them, and what a sweep needs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from experiments.doctor.check import Check, judged
from experiments.execution import environment
from experiments.execution.devices import available_cores, visible_gpus
from experiments.execution.worker_environment import RECORDED, WorkerEnvironment
from experiments.folders import ROOM_MIB
from experiments.job import ExecutorSettings

GROUPS = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
GIB = 2**30
LITTLE_GIB = 3.0  # of memory or disk: two frameworks in a forkserver take 1 GiB, each worker some hundred MiB
TOO_LITTLE_GIB = 1.0
NOWHERE: Mapping[str, Path] = MappingProxyType({})
BUSY = 0.5  # of the cores that others use


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What there is.

    Attributes:
        cpu: The processor's name.
        instruction_sets: Of those that matter, such as "AVX2, AVX-512".
        cores: Of the machine.
        usable: Of them, those that this process may run on.
        quota: How many a container's limit lets it use at a time; None: no limit.
        load: How many processes want a core, averaged over a minute.
        memory: Bytes that are free for programs; None where nothing tells.
        free: Label of a place -> bytes free on its disk, or why that is unknown.
        gpus: Those that the system lists and this process may see.
    """

    cpu: str
    instruction_sets: str
    cores: int
    usable: int
    quota: float | None
    load: float
    memory: int | None
    free: Mapping[str, int | str]
    gpus: Sequence[str]


def look(*, output: Path, cache: Path) -> Machine:
    """Look at this machine; some milliseconds."""
    facts = environment.facts()
    return Machine(
        cpu=facts["cpu"],
        instruction_sets=facts["instruction_sets"],
        cores=os.cpu_count() or 1,
        usable=available_cores(),
        quota=quota(GROUPS),
        load=float(facts["load_average"]),
        memory=free_memory(groups=GROUPS, meminfo=MEMINFO),
        free={what: _free(place) for what, place in places(output, cache).items()},
        gpus=visible_gpus(),
    )


def places(output: Path, cache: Path) -> dict[str, Path]:
    """Label -> folder that a sweep writes to."""
    return {"output": output.resolve(), "TANDEM_CACHE": cache.resolve(), "TMPDIR": Path(tempfile.gettempdir())}


def _free(place: Path) -> int | str:
    """Of the disk of the nearest folder that there is."""
    there = next((each for each in (place, *place.parents) if each.exists()), place)
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return str(error.strerror)
    return free if os.access(there, os.W_OK | os.X_OK) else "it cannot be written"


def quota(groups: Path) -> float | None:
    """Cores that a container may use at a time (cgroup 2, or 1); None where there is no limit."""
    new, old = groups / "cpu.max", groups / "cpu"
    try:
        if new.is_file():
            most, _, period = new.read_text().strip().partition(" ")
        else:
            most, period = ((old / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return None if most in ("max", "-1") else int(most) / int(period)
    except (OSError, ValueError):
        return None


def free_memory(*, groups: Path, meminfo: Path) -> int | None:
    """Bytes free for programs: of the machine, or of the container's limit where that is less (Linux)."""
    try:
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        free = int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            left = int((groups / most).read_text()) - int((groups / used).read_text())
        except (OSError, ValueError):  # "max", or no such limit
            continue
        free = min(free, left)
    return free


def checks(machine: Machine, *, executor: ExecutorSettings, where: Mapping[str, Path] = NOWHERE) -> list[Check]:
    """How it came out; `where` the labels of its disks are, for the page."""
    return [*_of_cores(machine, executor), *_of_speed(machine), *_of_memory(machine), *_of_disks(machine, where)]


def _of_cores(machine: Machine, executor: ExecutorSettings) -> list[Check]:
    share = executor.workers * executor.threads * executor.devices
    limit = "" if machine.quota is None else f", a container's limit is {machine.quota:g}"
    told = f"{machine.usable} of {machine.cores} cores may be used{limit}; runs take {share} at a time"
    most = min(machine.usable, machine.quota or machine.usable)
    fix = "lower executor.workers or executor.threads: threads that share a core wait for each other"
    found = [judged("Cores", told, wrong=share > most, fix=fix)]
    if machine.load > BUSY * machine.usable:
        told = f"others keep {machine.load:.1f} cores busy: no time that is measured now can be compared"
        found.append(judged("Cores", told, note=True, fix="wait until the machine is idle"))
    return found


def _of_speed(machine: Machine) -> list[Check]:
    sets = machine.instruction_sets or "no instruction set that is known"
    told = f"{machine.cpu}: {sets}"
    is_intel_like = any(name in machine.instruction_sets for name in ("AVX", "VNNI")) or not machine.instruction_sets
    if is_intel_like and "AVX-512" not in machine.instruction_sets:
        lacks = "AVX-512" if "AVX2" in machine.instruction_sets else "AVX2 and AVX-512"
        told += f"; without {lacks}, for which some libraries have faster kernels than others"
        return [judged("Cores", told, note=True, fix="compare times on one kind of machine only")]
    return [judged("Cores", told)]


def _of_memory(machine: Machine) -> list[Check]:
    if machine.memory is None:
        return []
    free = machine.memory / GIB
    fix = "end other programs, or set executor.workers=1"
    told = f"{free:.1f} GiB of memory are free"
    return [judged("Memory and disk", told, wrong=free < TOO_LITTLE_GIB, note=free < LITTLE_GIB, fix=fix)]


def _of_disks(machine: Machine, where: Mapping[str, Path]) -> list[Check]:
    found = []
    for label, free in machine.free.items():
        place = f"{label} ({where[label]})" if label in where else label
        if isinstance(free, str):
            found.append(judged("Memory and disk", f"{place}: {free}", wrong=True, fix="name another folder"))
            continue
        told = f"{place}: {free / GIB:.1f} GiB are free"
        is_full = free < ROOM_MIB * 2**20
        found.append(
            judged("Memory and disk", told, wrong=is_full, note=free < TOO_LITTLE_GIB * GIB, fix="make room there")
        )
    return found


def cached(cache: Path) -> list[Check]:
    """What is kept of data: where, how much, of which sources."""
    if not cache.is_dir():
        return [judged("Data", f"nothing is kept in {cache} yet")]
    sizes = {
        each.name: sum(path.stat().st_size for path in each.rglob("*") if path.is_file())
        for each in sorted(cache.iterdir())
        if each.is_dir()
    }
    told = ", ".join(f"{name} {size / 2**20:.0f} MiB" for name, size in sizes.items() if size) or "nothing yet"
    return [judged("Data", f"{cache} holds {told}")]


def variables(workers: WorkerEnvironment) -> list[Check]:
    """Which variables are set that change what frameworks compute."""
    found = []
    if workers.left_out:
        told = f"set here, able to change numbers, and left out of workers: {', '.join(workers.left_out)}"
        fix = "executor.environment={NAME: value} gives one to the workers, and to the runs' names"
        found.append(judged("Variables", told, note=True, fix=fix))
    if workers.stated:
        told = f"executor.environment gives workers {', '.join(sorted(workers.stated))}, which is part of runs' names"
        found.append(judged("Variables", told, note=True, fix="leave it out for runs that others can compare"))
    if inherited := [name for name in RECORDED if name in workers.variables and name not in workers.stated]:
        told = f"workers inherit {', '.join(inherited)}, on which the last bits of products depend"
        found.append(judged("Variables", told, note=True, fix="unset it where it is not needed"))
    return found or [judged("Variables", "none is set that changes what a framework computes")]
