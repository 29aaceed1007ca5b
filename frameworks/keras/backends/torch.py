"""Keras on PyTorch: the names of `Backend`. Steps are taken one by one; one device."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import torch
from keras import ops

from experiments.contract import refuse_compiled_steps, require_gpus
from experiments.contract.arrays import Array
from experiments.task import Training
from frameworks.keras.backends import float64
from frameworks.keras.backends.one_device import (  # noqa: F401  # names of `Backend`, as all that stand here are
    feed,
    loss_scaled,
    per_call,
    predictor,
    replicas,
    scope,
    scope_of,
    summed,
    updated,
)

# In it Keras computes on the device that the run was told; it is left when there is another.
_told = contextlib.ExitStack()


def prepare(training: Training, *, device: str, devices: int) -> None:
    refuse_compiled_steps(training, by="keras_torch")
    if training.precision == "mixed_float16":
        raise ValueError("`framework=keras_torch` has no mixed_float16; take float32, float64 or mixed_bfloat16")
    if device == "gpu":
        require_gpus(devices, seen=torch.cuda.device_count(), by="PyTorch")
    _told.close()
    _told.enter_context(keras.device(device))  # of its own it takes the GPU of a Mac
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.use_deterministic_algorithms(mode=True)
    float64.keep(training.precision == "float64")


def as_by_hand() -> None:
    torch.use_deterministic_algorithms(mode=False)


def versions() -> dict[str, str]:
    return {"torch": str(torch.__version__)}  # it is of a class of PyTorch's: who read it would import PyTorch


def devices() -> list[str]:
    gpus = range(torch.cuda.device_count())
    return ["cpu", *(f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in gpus)]


def device_peak_bytes() -> int:
    return max(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))


def take_steps(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable], gradients: Iterable[Sequence[Array]]
) -> None:
    with torch.no_grad():
        for given in gradients:
            optimizer.apply([ops.convert_to_tensor(gradient) for gradient in given], variables)


def synchronize(model: keras.Model, *, device: str) -> None:
    if device == "gpu":
        torch.cuda.synchronize()


def only_if(condition: Any, update: Callable[[], None], *, changes: Sequence[keras.Variable]) -> None:
    if condition:
        update()


def write(losses: keras.Variable, step: keras.Variable, loss: Any) -> None:
    losses.value[step.value] = loss.detach().to(losses.value.dtype)
    step.assign_add(1)


def trainer(model: keras.Model, *, jit: bool) -> tuple[keras.Model, bool]:
    return model, jit


def is_compiled(*, jit: bool) -> bool:
    return jit
