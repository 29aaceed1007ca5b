"""What workers found -> checks: devices, speed, and whether a training repeats bit by bit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from experiments.contract import FrameworkSpec
from experiments.data.catalog import SOURCES
from experiments.doctor.check import Check, judged
from experiments.doctor.probes import IMAGES, KERNEL, MATRIX, Brief
from experiments.job import Job

SLOWER = 3.0  # times, from which a difference between frameworks is told
GFLOP = {
    "matrix product": 2 * MATRIX**3 / 1e9,
    "convolution": 2
    * IMAGES[0]
    * (IMAGES[1] - 2)
    * (IMAGES[2] - 2)
    * KERNEL[0]
    * KERNEL[1]
    * KERNEL[2]
    * KERNEL[3]
    / 1e9,
}
Found = Mapping[str, Any]


def brief(job: Job, name: str, *, spec: FrameworkSpec, device: str) -> Brief | str:
    """The job's task on drawn examples, or why there is none.

    Args:
        job: Whose task and seed are taken.
        name: Of the framework.
        spec: What the framework can do.
        device: "cpu" or "gpu".
    """
    source = SOURCES[job.task.data.source]
    if source.spec is None:
        return f"{source.title}: what they look like is known only once they are read"
    if problem := spec.problem_with(job.task):
        return problem
    precision = job.task.training.precision
    training = dataclasses.replace(
        job.task.training, precision=precision if precision in spec.precisions else spec.precisions[0]
    )
    task = dataclasses.replace(job.task, training=training)
    return Brief(task=task, spec=source.spec(job.task.data), framework=name, seed=job.seed, device=device)


def judge(found: Found, *, frameworks: Mapping[str, FrameworkSpec], n_gpus: int, device: str) -> list[Check]:
    """Devices, settings and speed.

    Args:
        found: What the workers emitted.
        frameworks: Name -> what is known of it.
        n_gpus: That the system lists and this command may see.
        device: Where runs go, "cpu" or "gpu".
    """
    checks = []
    for name, each in found["frameworks"].items():
        if "failed" in each:
            told = f"{name} cannot be imported or does not answer: {each['failed']}"
            extra = frameworks[name].extra
            fix = "in the project's folder: pip install -e " + (f'".[{extra}]"' if extra else ".")
            checks.append(judged("Frameworks", told, wrong=True, fix=fix))
        elif "devices" in each:
            checks.append(_of_devices(name, each, n_gpus=n_gpus, device=device))
    return [*checks, *_of_speed(found)]


def _of_devices(name: str, each: Mapping[str, Any], *, n_gpus: int, device: str) -> Check:
    seen = len(each["devices"]) - 1  # but for the CPU
    told = f"{name} ({_pairs(each['versions'])}) sees {', '.join(each['devices'])}; {_pairs(each['settings'], ': ')}"
    if device == "gpu" and seen < 1:
        told += f"; the system lists {n_gpus} GPU(s)"
        return judged("Frameworks", told, wrong=True, fix="install its CUDA build, or set executor.device=cpu")
    return judged("Frameworks", told)


def _pairs(content: Mapping[str, str], between: str = " ") -> str:
    return ", ".join(f"{key}{between}{value}" for key, value in content.items())


def _of_speed(found: Found) -> list[Check]:
    """Each product's speed in each framework, and a batch's fetch."""
    checks = []
    for what, work in GFLOP.items():
        seconds = {name: each["speed"][what] for name, each in found["frameworks"].items() if "speed" in each}
        if not seconds:
            continue
        told = ", ".join(f"{name} {work / took:.0f} GFLOP/s" for name, took in seconds.items())
        ratio = max(seconds.values()) / min(seconds.values())
        slowest = max(seconds, key=lambda name: seconds[name])
        note = ratio > SLOWER
        told = f"{what}: {told}" + (f"; {slowest} takes {ratio:.1f} times as long" if note else "")
        fix = "its kernels for this processor are slower: say which machine a time was taken on"
        checks.append(judged("Speed", told, note=note, fix=fix))
    fetch = found["fetch"]
    if isinstance(fetch, float):
        checks.append(judged("Speed", f"the fetch of a batch of images: {fetch * 1e6:.0f} us"))
    else:
        checks.append(judged("Speed", f"no worker could be started: {fetch['failed']}", wrong=True, fix="free memory"))
    return checks


def of_trainings(found: Found) -> list[Check]:
    """Whether two processes that trained the same came to the same bits."""
    checks = []
    for name, each in found["frameworks"].items():
        trained = each["trained"]
        failed = [one["failed"] for one in trained if isinstance(one, Mapping)]
        if failed:
            told = f"{name} could not train: {failed[0]}"
            checks.append(judged("Repeats", told, wrong=True, fix="TANDEM_DEBUG=1 and action=train show more"))
        elif len(trained) < 2:
            checks.append(
                judged("Repeats", f"{name} was not trained: {trained[0]}", note=True, fix="another experiment")
            )
        else:
            is_same = trained[0] == trained[1]
            told = f"{name}: two processes, {'the same bits' if is_same else 'different weights'} ({trained[0]})"
            fix = "results cannot be repeated here; look for a library that picks its kernels by timing them"
            checks.append(judged("Repeats", told, wrong=not is_same, fix=fix))
    return checks
