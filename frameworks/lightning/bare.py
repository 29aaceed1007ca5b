"""The bare loop: PyTorch as written by hand, without Lightning."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset

from experiments.contract.plan import BatchPlan
from experiments.task import Task
from frameworks.lightning import optimizers, training


class PlannedOrder(Sampler[int]):
    """The plan's order of an epoch, epoch by epoch: as long a list as PyTorch's own RandomSampler draws."""

    def __init__(self, plan: BatchPlan) -> None:
        self.plan = plan
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.plan.targets)

    def __iter__(self) -> Iterator[int]:
        yield from self.plan.order(self.epoch).tolist()
        self.epoch += 1


def fit(
    network: nn.Module, plan: BatchPlan, *, task: Task, device: torch.device, on_epoch_end: Callable[[], None]
) -> None:
    """Train as a user's own loop does, example by example from memory.

    Args:
        network: What is trained.
        plan: Examples, order, batch size, epochs and learning rates.
        task: For loss, optimizer and precision.
        device: Where the network is to be.
        on_epoch_end: As in `BareLoop.fit_bare`.
    """
    network.to(device).train()
    optimizer, criterion, rates = optimizers.optimizer(task, network), training.loss(task), plan.learning_rates
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates[min(step, len(rates) - 1)])
    is_constant = bool((rates == rates[0]).all())
    trained, regularized = optimizers.trained(network), optimizers.regularized(task, network)
    has_penalty = optimizers.has_penalty(task)
    changes_gradients = bool(task.weight_decay) or task.regularization.clip.kind != "none"

    def loss_of(inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = criterion(network(inputs.to(device)), targets.to(device))
        return loss + optimizers.penalty(task, regularized) if has_penalty else loss

    if task.training.precision.startswith("mixed"):
        loss_of = training.autocast(task, device.type)(loss_of)
    examples = TensorDataset(training.inputs_to_tensor(plan.inputs).contiguous(), torch.from_numpy(plan.targets))
    batches = DataLoader(examples, batch_size=plan.batch_size, sampler=PlannedOrder(plan))
    for _ in range(plan.epochs):
        for inputs, targets in batches:
            optimizer.zero_grad()
            loss_of(inputs, targets).backward()  # type: ignore[no-untyped-call]
            if changes_gradients:
                optimizers.before_step(task, trained, regularized, rate=optimizer.param_groups[0]["lr"])
            optimizer.step()
            if not is_constant:
                scheduler.step()
        on_epoch_end()
