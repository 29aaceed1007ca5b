"""What is learned, in words no framework owns. Settings check themselves and touch nothing.

Every number is required here and stated in `conf/`: no framework's default can slip in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

Activation = Literal["relu", "tanh", "sigmoid"]
LossKind = Literal["cross_entropy"]
Precision = Literal["float32", "float64"]


def require(holds: bool, rule: str, value: Any, fix: str = "") -> None:  # noqa: FBT001
    """Raise ValueError "`rule` must hold, but got value; fix" unless the rule holds."""
    if not holds:
        raise ValueError(f"`{rule}` must hold, but got {value!r}" + (f"; {fix}" if fix else ""))


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which examples, and how they are split.

    `test_fraction` is used only where a source comes without a test set of its own. The location
    (`path`, `download`) says where to look; what was found is in the data's fingerprint.
    """

    source: str
    path: str | None
    download: bool
    test_fraction: float
    validation_fraction: float
    split_seed: int

    def __post_init__(self) -> None:
        """Check the fractions and the seed."""
        for name in ("test_fraction", "validation_fraction"):
            fraction = getattr(self, name)
            require(0 < fraction < 1, f"0 < {name} < 1", fraction, "state the share that is held out, such as 0.1")
        require(self.split_seed >= 0, "split_seed >= 0", self.split_seed)


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """How the initial weights are drawn, by role; see `experiments/initialization.py`."""

    kernel: Literal["glorot_uniform", "he_uniform"]
    bias: Literal["zeros"]


def layer_widths(*, depth: int, width: int, width_factor: float) -> tuple[int, ...]:
    """Widths of successive layers: `width * width_factor**i`, rounded, for i = 0 ... depth - 1."""
    return tuple(round(width * width_factor**i) for i in range(depth))


@dataclass(frozen=True, kw_only=True)
class MlpSettings:
    """Multilayer perceptron: `depth` hidden layers, then the logits."""

    kind: ClassVar[str] = "mlp"
    depth: int
    width: int
    width_factor: float
    activation: Activation
    initialization: Initialization

    def __post_init__(self) -> None:
        """Check depth and widths."""
        _require_widths(self)

    @property
    def widths(self) -> tuple[int, ...]:
        """Units of each hidden layer."""
        return layer_widths(depth=self.depth, width=self.width, width_factor=self.width_factor)

    def check_input(self, shape: tuple[int, ...]) -> None:
        """Accept every shape: an input is flattened."""


@dataclass(frozen=True, kw_only=True)
class CnnSettings:
    """Blocks of convolution (valid), activation and max-pooling (floor), then one dense layer and the logits."""

    kind: ClassVar[str] = "cnn"
    depth: int
    width: int
    width_factor: float
    kernel_size: int
    pool_size: int
    dense_width: int
    activation: Activation
    initialization: Initialization

    def __post_init__(self) -> None:
        """Check depth, widths and window sizes."""
        _require_widths(self)
        for name in ("kernel_size", "pool_size", "dense_width"):
            require(getattr(self, name) >= 1, f"{name} >= 1", getattr(self, name))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each block."""
        return layer_widths(depth=self.depth, width=self.width, width_factor=self.width_factor)

    def image_sizes(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Height and width after each block, for inputs of `shape` (height, width, channels)."""
        sizes, (height, width) = [], shape[:2]
        for _ in range(self.depth):
            height, width = ((size - self.kernel_size + 1) // self.pool_size for size in (height, width))
            sizes.append((height, width))
        return sizes

    def check_input(self, shape: tuple[int, ...]) -> None:
        """Refuse inputs that are no images, and a depth at which the images run out.

        Raises:
            ValueError: If `shape` is not (height, width, channels), or a block would have no output.
        """
        require(len(shape) == 3, "a cnn takes images (height, width, channels)", shape, "choose network=mlp")
        fits = sum(1 for size in self.image_sizes(shape) if min(size) >= 1)
        require(
            fits == self.depth,
            f"network.depth <= {fits}",
            self.depth,
            f"images of {shape[0]}x{shape[1]} run out after {fits} blocks of {self.kernel_size}x{self.kernel_size} "
            f"convolution and {self.pool_size}x{self.pool_size} pooling",
        )


def _require_widths(network: MlpSettings | CnnSettings) -> None:
    require(network.depth >= 1, "depth >= 1", network.depth)
    require(network.width >= 1, "width >= 1", network.width)
    require(network.width_factor > 0, "width_factor > 0", network.width_factor)
    require(min(network.widths) >= 1, "every layer has width >= 1", network.widths, "raise width or width_factor")


@dataclass(frozen=True, kw_only=True)
class SgdSettings:
    """v <- momentum v + g;  w <- w - rate * (g + momentum v if nesterov else v).

    Source: Sutskever et al. 2013 in the form of `torch.optim.SGD` (the rate outside the velocity).
    """

    kind: ClassVar[str] = "sgd"
    learning_rate: float
    momentum: float
    nesterov: bool

    def __post_init__(self) -> None:
        """Check rate and momentum."""
        _require_rate(self.learning_rate)
        _require_decay(momentum=self.momentum)
        require(
            self.momentum > 0 or not self.nesterov, "nesterov needs momentum > 0", self.momentum, "set momentum: 0.9"
        )


@dataclass(frozen=True, kw_only=True)
class AdamSettings:
    """w <- w - rate * m^ / (sqrt(v^) + epsilon), m^ and v^ corrected for their bias.

    Epsilon stands outside the root and after the correction, as in Kingma & Ba 2015, algorithm 1.
    Keras falls back to epsilon=1e-7 and adds it before the correction, PyTorch to 1e-8.
    """

    kind: ClassVar[str] = "adam"
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float

    def __post_init__(self) -> None:
        """Check rate, decays and epsilon."""
        _require_rate(self.learning_rate)
        _require_decay(beta1=self.beta1, beta2=self.beta2)
        _require_epsilon(self.epsilon)


def _require_rate(learning_rate: float) -> None:
    require(
        0 < learning_rate < math.inf,
        "learning_rate > 0",
        learning_rate,
        "a common choice is 0.001 for adam, 0.01 for sgd",
    )


def _require_decay(**decays: float) -> None:
    for name, decay in decays.items():
        require(0 <= decay < 1, f"0 <= {name} < 1", decay)


def _require_epsilon(epsilon: float) -> None:
    require(0 < epsilon < math.inf, "epsilon > 0", epsilon)


@dataclass(frozen=True, kw_only=True)
class ConstantSchedule:
    """The learning rate stays as it is."""

    kind: ClassVar[str] = "constant"


@dataclass(frozen=True, kw_only=True)
class Regularization:
    """What keeps the network from fitting noise."""

    dropout: float

    def __post_init__(self) -> None:
        """Check the rate."""
        require(0 <= self.dropout < 1, "0 <= dropout < 1", self.dropout, "the rate is the share of units dropped")


@dataclass(frozen=True, kw_only=True)
class Training:
    """How long, in what batches (the last, smaller one is kept), with what loss and precision."""

    epochs: int
    batch_size: int
    loss: LossKind
    precision: Precision

    def __post_init__(self) -> None:
        """Check the counts."""
        require(self.epochs >= 1, "epochs >= 1", self.epochs)
        require(self.batch_size >= 1, "batch_size >= 1", self.batch_size, "a common choice is 64")


@dataclass(frozen=True, kw_only=True)
class Margins:
    """The largest difference that does not matter in practice, stated before any run.

    `accuracy` is a fraction (0.005 is half a percentage point), `loss` has the loss's own unit,
    `time_ratio` is a share (0.05: five per cent).
    """

    accuracy: float
    loss: float
    time_ratio: float

    def __post_init__(self) -> None:
        """Check that they are positive, and the accuracy's a fraction."""
        require(0 < self.accuracy < 0.5, "0 < margins.accuracy < 0.5", self.accuracy, "it is a fraction, not per cent")
        require(self.loss > 0, "margins.loss > 0", self.loss)
        require(0 < self.time_ratio < 1, "0 < margins.time_ratio < 1", self.time_ratio)


Network = MlpSettings | CnnSettings
Optimizer = SgdSettings | AdamSettings
Schedule = ConstantSchedule

NETWORKS: dict[str, type[Network]] = {"mlp": MlpSettings, "cnn": CnnSettings}
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SgdSettings, "adam": AdamSettings}
SCHEDULES: dict[str, type[Schedule]] = {"constant": ConstantSchedule}


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that is asked, and nothing about who does it."""

    name: str
    data: DataSettings
    network: Network
    optimizer: Optimizer
    schedule: Schedule
    regularization: Regularization
    training: Training
    margins: Margins
