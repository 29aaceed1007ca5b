"""What a framework is brought to the task's formula in, word by word: aligned, as shipped, or some as shipped.

A word names one default. As shipped it is left to the framework; what a task states by number (learning rate, batch
size, epochs, widths, dropout) is never.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.task.checks import require

Task = Any  # experiments.task.Task, which has an alignment
ALIGNED, AS_SHIPPED, AND = "aligned", "as_shipped", "+"
OTHERS = "others"  # in a ladder: what was left to the framework and changed no first step
# What is said of a framework's own class, where it differs from the task's formula: where epsilon stands, and in Keras
# on TensorFlow that rows of an embedding are squared before they are summed. What is not here has no rule of its own.
FORMULAS = {
    "adam": "Adam's own rule",
    "adamw": "AdamW's own rule",
    "adamax": "Adamax's own rule",
    "rmsprop": "RMSprop's own rule",
    "adagrad": "Adagrad's own rule",
    "adadelta": "Adadelta's own rule",
    "adafactor": "Adafactor's own rule",
}
MOMENTUM_FORMULAS = {"sgd": "momentum's formula", "nadam": "Nadam's decay of momentum"}


@dataclass(frozen=True, kw_only=True)
class Default:
    """A word for what a framework would choose itself; `touches` says which tasks it makes a difference to."""

    title: str
    touches: Callable[[Task], bool]


def _cell(task: Task) -> str:
    return getattr(task.network, "cell", "")


def _activation(task: Task) -> str:
    return getattr(task.network, "activation", "")


def _normalizes(task: Task) -> bool:
    return getattr(task.network, "batch_normalization", None) is not None


DEFAULTS: dict[str, Default] = {
    "initializers": Default(title="the initialization of kernels and biases", touches=lambda task: True),
    "lstm_forget_bias": Default(title="the LSTM's initial forget bias", touches=lambda task: _cell(task) == "lstm"),
    "embedding_range": Default(
        title="the embedding's initial range", touches=lambda task: getattr(task.network, "embedding", None) is not None
    ),
    "recurrent_biases": Default(
        title="one bias or two in a recurrent cell", touches=lambda task: _cell(task) in ("simple", "lstm")
    ),
    "gru_reset": Default(title="where the GRU resets", touches=lambda task: _cell(task) == "gru"),
    "batch_norm_momentum": Default(title="batch normalization's momentum", touches=_normalizes),
    "batch_norm_epsilon": Default(title="batch normalization's epsilon", touches=_normalizes),
    "batch_norm_variance": Default(title="batch normalization's running variance", touches=_normalizes),
    "leaky_relu_slope": Default(title="LeakyReLU's slope", touches=lambda task: _activation(task) == "leaky_relu"),
    "gelu": Default(title="GELU's form", touches=lambda task: _activation(task) == "gelu"),
    "optimizer_epsilon": Default(
        title="the optimizer's epsilon",
        touches=lambda task: hasattr(task.optimizer, "epsilon") or hasattr(task.optimizer, "epsilon1"),
    ),
    "optimizer_formula": Default(title="the optimizer's formula", touches=lambda task: task.optimizer.kind in FORMULAS),
    "optimizer_rho": Default(title="the optimizer's rho", touches=lambda task: hasattr(task.optimizer, "rho")),
    "adagrad_start": Default(
        title="where Adagrad's sum starts", touches=lambda task: hasattr(task.optimizer, "initial_accumulator")
    ),
    "momentum_formula": Default(
        title="momentum's formula",
        touches=lambda task: task.optimizer.kind in MOMENTUM_FORMULAS and getattr(task.optimizer, "momentum", 1.0) > 0,
    ),
    "weight_decay": Default(title="what weight decay means", touches=lambda task: task.weight_decay > 0),
    "clipping": Default(
        title="the rule that clips gradients",
        touches=lambda task: task.regularization.clip.kind in ("norm", "global_norm"),
    ),
    "shuffling": Default(title="the order of the examples", touches=lambda task: True),
}


def touched(task: Task) -> tuple[str, ...]:
    """Words of the defaults that make a difference to the task, in the order of DEFAULTS."""
    return tuple(word for word, default in DEFAULTS.items() if default.touches(task))


def words_of(alignment: str, task: Task) -> frozenset[str]:
    """The defaults that `alignment` leaves to the framework: none, all that the task touches, or those it names."""
    if alignment == ALIGNED:
        return frozenset()
    return frozenset(touched(task) if alignment == AS_SHIPPED else alignment.split(AND))


def alignment_of(words: frozenset[str], task: Task) -> str:
    """What is typed for these words: the inverse of `words_of`."""
    if not words:
        return ALIGNED
    known = touched(task)
    return AS_SHIPPED if words == frozenset(known) else AND.join(word for word in known if word in words)


def title_of(word: str, *, optimizer: str) -> str:
    """A word as a person says it; `optimizer` is the task's kind."""
    if word == OTHERS:
        return "what no first step shows"
    if word == "optimizer_formula":
        return FORMULAS[optimizer]
    if word == "momentum_formula":
        return MOMENTUM_FORMULAS[optimizer]
    names = {"adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "nadam": "Nadam"}
    name = names.get(optimizer, optimizer.capitalize())
    return DEFAULTS[word].title.replace("the optimizer's", f"{name}'s")


def check(alignment: str, task: Task) -> None:
    """Refuse what is no alignment of the task.

    Raises:
        ValueError: Names the words that the task touches.
    """
    known = touched(task)
    wrong = [word for word in words_of(alignment, task) if word not in known]
    rule = f"alignment is {ALIGNED}, {AS_SHIPPED}, or words of this task joined by {AND}"
    require(not wrong, rule, alignment, f"its words are {', '.join(known)}")
    shipped_muon = alignment != ALIGNED and task.optimizer.kind == "muon"
    fix = "the frameworks' own Muon do not train the same weights; choose another optimizer"
    require(not shipped_muon, "alignment=aligned with optimizer=muon", alignment, fix)
