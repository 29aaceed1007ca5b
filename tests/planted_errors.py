"""Ways to break one framework, each as a `load` that workers can use in place of frameworks.load."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

from cases import change

import frameworks
from experiments.task.networks import BatchNormalization


class Altered:
    """A framework that is given another task than the one that was asked for."""

    def __init__(self, inner, alter: Callable) -> None:
        self.inner = inner
        self.alter = alter

    def build(self, task, **keywords):
        return self.inner.build(self.alter(task), **keywords)

    def versions(self):
        return self.inner.versions()


def _norm(**numbers):
    def alter(task):
        norm = dataclasses.replace(task.network.batch_normalization, **numbers)
        assert isinstance(norm, BatchNormalization)
        return change(task, network={"batch_normalization": norm})

    return alter


ANOTHER_TASK = {  # what Keras is told instead
    "adam_epsilon": lambda task: (
        change(task, optimizer={"epsilon": 1e-7}) if hasattr(task.optimizer, "epsilon") else task
    ),
    "momentum": lambda task: change(task, optimizer={"momentum": 0.95}) if task.optimizer.momentum else task,
    "batch_norm_decay": _norm(decay=0.99),
    "batch_norm_epsilon": _norm(epsilon=1e-3),
    "dropout_rate": lambda task: change(task, regularization={"dropout": 0.45}),
}


def _unbiased_variance():
    from torch import nn

    from frameworks.lightning import layers

    layers.BatchNorm2d.forward = nn.BatchNorm2d.forward


def _gate_order():
    from frameworks.lightning import weights

    weights.GRU_ORDER = (0, 1, 2)


def _channels_first_flatten():
    from frameworks.lightning import layers

    layers.Flatten.forward = lambda self, inputs: inputs.flatten(start_dim=1)


def _coupled_decay():
    """What torch.optim.Adam(weight_decay=...) does: the decay goes through the gradient."""
    import torch

    from frameworks.lightning import optimizers

    def before_step(task, trained, regularized, *, rate):
        for parameter in regularized:
            parameter.grad.add_(parameter.detach(), alpha=task.weight_decay)

    optimizers.before_step = torch.no_grad()(before_step)


def _swapped_batches():
    from experiments.contract.plan import FixedPlan

    straight = FixedPlan.batches

    def batches(self, epoch):
        given = list(straight(self, epoch))
        if len(given) > 1 and epoch == 1:
            given[0], given[1] = given[1], given[0]
        yield from given

    FixedPlan.batches = batches


PATCHES = {  # what is changed inside the Lightning worker
    "unbiased_variance": _unbiased_variance,
    "gate_order": _gate_order,
    "channels_first_flatten": _channels_first_flatten,
    "coupled_decay": _coupled_decay,
    "swapped_batches": _swapped_batches,
}


@dataclass(frozen=True)
class PlantedError:
    """frameworks.load, with one framework broken."""

    kind: str

    def __call__(self, name: str):
        framework = frameworks.load(name)
        if name == "keras" and self.kind in ANOTHER_TASK:
            return Altered(framework, ANOTHER_TASK[self.kind])
        if name == "lightning" and self.kind in PATCHES:
            PATCHES[self.kind]()
        return framework
