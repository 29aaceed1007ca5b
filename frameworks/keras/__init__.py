"""Keras 3 on TensorFlow. The backend is fixed before Keras is imported for the first time."""

import os
import tempfile

# A stray ~/.keras/keras.json could change the backend, floatx and epsilon: give Keras an empty home.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-home-")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
