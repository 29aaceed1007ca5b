"""Optimizers: their numbers and their formulas. g is the gradient, w the weight, t = 1, 2, ... the step.

The formula is what every framework is brought to; where they differ, PyTorch's is taken, with the source beside it.
The learning rate of each step, r, comes from the schedule's table; `learning_rate` is its base.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import ClassVar, get_args

from experiments.task.checks import require, require_half_open_share, require_positive


@dataclass(frozen=True, kw_only=True)
class _WithRate:
    learning_rate: float

    def __post_init__(self) -> None:
        """Check the rate."""
        require_positive(learning_rate=self.learning_rate, fix="a common choice is 0.001 for adam, 0.01 for sgd")


@dataclass(frozen=True, kw_only=True)
class SgdSettings(_WithRate):
    """v <- momentum v + g;  w <- w - r (g + momentum v if nesterov else v).

    Source: Sutskever et al. 2013 in the form of torch.optim.SGD: the rate stands outside the velocity. Keras puts
    it inside, another path as soon as the rate changes.
    """

    kind: ClassVar[str] = "sgd"
    momentum: float
    nesterov: bool

    def __post_init__(self) -> None:
        """Check rate and momentum."""
        super().__post_init__()
        require_half_open_share(momentum=self.momentum)
        fix = "set momentum: 0.9"
        require(self.momentum > 0 or not self.nesterov, "nesterov needs momentum > 0", self.momentum, fix)


@dataclass(frozen=True, kw_only=True)
class RmspropSettings(_WithRate):
    """s <- rho s + (1 - rho) g^2;  d = g / (sqrt(s) + epsilon);  b <- momentum b + d;  w <- w - r b.

    Centered: the root is of s - a^2, a <- rho a + (1 - rho) g. Source: Tieleman & Hinton 2012; Graves 2013
    (centered); epsilon outside the root as in torch.optim.RMSprop (Keras: inside).
    """

    kind: ClassVar[str] = "rmsprop"
    rho: float
    epsilon: float
    momentum: float
    centered: bool

    def __post_init__(self) -> None:
        """Check rate, decays and epsilon."""
        super().__post_init__()
        require_half_open_share(rho=self.rho, momentum=self.momentum)
        require_positive(epsilon=self.epsilon)


@dataclass(frozen=True, kw_only=True)
class AdagradSettings(_WithRate):
    """s <- s + g^2 from s = initial_accumulator;  w <- w - r g / (sqrt(s) + epsilon).

    Source: Duchi et al. 2011; epsilon outside the root as in torch.optim.Adagrad (Keras: inside).
    """

    kind: ClassVar[str] = "adagrad"
    initial_accumulator: float
    epsilon: float

    def __post_init__(self) -> None:
        """Check rate, start and epsilon."""
        super().__post_init__()
        require(self.initial_accumulator >= 0, "initial_accumulator >= 0", self.initial_accumulator)
        require_positive(epsilon=self.epsilon)


@dataclass(frozen=True, kw_only=True)
class AdadeltaSettings(_WithRate):
    """s <- rho s + (1 - rho) g^2;  d = g sqrt(u + epsilon) / sqrt(s + epsilon);  w <- w - r d.

    u <- rho u + (1 - rho) d^2, after d. Source: Zeiler 2012.
    """

    kind: ClassVar[str] = "adadelta"
    rho: float
    epsilon: float

    def __post_init__(self) -> None:
        """Check rate, decay and epsilon."""
        super().__post_init__()
        require_half_open_share(rho=self.rho)
        require_positive(epsilon=self.epsilon)


@dataclass(frozen=True, kw_only=True)
class _WithMoments(_WithRate):
    beta1: float
    beta2: float
    epsilon: float

    def __post_init__(self) -> None:
        """Check rate, decays and epsilon."""
        super().__post_init__()
        require_half_open_share(beta1=self.beta1, beta2=self.beta2)
        require_positive(epsilon=self.epsilon)


@dataclass(frozen=True, kw_only=True)
class AdamSettings(_WithMoments):
    """m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2;  w <- w - r m^ / (sqrt(v^) + epsilon).

    m^ = m / (1 - beta1^t), v^ = v / (1 - beta2^t); amsgrad takes the largest v so far. Source: Kingma & Ba 2015,
    algorithm 1: epsilon outside the root and after the correction. Keras adds it before, which makes it 32 times larger
    at the first step, and its default is 1e-7 where PyTorch's is 1e-8. amsgrad: Reddi et al. 2018.
    """

    kind: ClassVar[str] = "adam"
    amsgrad: bool


@dataclass(frozen=True, kw_only=True)
class AdamwSettings(_WithMoments):
    """Adam after w <- (1 - r weight_decay) w. Source: Loshchilov & Hutter 2019."""

    kind: ClassVar[str] = "adamw"
    weight_decay: float

    def __post_init__(self) -> None:
        """Check rate, decays, epsilon and the weight decay."""
        super().__post_init__()
        require(self.weight_decay >= 0, "weight_decay >= 0", self.weight_decay)


@dataclass(frozen=True, kw_only=True)
class AdamaxSettings(_WithMoments):
    """m as Adam;  u <- max(beta2 u, |g| + epsilon);  w <- w - r m^ / u.

    Source: Kingma & Ba 2015, algorithm 2; epsilon inside the maximum as in torch.optim.Adamax (Keras adds it to u).
    """

    kind: ClassVar[str] = "adamax"


@dataclass(frozen=True, kw_only=True)
class NadamSettings(_WithMoments):
    """Adam with m^ = mu_{t+1} m / (1 - M_{t+1}) + (1 - mu_t) g / (1 - M_t).

    mu_t = beta1 (1 - 0.96^t / 2), M_t = mu_1 ... mu_t.
    Source: Dozat 2016; 0.96^t is Keras', in PyTorch momentum_decay=1 (its default is 0.004).
    """

    kind: ClassVar[str] = "nadam"


@dataclass(frozen=True, kw_only=True)
class AdafactorSettings(_WithRate):
    """Rows R and columns C of the mean square instead of a whole matrix; a step relative to the weight's size.

    k = t^beta2_decay;  R <- R + k (rowmean(g^2) - R), C likewise;  V = R C / max(mean(R), epsilon1), for a vector
    V <- V + k (g^2 - V);  d = g / sqrt(max(V, epsilon1^2));  w <- w - max(epsilon2, rms(w)) min(r, 1 / sqrt(t)) d /
    max(1, rms(d) / clip_threshold). Source: Shazeer & Stern 2018 as in torch.optim.Adafactor. What is factored is
    listed by role: kernels and embeddings, over (in, out), of a convolution over (height, width); never a bias.
    """

    kind: ClassVar[str] = "adafactor"
    beta2_decay: float
    epsilon1: float
    epsilon2: float
    clip_threshold: float

    def __post_init__(self) -> None:
        """Check rate, decay, epsilons and threshold."""
        super().__post_init__()
        require(self.beta2_decay < 0, "beta2_decay < 0", self.beta2_decay, "the usual value is -0.8")
        require_positive(epsilon1=self.epsilon1, epsilon2=self.epsilon2, clip_threshold=self.clip_threshold)


@dataclass(frozen=True, kw_only=True)
class MuonSettings(_WithRate):
    """For `matrices`: m <- momentum m + g;  w <- w - r s O(g + momentum m), s = rms_rate sqrt(max(in, out)).

    O(x): x / (|x|_F + epsilon), then `iterations` times x <- a x + (b A + c A A) x with A = x x^T and the coefficients
    (a, b, c): nearly the orthogonal matrix closest to x. In full precision (torch.optim.Muon: bfloat16). All others:
    Adam with beta1, beta2, epsilon. Source: Jordan et al. 2024; the scale s is Liu et al. 2025, "match RMS of AdamW".
    """

    kind: ClassVar[str] = "muon"
    matrices: tuple[str, ...]
    momentum: float
    iterations: int
    coefficients: tuple[float, ...]
    rms_rate: float
    beta1: float
    beta2: float
    epsilon: float

    def __post_init__(self) -> None:
        """Check rate, decays, epsilon and the iteration."""
        super().__post_init__()
        require(len(self.matrices) > 0, "matrices must name weights", self.matrices, 'such as ["dense*/kernel"]')
        require(self.iterations >= 1, "iterations >= 1", self.iterations)
        require(len(self.coefficients) == 3, "three coefficients", self.coefficients)
        require_half_open_share(momentum=self.momentum, beta1=self.beta1, beta2=self.beta2)
        require_positive(epsilon=self.epsilon, rms_rate=self.rms_rate)

    def select(self, ranks: Mapping[str, int]) -> frozenset[str]:
        """Names of the weights that `matrices` names, of all of a network's: canonical name -> rank.

        Raises:
            ValueError: If it names none, or one that is no matrix.
        """
        chosen = sorted(name for name in ranks if any(fnmatchcase(name, pattern) for pattern in self.matrices))
        if not chosen or any(ranks[name] != 2 for name in chosen):
            raise ValueError(f"`optimizer.matrices` must name matrices, but {self.matrices} names {chosen}")
        return frozenset(chosen)


Optimizer = (
    SgdSettings
    | RmspropSettings
    | AdagradSettings
    | AdadeltaSettings
    | AdamSettings
    | AdamwSettings
    | AdamaxSettings
    | NadamSettings
    | AdafactorSettings
    | MuonSettings
)
OPTIMIZERS: dict[str, type[Optimizer]] = {each.kind: each for each in get_args(Optimizer)}
