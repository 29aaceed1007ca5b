"""What is asked for against what a machine and the frameworks can do: told before data are read.

Nothing here reads, trains or keeps: `run.py` asks before it imports what does.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Mapping, Sequence

from experiments.contract import FrameworkSpec
from experiments.data.catalog import SOURCES
from experiments.errors import SettingsError
from experiments.execution.devices import check_share, choose_device, gpu_groups
from experiments.fingerprint import fingerprint_of
from experiments.job import ExecutorSettings, Job

COMMON = ("output", "figures", "executor", "tracking", "action", "comparison", "tuning")  # to all jobs of one command


def check(jobs: Sequence[Job], *, frameworks: Mapping[str, FrameworkSpec]) -> str:
    """Where the runs go: "cpu" or "gpu".

    Args:
        jobs: What the command asks for, composed.
        frameworks: Name -> what each can do.

    Raises:
        SettingsError: If the jobs cannot share one sweep, device or framework cannot do them, or the first one's data
            cannot be, as far as that is told without reading them.
    """
    _require_one_sweep(jobs)
    settings = executor_settings(jobs[0])
    device = _device(settings)
    distinct: dict[tuple[str, str, str], Job] = {}  # but for the seed
    for job in jobs:
        distinct.setdefault((fingerprint_of(job.task), job.framework.name, job.loop), job)
    for job in distinct.values():
        _check_abilities(job, frameworks[job.framework.name], device=device, devices=settings.devices)
    data = jobs[0].task.data
    try:
        SOURCES[data.source].check(data)
    except (ValueError, OSError) as error:
        raise SettingsError(f"data ({data.source}): {error}") from error
    return device


def _require_one_sweep(jobs: Sequence[Job]) -> None:
    for key in COMMON:
        if any(getattr(job, key) != getattr(jobs[0], key) for job in jobs):
            raise SettingsError(f"`{key}` must be the same for all runs of one command; give it one value")
    if len({(job.task.name, job.task.margins, job.task.chance) for job in jobs}) > 1:
        raise SettingsError(
            "`experiment`, `margins` and `chance` must be the same for all runs; give each its own command"
        )
    if all(job.loop == "bare" for job in jobs):
        raise SettingsError(
            "`loop` must not be bare alone: a bare loop is timed beside ours; use comparison=speed, or loop=bare,fit"
        )


def executor_settings(job: Job) -> ExecutorSettings:
    """Those that a job is executed with."""
    if job.action == "parity":  # a certificate is made on one device: what several add is rounding
        return dataclasses.replace(job.executor, device="cpu", devices=1)
    return job.executor


def _device(settings: ExecutorSettings) -> str:
    """Where the runs go, "cpu" or "gpu", if there are as many cores or GPUs as are asked for."""
    check_share(settings)
    device = choose_device(settings.device)
    if device == "gpu":
        gpu_groups(settings.devices)
    return device


def _check_abilities(job: Job, spec: FrameworkSpec, *, device: str, devices: int) -> None:
    """What the job's framework and device can do; a certificate is made in precisions of its own choice.

    Args:
        job: What is asked for.
        spec: What its framework can do.
        device: "cpu" or "gpu".
        devices: How many share a run.

    Raises:
        SettingsError: If the task needs more.
    """
    problems = []
    name, precision = job.framework.name, job.task.training.precision
    if spec.extra and importlib.util.find_spec(spec.extra) is None:
        problems.append(
            f"framework={name} needs the package {spec.extra}, but it is not installed; "
            f'pip install -e ".[{spec.extra}]", or take another framework'
        )
    if spec.max_devices is not None and devices > spec.max_devices:
        rule = f"`executor.devices <= {spec.max_devices}` must hold for framework={name}"
        problems.append(f"{rule}, but got {devices}; leave it out")
    if job.action == "train" and precision not in spec.precisions:
        known = " or ".join(spec.precisions)
        problems.append(
            f"`training.precision` must be {known} for framework={name}, but got {precision}; "
            f"set training.precision={spec.precisions[0]}"
        )
    if job.loop == "bare" and not spec.bare_loop:
        problems.append(f"`loop` must be fit for framework={name}, which has no bare loop, but got bare; leave it out")
    problems += _problems_as_shipped(job, spec, devices=devices) if job.task.as_shipped else []
    if problem := spec.problem_with(job.task):
        problems.append(problem)
    if precision == "mixed_float16" and device != "gpu":
        problems.append(
            "training.precision: mixed_float16 needs a GPU, but this runs on a CPU; use mixed_bfloat16 or float32"
        )
    if problems:
        raise SettingsError("\n".join(problems))


def _problems_as_shipped(job: Job, spec: FrameworkSpec, *, devices: int) -> list[str]:
    """What cannot be with a framework's own defaults, a sentence each."""
    got, fix = job.task.alignment, "leave it out"
    refused = {
        f"`alignment=aligned` must hold for framework={job.framework.name}, which has no defaults of its own": (
            not spec.has_defaults
        ),
        "`alignment=aligned` must hold with action=parity: what is as shipped is never certified": (
            job.action == "parity"
        ),
        "`alignment=aligned` must hold with executor.devices > 1, where the frameworks' rules differ": (devices > 1),
        "`alignment=aligned` must hold with training.precision=mixed_float16: its scaler is ours": (
            job.task.training.precision == "mixed_float16"
        ),
    }
    return [f"{rule}, but got {got}; {fix}" for rule, is_broken in refused.items() if is_broken]
