"""A multilayer perceptron and its derivative, written out. Same layer names as in the other frameworks' networks.py.

A row is an example. Layer k = 1, ..., depth has the kernel W_k (in, out), the bias b_k (out,) and the activation f;
the last layer, the logits, has no activation. d_x stands for the derivative of the loss by x, and has the shape of x.

    forward                         backward, from the last layer to the first

    a_0 = inputs, flattened         d_b_k     = sum of the rows of d_z_k
    z_k = a_{k-1} W_k + b_k         d_W_k     = a_{k-1}^T d_z_k
    a_k = f(z_k)                    d_a_{k-1} = d_z_k W_k^T
                                    d_z_{k-1} = d_a_{k-1} * f'(z_{k-1}), element by element
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.contract.arrays import Weights
from experiments.contract.initialization import initial_weights
from experiments.task import Task
from experiments.task.networks import MlpSettings

Array = NDArray[np.float64]


def sigmoid(z: Array) -> Array:
    """1 / (1 + exp(-z)), multiplied through by exp(z) where z < 0, so that no exp overflows."""
    small = np.exp(-np.abs(z))
    result: Array = np.where(z >= 0, 1.0, small) / (1 + small)
    return result


def relu(z: Array) -> Array:
    """max(z, 0)."""
    return np.maximum(z, 0)


@dataclass(frozen=True)
class Activation:
    """A function f, and its derivative f'(z) as a function of the *output* a = f(z): z need not be kept."""

    function: Callable[[Array], Array]
    slope: Callable[[Array], Array]


ACTIVATIONS = {
    "sigmoid": Activation(sigmoid, lambda a: a * (1 - a)),
    "tanh": Activation(np.tanh, lambda a: 1 - a**2),
    "relu": Activation(relu, lambda a: (a > 0).astype(np.float64)),  # 0 at z = 0, as in PyTorch and TensorFlow
}


@dataclass(kw_only=True)
class Mlp:
    """Flatten, `depth` dense layers with activation, logits. `weights` under canonical names, float64."""

    depth: int
    activation: Activation
    weights: Weights

    def forward(self, inputs: Array) -> dict[str, Array]:
        """Output of every layer by name, in order, each (n, width): flatten, dense1, activation1, ..., logits."""
        outputs = {"flatten": inputs.reshape(len(inputs), -1).astype(np.float64)}
        a = outputs["flatten"]
        for k in range(1, self.depth + 1):
            outputs[f"dense{k}"] = self._dense(f"dense{k}", a)
            outputs[f"activation{k}"] = a = self.activation.function(outputs[f"dense{k}"])
        outputs["logits"] = self._dense("logits", a)
        return outputs

    def _dense(self, layer: str, a: Array) -> Array:
        """(n, in) -> (n, out)."""
        z: Array = a @ self.weights[f"{layer}/kernel"] + self.weights[f"{layer}/bias"]
        return z

    def backward(self, outputs: dict[str, Array], d_logits: Array) -> Weights:
        """Derivative of the loss by every weight: backpropagation, Rumelhart et al. 1986.

        Args:
            outputs: What `forward` returned, with the weights as they are now.
            d_logits: Derivative of the loss by the logits, shape (n, n_outputs).
        """
        gradients: Weights = {}
        layer, d_z = "logits", d_logits
        for k in range(self.depth, 0, -1):
            a = outputs[f"activation{k}"]
            gradients |= self._dense_gradients(layer, a, d_z)
            d_a = d_z @ self.weights[f"{layer}/kernel"].T
            layer, d_z = f"dense{k}", d_a * self.activation.slope(a)
        return gradients | self._dense_gradients(layer, outputs["flatten"], d_z)

    @staticmethod
    def _dense_gradients(layer: str, a: Array, d_z: Array) -> Weights:
        return {f"{layer}/kernel": a.T @ d_z, f"{layer}/bias": d_z.sum(axis=0)}


def mlp(network: MlpSettings, *, input_shape: tuple[int, ...], n_outputs: int, seed: int) -> Mlp:
    """Flatten, `depth` dense layers with activation, logits; the seed's initial weights.

    Args:
        network: Depth, widths, activation and the scheme of the weights.
        input_shape: Of one example.
        n_outputs: Number of logits.
        seed: Of the initial weights.
    """
    layers = [f"dense{k}" for k in range(1, network.depth + 1)] + ["logits"]
    widths = [math.prod(input_shape), *network.widths, n_outputs]
    shapes: dict[str, tuple[int, ...]] = {}
    for layer, n_in, n_out in zip(layers, widths[:-1], widths[1:], strict=True):
        shapes |= {f"{layer}/kernel": (n_in, n_out), f"{layer}/bias": (n_out,)}
    weights = initial_weights(shapes, settings=network.initialization, seed=seed, dtype="float64")
    return Mlp(depth=network.depth, activation=ACTIVATIONS[network.activation], weights=weights)


NETWORKS: dict[str, Callable[..., Mlp]] = {"mlp": mlp}


def network(task: Task, *, input_shape: tuple[int, ...], n_outputs: int, seed: int) -> Mlp:
    """The network that the task names; the arguments are those of `mlp`."""
    return NETWORKS[task.network.kind](task.network, input_shape=input_shape, n_outputs=n_outputs, seed=seed)
