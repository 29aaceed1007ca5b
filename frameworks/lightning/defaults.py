"""What PyTorch does where a task leaves it to it: each default is taken by leaving its argument out."""

from __future__ import annotations

import inspect

import numpy as np
import torch
from torch import nn
from torch.utils.data import RandomSampler

from experiments.contract.arrays import Array
from experiments.task import Task
from frameworks.lightning import layers

Parameters = list[nn.Parameter]
# Word of a default -> the arguments of torch.optim that state it.
ARGUMENTS = {
    "optimizer_epsilon": ("eps",),
    "optimizer_rho": ("alpha", "rho"),
    "adagrad_start": ("initial_accumulator_value",),
    "momentum_formula": ("dampening", "momentum_decay"),
}


def layers_as_shipped(network: nn.Module, task: Task) -> None:
    """Replace the layers of a network, just built, whose arguments are left to PyTorch."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if (own := _layer(child, words=task.as_shipped)) is not None:
                setattr(parent, name, own)
        if isinstance(parent, layers.Recurrent) and "recurrent_biases" in task.as_shipped:
            parent.train_both_biases()


def _layer(layer: nn.Module, *, words: frozenset[str]) -> nn.Module | None:
    if isinstance(layer, nn.LeakyReLU) and "leaky_relu_slope" in words:
        return nn.LeakyReLU()
    if isinstance(layer, nn.GELU) and "gelu" in words:
        return nn.GELU()
    if isinstance(layer, nn.BatchNorm2d):
        stated = {"eps": layer.eps, "momentum": layer.momentum}
        left_out = {"batch_norm_epsilon": "eps", "batch_norm_momentum": "momentum"}
        for word in words & left_out.keys():
            del stated[left_out[word]]
        kind = nn.BatchNorm2d if "batch_norm_variance" in words else layers.BatchNorm2d
        return kind(layer.num_features, **stated)  # type: ignore[arg-type]  # its momentum may be None
    return None


def optimizer_as_shipped(
    made: torch.optim.Optimizer, task: Task, *, trained: Parameters, regularized: Parameters
) -> torch.optim.Optimizer:
    """The same kind of optimizer without the arguments that are left to it; weight decay is its own argument.

    Args:
        made: With every argument stated; of PyTorch's own class, as all are that a task can leave to it.
        task: For the words, and the strength of the decay.
        trained: All weights.
        regularized: Those that decay.
    """
    arguments = inspect.signature(type(made)).parameters
    left_out = {name for word in task.as_shipped for name in ARGUMENTS.get(word, ())}
    stated = {name: made.defaults[name] for name in arguments if name in made.defaults and name not in left_out}
    if "weight_decay" not in task.as_shipped:
        return type(made)(trained, **stated)
    decays = {id(parameter) for parameter in regularized}
    spared = [parameter for parameter in trained if id(parameter) not in decays]
    groups = [
        {"params": regularized, "weight_decay": task.weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return type(made)([group for group in groups if group["params"]], **stated)


def clip_as_shipped(parameters: Parameters, *, limit: float) -> None:
    """What Lightning's Trainer does at `gradient_clip_val`: the norm of all gradients together, 1e-6 added to it."""
    torch.nn.utils.clip_grad_norm_(parameters, limit)


def own_orders(n_examples: int, *, epochs: int) -> Array:
    """What a DataLoader with shuffle=True would take, from PyTorch's seeded generator: (epochs, n_examples)."""
    return np.array([list(RandomSampler(range(n_examples))) for _ in range(epochs)])
