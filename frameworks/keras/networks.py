"""The networks in Keras. Read beside frameworks/lightning/networks.py: same kinds, same layer names.

Inputs come channels last; every output is logits.
"""

from __future__ import annotations

import keras
from keras import layers

from experiments.task import CnnSettings, MlpSettings, Task


def mlp(network: MlpSettings, task: Task, *, input_shape: tuple[int, ...], n_outputs: int) -> keras.Model:
    """Flatten, `depth` dense layers with activation and dropout, logits."""
    stack = [keras.Input(input_shape), layers.Flatten(name="flatten")]
    for number, width in enumerate(network.widths, start=1):
        stack += [
            layers.Dense(width, name=f"dense{number}"),
            layers.Activation(network.activation, name=f"activation{number}"),
            layers.Dropout(task.regularization.dropout, name=f"dropout{number}"),
        ]
    return keras.Sequential([*stack, layers.Dense(n_outputs, name="logits")])


def cnn(network: CnnSettings, task: Task, *, input_shape: tuple[int, ...], n_outputs: int) -> keras.Model:
    """`depth` blocks of convolution, activation and max-pooling; flatten, dense with dropout, logits."""
    stack = [keras.Input(input_shape)]
    for number, width in enumerate(network.widths, start=1):
        stack += [
            layers.Conv2D(width, network.kernel_size, padding="valid", name=f"conv{number}"),
            layers.Activation(network.activation, name=f"activation{number}"),
            layers.MaxPooling2D(network.pool_size, padding="valid", name=f"pool{number}"),
        ]
    stack += [
        layers.Flatten(name="flatten"),
        layers.Dense(network.dense_width, name="dense"),
        layers.Activation(network.activation, name="activation"),
        layers.Dropout(task.regularization.dropout, name="dropout"),
    ]
    return keras.Sequential([*stack, layers.Dense(n_outputs, name="logits")])


def network(task: Task, *, input_shape: tuple[int, ...], n_outputs: int) -> keras.Model:
    """The network that the task names."""
    match task.network:
        case MlpSettings():
            return mlp(task.network, task, input_shape=input_shape, n_outputs=n_outputs)
        case CnnSettings():
            return cnn(task.network, task, input_shape=input_shape, n_outputs=n_outputs)
