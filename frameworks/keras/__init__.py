"""Keras 3, imported without what no run needs. The library that it computes with is fixed before."""

import os

from experiments.contract import optional_packages

# A stray ~/.keras/keras.json could change the backend, floatx and epsilon: give Keras a home that cannot be, so that
# nothing is read there and nothing left. frameworks.FRAMEWORKS states the backend.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ["KERAS_HOME"] = f"{os.devnull}/keras"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

_NEEDED = {"tensorflow": (), "jax": ("jax", "scipy"), "torch": ()}[os.environ["KERAS_BACKEND"]]
_OTHERS = {"tensorflow"} - {os.environ["KERAS_BACKEND"]}  # Keras takes it for its seed alone, where it is installed

with optional_packages.hidden(also=_OTHERS, but=_NEEDED):
    import keras

    keras.utils.set_random_seed(0)  # Keras looks for TensorFlow now, and never again
