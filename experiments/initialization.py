"""Initial weights in canonical layout: drawn once in NumPy, loaded into every framework."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.task import Initialization

Weights = dict[str, NDArray[Any]]


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
    return {name: _draw(name, shape, settings, seed).astype(dtype) for name, shape in shapes.items()}


def _draw(name: str, shape: tuple[int, ...], settings: Initialization, seed: int) -> NDArray[np.float64]:
    role = name.rsplit("/", maxsplit=1)[-1]
    rng = np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(name.encode())]))
    match role:
        case "kernel":
            limit = uniform_limit(settings.kernel, shape)
            return rng.uniform(-limit, limit, shape)
        case "bias":
            return np.zeros(shape)
    raise ValueError(f"a weight's role must be kernel or bias, but {name!r} has role {role!r}")


def uniform_limit(scheme: str, shape: tuple[int, ...]) -> float:
    """Half-width of the uniform distribution.

    glorot_uniform: sqrt(6 / (fan_in + fan_out)), Glorot & Bengio 2010. he_uniform: sqrt(6 / fan_in), He et al. 2015.
    Fans count the window: fan_in = h * w * in for a convolution.
    """
    window = math.prod(shape[:-2])
    fan_in, fan_out = window * shape[-2], window * shape[-1]
    return math.sqrt(6 / (fan_in + fan_out)) if scheme == "glorot_uniform" else math.sqrt(6 / fan_in)
