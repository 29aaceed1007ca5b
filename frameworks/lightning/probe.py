"""What PyTorch tells of itself on this machine: `experiments.contract.Probe`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from experiments.contract.arrays import Array


def devices() -> list[str]:
    """The CPU, and every GPU with its name and memory."""
    gpus = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    return ["cpu", *(f"cuda:{index} {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB" for index, gpu in enumerate(gpus))]


def settings() -> dict[str, str]:
    found = {
        "threads": str(torch.get_num_threads()),
        "kernels for": torch.backends.cpu.get_cpu_capability(),
        "oneDNN": "yes" if torch.backends.mkldnn.is_available() else "no",  # type: ignore[no-untyped-call]
    }
    if torch.version.cuda:
        found |= {"CUDA": torch.version.cuda, "cuDNN": str(torch.backends.cudnn.version())}  # type: ignore[no-untyped-call]
    return found


def matrix_product(first: Array, second: Array, /) -> Callable[[], None]:
    a, b = _placed(first), _placed(second)
    return lambda: _done(a @ b)


def convolution(images: Array, kernel: Array, /) -> Callable[[], None]:
    given = _placed(images).permute(0, 3, 1, 2)
    filters = _placed(kernel).permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)
    return lambda: _done(torch.nn.functional.conv2d(given, filters))


def _placed(array: Array) -> torch.Tensor:
    return torch.from_numpy(array).to("cuda" if torch.cuda.is_available() else "cpu")


def _done(result: torch.Tensor) -> None:
    if result.is_cuda:
        torch.cuda.synchronize()
