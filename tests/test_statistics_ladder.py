"""The parts of a gap: they add up, and each default is blamed for what it does."""

import numpy as np
import pytest

from experiments.statistics.ladder import ladder, share_of

WORDS = ("epsilon", "initializers", "shuffling")


def paths(gap):
    """Gaps along both paths of a game over WORDS: `gap(words as shipped, seed)`, for six seeds."""
    points = [frozenset(WORDS[k:]) for k in range(4)]
    back = [frozenset(WORDS[:k]) for k in range(4)]
    return tuple(np.array([[gap(chosen, seed) for seed in range(6)] for chosen in path]) for path in (points, back))


def noise(seed):
    return np.random.default_rng(seed).normal(0, 0.01)


def test_parts_that_do_not_interact_are_what_each_default_adds():
    worth = {"epsilon": 0.8, "initializers": 0.2, "shuffling": 0.0}
    found = ladder(*paths(lambda chosen, seed: sum(worth[word] for word in chosen) + noise(seed)), words=WORDS)
    assert [step.part.value for step in found.steps] == pytest.approx([0.8, 0.2, 0.0], abs=1e-12)
    assert found.whole.value == pytest.approx(1.0, abs=1e-12)
    assert [round(step.share.value, 9) for step in found.steps] == [0.8, 0.2, 0.0]
    assert [step.is_shown for step in found.steps] == [True, True, False]


def test_an_interaction_is_shared_by_the_two_that_make_it():
    """By hand: 1 only where both are as shipped; down takes it with the first, up adds it with the second."""
    both = {"epsilon", "shuffling"}
    found = ladder(*paths(lambda chosen, seed: float(both <= chosen)), words=WORDS)
    assert [step.part.value for step in found.steps] == [0.5, 0.0, 0.5]


def test_the_parts_of_any_gaps_add_up_to_the_whole():
    rng = np.random.default_rng(1)
    table = {}
    found = ladder(*paths(lambda chosen, seed: table.setdefault((chosen, seed), rng.normal())), words=WORDS)
    whole = found.shipped.value - found.aligned.value
    assert sum(step.part.value for step in found.steps) == pytest.approx(whole, abs=1e-15 * 100)
    assert abs(whole) > 0.01  # there is something to add up to


def test_a_small_part_is_said_not_to_matter_and_a_wide_one_is_not():
    def gap(chosen, seed):
        return ("epsilon" in chosen) * (0.001 + 0.1 * noise(seed)) + ("shuffling" in chosen) * 20 * noise(seed + 9)

    epsilon, _, shuffling = ladder(*paths(gap), words=WORDS).steps
    assert (epsilon.is_within(0.02), shuffling.is_within(0.02)) == (True, False)


def test_fieller_covers_the_ratio_as_often_as_it_says():
    """800 draws of five pairs of means 0.5 and 1: the nominal 95 % within three standard errors, 2.3 points."""
    rng, n_covered = np.random.default_rng(2), 0
    for _ in range(800):
        whole = rng.normal(1, 0.2, 5)
        found = share_of(0.3 + 0.2 * whole + rng.normal(0, 0.1, 5), whole, level=0.95)
        n_covered += found is None or found.low <= 0.5 <= found.high
    assert 0.927 <= n_covered / 800 <= 0.973


def test_there_is_no_share_of_a_gap_that_is_not_shown():
    assert share_of(np.array([0.1, 0.2, 0.1]), np.array([1.0, -1.0, 0.5]), level=0.95) is None
    assert share_of(np.array([0.1, 0.2]), np.array([1.0, 1.1]), level=0.95) is None  # two seeds


def test_paths_that_do_not_meet_are_refused():
    down, up = paths(lambda chosen, seed: len(chosen) + noise(seed))
    with pytest.raises(ValueError, match="both paths must have the same gaps as shipped and aligned"):
        ladder(down, up + 1, words=WORDS)
    with pytest.raises(ValueError, match=r"gaps must have shape \(n_words \+ 1, n_seeds\) = \(3, 6\), but got"):
        ladder(down, up, words=WORDS[:2])


def test_what_no_first_step_shows_is_a_step_of_its_own():
    """By hand: 0.5 come with all else as shipped, 0.25 with each of two words."""
    down, up = np.repeat([[0.75], [0.5], [0.25]], 3, axis=1), np.repeat([[0.25], [0.5], [0.75]], 3, axis=1)
    found = ladder(down, up, words=("epsilon", "shuffling"), top=np.array([1.0, 1.25, 1.5]), others="others")
    assert [(step.word, step.part.value) for step in found.steps] == [
        ("epsilon", 0.25),
        ("shuffling", 0.25),
        ("others", 0.5),
    ]
    assert (found.shipped.value, found.whole.value, found.aligned.value) == (1.25, 1.0, 0.25)
    assert {step.part.level for step in found.steps} == {1 - 0.05 / 3}
