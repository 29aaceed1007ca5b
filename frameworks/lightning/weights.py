"""PyTorch's weights <-> canonical weights, by layer type. Raises on anything unmapped.

The same map carries gradients: a gradient has the layout of its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from experiments.contract.arrays import Array, Weights

Tensors = dict[str, torch.Tensor]
GRU_ORDER = (1, 0, 2)  # PyTorch: reset, update, candidate; canonical: update, reset, candidate; its own inverse


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one canonical weight lives: PyTorch's tensors, and how their arrays become the canonical one and back."""

    tensors: tuple[torch.Tensor, ...]
    join: Callable[[list[Array]], Array]
    split: Callable[[Array], list[Array]]


def _as_it_is(tensor: torch.Tensor) -> Place:
    return Place(tensors=(tensor,), join=lambda arrays: arrays[0], split=lambda array: [array])


def _transposed(tensor: torch.Tensor) -> Place:
    """(out, in) <-> (in, out)."""
    return Place(tensors=(tensor,), join=lambda arrays: arrays[0].T, split=lambda array: [array.T])


def _convolution(tensor: torch.Tensor) -> Place:
    """(out, in, h, w) <-> (h, w, in, out)."""
    return Place(
        tensors=(tensor,),
        join=lambda arrays: arrays[0].transpose(2, 3, 1, 0),
        split=lambda array: [array.transpose(3, 2, 0, 1)],
    )


def _gates(array: Array) -> Array:
    """Exchange a gru's reset and update gates, along the first axis."""
    parts = np.split(array, 3)
    return np.concatenate([parts[index] for index in GRU_ORDER])


def _gru_kernel(tensor: torch.Tensor) -> Place:
    return Place(tensors=(tensor,), join=lambda arrays: _gates(arrays[0]).T, split=lambda array: [_gates(array.T)])


def _gru_bias(first: torch.Tensor, second: torch.Tensor) -> Place:
    """Two vectors <-> one array (2, 3 units)."""
    return Place(
        tensors=(first, second),
        join=lambda arrays: np.stack([_gates(array) for array in arrays]),
        split=lambda array: [_gates(row) for row in array],
    )


def _summed(first: torch.Tensor, second: torch.Tensor) -> Place:
    """Two vectors that only ever act by their sum <-> the sum; the second one begins at 0."""
    return Place(
        tensors=(first, second),
        join=lambda arrays: arrays[0] + arrays[1],
        split=lambda array: [array, np.zeros_like(array)],
    )


def _linear(layer: nn.Linear) -> dict[str, Place]:
    return {"kernel": _transposed(layer.weight), "bias": _as_it_is(layer.bias)}


def _conv(layer: nn.Conv2d) -> dict[str, Place]:
    bias = {} if layer.bias is None else {"bias": _as_it_is(layer.bias)}
    return {"kernel": _convolution(layer.weight), **bias}


def _batch_norm(layer: nn.BatchNorm2d) -> dict[str, Place]:
    return {
        "gamma": _as_it_is(layer.weight),
        "beta": _as_it_is(layer.bias),
        "moving_mean": _as_it_is(layer.get_buffer("running_mean")),
        "moving_variance": _as_it_is(layer.get_buffer("running_var")),
    }


def _embedding(layer: nn.Embedding) -> dict[str, Place]:
    return {"embeddings": _as_it_is(layer.weight)}


def _recurrent(layer: nn.RNNBase) -> dict[str, Place]:
    directions = {"forward/": "_l0", "backward/": "_l0_reverse"} if layer.bidirectional else {"": "_l0"}
    places = {}
    for prefix, suffix in directions.items():
        kernel, recurrent, bias, second_bias = (
            getattr(layer, name + suffix) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        is_gru = isinstance(layer, nn.GRU)
        matrix = _gru_kernel if is_gru else _transposed
        places[f"{prefix}kernel"] = matrix(kernel)
        places[f"{prefix}recurrent_kernel"] = matrix(recurrent)
        one = _summed(bias, second_bias) if second_bias.requires_grad else _as_it_is(bias)
        places[f"{prefix}bias"] = _gru_bias(bias, second_bias) if is_gru else one
    return places


PLACES: dict[type[nn.Module], Callable[[Any], dict[str, Place]]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm2d: _batch_norm,
    nn.Embedding: _embedding,
    nn.RNN: _recurrent,
    nn.LSTM: _recurrent,
    nn.GRU: _recurrent,
}


def _layers(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every layer that holds tensors of its own, under its canonical name."""
    for path, layer in module.named_modules():
        if any(True for _ in layer.parameters(recurse=False)) or any(True for _ in layer.buffers(recurse=False)):
            yield path.removesuffix(".cell").replace(".", "_"), layer


def places(module: nn.Module, /) -> dict[str, Place]:
    """Canonical name -> place of every weight; raise KeyError on an unmapped layer or tensor."""
    by_name: dict[str, Place] = {}
    for name, layer in _layers(module):
        kind = next((kind for kind in type(layer).__mro__ if kind in PLACES), None)
        if kind is None:
            raise KeyError(f"{name}: no map for the weights of {type(layer).__name__}")
        by_name |= {f"{name}/{role}": place for role, place in PLACES[kind](layer).items()}
    mapped = {id(tensor) for place in by_name.values() for tensor in place.tensors}
    lost = [name for name, tensor in module.named_parameters() if tensor.requires_grad and id(tensor) not in mapped]
    if lost:
        raise KeyError(f"no map for {', '.join(lost)}")
    return by_name


def read(module: nn.Module, /) -> Weights:
    """Copies of all weights, canonical."""
    return {
        name: np.array(place.join([tensor.detach().cpu().numpy() for tensor in place.tensors]), order="C")
        for name, place in places(module).items()
    }


def write(module: nn.Module, weights: Weights, /) -> None:
    """Replace every weight; raise KeyError on a missing or unknown name."""
    by_name = places(module)
    if by_name.keys() != weights.keys():
        raise KeyError(f"weights must be {sorted(by_name)}, but got {sorted(weights)}")
    with torch.no_grad():
        for name, place in by_name.items():
            for tensor, array in zip(place.tensors, place.split(weights[name]), strict=True):
                tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def write_gradients(module: nn.Module, gradients: Weights, /) -> None:
    """Set the gradient of every weight that is named, laid out as the weight: a fused optimizer reads memory alone."""
    by_name = places(module)
    for name, gradient in gradients.items():
        for tensor, array in zip(by_name[name].tensors, by_name[name].split(gradient), strict=True):
            tensor.grad = torch.empty_like(tensor).copy_(torch.from_numpy(np.ascontiguousarray(array)))


def parameters(module: nn.Module, /) -> dict[str, list[nn.Parameter]]:
    """Canonical name -> trained tensors: what groups of parameters are listed by."""
    return {
        name: [tensor for tensor in place.tensors if isinstance(tensor, nn.Parameter) and tensor.requires_grad]
        for name, place in places(module).items()
    }
