"""PyTorch's optimizers, brought to the formulas of experiments/task/optimizers.py where they differ."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from experiments.task import Clip, Task, optimizers
from frameworks.lightning import defaults, weights

Parameters = list[nn.Parameter]
BASE_RATE = 1.0  # until a step sets the plan's; torch's LambdaLR multiplies it


def optimizer(task: Task, network: nn.Module) -> torch.optim.Optimizer:
    """The task's optimizer over the network's weights, as far as the task does not leave it to PyTorch."""
    made = _aligned(task, network)
    if not task.as_shipped:
        return made
    return defaults.optimizer_as_shipped(made, task, trained=trained(network), regularized=regularized(task, network))


def _aligned(task: Task, network: nn.Module) -> torch.optim.Optimizer:
    """Every number stated; decay and clipping are `before_step`'s."""
    everything = trained(network)
    # One kernel for all weights, whose arithmetic is the same. It would unscale the gradients of float16 by itself.
    fused = task.training.precision != "mixed_float16"
    match task.optimizer:
        case optimizers.SgdSettings(momentum=momentum, nesterov=nesterov):
            return torch.optim.SGD(
                everything, BASE_RATE, momentum=momentum, nesterov=nesterov, dampening=0.0, fused=fused
            )
        case optimizers.RmspropSettings(rho=rho, epsilon=epsilon, momentum=momentum, centered=centered):
            return torch.optim.RMSprop(
                everything, BASE_RATE, alpha=rho, eps=epsilon, momentum=momentum, centered=centered
            )
        case optimizers.AdagradSettings(initial_accumulator=start, epsilon=epsilon):
            return torch.optim.Adagrad(everything, BASE_RATE, initial_accumulator_value=start, eps=epsilon, fused=fused)
        case optimizers.AdadeltaSettings(rho=rho, epsilon=epsilon):
            return torch.optim.Adadelta(everything, BASE_RATE, rho=rho, eps=epsilon)
        case optimizers.AdamSettings(beta1=beta1, beta2=beta2, epsilon=epsilon, amsgrad=amsgrad):
            return torch.optim.Adam(
                everything, BASE_RATE, betas=(beta1, beta2), eps=epsilon, amsgrad=amsgrad, fused=fused
            )
        case optimizers.AdamwSettings(beta1=beta1, beta2=beta2, epsilon=epsilon):
            # `before_step` decays, as for every optimizer; AdamW's own decay is the same without exclusions.
            return torch.optim.AdamW(
                everything, BASE_RATE, betas=(beta1, beta2), eps=epsilon, weight_decay=0.0, fused=fused
            )
        case optimizers.AdamaxSettings(beta1=beta1, beta2=beta2, epsilon=epsilon):
            return torch.optim.Adamax(everything, BASE_RATE, betas=(beta1, beta2), eps=epsilon)
        case optimizers.NadamSettings(beta1=beta1, beta2=beta2, epsilon=epsilon):
            return torch.optim.NAdam(everything, BASE_RATE, betas=(beta1, beta2), eps=epsilon, momentum_decay=1.0)
        case optimizers.AdafactorSettings(beta2_decay=decay, epsilon1=epsilon1, epsilon2=epsilon2, clip_threshold=clip):
            return torch.optim.Adafactor(everything, BASE_RATE, beta2_decay=decay, eps=(epsilon1, epsilon2), d=clip)
        case optimizers.MuonSettings() as muon:
            return Muon(muon, weights.parameters(network), fused=fused)


@torch.no_grad()
def before_step(task: Task, trained: Parameters, regularized: Parameters, *, rate: float) -> None:
    """What comes between the gradients and the optimizer's step: clipping, then w <- (1 - rate * weight_decay) w.

    Not a pre-hook of the optimizer: Lightning computes the gradients inside `step`, so a hook would come before them.

    Args:
        task: How much of both.
        trained: The weights whose gradients are clipped.
        regularized: Those that decay.
        rate: The step's learning rate.
    """
    if "clipping" in task.as_shipped:
        defaults.clip_as_shipped(trained, limit=task.regularization.clip.limit)
    else:
        clip(task.regularization.clip, trained)
    if task.weight_decay and "weight_decay" not in task.as_shipped:
        for parameter in regularized:
            parameter.mul_(1 - rate * task.weight_decay)


def is_finite(trained: Parameters) -> bool:
    """Whether every gradient is."""
    return all(bool(each.grad.isfinite().all()) for each in trained if each.grad is not None)


def trained(network: nn.Module) -> Parameters:
    """The weights that the optimizer moves."""
    return [parameter for parameters in weights.parameters(network).values() for parameter in parameters]


def regularized(task: Task, network: nn.Module) -> Parameters:
    """The weights that decay and penalties apply to."""
    return [
        parameter
        for name, parameters in weights.parameters(network).items()
        for parameter in parameters
        if not task.regularization.excludes(name)
    ]


class Muon(torch.optim.Optimizer):
    """Muon in full precision (torch.optim.Muon computes in bfloat16) for named matrices, Adam for everything else."""

    def __init__(self, settings: optimizers.MuonSettings, named: dict[str, Parameters], *, fused: bool) -> None:
        chosen = settings.select({name: parameters[0].ndim for name, parameters in named.items() if parameters})
        matrices = [parameter for name in named if name in chosen for parameter in named[name]]
        others = [parameter for name in named if name not in chosen for parameter in named[name]]
        super().__init__([{"params": matrices}, {"params": others}], {"lr": BASE_RATE})
        self.settings = settings
        self.adam = torch.optim.Adam(
            others,
            BASE_RATE,
            betas=(settings.beta1, settings.beta2),
            eps=settings.epsilon,
            amsgrad=False,
            fused=fused,
        )

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        group = self.param_groups[0]
        for parameter in group["params"]:
            momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
            momentum.mul_(self.settings.momentum).add_(parameter.grad)
            direction = self._orthogonalized(parameter.grad + self.settings.momentum * momentum)
            scale = self.settings.rms_rate * math.sqrt(max(parameter.shape))
            parameter.add_(direction, alpha=-group["lr"] * scale)
        self.adam.param_groups[0]["lr"] = self.param_groups[1]["lr"]
        self.adam.step()
        return loss

    def _orthogonalized(self, matrix: torch.Tensor) -> torch.Tensor:
        a, b, c = self.settings.coefficients
        is_tall = matrix.shape[0] > matrix.shape[1]
        x: torch.Tensor = matrix.T if is_tall else matrix  # iterate on the short side
        x = x / (x.norm() + self.settings.epsilon)
        for _ in range(self.settings.iterations):
            square = x @ x.T
            x = a * x + (b * square + c * square @ square) @ x
        return x.T if is_tall else x


@torch.no_grad()
def clip(settings: Clip, parameters: Iterable[nn.Parameter]) -> None:
    """Clip gradients in place; exactly, where torch's clip_grad_norm_ adds 1e-6 to the norm."""
    if settings.kind == "none":
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    match settings.kind:
        case "value":
            for gradient in gradients:
                gradient.clamp_(-settings.limit, settings.limit)
        case "norm":
            for gradient in gradients:
                gradient.mul_(_shrink(gradient.norm(), settings.limit))
        case "global_norm":
            factor = _shrink(torch.stack([gradient.norm() for gradient in gradients]).norm(), settings.limit)
            for gradient in gradients:
                gradient.mul_(factor)


def _shrink(norm: torch.Tensor, limit: float) -> torch.Tensor:
    """min(1, limit / norm)."""
    return torch.clamp(limit / norm, max=1.0)


def has_penalty(task: Task) -> bool:
    """Whether there is something to add to the loss."""
    return bool(task.regularization.l1 or task.regularization.l2)


def penalty(task: Task, regularized: Parameters) -> torch.Tensor | float:
    """l1 * sum(|w|) + l2 * sum(w^2) over the weights that are not excluded."""
    l1, l2 = task.regularization.l1, task.regularization.l2
    return sum(l1 * weight.abs().sum() + l2 * weight.square().sum() for weight in regularized)
