"""Training with a LightningModule, a LightningDataModule and the Trainer."""

from __future__ import annotations

import logging
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
import torch._inductor.config
import torch.distributed as dist
from pytorch_lightning.callbacks import EMAWeightAveraging
from pytorch_lightning.plugins.precision import MixedPrecision
from torch import nn

from experiments.contract.arrays import Array
from experiments.contract.plan import Plan, shard_of
from experiments.contract.trace import EpochTrace, Taken, digests_of_rows, sample, sums_of
from experiments.task import Task
from frameworks.lightning import optimizers, replicas

Batch = tuple[torch.Tensor, torch.Tensor]
TrainerPrecision = Literal["32-true", "64-true", "bf16-mixed", "16-mixed"]
PRECISIONS: dict[str, TrainerPrecision] = {
    "float32": "32-true",
    "float64": "64-true",
    "mixed_bfloat16": "bf16-mixed",
    "mixed_float16": "16-mixed",
}

# Lightning calls a hook only where it can be called. These do nothing here, and each costs some microseconds a step.
UNUSED_BY_BOTH = ("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward")


def configure_process(task: Task, *, seed: int) -> None:
    """What holds for the whole process: exact products, the seed, and the type that optimizers keep scalars in."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a module of its own
    pl.seed_everything(seed, workers=True, verbose=False)
    torch.set_default_dtype(getattr(torch, task.training.dtype))


def as_laid_out(inputs: torch.Tensor) -> torch.Tensor:
    """What `inputs_to_tensor` turned, turned back: a view (n, h, w, c)."""
    return inputs.permute(0, 2, 3, 1) if inputs.ndim == 4 else inputs


def inputs_to_tensor(inputs: Array) -> torch.Tensor:
    """(n, h, w, c) -> NCHW in channels_last memory, which is the same bytes; other shapes as they are."""
    tensor = torch.from_numpy(inputs)
    return tensor.permute(0, 3, 1, 2) if tensor.ndim == 4 else tensor


def autocast(task: Task, device: str) -> torch.autocast:
    """What Lightning computes a step in, for evaluation too: mixed precision, or nothing of the kind."""
    dtype = {"mixed_bfloat16": torch.bfloat16, "mixed_float16": torch.float16}.get(task.training.precision)
    return torch.autocast(device, dtype=dtype, enabled=dtype is not None)


def compile_in_place(network: nn.Module) -> None:
    """Let TorchInductor compile the network: a kernel per shape, so one more for the last, smaller batch.

    Raises:
        RuntimeError: If there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise RuntimeError(
            f"`training.jit=true` needs a C++ compiler, but there is no {compiler}; install one, or set CXX"
        )
    torch._inductor.config.compile_threads = 1  # a worker may have no processes of its own
    network.compile(dynamic=False)


def loss(task: Task) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The task's loss, on logits, averaged over the batch."""
    match task.training.loss:
        case "cross_entropy":
            weights = task.training.class_weights
            dtype = getattr(torch, task.training.dtype)
            return nn.CrossEntropyLoss(
                weight=None if weights is None else torch.tensor(weights, dtype=dtype),
                label_smoothing=task.regularization.label_smoothing,
            )
        case "binary_cross_entropy":
            return nn.BCEWithLogitsLoss()
        case "mean_squared_error":
            return nn.MSELoss()
        case "brier_score":
            return lambda logits, targets: nn.functional.mse_loss(torch.sigmoid(logits), targets)


class TaskModule(pl.LightningModule):
    """A network with the task's loss and optimizer; keeps the loss of each batch of the running epoch."""

    def __init__(self, network: nn.Module, task: Task) -> None:
        super().__init__()
        self.network = network
        self.task = task
        self.loss = loss(task)
        self.trained = optimizers.trained(network)
        self.regularized = optimizers.regularized(task, network)
        self.rates: list[float] = []
        self.step_losses: list[torch.Tensor] = []
        self.taken = Taken()
        self.shared_digests: Array | None = None  # of the whole batches, where devices share them

    def __setattr__(self, name: str, value: Any) -> None:
        """Lightning notes each hook that it calls; nn.Module would ask whether the name is a weight."""
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.network(inputs)
        return outputs

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """What is differentiated: the loss with its penalty; what is kept is the loss alone."""
        inputs, targets = batch
        self.taken.add(sample(as_laid_out(inputs)).clone(), targets)
        batch_loss = self.loss(self.network(inputs), targets)
        self.step_losses.append(batch_loss.detach())
        if optimizers.has_penalty(self.task):
            return batch_loss + optimizers.penalty(self.task, self.regularized)
        return batch_loss

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        """A step at the plan's rate."""
        rate = self.rates[self.trainer.global_step]
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step(closure=optimizer_closure)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Clip and decay, once per step; the gradients are there and unscaled."""
        self.taken.learning_rates.extend({group["lr"] for group in optimizer.param_groups})  # one, that of all
        if self.task.training.precision == "mixed_float16" and not optimizers.is_finite(self.trained):
            return  # the gradient scaler skips this step: no weight may move
        rate = optimizer.param_groups[0]["lr"]
        optimizers.before_step(self.task, self.trained, self.regularized, rate=rate)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: torch.optim.Optimizer) -> None:
        """What the optimizer does itself, less what it asks of torch's profiler."""
        for parameter in self.trained:
            parameter.grad = None

    def trace(self) -> EpochTrace:
        """What the running epoch took, whole batches at a time."""
        rates = np.array(self.taken.learning_rates)
        digests = self.digests() if self.shared_digests is None else self.shared_digests
        return EpochTrace(digests=digests, learning_rates=rates)

    def digests(self) -> Array:
        """Of what was trained here."""
        sizes = [len(each) for each in self.taken.targets]
        samples, targets = (torch.cat(kept).cpu().numpy() for kept in (self.taken.samples, self.taken.targets))
        return sums_of(digests_of_rows(samples, targets), sizes=sizes)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        self.rates = self.trainer.datamodule.plan.learning_rates.tolist()  # type: ignore[attr-defined]  # by `fit`
        return optimizers.optimizer(self.task, self.network)


class PlannedBatches:
    """The plan's batches of the epoch that a trainer has begun, or of each the replica's shard."""

    def __init__(self, plan: Plan, trainer: pl.Trainer) -> None:
        self.plan = plan
        self.trainer = trainer

    def __len__(self) -> int:
        return self.plan.batches_per_epoch

    def __iter__(self) -> Iterator[Batch]:
        replica, devices = self.trainer.global_rank, self.trainer.world_size
        for batch in self.plan.batches(self.trainer.current_epoch):
            inputs, targets = (shard_of(array, replica, devices=devices) for array in batch) if devices > 1 else batch
            yield inputs_to_tensor(inputs), torch.from_numpy(targets)


class PlannedData(pl.LightningDataModule):
    """The plan's batches, as they are: they are whole and in memory, a DataLoader would add only its time."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan

    def train_dataloader(self) -> PlannedBatches:
        assert self.trainer is not None
        return PlannedBatches(self.plan, self.trainer)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        inputs, targets = batch
        return inputs.to(device), targets.to(device)


class Progress(pl.Callback):
    """Tells the harness about steps and epochs, and stops when it says so. Of several replicas only the first does."""

    def __init__(self, on_step_end: Callable[[int], None], on_epoch_end: Callable[[int, Array], bool]) -> None:
        self.step_ended = on_step_end
        self.epoch_ended = on_epoch_end

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.step_ended(1)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, TaskModule)
        losses = trainer.strategy.reduce(torch.stack(module.step_losses), reduce_op="mean")  # shards count alike
        module.step_losses.clear()
        if trainer.world_size > 1:
            shares = torch.from_numpy(module.digests()).to(module.device)
            module.shared_digests = trainer.strategy.reduce(shares, reduce_op="sum").cpu().numpy()
        stops = trainer.is_global_zero and self.epoch_ended(trainer.current_epoch, losses.cpu().numpy())
        module.taken.clear()
        trainer.should_stop = trainer.strategy.broadcast(stops)
        if trainer.world_size > 1:
            for tensor in module.network.state_dict().values():  # they may have been replaced
                dist.broadcast(tensor, src=0)


def precision(task: Task) -> tuple[TrainerPrecision | None, list[Any]]:
    """The Trainer's `precision` and `plugins`; with float16 the scale that Keras' LossScaleOptimizer begins with."""
    name = PRECISIONS[task.training.precision]
    if name != "16-mixed":
        return name, []
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**15, growth_interval=2000)  # PyTorch's begins at 2**16
    return None, [MixedPrecision(name, "cuda", scaler=scaler)]


def fit(
    module: TaskModule,
    plan: Plan,
    *,
    device: str,
    on_step_end: Callable[[int], None],
    on_epoch_end: Callable[[int, Array], bool],
    devices: int = 1,
    replica: int = 0,
) -> None:
    """Train `module` on the plan with a Trainer that does nothing else: no logger, checkpoint, bar or sanity check.

    Args:
        module: The network with its task.
        plan: Batches and learning rates.
        device: "cpu" or "gpu".
        on_step_end: As in `Model.fit`.
        on_epoch_end: As in `Model.fit`; asked of replica 0 alone.
        devices: How many share the run; they have joined the group before.
        replica: Which of them trains here, on its shard of each batch.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    callbacks: list[pl.Callback] = [Progress(on_step_end, on_epoch_end)]
    name, plugins = precision(module.task)
    decay = module.task.regularization.weight_averaging
    if decay:
        callbacks.append(EMAWeightAveraging(decay=decay, use_buffers=False))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        trainer = pl.Trainer(
            accelerator=device,
            devices=devices,
            strategy=replicas.strategy(device=device, replica=replica) if devices > 1 else "auto",
            use_distributed_sampler=False,  # the plan is cut into shards here
            precision=name,
            plugins=plugins or None,
            max_epochs=plan.epochs,
            accumulate_grad_batches=plan.batches_per_step,
            reload_dataloaders_every_n_epochs=0,  # `PlannedBatches` asks which epoch it is
            deterministic=True,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=callbacks,
            # Lightning takes what is not stated here from PL_TRAINER_* variables.
            num_nodes=1,
            fast_dev_run=False,
            min_epochs=None,
            max_steps=-1,
            min_steps=None,
            max_time=None,
            limit_train_batches=None,
            limit_val_batches=None,
            limit_test_batches=None,
            limit_predict_batches=None,
            overfit_batches=0.0,
            val_check_interval=None,
            check_val_every_n_epoch=1,
            log_every_n_steps=None,
            gradient_clip_val=None,
            gradient_clip_algorithm=None,
            benchmark=None,
            inference_mode=True,
            profiler=None,
            detect_anomaly=False,
            barebones=False,
            sync_batchnorm=False,
            default_root_dir=None,
            enable_autolog_hparams=True,
            model_registry=None,
        )
        trainer.fit(module, datamodule=PlannedData(plan))


UNUSED_HOOKS: dict[type, tuple[str, ...]] = {
    TaskModule: (*UNUSED_BY_BOTH, "on_train_batch_end", "configure_gradient_clipping"),
    Progress: (*UNUSED_BY_BOTH, "on_before_optimizer_step"),
}
for listener, hooks in UNUSED_HOOKS.items():
    for hook in hooks:
        setattr(listener, hook, None)
