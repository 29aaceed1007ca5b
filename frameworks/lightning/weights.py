"""PyTorch's weights <-> canonical weights, by layer type. Raises on anything unmapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from experiments.initialization import Weights

Array = NDArray[Any]
Transpose = Callable[[Array], Array]


def _same(array: Array) -> Array:
    return array


def _linear(array: Array) -> Array:
    return array.T  # (out, in) <-> (in, out)


def _conv_to_canonical(array: Array) -> Array:
    return array.transpose(2, 3, 1, 0)  # (out, in, h, w) -> (h, w, in, out)


def _conv_from_canonical(array: Array) -> Array:
    return array.transpose(3, 2, 0, 1)


# layer type -> {PyTorch's name: (canonical role, to canonical, from canonical)}
ROLES: dict[type[nn.Module], dict[str, tuple[str, Transpose, Transpose]]] = {
    nn.Linear: {"weight": ("kernel", _linear, _linear), "bias": ("bias", _same, _same)},
    nn.Conv2d: {"weight": ("kernel", _conv_to_canonical, _conv_from_canonical), "bias": ("bias", _same, _same)},
}


def _mapped(module: nn.Module) -> Iterator[tuple[str, torch.Tensor, Transpose, Transpose]]:
    """Canonical name, tensor and the two conversions of every weight; raise KeyError on an unmapped one."""
    for path, layer in module.named_modules():
        for name, tensor in layer.named_parameters(recurse=False):
            role, to_canonical, from_canonical = ROLES[type(layer)][name]
            yield f"{path.replace('.', '_')}/{role}", tensor, to_canonical, from_canonical


def read(module: nn.Module, /) -> Weights:
    """Copies of all weights, canonical."""
    return {
        name: np.ascontiguousarray(to_canonical(tensor.detach().cpu().numpy())).copy()
        for name, tensor, to_canonical, _ in _mapped(module)
    }


def write(module: nn.Module, weights: Weights, /) -> None:
    """Replace every weight; raise KeyError on a missing or unknown name."""
    places = {name: (tensor, from_canonical) for name, tensor, _, from_canonical in _mapped(module)}
    if places.keys() != weights.keys():
        raise KeyError(f"weights must be {sorted(places)}, but got {sorted(weights)}")
    with torch.no_grad():
        for name, (tensor, from_canonical) in places.items():
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(from_canonical(weights[name]))))
