"""What two arms answer on the test set, example by example: confusion, agreement, new data, worst mistakes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from experiments import metrics, statistics
from experiments.contract.arrays import Array
from experiments.report import formatting
from experiments.report.arms import Arm
from experiments.statistics import Agreement, Verdict

ReadLogits = Callable[[str], tuple[Array, Array] | None]
MISTAKES_PER_KIND = 8
RULE = (
    f"Wrong in more than half of an arm's seeds; of each kind the {MISTAKES_PER_KIND} examples with the highest mean "
    "loss over the seeds of both arms."
)


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """One example of the test set that an arm gets wrong.

    `answers` (what most seeds say; of an arm that is wrong, its commonest wrong answer) and `probabilities` (of those
    answers, mean over seeds) are the two arms'; `picture` is bytes,
    shape (h, w, channels), or None where there is none to show.
    """

    index: int
    kind: str
    label: str
    answers: tuple[str, str]
    probabilities: tuple[float, float]
    loss: float
    picture: Array | None


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """Two arms' answers.

    Attributes:
        names: Names of the arms.
        class_names: Names of the classes.
        confusion: Mean over seeds of the counts, shape (n_classes, n_classes) each; rows are true classes.
        seed: The seed whose two models `agreement` compares.
        new_data: The verdict on accuracy for new data from the same source, where it can be had.
    """

    names: tuple[str, str]
    class_names: tuple[str, ...]
    confusion: tuple[Array, Array]
    n_seeds: int
    n_examples: int
    seed: int
    agreement: Agreement
    new_data: Verdict | None
    mistakes: tuple[Mistake, ...]


def predictions_of(
    first: Arm, second: Arm, *, class_names: Sequence[str], margin: float | None, n_planned: int, read: ReadLogits
) -> Predictions | None:
    """Compare two arms on the logits of the seeds that both finished; None where there are none, or no classes.

    Args:
        first: One arm, of one framework.
        second: Another, on the same data.
        class_names: Of the test set; empty where its targets are values.
        margin: The largest difference in accuracy that does not matter, if one was declared.
        n_planned: Seeds that each arm was to be trained with.
        read: Identifier of a run -> its test logits (n, n_classes) and targets (n,), or None.
    """
    runs = {run.seed: run for run in second.finished}
    pairs = [(run, runs[run.seed]) for run in first.finished if run.seed in runs]
    kept = [(one.seed, read(one.run_id), read(other.run_id)) for one, other in pairs]
    whole = [
        (seed, left, right)
        for seed, left, right in kept
        if left is not None and right is not None and np.isfinite(left[0]).all() and np.isfinite(right[0]).all()
    ]
    if not whole or whole[0][1][1].ndim != 1 or whole[0][1][0].shape[1] != len(class_names):
        return None
    targets = whole[0][1][1]
    if any(not np.array_equal(each[1], targets) for _, left, right in whole for each in (left, right)):
        return None  # other data under the same seed: nothing to compare example by example
    logits = (np.stack([left[0] for _, left, _ in whole]), np.stack([right[0] for _, _, right in whole]))
    return Predictions(
        names=(first.name, second.name),
        class_names=tuple(class_names),
        confusion=(_confusion(logits[0], targets), _confusion(logits[1], targets)),
        n_seeds=len(whole),
        n_examples=len(targets),
        seed=whole[0][0],
        agreement=statistics.agreement(logits[0][0], logits[1][0], labels=targets),
        new_data=_on_new_data(first, second, logits, targets, margin=margin, n_planned=n_planned),
        mistakes=_mistakes(first, second, logits, targets, class_names=class_names),
    )


def _confusion(logits: Array, targets: Array) -> Array:
    """Mean counts over seeds, rows true classes: (n_seeds, n, n_classes), (n,) -> (n_classes, n_classes)."""
    n_classes = logits.shape[2]
    answers = logits.argmax(axis=2)
    counts = [np.bincount(targets * n_classes + answer, minlength=n_classes**2) for answer in answers]
    mean: Array = np.mean(counts, axis=0).reshape(n_classes, n_classes)
    return mean


def _on_new_data(
    first: Arm, second: Arm, logits: Sequence[Array], targets: Array, *, margin: float | None, n_planned: int
) -> Verdict | None:
    right = [each.argmax(axis=2) == targets for each in logits]
    is_whole = first.n_lost == second.n_lost == 0 and len(first.runs) == len(second.runs) == len(right[0])
    if len(right[0]) < 3 or len(targets) < 2 or not is_whole:
        return None  # seeds that went well alone would say too much, and one example has no spread
    seeds = list(range(len(right[0])))
    return statistics.verdict(
        {seed: float(np.mean(right[0][seed])) for seed in seeds},
        {seed: float(np.mean(right[1][seed])) for seed in seeds},
        margin=margin,
        n_planned=n_planned,
        names=(first.name, second.name),
        **formatting.of_verdict(metrics.ACCURACY),
        new_data=statistics.crossed_error(right[0], right[1]),
    )


def _mistakes(
    first: Arm, second: Arm, logits: Sequence[Array], targets: Array, *, class_names: Sequence[str]
) -> tuple[Mistake, ...]:
    chances = [np.exp(metrics.log_softmax(each)).mean(axis=0) for each in logits]  # (n, n_classes)
    losses = -np.mean([metrics.log_softmax(each)[:, np.arange(len(targets)), targets] for each in logits], axis=(0, 1))
    wrong = [np.mean(each.argmax(axis=2) != targets, axis=0) > 0.5 for each in logits]
    kinds = {
        "both wrong": wrong[0] & wrong[1],
        f"only {first.name} wrong": wrong[0] & ~wrong[1],
        f"only {second.name} wrong": ~wrong[0] & wrong[1],
    }
    mistakes = []
    for kind, mask in kinds.items():
        worst = sorted(np.flatnonzero(mask), key=lambda index: (-losses[index], index))[:MISTAKES_PER_KIND]
        for index in worst:
            answers = [
                _answer(each[:, index].argmax(axis=1), int(targets[index]), is_wrong=bool(mask_of[index]))
                for each, mask_of in zip(logits, wrong, strict=True)
            ]
            mistakes.append(
                Mistake(
                    index=int(index),
                    kind=kind,
                    label=class_names[targets[index]],
                    answers=(class_names[answers[0]], class_names[answers[1]]),
                    probabilities=(float(chances[0][index, answers[0]]), float(chances[1][index, answers[1]])),
                    loss=float(losses[index]),
                    picture=None,
                )
            )
    return tuple(mistakes)


def _answer(answers: Array, target: int, *, is_wrong: bool) -> int:
    """The answer that most seeds gave, (n_seeds,) of class numbers; of a wrong arm, the commonest wrong one."""
    votes = np.bincount(answers, minlength=target + 1)
    if is_wrong:
        votes[target] = 0
    return int(votes.argmax())


def with_pictures(predictions: Predictions, pictures: Mapping[int, Array]) -> Predictions:
    """The same with the pictures that are known, by index of the example."""
    shown = tuple(dataclasses.replace(each, picture=pictures.get(each.index)) for each in predictions.mistakes)
    return dataclasses.replace(predictions, mistakes=shown)


def pictures_from(inputs: Array, indices: Sequence[int]) -> dict[int, Array]:
    """Pictures as bytes, each stretched to its own range: (n, h, w, channels) -> {index: (h, w, channels)}."""
    if inputs.ndim != 4 or inputs.shape[3] not in (1, 3):
        return {}
    pictures = {}
    for index in indices:
        picture = inputs[index].astype(np.float64)
        spread = np.ptp(picture) or 1.0
        pictures[index] = np.round(255 * (picture - picture.min()) / spread).astype(np.uint8)
    return pictures
