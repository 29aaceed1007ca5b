"""The networks in PyTorch. Read beside frameworks/keras/networks.py: same kinds, same layer names.

Inputs come as NCHW tensors in channels_last memory, as sequences (n, steps, features), as tokens (n, steps) or flat;
every output is logits. A layer `a.b` here is the layer `a_b` there.

A function of NETWORKS takes the settings of its kind, the task for its dropout, the shape of one example (channels
last) and the number of logits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from experiments.task import Task
from experiments.task.networks import BatchNormalization, CnnSettings, MlpSettings, ResnetSettings, RnnSettings
from frameworks.lightning import layers

Shape = tuple[int, ...]


def activation(network: MlpSettings | CnnSettings | ResnetSettings) -> nn.Module:
    """The activation that the network's settings name."""
    match network.activation:
        case "relu":
            return nn.ReLU()
        case "tanh":
            return nn.Tanh()
        case "sigmoid":
            return nn.Sigmoid()
        case "gelu":
            return nn.GELU(approximate="none")
        case "leaky_relu":
            return nn.LeakyReLU(network.negative_slope)


def normalization(settings: BatchNormalization, width: int) -> nn.Module:
    """Batch normalization with the settings' numbers."""
    return layers.BatchNorm2d(width, eps=settings.epsilon, momentum=1 - settings.decay)


def mlp(network: MlpSettings, task: Task, *, input_shape: Shape, n_outputs: int) -> nn.Module:
    """Flatten, `depth` dense layers with activation and dropout, logits."""
    stack: OrderedDict[str, nn.Module] = OrderedDict(flatten=layers.Flatten())
    size = torch.Size(input_shape).numel()
    for number, width in enumerate(network.widths, start=1):
        stack[f"dense{number}"] = nn.Linear(size, width)
        stack[f"activation{number}"] = activation(network)
        stack[f"dropout{number}"] = nn.Dropout(task.regularization.dropout)
        size = width
    stack["logits"] = layers.Logits(size, n_outputs)
    return nn.Sequential(stack)


def cnn(network: CnnSettings, task: Task, *, input_shape: Shape, n_outputs: int) -> nn.Module:
    """`depth` blocks of convolution, activation and max-pooling; flatten, dense with dropout, logits."""
    stack: OrderedDict[str, nn.Module] = OrderedDict()
    channels = input_shape[-1]
    size, norm = network.kernel_size, network.batch_normalization
    padding = size // 2 if network.padding == "same" else 0
    for number, width in enumerate(network.widths, start=1):
        stack[f"conv{number}"] = nn.Conv2d(channels, width, size, padding=padding, bias=norm is None)
        if norm is not None:
            stack[f"norm{number}"] = normalization(norm, width)
        stack[f"activation{number}"] = activation(network)
        stack[f"pool{number}"] = nn.MaxPool2d(network.pool_size)
        stack[f"spatial_dropout{number}"] = nn.Dropout2d(task.regularization.spatial_dropout)
        channels = width
    height, width = network.image_sizes(input_shape)[-1]
    stack["flatten"] = layers.Flatten()
    stack["dense"] = nn.Linear(height * width * channels, network.dense_width)
    stack["activation"] = activation(network)
    stack["dropout"] = nn.Dropout(task.regularization.dropout)
    stack["logits"] = layers.Logits(network.dense_width, n_outputs)
    return nn.Sequential(stack)


class Block(nn.Module):
    """Two 3x3 convolutions with normalization, plus the input, projected where its shape changes."""

    def __init__(self, network: ResnetSettings, channels: int, width: int, *, stride: int) -> None:
        super().__init__()
        norm = network.batch_normalization
        self.conv1 = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm1 = normalization(norm, width)
        self.activation1 = activation(network)
        self.conv2 = nn.Conv2d(width, width, 3, stride=1, padding=1, bias=False)
        self.norm2 = normalization(norm, width)
        self.projects = stride != 1 or channels != width
        if self.projects:
            self.projection = nn.Conv2d(channels, width, 1, stride=stride, padding=0, bias=False)
            self.projection_norm = normalization(norm, width)
        self.activation2 = activation(network)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs = self.activation1(self.norm1(self.conv1(inputs)))
        outputs = self.norm2(self.conv2(outputs))
        shortcut = self.projection_norm(self.projection(inputs)) if self.projects else inputs
        activated: torch.Tensor = self.activation2(outputs + shortcut)
        return activated


class GlobalAverage(nn.Module):
    """Mean over height and width: (n, c, h, w) -> (n, c)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.mean(dim=(2, 3))


def resnet(network: ResnetSettings, task: Task, *, input_shape: Shape, n_outputs: int) -> nn.Module:
    """A convolution, `depth` stages of residual blocks, global average, dropout, logits."""
    stack: OrderedDict[str, nn.Module] = OrderedDict()
    norm, channels = network.batch_normalization, network.width
    stack["conv"] = nn.Conv2d(input_shape[-1], channels, 3, stride=1, padding=1, bias=False)
    stack["norm"] = normalization(norm, channels)
    stack["activation"] = activation(network)
    for stage, width in enumerate(network.widths, start=1):
        for number in range(1, network.blocks + 1):
            stride = 2 if stage > 1 and number == 1 else 1
            stack[f"stage{stage}_block{number}"] = Block(network, channels, width, stride=stride)
            channels = width
    stack["average"] = GlobalAverage()
    stack["dropout"] = nn.Dropout(task.regularization.dropout)
    stack["logits"] = layers.Logits(channels, n_outputs)
    return nn.Sequential(stack)


class Rnn(nn.Module):
    """Recurrent layers with dropout between them; the last state of the last one makes the logits."""

    def __init__(self, network: RnnSettings, task: Task, *, input_shape: Shape, n_outputs: int) -> None:
        super().__init__()
        size = input_shape[-1]
        self.depth = network.depth
        self.embeds = network.embedding is not None
        if network.embedding is not None:
            self.embedding = nn.Embedding(network.embedding.vocabulary, network.embedding.width)
            size = network.embedding.width
        for number, units in enumerate(network.widths, start=1):
            layer = layers.Recurrent(network.cell, size, units, bidirectional=network.bidirectional)
            self.add_module(f"rnn{number}", layer)
            self.add_module(f"dropout{number}", nn.Dropout(task.regularization.dropout))
            size = 2 * units if network.bidirectional else units
        self.logits = layers.Logits(size, n_outputs)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        lengths = layers.lengths_of(inputs)
        sequences = self.embedding(inputs) if self.embeds else inputs
        for number in range(1, self.depth + 1):
            outputs, last = self.get_submodule(f"rnn{number}")(layers.pack(sequences, lengths))
            if number < self.depth:
                sequences = self.get_submodule(f"dropout{number}")(layers.unpack(outputs, inputs.shape[1]))
        logits: torch.Tensor = self.logits(self.get_submodule(f"dropout{self.depth}")(last))
        return logits


NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": mlp,
    "cnn": cnn,
    "resnet": resnet,
    "rnn": Rnn,
}


def network(task: Task, *, input_shape: Shape, n_outputs: int) -> nn.Module:
    """The network that the task names."""
    return NETWORKS[task.network.kind](task.network, task, input_shape=input_shape, n_outputs=n_outputs)
