"""Keras' weights <-> canonical weights. The canonical layout is Keras' own; raises on anything unmapped."""

from __future__ import annotations

from collections.abc import Iterator

import keras
import numpy as np

from experiments.initialization import Weights

# layer type -> roles of its weights
ROLES: dict[type[keras.layers.Layer], set[str]] = {
    keras.layers.Dense: {"kernel", "bias"},
    keras.layers.Conv2D: {"kernel", "bias"},
    keras.layers.Dropout: set(),
}


def _mapped(model: keras.Model) -> Iterator[tuple[str, keras.Variable]]:
    """Canonical name and variable of every weight; raise KeyError on an unmapped one."""
    for layer in model.layers:
        for variable in layer.weights:
            if variable.name not in ROLES[type(layer)]:
                raise KeyError(f"{layer.name}/{variable.name}")
            yield f"{layer.name}/{variable.name}", variable


def read(model: keras.Model, /) -> Weights:
    """Copies of all weights, canonical."""
    return {name: np.array(keras.ops.convert_to_numpy(variable)) for name, variable in _mapped(model)}


def write(model: keras.Model, weights: Weights, /) -> None:
    """Replace every weight; raise KeyError on a missing or unknown name."""
    places = dict(_mapped(model))
    if places.keys() != weights.keys():
        raise KeyError(f"weights must be {sorted(places)}, but got {sorted(weights)}")
    for name, variable in places.items():
        variable.assign(weights[name])
