"""What Keras does where a task leaves it to it: each default is taken by leaving its argument out."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from keras import layers

from experiments.contract.arrays import Array
from experiments.task import Task
from frameworks.keras.layers import LeakyReLU, exact_gelu

# Word of a default -> the arguments that state it, of optimizers and of layers.
ARGUMENTS = {
    "optimizer_epsilon": ("epsilon", "epsilon_1", "epsilon_2"),
    "optimizer_rho": ("rho",),
    "adagrad_start": ("initial_accumulator_value",),
}
LAYER_ARGUMENTS: dict[str, tuple[type[layers.Layer], str]] = {
    "batch_norm_epsilon": (layers.BatchNormalization, "epsilon"),
    "batch_norm_momentum": (layers.BatchNormalization, "momentum"),
    "gru_reset": (layers.GRU, "reset_after"),
}
FORMULAS = ("optimizer_formula", "momentum_formula", "weight_decay", "clipping")  # those of Keras' own classes
OF_LAYERS = frozenset({"leaky_relu_slope", "gelu", *LAYER_ARGUMENTS})


def layers_as_shipped(model: keras.Model, task: Task) -> keras.Model:
    """The model, just built, without the arguments of its layers that are left to Keras: a new one where there are."""
    words = task.as_shipped & OF_LAYERS
    return keras.models.clone_model(model, clone_function=lambda layer: _layer(layer, words)) if words else model


def _layer(layer: layers.Layer, words: frozenset[str]) -> layers.Layer:
    if isinstance(layer, LeakyReLU) and "leaky_relu_slope" in words:
        return layers.LeakyReLU(name=layer.name)
    if isinstance(layer, layers.Activation) and layer.activation is exact_gelu and "gelu" in words:
        return layers.Activation("gelu", name=layer.name)
    config = layer.get_config()
    wrapped = config["layer"] if isinstance(layer, layers.Bidirectional) else None
    inner = layer.forward_layer if wrapped else layer
    for word in words & LAYER_ARGUMENTS.keys():
        kind, argument = LAYER_ARGUMENTS[word]
        if isinstance(inner, kind):
            (wrapped["config"] if wrapped else config).pop(argument)
    return layer.__class__.from_config(config)


def optimizer_as_shipped(made: keras.optimizers.Optimizer, task: Task, *, rate: Any) -> keras.optimizers.Optimizer:
    """The same optimizer without the arguments that are left to it; with Keras' own formula where that is as shipped.

    Args:
        made: Of our class, with every argument stated.
        task: For the words, and the limit of its clipping.
        rate: The schedule that `made` has.
    """
    own = next(kind for kind in type(made).__mro__ if kind.__module__.startswith("keras."))
    kind = own if "optimizer_formula" in task.as_shipped or "momentum_formula" in task.as_shipped else type(made)
    left_out = {name for word in task.as_shipped for name in ARGUMENTS.get(word, ())}
    known = inspect.signature(own).parameters
    stated = {name: value for name, value in made.get_config().items() if name in known and name not in left_out}
    if "clipping" in task.as_shipped:  # Keras' argument for a norm is about each variable's
        stated |= {"clipnorm": task.regularization.clip.limit, "global_clipnorm": None}
    return kind(**stated | {"learning_rate": rate})


def own_orders(n_examples: int, *, seed: int, epochs: int) -> Array:
    """Permutations as keras.random draws them, (epochs, n_examples)."""
    generator = keras.random.SeedGenerator(seed)
    drawn = [keras.random.shuffle(np.arange(n_examples, dtype="int32"), seed=generator) for _ in range(epochs)]
    return np.array([keras.ops.convert_to_numpy(each) for each in drawn])
