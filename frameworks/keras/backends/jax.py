"""Keras on JAX: the names of `Backend`. Every step is compiled; one device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jaxlib
import keras
from keras import ops

from experiments.contract import require_gpus
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


def _pin_threads() -> None:
    """XLA counts its threads, and sees its flags, when the first array is made."""
    threads = os.environ.get("OMP_NUM_THREADS", "1")
    os.environ.setdefault("NPROC", threads)
    flags = os.environ.get("XLA_FLAGS", "").split()
    ours = ["--xla_gpu_deterministic_ops=true"]
    if threads == "1":
        ours.append("--xla_cpu_multi_thread_eigen=false")
    os.environ["XLA_FLAGS"] = " ".join(dict.fromkeys([*ours, *flags]))


_pin_threads()


def prepare(training: Training, *, device: str, devices: int) -> None:
    if training.precision == "mixed_float16":
        raise ValueError("`framework=keras_jax` has no mixed_float16; take float32, float64 or mixed_bfloat16")
    if device == "gpu":
        require_gpus(devices, seen=sum(each.platform == "gpu" for each in jax.devices()), by="JAX")
    jax.config.update("jax_enable_x64", training.precision == "float64")
    jax.config.update("jax_default_matmul_precision", "highest")  # no TF32
    float64.keep(training.precision == "float64")


def as_by_hand() -> None:
    """Nothing of `prepare` takes time on a CPU, and what XLA was told of a GPU stays."""


def versions() -> dict[str, str]:
    return {"jax": jax.__version__, "jaxlib": jaxlib.__version__}


def devices() -> list[str]:
    gpus = [each for each in jax.devices() if each.platform == "gpu"]
    return [*map(str, jax.devices("cpu")), *(f"{each} {each.device_kind}" for each in gpus)]


def device_peak_bytes() -> int:
    return max(each.memory_stats()["peak_bytes_in_use"] for each in jax.devices() if each.platform == "gpu")


def take_steps(
    optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable], gradients: Iterable[Sequence[Array]]
) -> None:
    step = jax.jit(optimizer.stateless_apply)
    state, weights = [each.value for each in optimizer.variables], [each.value for each in variables]
    for given in gradients:
        weights, state = step(state, list(given), weights)
    for variable, value in zip([*variables, *optimizer.variables], [*weights, *state], strict=True):
        variable.assign(value)


def synchronize(model: keras.Model, *, device: str) -> None:
    jax.block_until_ready([variable.value for variable in model.variables])


def only_if(condition: Any, update: Callable[[], None], *, changes: Sequence[keras.Variable]) -> None:
    """A branch of JAX's may not assign: both are computed, and one is taken."""
    before = [variable.value for variable in changes]
    update()
    for variable, value in zip(changes, before, strict=True):
        variable.assign(ops.where(condition, variable.value, value))


def write(losses: keras.Variable, step: keras.Variable, loss: Any) -> None:
    losses.assign(losses.value.at[step.value].set(ops.cast(loss, losses.dtype)))
    step.assign_add(1)


def trainer(model: keras.Model, *, jit: bool) -> tuple[keras.Model, bool]:
    return model, True


def is_compiled(*, jit: bool) -> bool:
    return True  # op by op it would be no program that anybody has
