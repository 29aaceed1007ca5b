"""Initial weights in canonical layout: drawn once in NumPy, loaded into every framework."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from experiments.contract.arrays import Weights
from experiments.task.networks import Initialization

ONES = ("gamma", "moving_variance")
ZEROS = ("beta", "moving_mean")


def initial_weights(
    shapes: Mapping[str, tuple[int, ...]], *, settings: Initialization, seed: int, dtype: str
) -> Weights:
    """Draw every weight of a network.

    Each weight has a random stream of its own, keyed by (seed, its name): adding a layer leaves the others alone.

    Args:
        shapes: Canonical name "layer/role" -> shape; dense kernels (in, out), convolutions (h, w, in, out).
        settings: The scheme of each role.
        seed: The run's seed.
        dtype: Type of the result; the draw itself is float64, so float32 is the rounded float64.

    Raises:
        ValueError: If a name has a role that has no scheme.
    """
    return {name: _draw(name, shapes, settings, seed).astype(dtype) for name in shapes}


def with_shipped(drawn: Weights, own: Weights, *, words: Collection[str]) -> Weights:
    """The drawn weights, but the framework's own where the task leaves them to it.

    Args:
        drawn: What `initial_weights` drew.
        own: What the framework drew as it was built, under the same names.
        words: Of the defaults that are as shipped: initializers, lstm_forget_bias, embedding_range.
    """
    mixed = {}
    for name, weight in drawn.items():
        layer, _, role = name.rpartition("/")
        word = "embedding_range" if role == "embeddings" else "initializers"
        mixed[name] = own[name] if word in words else weight
        recurrent = drawn.get(f"{layer}/recurrent_kernel")
        if role == "bias" and recurrent is not None and recurrent.shape[1] == 4 * recurrent.shape[0]:
            forget = slice(recurrent.shape[0], 2 * recurrent.shape[0])
            mixed[name] = mixed[name].copy()
            mixed[name][forget] = (own if "lstm_forget_bias" in words else drawn)[name][forget]
    return mixed


def _draw(name: str, shapes: Mapping[str, tuple[int, ...]], settings: Initialization, seed: int) -> NDArray[np.float64]:
    layer, _, role = name.rpartition("/")
    shape = shapes[name]
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    if role == "kernel":
        limit = uniform_limit(settings.kernel, shape)
        return rng.uniform(-limit, limit, shape)
    if role == "recurrent_kernel":
        return orthogonal(shape, rng=rng)
    if role == "embeddings":
        return rng.uniform(-settings.embeddings, settings.embeddings, shape)
    if role == "bias":
        return _bias(shapes, layer, settings, rng)
    if role in ONES or role in ZEROS:
        return np.ones(shape) if role in ONES else np.zeros(shape)
    raise ValueError(f"a weight's role must have a scheme, but {name!r} has role {role!r}")


def _bias(
    shapes: Mapping[str, tuple[int, ...]], layer: str, settings: Initialization, rng: np.random.Generator
) -> NDArray[np.float64]:
    shape = shapes[f"{layer}/bias"]
    if settings.bias == "fan_in_uniform":
        limit = 1 / math.sqrt(math.prod(shapes[f"{layer}/kernel"][:-1]))
        return rng.uniform(-limit, limit, shape)
    bias = np.zeros(shape)
    recurrent = shapes.get(f"{layer}/recurrent_kernel")
    if recurrent is not None and recurrent[1] == 4 * recurrent[0]:  # an lstm: input, forget, cell, output
        bias[recurrent[0] : 2 * recurrent[0]] = settings.forget_bias
    return bias


def uniform_limit(scheme: str, shape: tuple[int, ...]) -> float:
    """Half-width of the uniform distribution.

    glorot_uniform: sqrt(6 / (fan_in + fan_out)), Glorot & Bengio 2010. he_uniform: sqrt(6 / fan_in), He et al. 2015.
    Fans count the window: fan_in = h * w * in for a convolution.
    """
    window = math.prod(shape[:-2])
    fan_in, fan_out = window * shape[-2], window * shape[-1]
    return math.sqrt(6 / (fan_in + fan_out)) if scheme == "glorot_uniform" else math.sqrt(6 / fan_in)


def orthogonal(shape: tuple[int, ...], *, rng: np.random.Generator) -> NDArray[np.float64]:
    """A matrix (units, gates * units) with orthonormal rows: QR of a normal one (Saxe et al. 2014)."""
    q, r = np.linalg.qr(rng.standard_normal(shape[::-1]))
    rows: NDArray[np.float64] = (q * np.sign(np.diag(r))).T
    return rows
