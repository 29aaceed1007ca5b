"""What the installed PyTorch does by default: read from its classes, or from what they do where no argument says it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from experiments.contract.catalogue import Catalogue, Row, gathered, stated
from frameworks.lightning.defaults import clip_as_shipped, own_orders

# word -> what it is of -> the class and its argument
STATED: dict[str, dict[str, tuple[Any, str]]] = {
    "batch_norm_momentum": {"BatchNorm, weight of the old mean": (nn.BatchNorm2d, "momentum")},
    "batch_norm_epsilon": {"BatchNorm": (nn.BatchNorm2d, "eps")},
    "leaky_relu_slope": {"LeakyReLU": (nn.LeakyReLU, "negative_slope")},
    "gelu": {"GELU, approximate": (nn.GELU, "approximate")},
    "optimizer_epsilon": {
        "Adam": (torch.optim.Adam, "eps"),
        "AdamW": (torch.optim.AdamW, "eps"),
        "Adamax": (torch.optim.Adamax, "eps"),
        "Nadam": (torch.optim.NAdam, "eps"),
        "RMSprop": (torch.optim.RMSprop, "eps"),
        "Adagrad": (torch.optim.Adagrad, "eps"),
        "Adadelta": (torch.optim.Adadelta, "eps"),
    },
    "optimizer_rho": {"RMSprop": (torch.optim.RMSprop, "alpha"), "Adadelta": (torch.optim.Adadelta, "rho")},
    "adagrad_start": {"Adagrad": (torch.optim.Adagrad, "initial_accumulator_value")},
}
EPSILON = 1e-4


def catalogue() -> Catalogue:
    """Every default, under the same names as in the other frameworks."""
    arguments = stated(STATED, name=lambda kind: f"{kind.__module__}.{kind.__qualname__}")
    return gathered([*map(_in_common_terms, arguments), *_weights(), *_rules()])


def _in_common_terms(row: Row) -> Row:
    word, item, value, source = row
    if word == "batch_norm_momentum":  # PyTorch states the weight of the new mean
        value = round(1 - value, 12)
    elif word == "gelu":
        value = value != "none"
    return word, item, value, source


def _uniform(weight: Any, fan: int) -> str:
    return f"uniform, ± {weight.abs().max().item() * fan**0.5:.1f} / sqrt({'units' if fan == 90 else 'fan_in'})"


def _weights() -> list[Row]:
    """What layers of 800 inputs begin with, as far as a sample of their weights tells."""
    torch.manual_seed(0)
    dense, lstm, embedding = nn.Linear(800, 800), nn.LSTM(800, 90), nn.Embedding(800, 80)
    forget = lstm.get_parameter("bias_ih_l0")[90:180]
    return [
        ("initializers", "Dense kernel", _uniform(dense.weight, 800), "torch.nn.Linear"),
        ("initializers", "Dense bias", _uniform(dense.bias, 800), "torch.nn.Linear"),
        ("initializers", "LSTM kernel", _uniform(lstm.weight_ih_l0, 90), "torch.nn.LSTM"),
        ("initializers", "LSTM recurrent kernel", _uniform(lstm.weight_hh_l0, 90), "torch.nn.LSTM"),
        ("initializers", "LSTM bias", _uniform(lstm.bias_ih_l0, 90), "torch.nn.LSTM"),
        ("lstm_forget_bias", "LSTM", _uniform(forget, 90), "torch.nn.LSTM"),
        ("embedding_range", "Embedding", f"normal, {embedding.weight.std().item():.1f}", "torch.nn.Embedding"),
        ("recurrent_biases", "LSTM", sum("bias" in name for name, _ in lstm.named_parameters()), "torch.nn.LSTM"),
        (
            "gru_reset",
            "GRU, after the matrix product",
            nn.GRU(1, 1).get_parameter("bias_hh_l0").numel() == 3,
            "torch.nn.GRU",
        ),
    ]


def moved(kind: Any, gradients: tuple[float, ...], *, rates: tuple[float, ...], **stated: Any) -> float:
    """How far one weight of 1 moves in steps with these gradients at these rates."""
    weight = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = kind([weight], lr=1.0, **stated)
    for gradient, rate in zip(gradients, rates, strict=True):
        weight.grad = torch.full_like(weight, gradient)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    return round(1 - weight.item(), 4)


def _rules() -> list[Row]:
    """What is no argument, by what it does to numbers for which the rules differ."""
    norm = nn.BatchNorm2d(1, momentum=1.0)
    norm(torch.tensor([0.0, 2.0]).reshape(2, 1, 1, 1))
    small = {
        "Adam": (torch.optim.Adam, {}), "AdamW": (torch.optim.AdamW, {"weight_decay": 0.0}),
        "Adamax": (torch.optim.Adamax, {}), "RMSprop": (torch.optim.RMSprop, {"alpha": 0.9}),
        "Adagrad": (torch.optim.Adagrad, {"initial_accumulator_value": 0.0}),
    }  # fmt: skip
    clipped = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    clipped[0].grad, clipped[1].grad = torch.tensor([3.0]), torch.tensor([4.0])
    clip_as_shipped(clipped, limit=1.0)
    sgd, adam = torch.optim.SGD, torch.optim.Adam
    return [
        ("batch_norm_variance", "BatchNorm, of 0 and 2", norm.get_buffer("running_var").item(), "torch.nn.BatchNorm2d"),
        *(
            (
                "optimizer_formula",
                f"{name}, first step at a gradient as small as epsilon",
                moved(kind, (EPSILON,), rates=(1.0,), eps=EPSILON, **stated),
                f"torch.optim.{kind.__name__}",
            )
            for name, (kind, stated) in small.items()
        ),
        ("momentum_formula", "SGD, a step at rate 0 after one at rate 1",
         round(moved(sgd, (1.0, 0.0), rates=(1.0, 0.0), momentum=0.9) - 1, 4), "torch.optim.SGD"),
        ("weight_decay", "Adam, a step at no gradient with decay 0.1",
         moved(adam, (0.0,), rates=(1.0,), weight_decay=0.1), "torch.optim.Adam"),
        ("clipping", "of gradients 3 and 4 to the norm 1", round(float(clipped[0].grad), 4),
         "torch.nn.utils.clip_grad_norm_"),
        ("shuffling", "the first of 8 examples, seed 0", _first(), "torch.utils.data.RandomSampler"),
    ]  # fmt: skip


def _first() -> int:
    torch.manual_seed(0)
    return int(own_orders(8, epochs=1)[0, 0])
