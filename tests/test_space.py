"""A space of nothing is refused with rule, value and fix; a grid, an edge and a condition are what they say."""

import math

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from experiments.task.search_space import Dimension, Objective, Pruner, Sampler, TuningSettings

RATE = "optimizer.learning_rate"


def rates(low=1e-4, high=1e-1, **changes):
    return Dimension(kind="float", low=low, high=high, **{"log": True, **changes})


def whole(low=1, high=3, **changes):
    return Dimension(kind="int", low=low, high=high, **changes)


def words(*choices, **changes):
    return Dimension(kind="categorical", choices=choices, **changes)


def search(**changes):
    """A search that can be, but for what is changed."""
    return TuningSettings(
        **{
            "name": "test",
            "trials": 4,
            "timeout_seconds": None,
            "workers": None,
            "seed": 1000,
            "objectives": (Objective(metric="val/loss", direction="minimize"),),
            "sampler": Sampler(name="TPESampler", seed=0),
            "pruner": Pruner(name="NopPruner"),
            "space": {RATE: rates()},
            "storage": "sqlite:///optuna.db",
            "study": None,
            "default": True,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rates(low=0.1, high=0.1), r"`low < high` must hold, but got '0\.1 and 0\.1'; swap them, or leave the"),
        (lambda: whole(low=9, high=3), r"`low < high` must hold, but got '9 and 3'; swap them"),
        (lambda: rates(low=0.0), r"`low > 0 on a log scale` must hold, but got 0\.0; raise it, or set log: false"),
        (lambda: whole(low=-2, log=True), r"`low > 0 on a log scale` must hold, but got -2; raise it"),
        (lambda: words(), r"`choices of a categorical hold at least 1` must hold, but got \[\]"),
        (lambda: words("relu", low=1), r"`a categorical has choices, no low and high` must hold, but got 1"),
        (
            lambda: rates(choices=(1, 2)),
            r"`choices belong to kind: categorical, not float` must hold, but got \[1, 2\]",
        ),
        (lambda: rates(step=0.01), r"`either log or step` must hold, but got 0\.01"),
        (lambda: rates(log=False, step=0.0), r"`step > 0` must hold, but got 0\.0"),
        (lambda: rates(low=None), r"`low` and `high` of kind: float must be stated, but got None and 0\.1"),
        (lambda: whole(high=None), r"`low` and `high` of kind: int must be stated, but got 1 and None"),
        (lambda: whole(high=2.5), r"`whole low, high and step of an int` must hold, but got \(1, 2\.5, 1\)"),
        (lambda: whole(step=0.5), r"`whole low, high and step of an int` must hold, but got \(1, 3, 0\.5\)"),
        (lambda: rates(points=1), r"`points >= 2` must hold, but got 1"),
    ],
)
def test_a_dimension_of_nothing_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("dimension", "by_hand"),
    [
        (whole(), [1, 2, 3]),
        (whole(low=2, high=9, step=3), [2, 5, 8]),
        (rates(low=0.0, high=1.0, log=False, points=5), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (rates(low=0.1, high=0.5, log=False, step=0.2), [0.1, 0.3, 0.5]),
        (rates(low=0.0, high=1.0, log=False, step=0.4), [0.0, 0.4, 0.8]),
        (rates(points=4), [1e-4, 1e-3, 1e-2, 1e-1]),
        (words("relu", "tanh", None), ["relu", "tanh", None]),
    ],
)
def test_a_grid_holds_what_one_counts_by_hand(dimension, by_hand):
    grid = dimension.grid()
    assert grid == [pytest.approx(value, rel=1e-12) if isinstance(value, float) else value for value in by_hand]
    assert [type(value) for value in grid] == [type(value) for value in by_hand]
    assert all(map(dimension.holds, grid))


def test_a_float_without_step_has_eight_points_on_a_grid_and_its_exact_ends():
    grid = rates(low=3e-4, high=0.7).grid()
    assert len(grid) == 8
    assert (grid[0], grid[-1]) == (3e-4, 0.7)


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (rates(), [1e-4, 1e-3, 0.1], [9e-5, 0.11, "0.001", True, None, math.nan]),
        (whole(low=1, high=7, step=3), [1, 4, 7, 7.0], [0, 2, 8, 1.5]),
        (whole(), [1, 2, 3], [1.5, 0, 4, True]),
        (rates(low=0.1, high=0.5, log=False, step=0.1), [0.1, 0.3, 0.5], [0.15, 0.05]),
        (words("relu", 2), ["relu", 2], ["tanh", 3]),
    ],
)
def test_a_dimension_holds_what_it_can_try_and_nothing_else(dimension, inside, outside):
    assert [value for value in [*inside, *outside] if dimension.holds(value)] == inside


def test_the_edge_is_the_outer_tenth_on_the_dimensions_own_scale():
    log, linear = rates(low=1e-4, high=1.0), rates(low=0.0, high=1.0, log=False)
    near = 10 ** (-4 + 0.39), 10 ** (-4 + 0.41), 10**-0.41, 10**-0.39  # a tenth of four decades is 0.4 of a decade
    assert [log.is_near_edge(value) for value in near] == [True, False, False, True]
    assert [linear.is_near_edge(value) for value in (0.09, 0.11, 0.89, 0.91)] == [True, False, False, True]
    assert [linear.is_near_edge(value, share=0.3) for value in (0.29, 0.31)] == [True, False]
    tried = (1e-5, 1.5e-5, 3e-5, 1e-3, 0.09)
    assert [rates(low=1e-5, high=1e-1).is_near_edge(rate) for rate in tried] == [True, True, False, False, True]


def test_whole_numbers_are_at_the_edge_at_an_end_and_words_never():
    assert [whole().is_near_edge(value) for value in (1, 2, 3)] == [True, False, True]
    assert [whole(low=16, high=512, log=True).is_near_edge(value) for value in (16, 17, 511, 512)] == [
        True,
        False,
        False,
        True,
    ]
    assert not words("relu", "tanh").is_near_edge("relu")


@pytest.mark.parametrize(
    ("dimension", "tried", "edges"),
    [
        (whole(low=1, high=10, step=4), [1, 5, 9], [1, 9]),
        (whole(low=0, high=64, step=16), [0, 16, 32, 48, 64], [0, 64]),
        (whole(low=1, high=3, step=4), [1], [1]),
        (rates(low=0.0, high=1.0, log=False, step=0.3), [0.0, 0.3, 0.6, 0.9], [0.0, 0.9]),
        (rates(low=0.1, high=0.5, log=False, step=0.1), [0.1, 0.2, 0.3, 0.4, 0.5], [0.1, 0.5]),
        (rates(low=0.0, high=0.25, log=False, step=0.01), [0.01 * place for place in range(26)],
         [0.0, 0.01, 0.02, 0.23, 0.24, 0.25]),
        (rates(low=0.0, high=1.0, log=False, step=2.0), [0.0], [0.0]),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:The distribution is specified by")
def test_steps_end_where_optunas_do_and_there_is_the_edge(dimension, tried, edges):
    whole_numbers = {"low": int(dimension.low), "high": int(dimension.high), "step": int(dimension.step)}
    numbers = {"low": dimension.low, "high": dimension.high, "step": dimension.step}
    outside = IntDistribution(**whole_numbers) if dimension.kind == "int" else FloatDistribution(**numbers)
    assert dimension.highest == pytest.approx(outside.high, rel=1e-12)  # sums of steps
    assert dimension.grid() == pytest.approx(tried, rel=1e-12)
    assert [value for value in tried if dimension.is_near_edge(value)] == edges
    assert dimension.ends() == (tried[0], pytest.approx(tried[-1], rel=1e-12))


def test_a_condition_names_one_value_or_several_and_all_must_hold():
    one, several = whole(when={"network.depth": 2}), whole(when={"network.depth": [2, 3]})
    both = whole(when={"network.depth": [2, 3], "network.activation": "relu"})
    assert [one.applies({"network.depth": depth}) for depth in (1, 2, 3)] == [False, True, False]
    assert [several.applies({"network.depth": depth}) for depth in (1, 2, 3)] == [False, True, True]
    assert both.applies({"network.depth": 3, "network.activation": "relu"})
    assert not both.applies({"network.depth": 3, "network.activation": "tanh"})
    assert not one.applies({})
    assert whole().applies({})


def test_the_ends_are_numbers_of_their_kind_and_all_choices():
    assert whole(low=1.0, high=3.0).ends() == (1, 3)
    assert [type(end) for end in whole(low=1.0, high=3.0).ends()] == [int, int]
    assert rates().ends() == (1e-4, 1e-1)
    assert words("relu", "tanh").ends() == ("relu", "tanh")


TWO = (Objective(metric="val/loss", direction="minimize"), Objective(metric="time/fit", direction="minimize"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trials": 0}, r"`tuning\.trials >= 1` must hold, but got 0"),
        ({"timeout_seconds": 0.0}, r"`timeout_seconds > 0` must hold, but got 0\.0"),
        ({"workers": 0}, r"`tuning\.workers >= 1` must hold, but got 0"),
        ({"seed": -1}, r"`0 <= tuning\.seed < 2\*\*32` must hold, but got -1"),
        ({"space": {}}, r"`tuning\.space holds at least 1 key` must hold, but got \{\}"),
        ({"objectives": ()}, r"`1 or 2 tuning\.objectives` must hold, but got 0"),
        ({"objectives": (*TWO, TWO[0])}, r"`1 or 2 tuning\.objectives` must hold, but got 3"),
        (
            {"objectives": TWO, "pruner": Pruner(name="MedianPruner")},
            r"`no pruner with 2 objectives` must hold, but got 'MedianPruner'; Optuna cannot prune with several; "
            r"set tuning\.pruner\.name=NopPruner",
        ),
        (
            {"space": {RATE: rates(when={"network.depth": 2}), "network.depth": whole()}},
            r"`keys under when stand before .*` must hold, but got \['optimizer\.learning_rate'\]; change their order",
        ),
    ],
)
def test_a_search_of_nothing_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        search(**changes)


def test_two_objectives_without_a_pruner_and_one_with_are_fine():
    assert search(objectives=TWO).is_timed
    assert not search(pruner=Pruner(name="HyperbandPruner")).is_timed


@pytest.mark.parametrize("metric", ["test/loss", "test/accuracy", "train_eval/loss", "loss"])
def test_the_test_set_is_no_objective(metric):
    message = rf"`objective metric of val/, train/, time/ or memory/` must hold, but got '{metric}'; say val/loss"
    with pytest.raises(ValueError, match=message):
        Objective(metric=metric, direction="minimize")
