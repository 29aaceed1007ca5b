"""A program as Keras' examples write it: layers, `compile`, `fit` on arrays, nothing tuned.

python plain_keras.py DATA.npz --network cnn --epochs 5
DATA.npz holds x_train, y_train, x_test, y_test as the task has them: float32, channels last; a sequence ends in zeros.
Prints one JSON line: seconds of each epoch, test accuracy, seconds from the start to the end, peak memory, weights.
"""

import time

started = time.perf_counter()
import argparse
import json
import os
import resource

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--network", choices=["mlp", "cnn", "lstm", "resnet"], required=True)
parser.add_argument("--optimizer", choices=["sgd", "momentum", "adam"], default="adam")
parser.add_argument("--learning-rate", type=float, default=1e-3)
parser.add_argument("--label-smoothing", type=float, default=0.0)
parser.add_argument("--batch-size", type=int, default=64)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--threads", type=int, help="TensorFlow takes all cores where nothing is said")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from keras import layers

if args.threads:
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
keras.utils.set_random_seed(args.seed)
with np.load(args.data) as arrays:
    x_train, y_train, x_test, y_test = (arrays[name] for name in ("x_train", "y_train", "x_test", "y_test"))
n_classes = int(y_train.max()) + 1


def normalization():
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)


def block(inputs, width, stride):
    outputs = layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False)(inputs)
    outputs = layers.Activation("relu")(normalization()(outputs))
    outputs = layers.Conv2D(width, 3, padding="same", use_bias=False)(outputs)
    outputs = normalization()(outputs)
    shortcut = inputs
    if stride != 1 or inputs.shape[-1] != width:
        shortcut = normalization()(layers.Conv2D(width, 1, strides=stride, use_bias=False)(inputs))
    return layers.Activation("relu")(layers.Add()([outputs, shortcut]))


def build():
    inputs = keras.Input(x_train.shape[1:])
    match args.network:
        case "mlp":
            outputs = layers.Dense(128, activation="relu")(layers.Flatten()(inputs))
        case "cnn":
            outputs = layers.MaxPooling2D(2)(layers.Conv2D(32, 3, activation="relu")(inputs))
            outputs = layers.MaxPooling2D(2)(layers.Conv2D(64, 3, activation="relu")(outputs))
            outputs = layers.Dense(128, activation="relu")(layers.Flatten()(outputs))
        case "lstm":
            outputs = layers.LSTM(64)(layers.Masking(mask_value=0.0)(inputs))
        case "resnet":
            outputs = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
            outputs = layers.Activation("relu")(normalization()(outputs))
            outputs = block(block(block(outputs, 16, 1), 32, 2), 64, 2)
            outputs = layers.GlobalAveragePooling2D()(outputs)
    return keras.Model(inputs, layers.Dense(n_classes)(outputs))


network = build()
if args.optimizer == "adam":
    optimizer = keras.optimizers.Adam(args.learning_rate)
else:
    optimizer = keras.optimizers.SGD(args.learning_rate, momentum=0.9 if args.optimizer == "momentum" else 0.0)
if args.label_smoothing:
    y_train = keras.utils.to_categorical(y_train, n_classes)
    y_test = keras.utils.to_categorical(y_test, n_classes)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=args.label_smoothing)
else:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
network.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])

epoch_seconds = []


class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        epoch_seconds.append(time.perf_counter() - self.start)


network.fit(x_train, y_train, epochs=args.epochs, batch_size=args.batch_size, verbose=0, callbacks=[Clock()])
accuracy = float(network.evaluate(x_test, y_test, verbose=0)[1])
result = {
    "epoch_seconds": epoch_seconds,
    "test_accuracy": accuracy,
    "total_seconds": time.perf_counter() - started,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "n_weights": network.count_params(),
}
print(json.dumps(result))
