"""Keras 3 on TensorFlow. The backend is fixed before Keras is imported for the first time."""

import os

# A stray ~/.keras/keras.json could change the backend, floatx and epsilon: give Keras a home that cannot be, so that
# nothing is read there and nothing left.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = f"{os.devnull}/keras"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
