"""Keras' weights <-> canonical weights, by layer type. The layout is Keras' own; raises on anything unmapped."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from experiments.contract.arrays import Weights
from frameworks.keras.layers import FixedDropout

RECURRENT = (layers.SimpleRNN, layers.LSTM, layers.GRU)
# layer type -> roles of its weights; an empty set: what it holds is no weight of the network
ROLES: dict[type[layers.Layer], set[str]] = {
    layers.Dense: {"kernel", "bias"},
    layers.Conv2D: {"kernel", "bias"},
    layers.BatchNormalization: {"gamma", "beta", "moving_mean", "moving_variance"},
    layers.Embedding: {"embeddings"},
    layers.SimpleRNN: {"kernel", "recurrent_kernel", "bias"},
    layers.LSTM: {"kernel", "recurrent_kernel", "bias"},
    layers.GRU: {"kernel", "recurrent_kernel", "bias"},
    layers.Dropout: set(),
    layers.SpatialDropout2D: set(),
    FixedDropout: set(),
}


def variables(model: keras.Model, /) -> dict[str, keras.Variable]:
    """Canonical name -> variable of every weight; raise KeyError on an unmapped layer or variable."""
    by_name: dict[str, keras.Variable] = {}
    for layer in model.layers:
        if isinstance(layer, layers.Bidirectional):
            by_name |= _of_layer(layer.forward_layer, f"{layer.name}/forward")
            by_name |= _of_layer(layer.backward_layer, f"{layer.name}/backward")
        elif layer.weights:
            by_name |= _of_layer(layer, layer.name)
    return by_name


def _of_layer(layer: layers.Layer, name: str) -> dict[str, keras.Variable]:
    if type(layer) not in ROLES:
        raise KeyError(f"{name}: no map for the weights of {type(layer).__name__}")
    roles = ROLES[type(layer)]
    unmapped = [variable.name for variable in layer.weights if roles and variable.name not in roles]
    if unmapped:
        raise KeyError(f"no map for {name}/{', '.join(unmapped)}")
    return {f"{name}/{variable.name}": variable for variable in layer.weights if variable.name in roles}


def read(model: keras.Model, /) -> Weights:
    """Copies of all weights, canonical."""
    return {name: np.array(keras.ops.convert_to_numpy(variable)) for name, variable in variables(model).items()}


def write(model: keras.Model, weights: Weights, /) -> None:
    """Replace every weight; raise KeyError on a missing or unknown name."""
    by_name = variables(model)
    if by_name.keys() != weights.keys():
        raise KeyError(f"weights must be {sorted(by_name)}, but got {sorted(weights)}")
    for name, variable in by_name.items():
        variable.assign(weights[name])
