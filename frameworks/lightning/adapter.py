"""PyTorch Lightning under the contract of experiments/contract.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from experiments.initialization import Weights
from experiments.plan import BatchPlan
from experiments.task import Task
from frameworks.lightning import networks, training, weights

Array = NDArray[Any]
EVALUATION_BATCH = 1000


class LightningModel:
    """A network in a LightningModule."""

    def __init__(self, module: training.Classifier, *, device: str) -> None:
        self.module = module
        self.device = torch.device("cuda" if device == "gpu" else "cpu")

    def weights(self) -> Weights:
        return weights.read(self.module.network)

    def load_weights(self, new: Weights, /) -> None:
        weights.write(self.module.network, new)

    def logits(self, inputs: Array, /) -> Array:
        was_training = self.module.training
        self.module.eval()
        with torch.inference_mode():
            batches = torch.split(training.inputs_to_tensor(inputs), EVALUATION_BATCH)
            outputs = [self.module(batch.to(self.module.device)).cpu().numpy() for batch in batches]
        self.module.train(was_training)
        return np.concatenate(outputs)

    def fit(
        self,
        plan: BatchPlan,
        *,
        on_step_end: Callable[[], None],
        on_epoch_end: Callable[[int, Array], bool],
    ) -> None:
        accelerator = "gpu" if self.device.type == "cuda" else "cpu"
        training.fit(self.module, plan, device=accelerator, on_step_end=on_step_end, on_epoch_end=on_epoch_end)

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def save(self, folder: Path, /) -> None:
        torch.save(self.module.network.state_dict(), folder / "model.pt")  # open with weights_only=True


class LightningFramework:
    """Builds LightningModels."""

    def build(
        self, task: Task, *, input_shape: tuple[int, ...], n_outputs: int, seed: int, device: str
    ) -> LightningModel:
        if device == "gpu" and not torch.cuda.is_available():
            raise RuntimeError("`executor.device=gpu` needs a GPU that PyTorch sees, but it sees none")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        pl.seed_everything(seed, workers=True, verbose=False)
        network = networks.network(task, input_shape=input_shape, n_outputs=n_outputs)
        network = network.to(getattr(torch, task.training.precision), memory_format=torch.channels_last)
        return LightningModel(training.Classifier(network, task), device=device)

    def versions(self) -> dict[str, str]:
        return {"pytorch-lightning": pl.__version__, "torch": torch.__version__}


FRAMEWORK = LightningFramework()
