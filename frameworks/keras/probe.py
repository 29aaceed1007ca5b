"""What Keras and the library that it computes with tell of themselves on this machine: `experiments.contract.Probe`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from experiments.contract.arrays import Array
from frameworks.keras.backends import backend


def devices() -> list[str]:
    return backend.devices()


def settings() -> dict[str, str]:
    return {
        "backend": keras.backend.backend(),
        "threads": os.environ.get("OMP_NUM_THREADS", "its own choice"),
        "floats": keras.config.floatx(),
        "images": keras.config.image_data_format(),
    }


def matrix_product(first: Array, second: Array, /) -> Callable[[], None]:
    a, b = ops.convert_to_tensor(first), ops.convert_to_tensor(second)
    return lambda: _done(ops.matmul(a, b))


def convolution(images: Array, kernel: Array, /) -> Callable[[], None]:
    given, filters = ops.convert_to_tensor(images), ops.convert_to_tensor(kernel)
    return lambda: _done(ops.conv(given, filters, padding="valid"))


def _done(result: Any) -> None:
    """Fetch one number: what it was computed from is ready then, on every backend."""
    float(ops.convert_to_numpy(ops.reshape(result, (-1,))[0]))
