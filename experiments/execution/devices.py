"""The cores and GPUs that this machine has for runs, found without importing a framework."""

from __future__ import annotations

import math
import os
from pathlib import Path

from experiments.errors import SettingsError
from experiments.job import ExecutorSettings

NVIDIA_DEVICES = Path("/proc/driver/nvidia/gpus")
WSL_DEVICE = Path("/dev/dxg")  # Windows' Linux has GPUs, but does not list them there


def visible_gpus() -> list[str]:
    """Identifiers for CUDA_VISIBLE_DEVICES, found without importing a framework or touching a device."""
    present = [str(index) for index, _ in enumerate(sorted(NVIDIA_DEVICES.glob("*")))]
    stated = os.environ.get("CUDA_VISIBLE_DEVICES")
    if stated is None or not (present or WSL_DEVICE.exists()):
        return present  # a variable that names GPUs brings none
    return [gpu for gpu in stated.split(",") if gpu.strip() not in ("", "-1")]


def choose_device(requested: str) -> str:
    """Resolve "auto", "gpu" or "cpu" to "gpu" or "cpu".

    Raises:
        SettingsError: If a GPU is asked for and there is none.
    """
    if requested == "gpu" and not visible_gpus():
        raise SettingsError(
            "`executor.device=gpu` needs a GPU, but none is visible; use executor.device=auto, or check "
            "nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
    return "gpu" if requested != "cpu" and visible_gpus() else "cpu"


def gpu_groups(devices: int) -> list[str]:
    """CUDA_VISIBLE_DEVICES of each run: the visible GPUs in groups of `devices`; an incomplete group stays idle.

    Raises:
        SettingsError: If not even one group is complete.
    """
    gpus = visible_gpus()
    if len(gpus) < devices:
        raise SettingsError(
            f"`executor.devices <= visible GPUs` must hold, but got {devices} devices and {len(gpus)} GPUs; lower "
            "executor.devices, or check nvidia-smi and CUDA_VISIBLE_DEVICES"
        )
    starts = range(0, len(gpus) - devices + 1, devices)
    return [",".join(gpus[start : start + devices]) for start in starts]


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_share(settings: ExecutorSettings) -> None:
    """Refuse more threads than cores: they would spin against each other, ten times slower.

    Raises:
        SettingsError: If workers * threads * devices exceeds the cores this process may use.
    """
    cores = available_cores()
    names = ["workers", "threads", *(["devices"] if settings.devices > 1 else [])]
    counts = [getattr(settings, name) for name in names]
    if math.prod(counts) > cores:
        raise SettingsError(
            f"`{' * '.join(f'executor.{name}' for name in names)} <= {cores} cores` must hold, but got "
            f"{' * '.join(map(str, counts))}; lower one of them"
        )
