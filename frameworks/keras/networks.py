"""The networks in Keras. Read beside frameworks/lightning/networks.py: same kinds, same layer names.

Inputs come channels last, as sequences (n, steps, features), as tokens (n, steps) or flat; every output is logits.
A layer `a_b` here is the layer `a.b` there.

A function of NETWORKS takes the settings of its kind, the task for its dropout, the shape of one example (channels
last) and the number of logits.
"""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers

from experiments.task import Task
from experiments.task.networks import BatchNormalization, CnnSettings, MlpSettings, ResnetSettings, RnnSettings
from frameworks.keras.layers import LeakyReLU, exact_gelu

Shape = tuple[int, ...]


def activation(network: MlpSettings | CnnSettings | ResnetSettings, name: str) -> layers.Layer:
    """The activation that the network's settings name."""
    match network.activation:
        case "gelu":
            return layers.Activation(exact_gelu, name=name)
        case "leaky_relu":
            return LeakyReLU(network.negative_slope, name=name)
        case plain:
            return layers.Activation(plain, name=name)


def logits(n_outputs: int) -> layers.Layer:
    """The last layer: in mixed precision it stays in float32, as its loss does."""
    return layers.Dense(n_outputs, dtype=keras.config.floatx(), name="logits")


def normalization(settings: BatchNormalization, name: str) -> layers.Layer:
    """Batch normalization with the settings' numbers."""
    return layers.BatchNormalization(momentum=settings.decay, epsilon=settings.epsilon, name=name)


def mlp(network: MlpSettings, task: Task, *, input_shape: Shape, n_outputs: int) -> keras.Model:
    """Flatten, `depth` dense layers with activation and dropout, logits."""
    stack = [keras.Input(input_shape), layers.Flatten(name="flatten")]
    for number, width in enumerate(network.widths, start=1):
        stack += [
            layers.Dense(width, name=f"dense{number}"),
            activation(network, f"activation{number}"),
            layers.Dropout(task.regularization.dropout, name=f"dropout{number}"),
        ]
    return keras.Sequential([*stack, logits(n_outputs)])


def cnn(network: CnnSettings, task: Task, *, input_shape: Shape, n_outputs: int) -> keras.Model:
    """`depth` blocks of convolution, activation and max-pooling; flatten, dense with dropout, logits."""
    stack = [keras.Input(input_shape)]
    size, norm = network.kernel_size, network.batch_normalization
    for number, width in enumerate(network.widths, start=1):
        stack += [
            layers.Conv2D(width, size, padding=network.padding, use_bias=norm is None, name=f"conv{number}"),
            *([] if norm is None else [normalization(norm, f"norm{number}")]),
            activation(network, f"activation{number}"),
            layers.MaxPooling2D(network.pool_size, padding="valid", name=f"pool{number}"),
            layers.SpatialDropout2D(task.regularization.spatial_dropout, name=f"spatial_dropout{number}"),
        ]
    stack += [
        layers.Flatten(name="flatten"),
        layers.Dense(network.dense_width, name="dense"),
        activation(network, "activation"),
        layers.Dropout(task.regularization.dropout, name="dropout"),
    ]
    return keras.Sequential([*stack, logits(n_outputs)])


def conv(inputs: keras.KerasTensor, width: int, size: int, *, stride: int, name: str) -> keras.KerasTensor:
    """A convolution without bias, padded explicitly: with stride 2, Keras' "same" would pad one side only.

    Args:
        inputs: (n, height, width, channels).
        width: Channels of the outputs.
        size: Of the window, odd.
        stride: Outputs are (n, ceil(height / stride), ceil(width / stride), width).
        name: Of the layer.
    """
    padded = layers.ZeroPadding2D(size // 2, name=f"{name}_padding")(inputs)
    return layers.Conv2D(width, size, strides=stride, padding="valid", use_bias=False, name=name)(padded)


def block(
    inputs: keras.KerasTensor, network: ResnetSettings, width: int, *, stride: int, name: str
) -> keras.KerasTensor:
    """Two 3x3 convolutions with normalization, plus the input, projected where its shape changes.

    Args:
        inputs: (n, height, width, channels).
        network: For normalization and activation.
        width: Channels of the outputs.
        stride: Of the first convolution and of the projection.
        name: What the names of the layers begin with.
    """
    norm = network.batch_normalization
    outputs = conv(inputs, width, 3, stride=stride, name=f"{name}_conv1")
    outputs = normalization(norm, f"{name}_norm1")(outputs)
    outputs = activation(network, f"{name}_activation1")(outputs)
    outputs = conv(outputs, width, 3, stride=1, name=f"{name}_conv2")
    outputs = normalization(norm, f"{name}_norm2")(outputs)
    shortcut = inputs
    if stride != 1 or inputs.shape[-1] != width:
        shortcut = conv(inputs, width, 1, stride=stride, name=f"{name}_projection")
        shortcut = normalization(norm, f"{name}_projection_norm")(shortcut)
    return activation(network, f"{name}_activation2")(layers.Add(name=f"{name}_sum")([outputs, shortcut]))


def resnet(network: ResnetSettings, task: Task, *, input_shape: Shape, n_outputs: int) -> keras.Model:
    """A convolution, `depth` stages of residual blocks, global average, dropout, logits."""
    inputs = keras.Input(input_shape)
    outputs = conv(inputs, network.width, 3, stride=1, name="conv")
    outputs = normalization(network.batch_normalization, "norm")(outputs)
    outputs = activation(network, "activation")(outputs)
    for stage, width in enumerate(network.widths, start=1):
        for number in range(1, network.blocks + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            outputs = block(outputs, network, width, stride=stride, name=f"stage{stage}_block{number}")
    outputs = layers.GlobalAveragePooling2D(name="average")(outputs)
    outputs = layers.Dropout(task.regularization.dropout, name="dropout")(outputs)
    return keras.Model(inputs, logits(n_outputs)(outputs))


def recurrent(network: RnnSettings, units: int, *, return_sequences: bool, name: str) -> layers.Layer:
    """One recurrent layer; padding is masked, the state is what it was before.

    Args:
        network: For the kind of cell, and whether there are two directions.
        units: Of each direction.
        return_sequences: Outputs of all steps (n, steps, ...), for a next layer, or of the last alone (n, ...).
        name: Of the layer.
    """
    match network.cell:
        case "simple":
            layer = layers.SimpleRNN(units, activation="tanh", return_sequences=return_sequences, name=name)
        case "lstm":
            layer = layers.LSTM(units, return_sequences=return_sequences, name=name)
        case "gru":
            layer = layers.GRU(units, reset_after=True, return_sequences=return_sequences, name=name)
    return layers.Bidirectional(layer, merge_mode="concat", name=name) if network.bidirectional else layer


def rnn(network: RnnSettings, task: Task, *, input_shape: Shape, n_outputs: int) -> keras.Model:
    """Recurrent layers with dropout between them; the last state of the last one makes the logits."""
    if network.embedding is None:
        stack = [keras.Input(input_shape), layers.Masking(mask_value=0.0, name="padding")]
    else:
        vocabulary, width = network.embedding.vocabulary, network.embedding.width
        tokens = keras.Input(input_shape, dtype="int32")
        stack = [tokens, layers.Embedding(vocabulary, width, mask_zero=True, name="embedding")]
    for number, units in enumerate(network.widths, start=1):
        stack += [
            recurrent(network, units, return_sequences=number < network.depth, name=f"rnn{number}"),
            layers.Dropout(task.regularization.dropout, name=f"dropout{number}"),
        ]
    return keras.Sequential([*stack, logits(n_outputs)])


NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "rnn": rnn,
}


def network(task: Task, *, input_shape: Shape, n_outputs: int) -> keras.Model:
    """The network that the task names."""
    return NETWORKS[task.network.kind](task.network, task, input_shape=input_shape, n_outputs=n_outputs)
