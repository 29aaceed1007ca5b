"""The networks in PyTorch. Read beside frameworks/keras/networks.py: same kinds, same layer names.

Inputs come as NCHW tensors in channels_last memory, or flat; every output is logits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from experiments.task import CnnSettings, MlpSettings, Task

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


class Flatten(nn.Module):
    """Flatten NCHW in the order height, width, channel: nn.Flatten would put channels first.

    A view for tensors in channels_last memory.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(n, c, h, w) -> (n, h * w * c)."""
        if inputs.ndim == 4:
            inputs = inputs.permute(0, 2, 3, 1)
        return inputs.flatten(start_dim=1)


def mlp(network: MlpSettings, task: Task, *, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """Flatten, `depth` dense layers with activation and dropout, logits."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=Flatten())
    size = torch.Size(input_shape).numel()
    for number, width in enumerate(network.widths, start=1):
        layers[f"dense{number}"] = nn.Linear(size, width)
        layers[f"activation{number}"] = ACTIVATIONS[network.activation]()
        layers[f"dropout{number}"] = nn.Dropout(task.regularization.dropout)
        size = width
    layers["logits"] = nn.Linear(size, n_outputs)
    return nn.Sequential(layers)


def cnn(network: CnnSettings, task: Task, *, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """`depth` blocks of convolution, activation and max-pooling; flatten, dense with dropout, logits."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = input_shape[-1]
    for number, width in enumerate(network.widths, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, width, network.kernel_size, padding=0)
        layers[f"activation{number}"] = ACTIVATIONS[network.activation]()
        layers[f"pool{number}"] = nn.MaxPool2d(network.pool_size)
        channels = width
    height, width = network.image_sizes(input_shape)[-1]
    layers["flatten"] = Flatten()
    layers["dense"] = nn.Linear(height * width * channels, network.dense_width)
    layers["activation"] = ACTIVATIONS[network.activation]()
    layers["dropout"] = nn.Dropout(task.regularization.dropout)
    layers["logits"] = nn.Linear(network.dense_width, n_outputs)
    return nn.Sequential(layers)


def network(task: Task, *, input_shape: tuple[int, ...], n_outputs: int) -> nn.Module:
    """The network that the task names."""
    match task.network:
        case MlpSettings():
            return mlp(task.network, task, input_shape=input_shape, n_outputs=n_outputs)
        case CnnSettings():
            return cnn(task.network, task, input_shape=input_shape, n_outputs=n_outputs)
