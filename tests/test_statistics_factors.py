"""Effects and variance shares of a grid, against sums by hand and statsmodels' type II analysis of variance."""

import numpy as np
import pytest

from experiments.statistics import main_effects, variance_shares

BALANCED = [{"optimizer": o, "dropout": d} for o in ("adam", "sgd") for d in (0.0, 0.5) for _ in range(2)]
SCORES = [1.0, 3.0, 5.0, 7.0, 2.0, 2.0, 2.0, 2.0]  # cell means 2 6 2 2, grand mean 3

ROWS = [
    dict(zip(("optimizer", "network", "depth"), row, strict=True))
    for row in [("adam", "a", 1), ("adam", "a", 1), ("adam", "b", 1), ("adam", "b", 2), ("sgd", "a", 1),
                ("sgd", "a", 2), ("sgd", "b", 2), ("sgd", "b", 2), ("sgd", "b", 1), ("adam", "a", 2),
                ("rms", "a", 1), ("rms", "b", 2), ("rms", "b", 2), ("rms", "a", 2)]
]  # fmt: skip
UNBALANCED = [3.1, 2.9, 4.0, 5.2, 1.0, 1.9, 2.2, 2.8, 2.1, 3.9, 2.0, 4.4, 4.1, 3.3]
TOTAL = 17.57214285714286


def by_term(shares):
    return {share.factors: share for share in shares}


def test_a_balanced_grid_splits_into_plain_sums_of_squares():
    found = by_term(variance_shares(BALANCED, SCORES))
    # by hand: optimizer 8 * 1^2, dropout 8 * 1^2, both 8 * 1^2, residual 4 * 1^2, total 28
    squares = {term: share.sum_of_squares for term, share in found.items()}
    assert squares == pytest.approx({("optimizer",): 8, ("dropout",): 8, ("optimizer", "dropout"): 8, (): 4})
    assert [share.share for share in found.values()] == pytest.approx([2 / 7, 2 / 7, 2 / 7, 1 / 7])
    assert [share.degrees_of_freedom for share in found.values()] == [1, 1, 1, 4]


def test_the_effects_of_a_balanced_grid_are_means_of_levels():
    found = main_effects(BALANCED, SCORES)
    assert found["optimizer"] == pytest.approx({"adam": 1.0, "sgd": -1.0})
    assert found["dropout"] == pytest.approx({0.0: -1.0, 0.5: 1.0})


def test_an_unbalanced_grid_has_statsmodels_type_two_sums():
    found = by_term(variance_shares(ROWS, UNBALANCED))
    outside = {  # statsmodels 0.15.0, anova_lm(ols("y ~ all mains and all two-way interactions"), typ=2)
        ("optimizer",): (12.0329991099, 2),
        ("network",): (2.8033333333, 1),
        ("depth",): (2.3250980392, 1),
        ("optimizer", "network"): (0.0524891775, 2),
        ("optimizer", "depth"): (0.1474285714, 2),
        ("network", "depth"): (0.0057142857, 1),
        (): (0.3364285714, 4),
    }
    assert found.keys() == outside.keys()
    for term, (squares, freedom) in outside.items():
        assert found[term].sum_of_squares == pytest.approx(squares, abs=1e-9)
        assert found[term].share == pytest.approx(squares / TOTAL, abs=1e-9)
        assert found[term].degrees_of_freedom == freedom


def test_without_interactions_the_sums_are_those_of_the_additive_model():
    found = by_term(variance_shares(ROWS, UNBALANCED, interactions=False))
    squares = {term: share.sum_of_squares for term, share in found.items()}
    outside = {("optimizer",): 11.9910000000, ("network",): 3.2002597403, ("depth",): 2.4710160428, (): 0.6494545455}
    assert squares == pytest.approx(outside, abs=1e-9)


def test_the_effects_of_an_unbalanced_grid_are_those_of_the_additive_model():
    found = main_effects(ROWS, UNBALANCED)  # outside: statsmodels ols with sum coding
    assert found["optimizer"] == pytest.approx({"adam": 0.9997979798, "rms": 0.2064646465, "sgd": -1.2062626263})
    assert found["network"] == pytest.approx({"a": -0.5045454545, "b": 0.5045454545})
    assert found["depth"] == pytest.approx({1: -0.4606060606, 2: 0.4606060606})


def test_the_order_of_the_rows_changes_no_share():
    order = np.random.default_rng(0).permutation(len(ROWS))
    turned = by_term(variance_shares([ROWS[i] for i in order], np.array(UNBALANCED)[order]))
    for term, share in by_term(variance_shares(ROWS, UNBALANCED)).items():
        assert turned[term].share == pytest.approx(share.share, abs=1e-12)  # floating-point sums


def test_a_term_that_the_rows_cannot_tell_apart_has_no_degrees_of_freedom():
    diagonal = [{"optimizer": o, "dropout": d} for o, d in [("adam", 0), ("adam", 0), ("sgd", 1), ("sgd", 1)]]
    found = by_term(variance_shares(diagonal, [1.0, 2.0, 5.0, 6.0]))
    assert [found[term].degrees_of_freedom for term in [("optimizer",), ("dropout",), ()]] == [0, 0, 2]
    with pytest.raises(ValueError, match="factors must not be confounded"):
        main_effects(diagonal, [1.0, 2.0, 5.0, 6.0])


def test_scores_without_variance_share_nothing():
    assert {share.share for share in variance_shares(BALANCED, [0.7] * 8)} == {0.0}


def test_levels_that_are_numbers_are_listed_by_size():
    rows = [{"rate": rate} for rate in (10, 0.5, 2, 10, 0.5, 2)]
    assert list(main_effects(rows, [1.0, 2, 3, 4, 5, 6])["rate"]) == [0.5, 2, 10]


@pytest.mark.parametrize(
    ("rows", "scores", "message"),
    [
        (BALANCED, SCORES[1:], r"`len\(rows\) == len\(scores\)` must hold, but got 8 and 7"),
        (BALANCED, [*SCORES[:7], np.nan], "`scores` .* 1 not finite; see score_failures"),
        ([{"a": 1}, {"b": 1}], [1.0, 2.0], r"every row must hold the factors \['a'\]"),
    ],
)
def test_rows_that_do_not_fit_are_refused(rows, scores, message):
    with pytest.raises(ValueError, match=message):
        variance_shares(rows, scores)
