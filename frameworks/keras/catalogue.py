"""What the installed Keras does by default: read from its classes, or from what they do where no argument says it."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
from keras import layers

from experiments.contract.catalogue import Catalogue, Row, gathered, stated
from frameworks.keras.defaults import own_orders

# word -> what it is of -> the class and its argument
STATED: dict[str, dict[str, tuple[Any, str]]] = {
    "batch_norm_momentum": {"BatchNorm, weight of the old mean": (layers.BatchNormalization, "momentum")},
    "batch_norm_epsilon": {"BatchNorm": (layers.BatchNormalization, "epsilon")},
    "leaky_relu_slope": {"LeakyReLU": (layers.LeakyReLU, "negative_slope")},
    "gelu": {"GELU, approximate": (keras.activations.gelu, "approximate")},
    "optimizer_epsilon": {
        name: (getattr(keras.optimizers, name), "epsilon")
        for name in ("Adam", "AdamW", "Adamax", "Nadam", "RMSprop", "Adagrad", "Adadelta")
    },
    "optimizer_rho": {"RMSprop": (keras.optimizers.RMSprop, "rho"), "Adadelta": (keras.optimizers.Adadelta, "rho")},
    "adagrad_start": {"Adagrad": (keras.optimizers.Adagrad, "initial_accumulator_value")},
}
EPSILON = 1e-4


def catalogue() -> Catalogue:
    """Every default, under the same names as in the other frameworks."""
    return gathered([*stated(STATED, name=_place), *_weights(), *_rules()])


def _place(kind: Any) -> str:
    group = "optimizers" if hasattr(keras.optimizers, kind.__name__) else "layers"
    return f"keras.{'activations' if inspect.isfunction(kind) else group}.{kind.__name__}"


def _said(initializer: Any) -> str:
    """An initializer by its name, with its numbers."""
    numbers = [f"{value:g}" for value in initializer.get_config().values() if isinstance(value, float)]
    return " ".join([type(initializer).__name__, *numbers])


def _weights() -> list[Row]:
    dense, lstm, embedding = layers.Dense(1), layers.LSTM(2), layers.Embedding(2, 2)
    lstm.build((None, None, 1))
    forget = keras.ops.convert_to_numpy(lstm.cell.bias)[2:4]
    return [
        ("initializers", "Dense kernel", _said(dense.kernel_initializer), "keras.layers.Dense(kernel_initializer)"),
        ("initializers", "Dense bias", _said(dense.bias_initializer), "keras.layers.Dense(bias_initializer)"),
        ("initializers", "LSTM kernel", _said(lstm.kernel_initializer), "keras.layers.LSTM(kernel_initializer)"),
        ("initializers", "LSTM recurrent kernel", _said(lstm.recurrent_initializer),
         "keras.layers.LSTM(recurrent_initializer)"),
        ("initializers", "LSTM bias", _said(lstm.bias_initializer), "keras.layers.LSTM(bias_initializer)"),
        ("lstm_forget_bias", "LSTM", f"{float(forget[0]):g}", "keras.layers.LSTM(unit_forget_bias)"),
        ("embedding_range", "Embedding", _said(embedding.embeddings_initializer),
         "keras.layers.Embedding(embeddings_initializer)"),
        ("recurrent_biases", "LSTM", sum("bias" in each.name for each in lstm.weights), "keras.layers.LSTM"),
        ("gru_reset", "GRU, after the matrix product", layers.GRU(1).reset_after, "keras.layers.GRU(reset_after)"),
    ]  # fmt: skip


def moved(kind: Any, gradients: tuple[float, ...], *, rates: tuple[float, ...], **stated: Any) -> float:
    """How far one weight of 1 moves in steps with these gradients at these rates."""
    weight = keras.Variable(np.ones(1), dtype="float32")
    optimizer = kind(learning_rate=1.0, **stated)
    for gradient, rate in zip(gradients, rates, strict=True):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(np.full(1, gradient, "float32"))], [weight])
    return round(1 - float(keras.ops.convert_to_numpy(weight)[0]), 4)


def _rules() -> list[Row]:
    """What is no argument, by what it does to numbers for which the rules differ."""
    norm = layers.BatchNormalization(momentum=0.0)
    norm(np.array([0.0, 2.0], "float32").reshape(2, 1, 1, 1), training=True)
    small = {
        "Adam": {}, "AdamW": {"weight_decay": 0.0}, "Adamax": {}, "RMSprop": {"rho": 0.9},
        "Adagrad": {"initial_accumulator_value": 0.0},
    }  # fmt: skip
    sgd, adam = keras.optimizers.SGD, keras.optimizers.Adam
    return [
        ("batch_norm_variance", "BatchNorm, of 0 and 2",
         float(keras.ops.convert_to_numpy(norm.moving_variance)[0]), "keras.layers.BatchNormalization"),
        *(
            (
                "optimizer_formula",
                f"{name}, first step at a gradient as small as epsilon",
                moved(getattr(keras.optimizers, name), (EPSILON,), rates=(1.0,), epsilon=EPSILON, **stated),
                f"keras.optimizers.{name}",
            )
            for name, stated in small.items()
        ),
        ("momentum_formula", "SGD, a step at rate 0 after one at rate 1",
         round(moved(sgd, (1.0, 0.0), rates=(1.0, 0.0), momentum=0.9) - 1, 4), "keras.optimizers.SGD"),
        ("weight_decay", "Adam, a step at no gradient with decay 0.1",
         moved(adam, (0.0,), rates=(1.0,), weight_decay=0.1), "keras.optimizers.Adam"),
        ("clipping", "of gradients 3 and 4 to the norm 1", _clipped(), "keras.optimizers.Optimizer(clipnorm)"),
        ("shuffling", "the first of 8 examples, seed 0", int(own_orders(8, seed=0, epochs=1)[0, 0]),
         "keras.random.shuffle"),
    ]  # fmt: skip


def _clipped() -> float:
    weights = [keras.Variable(np.zeros(1), dtype="float32") for _ in range(2)]
    optimizer = keras.optimizers.SGD(learning_rate=1.0, clipnorm=1.0)
    optimizer.apply([keras.ops.convert_to_tensor(np.full(1, each, "float32")) for each in (3.0, 4.0)], weights)
    return round(-float(keras.ops.convert_to_numpy(weights[0])[0]), 4)
