"""float64 that stays float64: on JAX and PyTorch Keras computes many an operation of it in float32.

Keras has no public name for it. A test says when it is not needed any more.
"""

from keras.src.backend.common import dtypes


def keep(is_wanted: bool) -> None:  # noqa: FBT001
    """For certificates and tasks in float64; otherwise Keras' own rule."""
    dtypes.BIT64_TO_BIT32_DTYPE["float64"] = "float64" if is_wanted else "float32"
