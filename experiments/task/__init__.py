"""What is learned, in words no framework owns. Settings check themselves and touch nothing.

Every number is required here and stated in `conf/`: no framework's default can slip in. The formula beside each word is
its canonical semantics: what every framework is brought to.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from experiments.task import alignment as alignments
from experiments.task.checks import require, require_half_open_share
from experiments.task.datasets import DATASETS, Data
from experiments.task.networks import NETWORKS, Network
from experiments.task.optimizers import OPTIMIZERS, Optimizer
from experiments.task.schedules import SCHEDULES, Schedule

__all__ = ["DATASETS", "NETWORKS", "OPTIMIZERS", "SCHEDULES", "Data", "Network", "Optimizer", "Schedule", "Task"]

LossKind = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error", "brier_score"]
ClipKind = Literal["none", "value", "norm", "global_norm"]
Keep = Literal["last", "best"]
Precision = Literal["float32", "float64", "mixed_bfloat16", "mixed_float16"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What is done to large gradients, before the optimizer sees them.

    value: each element to [-limit, limit]. norm: each weight's gradient g times min(1, limit / |g|_2).
    global_norm: all gradients times min(1, limit / |(g1, g2, ...)|_2). Exact: PyTorch adds 1e-6 to the norm.
    """

    kind: ClipKind
    limit: float

    def __post_init__(self) -> None:
        """Check the limit."""
        require(self.limit > 0, "clip.limit > 0", self.limit)


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop after `patience` evaluations in a row without a validation loss below the best one by more than `min_delta`.

    Evaluations come every `training.evaluate_every` epochs. Patience 0 never stops early. The last weights are kept.
    One rule for all: the frameworks' own differ by one epoch.
    """

    patience: int
    min_delta: float

    def __post_init__(self) -> None:
        """Check both."""
        require(self.patience >= 0, "early_stopping.patience >= 0", self.patience)
        require(self.min_delta >= 0, "early_stopping.min_delta >= 0", self.min_delta)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Changes of training images, drawn anew each epoch in NumPy: `shift` by up to so many pixels, `flip`, `noise`.

    Shifted-in pixels are 0; a flip is left to right with probability 1/2; noise is normal with that standard deviation.
    """

    shift: int
    flip: bool
    noise: float

    def __post_init__(self) -> None:
        """Check both sizes."""
        require(self.shift >= 0, "augmentation.shift >= 0", self.shift)
        require(self.noise >= 0, "augmentation.noise >= 0", self.noise)

    @property
    def is_on(self) -> bool:
        """Whether anything is changed at all."""
        return bool(self.shift or self.flip or self.noise)


@dataclass(frozen=True, kw_only=True)
class Regularization:
    """What keeps the network from fitting noise; 0 switches a thing off.

    Attributes:
        dropout: Share of units dropped; the others are divided by 1 - dropout.
        spatial_dropout: The same for whole channels, after each block of convolutions.
        l1: Adds l1 * sum(|w|) to the loss.
        l2: Adds l2 * sum(w**2) to the loss.
        weight_decay: Decoupled: w <- (1 - rate * weight_decay) w before each step (Loshchilov & Hutter 2019).
        exclude: Roles ("bias") or names ("logits/kernel") of weights that l1, l2 and weight_decay leave alone.
        label_smoothing: e: the target's probability becomes 1 - e + e / n_classes, every other's e / n_classes.
        weight_averaging: Decay d of an average a <- d a + (1 - d) w over steps, a copy of w after the first;
            it replaces the trained weights (not the statistics of batch normalization) when training ends.
    """

    dropout: float
    spatial_dropout: float
    l1: float
    l2: float
    weight_decay: float
    exclude: tuple[str, ...]
    label_smoothing: float
    weight_averaging: float
    clip: Clip
    early_stopping: EarlyStopping
    augmentation: Augmentation

    def __post_init__(self) -> None:
        """Check the shares and strengths."""
        for name in ("dropout", "spatial_dropout"):
            require_half_open_share(**{name: getattr(self, name)}, fix="the rate is the share of units dropped")
        require_half_open_share(label_smoothing=self.label_smoothing, weight_averaging=self.weight_averaging)
        for name in ("l1", "l2", "weight_decay"):
            require(getattr(self, name) >= 0, f"{name} >= 0", getattr(self, name))

    def excludes(self, name: str) -> bool:
        """Whether the weight of that canonical name is left alone by l1, l2 and weight_decay."""
        return name in self.exclude or name.rpartition("/")[2] in self.exclude


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, in what batches (the last, smaller one is kept), with what loss and precision.

    Validation scores are taken after every `evaluate_every` epochs and after the last. Of these evaluations, `keep`
    says whose weights are scored on the test set and saved: the last one's, or those of the lowest validation loss, the
    first of equals.

    With `gradient_accumulation_steps` = n the optimizer steps after every n batches, with the mean of their gradients;
    each batch counts alike. An epoch must consist of whole groups.

    Mixed precision: convolutions, matrix products and recurrent cells compute in the 16-bit type, on weights that are
    kept and moved in float32; logits, loss and optimizer are float32. float16 scales the loss so that gradients do not
    vanish. `jit` compiles the training step; the numbers then agree to rounding only.

    Losses, all on logits z, averaged over the batch: cross_entropy -log softmax(z)[y] (with class weights w: the mean
    weighted by w[y]); binary_cross_entropy -y log s(z) - (1 - y) log(1 - s(z)), s the logistic function;
    mean_squared_error (z - y)**2; brier_score (s(z) - y)**2.
    """

    epochs: int
    batch_size: int
    gradient_accumulation_steps: int
    evaluate_every: int
    loss: LossKind
    class_weights: tuple[float, ...] | None
    keep: Keep
    precision: Precision
    jit: bool

    @property
    def dtype(self) -> Literal["float32", "float64"]:
        """Type of weights, logits and losses; mixed precision keeps them in float32."""
        return "float64" if self.precision == "float64" else "float32"

    @property
    def has_accuracy(self) -> bool:
        """Whether answers are right or wrong; values are only near or far."""
        return self.loss != "mean_squared_error"

    def __post_init__(self) -> None:
        """Check the counts and weights."""
        require(self.epochs >= 1, "epochs >= 1", self.epochs)
        require(self.batch_size >= 1, "batch_size >= 1", self.batch_size, "a common choice is 64")
        steps = self.gradient_accumulation_steps
        require(steps >= 1, "gradient_accumulation_steps >= 1", steps, "1 steps after every batch")
        require(self.evaluate_every >= 1, "evaluate_every >= 1 epoch", self.evaluate_every)
        if self.class_weights is not None:
            require(self.loss == "cross_entropy", "class_weights need loss: cross_entropy", self.loss)
            require(min(self.class_weights, default=0) > 0, "every class weight > 0", self.class_weights)


@dataclass(frozen=True, kw_only=True)
class Margins:
    """The largest difference that does not matter in practice, stated before any run.

    `accuracy` is a fraction (0.005 is half a percentage point), null where there is no accuracy; `loss` has the loss's
    own unit, `time_ratio` is a share (0.05: five per cent).
    """

    accuracy: float | None
    loss: float
    time_ratio: float

    def __post_init__(self) -> None:
        """Check that they are positive, and the accuracy's a fraction: from a tenth on it is taken for points."""
        accuracy, fix = self.accuracy, "it is a fraction, not per cent: 0.2 percentage points are 0.002"
        require(accuracy is None or 0 < accuracy < 0.1, "0 < margins.accuracy < 0.1", accuracy, fix)
        require(self.loss > 0, "margins.loss > 0", self.loss)
        require(0 < self.time_ratio < 1, "0 < margins.time_ratio < 1", self.time_ratio)


@dataclass(frozen=True, kw_only=True)
class Chance:
    """What guessing scores on the test set: what a run that diverged or failed counts as, so that it stays in n.

    `accuracy` is a fraction (1 / n_classes where they are balanced), null where there is no accuracy; `loss` has the
    loss's own unit (ln n_classes for cross_entropy), null where nobody knows: such runs are then left out of claims.
    """

    accuracy: float | None
    loss: float | None

    def __post_init__(self) -> None:
        """Check the ranges."""
        require(self.accuracy is None or 0 <= self.accuracy < 1, "0 <= chance.accuracy < 1", self.accuracy)
        require(self.loss is None or self.loss > 0, "chance.loss > 0", self.loss)


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that is asked, and nothing about who does it.

    `alignment` says which of a framework's own defaults it keeps: "aligned" none, "as_shipped" all that the task
    touches, else words of `alignment.DEFAULTS` joined by "+".
    """

    name: str
    data: Data
    network: Network
    optimizer: Optimizer
    schedule: Schedule
    regularization: Regularization
    training: Training
    margins: Margins
    chance: Chance
    alignment: str = field(default=alignments.ALIGNED, metadata={"only_if_changed": True})

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        alignments.check(self.alignment, self)
        self._check_accuracies()
        self._check_margins()
        smoothing = self.regularization.label_smoothing
        require(
            self.is_classification or not smoothing, "label_smoothing needs loss: cross_entropy", self.training.loss
        )
        require(
            self.training.class_weights is None or not smoothing,
            "class_weights without label_smoothing",
            smoothing,
            "their product is defined differently by everyone; use one of them",
        )
        warmup, epochs = self.schedule.warmup_epochs, self.training.epochs
        require(warmup < epochs, f"schedule.warmup_epochs < {epochs} epochs", warmup)
        averaging = self.regularization.weight_averaging
        require(
            not (averaging and self.training.keep == "best"),
            "keep: last with weight_averaging",
            self.training.keep,
            "the average replaces the weights only when training ends, so that no evaluation before has seen it",
        )
        own_decay = getattr(self.optimizer, "weight_decay", 0.0)
        require(
            not (own_decay and self.regularization.weight_decay),
            "one weight_decay",
            (own_decay, self.regularization.weight_decay),
            "set optimizer.weight_decay or regularization.weight_decay to 0",
        )

    def _check_accuracies(self) -> None:
        """A margin on the accuracy where there is one, and nothing about it where there is none."""
        loss, margin, chance = self.training.loss, self.margins.accuracy, self.chance.accuracy
        if self.training.has_accuracy:
            fix = "state the difference that would not matter, such as 0.01"
            require(margin is not None, f"margins.accuracy is a number with training.loss={loss}", margin, fix)
            return
        for name, value in {"margins.accuracy": margin, "chance.accuracy": chance}.items():
            require(value is None, f"{name}=null with training.loss={loss}", value, "values have no accuracy")

    def _check_margins(self) -> None:
        """No margin as wide as all that a score can show: from guessing to no mistake."""
        accuracy = self.chance.accuracy
        spans = {"accuracy": None if accuracy is None else 1 - accuracy, "loss": self.chance.loss}
        for name, span in spans.items():
            margin = getattr(self.margins, name)
            if margin is not None and span is not None:
                fix = "a run that guesses would be equivalent to a perfect one"
                require(margin < span, f"margins.{name} < {span:g}", margin, fix)

    @property
    def as_shipped(self) -> frozenset[str]:
        """Words of the defaults that are left to the framework."""
        return alignments.words_of(self.alignment, self)

    @property
    def is_classification(self) -> bool:
        """Whether each example has one class."""
        return self.training.loss == "cross_entropy"

    @property
    def weight_decay(self) -> float:
        """Decoupled decay, whether it came with the optimizer (adamw) or as regularization."""
        own: float = getattr(self.optimizer, "weight_decay", 0.0)
        return own or self.regularization.weight_decay
