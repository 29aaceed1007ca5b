"""Kinds of networks: their numbers and what shapes they take. Each framework builds them in its own `networks.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from experiments.task.checks import require, require_half_open_share, require_positive

Activation = Literal["relu", "tanh", "sigmoid", "gelu", "leaky_relu"]


@dataclass(frozen=True, kw_only=True)
class Initialization:
    """How the initial weights are drawn, by role; see `experiments/contract/initialization.py`."""

    kernel: Literal["glorot_uniform", "he_uniform"]
    recurrent_kernel: Literal["orthogonal"]
    bias: Literal["zeros", "fan_in_uniform"]
    forget_bias: float
    embeddings: float


@dataclass(frozen=True, kw_only=True)
class BatchNormalization:
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta, over batch and pixels (Ioffe & Szegedy 2015).

    For evaluation, moving <- decay * moving + (1 - decay) * batch's, with the biased variance (divided by n) for both
    uses: PyTorch would divide by n - 1 for the moving one.
    """

    decay: float
    epsilon: float

    def __post_init__(self) -> None:
        """Check both."""
        require_half_open_share(decay=self.decay)
        require_positive(epsilon=self.epsilon)


def layer_widths(*, depth: int, width: int, width_factor: float) -> tuple[int, ...]:
    """Widths of successive layers: `width * width_factor**i`, rounded, for i = 0 ... depth - 1."""
    return tuple(round(width * width_factor**i) for i in range(depth))


@dataclass(frozen=True, kw_only=True)
class _Layered:
    """What all kinds share: `depth` layers (blocks, stages) of `width`, times `width_factor` from one to the next."""

    depth: int
    width: int
    width_factor: float
    initialization: Initialization

    def __post_init__(self) -> None:
        """Check depth and widths."""
        require(self.depth >= 1, "depth >= 1", self.depth)
        require(self.width >= 1, "width >= 1", self.width)
        require(self.width_factor > 0, "width_factor > 0", self.width_factor)
        require(min(self.widths) >= 1, "every layer has width >= 1", self.widths, "raise width or width_factor")

    @property
    def widths(self) -> tuple[int, ...]:
        """Units or channels of each layer."""
        return layer_widths(depth=self.depth, width=self.width, width_factor=self.width_factor)


@dataclass(frozen=True, kw_only=True)
class MlpSettings(_Layered):
    """Multilayer perceptron: `depth` hidden layers, then the logits."""

    kind: ClassVar[str] = "mlp"
    activation: Activation
    negative_slope: float

    def check_input(self, shape: tuple[int, ...], *, vocabulary: int) -> None:
        """Accept every shape: an input is flattened.

        Raises:
            ValueError: If the inputs are tokens, whose numbers mean nothing.
        """
        _require_numbers(vocabulary, kind=self.kind)


@dataclass(frozen=True, kw_only=True)
class CnnSettings(_Layered):
    """Blocks of convolution, batch normalization or bias, activation, max-pooling (floor); dense; logits.

    Padding of the convolutions: valid, none; same, (kernel_size - 1) / 2 zeros on every side, which keeps the size.
    """

    kind: ClassVar[str] = "cnn"
    kernel_size: int
    padding: Literal["valid", "same"]
    pool_size: int
    dense_width: int
    activation: Activation
    negative_slope: float
    batch_normalization: BatchNormalization | None

    def __post_init__(self) -> None:
        """Check depth, widths and window sizes."""
        super().__post_init__()
        for name in ("kernel_size", "pool_size", "dense_width"):
            require(getattr(self, name) >= 1, f"{name} >= 1", getattr(self, name))
        is_odd = self.kernel_size % 2 == 1
        require(is_odd or self.padding == "valid", "padding: same needs an odd kernel_size", self.kernel_size)

    def normalized_pixels(self, shape: tuple[int, ...]) -> int:
        """Fewest pixels of an image over which batch normalization takes a mean: those before the last pooling."""
        sizes = [shape[:2], *self.image_sizes(shape)]
        lost = self.kernel_size - 1 if self.padding == "valid" else 0
        return (sizes[-2][0] - lost) * (sizes[-2][1] - lost)

    def image_sizes(self, shape: tuple[int, ...]) -> list[tuple[int, int]]:
        """Height and width after each block, for inputs of `shape` (height, width, channels)."""
        sizes, (height, width) = [], shape[:2]
        lost = self.kernel_size - 1 if self.padding == "valid" else 0
        for _ in range(self.depth):
            height, width = ((size - lost) // self.pool_size for size in (height, width))
            sizes.append((height, width))
        return sizes

    def check_input(self, shape: tuple[int, ...], *, vocabulary: int) -> None:
        """Refuse inputs that are no images, and a depth at which the images run out.

        Raises:
            ValueError: If `shape` is not (height, width, channels), or a block would have no output.
        """
        _require_numbers(vocabulary, kind=self.kind)
        _require_images(shape, kind=self.kind)
        fits = sum(1 for size in self.image_sizes(shape) if min(size) >= 1)
        require(
            fits == self.depth,
            f"network.depth <= {fits}",
            self.depth,
            f"images of {shape[0]}x{shape[1]} run out after {fits} blocks of {self.kernel_size}x{self.kernel_size} "
            f"convolution and {self.pool_size}x{self.pool_size} pooling",
        )


@dataclass(frozen=True, kw_only=True)
class ResnetSettings(_Layered):
    """A 3x3 convolution, `depth` stages of `blocks` residual blocks, global average, dropout, logits.

    A block: 3x3 convolution, normalization, activation, 3x3 convolution, normalization; plus its input; activation
    (He et al. 2016, the basic block). From the second stage on the first block halves the image by stride 2, and a 1x1
    convolution with normalization projects its input. Padding is explicit, one pixel on every side.
    """

    kind: ClassVar[str] = "resnet"
    blocks: int
    activation: Activation
    negative_slope: float
    batch_normalization: BatchNormalization

    def normalized_pixels(self, shape: tuple[int, ...]) -> int:
        """Fewest pixels of an image over which batch normalization takes a mean: those of the last stage."""
        stride: int = 2 ** (self.depth - 1)
        height, width = (-(-size // stride) for size in shape[:2])
        return height * width

    def __post_init__(self) -> None:
        """Check depth, widths and blocks."""
        super().__post_init__()
        require(self.blocks >= 1, "blocks >= 1", self.blocks)

    def check_input(self, shape: tuple[int, ...], *, vocabulary: int) -> None:
        """Refuse inputs that are no images, and a depth at which the images run out.

        Raises:
            ValueError: If `shape` is not (height, width, channels), or a stage would see a single pixel.
        """
        _require_numbers(vocabulary, kind=self.kind)
        _require_images(shape, kind=self.kind)
        fits = min(shape[:2]).bit_length()
        fix = f"images of {shape[0]}x{shape[1]} are halved away"
        require(self.depth <= fits, f"network.depth <= {fits}", self.depth, fix)


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A vector of `width` numbers for each of `vocabulary` tokens; token 0 is padding."""

    vocabulary: int
    width: int

    def __post_init__(self) -> None:
        """Check both."""
        require(self.vocabulary >= 2, "embedding.vocabulary >= 2", self.vocabulary)
        require(self.width >= 1, "embedding.width >= 1", self.width)


@dataclass(frozen=True, kw_only=True)
class RnnSettings(_Layered):
    """`depth` recurrent layers over a sequence, the last state of the last one, dropout, logits.

    Padding stands at the end and takes no part: steps whose features are all 0, or token 0. Cells have one bias (gru:
    two, the second inside the reset gate); a simple cell's activation is tanh, the gates' logistic. Bidirectional
    layers put the forward state before the backward one. Dropout stands between layers, a new mask for every
    step; there is none inside a cell.
    """

    kind: ClassVar[str] = "rnn"
    cell: Literal["simple", "lstm", "gru"]
    bidirectional: bool
    embedding: Embedding | None

    def check_input(self, shape: tuple[int, ...], *, vocabulary: int) -> None:
        """Refuse inputs that are no sequences.

        Raises:
            ValueError: If `shape` is not (steps, features), or (steps,) of tokens with an embedding of them all.
        """
        if self.embedding is None:
            require(
                not vocabulary, "tokens need network.embedding", None, f"state {{vocabulary: {vocabulary}, width: 32}}"
            )
            require(len(shape) == 2, "an rnn takes sequences (steps, features)", shape, "choose another network")
        else:
            require(vocabulary > 0, "network.embedding needs tokens", shape, "set network.embedding=null")
            known = self.embedding.vocabulary
            require(known >= vocabulary, f"network.embedding.vocabulary >= {vocabulary}", known, "the data's tokens")


def _require_numbers(vocabulary: int, *, kind: str) -> None:
    fix = "choose network=lstm with an embedding, or save a table of numbers as np.float32"
    require(not vocabulary, f"a {kind} takes numbers, not tokens", f"{vocabulary} tokens", fix)


def _require_images(shape: tuple[int, ...], *, kind: str) -> None:
    require(len(shape) == 3, f"a {kind} takes images (height, width, channels)", shape, "choose network=mlp")


Network = MlpSettings | CnnSettings | ResnetSettings | RnnSettings
NETWORKS: dict[str, type[Network]] = {each.kind: each for each in get_args(Network)}
