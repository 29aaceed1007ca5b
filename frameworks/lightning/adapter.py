"""PyTorch Lightning under the contract of experiments/contract/__init__.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch

from experiments.contract import evaluation_batches, require_gpus
from experiments.contract.arrays import Array, Weights
from experiments.contract.plan import BatchPlan, Plan
from experiments.contract.trace import EpochTrace
from experiments.task import Task
from frameworks.lightning import bare, defaults, layers, networks, optimizers, replicas, training, weights


class LightningModel:
    """A network in a LightningModule."""

    def __init__(self, module: training.TaskModule, *, seed: int, device: str, devices: int) -> None:
        self.module = module
        self.seed = seed
        self.device = torch.device("cuda" if device == "gpu" else "cpu")
        self.devices = devices

    def weights(self) -> Weights:
        return weights.read(self.module.network)

    def load_weights(self, new: Weights, /) -> None:
        weights.write(self.module.network, new)

    def logits(self, inputs: Array, /) -> Array:
        was_training = self.module.training
        self.module.eval()
        with torch.inference_mode(), training.autocast(self.module.task, self.device.type):
            batches = evaluation_batches(inputs, batch_size=self.module.task.training.batch_size)
            outputs = [
                self.module(training.inputs_to_tensor(batch).to(self.module.device)).cpu().numpy() for batch in batches
            ]
        self.module.train(was_training)
        return np.concatenate(outputs)

    def fit(
        self,
        plan: Plan,
        *,
        on_step_end: Callable[[int], None],
        on_epoch_end: Callable[[int, Array], bool],
    ) -> None:
        accelerator = "gpu" if self.device.type == "cuda" else "cpu"
        group = replicas.replica_group(
            self.module.network,
            plan,
            task=self.module.task,
            seed=self.seed,
            device=accelerator,
            devices=self.devices,
        )
        with group:
            training.fit(
                self.module,
                plan,
                device=accelerator,
                devices=self.devices,
                on_step_end=on_step_end,
                on_epoch_end=on_epoch_end,
            )

    def own_orders(self, n_examples: int, *, epochs: int) -> Array:
        return defaults.own_orders(n_examples, epochs=epochs)

    def fit_bare(self, plan: BatchPlan, *, on_epoch_end: Callable[[], None]) -> None:
        bare.fit(self.module.network, plan, task=self.module.task, device=self.device, on_epoch_end=on_epoch_end)

    def trace(self) -> EpochTrace:
        return self.module.trace()

    def activations(self, inputs: Array, /) -> dict[str, Array]:
        self.module.eval()
        with torch.inference_mode(), training.autocast(self.module.task, self.device.type):
            outputs = layers.outputs_of(self.module.network, training.inputs_to_tensor(inputs).to(self.module.device))
        dtype = torch.get_default_dtype()  # NumPy has no bfloat16
        return {
            name: (output.permute(0, 2, 3, 1) if output.ndim == 4 else output).cpu().to(dtype).numpy()
            for name, output in outputs.items()
            if isinstance(output, torch.Tensor)
        }

    def apply_gradients(self, gradients: Iterable[Weights], *, learning_rates: Array) -> None:
        module, network = self.module, self.module.network
        optimizer = optimizers.optimizer(module.task, network)
        for rate, step_gradients in zip(learning_rates, gradients, strict=True):
            weights.write_gradients(network, step_gradients)
            for group in optimizer.param_groups:
                group["lr"] = float(rate)
            optimizers.before_step(module.task, module.trained, module.regularized, rate=float(rate))
            optimizer.step()

    def fix_dropout(self, seed: int, *, n_steps: int, batch_size: int) -> None:
        layers.fix_dropout(self.module.network, seed=seed)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def save(self, folder: Path, /) -> None:
        torch.save(self.module.network.state_dict(), folder / "model.pt")  # open with weights_only=True


class LightningFramework:
    """Builds LightningModels."""

    def build(
        self,
        task: Task,
        *,
        input_shape: tuple[int, ...],
        n_outputs: int,
        seed: int,
        device: str,
        devices: int = 1,
    ) -> LightningModel:
        if device == "gpu":
            require_gpus(devices, seen=torch.cuda.device_count(), by="PyTorch")
        training.configure_process(task, seed=seed)
        network = networks.network(task, input_shape=input_shape, n_outputs=n_outputs)
        defaults.layers_as_shipped(network, task)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub lacks it
        weights.places(network)  # raises on anything unmapped
        if task.training.jit:
            training.compile_in_place(network)
        return LightningModel(training.TaskModule(network, task), seed=seed, device=device, devices=devices)

    def versions(self) -> dict[str, str]:
        own = str(torch.__version__)  # it is of a class of PyTorch's: who read it would import PyTorch
        return {"pytorch-lightning": pl.__version__, "torch": own}

    def device_peak_bytes(self) -> int:
        return max(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))


FRAMEWORK = LightningFramework()
