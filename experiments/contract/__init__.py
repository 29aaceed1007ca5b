"""What a framework must offer. Protocols, not base classes: nothing inherited to look up."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, get_args

from experiments.task import Precision, Task, Training

if TYPE_CHECKING:  # what NumPy is imported for
    from experiments.contract.arrays import Array, Weights
    from experiments.contract.plan import BatchPlan, Plan
    from experiments.contract.trace import EpochTrace

EVALUATION_BYTES = 2**18  # of inputs that `Model.logits` scores at once; a convolution makes some 50 times as many


class Model(Protocol):
    """One trainable network. Arrays cross this border as NumPy, channels last, in the task's precision."""

    def weights(self) -> Weights:
        """Copies, under canonical names "layer/role": dense kernels (in, out), convolutions (h, w, in, out).

        Roles: kernel, bias, recurrent_kernel, embeddings, gamma, beta, moving_mean, moving_variance. The gates of an
        lstm stand in the order input, forget, cell, output, those of a gru update, reset, candidate, side by side.
        """

    def load_weights(self, weights: Weights, /) -> None:
        """Replace every weight; raise KeyError on a missing or unknown name."""

    def logits(self, inputs: Array, /) -> Array:
        """Evaluation-mode outputs of the last layer: (n, *input_shape) -> (n, n_outputs)."""

    def activations(self, inputs: Array, /) -> Mapping[str, Array]:
        """Evaluation-mode output of every layer that has a name in both frameworks, in order, channels last."""

    def fit(
        self,
        plan: Plan,
        *,
        on_step_end: Callable[[int], None],
        on_epoch_end: Callable[[int, Array], bool],
    ) -> None:
        """Take the plan's batches in the plan's order at the plan's learning rates.

        `on_step_end(n)` is called after each n batches, 1 or more, have been queued. `on_epoch_end(epoch, losses)` gets
        the training loss of each batch of epoch 0, 1, ..., penalties not included, shape (batches_per_epoch,);
        training stops once it is true. It may read and replace the weights.
        """

    def trace(self) -> EpochTrace:
        """What the steps of an epoch took: which batches, at which learning rates; asked within its `on_epoch_end`.

        Not from the plan, but as near to the step as it costs no time: a run whose steps took something else fails.
        """

    def apply_gradients(self, gradients: Iterable[Weights], *, learning_rates: Array) -> None:
        """Let the task's optimizer, decay and clipping take one step per element of `gradients`; no data is seen."""

    def fix_dropout(self, seed: int, *, n_steps: int, batch_size: int) -> None:
        """From now on drop what `dropout_masks.keep_mask` says, for at most `n_steps` steps; for certificates."""

    def synchronize(self) -> None:
        """Return when queued device work is done, so that run.py can read its clock."""

    def save(self, folder: Path, /) -> None:
        """Write the model into `folder` in the framework's own safe format."""


class BareLoop(Protocol):
    """What a framework's models can besides where its row of FRAMEWORKS has a `bare_loop`."""

    def fit_bare(self, plan: BatchPlan, *, on_epoch_end: Callable[[], None]) -> None:
        """Train as a program by hand would that has the plan's arrays, with nothing of ours between two steps.

        Network, loss and optimizer are those of `fit`; batch size, epochs and learning rates the plan's, and its order
        where that takes no time. `job.BARE` says which words of a task it need not know. `on_epoch_end()` is called
        after each epoch.
        """


class OwnOrder(Protocol):
    """What a framework's models can besides where its row of FRAMEWORKS says `has_defaults`."""

    def own_orders(self, n_examples: int, *, epochs: int) -> Array:
        """Permutations of 0 ... n_examples - 1 as the framework itself shuffles, (epochs, n_examples), seeded."""


class Probe(Protocol):
    """What a framework tells of itself on this machine: the module that its row of FRAMEWORKS names, imported."""

    def devices(self) -> list[str]:
        """The devices that it sees, in its own words, the CPU among them."""

    def settings(self) -> dict[str, str]:
        """What its speed here depends on, in words: threads, kernels, instruction sets, CUDA."""

    def matrix_product(self, first: Array, second: Array, /) -> Callable[[], None]:
        """(n, n) and (n, n), float32 -> what multiplies them once on its first device, and returns when it is done."""

    def convolution(self, images: Array, kernel: Array, /) -> Callable[[], None]:
        """The same for images (n, h, w, c) and a kernel (h, w, c, filters), float32, without padding."""


class DeviceMemory(Protocol):
    """What a framework offers besides where it has GPUs."""

    def device_peak_bytes(self) -> int:
        """The most that this process has had of the GPU that it uses most of, as the framework's own books say."""


class Framework(Protocol):
    """One deep-learning framework, imported."""

    def build(
        self,
        task: Task,
        *,
        input_shape: tuple[int, ...],
        n_outputs: int,
        seed: int,
        device: str,
        devices: int = 1,
    ) -> Model:
        """Build the task's network, compiled and ready to fit on `device` ("cpu" or "gpu").

        With `devices` > 1, `fit` takes an equal share of each batch on each of them and steps with the mean of their
        gradients: the step of one device, up to rounding (`plan.require_equal_shards` says for which tasks). The plan's
        batch stays the whole one, and so do the losses that `on_epoch_end` gets.

        Args:
            task: Every word and number of the network and its training.
            input_shape: Of one example, channels last: (height, width, channels), (steps, features), (steps,) or flat.
            n_outputs: Logits per example: the classes, or the values of a regression.
            seed: Of the dropout masks, and of the weights until others are loaded.
            device: "cpu" or "gpu".
            devices: How many of them share the run.

        Raises:
            RuntimeError: If `device` is "gpu" and the framework sees fewer than `devices`.
            ValueError: If the framework lacks a word of the task; it says which.
        """

    def versions(self) -> dict[str, str]:
        """Names and versions of the packages that do the arithmetic."""


Load = Callable[[str], Framework]  # name in frameworks.FRAMEWORKS -> what it names: `frameworks.load`


@dataclass(frozen=True, kw_only=True)
class FrameworkSpec:
    """What is known of a framework before it is imported: a row of frameworks.FRAMEWORKS.

    Attributes:
        module: The module that holds FRAMEWORK, a `Framework`; imported in workers only.
        colour: Of its runs in every figure, "#rrggbb".
        max_devices: How many devices can share one of its runs; None: any number.
        precisions: Those of `training.precision` that it computes in.
        variables: How the variables of the environment begin that it reads; workers do not inherit them.
        environment: Those that it must find before it is imported; a process has them for good.
        extra: The extra of the project that brings the package of the same name, where it needs one.
        probe: The module that is its `Probe`; empty where it has none.
        bare_loop: What its models do in `BareLoop.fit_bare`, in words; empty where they have none.
        limits: "module:function" that raises ValueError on the first word of a task that it does not know, where that
            is told without importing the framework; empty where it knows all words.
        has_defaults: Whether it has defaults of its own, to be trained as shipped.
        also_called: What people type for it, so that a refusal can say its name.
    """

    module: str
    colour: str
    max_devices: int | None = None
    precisions: tuple[Precision, ...] = get_args(Precision)
    variables: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""
    probe: str = ""
    bare_loop: str = ""
    limits: str = ""
    also_called: tuple[str, ...] = ()
    has_defaults: bool = True

    def problem_with(self, task: Task) -> str:
        """What of a task the framework does not know, in a sentence, whatever its precision; empty where nothing."""
        if not self.limits:
            return ""
        module, _, function = self.limits.partition(":")
        training = dataclasses.replace(task.training, precision=self.precisions[0])
        try:
            getattr(importlib.import_module(module), function)(dataclasses.replace(task, training=training))
        except ValueError as error:
            return str(error)
        return ""


def evaluation_batches(inputs: Array, *, batch_size: int) -> list[Array]:
    """Inputs (n, *input_shape) cut into what `Model.logits` scores at once.

    As many as EVALUATION_BYTES hold, or as a training step has, which needs more memory; never more than 1000.
    """
    n_small = EVALUATION_BYTES // max(inputs[:1].nbytes, 1)
    size = min(max(batch_size, n_small), 1000)
    return [inputs[start : start + size] for start in range(0, len(inputs), size)]


def require_gpus(devices: int, *, seen: int, by: str) -> None:
    """Refuse `device=gpu` where a library sees too few.

    Raises:
        RuntimeError: If `by`, such as "PyTorch", has `seen` fewer than `devices`.
    """
    if seen < devices:
        raise RuntimeError(
            f"`executor.device=gpu` needs a GPU that {by} sees for each of {devices} device(s), but it sees {seen}; "
            "use executor.device=cpu"
        )


def refuse_compiled_steps(training: Training, *, by: str) -> None:
    """For a framework that takes its steps one by one.

    Raises:
        ValueError: If the steps are to be compiled; says that `by`, a name of FRAMEWORKS, cannot.
    """
    if training.jit:
        raise ValueError(f"`framework={by}` compiles no step, but got training.jit=True; set training.jit=false")
