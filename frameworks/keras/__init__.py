"""Keras 3 on TensorFlow, imported without what no run needs. The backend is fixed before."""

import os

from experiments.contract import optional_packages

# A stray ~/.keras/keras.json could change the backend, floatx and epsilon: give Keras a home that cannot be, so that
# nothing is read there and nothing left.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = f"{os.devnull}/keras"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

with optional_packages.hidden():
    import keras  # noqa: F401
