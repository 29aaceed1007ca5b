"""Layers that PyTorch lacks: each the smallest change that brings a stock layer to the task's formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from experiments.contract.dropout_masks import keep_mask


class Flatten(nn.Module):
    """Flatten NCHW in the order height, width, channel: nn.Flatten would put channels first.

    A view for tensors in channels_last memory.
    """

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.ndim == 4:
            inputs = inputs.permute(0, 2, 3, 1)
        return inputs.flatten(start_dim=1)


class Logits(nn.Linear):
    """The last layer: in mixed precision it stays in float32, as its loss does."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not torch.is_autocast_enabled(inputs.device.type):
            return super().forward(inputs)
        with torch.autocast(inputs.device.type, enabled=False):
            return super().forward(inputs.to(self.weight.dtype))


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d whose moving variance takes the batch's biased variance: PyTorch's divides by n - 1.

    Only evaluation is affected. Out of place: autograd holds on to the buffer of this forward pass.
    """

    momentum: float
    running_var: torch.Tensor

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(inputs)
        before = self.running_var.clone()
        outputs = super().forward(inputs)
        n = inputs.numel() // inputs.shape[1]
        self.running_var = self.running_var - (self.running_var - (1 - self.momentum) * before) / n
        return outputs


class Recurrent(nn.Module):
    """One recurrent layer over packed sequences; returns them and the last state of each sequence.

    Keras' cells have one bias where PyTorch's nn.RNN and nn.LSTM have two, which would move their sum twice as fast:
    the second one is 0 and stays so. A gru has two in both.
    """

    CELLS = {"simple": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}

    def __init__(self, cell: str, size: int, units: int, *, bidirectional: bool) -> None:
        super().__init__()
        self.cell = self.CELLS[cell](size, units, batch_first=True, bidirectional=bidirectional)
        if cell != "gru":
            for name, parameter in self.cell.named_parameters():
                if name.startswith("bias_hh"):
                    nn.init.zeros_(parameter)
                    parameter.requires_grad = False

    def train_both_biases(self) -> None:
        """As PyTorch ships it: both are drawn, and both move."""
        for parameter in self.cell.parameters():
            parameter.requires_grad = True
        self.cell.reset_parameters()

    def forward(self, packed: PackedSequence) -> tuple[PackedSequence, torch.Tensor]:
        """Outputs of every step, (n, steps, directions * units) packed, and the last state, (n, directions * units)."""
        outputs, state = self.cell(packed)
        last = state[0] if isinstance(state, tuple) else state  # (directions, n, units); an lstm also has a cell state
        return outputs, torch.cat(tuple(last), dim=1)


def lengths_of(inputs: torch.Tensor) -> torch.Tensor:
    """Steps before the padding: of sequences (n, steps, features) or tokens (n, steps), shape (n,)."""
    return (inputs != 0).any(dim=2).sum(dim=1) if inputs.ndim == 3 else (inputs != 0).sum(dim=1)


def pack(sequences: torch.Tensor, lengths: torch.Tensor) -> PackedSequence:
    """Leave the padding out."""
    return pack_padded_sequence(sequences, lengths.cpu(), batch_first=True, enforce_sorted=False)


def unpack(packed: PackedSequence, n_steps: int) -> torch.Tensor:
    """Put it back, as zeros: (n, n_steps, features)."""
    return pad_packed_sequence(packed, batch_first=True, total_length=n_steps)[0]


class FixedDropout(nn.Module):
    """Drops what `keep_mask` says: the same in every framework.

    Args:
        rate: Share of units that are dropped.
        layer: Number of the dropout layer in forward order, from 0.
        seed: The run's.
        spatial: Whether whole channels are dropped.
    """

    def __init__(self, rate: float, *, layer: int, seed: int, spatial: bool) -> None:
        super().__init__()
        self.rate, self.layer, self.seed, self.spatial, self.step = rate, layer, seed, spatial, 0

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0:
            return inputs
        n, *others = inputs.shape
        channels_last = [*others[1:], others[0]] if inputs.ndim == 4 else others
        shape = (n, 1, 1, channels_last[-1]) if self.spatial else (n, *channels_last)
        mask = torch.from_numpy(keep_mask(self.seed, self.layer, self.step, shape=shape, rate=self.rate))
        self.step += 1
        mask = mask.permute(0, 3, 1, 2) if inputs.ndim == 4 else mask
        return inputs * mask.to(inputs) / (1 - self.rate)


def fix_dropout(network: nn.Module, *, seed: int) -> None:
    """Replace every dropout layer, in the order of the forward pass."""
    layer = 0
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, (nn.Dropout, nn.Dropout2d)):
                spatial = isinstance(child, nn.Dropout2d)
                setattr(parent, name, FixedDropout(child.p, layer=layer, seed=seed, spatial=spatial))
                layer += 1


def outputs_of(network: nn.Module, inputs: torch.Tensor) -> dict[str, Any]:
    """Output of every named layer, in the order of the forward pass."""
    outputs: dict[str, Any] = {}
    handles = [
        module.register_forward_hook(_keep_in(outputs, path.replace(".", "_")))
        for path, module in network.named_modules()
        if path
    ]
    try:
        network(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


def _keep_in(outputs: dict[str, Any], name: str) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        outputs[name] = output

    return hook
