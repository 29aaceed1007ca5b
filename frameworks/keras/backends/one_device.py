"""What the backends have in common that train on one device, a batch at a time: names of `Backend`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import keras

from experiments.contract.arrays import Array
from experiments.contract.plan import Plan

if TYPE_CHECKING:
    from frameworks.keras.backends import Batch, Batches


def scope(*, device: str, devices: int) -> AbstractContextManager[Any]:
    return contextlib.nullcontext()


def scope_of(model: keras.Model) -> AbstractContextManager[Any]:
    return contextlib.nullcontext()


def replicas() -> tuple[int, float]:
    return 1, 1.0


def predictor(model: keras.Model) -> Callable[[Array], Array]:
    return model.predict_on_batch


def summed(optimizer: keras.optimizers.Optimizer, gradients: list[Any]) -> list[Any]:
    return gradients


def updated(variable: keras.Variable) -> keras.Variable:
    return variable


def loss_scaled(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**15, dynamic_growth_steps=2000)


def per_call(model: keras.Model, plan: Plan) -> int:
    return 1


def feed(model: keras.Model, batches: Batches) -> Iterator[Batch]:
    return batches.all()
