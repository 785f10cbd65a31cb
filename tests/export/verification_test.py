import numpy as np
import pytest

from export import verification
from export.precision import tolerance_in

IDS = np.array([[b"alien", b"brazil", b"cube"]], object)
VALUES = np.array([[4.0, 3.0, 2.0]], np.float32)


def same_ranking(actual, expected):
    return verification.same_ranking(
        actual, expected, unit=1.0, tolerance=tolerance_in("float32")
    )


def ranking(ids, values):
    return np.array([ids], object), np.array([values], np.float32)


@pytest.mark.parametrize(
    ("ids", "values"),
    [
        ([b"alien", b"brazil", b"cube"], [4.0, 3.0, 2.0]),
        ([b"alien", b"brazil", b"cube"], [4.000002, 3.0, 2.0]),
    ],
    ids=["equal", "rounded"],
)
def test_what_a_loader_rounds_is_the_same(ids, values):
    assert same_ranking(ranking(ids, values), (IDS, VALUES))


def test_near_ties_may_change_places():
    expected = ranking([b"alien", b"brazil"], [3.000001, 3.0])
    assert same_ranking(ranking([b"brazil", b"alien"], [3.0, 3.0]), expected)
    # Of reasons, the stronger comes first, for or against.
    expected = ranking([b"alien", b"brazil"], [0.500001, -0.5])
    assert same_ranking(ranking([b"brazil", b"alien"], [-0.5, 0.5]), expected)


def test_an_item_may_tie_with_the_last():
    assert same_ranking(
        ranking([b"alien", b"brazil", b"dune"], [4.0, 3.0, 2.000001]),
        (IDS, VALUES),
    )


def test_rankings_of_nothing_are_the_same():
    nothing = np.empty((2, 3, 0), object), np.empty((2, 3, 0), np.float32)
    assert same_ranking(nothing, nothing)


@pytest.mark.parametrize(
    ("ids", "values"),
    [
        ([b"brazil", b"alien", b"cube"], [4.0, 3.0, 2.0]),
        ([b"alien", b"dune", b"cube"], [4.0, 3.0, 2.0]),
        ([b"alien", b"brazil", b"cube"], [4.0, 3.0, 2.1]),
        ([b"alien", b"brazil", b"cube"], [4.0, 3.0, np.nan]),
        ([b"alien", b"brazil", b"cube"], [4.0, 3.0, -2.0]),
        ([b"alien", b"brazil"], [4.0, 3.0]),
    ],
    ids=["swapped", "other_item", "other_value", "nan", "sign", "too_short"],
)
def test_another_ranking_is_not_the_same(ids, values):
    assert not same_ranking(ranking(ids, values), (IDS, VALUES))
